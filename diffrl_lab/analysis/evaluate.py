"""How well an agent does: success and normalised score with their intervals, methods compared on the same seeds, and
what plans in a maze are like."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Sequence
from importlib import metadata
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from diffrl_lab.analysis.feasibility import curve_segments_in_walls, detour, points_in_walls
from diffrl_lab.worlds.mazes import REFERENCE_RETURNS, Episode, Walls, normalised_score, roll_out


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
    v = np.asarray(values, float)
    if v.ndim != 1 or not len(v):
        raise ValueError(f"values must be [n] with n >= 1, got {v.shape}")
    again = v[np.random.default_rng(seed).integers(len(v), size=(draws, len(v)))]
    low, high = np.quantile(statistic(again, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def normalised(returns: ArrayLike, random: float, expert: float) -> NDArray[np.float64]:
    """100 (R - R_random) / (R_expert - R_random), so 0 is the random policy and 100 the expert (Fu et al. 2020).

    -> the shape of `returns`. The mazes' references are in `data.worlds.normalised_score`. Raises ValueError unless
    expert > random.
    """
    if not expert > random:
        raise ValueError(f"the expert's return must exceed the random policy's, got {expert} and {random}")
    return 100 * (np.asarray(returns, float) - random) / (expert - random)


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
    x, y = np.asarray(a, float), np.asarray(b, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"paired results must be [n] and [n] for the same n >= 2 seeds, got {x.shape} and {y.shape}")
    d = x - y
    if not np.ptp(d):
        return Paired(float(d[0]), (float(d[0]), float(d[0])), 1.0 if d[0] == 0 else 0.0)
    test = stats.ttest_1samp(d, 0.0)
    low, high = test.confidence_interval(level)
    return Paired(float(d.mean()), (float(low), float(high)), float(test.pvalue))


def iqm(scores: ArrayLike, axis: int | None = None) -> Any:
    """The interquartile mean: the mean of the middle half of all scores [runs, tasks] (Agarwal et al. 2021).

    Of n scores the lowest and highest floor(n / 4) are left out. It neither hangs on a few lucky runs, as the mean
    does, nor ignores half of them, as the median does.
    """
    return stats.trim_mean(np.asarray(scores, float), 0.25, axis=axis)


def stratified_bootstrap(
    scores: ArrayLike, statistic: Callable = iqm, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of a statistic of scores [runs, tasks], runs drawn anew within each task (Agarwal et al.
    2021).

    statistic(scores [draws, runs tasks], axis=1) -> [draws]. The tasks are fixed: the interval is about other runs of
    these, not about other tasks. With three to five runs it is too narrow. Raises ValueError for another shape.
    """
    v = np.asarray(scores, float)
    if v.ndim != 2 or not v.size:
        raise ValueError(f"scores must be [runs, tasks], got {v.shape}")
    found = statistic(_redrawn(v, draws, np.random.default_rng(seed)).reshape(draws, -1), axis=1)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def probability_of_improvement(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """P(a run of A beats a run of B) on a task, mean over tasks, ties counting half, and its stratified bootstrap
    interval (Agarwal et al. 2021).

    a: [n, tasks], b: [m, tasks], independent runs; on one task it is Mann and Whitney's U / nm. 0.5 is a draw.
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    if x.ndim != 2 or y.ndim != 2 or not x.size or not y.size or x.shape[1] != y.shape[1]:
        raise ValueError(f"scores must be [n, tasks] and [m, tasks], got {x.shape} and {y.shape}")
    rng = np.random.default_rng(seed)
    found = _beaten(_redrawn(x, draws, rng), _redrawn(y, draws, rng))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(_beaten(x[None], y[None])[0]), (float(low), float(high))


def _redrawn(scores: NDArray, draws: int, rng: np.random.Generator) -> NDArray:
    """[draws, runs, tasks]: runs with replacement, each task for itself."""
    runs, tasks = scores.shape
    return scores[rng.integers(runs, size=(draws, runs, tasks)), np.arange(tasks)]


def _beaten(x: NDArray, y: NDArray) -> NDArray:
    above = np.sign(x[:, :, None] - y[:, None])
    return ((above + 1) / 2).mean((1, 2, 3))


def evaluate(
    env,
    agent,
    seeds: Sequence[int],
    *,
    maze: str | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> dict[str, Any]:
    """One episode per seed; plain numbers about all of them.

    success: share of episodes that came within 0.45 m of the goal, with Wilson's interval. score: the mean normalised
    score (`maze` names its references; without it the mean return is all there is), with a bootstrap interval over
    episodes. path_ratio: driven path over the shortest one, mean over successes. plan_points_in_walls,
    plan_segments_in_walls: shares over the first plans, of H points and of the stretches between them, at which a ball
    that follows exactly would meet a wall (null for agents without plans). seconds_per_plan: median over all plannings,
    each measured alone.
    """
    seeds = [int(s) for s in seeds]
    if not seeds:
        raise ValueError("an evaluation needs at least one seed")
    walls = Walls.of(env) if hasattr(env.unwrapped, "maze") else None
    rows: list[Episode] = []
    for seed in seeds:
        rows.append(roll_out(env, agent, seed=seed))
        if on_episode is not None:
            on_episode(rows[-1])
    reached, returns = [e.reached for e in rows], [float(e.rew.sum()) for e in rows]
    result: dict[str, Any] = {
        "episodes": len(seeds),
        "seeds": [min(seeds), max(seeds)],
        "success": float(np.mean(reached)),
        "success_interval": list(wilson(sum(reached), len(rows))),
        "return": float(np.mean(returns)),
        "return_interval": list(bootstrap(returns)),
    }
    if maze in REFERENCE_RETURNS:
        scores = normalised_score(maze, returns)
        result |= {"score": float(scores.mean()), "score_interval": list(bootstrap(scores))}
    result["steps_to_goal"] = _mean([e.steps_to_goal for e in rows if e.reached])
    if walls is not None:
        result["path_ratio"] = _mean(
            [detour(e.obs[: e.steps_to_goal + 1], e.goal, walls) for e in rows if e.steps_to_goal]
        )
        planned = [e.reference for e in rows if len(e.reference) > 1]
        gaps = 31
        hits = [curve_segments_in_walls(r, gaps, walls) for r in planned]
        result["plan_points_in_walls"] = _mean([points_in_walls(_thinned(r, gaps + 1), walls) for r in planned])
        result["plan_segments_in_walls"] = _mean([h.mean() for h in hits])
        result["plans_free_of_walls"] = _mean([not h.any() for h in hits])
    seconds = [s for e in rows for s in e.seconds]
    result["plans_per_episode"] = float(np.mean([e.plans for e in rows]))
    result["seconds_per_plan"] = float(np.median(seconds)) if seconds else None
    return result


def _thinned(curve: np.ndarray, n: int) -> np.ndarray:
    return curve[np.linspace(0, len(curve) - 1, n).round().astype(int)]


def _mean(values: list) -> float | None:
    return float(np.mean(values)) if values else None


def provenance() -> dict[str, Any]:
    """The commit, the versions and the machine that a number was measured with."""
    names = ("diffrl-lab", "torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "minari")
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=root, capture_output=True, text=True
        )
        commit = done.stdout.strip() or None
    except OSError:
        commit = None
    return {"commit": commit, "versions": versions, "threads": torch.get_num_threads(), "machine": platform.machine()}
