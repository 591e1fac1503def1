"""The study of imitation and what lesson 09 draws of it: laws with exact answers, on no trained network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.studies import imitation, ways
from diffrl_lab.worlds import avoid


def test_the_variation_of_ways_is_0_for_their_own_shares_and_1_where_none_is_shared() -> None:
    taken = np.array([0, 0, 1, 2, -1, -1])
    assert imitation.total_variation(taken, [0.5, 0.25, 0.25, 0.0]) == 0
    assert imitation.total_variation(taken, [0.0, 0.0, 0.0, 1.0]) == 1
    assert_close(imitation.total_variation(taken, [0.25, 0.25, 0.25, 0.25]), 0.25)
    assert np.isnan(imitation.total_variation([-1, -1], [1.0]))


def test_a_demonstrator_scores_as_its_own_floor_says() -> None:
    p = imitation.UNIFORM
    found = imitation.scores(avoid.roll(avoid.Demonstrator(), range(600)), p)
    assert found["success"] > 0.99 and sum(found["counts"]) == round(600 * found["success"])
    assert abs(found["entropy"] - found["entropy_floor"]) < 0.01 and abs(found["tv"] - found["tv_floor"]) < 0.03
    still = imitation.scores(avoid.roll(avoid.Demonstrator(noise=0.0), range(20)), p)
    assert still["jitter"] < found["jitter"] / 3 and still["idle"] == 0


def test_jitter_and_idle_steps_are_counted_until_an_episode_ends_and_no_further() -> None:
    act = np.zeros((2, 5, 2), np.float32)
    act[0, :2, 1], act[1, :, 1] = (0.9, 0.1), (0.9, 0.5, 0.9, 0.5, 0.9)  # the first episode ends after two steps
    path = np.zeros((2, 6, 2), np.float32)
    found = imitation.scores(avoid.Rolled(path, act, np.array([2, 5]), np.array([-1, -1])), imitation.UNIFORM)
    assert found["success"] == 0 and found["entropy"] is None and found["tv"] is None and found["steps"] is None
    assert_close(found["jitter"], (0.8 + 4 * 0.4) / 5, rtol=0, atol=1e-6)
    assert_close(found["idle"], 1 / 7)


def test_at_the_fork_the_four_actions_are_those_of_demonstrators_who_come_there_whatever_their_state() -> None:
    noisy, last, x = avoid.roll(avoid.Demonstrator(), range(2000)), [], []
    for path, way in zip(noisy.path, noisy.way, strict=True):
        if way >= 0:
            last.append(int(avoid.gaps(way)[2]))
            x.append(path[(path[:, 1] >= ways.FORK[1]).argmax(), 0])
    share, side = np.bincount(last, minlength=4) / len(last), np.corrcoef(last, x)[0, 1]
    assert (np.abs(share - 0.25) < 4 * (0.1875 / len(last)) ** 0.5).all() and abs(side) < 4 / len(last) ** 0.5
    for where in (ways.FORK, (0.3, ways.FORK[1])):
        for k, a in enumerate(ways.at_fork(where)[0].numpy()):
            assert_close(avoid.intent([where], [4 * 3 + k])[0], a)
    assert len(np.unique(ways.at_fork()[0][:, 0].numpy().round(3))) == 4, "the last gap is chosen here"
    first = ways.at_fork(ways.START)[0].numpy()
    assert_close(first, avoid.intent([ways.START] * 2, [0, 12])), assert_close(first[:, 0], -first[::-1, 0])


def test_which_exact_action_a_draw_is_and_none_beyond_the_radius() -> None:
    exact = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert ways.near(torch.tensor([[0.1, 0.0], [0.9, 0.1], [0.5, 0.0]]), exact).tolist() == [0, 1, -1]


def test_the_second_of_two_exclusive_actions_is_the_opposite_of_the_first() -> None:
    episodes = imitation.exclusive(2000, 0)
    first, second, _ = episodes.act[:, 0].reshape(-1, 3).T
    assert float((first * second < 0).double().mean()) == 1
    assert abs(float((first > 0).double().mean()) - 0.5) < 4 * 0.5 / 2000**0.5


def test_the_curves_are_where_they_are_said_to_be() -> None:
    g, n = torch.Generator().manual_seed(0), 20_000
    ring, spiral, strip = (imitation.curve(kind, n, g).double() for kind in imitation.LAWS)
    radius = ring.norm(dim=1)
    assert abs(float(radius.std()) / imitation.THICK - 1) < 0.03 and float(ring.mean(0).norm()) < 4 / n**0.5
    away = ((spiral.norm(dim=1) - 0.2) / 0.8 * 3 * torch.pi - torch.atan2(spiral[:, 1], spiral[:, 0])) / (2 * torch.pi)
    assert float((away - away.round()).abs().quantile(0.99)) < 0.1, "an angle for each radius"
    y = strip[:, 1]
    assert not bool((y.abs() < 1 / 3 - 1e-6).any()) and not bool(((y - 2 / 3).abs() < 1 / 9 - 1e-6).any())
    assert abs(float(y.var()) - 0.5) < 0.02, "Cantor's measure on [-1, 1] has the variance 1/2"
    with pytest.raises(ValueError, match="ring, spiral, strip; got 'line'"):
        imitation.curve("line", 3, g)


def test_expectation_maximisation_finds_the_mixture_that_data_were_drawn_from() -> None:
    g = torch.Generator().manual_seed(0)
    true = imitation.MixtureDenoiser(
        [0.3, 0.7], [[-2.0, 0.0], [2.0, 1.0]], imitation.Cosine(), cov=torch.tensor([[[0.3, 0.1], [0.1, 0.2]]] * 2)
    )
    x = true.sample(8000, g)
    law, likelihood = imitation.mixture(x, 2, g)
    order = law.means[:, 0].argsort()
    assert_close(law.weights[order], true.weights, rtol=0, atol=4 * (0.21 / 8000) ** 0.5)
    assert_close(law.means[order], true.means, rtol=0, atol=0.05)
    assert_close(law.cov[order], true.cov, rtol=0, atol=0.03)
    assert_close(likelihood, float(true.log_prob(x.double()).mean()), rtol=0, atol=0.002)
    assert imitation.mixture(x, 1, g)[1] < likelihood - 0.3


def test_each_policy_has_a_file_of_its_own() -> None:
    files = {
        imitation.name(t, a, c, s)
        for t in ("avoid", "unimodal")
        for a in imitation.ARMS
        for c in (1, 8)
        for s in (0, 1)
    }
    assert len(files) == 2 * len(imitation.ARMS) * 2 * 2 and not any(" " in f or "," in f for f in files)


def test_roll_outs_are_drawn_with_how_many_arrived_by_how_many_ways() -> None:
    rolled = ways.roll(None, 12)
    picture = ways.paths(
        {"demonstrator": rolled}, alt="Twelve paths of the demonstrator past rows of posts, each through its gaps."
    )
    arrived = rolled.way[rolled.way >= 0]
    assert picture.axes[0].get_title(loc="left").endswith(f"{len(arrived)} of 12, {len(set(arrived.tolist()))} ways")
    assert len(picture.axes[0].patches) == 6


def test_bars_of_a_policy_that_acts_as_the_demonstrator_are_as_high_as_its_dashed_lines() -> None:
    for where in (ways.START, ways.FORK):
        exact = ways.at_fork(where)
        _, ax = ways.pictures.figure()
        ways.draw_density(ax, "a place", exact, exact[0].repeat(25, 1))
        ends = [(line.get_xdata(), line.get_ydata()) for line in ax.lines]
        dashed = {float(x[1]): float(y[1]) for x, y in ends if len(x) > 1}
        assert sum(dashed.values()) == 1 and len(dashed) == len(exact[0])
        for x, q in dashed.items():
            assert_close([b.get_height() for b in ax.patches if b.get_x() <= x < b.get_x() + b.get_width()], [q])


def test_the_shares_of_the_ways_are_as_far_from_the_demonstrator_as_the_table_says() -> None:
    study = ways.Study("avoid")
    for arm, chunk in (("demonstrator", 1), ("diffusion", 1), ("diffusion", 8)):
        share = study.shares(arm, chunk)
        assert_close(share.sum(1), np.ones(len(share)))
        assert_close(np.abs(share - imitation.UNIFORM).sum(1) / 2, study("tv", arm, chunk))


def test_the_dashed_line_of_the_calibration_is_at_the_demonstrators_probabilities_for_each_way() -> None:
    p = np.arange(24) / np.arange(24).sum()
    alt = "Bars of a policy's shares of 24 ways, with dashed probabilities."
    ax = ways.calibration(["diffusion"], p, alt=alt).axes[1]
    (dashed,) = ax.lines
    x, y = (np.asarray(v) for v in (dashed.get_xdata(), dashed.get_ydata()))
    bars = [b.get_x() + b.get_width() / 2 for b in ax.patches]
    assert_close(y[np.searchsorted(x, bars, side="right") - 1], p)
    assert_close([b.get_height() for b in ax.patches], ways.Study("avoid").shares("diffusion", 8).mean(0).tolist())


def test_the_slider_says_how_many_arrive_and_that_one_action_of_least_squares_was_never_done() -> None:
    class Small(ways.Slider):
        arms = ("least squares",)

    arrived = int((ways.roll(ways.policy("least squares")).way >= 0).sum())
    said = f"least squares {arrived} of 40 (never done: 100% of the actions at the start, 100% at the fork)"
    assert said in Small().picture(1, 10, 0).alt


def test_of_pure_noise_the_exact_guess_is_the_mean_at_t_1_and_a_tanh_between_two_actions_before() -> None:
    model = ways.policy("diffusion")
    acts, p = ways.at_fork(ways.FORK)
    assert_close(ways.guessed(model, 1.0, n=5)["exact"], (p @ acts).float().expand(5, 2), rtol=0, atol=1e-5)
    two = model.act_scaler(ways.at_fork(ways.START)[0].float())
    middle, half = two.mean(0), (two[1] - two[0]) / 2
    alpha, sigma = (float(v) for v in model.denoiser.schedule(torch.tensor(0.7)))
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(3))
    side = torch.tanh(alpha * (noise - alpha * middle) @ half / sigma**2)
    wanted = model.act_scaler.inverse(middle + side[:, None] * half)
    assert_close(ways.guessed(model, 0.7, ways.START, n=50, seed=3)["exact"], wanted, rtol=0, atol=1e-3)


def test_one_step_of_the_exact_denoiser_is_as_far_from_the_ring_as_its_middle_is() -> None:
    assert_close(float(ways.perfect("ring", 1)), 0.5**0.5, rtol=0, atol=0.03)  # each coordinate has the variance 1/2
    assert float(ways.perfect("ring", 5)) < 0.2
