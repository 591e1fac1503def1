"""AdaptDiffuser (Liang et al. 2023): a planner draws plans for new tasks, filters them, and is tuned on what is left.

What is diffused: a plan x [H, 2n + 1], as in `diffuser`.
What is learned: D(x_t, t, known), as there, first from pieces of recorded episodes; then from pieces of its own plans
between recorded places that no episode joins. A plan is kept where every state of it lies near recorded positions.
How it acts: as a `Diffuser` does, with the weights that were tuned last.
What differs from the paper: tasks are pairs of recorded places, not rewards; the filter looks at where data lie and
holds no model of the dynamics; another planner may make the proposals (`train`'s `propose`); one round, not several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, resample
from diffrl_lab.diffusion import Run, Stage, cosine_decay, descend, seeded
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces
from diffrl_lab.methods.planning.plans import Array, interpolated, inverse_dynamics, plan_scaler, seconds_per_step
from diffrl_lab.worlds.driving import Follower, Route


@dataclass(frozen=True)
class Config(diffuser.Config):
    """The hyperparameters: those of `diffuser`, and these."""

    width: int = 256  # of the network's MLP
    updates: int = 3000  # on the recording
    tuned: int = 3000  # on its own plans
    made: int = 1500  # plans that are proposed, one for each pair of places
    tried: int = 4  # candidates of each
    near: float = 0.12  # m: no state of a plan that is kept is farther from a recorded position
    longest: int = 320  # steps of a plan that is kept
    share: float = 0.75  # of pieces that are of own plans while it is tuned; the others are recorded
    rested: int = 15  # steps for which a kept plan stays at its end: it is an arrival


class AdaptDiffuser(nn.Module):
    """A `Diffuser` and the plans that it was tuned on. obs = 2n and act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    own: Tensor
    kept: Tensor
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.planner = Diffuser(config, obs, act)
        self.register_buffer("own", torch.zeros(config.made, config.horizon, obs + 1))  # in units, steps as a logarithm
        self.register_buffer("kept", torch.zeros(config.made, dtype=torch.bool))  # which of them passed

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss of `diffuser.Pieces`, recorded or of its own plans, as `Diffuser.loss`."""
        return self.planner.loss(batch, generator)

    def sample(
        self, obs: ArrayLike, goal: ArrayLike, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans for each state obs [B, 2n] and goal [B, n], in units with their steps. -> [B, n, H, 2n + 1]"""
        return self.planner.sample(obs, goal, n=n, generator=generator)

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> Array:
        """A plan for a `Follower`, as `Diffuser.route`."""
        return self.planner.route(obs, goal, seed)

    def states(self, points: Tensor) -> Array:
        """A plan [H, 2n + 1] in units, steps as a logarithm, as a state for every step. -> [T + 1, 2n]"""
        duration = float(points[:, -1].mean().exp())
        return interpolated(points[:, :-1].numpy(), duration, self.planner.seconds_per_step)

    def passes(self, plans: Tensor, recorded: cKDTree) -> Tensor:
        """Which plans [N, H, 2n + 1] the filter keeps: none of a plan's states is farther than `near` from a recorded
        position, and it takes `shortest` to `longest` steps. -> [N], bool"""
        c, n, found = self.config, self.planner.n, []
        for x in plans:
            steps = float(x[:, -1].mean().exp())
            fits = c.shortest <= steps <= c.longest
            found.append(fits and bool((recorded.query(self.states(x)[:, :n])[0] <= c.near).all()))
        return torch.tensor(found)

    @torch.no_grad()
    def adapt(self, episodes: Episodes, generator: torch.Generator, propose: Route | None = None) -> None:
        """Draw one plan for each of `made` pairs of recorded places, from rest, into `own`, and say which are `kept`.

        Of `tried` candidates the one with the smallest gap among those that pass is taken (`Plan.gaps`); `propose`
        gives one plan itself. Raises ValueError where the filter keeps none.
        """
        c, n = self.config, self.planner.n
        places = episodes.obs[:, :n].float()
        ends = places[torch.randint(len(places), (2, c.made), generator=generator)]
        start = torch.cat([ends[0], torch.zeros(c.made, n)], 1)
        recorded = cKDTree(places.double().numpy())
        if propose is None:
            x = self.planner.sample(start.numpy(), ends[1].numpy(), n=c.tried, generator=generator)
            x = torch.cat([x[..., :-1], x[..., -1:].clamp(min=1).log()], -1)
            gaps = self.planner._gaps(x[..., :-1].flatten(0, 1), x[..., 0, -1].exp().flatten()).view(c.made, -1)
            passed = self.passes(x.flatten(0, 1), recorded).view(c.made, -1)
            best = torch.where(passed, gaps, torch.inf).argmin(1)
            rows = torch.arange(c.made)
            self.own.copy_(x[rows, best])
            self.kept.copy_(passed[rows, best])
        else:
            seeds = torch.randint(2**31, (c.made,), generator=generator).tolist()
            for k, seed in enumerate(seeds):
                route = torch.as_tensor(np.asarray(propose(start[k].numpy(), ends[1, k].numpy(), seed))).float()
                T = max(len(route) - 1, 1)
                route = route if len(route) > 1 else route.expand(2, -1)
                points = resample(route, torch.tensor([0]), torch.tensor([T]), c.horizon)[0]
                self.own[k] = torch.cat([points, torch.full((c.horizon, 1), float(np.log(T)))], 1)
            self.kept.copy_(self.passes(self.own, recorded))
        if not bool(self.kept.any()):
            raise ValueError(
                f"none of {c.made} plans stays within {c.near} m of recorded positions; raise `near`, or train longer"
            )

    def drives(self) -> Episodes:
        """The kept plans as episodes, each with some rest at its end; their actions and rewards are 0."""
        rows, act = [], self.sizes["act"]
        for x in self.own[self.kept]:
            states = self.states(x)
            rest = np.concatenate([states[-1:, : self.planner.n], np.zeros((1, self.planner.n))], 1)
            obs = np.concatenate([states, rest.repeat(self.config.rested, 0)]).astype(np.float32)
            rows.append((obs, np.zeros((len(obs) - 1, act), np.float32), np.zeros(len(obs) - 1, np.float32), False))
        return Episodes.join(rows)


class Mixed:
    """Endless batches of pieces: recorded ones for `config.updates` steps of `update`, then a `share` of each batch of
    own plans, which are drawn when the first such batch is asked for."""

    def __init__(self, model: AdaptDiffuser, pieces: Pieces, episodes: Episodes, propose: Route | None):
        self.model, self.pieces, self.episodes, self.propose = model, pieces, episodes, propose
        self.update: descend | None = None  # whose steps are counted
        self.own: Pieces | None = None

    def __iter__(self) -> Mixed:
        return self

    def __next__(self) -> dict[str, Tensor]:
        c, generator = self.model.config, self.pieces.generator
        if self.update is None or self.update.step < c.updates:
            return next(self.pieces)
        if self.own is None:
            if not bool(self.model.kept.any()):  # a run that was stopped after this has its plans
                self.model.adapt(self.episodes, generator, self.propose)
            self.own = Pieces(self.model.drives(), c, generator)
        n, own, recorded = round(c.share * c.batch), next(self.own), next(self.pieces)
        return {k: torch.cat([own[k][:n], recorded[k][n:]]) for k in own}


class Agent(Follower):
    """Follows the best of the candidates by a PD controller, and plans again where driving goes wrong."""

    def __init__(self, model: AdaptDiffuser, **options: Any):
        super().__init__(model.route, **options)


def train(
    episodes: Episodes,
    config: Config | None = None,
    *,
    seed: int = 0,
    start: Diffuser | None = None,
    propose: Route | None = None,
) -> Run:
    """The training as a generator: on pieces of `episodes`, then on those of plans that passed the filter.

    start: a planner of the same sizes whose weights and scales are the first ones; with `updates=0` it is only tuned.
    propose: (state, goal, seed) -> the states of a plan, of another planner; without it the planner proposes what it is
    tuned on. Raises ValueError as `diffuser.Pieces` and `AdaptDiffuser.adapt` do, and for a `start` of other sizes.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    pieces = Pieces(episodes, c, generator)
    model = seeded(seed, AdaptDiffuser, c, episodes.obs.shape[1], episodes.act.shape[1])
    if start is None:
        model.planner.scaler = plan_scaler(pieces.plans(20_000)[0], pieces.n)
        model.planner.seconds.fill_(seconds_per_step(episodes))
        model.planner.inverse.copy_(inverse_dynamics(episodes))
    else:
        sizes = ("horizon", "width", "depth", "channels")
        if other := [f"{k} = {getattr(start.config, k)}" for k in sizes if getattr(start.config, k) != getattr(c, k)]:
            raise ValueError(f"a planner to start from has the sizes of the config; this one has {', '.join(other)}")
        model.planner.load_state_dict(start.state_dict())
    first, second = (cosine_decay(n, warmup=min(100, n // 10)) for n in (c.updates, c.tuned))
    batches = Mixed(model, pieces, episodes, propose)
    batches.update = descend(
        lambda batch: model.loss(batch, generator),
        model,
        lr=c.lr,
        schedule=lambda n: first(n) if n < c.updates else second(n - c.updates),
        ema=c.ema,
    )
    stage = Stage((batches.update,), batches, c.updates + c.tuned)
    return Run(model, stage, generator=generator, data=episodes, seed=seed)
