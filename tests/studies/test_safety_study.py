"""The study of safety and what lesson 08 draws of it: laws with exact answers, on no trained network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.toys import Truncated
from diffrl_lab.methods.planning.constrained import Config
from diffrl_lab.studies import obstacles, safety
from diffrl_lab.worlds import zones
from diffrl_lab.worlds.driving import Episode
from diffrl_lab.worlds.walls import Walls
from diffrl_lab.worlds.zones import Disc

WALLS = Walls.named("two-ways")


def driven(way: np.ndarray, plan: np.ndarray, reached: bool = True) -> Episode:
    """An episode along `way` [T, 2] whose first plan was `plan` [n, 2]."""
    state = lambda x: np.concatenate([x, np.zeros_like(x)], 1)  # noqa: E731
    T = len(way) - 1
    success = np.arange(T) == T - 1 if reached else np.zeros(T, bool)
    extras = {"reference": state(plan) if len(plan) else np.empty((0, 4)), "plans": 1}
    return Episode(0, state(way), np.zeros((T, 2)), np.zeros(T), False, True, way[-1], success, {}, extras)


LEFT = np.array([[0.0, 1.5], [-2.0, 1.5], [-2.0, -1.5], [0.0, -1.5]])
RIGHT = LEFT * [-1, 1]
BLOCK = np.array([[0.0, 1.5], [0.0, 0.0], [0.0, -1.5]])
DISC = [Disc(2.0, 0.0, 0.3)]  # no state of RIGHT lies in it, and a segment does


def test_a_drive_that_jumps_over_a_disc_is_unsafe_although_no_state_of_it_lies_inside() -> None:
    found = safety.outcome(driven(RIGHT, RIGHT), DISC, WALLS)
    assert not found["plan safe"] and not found["drive safe"] and found["reached"] and not found["driven safely"]
    assert all(safety.outcome(driven(LEFT, LEFT), DISC, WALLS)[k] for k in ("plan safe", "plan clear", "all"))


def test_a_plan_through_a_wall_is_safe_and_not_clear_and_a_plan_given_up_is_neither() -> None:
    through = safety.outcome(driven(LEFT, BLOCK), DISC, WALLS)
    assert through["plan safe"] and not through["plan clear"] and through["driven safely"] and not through["all"]
    nothing = safety.outcome(driven(np.zeros((5, 2)) + LEFT[0], np.empty((0, 2)), reached=False), DISC, WALLS)
    assert nothing["given up"] and nothing["drive safe"] and not nothing["plan safe"] and not nothing["driven safely"]


@pytest.mark.parametrize("maze", ["two-ways", "large"])
def test_a_task_has_the_same_discs_each_time_and_they_leave_start_goal_and_a_way_free(maze: str) -> None:
    walls, place = Walls.named(maze), safety.discs(maze)
    middles = walls.centre(np.argwhere(~walls.blocked))
    for seed in range(30):
        start, goal = middles[seed % len(middles)], middles[(7 * seed + 3) % len(middles)]
        found = place(np.r_[start, 0, 0], goal, seed)
        assert found == place(np.r_[start, 0, 0], goal, seed)
        if maze == "two-ways":
            assert len(found) == 1 and 1.7 <= abs(found[0].x) <= 2.3 and abs(found[0].y) <= 0.8
            continue
        assert len(found) == 3 and len(set(found)) == 3
        at = np.array([[zone.x, zone.y] for zone in found])
        assert np.linalg.norm(at - start, axis=1).min() > 0.8 and np.linalg.norm(at - goal, axis=1).min() > 0.8
        cells = walls.centre(walls.cell(at))
        assert not walls.inside(cells).any() and np.allclose(np.linalg.norm(at - cells, axis=1), 0.3 * 2**0.5)


def test_margins_cover_the_other_scores_as_often_as_they_say_and_vary_less_from_more_drives() -> None:
    scores = np.random.default_rng(0).exponential(size=400)
    few, many = (safety.coverage(scores, n, draws=1000) for n in (19, 99))
    for row in (few, many):
        assert abs(row["coverage"] - 0.9) < 0.01
    assert few["high"] - few["low"] > 1.5 * (many["high"] - many["low"])


def test_a_drive_is_off_its_plan_by_its_largest_distance_at_the_same_step() -> None:
    away = LEFT + np.array([[0, 0], [0.1, 0], [0, 0.3], [0, 0.2]])
    assert_close(safety.off_plan(driven(away, LEFT)), 0.3)
    assert_close(safety.off_plan(driven(away, LEFT[:2])), 0.1)


def test_a_guide_alone_refuses_nothing_and_an_agent_that_refuses_drives_safely() -> None:
    free, refused = (safety.guided(form, 0.0, tasks=4) for form in ("select", "refused"))
    assert free["given up"] == 0 and 0 < free["unsafe segment"] < 1 and free["says"] is None
    assert refused["drive safe"] == 1 and refused["drive safe"] > free["drive safe"]


def test_a_curve_is_counted_at_each_disc_it_meets_and_at_walls_and_is_right_where_it_meets_nothing() -> None:
    aside = RIGHT.copy()
    aside[1:3, 0] = 2.3  # beside the disc, in the same corridor
    state = lambda x: np.concatenate([x, np.zeros_like(x)], 1)  # noqa: E731
    found = safety.faults([state(x) for x in (LEFT, RIGHT, BLOCK, aside)], WALLS)
    assert found == {"right": 0.25, "left": 0.25, "either": 0.5, "wall": 0.25, "right plan": 0.25}


def test_a_plan_through_the_middle_of_a_disc_crosses_it_however_far_it_was_grown_and_one_at_its_side_does_not() -> None:
    disc = Disc(0.0, 0.0, 0.3)
    way = torch.zeros(16, 4)
    way[:, 0] = torch.linspace(-1.875, 1.875, 16)  # points 0.25 m apart, two of them at +-0.125 m
    crossed = lambda off, grown: bool(  # noqa: E731
        zones.broken(zones.nearest(way + torch.tensor([0, off, 0, 0]), [disc.grown(grown)]), [disc]).any()
    )
    assert all(crossed(0.0, grown) for grown in (0.01, 0.1, 0.3))
    # two points at +-0.125 m, moved out to R, leave a segment at the distance R off / sqrt(off^2 + 0.125^2)
    off = 0.125 / 3**0.5  # so at R / 2
    assert crossed(off, 0.29) and not crossed(off, 0.31)


def test_what_is_planned_midway_begins_where_the_ball_is_and_a_disc_out_of_the_way_changes_nothing() -> None:
    obstacle, after = obstacles.Obstacle(), 20
    free, _ = obstacle.driven([], after, Config(form="select"))
    far, judged = obstacle.driven([Disc(-2.0, 0.0, 0.2)], after, Config(form="select"))
    assert judged.tries == 1 and free.reached and np.array_equal(free.obs, far.obs)
    assert np.array_equal(free.obs[0], obstacle.before.obs[after]) and np.linalg.norm(free.obs[0, 2:]) > 1
    step = np.linalg.norm(free.obs[1, :2] - free.obs[0, :2])
    assert abs(step - 0.01 * np.linalg.norm(free.obs[0, 2:])) < 0.005  # it goes on as fast as it was


def test_a_ball_in_the_middle_of_a_new_disc_gives_up_and_stays() -> None:
    obstacle = obstacles.Obstacle()
    x, y = obstacle.before.obs[0, :2]
    rest, judged = obstacle.driven([Disc(x, y, 0.3)], 0, Config(form="select", jitter=0.0, tries=1))
    assert judged.given_up and not rest.reached and rest.extras["refused"] == rest.plans == obstacle.MOST
    assert np.linalg.norm(rest.obs[:, :2] - [x, y], axis=1).max() < 0.01


def test_projected_draws_lie_on_the_boundary_as_often_as_they_were_unsafe() -> None:
    law, x = Truncated(1.0), torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0))
    assert abs(obstacles.on_boundary(x.clamp(min=1.0), 1.0) - (1 - law.share)) < 0.005
    assert obstacles.on_boundary(law.sample(100_000, torch.Generator().manual_seed(1)), 1.0) < 0.004


def test_a_row_of_a_table_is_found_by_its_columns_and_by_enough_of_them() -> None:
    table = obstacles.Study("bent")
    assert table.row(form="none")["walls"] < 0.05
    with pytest.raises(ValueError, match="rows have"):
        table.row(form="cost")
