"""FQL (Park et al. 2025): a flow that clones, and beside it a policy of one step that learns from it and climbs Q.

What is diffused: one action a [a], given the state s [d], along straight lines x_t = (1 - t) a + t z (rectified flow);
both scaled to unit variance.
What is learned: a flow v(x_t, t, s) by cloning alone; mu(s, z), one pass from noise z to an action, by
alpha E |mu(s, z) - F(s, z)|^2 - E Q(s, mu(s, z)) / E |Q|, where F takes the same z along the flow; and two Q(s, a) that
look ahead with the averaged mu. So Q's slope goes through one pass, never through a chain, and the flow stays a clone.
How it acts: it draws z and does mu(s, z), clipped to [-1, 1]; the flow is not asked any more.
What differs from the paper: Q is divided by E |Q| always (there: an option), so alpha is another number than there; the
smaller Q is climbed and looked ahead with in place of the mean of both; AdamW with half a cosine; no layer norm.
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
    NeuralDenoiser,
    Rectified,
    Run,
    Stage,
    clip,
    cosine_decay,
    denoising_loss,
    descend,
    euler,
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
    """The hyperparameters of FQL."""

    alpha: float = 1.0  # weight of the distance to the flow beside Q; large: cloning
    width: int = 128  # of the networks' hidden layers
    depth: int = 3  # their layers
    updates: int = 2000  # of the critics, of the flow and of the policy of one step, in turn
    batch: int = 256  # transitions in each
    lr: float = 2e-3  # the highest learning rate; those of flow and policy go down to 0 by half a cosine
    ema: float = 0.995  # decay of the running averages of flow and policy
    target: float = 0.99  # decay of the running average of Q, which targets are made from
    gamma: float = 0.99  # discount
    denoising: int = 10  # Euler steps of the flow


class Fql(nn.Module):
    """A flow of what was done, the one step that follows it, and the critics that it climbs.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        net = MLP(act, cond=obs, width=config.width, depth=config.depth)
        self.flow = NeuralDenoiser(net, Rectified(), "flow")
        self.one = MLP(act, cond=obs, width=config.width, depth=config.depth, label=0)
        self.q = critics.Twin(obs, act, config.width, config.depth)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    @torch.no_grad()
    def along(self, flow: Any, s: Tensor, z: Tensor) -> Tensor:
        """F(s, z): where a flow takes noise z [B, a] at scaled states s [B, d], within the box of actions. -> [B, a]"""
        D = clip(given(flow, s), *critics.box(self))
        return sample(D, z, steps=self.config.denoising, step=euler())

    def at_once(self, one: Any, s: Tensor, z: Tensor) -> Tensor:
        """mu(s, z), scaled, as it is done: within the box of actions. -> [B, a]"""
        low, high = critics.box(self)
        return one(z, None, s).clamp(low, high)

    def cloning(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The flow's loss E |v - (z - a)|^2 on {"act": scaled actions [B, a], "obs": scaled states [B, d]}.
        -> {"loss": [], "flow_loss": []}"""
        loss = denoising_loss(self.flow, batch["act"], cond=batch["obs"], generator=generator)
        return {"loss": loss, "flow_loss": loss}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of the one step, alpha E |mu - F|^2 - E Q(s, mu) / E |Q|, at scaled states {"obs": [B, d]}.
        -> {"loss": [], "distance": []}"""
        s = batch["obs"]
        z = torch.randn(len(s), self.sizes["act"], generator=generator)
        distance = (self.one(z, None, s) - self.along(self.flow, s, z)).square().mean()
        q = self.q.lower(s, self.at_once(self.one, s, z))
        climb = -q.mean() / q.detach().abs().mean().clamp(min=1e-3)
        return {"loss": self.config.alpha * distance + climb, "distance": distance}

    @torch.no_grad()
    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike | None = None,
        *,
        n: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """n actions mu(s, z) for each state obs [B, d], in units; not chosen among. -> [B, n, a]

        generator: one for all, or B of them, one for each state: then no action depends on the other states.
        """
        s, act = critics.states(self, obs), self.sizes["act"]
        z = drawn(torch.randn, len(s), n, act, generator=generator).flatten(0, 1)
        a = self.at_once(self.one, s.repeat_interleave(n, 0), z)
        return self.act_scaler.inverse(a.view(len(s), n, act))


class Agent(critics.Acting):
    """Acts for m episodes side by side; each draws one action, in one pass."""

    def __init__(self, model: Fql):
        super().__init__(model)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator: on each batch Q, the flow, then the one step."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Fql, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(critics.prepared(model, episodes), c.batch, generator)

    def q_loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            z = torch.randn(batch["act"].shape, generator=generator)
            after = q.ema.module.lower(batch["after"], model.at_once(one.ema.module, batch["after"], z))
        return {"loss": (loss := critics.bellman_loss(model.q, batch, after, c.gamma)), "q_loss": loss}

    decay = cosine_decay(c.updates)
    q: Any = descend(q_loss, model.q, lr=c.lr, ema=c.target, warm_up=False)
    flow = descend(lambda b: model.cloning(b, generator), model.flow, lr=c.lr, schedule=decay, ema=c.ema)
    one: Any = descend(lambda b: model.loss(b, generator), model.one, lr=c.lr, schedule=decay, ema=c.ema)
    return Run(model, Stage((q, flow, one), batches, c.updates), generator=generator, data=episodes, seed=seed)
