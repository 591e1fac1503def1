"""A network for whole plans that is cheap on a CPU: an MLP proposes all points at once, a small convolution corrects
them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .mlp import Fourier


class _Residual(nn.Module):
    """h + W_2 silu(W_1 norm(h)), the identity at first."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.enter, self.leave = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.leave.weight)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.leave(F.silu(self.enter(self.norm(h))))


class PlanMLP(nn.Module):
    """net(x [B, H, d], label [B], cond {"known": bool, broadcastable to x}) -> [B, H, d].

    A residual MLP over the flattened plan sees everything at once, so the route is decided globally; the first and the
    last point, where known, enter as Fourier features too, because a route depends on them sharply. Its proposal then
    passes a convolution along the plan which sees Fourier features of the *proposed* positions (the first `positions`
    columns): what is right at a place is learned once for all plans that pass there. Almost all of its cost is matrix
    products. beside: how many further numbers cond["beside"] [B, beside] holds, which enter with all else; 0 for none.
    Raises ValueError for another shape, or a label for every point of the plan, which only a temporal network can use.
    """

    scales: Tensor
    octaves: Tensor

    def __init__(
        self,
        horizon: int,
        dim: int,
        *,
        width: int = 360,
        depth: int = 3,
        channels: int = 32,
        positions: int = 2,
        label: int = 32,
        beside: int = 0,
    ):
        super().__init__()
        self.horizon, self.dim, self.positions = horizon, dim, positions
        self.label = Fourier(label)
        self.register_buffer("scales", 0.7 * 2.0 ** torch.arange(6))  # wavelengths from 9 to 0.3 standard deviations
        self.register_buffer("octaves", 1.4 * 2.0 ** torch.arange(4))
        ends = 2 * dim * (2 * len(self.scales) + 1)
        self.enter = nn.Linear(horizon * dim + label + ends, width)
        self.blocks = nn.ModuleList(_Residual(width) for _ in range(depth))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, horizon * dim)
        self.level = nn.Linear(label, channels)
        self.look = nn.Conv1d(2 * dim + 2 * positions * len(self.octaves), channels, 3, padding=1)
        self.mix = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=1) for _ in range(2))
        self.correct = nn.Conv1d(channels, dim, 3, padding=1)
        nn.init.zeros_(self.correct.weight)
        self.beside = nn.Linear(beside, width, bias=False) if beside else None  # last: other first weights stay

    def forward(self, x: Tensor, label: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        if tuple(x.shape[1:]) != (self.horizon, self.dim):
            raise ValueError(f"plans must be [B, {self.horizon}, {self.dim}], got {tuple(x.shape)}")
        if label.ndim > 1:
            raise ValueError(
                f"one noise level per plan was wanted, got labels {tuple(label.shape)}; use a TemporalUNet"
            )
        known = torch.zeros_like(x, dtype=torch.bool) if cond is None else cond["known"].expand(x.shape)
        level = self.label(label.expand(len(x)))
        h = self.enter(torch.cat([x.flatten(1), level, self._ends(x, known)], 1))
        if self.beside is not None and cond is not None:
            h = h + self.beside(cond["beside"])
        for block in self.blocks:
            h = block(h)
        proposal = self.leave(self.norm(h)).view(x.shape)
        seen = torch.where(known, x, proposal)
        angle = (seen[..., : self.positions, None] * self.octaves).flatten(2)
        h = self.look(torch.cat([x, seen, angle.sin(), angle.cos()], -1).mT) + self.level(level)[..., None]
        for conv in self.mix:
            h = h + conv(F.silu(h))
        return proposal + self.correct(F.silu(h)).mT

    def _ends(self, x: Tensor, known: Tensor) -> Tensor:
        at, given = x[:, [0, -1]], known[:, [0, -1]].to(x)
        angle = at[..., None] * self.scales
        waves = torch.cat([angle.sin(), angle.cos()], -1) * given[..., None]
        return torch.cat([waves.flatten(1), given.flatten(1)], 1)
