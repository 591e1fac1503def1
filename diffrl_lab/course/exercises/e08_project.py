"""The nearest place outside of a disc, for every point of a plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match, put

HINTS = (
    "A point inside moves straight away from the centre until its distance is r. A point outside does not move.",
    "p = x - centre has the length d. The answer is centre + p * (r / d) where d < r: clamp the factor.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"x": rng.normal(size=shape), "centre": rng.normal(size=2) * 0.5, "r": float(rng.uniform(0.8, 1.5))}
        for shape in ((6, 2), (4, 5, 2), (20, 2))
    ]


def right(x, centre, r):
    p = x - centre
    return centre + p * (r / p.norm(dim=-1, keepdim=True)).clamp(min=1)


def by_where(x, centre, r):
    p = x - centre
    d = p.square().sum(-1, keepdim=True).sqrt()
    return torch.where(d < r, centre + r * p / d, x)


def all_on_the_edge(x, centre, r):
    p = x - centre
    return centre + p * r / p.norm(dim=-1, keepdim=True)


def into(x, centre, r):
    p = x - centre
    return centre + p * (r / p.norm(dim=-1, keepdim=True)).clamp(max=1)


def about_origin(x, centre, r):
    return x * (r / x.norm(dim=-1, keepdim=True)).clamp(min=1)


def not_put_back(x, centre, r):
    return right(x, centre, r) - centre


def adds(x, centre, r):
    p = x - centre
    d = p.norm(dim=-1, keepdim=True)
    return torch.where(d < r, x + r * p / d, x)


def square(x, centre, r):
    p = x - centre
    return centre + torch.where((p.abs() < r).all(-1, keepdim=True), r * p.sign(), p)


SLIPS = {
    "points outside must stay: you moved all points to the edge": all_on_the_edge,
    "you moved points *into* the disc: the factor is at least 1, not at most": into,
    "the disc has its own centre: you measured from the origin": about_origin,
    "you measured from the centre and forgot to add it again": not_put_back,
    "you moved points by r; they move only as far as the edge, where the distance is r": adds,
    "that is a square: distances are lengths, not numbers of x and y alone": square,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [put(f, c).numpy() for c in cases] for text, f in SLIPS.items()}
    return match(answers, [put(right, c).numpy() for c in cases], slips, right="inside to the edge, outside unmoved")


RIGHT = [right, by_where]
WRONG = [
    (all_on_the_edge, "points outside must stay"),
    (into, "*into* the disc"),
    (about_origin, "from the origin"),
    (not_put_back, "forgot to add it"),
    (adds, "moved points by r"),
    (square, "a square"),
]
