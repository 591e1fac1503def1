"""How far apart two sets of samples are, and how far apart two samples of one law are by chance alone."""

from __future__ import annotations

import torch
from torch import Tensor


def energy_distance(x: Tensor, y: Tensor) -> float:
    """E = 2 E|X - Y| - E|X - X'| - E|Y - Y'| between samples x [n, ...] and y [m, ...] (Szekely and Rizzo 2013).

    It is 0 for equal laws and positive otherwise, in the units of x. Each row is one point (a whole trajectory: scale
    its columns first). Pairs of a row with itself are left out, so the estimate is unbiased and may fall a little below
    0: hold it against `noise_floor`, never against 0. Raises ValueError for fewer than two rows or rows that differ.
    """
    x, y = _rows("x", x), _rows("y", y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"rows of x and y must be alike, got {x.shape[1]} and {y.shape[1]} numbers in one")
    return float(2 * torch.cdist(x, y).mean() - _within(x) - _within(y))


def noise_floor(data: Tensor, n: int, m: int | None = None, generator: torch.Generator | None = None,
                repeats: int = 50) -> Tensor:
    """Energy distances between two disjoint samples, of n and m (default n) rows of `data` [N, ...] -> [repeats].

    What a perfect model scores: its samples differ from the data by this much. Rows must be independent (one window
    per episode, say), or the floor comes out too low. Raises ValueError where n + m exceeds N.
    """
    rows, m = _rows("data", data), n if m is None else m
    if n < 2 or m < 2 or n + m > len(rows):
        raise ValueError(f"two disjoint samples of at least 2 rows need {n} + {m} rows, the data have {len(rows)}")
    pairs = torch.cdist(rows, rows)
    found = []
    for _ in range(repeats):
        order = torch.randperm(len(rows), generator=generator)
        a, b = order[:n], order[n : n + m]
        inner = [pairs[i][:, i].sum() / (len(i) * (len(i) - 1)) for i in (a, b)]
        found.append(2 * pairs[a][:, b].mean() - inner[0] - inner[1])
    return torch.stack(found)


def nearest(x: Tensor, data: Tensor) -> Tensor:
    """Distance from each row of x [n, ...] to the nearest row of data [N, ...], in the units of x -> [n].

    Samples much nearer to the training data than fresh data are were memorised.
    """
    return torch.cdist(_rows("x", x), _rows("data", data)).amin(1)


def _rows(name: str, x: Tensor) -> Tensor:
    x = torch.as_tensor(x)
    if x.ndim < 1 or len(x) < 1 or (name != "x" and len(x) < 2):
        raise ValueError(f"{name} must hold at least two rows, got the shape {list(x.shape)}")
    return x.reshape(len(x), -1).double()


def _within(x: Tensor) -> Tensor:
    """Mean distance between two different rows."""
    if len(x) < 2:
        raise ValueError("an energy distance needs at least two rows on each side, got one")
    return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))
