"""Two-step regression (Pan et al. 2025, "Much Ado About Noising", minimal iterative policy): a guess, then a repair.

What is diffused: nothing is drawn; but the second step is trained as a denoiser of one level. So it tells what
iteration brings where no law is fitted.
What is learned: one network f(x, step, s) over chunks x [H a], the next H actions in one vector, scaled to unit
variance, with the loss E |f(0, 0, s) - x|^2 / t^2 + E |f(x + (1 - t) eps, 1, s) - x|^2 / (1 - t)^2: least squares, and
least squares again from a chunk with a little noise.
How it acts: x = f(f(0, 0, s), 1, s), the same for the same state; its first `execute` actions are done, then it looks
again. Where two ways were taken the first step is their mean, and the second may move it to the nearer of them.
What differs from the paper: states in place of images, an MLP in place of a U-Net or transformer, a flag for the step.
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
    """The hyperparameters of two-step regression."""

    chunk: int = 16  # H, actions given together; 1: one action
    execute: int = 8  # of them, before the next look
    clean: float = 0.9  # t; the second step learns from chunks with noise of deviation 1 - t
    width: int = 256  # of the network's hidden layers
    depth: int = 3  # its layers
    features: int = 0  # Fourier features beside each number of the state, so that actions may change fast with it
    updates: int = 3000  # of the network
    batch: int = 512  # chunks in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what acts

    def __post_init__(self) -> None:
        chunks.check(self.chunk, self.execute)
        if not 0 < self.clean < 1:
            raise ValueError(f"clean must lie between 0 and 1, got {self.clean}")


class TwoStep(nn.Module):
    """The next H actions, given the state and the goal, by two regressions of one network.

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
        self.net = MLP(self.dim + 1, cond=obs + 2 * goal, out=self.dim, label=0, **shape)

    def step(self, x: Tensor, k: int, cond: Tensor) -> Tensor:
        """f(x, k, s): the chunk after step k, 0 or 1, from x [B, H a] and conditions [B, c]. -> [B, H a]"""
        return self.net(torch.cat([x, x.new_full((len(x), 1), k)], 1), cond=cond)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The squared errors of both steps, each over the square of its noise, on {"x": scaled chunks [B, H a],
        "valid": bool, which entries lie within the episode, "cond": what `cloning.inputs` gives}. -> {"loss", "guess",
        "repair": []}"""
        x, valid, cond, t = batch["x"], batch["valid"], batch["cond"], self.config.clean
        eps = torch.randn(x.shape, generator=generator)
        shown = torch.where(valid, x, 0.0) + (1 - t) * eps  # beyond the episode's end nothing is told
        guess = masked_mean((self.step(torch.zeros_like(x), 0, cond) - x).square(), valid)
        repair = masked_mean((self.step(shown, 1, cond) - x).square(), valid)
        return {"loss": guess / t**2 + repair / (1 - t) ** 2, "guess": guess, "repair": repair}

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
        x = self.step(self.step(cond.new_zeros(len(cond), self.dim), 0, cond), 1, cond)
        x = x[:, None].expand(-1, n, -1)
        return self.act_scaler.inverse(x.unflatten(-1, (self.config.chunk, self.sizes["act"])))


class Agent(chunks.Receding):
    """Acts for m episodes side by side on chunks that are the same for the same state and goal."""

    def __init__(self, model: TwoStep):
        super().__init__(model, model.config.execute)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0, goal: int = 0) -> Run:
    """The training on all chunks of `episodes` as a generator; one begins at each step.

    goal: how many of an observation's first columns a goal gives; 0 learns without goals.
    Raises ValueError for a goal wider than an observation.
    """
    c = config or Config()
    return chunks.run(TwoStep, episodes, c, c.chunk, seed=seed, goal=goal)
