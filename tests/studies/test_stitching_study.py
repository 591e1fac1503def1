"""The study of stitching: which goals it asks for, and how trainings are put together; nothing is trained here."""

from __future__ import annotations

import numpy as np
import pytest

from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.methods.policies import gciql
from diffrl_lab.studies import stitching
from diffrl_lab.studies.data.recordings import MAZE, cells_apart, named_walls
from diffrl_lab.worlds.mazes import make_maze


def test_every_goal_lies_farther_than_three_cells_and_the_two_sets_share_none() -> None:
    shared, untouched = (stitching.far(name) for name in stitching.SETS)
    assert len(shared) == 94 and not set(shared) & set(untouched)
    env, walls = make_maze(MAZE), named_walls(MAZE)
    reset, _ = env.reset(seed=untouched[0])
    env.close()
    apart = cells_apart(walls, np.array(reset["achieved_goal"]), np.array(reset["desired_goal"]))
    assert apart > stitching.FAR == max(stitching.LEGS)


def test_gciql_drives_to_the_goals_of_both_sets_and_has_no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gciql.Gciql(gciql.Config(width=8), 4, 2)
    monkeypatch.setattr(stitching, "trained", lambda arm, k, seed: (model, 3.0))
    monkeypatch.setattr(stitching, "far", lambda name: {"shared": (1000, 1002), "untouched": (50_001,)}[name])
    row = stitching.hindsight(3, seed=0)
    assert (len(row["reached_shared"]), len(row["reached_untouched"]), row["arm"]) == (2, 1, "gciql")
    assert row["train_cpu"] == 3 and row["plans"] is row["clear"] is row["plan_seconds"] is None
    (found,) = stitching.by_arm(Table([row | {"k": 3, "seed": 0}], {}))
    assert found["arm"] == "gciql" and found["seeds"] == 1 and found["plans"] is None


def _row(arm: str, k: int, seed: int, shared: str, untouched: str) -> dict:
    return {"arm": arm, "k": k, "seed": seed, "reached_shared": shared, "reached_untouched": untouched} | dict.fromkeys(
        ("plans", "clear", "plan_seconds", "train_cpu"), 2.0
    )


def test_trainings_are_pooled_over_both_sets_and_one_training_has_wilsons_interval() -> None:
    rows = [_row("graph", 2, 0, "1110", "11"), _row("graph", 2, 1, "0111", "01"), _row("retrieval", 2, 0, "0011", "10")]
    two, one = stitching.by_arm(Table(rows, {}))
    assert (two["arm"], two["seeds"], two["episodes"]) == ("graph", 2, 6)
    assert two["success"] == pytest.approx(9 / 12) and two["by_seed"] == pytest.approx([5 / 6, 4 / 6])
    assert two["shared"] == pytest.approx(6 / 8) and two["untouched"] == pytest.approx(3 / 4)
    assert two["interval"][0] <= two["success"] <= two["interval"][1]
    assert one["interval"] == pytest.approx(list(wilson(3, 6)))


def test_the_table_of_joints_is_of_exact_laws_and_knows_no_seed() -> None:
    table = stitching.windows([0])
    across = {row["way"]: row["across"] for row in table.rows if row["steps"] == 200}
    assert across["exact"] == pytest.approx(table.rows[0]["law"], abs=0.002)
    assert len(table.rows) == 2 * len(across) and "seed" not in table.rows[0]
