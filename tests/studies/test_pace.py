"""What lesson 06 counts: a loop whose plans are late by their evaluations alone, and what is left of a plan."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.studies import pace
from diffrl_lab.worlds.driving import follow

GOAL = np.array([3.0, 0.0])


class Straight:
    """A planner of one plan: a metre along x in a hundred states, at a speed of 1."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def plan(
        self, obs: Any, goal: Any, candidates: Any, generator: torch.Generator, *, steps: int, frames: bool
    ) -> Any:
        self.asked.append(steps)
        return np.asarray(obs, float)

    def reference(self, start: Any) -> Any:
        x = np.tile(start, (100, 1))
        x[:, 0] += np.arange(1, 101) / 100
        x[:, 2] = 1
        return x


def loop(steps: int, rate: float, every: int = 50, periods: int = 200) -> tuple[pace.Late, Straight, np.ndarray]:
    """An agent whose robot is where its plan wants it, over so many periods. -> it, its planner, actions"""
    model = Straight()
    agent = pace.Late(model, steps, rate, every)  # type: ignore[arg-type]
    x, acts = np.zeros(4), []
    agent.reset(x[None], [0], GOAL[None])
    for _ in range(periods):
        acts.append(agent.act(x[None])[0])
        if agent.step[0]:
            x = np.array(agent.reference[0][agent.step[0] - 1])
    return agent, model, np.array(acts)


@pytest.mark.parametrize(("steps", "rate", "periods"), [(1, 200.0, 1), (1, 199.0, 2), (20, 300.0, 7), (20, 2100.0, 1)])
def test_a_plan_is_late_by_its_evaluations_and_by_no_clock(steps: int, rate: float, periods: int) -> None:
    agent, model, _ = loop(steps, rate)
    assert agent.periods == periods == math.ceil((steps + pace.CHOICE) * pace.HZ / rate)
    assert set(model.asked) == {steps}
    assert agent.extras(0)["held"] == len(model.asked) * (periods - 1)


def test_a_plan_in_time_is_followed_at_once_and_one_that_is_late_after_nothing_was_done() -> None:
    first = follow(Straight().reference(np.zeros(4))[0], np.zeros(4))
    assert np.abs(first).max() > 0
    assert_close(loop(1, 1000.0)[2][0], first)
    late = loop(20, 300.0)[2]
    assert (late[:6] == 0).all()
    assert_close(late[6], first)


def test_the_last_action_is_held_until_the_next_plan_is_there() -> None:
    agent, model, acts = loop(20, 300.0, every=50, periods=64)
    assert len(model.asked) == 2  # 6 periods of waiting, 50 of the plan, 6 of waiting again
    assert_close(acts[56:62], np.tile(acts[55], (6, 1)))
    assert agent.extras(0)["held"] == 12


def test_a_robot_that_is_thrown_off_is_planned_for_again() -> None:
    model = Straight()
    agent = pace.Late(model, 1, 1000.0)  # type: ignore[arg-type]
    agent.reset(np.zeros((1, 4)), [0], GOAL[None])
    agent.act(np.zeros((1, 4)))
    agent.act(np.array([[0.0, agent.off / 2, 0, 0]]))
    assert len(model.asked) == 1
    agent.act(np.array([[0.0, agent.off * 2, 0, 0]]))
    assert len(model.asked) == 2


def planned(H: int = 9) -> tuple[Any, torch.Tensor]:
    """A planner with a scaler alone, and a straight plan of H points: position, velocity, log steps."""
    raw = torch.stack([torch.linspace(0, 4, H), torch.full((H,), 0.5), torch.full((H,), math.log(3.0))], 1)
    scaler = Scaler.fit(torch.cat([raw, raw + 1, raw - torch.tensor([3.0, 0.2, 0.5])]), "standard")
    return SimpleNamespace(scaler=scaler), raw


def test_nothing_done_leaves_a_plan_as_it_is() -> None:
    planner, raw = planned()
    assert_close(pace.shift(planner, 0)(planner.scaler(raw)), planner.scaler(raw))


@pytest.mark.parametrize("done", [1, 3, 6])
def test_what_is_left_begins_where_it_was_and_takes_as_much_less_time(done: int) -> None:
    planner, raw = planned()
    left = planner.scaler.inverse(pace.shift(planner, done)(planner.scaler(raw)))
    assert left.shape == raw.shape
    assert_close(left[:, 0], torch.linspace(float(raw[done, 0]), 4, len(raw)))  # a straight plan stays straight
    assert_close(left[:, 1], raw[:, 1])
    points = len(raw) - 1
    assert_close(left[0, -1].exp() * points, raw[0, -1].exp() * (points - done))


def test_plans_are_apart_by_metres() -> None:
    x = torch.zeros(3, 5, 2)
    y = x + torch.tensor([3.0, 4.0])
    y[2] *= 100
    assert pace.apart(x, y) == 5.0


def test_a_table_of_chunks_has_the_rows_that_were_measured_and_a_curve_a_gap_where_none_was(monkeypatch) -> None:
    measured = {("a", 1): (0.2, 0.4), ("a", 5): (0.8, 0.6), ("b", 1): (0.1, 0.1)}
    rows = [
        {"arm": arm, "sampler": "ddim", "evaluations": n, "success": v, "entropy": 0.5, "entropy_floor": 1, "ratio": n}
        for (arm, n), each in measured.items()
        for v in each
    ]
    study = pace.Study("chunks")
    study.table = Table(rows, {})
    monkeypatch.setattr(pace, "Study", lambda part: study)
    arms = [("a", "ddim"), ("b", "ddim")]
    found = [(row[0], row[2], row[3]) for row in pace.chunk_rows(arms, [1, 2, 5]).rows]
    assert found == [("a", "1", "0.30"), ("a", "5", "0.70"), ("b", "1", "0.10")]
    curves = {name: torch.tensor(y) for name, y in pace.chunk_curves(arms, [1, 2, 5]).items()}
    wanted = {"a, ddim": [0.3, math.nan, 0.7], "b, ddim": [0.1, math.nan, math.nan]}
    assert_close(curves, {name: torch.tensor(y) for name, y in wanted.items()}, equal_nan=True)


def test_the_arms_of_a_plan_are_those_that_were_timed_each_beside_its_own_share_of_walls(monkeypatch) -> None:
    timed = {
        "network": 1.0,
        "chain, 2": 2.0,
        "plan, 2": 3.0,
        "plan, 2 heun": 4.0,
        "plan, 20": 5.0,
        "plan, student": 6.0,
    }
    latency = [{"what": w, "batch": b, "ms": ms * b} for w, ms in timed.items() for b in (1, 16)]
    share = {("ddim", 2): 0.1, ("heun", 2): 0.2, ("ddim", 20): 0.3, ("student", 1): 0.4, ("2m", 2): 0.5}
    walls = [{"maze": m, "sampler": s, "evaluations": n, "walls": v + d} for (s, n), v in share.items()
             for m, d in (("large", 0.0), ("large", 0.2), ("two-ways", 0.5))]  # fmt: skip
    tables = {"latency": Table(latency, {}), "fidelity": Table(walls, {})}

    class Made(pace.Study):
        def __init__(self, part: str) -> None:
            self.table = tables[part]

    monkeypatch.setattr(pace, "Study", Made)
    found = pace.timed_arms()
    assert list(found) == ["ddim", "heun", "student"], "2m was not timed"
    wanted = {"ddim": {2: (48.0, 0.2), 20: (80.0, 0.4)}, "heun": {2: (64.0, 0.3)}, "student": {1: (96.0, 0.5)}}
    assert_close(found, wanted)
