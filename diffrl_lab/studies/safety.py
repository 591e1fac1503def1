"""Safety, behind lesson 08: what rules that are given at test time do to plans, and what of it is driven.

- `bent`: what each form makes of the candidates of one draw: unsafe points, unsafe segments, plans in walls;
- `driven`: two-ways with one disc, large with three: plans given up, safe, clear, and what the ball does;
- `guided`: one disc for all tasks of two-ways, guides alone, a cost and classifiers by scale: unsafe plans and drives;
- `composed`: a disc in each corridor, a classifier for each: what their guides do to plans, alone and added up;
- `margins`: how far drives leave their plans, split conformal margins of 19 and 99 of them, and their real coverage.

The planners are those that ship, one training each: intervals are about other tasks, not about other trainings. The
classifiers of `guided` and `composed` are trained here, three times. Points are kept in runs/safety. How the study came
about: docs/studies/safety.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.analysis.intervals import student, wilson
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data import minari
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.shipped import shipped
from diffrl_lab.files import ROOT
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.constrained import Agent, Config, Constrained, conformal, train
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.methods.planning.value_guidance import scaled
from diffrl_lab.studies.study import Part, summary
from diffrl_lab.worlds import zones
from diffrl_lab.worlds.driving import Episode, Follower, arrived, drive
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import RADIUS, Walls
from diffrl_lab.worlds.zones import Disc

TASKS = {"two-ways": 100, "large": 100}
RECORDINGS = {
    "two-ways": "pointmaze-two-ways-p50-v0",
    "large": "pointmaze-large-v0",
}  # near which plans may stay
RUNS, VERSION = ROOT / "runs" / "safety", "1"
BLOCK = 25  # tasks of one kept point of `driven`
BENT = 40  # tasks of `bent`
SCALES = (10.0, 100.0, 1000.0, 10000.0)
ARMS: dict[str, Config | None] = {  # what drives; None: the planner, which is told no rule
    "no rules": None,
    "x0_hat, one draw": Config(form="x0_hat", slack=0.05, tries=1),
    "refused, ends as they are": Config(form="select", jitter=0.0),
    "refused": Config(form="select"),
    "pushed, refused": Config(form="cost", jitter=0.3, tries=8),
    "pushed, refused, near the data": Config(form="cost", jitter=0.3, tries=8, reach=0.2),
}
ONE = Disc(1.75, 0.1, 0.3)  # the disc of `guided`, beside the middle of the right corridor
OTHER = Disc(-1.75, 0.1, 0.3)  # its counterpart in the left corridor: `composed` has both
GUIDED = 40  # tasks of both
TOGETHER = {"right disc": (ONE,), "left disc": (OTHER,), "both added": (ONE, OTHER)}  # whose classifiers are climbed
NAMES = {"select": "none", "refused": "none, unsafe ones refused"}
OUTCOMES = ("given up", "plan safe", "plan clear", "drive safe", "reached", "driven safely", "all")
GUIDES: tuple[tuple[str, float], ...] = (
    *(("cost", scale) for scale in (10.0, 1000.0, 10000.0)),
    *(("learned", scale) for scale in (1.0, 10.0, 100.0)),
)


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


def recorded(maze: str) -> Episodes:
    """The recording of a maze that ships."""
    return minari.read(shipped(f"recordings/{RECORDINGS[maze]}"))


def drives(maze: str, arm: str, seeds: Sequence[int]) -> list[Episode]:
    """An arm of ARMS on tasks of a maze, up to arrival."""
    planner, config, place = Diffuser.load(f"maze-{maze}"), ARMS[arm], discs(maze)
    seen = recorded(maze).obs[:, :2].numpy() if config is not None and config.reach < np.inf else None
    agent = diffuser.Agent(planner) if config is None else Agent(Constrained.of(planner, config, recorded=seen), place)
    env = make_maze(maze)
    try:
        return drive([env], agent, seeds, until=arrived)
    finally:
        env.close()


def block(maze: str, arm: str, first: int, *, seed: int) -> dict[str, Any]:
    """BLOCK tasks of an arm, from the task `first` on; seed: of the planner's training, of which there is one. -> for
    each outcome how many tasks had it, how many there were, and how many plans, and of these given up"""
    walls, place = Walls.named(maze), discs(maze)
    episodes = drives(maze, arm, range(first, first + BLOCK))
    found = [outcome(e, place(e.obs[0], e.goal, e.seed), walls) for e in episodes]
    counts = {name: sum(bool(f[name]) for f in found) for name in found[0]}
    lost = [(f["drive safe"], f["reached"]) for f in found if not f["driven safely"]]
    return counts | {
        "tasks": len(found), "plans": sum(e.plans for e in episodes),
        "refused": sum(e.extras.get("refused", 0) for e in episodes),
        "unsafe": sum(not safe for safe, _ in lost), "not there": sum(safe and not there for safe, there in lost),
    }  # fmt: skip


def by_arm(table: Table) -> list[dict[str, Any]]:
    """The blocks of each maze and arm as one row: shares with Wilson's intervals, plans a task, plans given up."""
    rows = []
    for maze, arm in dict.fromkeys((r["maze"], r["arm"]) for r in table.rows):
        same = [r for r in table.rows if (r["maze"], r["arm"]) == (maze, arm)]
        total = {k: sum(r[k] for r in same) for k in (*OUTCOMES, "tasks", "plans", "refused", "unsafe", "not there")}
        row: dict[str, Any] = {"maze": maze, "arm": arm, "tasks": total["tasks"]}
        for name in OUTCOMES:
            row[name] = total[name] / total["tasks"]
            row[f"{name}_interval"] = list(wilson(total[name], total["tasks"]))
        row |= {"unsafe": total["unsafe"], "not there": total["not there"]}
        row |= {"plans": total["plans"] / total["tasks"], "plans given up": total["refused"] / total["plans"]}
        rows.append(row | {"cpu": sum(r["cpu_seconds"] for r in same) / total["tasks"]})
    return rows


# --------------------------------------------------------------------------------------------------------- guides alone
@lru_cache(maxsize=6)
def classifier(seed: int, rule: Disc = ONE) -> Any:
    """J(x_t, t), the logit of "keeps out of the disc", trained on the recorded drives of two-ways."""
    planner = Diffuser.load("maze-two-ways")
    run = train(recorded("two-ways"), Config(form="learned", updates=500), planner=planner, rules=[rule], seed=seed)
    for _ in run:
        pass
    return run.model.J


def guided(form: str, scale: float, tasks: int = GUIDED, *, seed: int = 0) -> dict[str, Any]:
    """Tasks of two-ways with the disc ONE, one draw of 32 candidates under a guide and nothing refused: what agrees
    best with itself is followed, until the ball arrives. -> shares: of all candidates, and of drives

    form: "select" (no guide), "cost" or "learned"; seed: of the classifier's training. "refused": unsafe candidates are
    not followed either.
    """
    planner, walls, rules = Diffuser.load("maze-two-ways"), Walls.named("two-ways"), [ONE]
    J, refuse = classifier(seed) if form == "learned" else None, form == "refused"
    config = Config(form="select") if refuse else Config(form=form, scales=(scale,), tries=1, margin=0.0)
    model, says = Constrained.of(planner, config, J), list[float]()
    candidates: list[tuple[float, float]] = []

    def route(obs: NDArray, goal: NDArray, at: int) -> NDArray:
        judged = model.plan(obs, goal, rules, generator=torch.Generator().manual_seed(at))
        unsafe = [bool(zones.broken(x, rules).any()) for x in judged.curves]
        cut = [bool(walls.inside(x[:, :2], RADIUS).any()) for x in judged.curves]
        candidates.append((float(np.mean(unsafe)), float(np.mean(cut))))
        if J is not None:
            with torch.no_grad():
                safe = J(scaled(model.planner, judged.plan), torch.tensor(0.0)).sigmoid()
            says.append(float(safe.mean()))
        return judged.curves[0 if refuse else int(judged.plan.gaps.argmin())]

    agent = Agent(model, rules) if refuse else Follower(route, most=10)
    env = make_maze("two-ways")
    try:
        episodes = drive([env], agent, range(tasks), until=arrived)
    finally:
        env.close()
    found = [outcome(e, rules, walls) for e in episodes]
    row: dict[str, Any] = {name: float(np.mean([f[name] for f in found])) for name in found[0]}
    share = np.mean(candidates, 0).tolist() if candidates else [None, None]
    row |= {"unsafe segment": share[0], "wall": share[1], "says": float(np.mean(says)) if says else None}
    return row | {"tasks": tasks}


def faults(curves: Sequence[NDArray], walls: Walls) -> dict[str, float]:
    """Of curves [T, 4]: how many meet the right disc ONE, the left one OTHER, either, a wall, and none of the three."""
    right, left = (np.array([bool(zones.broken(x, [rule]).any()) for x in curves]) for rule in (ONE, OTHER))
    cut = np.array([bool(walls.inside(x[:, :2], RADIUS).any()) for x in curves])
    found = {"right": right, "left": left, "either": right | left, "wall": cut, "right plan": ~(right | left | cut)}
    return {name: float(np.mean(v)) for name, v in found.items()}


def composed(arm: str, scale: float, tasks: int = GUIDED, *, seed: int = 0) -> dict[str, Any]:
    """One draw of 32 candidates in each task of two-ways, climbing the classifiers of an arm of TOGETHER; nothing is
    refused. arm "recorded": the recorded drives themselves. -> `faults` in the mean over tasks, and the median gap"""
    walls, planner = Walls.named("two-ways"), Diffuser.load("maze-two-ways")
    if arm == "recorded":
        data = recorded("two-ways")
        found = faults([x.numpy() for x in data.obs.split((data.lengths + 1).tolist())], walls)
        return found | {"gap": None, "tasks": len(data.lengths)}
    J = tuple(classifier(seed, rule) for rule in TOGETHER[arm])
    model = Constrained.of(planner, Config(form="learned", scales=(scale,), tries=1, margin=0.0), J)
    env, rows = make_maze("two-ways"), list[dict[str, float]]()
    try:
        for task in range(tasks):
            seen, _ = env.reset(seed=task)
            ends, generator = (seen["observation"], seen["desired_goal"]), torch.Generator().manual_seed(task)
            judged = model.plan(*ends, [ONE, OTHER], generator=generator)
            rows.append(faults(judged.curves, walls) | {"gap": float(judged.plan.gaps.median())})
    finally:
        env.close()
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} | {"tasks": tasks}


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
    grid = [
        {"maze": maze, "arm": arm, "first": first}
        for maze, tasks in TASKS.items()
        for arm in ARMS
        for first in range(0, tasks, BLOCK)
    ]
    table = run_grid(block, grid, seeds=seeds, cache=RUNS, version=VERSION)
    return Table(table.rows, table.about | {"summary": by_arm(table)})  # intervals are over tasks, not over trainings


def by_guide(table: Table) -> list[dict[str, Any]]:
    """The trainings of each guide as one row: means, with Student's interval over trainings; where nothing was trained,
    drives have Wilson's interval over tasks."""
    rows = []
    for form, scale in dict.fromkeys((r["form"], r["scale"]) for r in table.rows):
        same = [r for r in table.rows if (r["form"], r["scale"]) == (form, scale)]
        learned = form == "learned"
        row: dict[str, Any] = {"form": NAMES.get(form, form), "scale": scale if form in ("cost", "learned") else None}
        row |= {"seeds": len(same) if learned else 0, "tasks": same[0]["tasks"]}
        for name in ("unsafe segment", "wall", "says", "plan clear", "drive safe", "reached", "driven safely"):
            values = [r[name] for r in same if r[name] is not None]
            row[name] = float(np.mean(values)) if values else None
            if learned and len(values) > 1:
                row[f"{name}_interval"] = list(student(values, 0, 1) or ())
            elif name in OUTCOMES and not learned:
                row[f"{name}_interval"] = list(wilson(round(values[0] * row["tasks"]), row["tasks"]))
        rows.append(row)
    return rows


def _guided(seeds: Sequence[int]) -> Table:
    plain = [{"form": "select", "scale": 0.0}, {"form": "refused", "scale": 0.0}]
    plain += [{"form": form, "scale": scale} for form, scale in GUIDES if form != "learned"]
    learned = [{"form": form, "scale": scale} for form, scale in GUIDES if form == "learned"]
    grids = ((plain, seeds[:1]), (learned, seeds))
    table = Table.joined(run_grid(guided, g, seeds=s, cache=RUNS, version=VERSION) for g, s in grids)
    return Table(table.rows, table.about | {"summary": by_guide(table)})


def by_rules(table: Table) -> list[dict[str, Any]]:
    """The trainings of each arm of `composed` at each scale as one row: means, with Student's interval over them."""
    rows = []
    for arm, scale in dict.fromkeys((r["arm"], r["scale"]) for r in table.rows):
        same = [r for r in table.rows if (r["arm"], r["scale"]) == (arm, scale)]
        learned = arm != "recorded"
        row: dict[str, Any] = {"arm": arm, "scale": scale if learned else None, "seeds": len(same) if learned else 0}
        for name in ("right", "left", "either", "wall", "right plan", "gap"):
            values = [r[name] for r in same if r[name] is not None]
            row[name] = float(np.mean(values)) if values else None
            if len(values) > 1:
                row[f"{name}_interval"] = list(student(values, 0, math.inf if name == "gap" else 1) or ())
        rows.append(row | {"tasks": same[0]["tasks"]})
    return rows


def _composed(seeds: Sequence[int]) -> Table:
    learned = [{"arm": arm, "scale": scale} for arm in TOGETHER for scale in (10.0, 30.0, 100.0)]
    grids = (([{"arm": "recorded", "scale": 0.0}], seeds[:1]), (learned, seeds))
    table = Table.joined(run_grid(composed, g, seeds=s, cache=RUNS, version=VERSION) for g, s in grids)
    return Table(table.rows, table.about | {"summary": by_rules(table)})


def _margins(seeds: Sequence[int]) -> Table:
    scores = margins()
    return summary(margins, [coverage(scores, n) for n in (19, 99)], seeds, scores=[round(float(s), 5) for s in scores])


PARTS = {
    "bent": Part(_bent, "results/safety-bent.json", seeds=1),
    "driven": Part(_driven, "results/safety-driven.json", seeds=1),
    "guided": Part(_guided, "results/safety-guided.json"),
    "composed": Part(_composed, "results/safety-composed.json"),
    "margins": Part(_margins, "results/safety-margins.json", seeds=1),
}
