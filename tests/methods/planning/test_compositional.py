"""Chunks: which pieces they learn from, what a plan of many promises, that training resumes, and an oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.planning.compositional import Agent, Chunks, Compositional, Config, Pieces, beside, train

TINY = Config(horizon=6, width=32, depth=1, channels=8, updates=8, batch=16, denoising=3, candidates=4, most=3)


def legs(episodes: int = 60, steps: int = 20, seed: int = 0, far: float = 1.0) -> Episodes:
    """Drives of `far` metres in 0.2 s at constant speed in an open field, from a random place. dt = 0.01."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(episodes):
        a, angle = rng.uniform(-3, 3, 2), rng.uniform(0, 2 * np.pi)
        way = far * np.array([np.cos(angle), np.sin(angle)])
        share = np.arange(steps + 1)[:, None] / steps
        obs = np.concatenate([a + share * way, np.ones_like(share) * way / (steps * 0.01)], 1).astype(np.float32)
        rows.append((obs, np.zeros((steps, 2), np.float32), np.zeros(steps), False))
    return Episodes.join(rows)


def test_pieces_lie_within_one_recording_are_as_long_as_is_said_and_shares_of_whole_ones_are_those_asked_for() -> None:
    data = legs()
    p = Pieces(data, TINY, torch.Generator().manual_seed(0))
    start, duration = p.draw(20_000)
    episode = torch.searchsorted(data.ends, start)
    assert_close(torch.searchsorted(data.ends, start + duration), episode)
    assert duration.min() == TINY.shortest and duration.max() == 20
    begins = (start == data.starts[episode]).double().mean()
    by_chance = 1 / 13  # of the 13 places where a piece of 8 steps can begin
    wanted = TINY.stretched + (1 - TINY.stretched) * by_chance
    assert abs(begins - wanted) < 4 * (wanted * (1 - wanted) / 20_000) ** 0.5
    with pytest.raises(ValueError, match="no episode has 30 steps; the longest has 20"):
        Pieces(data, replace(TINY, shortest=30), torch.Generator())


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = train(legs(), TINY, seed=1)
    losses = [float(row["loss"]) for row in whole]
    first, second = train(legs(), TINY, seed=1), train(legs(), TINY, seed=1)
    begun = [float(next(rows)["loss"]) for rows in [iter(first)] for _ in range(3)]
    first.save(tmp_path / "run.safetensors")
    second.load(tmp_path / "run.safetensors")
    assert begun + [float(row["loss"]) for row in second] == losses
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=0)
    whole.model.save(tmp_path / "w.safetensors")
    again = Compositional.load(tmp_path / "w.safetensors")
    assert (
        again.config == TINY and again.about["trained"] == 8 and float(again.seconds) == pytest.approx(0.01, rel=1e-3)
    )


def test_a_neighbour_s_copy_that_is_not_told_is_not_shown_either() -> None:
    near, told = torch.ones(2, 2, 4), torch.tensor([[True, False], [False, False]])
    shown = beside(near, told)
    assert shown.tolist() == [[1.0] * 4 + [0.0] * 4 + [1, 0], [0.0] * 10]


class Looks(nn.Module):
    """A denoiser of chunks that answers with the copies it is shown, and writes down what it was shown."""

    def __init__(self, schedule, d: int):
        super().__init__()
        self.schedule, self.d = schedule, d

    def forward(self, x, t, cond):
        self.cond = cond
        near = cond["beside"][:, : 2 * self.d].view(-1, 2, self.d)
        out = torch.zeros_like(x)
        out[:, 0, : self.d], out[:, -1, : self.d] = near[:, 0], near[:, 1]
        return out


def test_each_chunk_is_shown_its_neighbours_ends_and_both_say_the_same_of_a_joint() -> None:
    model = train(legs(), TINY).model
    known, value = model.ends(torch.zeros(2, 4), torch.ones(2, 2), 3)
    looks = Looks(model.denoiser.schedule, 4)
    model.denoiser = looks
    x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    out = model.joined(known, value)(x, torch.tensor(0.5))
    told = looks.cond["beside"][:, 8:].view(2, 3, 2)
    assert told[0].tolist() == [[0, 1], [1, 1], [1, 0]]  # a plan's own ends have no neighbour
    assert_close(out[:, :-1, -1, :4], out[:, 1:, 0, :4], rtol=0, atol=0)
    assert_close(out[:, 0, -1, :4], (x[:, 1, 0, :4] + x[:, 0, -1, :4]) / 2)
    model.joined(known, value, shown=False)(x, torch.tensor(0.5))
    assert not looks.cond["beside"].any()


def test_every_plan_holds_start_and_goal_has_no_tear_left_and_equal_seeds_plan_alike() -> None:
    model = train(legs(), TINY).model
    obs, goal = np.array([[1.0, -2.0, 0.5, 0.0]]), np.array([[-2.0, 1.0]])
    a, b, c = (model.sample(obs, goal, n=4, chunks=3, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert a.shape == (1, 4, 3, 6, 5)
    assert_close(a[0, :, 0, 0, :4], torch.tensor(obs).float().expand(4, 4), rtol=0, atol=1e-5)
    assert_close(a[0, :, -1, -1, :2], torch.tensor(goal).float().expand(4, 2), rtol=0, atol=1e-5)
    assert_close(a[:, :, :-1, -1, :4], a[:, :, 1:, 0, :4], rtol=0, atol=0)
    assert_close(a, b, rtol=0, atol=0)
    assert not torch.allclose(a, c)
    waypoints = torch.tensor([[[0.5, 0.0], [1.0, 0.5], [-2.0, 1.0]]])
    plans = model.drawn(*model.ends(torch.zeros(1, 4), waypoints, 3))
    assert_close(plans.points[:, :, -1, :2], waypoints, rtol=0, atol=1e-5)


def test_plans_of_one_batch_lead_each_from_its_own_start_to_its_own_goal_and_are_the_best_that_were_drawn() -> None:
    model = train(legs(), TINY).model
    obs, goal = np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]]), np.array([[-2.0, 1.0], [0.5, 0.5]])
    scores: list[torch.Tensor] = []
    real = model.score
    model.score = lambda plans, generator: scores.append(real(plans, generator)) or scores[-1]
    found = model.plans(obs, goal, torch.Generator().manual_seed(0))
    best = torch.stack([s.view(2, -1) for s in scores]).amin(2).argmin(0) + 1  # chunks of the best plan of each
    for (points, durations), o, g, chunks in zip(found, obs, goal, best.tolist(), strict=True):
        assert len(points) == len(durations) == chunks
        assert_close(points[0, 0], torch.tensor(o).float(), rtol=0, atol=1e-5)
        assert_close(points[-1, -1, :2], torch.tensor(g).float(), rtol=0, atol=1e-5)
        assert_close(points[:-1, -1], points[1:, 0], rtol=0, atol=0)


def test_a_route_has_a_state_for_every_step_and_joints_are_not_doubled() -> None:
    model = train(legs(), TINY).model
    line = torch.linspace(0, 1, 6)[:, None] * torch.tensor([1.0, 0, 0, 0]) + torch.tensor([0, 0, 5.0, 0])
    points = torch.stack([line, line + torch.tensor([1.0, 0, 0, 0])])
    route = model.reference(points, torch.tensor([20.0, 20.0]))
    assert route.shape == (41, 4)
    assert_close(route[:, 0], np.linspace(0, 2, 41), atol=1e-4, rtol=0)


def test_after_a_short_training_chunks_meet_and_lead_twice_as_far_as_any_leg_went() -> None:
    config = replace(TINY, width=64, depth=2, updates=500, batch=128, denoising=10, ema=0.99)
    run = train(legs(600), config)
    before = run.model
    for _ in run:
        pass
    obs, goal = torch.tensor([[-1.0, 0, 5, 0]]).expand(16, 4), torch.tensor([[1.2, 0]]).expand(16, 2)
    wrong = []
    for model in (before, run.model):
        plans: Chunks = model.drawn(*model.ends(obs, goal, 3), torch.Generator().manual_seed(0))
        wrong.append(float((plans.gaps + plans.tears).median()))
    assert wrong[1] < 0.4 * wrong[0], wrong  # metres
    agent = Agent(run.model)
    agent.reset(obs[:1].numpy(), [0], goal[:1].numpy())
    assert agent.act(obs[:1].numpy()).shape == (1, 2)


def test_what_lies_where_no_recording_went_is_moved_further() -> None:
    run = train(legs(600), replace(TINY, width=64, depth=2, updates=300, batch=128, ema=0.99))
    for _ in run:
        pass
    x = Pieces(legs(100, seed=1), TINY, torch.Generator().manual_seed(0)).plans(64)
    recorded = Chunks(x[:, None, :, :4], x[:, None, 0, 4].exp(), torch.zeros(64), torch.zeros(64))
    noise = torch.randn(64, 1, 6, 4, generator=torch.Generator().manual_seed(1))
    bent = recorded._replace(points=recorded.points + 1.5 * noise)
    moved = [run.model.moved(p, torch.Generator().manual_seed(2)) for p in (recorded, bent)]
    assert moved[1].median() > 1.5 * moved[0].median()
