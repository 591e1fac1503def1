"""Value guidance (Diffuser, Janner et al. 2022): a learned J(x_t, t) of the *noisy* plan, climbed while denoising.

The planner stays as it was trained; what is wanted comes in at sampling. Three losses teach the same network three
different things, and only some of them give a law that one can name:

| loss | what J becomes | what `ascend` samples |
|---|---|---|
| `value_loss` | E[R given x_t], Diffuser's choice | no named law: E[R] is not log E[exp R] |
| `classifier_loss`, `density_loss` | log p(y given x_t) | p(x_0) p(y given x_0)^scale, exactly at scale 1 |
| `energy_guidance.contrastive_loss` | log E[exp R given x_t] | p(x_0) exp(R(x_0)), exactly at scale 1 |

What differs from Diffuser: `ascend`'s scale (x0_hat moves by sigma^2 / alpha grad J, one gradient per evaluation), not
the posterior variance with two gradients per step; undiscounted returns to the time limit; and candidates are sorted by
the value of the *finished* plan, where the original ranks by the value before the last step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from diffrl_lab.data.episodes import Episodes, padded_windows, resample, returns_to_go
from diffrl_lab.diffusion import Cosine, Schedule, ascend, given, load, pin, save
from diffrl_lab.diffusion.denoisers import shown
from diffrl_lab.diffusion.schedules import weights
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces, Plan, Planner
from diffrl_lab.nets import MLP
from diffrl_lab.worlds.driving import Follower


class Guide(nn.Module):
    """J(x_t, t) of a noisy x_t [B, ...] -> [B], or [B, out] for out > 1: an MLP over the flattened event.

    It is shown the noise level as a `NeuralDenoiser` is: x_t scaled to unit variance, label = ln(sigma / alpha) / 4.
    dim: numbers in one event. t: [] or [B].
    """

    def __init__(self, dim: int, schedule: Schedule, *, out: int = 1, width: int = 128, sigma_data: float = 1.0):
        super().__init__()
        self.schedule, self.sigma_data, self.dim, self.out, self.width = schedule, float(sigma_data), dim, out, width
        self.net = MLP(dim, out=out, width=width)

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        x, t = x_t.flatten(1), torch.as_tensor(t)
        if x.shape[1] != self.dim or t.ndim > 1:
            raise ValueError(
                f"this guide was made for events of {self.dim} numbers at one noise level each, got x_t "
                f"{tuple(x_t.shape)} and t {tuple(t.shape)}"
            )
        c_in, label = weights(shown, self.schedule, x, [t], self.sigma_data)
        label = label.reshape(t.shape) if torch.is_tensor(label) else x.new_full(x.shape[:1], label)
        y = self.net(c_in * x, label)
        return y[:, 0] if self.out == 1 else y

    def save(self, path: str | Path, **about: Any) -> None:
        """The weights as float16 and the sizes, in one safetensors file. Only for the schedule `Cosine`."""
        if not isinstance(self.schedule, Cosine):
            raise ValueError(f"a guide's file holds no schedule but Cosine(), got {self.schedule!r}")
        sizes = {"dim": self.dim, "out": self.out, "sigma_data": self.sigma_data, "width": self.width}
        save(path, {k: v.half() for k, v in self.state_dict().items()}, guide=sizes, **about)

    @classmethod
    def load(cls, path: str | Path) -> Guide:
        """What `save` wrote. Raises ValueError for a file of something else."""
        tensors, about = load(path)
        if "guide" not in about:
            raise ValueError(f"{path} holds no guide")
        J = cls(about["guide"].pop("dim"), Cosine(), **about["guide"])
        J.load_state_dict({k: v.float() for k, v in tensors.items()})
        return J.eval()


def noised(
    schedule: Schedule,
    x_0: Tensor,
    known: Tensor | None = None,
    generator: torch.Generator | None = None,
    support: int = 1,
) -> tuple[Tensor, Tensor]:
    """(x_t, t [B]) with x_t = alpha x_0 + sigma eps, t ~ U(t_min, 1) stratified, known entries shown clean.

    Runs of `support` rows share their t (B must be a multiple of it).
    """
    groups, rest = divmod(len(x_0), support)
    if rest or not groups:
        raise ValueError(f"{len(x_0)} rows cannot be divided into supports of {support}")
    width = (1 - schedule.t_min) / groups
    t = torch.linspace(schedule.t_min, 1 - width, groups) + width * torch.rand(groups, generator=generator)
    t = t.repeat_interleave(support).to(x_0)
    eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype).to(x_0.device)
    alpha, sigma = schedule(t, x_0.ndim)
    x_t = alpha * x_0 + sigma * eps
    return (x_t if known is None else torch.where(known, x_0, x_t)), t


def value_loss(
    J: Guide, x_0: Tensor, R: Tensor, *, known: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """E (J(x_t, t) - R)^2, whose minimum is J = E[R | x_t]: Diffuser's return regressor. R [B]. -> []"""
    return F.mse_loss(J(*noised(J.schedule, x_0, known, generator)), R)


def classifier_loss(
    J: Guide, x_0: Tensor, y: Tensor, *, known: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Cross-entropy of the logits J(x_t, t) [B, K] and classes y [B] (whole numbers): softmax(J) = p(y | x_t). -> []"""
    return F.cross_entropy(J(*noised(J.schedule, x_0, known, generator)), y)


def log_p(J: Guide, y: int) -> Callable[[Tensor, Tensor], Tensor]:
    """(x_t, t) -> log p(y | x_t) [B] from a classifier's logits: what `ascend` takes (Dhariwal and Nichol 2021)."""
    return lambda x_t, t: J(x_t, t).log_softmax(-1)[:, y]


def density_loss(
    J: Guide, x_0: Tensor, y: Tensor, *, known: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """- log p(y | x_t) of numbers y [B, c], a Gaussian whose mean and log deviations J(x_t, t) [B, 2c] gives. -> []"""
    return -log_density(J, y)(*noised(J.schedule, x_0, known, generator)).mean()


def log_density(J: Guide, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """(x_t, t) -> log p(y | x_t) [B] without its constant: the classifier of numbers y ([c] or [B, c])."""

    def log_p_y(x_t: Tensor, t: Tensor) -> Tensor:
        mean, log_std = J(x_t, t).chunk(2, -1)
        log_std = log_std.clamp(-5, 3)
        return (-0.5 * ((y - mean) / log_std.exp()) ** 2 - log_std).sum(-1)

    return log_p_y


def drives(episodes: Episodes, config: Diffuser, limit: int, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """Whole drives, from an episode's start to its arrival, as plans x [E, H, 2n + 1], and what each returns, R [E].

    R = sum_k gamma^k r_k from the plan's first step up to step `limit`, not only within the plan: after the recording
    was cut the ball stays, and every step that is left pays what the last recorded one paid. Guides trained on these
    and plans that are ranked use one gamma (Diffuser trains its guide at 0.99 and plans at 0.997).
    Raises ValueError where an episode is longer than the limit.
    """
    if int(episodes.lengths.max()) > limit:
        raise ValueError(f"an episode has {int(episodes.lengths.max())} steps, more than the limit of {limit}")
    pieces = Pieces(episodes, config, torch.Generator())
    left = (limit - episodes.lengths).double()
    stay = left if gamma == 1 else (1 - gamma**left) / (1 - gamma)
    R = returns_to_go(episodes, gamma, stay * episodes.rew[episodes.ends - 1])[pieces.first]
    duration = pieces.arrival - pieces.first
    log = duration.float().log()[:, None, None].expand(-1, config.horizon, 1)
    return torch.cat([resample(pieces.obs, pieces.first, duration, config.horizon), log], -1), R.float()


def windows_to_go(episodes: Episodes, horizon: int, gamma: float = 0.99) -> tuple[Tensor, Tensor, Tensor]:
    """Every window of `horizon` rows and what its first step goes on to return: rows, mask [N, H], R [N].

    R = r_0 + gamma r_1 + ... from the window's first step to the end of its *episode*, not of the window (Diffuser's
    guide; it too trains at gamma = 0.99). After a terminal nothing follows; after a time limit the robot would have
    gone on, and counts as earning for ever the mean reward of the episode's last 1 / (1 - gamma) steps. Rows past the
    end of an episode repeat its last one (`padded_windows`), mask is False there.
    Raises ValueError unless 0 <= gamma < 1.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"a return that goes on for ever needs 0 <= gamma < 1, got {gamma}")
    rows, mask = padded_windows(episodes, horizon)
    total = episodes.rew.double().cumsum(0)  # the last row of an episode earns 0
    back = episodes.lengths.clamp(max=max(round(1 / (1 - gamma)), 1))
    last = episodes.ends - 1
    late = (total[last] - total[last - back] * (last >= back)) / back
    return rows, mask, returns_to_go(episodes, gamma, late / (1 - gamma))[rows[:, 0]].float()


def known_ends(x: Tensor, n: int) -> Tensor:
    """The known-mask of a plan x [..., H, 2n + 1] between a state and a goal's position, as `Planner.ends` gives it."""
    known = torch.zeros(x.shape, dtype=torch.bool)
    known[..., 0, : 2 * n], known[..., -1, :n] = True, True
    return known


@dataclass(frozen=True)
class ValueGuided:
    """A planner whose plans climb J, and whose candidates are sorted by J. scale = 0 sorts only.

    J(x, t) -> [B] takes plans as the planner's network sees them (scaled).
    """

    planner: Planner
    J: Callable[[Tensor, Tensor], Tensor]
    scale: float = 1.0
    candidates: int = 16
    steps: int = 10  # denoising steps
    at: str = "x_t"
    ranked: bool = True  # False: the first candidate drawn, whatever its value

    def plan(
        self, obs: ArrayLike, goal: ArrayLike, n: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Plan, Tensor]:
        """n candidates from the state obs [2d] to goal [d], best first, and their values [n]."""
        known, value = self.planner.ends(obs, goal)
        D = ascend(given(self.planner.denoiser, {"known": known}), self.J, self.scale, self.at)
        plan = self.planner.drawn(pin(D, known, value), known, value, n or self.candidates, self.steps, generator)
        with torch.no_grad():
            values = self.J(scaled(self.planner, plan), torch.tensor(0.0))
        if not self.ranked:
            return plan, values
        order = values.argsort(descending=True)
        picked = replace(
            plan, candidates=plan.candidates[order], durations=plan.durations[order], gaps=plan.gaps[order]
        )
        return picked, values[order]

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> NDArray[np.float64]:
        """The first candidate as a state for every step, for a `Follower`."""
        return self.planner.reference(self.plan(obs, goal, generator=torch.Generator().manual_seed(seed))[0], 0)

    def agent(self, **options: Any) -> Follower:
        """The planner as an agent for `drive`; options of `Follower`."""
        return Follower(self.route, **options)


def scaled(planner: Planner, plan: Plan) -> Tensor:
    """The candidates of a plan as the planner's network sees them. -> [n, H, 2d + 1]"""
    log = plan.durations.log()[:, None, None].expand(-1, planner.horizon, 1)
    return planner.scaler(torch.cat([plan.candidates, log], -1))
