"""The robots' planner: guided windows follow the exact tilt, the batch does not matter, and guidance earns more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Cosine, Function, MixtureDenoiser
from diffrl_lab.methods.planning.receding import Agent, Config, Receding, train, windows_to_go
from diffrl_lab.methods.weights import around

TINY = Config(horizon=4, width=32, depth=1, channels=8, updates=250, batch=64, value_width=32, value_updates=250)


def gaussian(H: int = 3, a: int = 1, d: int = 1) -> tuple[Receding, torch.Tensor, torch.Tensor]:
    """Exact windows of a Gaussian law whose given observation is independent of the rest, J = log E[exp(c x_0)|x_t] up
    to a constant, the covariance of the rest, and c."""
    g = torch.Generator().manual_seed(3)
    n = H * (a + d)
    root = torch.randn(n, n, generator=g, dtype=torch.float64) / n**0.5
    cov = root @ root.T + 0.2 * torch.eye(n, dtype=torch.float64)
    cov[a], cov[:, a] = 0, 0
    cov[a, a] = 1.0
    c = torch.randn(n, generator=g, dtype=torch.float64).float()
    D = MixtureDenoiser([1.0], torch.zeros(1, H, a + d), Cosine(), cov=cov[None])
    whole = Function(lambda x, t, cond=None: D(x, t), D.schedule)
    w = around(Receding(Config(horizon=H), d, a), denoiser=whole, J=lambda x, t: D(x, t).flatten(1) @ c)
    return w, cov, c


def test_guided_windows_of_a_gaussian_with_a_linear_return_follow_the_exact_tilt() -> None:
    w, cov, c = gaussian()
    agent = Agent(w, scale=0.7, candidates=8000, denoising=100, warm=None)
    agent.reset(np.zeros((1, 1)), [0])
    x = agent.plan(torch.tensor([[0.4]]), torch.tensor([0]))[0][0].flatten(1).double()
    wanted = 0.7 * cov @ c.double()  # the tilt by exp(0.7 c x) shifts the mean by 0.7 Sigma c and leaves Sigma
    free = torch.arange(len(c)) != 1
    error = cov.diagonal().sqrt() / 8000**0.5
    assert ((x.mean(0) - wanted).abs()[free] < 4 * error[free] + 0.02).all()
    assert_close(x.T.cov()[free][:, free], cov[free][:, free], rtol=0, atol=0.1)  # 3 standard errors
    assert (x[:, 1] == x[0, 1]).all() and abs(float(x[0, 1]) - 0.4) < 1e-6


def test_what_an_episode_does_depends_on_its_seed_and_not_on_the_batch_it_is_in() -> None:
    w, *_ = gaussian()
    obs = np.random.default_rng(0).normal(size=(5, 3, 1))

    def actions(rows: list[int], seeds: list[int]) -> np.ndarray:
        agent = Agent(w, scale=[0.5 * s for s in seeds], candidates=3, execute=2)
        agent.reset(obs[0, rows], seeds)
        return np.array([agent.act(o[rows]) for o in obs])

    all_three = actions([0, 1, 2], [7, 8, 9])
    for k, seed in enumerate([7, 8, 9]):
        assert_close(all_three[:, [k]], actions([k], [seed]), rtol=0, atol=1e-5)
    assert np.abs(all_three[:, 0] - actions([0], [11])[:, 0]).max() > 0.01


def test_an_episode_that_is_over_leaves_the_others_as_they_were() -> None:
    w, *_ = gaussian()
    obs = np.random.default_rng(0).normal(size=(4, 2, 1))
    whole, left = (Agent(w, candidates=3) for _ in range(2))
    whole.reset(obs[0], [0, 1])
    left.reset(obs[0], [0, 1])
    a = np.array([whole.act(o) for o in obs])
    b = np.array([left.act(o[rows], rows)[-1] for o, rows in zip(obs, ([0, 1], [0, 1], [1], [1]), strict=True)])
    assert_close(a[:, 1], b, rtol=0, atol=1e-5)


def two_ways(n: int = 60, L: int = 12) -> Episodes:
    """Each episode keeps one of two actions, 0.6 or -0.6, in any state; the first earns 1 a step."""
    rng, rows = np.random.default_rng(0), []
    for k in range(n):
        sign = 1 if k % 2 else -1
        rows.append((rng.normal(size=(L + 1, 2)), np.full((L, 1), 0.6 * sign), np.full(L, float(sign > 0)), False))
    return Episodes.join(rows)


def test_guidance_and_choice_by_value_take_the_action_that_earns_and_the_model_alone_takes_both(tmp_path) -> None:
    run = train(two_ways(), TINY, seed=0)
    list(run)
    run.model.save(tmp_path / "w.safetensors")
    w = Receding.load(tmp_path / "w.safetensors")
    obs = np.zeros((40, 2))

    def right(**options) -> float:
        agent = Agent(w, warm=None, **options)
        agent.reset(obs, range(40))
        return float((agent.act(obs) > 0).mean())

    assert right(scale=20, candidates=1) > 0.9  # exact: 1
    assert right(scale=0, candidates=8) > 0.9
    assert 0.15 < right(scale=0, candidates=1) < 0.85  # exact: 0.5, with a standard error of 0.08
    assert 0.15 < right(scale=0, candidates=8, chosen=False) < 0.85


def test_a_planner_s_windows_are_drawn_as_its_agent_draws_them_from_noise() -> None:
    w, *_ = gaussian()
    agent = Agent(w, candidates=4)
    agent.reset(np.ones((1, 1)), [5])
    plans, _ = agent.plan(torch.ones(1, 1), torch.tensor([0]))
    assert_close(w.sample(np.ones((1, 1)), n=4, generator=torch.Generator().manual_seed(5)), plans)


FEW = replace(TINY, updates=6, batch=16, value_updates=6, value_batch=16)


@pytest.mark.parametrize("steps", [4, 6, 9])
def test_a_planner_stopped_in_either_stage_goes_on_bit_for_bit(steps: int, tmp_path: Path) -> None:
    whole, stopped, again = (train(two_ways(6), FEW, seed=3) for _ in range(3))
    losses = [float(row["loss"]) for row in whole]
    first = [float(row["loss"]) for _, row in zip(range(steps), stopped, strict=False)]
    stopped.save(tmp_path / "run.safetensors")
    again.load(tmp_path / "run.safetensors")
    assert first + [float(row["loss"]) for row in again] == losses and len(losses) == 12
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


def test_a_planner_that_was_saved_plans_and_acts_the_same_when_saved_again(tmp_path: Path) -> None:
    run, obs = train(two_ways(6), FEW, seed=3), np.random.default_rng(0).normal(size=(3, 2))
    list(run)
    run.model.save(tmp_path / "a.safetensors")
    once = Receding.load(tmp_path / "a.safetensors")
    once.save(tmp_path / "b.safetensors")
    models = once, Receding.load(tmp_path / "b.safetensors"), run.model
    one, two, exact = (m.sample(obs, n=2, generator=torch.Generator().manual_seed(0)) for m in models)
    assert torch.equal(one, two) and once.config == FEW and torch.equal(once.returns, run.model.returns)
    assert_close(one, exact, rtol=0.01, atol=0.01)  # float16 keeps 11 bits of a weight
    acts = []
    for m in models[:2]:
        agent = Agent(m, candidates=3)
        agent.reset(obs, [0, 1, 2])
        acts.append(np.array([agent.act(obs) for _ in range(3)]))
    assert (acts[0] == acts[1]).all()


def test_more_actions_than_a_plan_has_are_refused_and_so_are_goals_and_other_files(tmp_path: Path) -> None:
    w, *_ = gaussian()
    with pytest.raises(ValueError, match="between 1 and 3 .* got 4"):
        Agent(w, execute=4)
    with pytest.raises(ValueError, match="takes no goal"):
        w.sample(np.zeros((1, 1)), np.zeros((1, 1)))  # type: ignore[arg-type]
    from diffrl_lab.diffusion import save

    save(tmp_path / "other.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(ValueError, match="holds no model of this library; a Receding was wanted"):
        Receding.load(tmp_path / "other.safetensors")


def test_a_windows_return_ends_with_a_fall_and_goes_on_past_a_time_limit() -> None:
    L, gamma = 30, 0.9
    obs, act, rew = np.zeros((L + 1, 2)), np.zeros((L, 1)), np.ones(L)
    both = Episodes.join([(obs, act, rew, False), (obs, act, rew, True), (obs, act, np.arange(L) * 1.0, False)])
    rows, mask, R = windows_to_go(both, 8, gamma)
    assert rows.shape == mask.shape == (3 * L, 8) and mask.sum() == 3 * (8 * L - 21)
    left = L - torch.arange(L)
    assert_close(R[L : 2 * L].double(), (1 - gamma ** left.double()) / (1 - gamma), rtol=0, atol=1e-5)
    assert_close(R[:L], torch.full((L,), 1 / (1 - gamma)))  # 1 a step for ever, whatever the time
    late = np.arange(L)[-10:].mean() / (1 - gamma)  # of the last 1 / (1 - gamma) = 10 steps
    assert_close(float(R[-1]), L - 1 + gamma * late, rtol=1e-6, atol=0)
    assert (rows[-1] == rows[-1, 1]).sum() == 7 and int(rows[-1, 1]) == int(both.ends[-1])
    short = Episodes.join([(obs[:5], act[:4], rew[:4], False)])  # shorter than 1 / (1 - gamma)
    assert_close(windows_to_go(short, 8, gamma)[2], torch.full((4,), 1 / (1 - gamma)))
    with pytest.raises(ValueError, match="gamma"):
        windows_to_go(both, 8, 1.0)
