"""Decision Diffuser (Ajay et al. 2023): plans of states only, conditioned on a return or a goal without a classifier.

What is diffused: plans [H, 2n + 1] as in `diffuser`.
What is learned: D(x_t, t) and D(x_t, t, y) by one network, since the condition y of a sample is dropped now and then;
and a second network that says which action leads from one state to the next.
How it acts: `cfg` extrapolates from D without y to D with y, noise of low temperature (`ddpm(temperature)`) keeps to
likely plans, and the inverse dynamics drive the plan. `compose` adds and subtracts what several conditions do to D.
What differs from the paper: plans of variable duration, no history of K states, returns scaled to mean 0 and deviation
1, and the network is a `PlanMLP`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    Denoiser,
    Function,
    NeuralDenoiser,
    Run,
    Stage,
    cfg,
    cosine_decay,
    ddpm,
    denoising_loss,
    descend,
    drop,
    pin,
    seeded,
)
from diffrl_lab.diffusion.denoisers import Cond
from diffrl_lab.diffusion.guidance import branches, joined
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.diffuser import Diffuser, drives, known_ends
from diffrl_lab.methods.planning.plans import Plan, plan_scaler, seconds_per_step
from diffrl_lab.nets import MLP, PlanMLP
from diffrl_lab.worlds.driving import Follower


@dataclass(frozen=True)
class Config(diffuser.Config):
    """The hyperparameters: those of `diffuser` for plans and network, and these."""

    columns: int = 4  # of the condition's embedding, beside the plan
    p: float = 0.25  # share of samples that the condition is dropped for
    gamma: float = 1.0  # discount of the returns that are the condition
    w: float = 1.4  # scale of the guidance; the paper's 1.2 to 1.8
    temperature: float = 0.5  # of the noise: a factor on its standard deviation
    denoising: int = 20  # steps of the chain
    inverse_width: int = 64  # of the inverse dynamics' MLP
    inverse_updates: int = 1500
    inverse_batch: int = 512


class Conditioned(nn.Module):
    """net(x [B, H, d], label [B], {"known": bool, "y": [B, c]}) -> [B, H, d]: a plan network with a condition y.

    y's embedding e = W y + b stands beside the plan as `columns` further columns that are always known. A row of y with
    NaN in it, or no y at all, means "not given": its embedding is a learned vector of its own, since a y of 0 is legal
    (a return of 0, a goal at the origin).
    """

    def __init__(self, net: nn.Module, cond: int, columns: int):
        super().__init__()
        self.net, self.cond, self.columns = net, cond, columns
        self.embed = nn.Linear(cond, columns)
        self.null = nn.Parameter(torch.randn(columns))
        with torch.no_grad():  # begin with y itself, which PlanMLP sees as waves
            self.embed.weight.copy_(torch.eye(columns, cond))
            self.embed.bias.zero_()

    def forward(self, x: Tensor, label: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        B, H, d = x.shape
        cond = cond or {}
        y = cond.get("y", x.new_full((B, self.cond), float("nan"))).expand(B, -1)
        if y.shape[1] != self.cond:
            raise ValueError(f"this network's condition has {self.cond} numbers, got {tuple(y.shape)}")
        absent = y.isnan().any(1, keepdim=True)
        e = torch.where(absent, self.null, self.embed(torch.where(absent, 0.0, y)))
        known = cond.get("known", torch.zeros(1, dtype=torch.bool)).expand(x.shape)
        beside = torch.ones(B, H, self.columns, dtype=torch.bool, device=x.device)
        wide = torch.cat([x, e[:, None].expand(-1, H, -1)], -1)
        return self.net(wide, label, {"known": torch.cat([known, beside], -1)})[..., :d]


def conditioned(config: Config, dim: int, cond: int) -> NeuralDenoiser:
    """A fresh denoiser of plans [H, dim] under a condition of `cond` numbers."""
    net = PlanMLP(
        config.horizon,
        dim + config.columns,
        width=config.width,
        depth=config.depth,
        channels=config.channels,
        positions=(dim - 1) // 2,
    )
    return NeuralDenoiser(Conditioned(net, cond, config.columns), Cosine(), "x0")


def compose(D: Denoiser, terms: Sequence[tuple[Cond, float]], drop: str | Sequence[str] | None = None) -> Denoiser:
    """D + sum_i w_i (D(., y_i) - D), all branches in one batch: AND for w_i > 0, NOT for w_i < 0 (Liu et al. 2022).

    terms: (condition, w), conditions being tensors [B, c] or dicts, of which `drop` is what the unconditional branch is
    not given (by default all but masks). One term is `cfg`.
    With w_i = 1 it is the denoiser under all conditions at once wherever these are
    independent given x_t *and* x_0's parts they speak of are too; in general the denoiser of a product of laws is not
    the sum of their denoisers, and the samples follow no law that can be written down.
    """
    if not terms:
        raise ValueError("nothing to compose: give at least one (condition, weight)")
    both = [branches(cond, drop) for cond, _ in terms]

    def composed(x_t: Tensor, t: Tensor, _: Cond = None) -> Tensor:
        t, n = torch.as_tensor(t), len(terms) + 1
        conds, (nothing, *_others) = zip(*(f(x_t) for f in both), strict=True)
        shown = joined([nothing, *conds])
        free, *others = D(torch.cat([x_t] * n), torch.cat([t] * n) if t.ndim else t, shown).chunk(n)
        return free + sum(w * (other - free) for (_, w), other in zip(terms, others, strict=True))

    return Function(composed, D.schedule)


class InverseDynamics(nn.Module):
    """a = f(s, s'): the action that leads from a state s [B, m] to the next s' [B, m], by least squares. -> [B, a]

    An MLP over s and s' - s, scaled to unit size on the data: states one step apart are nearly equal.
    """

    def __init__(self, obs: int, act: int, width: int = 64):
        super().__init__()
        self.scaler = Scaler.blank(2 * obs)
        self.net = MLP(2 * obs, out=act, width=width, label=0)

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean squared error of the action on {"features" [B, 2 m] of s and s' - s, "act" [B, a]}."""
        return {"loss": (self.net(self.scaler(batch["features"])) - batch["act"]).square().mean()}

    def forward(self, s: Tensor, after: Tensor) -> Tensor:
        return self.net(self.scaler(_features(s, after)))


def _features(s: Tensor, after: Tensor) -> Tensor:
    return torch.cat([s, after - s], -1)


def neighbours(episodes: Episodes) -> dict[str, Tensor]:
    """What inverse dynamics learn from: all pairs of neighbouring rows within episodes."""
    rows = (episodes.last == 0).nonzero()[:, 0]
    features = _features(episodes.obs[rows].float(), episodes.obs[rows + 1].float())
    return {"features": features, "act": episodes.act[rows].float()}


class DecisionDiffuser(nn.Module):
    """A conditioned denoiser of plans and the inverse dynamics that drive them.

    planner: a `Diffuser` around a `Conditioned` network (its own `plan` gives the condition-free model). y is scaled to
    mean 0, deviation 1 by `y_scaler`. obs = 2n, act: columns of the recording; cond: how many numbers y has.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int, cond: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act, "cond": cond}, {}
        D = conditioned(config, obs + 1, cond)
        self.planner = Diffuser(config, obs, act)
        self.planner.denoiser = D
        self.inverse = InverseDynamics(obs, act, config.inverse_width)
        self.y_scaler = Scaler.blank(cond)

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss on {"x": plans [B, H, 2n + 1], "known": bool, "y": [B, c]}, x and y in units; y is dropped
        for each *sample* with probability p (the paper's 0.25)."""
        x, y, known = self.planner.scaler(batch["x"]), self.y_scaler(batch["y"]), batch["known"]
        cond = {"known": known, "y": drop(y, self.config.p, generator)}
        return {"loss": denoising_loss(self.planner.denoiser, x, cond=cond, known=known, generator=generator)}

    def denoiser(self, y: ArrayLike, known: Tensor, value: Tensor, n: int, w: float | None = None) -> Denoiser:
        """pin(cfg(D, y, w)) for n plans; y a number, [c] or [n, c] in its own units."""
        wish = torch.atleast_1d(torch.as_tensor(np.asarray(y), dtype=torch.float32)).expand(n, -1)
        cond = {"known": known.expand(n, *known.shape[-2:]), "y": self.y_scaler(wish)}
        return pin(cfg(self.planner.denoiser, cond, self.config.w if w is None else w, drop=("y",)), known, value)

    @torch.no_grad()
    def plan(
        self,
        obs: ArrayLike,
        y: ArrayLike,
        goal: ArrayLike | None = None,
        n: int = 16,
        generator: torch.Generator | None = None,
        *,
        w: float | None = None,
        temperature: float | None = None,
    ) -> Plan:
        """n plans from the state obs [2n] under y, their end pinned to `goal` [n] where one is given."""
        known, value = self.planner.ends(obs, goal)
        step = ddpm(self.config.temperature if temperature is None else temperature)
        D = self.denoiser(y, known, value, n, w)
        return self.planner.drawn(D, known, value, n, self.config.denoising, generator, step=step)

    def sample(
        self, obs: ArrayLike, goal: ArrayLike, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans for each state obs [B, 2n] under the condition goal [B, c], in units with their steps.
        -> [B, n, H, 2n + 1]"""
        pairs = zip(np.asarray(obs), np.asarray(goal), strict=True)
        return torch.stack([self.plan(o, y, None, n, generator).with_steps for o, y in pairs])


class Agent(Follower):
    """Follows a plan by the inverse dynamics: act = f(s, next state of the plan), not by a PD controller.

    It looks where the ball is at every step, so its errors do not add up as those of a plan's own actions do.
    y: the condition of all plans; None: the goal is the condition. pinned: plans end at the goal. n: plans drawn
    together, of which the one that contradicts itself least is followed.
    """

    def __init__(self, model: DecisionDiffuser, y: ArrayLike | None = None, *, pinned: bool = True, n: int = 1):
        def route(obs: NDArray, goal: NDArray, seed: int) -> NDArray:
            generator = torch.Generator().manual_seed(seed)
            plan = model.plan(obs, goal if y is None else y, goal if pinned else None, n, generator)
            return model.planner.reference(plan)

        super().__init__(route)
        self.inverse = model.inverse

    @torch.no_grad()
    def towards(self, obs: NDArray, target: NDArray) -> NDArray[np.float64]:
        s, after = (torch.as_tensor(np.asarray(x), dtype=torch.float32)[None] for x in (obs, target))
        return self.inverse(s, after)[0].clamp(-1, 1).double().numpy()


def train(episodes: Episodes, config: Config | None = None, *, limit: int | None = None, seed: int = 0) -> Run:
    """The training on whole drives of `episodes` under their returns, then of the inverse dynamics, as a generator.

    A share `config.free` of the drives is shown with nothing known, the others with start and goal. limit: steps of an
    episode in the world, up to which a drive is paid (by default the longest recorded episode).
    Raises ValueError where an episode is longer, or never moves.
    """
    c, g = config or Config(), torch.Generator().manual_seed(seed)
    x, R = drives(episodes, c, int(episodes.lengths.max()) if limit is None else limit, c.gamma)
    model = seeded(seed, DecisionDiffuser, c, episodes.obs.shape[1], episodes.act.shape[1], 1)
    planner = model.planner
    planner.scaler, model.y_scaler = plan_scaler(x, planner.n), Scaler.fit(R[:, None], "standard")
    planner.seconds.fill_(seconds_per_step(episodes))
    pairs = neighbours(episodes)
    model.inverse.scaler = Scaler.fit(pairs["features"], "standard")

    def conditional(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        shown = torch.rand(len(batch["x"]), 1, 1, generator=g) >= c.free
        return model.loss({**batch, "known": known_ends(batch["x"], planner.n) & shown}, g)

    decay = cosine_decay(c.updates, warmup=min(100, c.updates // 10))
    denoising = descend(conditional, planner.denoiser, lr=c.lr, schedule=decay, ema=c.ema)
    inverse = descend(model.inverse.loss, model.inverse, lr=2e-3, schedule=cosine_decay(c.inverse_updates))
    return Run(
        model,
        Stage((denoising,), Batches({"x": x, "y": R[:, None]}, c.batch, g), c.updates),
        Stage((inverse,), Batches(pairs, c.inverse_batch, g), c.inverse_updates),
        generator=g,
        data=episodes,
        seed=seed,
        limit=limit,
    )
