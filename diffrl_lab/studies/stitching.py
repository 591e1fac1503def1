"""Stitching, behind lesson 07: from recordings of short legs to goals that no leg reaches, in the medium maze.

- `joint`: windows of a process whose law is known, averaged, by Bethe, neighbours shown, resampled (`joints.py`);
- `weights`: what the lesson opens, of the first training;
- `mazes`: legs of at most 2 and of at most 3 cells; goals farther than 3 cells, at most 4 plans an episode;
- `others`: other planners on the same goals, with one training.

The goals are the 94 that `data stitching` asks for and those of 134 resets on which nothing was ever tuned. One model
of chunks is behind `compositional` and `graph`. Points, weights and the recording (made where it is missing) are kept,
in runs/stitching and as `diffrl-lab record pointmaze-medium` has it. How it came about: docs/studies/stitching.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
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
from diffrl_lab.methods.planning import adapt_diffuser, compositional, diffuser, graph, hierarchical
from diffrl_lab.methods.policies import cloning, gciql
from diffrl_lab.studies import joints
from diffrl_lab.studies.data.recordings import MAZE, cells_apart, named_walls, recorded
from diffrl_lab.studies.study import Part, Tensors, summary
from diffrl_lab.worlds.driving import Follower, arrived, drive
from diffrl_lab.worlds.mazes import make_maze

RUNS, VERSION = ROOT / "runs" / "stitching", "1"
LEGS, FAR, PLANS, STEPS = (2, 3), 3, 4, 200_000  # cells; cells; in one episode; of the recording
SETS = {"shared": (1000, 134), "untouched": (50_000, 134)}  # first seed of the environment and how many
ARMS = ("compositional", "graph", "planner", "gciql", "bc", "retrieval")
OTHERS = ("hierarchical", "adapt_diffuser", "adapt_diffuser, graph")
FLAT = diffuser.CONFIGS[MAZE]
MODELS: dict[str, tuple[Any, Any]] = {
    "compositional": (compositional, compositional.Compositional),
    "planner": (diffuser, diffuser.Diffuser),
    "bc": (cloning, cloning.Cloning),
    "gciql": (gciql, gciql.Gciql),
}
SIDE_BY_SIDE = 8  # episodes of a policy that plans nothing


@lru_cache(maxsize=2)
def far(which: str) -> tuple[int, ...]:
    """The environment's seeds of a set whose goal is farther than `FAR` cells."""
    first, number = SETS[which]
    env = make_maze(MAZE)
    resets = [env.reset(seed=first + k)[0] for k in range(number)]
    env.close()
    start, goal = (np.array([r[key] for r in resets]) for key in ("achieved_goal", "desired_goal"))
    return tuple(int(first + k) for k in np.flatnonzero(cells_apart(named_walls(MAZE), start, goal) > FAR))


def trained(arm: str, k: int, seed: int) -> tuple[Any, float]:
    """The model of an arm on legs of at most k cells, and the CPU seconds of its training; kept once trained."""
    method, kind = MODELS[arm]
    path: Path = RUNS / f"{arm}-{k}-{seed}.safetensors"
    if not path.is_file():
        config = {"planner": FLAT}.get(arm, method.Config())
        options = {"goal": 2} if arm in ("bc", "gciql") else {}
        begun = time.process_time()
        run = method.train(recorded("expert", k, STEPS, 0), config, seed=seed, **options)
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


def learned(arm: str, k: int, seed: int) -> tuple[Any, float]:
    """The model of one of `OTHERS` on legs of at most k cells, and the CPU seconds of its training; kept once trained.

    An AdaptDiffuser is the flat planner of the same seed, tuned on its own plans, or on those of the same seed's graph.
    """
    path: Path = RUNS / f"{arm.replace(', ', '-')}-{k}-{seed}.safetensors"
    kind: Any = hierarchical.Hierarchical if arm == "hierarchical" else adapt_diffuser.AdaptDiffuser
    if not path.is_file():
        episodes = recorded("expert", k, STEPS, 0)
        begun = time.process_time()
        if arm == "hierarchical":
            run = hierarchical.train(episodes, seed=seed)
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


def by_arm(table: Table, arms: Sequence[str] = ARMS) -> list[dict[str, Any]]:
    """Success for each k and arm, pooled over both sets; `shared` and `untouched` alone beside it.

    interval: Wilson's of all episodes with one training; with several the bootstrap over episodes, each episode's
    result being its mean over trainings. by_seed: each training.
    """
    rows = []
    for k in LEGS:
        for arm in arms:
            same = [r for r in table.rows if (r["k"], r["arm"]) == (k, arm)]
            if not same:
                continue
            sets = {name: np.array([_bits(r[f"reached_{name}"]) for r in same]) for name in SETS}
            every = np.concatenate(list(sets.values()), 1)
            each = every.mean(0)
            one = len(same) == 1
            pooled = wilson(int(every.sum()), every.size) if one else bootstrap(each)
            row = {"k": k, "arm": arm, "seeds": len(same), "episodes": len(each), "success": float(each.mean())}
            row |= {"interval": list(pooled), "by_seed": [float(v.mean()) for v in every]}
            row |= {name: float(v.mean()) for name, v in sets.items()}
            for name in ("plans", "clear", "plan_seconds", "train_cpu"):
                values = [r[name] for r in same if r[name] is not None]
                row[name] = float(np.mean(values)) if values else None
            rows.append(row)
    return rows


def mazes(seeds: Sequence[int]) -> Table:
    """The table of arms; retrieval does not depend on the seed and has the first alone."""
    learned = [{"arm": arm, "k": k} for k in LEGS for arm in ARMS if arm not in ("retrieval", "gciql")]
    grids: list[tuple[Any, list, Sequence[int]]] = [
        (trial, learned, seeds),
        (trial, [{"arm": "retrieval", "k": k} for k in LEGS], seeds[:1]),
        (hindsight, [{"k": k} for k in LEGS], seeds),
    ]
    table = Table.joined(run_grid(point, g, seeds=s, cache=RUNS, version=VERSION) for point, g, s in grids)
    kind = {"graph": "compositional"}
    runs = {(kind.get(r["arm"], r["arm"]), r["k"], r["seed"]): r["train_cpu"] for r in table.rows}
    hours = sum(runs.values()) / 3600  # chunks are trained once for two arms
    return Table(table.rows, table.about | {"maze": MAZE, "training_hours": hours, "summary": by_arm(table)})


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
    "others": Part(others, "results/stitching-others.json", seeds=1),
}
