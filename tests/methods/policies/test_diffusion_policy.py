"""The diffusion policy: exact laws of bandits, chunks that end with their episode, and how it acts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Cosine, GaussianDenoiser, MixtureDenoiser
from diffrl_lab.methods.policies.diffusion_policy import Chunks, DiffusionPolicy

ONE = Chunks(horizon=1, executed=1, width=64, steps=1500, batch=256, lr=3e-3, sampling=20)


def bandit(act, n: int = 4000) -> Episodes:
    """One-step episodes from a random state (x, v) to a random goal x; act(x, v, goal, rng) says what was done."""
    rng = np.random.default_rng(0)
    x, v, goal = rng.uniform(-1, 1, (3, n))
    a = act(x, v, goal, rng)
    rows = [(np.array([[x[i], v[i]], [goal[i], 0.0]]), np.array([[a[i]]]), np.zeros(1), False) for i in range(n)]
    return Episodes.join(rows)


def trained(episodes: Episodes, config: Chunks = ONE) -> DiffusionPolicy:
    policy = DiffusionPolicy(episodes, config)
    for _ in policy:
        pass
    return policy


def drawn(policy: DiffusionPolicy, state, goal, n: int = 4000, **options) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return policy.draw(np.tile(state, (n, 1)), np.tile(goal, (n, 1)), g, **options)[:, :, 0]


def test_on_a_linear_gaussian_bandit_it_learns_the_conditional_mean_and_variance() -> None:
    policy = trained(bandit(lambda x, v, g, rng: 0.5 * x - 0.3 * v + 0.4 * g + 0.2 * rng.standard_normal(len(x))))
    for s, g in (([0.5, -0.5], [0.8]), ([-0.6, 0.2], [0.1]), ([0.0, 0.7], [-0.7])):
        a = drawn(policy, s, g)
        want = 0.5 * s[0] - 0.3 * s[1] + 0.4 * g[0]
        assert abs(float(a.mean()) - want) < 4 * 0.2 / 4000**0.5 + 0.03  # 4 standard errors, and what learning misses
        assert abs(float(a.std()) / 0.2 - 1) < 4 / 8000**0.5 + 0.08


def test_with_an_exact_denoiser_the_actions_have_the_exact_law() -> None:
    policy = DiffusionPolicy(bandit(lambda x, v, g, rng: 1 + 2 * rng.standard_normal(len(x))), ONE)
    centre, spread = float(policy.act_scaler.center), float(policy.act_scaler.spread)
    n = 20_000
    a = drawn(policy, [0.0, 0.0], [0.0], n, denoiser=GaussianDenoiser([0.4], Cosine(), std=0.3))
    assert abs(float(a.mean()) - (centre + 0.4 * spread)) < 4 * 0.3 * spread / n**0.5
    assert abs(float(a.std()) / (0.3 * spread) - 1) < 4 / (2 * n) ** 0.5 + 0.01  # and the solver's own error
    two = MixtureDenoiser([0.3, 0.7], [[-1.0], [1.0]], Cosine(), std=0.1)
    share = float((drawn(policy, [0.0, 0.0], [0.0], n, denoiser=two) < centre).double().mean())
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


def test_beyond_an_episodes_end_nothing_is_learned() -> None:
    rows = []
    for sign in (-0.5, 0.5) * 40:
        rows.append((np.zeros((5, 2)), np.full((4, 1), sign), np.zeros(4), False))
    config = Chunks(horizon=8, executed=1, width=64, steps=600, batch=128, lr=3e-3)
    a = drawn(trained(Episodes.join(rows), config), [0.0, 0.0], [0.0], 1000)
    # a quarter of all chunks begin in the last step: were their zeros targets, a quarter of second actions would be 0
    assert float((a[:, 1].abs() < 0.25).double().mean()) < 0.05


def test_it_acts_on_a_chunk_looks_again_and_drives_one_as_it_drives_many() -> None:
    config = Chunks(horizon=4, executed=3, width=32, steps=1, batch=32)
    policy = DiffusionPolicy(bandit(lambda x, v, g, rng: 0.5 * x), config)
    looked = []
    draw = policy.draw
    policy.draw = lambda *words, **more: looked.append(1) or draw(*words, **more)  # type: ignore[assignment, func-returns-value]
    policy.reset(np.zeros((1, 2)), [3], np.ones((1, 1)))
    alone = [policy.act(np.array([[0.1 * k, 0.0]])) for k in range(7)]
    assert len(looked) == 3 and all(a.shape == (1, 1) and abs(a[0, 0]) <= 1 for a in alone)
    policy.reset(np.zeros((2, 2)), [5, 3], np.ones((2, 1)))
    other = []
    for k in range(7):
        run = [0, 1] if k < 3 else [1]  # the first is over after three steps
        other.append(policy.act(np.array([[9.0, 0.0], [0.1 * k, 0.0]])[run], np.array(run))[-1:])
    assert_close(np.array(other), np.array(alone))


def test_wrong_chunks_states_and_goals_are_named() -> None:
    with pytest.raises(ValueError, match="executed=5"):
        Chunks(horizon=4, executed=5)
    policy = DiffusionPolicy(bandit(lambda x, v, g, rng: x), ONE)
    with pytest.raises(ValueError, match=r"states \[m, 2\] and goals \[m, 1\]"):
        policy.draw(np.zeros((3, 4)), np.zeros((3, 1)))
