"""One drive for every world: what steps side by side is what steps alone, and the world's own words are passed on."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from torch.testing import assert_close

from diffrl_lab.methods.baselines.straight import straight
from diffrl_lab.worlds import robots
from diffrl_lab.worlds.driving import Along, Follower, Uniform, arrived, drive
from diffrl_lab.worlds.mazes import Controller, make_maze
from diffrl_lab.worlds.walls import Walls


def alone(env, agent, seed: int) -> tuple[list, list, list]:
    """One episode the plain way."""
    seen, _ = env.reset(seed=seed)
    goal = seen["desired_goal"][None].copy() if isinstance(seen, dict) else None
    part = (lambda o: o["observation"].copy()) if isinstance(seen, dict) else np.array
    obs, act, rew, over = [part(seen)], [], [], False
    agent.reset(obs[0][None], [seed], goal)
    while not over:
        act.append(agent.act(obs[-1][None])[0])
        seen, reward, terminated, truncated, _ = env.step(act[-1])
        obs.append(part(seen)), rew.append(float(reward))
        over = terminated or truncated
    return obs, act, rew


def controller(env) -> Controller:
    return Controller(Walls.of(env), noise=0.1, left=0.5)


WORLDS = {
    "two-ways": (lambda: make_maze("two-ways"), controller),
    "umaze": (lambda: make_maze("umaze"), lambda env: straight()),
    "hopper": (lambda: robots.make("hopper"), lambda env: Uniform(3)),
}


@pytest.mark.parametrize("world", WORLDS)
def test_episodes_side_by_side_are_bit_for_bit_those_of_a_plain_loop(world: str) -> None:
    make, agent = WORLDS[world]
    envs = [make() for _ in range(2)]
    episodes = drive(envs, agent(envs[0]), [5, 3, 4])  # the third comes into a used environment
    for e, seed in zip(episodes, [5, 3, 4], strict=True):
        obs, act, rew = alone(envs[0], agent(envs[0]), seed)
        assert e.seed == seed and np.array_equal(e.obs, obs) and np.array_equal(e.act, act)
        assert np.array_equal(e.rew, rew) and e.total == np.sum(rew) and (e.terminated or e.truncated)
    for env in envs:
        env.close()


class Line(gymnasium.Env):
    """x moves by the force in [0, 4]; done at x = 10; its info tells `is_success` and x."""

    action_space, observation_space = Box(0.0, 4.0, (1,)), Box(-np.inf, np.inf, (2, 1))

    def __init__(self, words: bool = True):
        self.words = words

    def _seen(self) -> tuple:
        return np.full((2, 1), self.x, np.float32), {"x": self.x, "word": "w"} | (
            {"is_success": self.x >= 10} if self.words else {}
        )

    def reset(self, *, seed=None, options=None):
        self.x = float(seed)
        return self._seen()

    def step(self, action):
        assert self.action_space.contains(action)
        self.x += float(action[0])
        obs, info = self._seen()
        return obs, -1.0, self.x >= 14, False, info


class Constant:
    """The same action for all; it remembers whom it was asked for."""

    def __init__(self, action: float, size: int = 1):
        self.action, self.size = action, size

    def reset(self, obs, seeds, goal=None) -> None:
        self.asked, self.goal = [], goal

    def act(self, obs, which=None):
        self.asked.append(list(which))
        return np.full((len(obs), self.size), self.action)


def test_actions_are_stretched_to_the_box_and_the_worlds_success_infos_and_flags_are_those_of_each_step() -> None:
    agent = Constant(-0.5)  # a force of 1
    late, soon = drive([Line(), Line()], agent, [4, 9])
    assert agent.goal is None and agent.asked == [[0, 1]] * 5 + [[0]] * 5
    assert late.infos.keys() == {"x", "is_success"} and late.infos["x"].tolist() == list(range(4, 15))
    assert late.steps_to_goal == 6 and soon.steps_to_goal == 1 and late.reached
    assert late.terminated and not late.truncated and late.obs.shape == (11, 2, 1) and late.total == -10
    cut = drive([Line()], agent, [4, 9], until=arrived)
    assert [e.steps for e in cut] == [6, 1] and not any(e.terminated or e.truncated for e in cut)
    (silent,) = drive([Line(words=False)], agent, [9])
    assert silent.success is silent.reached is silent.steps_to_goal is None


def test_a_follower_drives_many_as_it_drives_one_and_says_of_each_how_often_it_planned() -> None:
    def route(obs, goal, seed):  # ends short of the goal: it asks again and again
        return np.r_[obs[:2] + 0.02 * np.random.default_rng(seed).normal(size=2), 0, 0][None]

    envs = [make_maze("umaze", max_episode_steps=60) for _ in range(3)]
    many = drive(envs, Follower(route), [0, 1, 2])
    one = drive(envs[:1], Follower(route), [0, 1, 2])
    for a, b in zip(many, one, strict=True):
        assert np.array_equal(a.obs, b.obs) and a.plans == b.plans > 2 and len(a.seconds) == a.plans
        assert_close(a.reference, route(a.obs[0], a.goal, a.seed))
    assert {e.plans for e in drive(envs, Follower(route, most=2), [0, 1, 2])} == {2}
    for env in envs:
        env.close()


def test_what_cannot_be_driven_is_named() -> None:
    class Buttons(Line):
        action_space = Discrete(3)

    class Unbounded(Line):
        action_space = Box(-np.inf, np.inf, (1,))

    for env in (Buttons(), Unbounded()):
        with pytest.raises(ValueError, match=r"a bounded Box of actions .* has actions (Discrete\(3\)|Box\(-inf)"):
            drive([env], Constant(0), [1])
    with pytest.raises(ValueError, match=r"Constant must give actions \[1, 1\], got \[1, 3\]"):
        drive([Line()], Constant(0, 3), [1])
    with pytest.raises(ValueError, match="at least one environment"):
        drive([], Constant(0), [1])
    for agent in (Along(lambda *_: np.zeros((1, 4))), straight()):
        with pytest.raises(ValueError, match="the world has none"):
            drive([Line()], agent, [1])
