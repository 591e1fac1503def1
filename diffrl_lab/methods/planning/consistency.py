"""Consistency models (Song et al. 2023): a planner of one step whose answer stays the same along a way of the flow.

What is diffused: a plan x [H, 2n + 1], as the teacher, a `Diffuser`, has it; its scaling is taken over.
What is learned: f(x_t, t, known), where the teacher's probability flow through x_t ends. f(x, 0) = x, and f has the
same value at two points x_t, x_s of one way of the flow, of which the one with less noise teaches the other. So the end
is passed on from level to level up to pure noise.
How it acts: candidates are drawn together, f of noise for each, the one that agrees best with itself is followed by a
PD controller; it plans again where driving goes wrong. More evaluations noise the answer anew and ask again.
What differs from the paper: the network predicts x_0, and f(x, 0) = x is put in where it teaches (the paper's form of
the network, alpha_t x_t + sigma_t net, asks a narrow one for noise: docs/studies/fast.md); points lie on ways that the
teacher went from noise to plan, computed once and kept, in place of noised data and one step of the teacher each; any
later point of a way teaches, in place of the next; DDIM in place of Heun's steps; the squared error in place of LPIPS;
what teaches is the network itself, not its average (so Song and Dhariwal 2024); the network sees the entries that are
known, and it is smaller than its teacher's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import (
    Batches,
    Denoiser,
    Run,
    Stage,
    Step,
    chain,
    cosine_decay,
    descend,
    given,
    masked_mean,
    pin,
    sample,
    seeded,
)
from diffrl_lab.diffusion.training import digest
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces
from diffrl_lab.methods.planning.plans import Plan
from diffrl_lab.worlds.driving import Follower


@dataclass(frozen=True)
class Config:
    """The hyperparameters: what the network is shown of its teacher, how large it is, and how it is trained."""

    denoising: int = 1  # evaluations of a plan
    levels: int = 10  # steps of DDIM that one of the teacher's ways has
    pairs: int = 20_000  # ways of the teacher, from noise to plan
    mixed: float = 0.7  # share of them whose goal is that of another piece
    width: int = 128  # of the network's MLP
    updates: int = 2000  # of the network
    batch: int = 128  # ways in each, two points of each
    lr: float = 3e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what plans

    def __post_init__(self) -> None:
        if min(self.denoising, self.levels, self.pairs) < 1:
            raise ValueError(f"evaluations, levels and ways are one at least; got {self}")


def renewed() -> Step:
    """The step of consistency models (Song et al. 2023, algorithm 1): x_s = alpha_s f(x_t) + sigma_s z with fresh noise
    z. One time for all of x."""

    def step(D: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Any = None, generator=None):
        end = D(x_t, t)
        alpha, sigma = (float(level) for level in D.schedule(s))
        return alpha * end + sigma * torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype), end, state

    return step


def disagreement(f: Callable[..., Tensor], x: Tensor, i: Tensor, j: Tensor, times: Tensor, known: Tensor) -> Tensor:
    """The mean squared distance of f at a point of a way and at a later one, which teaches: no gradient goes there, and
    f at time 0 is the point itself.

    x: ways [B, N + 1, ...] at `times` [N + 1], falling to 0; i < j [B]: the two points. Known entries do not count.
    -> []
    """
    cond, row = {"known": known}, torch.arange(len(x))
    with torch.no_grad():
        later, s = x[row, j], times[j]
        wanted = torch.where((s == 0).view(-1, *[1] * (later.ndim - 1)), later, f(later, s, cond))
    return masked_mean((f(x[row, i], times[i], cond) - wanted).square(), ~known)


class Consistency(nn.Module):
    """A planner like its teacher, `planner`, whose network gives the end of the flow. teacher: the teacher's
    hyperparameters, as a dict; obs = 2n, act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, teacher: dict[str, Any], obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"teacher": teacher, "obs": obs, "act": act}, {}
        own = {"denoising": config.denoising, "width": config.width}
        self.planner = Diffuser(replace(diffuser.Config(**teacher), **own), obs, act)

    @classmethod
    def of(cls, teacher: Diffuser, config: Config | None = None, *, seed: int = 0) -> Consistency:
        """The network before its training, with the teacher's scaling. Raises ValueError for a teacher that is no
        `Diffuser`."""
        if not isinstance(teacher, Diffuser):
            raise ValueError(f"the teacher is a Diffuser, such as maze-large; got a {type(teacher).__name__}")
        model = seeded(seed, cls, config or Config(), asdict(teacher.config), **teacher.sizes)
        known = {k: v for k, v in teacher.state_dict().items() if not k.startswith("denoiser.")}
        model.planner.load_state_dict(model.planner.state_dict() | known)
        return model

    @property
    def times(self) -> Tensor:
        """The times of the points of a way, from 1 to 0. -> [levels + 1], float32"""
        return self.planner.denoiser.schedule.grid(self.config.levels).float()

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """`disagreement` at two random points of each way of {"x": [B, levels + 1, H, 2n + 1], scaled, "known": bool}.
        -> {"loss": []}"""
        x, N = batch["x"], self.config.levels
        i = torch.randint(0, N, (len(x),), generator=generator)
        j = i + 1 + (torch.rand(len(x), generator=generator) * (N - i)).long()
        return {"loss": disagreement(self.planner.denoiser, x, i, j, self.times, batch["known"])}

    @torch.no_grad()
    def plan(
        self,
        obs: ArrayLike,
        goal: ArrayLike,
        n: int | None = None,
        generator: torch.Generator | None = None,
        *,
        steps: int | None = None,
        frames: bool = False,
    ) -> Plan:
        """n candidates from the state obs [2n] to the position goal [n], in one batch of `steps` evaluations."""
        model, steps = self.planner, self.config.denoising if steps is None else steps
        known, value = model.ends(obs, goal)
        D = pin(given(model.denoiser, {"known": known}), known, value)
        return model.drawn(D, known, value, n or model.config.candidates, steps, generator, frames, renewed())

    @torch.no_grad()
    def sample(
        self, obs: ArrayLike, goal: ArrayLike | None = None, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans for each state obs [B, 2n] and goal [B, n], in units with their steps. -> [B, n, H, 2n + 1]"""
        model = self.planner
        known, value = (v.repeat_interleave(n, 0) for v in model.ends(obs, goal))
        D = pin(given(model.denoiser, {"known": known}), known, value)
        x_T = D.schedule.prior(value.shape, generator=generator)
        x = sample(D, x_T, steps=self.config.denoising, step=renewed(), generator=generator)
        return model.with_steps(torch.where(known, value, x)).unflatten(0, (-1, n))

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> NDArray:
        """A plan for a `Follower`: the best of the candidates, as a state for every step."""
        return self.planner.reference(self.plan(obs, goal, generator=torch.Generator().manual_seed(seed)))


class Agent(Follower):
    """Follows the best of the candidates by a PD controller, and plans again where driving goes wrong; options of
    `Follower`."""

    def __init__(self, model: Consistency, **options: Any):
        super().__init__(model.route, **options)


@torch.no_grad()
def ways(teacher: Diffuser, pieces: Pieces, config: Config, generator: torch.Generator) -> dict[str, Tensor]:
    """What is learned from: {"x": the ways of `levels` steps of DDIM that the teacher goes from noise to plans [pairs,
    levels + 1, H, 2n + 1], scaled, "known": which entries were given, the first point of a way included}.

    A share `mixed` has the goal of another piece: a recording has as many pairs of a start and a goal as it has of
    episodes, and one evaluation must know its way between any two.
    """
    parts: list[dict[str, Tensor]] = []
    for _ in range(-(-config.pairs // pieces.config.batch)):
        batch = next(pieces)
        known, value = batch["known"], teacher.scaler(batch["x"])
        other = torch.where(torch.rand(len(known), generator=generator) < config.mixed, 1, 0)
        other = (torch.arange(len(known)) + other) % len(known)  # pieces are drawn independently of each other
        known[:, -1], value[:, -1] = known[other, -1], value[other, -1]
        D = pin(given(teacher.denoiser, {"known": known}), known, value)
        x_T = D.schedule.prior(value.shape, generator=generator)
        x = torch.stack([frame.x_t for frame in chain(D, x_T, steps=config.levels)], 1)
        parts.append({"x": torch.where(known[:, None], value[:, None], x), "known": known})
    return {k: torch.cat([part[k] for part in parts])[: config.pairs] for k in parts[0]}


def train(episodes: Episodes, config: Config | None = None, *, teacher: Diffuser, seed: int = 0) -> Run:
    """The training beside `teacher` as a generator, on starts and goals of `episodes`; the teacher is left as it is.

    Raises ValueError for a teacher that is no `Diffuser`, or has another width of observations or actions.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = Consistency.of(teacher, c, seed=seed)
    sizes = {"obs": episodes.obs.shape[1], "act": episodes.act.shape[1]}
    if sizes != teacher.sizes:
        raise ValueError(f"the teacher plans for {teacher.sizes}, the recording has {sizes}")
    pieces = Pieces(episodes, replace(teacher.config, batch=min(c.batch, c.pairs)), generator)
    data = ways(teacher, pieces, c, generator)
    update = descend(
        lambda batch: model.loss(batch, generator),
        model.planner.denoiser,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    stage = Stage((update,), Batches(data, c.batch, generator), c.updates)
    return Run(model, stage, generator=generator, data=episodes, seed=seed, teacher=digest(teacher.state_dict()))
