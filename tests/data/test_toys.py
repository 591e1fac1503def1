"""Toy laws: samples follow the parameters they come with."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data import toys
from diffrl_lab.worlds import mdps

N = 40_000


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    "law",
    [
        toys.two_modes(0.3),
        toys.ring(8),
        toys.two_corridors(0.2, horizon=5),
        toys.ring(3, weights=torch.tensor([1.0, 2, 0])),
    ],
)
def test_each_component_of_a_mixture_has_its_weight_mean_and_deviation(law):
    x, mode = law.sample(N, seeded())
    for k, w in enumerate(law.weights.tolist()):
        mine = x[mode == k].double()
        assert abs(len(mine) / N - w) <= 4 * math.sqrt(w * (1 - w) / N)  # 4 standard errors
        if len(mine):
            error = law.std[k] / math.sqrt(len(mine))
            assert ((mine.mean(0) - law.means[k]).abs() < 4.5 * error).all()
            assert abs((mine - law.means[k]).std() / law.std[k] - 1) < 4.5 / math.sqrt(2 * mine.numel())


@pytest.mark.parametrize("law", [toys.ar1(6, 0.8, 2.0), toys.brownian(6), toys.bridge(6, -1, 1, 0.5)])
def test_paths_have_their_mean_and_covariance(law):
    x = law.sample(N, seeded())[..., 0].double()
    size = law.cov.diagonal().sqrt()
    assert ((x.mean(0) - law.mean[:, 0]).abs() <= 4.5 * size / math.sqrt(N) + 1e-6).all()
    spread = (size[:, None] ** 2 * size**2 + law.cov**2).sqrt() / math.sqrt(N)  # standard error of a covariance
    assert ((x.mT.cov() - law.cov).abs() <= 4.5 * spread + 1e-5).all()


def test_an_ar1_path_forgets_at_its_rate_and_a_bridge_is_tied_at_both_ends():
    cov = toys.ar1(5, 0.5, 3.0).cov
    assert_close(cov[0], 9 * torch.tensor([1, 0.5, 0.25, 0.125, 0.0625], dtype=torch.float64))
    x = toys.bridge(9, start=2.0, goal=-3.0).sample(20, seeded())[..., 0]
    assert_close(x[:, 0], torch.full((20,), 2.0))
    assert_close(x[:, -1], torch.full((20,), -3.0))


def test_the_two_corridors_begin_and_end_together_mirror_each_other_and_their_mean_runs_through_the_block():
    left, right = toys.two_corridors(0.5, horizon=33).means
    assert_close(left * torch.tensor([-1.0, 1.0]), right)
    assert_close(left[[0, -1]], right[[0, -1]], atol=1e-12, rtol=0)
    assert (left[1:-1, 0] < 0).all() and left[16, 0] == -1 and right[16, 0] == 1


def test_parameters_without_a_law_are_refused():
    for call, message in [
        (lambda: toys.two_modes(1.2), r"p must lie in \[0, 1\], got 1.2"),
        (lambda: toys.ring(0), "at least one Gaussian, got k = 0"),
        (lambda: toys.ring(3, weights=torch.tensor([1.0, -1, 1])), "weights must be 3 numbers"),
        (lambda: toys.ar1(rho=1.0), r"needs \|rho\| < 1, got 1.0"),
        (lambda: toys.two_corridors(horizon=1), "at least 2 points"),
        (lambda: toys.two_modes(std=-1), "std must be at least 0, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


# ---------------------------------------------------------------------------------------------- decisions, step by step
def test_a_corridor_of_the_grid_without_slip_is_worth_gamma_to_the_steps_that_are_left():
    world = mdps.grid_world(("S...G",), gamma=0.9)
    V, best = world.optimal()
    assert_close(V, torch.tensor([0.9**3, 0.9**2, 0.9, 1, 0], dtype=torch.float64))
    assert (best[:4, 1] == 1).all()  # right
    assert_close(world.value(best), V)


def test_moves_slip_to_either_side_and_walls_and_borders_stop_them():
    world = mdps.grid_world(("..", "#G"), slip=0.2)
    assert_close(world.P.sum(-1), torch.ones(3, 4, dtype=torch.float64))
    assert_close(world.P[0, 1], torch.tensor([0.2, 0.8, 0], dtype=torch.float64))  # up: the border, down: the wall
    assert_close(world.P[1, 2], torch.tensor([0.1, 0.1, 0.8], dtype=torch.float64))
    assert_close(world.rew[1], torch.tensor([0, 0.1, 0.8, 0.1], dtype=torch.float64))


def test_recorded_episodes_have_the_exact_visits_and_end_or_are_cut_never_both():
    world = mdps.grid_world(("...X", ".#..", "S..G"), slip=0.3)
    policy = torch.full((len(world.start), 4), 0.25, dtype=torch.float64)
    n, limit = 4000, 12
    steps = world.roll_out(policy, n, limit, seeded())
    visits = torch.bincount(steps.obs, minlength=len(world.start)) / n
    error = 4.5 * 3 / math.sqrt(n)  # no cell's number of visits has a deviation above 3
    assert ((visits - world.visits(policy, limit)).abs() <= error).all()
    assert not (steps.terminated & steps.truncated).any()
    last = torch.cat([steps.episode.diff() != 0, torch.tensor([True])])
    assert torch.equal(steps.terminated | steps.truncated, last)
    assert torch.equal(steps.next_obs[:-1][~last[:-1]], steps.obs[1:][~last[:-1]])
    assert int(torch.bincount(steps.episode)[torch.unique(steps.episode[steps.truncated])].max()) == limit


def test_in_the_comb_maze_two_cells_look_alike_and_need_opposite_moves():
    maze = mdps.comb_maze()
    _, best = maze.optimal()
    twins = (maze.walls_around == 5).nonzero()[:, 0]  # walls above and below
    assert twins.tolist() == [1, 3]
    assert best[twins].argmax(1).tolist() == [1, 3]


def test_the_corridors_values_solve_bellmans_equation_and_match_driving_it():
    road = mdps.Corridor()
    speeds = torch.linspace(0, 1, 2001, dtype=torch.float64)
    V, a = road.best(speeds)
    assert_close(road.q(speeds, V).amax(1), V)
    mixed = torch.stack([a.expand(road.n), torch.full((road.n,), 0.2, dtype=torch.float64)], 1)
    V = road.value(mixed, torch.full((road.n, 2), 0.5, dtype=torch.float64))
    assert_close((road.q(mixed[0], V) / 2).sum(1), V)
    g, n = seeded(), 20_000
    s, over, got = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.bool), torch.zeros(n)
    for k in range(60):
        speed = mixed[0][torch.randint(2, (n,), generator=g)]
        s, rew, ended = road.step(s, speed, g)
        got += road.gamma**k * rew * ~over
        over |= ended
    assert abs(float(got.mean() - V[0])) < 4.5 * float(got.std()) / math.sqrt(n)


def test_worlds_that_make_no_sense_are_refused():
    for call, message in [
        (lambda: mdps.grid_world(("..", ".")), "rows of one length with a goal"),
        (lambda: mdps.grid_world(("..",)), "with a goal G"),
        (lambda: mdps.grid_world((".G",), slip=1.5), "slip must lie"),
        (lambda: mdps.grid_world((".G",), gamma=2), "gamma must lie"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
