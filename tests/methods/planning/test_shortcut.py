"""Shortcut plans: two exact half steps are one exact step, and a network teaches itself a Gaussian's flow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Rectified, cosine_decay, descend, pin, sample, seeded
from diffrl_lab.methods.planning.diffuser import Pieces, known_ends
from diffrl_lab.methods.planning.shortcut import Agent, Config, Shortcut, halves, octave, train
from diffrl_lab.worlds.driving import Follower

TINY = Config(horizon=8, width=48, depth=1, channels=8, updates=8, batch=32, finest=8, candidates=4)
MEAN, STD = 0.4, 0.3


def field(episodes: int = 40, seed: int = 0) -> Episodes:
    """Drives in an open field at constant speed, then rest. dt = 0.01."""
    rng = np.random.default_rng(seed)
    share = np.minimum(np.arange(41) / 30, 1)[:, None]
    rows = []
    for _ in range(episodes):
        a, b = rng.uniform(-3, 3, (2, 2))
        obs = np.concatenate([a + share * (b - a), (b - a) / 0.3 * (share < 1)], 1).astype(np.float32)
        rows.append((obs, np.zeros((40, 2), np.float32), np.zeros(40), False))
    return Episodes.join(rows)


def flowed(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Where the flow of N(MEAN, STD^2) goes from t to s: deviations from the mean keep their place."""
    spread = [((1 - u) ** 2 * STD**2 + u**2).sqrt() for u in (t, s)]
    return (1 - s) * MEAN + spread[1] / spread[0] * (x - (1 - t) * MEAN)


def exactly(x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
    """The x0_hat of a network that is right about every length: cond["beside"] is j, one-hot."""
    d = 0.5 ** cond["beside"].argmax(1)[:, None, None]
    at = t[:, None, None]
    return x - at * (x - flowed(x, at, at - d)) / d


def test_two_exact_steps_of_half_the_length_teach_the_exact_step() -> None:
    g = torch.Generator().manual_seed(0)
    j = torch.arange(4).repeat(50)
    t = 1 - (torch.rand(200, generator=g) * 2**j).floor() / 2**j
    x = torch.randn(200, 6, 2, generator=g)
    told = lambda j: torch.nn.functional.one_hot(j, 6).float()  # noqa: E731
    none = torch.zeros(x.shape, dtype=torch.bool)
    got = halves(exactly, told, x, t, j, none)
    assert_close(got, exactly(x, t, {"beside": told(j)}), atol=1e-4, rtol=1e-4)
    assert float((got - exactly(x, t, {"beside": told(j + 1)})).abs().max()) > 0.05  # the lengths differ
    some = none.clone()
    some[:, 0] = True
    assert torch.equal(halves(exactly, told, x, t, j, some)[:, 0], x[:, 0])


def test_one_step_of_a_trained_network_has_the_spread_of_the_law_and_a_flows_one_step_has_none() -> None:
    """Of N(MEAN, STD^2) in each number one step of a flow gives the mean; a shortcut gives the flow's own map."""
    c = replace(TINY, width=96, batch=128, taught=0.5)
    model, g = seeded(0, Shortcut, c, 4, 2), torch.Generator().manual_seed(1)
    model.planner.scaler = model.planner.scaler.blank(5)
    none = torch.zeros(c.batch, 8, 5, dtype=torch.bool)

    def loss(_: Any) -> dict[str, Tensor]:
        x = MEAN + STD * torch.randn(c.batch, 8, 5, generator=g)
        return model.shown(update.ema.module, {"x": x, "known": none}, g)

    update: Any = descend(loss, model.planner.denoiser, lr=3e-3, schedule=cosine_decay(600), ema=0.98)
    for _ in range(600):
        update(None)
    model.planner.denoiser = update.ema.module
    z = torch.randn(500, 8, 5, generator=g)
    wanted = MEAN + STD * z
    with torch.no_grad():
        got = {K: sample(model.of(K), z, steps=K) for K in (1, 8)}
        flow = sample(model.of(8), z, steps=1)
    assert all(float((x - wanted).square().mean().sqrt()) < 0.6 * STD for x in got.values())
    assert 0.6 * STD < float(got[1].std()) < 1.2 * STD
    assert float(flow.std()) < 0.5 * STD


def test_what_it_is_asked_about_lies_on_the_grids_of_its_chains_and_keeps_what_is_known() -> None:
    model = seeded(0, Shortcut, TINY, 4, 2)
    pieces = Pieces(field(), replace(model.planner.config, batch=2000), torch.Generator().manual_seed(0))
    batch = next(pieces)
    x, known = batch["x"], batch["known"]
    x_t, t, j, held = model.asked(x, known, torch.Generator().manual_seed(2))
    K = 2.0**j
    assert_close(t * K, (t * K).round())
    assert bool((t >= 1 / K - 1e-6).all())
    assert set(j.tolist()) == {0, 1, 2} and bool((t[j == 0] == 1).all())
    other = (held[:, -1, 0] & known[:, -1, 0]) & (x_t[:, -1, 0] != x[:, -1, 0])
    assert bool((t[other] == 1).all()) and 0.5 < float(other[t == 1].double().mean()) < 0.7  # .7 x .85
    assert torch.equal(x_t[:, 0][held[:, 0]], x[:, 0][known[:, 0]])


def test_the_share_that_teaches_itself_leaves_the_flows_part_as_it_is() -> None:
    model: Any = train(field(), TINY).trained
    batch = next(Pieces(field(), model.planner.config, torch.Generator().manual_seed(3)))
    out = model.loss(batch, torch.Generator().manual_seed(4))
    assert_close(out["loss"], 0.25 * out["self"] + 0.75 * out["flow"])
    model.config = replace(TINY, taught=0.0)
    alone = model.loss(batch, torch.Generator().manual_seed(4))
    assert torch.equal(alone["loss"], alone["flow"]) and float(alone["self"]) == 0


def test_a_stopped_training_goes_on_bit_for_bit_and_what_is_saved_plans_alike(tmp_path: Path) -> None:
    whole, part, rest = (train(field(), TINY, seed=1) for _ in range(3))
    list(whole)
    for row in part:
        if row["step"] == 5:
            break
    part.save(tmp_path / "part")
    rest.load(tmp_path / "part")
    list(rest)
    want, got = whole.model.state_dict(), rest.model.state_dict()
    assert all(torch.equal(want[k], got[k]) for k in want)
    whole.model.save(tmp_path / "weights")
    back = Shortcut.load(tmp_path / "weights")
    draws = [
        m.sample([[0.0] * 4], [[1.0, 1.0]], n=3, generator=torch.Generator().manual_seed(0))
        for m in (whole.model, back)
    ]
    assert draws[0].shape == (1, 3, 8, 5)
    assert_close(draws[0], draws[1], atol=0.05, rtol=0.02)


def test_a_plan_begins_and_ends_where_it_was_told_and_costs_as_many_evaluations_as_it_has_steps() -> None:
    run = train(field(), TINY)
    list(run)
    model: Any = run.model
    start, goal = [0.5, -1.0, 0.0, 0.2], [1.0, 2.0]
    for steps in (None, 1, 4):
        plan = model.plan(start, goal, 3, torch.Generator().manual_seed(0), steps=steps)
        assert plan.candidates.shape == (3, 8, 4)
        assert_close(plan.candidates[:, 0], torch.tensor([start] * 3), atol=1e-5, rtol=0)
        assert_close(plan.candidates[:, -1, :2], torch.tensor([goal] * 3), atol=1e-5, rtol=0)
    known, value = model.planner.ends(start, goal)
    assert torch.equal(known, known_ends(value, 2)) and isinstance(pin(model.of(2), known, value).schedule, Rectified)
    agent = Agent(model)
    assert isinstance(agent, Follower) and model.route(start, goal, 0).shape[1] == 4


def test_other_numbers_of_steps_are_refused_in_words() -> None:
    assert [octave(k, 8) for k in (1, 2, 4, 8)] == [0, 1, 2, 3]
    model = seeded(0, Shortcut, TINY, 4, 2)
    for wrong in (0, 3, 16):
        with pytest.raises(ValueError, match="1, 2, 4, ..., 8"):
            model.of(wrong)
    with pytest.raises(ValueError, match="power of 2"):
        replace(TINY, finest=12)
