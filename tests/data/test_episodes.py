"""Episodes: the last observation is kept, nothing crosses an episode, padding changes no mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data import (
    TERMINAL,
    TIME_LIMIT,
    Episodes,
    Scaler,
    loose,
    padded_windows,
    resample,
    returns_to_go,
    segments,
    together,
    transitions,
    windows,
)
from diffrl_lab.data.episodes import check_velocities
from diffrl_lab.diffusion import masked_mean

LENGTHS = (5, 1, 100, 32, 33)


def made(lengths=LENGTHS, terminal=lambda number: number % 2 == 0) -> Episodes:
    """obs = (episode, time), act = (time,), rew = time + 1."""
    return Episodes.join(
        (
            np.stack([np.full(L + 1, e), np.arange(L + 1)], 1).astype(np.float32),
            np.arange(L, dtype=np.float32)[:, None] + 10,
            np.arange(L, dtype=np.float32) + 1,
            terminal(e),
        )
        for e, L in enumerate(lengths)
    )


def test_an_episode_of_100_steps_has_69_windows_of_32_and_one_of_32_steps_has_one():
    counts = [sum(max(0, L - H + 1) for L in LENGTHS) for H in (1, 5, 32, 33, 100)]
    assert [len(windows(made(), H)) for H in (1, 5, 32, 33, 100)] == counts
    assert len(windows(made((100,)), 32)) == 69 and len(windows(made((32,)), 32)) == 1


def test_windows_are_every_run_of_consecutive_steps_of_one_episode():
    episodes, expected = made(), []
    for e, L in enumerate(LENGTHS):
        expected += [[(e, t + k) for k in range(7)] for t in range(0, L - 7 + 1, 3)]
    assert_close(episodes.obs[windows(episodes, 7, stride=3)], torch.tensor(expected, dtype=torch.float32))
    assert (episodes.last[windows(episodes, 7)] == 0).all(), "windows of steps hold no row without an action"


def test_windows_of_observations_also_hold_the_last_one():
    episodes = made()
    seen = episodes.obs[windows(episodes, 6, final=True)]
    assert len(seen) == sum(max(0, L + 1 - 6 + 1) for L in LENGTHS)
    assert (seen[:, :, 0] == seen[:, :1, 0]).all() and (seen[:, 1:, 1] - seen[:, :-1, 1] == 1).all()
    assert seen[:, :, 1].max() == 100


def test_windows_longer_than_every_episode_are_refused_with_the_longest_length():
    with pytest.raises(ValueError, match="windows of 101 steps need longer episodes: the longest has 100"):
        windows(made(), 101)


def test_the_next_observation_is_of_the_same_episode_and_one_step_later():
    obs, act, rew, next_obs, _ = transitions(made())
    assert len(obs) == sum(LENGTHS)
    assert_close(next_obs, obs + torch.tensor([0.0, 1.0]))
    assert_close(act[:, 0], obs[:, 1] + 10)
    assert_close(rew, obs[:, 1] + 1)


def test_only_a_terminal_ends_the_future_and_a_time_limit_does_not():
    obs, _, _, next_obs, terminal = transitions(made())
    final = next_obs[:, 1] == torch.tensor(LENGTHS)[obs[:, 0].long()]
    assert (terminal == (final & (obs[:, 0] % 2 == 0))).all()
    assert final.sum() == len(LENGTHS) and terminal.sum() == 3


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_returns_obey_the_bellman_recursion_and_bootstrap_at_time_limits_only(gamma):
    episodes = made()
    value = torch.arange(1.0, 6.0) * 1000
    returns = returns_to_go(episodes, gamma, bootstrap=value)
    assert_close(returns[episodes.ends], torch.tensor([0.0, 2000, 0, 4000, 0]))
    i = (episodes.last == 0).nonzero()[:, 0]
    assert_close(returns[i], episodes.rew[i] + gamma * returns[i + 1])


def test_returns_of_three_rewards_by_hand():
    episodes = made((3,))
    assert_close(returns_to_go(episodes, 0.5), torch.tensor([1 + 1 + 0.75, 2 + 1.5, 3.0, 0.0]))


def test_a_masked_loss_does_not_change_when_padding_is_added():
    episodes, means = made(), []
    for horizon in (101, 150, 400):
        rows, mask = padded_windows(episodes, horizon, stride=1000)  # one window per episode, with ever more padding
        means.append(masked_mean(episodes.obs[rows, 1] ** 2, mask))
    every = torch.cat([torch.arange(L + 1.0) for L in LENGTHS]) ** 2
    assert_close(torch.stack(means), every.mean().expand(3))


def test_padding_repeats_the_last_observation_without_motion_or_reward_and_scales_like_it():
    episodes = made((5, 9))
    rows, mask = padded_windows(episodes, 8)
    scaled = Scaler.fit(episodes.obs)(episodes.obs[rows])
    final = Scaler.fit(episodes.obs)(episodes.obs[episodes.ends])[episodes.obs[rows[:, 0], 0].long()]
    assert_close(scaled[~mask], final[:, None].expand_as(scaled)[~mask])
    assert (episodes.act[rows][~mask] == 0).all() and (episodes.rew[rows][~mask] == 0).all()
    assert len(rows) == 14 and (mask.sum(1) == torch.tensor([6, 5, 4, 3, 2, 8, 8, 8, 7, 6, 5, 4, 3, 2])).all()


def test_segments_stay_in_one_episode_and_last_as_long_as_they_say():
    obs, duration = segments(made(), 16, 4, torch.Generator().manual_seed(0), 2000)
    assert (obs[:, :, 0] == obs[:, :1, 0]).all()
    assert_close(obs[:, -1, 1] - obs[:, 0, 1], duration.float())
    assert duration.min() == 4 and duration.max() > 90 and (obs[:, -1, 1].round() == obs[:, -1, 1]).all()
    assert_close(obs[:, :, 1], obs[:, :1, 1] + duration[:, None] * torch.linspace(0, 1, 16))


def test_segments_start_at_every_possible_row_equally_often():
    obs, duration = segments(made((9, 4)), 2, 3, torch.Generator().manual_seed(1), 90_000)
    start = torch.bincount((obs[:, 0, 0] * 7 + obs[:, 0, 1]).long(), minlength=9).double() / len(obs)
    share = torch.full((9,), 1 / 9, dtype=torch.float64)  # starts 0 .. 6 of the first, 0 and 1 of the second
    assert ((start - share).abs() < 4 * (share * (1 - share) / len(obs)).sqrt()).all()  # 4 standard errors
    first = duration[(obs[:, 0] == 0).all(1)]
    assert sorted(first.unique().tolist()) == [3, 4, 5, 6, 7, 8, 9]


def test_segments_keep_to_their_longest_length_and_repeat_with_their_generator():
    one, d_one = segments(made(), 8, 2, torch.Generator().manual_seed(3), 50, max_len=5)
    two, d_two = segments(made(), 8, 2, torch.Generator().manual_seed(3), 50, max_len=5)
    assert torch.equal(one, two) and torch.equal(d_one, d_two) and set(d_one.tolist()) == {2, 3, 4, 5}
    with pytest.raises(ValueError, match="longest has 100"):
        segments(made(), 8, 101)


def test_resampling_is_linear_interpolation_column_by_column():
    path = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    at = 7 + np.linspace(0, 1, 11) * 23
    exact = np.stack([np.interp(at, np.arange(40), path[:, d].numpy()) for d in range(3)], 1)
    assert_close(resample(path, torch.tensor([7]), torch.tensor([23]), 11)[0], torch.tensor(exact).float())


def test_chosen_episodes_are_whole_and_in_the_order_asked_for():
    episodes = made()
    chosen = episodes[[3, 0]]
    assert chosen.lengths.tolist() == [32, 5] and chosen.obs[:, 0].tolist() == [3.0] * 33 + [0.0] * 6
    assert chosen.last[chosen.ends].tolist() == [TIME_LIMIT, TERMINAL]
    assert episodes[-1].lengths.tolist() == [33] and len(episodes[1:3]) == 2


GOOD = dict(obs=np.zeros((3, 2)), act=np.zeros((3, 1)), rew=np.zeros(3), last=np.array([0, 0, 1]))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(obs=np.array([[0, 0], [0, np.nan], [0, 0]])), r"obs must be finite, got \[0.0, nan\] in row 1"),
        (dict(act=np.array([[0], [np.inf], [0.0]])), "act must be finite, got .* in row 1"),
        (dict(rew=np.zeros((3, 1))), r"rew must have 1 dimension\(s\), got the shape \[3, 1\]"),
        (dict(obs=np.zeros(3)), r"obs must have one row per step, \[N, d\]; got the shape \[3\]"),
        (dict(obs=np.array([["a", "b"]] * 3)), "obs must be an array of numbers"),
        (dict(obs=np.array([[None, 1]] * 3)), "obs must be an array of numbers"),
        (dict(act=np.zeros((3, 1), complex)), "act must be real numbers, got torch.complex128"),
        (dict(act=np.zeros((2, 1))), "same number of rows, got 3, 2, 3 and 3"),
        (dict(last=np.array([0, 0, 0])), "the last row must end an episode"),
        (dict(last=np.array([0, 3, 1])), r"last must be whole numbers .* got torch.int64 with values \[0, 1, 3\]"),
        (dict(last=np.array([0, 0, 0.5])), "last must be whole numbers"),
        (dict(last=np.array([0, 1, 1])), "every episode needs at least one step, episode 1 has none"),
        (dict(act=np.ones((3, 1))), "act must be 0 in the last row"),
        ({k: v[:0] for k, v in GOOD.items()}, "at least one episode, got no rows"),
    ],
)
def test_bad_episodes_are_refused_with_what_came_and_what_was_wanted(change, message):
    Episodes(**GOOD)
    with pytest.raises(ValueError, match=message):
        Episodes(**(GOOD | change))


def test_observations_and_actions_that_do_not_fit_each_other_are_refused():
    obs, act, rew = np.zeros((4, 2)), np.zeros((3, 1)), np.zeros(3)
    with pytest.raises(ValueError, match="episode 1: L actions and rewards need L . 1 observations, got 3 obs"):
        Episodes.join([(obs, act, rew, True), (obs[:3], act, rew, True)])
    with pytest.raises(ValueError, match=r"episode 1: observations and actions have the shapes \(3,\) and \(1,\)"):
        Episodes.join([(obs, act, rew, True), (np.zeros((4, 3)), act, rew, True)])
    with pytest.raises(ValueError, match="at least one episode, got none"):
        Episodes.join([])


def moving(swap=False, speed=1.0, n=2):
    """Three walks with exact velocities (dt = 0.1, trapezium rule), or with a column that is none."""
    rng, parts = np.random.default_rng(0), []
    for _ in range(3):
        v = speed * np.sin(np.arange(40)[:, None] + rng.uniform(0, 6, n))
        x = np.concatenate([np.zeros((1, n)), 0.05 * (v[1:] + v[:-1]).cumsum(0)])
        v[:, 1] = 7.0 if swap else v[:, 1]
        parts.append((np.concatenate([x, v], 1), np.zeros((39, 1)), np.zeros(39), False))
    return Episodes.join(parts)


def test_a_column_that_is_no_velocity_is_named_and_true_ones_and_a_world_at_rest_pass():
    check_velocities(moving())
    check_velocities(moving(speed=0.0))
    with pytest.raises(ValueError, match="column 3 of obs is not the velocity of column 1"):
        check_velocities(moving(swap=True))
    e = moving()
    still = e.obs.clone()
    still[:, 2:] = 0
    with pytest.raises(ValueError, match="column 2 of obs is not the velocity of column 0"):
        check_velocities(Episodes(still, e.act, e.rew, e.last))
    with pytest.raises(ValueError, match=r"n positions and n velocities .*\[\d+, 3\]"):
        check_velocities(Episodes(e.obs[:, :3], e.act, e.rew, e.last))


@pytest.mark.parametrize("name", ["obs", "act", "rew"])
def test_a_number_that_is_not_finite_is_named_with_its_episode_and_step(name):
    e = moving()
    values = {k: getattr(e, k).clone() for k in ("obs", "act", "rew", "last")}
    values[name][40 + 7] = math.nan
    with pytest.raises(ValueError, match=rf"{name} must be finite, .* in row 47 \(episode 1, step 7\)"):
        Episodes(**values)


def test_loose_transitions_are_episodes_of_one_step_and_come_back_as_they_were() -> None:
    t = transitions(made())
    alone = loose(t)
    assert alone.lengths.tolist() == [1] * len(t.rew)
    for a, b in zip(transitions(alone), t, strict=True):
        assert torch.equal(a, b)


def test_recordings_together_are_one_whose_transitions_follow_one_another() -> None:
    both = together(made(), loose(transitions(made())))
    for a, b in zip(transitions(both), transitions(made()), strict=True):
        assert torch.equal(a, torch.cat([b, b]))
    with pytest.raises(ValueError, match="observations and actions of the same shape"):
        together(made(), Episodes(np.zeros((2, 9)), np.zeros((2, 1)), np.zeros(2), np.array([0, 2])))
