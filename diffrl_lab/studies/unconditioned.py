"""Unconditioned diffusion of logs, behind lesson 04b (the survey's experiment 1), against model size and T.

Windows of two robots and pieces of three mazes, sampled in T ancestral steps by models of about 0.1, 0.5 and 2 million
weights, beside a normal law that learns mean and covariance alone (`gaussian`) and the planners that ship (`shipped`).
Every fifth episode is held out; `floor_*` is what one half of the episodes scores against the other, `held_*` what the
held-out ones do.

`table` writes all parts, `weights` the models that lesson 04b opens; points are kept in runs/unconditioned.
How the plan was made and cut: docs/studies/unconditioned.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffrl_lab.analysis import distance
from diffrl_lab.analysis.feasibility import (
    dynamics_residual,
    infeasible,
    locomotive,
    points_in_walls,
    segments_in_walls,
)
from diffrl_lab.analysis.intervals import bootstrap
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data import minari as recordings
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import Cosine, GaussianDenoiser, MixtureDenoiser, ddpm, given, load
from diffrl_lab.files import ROOT
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser, windows
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces
from diffrl_lab.methods.planning.plans import plan_scaler
from diffrl_lab.methods.planning.windows import Windows, joined
from diffrl_lab.studies.study import Part, Tensors
from diffrl_lab.worlds import robots as locomotion
from diffrl_lab.worlds.walls import Walls

RUNS = ROOT / "runs" / "unconditioned"
VERSION = "1"  # of what the functions below call
STEPS = [5, 10, 20, 50, 100]  # T
ROBOTS, MAZES = ("hopper", "halfcheetah"), ("umaze", "large", "two-ways")
SIZES = {
    "small": windows.Config(mults=(1, 1), updates=1000),
    "medium": windows.Config(mults=(1, 2, 4), updates=1000),
    "large": windows.Config(mults=(1, 4, 8), updates=1000),
    "medium-3000": windows.Config(mults=(1, 2, 4), updates=3000),
}
_PLANS = {"updates": 1000, "batch": 64, "free": 1.0, "ema": 0.995}
PLANS = {
    "small": diffuser.Config(width=96, depth=2, channels=16, **_PLANS),  # type: ignore[arg-type]
    "medium": diffuser.Config(width=256, depth=3, channels=32, **_PLANS),  # type: ignore[arg-type]
    "large": diffuser.Config(width=512, depth=3, channels=32, **_PLANS),  # type: ignore[arg-type]
}
SAMPLES = {"robot": 128, "maze": 256}
REFERENCE = 512  # rows of data that samples are held against
HALVES = 20


# ---------------------------------------------------------------------------------------------------------------- data
def episodes(world: str) -> tuple[Episodes, Episodes]:
    """The shipped recording of a world: (episodes to train on, every fifth, held out)."""
    name = f"{world}-medium-v0" if world in ROBOTS else f"pointmaze-{world}{'-p50' * (world == 'two-ways')}-v0"
    all_ = recordings.read(shipped(f"recordings/{name}"))
    number = torch.arange(len(all_))
    return all_[number[number % 5 != 4]], all_[number[number % 5 == 4]]


def _pieces(e: Episodes, n: int, seed: int) -> Tensor:
    """n rows of what a model of the world should sample, from episodes e: windows of a robot, pieces of a maze."""
    if e.act.shape[1] == 2:
        return Pieces(e, PLANS["small"], torch.Generator().manual_seed(seed)).plans(n)[0]
    x = joined(e, SIZES["small"].horizon)
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]


# -------------------------------------------------------------------------------------------------------------- models
def _path(world: str, size: str, seed: int) -> Path:
    return RUNS / "weights" / f"{world}-{size}-{seed}.safetensors"


@lru_cache(maxsize=2)
def model(world: str, size: str, seed: int) -> Windows | Diffuser:
    """A trained model (kept, as it would ship, in float16), or for size `gaussian` the normal law of its windows."""
    train, held = episodes(world)
    if size == "gaussian":
        x = joined(train, SIZES["small"].horizon)
        scaler = Scaler.fit(x, "standard")
        z = scaler(x).flatten(1).double()
        D = GaussianDenoiser(z.mean(0).reshape(x.shape[1:]), Cosine(), cov=torch.cov(z.mT))
        exact = Windows(SIZES["small"], train.obs.shape[1], train.act.shape[1])
        exact.scaler = scaler
        return weights.around(exact, denoiser=D)
    if size == "shipped":
        return Diffuser.load(f"maze-{world}")
    path, begun = _path(world, size, seed), time.process_time()
    if world in ROBOTS:
        if not path.is_file():
            run = windows.train(train, SIZES[size], seed=seed)
            H, curve = SIZES[size].horizon, []
            seen = {"held_loss": joined(held, H, 4), "train_loss": joined(train, H, 16)}
            for row in run:
                if row["step"] % 250 == 0:
                    now = run.model
                    curve.append(
                        {"step": row["step"]}
                        | {k: round(now.held_out_loss(v, torch.Generator().manual_seed(0)), 4) for k, v in seen.items()}
                    )
            run.model.save(path, world=world, size=size, curve=curve, seconds=round(time.process_time() - begun, 1))
        return Windows.load(path)
    if not path.is_file():
        run = diffuser.train(train, PLANS[size], seed=seed)
        for _ in run:
            pass
        run.model.save(path, world=world, size=size, seconds=round(time.process_time() - begun, 1))
    return Diffuser.load(path)


# ------------------------------------------------------------------------------------------------------------- metrics
class Scores(NamedTuple):
    """How far rows of scaled windows are from others, by four measures."""

    energy: float
    sliced_w2: float
    precision: float
    recall: float


def scores(x: Tensor, data: Tensor) -> Scores:
    """Samples x [n, H, d] against data [m, H, d], both scaled; directions of the sliced distance from seed 0."""
    g = torch.Generator().manual_seed(0)
    return Scores(
        distance.energy_distance(x, data), distance.sliced_w2(x, data, generator=g), *distance.precision_recall(x, data)
    )


@lru_cache(maxsize=2)
def floors(world: str, n: int) -> tuple[dict[str, float], Tensor, Tensor, Scaler]:
    """What real rows score: numbers floor_* and held_*, the reference rows, the fresh rows, and the scaler of both."""
    train, held = episodes(world)
    fit = _pieces(train, 20_000, 0)
    scaler = plan_scaler(fit, 2) if world in MAZES else Scaler.fit(fit, "standard")
    numbers: dict[str, float] = {}
    rng, halves = torch.Generator().manual_seed(0), []
    for k in range(HALVES):
        order = torch.randperm(len(train), generator=rng)
        a, b = train[order[: len(train) // 2]], train[order[len(train) // 2 :]]
        halves.append(scores(scaler(_pieces(a, n, k)), scaler(_pieces(b, REFERENCE, k))))
    for name, values in zip(Scores._fields, np.array(halves).T, strict=True):
        worst = 0.05 if name in ("precision", "recall") else 0.95
        numbers |= {f"floor_{name}": float(np.median(values)), f"floor_{name}_95": float(np.quantile(values, worst))}
    reference = scaler(_pieces(train, REFERENCE, 1))
    other = scaler(_pieces(held, n, 2))
    numbers |= {f"held_{k}": v for k, v in scores(other, reference)._asdict().items()}
    fresh = other
    if world in ROBOTS:
        fresh = scaler(joined(held, SIZES["small"].horizon, SIZES["small"].horizon))  # windows that do not overlap
    return numbers, reference, fresh, scaler


@lru_cache(maxsize=2)
def replayed(world: str) -> tuple[Any, np.ndarray, np.ndarray, dict[str, float]]:
    """A robot's simulator, the scale of its residuals (standard deviation of a real one-step change per column), the
    residuals of 128 real windows, and the floors from observations and from the recorded qpos and qvel."""
    env = locomotion.make(world)
    simulate = locomotive(env)
    train, held = episodes(world)
    step = (train.last == 0).nonzero()[:, 0]
    scale = (train.obs[step + 1] - train.obs[step]).double().std(0).numpy()
    d, real = train.obs.shape[1], _pieces(train, 128, 3)
    floor = dynamics_residual(simulate, real[..., :d], real[..., d:], scale)
    other = _pieces(held, 128, 3)
    fresh = dynamics_residual(simulate, other[..., :d], other[..., d:], scale)
    still = np.linalg.norm(np.diff(real[..., :d].numpy(), axis=1) / scale, axis=-1)
    every = recordings.read(shipped(f"recordings/{world}-medium-v0"))
    states = recordings.infos(shipped(f"recordings/{world}-medium-v0"), ("qpos", "qvel"))
    rows = (every.last == 0).nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(4))[: floor.size]]
    led = locomotion.replay(env, states["qpos"][rows], states["qvel"][rows], every.act[rows, None].numpy()).obs[:, 0]
    exact = np.linalg.norm((every.obs[rows + 1].numpy() - led) / scale, axis=-1)
    numbers = {"held_infeasible": infeasible(fresh, floor), "still_residual": float(np.median(still))}
    for name, values in (("floor_residual", floor), ("floor_residual_state", exact)):
        numbers |= {name: float(np.median(values)), f"{name}_99": float(np.quantile(values, 0.99))}
    return simulate, scale, floor, numbers


# ---------------------------------------------------------------------------------------------------------- one point
def point(world: str, size: str, T: int, *, seed: int) -> dict[str, Any]:  # noqa: N803
    """One model of one world, sampled with T ancestral steps (0: drawn exactly, for `gaussian`).

    energy, sliced_w2, precision, recall: against 512 rows of the training episodes, all columns scaled. memorised: the
    share of samples nearer to a training row than 5 % of the held-out rows are; memorised_floor: what fresh rows exceed
    with 5 %. Robots: residual (median over all steps, in deviations of a real one-step change; `still_residual` is that
    of a robot which does not move) and infeasible, the share above the 99 % level of real windows, with a bootstrap
    interval over windows. Mazes: points and segments in walls, and inconsistency (m), with those of real pieces.
    """
    n = SAMPLES["robot" if world in ROBOTS else "maze"]
    m, g = model(world, size, seed), torch.Generator().manual_seed(10_000 + seed)
    real, reference, fresh, scaler = floors(world, n)
    begun = time.process_time()
    if isinstance(m, Windows):
        if size == "gaussian":
            assert isinstance(m.denoiser, MixtureDenoiser)
            raw = m.scaler.inverse(m.denoiser.sample(n, g))
        else:
            with torch.no_grad():
                raw = torch.cat(m.sample(n, steps=T, generator=g), -1)
    else:
        known = torch.zeros(m.horizon, 5, dtype=torch.bool)
        with torch.no_grad():
            plan = m.drawn(given(m.denoiser, {"known": known}), known, torch.zeros(known.shape), n, T, g, step=ddpm())
        log = plan.durations.log()[:, None, None].expand(-1, m.horizon, 1)
        raw = torch.cat([plan.candidates, log], -1)
    seconds, x = time.process_time() - begun, scaler(raw)
    row = {**scores(x, reference)._asdict(), **real, "std": float(x.std()), "sampling_seconds": round(seconds, 3)}
    if size != "shipped":
        near = distance.memorised(x, scaler(_pieces(episodes(world)[0], 20_000, 0)), fresh)
        row |= {"memorised": near.share, "memorised_floor": near.floor}
    if isinstance(m.denoiser, torch.nn.Module):
        row |= {"parameters": sum(p.numel() for p in m.denoiser.parameters()), "training_seconds": m.about["seconds"]}
    if "curve" in m.about:
        curve = m.about["curve"]
        row |= {k: curve[-1][k] for k in ("held_loss", "train_loss")} | ({"curve": curve} if T == 20 else {})
    if isinstance(m, Windows):
        simulate, scale, floor, more = replayed(world)
        obs, act = m.split(raw)
        residual = dynamics_residual(simulate, obs, act, scale)
        share = (residual > np.quantile(floor, 0.99)).mean(1)
        return {
            **row,
            **more,
            "residual": float(np.median(residual)),
            "infeasible": float(share.mean()),
            "infeasible_interval": list(bootstrap(share, draws=2000)),
        }
    walls, drives = Walls.named(world), _pieces(episodes(world)[0], 2000, 5)
    held = _pieces(episodes(world)[1], n, 2)

    def gaps(x: Tensor) -> float:
        return float(m._gaps(x[..., :-1], x[..., -1].mean(-1).exp()).median())

    return {
        **row,
        "points_in_walls": points_in_walls(raw, walls),
        "segments_in_walls": segments_in_walls(raw, walls),
        "inconsistency": gaps(raw),
        "floor_points_in_walls": points_in_walls(drives, walls),
        "floor_segments_in_walls": segments_in_walls(drives, walls),
        "floor_inconsistency": gaps(drives),
        "held_segments_in_walls": segments_in_walls(held, walls),
    }


# ------------------------------------------------------------------------------------------------------------ the runs
def _rows(worlds: Sequence[str], *sizes: str, T: Sequence[int] = STEPS) -> list[dict[str, Any]]:  # noqa: N803
    return [{"world": w, "size": s, "T": t} for w in worlds for s in sizes for t in T]


PLAN: dict[str, tuple[list[dict[str, Any]], int]] = {  # part -> grid, training seeds
    "gaussian": (_rows(ROBOTS, "gaussian", T=[0]), 3),
    "hopper-small": (_rows(["hopper"], "small"), 3),
    "robots": ([*_rows(["halfcheetah"], "small"), *_rows(ROBOTS, "medium")], 3),
    "large": (_rows(["hopper"], "large"), 1),
    "medium-3000": (_rows(ROBOTS, "medium-3000", T=[20, 100]), 1),
    "shipped": (_rows(MAZES, "shipped"), 1),
    "mazes": (_rows(["umaze"], "small", "medium", "large"), 3),
}


def of_part(part: str, seeds: Sequence[int]) -> Table:
    """The points of a part of the plan."""
    return run_grid(point, PLAN[part][0], seeds=seeds, cache=RUNS, version=VERSION)


def table(seeds: Sequence[int]) -> Table:
    """The whole plan, each part with its own number of the training seeds."""
    return Table.joined(of_part(part, seeds[:n]) for part, (_, n) in PLAN.items())


def ships(seeds: Sequence[int]) -> Tensors:
    """The models that ship, one for each robot, of the first seed."""
    for world in ROBOTS:
        model(world, "medium-3000", seeds[0])
    return {f"weights/windows-{world}.safetensors": load(_path(world, "medium-3000", seeds[0])) for world in ROBOTS}


PARTS = {part: Part(partial(of_part, part), seeds=n) for part, (_, n) in PLAN.items()} | {
    "table": Part(table, "results/unconditioned.json"),
    "weights": Part(ships, seeds=1),
}
