"""Evaluation: an agent is driven from given seeds; success, return and its plans' quality, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diffrl_lab.analysis.feasibility import curve_segments_in_walls, detour, points_in_walls
from diffrl_lab.analysis.intervals import bootstrap, wilson
from diffrl_lab.worlds.driving import Episode, drive
from diffrl_lab.worlds.mazes import REFERENCE_RETURNS, normalised_score
from diffrl_lab.worlds.walls import Walls


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
        rows.append(drive([env], agent, [seed])[0])
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
