"""Least squares over chunks: the next actions as a function of the state, in the manner of ACT (Zhao et al. 2023).

What is diffused: nothing; this is what policies that sample are held against.
What is learned: x = MLP(s), the next H actions in one vector, scaled to unit variance, by least squares: the mean of
what was done. Where two ways were taken, the mean may be neither. With H = 1 it is `cloning` with averaged weights.
How it acts: of the H actions given together the first `execute` are done, then it looks again (receding horizon).
What differs from the paper: ACT's chunks without its variational autoencoder, its transformer and the averaging of
chunks that overlap; states in place of camera images; squares in place of absolute errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Run, masked_mean
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import chunks
from diffrl_lab.methods.policies.cloning import inputs
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of least squares over chunks."""

    chunk: int = 16  # H, actions given together; 1: one action
    execute: int = 8  # of them, before the next look
    width: int = 256  # of the network's hidden layers
    depth: int = 3  # its layers
    features: int = 0  # Fourier features beside each number of the state, so that actions may change fast with it
    updates: int = 3000  # of the network
    batch: int = 512  # chunks in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what acts

    def __post_init__(self) -> None:
        chunks.check(self.chunk, self.execute)


class Regression(nn.Module):
    """The mean of the next H actions, given the state and the goal.

    goal: how many of the first columns of a state a goal gives, 0: no goals. obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int, goal: int = 0):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act, "goal": goal}, {}
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)
        shape = {"width": config.width, "depth": config.depth, "features": config.features}
        self.net = MLP(obs + 2 * goal, out=config.chunk * act, label=0, **shape)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The mean squared error on {"x": scaled chunks [B, H a], "valid": bool, which entries lie within the episode,
        "cond": what `cloning.inputs` gives}. -> {"loss": []}"""
        return {"loss": masked_mean((self.net(batch["cond"]) - batch["x"]).square(), batch["valid"])}

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

        All n are the same, and nothing is drawn.
        """
        cond = inputs(self.scaler, obs, goal, self.sizes["goal"])
        x = self.net(cond)[:, None].expand(-1, n, -1)
        return self.act_scaler.inverse(x.unflatten(-1, (self.config.chunk, self.sizes["act"])))


class Agent(chunks.Receding):
    """Acts for m episodes side by side on chunks that are the same for the same state and goal."""

    def __init__(self, model: Regression):
        super().__init__(model, model.config.execute)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0, goal: int = 0) -> Run:
    """The training on all chunks of `episodes` as a generator; one begins at each step.

    goal: how many of an observation's first columns a goal gives; 0 learns without goals.
    Raises ValueError for a goal wider than an observation.
    """
    c = config or Config()
    return chunks.run(Regression, episodes, c, c.chunk, seed=seed, goal=goal)
