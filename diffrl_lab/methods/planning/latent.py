"""Latent plans (after LatentDiffuser, Li 2023): an autoencoder of plans, and a diffusion model over its code.

What is diffused: a code z [k] of a whole plan x [H, 2n + 1] as in `diffuser` (n positions and n velocities, H times,
the logarithm of its steps), each number of it with mean 0 and variance 1 over the recorded plans.
What is learned: first an autoencoder by squared error, z = E(x) and x ~ F(z); then D(z_t, t, ends), ends [3n] being the
state in which a plan begins and the position at which it comes to rest.
How it acts: candidates of z are drawn and decoded, their two ends are set to what is known, and the plan whose
velocities then agree best with its own positions is followed by PD control; it is drawn again where driving goes wrong.
What differs from the paper: the autoencoder is deterministic, with no prior of its own; no energy or return guides the
code; no actions are decoded. The ends that a plan was asked for can only be missed by what the code loses.
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
    sample,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.plans import Array, Plan, interpolated, plan_scaler, seconds_per_step
from diffrl_lab.nets import MLP
from diffrl_lab.worlds.driving import Follower


@dataclass(frozen=True)
class Config:
    """The hyperparameters of the autoencoder and of the diffusion over its code."""

    horizon: int = 32  # H, points of a plan
    code: int = 8  # k, numbers of a code
    coder_width: int = 256  # of the encoder and of the decoder, each of `coder_depth` layers
    coder_depth: int = 3
    coder_updates: int = 3000  # of the autoencoder, which is trained first
    width: int = 384  # of the denoiser's MLP
    depth: int = 5  # its layers
    features: int = 8  # Fourier features of each number of the ends
    updates: int = 3000  # of the denoiser
    batch: int = 256  # pieces in each
    lr: float = 2e-3  # the highest learning rate of both; half a cosine takes it to 0
    ema: float = 0.999  # decay of the running average of the denoiser's weights, which is what plans
    denoising: int = 6  # steps of the chain
    candidates: int = 16  # plans drawn together


class Pieces:
    """Endless batches {"x": [B, H, 2n + 1]} of pieces that end in an arrival, in units. Raises ValueError as
    `diffuser.Pieces` does."""

    def __init__(self, episodes: Episodes, config: Config, generator: torch.Generator):
        c = diffuser.Config(horizon=config.horizon, batch=config.batch, to_arrival=1.0)
        self.whole = diffuser.Pieces(episodes, c, generator)

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> dict[str, Tensor]:
        return {"x": self.whole.plans(self.whole.config.batch)[0]}


class Autoencoder(nn.Module):
    """Plans x [B, H, d], scaled, to codes [B, k] and back. `standard` scales codes: its numbers follow the training."""

    def __init__(self, config: Config, d: int):
        super().__init__()
        size = {"width": config.coder_width, "depth": config.coder_depth, "label": 0}
        self.shape = (config.horizon, d)
        self.encoder = MLP(config.horizon * d, out=config.code, **size)
        self.decoder = MLP(config.code, out=config.horizon * d, **size)
        self.standard = Scaler.blank(config.code)

    def loss(self, x: Tensor, rate: float = 0.01) -> Tensor:
        """The mean squared error of decoded codes; `standard` moves by `rate` to this batch's mean and spread."""
        z = self.encoder(x.flatten(1))
        with torch.no_grad():
            self.standard.center.lerp_(z.mean(0), rate)
            self.standard.spread.lerp_(z.std(0), rate)
        return (self.decoder(z).view_as(x) - x).square().mean()

    def encode(self, x: Tensor) -> Tensor:
        """The code, with mean 0 and variance 1 over the data. [B, H, d] -> [B, k]"""
        return self.standard(self.encoder(x.flatten(1)))

    def decode(self, z: Tensor) -> Tensor:
        """What a code stands for. [B, k] -> [B, H, d]"""
        return self.decoder(self.standard.inverse(z)).view(-1, *self.shape)


class Latent(nn.Module):
    """A diffusion model of codes, and the plans they stand for. obs = 2n and act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    seconds: Tensor
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.n = obs // 2
        net = MLP(config.code, cond=3 * self.n, width=config.width, depth=config.depth, features=config.features)
        self.coder, self.denoiser = Autoencoder(config, obs + 1), NeuralDenoiser(net, Cosine(), "x0")
        self.scaler = Scaler.blank(obs + 1)
        self.register_buffer("seconds", torch.ones((), dtype=torch.float64))  # how long a step of the world lasts, s

    def coder_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The autoencoder's squared error on `Pieces`, in the network's units."""
        return {"loss": self.coder.loss(self.scaler(batch["x"]))}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss of the codes of `Pieces`, given their ends. The autoencoder gets no gradient."""
        x = self.scaler(batch["x"])
        with torch.no_grad():
            z = self.coder.encode(x)
        return {"loss": denoising_loss(self.denoiser, z, cond=self.asked(x), generator=generator)}

    def asked(self, x: Tensor) -> Tensor:
        """The ends of plans [B, H, 2n + 1], scaled: the first state and the last position. -> [B, 3n]"""
        return torch.cat([x[:, 0, : 2 * self.n], x[:, -1, : self.n]], 1)

    @torch.no_grad()
    def reconstructed(self, x: Tensor) -> Tensor:
        """Plans [B, H, 2n + 1] in units after a way through the code. -> the shape of x"""
        return self.scaler.inverse(self.coder.decode(self.coder.encode(self.scaler(x))))

    @torch.no_grad()
    def drawn(self, obs: ArrayLike, goal: ArrayLike, generator: torch.Generator | None = None) -> tuple[Plan, Tensor]:
        """A plan for each state obs [N, 2n] and goal [N, n], and by how many metres its decoded ends missed what was
        asked for, [N], the worse of the two, before they were set."""
        start, end = (torch.as_tensor(np.asarray(v), dtype=torch.float32) for v in (obs, goal))
        value = self.scaler.center.expand(len(start), self.config.horizon, -1).clone()
        value[:, 0, : 2 * self.n], value[:, -1, : self.n] = start, end
        D = given(self.denoiser, self.asked(self.scaler(value)))
        z_T = D.schedule.prior((len(start), self.config.code), generator=generator)
        z = sample(D, z_T, steps=self.config.denoising, generator=generator)
        raw = self.scaler.inverse(self.coder.decode(z))
        missed = (raw - value)[:, [0, -1], : self.n].norm(dim=-1).amax(1)
        raw = torch.where(diffuser.known_ends(raw, self.n), value, raw)
        x, v, durations = raw[..., : self.n], raw[..., self.n : -1], raw[..., -1].mean(1).exp()
        h = (durations * float(self.seconds) / (self.config.horizon - 1))[:, None, None]
        error = x.diff(dim=1) - h * (v[:, 1:] + v[:, :-1]) / 2
        return Plan(raw[..., :-1], durations, error.square().sum(-1).mean(-1).sqrt()), missed

    def sample(
        self, obs: ArrayLike, goal: ArrayLike, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans for each state obs [B, 2n] and goal [B, n], in units with their steps. -> [B, n, H, 2n + 1]"""
        start, end = (np.repeat(np.asarray(v, float), n, 0) for v in (obs, goal))
        return self.drawn(start, end, generator)[0].with_steps.unflatten(0, (-1, n))

    def plan(self, obs: ArrayLike, goal: ArrayLike, generator: torch.Generator | None = None) -> Plan:
        """`candidates` plans from the state obs [2n] to the position goal [n], in one batch."""
        start, end = (np.repeat(np.asarray(v, float)[None], self.config.candidates, 0) for v in (obs, goal))
        return self.drawn(start, end, generator)[0]

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> Array:
        """A plan for a `Follower`: the best of the candidates, as a state for every step."""
        plan = self.plan(obs, goal, torch.Generator().manual_seed(seed))
        return interpolated(plan.points.numpy(), float(plan.durations[plan.best]), float(self.seconds))


class Agent(Follower):
    """Follows the best of the candidates by a PD controller, and plans again where driving goes wrong."""

    def __init__(self, model: Latent, **options: Any):
        super().__init__(model.route, **options)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on pieces of `episodes` as a generator: the autoencoder, then the denoiser of its codes. Raises
    ValueError as `Pieces` does."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    pieces = Pieces(episodes, c, generator)
    model = seeded(seed, Latent, c, episodes.obs.shape[1], episodes.act.shape[1])
    model.scaler = plan_scaler(pieces.whole.plans(20_000)[0], model.n)
    model.seconds.fill_(seconds_per_step(episodes))

    def rate(updates: int) -> Any:
        return cosine_decay(updates, warmup=min(100, updates // 10))

    coder = descend(model.coder_loss, model.coder, lr=c.lr, schedule=rate(c.coder_updates))
    denoiser = descend(
        lambda batch: model.loss(batch, generator), model.denoiser, lr=c.lr, schedule=rate(c.updates), ema=c.ema
    )
    stages = Stage((coder,), pieces, c.coder_updates), Stage((denoiser,), pieces, c.updates)
    return Run(model, *stages, generator=generator, data=episodes, seed=seed)
