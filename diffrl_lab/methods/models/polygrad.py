"""PolyGRAD (Rigter et al. 2023): a world model that draws a whole rollout at once, its actions led by a policy.

What is diffused: x [H (a + 1 + d)], for each of H steps the action, the reward and the state that follows, each number
scaled to mean 0 and variance 1 over the recording.
What is learned: D(x_t, t, s_0) with EDM's preconditioning, s_0 being the state that the rollout begins in.
How it acts: it does not; `sample` draws rollouts of a policy. States and rewards are denoised by D; an action is moved
by the score of the policy, noised as the action is, at the states that D expects (`led`).
What differs from the paper: the action's move is the score of the noised Gaussian policy, which has no step size to
tune or clip; the recording is of one behaviour and is not renewed while a policy learns; an MLP of 256 x 4 in place of
1,024 x 6; the end of an episode is not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, windows
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Denoiser,
    Frame,
    Function,
    Karras,
    NeuralDenoiser,
    Run,
    Stage,
    Step,
    chain,
    cosine_decay,
    denoising_loss,
    descend,
    given,
    heun,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.models.synther import levels
from diffrl_lab.nets import MLP

Policy = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A Gaussian policy: states [B, H, d] -> mean and standard deviation of the action, each [B, H, a] or what broadcasts
to it. One that does not look at the state is a plan."""


@dataclass(frozen=True)
class Config:
    """The hyperparameters of PolyGRAD; the defaults have about 170,000 weights on Pendulum."""

    horizon: int = 10  # H, steps of a rollout; the paper's
    width: int = 256  # of the network's hidden layers
    depth: int = 4  # its layers
    updates: int = 3000  # of the network
    batch: int = 256  # rollouts in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what draws
    level_mean: float = -1.2  # of ln sigma in training; EDM's, as is the next
    level_std: float = 1.2
    denoising: int = 18  # steps of the chain
    predict: str = "edm"  # what the network predicts (`denoisers.coefficients`); "x0" errs less from 5 steps on
    sigma_data: float = 1.0  # of its preconditioning: 1 is the deviation of the scaled data


class Rollout(NamedTuple):
    """What happens from a state on, in units."""

    obs: Tensor  # [B, H + 1, d], the first state as it was given
    act: Tensor  # [B, H, a]
    rew: Tensor  # [B, H]


class Polygrad(nn.Module):
    """p(actions, rewards and states of H steps | the first state) of a recording.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.dim = config.horizon * (act + 1 + obs)
        net = MLP(self.dim, cond=obs, width=config.width, depth=config.depth)
        self.denoiser = NeuralDenoiser(net, Karras(0.002, 80.0), config.predict, config.sigma_data)
        self.scaler = Scaler.blank(act + 1 + obs)

    def loss(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """EDM's loss of scaled rollouts [B, H (a + 1 + d)], given scaled first states [B, d]. -> {"loss": []}"""
        x, start = batch
        t = levels(self.denoiser, self.config, len(x), generator)
        return {"loss": denoising_loss(self.denoiser, x, cond=start, t=t, generator=generator)}

    def scaled(self, start: Tensor) -> Tensor:
        """A state in units [..., d] as the network is shown it, scaled as the states that follow are."""
        d = self.sizes["obs"]
        return Scaler(self.scaler.center[-d:], self.scaler.spread[-d:])(start)

    def rollout(self, x: Tensor, start: Tensor) -> Rollout:
        """A scaled x [B, H (a + 1 + d)] that begins in start [B, d], in units."""
        steps = self.scaler.inverse(x.unflatten(-1, (self.config.horizon, -1)))
        act, rew, after = steps.split([self.sizes["act"], 1, self.sizes["obs"]], -1)
        return Rollout(torch.cat([start[:, None], after], 1), act, rew[..., 0])

    def led(self, D: Denoiser, policy: Policy, start: Tensor) -> Denoiser:
        """D with a policy in the place of the recorded behaviour: PolyGRAD's move of the actions.

        A noisy action a_t = alpha a + sigma eps of a ~ N(m, v) has the mean m + alpha v (a_t - alpha m) / (alpha^2 v +
        sigma^2), which is (a_t + sigma^2 grad log p_t(a_t)) / alpha. m and v are the policy's at the states of D's
        x0_hat (start [B, d] and all but the last that follow). That is exact for actions that look at no state. It is
        no exact law of the rollout: a state's uncertainty is left out, so is what later states tell about an action,
        and while actions are noisy D expects the states of the recorded behaviour. With the exact D of
        `worlds.linear` over 4 steps, the recorded behaviour itself as the policy gives states of 0.94 of their
        deviation, and a policy that adds 1 to every action moves the last state by a third of what it should. It
        wants recordings of the policy that leads, as the paper makes them, or one close to it.
        """
        a = self.sizes["act"]
        spread = torch.where(self.scaler.spread > 0, self.scaler.spread, 1.0)[:a]
        center = self.scaler.center[:a]

        def moved(x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
            x0 = D(x_t, t, cond)
            mean, std = policy(self.rollout(x0, start).obs[:, :-1])
            m, v = (mean - center) / spread, (std / spread) ** 2
            alpha, sigma = D.schedule(t)
            steps, noisy = (z.unflatten(-1, (self.config.horizon, -1)) for z in (x0, x_t))
            act = m + alpha * v * (noisy[..., :a] - alpha * m) / (alpha**2 * v + sigma**2).clamp(min=1e-12)
            return torch.cat([act.to(x0), steps[..., a:]], -1).flatten(1)

        return Function(moved, D.schedule)

    @torch.no_grad()
    def chain(
        self,
        start: Tensor,
        policy: Policy | None = None,
        *,
        steps: int | None = None,
        step: Step | None = None,
        x_T: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Frame]:
        """The drawing of one rollout from each of start [B, d] in units, frame by frame, scaled: x_t and x0_hat
        [B, H (a + 1 + d)], which `rollout` reads.

        policy: what acts; the recorded behaviour unless given. steps: `config.denoising` unless given; step: Heun's
        unless given; x_T: the noise to begin with. Raises ValueError for states of another width.
        """
        if start.ndim != 2 or start.shape[1] != self.sizes["obs"]:
            raise ValueError(f"states [B, {self.sizes['obs']}] are wanted to begin in, got {list(start.shape)}")
        if x_T is None:
            x_T = self.denoiser.schedule.prior((len(start), self.dim), generator)
        D = given(self.denoiser, self.scaled(start.float()))
        if policy is not None:
            D = self.led(D, policy, start.float())
        steps = self.config.denoising if steps is None else steps
        yield from chain(D, x_T, steps=steps, step=step or heun(), generator=generator)

    def sample(self, start: Tensor, policy: Policy | None = None, **options: Any) -> Rollout:
        """One rollout from each of start [B, d], in units; arguments of `chain`."""
        for frame in self.chain(start, policy, **options):
            x = frame.x_t
        return self.rollout(x, start.float())


def gather(episodes: Episodes, horizon: int) -> tuple[Tensor, Tensor]:
    """Each `horizon` successive steps of an episode: (a, r, s') of each [N, H, a + 1 + d] and the first state [N, d].

    Raises ValueError where no episode has so many.
    """
    i = windows(episodes, horizon)
    steps = [episodes.act[i].float(), episodes.rew[i].float()[..., None], episodes.obs[i + 1].float()]
    return torch.cat(steps, -1), episodes.obs[i[:, 0]].float()


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all windows of `episodes` as a generator. Raises ValueError for pictures as observations."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    if episodes.obs.ndim != 2:
        raise ValueError(f"states [N, d] are wanted as observations, got {list(episodes.obs.shape)}")
    model = seeded(seed, Polygrad, c, episodes.obs.shape[1], episodes.act.shape[1])
    x, start = gather(episodes, c.horizon)
    model.scaler = Scaler.fit(x, "standard")
    both = torch.cat([model.scaler(x).flatten(1), model.scaled(start)], 1)
    update = descend(
        lambda z: model.loss((z[:, : model.dim], z[:, model.dim :]), generator),
        model.denoiser,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    batches = Batches(both, c.batch, generator)
    return Run(model, Stage((update,), batches, c.updates), generator=generator, data=episodes, seed=seed)
