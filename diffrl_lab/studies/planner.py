"""The planner, behind the README's table: success and score in three mazes, beside what needs less or knows more.

Per maze three training seeds of the planner and the baselines, then one on pairs of start and goal cells that were kept
out of training (`held_out`). 100 episodes from seed 1000, which nothing was tuned on. `umaze`, `medium` and `large`
train and measure one maze; `table` writes them all. Points and weights are kept in runs/study.
How it came about: docs/studies/planner.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.files import ROOT
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.studies import planners
from diffrl_lab.studies.study import Part

RUNS = ROOT / "runs" / "study"
VERSION = "1"  # of what the functions below call
MAZES = ("umaze", "medium", "large")
BASELINES = ("controller", "retrieval", "bc", "own-actions", "pd")
EPISODES, FIRST = 100, 1000


def weights(maze: str, seed: int, held_out: bool) -> Path:
    """The weights of one training, trained now (from its checkpoint, where one is) unless they are there."""
    name = f"maze-{maze}{'-held-out' if held_out else ''}"
    path = RUNS / f"seed{seed}" / f"{name}-good.safetensors"
    if not path.is_file():
        begun = any(path.parent.glob(f"{name}-seed*.checkpoint*"))
        planners.train(f"maze-{maze}", seed=seed, held_out=held_out, out=path.parent, resume=begun)
    return path


def measure(maze: str, method: str, held_out: bool, *, seed: int) -> dict[str, Any]:
    """One row: `planners.evaluate` of a method over the episodes.

    train_seed: the planner's, null for what is held against it; train_minutes: what the planner's training took.
    """
    path = weights(maze, seed, held_out) if method in ("planner", "own-actions") else None
    row = planners.evaluate(
        f"maze-{maze}", episodes=EPISODES, seed=FIRST, method=method, weights=path, held_out=held_out
    )
    own: dict[str, Any] = {"train_seed": None, "train_minutes": None}
    if method == "planner" and path is not None:
        own = {"train_seed": seed, "train_minutes": Diffuser.load(path).about["seconds"] / 60}
    return {k: v for k, v in row.items() if k not in ("method", "held_out", "weights")} | own


def of_maze(maze: str, held_out: bool, seeds: Sequence[int]) -> Table:
    """The rows of a maze, the planner's first; held-out pairs have the first training seed alone."""
    tables = []
    for methods, trained in ((["planner"], seeds[:1] if held_out else seeds), (BASELINES, seeds[:1])):
        grid = [{"maze": maze, "method": m, "held_out": held_out} for m in methods]
        tables.append(run_grid(measure, grid, seeds=trained, cache=RUNS, version=VERSION))
    return Table.joined(tables)


def both(maze: str, seeds: Sequence[int]) -> Table:
    """The rows of a maze, on all pairs and on those that were kept out of training."""
    return Table.joined(of_maze(maze, held_out, seeds) for held_out in (False, True))


def table(seeds: Sequence[int]) -> Table:
    """All mazes, and then all of them on the pairs that were kept out of training."""
    return Table.joined(of_maze(maze, held_out, seeds) for held_out in (False, True) for maze in MAZES)


PARTS = {maze: Part(partial(both, maze)) for maze in MAZES} | {"table": Part(table, "results/planner.json")}
