"""CompDiffuser (Luo et al. 2025): a long plan as chunks that are denoised together, each shown its noisy neighbours.

What is diffused: chunks x [c, h, 2n + 1], c pieces of a trajectory side by side, each as in `diffuser` (n positions and
n velocities at h moments, the logarithm of its steps); the last state of one is the first of the next.
What is learned: D(x_t, t, known, near) of *one* chunk, from pieces of short recordings. near: the states at its two
ends as the neighbours have them, at the same noise; an end is clean and known, or its neighbour's copy is shown, or
nothing is told. No drive as long as the plan is ever seen.
How it acts: candidates of 1 to `most` chunks are drawn, states at joints being averaged in every x0_hat; the plan that
contradicts itself least and that the model moves least when it is noised and denoised again is followed by PD control.
What differs from the paper: a chunk has few points and its own duration, neighbours share one state and not a stretch,
all chunks are denoised in parallel, and the number of chunks is chosen by the plan's score, not given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, check_velocities, resample
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Cosine,
    Function,
    NeuralDenoiser,
    Run,
    Stage,
    cosine_decay,
    ddim,
    denoising_loss,
    descend,
    sample,
    seeded,
)
from diffrl_lab.diffusion.denoisers import Cond
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning.plans import Array, interpolated, plan_scaler, seconds_per_step
from diffrl_lab.nets import PlanMLP
from diffrl_lab.worlds.driving import Follower


@dataclass(frozen=True)
class Config:
    """The hyperparameters of chunks and of how they are composed."""

    horizon: int = 16  # h, points of a chunk
    width: int = 256  # of the network's MLP
    depth: int = 3  # its residual blocks
    channels: int = 32  # of its convolution along the chunk
    updates: int = 3000  # of the network
    batch: int = 256  # pieces in each
    lr: float = 3e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.999  # decay of the running average of the weights, which is what plans
    clean: float = 0.35  # share of ends that are known
    shown: float = 0.5  # share of ends at which the neighbour's noisy copy is shown; at the others nothing is told
    stretched: float = 0.3  # share of pieces that begin where a recording begins, and that end where it ends
    shortest: int = 8  # steps of the shortest piece
    denoising: int = 20  # steps of the chain
    eta: float = 1.0  # of DDIM: with fresh noise at every step chunks can still agree
    candidates: int = 12  # plans of each number of chunks
    most: int = 5  # chunks of a plan
    level: float = 0.45  # the noise that a plan is restored from to judge it
    restored: float = 2.0  # how much by that a plan was moved counts beside its gaps, in metres


class Pieces:
    """Endless batches {"x": [B, h, 2n + 1]} of pieces of recordings in units, as chunks.

    Raises ValueError for observations that are no positions and velocities, or when no recording is long enough.
    """

    def __init__(self, episodes: Episodes, config: Config, generator: torch.Generator):
        if episodes.obs.ndim != 2 or episodes.obs.shape[1] % 2:
            raise ValueError(
                f"a plan needs observations of n positions and n velocities, [N, 2n]; got {tuple(episodes.obs.shape)}"
            )
        check_velocities(episodes)
        keep = episodes.lengths >= config.shortest
        if not bool(keep.any()):
            raise ValueError(f"no episode has {config.shortest} steps; the longest has {int(episodes.lengths.max())}")
        self.config, self.generator, self.obs = config, generator, episodes.obs.float()
        self.first, self.end = episodes.starts[keep], episodes.ends[keep]
        self.possible = (self.end - self.first - config.shortest + 1).cumsum(0)

    def __iter__(self) -> Pieces:
        return self

    def draw(self, size: int) -> tuple[Tensor, Tensor]:
        """First row and duration in steps of `size` pieces, [size] each."""
        c = self.config
        u = torch.rand(4, size, generator=self.generator, dtype=torch.float64)
        anywhere = (u[0] * self.possible[-1]).long()
        episode = torch.searchsorted(self.possible, anywhere, right=True)
        inside = self.end[episode] - c.shortest - (self.possible[episode] - 1 - anywhere)
        start = torch.where(u[1] < c.stretched, self.first[episode], inside)
        longest = self.end[episode] - start
        duration = c.shortest + (u[3] * (longest - c.shortest + 1)).long()
        return start, torch.where(u[2] < c.stretched, longest, duration)

    def plans(self, size: int) -> Tensor:
        """Unscaled chunks [size, h, 2n + 1]."""
        start, duration = self.draw(size)
        log = duration.float().log()[:, None, None].expand(-1, self.config.horizon, 1)
        return torch.cat([resample(self.obs, start, duration, self.config.horizon), log], -1)

    def __next__(self) -> dict[str, Tensor]:
        return {"x": self.plans(self.config.batch)}


class Chunks(NamedTuple):
    """Plans of c chunks in units, and what is wrong with each."""

    points: Tensor  # [N, c, h, 2n], joints averaged
    durations: Tensor  # [N, c], in steps
    gaps: Tensor  # [N], metres: by how much velocities contradict positions, in the worst chunk
    tears: Tensor  # [N], metres: how far chunks are apart at the widest joint


def beside(near: Tensor, told: Tensor) -> Tensor:
    """What the network is shown beside a chunk: the neighbours' copies near [B, 2, 2n] of its two end states, 0 where
    told [B, 2] is false, and `told` itself. -> [B, 4n + 2]"""
    return torch.cat([torch.where(told[..., None], near, 0.0).flatten(1), told.to(near)], 1)


def _met(before: Tensor, after: Tensor, known: Tensor, value: Tensor) -> Tensor:
    """What two chunks make of the state at their joint: the mean, or what is known of it."""
    return torch.where(known, value, (before + after) / 2)


class Compositional(nn.Module):
    """A diffusion model of one chunk, and plans of many. obs = 2n and act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    seconds: Tensor
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.n = obs // 2
        net = PlanMLP(
            config.horizon,
            obs + 1,
            width=config.width,
            depth=config.depth,
            channels=config.channels,
            positions=self.n,
            beside=2 * obs + 2,
        )
        self.denoiser = NeuralDenoiser(net, Cosine(), "x0")
        self.scaler = Scaler.blank(obs + 1)
        self.register_buffer("seconds", torch.ones((), dtype=torch.float64))  # how long a step of the world lasts, s

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss of `Pieces` {"x" [B, h, 2n + 1] in units}, without the known entries.

        Each end is known, or shown as a neighbour would have it (the same state at the same level, other noise), or
        left open; the velocity of a known last state is told half of the time.
        """
        c, d = self.config, 2 * self.n
        x = self.scaler(batch["x"])
        B = len(x)
        u, even = torch.rand(B, 2, generator=generator), torch.linspace(0, 1 - 1 / B, B)
        clean, told = u < c.clean, (u >= c.clean) & (u < c.clean + c.shown)
        known = torch.zeros(x.shape, dtype=torch.bool)
        known[:, 0, :d], known[:, -1, : self.n] = clean[:, :1], clean[:, 1:]
        known[:, -1, self.n : d] = (clean[:, 1] & (torch.rand(B, generator=generator) < 0.5))[:, None]
        t = even + torch.rand(B, generator=generator) / B
        alpha, sigma = self.denoiser.schedule(t, 3)
        ends = x[:, [0, -1], :d]
        near = alpha * ends + sigma * torch.randn(ends.shape, generator=generator)
        cond = {"known": known, "beside": beside(near, told)}
        return {"loss": denoising_loss(self.denoiser, x, cond=cond, known=known, t=t, generator=generator)}

    def ends(self, obs: Tensor, goals: Tensor, chunks: int) -> tuple[Tensor, Tensor]:
        """What is known of `chunks` chunks from the state obs [N, 2n]: (known, value scaled), [N, chunks, h, 2n + 1].

        goals [N, n]: where the last chunk ends; [N, chunks, n]: where each does, for chunks between waypoints.
        """
        value = self.scaler.center.expand(len(obs), chunks, self.config.horizon, -1).clone()
        known = torch.zeros(value.shape, dtype=torch.bool)
        value[:, 0, 0, : 2 * self.n], known[:, 0, 0, : 2 * self.n] = obs, True
        each = goals.ndim == 3
        at = slice(None) if each else slice(-1, None)
        value[:, at, -1, : self.n], known[:, at, -1, : self.n] = goals if each else goals[:, None], True
        return known, self.scaler(value)

    def joined(self, known: Tensor, value: Tensor, *, shown: bool = True) -> Function:
        """The denoiser of c chunks [N, c, h, 2n + 1] at once: each chunk's own, then both opinions of the state at a
        joint averaged, or known. shown=False: the neighbours' copies are not told (windows merely averaged)."""
        d = 2 * self.n
        N, c = known.shape[:2]
        told = torch.zeros(N, c, 2, dtype=torch.bool)
        told[:, 1:, 0] = told[:, :-1, 1] = shown

        def together(x_t: Tensor, t: Tensor, _: Cond = None) -> Tensor:
            x = torch.where(known, value, x_t)
            near = x.new_zeros(N, c, 2, d)
            near[:, 1:, 0], near[:, :-1, 1] = x_t[:, :-1, -1, :d], x_t[:, 1:, 0, :d]
            cond = {"known": known.flatten(0, 1), "beside": beside(near.flatten(0, 1), told.flatten(0, 1))}
            out = self.denoiser(x.flatten(0, 1), t, cond).view_as(x).clone()
            both = _met(out[:, :-1, -1, :d], out[:, 1:, 0, :d], known[:, :-1, -1, :d], value[:, :-1, -1, :d])
            out[:, :-1, -1, :d], out[:, 1:, 0, :d] = both, both
            return torch.where(known, value, out)

        return Function(together, self.denoiser.schedule)

    @torch.no_grad()
    def drawn(
        self,
        known: Tensor,
        value: Tensor,
        generator: torch.Generator | None = None,
        *,
        shown: bool = True,
        steps: int | None = None,
    ) -> Chunks:
        """Plans under what is known of them, as `ends` gives it."""
        c, n = self.config, self.n
        D = self.joined(known, value, shown=shown)
        x_T = D.schedule.prior(tuple(value.shape), generator=generator)
        if not shown:  # a shared state is one state: it begins with one noise
            x_T[:, 1:, 0, : 2 * n] = x_T[:, :-1, -1, : 2 * n]
        x = sample(D, x_T, steps=steps or c.denoising, step=ddim(c.eta), generator=generator)
        raw = self.scaler.inverse(torch.where(known, value, x))
        points, durations = raw[..., : 2 * n].clone(), raw[..., -1].mean(-1).exp()
        torn = (points[:, :-1, -1, :n] - points[:, 1:, 0, :n]).norm(dim=-1)
        tears = torn.amax(1) if torn.shape[1] else torn.new_zeros(len(points))
        ends, given = raw[:, :-1, -1, : 2 * n], known[:, :-1, -1, : 2 * n]
        middle = _met(points[:, :-1, -1], points[:, 1:, 0], given, ends)
        points[:, :-1, -1], points[:, 1:, 0] = middle, middle
        h = (durations * float(self.seconds) / (c.horizon - 1))[..., None, None]
        error = points[..., :n].diff(dim=2) - h * (points[..., 1:, n:] + points[..., :-1, n:]) / 2
        return Chunks(points, durations, error.square().sum(-1).mean(-1).sqrt().amax(1), tears)

    @torch.no_grad()
    def moved(self, plans: Chunks, generator: torch.Generator | None = None, repeats: int = 2) -> Tensor:
        """How far the worst chunk of each plan moves, in standard deviations, when it is noised to `config.level` and
        denoised at once with nothing known: what lies where no recording went is drawn back. -> [N]"""
        N, c = plans.durations.shape
        log = plans.durations.clamp(min=1).log()[..., None, None].expand(-1, -1, self.config.horizon, 1)
        x = self.scaler(torch.cat([plans.points, log], -1)).flatten(0, 1)
        t = torch.tensor(self.config.level)
        alpha, sigma = self.denoiser.schedule(t)
        nothing = beside(x.new_zeros(len(x), 2, 2 * self.n), torch.zeros(len(x), 2, dtype=torch.bool))
        cond = {"known": torch.zeros(x.shape, dtype=torch.bool), "beside": nothing}
        far = torch.zeros(len(x))
        for _ in range(repeats):
            noise = torch.randn(x.shape, generator=generator)
            back = self.denoiser((alpha * x + sigma * noise).float(), t, cond)
            far += (back - x)[..., :-1].square().mean((-1, -2)) / repeats
        return far.sqrt().view(N, c).amax(1)

    def score(self, plans: Chunks, generator: torch.Generator | None = None) -> Tensor:
        """What is wrong with each plan, by the model alone: gap + tear + `restored` times `moved`; no map. -> [N]"""
        return plans.gaps + plans.tears + self.config.restored * self.moved(plans, generator)

    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike,
        *,
        n: int = 1,
        chunks: int = 1,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tensor:
        """n plans of `chunks` chunks for each state obs [B, 2n] and goal [B, n], in units with their steps; options of
        `drawn`. -> [B, n, chunks, h, 2n + 1]"""
        start, end = (torch.as_tensor(np.asarray(v), dtype=torch.float32).repeat_interleave(n, 0) for v in (obs, goal))
        plans = self.drawn(*self.ends(start, end, chunks), generator, **options)
        steps = plans.durations[..., None, None].expand(*plans.points.shape[:-1], 1)
        return torch.cat([plans.points, steps], -1).unflatten(0, (-1, n))

    def plans(
        self, obs: ArrayLike, goal: ArrayLike, generator: torch.Generator | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """For each state obs [B, 2n] and goal [B, n] the best of `candidates` plans of each number of chunks, all drawn
        in one batch. -> B pairs (points [c, h, 2n], durations [c])"""
        c = self.config
        start, end = (torch.as_tensor(np.asarray(v), dtype=torch.float32) for v in (obs, goal))
        start, end = start.repeat_interleave(c.candidates, 0), end.repeat_interleave(c.candidates, 0)
        best = [(np.inf, torch.empty(0), torch.empty(0))] * (len(start) // c.candidates)
        for chunks in range(1, c.most + 1):
            plans = self.drawn(*self.ends(start, end, chunks), generator)
            wrong = self.score(plans, generator)
            for b, j in enumerate(wrong.view(-1, c.candidates).argmin(1).tolist()):
                k = b * c.candidates + j
                if float(wrong[k]) < best[b][0]:
                    best[b] = float(wrong[k]), plans.points[k], plans.durations[k]
        return [one[1:] for one in best]

    def plan(self, obs: ArrayLike, goal: ArrayLike, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The best of `candidates` plans of each number of chunks, (points [c, h, 2n], durations [c])."""
        return self.plans(np.asarray(obs)[None], np.asarray(goal)[None], generator)[0]

    def reference(self, points: Tensor, durations: Tensor) -> Array:
        """Chunks [c, h, 2n] end to end, as a state for every step. -> [T + 1, 2n]"""
        parts = [interpolated(p.numpy(), float(d), float(self.seconds)) for p, d in zip(points, durations, strict=True)]
        return np.concatenate([part[1 if k else 0 :] for k, part in enumerate(parts)])

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> Array:
        """A plan for a `Follower`: the best, as a state for every step."""
        return self.reference(*self.plan(obs, goal, torch.Generator().manual_seed(seed)))

    def routes(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> list[Array]:
        """`route` for each of several states [B, 2n] and goals [B, n], all plans drawn in one batch."""
        return [self.reference(*plan) for plan in self.plans(obs, goal, torch.Generator().manual_seed(seed))]


class Agent(Follower):
    """Follows the best plan by a PD controller, and plans again where driving goes wrong."""

    def __init__(self, model: Compositional, **options: Any):
        super().__init__(model.route, **options)


def fitted(episodes: Episodes, pieces: Pieces, seed: int) -> Compositional:
    """An untrained model whose scaler and seconds are those of the recording."""
    model = seeded(seed, Compositional, pieces.config, episodes.obs.shape[1], episodes.act.shape[1])
    model.scaler = plan_scaler(pieces.plans(20_000), model.n)
    model.seconds.fill_(seconds_per_step(episodes))
    return model


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on pieces of `episodes` as a generator. Raises ValueError as `Pieces` does."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    pieces = Pieces(episodes, c, generator)
    model = fitted(episodes, pieces, seed)
    update = descend(
        lambda batch: model.loss(batch, generator),
        model,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    return Run(model, Stage((update,), pieces, c.updates), generator=generator, data=episodes, seed=seed)
