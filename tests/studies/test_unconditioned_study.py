"""The study of unconditioned diffusion: its floors are what they say, and a point is a function of its seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrl_lab.analysis.feasibility import dynamics_residual
from diffrl_lab.studies import unconditioned as study


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The study with few samples and a network that has hardly been trained, kept in a folder of its own."""
    for name, value in (("HALVES", 3), ("REFERENCE", 64), ("RUNS", tmp_path), ("SAMPLES", {"robot": 32, "maze": 32})):
        monkeypatch.setattr(study, name, value)
    monkeypatch.setitem(study.PLANS, "small", replace(study.PLANS["small"], width=16, updates=5))
    forget()
    yield
    forget()


def forget() -> None:
    for kept in (study.model, study.floors, study.replayed):
        kept.cache_clear()


def timeless(row: dict) -> dict:
    return {k: v for k, v in row.items() if "seconds" not in k}


@pytest.mark.parametrize("robot", study.ROBOTS)
def test_real_windows_replay_to_float32_where_no_velocity_was_clipped_and_from_the_recorded_state_always(robot) -> None:
    simulate, scale, floor, found = study.replayed(robot)
    assert 0 < found["floor_residual"] < 2e-5 and found["floor_residual_state_99"] < 1e-3
    train = study.episodes(robot)[0]
    d, real = train.obs.shape[1], study._pieces(train, 128, 3)
    if robot == "hopper":  # its observations clip velocities, so what they tell is not always the state
        clipped = (real[:, :-1, 5:d].abs() >= 10).any(-1).numpy()
        assert np.quantile(floor[clipped], 0.5) > 0.1 and np.quantile(floor[~clipped], 0.99) < 1e-3
    # a robot that stays as it is, is wrong by a real step's size in each column: about the root of their number
    assert 0.5 * d**0.5 < found["still_residual"] < 1.5 * d**0.5
    moved = real[..., :d].numpy() + scale * np.random.default_rng(0).normal(size=(128, 32, d))
    assert np.median(dynamics_residual(simulate, moved, real[..., d:], scale)) > 0.5 * (2 * d) ** 0.5


def test_a_point_is_the_same_for_one_seed_and_another_for_another(small) -> None:
    one = timeless(study.point("umaze", "small", 2, seed=0))
    study._path("umaze", "small", 0).unlink()  # so that it is trained again
    forget()
    assert timeless(study.point("umaze", "small", 2, seed=0)) == one
    assert study.point("umaze", "small", 2, seed=1)["energy"] != one["energy"]


def test_the_data_s_own_episodes_lie_within_the_floor_and_a_normal_law_of_the_windows_does_not(small) -> None:
    x = study.point("hopper", "gaussian", 0, seed=0)
    assert x["held_precision"] > 0.6 and x["precision"] < 0.4 * x["floor_precision_95"]
    assert x["memorised"] <= x["memorised_floor"]


def test_the_episodes_held_out_are_every_fifth_and_never_trained_on() -> None:
    train, held = study.episodes("umaze")
    assert len(held) == (len(train) + len(held)) // 5
    starts = {tuple(row) for row in train.obs[train.starts].tolist()}
    assert not starts & {tuple(row) for row in held.obs[held.starts].tolist()}


def test_what_ships_is_a_model_of_each_robot_s_windows_in_units() -> None:
    from diffrl_lab.data.shipped import shipped
    from diffrl_lab.methods.planning.windows import Windows

    for robot in study.ROBOTS:
        path = shipped(f"weights/windows-{robot}.safetensors")
        assert path.stat().st_size <= 1.2e6
        train = study.episodes(robot)[0]
        obs, act = Windows.load(path).sample(8, steps=10, generator=torch.Generator().manual_seed(0))
        assert obs.shape == (8, 32, train.obs.shape[1]) and act.shape == (8, 32, train.act.shape[1])
        z = torch.cat([obs, act], -1) - study._pieces(train, 2000, 0).mean((0, 1))
        z = z / study._pieces(train, 2000, 0).flatten(0, 1).std(0)
        assert 0.8 < z.std() < 1.2
