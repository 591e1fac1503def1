"""Advantage-weighted diffusion: a diffusion model of what was done, in which good actions count more.

What is diffused: one action a [a], given the state s [d]; both scaled to unit variance.
What is learned: IQL's critics, then D(a_t, t, s) with each row weighted by exp(A(s, a) / eta), A = Q - V. The weighted
data have the law mu(a | s) exp(Q(s, a) / eta) up to a factor: the exact policy that is best in E Q - eta KL(pi || mu).
How it acts: it draws one action; no critic is asked any more.
What differs from the paper: this is the weighting of AWR (Peng et al. 2019) on a diffusion model's loss; EDP's and
QVPO's weighted forms (Kang et al. 2023; Ding et al. 2024) weight along with other terms. Weights are cut at `most`. On
the bandit of four modes (4,000 actions, two trainings of 30 CPU seconds) it is paid 4.13 and 4.19 where the exact
policy is paid 4.65, and 15% and 14% of its actions lie in no mode; with 10 steps of the chain 22% and 21%.
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
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    NeuralDenoiser,
    Run,
    Stage,
    clip,
    cosine_decay,
    denoising_loss,
    descend,
    dpm_pp_2m,
    given,
    sample,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import critics
from diffrl_lab.methods.policies.chunks import drawn
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of advantage-weighted diffusion."""

    eta: float = 1.0  # temperature, in units of the reward; large: cloning
    most: float = 100.0  # the largest weight
    tau: float = 0.7  # V is this expectile of Q; .5: its mean
    width: int = 128  # of the networks' hidden layers
    depth: int = 3  # their layers
    updates: int = 2000  # of the critics, then as many of the policy
    batch: int = 256  # transitions in each
    lr: float = 2e-3  # the highest learning rate; the policy's goes down to 0 by half a cosine
    ema: float = 0.995  # decay of the running average of the policy's weights, which is what acts
    target: float = 0.99  # decay of the running average of Q, which is what V and the policy are shown
    gamma: float = 0.99  # discount
    denoising: int = 20  # steps of the chain that draws an action
    predict: str = "x0"  # what the network predicts: "v", "x0", "eps", "edm"


class Weighted(nn.Module):
    """p(a | s) in which the good actions of the data count more.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        net = MLP(act, cond=obs, width=config.width, depth=config.depth)
        self.denoiser = NeuralDenoiser(net, Cosine(), config.predict)
        self.critic = critics.Expectile(obs, act, config.width, config.depth)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    @property
    def q(self) -> critics.Twin:
        """The two Q(s, a)."""
        return self.critic.q

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The weighted denoising loss on {"act": scaled actions [B, a], "obs": scaled states, "adv": advantages [B]}.
        -> {"loss": []}"""
        w = (batch["adv"] / self.config.eta).exp().clamp(max=self.config.most)
        w = w / w.mean()
        loss = denoising_loss(self.denoiser, batch["act"], cond=batch["obs"], weight=w, generator=generator)
        return {"loss": loss}

    @torch.no_grad()
    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike | None = None,
        *,
        n: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """n actions for each state obs [B, d], in units; one law, no choice. -> [B, n, a]

        generator: one for all, or B of them, one for each state: then no action depends on the other states.
        """
        s, act = critics.states(self, obs), self.sizes["act"]
        a_T = drawn(self.denoiser.schedule.prior, len(s), n, act, generator=generator).flatten(0, 1)
        D = clip(given(self.denoiser, s.repeat_interleave(n, 0)), *critics.box(self))
        a = sample(D, a_T, steps=self.config.denoising, step=dpm_pp_2m())
        return self.act_scaler.inverse(a.view(len(s), n, act))


class Agent(critics.Acting):
    """Acts for m episodes side by side; each draws one action."""

    def __init__(self, model: Weighted):
        super().__init__(model)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator: the critics first, the policy once they stand."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Weighted, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(critics.prepared(model, episodes), c.batch, generator)
    v, q = model.critic.updates(c)
    advantage = critics.advantages(model.critic, q)
    policy = descend(
        lambda b: model.loss(b | {"adv": advantage(b)}, generator),
        model.denoiser,
        lr=c.lr,
        schedule=cosine_decay(c.updates),
        ema=c.ema,
    )
    stages = Stage((v, q), batches, c.updates), Stage((policy,), batches, c.updates)
    return Run(model, *stages, generator=generator, data=episodes, seed=seed)
