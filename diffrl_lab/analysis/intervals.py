"""Intervals: how far a number would move with other episodes or other training seeds."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from diffrl_lab.analysis.samples import array


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a probability after `successes` in `n` trials (Wilson 1927); sensible at 0 and n too."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"successes must lie between 0 and n >= 1, got {successes} of {n}")
    p, half = successes / n, z * sqrt(successes * (n - successes) / n**3 + z**2 / (4 * n**2))
    middle, wide = p + z**2 / (2 * n), 1 + z**2 / n
    return max(0.0, (middle - half) / wide), min(1.0, (middle + half) / wide)


def bootstrap(
    values: ArrayLike, statistic: Callable = np.mean, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of a statistic of independent values [n] (Efron 1979)."""
    v = array("values", values)
    if v.ndim != 1 or not len(v):
        raise ValueError(f"values must be [n] with n >= 1, got {v.shape}")
    again = v[np.random.default_rng(seed).integers(len(v), size=(draws, len(v)))]
    low, high = np.quantile(statistic(again, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def normalised(returns: ArrayLike, random: float, expert: float) -> NDArray[np.float64]:
    """100 (R - R_random) / (R_expert - R_random), so 0 is the random policy and 100 the expert (Fu et al. 2020).

    -> the shape of `returns`. The mazes' references are in `worlds.mazes.normalised_score`. Raises ValueError unless
    expert > random.
    """
    if not expert > random:
        raise ValueError(f"the expert's return must exceed the random policy's, got {expert} and {random}")
    return 100 * (array("returns", returns) - random) / (expert - random)


def student(
    values: ArrayLike, low: float = -np.inf, high: float = np.inf, *, level: float = 0.95
) -> tuple[float, float] | None:
    """Student's interval (1908) of the mean of values [n], cut to what is possible, [low, high]; None for n < 2.

    mean -+ t s / sqrt(n), s the standard deviation with n - 1, t the quantile of n - 1 degrees of freedom. For three
    seeds it is 2.5 standard deviations to each side: wide, and honest. Equal values have no width. Raises ValueError
    unless values are [n] and finite.
    """
    v = array("values", values)
    if v.ndim != 1 or not np.isfinite(v).all():
        raise ValueError(f"values must be finite numbers [n], got {v.tolist()}")
    if len(v) < 2:
        return None
    half = stats.t.ppf((1 + level) / 2, len(v) - 1) * v.std(ddof=1) / sqrt(len(v)) if np.ptp(v) else 0.0
    return float(np.clip(v.mean() - half, low, high)), float(np.clip(v.mean() + half, low, high))


class Paired(NamedTuple):
    """Two methods on the same seeds."""

    difference: float  # the mean of a - b
    interval: tuple[float, float]
    p: float  # of a difference as large in either direction, were there none


def paired(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Paired:
    """The mean difference a - b of two methods' results [n] on the same n seeds, with Student's interval (1908).

    What a seed does to both (a hard start, a far goal) drops out, so the interval is narrower than that of two
    independent samples by the correlation of a and b. It needs no large n: five training seeds have an honest, wide
    interval, where a bootstrap of five would be too narrow. Raises ValueError unless both are [n] with n >= 2.
    """
    x, y = array("a", a), array("b", b)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"paired results must be [n] and [n] for the same n >= 2 seeds, got {x.shape} and {y.shape}")
    d = x - y
    if not np.ptp(d):
        return Paired(float(d[0]), (float(d[0]), float(d[0])), 1.0 if d[0] == 0 else 0.0)
    low, high = student(d, level=level) or (np.nan, np.nan)
    return Paired(float(d.mean()), (low, high), float(stats.ttest_1samp(d, 0.0).pvalue))


def iqm(scores: ArrayLike, axis: int | None = None) -> Any:
    """The interquartile mean: the mean of the middle half of all scores [runs, tasks] (Agarwal et al. 2021).

    Of n scores the lowest and highest floor(n / 4) are left out. It neither hangs on a few lucky runs, as the mean
    does, nor ignores half of them, as the median does.
    """
    return stats.trim_mean(array("scores", scores), 0.25, axis=axis)


def stratified_bootstrap(
    scores: ArrayLike, statistic: Callable = iqm, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of a statistic of scores [runs, tasks], runs drawn anew within each task (Agarwal et al.
    2021).

    statistic(scores [draws, runs tasks], axis=1) -> [draws]. The tasks are fixed: the interval is about other runs of
    these, not about other tasks. With three to five runs it is too narrow. Raises ValueError for another shape.
    """
    v = array("scores", scores)
    if v.ndim != 2 or not v.size:
        raise ValueError(f"scores must be [runs, tasks], got {v.shape}")
    again = statistic(_redrawn(v, draws, np.random.default_rng(seed)).reshape(draws, -1), axis=1)
    low, high = np.quantile(again, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def probability_of_improvement(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """P(a run of A beats a run of B) on a task, mean over tasks, ties counting half, and its stratified bootstrap
    interval (Agarwal et al. 2021).

    a: [n, tasks], b: [m, tasks], independent runs; on one task it is Mann and Whitney's U / nm. 0.5 is a draw.
    """
    x, y = array("a", a), array("b", b)
    if x.ndim != 2 or y.ndim != 2 or not x.size or not y.size or x.shape[1] != y.shape[1]:
        raise ValueError(f"scores must be [n, tasks] and [m, tasks], got {x.shape} and {y.shape}")
    rng = np.random.default_rng(seed)
    again = _beaten(_redrawn(x, draws, rng), _redrawn(y, draws, rng))
    low, high = np.quantile(again, [(1 - level) / 2, (1 + level) / 2])
    return float(_beaten(x[None], y[None])[0]), (float(low), float(high))


def _redrawn(scores: NDArray, draws: int, rng: np.random.Generator) -> NDArray:
    """[draws, runs, tasks]: runs with replacement, each task for itself."""
    runs, tasks = scores.shape
    return scores[rng.integers(runs, size=(draws, runs, tasks)), np.arange(tasks)]


def _beaten(x: NDArray, y: NDArray) -> NDArray:
    above = np.sign(x[:, :, None] - y[:, None])
    return ((above + 1) / 2).mean((1, 2, 3))
