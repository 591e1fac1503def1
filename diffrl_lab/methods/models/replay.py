"""Prioritised generative replay (Wang et al. 2024): transitions drawn where a score, such as curiosity, is high.

What is diffused: x = (s, a, r, s', terminal) [2 d + a + 2], as SynthER has it.
What is learned: D(x_t, t, c) with EDM's preconditioning, c the rank of the transition's score, -1 the lowest and 1 the
highest; for a share `dropped` of the rows it is not given (classifier-free).
How it acts: it does not; `sample` draws transitions from D + w (D(c) - D) with c among the highest `best` ranks: w = 0
is SynthER, w = 1 the law of rows of such a rank, w > 1 extrapolates.
What differs from the paper: the rank stands in for the score, so that its scale does not matter; curiosity is the error
of a forward model of states, without learned features; one recording instead of a learner that goes on collecting.
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
    cfg,
    chain,
    cosine_decay,
    denoising_loss,
    descend,
    drop,
    fit,
    heun,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.models.synther import levels, prepared, unpacked
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of prioritised generative replay."""

    w: float = 1.0  # weight of guidance
    best: float = 0.25  # the share of ranks, from the highest, that is asked for
    dropped: float = 0.25  # share of rows whose rank is not shown; the paper's
    width: int = 192  # of the network's hidden layers
    depth: int = 5  # its layers
    updates: int = 2500  # of the network
    batch: int = 256  # transitions in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what draws
    level_mean: float = -1.2  # of ln sigma in training, as SynthER has it; so is the next
    level_std: float = 1.2
    denoising: int = 18  # steps of the chain


def ranks(score: Tensor) -> Tensor:
    """Scores [M] as their place in the order, evenly from -1, the lowest, to 1; equal ones share the middle of theirs.
    -> [M]

    Raises ValueError for scores that are not finite numbers, or all of them equal.
    """
    if score.ndim != 1 or not bool(torch.isfinite(score).all()) or float(score.min()) == float(score.max()):
        raise ValueError(f"finite scores [M] that differ are wanted, one for each transition, got {list(score.shape)}")
    _, which, count = score.unique(return_inverse=True, return_counts=True)
    middle = count.cumsum(0) - (count + 1) / 2
    return 2 * middle[which] / (len(score) - 1) - 1


def curiosity(t: Transitions, *, seed: int = 0, updates: int = 300) -> Tensor:
    """How badly (s, a) -> s' - s is predicted: the squared error of a small network in scaled states. -> [M]

    It is trained for few updates on the transitions themselves, so what is rare or hard keeps a large error (the
    forward model of Pathak et al. 2017, in states instead of features).
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.cat([t.obs, t.act], 1).float(), (t.next_obs - t.obs).float()
    x, y = Scaler.fit(x, "standard")(x), Scaler.fit(y, "standard")(y)
    net = seeded(seed, MLP, x.shape[1], out=y.shape[1], width=32, label=0)
    update = descend(lambda b: (net(b["x"]) - b["y"]).square().mean(), net, lr=3e-3)
    for _ in fit(update, Batches({"x": x, "y": y}, 128, generator), updates):
        pass
    with torch.no_grad():
        return (net(x) - y).square().mean(1)


class Replay(nn.Module):
    """p(s, a, r, s', terminal | rank of its score) of a recording.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.dim = 2 * obs + act + 2
        net = MLP(self.dim, cond=1, width=config.width, depth=config.depth)
        self.denoiser = NeuralDenoiser(net, Karras(0.002, 80.0), "edm", sigma_data=1.0)
        self.scaler = Scaler.blank(self.dim)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """EDM's loss on {"x": scaled transitions [B, 2 d + a + 2], "rank": [B, 1]}. -> {"loss": []}"""
        t = levels(self.denoiser, self.config, len(batch["x"]), generator)
        cond = drop(batch["rank"], self.config.dropped, generator)
        return {"loss": denoising_loss(self.denoiser, batch["x"], cond=cond, t=t, generator=generator)}

    @torch.no_grad()
    def chain(
        self,
        n: int,
        *,
        rank: Tensor | None = None,
        w: float | None = None,
        steps: int | None = None,
        step: Step | None = None,
        x_T: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Frame]:
        """The drawing of n transitions, frame by frame, x_t and x0_hat as rows [n, 2 d + a + 2] in units.

        rank: [n], -1 to 1; even draws from the highest `config.best` unless given. w: `config.w` unless given.
        """
        if x_T is None:
            x_T = self.denoiser.schedule.prior((n, self.dim), generator)
        if rank is None:
            rank = 1 - 2 * self.config.best * torch.rand(n, generator=generator)
        D = cfg(self.denoiser, rank[:, None], self.config.w if w is None else w)
        steps = self.config.denoising if steps is None else steps
        for t, x_t, x0_hat in chain(D, x_T, steps=steps, step=step or heun(), generator=generator):
            yield Frame(t, self.scaler.inverse(x_t), self.scaler.inverse(x0_hat))

    @torch.no_grad()
    def sample(self, n: int, **options: Any) -> Transitions:
        """n new transitions where the score is high, in units; arguments of `chain`."""
        for frame in self.chain(n, **options):
            x = frame.x_t
        return unpacked(x, **self.sizes)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0, score: Tensor | None = None) -> Run:
    """The training on all transitions of `episodes` as a generator.

    score: [M], one for each of `transitions(episodes)`; their `curiosity` unless given. Raises ValueError for pictures
    as observations and for scores of another number.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    if episodes.obs.ndim != 2:
        raise ValueError(f"states [N, d] are wanted as observations, got {list(episodes.obs.shape)}")
    t = transitions(episodes)
    score = curiosity(t, seed=seed) if score is None else score
    if len(score) != len(t.rew):
        raise ValueError(f"one score for each of {len(t.rew)} transitions is wanted, got {list(score.shape)}")
    model = seeded(seed, Replay, c, episodes.obs.shape[1], episodes.act.shape[1])
    data = {"x": prepared(model, episodes), "rank": ranks(score.float())[:, None]}
    update = descend(
        lambda batch: model.loss(batch, generator), model.denoiser, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema
    )
    stage = Stage((update,), Batches(data, c.batch, generator), c.updates)
    return Run(model, stage, generator=generator, data=episodes, seed=seed, scores=round(float(score.sum()), 4))
