"""How many windows of `horizon` steps lie in episodes of given lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "How many windows does an episode of exactly `horizon` steps hold? And one that is a step shorter?",
    "One episode of L steps holds L - horizon + 1 windows, or none if that is negative. Add up over the episodes.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    mixed = rng.integers(20, 200, size=12)
    return [
        {"lengths": mixed, "horizon": 64},
        {"lengths": np.array([32, 32, 100]), "horizon": 32},
        {"lengths": np.array([10, 80]), "horizon": 40},
    ]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "an episode of exactly `horizon` steps holds one window; yours holds none: + 1 is missing": lost,
        "windows across the end of an episode are counted: the ball does not jump to the next start": crossing,
        "short episodes count negatively: none is the least there can be": negative,
        "your windows do not overlap: one may start at every step": tiled,
    }
    wrong = {message: [slip(**c) for c in cases] for message, slip in slips.items()}
    return match(answers, [right(**c) for c in cases], wrong, right="one for an exact fit, none for less, never across")


def right(lengths, horizon):
    return sum(max(int(L) - horizon + 1, 0) for L in lengths)


def by_start(lengths, horizon):
    return sum(1 for L in lengths for start in range(int(L)) if start + horizon <= int(L))


def lost(lengths, horizon):
    return sum(max(int(L) - horizon, 0) for L in lengths)


def crossing(lengths, horizon):
    return int(sum(lengths)) - horizon + 1


def negative(lengths, horizon):
    return sum(int(L) - horizon + 1 for L in lengths)


def tiled(lengths, horizon):
    return sum(int(L) // horizon for L in lengths)


RIGHT = [right, by_start]
WRONG = [
    (lost, "+ 1 is missing"),
    (crossing, "across the end"),
    (negative, "count negatively"),
    (tiled, "do not overlap"),
]
