"""The worlds of check 1, their recordings, and the networks that are trained on them unless they are kept."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from diffrl_lab.data import minari as recordings
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Cosine, cosine_decay, descend, load
from diffrl_lab.files import ROOT
from diffrl_lab.methods.guides import contrastive_loss, log_mean_exp
from diffrl_lab.methods.planning.decision_diffuser import DecisionDiffuser, InverseDynamics, Learning, conditioned
from diffrl_lab.methods.planning.diffuser import Diffuser, Planner, _scaler, seconds_per_step
from diffrl_lab.methods.planning.value_guidance import Guide, classifier_loss, drives, known_ends, value_loss
from diffrl_lab.studies.planners import recording
from diffrl_lab.worlds.mazes import EPISODE_STEPS
from diffrl_lab.worlds.record import record

RUNS = ROOT / "runs" / "guidance"
VERSION = "1"  # of what the study's functions call
WORLDS = {"two-ways-p50": ("two-ways", 0.5), "two-ways-p20": ("two-ways", 0.2), "umaze": ("umaze", 0.5)}
SMALL = Diffuser(width=128, depth=2, channels=16, steps=2000, batch=128)
BEST = 0.9  # the class that the classifier knows: returns above this quantile, so that ASKED is its median


@lru_cache(maxsize=4)
def data(world: str) -> tuple[Episodes, Tensor, Tensor]:
    """The full recording of a world, its whole drives as plans x [E, H, 5], and what each returns [E]."""
    maze, p = WORLDS.get(world, (world, 0.5))
    if maze == "two-ways":
        try:
            episodes = recordings.read(f"pointmaze-two-ways-p{round(100 * p)}-v0")
        except ValueError:
            record("pointmaze-two-ways", p=p, progress=False)
            episodes = recordings.read(f"pointmaze-two-ways-p{round(100 * p)}-v0")
    else:
        episodes, _ = recording(f"maze-{maze}", progress=False)
    return episodes, *drives(episodes, SMALL, EPISODE_STEPS[maze])


def ends(world: str, x: Tensor) -> Tensor:
    """What is known of plans x. In the U-maze start and goal; in two-ways nothing, since all drives go the same way,
    and a network that saw where 1,200 drives began would remember which side each of them took."""
    return known_ends(x, 2) if WORLDS[world][0] == "umaze" else torch.zeros(x.shape, dtype=torch.bool)


def trained(J: Guide, loss, x: Tensor, seed: int, steps: int = 1500, batch: int = 256, ema: float = 0.995) -> Guide:
    """A guide after `steps` updates on loss(rows, generator): its averaged weights."""
    g = torch.Generator().manual_seed(seed)
    update = descend(lambda i: loss(i, g), J, lr=2e-3, schedule=cosine_decay(steps), ema=ema, generator=g)
    for _ in range(steps):
        update(torch.randint(len(x), (batch,), generator=g))
    assert update.ema is not None
    return update.ema.module  # type: ignore[return-value]


def fresh(dim: int, out: int, seed: int) -> Guide:
    """A guide before its training, its weights drawn by `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Guide(dim, Cosine(), out=out)


@lru_cache(maxsize=4)
def models(world: str, seed: int) -> tuple[DecisionDiffuser, Guide, Guide]:
    """One backbone, conditioned on the return (dropped for a quarter of the samples), and two guides of its plans: the
    mean of the return and its contrastive energy, in standard deviations of the return. Trained unless they are kept.
    """
    folder = RUNS / "weights"
    paths = [folder / f"{world}-{seed}-{k}.safetensors" for k in ("plans", "value", "energy")]
    if not all(path.is_file() for path in paths):
        begun = time.process_time()
        episodes, x, R = data(world)
        scaler, y_scaler = _scaler(x, 2), Scaler.fit(R[:, None], "standard")
        z, y = scaler(x), y_scaler(R[:, None])
        g, D = torch.Generator().manual_seed(seed), conditioned(SMALL, x.shape[-1], 1, seed)
        update = Learning(D, SMALL, g)
        for _ in range(SMALL.steps):
            i = torch.randint(len(z), (SMALL.batch,), generator=g)
            u = torch.rand(len(i), 1, 1, generator=g)
            known = ends(world, z[i]) & (u > SMALL.free)
            update({"x": z[i], "known": known, "y": y[i]})
        assert update.ema is not None
        known, r = ends(world, z[:1]), y[:, 0]
        log_mean = log_mean_exp(r)
        J = fresh(z[0].numel(), 1, seed)
        value = trained(J, lambda i, g: value_loss(J, z[i], r[i], known=known, generator=g), z, seed)
        K = fresh(z[0].numel(), 1, seed)
        energy = trained(
            K, lambda i, g: contrastive_loss(K, z[i], r[i], log_mean=log_mean, known=known, generator=g), z, seed
        )
        inverse = InverseDynamics.fit(episodes, steps=1000, batch=256, seed=seed)
        about = {"world": world, "seed": seed, "seconds": round(time.process_time() - begun, 1)}
        planner = Planner(update.ema.module, scaler, SMALL, seconds_per_step(episodes))  # type: ignore[arg-type]
        DecisionDiffuser(planner, inverse, y_scaler).save(paths[0], **about)
        value.save(paths[1], **about)
        energy.save(paths[2], **about)
    return DecisionDiffuser.load(paths[0]), Guide.load(paths[1]), Guide.load(paths[2])


@lru_cache(maxsize=4)
def classifier(world: str, seed: int) -> Guide:
    """A classifier of noisy plans: two logits, the second one's class is a return in the recorded best tenth."""
    path = RUNS / "weights" / f"{world}-{seed}-classifier.safetensors"
    if not path.is_file():
        begun = time.process_time()
        _, x, R = data(world)
        z, y = models(world, seed)[0].planner.scaler(x), (R >= R.quantile(BEST)).long()
        known = ends(world, z[:1])
        C = fresh(z[0].numel(), 2, seed)
        C = trained(C, lambda i, g: classifier_loss(C, z[i], y[i], known=known, generator=g), z, seed)
        C.save(path, world=world, seed=seed, seconds=round(time.process_time() - begun, 1))
    return Guide.load(path)


def training(worlds: Iterable[str], seeds: Sequence[int], classifiers: bool = True) -> float:
    """Train the networks of worlds, unless they are kept -> the CPU hours their trainings took, as their files say."""
    files = []
    for world, seed in itertools.product(worlds, seeds):
        models(world, seed)
        files.append(f"{world}-{seed}-plans")  # its `seconds` are those of its value and energy, too
        if classifiers:
            classifier(world, seed)
            files.append(f"{world}-{seed}-classifier")
    return sum(load(RUNS / "weights" / f"{file}.safetensors")[1]["seconds"] for file in files) / 3600
