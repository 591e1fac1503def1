"""GCIQL: laws of values of goals in hindsight on a chain of states, and a policy that puts two halves together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import seeded
from diffrl_lab.methods.policies import gciql

N = 8  # states of the chain, 0 to N - 1
CONFIG = gciql.Config(width=32, updates=800, batch=128, gamma=0.8, reached=0.5, lr=3e-3)


def _episode(way: list[int]) -> tuple:
    x = np.array(way, np.float32)[:, None]
    return x, np.sign(np.diff(x, axis=0)), np.full(len(way) - 1, 7.0, np.float32), False


def chain() -> Episodes:
    """Walks to the right, from 0 to the middle and from the middle to the end, and back in the same way: no walk has
    both ends. Rewards of the recording are 7, and must not be looked at."""
    half = N // 2
    right = [list(range(half + 1)), list(range(half, N))]
    left = [list(range(N - 1, half - 1, -1)), list(range(half, -1, -1))]
    return Episodes.join([_episode(w) for w in (right + left) * 5])


def goals(config: gciql.Config = CONFIG) -> gciql.Goals:
    model = seeded(0, gciql.Gciql, config, 1, 1, 1)
    return gciql.Goals(model, chain(), torch.Generator().manual_seed(0))


def test_gamma_to_the_distance_is_the_fixed_point_of_the_targets_exactly() -> None:
    batch = next(iter(goals(replace(CONFIG, batch=4000))))
    x, g, after = batch["obs"][:, 0], batch["obs"][:, 1], batch["after"][:, 0]  # the scaling is that of a blank model
    exact = lambda s: CONFIG.gamma ** (s - g).abs()  # noqa: E731 - V where the recorded action leads to the goal
    towards = (after - g).abs() < (x - g).abs()
    target = batch["rew"] + CONFIG.gamma * torch.where(batch["terminal"], 0.0, exact(after))
    good = towards | batch["terminal"]
    assert 0.3 < good.float().mean() < 1
    assert_close(target[good], exact(x)[good])
    assert (target < exact(x) - 1e-6)[~good].all()  # a step away from the goal is worth less


def test_a_reached_goal_has_value_one_and_is_the_end() -> None:
    batch = next(iter(goals(replace(CONFIG, batch=4000))))
    there = (batch["obs"][:, 0] - batch["obs"][:, 1]).abs() <= CONFIG.reached
    assert torch.equal(batch["terminal"], there) and torch.equal(batch["rew"], there.float())
    assert set(batch["rew"].tolist()) == {0.0, 1.0}


def test_goals_have_the_shares_and_the_law_that_were_asked_for() -> None:
    every = goals()
    ends = every.ends[:, None]
    row, of_critics, of_policy = every.draw(60_000)
    end = ends[torch.searchsorted(every.rows, row), 0]
    own = float((of_critics == row).float().mean())
    inside = lambda rows: float(((rows > row) & (rows <= end)).float().mean())  # noqa: E731
    by_chance = float(((end - row).float() / len(every.obs)).mean())  # any row is later in the episode as often
    c = every.model.config
    assert own == pytest.approx(c.own + (1 - c.own - c.ahead) / len(every.obs), abs=0.01)
    assert inside(of_critics) == pytest.approx(c.ahead + (1 - c.own - c.ahead) * by_chance, abs=0.01)
    assert inside(of_policy) == pytest.approx(c.wanted + (1 - c.wanted) * by_chance, abs=0.01)
    sure = goals(replace(CONFIG, own=0.0, ahead=1.0))
    row, of_critics, _ = sure.draw(60_000)
    far = sure.ends[torch.searchsorted(sure.rows, row)] - row >= 3
    for steps in (1, 2):  # P(d) = (1 - gamma) gamma^(d - 1)
        share = float((of_critics - row == steps)[far].float().mean())
        assert share == pytest.approx((1 - CONFIG.gamma) * CONFIG.gamma ** (steps - 1), abs=0.01)


def test_a_trained_value_is_near_gamma_to_the_distance_across_the_halves_and_the_policy_puts_them_together() -> None:
    run = gciql.train(chain(), CONFIG, seed=0, goal=1)
    for _ in run:
        pass
    x, g = np.meshgrid(np.arange(N), np.arange(N), indexing="ij")
    x, g = (v.reshape(-1, 1).astype(float) for v in (x, g))
    value = run.model.value(x, g).numpy()
    assert np.abs(value - CONFIG.gamma ** np.abs(x - g)[:, 0]).max() < 0.15
    agent = gciql.Agent(run.model)
    apart = np.abs(x - g)[:, 0] > N // 2  # farther than any walk
    agent.reset(x[apart], [0] * int(apart.sum()), g[apart])
    assert np.array_equal(np.sign(agent.act(x[apart])), np.sign(g - x)[apart])


def test_without_q_it_is_cloning_of_goals_and_wrong_goals_and_shares_are_told() -> None:
    model = seeded(0, gciql.Gciql, CONFIG, 1, 1, 1)
    batch = next(gciql.Goals(model, chain(), torch.Generator().manual_seed(0)))
    out = model.loss(batch)
    half = (model.actor(batch["wanted"]) - batch["act"]).square().sum(-1).mean() / 2
    assert_close(out["imitation"], half)
    with pytest.raises(ValueError, match="1 to 1 columns"):
        gciql.train(chain(), CONFIG)
    with pytest.raises(ValueError, match="shares lie in"):
        goals(replace(CONFIG, own=0.6, ahead=0.6))
    with pytest.raises(ValueError, match="goals"):
        model.sample(np.zeros((2, 1)))
