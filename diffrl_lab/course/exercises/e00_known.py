"""Which entries of a plan are given: the start's state and the goal's position."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "How many numbers do we know? The start is a whole state (x, y, vx, vy); of the goal we know only where it is.",
    "Begin with zeros of shape [horizon, 4] and dtype bool. Set row 0, and the first two columns of row -1.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"horizon": int(h)} for h in rng.integers(3, 40, 3)]


def _mask(horizon: int, first: slice, last: slice, row: int = -1) -> np.ndarray:
    known = np.zeros((horizon, 4), bool)
    known[0, first] = True
    known[row, last] = True
    return known


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    every, place, rest = slice(None), slice(0, 2), slice(2, 4)
    shape = [c["horizon"] for c in cases]
    slips = {
        "you also pinned the velocity at the goal: nobody knows it yet, and 0 orders the ball to stop there": [
            _mask(h, every, every) for h in shape
        ],
        "you left the start's velocity free: the ball has one, and a plan that ignores it cannot be followed": [
            _mask(h, place, place) for h in shape
        ],
        "you pinned velocities, not places: x and y are columns 0 and 1": [_mask(h, every, rest) for h in shape],
        "the goal belongs into the last row, index -1; yours is one row early": [
            _mask(h, every, place, -2) for h in shape
        ],
        "True means known; your mask is the other way round": [~_mask(h, every, place) for h in shape],
    }
    truth = [_mask(h, every, place) for h in shape]
    return match(answers, truth, slips, right="six numbers are given, and the model answers for the rest")


def right(horizon):
    import torch

    known = torch.zeros(horizon, 4, dtype=torch.bool)
    known[0] = True
    known[-1, :2] = True
    return known


def by_index(horizon):
    import torch

    entry = torch.arange(4 * horizon).reshape(horizon, 4)
    return (entry < 4) | ((entry >= 4 * horizon - 4) & (entry < 4 * horizon - 2))


def _all_of_goal(horizon):
    known = right(horizon)
    known[-1] = True
    return known


def _no_velocity(horizon):
    known = right(horizon)
    known[0, 2:] = False
    return known


def _one_early(horizon):
    import torch

    known = torch.zeros(horizon, 4, dtype=torch.bool)
    known[0] = True
    known[horizon - 2, :2] = True
    return known


RIGHT = [right, by_index]
WRONG = [
    (_all_of_goal, "velocity at the goal"),
    (_no_velocity, "start's velocity free"),
    (_one_early, "one row early"),
    (lambda horizon: ~right(horizon), "the other way round"),
]
