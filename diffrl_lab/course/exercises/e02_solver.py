"""A solver of order 2 for dx/dsigma = (x - D(x, sigma)) / sigma asking D once a step, judged by its measured order.

No answer is compared with ours. Where the data are a Gaussian N(mean, std^2) the end of a path from x at sigma is
mean + (x - mean) std / sqrt(std^2 + sigma^2). So the error of any solver is known, too, and order p says that twice
the steps divide it by 2^p.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Mistake, Verdict

HINTS = (
    "Euler's step is wrong because the slope changes along it. How fast it changes you know already: the step before "
    "asked D at another level. Keep its slope (or its x0_hat) in a variable. In the first step take Euler's.",
    "Let f be the slope here, g the slope one level earlier, h the length of this step and p that of the last. "
    "Half-way the slope is about f + h / (2 p) (f - g): step with that. The level that you step to divides nothing.",
)
ENOUGH = 1.6  # the order, measured with 48 and 96 steps, of what counts as order 2; order 1 measures 1.2 at most


def levels(lengths: Any, top: float) -> np.ndarray:
    """Levels that fall from `top` to 0 as (1 - u)^3, where u goes up by steps in proportion to `lengths`. -> [K+1]"""
    u = np.concatenate([[0.0], np.cumsum(lengths)]) / np.sum(lengths)
    return np.append(top * (1 - u[:-1]) ** 3, 0.0)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    mean, std, top = rng.uniform(-0.5, 0.5), rng.uniform(0.3, 0.4), rng.uniform(2.5, 3.5)
    uneven = rng.permutation([1.0, 2.0, 4.0])
    grids = [levels(np.resize(pattern, K), top) for pattern in ([1.0], uneven) for K in (48, 96)]
    x = mean + top * rng.normal(size=(9, 1))
    return [{"x": x, "levels": grid, "mean": mean, "std": std} for grid in (np.array([top, 0.0]), *grids)]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """The samples [9], and after them how often D was asked."""
    if not callable(answer):
        return answer
    x, asked = torch.from_numpy(case["x"].copy()), 0

    def D(x, sigma):
        nonlocal asked
        asked += 1
        return (case["std"] ** 2 * x + sigma**2 * case["mean"]) / (case["std"] ** 2 + sigma**2)

    came = answer(D, x, case["levels"].tolist())
    if came is None:
        return None
    if torch.is_tensor(came) and came.shape != x.shape:
        raise Mistake(f"your samples have shape {tuple(came.shape)}; that of x is wanted, {tuple(x.shape)}")
    return np.append(np.asarray(came, dtype=float).ravel(), asked)


def _end(case: dict[str, Any]) -> np.ndarray:
    shrink = case["std"] / math.sqrt(case["std"] ** 2 + case["levels"][0] ** 2)
    return (case["mean"] + (case["x"] - case["mean"]) * shrink).ravel()


def _errors(cases: list[dict[str, Any]], answers: list[Any]) -> list[float]:
    return [float(np.abs(a[:-1] - _end(c)).mean()) for c, a in zip(cases, answers, strict=True)]


def _order(pair: list[float]) -> float:
    return math.log2(pair[0] / max(pair[1], 1e-12))


def _same(cases: list[dict[str, Any]], answers: list[Any], solver: Any) -> bool:
    return all(np.allclose(a[:-1], ask(solver, c)[:-1], 1e-9, 1e-12) for c, a in zip(cases, answers, strict=True))


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    if any(np.shape(a) != (10,) for a in answers):
        return Verdict(False, "your answer is no solver: a function is wanted that returns a tensor of x's shape")
    if not all(np.isfinite(a).all() for a in answers):
        return Verdict(False, "your samples hold nan or inf: the last level is 0, where ln 0 and x / 0 have no value")
    errors, asked, K = _errors(cases, answers), int(answers[-1][-1]), len(cases[-1]["levels"]) - 1
    start = float(np.abs(cases[0]["x"].ravel() - _end(cases[0])).mean())
    if errors[4] > start:
        return Verdict(
            False, "your samples end farther from the data than they began: levels fall, so steps are negative"
        )
    if errors[0] > start / 2:
        return Verdict(False, "of one single step, from a level to 0, yours leaves most: is the last step taken?")
    smooth, uneven = _order(errors[1:3]), _order(errors[3:5])
    if _same(cases, answers, euler):
        return Verdict(False, f"measured order {smooth:.1f}: this is Euler's method. Use what the step before it knew")
    if smooth < ENOUGH and errors[2] > 1.2 * _errors(cases, [ask(euler, c) for c in cases])[2]:
        return Verdict(
            False,
            f"measured order {smooth:.1f}, and an error larger than Euler's: did you mix towards the older slope (or "
            "x0_hat)? The slope goes on changing: extrapolate away from it",
        )
    if smooth < ENOUGH:
        return Verdict(False, f"measured order {smooth:.1f}, where 2 is wanted: how far does your step look ahead?")
    if asked > K:
        return Verdict(
            False, f"measured order {smooth:.1f}, but D was asked {asked} times in {K} steps: once a step is allowed"
        )
    if uneven < ENOUGH:
        return Verdict(
            False,
            f"measured order {smooth:.1f} where steps change slowly, {uneven:.1f} where long and short ones alternate: "
            "the older slope must count by how long its step was",
        )
    return Verdict(True, f"measured order {min(smooth, uneven):.1f}, with {asked} evaluations in {K} steps")


def euler(D, x, levels):
    for a, b in pairwise(levels):
        x = x + (b - a) * (x - D(x, a)) / a
    return x


def right(D, x, levels):
    before, length = None, 1.0
    for a, b in pairwise(levels):
        slope = (x - D(x, a)) / a
        ahead = 0 if before is None else (b - a) / (2 * length) * (slope - before)
        x = x + (b - a) * (slope + ahead)
        before, length = slope, b - a
    return x


def by_denoised(D, x, levels):
    """DPM-Solver++(2M) where alpha = 1: x0_hat is extrapolated in ln(1 / sigma)."""
    last, h_last = None, 1.0
    for a, b in pairwise(levels):
        x0_hat = ahead = D(x, a)
        if b == 0:
            return x0_hat
        h = math.log(a / b)
        if last is not None:
            ahead = x0_hat + h / (2 * h_last) * (x0_hat - last)
        x = b / a * x + (1 - b / a) * ahead
        last, h_last = x0_hat, h
    return x


def by_skipping(D, x, levels):
    """Heun's method on every second level: K steps of one evaluation pay for K / 2 of two."""
    few = levels[::2] if len(levels) % 2 else [levels[0], *levels[1::2]]
    for a, b in pairwise(few):
        slope = (x - D(x, a)) / a
        trial = x + (b - a) * slope
        x = trial if b == 0 else x + (b - a) * (slope + (trial - D(trial, b)) / b) / 2
    return x


RIGHT = [right, by_denoised, by_skipping]


def _weighed(weight: Any) -> Any:
    """A slip: the older slope counts otherwise, or none is divided by what it should."""

    def answer(D, x, levels):
        before = length = None
        for a, b in pairwise(levels):
            slope = (x - D(x, a)) / a
            w = 0 if before is None else weight(b - a, length)
            x = x + (b - a) * (slope if before is None else slope + w * (slope - before))
            before, length = slope, b - a
        return x

    return answer


def _heun(D, x, levels):
    for a, b in pairwise(levels):
        f = (x - D(x, a)) / a
        trial = x + (b - a) * f
        x = x + (b - a) * (f + (trial - D(trial, b)) / b) / 2 if b > 0 else trial
    return x


def _without_a_guard(D, x, levels):
    x_0, log = D(x, levels[0]), [-math.log(max(a, 1e-300)) if a else math.inf for a in levels]
    for k, (a, b) in enumerate(pairwise(levels)):
        last, x_0 = x_0, D(x, a)
        w = (log[k + 1] - log[k]) / (2 * (log[k] - log[k - 1])) if k else 0
        x = b / a * x + (1 - b / a) * (x_0 + w * (x_0 - last))
    return x


def _holds(which: slice) -> Any:
    return lambda cases, answers: _order(_errors(cases, answers)[which]) >= ENOUGH


def _cheap(cases: list[dict[str, Any]], answers: list[Any]) -> bool:
    near = _errors(cases, answers)[-1] < 0.05
    return near and all(a[-1] < len(c["levels"]) for c, a in zip(cases, answers, strict=True))


PROPERTIES = {
    "order 2 where steps change slowly": _holds(slice(1, 3)),
    "order 2 on uneven levels": _holds(slice(3, 5)),
    "one evaluation a step": _cheap,
}
WRONG = [
    (euler, "this is Euler's method"),
    (_heun, "but D was asked"),
    (_weighed(lambda h, p: 0.5), "by how long its step was"),
    (_weighed(lambda h, p: -h / (2 * p)), "mix towards the older slope"),
    (_weighed(lambda h, p: h / p), "how far does your step look ahead"),
    (_without_a_guard, "nan or inf"),
    (lambda D, x, levels: right(D, x, levels[:-1]), "is the last step taken"),
    (lambda D, x, levels: euler(lambda x, a: 2 * x - D(x, a), x, levels), "farther from the data"),
]
