"""Diffuser (Janner et al. 2022): planning as denoising. A plan is a piece of a trajectory, drawn whole.

What is diffused: a plan x [H, 2n + 1], n positions and n velocities at H moments evenly spaced in time, and the
logarithm of how many steps the whole takes, the same in each row; scaled to unit variance.
What is learned: D(x_t, t, known), from pieces of recorded episodes of any length, with a known-mask that is random for
each piece: nothing, the start, or start and goal. So one set of weights gives unconditioned samples and, through `pin`,
plans from here to there. It never sees a wall: neither a map, nor a simulator, nor a grid of where the data lie.
How it acts: candidates are drawn together; a PD controller follows the one whose velocities agree best with its own
positions, and plans again when it drifts off.
What differs from the paper: pieces of variable duration resampled to few points, no actions in the plan, a network that
knows which entries are given (pinning alone is biased), the choice among candidates, and planning again only when
driving goes wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, check_velocities, resample, returns_to_go
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Cosine,
    Denoiser,
    Frame,
    NeuralDenoiser,
    Run,
    Stage,
    Step,
    chain,
    cosine_decay,
    denoising_loss,
    descend,
    given,
    pin,
    sample,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning.plans import (
    Array,
    Plan,
    interpolated,
    inverse_dynamics,
    is_held_out,
    plan_scaler,
    seconds_per_step,
)
from diffrl_lab.nets import PlanMLP
from diffrl_lab.worlds.driving import Episode, Follower, drive, indices

RUNGS = {"untrained": "untrained", "10%": "tenth", "good": "good", "overfit": "overfit"}
"""The ladder of shipped weights, and what a file of each is called."""


@dataclass(frozen=True)
class Config:
    """The hyperparameters of a planner; the defaults are for the largest maze."""

    horizon: int = 32  # H, points of a plan
    width: int = 360  # of the network's MLP
    depth: int = 3  # its residual blocks
    channels: int = 32  # of its convolution along the plan
    updates: int = 6000  # of the network
    batch: int = 256  # pieces in each
    lr: float = 3e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.999  # decay of the running average of the weights, which is what plans
    free: float = 0.1  # share of pieces shown with nothing known
    start_only: float = 0.05  # share shown with the start alone
    from_reset: float = 0.4  # share of pieces that begin where an episode begins; the others begin anywhere
    to_arrival: float = 0.7  # share that end where the ball came to rest; the others anywhere later than their start
    shortest: int = 8  # steps of the shortest piece
    settled: float = 0.05  # m: an episode is over once the ball stays this close to where it ends
    denoising: int = 6  # steps of the chain that draws a plan
    candidates: int = 16  # plans drawn together
    levels: int = 0  # levels of noise that are trained, those of a chain of so many steps; 0: all times

    def __post_init__(self) -> None:
        if self.levels < 0:
            raise ValueError(f"levels are a number of steps, or 0 for all times; got {self.levels}")


CONFIGS = {
    "umaze": Config(updates=2000, width=256),
    "medium": Config(updates=3000, width=256),
    "large": Config(),
    "two-ways": Config(updates=2000, width=256),
}
"""What each maze's planner is trained with."""


class Pieces:
    """Endless batches of pieces of episodes as plans, with their known-masks: {"x": [B, H, 2n + 1], "known": the same,
    bool}.

    obs must be n positions followed by n velocities in units per second. All randomness comes from `generator`.
    Raises ValueError for observations of odd width, or when no episode moves long enough.
    """

    def __init__(
        self,
        episodes: Episodes,
        config: Config,
        generator: torch.Generator,
        *,
        held_out: tuple[float, float] | None = None,
    ):
        if episodes.obs.ndim != 2 or episodes.obs.shape[1] % 2:
            raise ValueError(
                f"a plan needs observations of n positions and n velocities, [N, 2n]; got {tuple(episodes.obs.shape)}"
            )
        check_velocities(episodes)
        self.config, self.generator, self.held_out = config, generator, held_out
        self.obs, self.n = episodes.obs.float(), episodes.obs.shape[1] // 2
        self.first, self.arrival = episodes.starts, _arrivals(episodes, self.n, config.settled)
        keep = self.arrival - self.first >= config.shortest
        if not bool(keep.any()):
            raise ValueError(
                f"no episode moves for {config.shortest} steps; the longest has {int(episodes.lengths.max())}"
            )
        self.first, self.arrival = self.first[keep], self.arrival[keep]
        self.possible = (self.arrival - self.first - config.shortest + 1).cumsum(0)

    def __iter__(self) -> Pieces:
        return self

    def draw(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """First row, duration in steps, and whether the piece ends in an arrival, [size] each."""
        c = self.config
        u = torch.rand(5, size, generator=self.generator, dtype=torch.float64)
        anywhere = (u[0] * self.possible[-1]).long()
        episode = torch.searchsorted(self.possible, anywhere, right=True)
        inside = self.arrival[episode] - c.shortest - (self.possible[episode] - 1 - anywhere)
        whole = u[1] < c.from_reset
        episode = torch.where(whole, (u[2] * len(self.first)).long(), episode)
        start = torch.where(whole, self.first[episode], inside)
        arrives = u[3] < c.to_arrival
        longest = self.arrival[episode] - start
        later = c.shortest + (u[4] * (longest - c.shortest + 1)).long()
        return start, torch.where(arrives, longest, later), arrives | (later == longest)

    def plans(self, size: int) -> tuple[Tensor, Tensor]:
        """Unscaled plans [size, H, 2n + 1] and whether each ends in an arrival [size]."""
        start, duration, arrives = self.draw(size)
        if self.held_out:
            for _ in range(100):
                out = is_held_out(self.obs[start, : self.n], self.obs[start + duration, : self.n], self.held_out)
                if not bool(out.any()):
                    break
                start[out], duration[out], arrives[out] = self.draw(int(out.sum()))
        obs = resample(self.obs, start, duration, self.config.horizon)
        log = duration.float().log()[:, None, None].expand(-1, self.config.horizon, 1)
        return torch.cat([obs, log], -1), arrives

    def __next__(self) -> dict[str, Tensor]:
        x, arrives = self.plans(self.config.batch)
        u = torch.rand(len(x), generator=self.generator)
        known = torch.zeros(x.shape, dtype=torch.bool)
        known[:, 0, : 2 * self.n] = (u >= self.config.free)[:, None]
        goal = u >= self.config.free + self.config.start_only
        known[:, -1, : self.n] = goal[:, None]
        # the velocity at the end is told only where the ball passes through: "not told" comes to mean "stop there"
        known[:, -1, self.n : 2 * self.n] = (goal & ~arrives)[:, None]
        return {"x": x, "known": known}


def _arrivals(episodes: Episodes, n: int, settled: float) -> Tensor:
    """The row of each episode from which on the ball stays within `settled` of its last position. -> [E]"""
    obs, rows = episodes.obs.float(), []
    for first, last in zip(episodes.starts.tolist(), episodes.ends.tolist(), strict=True):
        far = ((obs[first : last + 1, :n] - obs[last, :n]).norm(dim=-1) > settled).nonzero()
        rows.append(min(first + int(far[-1]) + 4, last) if len(far) else first)
    return torch.tensor(rows)


def drives(episodes: Episodes, config: Config, limit: int, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """Whole drives, from an episode's start to its arrival, as plans x [E, H, 2n + 1], and what each returns, R [E].

    R = sum_k gamma^k r_k from the plan's first step up to step `limit`, not only within the plan: after the recording
    was cut the ball stays, and every step that is left pays what the last recorded one paid. Guides trained on these
    and plans that are ranked use one gamma (Diffuser trains its guide at 0.99 and plans at 0.997).
    Raises ValueError where an episode is longer than the limit.
    """
    if int(episodes.lengths.max()) > limit:
        raise ValueError(f"an episode has {int(episodes.lengths.max())} steps, more than the limit of {limit}")
    pieces = Pieces(episodes, config, torch.Generator())
    tail = (limit - episodes.lengths).double()
    stay = tail if gamma == 1 else (1 - gamma**tail) / (1 - gamma)
    R = returns_to_go(episodes, gamma, stay * episodes.rew[episodes.ends - 1])[pieces.first]
    duration = pieces.arrival - pieces.first
    log = duration.float().log()[:, None, None].expand(-1, config.horizon, 1)
    return torch.cat([resample(pieces.obs, pieces.first, duration, config.horizon), log], -1), R.float()


def known_ends(x: Tensor, n: int) -> Tensor:
    """The known-mask of a plan x [..., H, 2n + 1] from a state to a goal's position, as `Diffuser.ends` gives it."""
    known = torch.zeros(x.shape, dtype=torch.bool)
    known[..., 0, : 2 * n], known[..., -1, :n] = True, True
    return known


class Diffuser(nn.Module):
    """A diffusion model of plans: sampled, pinned, chosen from, driven. obs = 2n and act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    seconds: Tensor
    inverse: Tensor
    save = weights.save

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.horizon, self.n = config.horizon, obs // 2
        net = PlanMLP(
            config.horizon,
            obs + 1,
            width=config.width,
            depth=config.depth,
            channels=config.channels,
            positions=self.n,
        )
        self.denoiser = NeuralDenoiser(net, Cosine(), "x0")
        self.scaler = Scaler.blank(obs + 1)
        self.register_buffer("seconds", torch.ones((), dtype=torch.float64))  # how long one of the world lasts, s
        self.register_buffer("inverse", torch.zeros(1 + 2 * obs, act))  # `plans.inverse_dynamics`

    @classmethod
    def load(cls, name: str | Path, rung: str = "good") -> Diffuser:
        """A shipped planner by name (maze-umaze, maze-medium, maze-large, maze-two-ways) and rung, or one of your own
        by its path.

        Raises ValueError for unknown names and for files that hold no Diffuser, FileNotFoundError for a path that is
        not there.
        """
        if Path(name).suffix == ".safetensors":
            return weights.load(cls, name)
        from diffrl_lab.data.shipped import shipped

        if rung not in RUNGS:
            raise ValueError(f"the ladder has the rungs {', '.join(RUNGS)}; got {rung!r}")
        if rung != "untrained":
            return weights.load(cls, shipped(f"weights/{name}-{RUNGS[rung]}.safetensors"))
        trained = weights.load(cls, shipped(f"weights/{name}-{RUNGS['good']}.safetensors"))
        fresh = seeded(trained.about["seed"], cls, trained.config, **trained.sizes)
        trained.denoiser.load_state_dict({k: v.half() for k, v in fresh.denoiser.state_dict().items()})
        trained.about |= {"rung": "untrained", "trained": 0}
        return trained

    @property
    def seconds_per_step(self) -> float:
        """How long a step of the world lasts, in seconds, as the data have it."""
        return float(self.seconds)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss of `Pieces` {"x" [B, H, 2n + 1] in units, "known"}, without the known entries. With
        `levels` K the times are K / K, ..., 1 / K, each as likely: DDPM as Ho et al. (2020) train it."""
        known, K = batch["known"], self.config.levels
        x = self.scaler(batch["x"])
        t = torch.randint(1, K + 1, (len(x),), generator=generator) / K if K else None
        loss = denoising_loss(self.denoiser, x, cond={"known": known}, known=known, t=t, generator=generator)
        return {"loss": loss}

    def unscale(self, x: Tensor) -> Tensor:
        """What the network sees -> metres, metres per second, and (last column) steps. -> the shape of x"""
        raw = self.scaler.inverse(x)
        return torch.cat([raw[..., :-1], raw[..., -1:].exp()], -1)

    def ends(self, obs: ArrayLike, goal: ArrayLike | None = None) -> tuple[Tensor, Tensor]:
        """What is known of a plan from the state obs [..., 2n] to the position goal [..., n]: (known, value), [..., H,
        2n + 1] each.

        The velocity at the goal is left to the model. value is scaled as the network sees it. goal=None: the start
        alone.
        """
        start = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
        if start.shape[-1] != 2 * self.n:
            raise ValueError(f"a state of this planner has {2 * self.n} numbers, got {tuple(start.shape)}")
        value = self.scaler.center.expand(*start.shape[:-1], self.horizon, -1).clone()
        known = torch.zeros(value.shape, dtype=torch.bool)
        value[..., 0, : 2 * self.n], known[..., 0, : 2 * self.n] = start, True
        if goal is not None:
            end = torch.as_tensor(np.asarray(goal), dtype=torch.float32)
            if end.shape[-1] != self.n:
                raise ValueError(f"a goal of this planner has {self.n} numbers, got {tuple(end.shape)}")
            value[..., -1, : self.n], known[..., -1, : self.n] = end, True
        return known, self.scaler(value)

    @torch.no_grad()
    def sample(
        self, obs: ArrayLike, goal: ArrayLike | None = None, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans for each state obs [B, 2n] and goal [B, n], in units with their steps. -> [B, n, H, 2n + 1]"""
        known, value = (v.repeat_interleave(n, 0) for v in self.ends(obs, goal))
        D = pin(given(self.denoiser, {"known": known}), known, value)
        x_T = D.schedule.prior(value.shape, generator=generator)
        x = sample(D, x_T, steps=self.config.denoising, generator=generator)
        return self.with_steps(torch.where(known, value, x)).unflatten(0, (-1, n))

    def with_steps(self, x: Tensor) -> Tensor:
        """Scaled plans x [N, H, 2n + 1] in units, each point with the steps that its whole plan takes.
        -> [N, H, 2n + 1]"""
        raw = self.scaler.inverse(x)
        steps = raw[..., -1:].mean(1, keepdim=True).exp().expand(-1, self.horizon, 1)
        return torch.cat([raw[..., :-1], steps], -1)

    @torch.no_grad()
    def plan(
        self,
        obs: ArrayLike,
        goal: ArrayLike,
        n: int | None = None,
        generator: torch.Generator | None = None,
        *,
        steps: int | None = None,
        frames: bool = True,
    ) -> Plan:
        """n candidates from the state obs [2n] to the position goal [n], drawn in one batch of `steps` denoising
        steps."""
        known, value = self.ends(obs, goal)
        D = pin(given(self.denoiser, {"known": known}), known, value)
        return self.drawn(D, known, value, n or self.config.candidates, steps, generator, frames)

    @torch.no_grad()
    def free(self, n: int, generator: torch.Generator | None = None, *, steps: int = 20, frames: bool = False) -> Plan:
        """n unconditioned samples: pieces of trajectories from anywhere to anywhere."""
        known = torch.zeros(self.horizon, len(self.scaler.center), dtype=torch.bool)
        return self.drawn(
            given(self.denoiser, {"known": known}), known, torch.zeros(known.shape), n, steps, generator, frames
        )

    def drawn(
        self,
        D: Denoiser,
        known: Tensor,
        value: Tensor,
        n: int,
        steps: int | Tensor | None = None,
        generator: torch.Generator | None = None,
        frames: bool = False,
        step: Step | None = None,
        x_T: Tensor | None = None,
    ) -> Plan:
        """n plans sampled from any denoiser of plans, such as this planner's own with guidance around it; `known`,
        `value` as `ends` gives them. steps: how many, or a grid of times. step: DDIM unless given. x_T: what the chain
        begins with, [n, H, 2n + 1], at the grid's first time; noise unless given."""
        x_T = D.schedule.prior((n, *known.shape), generator=generator) if x_T is None else x_T
        film: list[Frame] = []
        steps = self.config.denoising if steps is None else steps
        for t, x_t, x0_hat in chain(D, x_T, steps=steps, step=step, generator=generator):
            x_t = torch.where(known, value, x_t)
            if frames:
                film.append(Frame(t, self.unscale(x_t), self.unscale(x0_hat)))
        raw = self.scaler.inverse(x_t)
        candidates, durations = raw[..., :-1], raw[..., -1].mean(-1).exp()
        return Plan(candidates, durations, self._gaps(candidates, durations), film)

    def _gaps(self, candidates: Tensor, durations: Tensor) -> Tensor:
        x, v = candidates[..., : self.n], candidates[..., self.n :]
        h = (durations * self.seconds_per_step / (self.horizon - 1))[:, None, None]
        error = x.diff(dim=1) - h * (v[:, 1:] + v[:, :-1]) / 2
        return error.square().sum(-1).mean(-1).sqrt()

    def inconsistency(self, plan: Plan) -> Tensor:
        """By how many metres a gap between two points differs from what the velocities at its ends say (trapezium rule,
        root mean square over the plan). It needs no map, and it is how a candidate is chosen. -> [n]"""
        return plan.gaps

    def reference(self, plan: Plan, k: int | None = None) -> Array:
        """Candidate k (the best one) as a state for every step: cubic Hermite between its points. -> [T + 1, 2n]"""
        k = plan.best if k is None else k
        return interpolated(plan.candidates[k].numpy(), float(plan.durations[k]), self.seconds_per_step)

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> Array:
        """A plan for a `Follower`: the best of the candidates, as a state for every step."""
        return self.reference(self.plan(obs, goal, generator=torch.Generator().manual_seed(seed), frames=False))

    def drive(self, env, *, seed: int, **options: Any) -> Episode:
        """One episode in an environment, from its own random reset; options of `Agent`."""
        return drive([env], Agent(self, **options), [seed])[0]

    def frames(
        self, start: ArrayLike, goal: ArrayLike, seed: int = 0, n: int | None = None, *, steps: int = 24
    ) -> list[Frame]:
        """The making of a plan from rest at start [n] to goal [n], in metres and in finer steps: what a movie shows."""
        obs = np.r_[np.asarray(start, float), np.zeros(self.n)]
        return self.plan(obs, goal, n, torch.Generator().manual_seed(seed), steps=steps).frames


class Agent(Follower):
    """Follows the best of the candidates by a PD controller, and plans again where driving goes wrong."""

    def __init__(self, model: Diffuser, **options: Any):
        super().__init__(model.route, **options)


class OwnActions:
    """Diffuser's way to drive: the plan's own actions, one after the other, without looking where the ball is.

    Our plans hold no actions; they are read off the plan's neighbouring states by least-squares inverse dynamics.
    """

    def __init__(self, planner: Diffuser):
        self.planner, self.inverse = planner, planner.inverse.double().numpy()

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        each = zip(np.asarray(obs, float), np.asarray(goal, float), seeds, strict=True)
        self.reference, self.step = [self.planner.route(o, g, seed) for o, g, seed in each], np.zeros(len(seeds), int)
        pairs = [(x[:-1], x[1:]) for x in self.reference]
        self.actions = [np.concatenate([np.ones((len(s), 1)), s, z - s], 1) @ self.inverse for s, z in pairs]

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> Array:
        now = indices(obs, which)
        self.step[now] += 1
        rest = np.zeros((1, self.inverse.shape[1]))  # after the plan's end
        todo = [np.concatenate([self.actions[k][self.step[k] - 1 :], rest])[0] for k in now]
        return np.clip(todo, -1, 1)

    def extras(self, k: int) -> dict[str, Any]:
        return {"reference": self.reference[k], "plans": 1}


def train(
    episodes: Episodes,
    config: Config | None = None,
    *,
    seed: int = 0,
    held_out: tuple[float, float] | None = None,
) -> Run:
    """The training on pieces of `episodes` as a generator.

    held_out: the corner of the grid of cells whose held-out pairs (`plans.is_held_out`) are never trained on.
    Raises ValueError for observations of odd width, or when no episode moves long enough.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    pieces = Pieces(episodes, c, generator, held_out=held_out)
    x = pieces.plans(20_000)[0]
    model = seeded(seed, Diffuser, c, episodes.obs.shape[1], episodes.act.shape[1])
    model.scaler = plan_scaler(x, pieces.n)
    model.seconds.fill_(seconds_per_step(episodes))
    model.inverse.copy_(inverse_dynamics(episodes))
    update = descend(
        lambda batch: model.loss(batch, generator),
        model,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    origin = list(held_out) if held_out else None
    stage = Stage((update,), pieces, c.updates)
    return Run(model, stage, generator=generator, data=episodes, seed=seed, held_out=origin)
