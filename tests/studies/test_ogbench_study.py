"""The study of OGBench's mazes: how a recording is shown, and how episodes are pooled; nothing is trained here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data import Episodes
from diffrl_lab.studies import ogbench
from diffrl_lab.worlds.driving import Follower
from diffrl_lab.worlds.ogbench import REACH, TASKS


@pytest.fixture
def legs(monkeypatch: pytest.MonkeyPatch) -> Episodes:
    """Recordings of 300 steps: 8 m along x from 0 and from 4 m, then noise around the end."""
    rng = np.random.default_rng(0)
    along = np.r_[np.linspace(0, 8, 41), 8 + 0.1 * rng.standard_normal(260)]
    paths = [np.stack([first + along, 0.01 * rng.standard_normal(301)], 1).astype(np.float32) for first in (0, 4)]
    act, rew = np.zeros((300, 2), np.float32), np.zeros(300, np.float32)
    episodes = Episodes.join((path, act, rew, False) for path in paths)
    ogbench.shown.cache_clear()
    monkeypatch.setattr(ogbench, "recorded", lambda maze, kind: episodes)
    yield episodes
    ogbench.shown.cache_clear()


def test_the_first_attempt_keeps_what_stands_and_the_second_cuts_it_off_and_counts_in_cells(legs: Episodes) -> None:
    first, second = (ogbench.shown("medium", "stitch", name) for name in ("first", "second"))
    assert first.lengths.tolist() == [200, 100] * 2 and float(first.obs[:, 0].max()) > 11
    assert all(30 < n < 41 for n in second.lengths.tolist()) and float(second.obs[:, 0].max()) < 3
    assert float(second.obs[10, 2]) == pytest.approx(0.5, abs=1e-3)  # 8 m of cells of 4 m in 40 steps of .1 s


def test_an_arm_without_training_follows_the_nearest_leg_with_the_controller_of_its_attempt(legs: Episodes) -> None:
    first, second = (ogbench.agent("retrieval", "medium", "stitch", name, 0) for name in ("first", "second"))
    assert first[1] == second[1] == 0 and isinstance(second[0], Follower)
    assert (first[0].kp, second[0].kp, second[0].kd) == (15, 4 / REACH, 0) and second[0].most == ogbench.PLANS
    assert second[0].route(np.array([1.0, 0, 0, 0]), np.array([2.8, 0]), 0)[0, 0] == pytest.approx(1, abs=0.1)


def test_the_third_attempt_differs_from_the_second_in_the_updates_of_its_chunks_alone() -> None:
    second, third = (ogbench.ATTEMPTS[name] for name in ("second", "third"))
    assert replace(third, updates=second.updates) == second and third.updates == 4 * second.updates
    assert {maze for maze, _ in ogbench.CELLS} == set(ogbench.CHUNKS) == set(ogbench.WAYPOINTS)


def _row(arm: str, seed: int, reached: str, clear: float | None = 0.5) -> dict:
    about = dict.fromkeys(("steps", "plans", "plan_seconds", "train_cpu", "step"), 2.0)
    return {"maze": "giant", "kind": "stitch", "arm": arm, "seed": seed, "reached": reached, "clear": clear} | about


def test_episodes_are_pooled_over_trainings_and_told_by_task() -> None:
    rows = [_row("graph", 0, "1111101111"), _row("graph", 1, "1111100111"), _row("bc", 0, "0000000001", None)]
    two, one = ogbench.by_arm(Table(rows, {}))
    assert (two["arm"], two["seeds"], two["episodes"], two["success"]) == ("graph", 2, 20, 0.85)
    assert two["interval"] == list(wilson(17, 20)) and two["tasks"] == [0.5, 0.75, 1, 1, 1]
    assert len(one["tasks"]) == TASKS and one["tasks"][-1] == 0.5 and one["clear"] is None
    assert (two["published"], one["published"]) == (None, 0.0)
