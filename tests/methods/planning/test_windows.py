"""Windows of a log: what is learned from them, that the scaling and the file change nothing, and an exact law."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Cosine, GaussianDenoiser, ddim
from diffrl_lab.diffusion.training import digest
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning.windows import Config, Windows, joined, train

TINY = Config(horizon=4, width=16, mults=(1, 1), updates=6, batch=8)


def log(lengths=(9, 5, 7), d: int = 3, a: int = 2) -> Episodes:
    """Observations count the steps of all episodes, 10 columns apart; actions are their negatives."""
    rows, at = [], 0
    for L in lengths:
        obs = np.arange(at, at + L + 1, dtype=np.float32)[:, None] + 10 * np.arange(d, dtype=np.float32)
        rows.append((obs, -obs[:-1, :a], np.zeros(L), False))
        at += L + 1
    return Episodes.join(rows)


def waves(episodes: int, seed: int) -> Episodes:
    """obs = (sin u, cos u) and act = cos u with u going on by 0.3 a step from a random phase."""
    rows = []
    for phase in np.random.default_rng(seed).uniform(0, 2 * np.pi, episodes):
        u = phase + 0.3 * np.arange(21, dtype=np.float32)[:, None]
        rows.append((np.concatenate([np.sin(u), np.cos(u)], 1), np.cos(u[:-1]), np.zeros(20), False))
    return Episodes.join(rows)


def test_a_window_holds_successive_steps_of_one_episode_with_the_action_of_each() -> None:
    x = joined(log(), 4)
    assert len(x) == 6 + 2 + 4  # L - H + 1 of each episode: none crosses one, none holds an action that is not there
    assert_close(x.diff(dim=1)[..., :3], torch.ones(12, 3, 3))
    assert_close(x[..., 3:], -x[..., :2])


def test_samples_of_a_normal_law_have_the_mean_and_the_covariance_that_20_ancestral_steps_give_it_in_units() -> None:
    root = torch.randn(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 12**0.5
    values, vectors = torch.linalg.eigh(root @ root.T)
    scaler = Scaler(torch.tensor([5.0, -2.0, 0.0]), torch.tensor([0.1, 1.0, 30.0]))
    m = weights.around(Windows(TINY, 2, 1), denoiser=GaussianDenoiser(torch.zeros(4, 3), Cosine(), cov=root @ root.T))
    m.scaler = scaler
    n, v = 20_000, torch.ones(12, dtype=torch.float64)
    x = torch.cat(m.sample(n, steps=20, generator=torch.Generator().manual_seed(1)), -1).flatten(1).double()
    times = Cosine().grid(20)
    for t, s in zip(times[:-1], times[1:], strict=True):  # along each axis x_s = (a + b k) x_t + noise, D = k x_t
        (alpha, sigma), (alpha_s, sigma_s) = Cosine()(t), Cosine()(s)
        kept = sigma_s**2 / sigma**2
        fresh = 1 - (alpha / alpha_s) ** 2 * kept
        k = alpha * values / (alpha**2 * values + sigma**2)
        v = (alpha / alpha_s * kept + alpha_s * fresh * k) ** 2 * v + sigma_s**2 * fresh
    spread = scaler.spread.double().repeat(4)
    cov = spread[:, None] * (vectors * v @ vectors.T) * spread
    scale = cov.diagonal().sqrt()
    assert ((x.mean(0) - scaler.center.double().repeat(4)) / scale * n**0.5).abs().max() < 4.5  # standard errors
    # an entry's standard error is at most sqrt(2 / n) = 0.01
    assert_close(torch.cov(x.T) / torch.outer(scale, scale), cov / torch.outer(scale, scale), atol=0.045, rtol=0)


def test_the_frames_of_a_chain_end_in_the_sample_of_the_same_seed_and_begin_with_noise_of_the_data_s_scale() -> None:
    m = train(log(), TINY).model
    frames = list(m.chain(5, steps=3, generator=torch.Generator().manual_seed(4)))
    obs, act = m.sample(5, steps=3, generator=torch.Generator().manual_seed(4))
    assert len(frames) == 4
    assert_close(torch.cat([obs, act], -1), frames[-1].x_t, rtol=0, atol=0)
    noise = torch.randn(5, 4, 5, generator=torch.Generator().manual_seed(4))
    assert_close(frames[0].x_t, m.scaler.center + m.scaler.spread * noise)


def test_a_training_halves_the_loss_of_what_it_never_saw() -> None:
    x, g = joined(waves(20, 1), 4), torch.Generator
    run = train(waves(40, 0), replace(TINY, updates=150, batch=32, ema=0.9))
    before = run.model.held_out_loss(x, g().manual_seed(1), 4)
    for _ in run:
        pass
    assert run.model.about["trained"] == 150
    assert run.model.held_out_loss(x, g().manual_seed(1), 4) < 0.5 * before


def test_one_seed_trains_the_same_model_and_another_another() -> None:
    def learned(seed: int) -> torch.Tensor:
        run = train(log(), TINY, seed=seed)
        list(run)
        return torch.cat([p.flatten() for p in run.model.parameters()])

    assert torch.equal(learned(0), learned(0)) and not torch.equal(learned(0), learned(1))


def test_what_was_saved_and_loaded_samples_bit_for_bit_the_same_when_saved_again(tmp_path: Path) -> None:
    run = train(log(), TINY, seed=3)
    list(run)
    run.model.save(tmp_path / "a.safetensors", world="none")
    once = Windows.load(tmp_path / "a.safetensors")
    once.save(tmp_path / "b.safetensors")
    twice = Windows.load(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert once.about == {"seed": 3, "trained": 6, "data": digest(log()), "world": "none"} and once.config == TINY
    one, two = (m.sample(2, step=ddim(), generator=torch.Generator().manual_seed(0)) for m in (once, twice))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    # float16 keeps 11 bits, so what was trained and what was saved agree to about 1e-3 of a weight
    exact = run.model.sample(2, step=ddim(), generator=torch.Generator().manual_seed(0))
    assert_close(one[0], exact[0], rtol=0.01, atol=0.1)


def test_a_model_around_an_exact_denoiser_cannot_be_saved(tmp_path: Path) -> None:
    m = weights.around(Windows(TINY, 2, 1), denoiser=GaussianDenoiser(torch.zeros(4, 3), Cosine(), std=1.0))
    with pytest.raises(ValueError, match="only networks can be saved; this Windows has none"):
        m.save(tmp_path / "y.safetensors")
    assert not list(tmp_path.iterdir())
