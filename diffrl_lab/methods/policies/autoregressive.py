"""Autoregressive policy over bins (Metz et al. 2017): one number of a chunk after the other, each drawn from bins.

What is diffused: nothing; a law of any shape is met as closely as its bins are narrow.
What is learned: p(x | s) = prod_j p(x_j | x_1 .. x_{j-1}, s) over chunks x [H a], the next H actions in one vector,
scaled to [-1, 1]: for each j a categorical distribution over equal bins of [-1, 1], uniform within a bin. One network
serves all j: it is shown s, x up to j - 1 with zeros behind, and which j is asked for.
How it acts: a chunk is drawn, which takes H a calls of the network; its first `execute` actions are done, then it looks
again (receding horizon).
What differs from the paper: imitation in place of Q-learning; a value is drawn within its bin; in an update each chunk
asks for one j, drawn at random, which leaves the gradient's mean as it is. RT-1 (Brohan et al. 2022) has 256 bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Run, masked_mean
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import chunks
from diffrl_lab.methods.policies.cloning import inputs
from diffrl_lab.nets import MLP
from diffrl_lab.nets.heads import index


@dataclass(frozen=True)
class Config:
    """The hyperparameters of an autoregressive policy."""

    chunk: int = 16  # H, actions drawn together; 1: one action
    execute: int = 8  # of them, before the next look
    bins: int = 32  # of each number, equal ones between the smallest and the largest recorded value
    width: int = 256  # of the network's hidden layers
    depth: int = 3  # its layers
    features: int = 0  # Fourier features beside each number of the state, so that actions may change fast with it
    updates: int = 3000  # of the network
    batch: int = 512  # chunks in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what acts

    def __post_init__(self) -> None:
        chunks.check(self.chunk, self.execute)
        if self.bins < 2:
            raise ValueError(f"a number needs at least two bins, got bins={self.bins}")


class Autoregressive(nn.Module):
    """p(next H actions | state, goal), one number after the other.

    goal: how many of the first columns of a state a goal gives, 0: no goals. obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int, goal: int = 0):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act, "goal": goal}, {}
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)
        self.dim = config.chunk * act
        shape = {"width": config.width, "depth": config.depth, "features": config.features}
        self.net = MLP(2 * self.dim, cond=obs + 2 * goal, out=config.bins, label=0, **shape)

    def logits(self, cond: Tensor, x: Tensor, j: Tensor) -> Tensor:
        """ln p(bin of x_j | x_1 .. x_{j-1}, cond) up to a constant, for conditions [B, c], x [B, H a] and j [B], which
        counts from 0; entries of x from j on are not shown. -> [B, bins]"""
        entry, j = torch.arange(self.dim), j[:, None]
        return self.net(torch.cat([torch.where(entry < j, x, 0.0), (entry == j).to(x)], 1), cond=cond)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The cross-entropy of one number of each chunk, drawn by `generator`, on {"x": scaled chunks [B, H a],
        "valid": bool, which entries lie within the episode, "cond": what `cloning.inputs` gives}. -> {"loss": []}"""
        x, bins = batch["x"], self.config.bins
        j = torch.randint(self.dim, (len(x),), generator=generator)
        of = torch.arange(len(x)), j
        bin_ = ((x[of] + 1) / 2 * bins).long().clamp(0, bins - 1)
        error = F.cross_entropy(self.logits(batch["cond"], x, j), bin_, reduction="none")
        return {"loss": masked_mean(error, batch["valid"][of])}

    @torch.no_grad()
    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike | None = None,
        *,
        n: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """n chunks of actions for each state obs [B, d] and goal [B, g], in units. -> [B, n, H, a]

        generator: one for all, or B of them, one for each state: then no chunk depends on the other states.
        """
        cond = inputs(self.scaler, obs, goal, self.sizes["goal"])
        u = chunks.drawn(torch.rand, len(cond), n, self.dim, 2, generator=generator).flatten(0, 1)
        cond, x = cond.repeat_interleave(n, 0), u.new_zeros(len(u), self.dim)
        for j in range(self.dim):
            p = self.logits(cond, x, torch.full((len(x),), j)).softmax(-1)
            x[:, j] = 2 * (index(p, u[:, j, 0]) + u[:, j, 1]) / self.config.bins - 1
        x = x.unflatten(0, (-1, n))
        return self.act_scaler.inverse(x.unflatten(-1, (self.config.chunk, self.sizes["act"])))


class Agent(chunks.Receding):
    """Acts for m episodes side by side; the chunks of each depend on its own seed, state and goal alone."""

    def __init__(self, model: Autoregressive):
        super().__init__(model, model.config.execute)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0, goal: int = 0) -> Run:
    """The training on all chunks of `episodes` as a generator; one begins at each step.

    goal: how many of an observation's first columns a goal gives; 0 learns without goals.
    Raises ValueError for a goal wider than an observation.
    """
    c = config or Config()
    return chunks.run(Autoregressive, episodes, c, c.chunk, seed=seed, goal=goal, kind="limits")
