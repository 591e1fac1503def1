"""The energy distance of two sets of samples, without the pairs of a sample with itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Three mean distances are needed: across the sets, within x, and within y. torch.cdist gives all pairs at once.",
    "Within a set of n rows the n pairs of a row with itself have distance 0 and must not count: divide the sum of all "
    "distances by n (n - 1).",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"x": rng.normal(size=(7, 3)) + shift, "y": rng.normal(size=(5, 3)) * scale}
        for shift, scale in ((0.0, 2.0), (1.0, 1.0))
    ]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "the pairs of a row with itself count as well and pull the mean down: divide by n (n - 1), not by n n": selves,
        "the distance across the sets counts twice: it is 2 E|X - Y|": once,
        "you squared the distances: |X - Y| is the Euclidean length": squared,
        "you added |dx| over the columns: |X - Y| is the Euclidean length": manhattan,
        "you took the mean over x and y together: E|X - X'| and E|Y - Y'| are means of their own": pooled,
        "your sign is turned: the distance across the sets is the positive term": turned,
    }
    given = [{k: torch.as_tensor(v) for k, v in c.items()} for c in cases]
    wrong = {message: [slip(**c) for c in given] for message, slip in slips.items()}
    return match(
        answers, [right(**c) for c in given], wrong, "0 for equal distributions, apart from chance", 1e-4, 1e-6
    )


def selves(x, y):
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def once(x, y):
    return float(torch.cdist(x, y).mean() - torch.pdist(x).mean() - torch.pdist(y).mean())


def squared(x, y):
    return float(2 * (torch.cdist(x, y) ** 2).mean() - (torch.pdist(x) ** 2).mean() - (torch.pdist(y) ** 2).mean())


def manhattan(x, y):
    return float(2 * torch.cdist(x, y, p=1).mean() - torch.pdist(x, p=1).mean() - torch.pdist(y, p=1).mean())


def pooled(x, y):
    return float(2 * torch.cdist(x, y).mean() - 2 * torch.pdist(torch.cat([x, y])).mean())


def turned(x, y):
    return float(torch.pdist(x).mean() + torch.pdist(y).mean() - 2 * torch.cdist(x, y).mean())


def right(x, y):
    def within(z):
        return torch.cdist(z, z).sum() / (len(z) * (len(z) - 1))

    return float(2 * torch.cdist(x, y).mean() - within(x) - within(y))


def by_pairs(x, y):
    across = (x[:, None] - y[None]).norm(dim=-1).mean()
    return 2 * across - sum(torch.pdist(z).mean() for z in (x, y))


RIGHT = [right, by_pairs]
WRONG = [
    (selves, "with itself"),
    (once, "counts twice"),
    (squared, "squared"),
    (manhattan, "over the columns"),
    (pooled, "means of their own"),
    (turned, "sign"),
]
