"""PointMaze environments, and a scripted controller that knows the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from diffrl_lab.worlds.driving import Along, indices
from diffrl_lab.worlds.walls import TWO_WAYS, Array, Walls, register

STEP = 0.01
"""Seconds of one environment step."""

MAZES = {"umaze": "PointMaze_UMaze-v3", "medium": "PointMaze_Medium-v3", "large": "PointMaze_Large-v3"}
EPISODE_STEPS = {"umaze": 300, "medium": 600, "large": 800, "two-ways": 300}
REFERENCE_RETURNS = {
    "umaze": (23.85, 161.86),
    "medium": (13.13, 277.39),
    "large": (6.7, 273.99),
    "two-ways": (-4.1, 161.4),
}
"""The returns of a random policy and of the reference expert, scores 0 and 100: D4RL's (Fu et al. 2020); in two-ways
those of random actions and of the controller taking the left way, means of 100 episodes (seeds 0 to 99)."""


def make_maze(name: str, **options: Any):
    """PointMaze as every score here uses it: `continuing_task=True, reset_target=False`, sparse reward.

    The observation is a dict: `observation` (x, y, vx, vy) in m and m/s, `achieved_goal`, `desired_goal`; an action is
    a force in [-1, 1]^2; one step lasts 0.01 s. The reward is 1 for every step within 0.45 m of the goal; an episode
    has 300 (umaze, two-ways), 600 (medium) or 800 (large) steps and never ends earlier. `two-ways` is a maze of our own
    (`TWO_WAYS`) whose right-hand corridor costs a `toll` (0.5), see `make_toll`. `position_noise_range` (0.25): how
    far, in cells, a start or goal may lie from its cell's centre. Other options go to `gymnasium.make`.
    Raises ValueError for a name that is none of umaze, medium, large, two-ways.
    """
    import gymnasium

    if name not in EPISODE_STEPS:
        raise ValueError(f"a maze is one of {', '.join(EPISODE_STEPS)}; got {name!r}")
    toll, spread = options.pop("toll", 0.5), options.pop("position_noise_range", 0.25)
    register()
    if name == "two-ways":
        options = {"maze_map": TWO_WAYS, "max_episode_steps": EPISODE_STEPS[name], **options}
    env = gymnasium.make(MAZES.get(name, MAZES["umaze"]), continuing_task=True, reset_target=False, **options)
    world: Any = env.unwrapped
    world.position_noise_range = spread  # its constructor hands the argument on to MuJoCo's, which refuses it
    Path(world.tmp_xml_file_path).unlink(missing_ok=True)  # gymnasium-robotics leaves one behind per environment
    return make_toll(env, toll) if name == "two-ways" else env


def drawn_maze(maze_map: Sequence[Sequence[int]], **options: Any):
    """PointMaze in a map of one's own, rows of 0 (free) and 1 (wall): `make_maze` with this `maze_map`.

    An episode has 100 steps and 25 more for each cell of the longest way in the map. Raises ValueError where a ball
    cannot be driven from every free cell to every other one, see `longest_way`.
    """
    steps = 100 + 25 * longest_way(maze_map)
    return make_maze("umaze", **{"maze_map": [list(row) for row in maze_map], "max_episode_steps": steps, **options})


def longest_way(maze_map: Sequence[Sequence[int]]) -> int:
    """The largest number of steps between two free cells (0) of a map, one step to a neighbour at a time.

    Raises ValueError for what is no maze to drive in: rows of unequal length, cells that are neither 0 nor 1, a free
    cell at the border, fewer than two free cells, and a free cell that cannot be reached from the others (a way leads
    over sides, not over corners).
    """
    rows = [list(row) for row in maze_map]
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError(f"a maze is a rectangular map, rows of equal length; got rows of {[len(r) for r in rows]}")
    if strange := [cell for row in rows for cell in row if cell not in (0, 1)]:
        raise ValueError(f"a cell of a drawn maze is 0 (free) or 1 (wall); got {strange[0]!r}")
    free = np.array(rows) == 0
    number = np.full(np.add(free.shape, 2), -1)  # of each free cell, with a border of its own around the map
    number[1:-1, 1:-1][free] = np.arange(free.sum())
    at = np.argwhere(free)
    inside = np.zeros_like(free)
    inside[1:-1, 1:-1] = True
    if (free & ~inside).any():
        raise ValueError(f"a maze is closed by walls; {_named(np.argwhere(free & ~inside)[0])}, at its border, is free")
    if len(at) < 2:
        raise ValueError(f"a start and a goal need two free cells; the map has {len(at)}")
    pairs = [(number[r + 1, c + 1], number[r + 1 + i, c + 1 + j]) for r, c in at for i, j in ((0, 1), (1, 0))]
    a, b = np.array([pair for pair in pairs if pair[1] >= 0]).reshape(-1, 2).T
    apart = shortest_path(csr_array((np.ones(len(a)), (a, b)), shape=(len(at), len(at))), directed=False)
    most = np.isfinite(apart).sum(1).argmax()  # a cell of the largest part
    if (lost := ~np.isfinite(apart[most])).any():
        raise ValueError(
            f"every free cell must be reached from every other one; {lost.sum()} of {len(at)} cannot be, such as "
            f"{_named(at[lost][0])}: open a wall beside it, or fill it"
        )
    return int(apart.max())


def _named(cell: Array) -> str:
    return f"row {cell[0] + 1}, column {cell[1] + 1}"


def make_toll(env, toll: float):
    """`env` with its reward lowered by `toll` for each step in the corridor right of the block (x > 1.5, |y| < 1).

    So the returns of the two ways differ although their lengths do not, and the reward still depends on the state
    alone.
    """
    import gymnasium

    class Toll(gymnasium.Wrapper):
        def step(self, action):
            obs, reward, terminated, truncated, info = self.env.step(action)
            x, y = obs["achieved_goal"]
            info["right"] = bool(x > 1.5 and abs(y) < 1)
            return obs, float(reward) - toll * info["right"], terminated, truncated, info

    return Toll(env)


def normalised_score(name: str, returns: ArrayLike) -> Array:
    """100 (R - R_random) / (R_expert - R_random) with D4RL's reference returns (Fu et al. 2020). -> the shape of
    `returns`"""
    low, high = REFERENCE_RETURNS[name]
    return 100 * (np.asarray(returns, float) - low) / (high - low)


def side(positions: ArrayLike) -> float:
    """Which way around the block of two-ways a path [T, 2] took: -1 left, +1 right, 0 if it never passed the block."""
    p = np.asarray(positions, float)
    beside = p[(np.abs(p[:, 1]) < 1) & (np.abs(p[:, 0]) > 1)]
    return float(np.sign(beside[:, 0].sum())) if len(beside) else 0.0


@dataclass
class Controller(Along):
    """A scripted driver that knows the map: shortest path, rounded corners, a speed profile within its limits, PD along
    it.

    `left` is the probability of the left way where there are two (two-ways); None takes the shorter one. It acts for
    many episodes side by side, as every agent of `driving.drive`; `route` alone gives what it would follow.
    """

    walls: Walls
    speed: float = 5.2  # m/s; the environment clips each component of the velocity at 5
    acceleration: float = 23.0  # m/s^2, of the 23.9 that a motor can give
    clearance: float = 0.35  # m kept from walls before corners are rounded
    rounding: float = 0.8  # m, over which they are rounded
    noise: float = 0.0  # standard deviation of what is added to every action
    left: float | None = None
    kp: float = 15.0
    kd: float = 2.0

    def route(self, obs: ArrayLike, goal: ArrayLike, rng: np.random.Generator | int = 0) -> Array:  # type: ignore[override]
        """From the state obs [4] to rest at goal [2], a state for every step. -> [T, 4]"""
        obs = np.asarray(obs, float)
        way = 0 if self.left is None else (-1 if np.random.default_rng(rng).random() < self.left else 1)
        path = self.walls.shortest_path(obs[:2], goal, self.clearance, way)
        path = np.concatenate([path, np.asarray(goal, float)[None]])
        return self._timed(_rounded(path, self.rounding), obs[2:])

    def reset(self, obs: ArrayLike, seeds: Sequence[Any], goal: ArrayLike | None = None) -> None:
        self.chance = [np.random.default_rng(seed) for seed in seeds]  # of each episode: its way, then its noise
        super().reset(obs, self.chance, goal)

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> Array:
        action = super().act(obs, which)
        if not self.noise:
            return action
        drawn = [self.chance[k].standard_normal(2) for k in indices(obs, which)]
        return np.clip(action + self.noise * np.array(drawn), -1, 1)

    def _timed(self, path: Array, velocity: Array) -> Array:
        """States [T, 4] every 0.01 s along a smooth path [n, 2]: as fast as speed and acceleration allow, at rest at
        the end."""
        ds = np.linalg.norm(np.diff(path, axis=0), axis=-1)
        keep = np.r_[True, ds > 1e-9]
        path, ds = path[keep], ds[ds > 1e-9]
        if len(path) < 3:
            return np.r_[path[-1], 0, 0][None]
        tangent = np.gradient(path, axis=0)
        tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
        heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
        s = np.r_[0, np.cumsum(ds)]
        curvature = np.abs(np.gradient(heading, s))
        top = np.minimum(self.speed, np.sqrt(0.8 * self.acceleration / np.maximum(curvature, 1e-6)))
        v2 = top**2
        v2[0], v2[-1] = min(v2[0], max(float(velocity @ tangent[0]), 0.0) ** 2), 0.0
        for order in (range(len(ds)), range(len(ds) - 1, -1, -1)):  # speed up forwards, brake backwards
            for k in order:
                here, there = (k, k + 1) if order.step > 0 else (k + 1, k)
                sideways = min(curvature[here] * v2[here] / self.acceleration, 1.0)
                v2[there] = min(v2[there], v2[here] + 2 * self.acceleration * (1 - sideways**2) ** 0.5 * ds[k])
        v = np.sqrt(v2)
        t = np.r_[0, np.cumsum(2 * ds / np.maximum(v[:-1] + v[1:], 1e-3))]
        at = np.append(np.arange(0, t[-1], STEP), t[-1])
        place = np.interp(at, t, s)
        columns = [np.interp(place, s, c) for c in (path[:, 0], path[:, 1])]
        pace = np.interp(at, t, v)
        columns += [np.interp(place, s, tangent[:, i]) * pace for i in (0, 1)]
        return np.stack(columns, -1)


def _rounded(path: Array, width: float, spacing: float = 0.02) -> Array:
    """A polyline [n, 2] resampled every `spacing` metres and averaged twice over `width` metres; its ends stay."""
    s = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=-1))]
    n = max(int(s[-1] / spacing), 2)
    points = np.stack([np.interp(np.linspace(0, s[-1], n + 1), s, path[:, i]) for i in (0, 1)], -1)
    k = min(max(int(width / spacing) // 2, 1), n // 2)
    for _ in range(2):
        # odd reflection about the ends keeps them in place
        padded = np.concatenate([2 * points[0] - points[k:0:-1], points, 2 * points[-1] - points[-2 : -k - 2 : -1]])
        sums = np.cumsum(np.concatenate([np.zeros((1, 2)), padded]), 0)
        points = (sums[2 * k + 1 :] - sums[: -2 * k - 1]) / (2 * k + 1)
    return points
