"""A planner of one step, or of a few: a student of a `Diffuser`'s deterministic chain (Luhman and Luhman 2021; Salimans
and Ho 2022, "Progressive Distillation").

What is diffused: a plan x [H, 2n + 1], as the teacher has it; the student takes over its scaling.
What is learned: D(x_t, t, known), which is no mean any more: one DDIM step with it goes from x_t to where `detail` DDIM
steps of the teacher go. With one step that is the map of the probability-flow ODE, from noise to plan.
How it acts: as its teacher does. Candidates are drawn together, in `denoising` evaluations each, the one that agrees
best with itself is followed by a PD controller; it plans again where driving goes wrong.
What differs from the paper: one round of distillation from all of the teacher's steps to the student's few, in place of
a round for every halving; the teacher's ways are computed once and kept (so Luhman and Luhman did), not for each
update; the student sees the entries that are known; it may be smaller than its teacher, and then starts afresh.
"""

from __future__ import annotations

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
    """The hyperparameters: how large the student is, what it is shown of its teacher, and how it is trained."""

    denoising: int = 1  # steps of the student's chain
    detail: int = 10  # steps of the teacher's that one of them stands for
    pairs: int = 20_000  # ways of the teacher that are computed, of all the student's steps together
    mixed: float = 0.7  # share of the ways from noise whose goal is that of another piece
    width: int | None = None  # of the student's MLP; None: the teacher's network, which starts from its weights
    updates: int = 1500  # of the student
    batch: int = 256  # pairs in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what plans

    def __post_init__(self) -> None:
        if min(self.denoising, self.detail) < 1:
            raise ValueError(f"both chains need a step at least, got {self.denoising} and {self.detail}")
        if self.pairs < self.denoising:
            raise ValueError(f"{self.denoising} steps need as many pairs at least, got {self.pairs}")


@torch.no_grad()
def jumps(D: Denoiser, x_t: Tensor, t: float, s: float, detail: int) -> Tensor:
    """The x0_hat with which one DDIM step from t to s ends where `detail` DDIM steps of D end (Salimans and Ho 2022,
    appendix G). For s = 0 it is the end of D's chain. -> the shape of x_t

    From x_s = a x_t + b x0_hat with a = sigma_s / sigma_t and b = alpha_s - a alpha_t.
    """
    x_s = sample(D, x_t, steps=torch.linspace(t, s, detail + 1, dtype=torch.float64))
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ([float(level) for level in D.schedule(u)] for u in (t, s))
    a = sigma_s / sigma_t
    return (x_s - a * x_t) / (alpha_s - a * alpha_t)


class Distilled(nn.Module):
    """A planner like its teacher, `planner`, whose chain has few steps. teacher: the teacher's hyperparameters, as a
    dict; obs = 2n, act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, teacher: dict[str, Any], obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"teacher": teacher, "obs": obs, "act": act}, {}
        own = {"denoising": config.denoising} | ({} if config.width is None else {"width": config.width})
        self.planner = Diffuser(replace(diffuser.Config(**teacher), **own), obs, act)

    @classmethod
    def of(cls, teacher: Diffuser, config: Config | None = None, *, seed: int = 0) -> Distilled:
        """The student before its training: the teacher's weights, where it has the teacher's network, and its scaling.

        Raises ValueError for a teacher that is no `Diffuser`.
        """
        if not isinstance(teacher, Diffuser):
            raise ValueError(f"a student's teacher is a Diffuser, such as maze-large; got a {type(teacher).__name__}")
        c = config or Config()
        model = seeded(seed, cls, c, asdict(teacher.config), **teacher.sizes)
        same = c.width in (None, teacher.config.width)
        known = {k: v for k, v in teacher.state_dict().items() if same or not k.startswith("denoiser.")}
        model.planner.load_state_dict(model.planner.state_dict() | known)
        return model

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The squared error of x0_hat on {"x", "jump" [B, H, 2n + 1], scaled, "t" [B], "known", bool}, without the
        known entries. Nothing in it is random. -> {"loss": []}"""
        known = batch["known"]
        x0_hat = self.planner.denoiser(batch["x"], batch["t"], {"known": known})
        return {"loss": masked_mean((x0_hat - batch["jump"]).square(), ~known)}

    def plan(
        self,
        obs: ArrayLike,
        goal: ArrayLike,
        n: int | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Plan:
        """n candidates from the state obs [2n] to the position goal [n]; options of `Diffuser.plan`."""
        return self.planner.plan(obs, goal, n, generator, **options)

    def sample(
        self, obs: ArrayLike, goal: ArrayLike | None = None, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans for each state obs [B, 2n] and goal [B, n], in units with their steps. -> [B, n, H, 2n + 1]"""
        return self.planner.sample(obs, goal, n=n, generator=generator)

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> NDArray:
        """A plan for a `Follower`: the best of the candidates, as a state for every step."""
        return self.planner.route(obs, goal, seed)


class Agent(Follower):
    """Follows the best of the candidates by a PD controller, and plans again where driving goes wrong; options of
    `Follower`."""

    def __init__(self, model: Distilled, **options: Any):
        super().__init__(model.route, **options)


def ways(teacher: Diffuser, pieces: Pieces, config: Config, generator: torch.Generator) -> dict[str, Tensor]:
    """What a student learns from: {"x", "jump", "t", "known"}, as `Distilled.loss` takes them, with as many rows for
    each of its steps.

    x is a noised piece. At t = 1 nothing is left of the piece but its known ends, so there a share `mixed` has the goal
    of another piece: a recording has as many pairs of a start and a goal as it has of episodes, and one step must know
    its way between any two.
    """
    times, rows = teacher.denoiser.schedule.grid(config.denoising).tolist(), config.pairs // config.denoising
    parts: list[dict[str, Tensor]] = []
    for t, s in zip(times[:-1], times[1:], strict=True):
        alpha, sigma = (float(level) for level in teacher.denoiser.schedule(t))
        for _ in range(-(-rows // pieces.config.batch)):
            batch = next(pieces)
            known, value = batch["known"], teacher.scaler(batch["x"])
            if alpha == 0:
                other = torch.where(torch.rand(len(known), generator=generator) < config.mixed, 1, 0)
                other = (torch.arange(len(known)) + other) % len(known)  # pieces are drawn independently of each other
                known[:, -1], value[:, -1] = known[other, -1], value[other, -1]
            x = torch.where(known, value, alpha * value + sigma * torch.randn(value.shape, generator=generator))
            D = pin(given(teacher.denoiser, {"known": known}), known, value)
            jump = torch.where(known, value, jumps(D, x, t, s, config.detail))
            parts.append({"x": x, "jump": jump, "t": torch.full((len(x),), t), "known": known})
    return {k: torch.cat([part[k] for part in parts]) for k in parts[0]}


def train(episodes: Episodes, config: Config | None = None, *, teacher: Diffuser, seed: int = 0) -> Run:
    """The training of a student of `teacher` as a generator, on pieces of `episodes`; the teacher is left as it is.

    episodes: what the teacher was trained on, of which starts, goals and noised pieces are taken.
    Raises ValueError for a teacher that is no `Diffuser`, or has another width of observations or actions.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = Distilled.of(teacher, c, seed=seed)
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
