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

from diffrl_lab.data.episodes import TERMINAL, Episodes
from diffrl_lab.diffusion import Batches, Function, GaussianDenoiser, cosine_decay, denoising_loss, descend, seeded
from diffrl_lab.methods.policies import cfgrl, critics, diffusion_ql, iql, td3_bc, weighted
from diffrl_lab.worlds import bandit

METHODS = ["iql", "idql", "weighted", "cfgrl", "diffusion_ql", "td3_bc", "fql", "edp", "qgpo", "dsrl", "srpo"]
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


def test_the_weighted_gaussian_of_a_gaussian_is_shifted_by_its_variance_times_the_slope_of_the_reward() -> None:
    mu, std, slope, eta, n = torch.tensor([0.1, -0.2]), 0.2, torch.tensor([2.0, -1.0]), 0.5, 4000
    a = mu + std * torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    act, rew, last = torch.zeros(2 * n, 2), torch.zeros(2 * n), torch.zeros(2 * n, dtype=torch.uint8)
    act[::2], rew[::2], last[1::2] = a, a @ slope, TERMINAL
    config = iql.Config(eta=eta, width=32, updates=600)
    run = iql.train(Episodes(torch.zeros(2 * n, 1), act, rew, last), config)
    list(run)
    model = run.model
    law = model.law(torch.zeros(1, 1))
    shift = std**2 * slope / eta  # mu exp(slope a / eta) of a Gaussian: the same variance, another mean
    assert_close(model.act_scaler.inverse(law.mean[0, 0]), mu + shift, atol=0.02, rtol=0)  # it is .16 and -.08
    assert_close(law.log_std.exp()[0, 0] * model.act_scaler.spread, torch.full((2,), std), atol=0.02, rtol=0)


def test_v_is_the_mean_at_an_expectile_of_one_half_and_higher_at_nine_tenths() -> None:
    got = {}
    for tau in (0.5, 0.9):
        run = iql.train(EPISODES, iql.Config(tau=tau, width=32, updates=600))
        for row in run:
            if row["step"] == 600:  # the critics stand
                break
        with torch.no_grad():
            got[tau] = float(run.trained.critic.v(torch.zeros(1, 1)))
    assert got[0.5] < got[0.9]
    assert abs(got[0.5] - sum(bandit.PAID) / 4) < 0.25
    assert abs(got[0.9] - 4.125) < 0.25  # .9 (5 - v) = .1 (3 v - 3 - 1.5 - 0)


def test_one_gaussian_for_four_modes_lies_off_the_data() -> None:
    run = iql.train(EPISODES, iql.Config(width=32, updates=600))
    list(run)
    a = run.model.sample([[0.0]], n=4000, generator=torch.Generator().manual_seed(0))[0]
    mean = (bandit.shares(1.0)[:4, None] * torch.tensor(bandit.CENTRES)).sum(0).float()
    assert_close(a.mean(0), mean, atol=0.1, rtol=0)  # of the improved law it learns the mean
    assert bandit.found(a)["off"] > 0.6 > 0.001 > float(bandit.shares(1.0)[-1])


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0, 3.0])
def test_guidance_between_two_gaussians_of_one_variance_moves_the_mean_w_times_as_far(w: float) -> None:
    model = cfgrl.train(EPISODES, tiny("cfgrl", w=w, denoising=50)).model
    schedule, std = model.denoiser.schedule, 0.1
    mu = {o: torch.tensor(m) for o, m in ((0.0, [-0.1, 0.2]), (1.0, [0.1, 0.1]), (-1.0, [9.0, 9.0]))}
    exact = {o: GaussianDenoiser(m, schedule, std=std) for o, m in mu.items()}

    def D(x, t, cond):
        assert len(told := cond[:, -1].unique()) == 1 and not cond[:, :-1].any()
        return exact[float(told)](x, t)

    del model.denoiser
    model.__dict__["denoiser"] = Function(D, schedule)
    mean = mu[0.0] + w * (mu[1.0] - mu[0.0])  # p^(1 - w) p(. | o = 1)^w: the exponents are quadratic with one factor
    x, t = torch.randn(64, 2, generator=torch.Generator().manual_seed(1)), torch.linspace(0.05, 0.95, 64)
    want = GaussianDenoiser(mean, schedule, std=std)(x, t)
    assert_close(model.guided(torch.zeros(64, 1))(x, t), want, atol=1e-5, rtol=1e-5)
    a = model.act_scaler(model.sample([[0.0]], n=4000, generator=torch.Generator().manual_seed(0))[0])
    assert_close(a.mean(0), mean, atol=4 * std / 4000**0.5, rtol=0)
    assert_close(a.std(0), torch.full((2,), std), atol=0.01, rtol=0)


def test_cfgrl_tells_which_actions_were_better_and_hides_it_from_a_share() -> None:
    g = torch.Generator().manual_seed(3)
    adv, act, obs = torch.randn(256, generator=g), torch.randn(256, 2, generator=g), torch.zeros(256, 1)
    better = torch.where(adv > 0, 1.0, -1.0)
    model = cfgrl.train(EPISODES, tiny("cfgrl")).model
    for share in (0.0, 0.3, 1.0):
        model.config = replace(model.config, dropped=share)
        got, want = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
        o = better * (torch.rand(256, generator=want) >= share)
        assert share not in (0, 1) or torch.equal(o, (1 - share) * better)
        loss = model.loss({"act": act, "obs": obs, "adv": adv}, got)["loss"]
        cond = torch.stack([obs[:, 0], o], 1)
        assert torch.equal(loss, denoising_loss(model.denoiser, act, cond=cond, generator=want))


def test_td3_bcs_loss_and_its_slope_are_its_formula() -> None:
    model = td3_bc.train(EPISODES, tiny("td3_bc", alpha=2.5)).model
    theta = torch.tensor([0.3, -0.2], requires_grad=True)

    class Parabola:
        """Q(s, a) = 4 - |a - b|^2."""

        b = torch.tensor([0.5, 0.4])

        def lower(self, s, a):
            return 4 - (a - self.b).square().sum(-1)

    for name, fixed in (("actor", lambda s: s * theta), ("q", Parabola())):
        delattr(model, name)
        model.__dict__[name] = fixed
    g = torch.Generator().manual_seed(0)
    s, a = torch.rand(50, 1, generator=g), torch.randn(50, 2, generator=g)
    loss = model.loss({"obs": s, "act": a})["loss"]
    (slope,) = torch.autograd.grad(loss, theta)
    pi = (s * theta).detach()
    q, size = 4 - (pi - Parabola.b).square().sum(-1), len(s)
    norm = q.abs().mean()
    assert_close(loss.detach(), (pi - a).square().mean() - 2.5 * q.mean() / norm)
    by_hand = (pi - a) * s / size + 2.5 * 2 * (pi - Parabola.b) * s / size / norm  # E |Q| is held fixed
    assert_close(slope, by_hand.sum(0))
    model.config = replace(model.config, alpha=0.0)
    assert_close(model.loss({"obs": s, "act": a})["loss"].detach(), (pi - a).square().mean())


def test_without_q_a_whole_training_of_diffusion_ql_is_cloning_bit_for_bit() -> None:
    c = tiny("diffusion_ql", eta=0.0)
    c = replace(c, updates=12)
    run = diffusion_ql.train(EPISODES, c, seed=1)
    list(run)
    g = torch.Generator().manual_seed(1)
    clone = seeded(1, diffusion_ql.DiffusionQl, c, 1, 2)
    batches = Batches(critics.prepared(clone, EPISODES), c.batch, g)
    schedule = cosine_decay(c.updates)

    def loss(b):
        return {"loss": denoising_loss(clone.denoiser, b["act"], cond=b["obs"], generator=g)}

    update = descend(loss, clone.denoiser, lr=c.lr, schedule=schedule, ema=c.ema)
    for _ in range(c.updates):
        batch = next(batches)
        clone.denoiser.schedule.prior((c.batch, 2), generator=g)  # what Q's target draws its action from
        update(batch)
    for mine, theirs in ((clone.denoiser, run.trained.denoiser), (update.ema.module, run.model.denoiser)):
        want, got = mine.state_dict(), theirs.state_dict()
        assert all(torch.equal(want[k], got[k]) for k in want)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_iql_draws_with_so_much_of_its_deviation_and_with_none_of_it_does_the_mean(noise: float) -> None:
    torch.manual_seed(0)
    model = iql.Iql(iql.Config(width=8, depth=2, noise=noise), 11, 3)
    obs = torch.randn(4, 11)
    with torch.no_grad():
        law = model.law(critics.states(model, obs.numpy()))
    a = model.sample(obs.numpy(), n=4000, generator=torch.Generator().manual_seed(1))
    assert_close(a.mean(1), law.mean[:, 0], rtol=0, atol=0.05 + 0.05 * noise)
    assert_close(a.std(1), noise * law.log_std[:, 0].exp(), rtol=0.1, atol=1e-5)
