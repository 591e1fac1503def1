"""Windows of a process whose long law is known, put together in four ways: what becomes of the correlation at a joint.

x_k = rho x_(k-1) + sqrt(1 - rho^2) eps, stationary with variance 1, in c windows of h states; the last state of one is
the first of the next. Every denoiser here is exact and linear, so the law of ancestral samples is exact too: the
covariance is carried through the chain, and nothing is drawn. The exact long denoiser gives what the chain's own steps
cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrl_lab.diffusion import Cosine, Function, Schedule
from diffrl_lab.diffusion.denoisers import Cond

WAYS = ("exact", "averaged", "bethe", "shown", "resampled")


@dataclass(frozen=True)
class Chain:
    """The process, cut into windows. Raises ValueError for rho outside (-1, 1), fewer than 2 states or no window."""

    rho: float = 0.9
    horizon: int = 9  # h, states of a window
    windows: int = 3  # c
    schedule: Schedule = Cosine()

    def __post_init__(self) -> None:
        if not -1 < self.rho < 1 or self.horizon < 2 or self.windows < 1:
            raise ValueError(f"rho in (-1, 1), horizon of at least 2 and a window are needed, got {self}")

    @property
    def length(self) -> int:
        """How many states the whole has."""
        return self.windows * (self.horizon - 1) + 1

    def cov(self, length: int) -> Tensor:
        """rho^|i - j|, the covariance of so many successive states. -> [length, length]"""
        at = torch.arange(length, dtype=torch.float64)
        return self.rho ** (at[:, None] - at).abs()

    @property
    def middles(self) -> list[int]:
        """The middle states of the windows: between two of them lies one joint. -> [c]"""
        return [w * (self.horizon - 1) + self.horizon // 2 for w in range(self.windows)]

    @property
    def places(self) -> Tensor:
        """Which state of the whole each state of each window is. -> [c, h]"""
        return torch.arange(self.windows)[:, None] * (self.horizon - 1) + torch.arange(self.horizon)


def matrix(chain: Chain, way: str, t: float) -> Tensor:
    """The matrix M of a denoiser at time t, x0_hat = M x_t.

    exact, averaged, bethe: of the whole, [L, L]. At a joint averaged is the mean of what both windows
    say; Bethe their sum less what the state alone says (of clean states the scores of windows add, and that of the
    joint counts once; of noisy ones it is an approximation).
    resampled: the matrix is that of `averaged`.
    shown: of all windows side by side, [c h, c h]: each is also shown its neighbours' noisy copies of its ends, and
    what both say of a joint is averaged. Raises ValueError for another way.
    """
    alpha, sigma = (float(v) for v in chain.schedule(torch.tensor(t, dtype=torch.float64)))
    L, h, c = chain.length, chain.horizon, chain.windows
    one, places = chain.cov(h), chain.places
    if way == "exact":
        return _best(chain.cov(L), alpha * torch.eye(L, dtype=torch.float64), sigma)
    if way in ("averaged", "resampled", "bethe"):
        window = _best(one, alpha * torch.eye(h, dtype=torch.float64), sigma)
        M, count = torch.zeros(L, L, dtype=torch.float64), torch.zeros(L, dtype=torch.float64)
        for place in places:
            M[place[:, None], place] += window
            count[place] += 1
        alone = alpha / (alpha**2 + sigma**2)
        return M - torch.diag((count - 1) * alone) if way == "bethe" else M / count[:, None]
    if way != "shown":
        raise ValueError(f"windows are put together in one of {', '.join(WAYS)}; got {way!r}")
    M = torch.zeros(c * h, c * h, dtype=torch.float64)
    for w in range(c):
        looks = [(k, w * h + k) for k in range(h)]  # a state of the window, and where x_t shows it
        looks += [(0, w * h - 1)] if w else []
        looks += [(h - 1, (w + 1) * h)] if w < c - 1 else []
        seen = alpha * torch.eye(h, dtype=torch.float64)[[k for k, _ in looks]]
        M[w * h : (w + 1) * h, [at for _, at in looks]] = _best(one, seen, sigma)
    for w in range(1, c):
        M[w * h - 1] = M[w * h] = (M[w * h - 1] + M[w * h]) / 2
    return M


def _best(cov: Tensor, seen: Tensor, sigma: float) -> Tensor:
    """E[x_0 | seen x_0 + sigma eps] as a matrix on what is seen, for x_0 ~ N(0, cov)."""
    noise = sigma**2 * torch.eye(len(seen), dtype=torch.float64)
    return torch.linalg.solve(seen @ cov @ seen.T + noise, seen @ cov).T


def denoiser(chain: Chain, way: str) -> Function:
    """`matrix` as a denoiser of x_t [..., L] or, for "shown", [..., c h]."""

    def linear(x_t: Tensor, t: Tensor, _: Cond = None) -> Tensor:
        return x_t @ matrix(chain, way, float(t)).T.to(x_t)

    return Function(linear, chain.schedule)


def law(chain: Chain, way: str, steps: int = 50, repeats: int = 20) -> Tensor:
    """The covariance of the whole [L, L] that `steps` ancestral steps (DDPM) give; means are 0.

    resampled: after each step but the last noise is added again and the step repeated, `repeats` times in all (RePaint;
    Lugmayr et al. 2022). shown: a state at a joint is the mean of its two copies.
    """
    times = chain.schedule.grid(steps).double()
    size = chain.windows * chain.horizon if way == "shown" else chain.length
    unit = torch.eye(size, dtype=torch.float64)
    V = unit * float(chain.schedule(times[0])[1]) ** 2
    for k, (t, s) in enumerate(zip(times[:-1].tolist(), times[1:].tolist(), strict=True)):
        (alpha, sigma), (alpha_s, sigma_s) = (
            [float(v) for v in chain.schedule(torch.tensor(u, dtype=torch.float64))] for u in (t, s)
        )
        ratio, kept = alpha / alpha_s, sigma_s**2 / sigma**2
        fresh = sigma**2 - ratio**2 * sigma_s**2  # the variance of the noise between s and t
        A = ratio * kept * unit + alpha_s * fresh / sigma**2 * matrix(chain, way, t)
        for again in range(repeats if way == "resampled" and k < steps - 1 else 1):
            if again:
                V = ratio**2 * V + fresh * unit
            V = A @ V @ A.T + fresh * kept * unit
    if way != "shown":
        return V
    whole = torch.zeros(chain.length, size, dtype=torch.float64)
    for w, place in enumerate(chain.places):
        whole[place, torch.arange(w * chain.horizon, (w + 1) * chain.horizon)] = 1
    whole /= whole.sum(1, keepdim=True)
    return whole @ V @ whole.T


def correlation(cov: Tensor, a: int, b: int) -> float:
    """The correlation of states a and b."""
    return float(cov[a, b] / (cov[a, a] * cov[b, b]).sqrt())


def joint(way: str, rho: float = 0.9, horizon: int = 9, windows: int = 3, steps: int = 50) -> dict[str, float]:
    """across: the correlation of the middles of two neighbouring windows (worst pair), whose law is rho^(h - 1);
    inside: of as near states as a window has, one step apart at its middle (rho); variance: at the joint (1)."""
    chain = Chain(rho, horizon, windows)
    V, m, step = law(chain, way, steps), chain.middles, horizon - 1
    pairs = zip(m, m[1:], strict=False)
    return {
        "across": min(correlation(V, a, b) for a, b in pairs),
        "law": rho**step,
        "inside": correlation(V, m[0] - 1, m[0]),
        "variance": float(V[step, step]),
    }
