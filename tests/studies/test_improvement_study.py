"""The study of improvement and what lesson 10 draws of it: exact answers, on no trained network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrl_lab import methods
from diffrl_lab.diffusion import Cosine, MixtureDenoiser
from diffrl_lab.studies import actions, improvement
from diffrl_lab.worlds import bandit


def test_draws_of_the_exact_policy_lie_at_its_floor_and_those_of_the_data_far_off() -> None:
    for eta in (1.0, 4.0):
        a = improvement.exact_draws(2000, eta, seed=3)
        assert improvement.to_exact(a, eta) < 3 * improvement.floor(2000, eta)
    assert improvement.to_exact(bandit.draw(2000, seed=4)) > 0.5
    assert improvement.to_exact(torch.zeros(5, 2)) == pytest.approx(1 - float(bandit.shares(1.0)[4]))


def test_scores_tell_leaving_the_data_from_losing_modes() -> None:
    best = torch.tensor(bandit.CENTRES[3]).expand(10, 2)
    kept = improvement.scores(best)
    assert kept["reward"] == 5 and kept["off"] == 0 and kept["entropy"] == 0
    away = improvement.scores(torch.zeros(10, 2))
    assert away["reward"] == 0 and away["off"] == 1 and away["entropy"] is None
    even = improvement.scores(torch.tensor(bandit.CENTRES))
    assert even["entropy"] == pytest.approx(1) and even["reward"] == pytest.approx(np.mean(bandit.PAID))


def test_the_baselines_that_train_nothing_are_what_they_say() -> None:
    assert bandit.found(improvement.plainly("least squares", 0))["off"] == 1
    assert bandit.found(improvement.plainly("best of the data", 0))["reward"] == max(bandit.PAID)
    assert abs(bandit.found(improvement.plainly("the data", 0))["reward"] - bandit.best_of(1)) < 0.3
    assert improvement.plainly("the exact policy", 0).shape == (improvement.DONE, 2)


def test_what_a_noisy_action_may_become_has_the_mean_of_the_exact_denoiser() -> None:
    D = MixtureDenoiser(torch.ones(4), torch.tensor(bandit.CENTRES), Cosine(), std=bandit.STD)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, generator=g, dtype=torch.float64)
    for t in (0.2, 0.6, 0.95):
        a = actions.posterior(x, torch.tensor(t, dtype=torch.float64), 20_000, g)
        assert float((a.mean(0) - D(x, t)).abs().max()) < 0.03


def test_files_of_trainings_have_names_of_their_own() -> None:
    every = improvement.TRAINED | improvement.MORE
    files = {improvement.name(what, seed) for what in every for seed in (0, 1)}
    assert len(files) == 2 * len(every) and not any(" " in f or "+" in f for f in files)
    assert len(every) == len(improvement.TRAINED) + len(improvement.MORE) and not set(improvement.ARMS) & {
        *improvement.MORE
    }
    assert {what for what, _ in improvement.ARMS.values()} == set(improvement.TRAINED)


def test_what_was_added_later_has_a_method_its_settings_and_rows_of_its_own() -> None:
    function, grid = improvement.grids()["more"]
    assert function is improvement.tried and [p["arm"] for p in grid] == list(improvement.MORE)
    for method, options in improvement.MORE.values():
        module = methods.named(method)
        module.Config(**improvement.SHAPE | options)
