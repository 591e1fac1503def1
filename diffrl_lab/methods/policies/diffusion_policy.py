"""Diffusion Policy (Chi et al. 2023): behaviour cloning that samples what was done, several actions at a time.

What is diffused: a chunk x [H a], the next H actions in one vector, scaled to unit variance. Least squares gives the
mean of what was done; a sample is one of the ways of acting, so two ways stay two.
What is learned: D(x_t, t, state) or, where a goal is given, D(x_t, t, state and goal). The goal of a recorded row is
where its episode ended; beyond an episode's end a chunk has no target, which leaves the loss.
How it acts: of the H actions drawn together the first `execute` are done, then it looks again (receding horizon).
What differs from the paper: states in place of images, one observation in place of two, the goal as a condition, an MLP
in place of a U-Net, x0 in place of eps, DPM-Solver++ in 10 steps in place of DDPM in 100. With predict="flow" it is a
flow policy: rectified flow (Liu et al. 2023; Lipman et al. 2023), which is this method with the schedule `Rectified`,
the velocity eps - x_0 as its target, and Euler's steps.
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
from diffrl_lab.diffusion import Cosine, NeuralDenoiser, Rectified, Run, denoising_loss, dpm_pp_2m, euler, given, sample
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import chunks
from diffrl_lab.methods.policies.cloning import inputs
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of a diffusion policy."""

    chunk: int = 16  # H, actions drawn together; 1: one action
    execute: int = 8  # of them, before the next look
    width: int = 256  # of the network's hidden layers
    depth: int = 3  # its layers
    features: int = 0  # Fourier features beside each number of the state, so that actions may change fast with it
    updates: int = 3000  # of the network
    batch: int = 512  # chunks in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what acts
    denoising: int = 10  # steps of the chain that draws a chunk
    predict: str = "x0"  # by the network: "x0", "v" (loses symmetric modes), "eps", "edm"; "flow": a flow policy
    sigma_data: float = 1.0  # standard deviation that the network takes scaled chunks to have

    def __post_init__(self) -> None:
        chunks.check(self.chunk, self.execute)


class DiffusionPolicy(nn.Module):
    """p(next H actions | state, goal) as a diffusion model; goals give the first `goal` columns of a state, 0: none.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int, goal: int = 0):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act, "goal": goal}, {}
        shape = {"width": config.width, "depth": config.depth, "features": config.features}
        net = MLP(config.chunk * act, cond=obs + 2 * goal, **shape)
        schedule = Rectified() if config.predict == "flow" else Cosine()
        self.denoiser = NeuralDenoiser(net, schedule, config.predict, config.sigma_data)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss (mean squared error of what `predict` names) on {"x": scaled chunks [B, H a], "valid":
        bool, which entries lie within the episode, "cond": what `cloning.inputs` gives}. -> {"loss": []}"""
        cond, valid = batch["cond"], batch["valid"]
        return {"loss": denoising_loss(self.denoiser, batch["x"], cond=cond, valid=valid, generator=generator)}

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
        shape = self.config.chunk, self.sizes["act"]
        prior, dim = self.denoiser.schedule.prior, shape[0] * shape[1]
        x_T = chunks.drawn(prior, len(cond), n, dim, generator=generator).flatten(0, 1)
        D = given(self.denoiser, cond.repeat_interleave(n, 0))
        step = euler() if self.config.predict == "flow" else dpm_pp_2m()
        x_0 = sample(D, x_T, steps=self.config.denoising, step=step)
        return self.act_scaler.inverse(x_0.view(len(cond), n, *shape))


class Agent(chunks.Receding):
    """Acts for m episodes side by side; the chunks of each depend on its own seed, state and goal alone."""

    def __init__(self, model: DiffusionPolicy):
        super().__init__(model, model.config.execute)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0, goal: int = 0) -> Run:
    """The training on all chunks of `episodes` as a generator; one begins at each step.

    goal: how many of an observation's first columns a goal gives; 0 learns without goals.
    Raises ValueError for a goal wider than an observation.
    """
    c = config or Config()
    return chunks.run(DiffusionPolicy, episodes, c, c.chunk, seed=seed, goal=goal)
