"""OGBench's pointmazes (Park et al. 2025): its environments, its five tasks, and recordings made by its rules.

A ball [x, y] in metres, in a maze of cells of 4 m; an action in [-1, 1]^2 moves it by 0.2 m times the action, and walls
push it back. There are no velocities, and a task is done within 1 m of its goal. The package `ogbench` brings the
environments (`pip install "diffrl-lab[ogbench]"`); everything here imports without it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.ogbench import save
from diffrl_lab.worlds.walls import Walls

CELL, REACH, SECONDS = 4.0, 0.2, 0.1
"""Metres of a cell; metres that the action 1 moves the ball by; seconds of a step."""
TASKS = 5
KINDS = {"navigate": 1001, "stitch": 201}
"""What is recorded, and the rows of one episode; in the giant maze `navigate` has 2,001."""
NOISE, LEG = 0.5, 4
"""Standard deviation of what is added to each recorded action; cells of a leg of `stitch`."""
NEEDS = 'OGBench\'s mazes need its package: pip install "diffrl-lab[ogbench]" (or `pip install ogbench`)'
NAME = re.compile(r"pointmaze-(medium|large|giant|teleport)(?:-(navigate|stitch))?-v0")


def named(name: str) -> tuple[str, str | None]:
    """The maze and the kind of recording of a name such as pointmaze-medium-stitch-v0. Raises ValueError for others."""
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"a name is pointmaze-MAZE-KIND-v0 with {NAME.pattern}; got {name!r}")
    return match[1], match[2]


def make(name: str, **options: Any) -> Any:
    """The package's own Gymnasium environment of a name, with or without a kind of recording in it.

    Raises ValueError for another name, and ImportError that says how to install the package where it is missing.
    """
    import gymnasium

    maze, _ = named(name)
    try:
        importlib.import_module("ogbench")
    except ImportError as error:
        raise ImportError(f"{NEEDS} ({error})") from error
    env = gymnasium.make(f"pointmaze-{maze}-v0", **options)
    Path(getattr(env.unwrapped, "fullpath", "")).unlink(missing_ok=True)  # it leaves a file behind per environment
    return env


@contextmanager
def _numpys(state: np.random.RandomState) -> Iterator[None]:
    """The package draws from numpy's global generator: here it has a state of its own, and the global one is kept."""
    kept = np.random.get_state()
    np.random.set_state(state.get_state())
    try:
        yield
    finally:
        state.set_state(np.random.get_state())
        np.random.set_state(kept)


class World:
    """A pointmaze as `drive` and the planners want it: {observation [4], achieved_goal [2], desired_goal [2]}.

    Positions are in units of `unit` metres; velocities, per second, are the mean of the last `over` steps. The seed of
    `reset` gives the task, 1 + seed mod 5, and all that is drawn; options={"task_id": k} gives another.
    """

    def __init__(self, name: str, *, unit: float = CELL, over: int = 10, **options: Any):
        from gymnasium.spaces import Box, Dict

        self.env, self.unit, self.over = make(name, **options), unit, over
        self.action_space = self.env.action_space
        sizes = {"observation": 4, "achieved_goal": 2, "desired_goal": 2}
        self.observation_space = Dict({key: Box(-np.inf, np.inf, (n,)) for key, n in sizes.items()})
        self.chance = np.random.RandomState(0)

    def reset(self, *, seed: int = 0, options: dict[str, Any] | None = None) -> tuple[dict[str, NDArray], dict]:
        """Begin a task at rest; its start and goal lie up to a quarter of a cell from the centres of their cells."""
        self.chance = np.random.RandomState(seed)
        self.env.action_space.seed(seed)
        with _numpys(self.chance):
            obs, info = self.env.reset(seed=seed, options={"task_id": 1 + seed % TASKS} | (options or {}))
        self.goal = np.array(info["goal"], float)
        self.path = [np.array(obs, float)]
        return self._seen(), info

    def step(self, action: NDArray) -> tuple[dict[str, NDArray], float, bool, bool, dict]:
        """One step of 0.1 s; the reward is 1 where the task is done, which ends it."""
        with _numpys(self.chance):
            obs, reward, terminated, truncated, info = self.env.step(np.asarray(action, float))
        self.path = [*self.path[-self.over :], np.array(obs, float)]
        return self._seen(), float(reward), bool(terminated), bool(truncated), info

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _seen(self) -> dict[str, NDArray]:
        x, steps = self.path[-1] / self.unit, len(self.path) - 1
        v = (self.path[-1] - self.path[0]) / (self.unit * SECONDS * steps) if steps else np.zeros(2)
        return {"observation": np.r_[x, v], "achieved_goal": x, "desired_goal": self.goal / self.unit}


def walls(env: Any) -> tuple[Walls, NDArray]:
    """The walls of an environment of `make`, cells of 1, and what a position in cells must be moved by to lie in them:
    the package puts the centre of the first free row and column at 0, and counts rows upwards."""
    blocked = np.asarray(env.unwrapped.maze_map) == 1
    rows, cols = blocked.shape
    return Walls(blocked[::-1]), np.array([1.5 - cols / 2, 1.5 - rows / 2])


# ---------------------------------------------------------------------------------------------------------- recording
class Ways:
    """Which cell is next on a shortest way, in a map [R, C] with 1 for walls: steps go over sides."""

    def __init__(self, maze: NDArray):
        self.maze = np.asarray(maze)
        self.free = [(int(i), int(j)) for i, j in np.argwhere(self.maze == 0)]
        self.to = lru_cache(maxsize=None)(self._to)

    def _to(self, goal: tuple[int, int]) -> NDArray[np.int64]:
        """Steps from each cell to the goal, -1 where none lead, [R, C]."""
        steps = np.full(self.maze.shape, -1)
        steps[goal], edge = 0, [goal]
        while edge:
            i, j = edge.pop(0)
            for cell in ((i - 1, j), (i, j - 1), (i + 1, j), (i, j + 1)):
                if self.maze[cell] == 0 and steps[cell] < 0:
                    steps[cell] = steps[i, j] + 1
                    edge.append(cell)
        return steps

    def next(self, at: tuple[int, int], goal: tuple[int, int]) -> tuple[int, int]:
        """The neighbour of a cell that is nearest to the goal, or the goal itself."""
        steps, (i, j) = self.to(goal), at
        near = [at, *((i - 1, j), (i, j - 1), (i + 1, j), (i, j + 1))]
        return min((cell for cell in near if steps[cell] >= 0), key=lambda cell: steps[cell])


def record(
    name: str, episodes: int = 1000, seed: int = 0, out: str | Path | None = None, *, rows: int | None = None
) -> Path:
    """A recording of pointmaze-MAZE-KIND-v0 made by OGBench's rules, as one of its files -> the file, `name`.npz.

    The driver knows the map: it goes with the action (direction to the centre of the next cell on a shortest way,
    length 1) + 0.5 times noise, cut at 1. `stitch`: from a random cell to a random one that is 4 steps away, and there
    it stays, 201 rows an episode. `navigate`: from one random cell to the next within an episode, 1,001 rows (giant:
    2,001). rows: another number. Equal arguments give equal recordings. Raises as `make`, and without a kind.
    """
    maze, kind = named(name)
    if kind is None or episodes < 1 or seed < 0:
        raise ValueError(f"a kind ({', '.join(KINDS)}), an episode at least and a seed were wanted; got {name!r}")
    rows = rows or (2001 if (maze, kind) == ("giant", "navigate") else KINDS[kind])
    env = make(name, terminate_at_goal=False, max_episode_steps=rows)
    rng, state = np.random.default_rng(seed), np.random.RandomState(seed)
    ways = Ways(env.unwrapped.maze_map)
    env.action_space.seed(seed)

    def driven() -> Iterator[tuple]:
        for number in range(episodes):
            yield _driven(env, ways, kind, rows, rng, number)

    with _numpys(state):
        made = Episodes.join(driven())
    env.close()
    return save(Path(out or ".") / f"{name}.npz", made)


def _driven(env: Any, ways: Ways, kind: str, rows: int, rng: np.random.Generator, number: int) -> tuple:
    """One episode of `record`, as `Episodes.join` wants it."""
    world = env.unwrapped
    start = ways.free[rng.integers(len(ways.free))]
    goal = _goal(ways, kind, start, rng)
    task = {"task_info": {"init_ij": start, "goal_ij": goal}}
    obs, _ = env.reset(seed=int(rng.integers(2**31)), options=task)
    path, done = [obs], []
    for _ in range(rows - 1):
        xy = path[-1]
        aim = np.asarray(world.ij_to_xy(goal))
        if kind == "navigate" and np.linalg.norm(aim - xy) <= 1:
            goal = _goal(ways, kind, world.xy_to_ij(xy), rng)
        towards = np.asarray(world.ij_to_xy(ways.next(world.xy_to_ij(xy), goal))) - xy
        action = towards / (np.linalg.norm(towards) + 1e-6) + NOISE * rng.standard_normal(2)
        done.append(np.clip(action, -1, 1))
        path.append(env.step(done[-1])[0])
    return np.asarray(path, np.float32), np.asarray(done, np.float32), np.zeros(len(done), np.float32), False


def _goal(ways: Ways, kind: str, start: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    steps = ways.to(start)
    cells = [c for c in ways.free if (steps[c] == LEG if kind == "stitch" else steps[c] > 0)]
    return cells[rng.integers(len(cells))]
