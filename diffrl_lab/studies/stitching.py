"""Stitching, behind lesson 07: from recordings of short legs to goals that no leg reaches, in mazes.

- `joint`: windows of a process whose law is known, averaged, by Bethe, neighbours shown, resampled (`joints.py`);
- `weights`: what the lesson opens, of the first training;
- `mazes`: legs of at most 2 and of at most 3 cells; goals farther than 3 cells, at most 4 plans an episode;
- `goals`: 500 other goals of the same maze, which nothing was tuned on;
- `large`: legs of at most 4 cells of the large maze; goals farther than 4 cells;
- `others`: other planners on the goals of `mazes`, with one training.

The goals of `mazes` are the 94 that `data stitching` asks for and those of 134 resets on which nothing was ever tuned.
One model of chunks is behind `compositional` and `graph`. Points, weights and recordings (made where missing) are kept,
in runs/stitching and as `diffrl-lab record pointmaze-medium` has them. How it came about: docs/studies/stitching.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffrl_lab.analysis.intervals import bootstrap, wilson
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.diffusion import load
from diffrl_lab.files import ROOT
from diffrl_lab.methods.baselines.retrieval import retrieval
from diffrl_lab.methods.planning import (
    adapt_diffuser,
    compositional,
    diffuser,
    graph,
    hierarchical,
    latent,
    tree,
)
from diffrl_lab.methods.policies import cloning, gciql
from diffrl_lab.studies import joints
from diffrl_lab.studies.data.recordings import MAZE, cells_apart, named_walls, recorded
from diffrl_lab.studies.gathered import gathered
from diffrl_lab.studies.study import Part, Tensors, summary
from diffrl_lab.worlds.driving import Follower, arrived, drive
from diffrl_lab.worlds.mazes import make_maze

RUNS, VERSION = ROOT / "runs" / "stitching", "1"
LEGS, FAR, PLANS, STEPS = (2, 3), 3, 4, 200_000  # cells; cells; in one episode; of the recording
SETS = {"shared": (1000, 134), "untouched": (50_000, 134)}  # first seed of the environment and how many
ARMS = ("compositional", "graph", "planner", "gciql", "bc", "retrieval")
ASKED = {  # for new goals, with at most so many trainings
    "medium": {"compositional": 3, "graph": 3, "planner": 1, "bc": 1, "retrieval": 1},
    "large": {"compositional": 1, "graph": 1, "planner": 1, "bc": 1, "retrieval": 1},
}
OTHERS = ("hierarchical", "adapt_diffuser", "adapt_diffuser, graph", "latent", "tree")
FLAT = diffuser.CONFIGS[MAZE]
MODELS: dict[str, tuple[Any, Any]] = {
    "compositional": (compositional, compositional.Compositional),
    "planner": (diffuser, diffuser.Diffuser),
    "bc": (cloning, cloning.Cloning),
    "gciql": (gciql, gciql.Gciql),
}
ALONE: dict[str, tuple[Any, Any]] = {  # those of `OTHERS` that are trained by themselves
    "hierarchical": (hierarchical, hierarchical.Hierarchical),
    "latent": (latent, latent.Latent),
}
SIDE_BY_SIDE = 8  # episodes of a policy that plans nothing
NEW, BLOCK, TOGETHER = 100_000, 100, 50  # first seed of new goals; goals of a point; episodes whose plans share a batch
GOALS = {"medium": (3, 500), "large": (4, 200)}  # of a maze: farther than so many cells, and how many
CHUNKS, WAYPOINTS = {"medium": 5, "large": 8}, {"medium": 250, "large": 400}  # of the longest plan; of the graph
UPDATES, ATTEMPT = {"medium": 3000, "large": 6000}, {"medium": VERSION, "large": "2"}  # of chunks; of their settings


def beyond(maze: str, cells: int, first: int, number: int) -> tuple[int, ...]:
    """Those of `number` seeds of a maze's environment, from `first` on, whose goal is farther than so many cells."""
    env = make_maze(maze)
    resets = [env.reset(seed=first + k)[0] for k in range(number)]
    env.close()
    start, goal = (np.array([r[key] for r in resets]) for key in ("achieved_goal", "desired_goal"))
    return tuple(int(first + k) for k in np.flatnonzero(cells_apart(named_walls(maze), start, goal) > cells))


@lru_cache(maxsize=2)
def far(which: str) -> tuple[int, ...]:
    """The seeds of a set whose goal is farther than `FAR` cells."""
    return beyond(MAZE, FAR, *SETS[which])


@lru_cache(maxsize=2)
def fresh(maze: str) -> tuple[int, ...]:
    """The seeds of the new goals of a maze, from `NEW` on: as many as `GOALS` says, farther than its longest leg."""
    cells, number = GOALS[maze]
    return beyond(maze, cells, NEW, 2 * number)[:number]


def trained(arm: str, k: int, seed: int, maze: str = MAZE) -> tuple[Any, float]:
    """The model of an arm on legs of at most k cells, and the CPU seconds of its training; kept once trained."""
    method, kind = MODELS[arm]
    path: Path = RUNS / f"{arm}-{k}-{seed}{'' if maze == MAZE else f'-{maze}'}.safetensors"
    if not path.is_file():
        chunks = compositional.Config(most=CHUNKS[maze], updates=UPDATES[maze])
        config = {"planner": FLAT, "compositional": chunks}.get(arm, method.Config())
        options = {"goal": 2} if arm in ("bc", "gciql") else {}
        begun = time.process_time()
        run = method.train(recorded("expert", k, STEPS, 0, maze), config, seed=seed, **options)
        for _ in run:
            pass
        run.model.save(path, cpu=round(time.process_time() - begun, 1))
    model = kind.load(path)
    return model, model.about["cpu"]


def trial(arm: str, k: int, *, seed: int) -> dict[str, Any]:
    """One point: an arm on legs of at most k cells drives to the far goals of both sets.

    reached_shared, reached_untouched: a 0 or 1 for each episode; plans: how many each episode needed, on average;
    clear: the share of *first* plans that cross no wall, as their states at every step say. train_cpu: seconds.
    plan_seconds: the mean of one planning, on the clock.
    """
    episodes, cpu = recorded("expert", k, STEPS, 0), 0.0
    if arm == "retrieval":
        agent: Any = retrieval(episodes)
    else:
        model, cpu = trained("compositional" if arm == "graph" else arm, k, seed)
        made = {"compositional": compositional.Agent, "planner": diffuser.Agent, "bc": cloning.Agent}
        agent = graph.Agent(graph.Graph.around(model, episodes)) if arm == "graph" else made[arm](model)
    if isinstance(agent, Follower):
        agent = Follower(agent.route, most=PLANS)
    env, walls = make_maze(MAZE), named_walls(MAZE)
    row: dict[str, Any] = {}
    driven = []
    for name in SETS:
        found = drive([env], agent, far(name), until=arrived)
        row[f"reached_{name}"] = "".join("01"[bool(e.reached)] for e in found)
        driven += found
    env.close()
    plans = [e for e in driven if len(e.reference)]
    clear = [not walls.crosses(e.reference[:-1, :2], e.reference[1:, :2]).any() for e in plans]
    return row | {
        "plans": float(np.mean([e.plans for e in plans])) if plans else None,
        "clear": float(np.mean(clear)) if plans else None,
        "plan_seconds": round(float(np.mean([s for e in plans for s in e.seconds])), 3) if plans else None,
        "train_cpu": cpu,
    }


def hindsight(k: int, *, seed: int) -> dict[str, Any]:
    """One point: GCIQL on legs of at most k cells drives to the far goals of both sets, several episodes side by side.

    It plans nothing; the other names are those of `trial`.
    """
    model, cpu = trained("gciql", k, seed)
    envs = [make_maze(MAZE) for _ in range(SIDE_BY_SIDE)]
    row: dict[str, Any] = {"arm": "gciql"}
    for name in SETS:
        found = drive(envs, gciql.Agent(model), far(name), until=arrived)
        row[f"reached_{name}"] = "".join("01"[bool(e.reached)] for e in found)
    for env in envs:
        env.close()
    return row | dict.fromkeys(("plans", "clear", "plan_seconds")) | {"train_cpu": cpu}


def asked(maze: str, arm: str, k: int, block: int, *, seed: int) -> dict[str, Any]:
    """One point: an arm on legs of at most k cells of a maze drives to one of the blocks of its new goals.

    reached: a 0 or 1 for each goal; plans and clear as in `trial`. The plans of composed chunks are drawn together, so
    that no time of a single one is known.
    """
    episodes, walls, cpu = recorded("expert", k, STEPS, 0, maze), named_walls(maze), 0.0
    goals = fresh(maze)[block * BLOCK : (block + 1) * BLOCK]
    if arm != "retrieval":
        model, cpu = trained("compositional" if arm == "graph" else arm, k, seed, maze)
    envs = [make_maze(maze) for _ in range({"compositional": TOGETHER, "bc": SIDE_BY_SIDE}.get(arm, 1))]
    if arm == "compositional":
        found = gathered(envs, model.routes, goals, most=PLANS, until=arrived)
    elif arm == "bc":
        found = drive(envs, cloning.Agent(model), goals, until=arrived)
    else:
        if arm == "graph":
            config = graph.Config(most=CHUNKS[maze], waypoints=WAYPOINTS[maze])
            model = graph.Graph.around(model, episodes, config)
        route = retrieval(episodes).route if arm == "retrieval" else model.route
        found = drive(envs, Follower(route, most=PLANS), goals, until=arrived)
    for env in envs:
        env.close()
    plans = [e for e in found if len(e.reference)]
    clear = [not walls.crosses(e.reference[:-1, :2], e.reference[1:, :2]).any() for e in plans]
    return {
        "reached": "".join("01"[bool(e.reached)] for e in found),
        "plans": float(np.mean([e.plans for e in plans])) if plans else None,
        "clear": float(np.mean(clear)) if plans else None,
        "train_cpu": cpu,
    }


def learned(arm: str, k: int, seed: int) -> tuple[Any, float]:
    """The model of one of `OTHERS` on legs of at most k cells, and the CPU seconds of its training; kept once trained.

    An AdaptDiffuser is the flat planner of the same seed, tuned on its own plans, or on those of the same seed's graph.
    A tree searches with the same seed's chunks.
    """
    if arm == "tree":
        chunks, cpu = trained("compositional", k, seed)
        return tree.Tree.around(chunks), cpu
    path: Path = RUNS / f"{arm.replace(', ', '-')}-{k}-{seed}.safetensors"
    method, kind = ALONE.get(arm, (None, adapt_diffuser.AdaptDiffuser))
    if not path.is_file():
        episodes = recorded("expert", k, STEPS, 0)
        begun = time.process_time()
        if method is not None:
            run = method.train(episodes, seed=seed)
        else:
            start = trained("planner", k, seed)[0]
            motion = trained("compositional", k, seed)[0]
            propose = graph.Graph.around(motion, episodes).route if arm.endswith("graph") else None
            config = adapt_diffuser.Config(updates=0)
            run = adapt_diffuser.train(episodes, config, seed=seed, start=start, propose=propose)
        for _ in run:
            pass
        run.model.save(path, cpu=round(time.process_time() - begun, 1))
    model = kind.load(path)
    return model, model.about["cpu"]


def other(arm: str, k: int, *, seed: int) -> dict[str, Any]:
    """One point: one of `OTHERS` on legs of at most k cells drives to the far goals of both sets, as in `trial`.

    kept: the share of proposals that the filter of an AdaptDiffuser let pass.
    """
    model, cpu = learned(arm, k, seed)
    env, walls = make_maze(MAZE), named_walls(MAZE)
    row: dict[str, Any] = {}
    driven = []
    for name in SETS:
        found = drive([env], Follower(model.route, most=PLANS), far(name), until=arrived)
        row[f"reached_{name}"] = "".join("01"[bool(e.reached)] for e in found)
        driven += found
    env.close()
    clear = [not walls.crosses(e.reference[:-1, :2], e.reference[1:, :2]).any() for e in driven]
    return row | {
        "plans": float(np.mean([e.plans for e in driven])),
        "clear": float(np.mean(clear)),
        "plan_seconds": round(float(np.mean([s for e in driven for s in e.seconds])), 3),
        "train_cpu": cpu,
        "kept": float(model.kept.double().mean()) if arm.startswith("adapt") else None,
    }


def _bits(text: str) -> NDArray[np.float64]:
    return np.array(list(text), float)


def pooled(every: NDArray[np.float64]) -> dict[str, Any]:
    """Success of all trainings [S, E], by_seed each of them, and an interval: Wilson's of the episodes with one
    training; with several the bootstrap over episodes, each episode's result being its mean over trainings."""
    one, each = len(every) == 1, every.mean(0)
    interval = wilson(int(every.sum()), every.size) if one else bootstrap(each)
    row = {"seeds": len(every), "episodes": len(each), "success": float(each.mean())}
    return row | {"interval": list(interval), "by_seed": [float(v.mean()) for v in every]}


def by_arm(table: Table, arms: Sequence[str] = ARMS) -> list[dict[str, Any]]:
    """Success for each k and arm, `pooled` over both sets; `shared` and `untouched` alone beside it."""
    rows = []
    for k in LEGS:
        for arm in arms:
            same = [r for r in table.rows if (r["k"], r["arm"]) == (k, arm)]
            if not same:
                continue
            sets = {name: np.array([_bits(r[f"reached_{name}"]) for r in same]) for name in SETS}
            row = {"k": k, "arm": arm} | pooled(np.concatenate(list(sets.values()), 1))
            row |= {name: float(v.mean()) for name, v in sets.items()}
            rows.append(row | _means(same, ("plans", "clear", "plan_seconds", "train_cpu")))
    return rows


def by_block(table: Table) -> list[dict[str, Any]]:
    """Success for each k and arm on new goals, `pooled` over all blocks of them."""
    rows = []
    for k, arm in {(r["k"], r["arm"]): None for r in table.rows}:
        same = [r for r in table.rows if (r["k"], r["arm"]) == (k, arm)]
        seeds = sorted({r["seed"] for r in same})
        blocks = sorted(same, key=lambda r: r["block"])
        every = np.array([_bits("".join(r["reached"] for r in blocks if r["seed"] == seed)) for seed in seeds])
        rows.append({"k": k, "arm": arm} | pooled(every) | _means(same, ("plans", "clear", "train_cpu")))
    return rows


def _means(rows: list[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The mean of each column over rows that have it; None where none has."""
    values = {name: [r[name] for r in rows if r[name] is not None] for name in names}
    return {name: float(np.mean(v)) if v else None for name, v in values.items()}


def mazes(seeds: Sequence[int]) -> Table:
    """The table of arms; retrieval does not depend on the seed and has the first alone."""
    learned = [{"arm": arm, "k": k} for k in LEGS for arm in ARMS if arm not in ("retrieval", "gciql")]
    grids: list[tuple[Any, list, Sequence[int]]] = [
        (trial, learned, seeds),
        (trial, [{"arm": "retrieval", "k": k} for k in LEGS], seeds[:1]),
        (hindsight, [{"k": k} for k in LEGS], seeds),
    ]
    table = Table.joined(run_grid(point, g, seeds=s, cache=RUNS, version=VERSION) for point, g, s in grids)
    about = {"maze": MAZE, "training_hours": _training(table), "summary": by_arm(table)}
    return Table(table.rows, table.about | about)


def _training(table: Table) -> float:
    """The CPU hours of all trainings behind a table: chunks are trained once for two arms."""
    kind = {"graph": "compositional"}
    runs = {(kind.get(r["arm"], r["arm"]), r["k"], r["seed"]): r["train_cpu"] for r in table.rows}
    return sum(runs.values()) / 3600


def new(maze: str, legs: Sequence[int], seeds: Sequence[int]) -> Table:
    """The table of new goals of a maze: each arm with as many of the seeds as `ASKED` says."""
    blocks = range(GOALS[maze][1] // BLOCK)
    tables = []
    for arm, most in ASKED[maze].items():
        for k, seed in product(legs, seeds[:most]):  # first, so that `hours` counts driving alone
            if arm != "retrieval":
                trained("compositional" if arm == "graph" else arm, k, seed, maze)
        grid = [{"maze": maze, "arm": arm, "k": k, "block": b} for k in legs for b in blocks]
        tables.append(run_grid(asked, grid, seeds=seeds[:most], cache=RUNS, version=ATTEMPT[maze]))
    table = Table.joined(tables)
    about = {"maze": maze, "training_hours": _training(table), "summary": by_block(table)}
    return Table(table.rows, table.about | about)


def goals(seeds: Sequence[int]) -> Table:
    """The table of the medium maze's new goals."""
    return new("medium", LEGS, seeds)


def large(seeds: Sequence[int]) -> Table:
    """The table of the large maze, from legs of at most 4 cells."""
    return new("large", [GOALS["large"][0]], seeds)


def others(seeds: Sequence[int]) -> Table:
    """The table of other planners."""
    grid = [{"arm": arm, "k": k} for arm in OTHERS for k in LEGS]
    table = run_grid(other, grid, seeds=seeds, cache=RUNS, version=VERSION)
    return Table(table.rows, table.about | {"maze": MAZE, "summary": by_arm(table, OTHERS)})


def windows(seeds: Sequence[int]) -> Table:
    """The table of joints: exact laws, with nothing drawn."""
    rows = [{"way": way, "steps": steps} | joints.joint(way, steps=steps) for way in joints.WAYS for steps in (50, 200)]
    return summary(joints.joint, rows, seeds)


def shipping(seeds: Sequence[int]) -> Tensors:
    """What lesson 07 opens, from legs of at most 3 cells: the graph with its chunks, the flat planner, and 400 legs as
    positions [N, 2] with the number of states of each [400]."""
    episodes, k, seed = recorded("expert", 3, STEPS, 0), 3, seeds[0]
    chunks, _ = trained("compositional", k, seed)
    trained("planner", k, seed)
    graph.Graph.around(chunks, episodes).save(RUNS / "graph.safetensors")
    some = torch.linspace(0, len(episodes.starts) - 1, 400).long()
    position = episodes.obs[:, :2].float()
    first, last = episodes.starts[some].tolist(), episodes.ends[some].tolist()
    pieces = [position[a : b + 1] for a, b in zip(first, last, strict=True)]
    lengths = torch.tensor([len(p) for p in pieces])
    legs = {"position": torch.cat(pieces), "length": lengths}
    return {
        "weights/stitching-graph.safetensors": load(RUNS / "graph.safetensors"),
        "weights/stitching-flat.safetensors": load(RUNS / f"planner-{k}-{seed}.safetensors"),
        "results/stitching-legs.safetensors": (legs, {"maze": MAZE, "cells": k}),
    }


PARTS = {
    "weights": Part(shipping, seeds=1),
    "joint": Part(windows, "results/stitching-joint.json", seeds=1),
    "mazes": Part(mazes, "results/stitching-mazes.json"),
    "goals": Part(goals, "results/stitching-goals.json"),
    "large": Part(large, "results/stitching-large.json", seeds=1),
    "others": Part(others, "results/stitching-others.json", seeds=1),
}
