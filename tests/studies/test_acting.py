"""Few steps where actions are drawn: the same draws as the methods' own, and costs counted at the denoiser."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from diffrl_lab.diffusion import ddim, ddpm, dpm_pp_2m, euler, seeded
from diffrl_lab.methods.planning import receding
from diffrl_lab.methods.planning.receding import Receding
from diffrl_lab.methods.policies.diffusion_policy import Config, DiffusionPolicy
from diffrl_lab.studies import acting, fast
from diffrl_lab.studies.costs import STEPS, chain_of


def policy(predict: str = "x0") -> DiffusionPolicy:
    c = Config(chunk=acting.CHUNK, execute=acting.CHUNK, width=16, depth=2, predict=predict, denoising=5)
    model = seeded(0, DiffusionPolicy, c, 2, 2)
    model.about["seconds"] = 1.0
    return model.requires_grad_(False)


def planner() -> Receding:
    c = receding.Config(horizon=4, width=16, depth=1, channels=4, value_width=16, candidates=3)
    return seeded(0, Receding, c, 11, 3).requires_grad_(False)


def each(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(k) for k in range(n)]


@pytest.mark.parametrize("predict", ["x0", "flow"])
def test_a_drawer_with_the_policys_own_step_draws_the_policys_own_chunks(predict: str) -> None:
    model, obs = policy(predict), np.random.default_rng(0).normal(size=(6, 2))
    own = model.sample(obs, generator=each(6))
    step = euler() if predict == "flow" else dpm_pp_2m()
    assert torch.equal(acting.Drawer(model, 5, step, torch.Generator()).sample(obs, generator=each(6)), own)
    assert not torch.equal(acting.Drawer(model, 4, step, torch.Generator()).sample(obs, generator=each(6)), own)


def test_ddim_with_eta_1_draws_the_chunks_of_ddpm_so_no_row_has_it() -> None:
    model, obs = policy(), np.zeros((3, 2))
    a, b, c = (
        acting.Drawer(model, 6, step, torch.Generator().manual_seed(0)).sample(obs, generator=each(3))
        for step in (ddpm(), ddim(1.0), ddim())
    )
    assert_close(a, b)
    assert float((a - c).abs().max()) > 0.01


def test_a_chunk_costs_what_is_asked_for_and_ways_are_counted_of_who_arrives(monkeypatch) -> None:
    monkeypatch.setattr(acting.imitation, "learned", lambda *_: policy())
    monkeypatch.setattr(acting.imitation, "EPISODES", 4)
    for sampler in STEPS:
        for n in acting.lengths(sampler)[:4]:
            found = acting.drawn("diffusion", sampler, n, seed=0)
            assert found["cost"] == n and found["ratio"] > 0 and found["success"] == sum(found["counts"]) / 4


def test_a_walker_plans_as_the_planner_does_from_noise_by_ddim(monkeypatch) -> None:
    monkeypatch.setattr(acting, "scale", lambda: 3.0)
    model, obs, rows = planner(), torch.randn(2, 11, generator=torch.Generator().manual_seed(1)), torch.arange(2)
    own = receding.Agent(model, scale=3.0, warm=None, denoising=7)
    mine = acting.Walker(model, 7, ddim(), 0)
    found: list[tuple[Tensor, Tensor]] = []
    for agent in (own, mine):
        agent.reset(obs, [4, 5])
        found.append(agent.plan(obs, rows))
        agent.cold = False
        agent.plan(obs, rows)
    assert_close(found[0], found[1])
    free, plain = acting.Walker(model, 7, ddim(), 0, 0.0), receding.Agent(model, scale=0, warm=None, denoising=7)
    for agent in (free, plain):
        agent.reset(obs, [4, 5])
    unguided = free.plan(obs, rows)
    assert_close(unguided, plain.plan(obs, rows))
    assert float((unguided[0] - found[0][0]).abs().max()) > 1e-4
    assert float((found[1][0][0] - found[1][0][1]).abs().max()) > 0.1, "noise of its own for each episode"


def test_plans_of_400_steps_are_at_no_distance_from_themselves_and_the_floor_is_not_driven(monkeypatch) -> None:
    model, driven = planner(), []
    monkeypatch.setattr(acting, "STATES", 5)
    monkeypatch.setattr(acting, "states", lambda: torch.randn(5, 11, generator=torch.Generator().manual_seed(1)))
    monkeypatch.setattr(acting.robots, "planner", lambda *_: (model, 1.0))
    monkeypatch.setattr(acting.robots, "together", lambda _, agent, seeds: (driven.append(agent), np.ones((2, 10)))[1])
    acting.fine.cache_clear()
    same, two, floor, own, noisy = (
        acting.walk(s, n, seed=0) for s, n in (("ddim", 400), ("ddim", 2), ("floor", 398), ("as tuned", 4), ("ddpm", 2))
    )
    acting.fine.cache_clear()
    acting.unguided("ddim", 2, seed=0)
    free = driven.pop()
    assert isinstance(free, acting.Walker) and free.w == 0 and driven[0].w is None
    assert same["off"] == same["first"] == 0 < floor["off"] < two["off"] and floor["score"] is None
    assert (same["cost"], two["cost"], floor["cost"]) == (400, 2, 398) and len(driven) == 4
    assert own["off"] is None is noisy["off"] and len(own["scores"]) == 10
    assert isinstance(driven[2], receding.Agent) and not isinstance(driven[2], acting.Walker)


def test_a_summary_pools_the_scores_of_all_trainings_and_leaves_empty_what_nobody_measured() -> None:
    arm = {"plans": "guided", "sampler": "ddim", "evaluations": 2, "length": 100.0, "off": 0.5}
    rows = [arm | {"scores": [10.0] * 10, "ms": 1.0}, arm | {"scores": [30.0] * 10, "ms": 3.0}]
    free, floor = arm | {"plans": "not guided", "scores": [7.0] * 10}, arm | {"sampler": "floor", "scores": None}
    both, alone, nobody = acting.summary([*rows, free, floor])
    assert both["score"] == 20 and both["score_interval"] == (10, 30) and both["ms"] == 2 and both["seeds"] == 2
    assert alone["score"] == 7 and alone["ms"] is None and nobody["score"] is None and nobody["off"] == 0.5


def test_the_scale_is_the_tuned_one_and_the_parts_are_the_studys() -> None:
    assert acting.scale() in acting.robots.SCALES
    assert {"chunks", "robot"} <= set(fast.PARTS)
    assert chain_of("renewed", 2)[0] == 2
    assert acting.lengths("heun") == [1, 2, 10, 20] and acting.lengths("ddpm")[-1] == 100
