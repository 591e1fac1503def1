"""Exact rows: two Gaussian modes on a line, where each form of guidance and the law it should sample are known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrl_lab.diffusion import Cosine, Denoiser, MixtureDenoiser, ascend, cfg, heun, sample


def exact(form: str, scale: float, *, seed: int, p: float = 0.3, std: float = 0.5, n: int = 4000) -> dict[str, Any]:
    """Samples of one form of guidance towards the left one of two modes, and p(x) p(left | x)^scale by quadrature.

    Nothing is learned. left: share with x < 0. over: how far the left samples' mean lies beyond the left mode's centre.
    """
    D = MixtureDenoiser([p, 1 - p], [[-1.0], [1.0]], Cosine(), std=std)

    def log_left(x: Tensor, t: Tensor | float) -> Tensor:
        return D.responsibilities(x, t)[:, 0].clamp(min=1e-30).log()

    grid = torch.linspace(-5, 5, 2001, dtype=torch.float64)[:, None]
    law = (D.log_prob(grid) + scale * log_left(grid, 0.0)).softmax(0)

    if form == "cfg":
        E: Denoiser = cfg(D, torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(n, 2), scale)
    elif form == "classifier":
        E = ascend(D, log_left, scale)
    elif form == "plain":
        E = ascend(D, lambda x, t: log_left(x, 0.0), scale)
    else:
        raise ValueError(f"no form {form!r}")
    x_T = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = sample(E, x_T, steps=50, step=heun())[:, 0]
    left = x < 0

    def summary(x: Tensor, w: Tensor) -> tuple[float, ...]:
        mean = (w * x).sum() / w.sum()
        beyond = -1 - (w * x * (x < 0)).sum() / (w * (x < 0)).sum()
        return tuple(
            float(v) for v in ((w * (x < 0)).sum() / w.sum(), mean, (w * (x - mean) ** 2).sum().sqrt(), beyond)
        )

    ours, theirs = summary(x, torch.full_like(x, 1 / n)), summary(grid[:, 0], law)
    names = ("left", "mean", "std", "over")
    share = torch.tensor([ours[0], 1 - ours[0]])
    return {
        **dict(zip(names, ours, strict=True)),
        **{f"law_{k}": v for k, v in zip(names, theirs, strict=True)},
        "entropy": float(torch.special.entr(share).sum()),
        "left_se": float(left.double().std() / n**0.5),
    }
