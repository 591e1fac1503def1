"""Robots, behind lesson 05b: a guided planner against behaviour cloning, on Hopper and HalfCheetah.

200,000 steps of kind medium-replay each, every tenth episode held out, recorded here where they are missing. Methods:
`guided` (methods.planning.receding), `cloning`, `best 10 %`; ablations of `guided` with the same weights, of training
seed 0 alone: `not guided`, `not chosen`, `neither`. Each method is tuned on a training seed and starts apart from all
that is reported (`tuned`), and cloning may train as long as the planner.

`hopper` and `halfcheetah` compute one robot, `table` writes both; kept in runs/locomotion-study.
What was tried, cut and found: docs/studies/robots.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from diffrl_lab.analysis.feasibility import dynamics_residual, infeasible, locomotive
from diffrl_lab.analysis.intervals import iqm, paired
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data import minari as recordings
from diffrl_lab.data.episodes import Episodes, windows
from diffrl_lab.files import ROOT, write_text
from diffrl_lab.methods.planning import receding
from diffrl_lab.methods.planning.receding import Receding, windows_to_go
from diffrl_lab.methods.policies import cloning
from diffrl_lab.methods.policies.cloning import best_episodes
from diffrl_lab.studies.study import Part
from diffrl_lab.worlds import robots as locomotion
from diffrl_lab.worlds.driving import Agent, after, drive

RUNS = ROOT / "runs" / "locomotion-study"
ROBOTS, KIND, STEPS = ("hopper", "halfcheetah"), "medium-replay", 200_000
TUNING_SEED = 100
STARTS = range(10)
TUNING_STARTS = {"hopper": range(10_000, 10_004), "halfcheetah": range(10_000, 10_002)}  # of the planner
CLONING_STARTS = range(10_000, 10_010)
VERSION = "1"  # of what the functions below call

SCALES = (0, 10, 30, 60, 100)
LONG = 9000  # updates of cloning, the longest that is tried
CLONED: tuple[dict[str, Any], ...] = ({"steps": LONG}, {"steps": LONG // 3})
BEST: tuple[dict[str, Any], ...] = (
    {"of": "steps", "steps": LONG},
    {"of": "steps", "steps": LONG // 3},
    {"of": "episodes", "steps": LONG // 3},
)
PLANNERS: dict[str, dict[str, Any]] = {
    "guided": {},
    "not guided": {"scale": 0},
    "not chosen": {"candidates": 1},
    "neither": {"candidates": 1, "scale": 0},
}
METHODS = ("guided", "cloning", "best 10 %", "not guided", "not chosen", "neither")
GRID: dict[str, dict[int, tuple[str, ...]]] = {  # robot -> training seed -> methods
    "hopper": {0: METHODS, 1: METHODS[:3], 2: METHODS[:3]},
    "halfcheetah": {0: METHODS[:4], 1: METHODS[:3]},
}


def together(name: str, agent: Agent, seeds: Any, limit: int = 1000) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One episode for each start seed, of at most `limit` steps, all side by side: undiscounted returns and lengths
    [n]."""
    envs = [locomotion.make(name) for _ in seeds]
    episodes = drive(envs, agent, seeds, until=after(limit))
    for env in envs:
        env.close()
    # added one by one, as the tables' returns were: numpy's own sum has other last bits
    return np.array([sum(e.rew.tolist()) for e in episodes]), np.array([e.steps for e in episodes])


@lru_cache(maxsize=2)
def data(name: str, split: str = "train") -> Episodes:
    """The recording of a robot, made if it is not there."""
    folder = RUNS / "recordings" / f"{name}-{KIND}-v0"
    if not folder.is_dir():
        locomotion.record(name, KIND, STEPS, 0, folder.parent, progress=False)
    return recordings.read(folder, split=split)


# ------------------------------------------------------------------------------------------------------------- training
@lru_cache(maxsize=2)
def planner(name: str, seed: int) -> tuple[Receding, float]:
    """A robot's planner and the CPU seconds of its training; trained unless it is kept."""
    path = RUNS / "weights" / f"{name}-{seed}.safetensors"
    note = path.with_suffix(".json")
    if not note.is_file():
        begun = time.process_time()
        run = receding.train(data(name), seed=seed)
        for _ in run:
            pass
        seconds = time.process_time() - begun
        run.model.save(path, robot=name)
        write_text(note, json.dumps({"cpu": seconds}))
    return Receding.load(path), json.loads(note.read_text())["cpu"]


def clone(name: str, method: str, option: dict[str, Any], seed: int) -> tuple[cloning.Agent, float]:
    """A trained policy, and the CPU seconds of its training."""
    o = dict(option)
    episodes = data(name) if method == "cloning" else best_episodes(data(name), 0.1, o.pop("of"))
    begun = time.process_time()
    run = cloning.train(episodes, cloning.Config(batch=256, updates=o["steps"]), seed=seed)
    for _ in run:
        pass
    return cloning.Agent(run.model), time.process_time() - begun


def tuned(name: str, method: str, *, seed: int = TUNING_SEED) -> dict[str, Any]:
    """What each option of a method scores on the tuning seeds, and the CPU seconds of it all, training
    included. -> option, tried, cpu"""
    begun, before = time.process_time(), 0.0
    tried: list[dict[str, Any]] = []
    if method == "guided":
        windows, cpu = planner(name, seed)
        before = cpu if time.process_time() - begun < cpu else 0.0  # its training was kept
        n = len(TUNING_STARTS[name])
        scale = [s for s in SCALES for _ in range(n)]
        R, _ = together(name, receding.Agent(windows, scale=scale), [*TUNING_STARTS[name]] * len(SCALES))
        scores = locomotion.normalised_score(name, R).reshape(len(SCALES), n)
        tried = [{"option": {"scale": s}, "score": float(v)} for s, v in zip(SCALES, scores.mean(1), strict=True)]
    elif method in ("cloning", "best 10 %"):
        for option in CLONED if method == "cloning" else BEST:
            policy, _ = clone(name, method, option, seed)
            R, _ = together(name, policy, CLONING_STARTS)
            tried.append({"option": option, "score": float(locomotion.normalised_score(name, R).mean())})
    else:
        raise ValueError(f"what is tuned is guided, cloning or best 10 %, got {method!r}")
    best = max(tried, key=lambda row: row["score"])
    return {"option": best["option"], "tried": tried, "cpu": round(before + time.process_time() - begun, 1)}


def option(name: str, method: str) -> dict[str, Any]:
    """The option of a method that `tuned` chose, from the cache where it is there."""
    return _tuned(name, (method,)).rows[0]["option"]


def _tuned(name: str, methods: tuple[str, ...] = METHODS[:3]) -> Table:
    return _grid(tuned, {"name": [name], "method": list(methods)}, [TUNING_SEED])


def _grid(fn: Callable, grid: dict[str, list[str]], seeds: Sequence[int]) -> Table:
    return run_grid(fn, grid, seeds=seeds, cache=RUNS, version=VERSION, progress=False)


# ------------------------------------------------------------------------------------------------------------ measuring
def scored(name: str, method: str, *, seed: int) -> dict[str, Any]:
    """One method after one training: normalised scores and lengths of one episode per start seed, CPU seconds of
    training and of driving."""
    if method in PLANNERS:
        windows, cpu = planner(name, seed)
        options: dict[str, Any] = {**option(name, "guided"), **PLANNERS[method]}
        agent: Agent = receding.Agent(windows, **options)
    else:
        options = option(name, method)
        agent, cpu = clone(name, method, options, seed)
    begun = time.process_time()
    R, L = together(name, agent, STARTS)
    scores = locomotion.normalised_score(name, R)
    return {
        "options": options,
        "iqm": float(iqm(scores)),
        "mean": float(scores.mean()),
        "scores": [round(float(v), 2) for v in scores],
        "lengths": L.tolist(),
        "training_cpu": round(cpu, 1),
        "driving_cpu": round(time.process_time() - begun, 1),
    }


def diagnosed(name: str, *, seed: int, n: int = 200) -> dict[str, Any]:
    """What could go wrong with guidance, looked for in held-out episodes.

    rank: Spearman's correlation of J and R over held-out windows; rank_of_starts: over the first window of each
    episode. residual_*: median one-step dynamics residual, in deviations of a real one-step change, of recorded windows
    and of plans with and without guidance; infeasible_*: share of plans' steps above the 99 % quantile of recorded
    ones. gain: how far J of a guided plan exceeds J of one that is not, in deviations of the return.
    """
    w, _ = planner(name, seed)
    held = data(name, "test")
    rows, mask, R = windows_to_go(held, w.config.horizon, w.config.gamma)
    z = w.scaler(torch.cat([held.act, held.obs], -1).float())
    g = torch.Generator().manual_seed(seed)
    i = torch.randperm(len(rows), generator=g)[:4000]
    with torch.no_grad():
        rank = float(spearmanr(w.J(z[rows[i]], torch.tensor(0.0)), R[i])[0])
        first = torch.searchsorted(rows[:, 0].contiguous(), held.starts)  # one window of each episode: its start
        at_start = float(spearmanr(w.J(z[rows[first]], torch.tensor(0.0)), R[first])[0])
    whole = windows(held, w.config.horizon)
    pick = whole[torch.randperm(len(whole), generator=g)[:n]]
    real_obs, real_act = held.obs[pick].numpy(), held.act[pick].numpy()
    scale = np.std(np.diff(real_obs, axis=1), axis=(0, 1))
    env = locomotion.make(name)
    simulate = locomotive(env)
    floor = dynamics_residual(simulate, real_obs, real_act, scale)
    row: dict[str, Any] = {"rank": rank, "rank_of_starts": at_start, "residual_recorded": float(np.median(floor))}
    values = []
    for kind, s in (("guided", option(name, "guided")["scale"]), ("not_guided", 0)):
        agent = receding.Agent(w, scale=s, candidates=1, warm=None)
        agent.reset(real_obs[:, 0], range(n))
        plans, J = agent.plan(torch.as_tensor(real_obs[:, 0]).float(), torch.arange(n))
        x = w.scaler.inverse(plans[:, 0]).numpy()
        residual = dynamics_residual(simulate, x[..., w.sizes["act"] :], x[..., : w.sizes["act"]].clip(-1, 1), scale)
        row |= {f"residual_{kind}": float(np.median(residual)), f"infeasible_{kind}": infeasible(residual, floor)}
        values.append(float(J.mean()))
    env.close()
    return row | {"gain": values[0] - values[1]}


def interval(scores: ArrayLike, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the IQM of scores [trainings, episodes]: trainings drawn anew, then episodes
    within each. With three trainings it is rather too narrow; Student's interval of `paired` is not."""
    v, rng = np.asarray(scores, float), np.random.default_rng(seed)
    if v.ndim != 2 or not v.size:
        raise ValueError(f"scores must be [trainings, episodes], got {v.shape}")
    k, n = v.shape
    again = v[rng.integers(k, size=(draws, k, 1)), rng.integers(n, size=(draws, k, n))]
    low, high = np.quantile(iqm(again.reshape(draws, -1), axis=1), [0.025, 0.975])
    return float(low), float(high)


def verdict(guided: tuple[float, float], others: list[tuple[float, float]]) -> str:
    """reproduced: the guided planner's interval lies above every other; failed: it lies below one; else undecided."""
    if all(guided[0] > high for _, high in others):
        return "reproduced"
    return "failed" if any(guided[1] < low for low, _ in others) else "undecided"


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Per robot and method: IQM over all episodes with its interval, mean, CPU minutes; the guided planner's paired
    difference from each that has as many trainings (means of equal training seeds); and the verdict on cloning and
    best 10 %."""
    robots: dict[str, Any] = {}
    for name in dict.fromkeys(row["name"] for row in rows):
        of = {
            m: sorted((r for r in rows if (r["name"], r["method"]) == (name, m)), key=lambda r: r["seed"])
            for m in METHODS
        }
        about = {}
        for m in (m for m in METHODS if of[m]):
            scores = [r["scores"] for r in of[m]]
            about[m] = {
                "trainings": len(scores),
                "iqm": float(iqm(scores)),
                "interval": interval(scores),
                "mean": float(np.mean(scores)),
                "length": float(np.mean([r["lengths"] for r in of[m]])),
                "training_cpu_minutes": round(sum(r["training_cpu"] for r in of[m]) / 60, 2),
                "driving_cpu_minutes": round(sum(r["driving_cpu"] for r in of[m]) / 60, 2),
            }
            means = [[r["mean"] for r in rows] for rows in (of["guided"], of[m])]
            if m != "guided" and len(means[0]) == len(means[1]) > 1:
                about[m]["guided_minus_this"] = paired(means[0], means[1])._asdict()
        against = [about[m]["interval"] for m in ("cloning", "best 10 %")]
        robots[name] = {"methods": about, "verdict": verdict(about["guided"]["interval"], against)}
    return robots


# ------------------------------------------------------------------------------------------------------------- the runs
def of_scores(name: str, seeds: Sequence[int]) -> list[Table]:
    """What the methods of a robot score, a table for each training seed of `GRID`."""
    return [_grid(scored, {"name": [name], "method": list(m)}, [s]) for s, m in GRID[name].items() if s in seeds]


def of_robot(name: str, seeds: Sequence[int]) -> Table:
    """The points of a robot, tuned first."""
    _tuned(name)
    return Table.joined(of_scores(name, seeds))


def table(seeds: Sequence[int]) -> Table:
    """All robots' points; beside them how the methods were tuned, a diagnosis of the guide, and the summary.

    `made` counts in one list for all three; hours hold tuning, too.
    """
    tables = {
        "tuning": [_tuned(name) for name in ROBOTS],
        "diagnostics": [_grid(diagnosed, {"name": [name]}, [0]) for name in ROBOTS],
        "rows": [t for seed in seeds for name in ROBOTS if seed in GRID[name] for t in of_scores(name, [seed])],
    }
    everything = Table.joined(t for some in tables.values() for t in some)
    rows = iter(everything.rows)
    parts = {k: [next(rows) for t in some for _ in t.rows] for k, some in tables.items()}
    points = parts.pop("rows")
    seconds = sum(r["cpu"] for r in parts["tuning"]) + sum(r["cpu_seconds"] for r in points + parts["diagnostics"])
    about = Table.joined(tables["rows"]).about | {"hours": round(seconds / 3600, 3), "made": everything.about["made"]}
    return Table(points, about | {"kind": KIND, "steps": STEPS, "summary": summary(points)} | parts)


PARTS = {name: Part(partial(of_robot, name)) for name in ROBOTS} | {"table": Part(table, "results/locomotion.json")}
