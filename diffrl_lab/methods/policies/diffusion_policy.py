"""Diffusion Policy (Chi et al. 2023): behaviour cloning with p(next H actions | state, goal), a diffusion model.

Least squares gives the mean of what was done; this samples what was done, so two ways of acting stay two. Of the H
actions drawn together the first `executed` are done, then it looks again (receding horizon).

What differs from the paper: states in place of images, one observation in place of two, the goal as a condition, an MLP
in place of a U-Net, v in place of eps, DPM-Solver++ in 10 steps in place of DDPM in 100.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab.data.episodes import Episodes, padded_windows
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    Denoiser,
    NeuralDenoiser,
    cosine_decay,
    denoising_loss,
    descend,
    dpm_pp_2m,
    fit,
    given,
    sample,
)
from diffrl_lab.nets import MLP
from diffrl_lab.worlds.driving import indices


@dataclass(frozen=True)
class Chunks:
    """The hyperparameters of a diffusion policy."""

    horizon: int = 16  # H, actions drawn together
    executed: int = 8  # of them, before the next look
    width: int = 256  # of the network's hidden layers
    depth: int = 3  # its layers
    steps: int = 3000  # updates of the network
    batch: int = 512  # chunks in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what acts
    sampling: int = 10  # denoising steps of one chunk

    def __post_init__(self) -> None:
        if not 1 <= self.executed <= self.horizon:
            raise ValueError(f"of a chunk 1 to {self.horizon} actions can be executed, got executed={self.executed}")


class DiffusionPolicy:
    """Goal-conditioned behaviour cloning by diffusion. `for row in policy: ...` trains it; then it is an agent.

    As in `baselines.Cloning` the goal of a recorded row is where its episode ended, and the inputs are the same. obs
    must be n positions followed by n velocities. Beyond an episode's end a chunk has no target (it leaves the loss).
    Each episode's noise comes from a generator of its own, seeded by its seed.
    """

    def __init__(self, episodes: Episodes, config: Chunks | None = None, *, seed: int = 0):
        self.config = c = config or Chunks()
        self.generator = torch.Generator().manual_seed(seed)
        obs, self.n = episodes.obs.float(), episodes.obs.shape[1] // 2
        rows, mask = padded_windows(episodes, c.horizon)
        ends = episodes.ends[torch.searchsorted(episodes.ends, rows[:, 0].contiguous())]
        self.scaler = Scaler.fit(obs, "standard")
        self.act_scaler = Scaler.fit(episodes.act[episodes.last == 0].float(), "standard")
        self.a = episodes.act.shape[1]
        data = {
            "x": self.act_scaler(episodes.act.float()[rows]).flatten(1),
            "valid": (mask & (episodes.last[rows] == 0)).repeat_interleave(self.a, 1),
            "cond": self.inputs(obs[rows[:, 0]], obs[ends, : self.n]),
        }
        dim = c.horizon * self.a
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = MLP(dim, cond=data["cond"].shape[1], width=c.width, depth=c.depth)
        self.denoiser = NeuralDenoiser(net, Cosine(), "v")
        self.update = descend(
            self._loss, self.denoiser, lr=c.lr, schedule=cosine_decay(c.steps), ema=c.ema, generator=self.generator
        )
        self.batches = Batches(data, c.batch, self.generator)

    def _loss(self, b: dict[str, Tensor]) -> Tensor:
        return denoising_loss(self.denoiser, b["x"], cond=b["cond"], valid=b["valid"], generator=self.generator)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return fit(self.update, self.batches, self.config.steps - self.update.step)

    def inputs(self, obs: Tensor, goal: Tensor) -> Tensor:
        """The condition: state, goal and the way from here to there, scaled. [..., 2n], [..., n] -> [..., 4n]"""
        goal, state = self.scaler[list(range(self.n))](goal), self.scaler(obs)
        return torch.cat([state, goal, goal - state[..., : self.n]], -1)

    @torch.no_grad()
    def draw(
        self,
        obs: ArrayLike,
        goal: ArrayLike,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        *,
        denoiser: Denoiser | None = None,
    ) -> Tensor:
        """One chunk of actions for each of m states [m, 2n] and goals [m, n]. -> [m, H, a]

        generator: one for all, or one for each.
        denoiser: of scaled chunks [m, H a], in place of the learned one with its running average of the weights.
        """
        s, g = (torch.as_tensor(np.asarray(v), dtype=torch.float32) for v in (obs, goal))
        if s.ndim != 2 or s.shape[1] != 2 * self.n or g.shape != (len(s), self.n):
            raise ValueError(
                f"states [m, {2 * self.n}] and goals [m, {self.n}] were wanted, got {tuple(s.shape)} and "
                f"{tuple(g.shape)}"
            )
        assert self.update.ema is not None
        D = denoiser or given(self.update.ema.module, self.inputs(s, g))  # type: ignore[arg-type]
        dim = self.config.horizon * self.a
        if isinstance(generator, Sequence):
            x_T = torch.cat([D.schedule.prior((1, dim), generator=g) for g in generator])
        else:
            x_T = D.schedule.prior((len(s), dim), generator=generator)
        x_0 = sample(D, x_T, steps=self.config.sampling, step=dpm_pp_2m())  # which draws nothing
        return self.act_scaler.inverse(x_0.view(len(s), self.config.horizon, self.a))

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        self.goal, self.step = np.asarray(goal, float), 0
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.chunk = np.zeros((len(seeds), self.config.horizon, self.a))

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float64]:
        now, k = indices(obs, which), self.step % self.config.executed
        if k == 0:
            drawn = self.draw(obs, self.goal[now], [self.generators[i] for i in now])
            self.chunk[now] = drawn.clamp(-1, 1).double().numpy()
        self.step += 1
        return self.chunk[now, k]
