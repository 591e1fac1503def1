"""What lesson 17 stands on: a distribution that is known, defects that are what they say, and policies at the start."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffrl_lab.analysis import modes
from diffrl_lab.diffusion.samplers import chain, ddpm
from diffrl_lab.studies import diversity as d


def draws(name: str, n: int = 20_000) -> torch.Tensor:
    return d.DEFECTS[name](n, torch.Generator().manual_seed(0))


def test_the_variance_is_that_of_the_draws_and_rises_as_the_mode_in_the_middle_is_lost() -> None:
    assert float(draws("healthy").var()) == pytest.approx(d.variance(), rel=0.03)
    assert float(draws("10 % mode lost").var()) == pytest.approx(d.variance(d.without()), rel=0.03)
    assert d.variance(d.without()) > 1.05 * d.variance()


def test_each_defect_is_of_the_size_that_the_lesson_tells() -> None:
    share = {name: modes.shares(d.LABEL(draws(name)), 4) for name in d.DEFECTS}
    np.testing.assert_allclose(share["healthy"].share, d.SHARES, atol=0.015)
    assert share["10 % mode lost"].counts[d.RARE] == 0
    np.testing.assert_allclose(share["shares shifted"].share, [0.3, 0.2, 0.3, 0.2], atol=0.015)
    assert share["10 % between modes"].left == pytest.approx(0.1, abs=0.01)
    width = {name: d.Outcome(draws(name)).width for name in ("healthy", "modes narrower", "modes wider")}
    assert width["healthy"] == pytest.approx(1, abs=0.03) and width["modes narrower"] == pytest.approx(0.6, abs=0.03)
    assert 1.3 < width["modes wider"] < 1.5  # what lies beyond REACH belongs to no mode
    assert len(draws("each sample four times").unique()) <= 5000


def test_a_healthy_set_is_seldom_beyond_a_floor_and_a_lost_mode_is_always_beyond_that_of_coverage() -> None:
    grid = d.Grid(100, 30, seed=1)
    assert grid.share.shape == (len(d.DEFECTS), len(d.MEASURES))
    assert grid.share[0].mean() < 0.15
    assert grid["10 % mode lost", "coverage"] > 0.9 > 0.4 > grid["modes narrower", "coverage"]
    assert grid["10 % between modes", "in no mode"] > 0.9


def test_futures_leave_the_chain_at_their_moment_and_a_movie_has_them_all() -> None:
    g = torch.Generator().manual_seed(0)
    frames = list(chain(d.EXACT, torch.randn(3, 1, generator=g), steps=20, step=ddpm(), generator=g))
    one = d.alone(frames, 2)
    assert torch.equal(one[7].x_t, frames[7].x_t[2:3]) and torch.equal(one[7].x0_hat, frames[7].x0_hat[2:3])
    runs = d.branched(one, 8, 5, generator=g)
    assert runs.shape == (5, 13) and torch.allclose(runs[:, 0], one[8].x_t[0, 0].expand(5))
    assert len(runs[:, 1].unique()) == 5
    shown = d.moving(one, [0, 8, 16], alt="Futures of one chain of twenty steps, from three of its moments.")
    assert [panel["groups"] is not None for panel in shown.meta["panels"]] == [True]


def test_ways_left_counts_modes() -> None:
    even = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(d.ways_left(even), [4, 2, 1], atol=1e-6)


def test_guidance_at_scale_one_is_the_wish_and_more_of_it_loses_a_part_of_the_smaller_mode() -> None:
    free, asked, over = (d.drawn(d.towards(w), 1500, seed=3) for w in (0.0, 1.0, 8.0))
    share = [modes.shares(d.LABEL(x), 4).share for x in (free, asked, over)]
    np.testing.assert_allclose(share[0], d.SHARES, atol=0.05)
    np.testing.assert_allclose(share[1], [0, 0, 0.6, 0.4], atol=0.06)
    assert share[2].min() >= 0 and share[2][2:].min() < 0.3
    assert set(d.point(1.0, 1.0, seed=0)) == {"modes", "outside", "width"}


def test_what_is_left_of_draws_that_are_all_outside_is_said() -> None:
    out = d.Outcome(torch.full((50, 1), 30.0))
    assert out.outside == 1 and math.isnan(out.entropy) and out.width == 0


def test_blind_sets_are_what_the_truth_says_and_hold_both_kinds() -> None:
    for seed in range(8):
        shown, truth = d.blind(4, 300, seed=seed)
        assert list(shown) == list(truth) == ["A", "B", "C", "D"]
        assert 1 <= sum(name == "healthy" for name in truth.values()) <= 3
        for letter, name in truth.items():
            assert (modes.shares(d.LABEL(shown[letter]), 4).counts[d.RARE] == 0) == (name == "10 % mode lost")


def test_least_squares_has_one_side_in_a_state_and_noise_adds_ways_and_crashes() -> None:
    sides = d.at_start("least squares", 20, 6)
    assert sides.shape == (6, 20) and {0, 1} == set(sides.flatten().tolist())
    assert all(len(row.unique()) == 1 for row in sides)
    plain, shaken = (d.noisy("least squares", level, 30) for level in (0.0, 0.9))
    taken = [len(set(r.way[r.way >= 0].tolist())) for r in (plain, shaken)]
    assert taken[1] > taken[0] and (shaken.way >= 0).mean() < (plain.way >= 0).mean()


def test_the_study_names_who_sees_a_defect() -> None:
    study = d.Study()
    assert study.share.shape == (len(study.defects), len(study.measures)) == (14, 16)
    assert study.seen_by("one mode per state") == ["entropy per state"] and study.seen_by("healthy") == []
    assert len(study.picture(alt="Fourteen rows by sixteen columns, each with a number from 0 to 100.").axes) == 1
