"""Blank pages: a task without a frame, judged by laws alone. blank_01/: a DDPM in at most 60 lines of torch.

blank_01/task.py is the page that `diffrl-lab start blank-01` puts into my/, run.py asks it in a process of its own,
right_*.py are pages that must pass; wrong.py holds the slips that must not, each with what it is told.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffrl_lab.course.checks import Verdict
from diffrl_lab.course.lessons import ROOT
from diffrl_lab.course.progress import free_name

FOLDER = Path(__file__).with_name("blank_01")
FUNCTIONS = ("betas", "noised", "posterior", "train", "sample")
LINES, MODULES, SECONDS = 60, {"torch", "math", "__future__"}, 240
SHARE, STD = 0.3, 0.2  # the law: 0.3 N(-1, 0.2^2) + 0.7 N(1, 0.2^2), as in lesson 01


def start(*, reset: bool = False, root: Path = ROOT) -> tuple[Path, Path | None]:
    """The task as a page in my/, made if missing. -> (the page, where `reset` set an older one aside)."""
    page, aside = root / "my" / "blank_01.py", None
    page.parent.mkdir(exist_ok=True)
    if page.exists() and reset:
        aside = free_name(page)
        page.rename(aside)
    if not page.exists():
        shutil.copyfile(FOLDER / "task.py", page)
    return page, aside


def judge(page: Path, seed: int = 0) -> Verdict:
    """Hold a page against the laws of a DDPM; the verdict names the first that it breaks. Takes seconds.

    Raises OSError for a file that cannot be read. The page runs with limits on time and memory, yet not in a sandbox:
    it is the learner's own.
    """
    text = page.read_text(encoding="utf-8")
    for complaint in written(text):
        return Verdict(None if complaint == "an empty page" else False, complaint)
    asked, fresh = questions(seed)
    for part, laws in (("formulae", _formulae), ("samples", lambda asked, said: _samples(asked, said, fresh))):
        said = _said(page, asked | {"part": part})
        for complaint in said["error"] if "error" in said else laws(asked, said):
            return Verdict(False, complaint)
    return Verdict(True, "a DDPM, from an empty page")


def _said(page: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """A page's answers, from a process of its own, or {"error": [a sentence]}."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "asked.json").write_text(json.dumps(asked))
        copy = shutil.copyfile(page, Path(folder) / "page.py")
        command = [sys.executable, "-I", str(FOLDER / "run.py"), str(copy), "asked.json", "said.json"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
            return json.loads((Path(folder) / "said.json").read_text())
        except subprocess.TimeoutExpired:
            return {"error": [f"it took more than {SECONDS} s; 1,000 steps of training need a few"]}
        except (OSError, ValueError):
            return {"error": [f"the process ended without an answer: {done.stderr[-200:].strip() or 'killed'}"]}


def written(text: str) -> Iterator[str]:
    """What can be said of a page before it runs."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield f"line {error.lineno} is no Python: {error.msg}"
        return
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    if not body:
        yield "an empty page"
        return
    begin = body[0].lineno if ast.get_docstring(tree) is not None else 1
    lines = sum(bool(line.strip()) for line in text.splitlines()[begin - 1 :])
    if lines > LINES:
        yield f"{lines} lines where {LINES} are the most"
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.split(".")[0] not in MODULES:
                yield f"it imports {name}; torch and math must do"
        if isinstance(node, ast.Name) and node.id in ("__import__", "exec", "eval", "open"):
            yield f"it uses {node.id}; nothing here needs that"
    missing = [f for f in FUNCTIONS if f not in {n.name for n in body if isinstance(n, ast.FunctionDef)}]
    if missing:
        yield f"missing: {', '.join(f + '()' for f in missing)}"


def questions(seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """What a page is asked, and fresh data [21, 2000] of the same law to hold its samples against."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((22, 2000)) < SHARE, -1.0, 1.0) + STD * rng.normal(size=(22, 2000))
    asked = {name: rng.normal(size=5).tolist() for name in ("x_0", "x_n", "eps")}
    more = {"T": [50, 200], "n": [1, 2, 20, 40], "beta": np.linspace(0.01, 0.2, 40).tolist()}
    return asked | more | {"data": x[0].tolist(), "steps": 1000, "samples": 2000, "seed": seed}, x[1:]


def _formulae(asked: dict[str, Any], said: dict[str, Any]) -> Iterator[str]:
    yield from _forward(asked, said)
    yield from _posterior(asked, said)


def _forward(asked: dict[str, Any], said: dict[str, Any]) -> Iterator[str]:
    for T, given in said["betas"].items():
        b = np.asarray(given, dtype=float)
        if b.shape != (int(T),):
            yield f"betas({T}) has shape {b.shape}; {(int(T),)} is wanted"
        elif not ((b > 0) & (b < 1)).all():
            yield f"betas({T}) leaves the interval from 0 to 1: {b.min():.3g} to {b.max():.3g}"
        elif np.prod(1 - b) > 0.01:
            left = f"{np.prod(1 - b):.0%} of the signal's variance is left"
            yield f"after all {T} steps of betas({T}) {left}: samples cannot start from pure noise"
    beta, x_0, eps = (np.asarray(asked[name]) for name in ("beta", "x_0", "eps"))
    for n, given in said["noised"].items():
        kept, one = np.prod(1 - beta[: int(n)]), 1 - beta[int(n) - 1]
        slips = {
            "your scales are shares of variance; a scale is the root of it": kept * x_0 + (1 - kept) * eps,
            "you took step n alone; a jump multiplies all steps up to n": one**0.5 * x_0 + (1 - one) ** 0.5 * eps,
            "you swapped the scales of signal and noise": (1 - kept) ** 0.5 * x_0 + kept**0.5 * eps,
        }
        if int(n) > 1:
            right = kept**0.5 * x_0 + (1 - kept) ** 0.5 * eps
            yield from _compared(f"noised(x_0, {n}, ...)", given, right, slips)
    n, right = 1, (1 - beta[0]) ** 0.5 * x_0 + beta[0] ** 0.5 * eps
    yield from _compared("noised(x_0, 1, ...)", said["noised"]["1"], right, {})


def _posterior(asked: dict[str, Any], said: dict[str, Any]) -> Iterator[str]:
    beta, x_0, x_n = (np.asarray(asked[name]) for name in ("beta", "x_0", "x_n"))
    for n in (k for k in asked["n"] if k > 1):  # Bayes: precisions add up, and means are weighed by them
        b, before = beta[n - 1], np.prod(1 - beta[: n - 1])
        prior, likely = 1 / (1 - before), (1 - b) / b
        mean = (prior * before**0.5 * x_0 + likely * x_n / (1 - b) ** 0.5) / (prior + likely)
        std = (prior + likely) ** -0.5
        came, spread = said["posterior"][str(n)]
        swapped = (prior * before**0.5 * x_n + likely * x_0 / (1 - b) ** 0.5) / (prior + likely)
        slips = {"you swapped x_n and x_0": swapped, "that is x_0 itself, not a step towards it": x_0}
        yield from _compared(f"the mean of posterior(..., {n}, ...)", came, mean, slips)
        wide = {
            "that is the variance; its root is wanted": std**2,
            "that is sqrt(beta_n), the noise of a whole step forward; knowing x_0 leaves less": b**0.5,
        }
        yield from _compared(f"the spread of posterior(..., {n}, ...)", np.ravel(spread)[:1], np.array([std]), wide)
    came, spread = said["posterior"]["1"]
    yield from _compared("the mean of posterior(..., 1, ...)", came, x_0, {})
    if not np.allclose(spread, 0, atol=1e-6):
        yield f"posterior(..., 1, ...) has a spread of {np.max(spread):.3g}: the last step leads to x_0, without noise"


def _compared(what: str, came: Any, right: np.ndarray, slips: dict[str, np.ndarray]) -> Iterator[str]:
    x = np.asarray(came, dtype=float).reshape(-1)
    if x.shape != right.shape:
        yield f"{what} has {x.size} numbers; {right.size} are wanted"
    elif not np.allclose(x, right, rtol=1e-4, atol=1e-5):
        found = [text for text, slip in slips.items() if np.allclose(x, slip, rtol=1e-4, atol=1e-5)]
        yield f"{what}: {found[0] if found else f'{x[0]:.4g} where {right[0]:.4g} is right'}"


def _samples(asked: dict[str, Any], said: dict[str, Any], fresh: np.ndarray) -> Iterator[str]:
    x, data = np.asarray(said["samples"], dtype=float), np.asarray(asked["data"])
    if x.shape != (asked["samples"], 1) or not np.isfinite(x).all():
        yield f"sample(model, {asked['samples']}, seed) gives shape {x.shape}, finite: {np.isfinite(x).all()}"
        return
    once, twice, other = said["again"]
    if once != twice:
        yield "sample(model, n, 5) twice gives two results: draw from a generator with that seed"
    if once == other:
        yield "sample(model, n, 5) and sample(model, n, 6) give the same: the seed is not used"
    if said["trained twice"][0] != said["trained twice"][1]:
        yield "train(data, steps, 3) twice gives two models: draw from a generator with that seed"
    copies = np.mean(np.abs(data[np.abs(data - x).argmin(1)] - x[:, 0]) < 1e-6)
    if copies > 0.1:
        yield f"{copies:.0%} of your samples are copies of training data, to the sixth digit: that is no new data"
    left, se = float(np.mean(x < 0)), (SHARE * (1 - SHARE) / x.size) ** 0.5
    near = np.abs(np.abs(x) - 1) < 3.5 * STD
    if np.mean(near) < 0.9:
        yield f"{1 - np.mean(near):.0%} of your samples lie where no data are, between the modes or beyond them"
    for sign, name in ((-1, "left"), (1, "right")):
        mode = x[(np.sign(x) == sign) & near]
        if mode.size > 20 and abs(mode.std() / STD - 1) > 0.5:
            yield f"your {name} mode is {mode.std() / STD:.2f} times as wide as the data's: mind the noise of each step"
    if abs(left - SHARE) > 0.05 + 3 * se:
        yield f"{left:.0%} of your samples are in the left mode, and {SHARE:.0%} of the data: a wrong share"
    floor = np.mean([_w1(a, b) for a, b in zip(fresh[1::2], fresh[2::2], strict=True)])
    far = _w1(x[:, 0], fresh[0])
    if far > 6 * floor:
        yield f"your samples are {far:.3f} from fresh data (W1), two sets of data {floor:.3f} from each other"


def _w1(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(np.sort(a) - np.sort(b)).mean())
