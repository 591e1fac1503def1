"""IQL (Kostrikov et al. 2022): critics that never leave the data, and a Gaussian policy of its better actions.

What is diffused: nothing; this is the baseline that diffusion policies are held against.
What is learned: V(s), the expectile `tau` of Q(s, a) over the data's actions; Q, which looks ahead with V; then
p(a | s) = N(m(s), diag s(s)^2) by its likelihood, each row weighted by exp(A(s, a) / eta), A = Q - V. Of several ways
one Gaussian learns the weighted mean and the distance, and so draws between them.
How it acts: it draws one action, clipped to [-1, 1], or with `noise` = 0 does the mean; no critic is asked any more.
What differs from the paper: eta = 1 / beta; the deviation is a function of the state and lies in e^-3 to e^2; unless
told it acts by a draw where the paper takes the mean; the critics stand before the policy begins; actions are scaled
to unit variance, weights are divided by their mean in the batch.
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
from diffrl_lab.diffusion import Batches, Run, Stage, cosine_decay, descend, seeded
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import critics
from diffrl_lab.methods.policies.chunks import drawn
from diffrl_lab.nets import MLP
from diffrl_lab.nets.heads import Gaussians, gaussians


@dataclass(frozen=True)
class Config:
    """The hyperparameters of IQL."""

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
    noise: float = 1.0  # times the deviation that an action is drawn with; 0: the mean is done


class Iql(nn.Module):
    """p(a | s) as one Gaussian with independent numbers, and the critics that weigh the data for it.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.actor = MLP(obs, out=2 * act, width=config.width, depth=config.depth, label=0)
        self.critic = critics.Expectile(obs, act, config.width, config.depth)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    @property
    def q(self) -> critics.Twin:
        """The two Q(s, a)."""
        return self.critic.q

    def law(self, s: Tensor) -> Gaussians:
        """p(a | s) for scaled states s [B, d], a scaled. -> with K = 1"""
        return gaussians(self.actor(s)[:, None])

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """-E w ln p(a | s) / E w, w = exp(A / eta) cut at `most`, of {"act": scaled actions [B, a], "obs": scaled
        states [B, d], "adv": advantages [B]}. -> {"loss": []}"""
        w = (batch["adv"] / self.config.eta).exp().clamp(max=self.config.most)
        return {"loss": -(w / w.mean() * self.law(batch["obs"]).log_prob(batch["act"])).mean()}

    @torch.no_grad()
    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike | None = None,
        *,
        n: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """n actions m(s) + noise s(s) eps, eps ~ N(0, I), for each state obs [B, d], in units. -> [B, n, a]

        generator: one for all, or B of them, one for each state: then no action depends on the other states.
        """
        law = self.law(critics.states(self, obs))
        eps = drawn(torch.randn, len(law.mean), n, self.sizes["act"], generator=generator)
        return self.act_scaler.inverse(law.mean + self.config.noise * law.log_std.exp() * eps)


class Agent(critics.Acting):
    """Acts for m episodes side by side; each draws one action."""

    def __init__(self, model: Iql):
        super().__init__(model)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator: the critics first, the policy once they stand."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Iql, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(critics.prepared(model, episodes), c.batch, generator)
    v, q = model.critic.updates(c)
    advantage = critics.advantages(model.critic, q)
    policy = descend(
        lambda b: model.loss(b | {"adv": advantage(b)}),
        model.actor,
        lr=c.lr,
        schedule=cosine_decay(c.updates),
        ema=c.ema,
    )
    stages = Stage((v, q), batches, c.updates), Stage((policy,), batches, c.updates)
    return Run(model, *stages, generator=generator, data=episodes, seed=seed)
