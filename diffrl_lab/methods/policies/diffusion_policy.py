"""Diffusion Policy (Chi et al. 2023): behaviour cloning that samples what was done, several actions at a time.

What is diffused: a chunk x [H a], the next H actions in one vector, scaled to unit variance. Least squares gives the
mean of what was done; a sample is one of the ways of acting, so two ways stay two.
What is learned: D(x_t, t, state) or, where a goal is given, D(x_t, t, state and goal). The goal of a recorded row is
where its episode ended; beyond an episode's end a chunk has no target, which leaves the loss.
How it acts: of the H actions drawn together the first `executed` are done, then it looks again (receding horizon).
What differs from the paper: states in place of images, one observation in place of two, the goal as a condition, an MLP
in place of a U-Net, v in place of eps, DPM-Solver++ in 10 steps in place of DDPM in 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, padded_windows
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    NeuralDenoiser,
    Run,
    Stage,
    cosine_decay,
    denoising_loss,
    descend,
    dpm_pp_2m,
    given,
    sample,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies.cloning import inputs
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of a diffusion policy."""

    horizon: int = 16  # H, actions drawn together
    executed: int = 8  # of them, before the next look
    width: int = 256  # of the network's hidden layers
    depth: int = 3  # its layers
    updates: int = 3000  # of the network
    batch: int = 512  # chunks in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what acts
    denoising: int = 10  # steps of the chain that draws a chunk

    def __post_init__(self) -> None:
        if not 1 <= self.executed <= self.horizon:
            raise ValueError(f"of a chunk 1 to {self.horizon} actions can be executed, got executed={self.executed}")


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
        net = MLP(config.horizon * act, cond=obs + 2 * goal, width=config.width, depth=config.depth)
        self.denoiser = NeuralDenoiser(net, Cosine(), "v")
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss (mean squared error of v) on {"x": scaled chunks [B, H a], "valid": bool, which entries
        lie within the episode, "cond": what `cloning.inputs` gives}. -> {"loss": []}"""
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
        shape = self.config.horizon, self.sizes["act"]
        prior, dim = self.denoiser.schedule.prior, shape[0] * shape[1]
        if isinstance(generator, Sequence):
            x_T = torch.cat([prior((n, dim), generator=one) for one in generator])
        else:
            x_T = prior((len(cond) * n, dim), generator=generator)
        D = given(self.denoiser, cond.repeat_interleave(n, 0))
        x_0 = sample(D, x_T, steps=self.config.denoising, step=dpm_pp_2m())
        return self.act_scaler.inverse(x_0.view(len(cond), n, *shape))


class Agent:
    """Acts for m episodes side by side; the chunks of each depend on its own seed, state and goal alone."""

    def __init__(self, model: DiffusionPolicy):
        self.model = model

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        """Begin episodes with goals [m, g], where the model has goals."""
        c, m = self.model.config, len(seeds)
        self.goal = None if goal is None or not self.model.sizes["goal"] else np.asarray(goal, float)
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.chunks = np.zeros((m, c.horizon, self.model.sizes["act"]))
        self.step = np.zeros(m, int)  # how many actions each episode has done

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float64]:
        """Actions [m, a] in [-1, 1] for observations [m, d] of the episodes `which` [m] (all): one step of each."""
        o = np.asarray(obs)
        rows = np.arange(len(o)) if which is None else np.asarray(which)
        k = self.step[rows] % self.model.config.executed
        look = rows[k == 0]
        if len(look):
            generators = [self.generators[i] for i in look]
            goal = None if self.goal is None else self.goal[look]
            chunks = self.model.sample(o[k == 0], goal, generator=generators)
            self.chunks[look] = chunks[:, 0].clamp(-1, 1).double().numpy()
        self.step[rows] += 1
        return self.chunks[rows, k]


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0, goal: int = 0) -> Run:
    """The training on all chunks of `episodes` as a generator; one begins at each step.

    goal: how many of an observation's first columns a goal gives; 0 learns without goals.
    Raises ValueError for a goal wider than an observation.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    obs, act = episodes.obs.float(), episodes.act.float()
    if not 0 <= goal <= obs.shape[1]:
        raise ValueError(f"a goal gives 0 to {obs.shape[1]} columns of an observation, got goal={goal}")
    model = seeded(seed, DiffusionPolicy, c, obs.shape[1], act.shape[1], goal)
    model.scaler = Scaler.fit(obs, "standard")
    model.act_scaler = Scaler.fit(act[episodes.last == 0], "standard")
    rows, mask = padded_windows(episodes, c.horizon)
    ends = episodes.ends[torch.searchsorted(episodes.ends, rows[:, 0].contiguous())]
    data = {
        "x": model.act_scaler(act[rows]).flatten(1),
        "valid": (mask & (episodes.last[rows] == 0)).repeat_interleave(act.shape[1], 1),
        "cond": inputs(model.scaler, obs[rows[:, 0]], obs[ends, :goal] if goal else None, goal),
    }
    update = descend(
        lambda batch: model.loss(batch, generator), model, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema
    )
    stage = Stage((update,), Batches(data, c.batch, generator), c.updates)
    return Run(model, stage, generator=generator, data=episodes, seed=seed, goal=goal)
