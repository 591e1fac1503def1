"""One step of Heun's method on dx/dsigma = (x - D(x, sigma)) / sigma, where alpha = 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "First take Euler's step: x + (sigma_s - sigma_t) * slope at (x, sigma_t). It is a trial, not the answer.",
    "Ask for the slope at the trial point and sigma_s, average both slopes, and step again from x. If sigma_s is 0, "
    "the trial is the answer.",
)


def D(x: Any, sigma: float) -> Any:
    """The exact denoiser of the mixture .2 N(-1, .2^2) + .8 N(1, .2^2), alpha = 1; numpy or torch."""
    var = 0.04 + sigma**2
    e = torch.exp if torch.is_tensor(x) else np.exp
    r = 1 / (1 + 0.25 * e(-2 * x / var))  # the share of the mode at +1
    return 2 * r - 1 + 0.04 / var * (x - (2 * r - 1))


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    levels = ((2.0, 1.0), (0.8, 0.3), (0.3, 0.0))
    return [{"x": rng.normal(size=(4, 1)) * (1 + a), "sigma_t": a, "sigma_s": b} for a, b in levels]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    return answer(D, torch.from_numpy(case["x"].copy()), case["sigma_t"], case["sigma_s"])


def slope(x: Any, sigma: float) -> Any:
    return (x - D(x, sigma)) / sigma


def right(D, x, sigma_t, sigma_s):
    slope = (x - D(x, sigma_t)) / sigma_t
    trial = x + (sigma_s - sigma_t) * slope
    if sigma_s == 0:  # 0/0 there: the slope has no value, and Euler's step is what remains
        return trial
    end = (trial - D(trial, sigma_s)) / sigma_s
    return x + (sigma_s - sigma_t) * (slope + end) / 2


def by_correction(D, x, sigma_t, sigma_s):
    h = sigma_s - sigma_t
    first = (x - D(x, sigma_t)) / sigma_t
    trial = x + h * first
    return trial + h / 2 * ((trial - D(trial, sigma_s)) / sigma_s - first) if sigma_s > 0 else trial


def _euler(D, x, sigma_t, sigma_s):
    return x + (sigma_s - sigma_t) * slope(x, sigma_t)


def _made(last: Any) -> Any:
    """A slip that treats the clean end as it should be treated."""

    def answer(D, x, sigma_t, sigma_s):
        trial = _euler(D, x, sigma_t, sigma_s)
        return trial if sigma_s == 0 else last(x, sigma_t, sigma_s, trial, sigma_s - sigma_t)

    return answer


_end_only = _made(lambda x, a, b, trial, h: x + h * slope(trial, b))
_from_trial = _made(lambda x, a, b, trial, h: trial + h * (slope(x, a) + slope(trial, b)) / 2)
_no_half = _made(lambda x, a, b, trial, h: x + h * (slope(x, a) + slope(trial, b)))
_old_point = _made(lambda x, a, b, trial, h: x + h * (slope(x, a) + slope(x, b)) / 2)
_old_level = _made(lambda x, a, b, trial, h: x + h * (slope(x, a) + slope(trial, a)) / 2)
_half_way = _made(lambda x, a, b, trial, h: _midpoint(D, x, a, b))


def _midpoint(D, x, sigma_t, sigma_s):
    h = sigma_s - sigma_t
    return x + h * slope(x + h / 2 * slope(x, sigma_t), sigma_t + h / 2)


def _zero_at_the_end(D, x, sigma_t, sigma_s):
    trial = _euler(D, x, sigma_t, sigma_s)
    end = slope(trial, sigma_s) if sigma_s > 0 else 0
    return x + (sigma_s - sigma_t) * (slope(x, sigma_t) + end) / 2


SLIPS = {
    "that is Euler's step: the correction with the slope at its end is missing": _euler,
    "you used the slope at the end alone; Heun averages it with the slope at the beginning": _end_only,
    "you stepped on from the trial point; the averaged slope starts from x": _from_trial,
    "you added the slopes without halving: that goes twice the way": _no_half,
    "your second slope is taken at x; it belongs to the trial point": _old_point,
    "your second slope uses sigma_t; at the trial point the level is sigma_s": _old_level,
    (
        "you took the slope at sigma_s = 0 as 0, so your last step goes half the way: that slope is 0/0, and Euler's "
        "step is right there, uncorrected"
    ): _zero_at_the_end,
    "that is the midpoint method: it asks for the slope half-way; Heun asks at the end of the trial step": _midpoint,
    (
        "that is the midpoint method with a right last step: Heun asks for the slope at the end of the trial step, "
        "not half-way"
    ): _half_way,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    if not np.isfinite(np.asarray(answers[-1], dtype=float)).all():
        return Verdict(False, "at sigma_s = 0 the slope at the end is 0/0: take Euler's step there, uncorrected")
    slips = {text: [f(D, c["x"], c["sigma_t"], c["sigma_s"]) for c in cases] for text, f in SLIPS.items()}
    truth = [right(D, c["x"], c["sigma_t"], c["sigma_s"]) for c in cases]
    return match(answers, truth, slips, right="order 2, at two evaluations a step (one where sigma_s = 0)")


def _nan_at_the_end(D, x, sigma_t, sigma_s):
    first = (x - D(x, sigma_t)) / sigma_t
    trial = x + (sigma_s - sigma_t) * first
    end = (trial - D(trial, sigma_s)) / torch.tensor(sigma_s, dtype=x.dtype)
    return x + (sigma_s - sigma_t) * (first + end) / 2


RIGHT = [right, by_correction]
WRONG = [
    (_euler, "Euler's step"),
    (_end_only, "at the end alone"),
    (_from_trial, "from the trial point"),
    (_no_half, "without halving"),
    (_old_point, "taken at x"),
    (_old_level, "uses sigma_t"),
    (_nan_at_the_end, "at sigma_s = 0 the slope at the end is 0/0"),
    (_zero_at_the_end, "slope at sigma_s = 0 as 0"),
    (_midpoint, "midpoint method: it asks"),
    (_half_way, "with a right last step"),
]
