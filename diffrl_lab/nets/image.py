"""A small U-Net for pictures that are shown past pictures and actions: what DIAMOND's world model is made of."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .mlp import Fourier

GROUPS = 8


class _Block(nn.Module):
    """Twice GroupNorm, scale and shift by the condition (FiLM, Perez et al. 2018), SiLU, convolution; a shortcut."""

    def __init__(self, inp: int, out: int, cond: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(inp, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
        self.film1, self.film2 = nn.Linear(cond, 2 * inp), nn.Linear(cond, 2 * out)
        self.around = nn.Conv2d(inp, out, 1) if inp != out else nn.Identity()
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        inner = self.first(self._shown(self.film1, h, e))
        return self.around(h) + self.second(self._shown(self.film2, inner, e))

    @staticmethod
    def _shown(film: nn.Module, h: Tensor, e: Tensor) -> Tensor:
        scale, shift = film(e)[:, :, None, None].chunk(2, 1)
        return F.silu(F.group_norm(h, GROUPS) * (1 + scale) + shift)


class ImageUNet(nn.Module):
    """net(x [B, C, h, w], label [B] or [], cond {"past": [B, K, C, h, w], "act": [B, K, a]}) -> [B, C, h, w].

    As in DIAMOND (Alonso et al. 2024), smaller: past pictures are shown as further channels, noise level and actions by
    FiLM. It knows where it is: two channels hold the place of each pixel. h and w must be even. width: channels, a
    multiple of 8.
    """

    place: Tensor

    def __init__(
        self,
        channels: int,
        past: int,
        act: int,
        size: tuple[int, int],
        *,
        width: int = 32,
        cond: int = 64,
        label: int = 16,
    ):
        super().__init__()
        if width % GROUPS or size[0] % 2 or size[1] % 2 or past < 1:
            raise ValueError(
                f"width must be a multiple of {GROUPS}, size even and past at least 1; got {width}, {size} and {past}"
            )
        self.shape = (channels, *size)
        self.label = Fourier(label)
        self.embed = nn.Sequential(nn.Linear(label + past * act, cond), nn.SiLU())
        self.enter = nn.Conv2d(channels * (1 + past) + 2, width, 3, padding=1)
        self.before, self.after = _Block(width, width, cond), _Block(2 * width, width, cond)
        self.shrink = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(_Block(width, width, cond) for _ in range(2))
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        rows, columns = (torch.linspace(-1, 1, n) for n in size)
        self.register_buffer("place", torch.stack(torch.meshgrid(rows, columns, indexing="ij")), persistent=False)

    def forward(self, x: Tensor, label: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        if x.shape[1:] != self.shape:
            raise ValueError(f"pictures [B, {', '.join(map(str, self.shape))}] were wanted, got {list(x.shape)}")
        e = self.embed(torch.cat([self.label(label.expand(len(x))), cond["act"].flatten(1)], 1))
        place = self.place.expand(len(x), -1, -1, -1)
        fine = self.before(self.enter(torch.cat([x, cond["past"].flatten(1, 2), place], 1)), e)
        h = self.shrink(fine)
        for block in self.coarse:
            h = block(h, e)
        h = self.after(torch.cat([fine, F.interpolate(h, scale_factor=2)], 1), e)
        return self.out(F.silu(h))
