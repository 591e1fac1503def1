"""A loop by the clock, on a clock that the test turns: what is late is held, counted, and never made up for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from diffrl_lab.diffusion import ddim
from diffrl_lab.methods.planning.diffuser import Config, Diffuser
from diffrl_lab.studies import clocked, fast

P = 0.25  # a period that floats hold exactly


class Turned:
    """A clock on which nothing takes time but waiting, and what the test says."""

    t = 64.0

    def now(self) -> float:
        return self.t

    def until(self, due: float) -> None:
        self.t = max(self.t, due)


def loop(costs: dict[int, float], periods: int) -> tuple[clocked.Kept, list[float], list[int]]:
    """A loop of so many periods whose action for period n is n + 1 and takes costs[n] periods. -> what was counted, the
    actions of the world, and the periods at which an action was asked for"""
    clock, done, asked = Turned(), [], []

    def act(n: int) -> Any:
        asked.append(n)
        clock.t += costs.get(n, 0.0) * P
        return np.array([n + 1.0])

    def move(action: Any) -> bool:
        done.append(float(action[0]))
        return len(done) == periods

    return clocked.in_time(act, move, 1, clock, P), done, asked


def test_what_is_there_within_its_period_is_in_time_to_the_last_moment() -> None:
    kept, done, asked = loop({0: 1.0, 2: 0.5}, 4)
    assert (kept.periods, kept.missed, done, asked) == (4, 0, [1, 2, 3, 4], [0, 1, 2, 3])
    assert kept.spent == [(0, P), (1, 0), (2, P / 2), (3, 0)]


def test_in_each_period_that_an_action_is_late_the_last_one_is_held_and_the_period_is_missed() -> None:
    kept, done, asked = loop({0: 1.5, 3: 3.25}, 9)
    assert done == [0, 1, 3, 3, 3, 3, 4, 8, 9], "nothing is held at first; a late action acts in the period it came in"
    assert asked == [0, 2, 3, 7, 8] and (kept.periods, kept.missed) == (9, 4)
    assert [s / P for _, s in kept.spent] == [1.5, 0, 3.25, 0, 0]


@pytest.mark.parametrize(("cost", "missed"), [(0.5, 0), (1.0, 0), (1.5, 1), (2.0, 1), (7.5, 7)])
def test_a_plan_of_so_many_periods_misses_all_that_end_before_it_is_there(cost: float, missed: int) -> None:
    assert loop({0: cost}, 20)[0].missed == missed


def test_a_world_that_is_over_while_its_action_is_late_is_left_alone() -> None:
    kept, done, _ = loop({1: 50.0}, 4)
    assert done == [1, 1, 1, 1] and (kept.periods, kept.missed) == (4, 3)


class Ridden(fast.Timed):
    """Whose every plan takes `cost` periods of a turned clock."""

    cost, clock = 0.0, Turned()

    def planned(self, obs: Any, goal: Any, seed: int) -> Any:
        self.clock.t += self.cost * clocked.PERIOD
        return super().planned(obs, goal, seed)


class Nowhere:
    """A world in which the ball stays, for so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def reset(self, seed: int) -> Any:
        return {"observation": np.zeros(4), "desired_goal": np.array([50.0, 0.0])}, {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        return {"observation": np.zeros(4)}, 0.0, False, self.left == 0, {"success": False}


def ridden(
    cost: float, every: int, periods: int, warm: float | None = None, kind: type[Ridden] = Ridden
) -> tuple[Ridden, clocked.Kept]:
    torch.manual_seed(0)
    model = Diffuser(Config(horizon=8, width=16, depth=1, channels=4, denoising=2, candidates=3), 4, 2).eval()
    model.scaler.center[-1], model.scaler.spread[-1] = math.log(400.0), 0.01  # a plan outlasts the test
    rider = kind(model, 2, ddim(), every, warm)
    rider.cost, rider.off, rider.clock = cost, math.inf, Turned()
    kept, reached, steps = fast.clocked_drive(rider, Nowhere(fast.STRIDE * periods), 3, rider.clock)
    assert not reached and steps == fast.STRIDE * periods
    return rider, kept


def test_a_rider_plans_in_its_first_period_and_so_many_periods_after_each_plan_began() -> None:
    rider, kept = ridden(0.5, 5, 21)
    assert rider.began == [0, 5, 10, 15, 20] and kept.missed == 0 and rider.evaluations == 2 * 5
    rider, kept = ridden(3.5, 5, 21)
    assert rider.began == [0, 5, 10, 15, 20] and kept.missed == 3 * 4 + 1, (
        "the world ends in the last plan's first period"
    )
    assert ridden(0.5, 1, 6)[0].began == [0, 1, 2, 3, 4, 5]
    rider, kept = ridden(1.5, 1, 6)
    assert rider.began == [0, 2, 4] and kept.missed == 3, "each plan misses one period"


def test_the_part_of_a_plan_that_was_due_while_it_was_drawn_is_left_out() -> None:
    aims: list[int] = []

    class Aimed(Ridden):
        def _target(self, k: int) -> Any:
            aims.append(int(self.step[k]))
            return super()._target(k)

    for cost in (0.0, 3.5):
        ridden(cost, 1000, 8, kind=Aimed)
        assert aims[-1] == fast.STRIDE * 8, "in period 7 it aims at the end of this one, counted from the plan's begin"
    ridden(0.0, 5, 6, kind=Aimed)
    assert aims[-1] == fast.STRIDE, "in period 5 it has a new plan"


def test_a_warm_plan_begins_with_what_is_left_of_the_last_one_when_it_is_asked_for() -> None:
    left: list[Any] = []

    class Resting(Ridden):
        def rest(self) -> Any:
            left.append((int(self.step[0]), super().rest()))
            return left[-1][1]

    ridden(1.5, 5, 6, 0.5, Resting)
    assert [step for step, _ in left] == [0, 5 * fast.STRIDE] and left[0][1] is None and left[1][1] is not None
