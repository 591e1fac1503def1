"""Rollouts of states: what models of a world make of known actions, over 1 to 50 steps, parts of `dreams`.

`rollouts`: Pendulum and the U maze, whose steps are deterministic: the error on recordings that no training saw.
`forked`: a ball that a coin sends to the left or to the right, whose law is known: the distance from that law, the
weight of each branch, and what lies between them. Both are tables of `diffrl-lab study dreams`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from diffrl_lab.analysis.distance import energy_distance, floor
from diffrl_lab.data import minari
from diffrl_lab.data.episodes import Episodes, transitions, windows
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import (
    Batches,
    Karras,
    NeuralDenoiser,
    cosine_decay,
    denoising_loss,
    descend,
    fit,
    given,
    heun,
    sample,
    seeded,
)
from diffrl_lab.methods.models import polygrad
from diffrl_lab.methods.models.synther import levels
from diffrl_lab.nets import MLP
from diffrl_lab.worlds import fork, pendulum

Roll = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(first states [B, d], actions [B, H, a], generator) -> the states that are met [B, H + 1, d], the first as it was."""
Next = Callable[[Tensor, torch.Generator], Tensor]
"""(states and actions [B, d + a], generator) -> by how much the state changes [B, d]."""

ROWS = 15_000  # recorded steps that a model is made of
HORIZONS = (1, 2, 5, 10, 20, 50)
WORLDS = ("pendulum", "umaze")
ARMS = ("whole rollouts", "one step", "network", "linear", "features", "nearest row", "nothing moves")
FORKED = ("whole rollouts", "one step", "network", "linear", "features", "features, Gaussian", "nearest row")
CONFIG = polygrad.Config(width=192, batch=128, updates=3000)  # of both diffusions
DEGREE = 3  # of the monomials that are the features
FOURIER = 8  # features of each number that a network of one step is shown; without them it is blind to where the peg is


@lru_cache(maxsize=4)
def recording(world: str, seed: int) -> tuple[Episodes, Episodes]:
    """What a model is made of, ROWS steps, and what it is judged on. That of the U maze is one for all seeds."""
    if world == "pendulum":
        return pendulum.record(ROWS, seed=seed), pendulum.record(10_000, seed=10_000)
    if world == "fork":
        return fork.record(ROWS // fork.STEPS, seed=seed), fork.record(1000, seed=10_000)
    every = minari.read(shipped("recordings/pointmaze-umaze-v0"))
    cut = int(every.starts[int((every.ends < ROWS).sum())])  # whole episodes, ROWS rows at most; the others are new
    train, held = (
        Episodes(every.obs[i].float(), every.act[i].float(), every.rew[i], every.last[i])
        for i in (slice(0, cut), slice(cut, None))
    )
    return train, held


def within(roll: Roll, episodes: Episodes) -> Roll:
    """`roll` whose states are kept within the smallest and largest number of each column of a recording."""
    low, high = episodes.obs.amin(0), episodes.obs.amax(0)
    return lambda start, act, generator: roll(start, act, generator).clamp(low, high)


def stepped(change: Next, episodes: Episodes) -> Roll:
    """Rollouts of a one-step model, each state within what was recorded before the next step is made of it."""
    low, high = episodes.obs.amin(0), episodes.obs.amax(0)

    def roll(start: Tensor, act: Tensor, generator: torch.Generator) -> Tensor:
        obs = [start]
        for a in act.unbind(1):
            obs.append((obs[-1] + change(torch.cat([obs[-1], a], 1), generator)).clamp(low, high))
        return torch.stack(obs, 1)

    return roll


def pairs(episodes: Episodes) -> tuple[Tensor, Tensor]:
    """(s, a) [M, d + a] and s' - s [M, d] of every recorded step."""
    t = transitions(episodes)
    return torch.cat([t.obs, t.act], 1).float(), (t.next_obs - t.obs).float()


def monomials(z: Tensor, degree: int) -> Tensor:
    """All products of at most `degree` of the numbers z [M, k], 1 among them. -> [M, C(k + degree, degree)]"""
    out, last = [torch.ones(len(z), 1, dtype=z.dtype)], [(torch.ones(len(z), dtype=z.dtype), 0)]
    for _ in range(degree):
        last = [(p * z[:, j], j) for p, first in last for j in range(first, z.shape[1])]
        out.append(torch.stack([p for p, _ in last], 1))
    return torch.cat(out, 1)


def squares(episodes: Episodes, degree: int, drawn: bool = False) -> Roll:
    """Least squares of s' - s on monomials of the scaled (s, a). drawn: with Gaussian noise of what it leaves over."""
    x, y = pairs(episodes)
    scaler = Scaler.fit(x, "standard")
    f = monomials(scaler(x).double(), degree)
    weight = torch.linalg.lstsq(f.mT @ f + 1e-6 * len(f) * torch.eye(f.shape[1]), f.mT @ y.double()).solution
    left = y.double() - f @ weight
    values, vectors = torch.linalg.eigh(left.mT @ left / len(left))
    root = vectors * values.clamp(min=0).sqrt()

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        mean = monomials(scaler(x).double(), degree) @ weight
        noise = torch.randn(mean.shape, generator=generator).double() @ root.mT if drawn else 0.0
        return (mean + noise).float()

    return stepped(change, episodes)


def nearest(episodes: Episodes) -> Roll:
    """The change of the recorded step whose scaled (s, a) is nearest."""
    x, y = pairs(episodes)
    scaler = Scaler.fit(x, "standard")
    z = scaler(x)
    return stepped(lambda x, _: y[torch.cdist(scaler(x), z).argmin(1)], episodes)


def one_step(episodes: Episodes, seed: int) -> Roll:
    """Diffusion of s' - s given (s, a): network, noise, updates and chain as PolyGRAD's."""
    c, generator = CONFIG, torch.Generator().manual_seed(seed)
    x, y = pairs(episodes)
    shown, told = Scaler.fit(y, "standard"), Scaler.fit(x, "standard")
    d = y.shape[1]
    net = seeded(seed, MLP, d, cond=x.shape[1], width=c.width, depth=c.depth, features=FOURIER)
    denoiser = NeuralDenoiser(net, Karras(0.002, 80.0), "edm", sigma_data=1.0)

    def loss(z: Tensor) -> Tensor:
        t = levels(denoiser, c, len(z), generator)
        return denoising_loss(denoiser, z[:, :d], cond=z[:, d:], t=t, generator=generator)

    schedule = cosine_decay(c.updates, warmup=min(100, c.updates // 10))
    update = descend(loss, denoiser, lr=c.lr, schedule=schedule, ema=c.ema)
    for _ in fit(update, Batches(torch.cat([shown(y), told(x)], 1), c.batch, generator), c.updates):
        pass
    learned: Any = update.ema.module  # type: ignore[union-attr]

    @torch.no_grad()
    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        x_T = learned.schedule.prior((len(x), d), generator)
        return shown.inverse(sample(given(learned, told(x)), x_T, steps=c.denoising, step=heun()))

    return stepped(change, episodes)


def network(episodes: Episodes, seed: int) -> Roll:
    """Least squares of s' - s by the network of `one_step`, shown (s, a) alone: the same updates, no noise."""
    c, generator = CONFIG, torch.Generator().manual_seed(seed)
    x, y = pairs(episodes)
    shown, told = Scaler.fit(y, "standard"), Scaler.fit(x, "standard")
    k, d = x.shape[1], y.shape[1]
    net = seeded(seed, MLP, k, out=d, width=c.width, depth=c.depth, label=0, features=FOURIER)
    schedule = cosine_decay(c.updates, warmup=min(100, c.updates // 10))
    update = descend(lambda z: F.mse_loss(net(z[:, :k]), z[:, k:]), net, lr=c.lr, schedule=schedule, ema=c.ema)
    for _ in fit(update, Batches(torch.cat([told(x), shown(y)], 1), c.batch, generator), c.updates):
        pass
    learned: Any = update.ema.module  # type: ignore[union-attr]

    @torch.no_grad()
    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        return shown.inverse(learned(told(x)))

    return stepped(change, episodes)


def whole(model: polygrad.Polygrad) -> Roll:
    """PolyGRAD led by a plan, so many steps at once as it was trained on, each rollout begun where the last one ended.

    Raises ValueError for actions [B, H, a] whose H is no multiple of that.
    """
    k = model.config.horizon

    def roll(start: Tensor, act: Tensor, generator: torch.Generator) -> Tensor:
        if act.shape[1] % k:
            raise ValueError(f"rollouts of {k} steps make no {act.shape[1]}")
        obs = [start[:, None]]
        for plan in act.split(k, 1):
            lead = lambda s, plan=plan: (plan, torch.tensor(0.0))  # noqa: E731
            obs.append(model.sample(obs[-1][:, -1], lead, generator=generator).obs[:, 1:])
        return torch.cat(obs, 1)

    return roll


def rollouts_of(episodes: Episodes, seed: int) -> polygrad.Polygrad:
    """PolyGRAD of a recording, trained."""
    run = polygrad.train(episodes, CONFIG, seed=seed)
    for _ in run:
        pass
    return run.model


def made(arm: str, episodes: Episodes, seed: int) -> Roll:
    """A model of a recording, of ARMS or FORKED."""
    if arm == "whole rollouts":
        return within(whole(rollouts_of(episodes, seed)), episodes)
    if arm == "one step":
        return one_step(episodes, seed)
    if arm == "network":
        return network(episodes, seed)
    if arm == "nearest row":
        return nearest(episodes)
    if arm == "nothing moves":
        return lambda start, act, _: start[:, None].expand(-1, act.shape[1] + 1, -1)
    return squares(episodes, 1 if arm == "linear" else DEGREE, drawn=arm.endswith("Gaussian"))


def error(seen: Tensor, true: Tensor, spread: Tensor) -> Tensor:
    """sqrt of the mean, over windows and columns, of ((seen - true) / spread)^2: [B, H, d] twice -> [H]"""
    return ((seen - true) / spread).square().mean((0, 2)).sqrt()


def rolled(world: str, arm: str, *, seed: int) -> dict[str, Any]:
    """The error after each of HORIZONS steps on held-out windows, one draw for each, in deviations of a state."""
    train, held = recording(world, seed)
    rows = windows(held, HORIZONS[-1], 25)
    true = torch.cat([held.obs[rows], held.obs[rows[:, -1:] + 1]], 1).float()
    act = held.act[rows].float()
    roll = made(arm, train, seed)
    seen = roll(true[:, 0], act, torch.Generator().manual_seed(seed))
    wrong = error(seen[:, 1:], true[:, 1:], train.obs.float().std(0))
    return {f"rmse_{h}": float(wrong[h - 1]) for h in HORIZONS} | {"windows": len(rows)}


def branches(path: Tensor) -> dict[str, float]:
    """Of paths [n, 10] as `fork.aside` gives them, the shares that end right, left, and in neither branch.

    A path is in a branch where its end is within 4 deviations of the branch's middle; exact: 0.5, 0.5 and 0.00006.
    """
    reach = 4 * fork.NOISE * fork.STEPS**0.5
    right, left = ((path[:, -1] - side * fork.SIDE).abs() <= reach for side in (1, -1))
    return {
        "right": float(right.double().mean()),
        "left": float(left.double().mean()),
        "neither": float((~right & ~left).double().mean()),
    }


def forked(arm: str, *, seed: int) -> dict[str, Any]:
    """1,000 drops under held-out actions against the exact law: energy distance of the path beside what two samples of
    the law have, weight of each branch, and the error of the last state against the drop that happened."""
    train, held = recording("fork", seed)
    rows = windows(held, fork.STEPS, fork.STEPS)
    true = torch.cat([held.obs[rows], held.obs[rows[:, -1:] + 1]], 1).float()
    act, generator = held.act[rows].float(), torch.Generator().manual_seed(seed)
    if arm == "exact":
        path = fork.law(len(rows), generator)
        seen = true.clone()
        seen[:, 1:, 1] += path - fork.aside(true, act)
    else:
        seen = made(arm, train, seed)(true[:, 0], act, generator)
        path = fork.aside(seen, act)
    law = fork.law(len(rows), torch.Generator().manual_seed(50_000 + seed))
    low = floor(energy_distance, fork.law, len(rows), generator=torch.Generator().manual_seed(seed), repeats=40)
    return {
        "energy": energy_distance(path, law),
        "floor_energy_95": float(low.quantile(0.95)),
        "rmse_end": float((seen[:, -1, 1] - true[:, -1, 1]).square().mean().sqrt()),
    } | branches(path)
