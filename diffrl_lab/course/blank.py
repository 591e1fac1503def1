"""Blank pages: a task without a frame, judged by laws alone. 01: a DDPM; 05: classifier-free guidance.

blank_01/task.py is the page that `diffrl-lab start blank-01` puts into my/, blank_run.py asks it in a process of its
own, right_*.py are pages that must pass; wrong.py holds the slips that must not, each with what it is told.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffrl_lab.course.editions import ROOT
from diffrl_lab.course.judging import Verdict
from diffrl_lab.files import free_name

FUNCTIONS = {"01": ("betas", "noised", "posterior", "train", "sample"), "05": ("dropped", "guided", "train", "sample")}
LINES, MODULES, SECONDS = 60, {"torch", "math", "__future__"}, 240
SHARE, STD = 0.3, 0.2  # the law of 01: 0.3 N(-1, 0.2^2) + 0.7 N(1, 0.2^2), as in lesson 01
SHARES, WIDTH = (0.2, 0.5, 0.3), 0.25  # the law of 05: three modes, at the wishes -1, 0 and 1


def folder(number: str = "01") -> Path:
    """Where a page's task and its right pages lie. Raises ValueError for a number that has no blank page."""
    if number not in FUNCTIONS:
        raise ValueError(f"there are the blank pages {', '.join(FUNCTIONS)}; got {number!r}")
    return Path(__file__).with_name(f"blank_{number}")


def start(number: str = "01", *, reset: bool = False, root: Path = ROOT) -> tuple[Path, Path | None]:
    """The task as a page in my/, made if missing. -> (the page, where `reset` set an older one aside)."""
    task = folder(number) / "task.py"
    page, aside = root / "my" / f"blank_{number}.py", None
    page.parent.mkdir(exist_ok=True)
    if page.exists() and reset:
        aside = free_name(page)
        page.rename(aside)
    if not page.exists():
        shutil.copyfile(task, page)
    return page, aside


def judge(page: Path, seed: int = 0, number: str = "01") -> Verdict:
    """Hold a page against the laws of its task; the verdict names the first that it breaks. Takes seconds.

    Raises OSError for a file that cannot be read. The page runs with limits on time and memory, yet not in a sandbox:
    it is the learner's own.
    """
    folder(number)
    try:
        with tokenize.open(page) as file:  # the encoding that Python would take: a BOM, a line `coding: ...`, UTF-8
            text = file.read()
    except (UnicodeError, SyntaxError):
        return Verdict(False, f"{page.name} is not UTF-8: save it again as UTF-8 (in an editor: Save as, encoding)")
    for complaint in written(text, number):
        return Verdict(None if complaint == "an empty page" else False, complaint)
    if number == "05":
        asked, name = wishes(seed), "classifier-free guidance"
        parts = (("formulae", _guidance), ("samples", _guided_samples))
    else:
        (asked, fresh), name = questions(seed), "a DDPM"
        parts = (("formulae", _formulae), ("samples", lambda asked, said: _samples(asked, said, fresh)))
    for part, laws in parts:
        said = _said(page, asked | {"part": part, "page": number})
        for complaint in said["error"] if "error" in said else laws(asked, said):
            return Verdict(False, complaint)
    return Verdict(True, f"{name}, from an empty page")


def _said(page: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """A page's answers, from a process of its own, or {"error": [a sentence]}."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "asked.json").write_text(json.dumps(asked))
        copy = shutil.copyfile(page, Path(place) / "page.py")
        run = Path(__file__).with_name("blank_run.py")
        command = [sys.executable, "-I", str(run), str(copy), "asked.json", "said.json"]
        try:
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=SECONDS)
            return json.loads((Path(place) / "said.json").read_text())
        except subprocess.TimeoutExpired:
            return {"error": [f"it took more than {SECONDS} s; 1,000 steps of training need a few"]}
        except (OSError, ValueError):
            return {"error": [f"the process ended without an answer: {done.stderr[-200:].strip() or 'killed'}"]}


def written(text: str, number: str = "01") -> Iterator[str]:
    """What can be said of a page before it runs."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # also a NUL byte, code nested too deep
        line = getattr(error, "lineno", None)
        yield f"line {line} is no Python: {error.msg}" if line else f"it is no Python: {error}"  # type: ignore[union-attr]
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
    missing = [f for f in FUNCTIONS[number] if f not in {n.name for n in body if isinstance(n, ast.FunctionDef)}]
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
            rest = f"{np.prod(1 - b):.0%} of the signal's variance is left"
            yield f"after all {T} steps of betas({T}) {rest}: samples cannot start from pure noise"
    beta, x_0, eps = (np.asarray(asked[name]) for name in ("beta", "x_0", "eps"))
    for n, given in said["noised"].items():
        share, one = np.prod(1 - beta[: int(n)]), 1 - beta[int(n) - 1]
        slips = {
            "your scales are shares of variance; a scale is the root of it": share * x_0 + (1 - share) * eps,
            "you took step n alone; a jump multiplies all steps up to n": one**0.5 * x_0 + (1 - one) ** 0.5 * eps,
            "you swapped the scales of signal and noise": (1 - share) ** 0.5 * x_0 + share**0.5 * eps,
        }
        if int(n) > 1:
            right = share**0.5 * x_0 + (1 - share) ** 0.5 * eps
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
        names = [text for text, slip in slips.items() if np.allclose(x, slip, rtol=1e-4, atol=1e-5)]
        yield f"{what}: {names[0] if names else f'{x[0]:.4g} where {right[0]:.4g} is right'}"


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


def wishes(seed: int) -> dict[str, Any]:
    """What a page of classifier-free guidance is asked: numbers, rows to drop, data with their wishes, and samples."""
    rng = np.random.default_rng(seed)
    wish = rng.choice([-1.0, 0.0, 1.0], size=3000, p=SHARES)
    asked = {name: rng.normal(size=5).tolist() for name in ("free", "conditional")}
    asked |= {"c": rng.choice([-1.0, 0.0, 1.0], size=400).tolist(), "w": [0.0, 1.0, 0.5, 3.0]}
    asked |= {"drop": [[0.0, 1], [1.0, 1], [0.25, 1], [0.25, 1], [0.25, 2]]}
    asked |= {"x": (wish + WIDTH * rng.normal(size=3000)).tolist(), "wish": wish.tolist(), "steps": 2000}
    ask = [[1.0, 0.0], [-1.0, 0.0], [-1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 3.0], [1.0, 3.0]]
    return asked | {"ask": ask, "samples": 1000, "seed": seed}


def _guidance(asked: dict[str, Any], said: dict[str, Any]) -> Iterator[str]:
    free, conditional = (np.asarray(asked[name]) for name in ("free", "conditional"))
    for w in asked["w"]:
        slips = {
            "your w = 0 is the conditional answer already; here w counts from the free one":
                (1 + w) * conditional - w * free,
            "you walk away from the wish": free - w * (conditional - free),
            "you began at the conditional answer and stepped with w": conditional + w * conditional,
        }  # fmt: skip
        right = free + w * (conditional - free)
        yield from _compared(f"guided(free, conditional, {w:g})", said["guided"][str(w)], right, slips)
    c, n = np.asarray(asked["c"]), len(asked["c"])
    drops = [np.asarray(rows, dtype=float) for rows in said["dropped"]]
    for (p, _), rows in zip(asked["drop"], drops, strict=True):
        if rows.shape != (n, 2):
            yield f"dropped(c, {p:g}, seed) has shape {rows.shape}; {(n, 2)} is wanted, value and flag"
            return
        if not np.isfinite(rows).all():
            yield f"dropped(c, {p:g}, seed) holds NaN, and everything behind it will be NaN: put a 0 there"
            return
        if not np.isin(rows[:, 1], (0, 1)).all():
            yield f"the second column of dropped(c, {p:g}, seed) is a flag, 0 or 1; got {rows[:, 1].min():.3g} and more"
            return
        whole = rows[:, 1] == 1
        if p == 0 and np.array_equal(rows[:, 1], (c != 0).astype(float)):
            yield "your flag is 0 for a wish of 0: that is a wish, too, and not a missing one"
        elif p in (0, 1) and whole.mean() == p:
            yield "your flag is upside down: 1 says that there is a wish"
        elif abs((1 - whole).mean() - p) > 4 * (p * (1 - p) / n) ** 0.5 + 1e-9:
            yield f"dropped(c, {p:g}, seed) dropped {(1 - whole).mean():.0%} of {n} wishes, each by itself {p:.0%}"
        if not (rows[~whole, 0] == 0).all():
            yield "the value of a dropped wish is still there: put a 0 in its place"
        if not (rows[whole, 0] == c[whole]).all():
            yield "a wish that was not dropped has changed"
    if not np.array_equal(drops[2], drops[3]):
        yield "dropped(c, 0.25, 1) twice gives two results: draw from a generator with that seed"
    if np.array_equal(drops[2], drops[4]):
        yield "dropped with two seeds gives the same: the seed is not used"


def _guided_samples(asked: dict[str, Any], said: dict[str, Any]) -> Iterator[str]:
    n = asked["samples"]
    x = {tuple(q): np.asarray(s, dtype=float) for q, s in zip(asked["ask"], said["samples"], strict=True)}
    for (c, w), s in x.items():
        if s.shape != (n, 1) or not np.isfinite(s).all():
            yield f"sample(model, {n}, {c:g}, {w:g}, seed) gives shape {s.shape}, finite: {np.isfinite(s).all()}"
            return
    if said["again"][0] != said["again"][1] or said["trained twice"][0] != said["trained twice"][1]:
        yield "equal seeds give two results: draw from generators with that seed"
    if said["again"][0] == said["again"][2]:
        yield "sample with two seeds gives the same: the seed is not used"
    if not np.allclose(x[1.0, 0.0], x[-1.0, 0.0], atol=1e-3):
        yield "at w = 0 your samples listen to the wish: there only the free answer may count"
    for c in (-1.0, 0.0, 1.0):
        near = np.abs(x[c, 1.0] - c) < 0.5
        if near.mean() < 0.8:
            why = ": is a wish for 0 no wish to your network?" if c == 0 else ""
            yield f"at w = 1 and wish {c:g} only {near.mean():.0%} of the samples are near it{why}"
        elif abs(x[c, 1.0][near].std() / WIDTH - 1) > 0.4:
            yield f"at w = 1 and wish {c:g} the mode is {x[c, 1.0][near].std() / WIDTH:.2f} times as wide as the data's"
    free = x[1.0, 0.0]
    for c, share in zip((-1.0, 0.0, 1.0), SHARES, strict=True):
        got = float((np.abs(free - c) < 0.5).mean())
        if abs(got - share) > 0.12:
            where = f"{got:.0%} of the samples are near {c:g}, and {share:.0%} of the data"
            yield f"at w = 0 {where}: drop wishes in training"
    for c in (-1.0, 1.0):  # exact at w = 3: -1.43 and 1.36; the powered law that filtering would give: 1.02
        far = float(c * x[c, 3.0].mean())
        if far < 1.15:
            yield f"at w = 3 your samples lie at {c * far:.2f}: this is no guidance, which overshoots by 0.3 to 0.5"
        elif far > 2.2:
            yield f"at w = 3 your samples lie at {c * far:.2f}, far beyond what guidance does: mind the last steps"


def _w1(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(np.sort(a) - np.sort(b)).mean())
