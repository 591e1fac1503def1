"""Intervals hold what they promise; an evaluation counts what happened."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest
from scipy import stats

from diffrl_lab.analysis.evaluate import evaluate
from diffrl_lab.analysis.intervals import (
    bootstrap,
    iqm,
    normalised,
    paired,
    probability_of_improvement,
    stratified_bootstrap,
    wilson,
)
from diffrl_lab.files import provenance
from diffrl_lab.worlds.driving import Uniform
from diffrl_lab.worlds.mazes import Controller, make_maze
from diffrl_lab.worlds.walls import Walls


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


class Swing:
    """Swings Pendulum's rod up by its energy and holds it there; its torque of at most 2 N m is 1 here."""

    def reset(self, obs, seeds, goal=None) -> None:
        pass

    def act(self, obs, which=None) -> np.ndarray:
        c, s, w = np.asarray(obs, float).T
        angle, energy = np.arctan2(s, c), w**2 / 6 + 5 * (c - 1)  # upright and at rest: 0, in J
        pump = np.where(w < 0, -1, 1) * np.clip(-energy, -1, 1)
        return np.clip(np.where(np.abs(angle) < 0.5, -5 * angle - 1.5 * w, pump), -1, 1)[:, None]


def test_an_environment_of_any_maker_is_evaluated_by_its_return_and_several_at_once_give_the_same() -> None:
    envs = [gymnasium.make("Pendulum-v1") for _ in range(3)]
    found, random = (evaluate(envs[0], agent, range(8)) for agent in (Swing(), Uniform(1)))
    # were torques not stretched to 2 N m, the rod would never come up
    assert random["return_interval"][1] < -700 < -300 < found["return_interval"][0]
    assert found["success"] is found["success_interval"] is found["steps_to_goal"] is None and "score" not in found
    assert evaluate(envs, Swing(), range(8)) == found
    seen: list[float] = []
    evaluate(envs, Uniform(1), range(8), on_episode=lambda e: seen.append(e.total))
    assert np.mean(seen) == random["return"] and len(set(seen)) == 8
    for env in envs:
        env.close()


def test_worlds_that_no_agent_here_can_act_in_are_refused_by_name() -> None:
    for name in ("CartPole-v1", "FrozenLake-v1"):
        env = gymnasium.make(name)
        with pytest.raises(
            ValueError, match="a bounded Box of actions and a Box of observations.*has actions Discrete"
        ):
            evaluate(env, Uniform(1), [0])
        env.close()


def test_errors_say_what_came() -> None:
    with pytest.raises(ValueError, match="got 5 of 4"):
        wilson(5, 4)
    with pytest.raises(ValueError, match=r"got \(0,\)"):
        bootstrap([])
    with pytest.raises(ValueError, match="at least one seed"):
        evaluate(None, None, [])


def test_scores_run_from_the_random_policy_to_the_expert() -> None:
    assert normalised([-20, 40, 130], -20, 100).tolist() == [0, 50, 125]
    with pytest.raises(ValueError, match="got 1 and 2"):
        normalised([0], 2, 1)


def test_what_a_seed_does_to_both_methods_drops_out_of_a_paired_difference() -> None:
    g = np.random.default_rng(0)
    held, repeats = 0, 1000
    for _ in range(repeats):
        hard, own = 100 * g.normal(size=5), g.normal(size=(2, 5))
        found = paired(hard + own[0] + 1, hard + own[1])
        held += found.interval[0] <= 1 <= found.interval[1]
        assert found.interval[1] - found.interval[0] < 20 and (found.p < 0.05) == (
            found.interval[0] * found.interval[1] > 0
        )
    assert abs(held / repeats - 0.95) < 4 * (0.05 * 0.95 / repeats) ** 0.5  # at five seeds
    assert paired([3, 4], [1, 2]).interval == (2, 2) and paired([3, 4], [3, 4]).p == 1


def test_the_interquartile_mean_is_that_of_the_middle_half() -> None:
    assert iqm([[0, 1, 2, 3], [4, 5, 6, 1000]]) == (2 + 3 + 4 + 5) / 4
    assert iqm(np.array([[1, 2, 3, 10], [5, 6, 7, 8]]), axis=1).tolist() == [2.5, 6.5]


def test_runs_are_drawn_anew_within_a_task_and_never_across() -> None:
    assert stratified_bootstrap(np.tile([0.0, 50, 100, 150], (6, 1))) == (75, 75)
    x = np.random.default_rng(0).normal(size=(100, 3)) + [0, 30, 60]
    low, high = stratified_bootstrap(x, np.mean)
    assert (high - low) / (2 * 1.96 * np.sqrt(x.var(0).mean() / 300)) == pytest.approx(1, abs=0.08)


def test_the_stratified_interval_of_the_iqm_holds_the_truth_in_95_percent() -> None:
    g, repeats = np.random.default_rng(1), 400
    held = 0
    for k in range(repeats):
        low, high = stratified_bootstrap(g.normal(size=(50, 2)), draws=500, seed=k)
        held += low <= 0 <= high
    assert abs(held / repeats - 0.95) < 4 * (0.05 * 0.95 / repeats) ** 0.5 + 0.01  # 0.01: n = 50 is not infinite


def test_the_probability_of_improvement_is_mann_whitneys_and_has_a_closed_form_for_gaussians() -> None:
    g = np.random.default_rng(0)
    a, b = g.integers(6, size=(7, 2)), g.integers(6, size=(5, 2))
    u = [stats.mannwhitneyu(a[:, t], b[:, t]).statistic / 35 for t in (0, 1)]
    assert probability_of_improvement(a, b)[0] == pytest.approx(np.mean(u))
    x, y = g.normal(1, 1, (200, 2)), g.normal(0, 1, (200, 2))
    value, (low, high) = probability_of_improvement(x, y, draws=200)
    exact = stats.norm.cdf(1 / 2**0.5)
    assert low < exact < high and low < value < high < low + 0.12
    assert [probability_of_improvement([[x]], [[1.0]])[0] for x in (2.0, 1.0, 0.0)] == [1, 0.5, 0]


def test_comparisons_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3,\)"):
        paired([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"must be \[runs, tasks\], got \(3,\)"):
        stratified_bootstrap([1, 2, 3])
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(1, 1\)"):
        probability_of_improvement([[1, 2]], [[1]])
