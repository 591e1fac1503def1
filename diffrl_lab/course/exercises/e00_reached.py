"""Success: the ball, not the plan, comes within 0.45 m of the goal."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "What counts is where the ball *was*; the plan is only what was hoped for. And it counts at any time.",
    "(driven - goal) has shape [T, 2]; its norm over the last axis is a distance per step.",
)
NEAR = 0.45


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    goal = rng.uniform(-3, 3, 2)
    far, close = goal + [3.0, 0.0], goal + [0.3, -0.1]
    diagonal = goal + 0.4  # 0.57 m away, although each coordinate is within 0.45

    def path(end: np.ndarray, n: int = 20) -> np.ndarray:
        return np.linspace(far, end, n)

    out = path(far + [0, 1.0])
    return [
        {"driven": path(close), "planned": path(goal), "goal": goal},
        {"driven": out, "planned": path(goal), "goal": goal},  # planned well, driven elsewhere
        # came and left
        {"driven": np.concatenate([path(close), path(close)[::-1]]), "planned": path(goal), "goal": goal},
        {"driven": path(close), "planned": out, "goal": goal},  # reached in spite of the plan
        {"driven": path(diagonal), "planned": path(goal), "goal": goal},
    ]


def _near(points: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - goal, axis=-1) <= NEAR


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    def each(f: Any) -> list[Any]:
        return [bool(f(c["driven"], c["planned"], c["goal"])) for c in cases]

    slips = {
        "you looked at the plan; a plan always ends at its goal, since the goal was pinned there": each(
            lambda d, p, g: _near(p, g).any()
        ),
        "you looked only at the last step; a ball that came and left has been there": each(
            lambda d, p, g: _near(d[-1:], g).any()
        ),
        "you asked for every step to be near the goal; one is enough": each(lambda d, p, g: _near(d, g).all()),
        "you compared x and y one by one; 0.45 m is a distance, so take the norm": each(
            lambda d, p, g: (np.abs(d - g) <= NEAR).all(-1).any()
        ),
        "that is the other way round": each(lambda d, p, g: not _near(d, g).any()),
    }
    return match(answers, each(lambda d, p, g: _near(d, g).any()), slips, right="the ball decides, not the plan")


def right(driven, planned, goal):
    return bool(((driven - goal).norm(dim=-1) <= NEAR).any())


def by_minimum(driven, planned, goal):
    return float(((driven - goal) ** 2).sum(-1).min()) <= NEAR**2


RIGHT = [right, by_minimum]
WRONG = [
    (lambda driven, planned, goal: bool(((planned - goal).norm(dim=-1) <= NEAR).any()), "looked at the plan"),
    (lambda driven, planned, goal: bool((driven[-1] - goal).norm() <= NEAR), "only at the last step"),
    (lambda driven, planned, goal: bool(((driven - goal).norm(dim=-1) <= NEAR).all()), "every step"),
    (lambda driven, planned, goal: bool(((driven - goal).abs() <= NEAR).all(-1).any()), "take the norm"),
]
