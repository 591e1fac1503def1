"""Hierarchical planning with diffusion (Chen et al. 2024): subgoals every K points first, then the legs between them.

What is diffused: subgoals g [S + 1, 2n + 1], every K-th point of a plan as in `diffuser` (n positions and n velocities,
the logarithm of the steps of the whole plan); and legs x [K + 1, 2n + 1], the points between two of them.
What is learned: two denoisers apart from each other, of the same pieces: D_high(g_t, t, known), with `diffuser`'s
known-mask at its two ends, and D_low(x_t, t, known), which is always shown both ends of its leg and the plan's steps.
How it acts: candidates of subgoals are drawn together, then all legs of all candidates in one batch; the plan whose
velocities agree best with its own positions is followed by PD control, and drawn again where driving goes wrong.
What differs from the paper: K counts points of a plan of any duration and not steps of the world; a subgoal has its
velocity, so that legs meet smoothly; no actions (the paper's denser variant adds them), no return guides either level.
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
    Denoiser,
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
from diffrl_lab.nets import PlanMLP
from diffrl_lab.worlds.driving import Follower


@dataclass(frozen=True)
class Config:
    """The hyperparameters of both levels; how pieces are drawn is `diffuser.Config`'s."""

    legs: int = 5  # S, legs of a plan
    every: int = 8  # K, points from one subgoal to the next
    width: int = 256  # of each network's MLP
    depth: int = 3  # its residual blocks
    channels: int = 32  # of its convolution along the points
    updates: int = 3000  # of both networks
    batch: int = 256  # pieces in each
    lr: float = 3e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.999  # decay of the running average of the weights, which is what plans
    denoising: int = 6  # steps of the chain of each level
    candidates: int = 16  # plans drawn together

    @property
    def horizon(self) -> int:
        """S K + 1, the points of a whole plan."""
        return self.legs * self.every + 1


class Pieces:
    """Endless batches of pieces as subgoals and legs: {"subgoals": [B, S + 1, 2n + 1], "known": of them, bool,
    "legs": [B, K + 1, 2n + 1]}, one leg of each piece, drawn evenly. Raises ValueError as `diffuser.Pieces` does."""

    def __init__(self, episodes: Episodes, config: Config, generator: torch.Generator):
        self.config, self.generator = config, generator
        c = diffuser.Config(horizon=config.horizon, batch=config.batch)
        self.whole = diffuser.Pieces(episodes, c, generator)

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> dict[str, Tensor]:
        K, piece = self.config.every, next(self.whole)
        x = piece["x"]
        leg = torch.randint(self.config.legs, (len(x), 1), generator=self.generator)
        rows = leg * K + torch.arange(K + 1)
        legs = x[torch.arange(len(x))[:, None], rows]
        return {"subgoals": x[:, ::K], "known": piece["known"][:, ::K], "legs": legs}


def _between(x: Tensor, n: int) -> Tensor:
    """The known-mask of legs x [..., K + 1, 2n + 1]: both ends, and the steps of the plan."""
    known = torch.zeros(x.shape, dtype=torch.bool)
    known[..., [0, -1], : 2 * n] = True
    known[..., -1] = True
    return known


class Hierarchical(nn.Module):
    """Two diffusion models, of subgoals and of legs, and plans of both. obs = 2n and act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    seconds: Tensor
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.n = obs // 2

        def denoiser(points: int) -> NeuralDenoiser:
            size = {"width": config.width, "depth": config.depth, "channels": config.channels}
            return NeuralDenoiser(PlanMLP(points, obs + 1, positions=self.n, **size), Cosine(), "x0")

        self.high, self.low = denoiser(config.legs + 1), denoiser(config.every + 1)
        self.scaler = Scaler.blank(obs + 1)
        self.register_buffer("seconds", torch.ones((), dtype=torch.float64))  # how long a step of the world lasts, s

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising losses of `Pieces`, "high" of subgoals and "low" of legs, without what is known of each; "loss"
        is their sum, and no weight is in both."""
        terms = {}
        for name, what, known in (
            ("high", "subgoals", batch["known"]),
            ("low", "legs", _between(batch["legs"], self.n)),
        ):
            D, x = getattr(self, name), self.scaler(batch[what])
            terms[name] = denoising_loss(D, x, cond={"known": known}, known=known, generator=generator)
        return {"loss": terms["high"] + terms["low"]} | terms

    def _drawn(self, D: Denoiser, known: Tensor, value: Tensor, generator: torch.Generator | None) -> Tensor:
        """One level under what is known of it, scaled. -> the shape of value"""
        pinned = pin(given(D, {"known": known}), known, value)
        x_T = D.schedule.prior(tuple(value.shape), generator=generator)
        x = sample(pinned, x_T, steps=self.config.denoising, generator=generator)
        return torch.where(known, value, x)

    @torch.no_grad()
    def subgoals(self, obs: ArrayLike, goal: ArrayLike, generator: torch.Generator | None = None) -> Tensor:
        """Subgoals from the states obs [N, 2n] to the positions goal [N, n], scaled; the last column is one number for
        the whole plan. -> [N, S + 1, 2n + 1]"""
        start, end = (torch.as_tensor(np.asarray(v), dtype=torch.float32) for v in (obs, goal))
        value = self.scaler.center.expand(len(start), self.config.legs + 1, -1).clone()
        value[:, 0, : 2 * self.n], value[:, -1, : self.n] = start, end
        value = self.scaler(value)
        g = self._drawn(self.high, diffuser.known_ends(value, self.n), value, generator)
        return torch.cat([g[..., :-1], g[..., -1:].mean(1, keepdim=True).expand(-1, g.shape[1], 1)], -1)

    @torch.no_grad()
    def legs(self, subgoals: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The legs between neighbouring subgoals [N, S + 1, 2n + 1], end to end, scaled. -> [N, S K + 1, 2n + 1]"""
        N, K = len(subgoals), self.config.every
        value = torch.zeros(N, self.config.legs, K + 1, subgoals.shape[-1])
        value[:, :, 0], value[:, :, -1] = subgoals[:, :-1], subgoals[:, 1:]
        value[..., -1] = subgoals[:, :-1, None, -1]
        flat = value.flatten(0, 1)
        x = self._drawn(self.low, _between(flat, self.n), flat, generator).view_as(value)
        return torch.cat([x[:, :, :-1].flatten(1, 2), subgoals[:, -1:]], 1)

    def drawn(self, obs: ArrayLike, goal: ArrayLike, generator: torch.Generator | None = None) -> Plan:
        """A plan for each state obs [N, 2n] and goal [N, n]."""
        raw = self.scaler.inverse(self.legs(self.subgoals(obs, goal, generator), generator))
        x, v, durations = raw[..., : self.n], raw[..., self.n : -1], raw[:, 0, -1].exp()
        h = (durations * float(self.seconds) / (self.config.horizon - 1))[:, None, None]
        error = x.diff(dim=1) - h * (v[:, 1:] + v[:, :-1]) / 2
        return Plan(raw[..., :-1], durations, error.square().sum(-1).mean(-1).sqrt())

    def sample(
        self, obs: ArrayLike, goal: ArrayLike, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans for each state obs [B, 2n] and goal [B, n], in units with their steps. -> [B, n, S K + 1, 2n + 1]"""
        start, end = (np.repeat(np.asarray(v, float), n, 0) for v in (obs, goal))
        return self.drawn(start, end, generator).with_steps.unflatten(0, (-1, n))

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

    def __init__(self, model: Hierarchical, **options: Any):
        super().__init__(model.route, **options)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training of both levels on pieces of `episodes` as a generator. Raises ValueError as `Pieces` does."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    pieces = Pieces(episodes, c, generator)
    model = seeded(seed, Hierarchical, c, episodes.obs.shape[1], episodes.act.shape[1])
    model.scaler = plan_scaler(pieces.whole.plans(20_000)[0], model.n)
    model.seconds.fill_(seconds_per_step(episodes))
    update = descend(
        lambda batch: model.loss(batch, generator),
        model,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    return Run(model, Stage((update,), pieces, c.updates), generator=generator, data=episodes, seed=seed)
