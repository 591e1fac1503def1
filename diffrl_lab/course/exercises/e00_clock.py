"""Two clocks: the environment time of a point of the plan."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "The points are spread evenly over the plan: point 0 at its beginning, the last point at its end.",
    "Of `horizon` points, the last has index horizon - 1. A duration in steps becomes seconds with 0.01 s a step.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"k": int(k), "horizon": h, "duration": float(rng.integers(40, 400)), "t": float(rng.uniform(0.05, 0.95))}
        for h in (16, 32)
        for k in (rng.integers(1, h - 1), h - 1)
    ]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    def each(f: Any) -> list[Any]:
        return [f(c["k"], c["horizon"], c["duration"], c["t"]) for c in cases]

    slips = {
        "you divided by the number of points; between 32 points lie 31 gaps": each(lambda k, h, n, t: k / h * n * 0.01),
        "that is a number of steps; one step lasts 0.01 s": each(lambda k, h, n, t: k / (h - 1) * n),
        "t is the diffusion time, how noisy the plan still is; it says nothing about when the ball is where": each(
            lambda k, h, n, t: t * n * 0.01
        ),
        "diffusion time does not change the clock on the wall: leave t out": each(
            lambda k, h, n, t: t * k / (h - 1) * n * 0.01
        ),
        "that is the duration of the whole plan": each(lambda k, h, n, t: n * 0.01),
    }
    truth = each(lambda k, h, n, t: k / (h - 1) * n * 0.01)
    return match(answers, truth, slips, right="the noisiest plan and the finished one have the same clock")


def right(k, horizon, duration, t):
    return k / (horizon - 1) * duration * 0.01


def by_grid(k, horizon, duration, t):
    return float(np.linspace(0, 0.01 * duration, horizon)[k])


RIGHT = [right, by_grid]
WRONG = [
    (lambda k, horizon, duration, t: 0.01 * duration * k / horizon, "31 gaps"),
    (lambda k, horizon, duration, t: k * duration / (horizon - 1), "number of steps"),
    (lambda k, horizon, duration, t: t * duration / 100, "how noisy the plan still is"),
    (lambda k, horizon, duration, t: t * k * duration / (horizon - 1) / 100, "leave t out"),
    (lambda k, horizon, duration, t: duration / 100, "whole plan"),
]
