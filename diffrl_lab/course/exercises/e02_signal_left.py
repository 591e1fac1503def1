"""The scale of the signal that a list of betas leaves at t = 1: alpha_1 = sqrt(prod (1 - beta))."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Each step keeps the share 1 - beta of the signal's variance. What do all of them together keep?",
    "alpha_bar = prod(1 - beta) is a share of variance; alpha_1, a scale, is its square root.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    top = np.random.default_rng(seed).uniform(0.02, 0.06)
    return [{"betas": np.linspace(1e-4, top, T)} for T in (5, 20, 1000)]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    b = [c["betas"] for c in cases]
    slips = {
        "this is alpha_bar, a share of variance; the scale alpha_1 is its square root": [np.prod(1 - x) for x in b],
        "shares multiply, they do not add up: take the product of 1 - beta": [1 - x.sum() for x in b],
        "this is sigma_1, the noise; the signal was asked for": [np.sqrt(1 - np.prod(1 - x)) for x in b],
        "this is what the last step keeps; all steps together are wanted": [np.sqrt(1 - x[-1]) for x in b],
        "you multiplied the betas; each step keeps 1 - beta": [np.sqrt(np.prod(x)) for x in b],
        "this is the share of noise, 1 - alpha_bar; the scale of the signal was asked for": [
            1 - np.prod(1 - x) for x in b
        ],
    }
    scales = [np.sqrt(np.prod(1 - x)) for x in b]
    said = f"with 20 such steps {scales[1]:.2f} of the signal is still standing, with 1,000 nearly nothing"
    return match(answers, scales, slips, right=said)


def right(betas):
    return (1 - betas).prod() ** 0.5


def by_logarithms(betas):
    return (betas.neg().log1p().sum() / 2).exp()


RIGHT = [right, by_logarithms]
WRONG = [
    (lambda betas: (1 - betas).prod(), "this is alpha_bar"),
    (lambda betas: 1 - betas.sum(), "do not add up"),
    (lambda betas: (1 - (1 - betas).prod()) ** 0.5, "this is sigma_1"),
    (lambda betas: (1 - betas[-1]) ** 0.5, "last step"),
    (lambda betas: betas.prod() ** 0.5, "multiplied the betas"),
    (lambda betas: 1 - (1 - betas).prod(), "share of noise"),
]
