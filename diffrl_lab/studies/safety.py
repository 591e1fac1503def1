"""Safety, behind lesson 08: what rules that are given at test time do to plans, and what of it is driven.

- `bent`: what each form makes of the candidates of one draw: unsafe points, unsafe segments, plans in walls;
- `driven`: two-ways with one disc, large with three: plans given up, safe, clear, and what the ball does;
- `margins`: how far drives leave their plans, split conformal margins of 19 and 99 of them, and their real coverage.

The planners are those that ship, one training each: intervals are about other tasks, not about other trainings. How the
study came about: docs/studies/safety.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.constrained import Agent, Config, Constrained, conformal
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.studies.study import Part, summary
from diffrl_lab.worlds import zones
from diffrl_lab.worlds.driving import Episode, arrived, drive
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import RADIUS, Walls
from diffrl_lab.worlds.zones import Disc

TASKS = {"two-ways": 100, "large": 50}
BENT = 40  # tasks of `bent`
SCALES = (10.0, 100.0, 1000.0, 10000.0)
ARMS: dict[str, Config | None] = {  # what drives; None: the planner, which is told no rule
    "no rules": None,
    "x0_hat, one draw": Config(form="x0_hat", slack=0.05, tries=1),
    "refused, ends as they are": Config(form="select", jitter=0.0),
    "refused": Config(form="select"),
}


def discs(maze: str) -> Any:
    """(obs, goal, seed) -> the discs of a task: in two-ways one, in either corridor, of 0.2 to 0.4 m; in large three of
    0.2 m, 0.42 m off the middle of their cells, each at least 0.8 m from start and goal."""
    walls = Walls.named(maze)
    middles = walls.centre(np.argwhere(~walls.blocked))

    def placed(obs: ArrayLike, goal: ArrayLike, seed: int) -> list[Disc]:
        rng = np.random.default_rng([8, int(seed)])
        if maze == "two-ways":
            x = rng.choice([-2.0, 2.0]) + rng.uniform(-0.3, 0.3)
            return [Disc(float(x), float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.2, 0.4)))]
        ends, found = np.array([np.asarray(obs)[:2], np.asarray(goal)]), list[Disc]()
        for cell in rng.permutation(len(middles)):
            at = middles[cell] + 0.3 * rng.choice([-1.0, 1.0], 2)
            if np.linalg.norm(ends - at, axis=1).min() > 0.8 and len(found) < 3:
                found.append(Disc(float(at[0]), float(at[1]), 0.2))
        return found

    return placed


# -------------------------------------------------------------------------------------------- what a form does to plans
def bent(tasks: int = BENT) -> list[dict[str, Any]]:
    """One draw of 32 candidates in two-ways under each form, judged without any margin. -> a row for each form"""
    planner, walls, place = Diffuser.load("maze-two-ways"), Walls.named("two-ways"), discs("two-ways")
    env = make_maze("two-ways")
    starts = [env.reset(seed=seed)[0] for seed in range(tasks)]
    env.close()
    forms: list[tuple[str, float, Config]] = [
        (form, grown, Config(form=form, margin=0.0, slack=grown, tries=1))
        for form in ("select", "end", "x0_hat", "iterate", "barrier")
        for grown in ((0.0,) if form == "select" else (0.0, 0.1))
    ]
    # a point on the edge is not unsafe, whatever the last digit of a float says: points are judged by 0.1 mm less
    costs = [(w, Config(form="cost", margin=0.0, slack=0.1, scales=(w,), tries=1)) for w in SCALES]
    every = [(f, None, g, c) for f, g, c in forms] + [("cost", w, 0.1, c) for w, c in costs]
    rows = []
    for form, scale, grown, config in every:
        model, found = Constrained.of(planner, config), []
        for seed, seen in enumerate(starts):
            obs, goal = seen["observation"], seen["desired_goal"]
            rules = place(obs, goal, seed)
            judged = model.plan(obs, goal, rules, generator=torch.Generator().manual_seed(seed))
            points = zones.inside(judged.plan.candidates, zones.grown(rules, -1e-4)).any(-1).float().mean()
            cut = float(np.mean([walls.inside(x[:, :2], RADIUS).any() for x in judged.curves]))
            found.append((float(points), float((judged.broken > 0).mean()), cut, float(judged.plan.gaps.median())))
        row = dict(zip(("points", "segments", "walls", "gap"), np.mean(found, 0).tolist(), strict=True))
        rows.append(
            {"form": "none" if form == "select" else form, "scale": scale, "grown": grown, "tasks": tasks} | row
        )
    return rows


# -------------------------------------------------------------------------------------------------------------- driving
def outcome(episode: Episode, rules: Sequence[Any], walls: Walls) -> dict[str, Any]:
    """What a drive was: its first plan given up, safe, clear of walls; the drive safe, and at the goal."""
    plan, given_up = episode.reference, not len(episode.reference)
    safe = not given_up and not bool(zones.broken(plan, rules).any()) if len(plan) > 1 else not given_up
    clear = not given_up and not bool(walls.inside(plan[:, :2], RADIUS).any())
    drive_safe = not bool(zones.broken(episode.obs, rules).any())
    done = bool(episode.reached) and drive_safe
    return {
        "given up": given_up, "plan safe": safe, "plan clear": clear, "drive safe": drive_safe,
        "reached": bool(episode.reached), "driven safely": done, "all": safe and clear and done,
    }  # fmt: skip


def drives(maze: str, arm: str, tasks: int | None = None) -> list[Episode]:
    """An arm of ARMS on the tasks of a maze, up to arrival."""
    planner, config, n = Diffuser.load(f"maze-{maze}"), ARMS[arm], tasks or TASKS[maze]
    place = discs(maze)
    agent = diffuser.Agent(planner) if config is None else Agent(Constrained.of(planner, config), place)
    env = make_maze(maze)
    try:
        return drive([env], agent, range(n), until=arrived)
    finally:
        env.close()


def driven() -> list[dict[str, Any]]:
    """Every arm in both mazes. -> a row for each, shares with Wilson's intervals"""
    rows = []
    for maze in TASKS:
        walls, place = Walls.named(maze), discs(maze)
        for arm in ARMS:
            begun = time.process_time()
            episodes = drives(maze, arm)
            found = [outcome(e, place(e.obs[0], e.goal, e.seed), walls) for e in episodes]
            row: dict[str, Any] = {"maze": maze, "arm": arm, "tasks": len(found)}
            for name in found[0]:
                hits = sum(f[name] for f in found)
                row |= {name: hits / len(found), f"{name}_interval": list(wilson(hits, len(found)))}
            row["plans"] = float(np.mean([e.plans for e in episodes]))
            row["cpu"] = (time.process_time() - begun) / len(found)
            rows.append(row)
    return rows


# -------------------------------------------------------------------------------------------------------------- margins
def off_plan(episode: Episode) -> float:
    """The largest distance between the ball and where its first plan has it, up to the plan's end or a new plan."""
    n = min(len(episode.reference), len(episode.obs))
    return float(np.linalg.norm(episode.obs[:n, :2] - episode.reference[:n, :2], axis=1).max(initial=0.0))


def margins(maze: str = "two-ways", n: int = 400) -> NDArray[np.float64]:
    """How far n drives without rules leave their plans, in metres; drives that planned again are left out. -> [<= n]"""
    env, planner = make_maze(maze), Diffuser.load(f"maze-{maze}")
    episodes = drive([env], diffuser.Agent(planner, again=False), range(10_000, 10_000 + n), until=arrived)
    env.close()
    return np.array([off_plan(e) for e in episodes])


def coverage(scores: ArrayLike, n: int, level: float = 0.9, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Split conformal margins of n scores each, and how many of the *other* scores they cover, over `draws` splits."""
    s, rng = np.asarray(scores, float), np.random.default_rng(seed)
    covered, margin = np.empty(draws), np.empty(draws)
    for i in range(draws):
        mixed = rng.permutation(s)
        margin[i] = conformal(mixed[:n], level)
        covered[i] = (mixed[n:] <= margin[i]).mean()
    low, high = np.quantile(covered, [0.05, 0.95])
    row = {"n": n, "level": level, "coverage": float(covered.mean()), "low": float(low), "high": float(high)}
    return row | {"margin": float(margin.mean()), "drives": len(s)}


def _bent(seeds: Sequence[int]) -> Table:
    return summary(bent, bent(), seeds)


def _driven(seeds: Sequence[int]) -> Table:
    rows = driven()
    plain = [{k: v for k, v in row.items() if not k.endswith("_interval")} for row in rows]
    return summary(driven, plain, seeds, summary=rows)  # intervals over tasks: they are not those over trainings


def _margins(seeds: Sequence[int]) -> Table:
    scores = margins()
    return summary(margins, [coverage(scores, n) for n in (19, 99)], seeds, scores=[round(float(s), 5) for s in scores])


PARTS = {
    "bent": Part(_bent, "results/safety-bent.json", seeds=1),
    "driven": Part(_driven, "results/safety-driven.json", seeds=1),
    "margins": Part(_margins, "results/safety-margins.json", seeds=1),
}
