"""What lesson 07 draws around its own few lines: chunks over recorded legs, and drives to far goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import Function, load
from diffrl_lab.diffusion.denoisers import Cond
from diffrl_lab.methods.planning.compositional import Compositional, beside
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.methods.planning.graph import Graph
from diffrl_lab.studies import ogbench, stitching
from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.mazes import draw_maze
from diffrl_lab.widgets.movie import Movie, movie
from diffrl_lab.widgets.tables import Columns
from diffrl_lab.worlds.driving import Episode, Follower, arrived, drive, follow
from diffrl_lab.worlds.mazes import make_maze

NEAR = 0.2  # metres: so near to a point a recorded leg passes it
WALLS = stitching.named_walls(stitching.MAZE)
ARMS = {
    "graph": "graph of waypoints",
    "compositional": "composed chunks",
    "planner": "flat planner",
    "gciql": "IQL with goals",
    "bc": "behaviour cloning",
    "retrieval": "nearest recorded leg",
}
OTHERS = {
    "hierarchical": "subgoals, then legs",
    "adapt_diffuser": "AdaptDiffuser, own proposals",
    "adapt_diffuser, graph": "AdaptDiffuser, the graph's proposals",
    "latent": "diffused codes",
    "tree": "a tree of chunks",
}


@lru_cache(maxsize=1)
def graph() -> Graph:
    """The shipped graph around a model of chunks, from legs of at most 3 cells; one training."""
    return Graph.load(shipped("weights/stitching-graph.safetensors"))


@lru_cache(maxsize=1)
def flat() -> Diffuser:
    """The flat planner that was trained on the same legs; one training."""
    return Diffuser.load(shipped("weights/stitching-flat.safetensors"))


@lru_cache(maxsize=1)
def recorded() -> list[NDArray[np.float64]]:
    """400 of the recorded legs, as positions [n, 2]."""
    tensors, _ = load(shipped("results/stitching-legs.safetensors"))
    return [p.double().numpy() for p in tensors["position"].split(tensors["length"].tolist())]


def seeds(n: int, skip: int = 0) -> tuple[int, ...]:
    """The environment's seeds of n goals farther than any leg, on which nothing was tuned."""
    return stitching.far("untouched")[skip : skip + n]


def task(seed: int) -> tuple[Tensor, Tensor]:
    """The state [4] and the goal [2] that a seed of the environment gives."""
    env = make_maze(stitching.MAZE)
    seen, _ = env.reset(seed=int(seed))
    env.close()
    return torch.tensor(seen["observation"]).float(), torch.tensor(seen["desired_goal"]).float()


def joined(model: Compositional, neighbours: Callable[[Tensor], Tensor], known: Tensor, value: Tensor) -> Function:
    """The denoiser of one plan of c chunks x_t [c, h, 2n + 1] at once: each chunk is shown what `neighbours` gives of
    the states, [c, h, 2n] -> [c, 2, 2n], and what both chunks say of a joint is averaged. known, value as in
    `Compositional.ends`, of one plan."""
    d = 2 * model.n
    told = torch.ones(len(known), 2, dtype=torch.bool)
    told[0, 0] = told[-1, 1] = False

    def together(x_t: Tensor, t: Tensor, _: Cond = None) -> Tensor:
        cond = {"known": known, "beside": beside(neighbours(x_t[..., :d]).to(x_t), told)}
        x0_hat = model.denoiser(torch.where(known, value, x_t), t, cond).clone()
        both = (x0_hat[:-1, -1, :d] + x0_hat[1:, 0, :d]) / 2
        x0_hat[:-1, -1, :d], x0_hat[1:, 0, :d] = both, both
        return torch.where(known, value, x0_hat)

    return Function(together, model.denoiser.schedule)


def course(seed: int, planner: Any) -> tuple[Callable, Callable, Tensor, Tensor]:
    """What a driving loop needs of one task: plan(obs, goal) -> states [K, 4], step(obs, target) -> the next state [4],
    the first state and the goal. A step leads to the target by PD control."""
    env = make_maze(stitching.MAZE)
    seen, _ = env.reset(seed=int(seed))
    count = iter(range(1_000_000))

    def plan(obs: ArrayLike, goal: ArrayLike) -> Tensor:
        route = planner.route(np.asarray(obs, float), np.asarray(goal, float), int(seed) + 1_000_003 * next(count))
        return torch.as_tensor(np.asarray(route)).double()

    def step(obs: ArrayLike, target: ArrayLike) -> Tensor:
        action = follow(np.asarray(target, float), np.asarray(obs, float))
        return torch.tensor(env.step(np.clip(action, -1, 1))[0]["observation"]).double()

    return plan, step, torch.tensor(seen["observation"]).double(), torch.tensor(seen["desired_goal"]).double()


def driven(route: Callable, which: Sequence[int]) -> list[Episode]:
    """Drives to the goals of some seeds, with at most four plans each."""
    env = make_maze(stitching.MAZE)
    episodes = drive([env], Follower(route, most=stitching.PLANS), list(which), until=arrived)
    env.close()
    return episodes


def crosses(points: ArrayLike) -> bool:
    """Whether the way through positions [T, 2+] crosses a wall."""
    p = np.asarray(points, float)[:, :2]
    return bool(WALLS.crosses(p[:-1], p[1:]).any())


def over(
    panels: Mapping[str, Sequence[ArrayLike]], start: ArrayLike, goal: ArrayLike, *, alt: str, legs: int = 150
) -> pictures.Picture:
    """Panels of the maze: recorded legs in grey, and over them lines [n, 2+], each in a colour of its own with a dot
    where it ends: the chunks of a plan, say."""
    fig, axes = pictures.figure(2.9, 1, len(panels))
    every = recorded()
    for ax, (title, lines) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        draw_maze(ax, WALLS, np.asarray(start)[:2], np.asarray(goal)[:2])
        for leg in every[:: max(1, len(every) // max(1, legs))] if legs else []:
            ax.plot(*leg.T, color="0.6", lw=0.6, zorder=1)
        for i, line in enumerate(lines):
            style = pictures.nth_look(i, f"chunk {i + 1}")
            x = np.asarray(line)[:, :2]
            ax.plot(*x.T, lw=2.2, color=style["color"], zorder=3)
            ax.plot(*x[-1], marker="o", ms=5, color=style["color"], mec="white", zorder=4)
        ax.set_title(title, fontsize=10)
    return pictures.Picture(fig, alt)


def running(plan: ArrayLike, durations: ArrayLike, start: ArrayLike, goal: ArrayLike, *, alt: str) -> Movie:
    """A plan of chunks [c, h, 2+], which take durations [c] in seconds, as it is run through point by point over
    recorded legs. At each moment those legs light up that pass within `NEAR` metres of the point that is reached."""
    points = np.asarray(plan, float)[..., :2]
    c, h, _ = points.shape
    reached = np.arange(c)[:, None] * (h - 1) + np.arange(h)  # [c, h], the frame in which a point is reached
    shown, times = np.full((c * (h - 1) + 1, c, h, 2), np.nan), np.zeros(c * (h - 1) + 1)
    lasts = np.asarray(durations, float)
    times[reached] = (np.cumsum(lasts) - lasts)[:, None] + np.linspace(0, 1, h) * lasts[:, None]
    every, lit = recorded()[::3], []
    for k, frame in enumerate(shown):
        frame[reached <= k] = points[reached <= k]
        at = points[reached == k][0]
        lit.append([i for i, leg in enumerate(every) if np.linalg.norm(leg - at, axis=1).min() < NEAR])
    return movie(
        {"t": times, "x_t": shown},
        maze=WALLS,
        start=np.asarray(start)[:2],
        goal=goal,
        groups=[f"chunk {i + 1}" for i in range(c)],
        ends=True,
        under=[np.concatenate([leg[:-1:3], leg[-1:]]) for leg in every],
        lit=lit,
        clock="seconds",
        play=True,
        alt=alt,
    )


def table(name: str) -> Table:
    """A table of the studies `stitching`, `horizon` or `ogbench`, as it ships."""
    return Table.load(shipped(f"results/{name}.json"))


def reached(study: Table, k: int, *, alt: str) -> pictures.Picture:
    """Far goals reached from legs of at most k cells, with intervals."""
    rows = [study.row(k=k, arm=arm) for arm in ARMS]
    lines = [(ARMS[r["arm"]], r["success"], *r["interval"]) for r in rows]
    return widgets.intervals(lines, xlabel="far goals reached", alt=alt)


def arms(study: Table) -> Columns:
    """Every arm: what it reaches from legs of 2 and of 3 cells, and what it costs."""
    rows = {k: [study.row(k=k, arm=arm) for arm in ARMS] for k in stitching.LEGS}
    columns: dict[str, Sequence[Any]] = {"planner": list(ARMS.values())}
    columns["trainings"] = ["–" if r["arm"] == "retrieval" else r["seeds"] for r in rows[stitching.LEGS[0]]]
    for k, of in rows.items():
        columns[f"legs of {k} cells: reached"] = [
            f"{r['success']:.2f} ({r['interval'][0]:.2f} to {r['interval'][1]:.2f})" for r in of
        ]
    last = rows[stitching.LEGS[-1]]
    columns["first plan clear of walls"] = ["–" if r["clear"] is None else f"{r['clear']:.2f}" for r in last]
    columns["a plan, s"] = ["–" if r["plan_seconds"] is None else f"{r['plan_seconds']:.2f}" for r in last]
    columns["training, CPU s"] = [f"{r['train_cpu']:.0f}" for r in last]
    return widgets.table(columns)


def new(*studies: Table) -> Columns:
    """New goals of both mazes: what each arm reaches from legs of at most k cells, and of how many trainings."""
    arms = [arm for arm in ARMS if any(arm in asked for asked in stitching.ASKED.values())]
    columns: dict[str, Sequence[Any]] = {"planner": [ARMS[arm] for arm in arms]}
    for study in studies:
        rows = {(r["k"], r["arm"]): r for r in study.about["summary"]}
        for k in sorted({k for k, _ in rows}):
            cells = [rows.get((k, arm)) for arm in arms]
            columns[f"{study.about['maze']}, legs of {k} cells"] = [
                "–" if r is None else f"{r['success']:.2f} ({r['interval'][0]:.2f} to {r['interval'][1]:.2f})"
                for r in cells
            ]
        columns[f"trainings, {study.about['maze']}"] = [
            "–" if r is None or r["arm"] == "retrieval" else r["seeds"] for r in cells
        ]
    return widgets.table(columns)


def replanned(study: Table) -> Columns:
    """Goals reached by who executes own actions and by who follows by a controller, by the steps between two plans."""
    intervals = [r["every"] for r in study.about["summary"] if r["driver"] == "controller"]
    columns: dict[str, Sequence[Any]] = {"plans again after, steps": intervals}
    for driver in ("own actions", "controller"):
        rows = [study.row(driver=driver, every=every) for every in intervals]
        columns[f"{driver}: goals reached, of {rows[0]['episodes']}"] = [
            f"{r['reached']:.2f} ({r['interval'][0]:.2f} to {r['interval'][1]:.2f})" for r in rows
        ]
        columns[f"{driver}: plans an episode"] = [f"{r['plans']:.1f}" for r in rows]
    return widgets.table(columns)


def coded(study: Table) -> Columns:
    """Latent plans by the numbers of their code: what the code loses, what is reached, and what a plan costs."""
    rows = study.about["summary"]
    columns: dict[str, Sequence[Any]] = {"numbers of a code": [r["size"] for r in rows]}
    for head, name, form in (
        ("trainings", "seeds", "d"),
        ("a recorded plan moved by, m", "lost", ".2f"),
        ("ends missed by, m", "missed", ".2f"),
        ("first plan clear of walls", "clear", ".2f"),
        ("plans an episode", "plans", ".1f"),
        ("a plan, ms", "plan_ms", ".0f"),
    ):
        columns[head] = [f"{r[name]:{form}}" for r in rows]
    columns["goals reached"] = [f"{r['reached']:.2f} ({r['interval'][0]:.2f} to {r['interval'][1]:.2f})" for r in rows]
    return widgets.table(columns)


def others(study: Table, beside: Table) -> Columns:
    """Planners of the part `others` between the flat planner and the graph of the part `mazes`, on the same goals."""
    arms = {"planner": beside} | dict.fromkeys(OTHERS, study) | {"graph": beside}
    rows = {k: [of.row(k=k, arm=arm) for arm, of in arms.items()] for k in stitching.LEGS}
    columns: dict[str, Sequence[Any]] = {"planner": [(ARMS | OTHERS)[arm] for arm in arms]}
    columns["trainings"] = [r["seeds"] for r in rows[stitching.LEGS[0]]]
    for k, of in rows.items():
        columns[f"legs of {k} cells: reached"] = [
            f"{r['success']:.2f} ({r['interval'][0]:.2f} to {r['interval'][1]:.2f})" for r in of
        ]
    columns["first plan clear of walls"] = [f"{r['clear']:.2f}" for r in rows[stitching.LEGS[-1]]]
    columns["a plan, s"] = [f"{r['plan_seconds']:.2f}" for r in rows[stitching.LEGS[-1]]]
    columns["training, CPU s"] = [f"{r['train_cpu']:.0f}" for r in rows[stitching.LEGS[-1]]]
    return widgets.table(columns)


def benchmark(study: Table) -> Columns:
    """The arms of the study `ogbench`: episodes that reach, with Wilson's intervals, in each maze and recording."""
    columns: dict[str, Sequence[Any]] = {"planner": [ARMS[arm] for arm in ogbench.ARMS]}
    for maze, kind in ogbench.CELLS:
        rows = [study.row(maze=maze, kind=kind, arm=arm) for arm in ogbench.ARMS]
        columns[f"{maze}, {kind}"] = [
            f"{r['success']:.2f} ({r['interval'][0]:.2f} to {r['interval'][1]:.2f})" for r in rows
        ]
    return widgets.table(columns)
