"""EDP: one denoising in place of a chain, its value and slope by hand, and where its guess lies between the modes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.testing import assert_close

from diffrl_lab.diffusion import Cosine, Function, GaussianDenoiser, MixtureDenoiser, denoising_loss
from diffrl_lab.methods.policies import critics, edp
from diffrl_lab.worlds import bandit

EPISODES = bandit.record(500, seed=0)
TINY = edp.Config(width=16, updates=4, batch=32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_denoiser(D):
    """A model whose denoiser is D, which is not asked for the state."""
    model = edp.train(EPISODES, TINY).trained
    del model.denoiser
    model.__dict__["denoiser"] = Function(lambda x, t, cond: D(x, t), D.schedule)
    return model


def test_without_q_it_is_cloning_bit_for_bit_and_draws_nothing_else() -> None:
    model = edp.train(EPISODES, replace(TINY, eta=0.0)).trained
    batch = {"obs": torch.zeros(64, 1), "act": torch.randn(64, 2, generator=generator(3))}
    g, same = generator(), generator()
    want = denoising_loss(model.denoiser, batch["act"], cond=batch["obs"], generator=same)
    assert torch.equal(model.loss(batch, g)["loss"], want) and torch.equal(g.get_state(), same.get_state())
    model.config = replace(model.config, eta=1.0)
    assert not torch.equal(model.loss(batch, generator())["loss"], want)


def test_the_guess_of_one_gaussian_is_its_posterior_mean() -> None:
    """E[a | a_t] = mu + alpha s^2 / (alpha^2 s^2 + sigma^2) (a_t - alpha mu)."""
    mu, std = torch.tensor([0.2, -0.3]), 0.3
    model = with_denoiser(GaussianDenoiser(mu, Cosine(), std=std))
    a = mu + std * torch.randn(4000, 2, generator=generator(1))
    got = model.approximate(torch.zeros(4000, 1), a, generator(2))
    g, low = generator(2), Cosine().t_min
    t = low + (1 - low) * torch.rand(4000, generator=g)
    alpha, sigma = Cosine()(t, 2)
    a_t = alpha * a + sigma * torch.randn(a.shape, generator=g)
    want = mu + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (a_t - alpha * mu)
    assert_close(got, want.clamp(*critics.box(model)), atol=1e-4, rtol=1e-4)
    assert float((got - a)[t < 0.01].abs().max()) < 0.1, "with little noise it is the recorded action"


def test_between_modes_the_guess_is_an_action_that_nobody_did_where_a_chain_draws_one_that_was() -> None:
    scaled = edp.train(EPISODES, TINY).trained.act_scaler
    centres = scaled(torch.tensor(bandit.CENTRES))
    exact = MixtureDenoiser(torch.ones(4), centres, Cosine(), std=float(bandit.STD / scaled.spread.mean()))
    model = with_denoiser(exact)
    a, s = model.act_scaler(bandit.draw(2000, seed=3)), torch.zeros(2000, 1)
    guessed = bandit.mode(model.act_scaler.inverse(model.approximate(s, a, generator()))) < 0
    drawn = bandit.mode(model.act_scaler.inverse(model.draw(model.denoiser, s, generator()))) < 0
    assert float(guessed.float().mean()) > 0.2 and float(drawn.float().mean()) < 0.05


def test_the_loss_and_its_slope_are_the_formula_and_the_slope_goes_through_one_pass() -> None:
    model = edp.train(EPISODES, replace(TINY, eta=2.0)).trained
    passes = []
    model.denoiser.net.register_forward_hook(lambda *_: passes.append(1))
    batch = {"obs": torch.zeros(48, 1), "act": torch.randn(48, 2, generator=generator(3)).clamp(-1, 1)}
    out = model.loss(batch, generator(4))
    assert len(passes) == 2  # imitation and the guess: none more, however long the chain
    got = torch.autograd.grad(out["loss"], list(model.denoiser.parameters()))
    g = generator(4)
    imitation = denoising_loss(model.denoiser, batch["act"], cond=batch["obs"], generator=g)
    q = model.q.lower(batch["obs"], model.approximate(batch["obs"], batch["act"], g))
    size = q.abs().mean().detach()
    assert_close(out["loss"], imitation - 2 * q.mean() / size)
    want = torch.autograd.grad(imitation - 2 * q.mean() / size, list(model.denoiser.parameters()))
    assert all(torch.allclose(x, y, atol=1e-7) for x, y in zip(got, want, strict=True))
    assert any(float((x - y).abs().max()) > 1e-4 for x, y in zip(got, torch.autograd.grad(
        denoising_loss(model.denoiser, batch["act"], cond=batch["obs"], generator=generator(4)),
        list(model.denoiser.parameters())), strict=True))  # fmt: skip
