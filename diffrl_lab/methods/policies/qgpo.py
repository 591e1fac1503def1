"""QGPO (Lu et al. 2023): a clone, guided by an energy that contrast teaches at every noise level, so that it is exact.

What is diffused: one action a [a], given the state s [d]; both scaled to unit variance.
What is learned: IQL's critics; D(a_t, t, s) by cloning; then the energy f(a_t, t, s), which is to be
ln E[exp(A(s, a) / eta) | a_t] up to a number for each s and t. For each state K actions are drawn from the clone, so Q
is asked about likely actions alone, all get noise of one level, and - sum_k w_k ln softmax_k f(a_t^k, t, s) is made
small, w = exp(A / eta) (contrastive energy prediction). The best f of this loss is the energy for every K >= 2.
How it acts: it draws from D + scale sigma^2 / alpha grad f. At scale 1 and with the best f that is
mu(a | s) exp(Q / eta), exactly: it is paid 4.65 on the bandit at eta = 1, and one learned f got 4.42. Another eta needs
another f; a larger scale is no exact policy.
What differs from the paper: the critics are IQL's, which never ask Q about drawn actions, in place of a softmax over
draws; w is exp(A / eta), cut at `most`, in place of its softmax over the K draws, which is exact for large K only;
x_0 predicted in place of eps, DPM-Solver++ in 10 steps; actions are drawn afresh for each update, not once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    Schedule,
    Stage,
    ascend,
    clip,
    cosine_decay,
    denoising_loss,
    descend,
    dpm_pp_2m,
    given,
    sample,
    seeded,
)
from diffrl_lab.diffusion.denoisers import shown
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import critics
from diffrl_lab.methods.policies.chunks import drawn
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of QGPO."""

    eta: float = 1.0  # temperature, in units of the reward; large: cloning
    scale: float = 1.0  # of the guidance; 0: cloning, 1: exact
    support: int = 16  # K, actions drawn for a state that the energy compares
    states: int = 32  # of a batch, whose actions it compares in an update
    most: float = 100.0  # the largest weight
    tau: float = 0.7  # V is this expectile of Q; .5: its mean
    width: int = 128  # of the networks' hidden layers
    depth: int = 3  # their layers
    updates: int = 2000  # of the critics, then as many of the clone, then as many of the energy
    batch: int = 256  # transitions in each
    lr: float = 2e-3  # the highest learning rate; those of clone and energy go down to 0 by half a cosine
    ema: float = 0.995  # decay of the running averages of clone and energy, which are what acts
    target: float = 0.99  # decay of the running average of Q, which is what V and the energy are shown
    gamma: float = 0.99  # discount
    denoising: int = 10  # steps of the chain that draws an action
    predict: str = "x0"  # what the network predicts: "v", "x0", "eps", "edm"

    def __post_init__(self) -> None:
        if self.support < 2 or self.states < 1:
            raise ValueError(f"support must be at least 2 and states at least 1; got {self.support} and {self.states}")


class Energy(nn.Module):
    """f(a_t, t, s), a number; the network sees a_t and its noise level as a denoiser's does."""

    def __init__(self, schedule: Schedule, obs: int, act: int, width: int, depth: int):
        super().__init__()
        self.schedule, self.net = schedule, MLP(act, cond=obs, out=1, width=width, depth=depth)

    def forward(self, a_t: Tensor, t: Tensor | float, s: Tensor) -> Tensor:
        """a_t [B, a], t [B] or one for all, s [B, d]. -> [B]"""
        alpha, sigma = self.schedule(torch.as_tensor(t, dtype=a_t.dtype).expand(len(a_t)), a_t.ndim)
        c_in, label = shown(alpha, sigma, 1.0)
        return self.net(c_in * a_t, label[:, 0], s)[:, 0]


class Qgpo(nn.Module):
    """p(a | s) as the data have it, the energy that guides it, and the critics that the energy is learned from.

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
        self.energy = Energy(self.denoiser.schedule, obs, act, config.width, config.depth)
        self.critic = critics.Expectile(obs, act, config.width, config.depth)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    @property
    def q(self) -> critics.Twin:
        """The two Q(s, a)."""
        return self.critic.q

    def cloning(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss on {"act": scaled actions [B, a], "obs": scaled states [B, d]}. -> {"loss": []}"""
        return {"loss": denoising_loss(self.denoiser, batch["act"], cond=batch["obs"], generator=generator)}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The energy's loss, E - sum_k w_k ln softmax_k f(a_t^k, t, s) / E w, w = exp(A / eta) cut at `most`, of
        {"obs": scaled states [S, d], "support": scaled actions [S, K, a], "adv": their advantages [S, K]}; one t for
        the K of a state. -> {"loss": []}"""
        a, s, w = batch["support"], batch["obs"], (batch["adv"] / self.config.eta).exp().clamp(max=self.config.most)
        S, K, _ = a.shape
        low = self.denoiser.schedule.t_min
        t = (low + (1 - low) * torch.rand(S, generator=generator)).repeat_interleave(K)
        alpha, sigma = self.denoiser.schedule(t, 2)
        a_t = alpha * a.flatten(0, 1) + sigma * torch.randn(S * K, a.shape[2], generator=generator)
        f = self.energy(a_t, t, s.repeat_interleave(K, 0)).view(S, K)
        return {"loss": -(w / w.mean() * f.log_softmax(1)).sum(1).mean()}

    @torch.no_grad()
    def actions(self, D: Denoiser, s: Tensor, a_T: Tensor) -> Tensor:
        """Scaled actions of a denoiser D, without guidance, from noise a_T [S K, a], K for each scaled state s [S, d].
        -> [S, K, a]"""
        K = len(a_T) // len(s)
        inside = clip(given(D, s.repeat_interleave(K, 0)), *critics.box(self))
        return sample(inside, a_T, steps=self.config.denoising, step=dpm_pp_2m()).view(len(s), K, -1)

    def guided(self, s: Tensor) -> Denoiser:
        """D + scale sigma^2 / alpha grad f at scaled states s [B, d]."""
        D = given(self.denoiser, s)
        return ascend(D, lambda x, t: self.energy(x, t, s), self.config.scale) if self.config.scale else D

    @torch.no_grad()
    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike | None = None,
        *,
        n: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """n actions for each state obs [B, d], in units; with guidance of the weight `scale`. -> [B, n, a]

        generator: one for all, or B of them, one for each state: then no action depends on the other states.
        """
        s, act = critics.states(self, obs), self.sizes["act"]
        a_T = drawn(self.denoiser.schedule.prior, len(s), n, act, generator=generator).flatten(0, 1)
        D = clip(self.guided(s.repeat_interleave(n, 0)), *critics.box(self))
        a = sample(D, a_T, steps=self.config.denoising, step=dpm_pp_2m())
        return self.act_scaler.inverse(a.view(len(s), n, act))


class Agent(critics.Acting):
    """Acts for m episodes side by side; each draws one action."""

    def __init__(self, model: Qgpo):
        super().__init__(model)


def supported(
    model: Qgpo, D: Denoiser, advantage: Callable[[dict[str, Tensor]], Tensor], generator: torch.Generator
) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """A batch -> its first `states` states, K actions of the clone D for each, and their advantages: what `loss`
    takes."""

    def made(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        s, c = batch["obs"][: model.config.states], model.config
        a_T = model.denoiser.schedule.prior((len(s) * c.support, model.sizes["act"]), generator=generator)
        a = model.actions(D, s, a_T)
        adv = advantage({"obs": s.repeat_interleave(c.support, 0), "act": a.flatten(0, 1)})
        return {"obs": s, "support": a, "adv": adv.view(a.shape[:2])}

    return made


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on all transitions of `episodes` as a generator: the critics, then the clone, then the energy."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Qgpo, c, episodes.obs.shape[1], episodes.act.shape[1])
    batches = Batches(critics.prepared(model, episodes), c.batch, generator)
    v, q = model.critic.updates(c)
    decay = cosine_decay(c.updates)
    clone: Any = descend(lambda b: model.cloning(b, generator), model.denoiser, lr=c.lr, schedule=decay, ema=c.ema)
    support = supported(model, clone.ema.module, critics.advantages(model.critic, q), generator)
    energy = descend(lambda b: model.loss(support(b), generator), model.energy, lr=c.lr, schedule=decay, ema=c.ema)
    stages = (Stage((u,) if u is not v else (v, q), batches, c.updates) for u in (v, clone, energy))
    return Run(model, *stages, generator=generator, data=episodes, seed=seed)
