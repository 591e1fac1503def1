"""The study of guidance: its exact rows, how a plan's return is counted, and what its shipped results say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.course.guidance_study import RESULTS, SMALL, WEIGHTS, exact, plan_returns
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Cosine, Function
from diffrl_lab.methods.decision_diffuser import DecisionDiffuser
from diffrl_lab.methods.diffuser import Plan, Planner
from diffrl_lab.methods.value_guidance import Guide


def test_at_scale_1_two_forms_sample_the_powered_law_and_at_scale_4_both_overshoot_it() -> None:
    for form in ("cfg", "classifier"):
        one, four = exact(form, 1.0, seed=0), exact(form, 4.0, seed=0)
        assert abs(one["left"] - one["law_left"]) < 5 * one["left_se"] + 0.002
        assert abs(one["mean"] - one["law_mean"]) < 0.05
        assert four["over"] > four["law_over"] + 0.5 and four["std"] < 0.8 * four["law_std"]
    assert exact("plain", 1.0, seed=0)["std"] < 0.3
    with pytest.raises(ValueError, match="no form 'best'"):
        exact("best", 1.0, seed=0)


def test_a_plans_return_counts_steps_at_its_end_and_the_toll_of_the_right_corridor() -> None:
    H = 33
    x = torch.zeros(2, H, 4)  # up to the right corridor in no time, down through it at 1 m/s for 2 s, there to stay
    x[:, :, 1] = torch.linspace(1, -1, H)
    x[0, :, 0], x[1, :, 0], x[:, :, 3] = 2.0, -2.0, -1.0
    planner = Planner(
        Function(lambda x, t: x, Cosine()),
        Scaler(torch.zeros(5), torch.ones(5)),
        SMALL,
        0.01,  # type: ignore[arg-type]
    )
    plan = Plan(x, torch.tensor([200.0, 200.0]), torch.zeros(2))
    right, left = plan_returns(plan, planner, "two-ways")
    assert_close(left, 300 - 200 + 45.0, rtol=0, atol=1.01)  # within 0.45 m of the end for its last 45 steps
    assert_close(left - right, 0.5 * 199, rtol=0, atol=1.01)


def mean(table: Table, column: str, **where) -> float:
    return float(np.mean(table.column(column, **where).astype(float)))


def test_what_ships_shows_modes_lost_by_one_form_and_kept_by_the_other_at_matched_return() -> None:
    table = Table.load(RESULTS / "guidance-plans-two-ways-p50.json")
    assert len(set(table.column("seed"))) == 3
    assert mean(table, "coverage", form="cfg", scale=1) == 0.5 and mean(table, "coverage", form="value", scale=1) == 1
    assert mean(table, "off", form="cfg", scale=8) > 0.5 > 0.2 > mean(table, "off", form="value", scale=8)


def test_shipped_weights_open_and_sample_finite_plans() -> None:
    dd = DecisionDiffuser.load(WEIGHTS / "guidance-two-ways-returns.safetensors")
    plan = dd.planner.free(4, torch.Generator().manual_seed(0))
    assert bool(plan.candidates.isfinite().all()) and plan.candidates[..., :2].abs().max() < 4
    for name in ("value", "energy"):
        J = Guide.load(WEIGHTS / f"guidance-two-ways-{name}.safetensors")
        assert bool(J(torch.zeros(2, 32, 5), 0.5).isfinite().all())
