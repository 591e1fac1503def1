"""The survey's claims, each with the lesson that tests it and what came out: data/claims.csv and its table.

Columns: name; claim; section (of the survey's summary); confidence (the survey's own, one of CONFIDENCE);
lesson; verdict (one of VERDICTS); effect (what was measured, with its unit); interval (95 %, as "low to high").
"""

from __future__ import annotations

import csv
import html
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from diffrl_lab.files import DATA

FILE = DATA / "claims.csv"
VERDICTS = ("held", "failed", "undecided", "not testable here", "not yet")
CONFIDENCE = ("high", "medium", "low", "open question")


@dataclass(frozen=True)
class Claim:
    """A claim of the survey and what a lesson found: "held" and "failed" come with an effect, "not ..." without."""

    name: str
    claim: str
    section: str
    confidence: str
    lesson: str
    verdict: str
    effect: str
    interval: str


class Table(list[Claim]):
    """Claims that display themselves as a table."""

    def __repr__(self) -> str:
        return "\n".join(f"{c.lesson}  {c.verdict:<18} {c.claim}  {c.effect} {c.interval}".rstrip() for c in self)

    def _repr_html_(self) -> str:
        shown = [f.name for f in fields(Claim)][1:]
        head = "".join(f"<th style='text-align: left'>{name}</th>" for name in shown)
        body = "".join("<tr>" + "".join(_cell(name, asdict(c)[name]) for name in shown) + "</tr>" for c in self)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(name: str, text: str) -> str:
    from diffrl_lab.widgets.pictures import COLOUR

    colour = {"held": COLOUR["data"], "failed": COLOUR["right"], "undecided": COLOUR["warning"]}.get(text)
    style = f"; border-left: 4px solid {colour}" if name == "verdict" and colour else ""
    return f"<td style='text-align: left{style}'>{html.escape(text)}</td>"


def claims(lesson: str | None = None, file: Path = FILE) -> Table:
    """All claims, or those of one lesson ("04"). Raises ValueError naming the row and the value that is not allowed."""
    with open(file, newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    wanted = [f.name for f in fields(Claim)]
    if rows and list(rows[0]) != wanted:
        raise ValueError(f"{file.name} has the columns {', '.join(map(str, rows[0]))}; wanted: {', '.join(wanted)}")
    every = Table(Claim(**row) for row in rows)
    _validate(every, file.name)
    return Table(c for c in every if lesson is None or c.lesson == lesson)


def _validate(rows: Iterable[Claim], where: str) -> None:
    seen: set[str] = set()
    for c in rows:
        if c.verdict not in VERDICTS:
            raise ValueError(f"{where}, {c.name}: verdict {c.verdict!r} is not one of {', '.join(VERDICTS)}")
        if c.confidence not in CONFIDENCE:
            raise ValueError(f"{where}, {c.name}: confidence {c.confidence!r} is not one of {', '.join(CONFIDENCE)}")
        if not c.effect and c.verdict in ("held", "failed") or c.effect and c.verdict.startswith("not"):
            raise ValueError(f"{where}, {c.name}: {c.verdict!r} with effect {c.effect!r}; held and failed need one")
        if c.name in seen:
            raise ValueError(f"{where}: two rows are called {c.name!r}")
        seen.add(c.name)
