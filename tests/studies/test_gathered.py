"""Drives that wait for each other: each is the one that it would be alone, and plans are asked for together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch.testing import assert_close

from diffrl_lab.studies.gathered import gathered
from diffrl_lab.worlds.driving import Follower, arrived, drive
from diffrl_lab.worlds.mazes import make_maze


def _line(obs: np.ndarray, goal: np.ndarray, seed: int) -> np.ndarray:
    """Straight to the goal in 20 steps, walls or not."""
    share = np.linspace(0, 1, 21)[:, None]
    return np.concatenate([obs[:2] + share * (goal - obs[:2]), np.zeros((21, 2))], 1)


@pytest.fixture
def envs() -> Any:
    worlds = [make_maze("umaze") for _ in range(3)]
    yield worlds
    for world in worlds:
        world.close()


def test_episodes_that_wait_for_each_other_are_those_driven_alone_and_all_that_stand_are_asked_for_at_once(
    envs: Any,
) -> None:
    sizes: list[int] = []

    def routes(obs: np.ndarray, goal: np.ndarray, seed: int) -> list[np.ndarray]:
        sizes.append(len(obs))
        return [_line(o, g, seed) for o, g in zip(obs, goal, strict=True)]

    together = gathered(envs, routes, range(5), most=3, until=arrived)
    alone = drive(envs[:1], Follower(_line, most=3), range(5), until=arrived)
    for a, b in zip(together, alone, strict=True):
        assert (a.seed, a.plans) == (b.seed, b.plans)
        assert_close(a.obs, b.obs, rtol=0, atol=0)
    plans = [e.plans for e in alone]
    assert max(plans) > 1, "no episode of this test plans twice"
    assert sizes == [sum(n > k for n in group) for group in (plans[:3], plans[3:]) for k in range(max(group))]


def test_what_goes_wrong_in_a_plan_ends_all_drives_and_is_said(envs: Any) -> None:
    def routes(obs: np.ndarray, goal: np.ndarray, seed: int) -> list[np.ndarray]:
        raise ValueError("no plan today")

    with pytest.raises(ValueError, match="no plan today"):
        gathered(envs, routes, range(3), most=3, until=arrived)
