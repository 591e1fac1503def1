"""Imitation, behind lesson 09: which policies keep the ways that a demonstrator took, and what that costs.

- `avoid`: all arms on the world of 24 ways, with one action and with chunks of 8;
- `steps`, `looks`: diffusion and flow policies by the steps of their chain, and chunks by how many actions are done;
- `unimodal`: demonstrations of one way alone;
- `xor`: two actions of which the second is the opposite of the first, drawn apart and as one chunk;
- `universal` (open question 1): curves that no finite mixture is, by K and by the steps of the chain;
- `weights`: what the lesson opens.

Networks and points are kept in runs/imitation. How the study came about: docs/studies/imitation.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab import methods
from diffrl_lab.analysis import modes
from diffrl_lab.analysis.distance import nearest, sliced_w2
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    MixtureDenoiser,
    NeuralDenoiser,
    cosine_decay,
    ddim,
    denoising_loss,
    descend,
    fit,
    load,
    sample,
    seeded,
)
from diffrl_lab.files import ROOT
from diffrl_lab.nets import MLP
from diffrl_lab.studies.study import Part, Tensors
from diffrl_lab.worlds import avoid

RUNS = ROOT / "runs" / "imitation"
VERSION = "1"  # of what the study's functions call
SHAPE: dict[str, Any] = {
    "width": 192,
    "depth": 4,
    "features": 8,
    "updates": 2000,
    "batch": 256,
    "lr": 2e-3,
    "ema": 0.99,
}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {  # what the lesson calls a policy -> its method and settings
    "least squares": ("regression", {}),
    "two-step": ("two_step", {}),
    "Gaussian": ("gaussian", {}),
    "mixture, K = 2": ("mixture", {"modes": 2}),
    "mixture, K = 8": ("mixture", {"modes": 8}),
    "autoregressive": ("autoregressive", {}),
    "diffusion": ("diffusion_policy", {"predict": "x0"}),
    "flow": ("diffusion_policy", {"predict": "flow"}),
}
CHUNKS = (1, 8)
STEPS = (1, 2, 3, 5, 10, 20)
LOOKS = (1, 2, 4, 8)
ONE = 13  # the way of the task with one mode: the middle gaps, and then the second of four
DEMONSTRATIONS, EPISODES = 600, 600
UNIFORM = np.full(avoid.WAYS, 1 / avoid.WAYS)
Arrays = NDArray[np.float64]


# ------------------------------------------------------------------------------------------------- policies, in avoid
def law(task: str) -> Arrays:
    """The demonstrator's probabilities in a task: "avoid", all ways alike, or "unimodal", one alone. -> [24]"""
    return avoid.only(ONE) if task == "unimodal" else UNIFORM


def name(task: str, arm: str, chunk: int, seed: int) -> str:
    """The file of a trained policy."""
    return f"{task}-{arm.replace(', K = ', '-').replace(' ', '-').lower()}-{chunk}-{seed}.safetensors"


def learned(task: str, arm: str, chunk: int, seed: int) -> Any:
    """A policy as it is kept (float16), trained first where it is missing; its `about` says CPU seconds."""
    path = RUNS / "weights" / name(task, arm, chunk, seed)
    method, options = ARMS[arm]
    module = methods.named(method)
    if not path.exists():
        begun = time.process_time()
        recorded = avoid.episodes(avoid.demonstrations(DEMONSTRATIONS, law(task), seed))
        run = module.train(recorded, module.Config(chunk=chunk, execute=chunk, **SHAPE, **options), seed=seed)
        for _ in run:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        run.model.save(path, seconds=time.process_time() - begun)
    return methods.of_class(load(path)[1]["method"])[1].load(path)


def agent(model: Any, **options: Any) -> Any:
    """What acts by a model, with other settings for how it draws: `denoising`, `execute`."""
    model.config = replace(model.config, **options)
    return methods.of_class(type(model).__name__)[0].Agent(model)


def total_variation(ways: ArrayLike, p: ArrayLike) -> float:
    """Half the sum over k of |share of way k - p_k|, for ways [n]; -1, a crash, does not count. NaN for none."""
    ways = np.asarray(ways)
    count = np.bincount(ways[ways >= 0], minlength=len(np.asarray(p)))
    return float(np.abs(count / count.sum() - p).sum() / 2) if count.sum() else float("nan")


def scores(rolled: avoid.Rolled, p: ArrayLike) -> dict[str, Any]:
    """What is measured of episodes: success; the entropy of the ways of those that arrived, over ln 24; the total
    variation against p; both also for a demonstrator, of as many episodes as arrived (`floor`: the mean). jitter: mean
    length of the change of the action from a step to the next; idle: share of actions shorter than 0.2; steps: of those
    that arrived; counts: of the ways [24]."""
    arrived = rolled.way >= 0
    n, rng, top = int(arrived.sum()), np.random.default_rng(0), np.log(avoid.WAYS)
    lived = np.arange(rolled.act.shape[1]) < rolled.steps[:, None]
    change = np.linalg.norm(np.diff(rolled.act, axis=1), axis=-1)
    floors = modes.mode_floor(lambda w, _: total_variation(w, p), p, max(n, 1), generator=rng, repeats=200)
    return {
        "success": n / len(rolled.way),
        "entropy": modes.entropy(rolled.way, avoid.WAYS) / top if n else None,
        "entropy_floor": modes.expected_entropy(p, max(n, 1)) / top,
        "tv": total_variation(rolled.way, p) if n else None,
        "tv_floor": float(floors.mean()),
        "jitter": float(change[lived[:, 1:]].mean()),
        "idle": float((np.linalg.norm(rolled.act, axis=-1) < 0.2)[lived].mean()),
        "steps": float(rolled.steps[arrived].mean()) if n else None,
        "counts": np.bincount(rolled.way[arrived], minlength=avoid.WAYS).tolist(),
    }


def driven(task: str, arm: str, chunk: int, seed: int, denoising: int = 0, execute: int = 0) -> dict[str, Any]:
    """One policy in EPISODES starts, the same for all; denoising, execute: 0 leaves its own."""
    if arm == "demonstrator":
        return scores(avoid.roll(avoid.Demonstrator(law(task)), range(EPISODES)), law(task)) | {"training": 0.0}
    model = learned(task, arm, chunk, seed)
    other = {k: v for k, v in (("denoising", denoising), ("execute", execute)) if v}
    result = scores(avoid.roll(agent(model, **other), range(EPISODES)), law(task))
    return result | {"training": model.about["seconds"]}


# ------------------------------------------------------------------------------------------------ two steps, one secret
def exclusive(n: int, seed: int, at: float = 0.6, std: float = 0.05) -> Episodes:
    """n episodes of two steps in a state that tells nothing: the first action is near -at or at with probability 1/2
    each, the second near the opposite of the first."""
    rng = np.random.default_rng(seed)
    first = np.where(rng.random(n) < 0.5, at, -at)
    act = np.stack([first, -first], 1) + std * rng.standard_normal((n, 2))
    return Episodes.join((np.zeros((3, 1)), a[:, None], np.zeros(2), False) for a in act)


def opposite(arm: str, chunk: int, seed: int, n: int = 4000) -> dict[str, Any]:
    """The share of n episodes of two actions whose signs are opposite, drawn as one chunk of 2 or as two of 1."""
    method, options = ARMS[arm]
    module = methods.named(method)
    blind: dict[str, Any] = SHAPE | {"features": 0}  # the state tells nothing
    run = module.train(exclusive(2000, seed), module.Config(chunk=chunk, execute=chunk, **blind, **options), seed=seed)
    for _ in run:
        pass
    actor, obs = module.Agent(run.model), np.zeros((n, 1))
    actor.reset(obs, range(n))
    first, second = (actor.act(obs)[:, 0] for _ in range(2))
    return {
        "opposite": float((first * second < 0).mean()),
        "on a mode": float(np.concatenate([np.abs(np.abs(a) - 0.6) < 0.2 for a in (first, second)]).mean()),
    }


# ------------------------------------------------------------------------------------------- what no mixture represents
THICK = 0.01  # of ring and spiral
LAWS = ("ring", "spiral", "strip")
MIXED = (1, 2, 4, 8, 16)
LENGTHS = (1, 2, 3, 5, 10, 20, 50)
DRAWN = 4000


def curve(kind: str, n: int, generator: torch.Generator) -> Tensor:
    """n draws of a law in the plane that no finite Gaussian mixture is. -> [n, 2]

    ring: a circle of radius 1, angle uniform, with normal deviations of 0.01. spiral: one and a half turns, radius 0.2
    to 1. strip: x uniform in [-1, 1], y in Cantor's set of thirds from -1 to 1: at each scale, strips within strips.
    """
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    if kind == "strip":
        digits = torch.randint(0, 2, (n, 24), generator=generator).double()
        y = (2 * digits * 3.0 ** -torch.arange(1, 25, dtype=torch.float64)).sum(1)
        return torch.stack([2 * u - 1, 2 * y - 1], 1).float()
    if kind not in LAWS:
        raise ValueError(f"a law is one of {', '.join(LAWS)}; got {kind!r}")
    angle = 2 * torch.pi * u * (1 if kind == "ring" else 1.5)
    radius = torch.ones_like(u) if kind == "ring" else 0.2 + 0.8 * u
    eps = THICK * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return (radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1) + eps).float()


def distances(x: Tensor, kind: str, seed: int) -> dict[str, float]:
    """How far samples are from fresh draws of the law: sliced W2, and the mean distance to the nearest of 20,000."""
    g = torch.Generator().manual_seed(10_000 + seed)
    fresh, many = curve(kind, DRAWN, g), curve(kind, 20_000, g)
    return {"sliced": sliced_w2(x, fresh, generator=g), "off": float(nearest(x, many).mean())}


def represented(kind: str, form: str, n: int, seed: int) -> dict[str, float]:
    """The distances of samples. form: "exact", fresh draws of the law itself: the floor; "mixture", n Gaussians with
    full covariances fitted by EM, the best of three starts; "diffusion", n steps of DDIM with one network a law. It is
    shown Fourier features of the place: without them it missed spiral and strip by more."""
    g = torch.Generator().manual_seed(seed)
    if form == "exact":
        return distances(curve(kind, DRAWN, torch.Generator().manual_seed(20_000 + seed)), kind, seed)
    data = curve(kind, 20_000, g)
    if form == "mixture":
        best = max((mixture(data, n, g) for _ in range(3)), key=lambda found: found[1])[0]
        return distances(best.sample(DRAWN, g), kind, seed)
    D = denoiser(kind, seed)
    return distances(sample(D, D.schedule.prior((DRAWN, 2), g), steps=n, step=ddim()), kind, seed)


def mixture(data: Tensor, K: int, generator: torch.Generator, rounds: int = 100) -> tuple[MixtureDenoiser, float]:
    """K Gaussians with full covariances fitted to data [N, d] by expectation maximisation (Dempster et al. 1977), from
    K rows far apart (k-means++, Arthur and Vassilvitskii 2007): the law, and its mean log-likelihood in nats."""
    x = data.double()
    means = x[torch.randint(len(x), (1,), generator=generator)]
    while len(means) < K:
        far = torch.cdist(x, means).amin(1).square()
        means = torch.cat([means, x[torch.multinomial(far, 1, generator=generator)]])
    weights, cov = torch.full((K,), 1 / K, dtype=torch.float64), x.T.cov().expand(K, -1, -1) / K
    likelihood = torch.tensor(-torch.inf)
    for _ in range(rounds):
        each = torch.distributions.MultivariateNormal(means, cov).log_prob(x[:, None]) + weights.log()
        likelihood = each.logsumexp(1).mean()
        share = each.softmax(1)
        n = share.sum(0)
        weights, means = n / len(x), share.T @ x / n[:, None]
        off = x[:, None] - means
        cov = torch.einsum("nk,nki,nkj->kij", share, off, off) / n[:, None, None] + 1e-6 * torch.eye(x.shape[1])
    return MixtureDenoiser(weights, means, Cosine(), cov=cov), float(likelihood)


def denoiser(kind: str, seed: int) -> NeuralDenoiser:
    """The network of a law, trained unless it is kept."""
    D = seeded(seed, lambda: NeuralDenoiser(MLP(2, width=192, depth=4, features=8), Cosine(), "x0"))
    path = RUNS / "weights" / f"law-8-{kind}-{seed}.pt"
    if not path.exists():
        g = torch.Generator().manual_seed(seed)
        data, updates = curve(kind, 20_000, g), 4000
        update = descend(
            lambda x: denoising_loss(D, x, generator=g), D, lr=2e-3, schedule=cosine_decay(updates), ema=0.995
        )
        for _ in fit(update, Batches(data, 512, g), updates):
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        assert update.ema is not None
        torch.save(update.ema.module.state_dict(), path)
    D.load_state_dict(torch.load(path, weights_only=True))
    return D.requires_grad_(False).eval()


# ----------------------------------------------------------------------------------------------------------- the parts
def grids() -> dict[str, tuple[Callable[..., Any], list[dict[str, Any]]]]:
    """The points of each table."""
    demonstrator = {"task": "avoid", "arm": "demonstrator", "chunk": 1}
    both = [{"task": "avoid", "arm": a, "chunk": c} for a in ARMS for c in CHUNKS]
    drawn = [{"task": "avoid", "arm": a, "chunk": c} for a in ("diffusion", "flow") for c in CHUNKS]
    single = ("least squares", "two-step", "Gaussian", "diffusion")
    eight = {"task": "avoid", "arm": "diffusion", "chunk": 8}
    return {
        "avoid": (driven, [demonstrator, *both]),
        "steps": (driven, [row | {"denoising": k} for row in drawn for k in STEPS]),
        "looks": (driven, [eight | {"execute": k} for k in LOOKS]),
        "unimodal": (
            driven,
            [
                {"task": "unimodal", "arm": "demonstrator", "chunk": 1},
                *({"task": "unimodal", "arm": a, "chunk": 1} for a in single),
            ],
        ),
        "xor": (opposite, [{"arm": a, "chunk": c} for a in ("mixture, K = 2", "diffusion", "flow") for c in (1, 2)]),
        "universal": (
            represented,
            [
                {"kind": kind, "form": form, "n": n}
                for kind in LAWS
                for form, every in (("exact", (0,)), ("mixture", MIXED), ("diffusion", LENGTHS))
                for n in every
            ],
        ),
    }


def points(part: str, seeds: Sequence[int]) -> Table:
    """A table, computed or read from the cache."""
    function, grid = grids()[part]
    return run_grid(function, grid, seeds=seeds, cache=RUNS, version=VERSION)


def training(part: str, seeds: Sequence[int]) -> float:
    """Train what the points of a part act by. -> CPU hours"""
    policies = {(p["task"], p["arm"], p["chunk"]) for p in grids()[part][1] if p["arm"] != "demonstrator"}
    return sum(learned(*policy, s).about["seconds"] for s in seeds for policy in sorted(policies)) / 3600


def ships(seeds: Sequence[int]) -> Tensors:
    """The policies of `avoid` and the first seed, as the lesson opens them."""
    files = {}
    for arm in ARMS:
        for chunk in CHUNKS:
            learned("avoid", arm, chunk, seeds[0])
            file = name("avoid", arm, chunk, seeds[0])
            files[f"weights/imitation-{file.removeprefix('avoid-')}"] = load(RUNS / "weights" / file)
    return files


PARTS = {
    **{
        part: Part(partial(points, part), f"results/imitation-{part}.json", training=partial(training, part))
        for part in ("avoid", "steps", "looks", "unimodal")
    },
    **{part: Part(partial(points, part), f"results/imitation-{part}.json") for part in ("xor", "universal")},
    "weights": Part(ships, seeds=1),
}
