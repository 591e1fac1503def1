"""Do the positions of a plan move as its own velocities say?"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Between H points lie H - 1 steps. How many seconds does one of them last?",
    "Between two points the ball moves dt times its mean velocity, and the mean is taken over both of them.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"positions": rng.normal(size=(7, 2)), "velocities": rng.normal(size=(7, 2)), "duration": seconds}
        for seconds in (0.6, 1.55)
    ]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "H points are H - 1 steps apart: dt = duration / (H - 1)": [_off(c, 0.5, 0.5, steps=7) for c in cases],
        "you use the velocity at the start of each step alone (Euler): take the mean of both ends": [
            _off(c, 1.0, 0.0) for c in cases
        ],
        "you use the velocity at the end of each step alone: take the mean of both ends": [
            _off(c, 0.0, 1.0) for c in cases
        ],
        "velocities are per second: multiply by dt before you compare with metres": [
            _off({**c, "duration": 6.0}, 0.5, 0.5) for c in cases
        ],
        "you give squared lengths: metres are wanted": [_off(c, 0.5, 0.5) ** 2 for c in cases],
        "you left the vector's length out by adding |dx| + |dy|: take the Euclidean norm": [
            np.abs(_vector(c, 0.5, 0.5)).sum(-1) for c in cases
        ],
    }
    truth = [_off(c, 0.5, 0.5) for c in cases]
    return match(answers, truth, slips, right="in metres, without a simulator and without a map")


def _vector(c: dict[str, Any], first: float, second: float, steps: int | None = None) -> np.ndarray:
    x, v = c["positions"], c["velocities"]
    dt = c["duration"] / (steps or len(x) - 1)
    return np.diff(x, axis=0) - dt * (first * v[:-1] + second * v[1:])


def _off(c: dict[str, Any], first: float, second: float, steps: int | None = None) -> np.ndarray:
    return np.linalg.norm(_vector(c, first, second, steps), axis=-1)


def right(positions, velocities, duration):
    dt = duration / (len(positions) - 1)
    said = dt * (velocities[:-1] + velocities[1:]) / 2
    return (positions[1:] - positions[:-1] - said).norm(dim=-1)


def by_steps(positions, velocities, duration):
    dt = duration / (len(positions) - 1)
    steps = zip(positions, positions[1:], velocities, velocities[1:], strict=False)
    return [float(((b - a - dt * (u + v) / 2) ** 2).sum() ** 0.5) for a, b, u, v in steps]


RIGHT = [right, by_steps]
WRONG = [
    (lambda positions, velocities, duration: right(positions, velocities, duration * 6 / 7), "H - 1"),
    (
        lambda positions, velocities, duration: (
            positions.diff(dim=0) - duration / (len(positions) - 1) * velocities[:-1]
        ).norm(dim=-1),
        "Euler",
    ),
    (
        lambda positions, velocities, duration: (
            positions.diff(dim=0) - duration / (len(positions) - 1) * velocities[1:]
        ).norm(dim=-1),
        "end of each step",
    ),
    (lambda positions, velocities, duration: right(positions, velocities, 6.0), "per second"),
    (lambda positions, velocities, duration: right(positions, velocities, duration) ** 2, "squared"),
    (
        lambda positions, velocities, duration: (
            (positions.diff(dim=0) - duration / (len(positions) - 1) * (velocities[1:] + velocities[:-1]) / 2)
            .abs()
            .sum(-1)
        ),
        "Euclidean",
    ),
]
