"""Worlds: PointMaze environments, the geometry of their walls, a scripted controller that knows the map, a PD follower.

The geometry serves recordings, metrics and figures; a learned planner never reads it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

RADIUS = 0.1
"""The radius of PointMaze's ball, in metres."""
REACHED = 0.45
"""A goal counts as reached within this distance, in metres (PointMaze's own threshold)."""
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
TWO_WAYS: list[list[int | str]] = [
    [1, 1, 1, 1, 1, 1, 1],
    [1, 0, 0, "r", 0, 0, 1],
    [1, 0, 1, 1, 1, 0, 1],
    [1, 0, 1, 1, 1, 0, 1],
    [1, 0, 0, "g", 0, 0, 1],
    [1, 1, 1, 1, 1, 1, 1],
]
"""One block, two corridors of equal length; start and goal lie on the axis of symmetry x = 0."""


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
    _register()
    if name == "two-ways":
        options = {"maze_map": TWO_WAYS, "max_episode_steps": EPISODE_STEPS[name], **options}
    env = gymnasium.make(MAZES.get(name, MAZES["umaze"]), continuing_task=True, reset_target=False, **options)
    world: Any = env.unwrapped
    world.position_noise_range = spread  # its constructor hands the argument on to MuJoCo's, which refuses it
    Path(world.tmp_xml_file_path).unlink(missing_ok=True)  # gymnasium-robotics leaves one behind per environment
    return make_toll(env, toll) if name == "two-ways" else env


def _register() -> None:
    import contextlib
    import io
    import logging

    import gymnasium

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        logging.disable(logging.WARNING)
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
        logging.disable(logging.NOTSET)


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


@dataclass(frozen=True, eq=False)
class Walls:
    """The walls of a maze: square blocks of `scale` metres; `blocked` [R, C], row 0 at the top (largest y), origin in
    the middle."""

    blocked: NDArray[np.bool_]
    scale: float = 1.0

    @classmethod
    def of(cls, env) -> Walls:
        """The walls of a PointMaze environment."""
        maze = env.unwrapped.maze
        return cls(np.array([[cell == 1 for cell in row] for row in maze.maze_map]), float(maze.maze_size_scaling))

    @classmethod
    def named(cls, name: str) -> Walls:
        """The walls of one of our mazes by its name, without an environment."""
        if name == "two-ways":
            return cls(np.array([[cell == 1 for cell in row] for row in TWO_WAYS]))
        env = make_maze(name)
        try:
            return cls.of(env)
        finally:
            env.close()

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """(left, right, bottom, top) of the whole map in metres."""
        rows, cols = self.blocked.shape
        return -cols / 2 * self.scale, cols / 2 * self.scale, -rows / 2 * self.scale, rows / 2 * self.scale

    def cell(self, points: ArrayLike) -> NDArray[np.int64]:
        """The cells [..., 2] = (row, column) of points [..., 2] = (x, y)."""
        p = np.asarray(points, float)
        rows, cols = self.blocked.shape
        ij = np.stack([np.floor(rows / 2 - p[..., 1] / self.scale), np.floor(p[..., 0] / self.scale + cols / 2)], -1)
        return np.clip(ij, 0, [rows - 1, cols - 1]).astype(np.int64)

    def centre(self, cells: ArrayLike) -> Array:
        """The centres [..., 2] = (x, y) of cells [..., 2] = (row, column)."""
        c = np.asarray(cells, float)
        rows, cols = self.blocked.shape
        return np.stack([c[..., 1] + 0.5 - cols / 2, rows / 2 - c[..., 0] - 0.5], -1) * self.scale

    def inside(self, points: ArrayLike, clearance: float = 0.0) -> NDArray[np.bool_]:
        """Whether points [..., 2] lie within a wall grown by `clearance` metres on every side (at most half a cell)."""
        p = np.asarray(points, float)
        c = clearance
        hit = np.zeros(p.shape[:-1], bool)
        for shift in ((0, 0), (c, c), (c, -c), (-c, c), (-c, -c)) if c else ((0, 0),):
            cell = self.cell(p + shift)
            hit |= self.blocked[cell[..., 0], cell[..., 1]]
        return hit

    def crosses(self, a: ArrayLike, b: ArrayLike, clearance: float = 0.0, spacing: float = 0.02) -> NDArray[np.bool_]:
        """Whether segments from a [..., 2] to b [..., 2] meet a wall grown by `clearance`; looked at every `spacing`
        metres."""
        a, b = np.asarray(a, float), np.asarray(b, float)
        length = np.linalg.norm(b - a, axis=-1)
        n = max(2, int(np.ceil(length.max(initial=0.0) / spacing)) + 1)
        s = np.linspace(0, 1, n)[:, None]
        return np.asarray(self.inside(a[..., None, :] + s * (b - a)[..., None, :], clearance).any(-1))

    def pushed_out(self, point: ArrayLike, clearance: float) -> Array:
        """The nearest place to `point` [2] in its own cell that is at least `clearance` from every wall."""
        p = np.array(point, float)
        row, col = self.cell(p)
        centre, room = self.centre((row, col)), self.scale / 2 - clearance
        blocked = lambda i, j: bool(self.blocked[row + i, col + j])  # noqa: E731
        offset = p - centre
        low = np.array([-room if blocked(0, -1) else -np.inf, -room if blocked(1, 0) else -np.inf])
        high = np.array([room if blocked(0, 1) else np.inf, room if blocked(-1, 0) else np.inf])
        offset = np.clip(offset, low, high)
        i, j = -int(np.sign(offset[1])), int(np.sign(offset[0]))
        if i and j and blocked(i, j) and (np.abs(offset) > room).all():
            axis = int(np.argmin(np.abs(offset)))
            offset[axis] = np.sign(offset[axis]) * room
        return centre + offset

    @cached_property
    def _corner_signs(self) -> list[tuple[Array, Array]]:
        """Convex corners of the walls: (corner, the diagonal that points into the open)."""
        rows, cols = self.blocked.shape
        found = []
        for r in range(rows):
            for c in range(cols):
                if not self.blocked[r, c]:
                    continue
                for i in (-1, 1):
                    for j in (-1, 1):
                        if not (0 <= r + i < rows and 0 <= c + j < cols):
                            continue
                        if not (self.blocked[r + i, c] or self.blocked[r, c + j] or self.blocked[r + i, c + j]):
                            diagonal = np.array([j, -i], float)
                            found.append((self.centre((r, c)) + diagonal * self.scale / 2, diagonal))
        return found

    def _graph(self, clearance: float) -> tuple[Array, Array]:
        """The visibility graph between corners kept `clearance` away: nodes [K, 2], lengths [K, K] (inf: not in
        sight)."""
        cache = self.__dict__.setdefault("_graphs", {})
        if clearance not in cache:
            nodes = np.array([corner + clearance * diagonal for corner, diagonal in self._corner_signs]).reshape(-1, 2)
            cache[clearance] = nodes, self._sight(nodes[:, None], nodes[None], clearance)
        return cache[clearance]

    def _sight(self, a: Array, b: Array, clearance: float) -> Array:
        length = np.linalg.norm(b - a, axis=-1)
        # a hair less than the nodes' own clearance, so that walking along a wall from corner to corner is allowed
        return np.where(self.crosses(a, b, clearance - 1e-6), np.inf, length)

    def shortest_path(self, start: ArrayLike, goal: ArrayLike, clearance: float = RADIUS, side: int = 0) -> Array:
        """The shortest polyline [n, 2] from start to goal that keeps `clearance` from the walls (visibility graph,
        Dijkstra).

        `side` = -1 or +1 uses only corners with x < 0 or x > 0: one way around the block of two-ways.
        Raises ValueError if no path exists.
        """
        a, b = self.pushed_out(start, clearance), self.pushed_out(goal, clearance)
        nodes, lengths = self._graph(clearance)
        if side:
            keep = side * nodes[:, 0] > 0
            nodes, lengths = nodes[keep], lengths[np.ix_(keep, keep)]
        direct = float(self._sight(a, b, clearance))
        best, last = direct, -1
        to_goal = self._sight(nodes, b[None], clearance) if len(nodes) else np.empty(0)
        dist = self._sight(a[None], nodes, clearance) if len(nodes) else np.empty(0)
        before, done = np.full(len(nodes), -1), np.zeros(len(nodes), bool)
        while not done.all():
            k = int(np.argmin(np.where(done, np.inf, dist)))
            if not dist[k] < best:
                break
            done[k] = True
            if dist[k] + to_goal[k] < best:
                best, last = dist[k] + to_goal[k], k
            nearer = dist[k] + lengths[k] < dist
            dist, before = np.where(nearer, dist[k] + lengths[k], dist), np.where(nearer, k, before)
        if not np.isfinite(best):
            ends = [np.round(np.asarray(x, float), 2).tolist() for x in (start, goal)]
            raise ValueError(f"no way leads from {ends[0]} to {ends[1]}")
        path = [b]
        while last >= 0:
            path.append(nodes[last])
            last = int(before[last])
        return np.array([a, *reversed(path)])


def path_length(points: ArrayLike) -> float:
    """The length of a polyline [n, 2] in metres."""
    return float(np.linalg.norm(np.diff(np.asarray(points, float), axis=0), axis=-1).sum())


def follow(reference: ArrayLike, obs: ArrayLike, kp: float = 15.0, kd: float = 2.0) -> Array:
    """The PD controller: action = clip(kp (x_ref - x) + kd (v_ref - v), -1, 1) for states [..., 4] = (x, y, vx, vy). ->
    [..., 2]"""
    e = np.asarray(reference, float) - np.asarray(obs, float)
    return np.clip(kp * e[..., :2] + kd * e[..., 2:], -1, 1)


@dataclass
class Controller:
    """A scripted driver that knows the map: shortest path, rounded corners, a speed profile within its limits, PD along
    it.

    `left` is the probability of the left way where there are two (two-ways); None takes the shorter one.
    Use: `controller.reset(obs, goal, rng)`, then `controller.act(obs)` every step; `reference` [T, 4] is what it
    follows.
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

    def reset(self, obs: ArrayLike, goal: ArrayLike, rng: np.random.Generator | int | None = 0) -> Array:
        """Plan from the state obs [4] to goal [2]; the reference [T, 4] at every step (also kept in
        `self.reference`)."""
        self.rng = np.random.default_rng(rng)
        obs = np.asarray(obs, float)
        way = 0 if self.left is None else (-1 if self.rng.random() < self.left else 1)
        self.way = way
        path = self.walls.shortest_path(obs[:2], goal, self.clearance, way)
        path = np.concatenate([path, np.asarray(goal, float)[None]])
        self.reference = self._timed(_rounded(path, self.rounding), obs[2:])
        self.step = 0
        return self.reference

    def act(self, obs: ArrayLike) -> Array:
        """The action [2] for the state obs [4], one step further along the reference; at its end it holds the goal."""
        self.step += 1
        now = self.reference[min(self.step, len(self.reference) - 1)]
        action = follow(now, obs, self.kp, self.kd)
        return np.clip(action + self.noise * self.rng.standard_normal(2), -1, 1) if self.noise else action

    @property
    def finished(self) -> bool:
        """Whether the reference has come to its end."""
        return self.step >= len(self.reference) - 1

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


def drive(
    env,
    controller: Controller,
    *,
    seed: int,
    rng: np.random.Generator | None = None,
    settle: int | None = 15,
) -> dict[str, Array]:
    """One episode of the scripted controller: `obs` [T+1, 4], `act` [T, 2], `rew` [T], `goal` [2].

    It stops `settle` steps after the reference has ended, or at the time limit with `settle=None`. For recordings make
    the maze with `position_noise_range=0.38` (starts and goals all over their cells) and give the controller
    `noise=0.1`.
    """
    rng = rng or np.random.default_rng(seed)
    obs, _ = env.reset(seed=seed)
    goal = obs["desired_goal"].copy()
    states, acts, rews = [obs["observation"]], [], []
    controller.reset(obs["observation"], goal, rng)
    over, left = False, settle
    while not over and left != 0:
        action = controller.act(obs["observation"])
        obs, reward, terminated, truncated, _ = env.step(action)
        states.append(obs["observation"])
        acts.append(action)
        rews.append(reward)
        over = terminated or truncated
        if controller.finished and left is not None:
            left -= 1
    return {"obs": np.array(states), "act": np.array(acts), "rew": np.array(rews), "goal": goal}


@dataclass(frozen=True, eq=False)
class Episode:
    """What happened: obs [T+1, 4], act [T, 2], rew [T], goal [2], the first plan `reference` [n, 4] and how often it
    was planned."""

    obs: Array
    act: Array
    rew: Array
    goal: Array
    reference: Array
    plans: int
    seconds: list[float]  # of each planning

    @property
    def steps(self) -> int:
        """T."""
        return len(self.act)

    @property
    def steps_to_goal(self) -> int | None:
        """The first step that ended within 0.45 m of the goal, counted from 1; None if there was none."""
        near = np.linalg.norm(self.obs[1:, :2] - self.goal, axis=-1) <= REACHED
        return int(near.argmax()) + 1 if near.any() else None

    @property
    def reached(self) -> bool:
        """Whether the goal was ever within 0.45 m."""
        return self.steps_to_goal is not None


def roll_out(env, agent, *, seed: int) -> Episode:
    """One episode of an agent, from the environment's own random reset to its time limit.

    agent: `reset(obs [4], goal [2], seed)` at the start, then `act(obs [4]) -> action [2]` every step.
    """
    obs, _ = env.reset(seed=seed)
    goal = obs["desired_goal"].copy()
    agent.reset(obs["observation"], goal, seed)
    reference = getattr(agent, "reference", np.empty((0, 4)))
    states, acts, rews, over = [obs["observation"]], [], [], False
    while not over:
        action = agent.act(obs["observation"])
        obs, reward, terminated, truncated, _ = env.step(action)
        states.append(obs["observation"])
        acts.append(action)
        rews.append(float(reward))
        over = terminated or truncated
    return Episode(
        np.array(states),
        np.array(acts),
        np.array(rews),
        goal,
        reference,
        getattr(agent, "plans", 1),
        list(getattr(agent, "seconds", [])),
    )


@dataclass
class Follower:
    """An agent that asks `route(obs [4], goal [2], seed) -> states [n, 4]` what to do and follows it, state by state.

    It asks again only when that helps: when the ball is more than `off` metres from where it should be (stuck, or
    thrown off), or when the route has ended `patience` steps ago and the goal is not reached. After the end of a route
    it holds the goal. `again=False` asks once.
    """

    route: Callable[[Array, Array, int], Array]
    kp: float = 15.0
    kd: float = 2.0
    off: float = 0.5
    patience: int = 10
    again: bool = True

    def reset(self, obs: ArrayLike, goal: ArrayLike, seed: int = 0) -> None:
        self.goal, self.seed, self.plans = np.asarray(goal, float), seed, 0
        self.seconds: list[float] = []
        self._ask(np.asarray(obs, float))

    def _ask(self, obs: Array) -> None:
        begun = time.perf_counter()
        # seeds of later routes differ from each other and from those of other episodes
        self.reference = np.asarray(self.route(obs, self.goal, self.seed + 1_000_003 * self.plans), float)
        self.seconds.append(time.perf_counter() - begun)
        self.plans, self.step = self.plans + 1, 0

    def act(self, obs: ArrayLike) -> Array:
        x = np.asarray(obs, float)
        target = self._target()
        late = self.step >= len(self.reference) + self.patience and np.linalg.norm(x[:2] - self.goal) > REACHED
        if self.again and self.step and (np.linalg.norm(x[:2] - target[:2]) > self.off or late):
            self._ask(x)
        self.step += 1
        return follow(self._target(), x, self.kp, self.kd)

    def _target(self) -> Array:
        return self.reference[self.step] if self.step < len(self.reference) else np.r_[self.goal, 0, 0]
