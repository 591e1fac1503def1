"""The planner: which pieces it learns from, what it promises of a plan, and that a stopped training goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.planning.diffuser import CONFIGS, Config, Diffuser, OwnActions, Pieces, train
from diffrl_lab.methods.planning.plans import interpolated, inverse_dynamics, is_held_out, seconds_per_step

TINY = Config(horizon=8, width=32, depth=1, channels=8, updates=8, batch=16, denoising=3, candidates=4)


def field(episodes: int = 40, steps: int = 30, rest: int = 10, seed: int = 0) -> Episodes:
    """Drives in an open field: at constant speed from a random place to another one, then rest. dt = 0.01."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(episodes):
        a, b = rng.uniform(-3, 3, (2, 2))
        share = np.minimum(np.arange(steps + rest + 1) / steps, 1)[:, None]
        moving = (np.arange(steps + rest + 1) < steps)[:, None]
        velocity = (b - a) / (steps * 0.01) * moving
        obs = np.concatenate([a + share * (b - a), velocity], 1).astype(np.float32)
        rows.append((obs, np.full((steps + rest, 2), number, np.float32), np.zeros(steps + rest), False))
    return Episodes.join(rows)


def pieces(config: Config = TINY, **options) -> Pieces:
    return Pieces(field(), config, torch.Generator().manual_seed(0), **options)


def test_pieces_never_cross_an_episode_nor_reach_into_the_rest_at_its_end() -> None:
    p = pieces()
    start, duration, arrives = p.draw(5000)
    episode = torch.searchsorted(field().ends, start)
    assert_close(torch.searchsorted(field().ends, start + duration), episode)
    last = (start + duration - field().starts[episode]).float()
    assert duration.min() == TINY.shortest and 28 <= last.max() <= 34
    assert_close(arrives, start + duration == p.arrival[episode])


def test_the_shares_of_pieces_and_of_known_ends_are_those_asked_for() -> None:
    p = pieces(Config(horizon=8, batch=20_000))
    batch, c = next(p), p.config
    known = batch["known"]
    for share, wanted in ((known[:, 0, 0], 1 - c.free), (known[:, -1, 0], 1 - c.free - c.start_only)):
        error = (wanted * (1 - wanted) / 20_000) ** 0.5
        assert abs(share.double().mean() - wanted) < 4 * error
    assert not known[:, 1:-1].any() and not known[..., 4].any() and known[:, 0, 2:4].equal(known[:, 0, :2])


def test_the_velocity_at_the_end_is_told_only_where_the_ball_passes_through() -> None:
    batch = next(pieces(Config(horizon=8, batch=5000)))
    told, speed = batch["known"][:, -1, 2], batch["x"][:, -1, 2:4].norm(dim=-1)
    silent = batch["known"][:, -1, 0] & ~told
    assert told.any() and silent.any()
    assert (speed[silent] == 0).double().mean() > 0.95 and (speed[told] > 0).double().mean() > 0.7


def test_held_out_pairs_of_cells_are_never_trained_on() -> None:
    origin = (-3.0, -3.0)
    x = pieces(held_out=origin).plans(5000)[0]
    assert not is_held_out(x[:, 0], x[:, -1], origin).any()
    everything = pieces().plans(5000)[0]
    assert is_held_out(everything[:, 0], everything[:, -1], origin).double().mean() > 0.1


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = train(field(), TINY, seed=1)
    losses = [float(row["loss"]) for row in whole]
    first, second = train(field(), TINY, seed=1), train(field(), TINY, seed=1)
    begun = [float(next(rows)["loss"]) for rows in [iter(first)] for _ in range(3)]
    first.save(tmp_path / "run.safetensors")
    second.load(tmp_path / "run.safetensors")
    assert begun + [float(row["loss"]) for row in second] == losses
    for a, b in zip(whole.model.denoiser.parameters(), second.model.denoiser.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(ValueError, match="another run: it has seed = 1, this one seed = 2"):
        train(field(), TINY, seed=2).load(tmp_path / "run.safetensors")


def test_every_candidate_holds_the_start_and_the_goal_exactly_and_equal_seeds_plan_alike() -> None:
    planner = train(field(), TINY).model
    start, goal = np.array([1.0, -2.0, 0.5, 0.0]), np.array([-2.0, 1.0])
    plans = [planner.plan(start, goal, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    for plan in plans:
        assert_close(plan.candidates[:, 0], torch.tensor(start).float().expand(4, 4), rtol=0, atol=1e-5)
        assert_close(plan.candidates[:, -1, :2], torch.tensor(goal).float().expand(4, 2), rtol=0, atol=1e-5)
    assert_close(plans[0].candidates, plans[1].candidates, rtol=0, atol=0)
    assert not torch.allclose(plans[0].candidates, plans[2].candidates)


def test_the_ends_are_known_from_the_first_frame_on_and_the_last_frame_is_the_plan() -> None:
    planner = train(field(), TINY).model
    plan = planner.plan([0, 0, 0, 0], [1, 1], generator=torch.Generator().manual_seed(0))
    assert len(plan.frames) == TINY.denoising + 1
    assert_close(plan.frames[0].x_t[:, -1, :2], torch.ones(4, 2), rtol=0, atol=1e-5)
    assert_close(plan.frames[-1].x_t[..., :4], plan.candidates)


def test_a_trained_planner_drives_straight_where_there_are_no_walls() -> None:
    config = Config(horizon=8, width=64, depth=2, channels=8, updates=400, batch=128)
    run = train(field(400), config)
    untrained = run.model
    for _ in run:
        pass
    start, goal = np.array([-2.0, -1.0, 0, 0]), np.array([2.0, 1.5])
    line = torch.lerp(torch.tensor(start[:2]), torch.tensor(goal), torch.linspace(0, 1, 8)[:, None].double()).float()
    off = {
        p: (p.plan(start, goal, generator=torch.Generator().manual_seed(0)).candidates[..., :2] - line)
        .norm(dim=-1)
        .mean()
        for p in (untrained, run.model)
    }
    before, after = off.values()
    assert after < 0.35 and before > 2 * after


def test_weights_of_half_precision_plan_the_same_and_weigh_two_megabytes_at_most(tmp_path: Path) -> None:
    planner = train(field(), Config(updates=1)).model
    planner.save(tmp_path / "w.safetensors", name="here")
    again = Diffuser.load(tmp_path / "w.safetensors")
    ends = ([0, 0, 1, 0], [1, 1])
    a, b = (p.plan(*ends, generator=torch.Generator().manual_seed(0)).candidates for p in (planner, again))
    assert_close(a, b, rtol=0, atol=0.02)
    assert (tmp_path / "w.safetensors").stat().st_size <= 2e6 and max(c.width for c in CONFIGS.values()) == 360
    assert again.about["name"] == "here" and again.config == planner.config


def test_between_its_points_a_plan_is_the_cubic_of_their_positions_and_velocities() -> None:
    (x0, v0), (x1, v1) = np.random.default_rng(0).normal(size=(2, 2, 3))
    u, h = np.linspace(0, 1, 81)[:, None], 0.8  # the share of the gap, and its seconds
    x = (2 * u**3 - 3 * u**2 + 1) * x0 + (u**3 - 2 * u**2 + u) * h * v0
    x += (3 * u**2 - 2 * u**3) * x1 + (u**3 - u**2) * h * v1
    v = (6 * u**2 - 6 * u) * (x0 - x1) / h + (3 * u**2 - 4 * u + 1) * v0 + (3 * u**2 - 2 * u) * v1
    plan = np.array([np.r_[x0, v0], np.r_[x1, v1]])
    assert_close(interpolated(plan, 80.0), np.concatenate([x, v], 1), rtol=0, atol=1e-9)


def test_a_motion_of_constant_acceleration_is_interpolated_exactly_and_does_not_contradict_itself() -> None:
    t = np.linspace(0, 2, 9)[:, None]
    x, v = np.array([[1.0, 0]]) + t * [[2.0, -1]] + t**2 / 2 * [[0.5, 3]], [[2.0, -1]] + t * [[0.5, 3]]
    fine = np.linspace(0, 2, 201)[:, None]
    wanted = np.concatenate(
        [[[1.0, 0]] + fine * [[2.0, -1]] + fine**2 / 2 * [[0.5, 3]], [[2.0, -1]] + fine * [[0.5, 3]]], 1
    )
    points = np.concatenate([x, v], 1)
    assert_close(interpolated(points, 200.0), wanted)
    planner = train(field(), replace(TINY, horizon=9)).model
    planner.seconds.fill_(0.01)
    for bump, wanted_gap in ((0.0, 0.0), (0.4, 0.4 / 2)):  # one wrong point makes two gaps of eight wrong
        points[4, 0] += bump
        gap = planner._gaps(torch.tensor(points)[None], torch.tensor([200.0]))
        assert_close(gap, torch.tensor([wanted_gap], dtype=torch.float64), rtol=1e-6, atol=1e-6)


def linear(share: float) -> Episodes:
    """v' = 0.9 v + 0.3 act; the displacement is 0.02 s times v, or (share = 1) times v', as in a simulator."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(5):
        act, obs = rng.uniform(-1, 1, (50, 2)), [rng.normal(size=4)]
        for a in act:
            v = obs[-1][2:] * 0.9 + 0.3 * a
            obs.append(np.concatenate([obs[-1][:2] + 0.02 * ((1 - share) * obs[-1][2:] + share * v), v]))
        rows.append((np.array(obs, np.float32), act.astype(np.float32), np.zeros(50), False))
    return Episodes.join(rows)


def test_the_length_of_a_step_is_found_in_the_data() -> None:
    assert seconds_per_step(linear(0)) == pytest.approx(0.02, rel=1e-5)


def test_the_inverse_dynamics_are_found_exactly_where_they_are_linear() -> None:
    episodes = linear(1)
    W, s, after = inverse_dynamics(episodes).double(), episodes.obs[:50].double(), episodes.obs[1:51].double()
    features = torch.cat([torch.ones(50, 1), s, after - s], 1).double()
    assert_close(features @ W, episodes.act[:50].double(), rtol=0, atol=1e-4)


def test_own_actions_are_driven_without_looking() -> None:
    agent = OwnActions(train(field(), TINY).model)
    taken = []
    for obs in (np.zeros((1, 4)), np.full((1, 4), 9.0)):
        agent.reset(np.zeros((1, 4)), [0], np.ones((1, 2)))
        taken.append([agent.act(obs) for _ in range(5)])
    assert_close(np.array(taken[0]), np.array(taken[1]), rtol=0, atol=0)


def test_errors_say_what_came_and_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rungs untrained, 10%, good, overfit; got 'best'"):
        Diffuser.load("maze-large", rung="best")
    with pytest.raises(ValueError, match=r"n positions and n velocities, \[N, 2n\]; got \(\d+, 3\)"):
        Pieces(
            Episodes(field().obs[:, :3], *(getattr(field(), k) for k in ("act", "rew", "last"))),
            TINY,
            torch.Generator(),
        )
    planner = train(field(), TINY).model
    with pytest.raises(ValueError, match="has 4 numbers, got"):
        planner.ends([0, 0], [1, 1])
    run = train(field(), TINY)
    run.save(tmp_path / "run.safetensors")
    with pytest.raises(ValueError, match="holds no model of this library; a Diffuser was wanted"):
        Diffuser.load(tmp_path / "run.safetensors")


def test_plans_of_many_states_are_those_of_each_and_hold_their_ends() -> None:
    planner, g = train(field(), TINY).model, torch.Generator
    obs, goal = np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]]), np.array([[-2.0, 1.0], [1.0, 1.0]])
    x = planner.sample(obs, goal, n=3, generator=g().manual_seed(0))
    assert x.shape == (2, 3, 8, 5) and (x[..., 4] > 0).all()
    assert_close(x[:, :, 0, :4], torch.tensor(obs)[:, None].expand(2, 3, 4).float(), rtol=0, atol=1e-5)
    assert_close(x[:, :, -1, :2], torch.tensor(goal)[:, None].expand(2, 3, 2).float(), rtol=0, atol=1e-5)
    one = planner.plan(obs[0], goal[0], 3, g().manual_seed(0), frames=False)
    assert_close(planner.sample(obs[:1], goal[:1], n=3, generator=g().manual_seed(0))[0], one.with_steps)


def test_untrained_weights_are_made_again_from_the_seed_and_differ_from_the_trained_ones_in_the_network_alone() -> None:
    good, fresh = Diffuser.load("maze-umaze"), Diffuser.load("maze-umaze", "untrained")
    assert fresh.about["trained"] == 0 and good.about["trained"] == good.config.updates
    same = {k for k, v in good.state_dict().items() if torch.equal(v, fresh.state_dict()[k])}
    assert {"scaler.center", "scaler.spread", "seconds", "inverse"} <= same
    assert any(k.startswith("denoiser") and k not in same for k in good.state_dict())


def test_with_levels_the_times_are_those_of_a_chain_and_without_them_nothing_is_changed() -> None:
    model: Any = train(field(), TINY).trained
    batch = next(pieces(replace(TINY, batch=600)))
    asked: list[torch.Tensor] = []
    net = model.denoiser.net.forward

    def noted(x: torch.Tensor, label: torch.Tensor, cond: Any) -> torch.Tensor:
        asked.append(label)
        return net(x, label, cond)

    model.denoiser.net.forward = noted
    free = model.loss(batch, torch.Generator().manual_seed(1))["loss"].detach()
    model.config = replace(TINY, levels=3)
    few = model.loss(batch, torch.Generator().manual_seed(1))["loss"].detach()
    assert float((free - few).abs()) > 1e-4 and len(asked[0].unique()) > 500
    alpha, sigma = model.denoiser.schedule(torch.tensor([1 / 3, 2 / 3, 1.0]))
    seen, counts = asked[1].unique(return_counts=True)
    assert_close(seen, (torch.log(sigma / alpha) / 4).clamp(-3, 3).float())
    assert counts.min() > 160
    with pytest.raises(ValueError, match="levels"):
        replace(TINY, levels=-1)
