"""QGPO: the energy that contrast teaches is the exact one, and guided by it the bandit pays what is known exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.diffusion import Cosine, Function, GaussianDenoiser, MixtureDenoiser, cosine_decay, descend, given
from diffrl_lab.methods.policies import qgpo
from diffrl_lab.worlds import bandit

EPISODES = bandit.record(500, seed=0)
TINY = qgpo.Config(width=16, updates=4, batch=32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_loss_is_its_formula_and_no_number_for_a_state_changes_it() -> None:
    model = qgpo.train(EPISODES, replace(TINY, eta=2.0, most=3.0)).trained
    batch = {"obs": torch.zeros(5, 1), "support": torch.randn(5, 4, 2, generator=generator(1))}
    batch["adv"] = 3 * torch.randn(5, 4, generator=generator(2))
    got = model.loss(batch, generator(3))["loss"]
    g, low = generator(3), Cosine().t_min
    t, total, w = low + (1 - low) * torch.rand(5, generator=g), 0.0, (batch["adv"] / 2).exp().clamp(max=3)
    noise = torch.randn(20, 2, generator=g).view(5, 4, 2)
    for k in range(5):
        alpha, sigma = Cosine()(t[k : k + 1], 2)
        f = model.energy(alpha * batch["support"][k] + sigma * noise[k], t[k], torch.zeros(4, 1))
        total += -(w[k] * f.log_softmax(0)).sum()
    assert_close(got, total / 5 / w.mean())
    assert float(w.max()) == 3.0
    net = model.energy.net.layers[-1]
    with torch.no_grad():
        net.bias += 7.0
    assert_close(model.loss(batch, generator(3))["loss"], got)


@pytest.mark.parametrize("K", [2, 16])
def test_the_energy_of_a_gaussian_and_a_linear_q_has_the_exact_slope_for_every_k(K: int) -> None:
    """E[exp(b . a) | a_t] of a Gaussian is exp(b . E[a | a_t] + ...): the slope of its ln is b times that of the mean,
    alpha s^2 / (alpha^2 s^2 + sigma^2)."""
    b, std, S = torch.tensor([1.0, -0.6]), 0.7, 512 // K
    model = qgpo.train(EPISODES, replace(TINY, width=32, most=1e9)).trained
    g = generator()

    def loss(_):
        a = std * torch.randn(S, K, 2, generator=g)
        return model.loss({"obs": torch.zeros(S, 1), "support": a, "adv": a @ b}, g)

    update = descend(loss, model.energy, lr=5e-3, schedule=cosine_decay(600), ema=0.98)
    for _ in range(600):
        update(None)
    energy = update.ema.module
    for level in (0.2, 0.5, 0.8):
        alpha, sigma = (float(v) for v in Cosine()(torch.tensor(level)))
        x = (alpha**2 * std**2 + sigma**2) ** 0.5 * torch.randn(500, 2, generator=g)
        x.requires_grad_()
        (slope,) = torch.autograd.grad(energy(x, level, torch.zeros(500, 1)).sum(), x)
        want = b * alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        assert_close(slope.mean(0), want, atol=0.12 * float(want.norm()), rtol=0)


def test_exact_guidance_of_a_gaussian_moves_its_mean_by_its_variance_times_the_slope() -> None:
    model = qgpo.train(EPISODES, replace(TINY, denoising=50)).trained
    mu, std, b = torch.tensor([-0.1, 0.2]), 0.3, torch.tensor([2.0, -1.0])
    exact = GaussianDenoiser(mu, Cosine(), std=std)
    del model.denoiser, model.energy
    model.__dict__["denoiser"] = Function(lambda x, t, cond: exact(x, t), Cosine())
    model.__dict__["energy"] = lambda x, t, s: exact(x, t) @ b
    for scale in (0.0, 1.0):
        model.config = replace(model.config, scale=scale)
        a = model.act_scaler(model.sample([[0.0]], n=4000, generator=generator())[0])
        assert_close(a.mean(0), mu + scale * std**2 * b, atol=4 * std / 4000**0.5, rtol=0)
        assert_close(a.std(0), torch.full((2,), std), atol=0.015, rtol=0)


def test_on_the_bandit_the_learned_energy_is_paid_what_the_exact_policy_is() -> None:
    """Exact denoiser and exact Q: of the 4.65 that pi* is paid at eta = 1 only the energy's errors are missing."""
    model = qgpo.train(EPISODES, replace(TINY, width=64, denoising=30, most=1e9)).trained
    centres, scaler = torch.tensor(bandit.CENTRES), model.act_scaler
    exact = MixtureDenoiser(torch.ones(4), scaler(centres), Cosine(), std=float(bandit.STD / scaler.spread.mean()))
    del model.denoiser
    model.__dict__["denoiser"] = Function(lambda x, t, cond: exact(x, t), Cosine())
    g = generator()
    zeros = torch.zeros(32, 1)

    def loss(_):
        a = bandit.draw(512, seed=int(torch.randint(10**6, (1,), generator=g))).view(32, 16, 2)
        return model.loss({"obs": zeros, "support": scaler(a), "adv": bandit.reward(a) - 3}, g)

    update = descend(loss, model.energy, lr=5e-3, schedule=cosine_decay(1000), ema=0.98)
    for _ in range(1000):
        update(None)
    model.energy = update.ema.module
    a = model.sample([[0.0]], n=2000, generator=g)[0]
    p = bandit.shares(1.0)
    want = float(p[:4] @ torch.tensor(bandit.PAID, dtype=torch.float64))
    assert abs(want - 4.65) < 0.01 and abs(bandit.found(a)["reward"] - want) < 0.3
    assert bandit.found(a)["off"] < 0.03
    share = torch.bincount(bandit.mode(a) % 5, minlength=5) / len(a)
    assert float((share - p).abs().sum() / 2) < 0.1


def test_the_support_is_drawn_from_the_clone_and_weighed_by_the_critics_that_stand() -> None:
    run = qgpo.train(EPISODES, replace(TINY, states=3, support=5))
    model = run.trained
    asked = []

    def advantage(batch):
        asked.append(batch)
        return batch["act"][:, 0]

    made = qgpo.supported(model, model.denoiser, advantage, generator(1))
    batch = {"obs": torch.linspace(-1, 1, 8)[:, None], "act": torch.full((8, 2), 9.0)}
    got = made(batch)
    a_T = model.denoiser.schedule.prior((15, 2), generator=generator(1))
    assert torch.equal(got["support"], model.actions(model.denoiser, batch["obs"][:3], a_T))
    assert torch.equal(got["adv"], got["support"][..., 0]) and got["obs"].shape == (3, 1)
    assert torch.equal(asked[0]["obs"][:, 0], batch["obs"][:3, 0].repeat_interleave(5))
    low, high = qgpo.critics.box(model)
    assert bool(((got["support"] > low - 1e-5) & (got["support"] < high + 1e-5)).all())
    assert given(model.denoiser, batch["obs"]) is not None
    with pytest.raises(ValueError, match="support must be at least 2"):
        replace(TINY, support=1)
