"""DIAMOND (Alonso et al. 2024): a world model that draws the next picture by diffusion, given the last ones.

What is diffused: x [C, h, w], the next picture, 0 and 1 taken to -1 and 1.
What is learned: D(x_t, t, past, act) with EDM's preconditioning (Karras et al. 2022), past [K, C, h, w] and
act [K, a] being the last K pictures and actions; and, beside it, reward and end of a step from what was drawn.
How it acts: it does not; `step` is the world for a policy, one picture at a time.
What differs from the paper: pictures of 10 x 10 cells, so a network a thousand times smaller; reward and end are read
from the last and the drawn picture without a recurrent state; past pictures may be noised in training and at play
(`augment`, `blur`), and the network told how much, as GameNGen does (Valevski et al. 2024); some moments may be shown
more often than they happen (`train`'s `often`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffrl_lab.data.episodes import TERMINAL, Episodes, windows
from diffrl_lab.diffusion import (
    Frame,
    Karras,
    NeuralDenoiser,
    Run,
    Stage,
    Step,
    chain,
    cosine_decay,
    denoising_loss,
    descend,
    euler,
    given,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.nets import ImageUNet


@dataclass(frozen=True)
class Config:
    """The hyperparameters of a world model; the defaults have about 150,000 weights."""

    past: int = 2  # K, how many pictures and actions are shown
    width: int = 32  # channels of the U-Net
    updates: int = 4000  # of the network
    batch: int = 64  # moments in each
    lr: float = 2e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what draws
    sigma_max: float = 5.0  # the noise that drawing begins with; the paper's, too
    sigma_data: float = 0.5  # the standard deviation of data that the preconditioning assumes
    level_mean: float = -0.4  # of ln sigma in training; the paper's, as is the next
    level_std: float = 1.2
    augment: float = 0.0  # the largest standard deviation of noise on past pictures in training
    told: bool = False  # whether the network is told that deviation, beside each action
    rare: float = 0.25  # the share of a batch that is drawn from the moments to be shown often, where there are any
    denoising: int = 3  # steps of the chain
    regress: bool = False  # least squares instead: the same network, shown no noise, predicts the picture's mean


class Moments(NamedTuple):
    """What was seen and done, and what came of it."""

    past: Tensor  # [B, K, C, h, w], -1 to 1
    act: Tensor  # [B, K, a]
    x: Tensor  # [B, C, h, w], -1 to 1
    rew: Tensor  # [B]
    end: Tensor  # [B], 1 where the episode ended there


class Diamond(nn.Module):
    """p(the next picture | the last K pictures and actions). shape: (C, h, w); act: how wide an action is."""

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, shape: tuple[int, int, int], act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"shape": list(shape), "act": act}, {}
        c, h, w = shape
        self.shape = (c, h, w)
        net = ImageUNet(c, config.past, act + config.told, (h, w), width=config.width)
        self.denoiser = NeuralDenoiser(net, Karras(0.02, config.sigma_max), "edm", sigma_data=config.sigma_data)
        self.outcome = nn.Sequential(  # reward and end of a step, from the last picture, the next one and the action
            nn.Conv2d(2 * c, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1), nn.SiLU(),
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(16, 2),
        )  # fmt: skip

    def loss(self, batch: Moments, generator: torch.Generator) -> dict[str, Tensor]:
        """EDM's loss of the picture, squared error of the reward, cross-entropy of the end. -> {"loss": [], ...}"""
        c, B = self.config, len(batch.x)
        size = c.augment * torch.rand(B, generator=generator) if c.augment else torch.zeros(B)
        cond = self._cond(batch.past, batch.act, size, generator)
        if c.regress:
            picture = F.mse_loss(self._mean(cond), batch.x)
        else:
            even = (torch.arange(B) + torch.rand(B, generator=generator)) / B  # stratified: less variance
            even = even[torch.randperm(B, generator=generator)]  # no level belongs to a place in the batch
            sigma = torch.exp(c.level_mean + c.level_std * torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4)))
            schedule: Any = self.denoiser.schedule
            t = schedule.time(sigma.clamp(schedule.sigma_min, schedule.sigma_max))
            picture = denoising_loss(self.denoiser, batch.x, cond=cond, t=t, generator=generator)
        said = self.outcome(torch.cat([batch.past[:, -1], batch.x], 1))
        reward = F.mse_loss(said[:, 0], batch.rew)
        end = F.binary_cross_entropy_with_logits(said[:, 1], batch.end)
        return {"loss": picture + reward + end, "picture": picture, "reward": reward, "end": end}

    def _cond(self, past: Tensor, act: Tensor, size: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """What the network is shown: past [B, K, C, h, w], -1 to 1, with noise of deviation size [B]; act [B, K, a],
        with `size` beside each action where the network is told it."""
        if bool((size > 0).any()):
            past = past + size[:, None, None, None, None] * torch.randn(past.shape, generator=generator)
        if self.config.told:
            act = torch.cat([act, size[:, None, None].expand(-1, act.shape[1], 1)], -1)
        return {"past": past, "act": act}

    def _mean(self, cond: dict[str, Tensor]) -> Tensor:
        """The least-squares picture. -> [B, C, h, w]"""
        B = len(cond["act"])
        return self.denoiser.net(torch.zeros(B, *self.shape), torch.zeros(B), cond)

    @torch.no_grad()
    def chain(
        self,
        past: Tensor,
        act: Tensor,
        *,
        steps: int | None = None,
        step: Step | None = None,
        x_T: Tensor | None = None,
        blur: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Iterator[Frame]:
        """The drawing of the next pictures, frame by frame, x_t and x0_hat in units of 0 to 1 [B, C, h, w].

        past: [B, K, C, h, w], 0 to 1, the newest last; act: [B, K, a]. steps: how many denoising steps;
        `config.denoising` unless given. step: Euler's, as in the paper, unless given. x_T: the noise to begin with.
        blur: the standard deviation of noise that is put on the past pictures, these taken to -1 to 1.
        Raises ValueError for other shapes.
        """
        K, B = self.config.past, len(past)
        wanted = (B, K, *self.shape), (B, K, self.sizes["act"])
        if (tuple(past.shape), tuple(act.shape)) != wanted:
            raise ValueError(
                f"past {list(wanted[0])} and act {list(wanted[1])} were wanted, got {list(past.shape)} and "
                f"{list(act.shape)}"
            )
        cond = self._cond(2 * past.float() - 1, act.float(), torch.full((B,), blur), generator)
        if self.config.regress:
            x = (self._mean(cond) + 1) / 2
            yield Frame(torch.tensor(0.0), x, x)
            return
        if x_T is None:
            x_T = self.denoiser.schedule.prior((B, *self.shape), generator)
        steps = self.config.denoising if steps is None else steps
        for t, x_t, x0_hat in chain(
            given(self.denoiser, cond), x_T, steps=steps, step=step or euler(), generator=generator
        ):
            yield Frame(t, (x_t + 1) / 2, (x0_hat + 1) / 2)

    def sample(self, past: Tensor, act: Tensor, **options: Any) -> Tensor:
        """The next pictures as they were drawn, not rounded; arguments of `chain`. -> [B, C, h, w], about 0 to 1"""
        for frame in self.chain(past, act, **options):
            x = frame.x_t
        return x

    @torch.no_grad()
    def step(
        self, obs: Tensor, act: Tensor, generator: torch.Generator | None = None, **options: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the dreamed world does next -> (pictures [B, C, h, w], reward [B], probability of an end [B]).

        obs [B, K, C, h, w] and act [B, K, a] are the last ones, the newest last; options of `chain`.
        """
        x = self.sample(obs, act, generator=generator, **options)
        said = self.outcome(torch.cat([2 * obs[:, -1].float() - 1, 2 * x - 1], 1))
        return x, said[:, 0], said[:, 1].sigmoid()


def gather(episodes: Episodes, rows: Tensor) -> Moments:
    """The moments at rows [B, K], windows of `episodes`, the newest last. Pictures in bytes are read as 0 and 1."""

    def picture(i: Tensor) -> Tensor:
        return 2 * episodes.obs[i].float() - 1

    after = rows[:, -1] + 1
    end = (episodes.last[after] == TERMINAL).float()
    return Moments(picture(rows), episodes.act[rows].float(), picture(after), episodes.rew[rows[:, -1]].float(), end)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0, often: Tensor | None = None) -> Run:
    """The training on all moments of `episodes` as a generator.

    often: [N] of bool, one for each row of `episodes`: a share `config.rare` of each batch is drawn from the moments
    whose newest picture is such a row. What is learned stays the law of the next picture given what was seen: only how
    often each moment is met changes. Raises ValueError for pictures of other than three axes, no moment, or none often.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    if episodes.obs.ndim != 4:
        raise ValueError(f"pictures [N, C, h, w] are wanted as observations, got {list(episodes.obs.shape)}")
    rows = windows(episodes, c.past)
    shape: Any = tuple(episodes.obs.shape[1:])
    model = seeded(seed, Diamond, c, shape, episodes.act.shape[1])
    chosen = rows[:0]
    if often is not None:
        chosen = rows[often[rows[:, -1]]]
        if not len(chosen):
            raise ValueError(f"no moment is to be shown often: none of {len(rows)} ends in a row that `often` names")
    n = round(c.rare * c.batch) if len(chosen) else 0

    def batches() -> Iterator[Moments]:
        while True:
            i = rows[torch.randint(len(rows), (c.batch - n,), generator=generator)]
            j = chosen[torch.randint(len(chosen), (n,), generator=generator)] if n else chosen
            yield gather(episodes, torch.cat([i, j]))

    update = descend(
        lambda batch: model.loss(batch, generator),
        model,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    return Run(model, Stage((update,), batches(), c.updates), generator=generator, data=episodes, seed=seed)
