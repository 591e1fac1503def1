"""Improvement from data, behind lesson 10: which offline policies find what is paid without leaving the data.

- `bandit`: all arms on the bandit of four modes, beside its exact answers and the simplest baselines;
- `more`: policies that were added later, by the same protocol;
- `best`: IDQL by how many actions it chooses among; `guidance`: CFGRL by its weight;
- `weights`: what the lesson opens.

Networks and points are kept in runs/improvement. How the study came about: docs/studies/improvement.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffrl_lab import methods
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.diffusion import load
from diffrl_lab.files import ROOT
from diffrl_lab.methods.policies import critics
from diffrl_lab.studies.study import Part, Tensors
from diffrl_lab.worlds import bandit

RUNS = ROOT / "runs" / "improvement"
VERSION = "1"  # of what the study's functions call
RECORDED, DONE, ETA = 5000, 1000, 1.0  # actions recorded; actions done by each policy; of the exact policy held against
SHAPE: dict[str, Any] = {"width": 64, "lr": 5e-3, "ema": 0.98, "updates": 1500}  # the rest: as the methods have it
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {  # what is trained -> its method and settings
    "IDQL": ("idql", {"denoising": 20}),
    "weighted": ("weighted", {"eta": ETA, "denoising": 20}),
    "CFGRL": ("cfgrl", {"denoising": 20}),
    "Diffusion-QL": ("diffusion_ql", {"eta": 1.0}),
    "Diffusion-QL, eta = 10": ("diffusion_ql", {"eta": 10.0}),
    "TD3+BC": ("td3_bc", {}),
}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {  # what the lesson calls a policy -> what was trained, how it acts
    "diffusion cloning": ("IDQL", {"candidates": 1}),
    "TD3+BC": ("TD3+BC", {}),
    "Diffusion-QL, eta = 1": ("Diffusion-QL", {}),
    "Diffusion-QL, eta = 10": ("Diffusion-QL, eta = 10", {}),
    "weighted, eta = 1": ("weighted", {}),
    "CFGRL, w = 1": ("CFGRL", {"w": 1.0}),
    "CFGRL, w = 3": ("CFGRL", {"w": 3.0}),
    "IDQL, best of 4": ("IDQL", {"candidates": 4}),
    "IDQL, best of 16": ("IDQL", {"candidates": 16}),
}
MORE: dict[str, tuple[str, dict[str, Any]]] = {  # added later: what is trained, and called so -> method and settings
    "IQL": ("iql", {"eta": ETA}),
    "FQL, alpha = 1": ("fql", {"alpha": 1.0}),
    "FQL, alpha = 10": ("fql", {"alpha": 10.0}),
    "EDP, eta = 1": ("edp", {"eta": 1.0}),
    "QGPO, eta = 1": ("qgpo", {"eta": ETA, "denoising": 20}),
    "DSRL": ("dsrl", {"denoising": 20}),
    "SRPO, eta = 1": ("srpo", {"eta": 1.0}),
    "SRPO, eta = 10": ("srpo", {"eta": 10.0}),
    "SRPO, little noise": ("srpo", {"eta": 10.0, "high": 0.3}),
}
SIMPLE = ("the data", "the exact policy", "least squares", "best of the data")  # nothing is trained
CANDIDATES, WEIGHTS = (1, 2, 4, 8, 16, 32), (0.0, 0.5, 1.0, 3.0, 8.0, 20.0)
SHIPPED = ("IDQL", "CFGRL", "Diffusion-QL", "TD3+BC")


def name(what: str, seed: int) -> str:
    """The file of what was trained."""
    plain = what.replace("+", "-").replace(", eta = ", "-").replace(", alpha = ", "-")
    return f"{plain.replace(', ', '-').replace(' ', '-').lower()}-{seed}.safetensors"


def learned(what: str, seed: int) -> Any:
    """A policy as it is kept (float16), trained first where it is missing; its `about` says CPU seconds."""
    path = RUNS / "weights" / name(what, seed)
    method, options = (TRAINED | MORE)[what]
    module = methods.named(method)
    if not path.exists():
        begun = time.process_time()
        run = module.train(bandit.record(RECORDED, seed=seed), module.Config(**SHAPE | options), seed=seed)
        for _ in run:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        run.model.save(path, seconds=time.process_time() - begun)
    return methods.of_class(load(path)[1]["method"])[1].load(path)


def done(model: Any, n: int, *, seed: int = 0, **options: Any) -> Tensor:
    """n actions that a model does, with other settings for how it acts: `candidates`, `w`. -> [n, 2]"""
    model.config = replace(model.config, **options)
    N, g = getattr(model.config, "candidates", 1), torch.Generator().manual_seed(seed)
    a = model.sample(np.zeros((1, 1)), n=n * N, generator=g)[0].clamp(-1, 1)
    return critics.best(model, np.zeros((n, 1)), a.view(n, N, 2))


@torch.no_grad()
def q_of(model: Any, a: Tensor) -> Tensor:
    """The smaller Q of a model at actions a [n, 2]: what it thinks that each is paid. -> [n]"""
    return model.q.lower(critics.states(model, np.zeros((len(a), 1))), model.act_scaler(a.float()))


def believed(model: Any, a: Tensor) -> float:
    """The mean of the model's smaller Q at actions a [n, 2]."""
    return float(q_of(model, a).mean())


def exact_draws(n: int, eta: float, seed: int) -> Tensor:
    """n draws of the exact policy ~ mu exp(Q / eta): actions of the data, drawn again by their weights. -> [n, 2]"""
    a, g = bandit.draw(20 * n, seed=seed), torch.Generator().manual_seed(seed)
    return a[torch.multinomial((bandit.reward(a) / eta).softmax(0), n, generator=g, replacement=True)]


def plainly(arm: str, seed: int) -> Tensor:
    """What the arms of SIMPLE do: they train nothing. -> [DONE, 2]"""
    a = bandit.draw(RECORDED, seed=seed)
    if arm == "least squares":  # with one state the mean is what any such network learns
        return a.mean(0).expand(DONE, 2)
    if arm == "best of the data":  # one of the recorded actions that were paid most
        best = a[bandit.reward(a) == bandit.reward(a).max()]
        return best[torch.randint(len(best), (DONE,), generator=torch.Generator().manual_seed(seed))]
    return bandit.draw(DONE, seed=9000 + seed) if arm == "the data" else exact_draws(DONE, ETA, 9000 + seed)


def to_exact(a: Tensor, eta: float = ETA) -> float:
    """Half the sum of |share - exact share| over the four modes and lying in none, for actions a [n, 2]."""
    share = torch.bincount(bandit.mode(a) % 5, minlength=5) / len(a)  # -1, none, is the fifth
    return float((share - bandit.shares(eta)).abs().sum() / 2)


def floor(n: int, eta: float = ETA, repeats: int = 200) -> float:
    """The mean of `to_exact` for n draws of the exact policy itself."""
    p = bandit.shares(eta)
    g = torch.Generator().manual_seed(0)
    draws = torch.multinomial(p, n * repeats, replacement=True, generator=g).view(repeats, n)
    return float((torch.nn.functional.one_hot(draws, 5).double().mean(1) - p).abs().sum(1).mean() / 2)


def scores(a: Tensor) -> dict[str, Any]:
    """What is measured of actions a [n, 2]: reward; off: share on no mode; entropy of the modes of the others, over
    ln 4; tv: the total variation to the exact policy's shares, and for as many draws of that policy (`tv_floor`)."""
    found, which = bandit.found(a), bandit.mode(a)
    share = torch.bincount(which[which >= 0], minlength=4) / (which >= 0).sum().clamp(min=1)
    entropy = float(torch.special.entr(share).sum()) / math.log(4) if (which >= 0).any() else None
    kept = {k: found[k] for k in ("reward", "off")}
    return kept | {"entropy": entropy, "tv": to_exact(a), "tv_floor": floor(len(a), repeats=50)}


def tried(arm: str, seed: int) -> dict[str, Any]:
    """One policy of ARMS, MORE or SIMPLE on the bandit."""
    if arm in SIMPLE:
        return scores(plainly(arm, seed)) | {"believed": None, "training": 0.0}
    what, options = ARMS.get(arm, (arm, {}))
    return acting(what, seed, **options)


def acting(what: str, seed: int, **options: Any) -> dict[str, Any]:
    """What was trained, with settings for how it acts."""
    model = learned(what, seed)
    a = done(model, DONE, seed=seed, **options)
    return scores(a) | {"believed": believed(model, a), "training": model.about["seconds"]}


def grids() -> dict[str, tuple[Callable[..., Any], list[dict[str, Any]]]]:
    """The points of each table."""
    return {
        "bandit": (tried, [{"arm": arm} for arm in (*SIMPLE, *ARMS)]),
        "more": (tried, [{"arm": arm} for arm in MORE]),
        "best": (acting, [{"what": "IDQL", "candidates": n} for n in CANDIDATES]),
        "guidance": (acting, [{"what": "CFGRL", "w": w} for w in WEIGHTS]),
    }


def points(part: str, seeds: Sequence[int]) -> Table:
    """A table, computed or read from the cache."""
    function, grid = grids()[part]
    return run_grid(function, grid, seeds=seeds, cache=RUNS, version=VERSION)


def training(policies: Sequence[str], seeds: Sequence[int]) -> float:
    """Train what the points act by. -> CPU hours"""
    return sum(learned(what, s).about["seconds"] for s in seeds for what in policies) / 3600


def ships(seeds: Sequence[int]) -> Tensors:
    """The policies of the first seed that the lesson opens."""
    files = {}
    for what in SHIPPED:
        learned(what, seeds[0])
        files[f"weights/improvement-{name(what, seeds[0])}"] = load(RUNS / "weights" / name(what, seeds[0]))
    return files


PARTS = {
    "bandit": Part(
        partial(points, "bandit"), "results/improvement-bandit.json", training=partial(training, (*TRAINED,))
    ),
    "more": Part(partial(points, "more"), "results/improvement-more.json", training=partial(training, (*MORE,))),
    **{part: Part(partial(points, part), f"results/improvement-{part}.json") for part in ("best", "guidance")},
    "weights": Part(ships, seeds=1),
}
