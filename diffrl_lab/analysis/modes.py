"""Modes: which of the known ways samples take, how evenly, and which samples belong to none.

Two failures look alike in a mean and are told apart here: samples that leave the data (a share `left` of them belongs
to no mode) and samples that lose a mode (its share of those that stayed falls). A label is the number of a mode, 0 to
K - 1, or -1 for none; shares, coverage and entropy are over the samples that stayed, so read them beside `left`: alone
they hide a collapse into invalid samples.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, special, stats
from torch import Tensor

from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.samples import array, real
from diffrl_lab.diffusion.schedules import tensor
from diffrl_lab.worlds.walls import Walls

Word = tuple[int, ...]
"""A homotopy class: signed crossings in their order, +(b + 1) down and -(b + 1) up past the ray of block b, reduced."""


@dataclass(frozen=True)
class Centres:
    """Modes by their centres [K, ...], each with a radius [K] beyond which a sample is none of its own.

    Distances are Euclidean over the flattened row, in the units of the data: scale the columns first.
    """

    centres: Tensor
    radius: Tensor

    @classmethod
    def of(cls, data: Tensor, labels: Tensor, level: float = 0.99) -> Centres:
        """The means of labelled data [N, ...], and the radii within which a share `level` of each mode's rows lies.

        So a perfect model leaves the data with a share of about 1 - level: that is the floor of `Shares.left`.
        Raises ValueError unless labels [N] name the modes 0 to K - 1, each with at least two rows.
        """
        data, labels = real("data", data).detach(), tensor("labels", labels)
        if labels.shape != data.shape[:1] or not len(labels) or torch.bincount(labels.clamp(min=0)).min() < 2:
            raise ValueError(
                "labels must name 0 to K - 1 for each row, at least twice each; got "
                f"{labels.unique().tolist()[:9]} for {len(data)} rows"
            )
        groups = [data[labels == k].flatten(1).double() for k in range(int(labels.max()) + 1)]
        centres = torch.stack([g.mean(0) for g in groups])
        radius = torch.stack(
            [torch.linalg.vector_norm(g - c, dim=1).quantile(level) for g, c in zip(groups, centres, strict=True)]
        )
        return cls(centres, radius)

    def __call__(self, x: Tensor) -> Tensor:
        """The label of each row of x [n, ...]: its nearest centre, or -1 beyond that centre's radius. -> [n]"""
        centres, rows = (real(name, v).flatten(1).double() for name, v in (("centres", self.centres), ("x", x)))
        if rows.shape[1] != centres.shape[1]:
            raise ValueError(f"rows of {centres.shape[1]} numbers were wanted, got {rows.shape[1]}")
        distance, label = torch.cdist(rows, centres).min(1)
        return torch.where(distance <= real("radius", self.radius).expand(len(centres))[label], label, -1)


class Shares(NamedTuple):
    """How samples divide over K modes, with 95 % intervals (Wilson 1927), each mode's and `left`'s for itself."""

    counts: NDArray[np.int64]  # [K]
    share: NDArray[np.float64]  # [K]  of the samples that stayed; NaN where none did
    interval: NDArray[np.float64]  # [K, 2]
    left: float  # the share of all samples that belong to no mode
    left_interval: tuple[float, float]


def shares(labels: ArrayLike, modes: int) -> Shares:
    """Counts and shares of labels [n] over modes 0 to `modes` - 1, and the share that left the data (label -1).

    Raises ValueError without samples, or for labels outside -1 to modes - 1.
    """
    count, n = _counted(labels, modes)
    stayed = int(count.sum())
    each = [wilson(int(c), stayed) if stayed else (0.0, 1.0) for c in count]
    return Shares(
        count,
        count / stayed if stayed else np.full(modes, np.nan),
        np.array(each),
        (n - stayed) / n,
        wilson(n - stayed, n),
    )


def coverage(labels: ArrayLike, modes: int, above: float = 0.0) -> float:
    """The share of the K modes that hold more than a share `above` of the samples that stayed (0: hit at least once).

    More samples hit more modes: hold it against `expected_coverage` or `mode_floor` at the same n. 0 if none stayed.
    """
    count, _ = _counted(labels, modes)
    return float((count > above * max(count.sum(), 1) + 1e-9).mean())


def expected_coverage(p: ArrayLike, n: int, above: float = 0.0) -> float:
    """E[coverage] of n samples that stay and follow the shares p [K], exactly: mean_k P(Binomial(n, p_k) > above n).

    For above = 0 that is 1 - mean_k (1 - p_k)^n.
    """
    return float(stats.binom.sf(np.floor(above * n + 1e-9), n, _law(p)).mean())


def entropy(labels: ArrayLike, modes: int, corrected: bool = False) -> float:
    """-sum_k s_k ln s_k of the shares of the samples that stayed, in nats (0 to ln K); exp of it counts modes.

    It is too low by about (K - 1) / 2n on n samples, since a share that came out too low costs more than one too high
    gains; `corrected` adds (modes hit - 1) / 2n (Miller 1955). `expected_entropy` is exact. NaN if none stayed.
    """
    count, _ = _counted(labels, modes)
    if not count.sum():
        return float("nan")
    correction = (np.count_nonzero(count) - 1) / (2 * count.sum()) if corrected else 0.0
    return float(special.entr(count / count.sum()).sum() + correction)


def expected_entropy(p: ArrayLike, n: int) -> float:
    """E[entropy] of n samples that follow the shares p [K], exactly; less than the entropy of p.

    The entropy is a sum over modes and each mode's count is binomial: -sum_k sum_j Binom(j; n, p_k) (j/n) ln(j/n).
    """
    j = np.arange(1, n + 1)
    return float((stats.binom.pmf(j, n, _law(p)[:, None]) * special.entr(j / n)).sum())


def mode_floor(
    statistic: Callable[[NDArray[np.int64], int], float],
    p: ArrayLike,
    n: int,
    *,
    generator: np.random.Generator,
    repeats: int = 1000,
) -> NDArray[np.float64]:
    """A statistic (labels, modes) -> number of n samples of a perfect model, whose shares are p [K] -> [repeats].

    Its 5 % quantile is the floor that coverage or entropy must fall below to show a loss. p is taken as exact: where it
    was counted on m samples of data, let m be much larger than n.
    """
    p = _law(p)
    return np.array([statistic(labels, len(p)) for labels in generator.choice(len(p), size=(repeats, n), p=p)])


def vendi(similarity: ArrayLike | Tensor, q: float = 1.0) -> float:
    """The Vendi score: the effective number of different samples among n (Friedman and Dieng 2023).

    exp(-sum_i l_i ln l_i) with l the eigenvalues of similarity [n, n] / n; of order q: (sum l^q)^{1 / (1 - q)}
    (Pasarkar and Dieng 2024; infinity: 1 / max l). 1 when all are alike, n when none resembles another, K for K equal
    groups without resemblance. It needs no modes, but a similarity, and grows with n: hold it against data at this n.
    Raises ValueError unless `similarity` is symmetric, positive semi-definite and 1 on its diagonal.
    """
    s = real("similarity", similarity).detach().double()
    if s.ndim != 2 or s.shape[0] != s.shape[1] or not len(s):
        raise ValueError(f"a similarity is [n, n], got {list(s.shape)}")
    if not torch.allclose(s, s.mT, atol=1e-6) or not torch.allclose(s.diagonal(), torch.ones(len(s)).double()):
        raise ValueError("a similarity must be symmetric and 1 on its diagonal")
    values = torch.linalg.eigvalsh(s / len(s))
    if values.min() < -1e-6:
        least = float(values.min()) * len(s)
        raise ValueError(f"a similarity must be positive semi-definite, an eigenvalue is {least:.3g}")
    values = values.clamp(min=0)
    if q == 1:
        return float(torch.special.entr(values).sum().exp())
    if q == float("inf"):
        return float(1 / values.max())
    return float(values[values > 1e-12].pow(q).sum() ** (1 / (1 - q)))


def gaussian_similarity(x: Tensor, bandwidth: float) -> Tensor:
    """exp(-|x_i - x_j|^2 / 2 h^2) between rows of x [n, ...], h the bandwidth in the units of x -> [n, n].

    Choose h once, on data (its distance between neighbours within a mode), and use it for everything compared.
    """
    if not bandwidth > 0:
        raise ValueError(f"a bandwidth must be positive, got {bandwidth}")
    rows = real("x", x).flatten(1).double()
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")  # the other mode: diagonal not 0
    return torch.exp(-distance.square() / (2 * bandwidth**2))


def holes(walls: Walls) -> NDArray[np.float64]:
    """A point [B, 2] within each enclosed block of a maze: a set of walls that does not touch the map's border.

    Cells that touch at a corner are one block, since no ball passes between them. No two points have the same height.
    """
    blocks, n = ndimage.label(walls.blocked, structure=np.ones((3, 3)))
    edge = np.concatenate([blocks[0], blocks[-1], blocks[:, 0], blocks[:, -1]])
    within = []
    for b in sorted(set(range(1, n + 1)) - set(edge.tolist())):
        cells = np.argwhere(blocks == b)
        nearest = cells[np.square(cells - cells.mean(0)).sum(1).argmin()]
        within.append(walls.centre(nearest))
    points = np.array(within).reshape(-1, 2)
    # rays at different heights, so that no two are crossed at the same moment
    points[:, 1] += (np.arange(len(points)) + 1) / (len(points) + 1) * 0.1 * walls.scale
    return points


def homotopy(plans: ArrayLike, walls: Walls, tolerance: float = 0.2) -> list[Word | None]:
    """The homotopy class of each plan [N, H, 2+] among a maze's enclosed blocks -> N words, None for invalid plans.

    From a point in each block a ray runs to the left. A plan's word lists the rays it crosses, + downwards and -
    upwards; neighbours that undo each other are struck out. Two plans with the same ends can be bent into each other
    around the blocks if and only if their words agree (the fundamental group of the plane without B points is free;
    e.g. Bhattacharya et al. 2012). With other ends, words compare only where no ray lies between the two starts or the
    two goals; else take the word of the plan followed by a reference path backwards, which is a loop.
    In `two-ways`, from start to goal: (1,) is left, () is right. A plan with more than `tolerance` metres of its line
    inside walls passes through them rather than around, and has no class.
    """
    p = array("plans", plans)
    if p.ndim != 3 or p.shape[1] < 2 or p.shape[2] < 2:
        raise ValueError(f"plans must be [N, H, 2+] with H >= 2, got {list(p.shape)}")
    diverged = ~np.isfinite(p[..., :2]).all((1, 2), keepdims=True)
    p = np.where(diverged, 0, p)
    a, b = p[:, :-1, :2], p[:, 1:, :2]
    invalid = diverged.reshape(-1) | (_length_in_walls(a, b, walls) > tolerance)
    crossings: list[list[tuple[float, int]]] = [[] for _ in p]
    for k, (x, y) in enumerate(holes(walls)):
        i, j = np.nonzero((a[..., 1] > y) != (b[..., 1] > y))
        s = (y - a[i, j, 1]) / (b[i, j, 1] - a[i, j, 1])
        met = a[i, j, 0] + s * (b[i, j, 0] - a[i, j, 0]) < x
        for n, step, when in zip(i[met], j[met], s[met], strict=True):
            crossings[n].append((step + when, k + 1 if a[n, step, 1] > y else -k - 1))
    return [
        None if bad else _reduced([c for _, c in sorted(rays)]) for bad, rays in zip(invalid, crossings, strict=True)
    ]


def numbered(classes: Sequence[Hashable | None], known: Sequence[Hashable]) -> NDArray[np.int64]:
    """The place of each class in `known`, -1 for None and for classes that `known` lacks: labels for `shares`."""
    place = {c: k for k, c in enumerate(known)}
    return np.array([-1 if c is None else place.get(c, -1) for c in classes], dtype=np.int64)


def _reduced(letters: list[int]) -> Word:
    word: list[int] = []
    for letter in letters:
        if word and word[-1] == -letter:
            word.pop()
        else:
            word.append(letter)
    return tuple(word)


def _length_in_walls(a: NDArray, b: NDArray, walls: Walls, spacing: float = 0.02) -> NDArray[np.float64]:
    """Metres of each polyline's segments a, b [N, H-1, 2] inside walls -> [N]"""
    length = np.linalg.norm(b - a, axis=-1)
    n = max(2, int(np.ceil(length.max() / spacing)))
    s = (np.arange(n) + 0.5)[:, None] / n
    inside = walls.inside(a[..., None, :] + s * (b - a)[..., None, :]).mean(-1)
    return (inside * length).sum(-1)


def _counted(labels: ArrayLike, modes: int) -> tuple[NDArray[np.int64], int]:
    k = tensor("labels", labels).detach().cpu()
    whole = not (k.is_floating_point() or k.is_complex() or k.dtype == torch.bool)
    if k.ndim != 1 or not len(k) or not whole or k.min() < -1 or k.max() >= modes:
        raise ValueError(
            f"labels must be whole numbers [n], n >= 1, from -1 to {modes - 1}; got {tuple(k.shape)} "
            f"of {str(k.dtype).removeprefix('torch.')} with {k.unique()[:9].tolist()}"
        )
    return np.bincount(k[k >= 0].numpy(), minlength=modes), len(k)


def _law(p: ArrayLike) -> NDArray[np.float64]:
    law = array("p", p)
    if law.ndim != 1 or (law < 0).any() or abs(law.sum() - 1) > 1e-6:
        raise ValueError(f"p must be shares [K] that sum to 1, got {law.tolist()}")
    return law / law.sum()
