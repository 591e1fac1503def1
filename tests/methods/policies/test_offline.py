"""Offline policies on the bandit of four modes, and the laws of their critics."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.diffusion import denoising_loss
from diffrl_lab.methods.policies import critics, diffusion_ql, weighted
from diffrl_lab.worlds import bandit

METHODS = ["idql", "weighted", "cfgrl", "diffusion_ql", "td3_bc"]
EPISODES = bandit.record(500, seed=0)


def method(name: str) -> ModuleType:
    return importlib.import_module(f"diffrl_lab.methods.policies.{name}")


def tiny(name: str, **options: float):
    return method(name).Config(width=16, updates=4, batch=32, **options)


@pytest.mark.parametrize("tau", [0.5, 0.7, 0.95, 0.999])
def test_the_expectile_loss_is_least_at_the_expectile(tau: float) -> None:
    y = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = torch.zeros((), dtype=torch.float64, requires_grad=True)
    best = torch.optim.LBFGS([v], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def loss():
        best.zero_grad()
        out = critics.expectile_loss(y - v, tau)
        out.backward()
        return out

    best.step(loss)
    at = v.detach()
    above, below = (y - at).clamp(min=0).sum(), (at - y).clamp(min=0).sum()
    assert_close(tau * above, (1 - tau) * below, rtol=1e-5, atol=1e-7)
    if tau == 0.5:
        assert_close(at, y.mean(), rtol=0, atol=1e-6)
    if tau == 0.999:
        assert 0.5 * y.max() < at < y.max()


def test_the_lower_of_twins_is_the_smaller_one_and_the_end_has_no_future() -> None:
    torch.manual_seed(0)
    q = critics.Twin(2, 1, 8, 2)
    s, a = torch.randn(50, 2), torch.randn(50, 1)
    both = q(s, a)
    assert both.shape == (2, 50) and not torch.equal(both[0], both[1])
    assert torch.equal(q.lower(s, a), torch.minimum(both[0], both[1]))
    end = torch.arange(50) % 2 == 0
    batch = {"obs": s, "act": a, "rew": torch.randn(50), "terminal": end}
    y = batch["rew"] + 0.9 * 7 * (~end)
    assert_close(critics.bellman_loss(q, batch, torch.full((50,), 7.0), 0.9), (both - y).square().mean())


@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_training_goes_on_bit_for_bit_and_the_weights_come_back(name: str, tmp_path: Path) -> None:
    module = method(name)
    whole, part, rest = (module.train(EPISODES, tiny(name), seed=1) for _ in range(3))
    list(whole)
    for row in part:
        if row["step"] == whole.updates - 1:
            break
    part.save(tmp_path / "part")
    rest.load(tmp_path / "part")
    list(rest)
    want, got = whole.model.state_dict(), rest.model.state_dict()
    assert all(torch.equal(want[k], got[k]) for k in want)
    whole.model.save(tmp_path / "weights")
    back = type(whole.model).load(tmp_path / "weights")
    draws = [m.sample([[0.0]], n=3, generator=torch.Generator().manual_seed(0)) for m in (whole.model, back)]
    assert draws[0].shape == (1, 3, 2)
    assert_close(draws[0], draws[1], atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", METHODS)
def test_an_episodes_actions_depend_on_its_own_seed_alone(name: str) -> None:
    module = method(name)
    model = module.train(EPISODES, tiny(name)).model
    three, one = module.Agent(model), module.Agent(model)
    three.reset(np.zeros((3, 1)), [5, 6, 7]), one.reset(np.zeros((1, 1)), [6])
    first, alone = three.act(np.zeros((3, 1))), one.act(np.zeros((1, 1)))
    assert first.shape == (3, 2) and np.abs(first).max() <= 1
    np.testing.assert_allclose(first[1], alone[0], atol=1e-5)
    later = three.act(np.zeros((1, 1)), which=[1])
    np.testing.assert_allclose(later[0], one.act(np.zeros((1, 1)))[0], atol=1e-5)


class Exact:
    """The bandit's own Q in the place of a learned one."""

    def __init__(self, scaler):
        self.scaler = scaler

    def lower(self, s, a):
        return bandit.reward(self.scaler.inverse(a))


def test_the_best_of_n_by_the_exact_q_is_the_order_statistic() -> None:
    model = method("idql").train(EPISODES, tiny("idql")).model
    del model.critic.q
    model.critic.__dict__["q"] = Exact(model.act_scaler)
    a = bandit.draw(4 * 5000, seed=2).view(5000, 4, 2)
    paid = bandit.reward(critics.best(model, np.zeros((5000, 1)), a))
    assert abs(float(paid.mean()) - bandit.best_of(4)) < 4 * float(paid.std()) / 5000**0.5


@pytest.mark.parametrize("eta", [1.0, 2.0])
def test_exponential_weights_tilt_the_data_into_the_exact_improved_law(eta: float) -> None:
    a = bandit.draw(60_000, seed=4)
    w = (bandit.reward(a) / eta).exp()
    shares = torch.stack([(w * (bandit.mode(a) == k)).sum() for k in (*range(4), -1)]).double() / w.sum()
    assert float((shares - bandit.shares(eta)).abs().max()) < 0.012  # 4 standard errors of the largest
    model = weighted.train(EPISODES, tiny("weighted", eta=eta)).model
    batch = {"obs": torch.zeros(512, 1), "act": model.act_scaler(a[:512]), "adv": bandit.reward(a[:512]) - 2}
    got = model.loss(batch, torch.Generator().manual_seed(0))["loss"]
    rows, g = (w[:512] / w[:512].mean()), torch.Generator().manual_seed(0)
    assert_close(got, denoising_loss(model.denoiser, batch["act"], cond=batch["obs"], weight=rows, generator=g))


def test_without_q_diffusion_ql_is_cloning_bit_for_bit() -> None:
    model = diffusion_ql.train(EPISODES, tiny("diffusion_ql", eta=0.0)).model
    batch = {"obs": torch.zeros(64, 1), "act": torch.randn(64, 2, generator=torch.Generator().manual_seed(3))}
    g = [torch.Generator().manual_seed(0) for _ in range(2)]
    want = denoising_loss(model.denoiser, batch["act"], cond=batch["obs"], generator=g[0])
    assert torch.equal(model.loss(batch, g[1])["loss"], want)
    assert torch.equal(g[0].get_state(), g[1].get_state())  # nothing else was drawn
    model.config = replace(model.config, eta=1.0)
    assert not torch.equal(model.loss(batch, g[1])["loss"], want)


def test_an_action_keeps_its_derivative_through_the_whole_chain() -> None:
    run = diffusion_ql.train(EPISODES, tiny("diffusion_ql"))
    model = run.trained
    a = model.draw(model.denoiser, torch.zeros(8, 1), torch.Generator().manual_seed(0), grad=True)
    a.sum().backward()
    assert all(p.grad is not None for p in model.denoiser.parameters())
