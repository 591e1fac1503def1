"""Guidance: functions from denoiser to denoiser, to be put around each other.

`plan = pin(clip(ascend(D, J, scale=0.5), -1, 1), known, start)` reads from the inside out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .denoisers import Cond, Denoiser, Function
from .schedules import expand, mask, tensor


def given(D: Denoiser, cond: Cond) -> Denoiser:
    """E[x_0 | x_t, cond]: D with its condition filled in."""
    cond = condition(cond)
    return Function(lambda x_t, t, _=None: D(x_t, t, cond), D.schedule)


def condition(cond: Any) -> Cond:
    """A condition with its entries as tensors, without those that are None. Raises ValueError for what is no number."""
    if isinstance(cond, Mapping):
        return {k: tensor(f"the condition {k!r}", c) for k, c in cond.items() if c is not None}
    return None if cond is None else tensor("a condition", cond)


def branches(cond: Any, drop: str | Sequence[str] | None = None) -> Callable[[Tensor], tuple[Cond, Cond]]:
    """x -> the condition, and the same with NaN, "not given", in its entries `drop`.

    drop: names of a dict's entries; by default all but those of bool, which say what is known and stay as they are.
    Whole numbers that are dropped are taken as numbers of x's dtype, in both. Raises ValueError for names that the
    condition lacks, and where NaN cannot stand in what is to be dropped.
    """
    cond = condition(cond)
    entries: dict[str, Any] = dict(cond) if isinstance(cond, Mapping) else {"": cond}
    named = [drop] if isinstance(drop, str) else list(drop or ())
    if lacking := [k for k in named if k not in entries]:
        has = f"has {list(entries)}" if isinstance(cond, Mapping) else "is no dict"
        raise ValueError(f"drop names {lacking}, but the condition {has}")
    names = [k for k in entries if k in named] if drop is not None else [k for k, c in entries.items() if _real(c)]
    if not names or not all(_real(entries[k]) for k in names):
        got = {k: str(c.dtype) if torch.is_tensor(c) else c for k, c in entries.items()}
        raise ValueError(f'what is dropped must be real numbers, among which NaN means "not given"; got {got}')

    def both(x: Tensor) -> tuple[Cond, Cond]:
        shown = {k: c.to(x.dtype) if k in names and not c.is_floating_point() else c for k, c in entries.items()}
        free = {k: torch.full_like(cond, float("nan")) if k in names else cond for k, cond in shown.items()}
        return (shown, free) if isinstance(cond, Mapping) else (shown[""], free[""])

    return both


def _real(c: Any) -> bool:
    return torch.is_tensor(c) and c.dtype != torch.bool and not c.is_complex()


def joined(conds: Sequence[Any]) -> Cond:
    """Conditions one after the other along the batch."""
    if isinstance(conds[0], Mapping):
        return {k: torch.cat([c[k] for c in conds]) for k in conds[0]}
    return torch.cat(list(conds))


def cfg(
    D: Denoiser,
    cond: Tensor | Mapping[str, Tensor],
    w: float | Tensor,
    drop: str | Sequence[str] | None = None,
) -> Denoiser:
    """Classifier-free guidance (Ho and Salimans 2022): D(x_t) + w (D(x_t, cond) - D(x_t)), both branches in one batch.

    w = 0 is unconditional, w = 1 conditional (for these only that branch is computed), w > 1 extrapolates (some papers
    write 1 + w for this w). w: a number or [B]. The branch without the condition is shown NaN, which means "not given":
    0 may be a legal value. `drop` names the entries of a dict that are dropped; by default all of them but masks
    (bool), which stay as they are. What comes out is *not* distributed as p(x) p(cond | x)^w (see lesson 05). Raises
    ValueError for names that the condition lacks, and for entries that NaN cannot stand in.
    """
    both, w = branches(cond, drop), w if isinstance(w, int | float) else tensor("w", w)
    alone = None if torch.is_tensor(w) and w.requires_grad else _same(w)

    def guided(x_t: Tensor, t: Tensor, _: Cond = None) -> Tensor:
        t, (shown, nothing) = torch.as_tensor(t), both(x_t)
        if alone is not None:
            return D(x_t, t, shown if alone else nothing)
        twice = joined([shown, nothing])
        conditional, free = D(torch.cat([x_t, x_t]), torch.cat([t, t]) if t.ndim else t, twice).chunk(2)
        return free + _rows("w", w, x_t) * (conditional - free)

    return Function(guided, D.schedule)


def _same(w: float | Tensor) -> int | None:
    """0 or 1, if that is what w is everywhere."""
    flat = torch.as_tensor(w).flatten()
    return next((k for k in (0, 1) if len(flat) and bool((flat == k).all())), None)


def _rows(name: str, weight: float | Tensor, x: Tensor) -> float | Tensor:
    """A number, or a number for each of x's rows as it broadcasts to x; ValueError for another shape."""
    if not torch.is_tensor(weight) or not weight.ndim:
        return weight
    if weight.ndim > x.ndim or any(n not in (1, m) for n, m in zip(weight.shape, x.shape, strict=False)):
        raise ValueError(f"{name} is a number or [B], for x {list(x.shape)}; got {list(weight.shape)}")
    return expand(weight.to(x), x.ndim)


def ascend(
    D: Denoiser, J: Callable[[Tensor, Tensor], Tensor], scale: float | Tensor = 1.0, at: str = "x_t", cond: Cond = None
) -> Denoiser:
    """Classifier guidance (Dhariwal and Nichol 2021): x0_hat + scale sigma_t^2 / alpha_t grad_{x_t} J.

    J(x, t) -> [B]. at = "x_t": J is a function of the noisy x_t; with J = log E[exp(J_0(x_0)) | x_t] the samples follow
    exactly p(x_0) exp(J_0(x_0)) (Lu et al. 2023, "Contrastive Energy Prediction"). at = "x0_hat": J(x0_hat(x_t)),
    differentiated through D (Chung et al. 2023, "Diffusion Posterior Sampling"): exact for a Gaussian and linear J,
    biased otherwise. The shift is zero where no noise is left (sigma = 0) or no signal (alpha < 1e-4), never a division
    by zero. Diffuser's own scale, the posterior variance times grad J at the mean, is another method. It works under
    `torch.no_grad` and `torch.inference_mode` too; what J holds must then have been made outside of the latter.
    scale: a number or [B]. Raises ValueError for another `at`, a J that cannot be called or a scale of another kind.
    """
    if at not in ("x_t", "x0_hat"):
        raise ValueError(f"at must be 'x_t' or 'x0_hat', got {at!r}")
    if not callable(J):
        raise ValueError(f"J must be a function (x, t) -> [B], got {J!r}")
    cond, scale = condition(cond), scale if isinstance(scale, int | float) else tensor("scale", scale)

    def guided(x_t: Tensor, t: Tensor, inner: Cond = None) -> Tensor:
        outer = torch.is_grad_enabled() and x_t.requires_grad
        # a chain under inference mode makes x_t and t there, and autograd takes only copies of such tensors
        x_t, t, inner = tensor("x_t", x_t), tensor("t", t), cond if inner is None else condition(inner)
        wide = torch.promote_types(x_t.dtype, torch.float32)  # sigma^2 leaves the range of float16
        alpha, sigma = (level.to(x_t.device, wide) for level in D.schedule(t, x_t.ndim if t.ndim else 0))
        with torch.inference_mode(False), torch.enable_grad():
            x = x_t if outer else x_t.detach().requires_grad_()
            x0_hat = D(x, t, inner) if at == "x0_hat" else None
            (slope,) = torch.autograd.grad(J(x if x0_hat is None else x0_hat, t).sum(), x, create_graph=outer)
        if x0_hat is None:
            x0_hat = D(x_t, t, inner)
        elif not outer:
            x0_hat = x0_hat.detach()
        factor, slope = torch.where(alpha > 1e-4, sigma**2 / alpha.clamp(min=1e-4), 0.0), slope.to(wide)
        return x0_hat + (_rows("scale", scale, slope) * factor * slope).to(x_t)

    return Function(guided, D.schedule)


def pin(D: Denoiser, known: Tensor, value: Tensor) -> Denoiser:
    """D with the entries `known` (bool) replaced by `value`, in the x_t that D is shown *and* in x0_hat.

    known, value: broadcastable to x_t. Diffuser's inpainting (Janner et al. 2022). Exact only for a network that was
    trained to see those entries clean (`denoising_loss(known=...)`); on any other denoiser it is biased, since D takes
    the clean entries for noisy ones. The exact answer for a mixture is `MixtureDenoiser.condition`. Raises ValueError
    for a mask that is not bool.
    """
    known, value = mask("known", known), tensor("value", value)

    def pinned(x_t: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        here, v = known.to(x_t.device), value.to(x_t)
        return torch.where(here, v, D(torch.where(here, v, x_t), t, cond))

    return Function(pinned, D.schedule)


def clip(D: Denoiser, lo: Any = -1.0, hi: Any = 1.0) -> Denoiser:
    """D with x0_hat kept within [lo, hi]: the prediction is clipped, never the iterate, and eps_hat follows from it.

    lo, hi: numbers, or broadcastable to x_t; None for no bound. Raises ValueError where lo exceeds hi.
    """
    if lo is not None and hi is not None and bool((tensor("lo", lo) > tensor("hi", hi)).any()):
        raise ValueError(f"lo must not exceed hi, got {lo} and {hi}")
    plain = all(b is None or isinstance(b, int | float) for b in (lo, hi))
    bounds: list[Any] = [b if b is None or plain else tensor(name, b) for name, b in (("lo", lo), ("hi", hi))]

    def clipped(x_t: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        x0_hat = D(x_t, t, cond)
        low, high = (b.to(x0_hat) if torch.is_tensor(b) else b for b in bounds)
        return x0_hat if low is None and high is None else x0_hat.clamp(low, high)

    return Function(clipped, D.schedule)
