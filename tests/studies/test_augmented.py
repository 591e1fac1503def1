"""What lesson 12 draws: exact answers, on no trained network."""

from __future__ import annotations

import pytest
import torch

from diffrl_lab.data.episodes import Transitions, transitions
from diffrl_lab.studies import augmented, synthetic
from diffrl_lab.worlds import pendulum


@pytest.fixture(scope="module")
def few() -> Transitions:
    return transitions(pendulum.scattered(100, seed=1))


@pytest.fixture(scope="module")
def fresh() -> Transitions:
    return transitions(pendulum.scattered(300, seed=2))


def test_fresh_rows_are_as_near_as_fresh_rows_and_recorded_ones_are_copies(
    few: Transitions, fresh: Transitions
) -> None:
    assert float(augmented.nearness(fresh, few, fresh).median()) == pytest.approx(1)
    assert float(augmented.nearness(few, few, fresh).max()) < 1e-2


def test_the_lowest_training_loss_draws_copies_that_pass_the_equations(few: Transitions, fresh: Transitions) -> None:
    drawn = augmented.copied(few, 200, torch.Generator().manual_seed(0))
    assert float(augmented.nearness(drawn, few, fresh).median()) < 0.1
    noisy = synthetic.noisy(few, 200, 0.05, torch.Generator().manual_seed(0))
    assert pendulum.residual(drawn).state.median() < pendulum.residual(noisy).state.median() / 2


def test_a_cloud_is_titled_by_its_medians(few: Transitions, fresh: Transitions) -> None:
    t = synthetic.noisy(few, 200, 0.1, torch.Generator().manual_seed(3))
    picture = augmented.clouds({"noise": (t, few)}, fresh, alt="a cloud of noisy copies, by nearness and residual")
    near, wrong = augmented.nearness(t, few, fresh).median(), pendulum.residual(t).state.median()
    assert picture.axes[0].get_title(loc="left") == f"noise\nresidual {wrong:.3f}\nratio {near:.2f}"


def test_a_forecast_is_better_with_more_real_rows_and_worse_with_wrong_ones(
    few: Transitions, fresh: Transitions
) -> None:
    more = transitions(pendulum.scattered(400, seed=3))
    alone = augmented.forecast(few, fresh, seed=0, updates=150)
    assert augmented.forecast(augmented.joined(few, more), fresh, seed=0, updates=150) < alone
    wrong = synthetic.noisy(few, 400, 0.5, torch.Generator().manual_seed(4))
    assert augmented.forecast(augmented.joined(few, wrong), fresh, seed=0, updates=150) > 1.5 * alone


def test_a_cell_has_the_mean_and_both_ends_of_the_shipped_trainings() -> None:
    study = augmented.Study("linear")
    v = study("A", n=400, arm="more real")
    assert len(v) == 3 and study.cell("A", n=400, arm="more real") == f"{v.mean():.3f} ({v.min():.3f} to {v.max():.3f})"
    assert (v < study("A", n=400, arm="more drawn")).all()
