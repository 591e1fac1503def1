"""The study of robots: many episodes at once are the same episodes, and its verdict is what its intervals say."""

from __future__ import annotations

import numpy as np
import pytest
from torch.testing import assert_close

from diffrl_lab.studies.robots import GRID, METHODS, interval, summary, together, verdict
from diffrl_lab.worlds import robots as locomotion
from diffrl_lab.worlds.driving import drive


class Ladder:
    """A shipped policy, one state at a time, and how many states each call showed it."""

    def __init__(self, name: str):
        held = locomotion.ladder(name)
        self.policy, self.shown = held.policies[held.about["medium"]], []

    def reset(self, obs, seeds, goal=None) -> None:
        self.shown = []

    def act(self, obs, which=None):
        self.shown.append(list(which))
        return np.array([self.policy.act(o) for o in obs])


@pytest.mark.parametrize(("name", "limit"), [("hopper", 1000), ("halfcheetah", 60)])
def test_episodes_that_step_together_return_what_each_returns_alone(name: str, limit: int) -> None:
    agent, seeds = Ladder(name), [3, 4, 5]
    R, L = together(name, agent, seeds, limit)
    env = locomotion.make(name)
    means = locomotion.Behaviour(agent.policy, noise=False)
    alone = [drive([env], means, [seed], until=lambda e: e.steps == limit)[0] for seed in seeds]
    env.close()
    assert L.tolist() == [run.steps for run in alone]
    assert_close(R, np.array([run.total for run in alone]), rtol=1e-6, atol=0)
    for k, length in enumerate(L):
        assert [k in shown for shown in agent.shown] == [step < length for step in range(max(L))]


def rows(scores: dict[str, float]) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {"name": "hopper", "method": m, "seed": s, "training_cpu": 1.0, "driving_cpu": 1.0, "lengths": [5] * 20}
        | {"scores": (x := scores.get(m, 5.0) + rng.normal(size=20)).tolist(), "mean": float(x.mean())}
        for m in METHODS
        for s in GRID["hopper"]
        if m in GRID["hopper"][s] or m == "best 10 %"
    ]


def test_the_verdict_is_what_the_intervals_say() -> None:
    for guided, wanted in ((20.0, "reproduced"), (10.0, "undecided"), (1.0, "failed")):
        found = summary(rows({"guided": guided, "best 10 %": 10.0}))["hopper"]
        assert found["verdict"] == wanted
        low, high = found["methods"]["guided"]["interval"]
        assert low < guided < high and high - low < 2
        assert "guided_minus_this" not in found["methods"]["neither"]  # of another number of trainings
        assert abs(found["methods"]["best 10 %"]["guided_minus_this"]["difference"] - (guided - 10)) < 0.5
    assert verdict((2, 3), [(0, 2), (0, 1)]) == "undecided" and verdict((2, 3), [(0, 1.9), (0, 1)]) == "reproduced"


def test_the_interval_counts_what_differs_between_trainings() -> None:
    noise = np.random.default_rng(0).normal(size=(3, 20))
    narrow, wide = interval(noise), interval(noise + np.array([[-10.0], [0], [10]]))
    assert wide[1] - wide[0] > 5 * (narrow[1] - narrow[0])
    with pytest.raises(ValueError, match="trainings, episodes"):
        interval(np.zeros(3))
