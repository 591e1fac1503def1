"""Driving: an agent acts in environments, and what happened are episodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.worlds.walls import REACHED, Array

SUCCESS = ("success", "is_success")
"""The entry of a world's info that says whether its task is done: gymnasium-robotics' mazes have the first name, its
arms the second."""


class Agent(Protocol):
    """Acts for m episodes side by side.

    `reset` gets their first observations [m, ...], their seeds [m], and their goals [m, g] in a world that has goals.
    `act` gets the observations [n, ...] of the episodes `which` [n] that still run (None: all) -> actions [n, a] in
    [-1, 1]. An agent may have `extras(k) -> dict` beside them: what it has to say of episode k when all are over.
    """

    def reset(self, obs: NDArray, seeds: Sequence[int], goal: NDArray | None = None) -> None: ...

    def act(self, obs: NDArray, which: NDArray | None = None) -> NDArray: ...


@dataclass(frozen=True, eq=False)
class Episode:
    """What happened: obs [T+1, ...], act [T, a] in [-1, 1], rew [T], and how it ended."""

    seed: int
    obs: NDArray
    act: NDArray
    rew: Array
    terminated: bool  # the flags of the last step; neither is set where `until` ended the episode
    truncated: bool
    goal: NDArray | None  # [g]; None in a world without goals
    success: NDArray[np.bool_] | None  # [T], whether the task was done after each step; None in a world that never says
    infos: dict[str, NDArray]  # the numbers in the world's info at the reset and after every step, [T+1, ...] each
    extras: dict[str, Any]  # what the agent says of the episode

    @property
    def steps(self) -> int:
        """T."""
        return len(self.act)

    @property
    def total(self) -> float:
        """The undiscounted return."""
        return float(self.rew.sum())

    @property
    def reached(self) -> bool | None:
        """Whether the task was ever done after a step; None in a world that never says."""
        return None if self.success is None else bool(self.success.any())

    @property
    def steps_to_goal(self) -> int | None:
        """The first step after which the task was done, counted from 1; None if there was none."""
        return None if self.success is None or not self.success.any() else int(self.success.argmax()) + 1

    @property
    def reference(self) -> NDArray:
        """The first plan that the agent followed, [n, 4]; n = 0 where it has none."""
        return self.extras.get("reference", np.empty((0, 4)))

    @property
    def plans(self) -> int:
        """How often the agent planned."""
        return self.extras.get("plans", 1)

    @property
    def seconds(self) -> list[float]:
        """How long each planning took."""
        return self.extras.get("seconds", [])


@dataclass(eq=False)
class Running:
    """An episode while it is driven, as `until` sees it after each step: T + 1 obs and infos, T act and rew."""

    number: int  # among those that run side by side
    seed: int
    goal: NDArray | None
    obs: list[NDArray]
    infos: list[dict[str, Any]]
    act: list[NDArray] = field(default_factory=list)
    rew: list[float] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    @property
    def steps(self) -> int:
        """T, the steps so far."""
        return len(self.act)

    def episode(self, extras: dict[str, Any]) -> Episode:
        """What has happened, as arrays."""
        successes = [_success(info) for info in self.infos[1:]]
        success = None if all(s is None for s in successes) else np.array([bool(s) for s in successes])
        obs, act, rew = np.array(self.obs), np.array(self.act), np.array(self.rew, float)
        ended = self.terminated, self.truncated
        return Episode(self.seed, obs, act, rew, *ended, self.goal, success, _columns(self.infos), extras)


Until = Callable[[Running], Any]


def arrived(run: Running) -> bool:
    """An `until`: the task is done, as the world's info says."""
    return bool(_success(run.infos[-1]))


def after(steps: int) -> Until:
    """An `until`: so many steps are done."""
    return lambda run: run.steps == steps


def drive(envs: Sequence[Any], agent: Agent, seeds: Sequence[int], *, until: Until | None = None) -> list[Episode]:
    """One episode of Gymnasium environments for each seed, in the order of the seeds.

    As many episodes as there are environments run side by side, an environment each; then the next as many. An episode
    begins with `env.reset(seed=seed)` and ends with the environment's flags, or with the first step after which
    `until` is true. Observations are a Box's, or the `observation` of a dict with a `desired_goal`; actions in [-1, 1]
    are stretched to the environment's Box.
    Raises ValueError for other spaces, no environment, and actions that are not a row for each running episode.
    """
    envs, seeds = list(envs), [int(seed) for seed in seeds]
    if not envs:
        raise ValueError("driving needs at least one environment, got none")
    stretch = [_stretch(env) for env in envs]
    extras: Callable[[int], dict[str, Any]] = getattr(agent, "extras", lambda k: {})
    episodes: list[Episode] = []
    for first in range(0, len(seeds), len(envs)):
        runs = _side_by_side(envs, stretch, agent, seeds[first : first + len(envs)], until)
        episodes += [run.episode(extras(run.number)) for run in runs]
    return episodes


def _side_by_side(
    envs: list[Any], stretch: list[Callable[[NDArray], NDArray]], agent: Agent, seeds: list[int], until: Until | None
) -> list[Running]:
    runs = []
    for k, seed in enumerate(seeds):
        seen, info = envs[k].reset(seed=seed)
        obs, goal = _parts(seen)
        runs.append(Running(k, seed, goal, [obs], [info]))
    agent.reset(np.array([run.obs[0] for run in runs]), seeds, _goals(runs))
    alive = np.arange(len(runs))
    while len(alive):
        actions, over = np.asarray(agent.act(np.array([runs[k].obs[-1] for k in alive]), alive)), []
        wanted = len(alive), int(np.prod(envs[0].action_space.shape))
        if actions.shape != wanted:
            raise ValueError(f"{type(agent).__name__} must give actions {list(wanted)}, got {list(actions.shape)}")
        for k, action in zip(alive.tolist(), actions, strict=True):
            run = runs[k]
            seen, reward, terminated, truncated, info = envs[k].step(stretch[k](action))
            run.obs.append(_parts(seen)[0])
            run.act.append(action)
            run.rew.append(float(reward))
            run.infos.append(info)
            run.terminated, run.truncated = bool(terminated), bool(truncated)
            if run.terminated or run.truncated or (until is not None and until(run)):
                over.append(k)
        alive = np.setdiff1d(alive, over)
    return runs


def _parts(seen: Any) -> tuple[NDArray, NDArray | None]:
    """Observation and goal of what an environment shows, copied: it may use its arrays again."""
    if isinstance(seen, dict):
        return np.array(seen["observation"]), np.array(seen["desired_goal"])
    return np.array(seen), None


def _goals(runs: list[Running]) -> NDArray | None:
    goals = [run.goal for run in runs if run.goal is not None]
    return np.array(goals) if len(goals) == len(runs) else None


def _success(info: dict[str, Any]) -> bool | None:
    return next((bool(info[name]) for name in SUCCESS if name in info), None)


def _columns(infos: list[dict[str, Any]]) -> dict[str, NDArray]:
    """The entries that every info has, as long as they are numbers of one shape."""
    columns = {}
    for name in infos[0]:
        shapes = {
            np.shape(i[name]) if isinstance(i.get(name), (bool, int, float, np.generic, np.ndarray)) else None
            for i in infos
        }
        if len(shapes) == 1 and None not in shapes:
            columns[name] = np.array([i[name] for i in infos])
    return columns


def _stretch(env: Any) -> Callable[[NDArray], NDArray]:
    """Actions in [-1, 1] -> actions of the environment's Box: the same where it is [-1, 1] itself."""
    from gymnasium.spaces import Box, Dict

    space, seen = env.action_space, env.observation_space
    if isinstance(seen, Dict) and {"observation", "desired_goal"} <= set(seen):
        seen = seen["observation"]
    if not isinstance(space, Box) or not isinstance(seen, Box) or not space.is_bounded():
        raise ValueError(
            "what can be driven has a bounded Box of actions and a Box of observations (or a dict with `observation` "
            f"and `desired_goal`); {env} has actions {env.action_space} and observations {env.observation_space}"
        )
    low, high = space.low.astype(float), space.high.astype(float)
    if (low == -1).all() and (high == 1).all():
        return lambda action: action.reshape(space.shape)
    return lambda action: (low + (action.reshape(space.shape) + 1) / 2 * (high - low)).astype(space.dtype)


# ---------------------------------------------------------------------------------------------------------- the drivers
def follow(reference: ArrayLike, obs: ArrayLike, kp: float = 15.0, kd: float = 2.0) -> Array:
    """The PD controller: action = clip(kp (x_ref - x) + kd (v_ref - v), -1, 1) for states [..., 4] = (x, y, vx, vy). ->
    [..., 2]"""
    e = np.asarray(reference, float) - np.asarray(obs, float)
    return np.clip(kp * e[..., :2] + kd * e[..., 2:], -1, 1)


Route = Callable[[Array, Array, int], ArrayLike]
"""(state [4], goal [2], seed) -> the states to be in from now on, one for each step, [n, 4]."""


class Uniform:
    """An agent that draws every action [size] uniformly from [-1, 1], in float32, by a generator of the episode's
    seed."""

    def __init__(self, size: int):
        self.size = size

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float32]:
        generators = [self.generators[k] for k in indices(obs, which)]
        return np.stack([(2 * torch.rand(self.size, generator=g) - 1).numpy() for g in generators])


class Along:
    """An agent that asks `route` once; the PD controller leads the ball along it and holds it at its end."""

    def __init__(self, route: Route, kp: float = 15.0, kd: float = 2.0):
        self.route, self.kp, self.kd = route, kp, kd

    def reset(self, obs: ArrayLike, seeds: Sequence[Any], goal: ArrayLike | None = None) -> None:
        each = zip(np.asarray(obs, float), np.asarray(_wanted(goal), float), seeds, strict=True)
        self.reference = [np.asarray(self.route(o, g, seed), float) for o, g, seed in each]
        self.step = np.zeros(len(seeds), int)

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> Array:
        now = indices(obs, which)
        self.step[now] += 1
        targets = [self.reference[k][min(self.step[k], len(self.reference[k]) - 1)] for k in now]
        return follow(targets, obs, self.kp, self.kd)

    def extras(self, k: int) -> dict[str, Any]:
        return {"reference": self.reference[k], "plans": 1}

    def settled(self, run: Running, steps: int = 15) -> bool:
        """An `until`: the route has ended so many steps ago."""
        return run.steps >= max(len(self.reference[run.number]) - 1, 1) + steps - 1


@dataclass
class Follower:
    """An agent that asks `route` what to do and follows it, state by state.

    It asks again only when that helps: when the ball is more than `off` metres from where it should be (stuck, or
    thrown off), or when the route has ended `patience` steps ago and the goal is not reached. After the end of a route
    it holds the goal. `again=False` asks once; `most` is how often it asks at most.
    """

    route: Route
    kp: float = 15.0
    kd: float = 2.0
    off: float = 0.5
    patience: int = 10
    again: bool = True
    most: float = np.inf

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        self.goal, self.seeds = np.asarray(_wanted(goal), float), [int(seed) for seed in seeds]
        self.plans, self.step = np.zeros((2, len(seeds)), int)
        self.seconds: list[list[float]] = [[] for _ in seeds]
        self.reference = [np.empty((0, 4)) for _ in seeds]
        for k, o in enumerate(np.asarray(obs, float)):
            self._ask(k, o)
        self.first = list(self.reference)

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> Array:
        return np.array([self._act(k, o) for k, o in zip(indices(obs, which), np.asarray(obs, float), strict=True)])

    def towards(self, obs: Array, target: Array) -> Array:
        """The action [2] that leads from the state obs [4] to the next one of the route, target [4]."""
        return follow(target, obs, self.kp, self.kd)

    def extras(self, k: int) -> dict[str, Any]:
        return {"reference": self.first[k], "plans": int(self.plans[k]), "seconds": self.seconds[k]}

    def _act(self, k: int, x: Array) -> Array:
        away, step = np.linalg.norm(x[:2] - self._target(k)[:2]), self.step[k]
        late = step >= len(self.reference[k]) + self.patience and np.linalg.norm(x[:2] - self.goal[k]) > REACHED
        if self.again and self.plans[k] < self.most and step and (away > self.off or late):
            self._ask(k, x)
        self.step[k] += 1
        return self.towards(x, self._target(k))

    def _ask(self, k: int, x: Array) -> None:
        begun = time.perf_counter()
        # seeds of later routes differ from each other and from those of other episodes
        seed = self.seeds[k] + 1_000_003 * int(self.plans[k])
        self.reference[k] = np.asarray(self.route(x, self.goal[k], seed), float)
        self.seconds[k].append(time.perf_counter() - begun)
        self.plans[k], self.step[k] = self.plans[k] + 1, 0

    def _target(self, k: int) -> Array:
        route, step = self.reference[k], self.step[k]
        return route[step] if step < len(route) else np.r_[self.goal[k], 0, 0]


def indices(obs: ArrayLike, which: ArrayLike | None) -> list[int]:
    """The numbers of the episodes that observations [n, ...] belong to: `which`, or 0 to n - 1."""
    return list(range(len(np.asarray(obs)))) if which is None else np.asarray(which).tolist()


def _wanted(goal: ArrayLike | None) -> ArrayLike:
    if goal is None:
        raise ValueError("this agent follows routes to goals, and the world has none (a dict with `desired_goal`)")
    return goal
