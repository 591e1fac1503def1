"""A drawn maze: what is refused, what PointMaze makes of it, and what a small planner learns in it."""

from __future__ import annotations

import numpy as np
import pytest

from diffrl_lab.studies import drawn
from diffrl_lab.worlds.mazes import drawn_maze, longest_way
from diffrl_lab.worlds.walls import Walls

MAPS = {
    "rows of equal length": ["111", "1001", "111"],
    "closed by walls; row 2, column 4": ["1111", "1000", "1111"],
    "two free cells; the map has 1": ["111", "101", "111"],
    "two free cells; the map has 0": ["111", "111", "111"],
    "1 of 3 cannot be, such as row 2, column 5": ["111111", "100101", "111111"],
    "1 of 3 cannot be, such as row 3, column 4": ["11111", "10011", "11101", "11111"],  # at a corner alone
}


def cells(rows: list[str]) -> list[list[int]]:
    return [[int(cell) for cell in row] for row in rows]


@pytest.mark.parametrize(("said", "rows"), MAPS.items())
def test_a_map_in_which_a_ball_cannot_be_driven_is_refused_by_the_cell_that_is_wrong(said: str, rows: list) -> None:
    with pytest.raises(ValueError, match=said):
        drawn_maze(cells(rows))


def test_the_environment_has_the_walls_that_were_drawn_and_time_for_the_longest_way() -> None:
    env = drawn_maze(drawn.EXAMPLE)
    assert env.unwrapped.maze.maze_map == drawn.EXAMPLE
    assert (Walls.of(env).blocked == (np.array(drawn.EXAMPLE) == 1)).all()
    assert env.spec.max_episode_steps == 100 + 25 * longest_way(drawn.EXAMPLE)
    ends = {
        tuple(Walls.of(env).cell(env.reset(seed=k)[0][x]))
        for k in range(200)
        for x in ("achieved_goal", "desired_goal")
    }
    assert ends == {tuple(cell) for cell in np.argwhere(np.array(drawn.EXAMPLE) == 0)}, (
        "starts and goals lie everywhere"
    )


def test_the_longest_way_of_a_spiral_is_its_length_less_one() -> None:
    spiral = cells(["1111111", "1000001", "1111101", "1000101", "1011101", "1000001", "1111111"])
    assert longest_way(spiral) == sum(row.count(0) for row in spiral) - 1
    assert longest_way(cells(["11111", "10001", "10001", "11111"])) == 3  # an open room: rows and columns apart


@pytest.mark.slow
def test_in_the_example_a_planner_trained_in_seconds_reaches_more_goals_than_the_straight_line() -> None:
    came = drawn.learn(drawn.EXAMPLE, seed=3)
    assert came.reached["planner"] > came.reached["straight line"] + 4, came.reached
    starts = [[e.obs[0].tolist() + e.goal.tolist() for e in episodes] for episodes in came.drives.values()]
    assert starts[0] == starts[1] == starts[2], "all drive from the same starts to the same goals"


def test_its_steps_are_made_in_any_maze_and_those_who_know_nothing_plan_a_few_times_at_most() -> None:
    corner = cells(["11111", "10001", "11101", "11111"])
    came = drawn.learn(corner, episodes=4, updates=2, goals=1)
    assert len(came.recorded.ends) == 4 and came.planner.about["trained"] == 2
    assert came.drives["planner"][0].plans <= drawn.PLANS and set(came.reached) == {
        "planner",
        "retrieval",
        "straight line",
    }
    inside = Walls.of(drawn_maze(corner)).inside(came.recorded.obs[:, :2].numpy())
    assert not inside.any(), "what is recorded was driven in the drawn maze"
