"""A bandit with four modes of actions and nothing beside them: what improving a policy from data should give is exact.

One state; an action a [2] of the data comes from one of four narrow Gaussians. Within `RADIUS` of a centre it is paid
what the mode is worth, anywhere else 0: so a policy that leaves the data is paid nothing, and no reading by the nearest
centre hides it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffrl_lab.data.episodes import TERMINAL, Episodes

CENTRES = ((0.8, 0.8), (-0.8, 0.8), (-0.8, -0.8), (0.8, -0.8))
PAID = (3.0, 0.0, 1.5, 5.0)  # what each mode is worth
STD = 0.05  # of each mode, in both numbers of an action
RADIUS = 0.2  # of the disc in which a mode pays: four deviations
INSIDE = 1 - math.exp(-((RADIUS / STD) ** 2) / 2)  # how much of a mode its disc holds


def log_density(a: Tensor) -> Tensor:
    """ln mu(a) of the behaviour, at actions a [..., 2]. -> [...]"""
    d2 = (a[..., None, :] - a.new_tensor(CENTRES)).square().sum(-1)
    return torch.logsumexp(-d2 / (2 * STD**2), -1) - math.log(4 * 2 * math.pi * STD**2)


def mode(a: Tensor) -> Tensor:
    """Which mode's disc an action a [..., 2] lies in, -1 for none. -> [...] int64"""
    nearest = (a[..., None, :] - a.new_tensor(CENTRES)).norm(dim=-1).min(-1)
    return torch.where(nearest.values <= RADIUS, nearest.indices, -1)


def reward(a: Tensor) -> Tensor:
    """Q(a), exactly: what the disc that a [..., 2] lies in pays, 0 beside the discs. -> [...]"""
    return a.new_tensor((*PAID, 0.0))[mode(a)]  # -1 is the last: nothing


def draw(n: int, *, seed: int) -> Tensor:
    """n actions of the behaviour. -> [n, 2]"""
    g = torch.Generator().manual_seed(seed)
    which = torch.randint(len(CENTRES), (n,), generator=g)
    return torch.tensor(CENTRES)[which] + STD * torch.randn(n, 2, generator=g)


def record(n: int, *, seed: int) -> Episodes:
    """n episodes of one step each, with the behaviour's action and its reward; the state is 0."""
    a = draw(n, seed=seed)
    act, rew, last = torch.zeros(2 * n, 2), torch.zeros(2 * n), torch.zeros(2 * n, dtype=torch.uint8)
    act[::2], rew[::2], last[1::2] = a, reward(a), TERMINAL
    return Episodes(torch.zeros(2 * n, 1), act, rew, last)


def improved(eta: float, nodes: int = 401) -> tuple[Tensor, Tensor]:
    """The policy that is best in E Q - eta KL(pi || mu), pi* ~ mu exp(Q / eta), on a grid over [-1.2, 1.2]^2.

    -> (actions [nodes^2, 2], probabilities of their cells [nodes^2]), float64.
    """
    if eta <= 0:
        raise ValueError(f"eta must be above 0, got {eta}")
    line = torch.linspace(-1.2, 1.2, nodes, dtype=torch.float64)
    a = torch.cartesian_prod(line, line)
    return a, (log_density(a) + reward(a) / eta).softmax(0)


def shares(eta: float | None = None) -> Tensor:
    """The probability of each mode's disc, and last of lying in none, under pi* of `eta`; None: under mu. -> [5]"""
    if eta is not None and eta <= 0:
        raise ValueError(f"eta must be above 0, got {eta}")
    inside = math.log(INSIDE / len(PAID))
    log_p = [inside + (r / eta if eta else 0.0) for r in PAID]
    return torch.tensor([*log_p, math.log1p(-INSIDE)], dtype=torch.float64).softmax(0)


def best_of(n: int) -> float:
    """The expected reward of the best of n actions of mu: an order statistic. Raises ValueError for n < 1."""
    if n < 1:
        raise ValueError(f"the best of n needs n >= 1, got {n}")
    paid = torch.tensor([*PAID, 0.0], dtype=torch.float64)
    values, order = paid.sort()
    below = shares()[order].cumsum(0).clamp(max=1.0) ** n
    return float((values * torch.diff(below, prepend=below.new_zeros(1))).sum())


def found(a: Tensor) -> dict[str, float]:
    """What actions a [n, 2] are paid on average, which share lies in no disc, and which in each."""
    which = mode(a)
    each = [float((which == k).double().mean()) for k in range(-1, len(PAID))]
    paid = float(reward(a).double().mean())
    return {"reward": paid, "off": each[0]} | {f"mode {k}": p for k, p in enumerate(each[1:])}
