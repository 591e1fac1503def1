"""Chains: of states, whether a plan agrees with itself and many with each other; of denoising, when a plan commits to
its mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffrl_lab.analysis.commitment import exact_weights, futures, moments
from diffrl_lab.analysis.samples import real
from diffrl_lab.diffusion.denoisers import Denoiser, MixtureDenoiser
from diffrl_lab.diffusion.samplers import Frame, Step
from diffrl_lab.diffusion.schedules import tensor


def inconsistency(positions: Tensor, velocities: Tensor, dt: Tensor | float) -> Tensor:
    """|x_{k+1} - x_k - dt (v_k + v_{k+1}) / 2| for positions, velocities [..., H, d] -> [..., H - 1], in metres.

    What a step of the plan moves, against what its own velocities say (trapezoidal rule: exact for constant
    acceleration, an error of order dt^3 else). dt: seconds between two points, a number or [...]. The measure needs
    neither simulator nor map. Raises ValueError where the shapes differ.
    """
    positions, velocities = real("positions", positions), real("velocities", velocities)
    if positions.shape != velocities.shape or positions.ndim < 2 or positions.shape[-2] < 2:
        raise ValueError(
            "positions and velocities must both be [..., H, d] with H >= 2, got "
            f"{list(positions.shape)} and {list(velocities.shape)}"
        )
    dt = real("dt", dt).to(positions)
    moved = positions.diff(dim=-2)
    said = (velocities[..., 1:, :] + velocities[..., :-1, :]) / 2 * dt[..., None, None]
    return torch.linalg.vector_norm(moved - said, dim=-1)


class Spread(NamedTuple):
    """Variance of many chains about their mean: total = between + within, summed over dimensions."""

    total: Tensor  # [H]
    between: Tensor  # [H]  variance of the groups' means: different routes
    within: Tensor  # [H]  mean variance inside a group: unreliability on one route


def spread(chains: Tensor, groups: Tensor) -> Spread:
    """The law of total variance at every step of chains [S, H, d] in groups [S] (say, the side of a block).

    total = E|x - mean|^2 = sum_g p_g |mean_g - mean|^2 + sum_g p_g E_g|x - mean_g|^2, exactly, with p_g the share of
    group g. Square metres for positions in metres. Raises ValueError where groups do not name one group per chain.
    """
    chains, groups = real("chains", chains), tensor("groups", groups)
    if chains.ndim != 3 or groups.shape != chains.shape[:1]:
        raise ValueError(
            f"spread takes chains [S, H, d] and one group for each, got {list(chains.shape)} and {list(groups.shape)}"
        )
    mean = chains.mean(0)
    within, between = torch.zeros_like(mean[:, 0]), torch.zeros_like(mean[:, 0])
    for g in groups.unique():
        mine = chains[groups == g]
        share = len(mine) / len(chains)
        within += share * mine.var(0, correction=0).sum(-1)
        between += share * (mine.mean(0) - mean).square().sum(-1)
    return Spread(chains.var(0, correction=0).sum(-1), between, within)


class Settled(NamedTuple):
    """When, for each of N chains, something came to hold for good."""

    frame: Tensor  # [N]  the earliest frame from which on it holds
    t: Tensor  # [N]  the time of that frame: 1 is noise, 0 data; small is late


def settled(holds: Tensor, times: Tensor) -> Settled:
    """The earliest frame from which `holds` [K + 1, N] is true up to the last one, at times [K + 1].

    Raises ValueError where it does not hold at the last frame.
    """
    holds, times = tensor("holds", holds).bool(), tensor("times", times)
    if holds.ndim != 2 or len(holds) != len(times) or not holds[-1].all():
        raise ValueError(f"holds must be [K + 1, N], true at the last of {len(times)} frames; got {list(holds.shape)}")
    frame = len(holds) - holds.flip(0).long().cumprod(0).sum(0)
    return Settled(frame, times[frame])


def belief_settles(frames: Sequence[Frame], mode: Callable[[Tensor], Tensor]) -> Settled:
    """The earliest frame from which on the mode of x0_hat = E[x_0 | x_t] is the one that the chain ends in.

    mode(x [N, ...]) -> labels [N], as `modes.Centres` gives them (-1 is a label like the others: the mean of two modes
    belongs to none). It is about what the denoiser believes; `commitment` asks whether the end could still be another.
    frames: `list(chain(...))`, with one time for all entries.
    """
    beliefs = [f.x0_hat for f in frames[:-1]] + [frames[-1].x_t]
    labels = torch.stack([tensor("a mode", mode(tensor("x0_hat", x))) for x in beliefs])
    return settled(labels == labels[-1], moments(frames))


def commitment(
    D: Denoiser,
    frames: Sequence[Frame],
    mode: Callable[[Tensor], Tensor],
    *,
    again: int,
    at: Sequence[int] | None = None,
    step: Step | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How often a chain that is continued from frame k under new noise ends in the mode it ended in -> [K + 1, N].

    Each of the N chains is run again `again` times from its frames `at` (all of them by default, else -> [len(at), N]),
    on the rest of the frames' own grid, with `step` (`ddpm()`; one without noise would always agree with itself). An
    entry has a standard error of sqrt(p (1 - p) / again), and all together cost again N K (K + 1) / 2 evaluations.
    Early it is the share of the mode; `settled(shares >= 0.95, times)` is the time of commitment. Under exact denoising
    and fine steps it is p(mode | x_t): `exact_commitment`. A solver's memory of earlier steps is not kept.
    """
    at = range(len(frames)) if at is None else list(at)
    if again < 1 or len(frames) < 2 or not len(at) or not 0 <= min(at) <= max(at) < len(frames):
        raise ValueError(
            f"give at least one run, two frames, and places among them; got {again}, {len(frames)}, {list(at)[:9]}"
        )
    ended = tensor("a mode", mode(tensor("x_t", frames[-1].x_t)))
    shares = []
    for k in at:
        x = futures(D, frames, k, again=again, step=step, generator=generator)[-1]
        same = tensor("a mode", mode(x.flatten(0, 1))).reshape(-1, again) == ended[:, None]
        shares.append(same.double().mean(1))
    return torch.stack(shares)


def exact_commitment(D: MixtureDenoiser, frames: Sequence[Frame]) -> Tensor:
    """p(component that the chain ended in | x_t) under the exact mixture, by Bayes' rule -> [K + 1, N].

    The end's component is the most probable one of x_0. Over chains that end in component c this rises to 1; over all
    chains the mean of p(c | x_t) stays at c's share, at every t (a martingale of the reverse process).
    """
    weights = exact_weights(D, frames)
    ended = weights[-1].argmax(-1, keepdim=True)
    return weights.gather(-1, ended.expand(len(weights), *ended.shape))[..., 0]
