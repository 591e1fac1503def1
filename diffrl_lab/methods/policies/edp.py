"""EDP (Kang et al. 2023): a diffusion policy that climbs Q at the action that one denoising gives, not a whole chain.

What is diffused: one action a [a], given the state s [d]; both scaled to unit variance.
What is learned: D(a_t, t, s) by the denoising loss - eta E Q(s, D(a_t, t, s)) / E |Q|, where a_t is a recorded action
with noise (action approximation); and two Q(s, a) that look ahead with the averaged policy's actions, drawn by its
chain. One pass gives Q's slope, whatever the chain's length. But at high noise D is the mean of what was done: of
several ways Q is asked there about an action between them, which nobody did.
How it acts: of `candidates` actions it draws, the one of the highest Q is done (1: what it draws).
What differs from the paper: continuous time, x_0 predicted in place of eps, DPM-Solver++ in 10 steps in place of
DPM-Solver in 15 of 1,000; the smaller Q is climbed in place of one of both at random; x0_hat is clipped to the box of
actions; Q is TD3's alone, its other forms (CRR, IQL) are left out.
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
    """The hyperparameters of EDP."""

    eta: float = 1.0  # weight of Q beside imitation; 0: cloning
    candidates: int = 1  # actions drawn, of which the one of the highest Q is done
    width: int = 128  # of the networks' hidden layers
    depth: int = 3  # their layers
    updates: int = 2000  # of the critics and of the policy, in turn
    batch: int = 256  # transitions in each
    lr: float = 2e-3  # the highest learning rate; the policy's goes down to 0 by half a cosine
    ema: float = 0.995  # decay of the running average of the policy's weights, which is what acts
    target: float = 0.99  # decay of the running average of Q, which targets are made from
    gamma: float = 0.99  # discount
    denoising: int = 10  # steps of the chain that draws an action
    predict: str = "x0"  # what the network predicts: "v", "x0", "eps", "edm"


class Edp(nn.Module):
    """p(a | s) as the data have it, leaning to what Q says of its one-step guesses, and the critics.

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
        self.q = critics.Twin(obs, act, config.width, config.depth)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    def approximate(self, s: Tensor, a: Tensor, generator: torch.Generator) -> Tensor:
        """x0_hat = D(alpha_t a + sigma_t eps, t, s) of scaled actions a [B, a] at scaled states s [B, d], t uniform;
        within the box of actions, with its derivative. -> [B, a]"""
        low, schedule = self.denoiser.schedule.t_min, self.denoiser.schedule
        t = low + (1 - low) * torch.rand(len(a), generator=generator)
        alpha, sigma = schedule(t, a.ndim)
        a_t = alpha * a + sigma * torch.randn(a.shape, generator=generator)
        return clip(given(self.denoiser, s), *critics.box(self))(a_t, t)

    def draw(self, D: Any, s: Tensor, generator: torch.Generator) -> Tensor:
        """A scaled action of the denoiser D for each scaled state s [B, d], by its whole chain. -> [B, a]"""
        a_T = self.denoiser.schedule.prior((len(s), self.sizes["act"]), generator=generator)
        return sample(clip(given(D, s), *critics.box(self)), a_T, steps=self.config.denoising, step=dpm_pp_2m())

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss on {"act": scaled actions [B, a], "obs": scaled states [B, d]} - eta E Q / E |Q|, Q at
        what `approximate` gives. -> {"loss": [], "imitation": []}"""
        imitation = denoising_loss(self.denoiser, batch["act"], cond=batch["obs"], generator=generator)
        if not self.config.eta:
            return {"loss": imitation, "imitation": imitation}
        q = self.q.lower(batch["obs"], self.approximate(batch["obs"], batch["act"], generator))
        climb = -q.mean() / q.detach().abs().mean().clamp(min=1e-3)
        return {"loss": imitation + self.config.eta * climb, "imitation": imitation}

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

    def __init__(self, model: Edp):
        super().__init__(model, model.config.candidates)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator: on each batch Q, then the policy."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Edp, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(critics.prepared(model, episodes), c.batch, generator)

    def q_loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            action = model.draw(policy.ema.module, batch["after"], generator)
            after = q.ema.module.lower(batch["after"], action)
        return {"loss": (loss := critics.bellman_loss(model.q, batch, after, c.gamma)), "q_loss": loss}

    q: Any = descend(q_loss, model.q, lr=c.lr, ema=c.target, warm_up=False)
    policy: Any = descend(
        lambda b: model.loss(b, generator), model.denoiser, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema
    )
    return Run(model, Stage((q, policy), batches, c.updates), generator=generator, data=episodes, seed=seed)
