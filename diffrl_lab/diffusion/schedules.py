"""Noise schedules: how much signal and how much noise there is at each diffusion time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor


def tensor(name: str, value: Any) -> Tensor:
    """`value` as a tensor: a tensor as it is, numpy arrays, lists and numbers as a copy.

    A tensor made under `torch.inference_mode` comes back as a copy too: only that can be differentiated with. Raises
    ValueError, with `name`, for what holds no numbers.
    """
    if not torch.is_tensor(value):
        try:
            if isinstance(value, list | tuple) and any(map(torch.is_tensor, value)):
                return torch.stack([tensor(name, v) for v in value])
            return torch.from_numpy(np.array(value, order="C"))
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"{name} must be a tensor, an array or numbers, got {value!r}") from None
    if not value.is_inference():
        return value
    with torch.inference_mode(False):
        return value.clone()


def mask(name: str, value: Any) -> Tensor:
    """`value` as a tensor of bool. Raises ValueError, with `name`, for numbers (0 and 1 would be taken for places)."""
    known = tensor(name, value)
    if known.dtype != torch.bool:
        raise ValueError(f"{name} must be boolean, got {known.dtype}")
    return known


def expand(level: Tensor, ndim: int) -> Tensor:
    """`level` with trailing axes of length one up to `ndim` axes: a prefix of x's shape becomes broadcastable."""
    if level.ndim > ndim:
        raise ValueError(f"t has {level.ndim} axes {tuple(level.shape)}, more than x, which has {ndim}")
    return level.reshape(level.shape + (1,) * (ndim - level.ndim))


class Schedule:
    """x_t = alpha_t x_0 + sigma_t eps, with t in [0, 1] from data (alpha = 1, sigma = 0) to noise.

    alpha_t is the *scale* of the signal, so alpha_t = sqrt(alpha_bar_t) in the letters of DDPM (Ho et al. 2020), whose
    own alpha_t = 1 - beta_t is another quantity. Called as `schedule(t, ndim)` it returns (alpha_t, sigma_t), each with
    t's shape plus axes of length one up to `ndim`. The ratio sigma_t / alpha_t grows with t and names a noise level
    under every schedule; `time` is its inverse. A schedule is not changed once it is made: make another.
    """

    prior_std: float = 1.0
    t_min: float = 0.0
    """Training draws t from [t_min, 1]: below, the noise is lost in float32's rounding."""

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def time(self, ratio: Tensor) -> Tensor:
        """The t at which sigma_t / alpha_t equals `ratio` (>= 0)."""
        raise NotImplementedError

    def __call__(self, t: Tensor | float, ndim: int = 0) -> tuple[Tensor, Tensor]:
        t = torch.as_tensor(t, dtype=None if torch.is_tensor(t) else torch.float64)
        alpha, sigma = self.levels(t)
        return expand(alpha, ndim or t.ndim), expand(sigma, ndim or t.ndim)

    def ratio(self, t: Tensor | float) -> Tensor:
        """sigma_t / alpha_t, infinite where no signal is left."""
        alpha, sigma = self(t)
        return sigma / alpha

    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(alpha_t^2 / sigma_t^2), the log signal-to-noise ratio (Kingma et al. 2021)."""
        return -2 * torch.log(self.ratio(t))

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """x at t = 1, scaled as the sampler needs it: N(0, 1), or sigma_max times that for `Karras`. -> [*shape]

        Drawn on the CPU, so that a seed means the same on every device.
        """
        return (self.prior_std * torch.randn(tuple(shape), generator=generator, dtype=dtype)).to(device)

    def grid(self, steps: int) -> Tensor:
        """The times 1 = t_0 > t_1 > ... > t_K = 0 of a chain of K = `steps` steps, evenly spaced. -> [K+1], float64"""
        if not isinstance(steps, Integral) or isinstance(steps, bool):
            raise ValueError(f"steps is a whole number of steps, got {steps!r}")
        if steps < 1:
            raise ValueError(f"a chain needs at least one step, got steps={steps}")
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


@lru_cache(maxsize=8192)
def _numbers(fn: Callable[..., Any], schedule: Schedule, times: tuple[float, ...], options: tuple) -> tuple[float, ...]:
    return tuple(float(w) for w in fn(*(level for t in times for level in schedule(t)), *options))


def weights(
    fn: Callable[..., Any], schedule: Schedule, x: Tensor, times: Sequence[Tensor], *options: Any
) -> tuple[Any, ...]:
    """fn(alpha_t, sigma_t, alpha_s, ..., *options): what a formula needs of the noise levels at the times t, s, ...

    One time for all of x, as a rule: plain numbers, computed in float64 the first time and then remembered, so that
    they cost a chain next to nothing. Times along x's first axes: tensors that broadcast to x, in x's dtype.
    """
    if all(t.ndim == 0 and not t.requires_grad for t in times) and schedule.__hash__ is not None:
        return _numbers(fn, schedule, tuple([t.item() for t in times]), options)
    levels = (level for t in times for level in schedule(t, x.ndim if t.ndim else 0))
    return tuple(w.to(x) for w in fn(*levels, *options))


@dataclass(frozen=True)
class Linear(Schedule):
    """The variance-preserving diffusion with beta(t) = beta_0 + t (beta_1 - beta_0), alpha_t = exp(-1/2 int_0^t beta).

    The continuous form of DDPM's linear betas (Song et al. 2021, "Score-Based Generative Modeling through SDEs").
    alpha_1 is small (0.0066 with the defaults) and does not depend on the number of steps.
    """

    beta_0: float = 0.1
    beta_1: float = 20.0

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha_bar = -t * (self.beta_0 + t * (self.beta_1 - self.beta_0) / 2)
        return torch.exp(log_alpha_bar / 2), torch.sqrt(-torch.expm1(log_alpha_bar))

    def time(self, ratio: Tensor) -> Tensor:
        integral, slope = torch.log1p(ratio**2), self.beta_1 - self.beta_0
        return 2 * integral / (self.beta_0 + torch.sqrt(self.beta_0**2 + 2 * slope * integral))


@dataclass(frozen=True)
class Cosine(Schedule):
    """alpha_t = cos(pi/2 (t + s)/(1 + s)) / cos(pi/2 s/(1 + s)), sigma_t = sqrt(1 - alpha_t^2) (Nichol, Dhariwal 2021).

    alpha_1 is exactly 0: at t = 1 nothing of the data is left.
    """

    s: float = 0.008

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        # sin of the remaining angle, not cos of the angle, so that alpha_1 is 0 and not 6e-17
        angle = math.pi / 2 * (1 - t) / (1 + self.s)
        alpha = torch.sin(angle) / math.cos(math.pi / 2 * self.s / (1 + self.s))
        # cos(a)^2 - cos(d + a)^2 cancels near t = 0; sin(d) sin(d + 2 a) is the same without the loss of digits
        d, a = math.pi / 2 * t / (1 + self.s), math.pi / 2 * self.s / (1 + self.s)
        one_minus = torch.sin(d) * torch.sin(d + 2 * a) / math.cos(a) ** 2
        return alpha, torch.sqrt(one_minus)

    def time(self, ratio: Tensor) -> Tensor:
        a = math.pi / 2 * self.s / (1 + self.s)
        alpha = torch.rsqrt(1 + ratio**2)
        return 1 - torch.asin(alpha * math.cos(a)) * (1 + self.s) / (math.pi / 2)


@dataclass(frozen=True)
class Karras(Schedule):
    """The variance-exploding schedule of EDM: alpha_t = 1, sigma_t = sigma_max t^rho (Karras et al. 2022).

    Its grid is the one of their equation 5, from sigma_max to sigma_min, with 0 appended as the last time.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"need 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}")

    @property
    def prior_std(self) -> float:  # type: ignore[override]
        return self.sigma_max

    @property
    def t_min(self) -> float:  # type: ignore[override]
        return (self.sigma_min / self.sigma_max) ** (1 / self.rho)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_max * t**self.rho

    def time(self, ratio: Tensor) -> Tensor:
        return (ratio / self.sigma_max) ** (1 / self.rho)

    def grid(self, steps: int) -> Tensor:
        even = super().grid(steps)
        if steps < 2:
            return even
        return torch.nn.functional.pad(torch.linspace(1, self.t_min, steps, dtype=torch.float64), (0, 1))


@dataclass(frozen=True)
class Rectified(Schedule):
    """alpha_t = 1 - t, sigma_t = t: the straight paths of rectified flow (Liu et al. 2023; Lipman et al. 2023)."""

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def time(self, ratio: Tensor) -> Tensor:
        return torch.where(torch.isinf(ratio), 1.0, ratio / (1 + ratio))


class Discrete(Schedule):
    """The betas of DDPM: alpha_bar_n = prod_{i <= n} (1 - beta_i) at the times t = n / T, n = 0 .. T (Ho et al. 2020).

    alpha_t = sqrt(alpha_bar_n), with alpha_bar_0 = 1; between two of these times log alpha_bar is interpolated. Its own
    grid has T steps; a coarser one starts at T as well ("trailing"), where the sampler's pure noise belongs.
    """

    def __init__(self, betas: Sequence[float] | Tensor):
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if betas.ndim != 1 or len(betas) == 0 or not ((betas > 0) & (betas < 1)).all():
            raise ValueError(f"betas must be a list of numbers in (0, 1), got {betas.tolist()}")
        self.betas = betas
        self.log_alpha_bar = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-betas).cumsum(0)])

    @classmethod
    def linear(cls, T: int = 1000, beta_0: float = 1e-4, beta_1: float = 0.02) -> Discrete:
        """T betas evenly spaced from `beta_0` to `beta_1` (DDPM: T = 1000). A small T leaves much signal at t = 1."""
        return cls(torch.linspace(beta_0, beta_1, T, dtype=torch.float64))

    @property
    def T(self) -> int:
        return len(self.betas)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        table = self.log_alpha_bar.to(t.device)
        n = t.double() * self.T
        low = n.long().clamp(0, self.T - 1)
        log_alpha_bar = torch.lerp(table.take(low), table.take(low + 1), n - low).to(t.dtype)
        return torch.exp(log_alpha_bar / 2), torch.sqrt(0.0 - torch.expm1(log_alpha_bar))

    def time(self, ratio: Tensor) -> Tensor:
        table, log_alpha_bar = -self.log_alpha_bar.to(ratio.device), torch.log1p(ratio.double() ** 2)
        high = torch.searchsorted(table, log_alpha_bar.contiguous()).clamp(1, self.T)
        n = high - 1 + (log_alpha_bar - table[high - 1]) / (table[high] - table[high - 1])
        return (n / self.T).to(ratio.dtype)

    def __repr__(self) -> str:
        return f"Discrete(T={self.T}, beta={self.betas[0]:g}..{self.betas[-1]:g})"
