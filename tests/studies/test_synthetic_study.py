"""The study of synthetic experience: its arms are what they say, and what ships is judged as its table says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import transitions
from diffrl_lab.data.shipped import shipped
from diffrl_lab.methods.models.synther import Synther, rows
from diffrl_lab.studies import synthetic as study
from diffrl_lab.worlds import linear, pendulum


def G(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The study with networks that have hardly been trained, kept in a folder of its own."""
    monkeypatch.setattr(study, "RUNS", tmp_path)
    monkeypatch.setattr(study, "CONFIG", replace(study.CONFIG, width=8, updates=4))
    monkeypatch.setattr(study, "STAGES", (2, 4))
    monkeypatch.setattr(study, "DRAWN", 30)


def test_what_the_world_did_has_no_residual_and_rows_that_were_not_trained_on_the_ratio_1() -> None:
    real, other = (transitions(pendulum.scattered(1000, seed=s)) for s in (0, 7))
    judged = study.judged(other, real)
    assert judged["residual"] < 1e-5 and judged["reward_error"] < 1e-4 and 0.85 < judged["ratio"] < 1.18
    copies = study.judged(real, real)
    assert copies["residual"] < 1e-5 and copies["ratio"] < 1e-3, "copies pass the residual's test, and not this one"


def test_noisy_copies_are_as_far_from_their_rows_as_the_noise_is_large() -> None:
    real = transitions(pendulum.scattered(500, seed=0))
    none = study.noisy(real, 300, 0.0, G())
    assert study.judged(none, real)["ratio"] < 1e-3
    few, more = (study.judged(study.noisy(real, 2000, size, G()), real) for size in (0.02, 0.1))
    assert_close(more["residual"] / few["residual"], 5.0, rtol=0.1, atol=0)
    assert more["ratio"] > 3 * few["ratio"]


def test_every_stage_of_a_training_is_kept_and_another_seed_has_another_recording(small) -> None:
    last = study.model("pendulum", 40, 0)
    first = study.model("pendulum", 40, 0, 2)
    key = "denoiser.net.layers.0.weight"
    assert not torch.equal(last.state_dict()[key], first.state_dict()[key])
    assert first.about["trained"] == 2 and last.about["trained"] == 4 and last.about["rows"] == 40
    assert not torch.equal(last.scaler.center, study.model("pendulum", 40, 1).scaler.center)
    result = study.oracle("diffusion", 40, 4, 0.0, seed=0)
    assert result == study.oracle("diffusion", 40, 4, 0.0, seed=0)
    assert result != study.oracle("diffusion", 40, 2, 0.0, seed=0)


def test_a_regression_on_real_rows_is_near_the_law_and_one_on_what_hardly_learned_is_not(small) -> None:
    assert study.regression("real", 400, seed=0)["A"] < 0.2
    assert study.regression("real", 400, seed=0)["from_shown"] < 1e-12
    assert study.regression("drawn", 400, seed=0)["A"] > 0.5
    assert study.regression("more drawn", 400, seed=0)["rows"] == 30


def test_each_arm_has_the_real_rows_first_and_as_many_beside_them(small) -> None:
    real = rows(transitions(study.trained_on("real", 40, 0)))
    assert len(real) == 40
    others = [rows(transitions(study.trained_on(arm, 40, 0))) for arm in ("drawn", "noise", "more real")]
    for x in others:
        assert len(x) == 40 + 30 and torch.equal(x[:40], real)
    assert float(pendulum.residual(transitions(study.trained_on("more real", 40, 0))).state.max()) < 1e-5


@pytest.mark.parametrize("n", study.SIZES)
def test_what_ships_draws_transitions_that_the_equations_nearly_allow_and_that_are_no_copies(n: int) -> None:
    model = Synther.load(shipped(f"weights/synthetic-pendulum-{n}.safetensors"))
    real = transitions(study.recording("pendulum", n, 0))
    judged = study.judged(model.sample(1000, generator=G(5)), real)
    assert judged["residual"] < 0.04 and 0.8 < judged["ratio"] < 1.8


def test_what_ships_of_the_linear_world_gives_the_law_back_about_as_well_as_the_rows_it_was_shown() -> None:
    model = Synther.load(shipped("weights/synthetic-linear-400.safetensors"))
    found = linear.distance(linear.regress(model.sample(4000, generator=G(5))))
    assert found["A"] < 0.2 and found["B"] < 0.2 and found["sigma"] < 0.4
