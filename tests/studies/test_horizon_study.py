"""The study of horizons: how models are rolled out, when an agent plans again, and how points are put together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.studies import horizon

A = np.array([[1, 0, 0.01, 0], [0, 1, 0, 0.01], [0, 0, 0.9, 0.1], [0, 0, -0.1, 0.9]])
B = np.array([[0, 0], [0, 0], [0.1, 0], [0, 0.1]])


def _linear(episodes: int, steps: int) -> Episodes:
    """A recording of s' = A s + B a + c with random actions: a world that least squares can know."""
    rng, parts = np.random.default_rng(0), []
    for _ in range(episodes):
        act = rng.uniform(-1, 1, (steps, 2))
        obs = [rng.normal(size=4)]
        for a in act:
            obs.append(A @ obs[-1] + B @ a + [0, 0, 0.02, 0])
        parts.append((np.array(obs, np.float32), act.astype(np.float32), np.zeros(steps, np.float32), False))
    return Episodes.join(parts)


def test_least_squares_rolled_out_is_the_world_where_the_world_is_linear() -> None:
    episodes = _linear(20, 50)
    model = horizon.least_squares(episodes)
    path = horizon.rolled_out(model, episodes.obs[0], episodes.act[:50])
    assert path.shape == (51, 4) and horizon.away(path, episodes.obs[:51]).max() < 1e-4
    assert horizon.away(horizon.rolled_out(lambda s, a: s, episodes.obs[0], episodes.act[:50]), path).max() > 0.01


def test_a_network_is_one_training_of_its_seed_and_learns_one_step() -> None:
    episodes = _linear(20, 50)
    one, same, other = (horizon.network(episodes, seed, updates=300) for seed in (0, 0, 1))
    s, a = episodes.obs[:50], episodes.act[:50]
    torch.testing.assert_close(one(s, a), same(s, a), rtol=0, atol=0)
    assert float((one(s, a) - other(s, a)).abs().max()) > 0
    still = (episodes.obs[1:51] - s).square().mean()
    assert float((one(s, a) - episodes.obs[1:51]).square().mean()) < 0.1 * still


def _line(obs: np.ndarray, goal: np.ndarray, seed: int) -> np.ndarray:
    """A plan of 40 steps: from where the ball is one centimetre a step to the right, at 1 m/s."""
    return np.stack([obs[0] + 0.01 * np.arange(41), np.full(41, obs[1]), np.ones(41), np.zeros(41)], 1)


@pytest.mark.parametrize(("every", "asked"), [(0, [0]), (30, [0, 30, 60, 90]), (50, [0, 50])])
def test_an_agent_plans_again_after_so_many_steps_and_at_no_other_time(every: int, asked: list[int]) -> None:
    agent, plans = horizon.Again(_line, every), []
    agent.reset(np.zeros((2, 4)), [0, 1], np.ones((2, 2)))
    for _ in range(100):
        agent.act(np.zeros((2, 4)))
        plans.append([agent.extras(k)["plans"] for k in range(2)])
    for k in range(2):
        more = np.flatnonzero(np.diff([0, 1, *(row[k] for row in plans[1:])]))
        assert more.tolist() == asked


def test_own_actions_never_look_at_the_ball_and_rest_once_the_plan_has_ended() -> None:
    inverse = np.zeros((9, 2))
    inverse[5, 0] = 30.0  # an action of .3 for a centimetre to the right
    agent = horizon.Again(_line, 0, inverse)
    agent.reset(np.zeros((1, 4)), [0], np.ones((1, 2)))
    done = np.array([agent.act(np.full((1, 4), float(k)))[0] for k in range(42)])
    np.testing.assert_allclose(done[:40], [[0.3, 0]] * 40, atol=1e-12)
    np.testing.assert_allclose(done[40:], 0)


def test_plans_too_short_for_a_step_are_left_out_and_trainings_are_averaged() -> None:
    def row(way: str, seed: int, scale: float) -> dict:
        lists = {f"after_{k}": [scale * k * n for n in ((1, 2, 3) if k < 100 else (1, 2))] for k in horizon.STEPS}
        return {"way": way, "seed": seed, "train_cpu": 0.0} | lists

    rows = horizon.by_step(Table([row("network", 0, 1), row("network", 1, 3), row("controller", 0, 1)], {}))
    at = {(r["way"], r["steps"]): r for r in rows}
    assert len(rows) == 2 * len(horizon.STEPS)
    assert at["network", 10]["off"] == pytest.approx(40) and at["network", 10]["seeds"] == 2
    assert at["controller", 10]["off"] == pytest.approx(20)
    assert [at["network", k]["plans"] for k in (50, 100)] == [3, 2]
    assert at["network", 10]["interval"][0] <= 40 <= at["network", 10]["interval"][1]


def test_a_row_of_planning_again_counts_every_episode() -> None:
    point = {"driver": "controller", "every": 0, "seed": 0, "plans": 1.0, "plan_ms": 5.0, "steps": None}
    rows = list(horizon.by_driver(Table([point | {"reached": "0110"}, point | {"reached": "1111", "seed": 1}], {})))
    assert [(r["every"], r["episodes"], r["reached"]) for r in rows] == [("never", 8, 0.75)]
    assert rows[0]["steps"] is None


def test_a_row_of_codes_is_of_one_size_and_plans_without_a_code_have_no_training_to_average() -> None:
    point = dict.fromkeys(("lost", "missed", "clear", "plans", "plan_ms"), 0.5)
    bits = ((0, "0110"), (1, "1111"))
    coded = [point | {"size": 8, "seed": s, "reached": b, "train_cpu": 9.0} for s, b in bits]
    plain = point | {"size": 0, "seed": 0, "reached": "0111", "train_cpu": None}
    two, one = horizon.by_size(Table([*coded, plain], {}))
    assert (two["size"], two["seeds"], two["episodes"], two["reached"]) == ("8", 2, 4, 0.75)
    assert two["interval"][0] <= 0.75 <= two["interval"][1] and two["train_cpu"] == 9.0
    assert (one["size"], one["reached"], one["train_cpu"]) == ("none", 0.75, None)
    assert one["interval"] == pytest.approx(list(wilson(3, 4)))
