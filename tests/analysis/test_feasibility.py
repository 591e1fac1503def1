"""Walls and detours, on plans whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from diffrl_lab.analysis.feasibility import (
    curve_segments_in_walls,
    detour,
    dynamics_drift,
    dynamics_residual,
    infeasible,
    locomotive,
    point_maze,
    points_in_walls,
    segments_in_walls,
)
from diffrl_lab.worlds import robots as locomotion
from diffrl_lab.worlds.driving import drive
from diffrl_lab.worlds.mazes import Controller, make_maze
from diffrl_lab.worlds.walls import Walls

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


def pull(obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """x' = x + a, one step after the other."""
    return obs[:, None] + np.cumsum(actions, 1)


def test_one_wrong_state_is_felt_into_and_out_of_it_and_a_wrong_action_for_ever_in_the_open_loop() -> None:
    g = np.random.default_rng(0)
    a = g.normal(size=(3, 7, 2))
    o = np.concatenate([np.zeros((3, 1, 2)), pull(np.zeros((3, 2)), a)], 1)  # [3, 8, 2]
    assert np.abs(dynamics_residual(pull, o, a)).max() < 1e-12 and np.abs(dynamics_drift(pull, o, a)).max() < 1e-12
    o[1, 3] += [0.3, 0.4]
    wanted = np.zeros((3, 7))
    wanted[1, 2:4] = 0.5
    assert dynamics_residual(pull, o, a) == pytest.approx(wanted, abs=1e-12)
    wanted[1, 3] = 0
    assert dynamics_drift(pull, o, a) == pytest.approx(wanted, abs=1e-12)
    a[2, 4] += [6, 8]
    wanted[2, 4:] = 5
    assert dynamics_drift(pull, o, a, scale=2) == pytest.approx(wanted * [[1], [0.5], [1]], abs=1e-12)
    longer = np.concatenate([a, np.full((3, 1, 2), 99)], 1)  # the last action leads out of the plan
    np.testing.assert_array_equal(dynamics_residual(pull, o, longer), dynamics_residual(pull, o, a))


@pytest.fixture(scope="module")
def driven():
    env = make_maze("umaze")
    agent = Controller(Walls.of(env), noise=0.1)
    episode = drive([env], agent, [0], until=agent.settled)[0]
    yield point_maze(env), episode.obs[None], episode.act[None]
    env.close()


def test_a_real_drive_replays_to_itself_and_float32_sets_the_floor(driven) -> None:
    simulate, o, a = driven
    assert dynamics_residual(simulate, o, a).max() < 1e-9 and dynamics_drift(simulate, o, a).max() < 1e-6
    floor = dynamics_residual(simulate, o.astype(np.float32), a.astype(np.float32))
    assert 1e-9 < floor.max() < 1e-5
    late = np.roll(a, 1, axis=1)
    assert infeasible(dynamics_residual(simulate, o, late), floor) > 0.9


def test_the_simulator_forgets_each_row_before_the_next(driven) -> None:
    simulate, *_ = driven
    g = np.random.default_rng(0)
    states, push = g.uniform(-1.5, 1.5, (40, 4)), g.uniform(-1, 1, (40, 3, 2))  # many in touch with a wall
    np.testing.assert_array_equal(simulate(states, push), simulate(states[::-1], push[::-1])[::-1])


def test_a_walking_robots_windows_replay_from_their_observations() -> None:
    env = locomotion.make("halfcheetah")
    obs, acts = [env.reset(seed=0)[0]], np.random.default_rng(0).uniform(-1, 1, (20, 6))
    for action in acts:
        obs.append(env.step(action)[0])
    found = dynamics_residual(locomotive(env), np.array(obs)[None], acts[None])
    env.close()
    assert found.max() < 1e-5 < dynamics_residual(locomotive(env), np.array(obs)[None], -acts[None]).min()


def test_plans_as_good_as_real_windows_are_infeasible_in_one_percent() -> None:
    g = np.random.default_rng(0)
    plans, real = g.gamma(2.0, size=(100, 200)), g.gamma(2.0, size=(100, 200))
    assert abs(infeasible(plans, real) - 0.01) < 4 * (2 * 0.01 * 0.99 / 20_000) ** 0.5
    assert infeasible(plans + 100, real) == 1


def test_plans_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \[2, 5, 3\] and \[2, 3, 1\]"):
        dynamics_residual(pull, np.zeros((2, 5, 3)), np.zeros((2, 3, 1)))
    with pytest.raises(ValueError, match="are needed"):
        infeasible([], [1.0])
