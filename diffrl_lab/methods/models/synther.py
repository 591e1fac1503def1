"""SynthER (Lu et al. 2023): new transitions for an old recording, drawn by diffusion, to train offline methods on.

What is diffused: x = (s, a, r, s', terminal) [2 d + a + 2], one transition as one vector, each number scaled to mean 0
and variance 1 over the recording.
What is learned: D(x_t, t) with EDM's preconditioning (Karras et al. 2022), given nothing.
How it acts: it does not; `sample` draws transitions, and a policy is trained on them.
What differs from the paper: a plain MLP of 192 in place of a residual one of 1,024 or more, thousands of updates in
place of 100,000, and 18 steps of Heun's method without noise in place of 128 with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, Transitions, transitions
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Frame,
    Karras,
    NeuralDenoiser,
    Run,
    Stage,
    Step,
    chain,
    cosine_decay,
    denoising_loss,
    descend,
    heun,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of SynthER."""

    width: int = 192  # of the network's hidden layers
    depth: int = 5  # its layers
    updates: int = 2500  # of the network
    batch: int = 256  # transitions in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what draws
    level_mean: float = -1.2  # of ln sigma in training; the paper's, as is the next
    level_std: float = 1.2
    denoising: int = 18  # steps of the chain
    predict: str = "edm"  # what the network predicts (`denoisers.coefficients`); "x0" was no better
    sigma_data: float = 1.0  # of its preconditioning: 1 is the deviation of the scaled data


def levels(D: Any, config: Any, n: int, generator: torch.Generator) -> Tensor:
    """n times t at which ln sigma ~ N(level_mean, level_std^2), within the schedule. -> [n]"""
    sigma = torch.exp(config.level_mean + config.level_std * torch.randn(n, generator=generator))
    return D.schedule.time(sigma.clamp(D.schedule.sigma_min, D.schedule.sigma_max))


def rows(t: Transitions) -> Tensor:
    """(s, a, r, s', terminal) of each transition, side by side, in units. -> [M, 2 d + a + 2]"""
    return torch.cat([t.obs, t.act, t.rew[:, None], t.next_obs, t.terminal[:, None]], 1).float()


def unpacked(x: Tensor, obs: int, act: int) -> Transitions:
    """What `rows` packed, obs and act being the columns of states and actions; terminal where it is above one half."""
    s, a, r, after, terminal = x.split([obs, act, 1, obs, 1], 1)
    return Transitions(s, a, r[:, 0], after, terminal[:, 0] > 0.5)


class Synther(nn.Module):
    """p(s, a, r, s', terminal) of a recording.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.dim = 2 * obs + act + 2
        net = MLP(self.dim, width=config.width, depth=config.depth)
        self.denoiser = NeuralDenoiser(net, Karras(0.002, 80.0), config.predict, config.sigma_data)
        self.scaler = Scaler.blank(self.dim)

    def loss(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """EDM's loss on scaled transitions [B, 2 d + a + 2]. -> {"loss": []}"""
        t = levels(self.denoiser, self.config, len(batch), generator)
        return {"loss": denoising_loss(self.denoiser, batch, t=t, generator=generator)}

    @torch.no_grad()
    def chain(
        self,
        n: int,
        *,
        steps: int | None = None,
        step: Step | None = None,
        x_T: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Frame]:
        """The drawing of n transitions, frame by frame, x_t and x0_hat as rows [n, 2 d + a + 2] in units.

        steps: `config.denoising` unless given; step: Heun's unless given; x_T: the noise to begin with.
        """
        if x_T is None:
            x_T = self.denoiser.schedule.prior((n, self.dim), generator)
        steps = self.config.denoising if steps is None else steps
        for t, x_t, x0_hat in chain(self.denoiser, x_T, steps=steps, step=step or heun(), generator=generator):
            yield Frame(t, self.scaler.inverse(x_t), self.scaler.inverse(x0_hat))

    @torch.no_grad()
    def sample(self, n: int, **options: Any) -> Transitions:
        """n new transitions, in units; arguments of `chain`. `data.episodes.loose` makes episodes of them.

        They are drawn 2,000 at a time, unless the noise x_T is given.
        """
        parts, most = [], n if options.get("x_T") is not None else 2000
        for first in range(0, n, most):
            for frame in self.chain(min(most, n - first), **options):
                x = frame.x_t
            parts.append(x)
        return unpacked(torch.cat(parts), **self.sizes)


def prepared(model: Any, episodes: Episodes) -> Tensor:
    """Fit the model's `scaler`, and give all transitions as it is shown them. -> [M, 2 d + a + 2]"""
    x = rows(transitions(episodes))
    model.scaler = Scaler.fit(x, "standard")
    return model.scaler(x)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator. Raises ValueError for pictures as observations."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    if episodes.obs.ndim != 2:
        raise ValueError(f"states [N, d] are wanted as observations, got {list(episodes.obs.shape)}")
    model = seeded(seed, Synther, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(prepared(model, episodes), c.batch, generator)
    update = descend(
        lambda batch: model.loss(batch, generator), model.denoiser, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema
    )
    return Run(model, Stage((update,), batches, c.updates), generator=generator, data=episodes, seed=seed)
