"""The worlds: shortest paths against a grid, the controller, two ways with a known probability, the follower."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from torch.testing import assert_close

from diffrl_lab.worlds.driving import Follower, drive, follow
from diffrl_lab.worlds.mazes import Controller, make_maze, normalised_score, side
from diffrl_lab.worlds.walls import RADIUS, Walls, path_length


def cells_apart(walls: Walls, a: np.ndarray, b: np.ndarray) -> int:
    """Breadth-first search over free cells."""
    a, b = tuple(map(int, walls.cell(a))), tuple(map(int, walls.cell(b)))
    steps, queue = {a: 0}, deque([a])
    while queue:
        r, c = queue.popleft()
        for n in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if not walls.blocked[n] and n not in steps:
                steps[n] = steps[(r, c)] + 1
                queue.append(n)
    return steps[b]


@pytest.mark.parametrize("maze", ["umaze", "large"])
def test_the_shortest_path_is_free_symmetric_and_between_the_beeline_and_the_grid(maze: str) -> None:
    walls, rng = Walls.named(maze), np.random.default_rng(0)
    free = np.argwhere(~walls.blocked)
    for a, b in walls.centre(free[rng.integers(len(free), size=(30, 2))]):
        path = walls.shortest_path(a, b)
        length = path_length(path)
        assert not walls.crosses(path[:-1], path[1:], RADIUS - 0.005).any()
        assert np.linalg.norm(b - a) - 1e-9 <= length <= cells_apart(walls, a, b) + 1e-9
        assert length == pytest.approx(path_length(walls.shortest_path(b, a)))


def test_no_way_over_corners_in_sight_of_one_another_is_shorter_than_the_shortest_path() -> None:
    walls, rng = Walls.named("large"), np.random.default_rng(1)
    nodes, lengths = walls._graph(RADIUS)
    between = np.where(np.eye(len(nodes), dtype=bool), 0.0, lengths)
    for k in range(len(nodes)):  # Floyd and Warshall: every corner may lie between any two others
        between = np.minimum(between, between[:, k, None] + between[None, k])
    free = walls.centre(np.argwhere(~walls.blocked))
    for a, b in free[rng.integers(len(free), size=(40, 2))]:
        first, last = walls._sight(a[None], nodes, RADIUS), walls._sight(nodes, b[None], RADIUS)
        wanted = min(float(walls._sight(a, b, RADIUS)), (first[:, None] + between + last).min())
        assert path_length(walls.shortest_path(a, b)) == pytest.approx(wanted, abs=1e-9)


def test_the_way_to_where_one_stands_has_no_length() -> None:
    np.testing.assert_array_equal(Walls.named("umaze").shortest_path([-1, 1], [-1, 1]), [[-1, 1], [-1, 1]])


def test_a_taut_string_around_the_wall_of_the_umaze_has_its_exact_length() -> None:
    start, goal = np.array([-1.0, 1.0]), np.array([-1.0, -1.0])  # around the end of a wall 2 m wide, its tip at x = 0.5
    tip = 0.5 + RADIUS
    wanted = 2 * np.hypot(tip + 1, 1 - tip) + 2 * tip
    assert path_length(Walls.named("umaze").shortest_path(start, goal)) == pytest.approx(wanted)


def test_cells_and_centres_are_each_others_inverse_and_walls_are_where_the_environment_puts_them() -> None:
    env = make_maze("medium")
    walls, maze = Walls.of(env), env.unwrapped.maze
    cells = np.argwhere(np.ones_like(walls.blocked))
    assert (walls.cell(walls.centre(cells)) == cells).all()
    assert_close(walls.centre((2, 5)), np.asarray(maze.cell_rowcol_to_xy((2, 5))))


def test_the_controller_reaches_its_goal_without_touching_a_wall() -> None:
    env = make_maze("medium")
    walls = Walls.of(env)
    for seed in range(6):
        agent = Controller(walls)
        run = drive([env], agent, [seed], until=lambda e, agent=agent: agent.settled(e, 40))[0]
        assert np.linalg.norm(run.obs[-1, :2] - run.goal) < 0.05
        assert not walls.inside(run.obs[:, :2], RADIUS + 0.003).any()


@pytest.mark.parametrize("p, way", [(1.0, -1.0), (0.0, 1.0)])
def test_two_ways_are_taken_with_the_probability_asked_for_and_the_right_one_costs_its_toll(
    p: float, way: float
) -> None:
    env = make_maze("two-ways", toll=0.5)
    agent = Controller(Walls.of(env), left=p)
    runs = drive([env], agent, range(3), until=agent.settled)
    assert [side(r.obs[:, :2]) for r in runs] == [way] * 3
    paid = [int((r.rew < 0).sum()) for r in runs]
    inside = [int(((r.obs[1:, 0] > 1.5) & (np.abs(r.obs[1:, 1]) < 1)).sum()) for r in runs]
    assert paid == inside and (min(paid) > 0) == (way > 0)


def test_the_follower_is_pd_and_clipped() -> None:
    reference, obs = np.array([1.0, 0, 0, 2]), np.array([0.98, 0, 0, 1.9])
    assert_close(follow(reference, obs, kp=15, kd=2), np.array([0.3, 0.2]))
    assert_close(follow(reference, np.array([-9.0, 9, 0, 0])), np.array([1.0, -1]))


def test_a_follower_asks_again_only_when_it_is_thrown_off_or_has_ended_short_of_the_goal() -> None:
    line = np.stack([np.linspace(0, 1, 101), *np.zeros((3, 101))], 1)
    agent = Follower(lambda obs, goal, seed: line, patience=5)

    def asked(track: np.ndarray) -> int:
        agent.reset(track[:1], [0], np.array([[1.0, 0]]))
        for obs in track:
            agent.act(obs[None])
        return agent.extras(0)["plans"]

    held = np.concatenate([line, np.tile(line[-1], (50, 1))])
    assert asked(held) == 1  # it arrives and stays
    assert asked(held + [0, 0.45, 0, 0]) == 1  # off, but not by 0.5
    assert asked(line + [0, 0.55, 0, 0]) > 10  # thrown off at every step
    short = np.concatenate([line[:53], np.tile(line[52], (52, 1))])
    assert asked(short) == 1 and asked(np.concatenate([short, np.tile(short[-1], (3, 1))])) > 1
    assert Follower(lambda *_: line, again=False).again is False


def test_random_and_expert_references_score_zero_and_a_hundred() -> None:
    assert_close(normalised_score("large", [6.7, 273.99]), np.array([0.0, 100.0]))


def test_an_episode_knows_when_its_goal_was_reached() -> None:
    env = make_maze("umaze")
    episode = drive([env], Controller(Walls.of(env)), [0])[0]
    distance = np.linalg.norm(episode.obs[1:, :2] - episode.goal, axis=1)
    assert episode.reached and episode.steps == 300
    assert distance[episode.steps_to_goal - 1] <= 0.45 < distance[: episode.steps_to_goal - 1].min()
    assert_close(episode.rew, (distance <= 0.45).astype(float))


def test_an_unknown_maze_and_an_impossible_way_are_named() -> None:
    with pytest.raises(ValueError, match="umaze, medium, large, two-ways; got 'huge'"):
        make_maze("huge")
    closed = Walls(np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]], bool))
    with pytest.raises(ValueError, match="no way leads from"):
        closed.shortest_path([-1, 0], [1, 0])
