"""Data, behind lessons 03 and 04: what planners and policies need of it, on the medium and the large maze.

- `guide`: guides taught by dense or by goal-only reward, by the way left to the goal;
- `efficiency`: goals reached after 2,000 to 200,000 recorded transitions;
- `stitching`: the whole recording cut into legs of at most k cells; goals that are farther than any leg of 3;
- `recorders`: 20,000 transitions of the expert, of a wanderer, and of half each.

All methods train for about 10 CPU seconds, a tenth of what ships. Points are kept in runs/data-study. How the set-up
was chosen, and what was left out: docs/studies/data.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.files import ROOT
from diffrl_lab.studies.data import guides, trials
from diffrl_lab.studies.data.recordings import MAZE
from diffrl_lab.studies.study import Part

RUNS = ROOT / "runs" / "data-study"
VERSION = "1"  # of what the study's functions call
SIZES = (2_000, 20_000, 200_000)
FAR = 3  # cells: stitching is asked for goals farther than this


def points(part: str, seeds: tuple[int, ...]) -> list[tuple[list[dict[str, Any]], tuple[int, ...]]]:
    """The grid of one of the first three tables, in groups of points and the seeds they are computed for.

    Retrieval of the whole recording does not depend on the seed, and has the first alone.
    """

    def one(n: int, method: str, k: int = 0, recorder: str = "expert") -> dict[str, Any]:
        return {"recorder": recorder, "k": k, "transitions": n, "method": method}

    whole = SIZES[-1]
    if part == "efficiency":
        seeded = [one(n, m) for n in SIZES for m in trials.METHODS if (n, m) != (whole, "retrieval")]
        return [(seeded, seeds), ([one(whole, "retrieval")], seeds[:1])]
    if part == "stitching":
        learned = [one(whole, m, k) for k in (2, FAR, 0) for m in ("bc", "planner")]
        return [(learned, seeds), ([one(whole, "retrieval", k) for k in (2, FAR, 0)], seeds[:1])]
    if part == "recorders":
        return [([one(SIZES[1], "planner", recorder=r) for r in ("expert", "mixed", "targets")], seeds)]
    raise ValueError(f"a part is one of efficiency, stitching and recorders; got {part!r}")


def of_trials(part: str, seeds: Sequence[int]) -> Table:
    """One of the three tables of methods that drive, with its summary."""
    grids = [run_grid(trials.trial, g, seeds=s, cache=RUNS, version=VERSION) for g, s in points(part, tuple(seeds))]
    about = {"maze": MAZE, "first": trials.FIRST, "steps": trials.STEPS, "distances": trials.distances().tolist()}
    table = Table.joined(grids, **about)
    return Table(table.rows, table.about | {"summary": trials.summary(table, FAR if part == "stitching" else 0)})


def of_guides(seeds: Sequence[int]) -> Table:
    """The table of guides, with what each reaches at its best scale."""
    grid = [{"form": f, "gamma": g, "scale": s} for f, g, s in guides.GRID]
    table = run_grid(guides.guide, grid, seeds=seeds, cache=RUNS, version=VERSION)
    about = {"bins": list(guides.BINS), "maze": guides.WIDE, "summary": guides.by_way(table)}
    return Table(table.rows, table.about | about)


PARTS = {"guide": Part(of_guides, "results/data-guide.json")} | {
    part: Part(partial(of_trials, part), f"results/data-{part}.json")
    for part in ("efficiency", "stitching", "recorders")
}
