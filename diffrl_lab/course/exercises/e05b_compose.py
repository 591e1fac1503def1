"""Conditions that add up: D(x_t) + sum_i w_i (D(x_t, c_i) - D(x_t)) (Liu et al. 2022)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Each condition is a direction from the free answer, D(x_t, c_i) - D(x_t). Add them up, each with its weight.",
    "With one condition it must be classifier-free guidance, and with all weights 0 the free answer.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"free": rng.normal(size=(4, 3)), "conditional": rng.normal(size=(len(w), 4, 3)), "w": np.array(w)}
        for w in ([2.0], [1.0, 1.5], [1.2, -0.5, 0.8])
    ]


def right(free, conditional, w):
    return free + (w[:, None, None] * (conditional - free)).sum(0)


def one_by_one(free, conditional, w):
    out = (1 - w.sum()) * free
    for weight, answer in zip(w, conditional, strict=True):
        out = out + weight * answer
    return out


def averaged(free, conditional, w):
    return free + (w[:, None, None] * (conditional - free)).mean(0)


def free_each_time(free, conditional, w):
    return (free + w[:, None, None] * (conditional - free)).sum(0)


def without_free(free, conditional, w):
    return (w[:, None, None] * conditional).sum(0)


def nested(free, conditional, w):
    out = free
    for weight, answer in zip(w, conditional, strict=True):
        out = out + weight * (answer - out)
    return out


def never_away(free, conditional, w):
    return right(free, conditional, w.abs())


def normalised(free, conditional, w):
    return right(free, conditional, w / w.sum())


SLIPS = {
    "you averaged the directions: two conditions then pull half as hard as each alone": averaged,
    "the free answer is counted once for each condition: add the directions, and the free answer once": free_each_time,
    "you added the conditional answers: a direction is conditional - free": without_free,
    "your second direction starts where the first one ended: all start at the free answer": nested,
    "a negative weight leads away from its condition: keep its sign": never_away,
    "you divided by the sum of the weights: then a scale of 2 does nothing": normalised,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    truth = [right(**c).numpy() for c in put]
    return match(answers, truth, slips, right="each condition is a direction, and directions add up")


RIGHT = [right, one_by_one]
WRONG = [
    (averaged, "averaged the directions"),
    (free_each_time, "counted once for each"),
    (without_free, "conditional - free"),
    (nested, "where the first one ended"),
    (never_away, "keep its sign"),
    (normalised, "sum of the weights"),
]
