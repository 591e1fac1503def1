"""The study of stitching: which goals it asks for, and how trainings are put together; nothing is trained here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffrl_lab.analysis.intervals import bootstrap, wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.methods.planning import compositional
from diffrl_lab.methods.policies import gciql
from diffrl_lab.studies import stitching
from diffrl_lab.studies.data.recordings import MAZE, cells_apart, named_walls
from diffrl_lab.worlds.driving import Follower, arrived, drive
from diffrl_lab.worlds.mazes import make_maze


class Ran(list):
    """A training that is over."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model


def test_every_goal_lies_farther_than_three_cells_and_the_two_sets_share_none() -> None:
    shared, untouched = (stitching.far(name) for name in stitching.SETS)
    assert len(shared) == 94 and not set(shared) & set(untouched)
    env, walls = make_maze(MAZE), named_walls(MAZE)
    reset, _ = env.reset(seed=untouched[0])
    env.close()
    apart = cells_apart(walls, np.array(reset["achieved_goal"]), np.array(reset["desired_goal"]))
    assert apart > stitching.FAR == max(stitching.LEGS)


@pytest.mark.parametrize(("maze", "cells", "number"), [("medium", 3, 500), ("large", 4, 200)])
def test_new_goals_lie_farther_than_the_longest_leg_and_belong_to_no_set_that_was_looked_at(
    maze: str, cells: int, number: int
) -> None:
    new = stitching.fresh(maze)
    looked = {first + n for first, size in stitching.SETS.values() for n in range(size)}
    assert len(set(new)) == number and not set(new) & looked
    env = make_maze(maze)
    resets = [env.reset(seed=seed)[0] for seed in range(stitching.NEW, new[9] + 1)]
    env.close()
    start, goal = (np.array([r[key] for r in resets]) for key in ("achieved_goal", "desired_goal"))
    apart = cells_apart(named_walls(maze), start, goal)
    assert [s for s, far in zip(range(stitching.NEW, new[9] + 1), apart, strict=True) if far > cells] == list(new[:10])


def test_blocks_of_new_goals_are_put_together_in_their_order_whichever_was_computed_first() -> None:
    rows: list[dict] = []
    for seed, order in enumerate([(0, 1), (1, 0)]):
        for block in order:
            row = {"arm": "graph", "k": 2, "seed": seed, "block": block, "reached": ("1100", "10")[block]}
            rows.append(row | {"plans": None, "clear": 1.0, "train_cpu": 2.0 * seed})
    (found,) = stitching.by_block(Table(rows, {}))
    assert (found["seeds"], found["episodes"], found["plans"], found["train_cpu"]) == (2, 6, None, 1.0)
    assert found["by_seed"] == [0.5, 0.5] and found["interval"] == list(bootstrap([1, 1, 0, 0, 1, 0]))


def test_composed_chunks_drive_to_one_block_of_the_new_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = compositional.Config(horizon=6, width=8, depth=1, channels=8, denoising=1, candidates=2, most=1)
    model = compositional.Compositional(tiny, 4, 2)
    model.routes = lambda obs, goal, seed: [np.concatenate([g, [0, 0]])[None] for g in goal]  # type: ignore[method-assign]
    monkeypatch.setattr(stitching, "recorded", lambda *what: None)
    monkeypatch.setattr(stitching, "trained", lambda arm, k, seed, maze: (model, 3.0))
    monkeypatch.setattr(stitching, "fresh", lambda maze: tuple(range(100_000, 100_006)))
    monkeypatch.setattr(stitching, "BLOCK", 2)
    row = stitching.asked(MAZE, "compositional", 3, 1, seed=0)
    env = make_maze(MAZE)
    route = lambda obs, goal, seed: model.routes(obs[None], goal[None], seed)[0]  # noqa: E731
    alone = drive([env], Follower(route, most=stitching.PLANS), [100_002, 100_003], until=arrived)
    env.close()
    assert row["reached"] == "".join(str(int(bool(e.reached))) for e in alone)
    assert row["plans"] == np.mean([e.plans for e in alone]) and row["train_cpu"] == 3


def test_a_tree_searches_with_the_chunks_that_composition_has(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = compositional.Compositional(compositional.Config(width=8, depth=1, channels=4), 4, 2)
    asked = []
    monkeypatch.setattr(stitching, "trained", lambda *what: (asked.append(what), (chunks, 7.0))[1])
    model, cpu = stitching.learned("tree", 3, 1)
    assert asked == [("compositional", 3, 1)] and cpu == 7
    theirs = model.motion.state_dict()
    assert all(torch.equal(v, theirs[name]) for name, v in chunks.state_dict().items())


@pytest.mark.parametrize("arm", sorted(stitching.ALONE))
def test_what_is_trained_by_itself_is_read_as_what_its_method_trains(
    arm: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    method, kind = stitching.ALONE[arm]
    monkeypatch.setattr(stitching, "RUNS", tmp_path)
    monkeypatch.setattr(stitching, "recorded", lambda *what: None)
    untrained = kind(method.Config(), 4, 2)
    monkeypatch.setattr(method, "train", lambda episodes, seed: Ran(untrained))
    model, cpu = stitching.learned(arm, 3, 0)
    again, _ = stitching.learned(arm, 3, 0)
    assert type(model) is type(again) is kind and cpu >= 0 and (tmp_path / f"{arm}-3-0.safetensors").is_file()
    assert callable(model.route)


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
