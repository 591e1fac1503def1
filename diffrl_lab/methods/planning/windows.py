"""Windows of a robot's log as denoising: Diffuser's plan (Janner et al. 2022) before anything guides it.

What is diffused: x [H, d + a], observation and action of H successive steps of one episode, scaled per column.
What is learned: D(x_t, t), by a temporal U-Net that predicts v.
How it acts: it does not; it is sampled unconditioned, which is the first experiment of the survey (arXiv 2510.12253).
What differs from the paper: observations stand before actions; columns are scaled to unit variance and not to limits;
the network predicts v and is smaller by one to two orders of magnitude; diffusion time is continuous, so the number of
denoising steps is chosen at sampling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, windows
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    Frame,
    NeuralDenoiser,
    Run,
    Stage,
    Step,
    chain,
    cosine_decay,
    ddpm,
    denoising_loss,
    descend,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.nets import TemporalUNet


@dataclass(frozen=True)
class Config:
    """The hyperparameters of a model of windows; the defaults have about half a million weights."""

    horizon: int = 32  # H, steps of a window; a multiple of 2^(levels - 1)
    width: int = 32  # channels of the U-Net's finest level
    mults: tuple[int, ...] = (1, 2, 4)  # channels of each level over width
    updates: int = 1200  # of the network
    batch: int = 32  # windows in each
    lr: float = 2e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what samples
    denoising: int = 20  # steps of the chain


def joined(episodes: Episodes, horizon: int, stride: int = 1) -> Tensor:
    """The windows of episodes as they are recorded, observations before actions -> [N, H, d + a].

    One starts at every `stride`-th step of each episode; none crosses an episode. Raises ValueError without any.
    """
    rows = windows(episodes, horizon, stride)
    return torch.cat([episodes.obs[rows].float(), episodes.act[rows].float()], -1)


class Windows(nn.Module):
    """A diffusion model of windows [H, d + a] in units. obs, act: d and a, how many columns each has."""

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        net = TemporalUNet(obs + act, width=config.width, mults=config.mults)
        self.denoiser = NeuralDenoiser(net, Cosine(), "v")
        self.scaler = Scaler.blank(obs + act)

    def loss(self, z: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss (mean squared error of v) of scaled windows z [B, H, d + a]. -> {"loss": []}"""
        return {"loss": denoising_loss(self.denoiser, z, generator=generator)}

    @torch.no_grad()
    def held_out_loss(self, x: Tensor, generator: torch.Generator, repeats: int = 1) -> float:
        """The loss on windows in units x [N, H, d + a], each at `repeats` noise levels: on what a model never saw it
        tells whether its training is over."""
        z = self.scaler(x)
        losses = [
            float(self.loss(part, generator)["loss"]) * len(part) for _ in range(repeats) for part in z.split(256)
        ]
        return sum(losses) / (repeats * len(z))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A window in units [..., d + a] -> (obs [..., d], act [..., a])."""
        return x[..., : self.sizes["obs"]], x[..., self.sizes["obs"] :]

    def chain(
        self,
        n: int,
        *,
        steps: int | Tensor | None = None,
        step: Step | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Frame]:
        """The making of n windows, frame by frame, x_t and x0_hat in units [n, H, d + a] (`split` takes them apart).

        steps: how many denoising steps, or a grid of times; `config.denoising` unless given. step: ancestral (`ddpm()`)
        unless given.
        """
        x_T = self.denoiser.schedule.prior((n, self.config.horizon, sum(self.sizes.values())), generator=generator)
        steps = self.config.denoising if steps is None else steps
        for t, x_t, x0_hat in chain(self.denoiser, x_T, steps=steps, step=step or ddpm(), generator=generator):
            yield Frame(t, self.scaler.inverse(x_t), self.scaler.inverse(x0_hat))

    def sample(self, n: int, **options: Any) -> tuple[Tensor, Tensor]:
        """n windows in units, (obs [n, H, d], act [n, H, a]); options of `chain`. Nothing is clipped."""
        for frame in self.chain(n, **options):
            x = frame.x_t
        return self.split(x)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all windows of `episodes` as a generator. Raises ValueError where no episode has H steps."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    x = joined(episodes, c.horizon)
    model = seeded(seed, Windows, c, episodes.obs.shape[1], episodes.act.shape[1])
    model.scaler = Scaler.fit(x, "standard")
    update = descend(
        lambda z: model.loss(z, generator),
        model,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    batches = Batches(model.scaler(x), c.batch, generator)
    return Run(model, Stage((update,), batches, c.updates), generator=generator, data=episodes, seed=seed)
