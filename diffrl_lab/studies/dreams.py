"""What a world model of Breakout draws where the game's law is known, behind lesson 13.

Three arms of one network and one recording of 30,000 pictures: `diffusion`, in whose batches every fourth moment is one
of a lost ball; `as recorded`, in whose batches such moments are as rare as they are (one in 25); and `least squares`,
with the batches of the first. Each is measured on 1,500 fresh moments, 500 of each kind, that no training saw. Three
trainings of the first and the last, one of the second.

`weights` writes what lesson 13 opens, `moments` and `lasting` its tables; `drift` asks what lets a dream last;
`rollouts` and `forked` are of states (`rollouts.py`), and so are `policies` (`dreamt.py`) and `led` (`led.py`).
Points are kept in runs/dreams. How it came about: docs/studies/dreams.md.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffrl_lab.analysis import dreams
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import load
from diffrl_lab.files import ROOT
from diffrl_lab.methods.models import diamond
from diffrl_lab.methods.models.diamond import Config, Diamond
from diffrl_lab.studies import dreamt, led, rollouts
from diffrl_lab.studies.study import Part, Tensors
from diffrl_lab.worlds import games

RUNS = ROOT / "runs" / "dreams"
VERSION = "1"  # of what the functions below call
STEPS = (1, 2, 3, 5, 10)
RECORDED = 30_000  # pictures
EARLY = 1000  # updates of the checkpoint that shows a beginner
ARMS = {
    "diffusion": Config(width=24, updates=7000),
    "as recorded": Config(width=24, updates=7000, rare=0.0),
    "least squares": Config(width=24, updates=7000, regress=True),
}
DRIFTING = {  # what is said to let a dream last, else as `diffusion`; one training
    "noised past": Config(width=24, updates=7000, augment=0.5, told=True),
    "four pictures": Config(width=24, updates=7000, past=4),
}
FAR = (0, 10, 25, 50, 100)  # pictures into a dream, between which the impossible ones are counted


def recording(steps: int = RECORDED, seed: int = 0) -> tuple[Episodes, Tensor]:
    """Breakout played carelessly -> its pictures as one episode, and which rows [N] show a lost ball."""
    played = games.play(games.Breakout(seed), games.careless(random.Random(seed + 1)), steps)
    act = np.eye(len(games.Breakout.actions), dtype=np.float32)[played.act]
    lost = played.frames[:, games.Breakout.channels.index("ball"), games.BOTTOM].any(1)
    return Episodes.join([(played.frames, act, played.rew, False)]), torch.from_numpy(lost)


def _path(arm: str, seed: int, updates: int) -> Path:
    return RUNS / "weights" / f"{arm.replace(' ', '-')}-{seed}-{updates}.safetensors"


@lru_cache(maxsize=4)
def model(arm: str, seed: int, updates: int | None = None) -> Diamond:
    """A trained arm, kept as it would ship, in float16; or its checkpoint after so many updates, EARLY being kept."""
    config = (ARMS | DRIFTING)[arm]
    path, begun = _path(arm, seed, updates or config.updates), time.process_time()
    if not path.is_file():
        episodes, lost = recording()
        run = diamond.train(episodes, config, seed=seed, often=lost if config.rare else None)
        for row in run:
            if row["step"] in (EARLY, config.updates):
                seconds = round(time.process_time() - begun, 1)
                run.model.save(_path(arm, seed, row["step"]), arm=arm, seconds=seconds)
    return Diamond.load(path)


def trained(seeds: Sequence[int]) -> float:
    """Train every arm that is not kept, `as recorded` once alone -> the CPU hours of all."""
    wanted = [(arm, seed) for arm in ARMS for seed in (seeds[:1] if arm == "as recorded" else seeds)]
    return sum(model(arm, seed).about["seconds"] for arm, seed in wanted) / 3600


def point(arm: str, denoising: int, updates: int, *, seed: int) -> dict[str, Any]:
    """One arm in so many denoising steps on fresh moments: by kind, the impossible share, the weight, and draws."""
    moments = dreams.fresh("breakout", 500, seed=10_000)
    made = model(arm, seed, updates)
    rows = dreams.possible(dreams.drawn_by(made, steps=denoising), moments, seed=seed)
    return {f"{row.kind}_{k}": getattr(row, k) for row in rows for k in ("impossible", "weight", "draws")}


def lasting(arm: str, denoising: int, project: bool, *, seed: int) -> dict[str, Any]:
    """How many pictures of 64 dreams were possible before the first that was not, at most 200: quartiles."""
    draw = dreams.drawn_by(model(arm, seed), steps=denoising)
    came = dreams.lasted(draw, "breakout", 64, 200, project=project, seed=20_000)
    low, middle, high = np.quantile(came.frames, (0.25, 0.5, 0.75))
    return {
        "low": float(low),
        "median": float(middle),
        "high": float(high),
        "whole": float((came.frames == 200).mean()),
    }


def by_horizon(frames: NDArray[np.int64]) -> dict[str, float | None]:
    """The share of pictures that were impossible, of those drawn between one and the next of FAR, by the latter.

    frames [n]: how many pictures of each dream were possible before the first that was not. A dream ends with that one,
    so a share that does not rise with the horizon is no drift. None: no dream came so far.
    """
    out: dict[str, float | None] = {}
    for begin, end in zip(FAR, FAR[1:], strict=False):
        drawn = (np.minimum(frames + 1, end) - begin).clip(0).sum()
        out[f"impossible_{end}"] = float(((frames >= begin) & (frames < end)).sum() / drawn) if drawn else None
    return out


def drift(arm: str, blur: float, project: bool, *, seed: int) -> dict[str, Any]:
    """128 dreams of at most 100 pictures, in 3 denoising steps: when the first impossible one comes, quartiles; the
    share of dreams without one; `by_horizon`; and, on fresh moments, the weight of the likelier sticky picture."""
    made = model(arm, seed)
    draw, past = dreams.drawn_by(made, steps=3, blur=blur), made.config.past
    frames = dreams.lasted(draw, "breakout", 128, FAR[-1], past, project=project, seed=20_000).frames
    sticky = dreams.fresh("breakout", 500, past, seed=10_000).only("sticky")
    (seen,) = dreams.possible(draw, sticky, seed=seed)
    low, middle, high = np.quantile(frames, (0.25, 0.5, 0.75))
    found = {"low": float(low), "median": float(middle), "high": float(high)}
    shares = {"whole": float((frames == FAR[-1]).mean()), "sticky_weight": seen.weight}
    return found | shares | by_horizon(frames)


def drifting(seeds: Sequence[int]) -> float:
    """Train what `drift` compares, unless it is kept -> the CPU hours of all."""
    return sum(model(arm, seed).about["seconds"] for arm in ("diffusion", *DRIFTING) for seed in seeds) / 3600


def _drift(seeds: Sequence[int]) -> Table:
    arms = (("diffusion", 0.0), ("noised past", 0.0), ("noised past", 0.25), ("four pictures", 0.0))
    grid = [{"arm": arm, "blur": blur, "project": project} for arm, blur in arms for project in (True, False)]
    return run_grid(drift, grid, seeds=seeds, cache=RUNS, version=VERSION)


def _policies(seeds: Sequence[int]) -> Table:
    drawn = [{"arm": arm} for arm in dreamt.ARMS if arm != "scripted"]
    three = run_grid(dreamt.policy, drawn, seeds=seeds, cache=RUNS, version=VERSION)
    one = run_grid(dreamt.policy, [{"arm": "scripted"}], seeds=seeds[:1], cache=RUNS, version=VERSION)
    return Table.joined([three, one])


def _moments(seeds: Sequence[int]) -> Table:
    full = ARMS["diffusion"].updates
    grid: list[dict[str, Any]] = [
        {"arm": "diffusion", "denoising": k, "updates": n} for n in (full, EARLY) for k in STEPS
    ]
    grid += [{"arm": "least squares", "denoising": 1, "updates": full}]
    three = run_grid(point, grid, seeds=seeds, cache=RUNS, executor=2, version=VERSION)
    rare = [{"arm": "as recorded", "denoising": k, "updates": full} for k in STEPS]
    one = run_grid(point, rare, seeds=seeds[:1], cache=RUNS, executor=2, version=VERSION)
    return Table.joined([three, one])


def _lasting(seeds: Sequence[int]) -> Table:
    arms = [("diffusion", k) for k in (1, 3, 5)] + [("least squares", 1)]
    grid = [{"arm": arm, "denoising": k, "project": project} for arm, k in arms for project in (True, False)]
    return run_grid(lasting, grid, seeds=seeds, cache=RUNS, executor=2, version=VERSION)


def _rollouts(seeds: Sequence[int]) -> Table:
    grid = {"world": list(rollouts.WORLDS), "arm": list(rollouts.ARMS)}
    return run_grid(rollouts.rolled, grid, seeds=seeds, cache=RUNS, version=VERSION)


def _forked(seeds: Sequence[int]) -> Table:
    grid = {"arm": ["exact", *rollouts.FORKED]}
    return run_grid(rollouts.forked, grid, seeds=seeds, cache=RUNS, version=VERSION)


def _led(seeds: Sequence[int]) -> Table:
    grid = {"arm": led.ARMS, "policy_name": list(led.POLICIES)}
    return run_grid(led.led, grid, seeds=seeds, cache=RUNS, version=VERSION)


def _weights(seeds: Sequence[int]) -> Tensors:
    files: dict[str, Any] = {}
    ships = (("diffusion", "good", None), ("diffusion", "early", EARLY), ("least squares", "mean", None))
    for arm, name, updates in ships:
        model(arm, seeds[0], updates)
        files[f"weights/breakout-{name}.safetensors"] = load(_path(arm, seeds[0], updates or ARMS[arm].updates))
    return files


PARTS = {
    "weights": Part(_weights, seeds=1),
    "moments": Part(_moments, "results/dreams-moments.json", training=trained),
    "drift": Part(_drift, "results/dreams-drift.json", seeds=1, training=drifting),
    "policies": Part(_policies, "results/dreams-policies.json"),
    "lasting": Part(_lasting, "results/dreams-lasting.json", seeds=1, training=trained),
    "rollouts": Part(_rollouts, "results/dreams-rollouts.json"),
    "forked": Part(_forked, "results/dreams-forked.json"),
    "led": Part(_led, "results/dreams-led.json"),
}
