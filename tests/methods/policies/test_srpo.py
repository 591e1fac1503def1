"""SRPO: where its one action comes to rest is known exactly, by the range of noise that the clone is asked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from diffrl_lab.diffusion import Cosine, Function, GaussianDenoiser, MixtureDenoiser, cosine_decay, descend
from diffrl_lab.methods.policies import critics, srpo
from diffrl_lab.worlds import bandit

EPISODES = bandit.record(500, seed=0)
TINY = srpo.Config(width=16, updates=4, batch=32)
MODES = MixtureDenoiser([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], Cosine(), std=0.15)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Parabola:
    """Q(s, a) = k |a - b|^2 / -2 in the place of a learned one."""

    def __init__(self, b: Tensor, k: float = 1.0):
        self.b, self.k = b, k

    def lower(self, s: Tensor, a: Tensor) -> Tensor:
        return -self.k * (a - self.b).square().sum(-1) / 2


def settled(config: srpo.Config, D: Any, q: Any, start: float = 0.0, updates: int = 500) -> Tensor:
    """The action at which the policy comes to rest with an exact clone D(x, t) and a Q of ours. -> [2]"""
    model: Any = srpo.train(EPISODES, config).trained
    net = model.actor.layers[-1]
    with torch.no_grad():
        net.weight.zero_(), net.bias.copy_(torch.tensor([start, 0.0]))
    clone, g, s = Function(lambda x, t, cond: D(x, t), Cosine()), generator(), torch.zeros(512, 1)
    update: Any = descend(
        lambda _: model.held(clone, q, {"obs": s}, g), model.actor, lr=1e-2, schedule=cosine_decay(updates), ema=0.98
    )
    for _ in range(updates):
        update(None)
    return update.ema.module(s[:1])[0].detach()


def pulled(D: MixtureDenoiser, at: float, low: float, high: float) -> float:
    """E w(t) (eps_hat - eps) along the first axis at the action (at, 0), by quadrature over time and noise."""
    z, weight = np.polynomial.hermite_e.hermegauss(40)
    t = low + (high - low) * (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    alpha, sigma = (v.flatten()[:, None] for v in D.schedule(t, 1))
    x = alpha * at + sigma * torch.tensor(z)
    line = MixtureDenoiser(D.weights, D.means[:, :1], Cosine(), std=0.15)
    x0_hat = line(x.reshape(-1, 1), t.repeat_interleave(40)).view(200, 40) @ torch.tensor(weight / weight.sum())
    return float((sigma * alpha * (at - x0_hat[:, None])).mean())


@pytest.mark.parametrize(("low", "high", "eta"), [(0.02, 0.98, 1.0), (0.02, 0.98, 4.0), (0.3, 0.3, 4.0)])
def test_a_gaussian_clone_and_a_parabola_come_to_rest_where_both_slopes_cancel(low: float, high: float, eta: float):
    """k (b - a) = eta c (a - m), c = E sigma^3 alpha / (alpha^2 v + sigma^2): between b and m, nearer to m for more."""
    m, b, std, k = torch.tensor([-0.4, 0.3]), torch.tensor([0.6, -0.2]), 0.3, 0.5
    got = settled(replace(TINY, low=low, high=high, eta=eta), GaussianDenoiser(m, Cosine(), std=std), Parabola(b, k))
    t = torch.linspace(low, high, 2001, dtype=torch.float64)
    alpha, sigma = Cosine()(t)
    c = float((sigma**3 * alpha / (alpha**2 * std**2 + sigma**2)).mean())
    assert_close(got, (k * b + eta * c * m) / (k + eta * c), atol=0.02, rtol=0)
    assert eta * c > 0.1 * k  # the clone's part is seen


def test_at_little_noise_the_pull_is_the_slope_of_the_datas_own_density() -> None:
    """pull / sigma^3 goes to - grad ln mu(a), w = sigma^2 and eps_hat = - sigma grad ln mu_t."""
    m, std = torch.tensor([-0.4, 0.3]), 0.5
    model: Any = srpo.train(EPISODES, replace(TINY, low=0.02, high=0.02)).trained
    exact = GaussianDenoiser(m, Cosine(), std=std)
    a = torch.tensor([[0.5, -0.1]]).expand(200_000, 2)
    pull = model.pull(Function(lambda x, t, cond: exact(x, t), Cosine()), torch.zeros(len(a), 1), a, generator())
    sigma = float(Cosine()(torch.tensor(0.02))[1])
    assert_close(pull.mean(0) / sigma**3, (a[0] - m) / std**2, rtol=0.02, atol=0.0)


@pytest.mark.parametrize("start", [-0.2, 0.2])
def test_without_much_noise_it_seeks_one_of_two_modes_and_not_their_mean(start: float) -> None:
    got = settled(replace(TINY, high=0.3, eta=20.0), MODES, Parabola(torch.zeros(2), 0.0), start)
    exact = float(np.sign(start)) * 0.972  # where the quadrature has its root
    assert pulled(MODES, exact - 0.01, 0.02, 0.3) * pulled(MODES, exact + 0.01, 0.02, 0.3) < 0
    assert_close(got, torch.tensor([exact, 0.0]), atol=0.03, rtol=0)


def test_with_all_levels_of_noise_the_mean_of_two_modes_attracts() -> None:
    """w = sigma^2 gives much noise the most to say, and there both modes are one: the pull leads to the middle from
    either side, at every action between the modes."""
    between = np.linspace(0.05, 1.0, 20)
    assert all(pulled(MODES, at, 0.02, 0.98) > 0 for at in between)
    assert any(pulled(MODES, at, 0.02, 0.3) < 0 for at in between)
    got = settled(replace(TINY, eta=20.0), MODES, Parabola(torch.zeros(2), 0.0), 0.5, updates=1000)
    assert_close(got, torch.zeros(2), atol=0.1, rtol=0)


def test_the_loss_has_the_slope_that_is_its_formula_and_leaves_clone_and_critics_alone() -> None:
    model: Any = srpo.train(EPISODES, replace(TINY, eta=3.0)).trained
    s, (low, high) = torch.zeros(64, 1), critics.box(model)
    g, same = generator(5), generator(5)
    model.loss({"obs": s}, g)["loss"].backward()
    assert all(p.grad is None for p in model.denoiser.parameters())
    got = model.actor.layers[-1].bias.grad
    a = model.actor(s).detach().requires_grad_()
    t = 0.02 + 0.96 * torch.rand(64, generator=same)
    eps = torch.randn(64, 2, generator=same)
    alpha, sigma = Cosine()(t, 2)
    a_t = alpha * a.detach() + sigma * eps
    eps_hat = (a_t - alpha * model.denoiser(a_t, t, s).detach()) / sigma
    (slope,) = torch.autograd.grad(model.q.lower(s, a.clamp(low, high)).sum(), a)
    assert_close(got, (3 * sigma**2 * (eps_hat - eps) - slope).mean(0), atol=1e-5, rtol=1e-4)
    assert torch.equal(g.get_state(), same.get_state())


def test_critics_and_clone_are_frozen_while_the_policy_learns() -> None:
    run, seen = srpo.train(EPISODES, TINY, seed=2), []
    for row in run:
        if row["step"] % TINY.updates == 0:
            seen.append({k: v.clone() for k, v in run.trained.state_dict().items()})
    critic, clone, policy = ([k for k in seen[0] if k.startswith(p)] for p in ("critic", "denoiser", "actor"))

    def same(i: int, names: list[str]) -> bool:
        return all(torch.equal(seen[i][k], seen[i + 1][k]) for k in names)

    assert len(seen) == 3 and same(0, critic) and same(1, critic) and same(1, clone) and not same(0, clone)
    assert same(0, policy) and not same(1, policy)


def test_it_acts_in_one_pass_within_the_box_and_without_the_clone() -> None:
    model: Any = srpo.train(EPISODES, TINY).model
    del model.denoiser
    with torch.no_grad():
        model.actor.layers[-1].bias += 100
    a = model.sample([[0.0], [1.0]], n=3)
    assert a.shape == (2, 3, 2) and float((a - 1).abs().max()) < 1e-5
    with pytest.raises(ValueError, match="0 < low <= high <= 1"):
        replace(TINY, low=0.5, high=0.4)
