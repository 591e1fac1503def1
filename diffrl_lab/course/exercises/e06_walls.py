"""The share of plans that go through a wall: a plan does where a point of it, or a place between two, lies in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Two neighbours may lie on either side of a wall, and no point in it. So look at places between them, too: "
    "a + u (b - a), with u = 0, 1/parts, ..., 1.",
    "Of the plan's pieces, places = a + u (b - a) has the shape [n, H - 1, parts + 1, 2]. inside(places) says which "
    "lie in a wall; .flatten(1).any(1) says which plans have one, and the mean of that is a share.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for n, H, parts in ((40, 6, 12), (60, 4, 20), (30, 9, 8)):
        first = np.stack([rng.uniform(-2, -1, n), rng.uniform(-1, 1, n)], -1)
        steps = np.stack([rng.uniform(0.2, 0.7, (n, H - 1)), rng.normal(0, 0.35, (n, H - 1))], -1)
        steps[..., 0] *= 3.2 / steps[..., 0].sum(1, keepdims=True) * rng.uniform(0.4, 1.0, (n, 1))
        plans = np.concatenate([first[:, None], first[:, None] + steps.cumsum(1)], 1)
        inputs.append({"plans": plans, "parts": parts, "wall": np.array([-0.1, 0.1, -0.4, 2.0])})
    return inputs


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    left, right_, bottom, top = case["wall"]

    def inside(points: Any) -> torch.Tensor:
        x, y = torch.as_tensor(points).unbind(-1)
        return (x > left) & (x < right_) & (y > bottom) & (y < top)

    return answer(torch.tensor(case["plans"]), inside, case["parts"])


def places(plans: torch.Tensor, parts: int) -> torch.Tensor:
    u = torch.linspace(0, 1, parts + 1, dtype=plans.dtype)[:, None]
    a, b = plans[:, :-1, None], plans[:, 1:, None]
    return a + u * (b - a)


def right(plans, inside, parts):
    u = torch.linspace(0, 1, parts + 1, dtype=plans.dtype)[:, None]
    a, b = plans[:, :-1, None], plans[:, 1:, None]
    return inside(a + u * (b - a)).flatten(1).any(1).double().mean()


def one_by_one(plans, inside, parts):
    met = 0
    for plan in plans:
        for k in range(parts + 1):
            if inside(plan[:-1] * (1 - k / parts) + plan[1:] * (k / parts)).any():
                met += 1
                break
    return met / len(plans)


def points_alone(plans, inside, parts):
    return inside(plans).any(1).double().mean()


def half_way(plans, inside, parts):
    return (inside(plans).any(1) | inside((plans[:, 1:] + plans[:, :-1]) / 2).any(1)).double().mean()


def of_pieces(plans, inside, parts):
    return inside(places(plans, parts)).any(-1).double().mean()


def of_places(plans, inside, parts):
    return inside(places(plans, parts)).double().mean()


def free(plans, inside, parts):
    return 1 - right(plans, inside, parts)


def count(plans, inside, parts):
    return right(plans, inside, parts) * len(plans)


def every(plans, inside, parts):
    return inside(places(plans, parts)).any(-1).all(1).double().mean()


def beeline(plans, inside, parts):
    return inside(places(plans[:, [0, -1]], 200)).flatten(1).any(1).double().mean()


SLIPS = {
    "you looked at the points alone: two neighbours may lie on either side of a wall": points_alone,
    "you looked half-way between neighbours alone: a thin wall needs all `parts` places": half_way,
    "that is a share of pieces; a plan with one piece in a wall is lost whole": of_pieces,
    "that is a share of places; a plan with one place in a wall is lost whole": of_places,
    "that is the share of plans that keep clear; the others were asked for": free,
    "that is how many plans; divide by their number": count,
    "you ask that every piece of a plan meets a wall: one is enough": every,
    "you looked along the straight line from start to goal, not along the plan": beeline,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [np.asarray(ask(f, c)) for c in cases] for text, f in SLIPS.items()}
    truth = [np.asarray(ask(right, c)) for c in cases]
    return match(answers, truth, slips, right="one place in a wall is enough to lose a plan")


RIGHT = [right, one_by_one]
WRONG = [
    (points_alone, "points alone"),
    (half_way, "half-way between"),
    (of_pieces, "share of pieces"),
    (of_places, "share of places"),
    (free, "keep clear"),
    (count, "divide by their number"),
    (every, "every piece"),
    (beeline, "straight line from start to goal"),
]
