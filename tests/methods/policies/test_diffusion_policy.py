"""The diffusion policy: exact laws of bandits, chunks that end with their episode, and how it acts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Cosine, Denoiser, Function, GaussianDenoiser, MixtureDenoiser, Rectified
from diffrl_lab.methods.policies.diffusion_policy import Agent, Config, DiffusionPolicy, train
from diffrl_lab.methods.weights import around

ONE = Config(chunk=1, execute=1, width=64, updates=1500, batch=256, lr=3e-3, denoising=20)


def bandit(act, n: int = 4000) -> Episodes:
    """One-step episodes from a random state (x, v) to a random goal x; act(x, v, goal, rng) says what was done."""
    rng = np.random.default_rng(0)
    x, v, goal = rng.uniform(-1, 1, (3, n))
    a = act(x, v, goal, rng)
    rows = [(np.array([[x[i], v[i]], [goal[i], 0.0]]), np.array([[a[i]]]), np.zeros(1), False) for i in range(n)]
    return Episodes.join(rows)


def trained(episodes: Episodes, config: Config = ONE) -> DiffusionPolicy:
    run = train(episodes, config, goal=1)
    list(run)
    return run.model


def drawn(policy: DiffusionPolicy, state, goal, n: int = 4000) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return policy.sample([state], [goal], n=n, generator=g)[0, :, :, 0]


def exactly(policy: DiffusionPolicy, D: Denoiser) -> DiffusionPolicy:
    """The policy around a denoiser that no state changes."""
    return around(policy, denoiser=Function(lambda x, t, cond=None: D(x, t), D.schedule))


def test_on_a_linear_gaussian_bandit_it_learns_the_conditional_mean_and_variance() -> None:
    policy = trained(bandit(lambda x, v, g, rng: 0.5 * x - 0.3 * v + 0.4 * g + 0.2 * rng.standard_normal(len(x))))
    for s, g in (([0.5, -0.5], [0.8]), ([-0.6, 0.2], [0.1]), ([0.0, 0.7], [-0.7])):
        a = drawn(policy, s, g)
        want = 0.5 * s[0] - 0.3 * s[1] + 0.4 * g[0]
        assert abs(float(a.mean()) - want) < 4 * 0.2 / 4000**0.5 + 0.03  # 4 standard errors, and what learning misses
        assert abs(float(a.std()) / 0.2 - 1) < 4 / 8000**0.5 + 0.08


def test_what_is_predicted_unless_something_else_is_asked_for_finds_four_symmetric_modes() -> None:
    """The target of v has no part that is linear in x_t here, so a network that starts near 0 stays there for long."""
    rng = np.random.default_rng(0)
    corners = rng.choice([-1.0, 1.0], (2000, 2)) + 0.05 * rng.standard_normal((2000, 2))
    episodes = Episodes.join([(np.zeros((2, 2)), a[None], np.zeros(1), False) for a in corners])
    run = train(episodes, replace(ONE, width=128, lr=5e-3))
    list(run)
    a = run.model.sample([[0.0, 0.0]], n=1000, generator=torch.Generator().manual_seed(1))[0, :, 0]
    assert float(((a.abs() - 1).abs() < 0.2).all(1).double().mean()) > 0.8


def test_with_an_exact_denoiser_the_actions_have_the_exact_law() -> None:
    policy = train(bandit(lambda x, v, g, rng: 1 + 2 * rng.standard_normal(len(x))), ONE, goal=1).model
    centre, spread = float(policy.act_scaler.center), float(policy.act_scaler.spread)
    n = 20_000
    a = drawn(exactly(policy, GaussianDenoiser([0.4], Cosine(), std=0.3)), [0.0, 0.0], [0.0], n)
    assert abs(float(a.mean()) - (centre + 0.4 * spread)) < 4 * 0.3 * spread / n**0.5
    assert abs(float(a.std()) / (0.3 * spread) - 1) < 4 / (2 * n) ** 0.5 + 0.01  # and the solver's own error
    two = MixtureDenoiser([0.3, 0.7], [[-1.0], [1.0]], Cosine(), std=0.1)
    share = float((drawn(exactly(policy, two), [0.0, 0.0], [0.0], n) < centre).double().mean())
    assert abs(share - 0.3) < 4 * (0.21 / n) ** 0.5


def test_of_two_ways_of_acting_both_are_kept_in_their_shares_and_nothing_between() -> None:
    def act(x, v, g, rng):
        return np.where(rng.random(len(x)) < 0.3, -0.6, 0.6) + 0.05 * rng.standard_normal(len(x))

    episodes = bandit(act)
    recorded = float((episodes.act[episodes.last == 0] < 0).double().mean())
    a = drawn(trained(episodes), [0.2, 0.1], [-0.3])
    left = float((a < 0).double().mean())
    assert abs(left - recorded) < 4 * (0.21 / 4000) ** 0.5 + 0.07  # 4 standard errors, and what learning misses
    assert float((a.abs() < 0.3).double().mean()) < 0.03


@pytest.mark.parametrize("predict", ["x0", "eps", "edm", "flow"])
def test_whatever_is_predicted_the_linear_gaussian_bandit_comes_out(predict: str) -> None:
    policy = trained(
        bandit(lambda x, v, g, rng: 0.5 * x - 0.3 * v + 0.2 * rng.standard_normal(len(x))),
        replace(ONE, predict=predict),
    )
    assert policy.denoiser.predict == predict
    a = drawn(policy, [0.5, -0.5], [0.8])
    assert abs(float(a.mean()) - 0.4) < 4 * 0.2 / 4000**0.5 + 0.04
    assert abs(float(a.std()) / 0.2 - 1) < 4 / 8000**0.5 + 0.12


def test_one_euler_step_of_a_flow_policy_gives_the_mean_and_many_the_law_at_order_one() -> None:
    """On N(0.4, 0.3^2): the exact flow maps N(0, 1) to the law; K Euler steps miss its deviation by about c / K."""
    policy = train(bandit(lambda x, v, g, rng: x), replace(ONE, predict="flow"), goal=1).model
    assert isinstance(policy.denoiser.schedule, Rectified)
    spread, off = float(policy.act_scaler.spread), []
    for K in (1, 8, 16, 32):
        policy.config = replace(policy.config, denoising=K)
        a = drawn(exactly(policy, GaussianDenoiser([0.4], Rectified(), std=0.3)), [0.0, 0.0], [0.0], 2000)
        off.append(abs(float(a.std()) / spread - 0.3))
        if K == 1:
            assert_close(a, torch.full_like(a, float(policy.act_scaler.center) + 0.4 * spread), rtol=0, atol=1e-5)
    assert 1.5 < off[1] / off[2] < 3, off


def test_beyond_an_episodes_end_nothing_is_learned() -> None:
    rows = []
    for sign in (-0.5, 0.5) * 40:
        rows.append((np.zeros((5, 2)), np.full((4, 1), sign), np.zeros(4), False))
    config = Config(chunk=8, execute=1, width=64, updates=600, batch=128, lr=3e-3)
    a = drawn(trained(Episodes.join(rows), config), [0.0, 0.0], [0.0], 1000)
    # a quarter of all chunks begin in the last step: were their zeros targets, a quarter of second actions would be 0
    assert float((a[:, 1].abs() < 0.25).double().mean()) < 0.05


TINY = Config(chunk=4, execute=3, width=32, updates=6, batch=32)


def test_it_acts_on_a_chunk_looks_again_and_drives_one_as_it_drives_many() -> None:
    policy = train(bandit(lambda x, v, g, rng: 0.5 * x), TINY, goal=1).model
    looked = []
    draw = policy.sample
    policy.sample = lambda *words, **more: looked.append(1) or draw(*words, **more)  # type: ignore[func-returns-value]
    agent, obs = Agent(policy), np.array([[[0.1 * k, 0.0], [-0.2, 0.1 * k]] for k in range(7)])
    agent.reset(np.zeros((2, 2)), [3, 4], np.array([[1.0], [-1.0]]))
    many = np.array([agent.act(o) for o in obs])
    assert len(looked) == 3 and many.shape == (7, 2, 1) and np.abs(many).max() <= 1
    for k, seed in enumerate([3, 4]):
        agent.reset(np.zeros((1, 2)), [seed], np.array([[1.0 - 2 * k]]))
        assert_close(np.array([agent.act(o[[k]]) for o in obs])[:, 0], many[:, k], rtol=0, atol=1e-6)
    agent.reset(np.zeros((1, 2)), [5], np.array([[1.0]]))
    assert np.abs(agent.act(obs[0, :1])[0] - many[0, 0]) > 1e-3


def test_an_episode_that_is_over_leaves_the_others_as_they_were() -> None:
    policy = train(bandit(lambda x, v, g, rng: 0.5 * x), TINY, goal=1).model
    obs, both, one = np.random.default_rng(0).normal(size=(8, 2, 2)), Agent(policy), Agent(policy)
    for agent in (both, one):
        agent.reset(obs[0], [0, 1], np.ones((2, 1)))
    a = np.array([both.act(o) for o in obs])
    b = np.array([one.act(o[rows], rows)[-1] for o, rows in zip(obs, [[0, 1]] * 2 + [[1]] * 6, strict=True)])
    assert_close(a[:, 1], b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("goal", [0, 1])
def test_a_policy_that_was_stopped_goes_on_bit_for_bit(goal: int, tmp_path: Path) -> None:
    data = bandit(lambda x, v, g, rng: 0.5 * x, 50)
    whole, stopped, again = (train(data, TINY, seed=3, goal=goal) for _ in range(3))
    losses = [float(row["loss"]) for row in whole]
    first = [float(row["loss"]) for _, row in zip(range(4), stopped, strict=False)]
    stopped.save(tmp_path / "run.safetensors")
    again.load(tmp_path / "run.safetensors")
    assert first + [float(row["loss"]) for row in again] == losses
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


@pytest.mark.parametrize("goal", [0, 1])
def test_a_policy_that_was_saved_samples_the_same_when_saved_again(goal: int, tmp_path: Path) -> None:
    run = train(bandit(lambda x, v, g, rng: 0.5 * x, 50), TINY, seed=3, goal=goal)
    list(run)
    run.model.save(tmp_path / "a.safetensors")
    once = DiffusionPolicy.load(tmp_path / "a.safetensors")
    once.save(tmp_path / "b.safetensors")
    twice = DiffusionPolicy.load(tmp_path / "b.safetensors")
    obs, ends = np.random.default_rng(0).normal(size=(5, 2)), np.ones((5, 1)) if goal else None
    models = once, twice, run.model
    one, two, exact = (m.sample(obs, ends, n=3, generator=torch.Generator().manual_seed(0)) for m in models)
    assert torch.equal(one, two) and once.config == TINY
    assert_close(one, exact, rtol=0.01, atol=0.01)  # float16 keeps 11 bits of a weight


def test_wrong_chunks_states_and_goals_are_named() -> None:
    with pytest.raises(ValueError, match="execute=5"):
        Config(chunk=4, execute=5)
    episodes = bandit(lambda x, v, g, rng: x, 50)
    policy = train(episodes, ONE, goal=1).model
    for obs, goal in ((np.zeros((3, 4)), np.zeros((3, 1))), (np.zeros((3, 2)), None)):
        with pytest.raises(ValueError, match=r"states \[m, 2\] and goals \[m, 1\] were wanted, got \(3, "):
            policy.sample(obs, goal)
    with pytest.raises(ValueError, match=r"and no goals were wanted, got \(3, 2\) and \(3, 1\)"):
        train(episodes, ONE).model.sample(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="0 to 2 columns of an observation, got goal=3"):
        train(episodes, ONE, goal=3)
