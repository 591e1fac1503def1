"""The temporal U-Net of Diffuser: 1-D convolutions along the plan, coarser and coarser, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .mlp import Fourier


class _Block(nn.Module):
    """Conv, GroupNorm, Mish; the noise level is added; once more; and a shortcut around it."""

    def __init__(self, inp: int, out: int, level: int, kernel: int):
        super().__init__()
        self.first, self.second = (nn.Conv1d(c, out, kernel, padding=kernel // 2) for c in (inp, out))
        self.norms = nn.ModuleList(nn.GroupNorm(8, out) for _ in range(2))
        self.level = nn.Linear(level, out)
        self.around = nn.Conv1d(inp, out, 1) if inp != out else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = F.mish(self.norms[0](self.first(x))) + self.level(F.mish(level)).mT  # level [B, 1 or H, e]
        return F.mish(self.norms[1](self.second(h))) + self.around(x)


class TemporalUNet(nn.Module):
    """net(x [B, H, d], label [B] or [B, H], cond {"known": bool, broadcastable to x} or None) -> [B, H, d].

    As in Diffuser (Janner et al. 2022): residual blocks of 1-D convolutions, GroupNorm and Mish, the plan halved
    between levels and brought back with shortcuts. It knows no absolute place in the plan, and one output sees
    `receptive_field` points of it (GroupNorm's means apart). The known-mask is shown as d further channels. H must be a
    multiple of 2^(levels - 1). width: channels of the finest level (a multiple of 8); mults: channels of each level
    over width.
    """

    def __init__(
        self,
        dim: int,
        *,
        width: int = 32,
        mults: Sequence[int] = (1, 2, 4),
        kernel: int = 5,
        blocks: int = 1,
        label: int = 32,
    ):
        super().__init__()
        if width % 8 or kernel % 2 == 0 or not mults:
            raise ValueError(
                f"width must be a multiple of 8, kernel odd and mults not empty; got {width}, {kernel}, {mults}"
            )
        self.dim, self.kernel, self.levels, self.blocks = dim, kernel, len(mults), blocks
        level = 4 * width
        self.label = nn.Sequential(Fourier(label), nn.Linear(label, level), nn.Mish(), nn.Linear(level, level))
        sizes = [width * m for m in mults]

        def stage(inp: int, out: int) -> nn.ModuleList:
            return nn.ModuleList(_Block(inp if k == 0 else out, out, level, kernel) for k in range(blocks))

        self.down = nn.ModuleList(stage(a, b) for a, b in zip([2 * dim, *sizes[:-1]], sizes, strict=True))
        self.shrink = nn.ModuleList(nn.Conv1d(s, s, 3, stride=2, padding=1) for s in sizes[:-1])
        self.middle = stage(sizes[-1], sizes[-1])
        self.grow = nn.ModuleList(
            nn.ConvTranspose1d(b, a, 4, stride=2, padding=1) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.up = nn.ModuleList(stage(2 * a, a) for a in sizes[:-1])
        self.out = nn.Conv1d(sizes[0], dim, 1)

    @property
    def receptive_field(self) -> int:
        """How many points of the plan, centred on an output's own, that output can depend on (GroupNorm's means
        apart)."""
        reach, step = 0, 1
        per_stage = 2 * self.blocks * (self.kernel // 2)
        for k in range(self.levels):
            last = k == self.levels - 1
            # on the way down and up again at this level; at the coarsest, down and middle
            reach += 2 * per_stage * step
            if not last:
                reach += (
                    step + 2 * step
                )  # the strided convolution, and the transposed one, which reaches 1 coarse point
                step *= 2
        return 2 * reach + 1

    def forward(self, x: Tensor, label: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        coarse = 2 ** (self.levels - 1)
        if x.ndim != 3 or x.shape[2] != self.dim or x.shape[1] % coarse:
            raise ValueError(f"plans must be [B, H, {self.dim}] with H a multiple of {coarse}, got {tuple(x.shape)}")
        known = torch.zeros_like(x) if cond is None else cond["known"].expand(x.shape).to(x)
        level = self.label(label.expand(len(x)) if label.ndim == 0 else label)
        level = level[:, None] if level.ndim == 2 else level
        h, shortcuts = torch.cat([x, known], -1).mT, []
        for k, stage in enumerate(self.down):
            h = self._through(stage, h, level)
            if k < self.levels - 1:
                shortcuts.append((h, level))
                h = self.shrink[k](h)
                level = level if level.shape[1] == 1 else level.unflatten(1, (-1, 2)).mean(2)
        h = self._through(self.middle, h, level)
        for k in range(self.levels - 2, -1, -1):
            side, level = shortcuts[k]
            h = self._through(self.up[k], torch.cat([self.grow[k](h), side], 1), level)
        return self.out(h).mT

    @staticmethod
    def _through(stage: nn.Module, h: Tensor, level: Tensor) -> Tensor:
        for block in stage:  # type: ignore[attr-defined]
            h = block(h, level)
        return h
