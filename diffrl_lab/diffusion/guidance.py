"""Guidance: functions from denoiser to denoiser, to be put around each other.

`plan = pin(clip(ascend(D, J, scale=0.5), -1, 1), known, start)` reads from the inside out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .denoisers import Cond, Denoiser, Function
from .schedules import expand


def given(D: Denoiser, cond: Cond) -> Denoiser:
    """E[x_0 | x_t, cond]: D with its condition filled in."""
    return Function(lambda x_t, t, _=None: D(x_t, t, cond), D.schedule)


def _twice(cond: Tensor) -> Tensor:
    return torch.cat([cond, torch.full_like(cond, float("nan"))])


def cfg(
    D: Denoiser, cond: Tensor | Mapping[str, Tensor], w: float | Tensor, drop: tuple[str, ...] | None = None
) -> Denoiser:
    """Classifier-free guidance (Ho and Salimans 2022): D(x_t) + w (D(x_t, cond) - D(x_t)), both branches in one batch.

    w = 0 is unconditional, w = 1 conditional, w > 1 extrapolates (some papers write 1 + w for this w). w: a number or
    [B]. The branch without the condition is shown NaN, which means "not given": 0 may be a legal value. `drop` names
    the entries of a dict that are dropped; by default all of them. What comes out is *not* the law p(x) p(cond | x)^w
    (see lesson 05).
    """

    def guided(x_t: Tensor, t: Tensor, _: Cond = None) -> Tensor:
        t = torch.as_tensor(t)
        if isinstance(cond, Mapping):
            both: Cond = {k: _twice(c) if drop is None or k in drop else torch.cat([c, c]) for k, c in cond.items()}
        else:
            both = _twice(cond)
        conditional, free = D(torch.cat([x_t, x_t]), torch.cat([t, t]) if t.ndim else t, both).chunk(2)
        weight = expand(w.to(x_t), x_t.ndim) if torch.is_tensor(w) else w
        return free + weight * (conditional - free)

    return Function(guided, D.schedule)


def ascend(
    D: Denoiser, J: Callable[[Tensor, Tensor], Tensor], scale: float | Tensor = 1.0, at: str = "x_t", cond: Cond = None
) -> Denoiser:
    """Classifier guidance (Dhariwal and Nichol 2021): x0_hat + scale sigma_t^2 / alpha_t grad_{x_t} J.

    J(x, t) -> [B]. at = "x_t": J is a function of the noisy x_t; with J = log E[exp(J_0(x_0)) | x_t] the samples follow
    exactly p(x_0) exp(J_0(x_0)) (Lu et al. 2023, "Contrastive Energy Prediction"). at = "x0_hat": J(x0_hat(x_t)),
    differentiated through D (Chung et al. 2023, "Diffusion Posterior Sampling"): exact for a Gaussian and linear J,
    biased otherwise. The shift is zero where no noise is left (sigma = 0) or no signal (alpha < 1e-4), never a division
    by zero. Diffuser's own scale, the posterior variance times grad J at the mean, is another method.
    """
    if at not in ("x_t", "x0_hat"):
        raise ValueError(f"at must be 'x_t' or 'x0_hat', got {at!r}")

    def guided(x_t: Tensor, t: Tensor, inner: Cond = None) -> Tensor:
        t, inner = torch.as_tensor(t), cond if inner is None else inner
        alpha, sigma = (level.to(x_t) for level in D.schedule(t, x_t.ndim if t.ndim else 0))
        outer = torch.is_grad_enabled() and x_t.requires_grad
        with torch.enable_grad():
            x = x_t if outer else x_t.detach().requires_grad_()
            x0_hat = D(x, t, inner) if at == "x0_hat" else None
            (slope,) = torch.autograd.grad(J(x if x0_hat is None else x0_hat, t).sum(), x, create_graph=outer)
        if x0_hat is None:
            x0_hat = D(x_t, t, inner)
        elif not outer:
            x0_hat = x0_hat.detach()
        factor = torch.where(alpha > 1e-4, sigma**2 / alpha.clamp(min=1e-4), 0.0)
        weight = expand(scale.to(x_t), x_t.ndim) if torch.is_tensor(scale) and scale.ndim else scale
        return x0_hat + weight * factor * slope

    return Function(guided, D.schedule)


def pin(D: Denoiser, known: Tensor, value: Tensor) -> Denoiser:
    """D with the entries `known` (bool) replaced by `value`, in the x_t that D is shown *and* in x0_hat.

    known, value: broadcastable to x_t. Diffuser's inpainting (Janner et al. 2022). Exact only for a network that was
    trained to see those entries clean (`denoising_loss(known=...)`); on any other denoiser it is biased, since D takes
    the clean entries for noisy ones. The exact answer for a mixture is `MixtureDenoiser.condition`.
    """
    if known.dtype != torch.bool:
        raise ValueError(f"known must be boolean, got {known.dtype}")

    def pinned(x_t: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        v = value.to(x_t)
        return torch.where(known, v, D(torch.where(known, v, x_t), t, cond))

    return Function(pinned, D.schedule)


def clip(D: Denoiser, lo: float | Tensor = -1.0, hi: float | Tensor = 1.0) -> Denoiser:
    """D with x0_hat kept within [lo, hi]: the prediction is clipped, never the iterate, and eps_hat follows from it."""
    return Function(lambda x_t, t, cond=None: D(x_t, t, cond).clamp(lo, hi), D.schedule)  # type: ignore[arg-type]
