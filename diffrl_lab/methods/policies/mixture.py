"""Mixture density policy: K Gaussians whose weights, means and deviations depend on the state (Bishop 1994).

What is diffused: nothing; with the right K it keeps as many ways as a diffusion policy, with a smaller one it does not.
What is learned: p(x | s) = sum_k w_k(s) N(m_k(s), diag s_k(s)^2) over chunks x [H a], the next H actions in one vector,
scaled to unit variance, by its likelihood.
How it acts: a component, then a chunk of it is drawn, its first `execute` actions are done, then it looks again.
What differs from the paper: chunks of actions, and a deviation for each number, within e^-3 to e^2. BC-GMM (Mandlekar
et al. 2021, K = 5) is the same with one action; it acts with small deviations, this one with those that it learned.
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
from diffrl_lab.diffusion import Run
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import chunks
from diffrl_lab.methods.policies.cloning import inputs
from diffrl_lab.nets import MLP
from diffrl_lab.nets.heads import Gaussians, gaussians


@dataclass(frozen=True)
class Config:
    """The hyperparameters of a mixture density policy."""

    chunk: int = 16  # H, actions drawn together; 1: one action
    execute: int = 8  # of them, before the next look
    modes: int = 8  # K, components
    width: int = 256  # of the network's hidden layers
    depth: int = 3  # its layers
    features: int = 0  # Fourier features beside each number of the state, so that actions may change fast with it
    updates: int = 3000  # of the network
    batch: int = 512  # chunks in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what acts

    def __post_init__(self) -> None:
        chunks.check(self.chunk, self.execute)
        if self.modes < 1:
            raise ValueError(f"a mixture has at least one component, got modes={self.modes}")


class Mixture(nn.Module):
    """p(next H actions | state, goal) as K Gaussians with independent numbers.

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
        self.net = MLP(obs + 2 * goal, out=config.modes * (1 + 2 * config.chunk * act), label=0, **shape)
        # components that begin at one place, equally wide, remain one where two modes are alike: begin them apart
        last: Any = self.net.layers
        with torch.no_grad():
            last[-1].bias[config.modes :].view(config.modes, 2, -1)[:, 0].normal_()

    def law(self, cond: Tensor) -> Gaussians:
        """p(x | cond) for conditions [B, c], x scaled."""
        K, out = self.config.modes, self.net(cond)
        return gaussians(out[:, K:].unflatten(-1, (K, -1)), out[:, :K])

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """-ln p(x | cond) per number that lies within the episode, of {"x": scaled chunks [B, H a], "valid": bool,
        "cond": what `cloning.inputs` gives}. -> {"loss": []}"""
        log_p = self.law(batch["cond"]).log_prob(batch["x"], batch["valid"])
        return {"loss": -log_p.sum() / batch["valid"].sum()}

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
        law = self.law(cond)
        u = chunks.drawn(torch.rand, len(cond), n, generator=generator)
        eps = chunks.drawn(torch.randn, len(cond), n, law.mean.shape[-1], generator=generator)
        x = Gaussians(*(v[:, None] for v in law)).sample(u, eps)
        return self.act_scaler.inverse(x.unflatten(-1, (self.config.chunk, self.sizes["act"])))


class Agent(chunks.Receding):
    """Acts for m episodes side by side; the chunks of each depend on its own seed, state and goal alone."""

    def __init__(self, model: Mixture):
        super().__init__(model, model.config.execute)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0, goal: int = 0) -> Run:
    """The training on all chunks of `episodes` as a generator; one begins at each step.

    goal: how many of an observation's first columns a goal gives; 0 learns without goals.
    Raises ValueError for a goal wider than an observation.
    """
    c = config or Config()
    return chunks.run(Mixture, episodes, c, c.chunk, seed=seed, goal=goal)
