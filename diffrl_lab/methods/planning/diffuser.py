"""Planning as denoising: a plan is a piece of a trajectory, drawn whole from a diffusion model (Diffuser, Janner et al.
2022).

What is diffused is a plan x [H, 2n + 1]: n positions and n velocities at H moments evenly spaced in time, and the
logarithm of how many steps the whole takes, the same in each row. Training shows the network pieces of recorded
episodes of any length, with a known-mask that is random for each piece: nothing, the start, or start and goal. So one
set of weights gives unconditioned samples and, through `pin`, plans from here to there. Candidates are drawn together;
the one is driven whose velocities agree best with its own positions, by a PD controller. Nothing here ever sees a wall:
neither a map, nor a simulator, nor a grid of where the data lie.

What differs from Diffuser: pieces of variable duration resampled to few points, no actions in the plan, a network that
knows which entries are given (pinning alone is biased), the choice among candidates, and planning again only when
driving goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab.data.episodes import Episodes, resample
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Cosine,
    Denoiser,
    Frame,
    NeuralDenoiser,
    Step,
    chain,
    cosine_decay,
    denoising_loss,
    descend,
    fit,
    given,
    load,
    pin,
    save,
)
from diffrl_lab.nets import PlanMLP
from diffrl_lab.worlds.driving import Episode, Follower, roll_out

Array = NDArray[np.float64]

RUNGS = {"untrained": "untrained", "10%": "tenth", "good": "good", "overfit": "overfit"}
"""The ladder of shipped weights, and what a file of each is called."""


@dataclass(frozen=True)
class Diffuser:
    """The hyperparameters of a planner; the defaults are for the largest maze."""

    horizon: int = 32  # H, points of a plan
    width: int = 360  # of the network's MLP
    depth: int = 3  # its residual blocks
    channels: int = 32  # of its convolution along the plan
    steps: int = 6000  # updates of the network
    batch: int = 256  # pieces in each
    lr: float = 3e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.999  # decay of the running average of the weights, which is what plans
    free: float = 0.1  # share of pieces shown with nothing known
    start_only: float = 0.05  # share shown with the start alone
    from_reset: float = 0.4  # share of pieces that begin where an episode begins; the others begin anywhere
    to_arrival: float = 0.7  # share that end where the ball came to rest; the others anywhere later than their start
    shortest: int = 8  # steps of the shortest piece
    settled: float = 0.05  # m: an episode is over once the ball stays this close to where it ends
    sampling: int = 6  # denoising steps of one plan
    candidates: int = 16  # plans drawn together


CONFIGS = {
    "umaze": Diffuser(steps=2000, width=256),
    "medium": Diffuser(steps=3000, width=256),
    "large": Diffuser(),
    "two-ways": Diffuser(steps=2000, width=256),
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
        config: Diffuser,
        generator: torch.Generator,
        *,
        held_out: tuple[float, float] | None = None,
    ):
        if episodes.obs.ndim != 2 or episodes.obs.shape[1] % 2:
            raise ValueError(
                f"a plan needs observations of n positions and n velocities, [N, 2n]; got {tuple(episodes.obs.shape)}"
            )
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
    obs, rows = episodes.obs, []
    for first, last in zip(episodes.starts.tolist(), episodes.ends.tolist(), strict=True):
        far = ((obs[first : last + 1, :n] - obs[last, :n]).norm(dim=-1) > settled).nonzero()
        rows.append(min(first + int(far[-1]) + 4, last) if len(far) else first)
    return torch.tensor(rows)


def is_held_out(start: Tensor, goal: Tensor, origin: tuple[float, float]) -> Tensor:
    """Whether a joint pair of start and goal cells is one of the fifth that a training with `held_out=origin` never
    sees. -> bool

    Cells are squares of 1 m with a corner at `origin`; which pairs are held out is arithmetic on their numbers.
    Positions [..., n].
    """
    corner = torch.as_tensor(origin, dtype=torch.float32)
    ends = [(torch.as_tensor(x)[..., :2] - corner).floor().long() for x in (start, goal)]
    cells = torch.cat(ends, -1)
    mixed = (cells * torch.tensor([7, 13, 17, 29])).sum(-1)
    return (mixed % 5 == 0) & (cells[..., :2] != cells[..., 2:]).any(-1)


def seconds_per_step(episodes: Episodes) -> float:
    """How long a step lasts, from the data: the least-squares slope of displacements on velocities."""
    rows = (episodes.last == 0).nonzero()[:, 0]
    n = episodes.obs.shape[1] // 2
    moved, speed = episodes.obs[rows + 1, :n] - episodes.obs[rows, :n], episodes.obs[rows, n:]
    return float((moved * speed).sum() / (speed**2).sum())


def inverse_dynamics(episodes: Episodes) -> Tensor:
    """W [1 + 4n, a] of the least-squares action act = [1, s, s' - s] W between two states s, s' [2n] one step apart.

    A displacement is nearly the velocity times the step: directions in which the features hardly vary are left out.
    """
    rows = (episodes.last == 0).nonzero()[:, 0]
    s, after = episodes.obs[rows].double(), episodes.obs[rows + 1].double()
    features = torch.cat([torch.ones(len(s), 1, dtype=torch.float64), s, after - s], 1)
    unit = features.square().mean(0).sqrt()
    unit = torch.where(unit > 0, unit, 1.0)
    solved = torch.linalg.lstsq(features / unit, episodes.act[rows].double(), rcond=1e-3, driver="gelsd")
    return (solved.solution / unit[:, None]).float()


class Training:
    """The training of a planner as a generator: `for row in Training(episodes): ...` yields {"step": n, "loss": ...}.

    It goes on from wherever it stands until `config.steps`, so it can be stopped and iterated again; `save` and `load`
    carry a run over to another process, bit for bit on a CPU. held_out: the corner of the grid of cells
    whose held-out pairs (`is_held_out`) are never trained on.
    """

    def __init__(
        self,
        episodes: Episodes,
        config: Diffuser | None = None,
        *,
        seed: int = 0,
        held_out: tuple[float, float] | None = None,
    ):
        self.config, self.seed = config or Diffuser(), seed
        self.held_out = list(held_out) if held_out else None
        self.generator = torch.Generator().manual_seed(seed)
        self.pieces = Pieces(episodes, self.config, self.generator, held_out=held_out)
        x = self.pieces.plans(20_000)[0]
        self.scaler = _scaler(x, self.pieces.n)
        self.about = {"seconds_per_step": seconds_per_step(episodes), "rows": len(episodes.obs)}
        self.inverse = inverse_dynamics(episodes)
        self.denoiser = _denoiser(self.config, x.shape[-1], seed)
        decay = cosine_decay(self.config.steps, warmup=min(100, self.config.steps // 10))
        self.update = descend(
            self._loss, self.denoiser, lr=self.config.lr, schedule=decay, ema=self.config.ema, generator=self.generator
        )

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        known = batch["known"]
        return denoising_loss(
            self.denoiser, self.scaler(batch["x"]), cond={"known": known}, known=known, generator=self.generator
        )

    @property
    def step(self) -> int:
        """How many updates have been made."""
        return self.update.step

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return fit(self.update, self.pieces, self.config.steps - self.step)

    def save(self, path: str | Path) -> None:
        """The whole state of the run."""
        self.update.save(
            path, config=asdict(self.config), seed=self.seed, held_out=self.held_out, rows=self.about["rows"]
        )

    def load(self, path: str | Path) -> None:
        """Go on from a `save`d state of the same run. Raises ValueError if it belongs to another one."""
        about = load(path)[1]
        mine = {"config": asdict(self.config), "seed": self.seed, "held_out": self.held_out, "rows": self.about["rows"]}
        other = [k for k in mine if about.get(k) != mine[k]]
        if other:
            raise ValueError(
                f"{path} is a checkpoint of another run: {', '.join(f'{k}={about.get(k)}' for k in other)}; "
                f"this one has {', '.join(f'{k}={mine[k]}' for k in other)}"
            )
        self.update.load(path)

    def planner(self, **about: Any) -> Planner:
        """The planner as it stands: a copy of the averaged weights."""
        assert self.update.ema is not None
        D = _denoiser(self.config, len(self.scaler.center), self.seed)
        D.load_state_dict(self.update.ema.module.state_dict())
        about = {**self.about, "seed": self.seed, "trained": self.step, "held_out": self.held_out, **about}
        return Planner(D.eval(), self.scaler, self.config, self.about["seconds_per_step"], self.inverse, about)


def _scaler(x: Tensor, n: int) -> Scaler:
    """Positions share one spread and velocities another, so that a direction means the same before and after."""
    fitted = Scaler.fit(x, "standard")
    center, spread = fitted.center.clone(), fitted.spread.clone()
    center[n : 2 * n] = 0
    for part in (slice(0, n), slice(n, 2 * n)):
        spread[part] = x[..., part].sub(center[part]).square().mean().sqrt()
    return Scaler(center, spread)


def _denoiser(config: Diffuser, dim: int, seed: int) -> NeuralDenoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PlanMLP(
            config.horizon,
            dim,
            width=config.width,
            depth=config.depth,
            channels=config.channels,
            positions=(dim - 1) // 2,
        )
    return NeuralDenoiser(net, Cosine(), "x0")


@dataclass(frozen=True, eq=False)
class Plan:
    """Candidates [n, H, 2d] (positions in m, velocities in m/s), how long each takes, and how each came about.

    `frames` are in the same units with a last column of steps: frame.x_t and frame.x0_hat are [n, H, 2d + 1].
    """

    candidates: Tensor
    durations: Tensor  # [n], in steps
    gaps: Tensor  # [n], metres: `Planner.inconsistency`
    frames: list[Frame] = field(repr=False, default_factory=list)

    @property
    def best(self) -> int:
        """The candidate whose velocities agree best with its own positions."""
        return int(self.gaps.argmin())

    @property
    def points(self) -> Tensor:
        """The chosen candidate. -> [H, 2d]"""
        return self.candidates[self.best]


class Planner:
    """A trained diffusion model of trajectories, and how it is used: sampled, pinned, chosen from, driven."""

    def __init__(
        self,
        denoiser: NeuralDenoiser,
        scaler: Scaler,
        config: Diffuser,
        seconds_per_step: float,
        inverse: Tensor | None = None,
        about: dict[str, Any] | None = None,
    ):
        self.denoiser, self.scaler, self.config, self.inverse = denoiser, scaler, config, inverse
        self.seconds_per_step, self.about = seconds_per_step, about or {}
        self.steps, self.horizon, self.n = config.sampling, config.horizon, (len(scaler.center) - 1) // 2

    @classmethod
    def load(cls, name: str | Path, rung: str = "good") -> Planner:
        """A shipped planner by name (maze-umaze, maze-medium, maze-large, maze-two-ways) and rung, or one of your own
        by its path.

        Raises ValueError for unknown names and for files that are not whole, FileNotFoundError for a path that is not
        there.
        """
        path = Path(name)
        if path.suffix != ".safetensors":
            from diffrl_lab.data.shipped import shipped

            if rung not in RUNGS:
                raise ValueError(f"the ladder has the rungs {', '.join(RUNGS)}; got {rung!r}")
            # untrained weights are drawn again from the seed, with the scaling of the trained ones
            path = shipped(f"weights/{name}-{RUNGS['good' if rung == 'untrained' else rung]}.safetensors")
        tensors, about = load(path)
        if "config" not in about or "scaler.center" not in tensors:
            raise ValueError(f"{path} holds no planner: `diffrl-lab train` writes one")
        config = Diffuser(**about.pop("config"))
        scaler = Scaler(tensors.pop("scaler.center"), tensors.pop("scaler.spread"))
        inverse = tensors.pop("inverse", None)
        D = _denoiser(config, len(scaler.center), about["seed"])
        if path != Path(name) and rung == "untrained":
            tensors = {k: v.half() for k, v in D.state_dict().items()}
            about |= {"rung": rung, "trained": 0, "seconds": None, "threads": None}
        D.load_state_dict({k: v.float() for k, v in tensors.items()})
        return cls(D.eval(), scaler, config, about["seconds_per_step"], inverse, about)

    def save(self, path: str | Path, **about: Any) -> None:
        """The weights as float16 (scaling and inverse dynamics as they are) in one safetensors file, 2 MB at most."""
        tensors = {k: v.half() if k.startswith("net.") else v for k, v in self.denoiser.state_dict().items()}
        tensors |= {f"scaler.{k}": v for k, v in self.scaler.state().items()}
        if self.inverse is not None:
            tensors["inverse"] = self.inverse
        save(
            path,
            tensors,
            **{**self.about, **about, "config": asdict(self.config), "seconds_per_step": self.seconds_per_step},
        )

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
    ) -> Plan:
        """n plans sampled from any denoiser of plans, such as this planner's own with guidance around it; `known`,
        `value` as `ends` gives them. steps: how many, or a grid of times. step: DDIM unless given."""
        x_T = D.schedule.prior((n, *known.shape), generator=generator)
        kept: list[Frame] = []
        steps = self.steps if steps is None else steps
        for t, x_t, x0_hat in chain(D, x_T, steps=steps, step=step, generator=generator):
            x_t = torch.where(known, value, x_t)
            if frames:
                kept.append(Frame(t, self.unscale(x_t), self.unscale(x0_hat)))
        raw = self.scaler.inverse(x_t)
        candidates, durations = raw[..., :-1], raw[..., -1].mean(-1).exp()
        return Plan(candidates, durations, self._gaps(candidates, durations), kept)

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

    def agent(self, **options: Any) -> Follower:
        """The planner as an agent for `roll_out`; options of `Follower`."""
        return Follower(self.route, **options)

    def drive(self, env, *, seed: int, **options: Any) -> Episode:
        """One episode in an environment, from its own random reset."""
        return roll_out(env, self.agent(**options), seed=seed)

    def frames(
        self, start: ArrayLike, goal: ArrayLike, seed: int = 0, n: int | None = None, *, steps: int = 24
    ) -> list[Frame]:
        """The making of a plan from rest at start [n] to goal [n], in metres and in finer steps: what a movie shows."""
        obs = np.r_[np.asarray(start, float), np.zeros(self.n)]
        return self.plan(obs, goal, n, torch.Generator().manual_seed(seed), steps=steps).frames


def interpolated(points: ArrayLike, duration: float, seconds_per_step: float = 0.01) -> Array:
    """The states at every step of a plan [H, 2n] that takes `duration` steps, cubic Hermite between its points. -> [T +
    1, 2n]"""
    p = np.asarray(points, float)
    n, gaps, steps = p.shape[1] // 2, len(p) - 1, max(round(duration), 1)
    h = duration * seconds_per_step / gaps
    u = np.linspace(0, gaps, steps + 1)
    i = np.minimum(u.astype(int), gaps - 1)
    s = (u - i)[:, None]
    x0, x1, m0, m1 = p[i, :n], p[i + 1, :n], p[i, n:] * h, p[i + 1, n:] * h
    x = (2 * s**3 - 3 * s**2 + 1) * x0 + (s**3 - 2 * s**2 + s) * m0 + (3 * s**2 - 2 * s**3) * x1 + (s**3 - s**2) * m1
    v = (6 * s**2 - 6 * s) * (x0 - x1) + (3 * s**2 - 4 * s + 1) * m0 + (3 * s**2 - 2 * s) * m1
    return np.concatenate([x, v / h], 1)


class OwnActions:
    """Diffuser's way to drive: the plan's own actions, one after the other, without looking where the ball is.

    Our plans hold no actions; they are read off the plan's neighbouring states by least-squares inverse dynamics.
    """

    def __init__(self, planner: Planner):
        if planner.inverse is None:
            raise ValueError("these weights hold no inverse dynamics; train the planner again")
        self.planner, self.inverse = planner, planner.inverse.double().numpy()

    def reset(self, obs: ArrayLike, goal: ArrayLike, seed: int = 0) -> None:
        self.reference, self.step = self.planner.route(obs, goal, seed), 0
        s, after = self.reference[:-1], self.reference[1:]
        self.actions = np.concatenate([np.ones((len(s), 1)), s, after - s], 1) @ self.inverse

    def act(self, obs: ArrayLike) -> Array:
        self.step += 1
        done = self.step > len(self.actions)
        return np.zeros(self.actions.shape[1]) if done else np.clip(self.actions[self.step - 1], -1, 1)
