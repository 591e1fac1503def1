"""Networks for vectors: Fourier features of the noise level, and a plain MLP that serves as policy and as denoiser."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Fourier(nn.Module):
    """sin(f_k u), cos(f_k u) of a number u, frequencies f_k evenly spaced in log from `low` to `high`. [...] -> [...,
    n]

    Without them a network sees a small change of its input only as a small change (Tancik et al. 2020). The default
    range suits the label ln(sigma / alpha) / 4, which lies in [-3, 3].
    """

    frequencies: Tensor

    def __init__(self, n: int = 32, low: float = 1.0, high: float = 30.0):
        super().__init__()
        if n < 2 or n % 2:
            raise ValueError(f"Fourier features come in pairs of sine and cosine, got n={n}")
        self.register_buffer("frequencies", torch.exp(torch.linspace(math.log(low), math.log(high), n // 2)))

    def forward(self, u: Tensor) -> Tensor:
        angle = u[..., None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], -1)


class MLP(nn.Module):
    """Three layers from (x, label, cond) to an output: net(x [B, d], label [B], cond [B, c]) -> [B, out].

    A denoiser of vectors; with label=None a plain regressor or policy. A row of NaN in cond means "not given" (it is
    shown as zeros with a flag beside them), so one set of weights serves `cfg`. features: so many Fourier features
    (frequencies 1 to 10) stand beside each number of cond, or of x where there is no cond; 0: none. They let an output
    change fast with the state. Raises ValueError when cond is missing or too much.
    """

    def __init__(
        self,
        dim: int,
        *,
        cond: int = 0,
        out: int | None = None,
        width: int = 256,
        depth: int = 3,
        label: int = 32,
        features: int = 0,
    ):
        super().__init__()
        if depth < 2:
            raise ValueError(f"an MLP needs at least an input and an output layer, got depth={depth}")
        self.label = Fourier(label) if label else None
        self.cond = cond
        self.features = Fourier(features, 1.0, 10.0) if features else None
        sizes = [dim + label + (cond + 1 if cond else 0) + features * (cond or dim)] + [width] * (depth - 1)
        layers: list[nn.Module] = []
        for a, b in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Linear(a, b), nn.Mish()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], dim if out is None else out))

    def forward(self, x: Tensor, label: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
        parts = [x]
        if (label is None) != (self.label is None):
            raise ValueError(f"this network was made {'with' if self.label else 'without'} a noise label, got {label}")
        if self.label is not None and label is not None:
            parts.append(self.label(label.expand(x.shape[0])))
        if cond is not None and not self.cond:
            raise ValueError(f"this network takes no condition, got one of shape {tuple(cond.shape)}")
        if self.cond:
            c = x.new_full((len(x), self.cond), float("nan")) if cond is None else cond.expand(len(x), self.cond)
            given = ~c.isnan().any(-1, keepdim=True)
            shown = torch.where(given, c, 0.0)
            parts += [shown, given.to(x)]
        else:
            shown = x
        if self.features is not None:
            parts.append(self.features(shown).flatten(1))
        return self.layers(torch.cat(parts, -1))
