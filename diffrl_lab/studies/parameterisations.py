"""What a network predicts, and modes that are lost by it: four symmetric modes, two ways, and a policy in avoid.

Why: let the data have mean 0, unit variance and no correlation, and alpha^2 + sigma^2 = 1. The part of each target that
is linear in x_t is then alpha x_t of x_0, sigma x_t of eps, (sigma - alpha) x_t of eps - x_0, and 0 of v and of EDM's
target with sigma_data = 1 (it is -v). With v a network near 0 is already the best Gaussian denoiser, and the gradient
of its last layer is E[v phi] over features phi, of which neither the linear part counts nor, with symmetric data, the
even one. Small smooth networks are nearly linear where they start: what is left is lost in a batch's noise (`signal`).
How it came about: docs/studies/parameterisations.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diffrl_lab.analysis import modes
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.data.toys import Mixture, ring, two_corridors
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    Karras,
    Linear,
    NeuralDenoiser,
    Rectified,
    Schedule,
    cosine_decay,
    ddim,
    denoising_loss,
    descend,
    fit,
    sample,
    seeded,
)
from diffrl_lab.diffusion.denoisers import PREDICTIONS, shown, target
from diffrl_lab.files import ROOT
from diffrl_lab.methods.policies import diffusion_policy
from diffrl_lab.nets import MLP
from diffrl_lab.studies.study import Part
from diffrl_lab.worlds import avoid

RUNS, VERSION = ROOT / "runs" / "parameterisations", "1"
SCHEDULES: dict[str, Schedule] = {s.__class__.__name__: s for s in (Cosine(), Linear(), Rectified(), Karras())}
STD = 0.1
SQUARE = ring(4, radius=2**0.5, std=STD)
"""Four modes at equal distances, each coordinate with the variance 1 + STD^2."""


def on_modes(x: Tensor, law: Mixture = SQUARE) -> Tensor:
    """The share of samples x [n, 2] that lie within three standard deviations of each mode. -> [K]; law: .989 in all"""
    return (torch.cdist(x, law.means.to(x)) < 3 * law.std.to(x)).double().mean(0)


def denoiser(
    predict: str, sigma_data: float = 1.0, schedule: str = "Cosine", *, gain: float = 1.0, dim: int = 2, seed: int = 0
) -> NeuralDenoiser:
    """An untrained denoiser around an MLP; the weights that x meets first are `gain` times as large as PyTorch's."""
    net = seeded(seed, MLP, dim, width=64)
    with torch.no_grad():
        next(net.layers.parameters())[:, :dim] *= gain
    return NeuralDenoiser(net, SCHEDULES[schedule], predict, sigma_data)


def trained(D: NeuralDenoiser, x: Tensor, updates: int, batch: int, lr: float, generator: torch.Generator) -> None:
    """Train D on rows of x, the rate falling to 0 by half a cosine."""
    update = descend(
        lambda b: denoising_loss(D, b, generator=generator), D, lr=lr, schedule=cosine_decay(updates, warmup=20)
    )
    for _ in fit(update, Batches(x, batch, generator), updates):
        pass


def drawn(D: NeuralDenoiser, n: int, dim: int, seed: int) -> Tensor:
    """n samples by DDIM in 20 steps. -> [n, dim]"""
    with torch.no_grad():
        return sample(D, D.schedule.prior((n, dim), torch.Generator().manual_seed(9000 + seed)), steps=20, step=ddim())


# ----------------------------------------------------------------------------------------------------------- the points
def four_modes(
    predict: str,
    sigma_data: float,
    schedule: str,
    updates: int,
    batch: int = 256,
    lr: float = 5e-3,
    gain: float = 1.0,
    *,
    seed: int,
) -> dict[str, float]:
    """on: the share of 1,000 samples on one of four symmetric modes. rarest: the smallest share of a mode (of 1/4)."""
    g = torch.Generator().manual_seed(seed)
    D = denoiser(predict, sigma_data, schedule, gain=gain, seed=seed)
    trained(D, SQUARE.sample(4000, g)[0], updates, batch, lr, g)
    share = on_modes(drawn(D, 1000, 2, seed))
    return {"on": float(share.sum()), "rarest": float(share.min())}


def two_ways(predict: str, sigma_data: float, updates: int = 1500, *, seed: int) -> dict[str, float]:
    """Paths [16, 2] of which three in ten go left. minor: the share left of x = -0.5 half-way; between: |x| < 0.5."""
    g = torch.Generator().manual_seed(seed)
    law = two_corridors(0.3, horizon=16)
    x = law.sample(4000, g)[0].flatten(1)
    scaler = Scaler.fit(x, "standard")
    D = denoiser(predict, sigma_data, dim=x.shape[1], seed=seed)
    trained(D, scaler(x), updates, 256, 5e-3, g)
    half = scaler.inverse(drawn(D, 1000, x.shape[1], seed)).view(-1, 16, 2)[:, 7:9, 0].mean(1)
    return {"minor": float((half < -0.5).double().mean()), "between": float((half.abs() < 0.5).double().mean())}


@torch.no_grad()
def signal(predict: str, sigma_data: float, gain: float, *, seed: int, n: int = 400_000) -> dict[str, float]:
    """The gradient of the loss by the last layer's weights where the network is 0, -2 E[target phi], on four modes.

    signal: the norm of E[target phi] (its square from two independent halves, so that it has no bias); noise: the
    standard deviation of the same for one row; rows: the batch at which both are alike, (noise / signal)^2.
    """
    g = torch.Generator().manual_seed(seed)
    D = denoiser(predict, sigma_data, gain=gain, seed=seed)
    features, label = nn.Sequential(*list(D.net.layers)[:-1]), D.net.label  # type: ignore[union-attr, arg-type]
    halves, square, size = [torch.zeros(2, 64), torch.zeros(2, 64)], 0.0, 20_000
    for k in range(n // size):
        x_0, t = SQUARE.sample(size, g)[0], torch.rand(size, generator=g)
        eps = torch.randn(size, 2, generator=g)
        alpha, sigma = D.schedule(t, 2)
        c_in, level = shown(alpha, sigma, sigma_data)
        phi = features(torch.cat([c_in * (alpha * x_0 + sigma * eps), label(level[:, 0])], 1))  # type: ignore[operator]
        y = target(predict, x_0, eps, alpha, sigma, sigma_data)
        halves[k % 2] += 2 / n * y.T @ phi
        square += float((y.square().T @ phi.square()).sum()) / n
    one = max(float((halves[0] * halves[1]).sum()), 1e-12)
    return {"signal": one**0.5, "noise": (square - one) ** 0.5, "rows": (square - one) / one}


def policy(predict: str, sigma_data: float, updates: int = 2000, *, seed: int) -> dict[str, float]:
    """Avoid, chunks of 8: success of 300 episodes, and the entropy of their ways over ln 24 (of those that arrive)."""
    recorded = avoid.episodes(avoid.demonstrations(600, seed=seed))
    shape: dict[str, Any] = {"features": 8, "updates": updates, "batch": 256, "lr": 2e-3, "ema": 0.99}
    c = diffusion_policy.Config(8, 8, predict=predict, sigma_data=sigma_data, **shape)
    run = diffusion_policy.train(recorded, c, seed=seed)
    for _ in run:
        pass
    way = avoid.roll(diffusion_policy.Agent(run.model), range(300)).way
    return {"success": float((way >= 0).mean()), "entropy": modes.entropy(way, avoid.WAYS) / math.log(avoid.WAYS)}


# ------------------------------------------------------------------------------------------------------------ the parts
AT = {"schedule": "Cosine", "updates": 1500}
MODES = [AT | {"predict": p, "sigma_data": 1.0} for p in ("eps", "x0", "v", "flow")]
MODES += [AT | {"predict": p, "sigma_data": 0.5} for p in ("x0", "v", "edm")]
CURES = [("v", 1.0, 1.0), ("v", 0.5, 1.0), ("v", 1.0, 4.0), ("edm", 0.5, 1.0), ("x0", 1.0, 1.0)]
SMALL = [
    AT | {"predict": p, "sigma_data": sigma_data, "batch": 64, "lr": lr, "gain": gain}
    for p, sigma_data, gain in CURES
    for lr in (1e-3, 5e-3)
]
STARTS = [(p, s, 1.0) for s in (1.0, 0.5) for p in PREDICTIONS] + [("v", 1.0, 4.0)]
POLICIES = [("v", 1.0), ("x0", 1.0), ("edm", 0.5), ("flow", 1.0)]


def points(fn: Any, grid: Any, seeds: Sequence[int]) -> Table:
    """A pure function over a grid, computed or read from the cache."""
    return run_grid(fn, grid, seeds=seeds, cache=RUNS, version=VERSION)


def _pairs(what: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"predict": p, "sigma_data": sigma_data} for p, sigma_data in what]


def _part(name: str, fn: Any, grid: Any, seeds: int = 3) -> Part:
    return Part(partial(points, fn, grid), f"results/parameterisations-{name}.json", seeds)


PARTS = {
    "signal": _part("signal", signal, [dict(zip(("predict", "sigma_data", "gain"), s, strict=True)) for s in STARTS]),
    "modes": _part("modes", four_modes, MODES),
    "cures": _part("cures", four_modes, SMALL, seeds=2),
    "avoid": _part("avoid", policy, _pairs(POLICIES)),
    "ways": _part("ways", two_ways, _pairs([("eps", 1.0), *POLICIES, ("v", 0.5)])),
}
