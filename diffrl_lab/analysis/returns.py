"""How well an agent does in a maze: success and normalised score with their intervals, and what its plans are like."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Sequence
from importlib import metadata
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from diffrl_lab.analysis.feasibility import curve_segments_in_walls, detour, points_in_walls
from diffrl_lab.data.worlds import REFERENCE_RETURNS, Episode, Walls, normalised_score, roll_out


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
