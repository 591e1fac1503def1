"""Gymnasium's Pendulum as equations: every transition can be held against the true dynamics.

A pole of length 1 and mass 1 turns about its end; theta = 0 is upright, omega is its speed, at most 8. An action a in
[-1, 1] is a torque of 2 a. Observed is (cos theta, sin theta, omega). With g = 10 and dt = 0.05

    omega' = omega + (15 sin theta + 6 a) dt,   theta' = theta + omega' dt,
    r = -(theta^2 + 0.1 omega^2 + 0.004 a^2),   theta in [-pi, pi].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffrl_lab.data.episodes import Episodes, Transitions, loose, transitions

TORQUE, FASTEST, DT = 2.0, 8.0, 0.05
SPREAD = (0.7, 0.7, 3.0)  # about the deviation of each observed number over a recording: the unit of a residual
LIMIT = 200  # steps of an episode, as in Gymnasium
POOL = 20_000  # transitions of the recording that `scattered` draws from


def observed(theta: Tensor, omega: Tensor) -> Tensor:
    """(cos theta, sin theta, omega) of angles and speeds [...]. -> [..., 3]"""
    return torch.stack([theta.cos(), theta.sin(), omega], -1)


def move(obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
    """The true dynamics: what follows obs [..., 3] under act [..., 1] -> (next observation [..., 3], reward [...]).

    An observation off the circle is read by its angle; actions beyond [-1, 1] do what -1 and 1 do.
    """
    theta, omega, u = torch.atan2(obs[..., 1], obs[..., 0]), obs[..., 2], TORQUE * act[..., 0].clamp(-1, 1)
    rew = -(theta**2 + 0.1 * omega**2 + 0.001 * u**2)
    after = (omega + (15 * theta.sin() + 3 * u) * DT).clamp(-FASTEST, FASTEST)
    return observed(theta + after * DT, after), rew


class Residual(NamedTuple):
    """How far transitions are from the true dynamics, a number for each. [M]"""

    state: Tensor  # root of the mean square of (o' - true o') / SPREAD
    rew: Tensor  # |r - true r|


def residual(t: Transitions) -> Residual:
    """What is wrong with transitions: o' and r against `move(o, a)`; 0 for what the world itself did."""
    after, rew = move(t.obs, t.act)
    wrong = (t.next_obs - after) / t.obs.new_tensor(SPREAD)
    return Residual(wrong.square().mean(-1).sqrt(), (t.rew - rew).abs())


def swing(obs: Tensor) -> Tensor:
    """A scripted policy: it pumps energy until the pole is nearly upright, then balances it. [m, 3] -> [m, 1]"""
    theta, omega = torch.atan2(obs[..., 1], obs[..., 0]), obs[..., 2]
    energy = omega**2 / 6 + 5 * obs[..., 0]  # 5 when it stands upright
    pump = torch.where(omega < 0, -1.0, 1.0) * (2 * (5 - energy)).clamp(-TORQUE, TORQUE)
    u = torch.where(theta.abs() < 0.45, -12 * theta - 2.5 * omega, pump)
    return (u / TORQUE).clamp(-1, 1)[..., None]


def starts(n: int, generator: torch.Generator) -> Tensor:
    """First observations as Gymnasium draws them: any angle, a speed within [-1, 1]. -> [n, 3]"""
    u = 2 * torch.rand(n, 2, generator=generator) - 1
    return observed(math.pi * u[:, 0], u[:, 1])


def record(steps: int, *, seed: int, noise: float = 1.2, wild: float = 0.4) -> Episodes:
    """`steps` transitions of episodes of at most 200 steps, a share `wild` of them driven at random.

    The others are driven by `swing` with Gaussian noise of deviation `noise` on the action. Each seed is a recording
    of its own: with another number of steps it begins alike. Raises ValueError for steps < 1.
    """
    if steps < 1:
        raise ValueError(f"a recording needs at least one step, got {steps}")
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(0, steps, LIMIT):
        g = torch.Generator().manual_seed(int(rng.integers(2**31)))
        first, random = starts(1, g), torch.rand(1, generator=g) < wild
        drawn.append((first, random, 2 * torch.rand(LIMIT, 1, generator=g) - 1, torch.randn(LIMIT, 1, generator=g)))
    o, random, even, normal = (torch.stack(x, 1) for x in zip(*drawn, strict=True))
    o, seen, act, rew = o[0], [o[0]], [], []
    for even_t, normal_t in zip(even, normal, strict=True):  # all episodes side by side
        act.append(torch.where(random.mT, even_t, swing(o) + noise * normal_t).clamp(-1, 1))
        o, r = move(o, act[-1])
        seen.append(o)
        rew.append(r)
    obs, did, paid = (torch.stack(x, 1).numpy() for x in (seen, act, rew))
    lengths = [min(LIMIT, steps - k * LIMIT) for k in range(len(obs))]
    return Episodes.join((obs[k, : n + 1], did[k, :n], paid[k, :n], False) for k, n in enumerate(lengths))


def scattered(n: int, *, seed: int) -> Episodes:
    """n transitions at random out of a recording of 20,000, each an episode of one step.

    Neighbours in an episode are alike, so 400 rows of two episodes say little of the law of all; these are nearly
    independent. Those of a smaller n are the first of a larger one. Raises ValueError for n over 20,000.
    """
    if not 1 <= n <= POOL:
        raise ValueError(f"of {POOL} transitions 1 to {POOL} can be drawn, got {n}")
    chosen = torch.randperm(POOL, generator=torch.Generator().manual_seed(seed))[:n]
    return loose(Transitions(*(column[chosen] for column in transitions(record(POOL, seed=seed)))))


def returns(agent: Any, episodes: int = 100, *, seed: int = 0, limit: int = LIMIT) -> Tensor:
    """The undiscounted return of each of `episodes` drives of `limit` steps, side by side. -> [episodes]

    agent: `reset(obs, seeds)` and `act(obs)` as `worlds.driving` has it, or a function [m, 3] -> [m, 1].
    """
    o = starts(episodes, torch.Generator().manual_seed(seed))
    act: Callable[[Tensor], Tensor] = agent
    if hasattr(agent, "reset"):
        agent.reset(o.numpy(), range(episodes))

        def act(o: Tensor) -> Tensor:
            return torch.as_tensor(agent.act(o.numpy()), dtype=o.dtype)

    total = torch.zeros(episodes)
    for _ in range(limit):
        o, r = move(o, act(o))
        total += r
    return total
