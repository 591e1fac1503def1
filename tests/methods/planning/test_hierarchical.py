"""Subgoals and legs: what each level learns from, where they meet, the exact law of both, and that training resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Cosine, Function
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning.hierarchical import Agent, Config, Hierarchical, Pieces, train

TINY = Config(legs=3, every=4, width=32, depth=1, channels=8, updates=8, batch=16, denoising=3, candidates=4)


def field(episodes: int = 40, steps: int = 40, seed: int = 0) -> Episodes:
    """Drives in an open field, at constant speed from a random place to another one. dt = 0.01."""
    rng, rows, share = np.random.default_rng(seed), [], np.arange(steps + 1)[:, None] / steps
    for _ in range(episodes):
        a, b = rng.uniform(-3, 3, (2, 2))
        obs = np.concatenate([a + share * (b - a), np.ones_like(share) * (b - a) / (steps * 0.01)], 1)
        rows.append((obs.astype(np.float32), np.zeros((steps, 2), np.float32), np.zeros(steps), False))
    return Episodes.join(rows)


def test_a_leg_lies_between_two_neighbouring_subgoals_of_its_piece_and_each_leg_is_as_likely() -> None:
    batch = next(Pieces(field(), replace(TINY, batch=6000), torch.Generator().manual_seed(0)))
    ends, subgoals = batch["legs"][:, [0, -1]], batch["subgoals"]
    which = torch.stack([(subgoals[:, j : j + 2] == ends).all((1, 2)) for j in range(3)], 1)
    assert bool(which.any(1).all())
    share = which.double().mean(0)
    assert float((share - 1 / 3).abs().max()) < 4 * (2 / 9 / 6000) ** 0.5
    assert batch["known"].shape == subgoals.shape and not bool(batch["known"][:, 1:-1].any())


def test_a_plan_begins_at_the_state_ends_at_the_goal_and_passes_every_subgoal() -> None:
    model = train(field(), TINY, seed=0).model
    obs, goal = np.array([[0.5, -1, 0.3, 0.2]]), np.array([[1.0, 2.0]])
    subgoals = model.subgoals(obs, goal, torch.Generator().manual_seed(0))
    whole = model.legs(subgoals, torch.Generator().manual_seed(1))
    assert whole.shape == (1, TINY.horizon, 5)
    assert_close(whole[:, :: TINY.every], subgoals, rtol=0, atol=0)
    assert_close(whole[0, :, -1], subgoals[0, :1, -1].expand(TINY.horizon), rtol=0, atol=0)
    x = model.sample(obs, goal, n=5)[0]
    assert_close(x[:, 0, :4], torch.tensor(obs).float().expand(5, 4))
    assert_close(x[:, -1, :2], torch.tensor(goal).float().expand(5, 2))
    assert float((x[0] - x[1]).abs().max()) > 0


def _conditional(cov: Tensor) -> Function:
    """The exact denoiser of N(0, cov) whose entries `known` of x_t are clean: E[x_0 | x_t, known]."""

    def D(x_t: Tensor, t: Tensor, cond: dict) -> Tensor:
        known, x = cond["known"].flatten(1)[0], x_t.flatten(1).double()
        alpha, sigma = (v.double() for v in Cosine()(t))
        u, out = ~known, x.clone()
        pull = torch.linalg.solve(cov[known][:, known], cov[known][:, u])
        m, C = x[:, known] @ pull, cov[u][:, u] - cov[u][:, known] @ pull
        gain = torch.linalg.solve(alpha**2 * C + sigma**2 * torch.eye(len(C)).double(), alpha * C)
        out[:, u] = m + (x[:, u] - alpha * m) @ gain
        return out.view_as(x_t).to(x_t)

    return Function(D, Cosine())


def test_of_a_markov_process_subgoals_and_legs_together_have_the_law_of_the_whole() -> None:
    """An AR process: given its subgoals its legs are independent, so two exact levels lose nothing across a joint."""
    at = torch.arange(TINY.horizon).double()
    cov = torch.kron(0.8 ** (at[:, None] - at).abs(), torch.eye(5).double())
    cov = cov + 1e-6 * torch.eye(len(cov)).double()
    every = (torch.arange(0, TINY.horizon, TINY.every)[:, None] * 5 + torch.arange(5)).flatten()
    one = torch.arange((TINY.every + 1) * 5)
    exact = {"high": _conditional(cov[every][:, every]), "low": _conditional(cov[one][:, one])}
    model = weights.around(Hierarchical(replace(TINY, denoising=60), 4, 2), **exact)
    N = 4000
    plan = model.drawn(np.zeros((N, 4)), np.zeros((N, 2)), torch.Generator().manual_seed(0))
    x, v = plan.candidates[..., 0].double(), plan.candidates[..., 2].double()
    for y, ends in ((x, [0, 12]), (v, [0])):  # positions are known at both ends, velocities at the start
        free = torch.tensor([k for k in range(TINY.horizon) if k not in ends])
        R = 0.8 ** (at[:, None] - at).abs()
        law = R[free][:, free] - R[free][:, ends] @ torch.linalg.solve(R[ends][:, ends], R[ends][:, free])
        # an entry's standard error is at most sqrt(2 / N) = .022; what 60 steps of the chain cost is less
        assert_close(torch.cov(y[:, free].T), law, rtol=0, atol=0.1)


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = train(field(), TINY, seed=1)
    losses = [float(row["loss"]) for row in whole]
    first, second = train(field(), TINY, seed=1), train(field(), TINY, seed=1)
    begun = [float(next(rows)["loss"]) for rows in [iter(first)] for _ in range(3)]
    first.save(tmp_path / "run.safetensors")
    second.load(tmp_path / "run.safetensors")
    assert begun + [float(row["loss"]) for row in second] == losses
    whole.model.save(tmp_path / "w.safetensors")
    again = Hierarchical.load(tmp_path / "w.safetensors")
    assert again.config == TINY and float(again.seconds) == pytest.approx(0.01, rel=1e-2)
    route = again.route(np.zeros(4), np.ones(2), seed=3)
    assert_close(torch.tensor(route[0]), torch.zeros(4).double(), rtol=0, atol=1e-6)
    assert_close(torch.tensor(route[-1, :2]), torch.ones(2).double(), rtol=0, atol=1e-5)
    assert Agent(again, most=2).most == 2


def test_the_levels_share_no_weight_so_that_each_learns_as_if_it_were_alone() -> None:
    model, batch = Hierarchical(TINY, 4, 2), next(Pieces(field(), TINY, torch.Generator().manual_seed(0)))
    terms = model.loss(batch, torch.Generator().manual_seed(0))
    terms["high"].backward(retain_graph=True)
    assert all(p.grad is None for p in model.low.parameters())
    assert all(p.grad is not None for p in model.high.parameters())
    assert_close(terms["loss"], terms["high"] + terms["low"])
