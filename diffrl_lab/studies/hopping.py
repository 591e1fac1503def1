"""Offline policies on a robot, from recorded steps of many skills: a part of `offline`, behind lesson 10's *Further*.

Hopper's 200,000 steps of kind medium-replay (`robots.data`, every tenth episode held out); all methods have about as
many CPU seconds, and drive the same starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffrl_lab import methods
from diffrl_lab.analysis.intervals import iqm
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import load
from diffrl_lab.files import ROOT
from diffrl_lab.methods.policies.cloning import best_episodes
from diffrl_lab.studies import robots
from diffrl_lab.worlds.robots import normalised_score

RUNS = ROOT / "runs" / "offline" / "hopper"
VERSION = "2"  # of what the study's functions call
ROBOT = "hopper"
SHAPE: dict[str, Any] = {"width": 128, "depth": 3, "lr": 1e-3, "ema": 0.995, "batch": 128}
CLONES: dict[str, Any] = {"chunk": 1, "execute": 1}  # of policies over chunks: one action
FAST: dict[str, Any] = {"target": 0.95}  # critics' averages follow within 20 updates, since there are few of them
CAREFUL: dict[str, Any] = FAST | {"tau": 0.7, "eta": 0.67}  # IQL's 1/3 where returns are 1,000 apart: here 2,020
# what is trained -> its method and settings; updates for about 50 CPU seconds each, by the pace of a hundred of them
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "least squares": ("regression", CLONES | {"updates": 22_000}),
    "best 10 %": ("regression", CLONES | {"updates": 22_000}),
    "TD3+BC": ("td3_bc", FAST | {"updates": 5000}),
    "IQL": ("iql", CAREFUL | {"updates": 4700}),
    "IDQL": ("idql", FAST | {"tau": 0.7, "updates": 4900}),
    "weighted": ("weighted", CAREFUL | {"denoising": 10, "updates": 4900}),
    "CFGRL": ("cfgrl", FAST | {"tau": 0.7, "denoising": 10, "updates": 4600}),
    "Diffusion-QL": ("diffusion_ql", FAST | {"updates": 3100}),
    "FQL": ("fql", FAST | {"alpha": 0.3, "updates": 3200}),
    "EDP": ("edp", FAST | {"denoising": 5, "updates": 3700}),
    "QGPO": ("qgpo", CAREFUL | {"denoising": 5, "updates": 2200}),
}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {  # what the lesson calls a policy -> what was trained, how it acts
    "least squares": ("least squares", {}),
    "least squares, best 10 %": ("best 10 %", {}),
    "diffusion cloning": ("IDQL", {"candidates": 1}),
    "TD3+BC": ("TD3+BC", {}),
    "IQL, its mean": ("IQL", {"noise": 0.0}),
    "IQL, drawn": ("IQL", {}),
    "IDQL, best of 32": ("IDQL", {"candidates": 32}),
    "weighted": ("weighted", {}),
    "CFGRL, w = 3": ("CFGRL", {"w": 3.0}),
    "Diffusion-QL": ("Diffusion-QL", {}),
    "FQL, alpha = 0.3": ("FQL", {}),
    "EDP": ("EDP", {}),
    "QGPO": ("QGPO", {}),
}
DATA, BEST = "the data", "the best recorded episode"
PUBLISHED = {"IQL, its mean": 94.7}  # of hopper-medium-replay-v2: Kostrikov et al. 2022, table 1; others were not found


# --------------------------------------------------------------------------------------------- what studies keep alike
def name(what: str, seed: int) -> str:
    """The file of what was trained."""
    for strange, plain in (("+", "-"), (", ", "-"), (" = ", "-"), (" %", ""), (" ", "-")):
        what = what.replace(strange, plain)
    return f"{what.lower()}-{seed}.safetensors"


def kept(path: Path, method: str, options: dict[str, Any], data: Callable[[], Episodes], seed: int) -> Any:
    """A policy as it is kept (float16), trained on `data()` first where it is missing; its `about` says CPU seconds."""
    module = methods.named(method)
    if not path.exists():
        episodes, begun = data(), time.process_time()
        run = module.train(episodes, module.Config(**options), seed=seed)
        for _ in run:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        run.model.save(path, seconds=time.process_time() - begun)
    return methods.of_class(load(path)[1]["method"])[1].load(path)


# ------------------------------------------------------------------------------------------------- the data, the agents
def returns(episodes: Episodes) -> NDArray[np.float64]:
    """Undiscounted returns, [E]."""
    rows = zip(episodes.starts.tolist(), episodes.ends.tolist(), strict=True)
    return np.array([float(episodes.rew[a:b].double().sum()) for a, b in rows])


@lru_cache(2)
def recorded(what: str = "") -> Episodes:
    """What something of TRAINED is trained on: all training episodes, or the best that hold a tenth of the steps."""
    episodes = robots.data(ROBOT)
    return best_episodes(episodes, 0.1) if what == "best 10 %" else episodes


def learned(what: str, seed: int) -> Any:
    """A policy of TRAINED."""
    method, options = TRAINED[what]
    key = what if what == "best 10 %" else ""
    return kept(RUNS / "weights" / name(what, seed), method, SHAPE | options, lambda: recorded(key), seed)


def agent(arm: str, seed: int) -> tuple[Any, float]:
    """What acts in an arm of ARMS, and the CPU seconds of its training."""
    what, options = ARMS[arm]
    model = learned(what, seed)
    model.config = replace(model.config, **options)
    return methods.of_class(type(model).__name__)[0].Agent(model), model.about["seconds"]


# ------------------------------------------------------------------------------------------------------------ measuring
def milliseconds(actor: Any, repeats: int = 50) -> float:
    """CPU milliseconds of one decision for one recorded state."""
    obs = recorded().obs[:1].numpy()
    actor.reset(obs, [0])
    actor.act(obs)
    begun = time.process_time()
    for _ in range(repeats):
        actor.act(obs)
    return 1000 * (time.process_time() - begun) / repeats


def driven(arm: str, *, seed: int) -> dict[str, Any]:
    """One arm after one training: returns, normalised scores and lengths of one episode for each of `robots.STARTS`,
    CPU seconds of the training, CPU milliseconds of a decision."""
    actor, seconds = agent(arm, seed)
    R, L = robots.together(ROBOT, actor, robots.STARTS)
    return {
        "returns": [round(float(v), 2) for v in R],
        "scores": [round(float(v), 2) for v in normalised_score(ROBOT, R)],
        "lengths": L.tolist(),
        "training": seconds,
        "ms": milliseconds(actor),
    }


def summary(rows: Iterable[dict[str, Any]], data: ArrayLike) -> list[dict[str, Any]]:
    """A row for the data and for its best episode, of returns `data` [E], and one for each arm: IQM of all scores and
    its interval (`robots.interval`: trainings drawn anew, then episodes within each), mean return, mean length, mean
    costs, how many trainings there are, and what was published for other data."""
    R = np.asarray(data, float)
    found: list[dict[str, Any]] = [
        {"arm": DATA, "seeds": 0, "iqm": float(iqm(normalised_score(ROBOT, R))), "return": float(R.mean())},
        {"arm": BEST, "seeds": 0, "iqm": float(normalised_score(ROBOT, R.max())), "return": float(R.max())},
    ]
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_arm.setdefault(row["arm"], []).append(row)
    for arm, same in by_arm.items():
        scores = [row["scores"] for row in same]
        found.append({
            "arm": arm,
            "seeds": len(same),
            "iqm": float(iqm(scores)),
            "iqm_interval": robots.interval(scores),
            "by_seed": [round(float(iqm(s)), 2) for s in scores],
            "return": float(np.mean([row["returns"] for row in same])),
            "length": float(np.mean([row["lengths"] for row in same])),
            "training": float(np.mean([row["training"] for row in same])),
            "ms": float(np.mean([row["ms"] for row in same])),
            "published": PUBLISHED.get(arm),
        })  # fmt: skip
    return found


def training(seeds: Sequence[int]) -> float:
    """Train what the arms act by. -> CPU hours"""
    return sum(learned(what, s).about["seconds"] for s in seeds for what in TRAINED) / 3600


def table(seeds: Sequence[int]) -> Table:
    """All arms' points, and their summary."""
    points = run_grid(driven, [{"arm": arm} for arm in ARMS], seeds=seeds, cache=RUNS, version=VERSION)
    data = returns(robots.data(ROBOT))
    return Table(points.rows, points.about | {"episodes": len(data), "summary": summary(points.rows, data)})
