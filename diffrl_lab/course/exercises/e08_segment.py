"""How near the segment between two points of a plan comes to a centre."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match, put

HINTS = (
    "A point of the segment is a + u (b - a) with u between 0 and 1. Which u is nearest to the centre?",
    "Without ends u = ((centre - a) . (b - a)) / |b - a|^2. Clamp it to [0, 1], and take the distance at that u.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = [
        {"a": rng.normal(size=(n, 2)), "b": rng.normal(size=(n, 2)), "centre": rng.normal(size=2)} for n in (4, 9)
    ]
    a = rng.normal(size=(6, 2))
    return [*inputs, {"a": a, "b": a + 0.3 * rng.normal(size=(6, 2)), "centre": 2 + rng.normal(size=2)}]


def right(a, b, centre):
    way = b - a
    u = (((centre - a) * way).sum(-1) / way.square().sum(-1)).clamp(0, 1)
    return (a + u[:, None] * way - centre).norm(dim=-1)


def by_ends(a, b, centre):
    p, q = a - centre, b - centre
    way = q - p
    line = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).abs() / way.norm(dim=1)
    between = ((p * way).sum(1) < 0) & ((q * way).sum(1) > 0)
    return torch.where(between, line, torch.minimum(p.norm(dim=1), q.norm(dim=1)))


def ends_alone(a, b, centre):
    return torch.minimum((a - centre).norm(dim=-1), (b - centre).norm(dim=-1))


def whole_line(a, b, centre):
    way = b - a
    u = ((centre - a) * way).sum(-1) / way.square().sum(-1)
    return (a + u[:, None] * way - centre).norm(dim=-1)


def middle(a, b, centre):
    return ((a + b) / 2 - centre).norm(dim=-1)


def not_squared(a, b, centre):
    way = b - a
    u = (((centre - a) * way).sum(-1) / way.norm(dim=-1)).clamp(0, 1)
    return (a + u[:, None] * way - centre).norm(dim=-1)


def squared(a, b, centre):
    return right(a, b, centre) ** 2


def wrong_way(a, b, centre):
    way = b - a
    u = (((a - centre) * way).sum(-1) / way.square().sum(-1)).clamp(0, 1)
    return (a + u[:, None] * way - centre).norm(dim=-1)


SLIPS = {
    "you looked at both ends alone: between them the segment may come nearer": ends_alone,
    "that is the distance to the whole line: a segment ends, so clamp u to [0, 1]": whole_line,
    "that is the distance to the middle of the segment": middle,
    "u is divided by the squared length of the way": not_squared,
    "your distance is squared: take the root": squared,
    "the sign of u: it grows from a towards the centre, (centre - a) . (b - a)": wrong_way,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [put(f, c).numpy() for c in cases] for text, f in SLIPS.items()}
    return match(
        answers, [put(right, c).numpy() for c in cases], slips, right="the nearest point may lie between the ends"
    )


RIGHT = [right, by_ends]
WRONG = [
    (ends_alone, "both ends alone"),
    (whole_line, "whole line"),
    (middle, "the middle"),
    (not_squared, "squared length"),
    (squared, "squared: take the root"),
    (wrong_way, "sign of u"),
]
