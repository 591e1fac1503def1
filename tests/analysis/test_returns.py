"""Intervals hold what they promise; an evaluation counts what happened."""

from __future__ import annotations

import json

import numpy as np
import pytest

from diffrl_lab.analysis.returns import bootstrap, evaluate, provenance, wilson
from diffrl_lab.data.worlds import Controller, Walls, make_maze


@pytest.mark.parametrize("k, n", [(0, 10), (3, 10), (97, 100), (50, 50)])
def test_the_ends_of_wilsons_interval_are_the_probabilities_that_the_score_test_just_rejects(k: int, n: int) -> None:
    for p in wilson(k, n):
        assert abs(k / n - p) == pytest.approx(1.959964 * (p * (1 - p) / n) ** 0.5, abs=1e-7)
    low, high = wilson(k, n)
    assert low <= k / n <= high + 1e-9 and high - low > 0


def test_the_bootstrap_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    x = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap(x)
    assert (high - low) / (2 * 1.96 * x.std() / 20) == pytest.approx(1, abs=0.05)
    assert bootstrap(np.full(10, 7.0)) == (7.0, 7.0)


def test_the_controller_that_knows_the_map_reaches_every_goal_on_nearly_the_shortest_path() -> None:
    env = make_maze("umaze")
    found = evaluate(env, Controller(Walls.of(env)), range(5), maze="umaze")
    assert found["success"] == 1 and found["score"] > 120 and 1 <= found["path_ratio"] < 1.3
    assert found["plan_points_in_walls"] == found["plan_segments_in_walls"] == 0
    assert found["score_interval"][0] <= found["score"] <= found["score_interval"][1]
    assert json.loads(json.dumps({**found, **provenance()}))["episodes"] == 5


def test_errors_say_what_came() -> None:
    with pytest.raises(ValueError, match="got 5 of 4"):
        wilson(5, 4)
    with pytest.raises(ValueError, match=r"got \(0,\)"):
        bootstrap([])
    with pytest.raises(ValueError, match="at least one seed"):
        evaluate(None, None, [])
