"""SRPO (Chen et al. 2024): one action for a state, which climbs Q and is held by the slope of a frozen clone's density.

What is diffused: one action a [a], given the state s [d]; both scaled to unit variance. No chain is ever run.
What is learned: IQL's critics; D(a_t, t, s) by cloning; then, with both frozen, a = pi(s) along the slope
grad Q(s, a) - eta E w(t) (eps_hat(a_t, t, s) - eps), a_t = alpha a + sigma eps, t ~ U(low, high), w = sigma^2. The mean
of the second part is w sigma / alpha times the slope of KL(N(alpha a, sigma^2) || mu_t), mu_t the noised data: with
little noise that of - ln mu(a | s), with much a pull to the mean. The - eps has mean 0 and takes variance away.
How it acts: it does pi(s), one pass; nothing is drawn. With little noise alone (high = .3) it seeks one of several
modes. With all levels it need not: w gives much noise the most to say, and of two modes alike their mean attracts.
What differs from the paper: the smaller Q is climbed, in units of the reward, and the temperature eta (their 1 / beta)
stands at the other part; the action is clipped to [-1, 1] in place of a tanh; x_0 predicted in place of eps; AdamW
with half a cosine, small networks.
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
    Denoiser,
    NeuralDenoiser,
    Run,
    Stage,
    cosine_decay,
    denoising_loss,
    descend,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import critics
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of SRPO."""

    eta: float = 1.0  # temperature, in units of the reward; large: where the clone alone leads
    low: float = 0.02  # the least time that an action is noised to
    high: float = 0.98  # the greatest; small: a mode attracts, large: the mean of modes
    tau: float = 0.7  # V is this expectile of Q; .5: its mean
    width: int = 128  # of the networks' hidden layers
    depth: int = 3  # their layers
    updates: int = 2000  # of the critics, then as many of the clone, then as many of the policy
    batch: int = 256  # transitions in each
    lr: float = 2e-3  # the highest learning rate; those of clone and policy go down to 0 by half a cosine
    ema: float = 0.995  # decay of the running averages of clone and policy
    target: float = 0.99  # decay of the running average of Q, which is what V and the policy are shown
    gamma: float = 0.99  # discount
    predict: str = "x0"  # what the clone's network predicts: "v", "x0", "eps", "edm"

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high <= 1:
            raise ValueError(f"times are 0 < low <= high <= 1, got {self.low} and {self.high}")


class Srpo(nn.Module):
    """a = pi(s), the clone whose slope holds it, and the critics that it climbs.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        shape = {"width": config.width, "depth": config.depth}
        self.denoiser = NeuralDenoiser(MLP(act, cond=obs, **shape), Cosine(), config.predict)
        self.actor = MLP(obs, out=act, label=0, **shape)
        self.critic = critics.Expectile(obs, act, config.width, config.depth)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    @property
    def q(self) -> critics.Twin:
        """The two Q(s, a)."""
        return self.critic.q

    def cloning(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss on {"act": scaled actions [B, a], "obs": scaled states [B, d]}. -> {"loss": []}"""
        return {"loss": denoising_loss(self.denoiser, batch["act"], cond=batch["obs"], generator=generator)}

    @torch.no_grad()
    def pull(self, D: Denoiser, s: Tensor, a: Tensor, generator: torch.Generator) -> Tensor:
        """w(t) (eps_hat(a_t, t, s) - eps) of a clone D at scaled states s [B, d] and actions a [B, a], with a time and
        a noise for each; eps_hat = (a_t - alpha D) / sigma, and w = sigma^2, so it is sigma alpha (a - D). -> [B, a]

        Its mean at a Gaussian clone N(m, v) is E_t[sigma^3 alpha / (alpha^2 v + sigma^2)] (a - m).
        """
        c = self.config
        t = c.low + (c.high - c.low) * torch.rand(len(a), generator=generator)
        alpha, sigma = D.schedule(t, a.ndim)
        a_t = alpha * a + sigma * torch.randn(a.shape, generator=generator)
        return sigma * alpha * (a - D(a_t, t, s))

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The policy's loss at scaled states {"obs": [B, d]}, with the model's own clone and Q: its slope in the action
        is eta `pull` - grad Q, its value means nothing. -> {"loss": []}"""
        return self.held(self.denoiser, self.q, batch, generator)

    def held(
        self, D: Denoiser, q: critics.Twin, batch: dict[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """`loss` with another clone D and another Q: those that are averaged."""
        s, (low, high) = batch["obs"], critics.box(self)
        a = self.actor(s)
        pulled = (self.pull(D, s, a.detach(), generator) * a).sum(1).mean()
        return {"loss": self.config.eta * pulled - q.lower(s, a.clamp(low, high)).mean()}

    @torch.no_grad()
    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike | None = None,
        *,
        n: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """pi(s), n times, for each state obs [B, d], in units; nothing is drawn. -> [B, n, a]"""
        low, high = critics.box(self)
        a = self.actor(critics.states(self, obs)).clamp(low, high)
        return self.act_scaler.inverse(a)[:, None].repeat(1, n, 1)


class Agent(critics.Acting):
    """Acts for m episodes side by side: it does pi(s)."""

    def __init__(self, model: Srpo):
        super().__init__(model)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator: the critics, then the clone, then the policy."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Srpo, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(critics.prepared(model, episodes), c.batch, generator)
    v, q = model.critic.updates(c)
    decay = cosine_decay(c.updates)
    clone: Any = descend(lambda b: model.cloning(b, generator), model.denoiser, lr=c.lr, schedule=decay, ema=c.ema)
    assert q.ema is not None
    frozen: Any = q.ema.module
    policy = descend(
        lambda b: model.held(clone.ema.module, frozen, b, generator), model.actor, lr=c.lr, schedule=decay, ema=c.ema
    )
    stages = (Stage(u, batches, c.updates) for u in ((v, q), (clone,), (policy,)))
    return Run(model, *stages, generator=generator, data=episodes, seed=seed)
