"""OGBench's pointmazes (Park et al. 2025), behind lesson 07's *Further*: planners, and what is simpler, on its tasks.

- `first`: the planners as they were, on positions in metres and the velocity of the last step, in the medium maze;
- `mazes`: positions in cells, velocities over 10 steps, what stands still cut off; the mazes of `CELLS`;
- `longer`: as `mazes`, the legs of the large maze, chunks with four times the updates.

It needs the package (`pip install "diffrl-lab[ogbench]"`). The recordings are made by OGBench's rules and kept, with
points and weights, in runs/ogbench: about 200,000 rows each, a fifth of the original. How it came about:
docs/studies/ogbench.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.ogbench import moving, pieces, read
from diffrl_lab.files import ROOT
from diffrl_lab.methods.baselines.retrieval import retrieval
from diffrl_lab.methods.planning import compositional, diffuser, graph
from diffrl_lab.methods.planning.plans import seconds_per_step
from diffrl_lab.methods.policies import cloning
from diffrl_lab.studies.study import Part
from diffrl_lab.worlds.driving import Follower, arrived, drive
from diffrl_lab.worlds.ogbench import CELL, REACH, SECONDS, TASKS, World, record, walls

RUNS, VERSION = ROOT / "runs" / "ogbench", "1"
ARMS = ("graph", "compositional", "planner", "retrieval", "bc")
CELLS = (("medium", "stitch"), ("medium", "navigate"), ("large", "stitch"), ("giant", "stitch"))  # maze, recording
EPISODES, PLANS, PIECE = 50, 4, 200  # of five tasks; in one episode; steps of the longest piece
CHUNKS = {"medium": 6, "large": 8, "giant": 16}  # of the longest plan
WAYPOINTS = {"medium": 250, "large": 400, "giant": 800}

PUBLISHED = {  # on legs, of the original recordings, and with much longer training
    "bc": {"medium": 0.23, "large": 0.07, "giant": 0.0},  # GCBC: Park et al. 2025
    "compositional": {"medium": 1.0, "large": 1.0, "giant": 0.68},  # Luo et al. 2025
}


@dataclass(frozen=True)
class Attempt:
    """How positions are shown to planners, and how plans are followed. unit: metres; over: steps of a velocity; stands:
    units within which a ball that stays is cut off; kp, kd: of the controller; updates: of chunks."""

    unit: float
    over: int
    stands: float | None
    kp: float
    kd: float
    updates: int = compositional.Config.updates


ATTEMPTS = {
    "first": Attempt(1.0, 1, None, 15.0, 2.0),  # the controller of the other mazes
    "second": Attempt(CELL, 10, 0.3, CELL / REACH, 0.0),  # to be at the next state, and no more
    "third": Attempt(CELL, 10, 0.3, CELL / REACH, 0.0, 4 * compositional.Config.updates),
}


def recorded(maze: str, kind: str) -> Episodes:
    """The recording of a maze, made where it is missing."""
    name = f"pointmaze-{maze}-{kind}-v0"
    path: Path = RUNS / "recordings" / f"{name}.npz"
    if not path.is_file():
        record(name, {"stitch": 1000, "navigate": 200}[kind], 0, path.parent)
    return read(path)


@lru_cache(maxsize=1)
def shown(maze: str, kind: str, attempt: str) -> Episodes:
    """What every arm has: the recording as an attempt shows it, cut into pieces of at most `PIECE` steps."""
    how = ATTEMPTS[attempt]
    episodes = moving(recorded(maze, kind), unit=how.unit, over=how.over, seconds=SECONDS, stands=how.stands)
    return pieces(episodes, PIECE)


def trained(arm: str, maze: str, kind: str, attempt: str, seed: int) -> tuple[Any, float]:
    """The model of an arm, and the CPU seconds of its training; kept once trained. `graph` has that of
    `compositional`."""
    method: Any = {"compositional": compositional, "planner": diffuser, "bc": cloning}[arm]
    load: Any = {"compositional": compositional.Compositional, "planner": diffuser.Diffuser, "bc": cloning.Cloning}[arm]
    path: Path = RUNS / f"{arm}-{maze}-{kind}-{attempt}-{seed}.safetensors"
    if not path.is_file():
        config = method.Config()
        if attempt != "first":
            config = {
                "compositional": compositional.Config(most=CHUNKS[maze], updates=ATTEMPTS[attempt].updates),
                "planner": diffuser.Config(updates=3000, width=256, settled=0.3),
            }.get(arm, config)
        begun = time.process_time()
        run = method.train(shown(maze, kind, attempt), config, seed=seed, **({"goal": 2} if arm == "bc" else {}))
        for _ in run:
            pass
        run.model.save(path, cpu=round(time.process_time() - begun, 1))
    model = load.load(path)
    return model, model.about["cpu"]


def agent(arm: str, maze: str, kind: str, attempt: str, seed: int) -> tuple[Any, float]:
    """Who drives, and the CPU seconds of its training."""
    how, episodes, cpu = ATTEMPTS[attempt], shown(maze, kind, attempt), 0.0
    if arm == "retrieval":
        route: Any = retrieval(episodes).route
    else:
        model, cpu = trained("compositional" if arm == "graph" else arm, maze, kind, attempt, seed)
        if arm == "bc":
            return cloning.Agent(model), cpu
        if arm == "graph":
            config = graph.Config() if attempt == "first" else graph.Config(waypoints=WAYPOINTS[maze])
            model = graph.Graph.around(model, episodes, config)
        route = model.route
    return Follower(route, kp=how.kp, kd=how.kd, most=PLANS), cpu


def trial(maze: str, kind: str, arm: str, attempt: str, *, seed: int) -> dict[str, Any]:
    """One point: an arm drives each of the five tasks as often, at most 1,000 steps and `PLANS` plans an episode.

    reached: a 0 or 1 for each episode, tasks in turn; steps: of those that reach, on average; plans: how many an
    episode needed; clear: the share of *first* plans that cross no wall; plan_seconds: the mean of one planning, on the
    clock; train_cpu: seconds. step: how long a step of the world lasts, as planners read it off the recording (.1 s).
    """
    who, cpu = agent(arm, maze, kind, attempt, seed)
    how = ATTEMPTS[attempt]
    world = World(f"pointmaze-{maze}-{kind}-v0", unit=how.unit, over=how.over)
    inside, shift = walls(world.env)
    found = drive([world], who, range(EPISODES), until=arrived)
    world.close()
    planned = [e for e in found if len(e.reference)]
    paths = [e.reference[:, :2] * how.unit / CELL + shift for e in planned]
    steps = [e.steps for e in found if e.reached]
    return {
        "reached": "".join("01"[bool(e.reached)] for e in found),
        "steps": float(np.mean(steps)) if steps else None,
        "plans": float(np.mean([e.plans for e in planned])) if planned else None,
        "clear": float(np.mean([not inside.crosses(p[:-1], p[1:]).any() for p in paths])) if planned else None,
        "plan_seconds": round(float(np.mean([s for e in planned for s in e.seconds])), 3) if planned else None,
        "train_cpu": cpu,
        "step": seconds_per_step(shown(maze, kind, attempt)),
    }


def by_arm(table: Table) -> list[dict[str, Any]]:
    """Success of each maze, recording and arm over all trainings' episodes, Wilson's interval, by task, and as
    published."""
    rows = []
    for one in {(r["maze"], r["kind"], r["arm"]): None for r in table.rows}:
        same = [r for r in table.rows if (r["maze"], r["kind"], r["arm"]) == one]
        every = np.array([list(r["reached"]) for r in same], float)
        row: dict[str, Any] = dict(zip(("maze", "kind", "arm"), one, strict=True))
        row |= {"seeds": len(same), "episodes": every.size, "success": float(every.mean())}
        row["interval"] = list(wilson(int(every.sum()), every.size))
        row["tasks"] = [float(every[:, k::TASKS].mean()) for k in range(TASKS)]
        for name in ("steps", "plans", "clear", "plan_seconds", "train_cpu", "step"):
            values = [r[name] for r in same if r[name] is not None]
            row[name] = float(np.mean(values)) if values else None
        row["published"] = PUBLISHED.get(row["arm"], {}).get(row["maze"]) if row["kind"] == "stitch" else None
        rows.append(row)
    return rows


def _table(grid: list[dict[str, Any]], seeds: Sequence[int]) -> Table:
    table = run_grid(trial, grid, seeds=seeds, cache=RUNS, version=VERSION)
    kind = {"graph": "compositional"}
    runs = {(kind.get(r["arm"], r["arm"]), r["maze"], r["kind"], r["seed"]): r["train_cpu"] for r in table.rows}
    hours = sum(runs.values()) / 3600  # chunks are trained once for two arms
    return Table(table.rows, table.about | {"training_hours": hours, "summary": by_arm(table)})


def first(seeds: Sequence[int]) -> Table:
    """The table of the first attempt: the medium maze, legs."""
    grid = [{"maze": "medium", "kind": "stitch", "arm": arm, "attempt": "first"} for arm in ARMS]
    return _table(grid, seeds)


def mazes(seeds: Sequence[int]) -> Table:
    """The table of the second attempt."""
    grid = [{"maze": m, "kind": k, "arm": arm, "attempt": "second"} for m, k in CELLS for arm in ARMS]
    return _table(grid, seeds)


def longer(seeds: Sequence[int]) -> Table:
    """The table of the third attempt: who plans by chunks."""
    grid = [{"maze": "large", "kind": "stitch", "arm": arm, "attempt": "third"} for arm in ARMS[:2]]
    return _table(grid, seeds)


PARTS = {
    "first": Part(first, "results/ogbench-first.json", seeds=1),
    "mazes": Part(mazes, "results/ogbench-mazes.json", seeds=1),
    "longer": Part(longer, "results/ogbench-longer.json", seeds=1),
}
