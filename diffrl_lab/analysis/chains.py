"""Chains of states: whether a plan agrees with itself, and whether many plans agree with each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def inconsistency(positions: Tensor, velocities: Tensor, dt: Tensor | float) -> Tensor:
    """|x_{k+1} - x_k - dt (v_k + v_{k+1}) / 2| for positions, velocities [..., H, d] -> [..., H - 1], in metres.

    What a step of the plan moves, against what its own velocities say (trapezoidal rule: exact for constant
    acceleration, an error of order dt^3 else). dt: seconds between two points, a number or [...]. The measure needs
    neither simulator nor map. Raises ValueError where the shapes differ.
    """
    if positions.shape != velocities.shape or positions.ndim < 2 or positions.shape[-2] < 2:
        raise ValueError("positions and velocities must both be [..., H, d] with H >= 2, got "
                         f"{list(positions.shape)} and {list(velocities.shape)}")
    dt = torch.as_tensor(dt, dtype=positions.dtype)
    moved = positions.diff(dim=-2)
    said = (velocities[..., 1:, :] + velocities[..., :-1, :]) / 2 * dt[..., None, None]
    return torch.linalg.vector_norm(moved - said, dim=-1)


class Spread(NamedTuple):
    """Variance of many chains about their mean: total = between + within, summed over dimensions."""

    total: Tensor    # [H]
    between: Tensor  # [H]  variance of the groups' means: different routes
    within: Tensor   # [H]  mean variance inside a group: unreliability on one route


def spread(chains: Tensor, groups: Tensor) -> Spread:
    """The law of total variance at every step of chains [S, H, d] in groups [S] (say, the side of a block).

    total = E|x - mean|^2 = sum_g p_g |mean_g - mean|^2 + sum_g p_g E_g|x - mean_g|^2, exactly, with p_g the share of
    group g. Square metres for positions in metres. Raises ValueError where groups do not name one group per chain.
    """
    groups = torch.as_tensor(groups)
    if chains.ndim != 3 or groups.shape != chains.shape[:1]:
        raise ValueError("spread takes chains [S, H, d] and one group for each, got "
                         f"{list(chains.shape)} and {list(groups.shape)}")
    mean = chains.mean(0)
    within, between = torch.zeros_like(mean[:, 0]), torch.zeros_like(mean[:, 0])
    for g in groups.unique():
        mine = chains[groups == g]
        share = len(mine) / len(chains)
        within += share * mine.var(0, correction=0).sum(-1)
        between += share * (mine.mean(0) - mean).square().sum(-1)
    return Spread(chains.var(0, correction=0).sum(-1), between, within)
