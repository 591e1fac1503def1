"""Walls and detours, on plans whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from diffrl_lab.analysis.feasibility import curve_segments_in_walls, detour, points_in_walls, segments_in_walls
from diffrl_lab.data.worlds import Walls

# one block of 1 m in the middle of a room of 3 m, and a ring of walls around it
ROOM = Walls(np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], bool))


def test_a_straight_line_through_the_block_is_in_the_wall_for_its_width_and_the_balls() -> None:
    line = np.stack([np.linspace(-1.2, 1.2, 2401), np.zeros(2401)], 1)
    assert points_in_walls(line, ROOM, clearance=0) == pytest.approx(1.0 / 2.4, abs=1e-3)
    assert points_in_walls(line, ROOM) == pytest.approx(1.2 / 2.4, abs=1e-3)


def test_segments_that_jump_over_a_wall_are_seen_though_their_points_are_free() -> None:
    plan = np.array([[-1, 0.9], [-1, -0.9], [1, -0.9], [1, 0.9], [-1, -0.9]])
    assert points_in_walls(plan, ROOM) == 0
    assert segments_in_walls(plan, ROOM) == pytest.approx(1 / 4)  # the diagonal alone passes through the block


def test_each_stretch_of_a_curve_answers_for_itself() -> None:
    line = np.stack([np.linspace(-1.2, 1.2, 241), np.zeros(241)], 1)  # in the wall for |x| < 0.5, grown by 0.1
    assert curve_segments_in_walls(line, 4, ROOM).tolist() == [False, True, True, False]


def test_the_shortest_path_has_no_detour_and_a_walk_around_three_sides_has() -> None:
    start, goal = np.array([-1.0, 0]), np.array([1.0, 0])
    best = ROOM.shortest_path(start, goal, 0.1)
    assert detour(best, goal, ROOM) == pytest.approx(1)
    around = np.array([start, [-1, 1], [1, 1], goal])
    # the taut string: to a corner grown by 0.1, along the block, and back
    assert detour(around, goal, ROOM) == pytest.approx(4 / (1.2 + 2 * np.hypot(0.4, 0.6)))
