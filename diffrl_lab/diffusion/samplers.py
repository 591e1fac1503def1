"""Samplers: one step from t to s < t, and the chain that is made of such steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Number
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .denoisers import Denoiser
from .schedules import Schedule, expand, tensor, weights

Step = Callable[..., tuple[Tensor, Tensor, Any]]
"""(D, x_t, t, s, state, generator) -> (x_s, x0_hat, state). A step with t == s is the identity."""


class Frame(NamedTuple):
    """One moment of a chain: the time t, the iterate x_t and what the denoiser thought of it, x0_hat = D(x_t, t)."""

    t: Tensor
    x_t: Tensor
    x0_hat: Tensor


def _noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    # on the CPU, so that a seed means the same on every device
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)


def _ancestral(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q(x_s | x_t, x_0): the weights of x_t and x_0 in its mean, and its standard deviation, the root of beta tilde."""
    alpha_ts = torch.where(alpha_s > 0, alpha_t / alpha_s, 1.0)  # alpha_s = 0 is a step from t = 1 to itself
    ratio = torch.where(sigma_t > 0, sigma_s**2 / sigma_t**2, 1.0)  # t = s = 0 keeps x as it is
    fresh = (1 - alpha_ts**2 * ratio).clamp(min=0)
    return alpha_ts * ratio, alpha_s * fresh, sigma_s * torch.sqrt(fresh)


def _carried(
    alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor, eta: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """The weights of x_t, x0_hat and fresh noise in alpha_s x0_hat + sqrt(sigma_s^2 - nu^2) eps_hat + nu z."""
    nu = eta * _ancestral(alpha_t, sigma_t, alpha_s, sigma_s)[2]
    a = torch.where(sigma_t > 0, torch.sqrt((sigma_s**2 - nu**2).clamp(min=0)) / sigma_t, 1.0)
    return a, alpha_s - a * alpha_t, nu


def ddpm(temperature: float = 1.0) -> Step:
    """Ancestral sampling (Ho et al. 2020): x_s ~ q(x_s | x_t, x_0 = x0_hat).

    Mean (alpha_{t|s} sigma_s^2 x_t + alpha_s sigma_{t|s}^2 x0_hat) / sigma_t^2 with alpha_{t|s} = alpha_t / alpha_s and
    sigma_{t|s}^2 = sigma_t^2 - alpha_{t|s}^2 sigma_s^2; standard deviation `temperature` times the posterior's. So a
    temperature of 0.5 divides the variance by four (so does Decision Diffuser's code; its paper writes alpha Sigma).
    """

    def step(D: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Any = None, generator=None):
        x0_hat = D(x_t, t)
        a, b, std = weights(_ancestral, D.schedule, x_t, [t, s])
        return a * x_t + b * x0_hat + temperature * std * _noise_like(x_t, generator), x0_hat, state

    return step


def ddim(eta: float = 0.0) -> Step:
    """DDIM (Song et al. 2021): x_s = alpha_s x0_hat + sqrt(sigma_s^2 - nu^2) eps_hat + nu z.

    nu^2 = eta^2 Var q(x_s | x_t, x_0), eps_hat = (x_t - alpha_t x0_hat) / sigma_t. eta = 0 is deterministic (the
    first-order solver of the probability-flow ODE), eta = 1 is DDPM. It needs no training of its own.
    """
    if eta < 0:
        raise ValueError(f"eta must not be negative, got {eta}")

    def step(D: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Any = None, generator=None):
        x0_hat = D(x_t, t)
        a, b, nu = weights(_carried, D.schedule, x_t, [t, s], eta)
        x_s = a * x_t + b * x0_hat
        return x_s + nu * _noise_like(x_t, generator) if eta else x_s, x0_hat, state

    return step


def _raised(alpha_t: Tensor, sigma_t: Tensor, alpha_h: Tensor, sigma_h: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of x_t and fresh noise that take x_t up to the noisier level h."""
    shrink = torch.where(alpha_t > 0, alpha_h / alpha_t, 1.0)
    return shrink, torch.sqrt((sigma_h**2 - (shrink * sigma_t) ** 2).clamp(min=0))


def _churned(schedule: Schedule, x_t: Tensor, t: Tensor, s: Tensor, churn: float, generator) -> tuple[Tensor, Tensor]:
    """x_t with fresh noise added until sigma / alpha has grown by the factor 1 + churn, and the time of that level."""
    t_hat = torch.where(t == s, t, schedule.time((1 + churn) * schedule.ratio(t)))
    shrink, extra = weights(_raised, schedule, x_t, [t, t_hat])
    return shrink * x_t + extra * _noise_like(x_t, generator), t_hat


def euler(churn: float = 0.0) -> Step:
    """Euler's method on the probability-flow ODE in sigma / alpha (Karras et al. 2022): DDIM. `churn` as in `heun`."""
    if churn < 0:
        raise ValueError(f"churn must not be negative, got {churn}")
    flow = ddim()

    def step(D: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Any = None, generator=None):
        if churn:
            x_t, t = _churned(D.schedule, x_t, t, s, churn, generator)
        return flow(D, x_t, t, s, state, generator)

    return step


def _corrected(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> tuple[Tensor, ...]:
    """Half of Heun's step in sigma / alpha (0: no correction), 1 / sigma (0 for sigma = 0) and alpha at both ends."""
    inner = (alpha_t > 0) & (sigma_s > 0)
    half = torch.where(inner, (sigma_s - sigma_t * alpha_s / torch.where(inner, alpha_t, 1.0)) / 2, 0.0)
    inverse_t, inverse_s = (torch.where(sigma > 0, 1 / sigma, 0.0) for sigma in (sigma_t, sigma_s))
    return half, inverse_t, inverse_s, alpha_t, alpha_s


def heun(churn: float = 0.0) -> Step:
    """Heun's second-order method on the probability-flow ODE (Karras et al. 2022, algorithms 1 and 2).

    With y = x / alpha and r = sigma / alpha the ODE is dy/dr = (y - D) / r = eps_hat; Euler's step is corrected by the
    slope at its end, except where that end has no noise left (the slope is 0/0 there) or the beginning no signal.
    Before the step the noise level is raised by the factor 1 + `churn` (their gamma; S_churn / K, at most sqrt(2) - 1).
    Two evaluations a step.
    """
    if churn < 0:
        raise ValueError(f"churn must not be negative, got {churn}")

    def step(D: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Any = None, generator=None):
        if churn:
            x_t, t = _churned(D.schedule, x_t, t, s, churn, generator)
        x0_hat = D(x_t, t)
        a, b, _ = weights(_carried, D.schedule, x_t, [t, s])
        half, inverse_t, inverse_s, alpha_t, alpha_s = weights(_corrected, D.schedule, x_t, [t, s])
        x_s = a * x_t + b * x0_hat
        if not torch.is_tensor(half) and half == 0:
            return x_s, x0_hat, state
        eps_t, eps_s = (x_t - alpha_t * x0_hat) * inverse_t, (x_s - alpha_s * D(x_s, s)) * inverse_s
        return x_s + half * (eps_s - eps_t), x0_hat, state

    return step


def _exponential(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The weights sigma_s / sigma_t of x_t and alpha_s (1 - e^{-h}) of x0_hat, and h, the gain in half log-SNR."""
    same = (alpha_t == alpha_s) & (sigma_t == sigma_s)
    h = torch.where(same, 0.0, torch.log(alpha_s / sigma_s) - torch.log(alpha_t / sigma_t))
    return torch.where(same, 1.0, sigma_s / sigma_t), -alpha_s * torch.expm1(-h), h


def _two_step(alpha_p: Tensor, sigma_p: Tensor, *levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b, h = _exponential(*levels)
    w = h / (2 * _exponential(alpha_p, sigma_p, *levels[:2])[2])
    return a, b, torch.where(torch.isfinite(w) & torch.isfinite(h), b * w, 0.0)


def dpm_pp_1() -> Step:
    """DPM-Solver++ of order 1 (Lu et al. 2022): x_s = sigma_s / sigma_t x_t + alpha_s (1 - e^{-h}) x0_hat.

    h is the gain in half log-SNR, ln(alpha / sigma).
    """

    def step(D: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Any = None, generator=None):
        x0_hat = D(x_t, t)
        a, b, _ = weights(_exponential, D.schedule, x_t, [t, s])
        return a * x_t + b * x0_hat, x0_hat, state

    return step


def dpm_pp_2m() -> Step:
    """DPM-Solver++(2M) (Lu et al. 2022): order 2 with one evaluation a step, the last x0_hat being remembered.

    x0_hat is replaced by x0_hat + h / (2 h_prev) (x0_hat - x0_prev) with h the gain in half log-SNR. The first step and
    a step to sigma = 0, where h is infinite, have order 1.
    """

    def step(D: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Any = None, generator=None):
        x0_hat = D(x_t, t)
        if state is None:
            a, b, _ = weights(_exponential, D.schedule, x_t, [t, s])
            return a * x_t + b * x0_hat, x0_hat, (x0_hat, t)
        x0_prev, t_prev = state
        a, b, c = weights(_two_step, D.schedule, x_t, [t_prev, t, s])
        return a * x_t + b * x0_hat + c * (x0_hat - x0_prev), x0_hat, (x0_hat, t)

    return step


def _times(D: Denoiser, x_T: Tensor, steps: Any) -> Tensor:
    if isinstance(steps, Integral) and not isinstance(steps, bool):
        return D.schedule.grid(int(steps))
    if steps is None or isinstance(steps, Number | str):
        raise ValueError(
            "steps is a whole number, or a grid of times that fall from 1 to 0 (a tensor, an array or a list); "
            f"got {steps!r}"
        )
    steps = tensor("steps", steps).double()
    if steps.ndim < 1 or len(steps) < 2:
        raise ValueError(
            f"a grid of times needs at least two entries along its first axis, got shape {tuple(steps.shape)}"
        )
    prefix = tuple(x_T.shape[: steps.ndim - 1])
    if len(prefix) < steps.ndim - 1 or any(n not in (1, m) for n, m in zip(steps.shape[1:], prefix, strict=True)):
        raise ValueError(
            f"a grid of times [K+1, ...] must go on as x does, {tuple(x_T.shape)}, or with axes of length one for what "
            f"all share ([K+1, 1, H]: one grid for all plans); got {tuple(steps.shape)}"
        )
    if not ((steps >= 0) & (steps <= 1)).all() or (steps.diff(dim=0) > 0).any():
        raise ValueError(f"times must fall from 1 to 0 (noise to data), got {steps.flatten()[:6].tolist()} ...")
    rests = (steps.diff(dim=0) == 0)[..., None].flatten(1).all(1)
    if rests.any():
        k = int(rests.nonzero()[0])
        raise ValueError(f"a time stands twice in the grid, so a step would do nothing: rows {k} and {k + 1} are alike")
    return steps.expand(len(steps), *prefix)


def chain(
    D: Denoiser,
    x_T: Tensor,
    *,
    steps: int | Tensor | Sequence,
    step: Step | None = None,
    generator: torch.Generator | None = None,
    grad: bool = False,
) -> Iterator[Frame]:
    """The reverse process from x_T, frame by frame; the recorder is `list(chain(...))`.

    steps: how many, on D's own grid, or a grid of falling times [K+1] (a tensor, an array or a list), or one of
    [K+1, B] or [K+1, B, H] that gives every step of the plan a level of its own (Chen et al. 2024, "Diffusion
    Forcing"; [K+1, 1, H]: the same for all plans). There a time may stand twice for a part of x, which then stays
    exactly as it is, as long as another part moves. K + 1 frames come out: x_t and D(x_t, t) at each of the K times
    that a step starts from, then the sample (its x0_hat is the sample where t is 0). Memory does not grow with K.
    Frames are detached unless `grad=True`, with which x_0 can be differentiated in x_T and in D's weights. Raises
    ValueError for steps of another kind and grids that rise, repeat a time for all of x or do not fit x_T.
    """
    x_T = tensor("x_T", x_T)
    times = _times(D, x_T, steps)
    if times.ndim > 1:
        times = times.to(x_T.device)
    step, x, state = step or ddim(), x_T, None
    x0_hat = x_T
    for t, s in zip(times[:-1], times[1:], strict=True):
        # no_grad belongs around the step, never around a yield: the caller's code must not run under it
        with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
            x_s, x0_hat, state = step(D, x, t, s, state, generator)
            if times.ndim > 1:  # what rests is not left to rounding, nor to the step
                x_s = torch.where(expand(t == s, x.ndim), x, x_s)
        yield Frame(t, x, x0_hat)
        x = x_s
    clean = expand(times[-1] == 0, x.ndim if times.ndim > 1 else 0).to(x.device)
    yield Frame(times[-1], x, torch.where(clean, x, x0_hat))


def sample(D: Denoiser, x_T: Tensor, **options: Any) -> Tensor:
    """The last x of `chain(D, x_T, **options)`. -> the shape of x_T"""
    x = x_T
    for frame in chain(D, x_T, **options):
        x = frame.x_t
    return x
