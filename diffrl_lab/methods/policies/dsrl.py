"""DSRL (Wagenmaker et al. 2025): a frozen diffusion policy is steered by the noise that its chain begins with.

What is diffused: one action a [a], given the state s [d]; both scaled to unit variance.
What is learned: D(a_t, t, s) by cloning, and then nothing more of it: DDIM's chain from w is a fixed map a(s, w). In
its noise w: a policy pi(s) within [-bound, bound], which climbs Q_w(s, w); Q_w, which is taught Q(s, a(s, w)) at normal
w cut to the box (noise aliasing: no slope goes through the chain); and two Q(s, a) that look ahead with a(s, pi(s)).
Whatever Q says, an action is one that the clone itself makes of likely noise.
How it acts: it does a(s, pi(s)); nothing is drawn, so of several good actions it has one.
What differs from the paper: pi is deterministic, without SAC's entropy, since nothing is explored offline; what is
cloned is also what the critics learn from; DDIM in 10 steps, x_0 predicted; two Q and no larger ensembles.
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
    clip,
    cosine_decay,
    ddim,
    denoising_loss,
    descend,
    given,
    sample,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import critics
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of DSRL."""

    bound: float = 1.5  # the largest number of a chosen noise; 0: always the clone's action of no noise
    width: int = 128  # of the networks' hidden layers
    depth: int = 3  # their layers
    updates: int = 2000  # of the clone, then as many of critics and policy in turn
    batch: int = 256  # transitions in each
    lr: float = 2e-3  # the highest learning rate; those of clone and policy go down to 0 by half a cosine
    ema: float = 0.995  # decay of the running averages of clone and policy, which are what acts
    target: float = 0.99  # decay of the running average of Q, which targets are made from
    gamma: float = 0.99  # discount
    denoising: int = 10  # steps of the chain that makes an action of noise
    predict: str = "x0"  # what the network predicts: "v", "x0", "eps", "edm"


class Dsrl(nn.Module):
    """A clone, the policy that chooses its noise, and critics of actions (`q`) and of noise (`q_noise`).

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
        self.q_noise = MLP(obs + act, out=1, label=0, **shape)
        self.q = critics.Twin(obs, act, config.width, config.depth)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    def noise(self, actor: Any, s: Tensor) -> Tensor:
        """pi(s) = bound tanh(net(s)), the noise that a network chooses for scaled states s [B, d]. -> [B, a]"""
        return self.config.bound * torch.tanh(actor(s))

    @torch.no_grad()
    def made(self, D: Denoiser, s: Tensor, w: Tensor) -> Tensor:
        """a(s, w): the scaled action that DDIM's chain of a denoiser D makes of noise w [B, a], within the box.
        -> [B, a]"""
        inside = clip(given(D, s), *critics.box(self))
        return sample(inside, w, steps=self.config.denoising, step=ddim())

    def worth(self, s: Tensor, w: Tensor) -> Tensor:
        """Q_w(s, w). -> [B]"""
        return self.q_noise(torch.cat([s, w], 1))[:, 0]

    def cloning(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss on {"act": scaled actions [B, a], "obs": scaled states [B, d]}. -> {"loss": []}"""
        return {"loss": denoising_loss(self.denoiser, batch["act"], cond=batch["obs"], generator=generator)}

    def climb(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss of the policy, - E Q_w(s, pi(s)), at scaled states {"obs": [B, d]}. -> {"loss": [], "climb": []}"""
        loss = -self.worth(batch["obs"], self.noise(self.actor, batch["obs"])).mean()
        return {"loss": loss, "climb": loss}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of Q_w, E (Q_w(s, w) - min Q(s, a(s, w)))^2 over normal w cut to the box, at scaled states
        {"obs": [B, d]}. -> {"loss": [], "noise_loss": []}"""
        return self.taught(self.denoiser, self.q, batch, generator)

    def taught(
        self, D: Denoiser, q: critics.Twin, batch: dict[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """`loss` with another clone D and another Q: those that are averaged."""
        s, b = batch["obs"], self.config.bound
        w = torch.randn(len(s), self.sizes["act"], generator=generator).clamp(-b, b)
        with torch.no_grad():
            y = q.lower(s, self.made(D, s, w))
        loss = (self.worth(s, w) - y).square().mean()
        return {"loss": loss, "noise_loss": loss}

    @torch.no_grad()
    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike | None = None,
        *,
        n: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """a(s, pi(s)), n times, for each state obs [B, d], in units; nothing is drawn. -> [B, n, a]"""
        s = critics.states(self, obs)
        a = self.made(self.denoiser, s, self.noise(self.actor, s))
        return self.act_scaler.inverse(a)[:, None].repeat(1, n, 1)


class Agent(critics.Acting):
    """Acts for m episodes side by side: it does a(s, pi(s))."""

    def __init__(self, model: Dsrl):
        super().__init__(model)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator: the clone first, then on each batch Q, Q_w, pi."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Dsrl, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(critics.prepared(model, episodes), c.batch, generator)
    decay = cosine_decay(c.updates)

    def q_loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            s = batch["after"]
            after = q.ema.module.lower(s, model.made(clone.ema.module, s, model.noise(actor.ema.module, s)))
        return {"loss": (loss := critics.bellman_loss(model.q, batch, after, c.gamma)), "q_loss": loss}

    clone: Any = descend(lambda b: model.cloning(b, generator), model.denoiser, lr=c.lr, schedule=decay, ema=c.ema)
    q: Any = descend(q_loss, model.q, lr=c.lr, ema=c.target, warm_up=False)
    q_noise = descend(lambda b: model.taught(clone.ema.module, q.ema.module, b, generator), model.q_noise, lr=c.lr)
    actor: Any = descend(model.climb, model.actor, lr=c.lr, schedule=decay, ema=c.ema)
    stages = Stage((clone,), batches, c.updates), Stage((q, q_noise, actor), batches, c.updates)
    return Run(model, *stages, generator=generator, data=episodes, seed=seed)
