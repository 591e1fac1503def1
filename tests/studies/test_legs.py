"""What lesson 07 draws: its denoiser of chunks is the library's, and what ships is what the text says of it."""

from __future__ import annotations

import numpy as np
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.course.exercises import e07_drive, e07_neighbours
from diffrl_lab.studies import legs, stitching
from diffrl_lab.studies.data.recordings import cells_apart
from diffrl_lab.widgets.movie import lying, unpack
from diffrl_lab.worlds.driving import REACHED


def test_the_lessons_denoiser_is_the_librarys_with_the_right_neighbours_and_another_with_others() -> None:
    model = legs.graph().motion
    obs, goal = legs.task(legs.seeds(1)[0])
    known, value = model.ends(obs[None], goal[None], 3)
    x_t, t = torch.randn(value.shape, generator=torch.Generator().manual_seed(0)), torch.tensor(0.6)
    with torch.no_grad():
        theirs = model.joined(known, value)(x_t, t)[0]
        mine = legs.joined(model, e07_neighbours.right, known[0], value[0])(x_t[0], t)
        wrong = legs.joined(model, e07_neighbours.own, known[0], value[0])(x_t[0], t)
    assert_close(mine, theirs)
    assert (wrong - theirs).abs().max() > 0.01


def test_no_recorded_leg_goes_farther_than_three_cells_and_every_goal_is_farther() -> None:
    starts, ends = (np.array([leg[k] for leg in legs.recorded()]) for k in (0, -1))
    apart = cells_apart(legs.WALLS, starts, ends)
    assert len(starts) == 400 and apart.max() <= 3 and (apart == 3).any()
    tasks = [legs.task(s) for s in legs.seeds(5)]
    far = cells_apart(legs.WALLS, np.array([o[:2].numpy() for o, _ in tasks]), np.array([g.numpy() for _, g in tasks]))
    assert far.min() > stitching.FAR


def test_a_planner_that_a_table_lacks_has_a_dash_in_it_and_its_numbers_where_it_has_some() -> None:
    row = {"k": 2, "arm": "graph", "success": 0.5, "interval": [0.4, 0.6], "seeds": 3}
    medium = Table([], {"maze": "medium", "summary": [row, row | {"k": 3, "success": 0.7}]})
    large = Table([], {"maze": "large", "summary": [row | {"k": 4, "arm": "bc", "seeds": 1}]})
    found = legs.new(medium, large)
    rows = {row[0]: dict(zip(found.head, row, strict=True)) for row in found.rows}
    graph, bc = (rows[legs.ARMS[arm]] for arm in ("graph", "bc"))
    assert graph["medium, legs of 3 cells"] == "0.70 (0.40 to 0.60)" and graph["trainings, medium"] == "3"
    assert graph["large, legs of 4 cells"] == "–" and bc["trainings, large"] == "1"
    assert legs.ARMS["gciql"] not in rows


def test_the_graph_drives_to_a_far_goal_in_the_learners_loop_as_in_the_library() -> None:
    seed = legs.seeds(3)[2]
    plan, step, obs, goal = legs.course(seed, legs.graph())
    path = e07_drive.right(plan, step, obs, goal, 50, 300)
    assert (path[:, :2] - goal).norm(dim=1).min() < REACHED
    assert (path[1:, :2] - path[:-1, :2]).norm(dim=1).max() < 0.2, "a ball does not jump"
    [episode] = legs.driven(legs.graph().route, [seed])
    assert episode.reached and episode.plans <= stitching.PLANS


def test_the_legs_that_light_up_are_those_that_pass_the_point_which_a_running_plan_has_reached() -> None:
    leg = legs.recorded()[30]  # a plan in two chunks along a recorded leg: the leg is lit all the time
    along = leg[np.linspace(0, len(leg) - 1, 9).round().astype(int)]
    film = legs.running(
        [along[:5], along[4:]],
        [2.0, 3.0],
        along[0],
        along[-1],
        alt="A plan that runs along a recorded leg from its start to its end.",
    )
    (shown,), (_, lit) = unpack(film.meta, film.data).values(), lying(film.meta, film.data)
    assert len(lit) == 9 and all(10 in row for row in lit), "of every third leg the tenth is the thirtieth"
    for k, row in enumerate(lit):
        near = [np.linalg.norm(other - along[k], axis=1).min() < legs.NEAR for other in legs.recorded()[::3]]
        assert row == np.flatnonzero(near).tolist()
        there = np.isfinite(shown["x_t"][k]).all(-1)
        assert there.tolist() == [[i <= k for i in range(5)], [i + 4 <= k for i in range(5)]]
    np.testing.assert_allclose(shown["t"], [0, 0.5, 1, 1.5, 2, 2.75, 3.5, 4.25, 5], rtol=1e-6)


def test_the_table_of_planning_again_has_the_rows_of_each_driver_in_the_order_of_the_steps() -> None:
    interval = [0.25, 0.75]
    rows = [{"driver": d, "every": e, "episodes": 8, "reached": r, "interval": interval, "plans": p}
            for d, e, r, p in (("own actions", "10", 0.5, 4), ("own actions", "never", 0.125, 1),
                               ("controller", "10", 0.75, 3), ("controller", "never", 1.0, 1))]  # fmt: skip
    found = legs.replanned(Table([], {"summary": rows}))
    assert [list(row) for row in found.rows] == [
        ["10", "0.50 (0.25 to 0.75)", "4.0", "0.75 (0.25 to 0.75)", "3.0"],
        ["never", "0.12 (0.25 to 0.75)", "1.0", "1.00 (0.25 to 0.75)", "1.0"],
    ]
