"""OGBench's pointmazes: names, ways, and what is said without the package; the mazes where it is installed."""

from __future__ import annotations

import builtins
import importlib
from pathlib import Path

import numpy as np
import pytest

from diffrl_lab.data.ogbench import read
from diffrl_lab.worlds import ogbench as mazes
from diffrl_lab.worlds.driving import Follower, arrived, drive

MAP = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]])


def test_a_name_says_maze_and_kind_and_another_one_is_refused() -> None:
    assert mazes.named("pointmaze-giant-stitch-v0") == ("giant", "stitch")
    assert mazes.named("pointmaze-teleport-v0") == ("teleport", None)
    for wrong in ("antmaze-medium-stitch-v0", "pointmaze-medium-explore-v0", "pointmaze-medium"):
        with pytest.raises(ValueError, match="a name is pointmaze-MAZE-KIND-v0"):
            mazes.make(wrong)


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = importlib.import_module

    def missing(name: str, *rest: object) -> object:
        if name == "ogbench":
            raise ImportError("No module named 'ogbench'")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(importlib, "import_module", missing)
    for call in (mazes.make, mazes.World, lambda name: mazes.record(name, 1, 0, tmp_path)):
        with pytest.raises(ImportError, match=r'pip install "diffrl-lab\[ogbench\]".*No module named'):
            call("pointmaze-medium-stitch-v0")


def test_nothing_here_imports_the_package_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: object, **more: object) -> object:
        assert name.split(".")[0] != "ogbench"
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in ("diffrl_lab.worlds.ogbench", "diffrl_lab.data.ogbench"):
        importlib.reload(importlib.import_module(name))


def test_a_way_leads_over_sides_along_the_fewest_cells() -> None:
    ways = mazes.Ways(MAP)
    assert len(ways.free) == 7 and ways.to((3, 3))[3, 1] == 6 and ways.to((3, 3))[2, 2] == -1
    way = [(3, 1)]
    while way[-1] != (3, 3):
        way.append(ways.next(way[-1], (3, 3)))
    assert way == [(3, 1), (2, 1), (1, 1), (1, 2), (1, 3), (2, 3), (3, 3)]
    assert ways.next((3, 3), (3, 3)) == (3, 3)


def test_a_leg_of_stitch_ends_four_cells_away_and_a_goal_of_navigate_anywhere_else() -> None:
    ways, rng = mazes.Ways(MAP), np.random.default_rng(0)
    legs = {mazes._goal(ways, "stitch", (3, 1), rng) for _ in range(20)}
    assert legs == {(1, 3)} and ways.to((3, 1))[1, 3] == mazes.LEG
    goals = {mazes._goal(ways, "navigate", (3, 1), rng) for _ in range(200)}
    assert goals == set(ways.free) - {(3, 1)}


def test_a_recording_needs_a_kind() -> None:
    with pytest.raises(ValueError, match=r"a kind \(navigate, stitch\)"):
        mazes.record("pointmaze-medium-v0")


def test_numpys_global_generator_is_left_as_it_was() -> None:
    np.random.seed(5)
    wanted = np.random.RandomState(5).random_sample(2)
    state = np.random.RandomState(0)
    drawn = []
    for _ in range(2):
        with mazes._numpys(state):
            drawn.append(np.random.random_sample())
    assert np.random.random_sample(2) == pytest.approx(wanted)
    assert drawn == pytest.approx(np.random.RandomState(0).random_sample(2))


def test_in_the_packages_own_maze_a_recording_is_made_read_driven_and_repeated(tmp_path: Path) -> None:
    pytest.importorskip("ogbench")
    name = "pointmaze-medium-stitch-v0"
    files = [mazes.record(name, 2, seed=3, out=tmp_path / str(k)) for k in range(2)]
    episodes, again = (read(file) for file in files)
    assert episodes.lengths.tolist() == [200, 200] and (episodes.obs == again.obs).all()
    world = mazes.World(name)
    inside, shift = mazes.walls(world.env)
    assert not inside.inside(episodes.obs.numpy() / mazes.CELL + shift).any()
    ways = mazes.Ways(world.env.unwrapped.maze_map)

    def route(state: np.ndarray, goal: np.ndarray, seed: int) -> np.ndarray:
        at, end = (world.env.unwrapped.xy_to_ij(p * mazes.CELL) for p in (state[:2], goal))
        way = [at]
        while way[-1] != end:
            way.append(ways.next(way[-1], end))
        corners = np.array([*(np.array(world.env.unwrapped.ij_to_xy(c)) / mazes.CELL for c in way), goal])
        path = np.concatenate([np.linspace(a, b, 25) for a, b in zip(corners, corners[1:], strict=False)])
        return np.concatenate([path, np.zeros_like(path)], 1)

    found = drive([world], Follower(route, kp=mazes.CELL / mazes.REACH, kd=0.0), range(mazes.TASKS), until=arrived)
    world.close()
    assert [e.reached for e in found] == [True] * mazes.TASKS
    assert len({tuple(np.round(e.obs[0, :2]).tolist()) for e in found}) > 1 and not found[0].obs[0, 2:].any()
