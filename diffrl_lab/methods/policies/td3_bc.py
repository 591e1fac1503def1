"""TD3+BC (Fujimoto and Gu 2021): a deterministic policy that climbs Q and is held to the data by least squares.

What is diffused: nothing; this is the baseline that diffusion policies are held against.
What is learned: a = pi(s) by E (pi(s) - a)^2 - alpha E Q(s, pi(s)) / E |Q|, and two Q(s, a) that look ahead with the
averaged policy's action and a little noise. One action for a state: of several ways it can have one, or none of them.
How it acts: it does pi(s), clipped to [-1, 1].
What differs from the paper: the policy is updated at every step, not at every second; the smaller Q is climbed in place
of the first; actions are scaled to unit variance; AdamW with half a cosine.
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
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of TD3+BC."""

    alpha: float = 2.5  # weight of Q beside imitation; 0: cloning
    noise: float = 0.2  # deviation of the noise on actions that Q looks ahead with, cut at 0.5
    width: int = 128  # of the networks' hidden layers
    depth: int = 3  # their layers
    updates: int = 2000  # of the critics and of the policy, in turn
    batch: int = 256  # transitions in each
    lr: float = 2e-3  # the highest learning rate; the policy's goes down to 0 by half a cosine
    ema: float = 0.995  # decay of the running average of the policy's weights, which is what acts
    target: float = 0.99  # decay of the running average of Q, which targets are made from
    gamma: float = 0.99  # discount


class Td3Bc(nn.Module):
    """a = pi(s), and the critics that it climbs.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.actor = MLP(obs, out=act, width=config.width, depth=config.depth, label=0)
        self.q = critics.Twin(obs, act, config.width, config.depth)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    def action(self, actor: Any, s: Tensor) -> Tensor:
        """The scaled action of a network for scaled states s [B, d], within the box of actions. -> [B, a]"""
        low, high = critics.box(self)
        return actor(s).clamp(low, high)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The mean squared error on {"act": scaled actions [B, a], "obs": scaled states [B, d]} - alpha E Q / E |Q|.
        -> {"loss": [], "imitation": []}"""
        a = self.actor(batch["obs"])
        imitation = (a - batch["act"]).square().mean()
        if not self.config.alpha:
            return {"loss": imitation, "imitation": imitation}
        q = self.q.lower(batch["obs"], self.action(self.actor, batch["obs"]))
        climb = -q.mean() / q.detach().abs().mean().clamp(min=1e-3)
        return {"loss": imitation + self.config.alpha * climb, "imitation": imitation}

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
        a = self.action(self.actor, critics.states(self, obs))
        return self.act_scaler.inverse(a)[:, None].repeat(1, n, 1)


class Agent(critics.Acting):
    """Acts for m episodes side by side: it does pi(s)."""

    def __init__(self, model: Td3Bc):
        super().__init__(model)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator: on each batch Q, then the policy."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Td3Bc, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(critics.prepared(model, episodes), c.batch, generator)

    def q_loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            noise = c.noise * torch.randn(batch["act"].shape, generator=generator)
            action = model.action(policy.ema.module, batch["after"]) + noise.clamp(-0.5, 0.5)
            after = q.ema.module.lower(batch["after"], action)
        return {"loss": (loss := critics.bellman_loss(model.q, batch, after, c.gamma)), "q_loss": loss}

    q: Any = descend(q_loss, model.q, lr=c.lr, ema=c.target, warm_up=False)
    policy: Any = descend(model.loss, model.actor, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema)
    return Run(model, Stage((q, policy), batches, c.updates), generator=generator, data=episodes, seed=seed)
