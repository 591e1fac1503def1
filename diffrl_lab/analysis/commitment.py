"""Which modes a chain can still end in: its futures from any moment, their entropy, and the exact answer beside it.

A reverse process starts with every mode open and ends in one. `futures` draws how it could go on from frame k,
`undecided` counts the modes of these ends, and for a mixture `exact_weights` says what the counts estimate: the
posterior p(mode | x_t). `open_entropy` is its mean over a whole law, H(mode | x_t), and `half_decided` the time at
which half of it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffrl_lab.analysis import modes as ways
from diffrl_lab.analysis.samples import real
from diffrl_lab.diffusion.denoisers import Denoiser, MixtureDenoiser
from diffrl_lab.diffusion.samplers import Frame, Step, chain, ddpm
from diffrl_lab.diffusion.schedules import tensor


def moments(frames: Sequence[Frame]) -> Tensor:
    """The times t of a chain's frames -> [K + 1]. Raises ValueError where entries of x have times of their own."""
    times = [tensor("t", f.t) for f in frames]
    if any(t.ndim for t in times):
        raise ValueError(f"frames with one time for all entries are needed, got times of shape {list(times[0].shape)}")
    return torch.stack(times)


def futures(
    D: Denoiser,
    frames: Sequence[Frame],
    k: int,
    *,
    again: int,
    step: Step | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How N chains could have gone on from their frame k -> x at the moments k to K, [K - k + 1, N, again, *event].

    Each x_t [N, *event] of frame k is copied `again` times and run to the end under new noise, on the rest of the
    frames' own grid, with `step` (`ddpm()` by default, which is DDIM with eta = 1). The first entry is the frame
    itself, the last the ends. With `ddim()` (eta = 0) all futures are one. A solver's memory of earlier steps is not
    kept. Raises ValueError for a k that is no frame and for `again` below 1.
    """
    if again < 1 or not 0 <= k < len(frames):
        raise ValueError(f"give at least one future and a frame from 0 to {len(frames) - 1}; got {again} and {k}")
    x = real("x_t", frames[k].x_t)  # half precision is run in float32
    copies = x.repeat_interleave(again, 0)
    if k == len(frames) - 1:  # from the last frame nothing is left to run
        run = [copies]
    else:
        rest = moments(frames)[k:]
        run = [f.x_t for f in chain(D, copies, steps=rest, step=step or ddpm(), generator=generator)]
    return torch.stack(run).reshape(len(run), len(x), again, *x.shape[1:])


class Undecided(NamedTuple):
    """The modes in which the futures of N chains end, at M moments."""

    t: Tensor  # [M]  1 is noise, 0 data
    share: Tensor  # [M, N, modes]  of the futures that end in a mode; NaN where none does
    entropy: Tensor  # [M, N]  of these shares, in nats: 0 is committed, ln(modes) entirely open
    left: Tensor  # [M, N]  the share of futures that end in no mode


def undecided(
    D: Denoiser,
    frames: Sequence[Frame],
    mode: Callable[[Tensor], Tensor],
    modes: int,
    *,
    again: int,
    at: Sequence[int] | None = None,
    corrected: bool = True,
    step: Step | None = None,
    generator: torch.Generator | None = None,
) -> Undecided:
    """The modes of `futures` from the frames `at` (all by default), and the entropy of each chain's shares.

    mode(x [n, *event]) -> labels [n], 0 to modes - 1, or -1 for none. H = -sum_m s_m ln s_m from `again` futures is too
    low by about (modes - 1) / (2 again); `corrected` adds (modes hit - 1) / (2 again) (Miller 1955), as
    `analysis.modes.entropy` does, and so may exceed ln(modes) a little. Raises ValueError for an `at` without frames.
    """
    at = range(len(frames)) if at is None else list(at)
    if not len(at):
        raise ValueError("give at least one frame in at, or none to take all of them")
    shares, entropies, left = [], [], []
    for k in at:
        ends = futures(D, frames, k, again=again, step=step, generator=generator)[-1]
        labels = tensor("a mode", mode(ends.flatten(0, 1))).reshape(ends.shape[:2])
        counts = torch.stack([(labels == m).sum(1) for m in range(modes)], 1).double()
        entropies.append([ways.entropy(row, modes, corrected) for row in labels])
        shares.append(counts / counts.sum(1, keepdim=True))
        left.append((labels == -1).double().mean(1))
    entropy = torch.tensor(entropies, dtype=torch.float64)
    return Undecided(moments(frames)[list(at)], torch.stack(shares), entropy, torch.stack(left))


def entropy_of(weights: Tensor) -> Tensor:
    """-sum_m w_m ln w_m of weights [..., modes] that sum to 1, in nats -> [...]"""
    return torch.special.entr(real("weights", weights).double()).sum(-1)


def exact_weights(D: MixtureDenoiser, frames: Sequence[Frame]) -> Tensor:
    """p(component m | x_t) = w_m N(x_t; alpha mu_m, alpha^2 Sigma_m + sigma^2) / sum of all (Bayes' rule), in every
    frame -> [K + 1, N, K modes]. The futures of an exact chain with eta = 1 and fine steps end in m with this
    probability."""
    return torch.stack([D.posterior(tensor("x_t", f.x_t), f.t)[0].double() for f in frames])


def open_entropy(D: MixtureDenoiser, times: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """H(mode | x_t) = E[entropy of p(mode | x_t)] over n draws of x_t = alpha x_0 + sigma eps -> [len(times)], in nats.

    It is the entropy of the weights less the information that x_t carries about the mode. It depends on t through
    sigma / alpha alone, so all schedules have one curve against that ratio. The same draws serve all times; the
    standard error is at most ln(modes) / (2 sqrt(n)).
    """
    x_0 = D.sample(n, generator, dtype=torch.float64)
    eps = torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
    found = []
    for t in real("times", times).double():
        alpha, sigma = D.schedule(t)
        found.append(entropy_of(D.posterior(alpha * x_0 + sigma * eps, t)[0]).mean())
    return torch.stack(found)


def half_decided(times: Tensor, entropy: Tensor, whole: float | None = None) -> float:
    """The latest time t (nearest to noise) at which a curve of entropies [M] at falling times [M] is at most half of
    `whole` (its first entry by default), by linear interpolation between moments; 0 where it never is.

    Raises ValueError for times that do not fall or a curve of another length.
    """
    t, h = real("times", times).detach().double(), real("entropy", entropy).detach().double()
    if t.ndim != 1 or h.shape != t.shape or len(t) < 2 or (t.diff() >= 0).any():
        raise ValueError(f"times must fall and have one entropy each, got {list(t.shape)} and {list(h.shape)}")
    half = (float(h[0]) if whole is None else whole) / 2
    below = (h <= half).nonzero()
    if not len(below):
        return 0.0
    k = int(below[0])
    if k == 0:
        return float(t[0])
    share = (h[k - 1] - half) / (h[k - 1] - h[k])
    return float(t[k - 1] + share * (t[k] - t[k - 1]))
