"""Synthetic experience where the truth is known, behind lesson 12.

`oracle`: SynthER trained on n transitions of Pendulum, held against the equations and against its own training rows,
after so many updates; noise on the training rows beside it. `linear`: A, B and Sigma of a linear-Gaussian process by
regression on rows it drew, on rows it was shown, and on as many real ones. `downstream`: TD3+BC on n real transitions
alone, with drawn ones, with noisy copies, with as many real ones. `online`: SAC that collects for itself, with drawn,
prioritised or noisy rows in its replay (`collecting.py`).

`weights` writes what lesson 12 opens; points are kept in runs/synthetic. How it came about: docs/studies/synthetic.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from diffrl_lab.analysis.distance import nearest_ratio
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes, Transitions, loose, together, transitions
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import load
from diffrl_lab.files import ROOT
from diffrl_lab.methods.models import synther
from diffrl_lab.methods.models.synther import Config, Synther, rows, unpacked
from diffrl_lab.methods.policies import td3_bc
from diffrl_lab.studies.collecting import online
from diffrl_lab.studies.study import Part, Tensors
from diffrl_lab.worlds import linear, pendulum

RUNS = ROOT / "runs" / "synthetic"
VERSION = "1"  # of what the functions below call
WORLDS = {"pendulum": pendulum.scattered, "linear": linear.record}
SIZES = (400, 2000)  # transitions of Pendulum that SynthER is trained on
SMALL = 400  # of the other two parts
CONFIG = Config(width=128, batch=128, lr=3e-3, updates=2000)
STAGES = (250, 500, 1000, 2000)  # updates at which a training is measured
NOISE = (0.02, 0.05, 0.1, 0.2)  # deviation of the noise of the noisy copies, the rows' own deviation being 1
DRAWN = 10_000  # transitions drawn for a policy or a regression
POLICY = td3_bc.Config(width=64, batch=128, updates=4000, gamma=0.97)


def recording(world: str, n: int, seed: int) -> Episodes:
    """n transitions of a world; the data of one seed are those of no other."""
    return WORLDS[world](n, seed=seed)


@lru_cache(maxsize=1)
def fresh() -> Transitions:
    """2,000 real transitions of a recording that no training saw."""
    return transitions(pendulum.scattered(2000, seed=10_000))


def _path(world: str, n: int, seed: int, updates: int) -> Path:
    return RUNS / "weights" / f"{world}-{n}-{seed}-{updates}.safetensors"


def model(world: str, n: int, seed: int, updates: int | None = None) -> Synther:
    """SynthER trained on `recording(world, n, seed)`, kept as it would ship, in float16; or one of its STAGES."""
    path, begun = _path(world, n, seed, updates or CONFIG.updates), time.process_time()
    if not path.is_file():
        run = synther.train(recording(world, n, seed), CONFIG, seed=seed)
        for row in run:
            if row["step"] in STAGES or row["step"] == CONFIG.updates:
                seconds = round(time.process_time() - begun, 1)
                run.model.save(_path(world, n, seed, row["step"]), world=world, rows=n, seconds=seconds)
    return Synther.load(path)


def noisy(t: Transitions, n: int, size: float, generator: torch.Generator) -> Transitions:
    """n rows drawn from those of t with Gaussian noise of `size` deviations of its column on every number."""
    x, sizes = rows(t), {"obs": t.obs.shape[1], "act": t.act.shape[1]}
    scaler = Scaler.fit(x, "standard")
    z = scaler(x)[torch.randint(len(x), (n,), generator=generator)]
    return unpacked(scaler.inverse(z + size * torch.randn(z.shape, generator=generator)), **sizes)


def judged(t: Transitions, real: Transitions) -> dict[str, float]:
    """Transitions of Pendulum against the equations, and against the `real` ones that they were made from."""
    wrong, scaler = pendulum.residual(t), Scaler.fit(rows(real), "standard")
    x, train, new = (scaler(rows(each)) for each in (t, real, fresh()))
    return {
        "residual": float(wrong.state.median()),
        "residual_95": float(wrong.state.quantile(0.95)),
        "reward_error": float(wrong.rew.median()),
        "ratio": nearest_ratio(x, train, new),
    }


def oracle(arm: str, n: int, updates: int, noise: float, *, seed: int) -> dict[str, Any]:
    """2,000 rows of one arm: `diffusion` after so many updates, or `noise` of that size on n real ones."""
    generator, real = torch.Generator().manual_seed(1000 + seed), transitions(recording("pendulum", n, seed))
    if arm == "noise":
        return judged(noisy(real, 2000, noise, generator), real)
    return judged(model("pendulum", n, seed, updates).sample(2000, generator=generator), real)


def regression(arm: str, n: int, *, seed: int) -> dict[str, Any]:
    """How far A, B and Sigma are from the true ones, by regression on rows of one arm."""
    generator, real = torch.Generator().manual_seed(2000 + seed), transitions(recording("linear", n, seed))
    if arm == "real":
        t = real
    elif arm == "more real":
        t = transitions(recording("linear", DRAWN, 3000 + seed))
    else:
        t = model("linear", n, seed).sample(n if arm == "drawn" else DRAWN, generator=generator)
    found, shown = linear.regress(t), linear.regress(real)
    return linear.distance(found) | {"from_shown": float((found.A - shown.A).norm()), "rows": len(t.rew)}


def trained_on(arm: str, n: int, seed: int) -> Episodes:
    """What TD3+BC is trained on: n real transitions, and DRAWN of the arm's beside them."""
    real, generator = recording("pendulum", n, seed), torch.Generator().manual_seed(4000 + seed)
    if arm == "real":
        return real
    if arm == "more real":
        return together(real, recording("pendulum", DRAWN, 5000 + seed))
    if arm == "noise":
        return together(real, loose(noisy(transitions(real), DRAWN, NOISE[1], generator)))
    return together(real, loose(model("pendulum", n, seed).sample(DRAWN, generator=generator)))


def downstream(arm: str, n: int, *, seed: int) -> dict[str, Any]:
    """The return of TD3+BC trained on one arm, mean over 100 drives whose starts are those of every seed and arm."""
    episodes = trained_on(arm, n, seed)
    run = td3_bc.train(replace(episodes, rew=episodes.rew / 10), POLICY, seed=seed)  # so that Q is of the order of 10
    for _ in run:
        pass
    paid = pendulum.returns(td3_bc.Agent(run.model), 100, seed=77)
    return {"paid": float(paid.mean()), "failed": float((paid < -500).float().mean())}


def trained(wanted: Sequence[tuple[str, int]], seeds: Sequence[int]) -> float:
    """Train SynthER on every (world, n) and seed that is not kept -> the CPU hours of all."""
    return sum(model(world, n, seed).about["seconds"] for world, n in wanted for seed in seeds) / 3600


def _oracle(seeds: Sequence[int]) -> Table:
    grid: list[dict[str, Any]] = [
        {"arm": "diffusion", "n": n, "updates": k, "noise": 0.0} for n in SIZES for k in STAGES
    ]
    grid += [{"arm": "noise", "n": n, "updates": 0, "noise": size} for n in SIZES for size in NOISE]
    return run_grid(oracle, grid, seeds=seeds, cache=RUNS, version=VERSION)


def _linear(seeds: Sequence[int]) -> Table:
    grid: dict[str, Any] = {"n": [SMALL], "arm": ["real", "drawn", "more drawn", "more real"]}
    return run_grid(regression, grid, seeds=seeds, cache=RUNS, version=VERSION)


def _downstream(seeds: Sequence[int]) -> Table:
    grid: dict[str, Any] = {"n": [SMALL], "arm": ["real", "drawn", "noise", "more real"]}
    return run_grid(downstream, grid, seeds=seeds, cache=RUNS, version=VERSION)


def _online(seeds: Sequence[int]) -> Table:
    arms = (("real", 1), ("real", 2), ("drawn", 2), ("prioritised", 2), ("noise", 2))
    grid = [{"arm": arm, "updates": updates} for arm, updates in arms]
    return run_grid(online, grid, seeds=seeds, cache=RUNS, version=VERSION)


def _weights(seeds: Sequence[int]) -> Tensors:
    files: dict[str, Any] = {}
    for world, n in (("pendulum", 400), ("pendulum", 2000), ("linear", 400)):
        model(world, n, seeds[0])
        files[f"weights/synthetic-{world}-{n}.safetensors"] = load(_path(world, n, seeds[0], CONFIG.updates))
    return files


def _pendulum(seeds: Sequence[int]) -> float:
    return trained([("pendulum", n) for n in SIZES], seeds)


PARTS = {
    "weights": Part(_weights, seeds=1),
    "oracle": Part(_oracle, "results/synthetic-oracle.json", training=_pendulum),
    "linear": Part(
        _linear,
        "results/synthetic-linear.json",
        training=lambda seeds: trained([("linear", SMALL)], seeds),
    ),
    "downstream": Part(
        _downstream,
        "results/synthetic-downstream.json",
        seeds=5,
        training=lambda seeds: trained([("pendulum", SMALL)], seeds),
    ),
    "online": Part(_online, "results/synthetic-online.json", seeds=5),
}
