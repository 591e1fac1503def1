"""What lesson 12 draws: exact answers, on no trained network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from diffrl_lab.analysis.intervals import paired
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


def test_gains_are_paired_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    paid = {"real": np.array([-300.0, -500, -400]), "drawn": np.array([-290.0, -491, -389])}

    class Made(augmented.Study):
        def __init__(self) -> None:
            pass

        def __call__(self, column: str, **where: Any) -> Any:
            return paid[where["arm"]]

    rows = Made().gains(400, {"real": "recorded", "drawn": "+ drawn"}).rows
    d = paired(paid["drawn"], paid["real"])
    assert rows[0][-1] == "" and rows[1][-1] == f"{d.difference:+.0f} ({d.interval[0]:+.0f} to {d.interval[1]:+.0f})"
    assert rows[1][-1].startswith("+10 (+8 to +12")
