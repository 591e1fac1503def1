"""Language-conditioned planning at toy scale (after MTDiff, He et al. 2023, and LCD, Zhang et al. 2024): a sentence
says what a plan must do.

What is diffused: plans [H, 2n + 1] as in `diffuser`, whole drives from rest to rest; their start is known, and no goal.
What is learned: D(x_t, t, start, words), one network for all tasks, from drives and what was said before each of them.
The words enter as a vector beside the plan: a GRU read them one after the other ("gru"), or they were counted ("bag",
which cannot tell "the upper left by the right way" from "the upper right by the left way"); or, as the best that words
could do, the grammar parsed them ("meaning").
How it acts: candidates are drawn together for the state and the sentence, a PD controller follows the one whose
velocities agree best with its own positions, once, and holds the ball at the plan's end.
What differs from the paper: words of a small grammar and a network of their own in place of a pretrained language model
or of recorded prompts; plans whole and flat, where LCD plans subgoals; no actions, rewards or guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    NeuralDenoiser,
    Run,
    Stage,
    cosine_decay,
    denoising_loss,
    descend,
    given,
    pin,
    sample,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.plans import Array, Plan, interpolated, plan_scaler, seconds_per_step
from diffrl_lab.nets import PlanMLP
from diffrl_lab.worlds import sentences
from diffrl_lab.worlds.driving import Along
from diffrl_lab.worlds.sentences import COLUMNS, PACES, ROWS, SIDES, WORDS

ENCODERS = ("gru", "bag", "meaning")
PARTS = (("row", ROWS), ("column", COLUMNS), ("side", SIDES), ("pace", PACES))  # of a meaning, and their words


@dataclass(frozen=True)
class Config:
    """The hyperparameters of plans, network and words."""

    horizon: int = 32  # H, points of a plan
    encoder: str = "gru"  # one of ENCODERS
    beside: int = 32  # numbers that the words are turned into
    width: int = 256  # of the network's MLP
    depth: int = 3  # its residual blocks
    channels: int = 32  # of its convolution along the plan
    updates: int = 2000  # of the network, words included
    batch: int = 256  # drives in each
    lr: float = 3e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.999  # decay of the running average of the weights, which is what plans
    denoising: int = 10  # steps of the chain that draws a plan
    candidates: int = 16  # plans drawn together

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}; got {self.encoder!r}")


def spelt(told: Sequence[str], encoder: str) -> Tensor:
    """Sentences as numbers. "gru": each word's place in WORDS, from 1 on, after zeros, int [B, L], L the longest's
    length; "bag": how often each word is said [B, words]; "meaning": an indicator for each word of PARTS [B, 10].

    Raises ValueError for words, and for "meaning" sentences, that the grammar has not.
    """
    if encoder == "meaning":
        each = [sentences.parse(s) for s in told]
        rows = [[float(getattr(m, part) == word) for part, every in PARTS for word in every] for m in each]
        return torch.tensor(rows)
    numbers = [torch.tensor(sentences.indices(s)) for s in told]
    if encoder == "bag":
        return torch.stack([F.one_hot(k, len(WORDS)).sum(0).float() for k in numbers])
    longest = max(len(k) for k in numbers)
    return torch.stack([F.pad(k + 1, (longest - len(k), 0)) for k in numbers])


class Words(nn.Module):
    """What `spelt` gives -> a vector [B, beside]. For "gru" the state of a GRU after the last word; zeros, which stand
    before the first one, leave it as it is."""

    def __init__(self, encoder: str, beside: int):
        super().__init__()
        self.encoder = encoder
        sizes = {"gru": len(WORDS) + 1, "bag": len(WORDS), "meaning": sum(len(every) for _, every in PARTS)}
        if encoder == "gru":
            self.read = nn.GRUCell(beside, beside)
        self.embed: nn.Module = nn.Embedding(sizes[encoder], beside)
        if encoder != "gru":
            self.embed = nn.Sequential(nn.Linear(sizes[encoder], beside), nn.SiLU(), nn.Linear(beside, beside))

    def forward(self, words: Tensor) -> Tensor:
        if self.encoder != "gru":
            return self.embed(words)
        h = torch.zeros(len(words), self.read.hidden_size, device=words.device)
        for k in words.unbind(1):
            h = torch.where((k > 0)[:, None], self.read(self.embed(k), h), h)
        return h


class Spoken(nn.Module):
    """net(x [B, H, d], label [B], {"known": bool, "words": what `spelt` gives}) -> [B, H, d]."""

    def __init__(self, net: PlanMLP, words: Words):
        super().__init__()
        self.net, self.words = net, words

    def forward(self, x: Tensor, label: Tensor, cond: dict[str, Tensor]) -> Tensor:
        beside = self.words(cond["words"])
        return self.net(x, label, {"known": cond["known"], "beside": beside.expand(len(x), -1)})


class Language(nn.Module):
    """A diffusion model of drives that heed a sentence. obs = 2n and act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    seconds: Tensor
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.n = obs // 2
        size = {"width": config.width, "depth": config.depth, "channels": config.channels}
        net = PlanMLP(config.horizon, obs + 1, positions=self.n, beside=config.beside, **size)
        self.denoiser = NeuralDenoiser(Spoken(net, Words(config.encoder, config.beside)), Cosine(), "x0")
        self.scaler = Scaler.blank(obs + 1)
        self.register_buffer("seconds", torch.ones((), dtype=torch.float64))  # how long a step of the world lasts, s

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss of {"x": drives [B, H, 2n + 1] in units, "words": what `spelt` gives}, the start given."""
        x = self.scaler(batch["x"])
        known = self.begun(x)
        cond = {"known": known, "words": batch["words"]}
        return {"loss": denoising_loss(self.denoiser, x, cond=cond, known=known, generator=generator)}

    def begun(self, x: Tensor) -> Tensor:
        """The known-mask of plans [..., H, 2n + 1]: their first state."""
        known = torch.zeros(x.shape, dtype=torch.bool)
        known[..., 0, : 2 * self.n] = True
        return known

    @torch.no_grad()
    def drawn(self, obs: ArrayLike, told: Sequence[str], generator: torch.Generator | None = None) -> Plan:
        """A plan for each state obs [N, 2n] and its sentence."""
        start = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
        if start.shape != (len(told), 2 * self.n):
            raise ValueError(f"{len(told)} sentences want states [{len(told)}, {2 * self.n}], got {list(start.shape)}")
        value = self.scaler.center.expand(len(start), self.config.horizon, -1).clone()
        value[:, 0, : 2 * self.n] = start
        value, known = self.scaler(value), self.begun(value)
        D = pin(given(self.denoiser, {"known": known, "words": spelt(told, self.config.encoder)}), known, value)
        x_T = D.schedule.prior(value.shape, generator=generator)
        x = torch.where(known, value, sample(D, x_T, steps=self.config.denoising, generator=generator))
        raw = self.scaler.inverse(x)
        states, durations = raw[..., :-1], raw[..., -1].mean(1).exp()
        h = (durations * float(self.seconds) / (self.config.horizon - 1))[:, None, None]
        v = states[..., self.n :]
        error = states[..., : self.n].diff(dim=1) - h * (v[:, 1:] + v[:, :-1]) / 2
        return Plan(states, durations, error.square().sum(-1).mean(-1).sqrt())

    def sample(
        self, obs: ArrayLike, told: Sequence[str], *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans for each state obs [B, 2n] and its sentence, in units with their steps. -> [B, n, H, 2n + 1]"""
        every = [s for s in told for _ in range(n)]
        return self.drawn(np.repeat(np.asarray(obs, float), n, 0), every, generator).with_steps.unflatten(0, (-1, n))

    def route(self, obs: ArrayLike, sentence: str, seed: int) -> Array:
        """A plan from the state obs [2n]: the best of the candidates, as a state for every step. -> [T + 1, 2n]"""
        n = self.config.candidates
        plan = self.drawn(np.repeat(np.asarray(obs)[None], n, 0), [sentence] * n, torch.Generator().manual_seed(seed))
        return interpolated(plan.points.numpy(), float(plan.durations[plan.best]), float(self.seconds))


class Agent(Along):
    """Follows one plan for the sentence of each episode by a PD controller, and holds its end. Where the goal lies it
    is not told. sentence: an episode's seed -> what is said."""

    def __init__(self, model: Language, sentence: Callable[[int], str], **options: Any):
        super().__init__(lambda obs, goal, seed: model.route(obs, sentence(seed), seed), **options)


def train(episodes: Episodes, config: Config | None = None, *, told: Sequence[str], seed: int = 0) -> Run:
    """The training on whole drives of `episodes`, each with the sentence that was said before it, as a generator.

    Raises ValueError unless there is a sentence for each drive, and each drive moves.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    whole = diffuser.Config(horizon=c.horizon)
    x, _ = diffuser.drives(episodes, whole, int(episodes.lengths.max()))
    if len(x) != len(told):
        raise ValueError(f"each drive that moves needs its sentence: there are {len(x)} drives, {len(told)} sentences")
    model = seeded(seed, Language, c, episodes.obs.shape[1], episodes.act.shape[1])
    model.scaler = plan_scaler(x, model.n)
    model.seconds.fill_(seconds_per_step(episodes))
    update = descend(
        lambda batch: model.loss(batch, generator),
        model,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    data = Batches({"x": x, "words": spelt(told, c.encoder)}, c.batch, generator)
    return Run(model, Stage((update,), data, c.updates), generator=generator, data=episodes, seed=seed)
