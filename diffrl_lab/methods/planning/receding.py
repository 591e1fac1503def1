"""Planning as denoising for robots: windows of actions and observations, climbed by a value, replanned as it goes
(Diffuser's locomotion half, Janner et al. 2022).

What is diffused is a window x [H, a + d]: at each of H successive steps the action and then the observation it was
taken in. Two networks are trained on the same windows: a denoiser that is shown the first observation clean (and its
loss leaves it out), and a `Guide` J(x_t, t) that regresses on what the window's first step goes on to return. At every
`execute`-th step some candidates are drawn from the present observation, guided by J; the one of the highest J gives
the next actions.

What differs from Diffuser: an MLP with a small convolution (`PlanMLP`) in place of the temporal U-Net, which costs two
to five times as much an update; shorter windows, since J sees beyond their end anyway; a denoiser trained to see the
known entries; deterministic DDIM of few steps, from the last plan where there is one; returns scaled to deviation 1;
and `ascend`'s scale. Diffuser moves the mean of a step from t to s by scale beta_tilde grad J, which is as much as
moving x0_hat by scale sigma_s^2 / alpha_s grad J, and does so twice a step; `ascend` moves x0_hat by
scale sigma_t^2 / alpha_t grad J once. So, at neighbouring levels, a scale w' there acts like 2 D_R w' here, where D_R
is the deviation of its returns: its 0.1 on Hopper like a number of the order of 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler, standard
from diffrl_lab.diffusion import (
    Cosine,
    NeuralDenoiser,
    ascend,
    cosine_decay,
    denoising_loss,
    descend,
    given,
    load,
    pin,
    sample,
    save,
)
from diffrl_lab.methods.planning.value_guidance import Guide, value_loss, windows_to_go
from diffrl_lab.nets import PlanMLP

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Windowed:
    """The hyperparameters of a robot's planner: two networks and how they are trained."""

    horizon: int = 8  # H, steps of a window
    width: int = 256  # of the denoiser's MLP
    depth: int = 3  # its residual blocks
    channels: int = 32  # of its convolution along the window
    steps: int = 3000  # updates of the denoiser
    batch: int = 128  # windows in each
    lr: float = 2e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what plans
    first: float = 10.0  # weight of the first action in the loss (Diffuser's action_weight)
    gamma: float = 0.99  # discount of the returns that J learns
    value_width: int = 256  # of J's MLP
    value_steps: int = 3000  # updates of J
    value_batch: int = 256
    value_lr: float = 1e-3


@dataclass(frozen=True, eq=False)
class ValuedWindows:
    """What is learned of a robot's windows: how to denoise them and what they are worth.

    scaler: of a window's columns, a actions and then d observations. returns: mean and deviation of R, which J is
    scaled by. J(x, t) -> [B] takes scaled windows.
    """

    denoiser: NeuralDenoiser
    J: Guide
    scaler: Scaler
    actions: int  # a
    returns: tuple[float, float]
    config: Windowed

    @property
    def known(self) -> Tensor:
        """The known-mask [H, a + d] of a plan from a given observation."""
        known = torch.zeros(self.config.horizon, len(self.scaler.center), dtype=torch.bool)
        known[0, self.actions :] = True
        return known

    def save(self, path: str | Path, **about: Any) -> None:
        """Both networks as float16, scalings as they are, in one safetensors file."""
        tensors = {f"denoiser.{k}": v.half() for k, v in self.denoiser.state_dict().items()}
        tensors |= {f"J.{k}": v.half() for k, v in self.J.state_dict().items()}
        tensors |= {f"scaler.{k}": v for k, v in self.scaler.state().items()}
        save(path, tensors, windowed=asdict(self.config), actions=self.actions, returns=self.returns, **about)

    @classmethod
    def load(cls, path: str | Path) -> ValuedWindows:
        """What `save` wrote. Raises ValueError for a file of something else."""
        tensors, about = load(path)
        if "windowed" not in about:
            raise ValueError(f"{path} holds no windows of a robot")
        config = Windowed(**about["windowed"])
        scaler = Scaler(tensors["scaler.center"], tensors["scaler.spread"])
        D, J = _networks(config, len(scaler.center), 0)
        for name, net in (("denoiser.", D), ("J.", J)):
            net.load_state_dict({k.removeprefix(name): v.float() for k, v in tensors.items() if k.startswith(name)})
        return cls(D.eval(), J.eval(), scaler, about["actions"], tuple(about["returns"]), config)


def _networks(config: Windowed, dim: int, seed: int) -> tuple[NeuralDenoiser, Guide]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PlanMLP(
            config.horizon, dim, width=config.width, depth=config.depth, channels=config.channels, positions=0
        )
        J = Guide(config.horizon * dim, Cosine(), width=config.value_width)
    return NeuralDenoiser(net, Cosine(), "x0"), J


def learn(episodes: Episodes, config: Windowed | None = None, *, seed: int = 0) -> ValuedWindows:
    """Both networks, trained on the windows of all episodes to the last update; the averaged weights.

    The loss of the denoiser leaves out the known observation, and repeats of an episode's last row but for the first
    (what is past a fall is not learned, that the robot fell is); that of J sees every window.
    """
    c = config or Windowed()
    rows, mask, R = windows_to_go(episodes, c.horizon, c.gamma)
    x = torch.cat([episodes.act, episodes.obs], -1).float()
    scaler = Scaler.fit(x, "standard")
    z, actions = scaler(x), episodes.act.shape[1]
    centre, spread = standard(R)
    r = (R - centre) / spread
    D, J = _networks(c, x.shape[1], seed)
    g = torch.Generator().manual_seed(seed)
    weight = torch.ones(c.horizon, x.shape[1])
    weight[0, :actions] = c.first
    made = ValuedWindows(D, J, scaler, actions, (centre, spread), c)
    known = made.known

    def denoising(i: Tensor) -> Tensor:
        shown = known.expand(len(i), *known.shape)
        return denoising_loss(
            D, z[rows[i]], cond={"known": shown}, known=known, valid=mask[i, :, None], weight=weight, generator=g
        )

    def regression(i: Tensor) -> Tensor:
        return value_loss(J, z[rows[i]], r[i], known=known, generator=g)

    kept = []
    for loss, net, steps, batch, lr in (
        (denoising, D, c.steps, c.batch, c.lr),
        (regression, J, c.value_steps, c.value_batch, c.value_lr),
    ):
        decay = cosine_decay(steps, warmup=min(100, steps // 10))
        update = descend(loss, net, lr=lr, schedule=decay, ema=c.ema, generator=g)
        for _ in range(steps):
            update(torch.randint(len(rows), (batch,), generator=g))
        assert update.ema is not None
        kept.append(update.ema.module.eval())
    return ValuedWindows(kept[0], kept[1], scaler, actions, (centre, spread), c)  # type: ignore[arg-type]


class Receding:
    """The planner as an agent for many episodes that step together: `reset(obs [n, d], seeds)`, then `act`.

    scale: of `ascend`, one number or one for each episode; 0 leaves the choice among candidates alone. chosen = False
    takes the first candidate, whatever its J. temperature: factor on the noise that a plan starts from. warm: None
    draws every plan from noise in `steps` denoising steps; a time t starts from the last plan, moved on by the steps
    that were done and noised to t, in `warm_steps`. Each episode's noise comes from a generator of its own, seeded by
    its seed, so its plans do not depend on who else is in the batch.
    """

    def __init__(
        self,
        windows: ValuedWindows,
        *,
        scale: float | Sequence[float] = 30.0,
        candidates: int = 16,
        steps: int = 6,
        temperature: float = 1.0,
        execute: int = 1,
        chosen: bool = True,
        warm: float | None = 0.7,
        warm_steps: int = 4,
    ):
        if not 1 <= execute <= windows.config.horizon:
            raise ValueError(f"between 1 and {windows.config.horizon} actions of a plan can be done, got {execute}")
        self.windows, self.scale, self.candidates, self.steps = windows, scale, candidates, steps
        self.temperature, self.execute, self.chosen = temperature, execute, chosen
        self.warm, self.warm_steps = warm, warm_steps

    def reset(self, obs: ArrayLike, seeds: Sequence[int]) -> None:
        n = len(seeds)
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.scales = torch.as_tensor(self.scale, dtype=torch.float32).expand(n)
        self.last = torch.zeros(n, *self.windows.known.shape)  # each episode's plan, scaled
        self.at, self.done = -1, self.execute
        self.values = torch.full((n,), float("nan"))  # J of the plan that is being driven

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> Array:
        """Actions [m, a] in [-1, 1] for observations [m, d] of the episodes `which` [m] (all): one step of each."""
        o = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
        rows = torch.arange(len(o)) if which is None else torch.as_tensor(np.asarray(which))
        if self.done == self.execute:
            plans, values = self.plan(o, rows)
            best = values.argmax(1) if self.chosen else torch.zeros(len(o), dtype=torch.long)
            self.last[rows], self.done = plans[torch.arange(len(o)), best], 0
            self.values[rows], self.at = values[torch.arange(len(o)), best], 0
        w = self.windows
        action = w.scaler.inverse(self.last[rows, self.done])[:, : w.actions]
        self.done += 1
        return action.clamp(-1, 1).double().numpy()

    @torch.no_grad()
    def plan(self, obs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates for each observation, scaled, [m, n, H, a + d], and their J [m, n]."""
        w, n = self.windows, self.candidates
        known = w.known
        value = torch.zeros(len(obs), 1, *known.shape)
        value[:, :, 0, w.actions :] = w.scaler[list(range(w.actions, len(w.scaler.center)))](obs)[:, None]
        value = value.expand(-1, n, -1, -1).flatten(0, 1)
        x = torch.stack([torch.randn(n, *known.shape, generator=self.generators[i]) for i in rows.tolist()])
        shown = given(w.denoiser, {"known": known.expand(value.shape)})
        scale = self.scales[rows].repeat_interleave(n)
        D = pin(ascend(shown, w.J, scale) if bool(scale.any()) else shown, known, value)
        steps: int | Tensor = self.steps
        if self.warm is None or self.at < 0:
            x_T = self.temperature * x
        else:
            steps = torch.linspace(self.warm, 0, self.warm_steps + 1, dtype=torch.float64)
            moved = torch.cat([self.last[rows, self.execute :], self.last[rows, -1:].expand(-1, self.execute, -1)], 1)
            alpha, sigma = (float(level) for level in D.schedule(self.warm))
            x_T = alpha * moved[:, None] + sigma * self.temperature * x
        plans = sample(D, x_T.flatten(0, 1), steps=steps)
        plans = torch.where(known, value, plans)
        values = w.J(plans, torch.tensor(0.0))
        return plans.unflatten(0, (len(obs), n)), values.unflatten(0, (len(obs), n))
