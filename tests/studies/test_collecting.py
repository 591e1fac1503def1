"""The online part of the study of synthetic experience: coverage, the arms' rows, what a batch is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrl_lab.data.episodes import transitions
from diffrl_lab.studies import collecting
from diffrl_lab.worlds import pendulum


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A learner of few steps, and generators that have hardly been trained."""
    pytest.importorskip("stable_baselines3")
    for name, value in {"STEPS": 60, "EVERY": 30, "FIRST": 20, "ROWS": 40}.items():
        monkeypatch.setattr(collecting, name, value)
    monkeypatch.setattr(collecting, "SETTINGS", {"width": 8, "batch": 16, "updates": 3})


def test_coverage_is_one_where_each_cell_has_a_state_and_one_cell_for_one_state() -> None:
    angles = -np.pi + (np.arange(16) + 0.5) * 2 * np.pi / 16
    speeds = -8 + np.arange(8) * 2 + 1.0
    theta, omega = (x.ravel() for x in np.meshgrid(angles, speeds))
    every = np.stack([np.cos(theta), np.sin(theta), omega], 1)
    assert collecting.coverage(every) == 1
    assert collecting.coverage(every[:40]) == 40 / 128
    assert collecting.coverage(np.array([[-1.0, 0.0, 8.0]] * 3)) == 1 / 128
    edge = np.array([[-1.0, 0.0, 8.0], [-1.0, -0.0, -8.0]])
    assert collecting.coverage(np.concatenate([every, edge])) == 1, "the last cells are closed"


def test_every_arm_but_the_real_one_makes_rows_and_noisy_copies_are_near_the_equations(small) -> None:
    real = transitions(pendulum.scattered(200, seed=0))
    assert collecting.beside("real", real, 0) is None
    made = {arm: collecting.beside(arm, real, 0) for arm in ("drawn", "prioritised", "noise")}
    assert {len(t.rew) for t in made.values()} == {40}
    wrong = {arm: float(pendulum.residual(t).state.median()) for arm, t in made.items()}
    assert wrong["noise"] < 0.1 < wrong["drawn"], "hardly trained, SynthER does not know the equations"
    assert not torch.equal(made["drawn"].obs, made["prioritised"].obs)


def test_half_a_batch_is_the_rows_beside_and_what_was_collected_keeps_to_the_equations(small) -> None:
    made = collecting.learner(0)
    world, buffer = made.get_env().envs[0], made.replay_buffer
    obs, _ = world.reset(seed=0)
    for k in range(30):
        act = np.array([np.sin(k)], np.float32)
        after, rew, *_ = world.step(act * pendulum.TORQUE)
        buffer.add(obs[None], after[None], act[None], np.array([rew]), np.array([False]), [{}])
        obs = after
    real = collecting.collected(buffer)
    assert len(real.rew) == 30 and float(pendulum.residual(real).state.max()) < 1e-4
    assert float(pendulum.residual(real).rew.max()) < 1e-4, "actions are kept within [-1, 1]"
    assert (buffer.sample(64).rewards < 100).all()
    buffer.beside = real._replace(rew=torch.full((30,), 100.0))
    batch = buffer.sample(64)
    assert len(batch.rewards) == 64 and int((batch.rewards == 100).sum()) == 32


def test_a_seed_is_one_result_and_arms_are_alike_until_the_first_rows(small) -> None:
    real, again = (collecting.online("real", 1, seed=0) for _ in range(2))
    assert {k: v for k, v in real.items() if k != "seconds"} == {k: v for k, v in again.items() if k != "seconds"}
    noise = collecting.online("noise", 1, seed=0)
    assert real["residual"] is None and noise["residual"] > 0
    assert noise["paid_30"] == real["paid_30"] and noise["paid_60"] != real["paid_60"]
