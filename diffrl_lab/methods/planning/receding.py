"""Planning as denoising for robots (Diffuser's locomotion half, Janner et al. 2022): guided windows, planned again and
again.

What is diffused: a window x [H, a + d], at each of H successive steps the action and then the observation it was taken
in, scaled to unit variance.
What is learned: on the same windows a denoiser that is shown the first observation clean (its loss leaves it out), and
then a `Guide` J(x_t, t) that regresses on what the window's first step goes on to return.
How it acts: at every `execute`-th step some candidates are drawn from the present observation, guided by J; the one of
the highest J gives the next actions. A plan starts from the last one, moved on and noised, where there is one.
With scale 0 the candidates are not guided and J alone chooses: Monte-Carlo sampling with selection, which Diffusion
Veteran (Lu et al. 2025) recommends. `candidates`, `execute` and `warm` are the options of this loop.
What differs from the paper: an MLP with a small convolution (`PlanMLP`) in place of the temporal U-Net, which costs two
to five times as much an update; shorter windows, since J sees beyond their end anyway; a denoiser trained to see the
known entries; deterministic DDIM of few steps, from the last plan where there is one; returns scaled to deviation 1;
and `ascend`'s scale. Diffuser moves the mean of a step from t to s by scale beta_tilde grad J, which is as much as
moving x0_hat by scale sigma_s^2 / alpha_s grad J, and does so twice a step; `ascend` moves x0_hat by
scale sigma_t^2 / alpha_t grad J once. So, at neighbouring levels, a scale w' there acts like 2 D_R w' here, where D_R
is the deviation of its returns: its 0.1 on Hopper like a number of the order of 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, padded_windows, returns_to_go
from diffrl_lab.data.scaling import Scaler, standard
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    NeuralDenoiser,
    Run,
    Stage,
    ascend,
    cosine_decay,
    denoising_loss,
    descend,
    given,
    pin,
    sample,
    seeded,
)
from diffrl_lab.methods import guides, weights
from diffrl_lab.nets import PlanMLP

Loss = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class Config:
    """The hyperparameters of a robot's planner: its two networks, how they are trained and how they plan."""

    horizon: int = 8  # H, steps of a window
    width: int = 256  # of the denoiser's MLP
    depth: int = 3  # its residual blocks
    channels: int = 32  # of its convolution along the window
    updates: int = 3000  # of the denoiser
    batch: int = 128  # windows in each
    lr: float = 2e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running averages of both networks' weights, which are what plans
    first: float = 10.0  # weight of the first action in the loss (Diffuser's action_weight)
    gamma: float = 0.99  # discount of the returns that J learns
    value_width: int = 256  # of J's MLP
    value_updates: int = 3000  # of J
    value_batch: int = 256  # windows in each
    value_lr: float = 1e-3  # J's highest learning rate
    scale: float = 30.0  # of `ascend`; 0 leaves the choice among candidates alone
    candidates: int = 16  # plans drawn together
    chosen: bool = True  # the candidate of the highest J is driven; False: the first, whatever its J
    denoising: int = 6  # steps of a chain that begins with noise
    temperature: float = 1.0  # factor on the noise that a plan starts from
    execute: int = 1  # actions of a plan that are done before the next
    warm: float | None = (
        0.7  # the time t that the last plan is noised to, to start the next; None: all begin with noise
    )
    warm_denoising: int = 4  # steps of a chain that begins with the last plan

    def __post_init__(self) -> None:
        if not 1 <= self.execute <= self.horizon:
            raise ValueError(f"between 1 and {self.horizon} actions of a plan can be done, got {self.execute}")


def windows_to_go(episodes: Episodes, horizon: int, gamma: float = 0.99) -> tuple[Tensor, Tensor, Tensor]:
    """Every window of `horizon` rows and what its first step goes on to return: rows, mask [N, H], R [N].

    R = r_0 + gamma r_1 + ... from the window's first step to the end of its *episode*, not of the window (Diffuser's
    guide; it too trains at gamma = 0.99). After a terminal nothing follows; after a time limit the robot would have
    gone on, and counts as earning for ever the mean reward of the episode's last 1 / (1 - gamma) steps. Rows past the
    end of an episode repeat its last one (`padded_windows`), mask is False there.
    Raises ValueError unless 0 <= gamma < 1.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"a return that goes on for ever needs 0 <= gamma < 1, got {gamma}")
    rows, mask = padded_windows(episodes, horizon)
    total = episodes.rew.double().cumsum(0)  # the last row of an episode earns 0
    back = episodes.lengths.clamp(max=max(round(1 / (1 - gamma)), 1))
    last = episodes.ends - 1
    late = (total[last] - total[last - back] * (last >= back)) / back
    return rows, mask, returns_to_go(episodes, gamma, late / (1 - gamma))[rows[:, 0]].float()


class Receding(nn.Module):
    """How to denoise a robot's windows, and what they are worth: J(x, t) -> [B] of scaled windows.

    obs, act: d and a, columns of the recording. scaler: of a window's columns, a actions and then d observations.
    returns: mean and deviation of R, which J is scaled by.
    """

    returns: Tensor
    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        c, dim = config, act + obs
        net = PlanMLP(c.horizon, dim, width=c.width, depth=c.depth, channels=c.channels, positions=0)
        self.denoiser = NeuralDenoiser(net, Cosine(), "x0")
        self.J = guides.Guide(c.horizon * dim, width=c.value_width)
        self.scaler = Scaler.blank(dim)
        self.register_buffer("returns", torch.tensor([0.0, 1.0]))

    @property
    def known(self) -> Tensor:
        """The known-mask [H, a + d] of a plan from a given observation."""
        known = torch.zeros(self.config.horizon, len(self.scaler.center), dtype=torch.bool)
        known[0, self.sizes["act"] :] = True
        return known

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss (mean squared error of x_0) on {"x": scaled windows [B, H, a + d], "valid": mask [B, H]}.

        It leaves out the known observation, and repeats of an episode's last row but for the first (what is past a fall
        is not learned, that the robot fell is). -> {"loss": []}
        """
        x, known = batch["x"], self.known
        weight = torch.ones(known.shape)
        weight[0, : self.sizes["act"]] = self.config.first
        cond, valid = {"known": known.expand(x.shape)}, batch["valid"][..., None]
        return {
            "loss": denoising_loss(
                self.denoiser, x, cond=cond, known=known, valid=valid, weight=weight, generator=generator
            )
        }

    def value_loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The squared error of J on {"x": scaled windows [B, H, a + d], "R": scaled returns [B]}, repeats of an
        episode's last row included. -> {"loss": []}"""
        return {"loss": guides.value_loss(self.J, batch["x"], batch["R"], known=self.known, generator=generator)}

    @torch.no_grad()
    def denoised(self, obs: Tensor, x: Tensor, scale: Tensor, steps: int | Tensor) -> tuple[Tensor, Tensor]:
        """Candidates x [B, n, H, a + d], scaled, taken from noise to plans from the states obs [B, d], and their J
        [B, n]. scale: of `ascend`, [B]; steps: how many, or a grid of times that begins with the noise level of x."""
        known, (B, n) = self.known, x.shape[:2]
        a = self.sizes["act"]
        value = torch.zeros(B, 1, *known.shape)
        value[:, :, 0, a:] = self.scaler[a:](obs)[:, None]
        value = value.expand(-1, n, -1, -1).flatten(0, 1)
        D = given(self.denoiser, {"known": known.expand(value.shape)})
        if bool(scale.any()):
            D = ascend(D, self.J, scale.repeat_interleave(n))
        plans = sample(pin(D, known, value), x.flatten(0, 1), steps=steps)
        plans = torch.where(known, value, plans)
        return plans.unflatten(0, (B, n)), self.J(plans, torch.tensor(0.0)).unflatten(0, (B, n))

    def sample(
        self, obs: ArrayLike, goal: None = None, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n guided windows from each state obs [B, d], in units, drawn from noise. -> [B, n, H, a + d]

        Raises ValueError for a goal: what is wanted is a return.
        """
        if goal is not None:
            raise ValueError("this planner climbs a return; it takes no goal")
        c, o = self.config, torch.as_tensor(np.asarray(obs), dtype=torch.float32)
        x = c.temperature * torch.randn(len(o), n, *self.known.shape, generator=generator)
        plans, _ = self.denoised(o, x, torch.full((len(o),), c.scale), c.denoising)
        return self.scaler.inverse(plans)


class Agent:
    """Plans for m episodes that step side by side: `reset`, then `act`.

    scale: one for each episode, in place of the model's. options: fields of the model's `Config` for this agent alone.
    Each episode's noise comes from a generator of its own, seeded by its seed, so its plans do not depend on who else
    is in the batch.
    Raises ValueError where more actions are to be done than a plan has.
    """

    def __init__(self, model: Receding, *, scale: float | Sequence[float] | None = None, **options: Any):
        self.model, self.config = model, replace(model.config, **options)
        self.scale = self.config.scale if scale is None else scale

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        """Begin an episode for each seed."""
        n = len(seeds)
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.scales = torch.as_tensor(self.scale, dtype=torch.float32).expand(n)
        self.last = torch.zeros(n, *self.model.known.shape)  # each episode's plan, scaled
        self.cold, self.step = True, self.config.execute  # no plan yet; how many of the plan's actions are done
        self.values = torch.full((n,), float("nan"))  # J of the plan that is being driven

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float64]:
        """Actions [m, a] in [-1, 1] for observations [m, d] of the episodes `which` [m] (all): one step of each."""
        o = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
        rows = torch.arange(len(o)) if which is None else torch.as_tensor(np.asarray(which))
        if self.step == self.config.execute:
            plans, values = self.plan(o, rows)
            best = values.argmax(1) if self.config.chosen else torch.zeros(len(o), dtype=torch.long)
            self.last[rows], self.values[rows] = plans[torch.arange(len(o)), best], values[torch.arange(len(o)), best]
            self.cold, self.step = False, 0
        action = self.model.scaler.inverse(self.last[rows, self.step])[:, : self.model.sizes["act"]]
        self.step += 1
        return action.clamp(-1, 1).double().numpy()

    def plan(self, obs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates for each observation of the episodes `rows`, scaled, [m, n, H, a + d], and their J [m, n]."""
        c, shape = self.config, (self.config.candidates, *self.model.known.shape)
        x = torch.stack([torch.randn(shape, generator=self.generators[i]) for i in rows.tolist()])
        if c.warm is None or self.cold:
            return self.model.denoised(obs, c.temperature * x, self.scales[rows], c.denoising)
        moved = torch.cat([self.last[rows, c.execute :], self.last[rows, -1:].expand(-1, c.execute, -1)], 1)
        alpha, sigma = (float(level) for level in self.model.denoiser.schedule(c.warm))
        x = alpha * moved[:, None] + sigma * c.temperature * x
        times = torch.linspace(c.warm, 0, c.warm_denoising + 1, dtype=torch.float64)
        return self.model.denoised(obs, x, self.scales[rows], times)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training of the denoiser and then of J, on the windows of all episodes, as a generator."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    rows, mask, R = windows_to_go(episodes, c.horizon, c.gamma)
    x = torch.cat([episodes.act, episodes.obs], -1).float()
    model = seeded(seed, Receding, c, episodes.obs.shape[1], episodes.act.shape[1])
    model.scaler = Scaler.fit(x, "standard")
    model.returns.copy_(torch.tensor(standard(R)))
    z, r = model.scaler(x), (R - model.returns[0]) / model.returns[1]

    def stage(loss: Loss, net: nn.Module, data: dict[str, Tensor], number: int, batch: int, lr: float) -> Stage:
        update = descend(
            lambda b: loss({**b, "x": z[b["rows"]]}, generator),  # windows overlap, so each batch cuts out its own
            net,
            lr=lr,
            schedule=cosine_decay(number, warmup=min(100, number // 10)),
            ema=c.ema,
        )
        return Stage((update,), Batches(data, batch, generator), number)

    stages = (
        stage(model.loss, model.denoiser, {"rows": rows, "valid": mask}, c.updates, c.batch, c.lr),
        stage(model.value_loss, model.J, {"rows": rows, "R": r}, c.value_updates, c.value_batch, c.value_lr),
    )
    return Run(model, *stages, generator=generator, data=episodes, seed=seed)
