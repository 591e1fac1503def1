"""Offline policies where errors add up over steps, behind lesson 10's *Further*: avoid, its 24 ways paid differently.

The part `paid` has all policies, from the same recordings and with the same number of updates, beside the data; the
part `hopper` has them on a robot, with about the same CPU time (`hopping.py`).

Networks and points are kept in runs/offline. How the study came about: docs/studies/offline.md.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from diffrl_lab import methods
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.files import ROOT
from diffrl_lab.studies import hopping
from diffrl_lab.studies.hopping import kept, name
from diffrl_lab.studies.study import Part
from diffrl_lab.worlds import avoid

RUNS = ROOT / "runs" / "offline"
VERSION = "1"  # of what the study's functions call
RECORDED, EPISODES = 800, 200  # trials that are recorded; starts, the same for all
NEAR = 0.05  # how far from the nearest recorded position one still is where the data are
SHAPE: dict[str, Any] = {"width": 64, "depth": 3, "lr": 3e-3, "ema": 0.99, "updates": 1500, "batch": 256}
CLONES: dict[str, Any] = {"chunk": 1, "execute": 1}  # of policies over chunks: one action
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {  # what is trained -> its method and settings
    "least squares": ("regression", CLONES),
    "Gaussian": ("gaussian", CLONES),
    "IQL": ("iql", {"tau": 0.8, "eta": 0.1, "most": 20.0}),
    "IDQL": ("idql", {"tau": 0.8}),
    "weighted": ("weighted", {"tau": 0.8, "eta": 0.1, "most": 20.0, "denoising": 10}),
    "CFGRL": ("cfgrl", {"tau": 0.8}),
    "TD3+BC": ("td3_bc", {}),
    "Diffusion-QL": ("diffusion_ql", {}),
    "FQL, alpha = 0.3": ("fql", {"alpha": 0.3}),
    "EDP": ("edp", {}),
    "QGPO": ("qgpo", {"tau": 0.8, "eta": 0.1, "most": 20.0}),
    "DSRL": ("dsrl", {}),
    "SRPO": ("srpo", {"tau": 0.8}),
}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {  # what the lesson calls a policy -> what was trained, how it acts
    "least squares": ("least squares", {}),
    "Gaussian cloning": ("Gaussian", {}),
    "diffusion cloning": ("IDQL", {"candidates": 1}),
    "IQL": ("IQL", {}),
    "weighted": ("weighted", {}),
    "CFGRL, w = 3": ("CFGRL", {"w": 3.0}),
    "IDQL, best of 4": ("IDQL", {"candidates": 4}),
    "TD3+BC": ("TD3+BC", {}),
    "Diffusion-QL": ("Diffusion-QL", {}),
    "Diffusion-QL, best of 16": ("Diffusion-QL", {"candidates": 16}),
    "FQL, alpha = 0.3": ("FQL, alpha = 0.3", {}),
    "EDP": ("EDP", {}),
    "QGPO": ("QGPO", {}),
    "DSRL": ("DSRL", {}),
    "SRPO": ("SRPO", {}),
}
DATA = "the data"
Arrays = NDArray[np.float64]


# ------------------------------------------------------------------------------------------------ what all are shown
def shown(obs: ArrayLike) -> Arrays:
    """Positions [..., 2] as every policy and critic is shown them: x and y, and sine and cosine of six frequencies of
    each, since actions change within a short way of a post. -> [..., 26]"""
    z = np.asarray(obs, float) / [avoid.SIDE, avoid.TOP] * [1.0, 2.0] - [0.0, 1.0]
    angle = (z[..., None] * np.geomspace(1, 25, 6)).reshape(*z.shape[:-1], 12)
    return np.concatenate([z, np.sin(angle), np.cos(angle)], -1)


@lru_cache(1)
def recorded(seed: int) -> tuple[avoid.Rolled, Episodes]:
    """The trials of a training seed, as they were driven and as every method is given them."""
    rolled = avoid.trials(RECORDED, seed=seed)
    plain = avoid.episodes(rolled, payments=True)
    return rolled, replace(plain, obs=torch.from_numpy(shown(plain.obs.numpy())).float())


class Shown:
    """An agent that is shown what `shown` makes of positions."""

    def __init__(self, agent: Any):
        self.agent = agent

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        """Begin episodes, each with a seed of its own."""
        self.agent.reset(shown(obs), seeds)

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> Arrays:
        """Actions [m, 2] in [-1, 1]."""
        return self.agent.act(shown(obs), which)


# ---------------------------------------------------------------------------------------------- training, and driving
def learned(what: str, seed: int) -> Any:
    """A policy as it is kept, trained first where it is missing (`hopping.kept`)."""
    method, options = TRAINED[what]
    return kept(RUNS / "weights" / name(what, seed), method, SHAPE | options, lambda: recorded(seed)[1], seed)


def agent(model: Any, **options: Any) -> Shown:
    """What acts by a model, with other settings for how it acts: `candidates`, `w`."""
    model.config = replace(model.config, **options)
    return Shown(methods.of_class(type(model).__name__)[0].Agent(model))


def scores(rolled: avoid.Rolled, seed: int) -> dict[str, Any]:
    """What is measured of episodes. score: what an episode is paid on average; success: share that arrives; crashed:
    that crashes; best: that is paid 6; ways: how many of the 24 make up a hundredth or more; off: share of the steps
    that begin farther than NEAR from every position of the training's recording; steps: of those that arrive."""
    arrived = rolled.way >= 0
    lived = np.arange(rolled.act.shape[1]) < rolled.steps[:, None]
    total, at = avoid.earned(rolled).sum(1), rolled.path[:, :-1][lived]
    data = recorded(seed)[0]
    held = data.path[:, :-1][np.arange(data.act.shape[1]) < data.steps[:, None]]
    counts = np.bincount(rolled.way[arrived], minlength=avoid.WAYS)
    return {
        "score": float(total.mean()),
        "success": float(arrived.mean()),
        "crashed": float((~arrived & (rolled.steps < avoid.LIMIT)).mean()),
        "best": float((total == avoid.worth(range(avoid.WAYS)).max()).mean()),
        "ways": int((counts >= 0.01 * len(arrived)).sum()),
        "off": float((cKDTree(held).query(at)[0] > NEAR).mean()),
        "steps": float(rolled.steps[arrived].mean()) if arrived.any() else None,
    }


def milliseconds(actor: Any, repeats: int = 50) -> float:
    """CPU milliseconds of one decision for one state."""
    obs = avoid.start(np.random.default_rng(0))[None]
    actor.reset(obs, [0])
    actor.act(obs)
    begun = time.process_time()
    for _ in range(repeats):
        actor.act(obs)
    return 1000 * (time.process_time() - begun) / repeats


def lines(method: str) -> int:
    """Lines of the method's one file that are not empty, docstrings included; what files share is not counted."""
    return sum(bool(line.strip()) for line in inspect.getsource(methods.named(method)).splitlines())


def driven(arm: str, seed: int) -> dict[str, Any]:
    """One policy of ARMS in EPISODES starts, or DATA: the demonstrator in as many of its own."""
    if arm == DATA:
        rolled = avoid.trials(EPISODES, seed=1000 + seed)
        return scores(rolled, seed) | {"training": 0.0, "ms": None, "lines": None}
    what, options = ARMS[arm]
    model = learned(what, seed)
    actor = agent(model, **options)
    result = scores(avoid.roll(actor, range(EPISODES)), seed)
    costs = {"training": model.about["seconds"], "ms": milliseconds(actor), "lines": lines(TRAINED[what][0])}
    return result | costs


# ----------------------------------------------------------------------------------------------------------- the parts
def grids() -> dict[str, tuple[Callable[..., Any], list[dict[str, Any]]]]:
    """The points of each table."""
    return {"paid": (driven, [{"arm": arm} for arm in (DATA, *ARMS)])}


def points(part: str, seeds: Sequence[int]) -> Table:
    """A table, computed or read from the cache."""
    function, grid = grids()[part]
    return run_grid(function, grid, seeds=seeds, cache=RUNS, version=VERSION)


def training(seeds: Sequence[int]) -> float:
    """Train what the points act by. -> CPU hours"""
    return sum(learned(what, s).about["seconds"] for s in seeds for what in TRAINED) / 3600


PARTS = {
    "paid": Part(partial(points, "paid"), "results/offline-paid.json", training=training),
    "hopper": Part(hopping.table, "results/offline-hopper.json", training=hopping.training),
}
