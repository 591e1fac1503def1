"""What a diagnosis says: its questions, its findings, and the forms in which they are handed on."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from diffrl_lab.files import write_text, written

QUESTIONS = {
    "lost": "modes lost?",
    "weights": "weights shifted?",
    "spread": "spread shrunk within modes?",
    "left": "left the data?",
    "memorised": "memorised?",
    "law": "differs in any other way?",
    "state": "collapsed per state?",
    "motion": "moves in another way?",
}
MATTERS = {"weights": 0.1, "spread": 0.8, "left": 0.1, "memorised": 0.1, "law": 0.6, "state": 0.8, "motion": 0.25}
"""The size of a defect that must have been visible before *healthy* is said: total variation; ratio of spreads; shares
of samples; area under a classifier's curve; ratio of spreads; standard deviations. For `lost` it is the share of the
reference's smallest mode."""
UNITS = {
    "lost": "share of the reference in lost modes",
    "weights": "total variation of the shares",
    "spread": "spread within modes, ratio",
    "left": "share beyond 99 % of the data",
    "memorised": "share nearer than 95 % of the data",
    "law": "classifier's AUC",
    "state": "spread within a state, ratio",
    "motion": "standard deviations",
}
FIELDS = ("question", "verdict", "value", "low", "high", "floor", "p", "adjusted", "smallest", "matters", "n_needed")


@dataclass(frozen=True)
class Finding:
    """One question and its answer; all numbers but the p-values are in the `unit` of `value`.

    low to high: the 95 % interval; floor: what a perfect model reaches in 95 % of cases; smallest: the smallest defect
    that is seen with a power of 80 % at this n.
    """

    name: str
    question: str
    verdict: str
    unit: str
    value: float
    low: float
    high: float
    floor: float
    p: float
    adjusted: float
    smallest: float
    matters: float
    n_needed: int | None
    words: str


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found: `verdict` on the whole, one `Finding` a question, `measures` beside their floors."""

    verdict: str
    findings: list[Finding]
    measures: list[dict[str, Any]]
    modes: list[dict[str, Any]]
    about: dict[str, Any]
    notes: list[str]
    rows: dict[str, Any] = field(repr=False, default_factory=dict)  # what figures draw: coordinates, labels

    def __getitem__(self, name: str) -> Finding:
        """The finding of a question: lost, weights, spread, left, memorised, law, state, motion."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise ValueError(
            f"{name!r} was not asked here; asked were {', '.join(f.name for f in self.findings) or 'none'}"
        )

    def table(self) -> str:
        """The answers as a table of text, one line a question."""
        lines = [["question", "verdict", "value", "95 % interval", "floor", "p (Holm)", "smallest seen"]]
        for f in self.findings:
            lines.append(
                [f.question, f.verdict, short(f.value), f"{short(f.low)} to {short(f.high)}"]
                + [short(f.floor), f"{f.adjusted:.3f}", short(f.smallest)]
            )
        wide = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        text = ["  ".join(c.ljust(w) for c, w in zip(line, wide, strict=True)).rstrip() for line in lines]
        n, m, d = (self.about[k] for k in "nmd")
        yes = [f.question.rstrip("?") for f in self.findings if f.verdict == self.verdict == "collapsed"]
        seen = f" ({', '.join(yes)})" if yes else ""
        head = f"{self.verdict}{seen}: {n} samples, {m} reference rows, {d} numbers a row"
        return "\n".join([head, "", *text, "", *(f.words for f in self.findings), *(f"note: {n}" for n in self.notes)])

    __str__ = table

    def to_rows(self) -> list[dict[str, Any]]:
        """The findings as plain dictionaries."""
        return [asdict(f) for f in self.findings]

    def to_frame(self) -> Any:
        """The findings as a pandas DataFrame. Raises ValueError where pandas is not installed."""
        try:
            return import_module("pandas").DataFrame(self.to_rows())
        except ImportError:
            raise ValueError("to_frame needs pandas: pip install pandas; or take to_rows()") from None

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything but the rows as JSON, also into a file."""
        what = {k: getattr(self, k) for k in ("verdict", "measures", "modes", "about", "notes")}
        text = json.dumps(_plain(what | {"findings": self.to_rows()}), indent=1) + "\n"
        if path is not None:
            write_text(path, text)
        return text

    def to_csv(self, path: str | Path) -> None:
        """Write the findings as CSV, one line a question."""
        with written(path) as beside, beside.open("w", newline="", encoding="utf-8") as lines:
            table = csv.DictWriter(lines, FIELDS, extrasaction="ignore")
            table.writeheader()
            table.writerows(self.to_rows())


def short(value: float) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.3g}"


def _plain(value: Any) -> Any:
    """What JSON can hold: NaN and infinity become null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
