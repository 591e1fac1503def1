"""Plans, which several methods draw: what one is, which tasks are held out, and what is read off the data beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicHermiteSpline
from torch import Tensor

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Frame

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plan:
    """Candidates [n, H, 2d] (positions in m, velocities in m/s), how long each takes, and how each came about.

    `frames` are in the same units with a last column of steps: frame.x_t and frame.x0_hat are [n, H, 2d + 1].
    """

    candidates: Tensor
    durations: Tensor  # [n], in steps
    gaps: Tensor  # [n], metres: `Diffuser.inconsistency`
    frames: list[Frame] = field(repr=False, default_factory=list)

    @property
    def best(self) -> int:
        """The candidate whose velocities agree best with its own positions."""
        return int(self.gaps.argmin())

    @property
    def with_steps(self) -> Tensor:
        """The candidates with a last column of how many steps the whole takes. -> [n, H, 2d + 1]"""
        steps = self.durations[:, None, None].expand(-1, self.candidates.shape[1], 1)
        return torch.cat([self.candidates, steps], -1)

    @property
    def points(self) -> Tensor:
        """The chosen candidate. -> [H, 2d]"""
        return self.candidates[self.best]


def plan_scaler(x: Tensor, n: int) -> Scaler:
    """The scaler of plans x [..., 2n + 1]: positions share one spread and velocities another, so that a direction means
    the same before and after."""
    fitted = Scaler.fit(x, "standard")
    center, spread = fitted.center.clone(), fitted.spread.clone()
    center[n : 2 * n] = 0
    for part in (slice(0, n), slice(n, 2 * n)):
        spread[part] = x[..., part].sub(center[part]).square().mean().sqrt()
    return Scaler(center, spread)


def is_held_out(start: Tensor, goal: Tensor, origin: tuple[float, float]) -> Tensor:
    """Whether a joint pair of start and goal cells is one of the fifth that a training with `held_out=origin` never
    sees. -> bool

    Cells are squares of 1 m with a corner at `origin`; which pairs are held out is arithmetic on their numbers.
    Positions [..., n].
    """
    corner = torch.as_tensor(origin, dtype=torch.float32)
    ends = [(torch.as_tensor(x)[..., :2] - corner).floor().long() for x in (start, goal)]
    cells = torch.cat(ends, -1)
    mixed = (cells * torch.tensor([7, 13, 17, 29])).sum(-1)
    return (mixed % 5 == 0) & (cells[..., :2] != cells[..., 2:]).any(-1)


def seconds_per_step(episodes: Episodes) -> float:
    """How long a step lasts, from the data: the least-squares slope of displacements on velocities."""
    rows = (episodes.last == 0).nonzero()[:, 0]
    n = episodes.obs.shape[1] // 2
    moved, speed = episodes.obs[rows + 1, :n] - episodes.obs[rows, :n], episodes.obs[rows, n:]
    return float((moved * speed).sum() / (speed**2).sum())


def inverse_dynamics(episodes: Episodes) -> Tensor:
    """W [1 + 4n, a] of the least-squares action act = [1, s, s' - s] W between two states s, s' [2n] one step apart.

    A displacement is nearly the velocity times the step: directions in which the features hardly vary are left out.
    """
    rows = (episodes.last == 0).nonzero()[:, 0]
    s, after = episodes.obs[rows].double(), episodes.obs[rows + 1].double()
    features = torch.cat([torch.ones(len(s), 1, dtype=torch.float64), s, after - s], 1)
    unit = features.square().mean(0).sqrt()
    unit = torch.where(unit > 0, unit, 1.0)
    solved = torch.linalg.lstsq(features / unit, episodes.act[rows].double(), rcond=1e-3, driver="gelsd")
    return (solved.solution / unit[:, None]).float()


def interpolated(points: ArrayLike, duration: float, seconds_per_step: float = 0.01) -> Array:
    """The states at every step of a plan [H, 2n] that takes `duration` steps, cubic Hermite between its points.

    -> [T + 1, 2n], where T is `duration` rounded, and 1 at least.
    """
    p = np.asarray(points, float)
    n, gaps = p.shape[1] // 2, len(p) - 1
    h = duration * seconds_per_step / gaps
    u = np.linspace(0, gaps, max(round(duration), 1) + 1)  # in gaps
    spline = CubicHermiteSpline(np.arange(len(p)), p[:, :n], p[:, n:] * h)
    return np.concatenate([spline(u), spline(u, 1) / h], 1)
