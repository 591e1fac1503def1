"""Constraints on samples: four ways to keep them, and the exact guide of a constrained Gaussian.

| way | what it does | law of the samples |
|---|---|---|
| project at the end | onto(x_0) | all that was outside lies on the boundary |
| `projected` | x0_hat is projected in every step | less on the boundary, too little spread |
| `confined` | the iterate is projected in every step | as above |
| `ascend(D, J)`, J a cost at x0_hat | a slope that pushes inside | no named law |
| `ascend(D, log_within(...))` | the slope of log P(x_0 is safe given x_t) | p(x_0 given that it is safe), exactly |

So a sample that is safe need not be a draw from the safe part of the law.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .denoisers import Denoiser, Function
from .samplers import Step
from .schedules import Schedule, expand

Onto = Callable[[Tensor], Tensor]
"""x -> the nearest allowed x, of the same shape."""


def projected(D: Denoiser, onto: Onto) -> Denoiser:
    """D with x0_hat replaced by onto(x0_hat); with an interval it is `clip`. The iterate is left alone."""
    return Function(lambda x_t, t, cond=None: onto(D(x_t, t, cond)), D.schedule)


def confined(step: Step, onto: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Step:
    """A step whose *iterate* is projected: x_s becomes onto(x_s, x_t, t, s).

    Constraints speak of x_0, and alpha_s x_0 is what an iterate is centred on: `lambda x, *_: x.clamp(min=c)` confines
    all iterates to the set itself, and a rule that knows t and s can tighten as the noise goes (SafeDiffuser, Xiao et
    al. 2023).
    """

    def inside(D: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state=None, generator=None):
        x_s, x0_hat, state = step(D, x_t, t, s, state, generator)
        return onto(x_s, x_t, t, s), x0_hat, state

    return inside


def log_within(
    schedule: Schedule, lo: float = -math.inf, hi: float = math.inf, axis: int = 0, outside: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """J(x_t [B, d], t) = log P(lo <= x_0[axis] <= hi given x_t) of data N(0, I), or of the complement. -> [B]

    x_0 given x_t is N(m, s^2) with m = alpha x_t / (alpha^2 + sigma^2) and s^2 = sigma^2 / (alpha^2 + sigma^2), so P is
    Phi((hi - m) / s) - Phi((lo - m) / s). `ascend(D, J)` samples exactly p(x_0 given the constraint). Where several
    constraints speak of independent parts of x_0, their J add up to the J of all (AND); the J of NOT is that of the
    complement (`outside`), not -J. Raises ValueError unless lo < hi.
    """
    if not lo < hi:
        raise ValueError(f"a constraint needs lo < hi, got {lo} and {hi}")

    def J(x_t: Tensor, t: Tensor) -> Tensor:
        x = x_t[:, axis]
        alpha, sigma = (expand(level.to(x), 1) for level in schedule(torch.as_tensor(t)))
        sigma = sigma.clamp(min=1e-3)
        total = alpha**2 + sigma**2
        m, s = alpha * x / total, sigma / total.sqrt()
        below, above = torch.special.log_ndtr((lo - m) / s), torch.special.log_ndtr((m - hi) / s)
        if outside:
            return torch.logaddexp(below, above)
        if math.isinf(lo) or math.isinf(hi):
            return torch.special.log_ndtr((m - lo) / s if math.isinf(hi) else (hi - m) / s)
        # on the side of m where both probabilities are small, so that their difference keeps its digits
        a, b = (lo - m) / s, (hi - m) / s
        a, b = torch.where(a + b > 0, -b, a), torch.where(a + b > 0, -a, b)
        small, large = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
        return large + (-torch.expm1((small - large).clamp(max=-1e-12))).log()

    return J
