"""Whether a plan can be driven: walls it passes through, and detours (`chains.inconsistency` needs no walls).

The walls are used here, after the fact, to measure; no planner of this project sees them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.data.worlds import RADIUS, Walls, path_length


def points_in_walls(plans: ArrayLike, walls: Walls, clearance: float = RADIUS) -> float:
    """The share of a plan's points [..., 2+] at which the ball (radius `clearance`) would stand in a wall."""
    return float(walls.inside(np.asarray(plans, float)[..., :2], clearance).mean())


def segments_in_walls(plans: ArrayLike, walls: Walls, clearance: float = RADIUS) -> float:
    """The share of straight segments between successive points of plans [..., H, 2+] on which the ball would meet a
    wall.

    A segment over a gap in time cuts corners that the drive between its ends rounds: give the interpolated plan where
    that matters.
    """
    p = np.asarray(plans, float)[..., :2]
    return float(walls.crosses(p[..., :-1, :], p[..., 1:, :], clearance).mean())


def curve_segments_in_walls(
    curve: ArrayLike, segments: int, walls: Walls, clearance: float = RADIUS
) -> NDArray[np.bool_]:
    """For each of `segments` equal stretches of time of a plan's curve [T+1, 2+]: does the ball meet a wall on it? ->
    [segments]"""
    hit = walls.inside(np.asarray(curve, float)[:, :2], clearance)
    which = np.minimum(np.arange(len(hit)) * segments // max(len(hit) - 1, 1), segments - 1)
    return np.bincount(which, weights=hit, minlength=segments) > 0


def detour(positions: ArrayLike, goal: ArrayLike, walls: Walls, clearance: float = RADIUS) -> float:
    """The length of a path [T, 2+] plus the straight rest to the goal, over the shortest path for the ball (1 is the
    best).

    Give the path up to where the goal counts as reached.
    """
    p = np.asarray(positions, float)[:, :2]
    goal = np.asarray(goal, float)
    shortest = path_length(np.concatenate([p[:1], walls.shortest_path(p[0], goal, clearance), goal[None]]))
    return (path_length(p) + float(np.linalg.norm(p[-1] - goal))) / shortest
