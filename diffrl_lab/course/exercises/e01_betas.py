"""DDPM's betas out of alpha_t: beta_n = 1 - alpha_bar_n / alpha_bar_{n-1}, with alpha_bar = alpha_t squared."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match
from diffrl_lab.diffusion import Cosine, Linear, Rectified

HINTS = (
    "By the last row of the table 1 - beta_n is alpha_ts squared. What is alpha_ts for two neighbours of `alpha`?",
    "alpha is the square root of alpha_bar, so alpha_bar = alpha**2; neighbours are alpha_bar[1:] and alpha_bar[:-1].",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    T, end = int(rng.integers(8, 30)), float(rng.uniform(0.7, 0.95))
    grid = torch.linspace(0, end, T + 1, dtype=torch.float64)
    return [{"alpha": schedule(grid)[0].numpy()} for schedule in (Linear(), Cosine(), Rectified())]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    a = [c["alpha"] for c in cases]
    slips = {
        "you forgot the square: 1 - beta_n is a ratio of alpha_bar, and alpha_bar = alpha_t^2": [
            1 - x[1:] / x[:-1] for x in a
        ],
        "you took alpha_t for DDPM's alpha_n = 1 - beta_n; here alpha_t is sqrt(alpha_bar), the product of all steps": [
            1 - x[1:] for x in a
        ],
        "you gave 1 - alpha_bar_n, the noise of all steps so far; beta_n is that of one step": [
            1 - x[1:] ** 2 for x in a
        ],
        "you took the difference of neighbours; each step multiplies what is left, so take their ratio": [
            x[:-1] ** 2 - x[1:] ** 2 for x in a
        ],
        "you gave 1 - beta_n (DDPM's alpha_n): subtract it from 1": [(x[1:] / x[:-1]) ** 2 for x in a],
        "you gave sigma_ts, the scale of one step's noise; beta_n is its variance, so square it": [
            (1 - (x[1:] / x[:-1]) ** 2) ** 0.5 for x in a
        ],
        "you took the root of the ratio; alpha_bar = alpha_t^2, so a square belongs there": [
            1 - (x[1:] / x[:-1]) ** 0.5 for x in a
        ],
        "your ratio is upside down: alpha_bar falls with n, so beta comes out negative": [
            1 - (x[:-1] / x[1:]) ** 2 for x in a
        ],
    }
    if all(np.shape(v) == np.shape(x) for v, x in zip(answers, a, strict=True)):
        return Verdict(False, "you gave T + 1 numbers for T steps: no step leads to alpha_bar_0, which is the data")
    return match(answers, [1 - (x[1:] / x[:-1]) ** 2 for x in a], slips, right="one table serves every schedule")


def right(alpha):
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def by_logarithms(alpha):
    return -torch.expm1(2 * torch.log(alpha).diff())


RIGHT = [right, by_logarithms]
WRONG = [
    (lambda alpha: 1 - alpha[1:] / alpha[:-1], "forgot the square"),
    (lambda alpha: 1 - alpha[1:], "took alpha_t for DDPM's"),
    (lambda alpha: 1 - alpha[1:] ** 2, "all steps so far"),
    (lambda alpha: -(alpha**2).diff(), "difference of neighbours"),
    (lambda alpha: (alpha[1:] / alpha[:-1]) ** 2, "subtract it from 1"),
    (lambda alpha: 1 - (alpha[:-1] / alpha[1:]) ** 2, "upside down"),
    (lambda alpha: (1 - (alpha[1:] / alpha[:-1]) ** 2) ** 0.5, "square it"),
    (lambda alpha: 1 - (alpha[1:] / alpha[:-1]) ** 0.5, "took the root"),
    (lambda alpha: 1 - (alpha / alpha.roll(1)) ** 2, "T + 1 numbers"),
]
