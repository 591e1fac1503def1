"""SynthER: the exact denoiser draws the law, rows come back as they were packed, trainings go on bit for bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes, loose, together, transitions
from diffrl_lab.diffusion import MixtureDenoiser
from diffrl_lab.methods import weights
from diffrl_lab.methods.models import synther
from diffrl_lab.methods.models.synther import Config, Synther, rows, train, unpacked
from diffrl_lab.methods.policies import iql, td3_bc
from diffrl_lab.worlds import linear, pendulum

TINY = Config(width=16, depth=2, updates=6, batch=8)


def G(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def halves() -> Episodes:
    """Episodes of one step: s' = -s, where s is 1 (one in four) or -1; only s = 1 is terminal; the action is 0.3."""
    s = torch.tensor([[-1.0], [1.0], [-1.0], [-1.0]]).repeat(20, 1)
    t = unpacked(torch.cat([s, torch.full_like(s, 0.3), 2 * s, -s, (s > 0).float()], 1), 1, 1)
    return loose(t)


def exact(n: int = 4000) -> Synther:
    """SynthER of the linear-Gaussian world whose denoiser is the exact one, scalings fitted to n rows."""
    model = train(linear.record(n, seed=0), TINY).model
    cov = torch.zeros(7, 7, dtype=torch.float64)
    cov[:6, :6] = linear.covariance()
    spread = torch.where(model.scaler.spread > 0, model.scaler.spread, 1.0).double()
    mean = -model.scaler.center.double() / spread
    schedule = model.denoiser.schedule
    return weights.around(
        model, denoiser=MixtureDenoiser([1.0], mean[None], schedule, cov=cov[None] / spread[:, None] / spread)
    )


def test_with_the_exact_denoiser_regression_on_what_is_drawn_gives_the_law_back() -> None:
    n = 20_000
    t = exact().sample(n, steps=40, generator=G())
    error = linear.distance(linear.regress(t))
    real = [linear.distance(linear.regress(transitions(linear.record(n, seed=s)))) for s in range(5)]
    for name, value in error.items():
        assert value < 3 * max(r[name] for r in real), f"{name}: {value}, real rows {real}"
    assert not t.terminal.any(), "a constant column comes back as it was"


def test_a_row_is_state_action_reward_next_state_and_end_and_comes_back() -> None:
    t = transitions(halves())
    x = rows(t)
    assert x[:2].tolist() == [[-1, pytest.approx(0.3), -2, 1, 0], [1, pytest.approx(0.3), 2, -1, 1]]
    for a, b in zip(unpacked(x, 1, 1), t, strict=True):
        assert torch.equal(a, b)


def test_what_is_drawn_keeps_the_numbers_of_a_row_together() -> None:
    run = train(halves(), replace(TINY, width=64, depth=3, updates=600, batch=64, lr=3e-3))
    for _ in run:
        pass
    t = run.model.sample(300, generator=G())
    good = (t.obs.abs() - 1).abs()[:, 0] < 0.2
    assert float(good.float().mean()) > 0.6, "of a Gaussian of the same mean and variance 0.15"
    assert_close(t.next_obs[good], -t.obs[good], rtol=0, atol=0.4)
    assert torch.equal(t.terminal[good], t.obs[good, 0] > 0)
    assert 0.1 < float(t.terminal.float().mean()) < 0.4, "one in four ends"
    assert_close(t.act, torch.full_like(t.act, 0.3), rtol=0, atol=0)


def test_offline_methods_train_on_real_and_drawn_transitions_together() -> None:
    real = pendulum.record(60, seed=0)
    drawn = train(real, TINY).model.sample(50, generator=G())
    for method in (td3_bc, iql):
        run = method.train(together(real, loose(drawn)), method.Config(updates=2))
        assert all(np.isfinite(float(v)) for row in run for v in row.values())
        assert run.stages[0].batches.rows == 110


def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, first, second = (train(halves(), TINY, seed=3) for _ in range(3))
    losses = [row["loss"] for row in whole]
    list(islice(first, 3))
    first.save(tmp_path / "half.safetensors")
    second.load(tmp_path / "half.safetensors")
    assert_close([row["loss"] for row in second], losses[3:], rtol=0, atol=0)


def test_the_file_gives_the_same_model_and_a_seed_the_same_rows(tmp_path: Path) -> None:
    run = train(pendulum.record(60, seed=0), TINY)
    list(run)
    run.model.save(tmp_path / "m.safetensors")
    model = Synther.load(tmp_path / "m.safetensors")
    a, b = (rows(model.sample(5, generator=G(1))) for _ in range(2))
    assert torch.equal(a, b) and model.config == TINY and model.sizes == {"obs": 3, "act": 1}
    x_T = model.denoiser.schedule.prior((3, model.dim), G())
    last = list(model.chain(3, x_T=x_T))[-1].x_t
    assert_close(rows(model.sample(3, x_T=x_T))[:, :-1], last[:, :-1], rtol=0, atol=0)


def test_noise_levels_are_log_normal_as_edm_has_them() -> None:
    model = Synther(TINY, 1, 1)
    t = synther.levels(model.denoiser, TINY, 20_000, G())
    log = model.denoiser.schedule.ratio(t.double()).log()
    assert abs(float(log.mean()) + 1.2) < 0.04 and abs(float(log.std()) - 1.2) < 0.03


def test_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"states \[N, d\] are wanted"):
        train(Episodes.join([(np.zeros((4, 2, 2)), np.zeros((3, 1)), np.zeros(3), False)]), TINY)
