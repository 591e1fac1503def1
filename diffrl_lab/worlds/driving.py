"""Driving: an agent acts in an environment, and what happened is an episode."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffrl_lab.worlds.walls import REACHED, Array


def follow(reference: ArrayLike, obs: ArrayLike, kp: float = 15.0, kd: float = 2.0) -> Array:
    """The PD controller: action = clip(kp (x_ref - x) + kd (v_ref - v), -1, 1) for states [..., 4] = (x, y, vx, vy). ->
    [..., 2]"""
    e = np.asarray(reference, float) - np.asarray(obs, float)
    return np.clip(kp * e[..., :2] + kd * e[..., 2:], -1, 1)


def drive(
    env,
    controller: Any,
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
