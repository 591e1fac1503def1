"""The study of fast sampling: closed forms, what a chain costs, and how a plan is begun from the last one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.diffusion import ddim, sample
from diffrl_lab.methods.planning.diffuser import Config, Diffuser
from diffrl_lab.studies import fast

TINY = Config(horizon=8, width=16, depth=1, channels=4, denoising=2, candidates=3)


@pytest.mark.parametrize("kind", ["modes", "bridge"])
def test_a_fine_chain_ends_where_the_probability_flow_is_known_to_end(kind: str) -> None:
    D = fast.law(kind)
    x_T = torch.randn(300, *D.event, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    end, fine, coarse = fast.flowed(D, x_T), *(sample(D, x_T, steps=k, step=ddim()) for k in (800, 4))
    # beside the border between two modes a fine chain may end in either, so the median is held against it
    off, far = ((x - end).flatten(1).norm(dim=1).median() for x in (fine, coarse))
    assert off < 0.01 and far > 3 * off, (off, far)


def test_the_closed_form_follows_the_law_and_keeps_the_order_on_a_line() -> None:
    D = fast.law("modes")
    x_T = torch.linspace(-3, 3, 2001, dtype=torch.float64)[:, None]
    end = fast.flowed(D, x_T)[:, 0]
    assert bool((end.diff() > 0).all())
    border = float(torch.special.ndtri(torch.tensor(0.3, dtype=torch.float64)))
    assert_close(fast.flowed(D, torch.tensor([[border]]))[0, 0].abs() < 0.3, torch.tensor(True))
    assert bool(((end < 0) == (x_T[:, 0] < border)).all())
    bridge = fast.law("bridge")
    many = fast.flowed(bridge, torch.randn(20_000, 32, 1, generator=torch.Generator().manual_seed(1)))[..., 0]
    assert_close(many.T.cov(), bridge.cov[0], rtol=0, atol=4 * 0.25 * math.sqrt(2 / 20_000))
    with pytest.raises(ValueError, match="known for one Gaussian, and for laws on a line"):
        fast.flowed(fast.MixtureDenoiser([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], D.schedule, std=0.1), torch.zeros(3, 2))


@pytest.mark.parametrize("sampler", list(fast.STEPS))
def test_a_chain_costs_what_is_asked_for_counted_at_the_denoiser(sampler: str) -> None:
    for n in fast.lengths(sampler):
        D, (steps, step) = fast.Counted(fast.law("modes")), fast.chain_of(sampler, n)
        sample(D, torch.zeros(2, 1), steps=steps, step=step, generator=torch.Generator())
        assert D.n == n
    with pytest.raises(ValueError, match="1 or an even number of evaluations, not 5"):
        fast.chain_of("heun", 5)


def test_exactly_one_step_is_the_mean_and_many_steps_are_near_the_law() -> None:
    one, many, floor = (fast.exact("modes", s, n, seed=0) for s, n in (("ddim", 1), ("ddim", 50), ("law", 0)))
    assert one["cost"] == 1 and one["left"] == 0 and one["off"] > 0.8, "all at the mean, 0.4"
    assert abs(floor["energy"]) < 0.01 and abs(many["energy"]) < 0.01 < one["energy"] / 20
    assert floor["off"] is None and fast.exact("modes", "flow", 0, seed=0)["off"] == 0
    assert abs(many["left"] - 0.3) < 0.05


class Recorder(fast.Rider):
    """A rider that keeps what the warm start gave, and from where a chain began."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.rests: list[Any] = []

    def rest(self) -> Any:
        self.rests.append(super().rest())
        return self.rests[-1]


def tiny() -> Diffuser:
    """An untrained planner whose plans take about 40 steps."""
    torch.manual_seed(0)
    model = Diffuser(TINY, 4, 2).eval()
    model.scaler.center[-1], model.scaler.spread[-1] = math.log(40.0), 0.01
    return model


def ride(steps: int, every: int, warm: float | None, moves: int = 26, **options: Any) -> Recorder:
    model = tiny()
    rider, obs = Recorder(model, steps, ddim(), every, warm, **options), np.zeros((1, 4))
    rider.off = math.inf
    rider.reset(obs, [3], np.array([[50.0, 0.0]]))  # far away: it never arrives
    for _ in range(moves):
        rider.act(obs, np.array([0]))
    return rider


def test_a_rider_asks_again_after_so_many_steps_and_counts_every_evaluation() -> None:
    once, often = ride(2, 0, None), ride(2, 5, None)
    assert (once.asked, once.evaluations) == (1, 2)
    assert often.asked == 6 and often.evaluations == 12 and not often.rests
    assert ride(7, 0, None).evaluations == 7
    assert ride(2, 0, None, 90).asked > 1 == ride(2, 0, None, 90, again=False).asked, "lost, once a plan has ended"


def test_a_warm_start_begins_with_what_is_left_of_the_last_plan_in_its_own_units() -> None:
    rider = ride(1, 10, 0.5, moves=10)
    assert rider.rests == [None] and rider.asked == 1
    plan, reference = rider.last[0]
    rider.now, rider.step[0] = 0, 10
    rest = rider.rest()
    raw = rider.model.unscale(rest)
    assert_close(raw[0, :4], torch.tensor(reference[10], dtype=torch.float32), rtol=0, atol=1e-4)
    assert_close(raw[-1, :4], torch.tensor(reference[-1], dtype=torch.float32), rtol=0, atol=1e-4)
    assert_close(raw[0, 4].item(), float(len(reference) - 1 - 10), rtol=1e-4, atol=0)
    rider.step[0] = len(reference) - 1
    assert rider.rest() is None, "nothing is left"


def test_a_warm_chain_of_one_step_asks_once_and_a_sampler_that_is_none_is_refused() -> None:
    model = tiny()
    rider = fast.Rider(model, 1, ddim(), 5, 1e-3)
    rider.off = math.inf
    obs = np.zeros((1, 4))
    rider.reset(obs, [3], np.array([[50.0, 0.0]]))
    before = rider.evaluations
    rider.now = 0
    rider.step[0] = 5
    assert rider.rest() is not None
    rider.planned(obs[0], np.array([50.0, 0.0]), 9)
    assert rider.evaluations == before + 1
    with pytest.raises(KeyError):
        fast.chain_of("ancestral", 2)


def test_the_points_of_each_table_are_different_and_seeds_are_only_where_something_was_trained() -> None:
    for function, seeded, first in fast.grids().values():
        arms = [tuple(sorted(p.items())) for p in seeded + first]
        assert len(arms) == len(set(arms)) and callable(function)
    driven = fast.grids()["driven"]
    assert {p["sampler"] for p in driven[1]} == {"student"} and "student" not in {p["sampler"] for p in driven[2]}


def test_ddpm_has_no_distance_to_the_plan_of_the_same_noise() -> None:
    assert fast.exact("bridge", "ddpm", 5, seed=0)["off"] is None


def test_a_drive_plans_as_often_as_it_is_told_and_counts_evaluations_an_episode(monkeypatch) -> None:
    monkeypatch.setattr(fast, "EPISODES", 2)
    once, often = (fast.driven("large", "ddim", 3, again, seed=0) for again in ("never", "often"))
    assert once["plans"] == 1 and once["cost"] == 3 and often["plans"] > 1 and often["cost"] == 3 * often["plans"]
    lost = fast.driven("large", "ddim", 1, "never", seed=0), fast.driven("large", "ddim", 1, "lost", seed=0)
    assert lost[0]["plans"] == 1 < lost[1]["plans"]


def test_planners_of_their_own_are_trained_once_and_held_against_their_own_fine_plans(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(fast, "RUNS", tmp_path)
    monkeypatch.setattr(fast, "SHAPE", fast.SHAPE | {"width": 16, "updates": 2, "batch": 8})
    learner = replace(fast.LEARNER, width=16, updates=2, batch=8, pairs=16, levels=2)
    monkeypatch.setattr(fast, "LEARNER", learner)
    for cached in (fast.own_fine, fast.fine, fast.resets, fast.tasks):
        cached.cache_clear()
    monkeypatch.setattr(fast, "TASKS", 4)
    fine = fast.short("all times", "ddim", 400, seed=0)
    assert fine["off"] == 0 and fine["cost"] == 400 and fine["switched"] in (0, None)
    one, many = (fast.short(fast.SHORTCUT, "ddim", n, seed=0) for n in (1, 16))
    assert one["cost"] == 1 and many["cost"] == 16 and one["off"] > 0 < many["ratio"] and one["ms"] > 0
    ten = fast.short("10 levels", "ddim", 10, seed=0)
    assert ten["off"] is None and ten["switched"] is None and 0 <= ten["walls"] <= 1 and ten["training"] > 0
    config: Any = fast.alone("10 levels", 0).config
    assert config.levels == 10 == config.denoising
    assert fast.short("1000 levels", "ddpm", 10, seed=0)["off"] is None
    again = fast.short(fast.CONSISTENCY, fast.RENEWED, 2, seed=0)
    assert again["cost"] == 2 and again["off"] > 0 and fast.alone(fast.CONSISTENCY, 0).config == learner
    assert fast.own_fine(fast.CONSISTENCY, 0) is fast.fine("large", 0), "its teacher's plans"
    assert len(list((tmp_path / "weights").iterdir())) == 5
    for cached in (fast.own_fine, fast.fine, fast.resets, fast.tasks):
        cached.cache_clear()
