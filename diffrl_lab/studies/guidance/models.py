"""The worlds of check 1, their recordings, and the networks that are trained on them unless they are kept."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from diffrl_lab.data import minari as recordings
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Batches, cosine_decay, descend, fit, load, seeded
from diffrl_lab.files import ROOT
from diffrl_lab.methods.guides import Guide, classifier_loss, contrastive_loss, log_mean_exp, value_loss
from diffrl_lab.methods.planning import decision_diffuser
from diffrl_lab.methods.planning.decision_diffuser import DecisionDiffuser
from diffrl_lab.methods.planning.diffuser import drives, known_ends
from diffrl_lab.methods.planning.plans import plan_scaler, seconds_per_step
from diffrl_lab.studies.planners import recording
from diffrl_lab.worlds.mazes import EPISODE_STEPS
from diffrl_lab.worlds.record import record

RUNS = ROOT / "runs" / "guidance"
VERSION = "1"  # of what the study's functions call
WORLDS = {"two-ways-p50": ("two-ways", 0.5), "two-ways-p20": ("two-ways", 0.2), "umaze": ("umaze", 0.5)}
SMALL = decision_diffuser.Config(
    width=128, depth=2, channels=16, updates=2000, batch=128, inverse_updates=1000, inverse_batch=256
)
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
    update = descend(lambda i: loss(i, g), J, lr=2e-3, schedule=cosine_decay(steps), ema=ema)
    for _ in range(steps):
        update(torch.randint(len(x), (batch,), generator=g))
    assert update.ema is not None
    return update.ema.module  # type: ignore[return-value]


def fresh_guide(dim: int, out: int, seed: int) -> Guide:
    """A guide before its training, its weights drawn by `seed`."""
    return seeded(seed, Guide, dim, out=out)


def fresh(episodes: Episodes, config: decision_diffuser.Config, seed: int, cond: int) -> DecisionDiffuser:
    """A Decision Diffuser of drives in a maze before its training, its scalings still to be set."""
    dd = seeded(seed, DecisionDiffuser, config, 4, 2, cond)
    dd.planner.seconds.fill_(seconds_per_step(episodes))
    return dd


def learning(dd: DecisionDiffuser, g: torch.Generator) -> descend:
    """One update of the conditioned denoiser on a batch of `DecisionDiffuser.loss`."""
    c = dd.config
    decay = cosine_decay(c.updates, warmup=min(100, c.updates // 10))
    return descend(lambda batch: dd.loss(batch, g), dd.planner.denoiser, lr=c.lr, schedule=decay, ema=c.ema)


def inverse_dynamics(episodes: Episodes, seed: int) -> decision_diffuser.InverseDynamics:
    """The inverse dynamics of a maze's ball, by least squares on neighbouring rows."""
    pairs, g = decision_diffuser.neighbours(episodes), torch.Generator().manual_seed(seed)
    f = seeded(seed, decision_diffuser.InverseDynamics, 4, 2, SMALL.inverse_width)
    f.scaler = Scaler.fit(pairs["features"], "standard")
    update = descend(f.loss, f, lr=2e-3, schedule=cosine_decay(SMALL.inverse_updates))
    for _ in fit(update, Batches(pairs, SMALL.inverse_batch, g), SMALL.inverse_updates):
        pass
    return f


def averaged(dd: DecisionDiffuser, update: descend, inverse: Any = None) -> DecisionDiffuser:
    """The method with the averaged weights of its denoiser, and the inverse dynamics where it is driven by them."""
    assert update.ema is not None
    dd.planner.denoiser = update.ema.module  # type: ignore[assignment]
    dd.inverse = inverse or dd.inverse
    return dd


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
        g, dd = torch.Generator().manual_seed(seed), fresh(episodes, SMALL, seed, cond=1)
        dd.planner.scaler, dd.y_scaler = plan_scaler(x, 2), Scaler.fit(R[:, None], "standard")
        z, r = dd.planner.scaler(x), dd.y_scaler(R[:, None])[:, 0]
        update = learning(dd, g)
        for _ in range(SMALL.updates):
            i = torch.randint(len(z), (SMALL.batch,), generator=g)
            u = torch.rand(len(i), 1, 1, generator=g)
            known = ends(world, z[i]) & (u > SMALL.free)
            update({"x": x[i], "known": known, "y": R[i, None]})
        known = ends(world, z[:1])
        log_mean = log_mean_exp(r)
        J = fresh_guide(z[0].numel(), 1, seed)
        value = trained(J, lambda i, g: value_loss(J, z[i], r[i], known=known, generator=g), z, seed)
        K = fresh_guide(z[0].numel(), 1, seed)
        energy = trained(
            K, lambda i, g: contrastive_loss(K, z[i], r[i], log_mean=log_mean, known=known, generator=g), z, seed
        )
        about = {"world": world, "seed": seed, "seconds": round(time.process_time() - begun, 1)}
        averaged(dd, update, inverse_dynamics(episodes, seed)).save(paths[0], **about)
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
        C = fresh_guide(z[0].numel(), 2, seed)
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
