"""IDQL (Hansen-Estruch et al. 2023): a diffusion model of what was done, and a critic that chooses among its draws.

What is diffused: one action a [a], given the state s [d]; both scaled to unit variance.
What is learned: D(a_t, t, s) from the data alone, and IQL's critics: V(s), an expectile of Q over the data's actions,
and two Q(s, a) that look ahead with V. The policy never climbs Q, so it does not leave the data for Q's errors.
How it acts: of `candidates` actions it draws, the one of the highest Q is done. On a bandit with the exact Q that is an
order statistic.
What differs from the paper: an MLP in place of a LayerNorm ResNet, x_0 predicted in place of eps, DPM-Solver++ in 10
steps in place of DDPM in 5, x0_hat and not the iterate is clipped; the critics are trained before the policy.
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
    """The hyperparameters of IDQL."""

    candidates: int = 32  # actions drawn, of which the one of the highest Q is done
    tau: float = 0.7  # V is this expectile of Q; .5: its mean
    width: int = 128  # of the networks' hidden layers
    depth: int = 3  # their layers
    updates: int = 2000  # of the critics, then as many of the policy
    batch: int = 256  # transitions in each
    lr: float = 2e-3  # the highest learning rate; the policy's goes down to 0 by half a cosine
    ema: float = 0.995  # decay of the running average of the policy's weights, which is what acts
    target: float = 0.99  # decay of the running average of Q, which is what V and the policy are shown
    gamma: float = 0.99  # discount
    denoising: int = 10  # steps of the chain that draws an action
    predict: str = "x0"  # what the network predicts: "v", "x0", "eps", "edm"


class Idql(nn.Module):
    """p(a | s) as the data have it, and the critics that choose.

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
        """The denoising loss on {"act": scaled actions [B, a], "obs": scaled states [B, d]}. -> {"loss": []}"""
        return {"loss": denoising_loss(self.denoiser, batch["act"], cond=batch["obs"], generator=generator)}

    @torch.no_grad()
    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike | None = None,
        *,
        n: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """n actions for each state obs [B, d], in units; not chosen among. -> [B, n, a]

        generator: one for all, or B of them, one for each state: then no action depends on the other states.
        """
        s, act = critics.states(self, obs), self.sizes["act"]
        a_T = drawn(self.denoiser.schedule.prior, len(s), n, act, generator=generator).flatten(0, 1)
        D = clip(given(self.denoiser, s.repeat_interleave(n, 0)), *critics.box(self))
        a = sample(D, a_T, steps=self.config.denoising, step=dpm_pp_2m())
        return self.act_scaler.inverse(a.view(len(s), n, act))


class Agent(critics.Acting):
    """Acts for m episodes side by side: of `candidates` actions the one of the highest Q is done."""

    def __init__(self, model: Idql):
        super().__init__(model, model.config.candidates)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator: the critics first, the policy once they stand."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Idql, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(critics.prepared(model, episodes), c.batch, generator)
    v, q = model.critic.updates(c)
    policy = descend(
        lambda b: model.loss(b, generator), model.denoiser, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema
    )
    stages = Stage((v, q), batches, c.updates), Stage((policy,), batches, c.updates)
    return Run(model, *stages, generator=generator, data=episodes, seed=seed)
