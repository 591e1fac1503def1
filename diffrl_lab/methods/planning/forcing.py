"""Diffusion Forcing (Chen et al. 2024): every point of a plan has a noise level of its own.

What is diffused: a plan x [H, 2n + 1], as in `diffuser`, its points at levels t [H] that need not be alike.
What is learned: D(x_t, t, known), from pieces as there, the level of each point drawn apart from all others. So one set
of weights knows plans whose beginning is clean and whose end is noise, and all between.
How it acts: points are denoised one after the other, each `lag` rows of the grid behind the one before it (0: all
together, as `diffuser` does); candidates, choice and driving are those of `diffuser`.
What differs from the paper: a convolutional network that sees both sides of a point, in place of a causal one; no
Monte-Carlo guidance; what is known of a point is shown by a mask, since a goal's velocity is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Cosine,
    NeuralDenoiser,
    Run,
    Stage,
    cosine_decay,
    denoising_loss,
    descend,
    given,
    pin,
    sample,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.plans import Array, Plan, interpolated, plan_scaler, seconds_per_step
from diffrl_lab.nets import TemporalUNet
from diffrl_lab.worlds.driving import Follower


@dataclass(frozen=True)
class Config:
    """The hyperparameters; how pieces are drawn is `diffuser.Config`'s."""

    horizon: int = 32  # H, points of a plan, a multiple of 4
    width: int = 32  # channels of the network's finest level, a multiple of 8
    updates: int = 3000  # of the network
    batch: int = 256  # pieces in each
    lr: float = 2e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.999  # decay of the running average of the weights, which is what plans
    denoising: int = 10  # steps of the chain of each point
    lag: float = 0.5  # rows of the grid by which a point begins later than the one before it
    candidates: int = 16  # plans drawn together


def levels(times: Tensor, horizon: int, lag: float) -> Tensor:
    """The grid in which point k of a plan begins round(lag k) rows after point 0, and then takes time after time.

    times [K + 1] fall from 1 to 0. A point rests at the first before its turn and at the last after it, while another
    one moves. -> [K + 1 + round(lag (H - 1)), 1, H]. Raises ValueError for a lag that is negative, or so large that
    there are rows in which no point moves.
    """
    K = len(times) - 1
    if not 0 <= lag <= K:
        raise ValueError(f"a point can begin 0 to {K} rows after the one before it, got {lag}")
    late = (lag * torch.arange(horizon)).round().long()
    rows = torch.arange(K + 1 + int(late[-1]))
    return times[(rows[:, None] - late).clamp(0, K)][:, None]


class Forcing(nn.Module):
    """A diffusion model of plans whose points have levels of their own. obs = 2n and act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    seconds: Tensor
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.n = obs // 2
        self.denoiser = NeuralDenoiser(TemporalUNet(obs + 1, width=config.width), Cosine(), "x0")
        self.scaler = Scaler.blank(obs + 1)
        self.register_buffer("seconds", torch.ones((), dtype=torch.float64))  # how long a step of the world lasts, s

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss of `diffuser.Pieces` at levels t ~ U(t_min, 1), one for each point, without what is
        known."""
        x, known = self.scaler(batch["x"]), batch["known"]
        low = self.denoiser.schedule.t_min
        t = low + (1 - low) * torch.rand(x.shape[:2], generator=generator)
        cond = {"known": known}
        return {"loss": denoising_loss(self.denoiser, x, cond=cond, known=known, t=t, generator=generator)}

    @torch.no_grad()
    def drawn(
        self, obs: ArrayLike, goal: ArrayLike, generator: torch.Generator | None = None, *, lag: float | None = None
    ) -> Plan:
        """A plan for each state obs [N, 2n] and goal [N, n], with `config.lag` or another one."""
        c = self.config
        start, end = (torch.as_tensor(np.asarray(v), dtype=torch.float32) for v in (obs, goal))
        value = self.scaler.center.expand(len(start), c.horizon, -1).clone()
        value[:, 0, : 2 * self.n], value[:, -1, : self.n] = start, end
        value = self.scaler(value)
        known = diffuser.known_ends(value, self.n)
        D = pin(given(self.denoiser, {"known": known}), known, value)
        grid = levels(D.schedule.grid(c.denoising), c.horizon, c.lag if lag is None else lag)
        x = sample(D, D.schedule.prior(tuple(value.shape), generator=generator), steps=grid, generator=generator)
        raw = self.scaler.inverse(torch.where(known, value, x))
        at, v, durations = raw[..., : self.n], raw[..., self.n : -1], raw[..., -1].mean(1).exp()
        h = (durations * float(self.seconds) / (c.horizon - 1))[:, None, None]
        error = at.diff(dim=1) - h * (v[:, 1:] + v[:, :-1]) / 2
        return Plan(raw[..., :-1], durations, error.square().sum(-1).mean(-1).sqrt())

    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike,
        *,
        n: int = 1,
        generator: torch.Generator | None = None,
        lag: float | None = None,
    ) -> Tensor:
        """n plans for each state obs [B, 2n] and goal [B, n], in units with their steps. -> [B, n, H, 2n + 1]"""
        start, end = (np.repeat(np.asarray(v, float), n, 0) for v in (obs, goal))
        return self.drawn(start, end, generator, lag=lag).with_steps.unflatten(0, (-1, n))

    def plan(self, obs: ArrayLike, goal: ArrayLike, generator: torch.Generator | None = None) -> Plan:
        """`candidates` plans from the state obs [2n] to the position goal [n], in one batch."""
        start, end = (np.repeat(np.asarray(v, float)[None], self.config.candidates, 0) for v in (obs, goal))
        return self.drawn(start, end, generator)

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> Array:
        """A plan for a `Follower`: the best of the candidates, as a state for every step."""
        plan = self.plan(obs, goal, torch.Generator().manual_seed(seed))
        return interpolated(plan.points.numpy(), float(plan.durations[plan.best]), float(self.seconds))


class Agent(Follower):
    """Follows the best of the candidates by a PD controller, and plans again where driving goes wrong."""

    def __init__(self, model: Forcing, **options: Any):
        super().__init__(model.route, **options)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on pieces of `episodes` as a generator. Raises ValueError as `diffuser.Pieces` does."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    pieces = diffuser.Pieces(episodes, diffuser.Config(horizon=c.horizon, batch=c.batch), generator)
    model = seeded(seed, Forcing, c, episodes.obs.shape[1], episodes.act.shape[1])
    model.scaler = plan_scaler(pieces.plans(20_000)[0], model.n)
    model.seconds.fill_(seconds_per_step(episodes))
    update = descend(
        lambda batch: model.loss(batch, generator),
        model,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    return Run(model, Stage((update,), pieces, c.updates), generator=generator, data=episodes, seed=seed)
