"""Guidance, behind lessons 05 and 05b: what it does to modes, validity and return, and whether it reaches goals.

- `exact`: two modes on a line, where forms of guidance and the laws they should sample are known;
- `plans-*`, `laws`, `frontiers`, `driven`, `asked` (check 1): clouds of plans over the scale, compared at equal return;
- `goals-*`, `goals` (experiment 2, check 2): goals reached; `goals-*` choose the scales, by training seed 0;
- `fine`, `weights`: what the lesson's slider and its networks open.

Networks and points are kept in runs/guidance. How it came about, and its hours: docs/studies/guidance.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from diffrl_lab.analysis.frontiers import crossing
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.diffusion import load
from diffrl_lab.studies import study
from diffrl_lab.studies.guidance import clouds, equal, goals, models
from diffrl_lab.studies.guidance.clouds import STEPS, asked, driven, law, plan_returns, plans
from diffrl_lab.studies.guidance.line import exact
from diffrl_lab.studies.guidance.models import RUNS, VERSION, WORLDS
from diffrl_lab.studies.study import Part, Tensors

__all__ = ["PARTS", "STEPS", "crossing", "exact", "plan_returns"]  # behind PARTS: what lessons 05 and 05b compute live

LINE = {"form": ["cfg", "classifier", "plain"], "scale": [0, 0.5, 1, 1.5, 2, 3, 4, 6, 8]}
DRIVEN = [("value", 0), ("value", 4), ("energy", 4), ("cfg", 1), ("cfg", 8)]
ASKED = {
    "world": ["two-ways-p50"],
    "w": [0, 1, 1.4, 2, 4],
    "quantile": [0.1, 0.3, 0.5, 0.7, 0.9],
    "temperature": [0.5],
}


def points(fn: Any, grid: Any, seeds: Sequence[int]) -> Table:
    """A pure function over a grid, computed or read from the cache."""
    return run_grid(fn, grid, seeds=seeds, cache=RUNS, version=VERSION)


def of_plans(world: str, seeds: Sequence[int]) -> Table:
    """The diversity table of a world: four forms over the scale."""
    grid = [(form, s) for form in equal.FORMS for s in clouds.SCALES] + [("cfg", s) for s in clouds.FINER]
    return points(plans, [{"world": world, "form": form, "scale": s} for form, s in grid], seeds)


def of_frontiers(seeds: Sequence[int]) -> Table:
    """The diversity tables of all worlds at equal return and at an equal share of invalid plans; in hours, theirs."""
    grids = [of_plans(world, seeds) for world in WORLDS]
    rows, pairs = equal.frontiers(Table([r for t in grids for r in t.rows], {}))
    hours = sum(t.about["hours"] for t in grids)
    return study.summary(equal.frontiers, rows, seeds, version=VERSION, hours=hours, pairs=pairs)


def of_laws(seeds: Sequence[int]) -> Table:
    """What is exact in each world; it has no seed."""
    return study.summary(law, map(law, WORLDS), (), version=VERSION)


def of_drives(seeds: Sequence[int]) -> Table:
    """Some clouds of two-ways, driven."""
    return points(driven, [{"world": "two-ways-p50", "form": f, "scale": s} for f, s in DRIVEN], seeds)


def of_pilots(maze: str, seeds: Sequence[int]) -> Table:
    """Goals of a maze over forms and scales: what the scales of `goals` are chosen by."""
    return points(goals.goal, [{"maze": maze, "form": f, "scale": s} for f, s in goals.ROWS], seeds)


def of_goals(seeds: Sequence[int]) -> Table:
    """Goals of all mazes at the scales that training seed 0 chose on other queries; `pooled`: all seeds together."""
    grid = []
    for maze in goals.CONFIGS:
        pilot = of_pilots(maze, [0])
        grid += [{"maze": maze, "form": f, "scale": goals.chosen(pilot, f)} for f in ("pin", "cfg", "classifier")]
    table = points(goals.reaching, grid, seeds)
    return Table(table.rows, table.about | {"pooled": goals.pooled(table)})


def ships(seeds: Sequence[int]) -> Tensors:
    """The networks of two-ways at p = 0.5 and the first seed, as the lesson opens them."""
    models.models("two-ways-p50", seeds[0])
    start = RUNS / "weights" / f"two-ways-p50-{seeds[0]}"
    kinds = {"returns": "plans", "value": "value", "energy": "energy"}
    return {f"weights/guidance-two-ways-{k}.safetensors": load(f"{start}-{v}.safetensors") for k, v in kinds.items()}


def _part(name: str, compute: Any, worlds: Sequence[str] = (), *, classifiers: bool = True) -> Part:
    training = partial(models.training, worlds, classifiers=classifiers)
    return Part(compute, f"results/guidance-{name}.json", training=training)


def _goals(name: str, compute: Any, mazes: Sequence[str], seeds: int) -> Part:
    return Part(compute, f"results/guidance-{name}.json", seeds, partial(goals.training, mazes))


TWO_WAYS = ["two-ways-p50"]
PARTS = {
    "exact": _part("exact", partial(points, exact, LINE)),
    **{f"plans-{w}": _part(f"plans-{w}", partial(of_plans, w), [w]) for w in WORLDS},
    "laws": _part("laws", of_laws),
    "frontiers": _part("frontiers", of_frontiers, list(WORLDS)),
    "driven": _part("driven", of_drives, TWO_WAYS, classifiers=False),
    "asked": _part("asked", partial(points, asked, ASKED), TWO_WAYS, classifiers=False),
    **{f"goals-{m}": _goals(f"goals-{m}", partial(of_pilots, m), [m], seeds=1) for m in goals.CONFIGS},
    "goals": _goals("goals", of_goals, list(goals.CONFIGS), seeds=3),
    "fine": Part(clouds.fine, seeds=1),
    "weights": Part(ships, seeds=1),
}
