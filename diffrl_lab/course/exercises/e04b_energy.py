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
    wrong = {message: [slip(**c) for c in cases] for message, slip in slips.items()}
    truth = [_energy(**c) for c in cases]
    return match(answers, truth, wrong, right="0 for equal distributions, apart from chance", rtol=1e-4, atol=1e-6)


def _pairs(x: Any, y: Any) -> np.ndarray:
    return np.linalg.norm(np.asarray(x)[:, None] - np.asarray(y)[None], axis=-1)


def _within(x: Any) -> float:
    return float(_pairs(x, x).sum() / (len(x) * (len(x) - 1)))


def _energy(x: Any, y: Any) -> float:
    return float(2 * _pairs(x, y).mean() - _within(x) - _within(y))


def selves(x: Any, y: Any) -> float:
    return float(2 * _pairs(x, y).mean() - _pairs(x, x).mean() - _pairs(y, y).mean())


def once(x: Any, y: Any) -> float:
    return float(_pairs(x, y).mean() - _within(x) - _within(y))


def squared(x: Any, y: Any) -> float:
    n, m = len(x), len(y)
    inner = (_pairs(x, x) ** 2).sum() / (n * (n - 1)) + (_pairs(y, y) ** 2).sum() / (m * (m - 1))
    return float(2 * (_pairs(x, y) ** 2).mean() - inner)


def manhattan(x: Any, y: Any) -> float:
    def far(a: Any, b: Any) -> np.ndarray:
        return np.abs(np.asarray(a)[:, None] - np.asarray(b)[None]).sum(-1)

    n, m = len(x), len(y)
    return float(2 * far(x, y).mean() - far(x, x).sum() / (n * (n - 1)) - far(y, y).sum() / (m * (m - 1)))


def pooled(x: Any, y: Any) -> float:
    return float(2 * _pairs(x, y).mean() - 2 * _within(np.concatenate([np.asarray(x), np.asarray(y)])))


def turned(x: Any, y: Any) -> float:
    return -_energy(x, y)


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
