"""Evaluation: an agent is driven from given seeds; return, success and its plans' quality, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diffrl_lab.analysis.feasibility import curve_segments_in_walls, detour, points_in_walls
from diffrl_lab.analysis.intervals import bootstrap, wilson
from diffrl_lab.worlds.driving import Agent, Episode, drive
from diffrl_lab.worlds.mazes import REFERENCE_RETURNS, normalised_score
from diffrl_lab.worlds.walls import Walls


def evaluate(
    env: Any,
    agent: Agent,
    seeds: Sequence[int],
    *,
    maze: str | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> dict[str, Any]:
    """One episode per seed in any Gymnasium environment that `drive` can drive; plain numbers about all of them.

    env: one environment, or several, in which as many episodes run side by side. return: the mean undiscounted return,
    with a bootstrap interval over episodes. success: the share of episodes in which the world's info once said that the
    task was done (in mazes: within 0.45 m of the goal), with Wilson's interval; null in a world that never says.
    score: the mean normalised score where `maze` names its references. path_ratio (point mazes): driven path over the
    shortest one, mean over successes. plan_points_in_walls, plan_segments_in_walls: shares over the first plans, of H
    points and of the stretches between them, at which a ball that follows exactly would meet a wall (null for agents
    without plans). seconds_per_plan: median over all plannings, each measured alone.
    Raises ValueError without a seed, and for environments that cannot be driven.
    """
    seeds = [int(s) for s in seeds]
    if not seeds:
        raise ValueError("an evaluation needs at least one seed")
    envs = list(env) if isinstance(env, Sequence) else [env]
    rows: list[Episode] = []
    for first in range(0, len(seeds), len(envs) or 1):
        episodes = drive(envs, agent, seeds[first : first + len(envs)])
        rows += episodes
        if on_episode is not None:
            for episode in episodes:
                on_episode(episode)
    returns, successes = [e.total for e in rows], [e.reached for e in rows if e.reached is not None]
    result: dict[str, Any] = {
        "episodes": len(seeds),
        "seeds": [min(seeds), max(seeds)],
        "success": float(np.mean(successes)) if successes else None,
        "success_interval": list(wilson(sum(successes), len(successes))) if successes else None,
        "return": float(np.mean(returns)),
        "return_interval": list(bootstrap(returns)),
    }
    if maze in REFERENCE_RETURNS:
        scores = normalised_score(maze, returns)
        result |= {"score": float(scores.mean()), "score_interval": list(bootstrap(scores))}
    result["steps_to_goal"] = _mean([e.steps_to_goal for e in rows if e.reached])
    if hasattr(envs[0].unwrapped, "point_env"):
        result |= _ways(rows, Walls.of(envs[0]))
    seconds = [s for e in rows for s in e.seconds]
    result["plans_per_episode"] = float(np.mean([e.plans for e in rows]))
    result["seconds_per_plan"] = float(np.median(seconds)) if seconds else None
    return result


def _ways(rows: list[Episode], walls: Walls) -> dict[str, float | None]:
    """What the driven paths and the first plans are like beside the walls of a point maze."""
    planned, gaps = [e.reference for e in rows if len(e.reference) > 1], 31
    hits = [curve_segments_in_walls(r, gaps, walls) for r in planned]
    return {
        "path_ratio": _mean(
            [detour(e.obs[: e.steps_to_goal + 1], np.asarray(e.goal), walls) for e in rows if e.steps_to_goal]
        ),
        "plan_points_in_walls": _mean([points_in_walls(_thinned(r, gaps + 1), walls) for r in planned]),
        "plan_segments_in_walls": _mean([h.mean() for h in hits]),
        "plans_free_of_walls": _mean([not h.any() for h in hits]),
    }


def _thinned(curve: np.ndarray, n: int) -> np.ndarray:
    return curve[np.linspace(0, len(curve) - 1, n).round().astype(int)]


def _mean(values: list) -> float | None:
    return float(np.mean(values)) if values else None
