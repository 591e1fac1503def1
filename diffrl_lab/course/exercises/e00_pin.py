"""Pinning: known entries are overwritten, all others are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "For each entry there are two candidates, `value` and `x`; `known` decides.",
    "torch.where(condition, if_true, if_false) does exactly this.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"x": rng.normal(size=(h, 4)), "known": rng.random((h, 4)) < 0.3, "value": rng.normal(size=(h, 4))}
        for h in (3, 8)
    ]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "you kept x where the value is known: the two are swapped": [
            np.where(c["known"], c["x"], c["value"]) for c in cases
        ],
        "you added the value to the noise that was there; a pinned entry is replaced": [
            c["x"] + c["known"] * c["value"] for c in cases
        ],
        "you erased what is not known; those entries are the plan": [c["known"] * c["value"] for c in cases],
        "you averaged; a known entry is known exactly": [
            np.where(c["known"], (c["x"] + c["value"]) / 2, c["x"]) for c in cases
        ],
    }
    truth = [np.where(c["known"], c["value"], c["x"]) for c in cases]
    return match(answers, truth, slips, right="this line is applied to what D sees and to what D says, at every step")


def right(x, known, value):
    import torch

    return torch.where(known, value, x)


def by_arithmetic(x, known, value):
    return x * ~known + value * known


RIGHT = [right, by_arithmetic]
WRONG = [
    (lambda x, known, value: x * known + value * ~known, "swapped"),
    (lambda x, known, value: x + known * value, "replaced"),
    (lambda x, known, value: value * known, "erased"),
    (lambda x, known, value: x + known * (value - x) / 2, "averaged"),
]
