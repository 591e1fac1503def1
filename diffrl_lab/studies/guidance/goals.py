"""Experiment 2, check 2: a goal reached by inpainting, by classifier-free guidance and by a classifier."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.diffusion import ascend, cfg, cosine_decay, descend, given, load, pin
from diffrl_lab.methods.guides import Guide, density_loss, log_density
from diffrl_lab.methods.planning import decision_diffuser
from diffrl_lab.methods.planning.decision_diffuser import DecisionDiffuser
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces, known_ends
from diffrl_lab.methods.planning.plans import plan_scaler
from diffrl_lab.studies.guidance.models import RUNS, averaged, fresh, fresh_guide, learning
from diffrl_lab.studies.planners import expert
from diffrl_lab.worlds.driving import Along, arrived, drive
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import RADIUS, REACHED, Walls


@lru_cache(maxsize=2)
def goal_models(maze: str, seed: int) -> tuple[Diffuser, Guide]:
    """A backbone of pieces of episodes whose condition is their end (dropped for a quarter of the samples), shown the
    start alone or start and goal in equal parts; and a classifier of the end, given the start and the noisy piece."""
    paths = [RUNS / "weights" / f"goals-{maze}-{seed}-{k}.safetensors" for k in ("plans", "classifier")]
    config = CONFIGS[maze]
    if not all(path.is_file() for path in paths):
        begun = time.process_time()
        episodes = expert(maze)
        g = torch.Generator().manual_seed(seed)
        pieces = Pieces(episodes, config, g)
        dd = fresh(episodes, config, seed, cond=2)
        dd.planner.scaler = scaler = plan_scaler(pieces.plans(20_000)[0], 2)
        dd.y_scaler = scaler[[0, 1]]
        update, J = learning(dd, g), fresh_guide(config.horizon * 5, 4, seed)
        climb = descend(
            lambda b: density_loss(J, b["x"], b["y"], known=b["start"], generator=g),
            J,
            lr=2e-3,
            schedule=cosine_decay(config.updates),
            ema=0.995,
        )
        for _ in range(config.updates):
            x = pieces.plans(config.batch)[0]
            known = known_ends(x, 2)
            known[torch.rand(len(x), generator=g) < 0.5, -1] = False
            start = torch.zeros(1, config.horizon, 5, dtype=torch.bool)
            start[:, 0, :4] = True
            update({"x": x, "known": known, "y": x[:, -1, :2]})
            z = scaler(x)
            climb({"x": z, "y": z[:, -1, :2], "start": start})
        assert climb.ema is not None
        about = {"maze": maze, "seed": seed, "seconds": round(time.process_time() - begun, 1)}
        averaged(dd, update).save(paths[0], **about)
        climb.ema.module.save(paths[1], **about)  # type: ignore[operator]
    return DecisionDiffuser.load(paths[0]).planner, Guide.load(paths[1])


CONFIGS = {
    "umaze": decision_diffuser.Config(width=160, depth=2, channels=16, batch=128, updates=1200, inverse_width=8),
    "medium": decision_diffuser.Config(width=192, depth=2, channels=16, batch=128, updates=2000, inverse_width=8),
    "large": decision_diffuser.Config(width=224, depth=2, channels=16, batch=128, updates=2500, inverse_width=8),
    "two-ways": decision_diffuser.Config(width=128, depth=2, channels=16, batch=128, updates=600, inverse_width=8),
}
CANDIDATES, DENOISING = 4, 10
ROWS = [
    ("pin", 0.0),
    *(("cfg", w) for w in (0.0, 0.5, 1.0, 2.0, 4.0)),
    *(("classifier", w) for w in (0.3, 1.0, 3.0, 10.0)),
]


def goal_plans(
    maze: str, form: str, scale: float, seed: int, obs: ArrayLike, end: ArrayLike, generator: torch.Generator
) -> list[NDArray[np.float64] | None]:
    """For each query (state obs [Q, 4], goal end [Q, 2]) the most consistent of 4 plans as states at every step
    [T + 1, 4], or None where it takes less than 1 step or over 5,000 or is not finite. All are drawn in one batch."""
    planner, J = goal_models(maze, seed)
    obs, end = np.asarray(obs, float), np.asarray(end, float)
    known, value = planner.ends(obs, end if form == "pin" else None)
    known, value = known[0], value.repeat_interleave(CANDIDATES, 0)
    y = planner.scaler[[0, 1]](torch.as_tensor(end, dtype=torch.float32)).repeat_interleave(CANDIDATES, 0)
    D = given(planner.denoiser, {"known": known})
    if form == "cfg":
        D = cfg(planner.denoiser, {"known": known.expand(len(y), *known.shape), "y": y}, scale, drop=("y",))
    elif form == "classifier":
        D = ascend(D, log_density(J, y), scale)
    elif form != "pin":
        raise ValueError(f"no form {form!r}")
    with torch.no_grad():
        plan = planner.drawn(pin(D, known, value), known, value, len(y), DENOISING, generator)
    best = plan.gaps.nan_to_num(torch.inf).view(-1, CANDIDATES).argmin(1) + CANDIDATES * torch.arange(len(obs))
    fine = (plan.durations >= 1) & (plan.durations < 5000) & plan.candidates.isfinite().all(-1).all(-1)
    return [planner.reference(plan, k) if fine[k] else None for k in best.tolist()]


def arrives(env, reference: NDArray[np.float64], *, seed: int) -> bool:
    """Whether the ball, led along reference [T, 4] by the PD controller and held at its end, comes within 0.45 m of the
    goal before the time limit. The plan is asked for once, and the episode is over on arrival."""
    return bool(drive([env], Along(lambda *_: reference), [seed], until=arrived)[0].reached)


def goal(
    maze: str, form: str, scale: float, *, seed: int, first: int = 100_000, queries: int = 100, episodes: int = 30
) -> dict[str, Any]:
    """One row of the table of goals: 4 candidates per query, the most consistent one counts.

    The queries are environment resets from seed `first` + 1000 seed on. aimed: share of plans that end within 0.45 m of
    the goal; clear: of those, and free of walls; reached: share of the first `episodes` of them whose plan, followed
    open-loop, takes the ball to the goal. *_low: Wilson's lower 95 % bounds. The cost: forward `evaluations` of the
    plan network for one plan (`cfg` has two branches), `guide` evaluations of the classifier and as many `backward`
    passes through it; cpu_batched: CPU seconds for one plan, all queries in one batch; cpu: for the 4 plans of one
    query planned alone, the median of 10.
    """
    env, walls = make_maze(maze), Walls.named(maze)
    seeds = [first + 1000 * seed + k for k in range(queries)]
    resets = [env.reset(seed=s)[0] for s in seeds]
    obs = np.array([r["observation"] for r in resets])
    end = np.array([r["desired_goal"] for r in resets])
    goal_models(maze, seed)
    begun = time.process_time()
    plans = goal_plans(maze, form, scale, seed, obs, end, torch.Generator().manual_seed(seed))
    batched = (time.process_time() - begun) / (queries * CANDIDATES)
    spent = []
    for k in range(10):
        begun = time.process_time()
        goal_plans(maze, form, scale, seed, obs[k : k + 1], end[k : k + 1], torch.Generator().manual_seed(k))
        spent.append(time.process_time() - begun)
    hits: dict[str, list[bool]] = {"aimed": [], "clear": [], "reached": []}
    for k, p in enumerate(plans):
        hits["aimed"].append(p is not None and bool(np.linalg.norm(p[-1, :2] - end[k]) <= REACHED))
        hits["clear"].append(hits["aimed"][-1] and p is not None and not walls.inside(p[:, :2], RADIUS).any())
        if k < episodes:
            hits["reached"].append(p is not None and arrives(env, p, seed=seeds[k]))
    env.close()
    row: dict[str, Any] = {"queries": queries, "episodes": episodes, "from_seed": first + 1000 * seed}
    for name, hit in hits.items():
        row |= {name: float(np.mean(hit)), f"{name}_low": wilson(sum(hit), len(hit))[0]}
    passes = DENOISING if form == "classifier" else 0
    return row | {
        "cpu": float(np.median(spent)),
        "cpu_batched": batched,
        "evaluations": 2 * DENOISING if form == "cfg" else DENOISING,
        "guide": passes,
        "backward": passes,
    }


def reaching(maze: str, form: str, scale: float, *, seed: int) -> dict[str, Any]:
    """`goal` over 500 queries and episodes, resets from seed 1000 + 1000 seed on, by which nothing was chosen."""
    return goal(maze, form, scale, seed=seed, first=1000, queries=500, episodes=500)


def chosen(table: Table, form: str) -> float:
    """The scale of a form at which most plans are clear, over all seeds of a table of goals; the smallest of equals."""
    scales = sorted({r["scale"] for r in table.rows if r["form"] == form})
    return max(scales, key=lambda s: (float(table.column("clear", form=form, scale=s).mean()), -s))


def pooled(table: Table) -> list[dict[str, Any]]:
    """For each maze and form of a table of goals, all its seeds' episodes together: `reached` and Wilson's interval,
    and the lowest of the seeds' own lower bounds. The pool has no share for the variance between trainings."""
    pools = []
    for maze, form in dict.fromkeys((r["maze"], r["form"]) for r in table.rows):
        rows = [r for r in table.rows if (r["maze"], r["form"]) == (maze, form)]
        n = sum(r["episodes"] for r in rows)
        hits = sum(round(r["reached"] * r["episodes"]) for r in rows)
        pools.append(
            {
                "maze": maze,
                "form": form,
                "scale": rows[0]["scale"],
                "seeds": len(rows),
                "episodes": n,
                "reached": hits / n,
                "interval": list(wilson(hits, n)),
                "lowest": min(r["reached_low"] for r in rows),
                "cpu_batched": float(np.mean([r["cpu_batched"] for r in rows])),
            }
        )
    return pools


def training(mazes: Iterable[str], seeds: Sequence[int]) -> float:
    """Train the networks of mazes, unless they are kept -> the CPU hours their trainings took, as their files say."""
    files = []
    for maze, seed in itertools.product(mazes, seeds):
        goal_models(maze, seed)
        files.append(RUNS / "weights" / f"goals-{maze}-{seed}-plans.safetensors")
    return sum(load(file)[1]["seconds"] for file in files) / 3600
