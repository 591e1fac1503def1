"""FQL: the flow is a clone whatever Q says, and the one step is the flow's own map, moved along Q's slope."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.testing import assert_close

from diffrl_lab.diffusion import (
    Batches,
    Function,
    GaussianDenoiser,
    Rectified,
    cosine_decay,
    denoising_loss,
    descend,
    fit,
    seeded,
)
from diffrl_lab.methods.policies import critics, fql
from diffrl_lab.worlds import bandit

EPISODES = bandit.record(500, seed=0)
TINY = fql.Config(width=16, updates=12, batch=32)
MEAN, STD = torch.tensor([0.3, -0.2]), 0.2


class Slope:
    """Q(s, a) = 7 + slope . a in the place of a learned one."""

    def __init__(self, x: float, y: float):
        self.slope = torch.tensor([x, y])

    def lower(self, s, a):
        return 7 + a @ self.slope


def with_exact(c: fql.Config, q: Slope):
    """A model whose flow is that of one Gaussian, exactly, and whose Q is linear."""
    model = fql.train(EPISODES, c).trained
    del model.q, model.flow
    exact = GaussianDenoiser(MEAN, Rectified(), std=STD)
    model.__dict__ |= {"q": q, "flow": Function(lambda x, t, cond: exact(x, t), Rectified())}
    return model


def test_a_flow_of_a_gaussian_takes_noise_to_its_own_place_in_the_gaussian() -> None:
    model = with_exact(replace(TINY, denoising=200), Slope(0.0, 0.0))
    z = torch.randn(400, 2, generator=torch.Generator().manual_seed(1))
    assert_close(model.along(model.flow, torch.zeros(400, 1), z), MEAN + STD * z, atol=0.02, rtol=0)


def test_the_one_step_learns_the_map_and_q_moves_it_by_its_slope_over_twice_alpha_and_its_size() -> None:
    """alpha |mu - F|^2 / 2 in two numbers, less slope . mu / E |Q|: the best mu is F + slope / (alpha E |Q|)."""
    for alpha, q in ((1.0, Slope(0.0, 0.0)), (1.0, Slope(1.4, -0.7)), (2.0, Slope(1.4, -0.7))):
        model = with_exact(replace(TINY, alpha=alpha, denoising=5), q)
        g = torch.Generator().manual_seed(0)
        update = descend(lambda b, m=model, g=g: m.loss(b, g), model.one, lr=5e-3, schedule=cosine_decay(500), ema=0.98)
        for _ in fit(update, Batches({"obs": torch.zeros(64, 1)}, 256, g), 500):
            pass
        z = torch.randn(2000, 2, generator=g)
        s = torch.zeros(len(z), 1)
        got = update.ema.module(z, None, s).detach()
        inside = (got.abs() < 1.1).all(1) & (z.abs() < 2).all(1)
        want = model.along(model.flow, s, z) + q.slope / (alpha * q.lower(s, got).mean())
        assert_close(got[inside], want[inside], atol=0.08, rtol=0)
        assert_close((got - want)[inside].mean(0), torch.zeros(2), atol=0.02, rtol=0)


def test_the_loss_is_its_formula_and_neither_flow_nor_critic_gets_a_slope_that_is_not_theirs() -> None:
    model = fql.train(EPISODES, replace(TINY, alpha=3.0)).trained
    s = torch.zeros(64, 1)
    g, same = (torch.Generator().manual_seed(5) for _ in range(2))
    out = model.loss({"obs": s}, g)
    z = torch.randn(64, 2, generator=same)
    assert torch.equal(g.get_state(), same.get_state())
    mu, flow = model.one(z, None, s), model.along(model.flow, s, z)
    low, high = critics.box(model)
    q = model.q.lower(s, mu.clamp(low, high))
    assert_close(out["loss"], 3 * (mu - flow).square().mean() - q.mean() / q.abs().mean())
    out["loss"].backward()
    assert all(p.grad is None for p in model.flow.parameters())
    assert all(p.grad is not None for p in model.one.parameters())


def test_whatever_q_says_the_flow_is_cloning_bit_for_bit() -> None:
    run = fql.train(EPISODES, replace(TINY, alpha=0.5), seed=1)
    list(run)
    g, c = torch.Generator().manual_seed(1), TINY
    clone = seeded(1, fql.Fql, replace(c, alpha=0.5), 1, 2)
    batches = Batches(critics.prepared(clone, EPISODES), c.batch, g)

    def loss(b):
        return denoising_loss(clone.flow, b["act"], cond=b["obs"], generator=g)

    update = descend(loss, clone.flow, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema)
    for _ in range(c.updates):
        batch = next(batches)
        torch.randn(c.batch, 2, generator=g)  # the noise that Q looks ahead with
        update(batch)
        torch.randn(c.batch, 2, generator=g)  # the noise of the one step
    for mine, theirs in ((clone.flow, run.trained.flow), (update.ema.module, run.model.flow)):
        want, got = mine.state_dict(), theirs.state_dict()
        assert all(torch.equal(want[k], got[k]) for k in want)


def test_it_acts_in_one_pass_within_the_box() -> None:
    model = fql.train(EPISODES, TINY).model
    del model.flow  # it is not asked any more
    a = model.sample([[0.0], [0.0]], n=500, generator=torch.Generator().manual_seed(0))
    assert a.shape == (2, 500, 2) and float(a.abs().max()) <= 1 + 1e-6
