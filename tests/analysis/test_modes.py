"""Modes counted where they are known: enumerated shares, mazes whose routes can be listed."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from diffrl_lab.analysis.modes import (
    Centres,
    coverage,
    entropy,
    expected_coverage,
    expected_entropy,
    gaussian_similarity,
    holes,
    homotopy,
    mode_floor,
    numbered,
    shares,
    vendi,
)
from diffrl_lab.worlds.mazes import Controller, side
from diffrl_lab.worlds.walls import Walls

TWO = Walls.named("two-ways")
THREE = Walls(
    np.array([[c == "#" for c in row] for row in ("#######", "#.....#", "#.#.#.#", "#.#.#.#", "#.....#", "#######")])
)


def routes(walls: Walls, start: tuple[int, int], goal: tuple[int, int]) -> list[np.ndarray]:
    """Every path of cells from start to goal that visits none twice."""
    found, stack = [], [[start]]
    while stack:
        path = stack.pop()
        if path[-1] == goal:
            found.append(walls.centre(path))
            continue
        for move in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            cell = (path[-1][0] + move[0], path[-1][1] + move[1])
            if not walls.blocked[cell] and cell not in path:
                stack.append([*path, cell])
    return found


def outcomes(p: list[float], n: int) -> list[tuple[np.ndarray, float]]:
    """Every sequence of n labels and its probability."""
    return [(np.array(s), math.prod(p[k] for k in s)) for s in product(range(len(p)), repeat=n)]


def test_expected_entropy_and_coverage_are_the_means_over_all_samples_there_are() -> None:
    p, n = [0.6, 0.3, 0.1], 5
    every = outcomes(p, n)
    assert sum(q * entropy(s, 3) for s, q in every) == pytest.approx(expected_entropy(p, n), abs=1e-12)
    for above in (0.0, 0.2, 0.3):
        assert sum(q * coverage(s, 3, above) for s, q in every) == pytest.approx(expected_coverage(p, n, above))


def test_millers_correction_takes_the_bias_away_to_first_order() -> None:
    p, n, g = [0.25] * 4, 100, np.random.default_rng(0)
    assert expected_entropy(p, n) - math.log(4) == pytest.approx(-3 / 200, rel=0.05)
    found = mode_floor(lambda s, k: entropy(s, k, corrected=True), p, n, generator=g)
    assert abs(found.mean() - math.log(4)) < 4 * found.std() / math.sqrt(len(found)) + 5e-4


def test_the_mode_floor_is_crossed_by_a_perfect_model_in_5_percent() -> None:
    p, n, g = [0.5, 0.2, 0.3], 200, np.random.default_rng(1)
    floor = np.quantile(mode_floor(entropy, p, n, generator=g, repeats=4000), 0.05)
    fresh = mode_floor(entropy, p, n, generator=g, repeats=4000)
    assert abs(fresh.mean() - expected_entropy(p, n)) < 4 * fresh.std() / math.sqrt(4000)
    assert abs((fresh < floor).mean() - 0.05) < 4 * math.sqrt(2 * 0.05 * 0.95 / 4000)


def test_leaving_the_data_and_losing_a_mode_are_told_apart() -> None:
    even = np.repeat([0, 1], 50)
    lost, left = shares(np.r_[even[:50], even[:50]], 2), shares(np.r_[even[25:75], np.full(50, -1)], 2)
    assert lost.share.tolist() == [1, 0] and lost.left == 0
    assert left.share.tolist() == [0.5, 0.5] and left.left == 0.5 and left.counts.tolist() == [25, 25]
    assert left.interval[0, 0] < 0.5 < left.interval[0, 1] and left.left_interval[0] < 0.5 < left.left_interval[1]
    gone = shares(np.full(4, -1), 2)
    assert gone.left == 1 and np.isnan(gone.share).all() and gone.interval.tolist() == [[0, 1], [0, 1]]


def test_the_intervals_of_shares_hold_the_truth_in_95_percent() -> None:
    g, truth, n, repeats = np.random.default_rng(2), 0.2, 100, 1000
    found = [shares((g.random(n) < truth).astype(int), 2).interval[1] for _ in range(repeats)]
    held = np.mean([low <= truth <= high for low, high in found])
    assert abs(held - 0.95) < 4 * math.sqrt(0.05 * 0.95 / repeats)


def test_samples_go_to_the_nearest_centre_and_a_perfect_model_leaves_in_one_percent() -> None:
    g = torch.Generator().manual_seed(0)
    centre = torch.tensor([[-3.0, 0], [3, 0]])
    draw = lambda n: (k := torch.randint(2, (n,), generator=g), centre[k] + torch.randn(n, 2, generator=g))  # noqa: E731
    labels, data = draw(20000)
    modes = Centres.of(data, labels)
    # P(|N(0, I_2)| > r) = exp(-r^2 / 2), so 1 % lies beyond r = sqrt(2 ln 100)
    assert modes.radius.numpy() == pytest.approx([math.sqrt(2 * math.log(100))] * 2, rel=0.03)
    fresh = draw(20000)
    mine = modes(fresh[1])
    assert abs((mine == -1).double().mean() - 0.01) < 4 * math.sqrt(2 * 0.01 * 0.99 / 20000)
    assert (mine == fresh[0]).double().mean() > 0.985
    assert modes(torch.tensor([[0.0, 9.0], [-3.1, 0], [torch.nan, 0]])).tolist() == [-1, 0, -1]


def test_the_vendi_score_counts_groups_without_resemblance() -> None:
    groups = torch.arange(12) % 3
    same = (groups[:, None] == groups).double()
    assert vendi(same) == pytest.approx(3) and vendi(torch.ones(5, 5)) == pytest.approx(1)
    uneven = torch.tensor([0] * 6 + [1] * 3 + [2])
    blocks = (uneven[:, None] == uneven).double()
    p = np.array([0.6, 0.3, 0.1])
    assert vendi(blocks) == pytest.approx(math.exp(-(p * np.log(p)).sum()))
    assert vendi(blocks, 2) == pytest.approx(1 / (p**2).sum()) and vendi(blocks, math.inf) == pytest.approx(1 / 0.6)
    far = torch.arange(4.0)[:, None] * 100
    assert vendi(gaussian_similarity(far, 1.0)) == pytest.approx(4)
    # two rows at distance d: eigenvalues (1 +- exp(-d^2 / 2)) / 2
    l = (1 + math.exp(-0.5)) / 2  # noqa: E741
    assert vendi(gaussian_similarity(torch.tensor([[0.0], [2.0]]), 2.0)) == pytest.approx(
        math.exp(-l * math.log(l) - (1 - l) * math.log(1 - l))
    )


def test_two_ways_has_two_classes_and_they_are_its_sides() -> None:
    found = [(homotopy(r[None], TWO)[0], side(r)) for r in routes(TWO, (1, 3), (4, 3))]
    assert sorted(found) == [((), 1.0), ((1,), -1.0)]
    driven = Controller(TWO, left=0.5)
    for seed in range(6):
        path = driven.route([0.1, 1.4, 0, 0], [-0.2, -1.6], seed)
        assert homotopy(path[None], TWO)[0] == ((1,) if side(path[:, :2]) < 0 else ())


def test_each_route_of_a_maze_of_narrow_corridors_is_a_class_of_its_own() -> None:
    every = routes(THREE, (1, 3), (4, 3))
    words = [homotopy(r[None], THREE)[0] for r in every]
    assert len(every) == len(set(words)) == 3 and len(holes(THREE)) == 2
    assert len(set(homotopy(np.array([every[0], every[0]]), THREE))) == 1


@pytest.mark.parametrize("name, blocks, ways, classes", [("umaze", 0, 1, 1), ("medium", 1, 4, 2), ("large", 3, 6, 6)])
def test_the_standard_mazes_have_as_many_classes_as_can_be_counted_on_their_maps(
    name: str, blocks: int, ways: int, classes: int
) -> None:
    # medium has one loop, and an open room of 2 x 2 cells that routes of one class cross in two ways
    walls = Walls.named(name)
    f, free = ~walls.blocked, np.argwhere(~walls.blocked)
    # Euler: independent loops = edges - cells + 1, of which each open square of four cells is one without a block
    loops = (f[1:] & f[:-1]).sum() + (f[:, 1:] & f[:, :-1]).sum() - f.sum() + 1
    assert len(holes(walls)) == loops - (f[1:, 1:] & f[1:, :-1] & f[:-1, 1:] & f[:-1, :-1]).sum()
    every = routes(walls, tuple(free[0].tolist()), tuple(free[-1].tolist()))
    assert (len(holes(walls)), len(every)) == (blocks, ways)
    assert len({homotopy(route[None], walls)[0] for route in every}) == classes


def test_bending_a_path_and_going_back_and_forth_change_no_class() -> None:
    g = np.random.default_rng(0)
    for route in routes(THREE, (1, 3), (4, 3)):
        fine = np.stack([np.interp(np.linspace(0, len(route) - 1, 400), np.arange(len(route)), c) for c in route.T], 1)
        back = np.concatenate([fine[:300], fine[300:50:-1], fine[50:]])
        shaken = back + g.uniform(-0.1, 0.1, back.shape)
        shaken[[0, -1]] = back[[0, -1]]
        assert homotopy(shaken[None], THREE, tolerance=0) == homotopy(route[None], THREE)


def test_a_loop_around_a_block_is_counted_with_its_turns() -> None:
    corners = TWO.centre([(1, 3), (1, 1), (4, 1), (4, 5), (1, 5)])
    loop = np.concatenate([corners, corners, corners[:1]])
    assert homotopy(loop[None], TWO) == [(1, 1)] and homotopy(loop[None, ::-1], TWO) == [(-1, -1)]


def test_a_plan_through_a_wall_has_no_class_and_one_that_grazes_it_has() -> None:
    through = np.array([[0, 1.5], [0, -1.5]])
    grazing = np.array([[0, 1.5], [-1.3, 1.1], [-1.6, 0.9], [-1.6, -1.5], [0, -1.5]])
    assert homotopy(np.array([through]), TWO) == [None]
    assert homotopy(np.array([grazing]), TWO) == [(1,)] and homotopy(np.array([grazing]), TWO, 0.0) == [None]
    assert homotopy(np.full((1, 4, 2), np.nan), TWO) == [None]
    assert numbered([(1,), None, (), (7,)], [(), (1,)]).tolist() == [1, -1, 0, -1]


def test_errors_say_what_came() -> None:
    with pytest.raises(ValueError, match=r"from -1 to 1; got \(2,\) of int64 with \[0, 2\]"):
        shares([0, 2], 2)
    with pytest.raises(ValueError, match="sum to 1"):
        expected_entropy([0.5, 0.6], 3)
    with pytest.raises(ValueError, match="an eigenvalue is -1"):
        vendi([[1, 2], [2, 1.0]])
    with pytest.raises(ValueError, match=r"got \[3, 2\]"):
        homotopy(np.zeros((3, 2)), TWO)
    with pytest.raises(ValueError, match="at least twice each"):
        Centres.of(torch.zeros(3, 2), torch.tensor([0, 2, 2]))
