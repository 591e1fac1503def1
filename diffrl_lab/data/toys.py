"""Toy laws whose every number is known: what an exact denoiser is built from, and what samples are held against.

A law is parameters and a way to draw; `diffusion` turns it into an exact denoiser:
MixtureDenoiser(law.weights, law.means, schedule, std=law.std) or GaussianDenoiser(law.mean, schedule, cov=law.cov).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mixture:
    """sum_k weights_k N(means_k, std_k^2 I) over events of any shape. Parameters are float64."""

    weights: Tensor  # [K], sum to 1
    means: Tensor  # [K, *event]
    std: Tensor  # [K]

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n draws x [n, *event] (float32) and the component each came from [n]."""
        mode = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, *self.means.shape[1:], generator=generator, dtype=torch.float64)
        std = self.std[mode].reshape(-1, *[1] * (self.means.ndim - 1))
        return (self.means[mode] + std * noise).float(), mode


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, cov) over paths of one number per step. Parameters are float64."""

    mean: Tensor  # [H, 1]
    cov: Tensor  # [H, H]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws [n, H, 1] (float32); a singular covariance (a fixed start) is allowed."""
        values, vectors = torch.linalg.eigh(self.cov)
        root = vectors * values.clamp(min=0).sqrt()
        noise = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64)
        return (self.mean + (noise @ root.mT)[..., None]).float()


@dataclass(frozen=True)
class Truncated:
    """N(0, 1) given that x lies within [lo, hi], or outside of it: what a constraint makes of a Gaussian.

    Inside, with phi the density and P = Phi(hi) - Phi(lo): mean (phi(lo) - phi(hi)) / P and second moment
    1 + (lo phi(lo) - hi phi(hi)) / P. Raises ValueError unless lo < hi.
    """

    lo: float = -math.inf
    hi: float = math.inf
    outside: bool = False

    def __post_init__(self) -> None:
        if not self.lo < self.hi:
            raise ValueError(f"a constraint needs lo < hi, got {self.lo} and {self.hi}")

    def holds(self, x: Tensor) -> Tensor:
        """Whether x satisfies the constraint. -> bool, the shape of x"""
        return ((x >= self.lo) & (x <= self.hi)) != self.outside

    @property
    def share(self) -> float:
        """P(the constraint holds) under N(0, 1)."""
        inside = _upper(self.lo) - _upper(self.hi)
        return 1 - inside if self.outside else inside

    @property
    def mean(self) -> float:
        return self._moments[0]

    @property
    def std(self) -> float:
        mean, second = self._moments
        return math.sqrt(second - mean**2)

    @property
    def _moments(self) -> tuple[float, float]:
        inside, ends = _upper(self.lo) - _upper(self.hi), (self.lo, self.hi)
        (low, high), edges = (_density(c) for c in ends), [c * _density(c) if math.isfinite(c) else 0.0 for c in ends]
        first, second = low - high, inside + edges[0] - edges[1]  # times P
        return (-first / self.share, (1 - second) / self.share) if self.outside else (first / inside, second / inside)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws [n, 1] (float32), by rejection."""
        kept = torch.empty(0, 1)
        while len(kept) < n:
            x = torch.randn(math.ceil(2 * n / self.share), 1, generator=generator)
            kept = torch.cat([kept, x[self.holds(x[:, 0])]])
        return kept[:n]


def _density(x: float) -> float:
    return math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _upper(c: float) -> float:
    """P(x > c) of N(0, 1)."""
    return math.erfc(c / math.sqrt(2)) / 2


def two_modes(p: float = 0.3, distance: float = 2.0, std: float = 0.2) -> Mixture:
    """One number: N(-distance / 2, std^2) with probability p, N(+distance / 2, std^2) otherwise; event [1]."""
    _check_share("p", p)
    means = torch.tensor([[-distance / 2], [distance / 2]], dtype=torch.float64)
    return Mixture(torch.tensor([p, 1 - p], dtype=torch.float64), means, _full(2, std))


def ring(k: int = 8, radius: float = 1.0, std: float = 0.08, weights: Tensor | None = None) -> Mixture:
    """k Gaussians evenly around a circle, the first at angle 0; event [2]. weights: equal ones unless given, [k]."""
    if k < 1:
        raise ValueError(f"a ring needs at least one Gaussian, got k = {k}")
    weights = torch.ones(k) if weights is None else torch.as_tensor(weights)
    if weights.shape != (k,) or not bool((weights >= 0).all()) or not float(weights.sum()) > 0:
        raise ValueError(f"weights must be {k} numbers of at least 0, not all 0; got {weights.tolist()}")
    angle = 2 * math.pi * torch.arange(k, dtype=torch.float64) / k
    weights = weights.double()
    return Mixture(weights / weights.sum(), radius * torch.stack([angle.cos(), angle.sin()], 1), _full(k, std))


def two_corridors(p: float = 0.5, horizon: int = 32, width: float = 1.0, std: float = 0.08) -> Mixture:
    """Paths from (0, 1) to (0, -1) around a block: half an ellipse, left (x < 0) with probability p, right otherwise.

    Component 0 is left. Point i lies at the angle pi i / (H - 1); width is the ellipse's half axis in x. Every
    coordinate has the standard deviation std; event [H, 2]. The mean of the two ways runs through the block.
    """
    _check_share("p", p)
    if horizon < 2:
        raise ValueError(f"a path needs at least 2 points, got horizon = {horizon}")
    angle = torch.linspace(0, math.pi, horizon, dtype=torch.float64)
    way = torch.stack([width * angle.sin(), angle.cos()], 1)
    means = torch.stack([way * torch.tensor([-1.0, 1.0], dtype=torch.float64), way])
    return Mixture(torch.tensor([p, 1 - p], dtype=torch.float64), means, _full(2, std))


def ar1(horizon: int = 32, rho: float = 0.9, std: float = 1.0) -> Gaussian:
    """The stationary x_{i+1} = rho x_i + std sqrt(1 - rho^2) eps_i: mean 0, cov_ij = std^2 rho^|i - j|."""
    if not -1 < rho < 1:
        raise ValueError(f"a stationary AR(1) process needs |rho| < 1, got {rho}")
    i = torch.arange(horizon)
    return Gaussian(
        torch.zeros(horizon, 1, dtype=torch.float64),
        std**2 * torch.tensor(rho, dtype=torch.float64) ** (i[:, None] - i).abs(),
    )


def brownian(horizon: int = 32, scale: float = 1.0) -> Gaussian:
    """Brownian motion from 0 at the times u_i = i / (H - 1): cov_ij = scale^2 min(u_i, u_j)."""
    u = torch.linspace(0, 1, horizon, dtype=torch.float64)
    return Gaussian(torch.zeros(horizon, 1, dtype=torch.float64), scale**2 * torch.minimum(u[:, None], u))


def bridge(horizon: int = 32, start: float = 0.0, goal: float = 0.0, scale: float = 1.0) -> Gaussian:
    """Brownian motion tied to both ends at u_i = i / (H - 1).

    mean_i = start + u_i (goal - start), cov_ij = scale^2 (min(u_i, u_j) - u_i u_j).
    """
    u = torch.linspace(0, 1, horizon, dtype=torch.float64)
    cov = scale**2 * (torch.minimum(u[:, None], u) - u[:, None] * u)
    return Gaussian((start + u * (goal - start))[:, None], cov)


# ---------------------------------------------------------------------------------------------- decisions, step by step
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # a grid's actions 0 to 3, as (row, column): up, right, down, left


def _full(k: int, std: float) -> Tensor:
    if not std >= 0:
        raise ValueError(f"std must be at least 0, got {std}")
    return torch.full((k,), float(std), dtype=torch.float64)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
