"""Per-dimension scaling of data to the unit size that diffusion models assume, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaler(nn.Module):
    """z = (x - center) / spread for each dimension d of x [..., d], and back with `inverse`.

    A constant dimension has spread 0: it maps to 0, and everything maps back to its one recorded value, exactly.
    Fit it on training data only; data outside its range then maps outside [-1, 1] and is not clipped.
    center, spread: [d], spread 0 where the data is constant; buffers, so that a model's file carries them.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, center: Tensor, spread: Tensor):
        super().__init__()
        self.register_buffer("center", center)
        self.register_buffer("spread", spread)

    @classmethod
    def blank(cls, dim: int) -> Scaler:
        """The identity over `dim` dimensions: what a model has before `fit` or `load_state_dict`."""
        return cls(torch.zeros(dim), torch.ones(dim))

    @classmethod
    def fit(cls, x: Tensor, kind: str = "limits") -> Scaler:
        """Fit to x [..., d]: "limits" maps the smallest and largest value to -1 and 1, "standard" to mean 0 and std 1.

        A dimension whose whole range is rounding error of float32 (1e-6 of its largest value) counts as constant.
        Each dimension is treated alone: a constant one changes no other. Raises ValueError for NaN, infinity, no rows.
        """
        x = torch.as_tensor(x)
        if x.ndim < 2 or not x.numel():
            raise ValueError(f"a scaler is fitted to data of shape [..., d] with rows in it, got {list(x.shape)}")
        flat = x.reshape(-1, x.shape[-1]).double()
        if not bool(torch.isfinite(flat).all()):
            bad = (~torch.isfinite(flat)).any(0).nonzero()[:, 0].tolist()
            raise ValueError(f"a scaler needs finite data, got NaN or infinity in the dimension(s) {bad}")
        low, high = flat.amin(0), flat.amax(0)
        if kind == "limits":
            center, spread = (low + high) / 2, (high - low) / 2
        elif kind == "standard":
            center, spread = flat.mean(0), flat.std(0, correction=0)
        else:
            raise ValueError(f'kind must be "limits" or "standard", got {kind!r}')
        constant = (high - low) <= 1e-6 * torch.maximum(low.abs(), high.abs())
        center, spread = torch.where(constant, low, center), torch.where(constant, 0.0, spread)
        dtype = x.dtype if x.is_floating_point() else torch.float32
        return cls(center.to(dtype), spread.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """z = (x - center) / spread, 0 in constant dimensions; x [..., d] -> [..., d]."""
        self._check(x)
        return torch.where(self.spread > 0, (x - self.center) / torch.where(self.spread > 0, self.spread, 1.0), 0.0)

    def inverse(self, z: Tensor) -> Tensor:
        """x = center + spread z; z [..., d] -> [..., d]."""
        self._check(z)
        return self.center + self.spread * z

    def __getitem__(self, columns: slice | list[int]) -> Scaler:
        """The scaler of some dimensions alone: scaler[:2], scaler[[0, 1]]."""
        return Scaler(self.center[columns], self.spread[columns])

    def _check(self, x: Tensor) -> None:
        if x.shape[-1:] != self.center.shape:
            raise ValueError(f"this scaler was fitted to {len(self.center)} dimensions, got the shape {list(x.shape)}")


def standard(x: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of x [N], to scale a target by: (x - mean) / deviation has unit variance.

    Of constant values (by `Scaler.fit`'s measure), and of a single one, the deviation counts as 1: they map to about 0.
    """
    x = torch.as_tensor(x)
    constant = float(x.max() - x.min()) <= 1e-6 * float(x.abs().max())
    return float(x.mean()), 1.0 if constant else float(x.std())
