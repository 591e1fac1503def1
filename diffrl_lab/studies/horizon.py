"""Long horizons, behind lesson 07: what goes wrong over a plan's length, in the large maze.

- `compounding`: how far a ball that follows a plan, a ball that executes the plan's own actions in open loop, and a
  one-step model that is rolled out are off, by the number of steps;
- `replan`: how often a driver plans again, and how many goals it reaches;
- `latent`: plans by the size of their code, beside the plans themselves.

The planner is the shipped one, one training; one-step models and codes are trained on the recording it was trained on
(made where it is missing). Points and weights are kept in runs/horizon. How it came about: docs/studies/horizon.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab.analysis.intervals import bootstrap, wilson
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes, transitions
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import cosine_decay, descend, seeded
from diffrl_lab.files import ROOT
from diffrl_lab.methods.planning import latent
from diffrl_lab.methods.planning.diffuser import Diffuser, OwnActions
from diffrl_lab.nets import MLP
from diffrl_lab.studies.planners import expert
from diffrl_lab.studies.study import Part
from diffrl_lab.worlds.driving import Episode, Follower, Route, arrived, drive, follow, indices
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import Walls

RUNS, VERSION, MAZE = ROOT / "runs" / "horizon", "1", "large"
EPISODES, FIRST = 100, 1000  # resets that nothing was tuned on
STEPS = (1, 5, 10, 25, 50, 100, 150)  # after so many steps of a plan
WAYS = ("controller", "own actions", "least squares", "network")
MODELS = WAYS[2:]
EVERY = (10, 25, 50, 100, 0)  # plan again after so many steps; 0: never
DRIVERS = ("own actions", "controller")
UPDATES = 5000  # of the network
CODES = (4, 8, 16, 0)  # numbers of a code; 0: none, the planner's own plans
PLANS = 4  # in one episode, where plans are latent
SHOWN = 2000  # recorded plans that go through the code
Model = Callable[[Tensor, Tensor], Tensor]
"""A one-step model: (state [B, 4], action [B, 2]) -> the state one step later, [B, 4]."""


def least_squares(episodes: Episodes) -> Model:
    """The linear one-step model s' = s + [1, s, a] W whose summed squared error over all transitions is smallest."""
    t = transitions(episodes)

    def features(s: Tensor, a: Tensor) -> Tensor:
        return torch.cat([torch.ones(len(s), 1, dtype=torch.float64), s.double(), a.double()], 1)

    W = torch.linalg.lstsq(features(t.obs, t.act), (t.next_obs - t.obs).double()).solution
    return lambda s, a: s + features(s, a) @ W


def network(episodes: Episodes, seed: int, updates: int = UPDATES) -> Model:
    """The one-step model s' = s + f(s, a), f a small MLP of three layers fitted to standardised changes."""
    t = transitions(episodes)
    x, y = torch.cat([t.obs, t.act], 1).float(), (t.next_obs - t.obs).float()
    into, out = Scaler.fit(x, "standard"), Scaler.fit(y, "standard")
    generator = torch.Generator().manual_seed(seed)
    net = seeded(seed, MLP, x.shape[1], out=y.shape[1], width=128, label=0)

    def loss(_: Any) -> dict[str, Tensor]:
        rows = torch.randint(len(x), (256,), generator=generator)
        return {"loss": (net(into(x[rows])) - out(y[rows])).square().mean()}

    update = descend(loss, net, lr=2e-3, schedule=cosine_decay(updates, warmup=100), ema=0.999)
    assert update.ema is not None
    for _ in range(updates):
        update(None)
    best = update.ema.module.eval()

    @torch.no_grad()
    def model(s: Tensor, a: Tensor) -> Tensor:
        return s + out.inverse(best(into(torch.cat([s, a], 1).float()))).double()

    return model


def rolled_out(model: Model, start: ArrayLike, actions: ArrayLike) -> NDArray[np.float64]:
    """s_{k+1} = model(s_k, a_k) from the state start [4] under actions [T, 2]: the model sees its own states alone. ->
    [T + 1, 4]"""
    states = [torch.as_tensor(np.asarray(start, float))[None]]
    for a in torch.as_tensor(np.asarray(actions, float)):
        states.append(model(states[-1], a[None]))
    return torch.cat(states).numpy()


def away(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Metres between the positions of two sequences of states [T, 4], as far as both go. -> [T]"""
    a, b = np.asarray(a, float), np.asarray(b, float)
    n = min(len(a), len(b))
    return np.linalg.norm(a[:n, :2] - b[:n, :2], axis=1)


@lru_cache(maxsize=1)
def driven() -> tuple[list[Episode], list[Episode]]:
    """The episodes in which the controller follows a plan, and those in which the plan's own actions are executed.

    The plan of an episode is the same in both, and neither plans again.
    """
    planner = Diffuser.load(f"maze-{MAZE}")
    agents = Follower(planner.route, again=False), OwnActions(planner)
    env = make_maze(MAZE)
    seeds = range(FIRST, FIRST + EPISODES)
    runs = tuple(drive([env], agent, seeds, until=lambda e: e.steps == max(STEPS)) for agent in agents)
    env.close()
    return runs[0], runs[1]


def compounding(way: str, *, seed: int) -> dict[str, Any]:
    """One point: metres off after each number of `STEPS`, a list for each, over the episodes whose plans are so long.

    controller, own actions: between the ball and the plan's state at that step. least squares, network: between the
    model, rolled out under the actions that the controller executed, and the ball. seed: of the network's training.
    """
    followed, blind = driven()
    if way in MODELS:
        begun = time.process_time()
        episodes = expert(MAZE)
        model = least_squares(episodes) if way == "least squares" else network(episodes, seed)
        cpu = time.process_time() - begun
        paths = [(rolled_out(model, e.obs[0], e.act), e.obs) for e in followed]
    else:
        cpu = 0.0
        paths = [(e.reference, e.obs) for e in (followed if way == "controller" else blind)]
    apart = [away(a, b)[: len(e.reference)] for (a, b), e in zip(paths, followed, strict=True)]
    return {f"after_{k}": [float(d[k]) for d in apart if len(d) > k] for k in STEPS} | {"train_cpu": cpu}


def by_step(table: Table) -> list[dict[str, Any]]:
    """A row for each way and number of steps: median (with a bootstrap's interval over episodes, each being its mean
    over trainings), 90 % quantile, and how many plans are so long."""
    rows = []
    for way in WAYS:
        same = [r for r in table.rows if r["way"] == way]
        for k in STEPS if same else ():
            each = np.mean([r[f"after_{k}"] for r in same], 0)
            row = {"way": way, "steps": k, "seeds": len(same), "plans": len(each), "off": float(np.median(each))}
            row |= {"interval": list(_median_interval(each)), "worst_tenth": float(np.quantile(each, 0.9))}
            rows.append(row)
    return rows


def _median_interval(x: NDArray[np.float64], draws: int = 2000) -> tuple[float, float]:
    """The 95 % percentile bootstrap of the median of x [n]."""
    rows = np.random.default_rng(0).integers(len(x), size=(draws, len(x)))
    low, high = np.quantile(np.median(x[rows], 1), (0.025, 0.975))
    return float(low), float(high)


def compounded(seeds: Sequence[int]) -> Table:
    """The table of compounding; the network alone has several trainings."""
    rest = [{"way": way} for way in WAYS if way != "network"]
    grids = ((rest, seeds[:1]), ([{"way": "network"}], seeds))
    table = Table.joined(run_grid(compounding, g, seeds=s, cache=RUNS, version=VERSION) for g, s in grids)
    return Table(table.rows, table.about | {"maze": MAZE, "summary": by_step(table)})


@dataclass
class Again:
    """An agent that plans again after every `every` steps (0: never), and in between executes the plan's own actions,
    or is led along the plan by the PD controller.

    Own actions are [1, s, s' - s] inverse of neighbouring states of the plan, `plans.inverse_dynamics`; after the
    plan's end they are 0, and the controller holds the goal.
    """

    route: Route
    every: int = 0
    inverse: NDArray[np.float64] | None = None  # [9, 2]; None: the controller drives

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        if goal is None:
            raise ValueError("this agent plans to goals, and the world has none")
        self.goal, self.seeds = np.asarray(goal, float), [int(seed) for seed in seeds]
        self.plans, self.step = np.zeros((2, len(seeds)), int)
        self.seconds: list[list[float]] = [[] for _ in seeds]
        self.reference = [np.empty((0, 4)) for _ in seeds]
        for k, o in enumerate(np.asarray(obs, float)):
            self._ask(k, o)
        self.first = list(self.reference)

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float64]:
        return np.array([self._act(k, o) for k, o in zip(indices(obs, which), np.asarray(obs, float), strict=True)])

    def extras(self, k: int) -> dict[str, Any]:
        return {"reference": self.first[k], "plans": int(self.plans[k]), "seconds": self.seconds[k]}

    def _ask(self, k: int, x: NDArray[np.float64]) -> None:
        begun = time.perf_counter()
        seed = self.seeds[k] + 1_000_003 * int(self.plans[k])
        self.reference[k] = np.asarray(self.route(x, self.goal[k], seed), float)
        self.seconds[k].append(time.perf_counter() - begun)
        self.plans[k], self.step[k] = self.plans[k] + 1, 0

    def _act(self, k: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.every and self.step[k] == self.every:
            self._ask(k, x)
        plan, step = self.reference[k], self.step[k]
        self.step[k] += 1
        ended = step + 1 >= len(plan)
        if self.inverse is None:
            return follow(np.r_[self.goal[k], 0, 0] if ended else plan[step + 1], x)
        if ended:
            return np.zeros(self.inverse.shape[1])
        s, after = plan[step], plan[step + 1]
        return np.clip(np.r_[1, s, after - s] @ self.inverse, -1, 1)


def again(driver: str, every: int, *, seed: int) -> dict[str, Any]:
    """One point: a driver that plans again after every so many steps, over the episodes.

    reached: a 0 or 1 for each episode, within its 800 steps; plans: how many an episode on average; plan_ms: the mean
    of one planning, on the clock; steps: the mean number until the goal, of those that reached it.
    """
    planner = Diffuser.load(f"maze-{MAZE}")
    inverse = planner.inverse.double().numpy() if driver == "own actions" else None
    env = make_maze(MAZE)
    seeds = [seed * EPISODES + FIRST + k for k in range(EPISODES)]
    found = drive([env], Again(planner.route, every, inverse), seeds, until=arrived)
    env.close()
    there = [e.steps for e in found if e.reached]
    return {
        "reached": "".join("01"[bool(e.reached)] for e in found),
        "plans": float(np.mean([e.plans for e in found])),
        "plan_ms": round(1000 * float(np.mean([s for e in found for s in e.seconds])), 1),
        "steps": float(np.mean(there)) if there else None,
    }


def by_driver(table: Table) -> Iterator[dict[str, Any]]:
    """A row for each driver and interval, over all episodes, with Wilson's interval."""
    for driver in DRIVERS:
        for every in EVERY:
            same = [r for r in table.rows if (r["driver"], r["every"]) == (driver, every)]
            bits = [c == "1" for r in same for c in r["reached"]]
            if not bits:
                continue
            row = {"driver": driver, "every": str(every or "never"), "seeds": 1, "episodes": len(bits)}
            row |= {"reached": float(np.mean(bits)), "interval": list(wilson(sum(bits), len(bits)))}
            for name in ("plans", "plan_ms", "steps"):
                values = [r[name] for r in same if r[name] is not None]
                row[name] = float(np.mean(values)) if values else None
            yield row


def replanned(seeds: Sequence[int]) -> Table:
    """The table of planning again; a seed is a hundred other resets, under one training of the planner."""
    grid = [{"driver": driver, "every": every} for driver in DRIVERS for every in EVERY]
    table = run_grid(again, grid, seeds=seeds, cache=RUNS, version=VERSION)
    return Table(table.rows, table.about | {"maze": MAZE, "summary": list(by_driver(table))})


def coded(size: int, seed: int) -> latent.Latent:
    """Latent plans with codes of `size` numbers, trained unless they are kept; `about["cpu"]`: CPU seconds of it."""
    path = RUNS / f"latent-{size}-{seed}.safetensors"
    if not path.is_file():
        begun = time.process_time()
        run = latent.train(expert(MAZE), latent.Config(code=size), seed=seed)
        for _ in run:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        run.model.save(path, cpu=round(time.process_time() - begun, 1))
    return latent.Latent.load(path)


def by_code(size: int, *, seed: int) -> dict[str, Any]:
    """One point: codes of `size` numbers (0: plans that are not coded, the shipped planner's).

    lost: metres that a point of a recorded plan is moved by on its way through the code, the mean over a plan, then the
    median over `SHOWN` plans of the recording it was trained on; missed: the median of how far drawn plans were from
    the ends that were asked for; reached: a 0 or 1 for each episode, with at most `PLANS` plans; clear: the share of
    first plans that cross no wall, by their states at every step; plan_ms: the mean of one planning, on the clock.
    """
    model: Any = coded(size, seed) if size else Diffuser.load(f"maze-{MAZE}")
    row: dict[str, Any] = {"lost": 0.0, "missed": 0.0, "train_cpu": None}
    env, walls = make_maze(MAZE), Walls.named(MAZE)
    seeds = range(FIRST, FIRST + EPISODES)
    if size:
        pieces = latent.Pieces(expert(MAZE), latent.Config(batch=SHOWN), torch.Generator().manual_seed(1))
        x = next(pieces)["x"]
        lost = (model.reconstructed(x) - x)[..., : model.n].norm(dim=-1).mean(1)
        resets = [env.reset(seed=s)[0] for s in seeds]
        ends = [np.array([r[key] for r in resets]) for key in ("observation", "desired_goal")]
        missed = model.drawn(*ends, torch.Generator().manual_seed(seed))[1]
        row = {"lost": float(lost.median()), "missed": float(missed.median()), "train_cpu": model.about["cpu"]}
    found = drive([env], Follower(model.route, most=PLANS), seeds, until=arrived)
    env.close()
    plans = [e.reference for e in found]
    return row | {
        "reached": "".join("01"[bool(e.reached)] for e in found),
        "clear": float(np.mean([not walls.crosses(p[:-1, :2], p[1:, :2]).any() for p in plans])),
        "plans": float(np.mean([e.plans for e in found])),
        "plan_ms": round(1000 * float(np.mean([s for e in found for s in e.seconds])), 1),
    }


def by_size(table: Table) -> list[dict[str, Any]]:
    """A row for each size: goals reached with an interval over episodes (Wilson's, of one training; a bootstrap's where
    there are several, each episode being its mean over them), and means over trainings of the rest."""
    rows = []
    for size in CODES:
        same = [r for r in table.rows if r["size"] == size]
        if not same:
            continue
        bits = np.array([[c == "1" for c in r["reached"]] for r in same], float)
        each = bits.mean(0)
        pooled = wilson(int(bits.sum()), bits.size) if len(same) == 1 else bootstrap(each)
        row = {"size": str(size or "none"), "seeds": len(same), "episodes": len(each)}
        row |= {"reached": float(each.mean()), "interval": list(pooled)}
        for name in ("lost", "missed", "clear", "plans", "plan_ms", "train_cpu"):
            values = [r[name] for r in same if r[name] is not None]
            row[name] = float(np.mean(values)) if values else None
        rows.append(row)
    return rows


def sizes(seeds: Sequence[int]) -> Table:
    """The table of codes; the shipped planner beside them has one training."""
    grids = (([{"size": k} for k in CODES if k], seeds), ([{"size": 0}], seeds[:1]))
    table = Table.joined(run_grid(by_code, g, seeds=s, cache=RUNS, version=VERSION) for g, s in grids)
    return Table(table.rows, table.about | {"maze": MAZE, "summary": by_size(table)})


PARTS = {
    "compounding": Part(compounded, "results/horizon-compounding.json"),
    "replan": Part(replanned, "results/horizon-replan.json", seeds=1),
    "latent": Part(sizes, "results/horizon-latent.json"),
}
