"""Windows of a robot's log as denoising: H successive steps of observations and actions, drawn whole and unconditioned.

What is diffused is a window x [H, d + a]: observation and action of H successive steps of one episode, scaled per
column, by a temporal U-Net. That is the plan of Diffuser (Janner et al. 2022) before anything guides it, and the first
experiment of the survey (arXiv 2510.12253). What differs from Diffuser: observations stand before actions, columns are
scaled to unit variance and not to limits, the network predicts v, diffusion time is continuous (so the number of
sampling steps is chosen at sampling), and the network is smaller by one to two orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffrl_lab.data.episodes import Episodes, windows
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    Denoiser,
    Frame,
    NeuralDenoiser,
    Step,
    chain,
    cosine_decay,
    ddpm,
    denoising_loss,
    descend,
    fit,
    load,
    save,
)
from diffrl_lab.nets import TemporalUNet


@dataclass(frozen=True)
class WindowDiffuser:
    """The hyperparameters of a model of windows; the defaults have about half a million weights."""

    horizon: int = 32  # H, steps of a window; a multiple of 2^(levels - 1)
    width: int = 32  # channels of the U-Net's finest level
    mults: tuple[int, ...] = (1, 2, 4)  # channels of each level over width
    steps: int = 1200  # updates of the network
    batch: int = 32  # windows in each
    lr: float = 2e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which is what samples


def joined(episodes: Episodes, horizon: int, stride: int = 1) -> Tensor:
    """The windows of episodes as they are recorded, observations before actions -> [N, H, d + a].

    One starts at every `stride`-th step of each episode; none crosses an episode. Raises ValueError without any.
    """
    rows = windows(episodes, horizon, stride)
    return torch.cat([episodes.obs[rows].float(), episodes.act[rows].float()], -1)


class Training:
    """The training of a model of windows as a generator: `for row in Training(episodes): ...` yields {"step", "loss"}.

    It goes on from wherever it stands until `config.steps`. Raises ValueError where no episode has H steps.
    """

    def __init__(self, episodes: Episodes, config: WindowDiffuser | None = None, *, seed: int = 0):
        self.config, self.seed = config or WindowDiffuser(), seed
        self.x, self.d = joined(episodes, self.config.horizon), episodes.obs.shape[1]
        self.scaler = Scaler.fit(self.x, "standard")
        self.generator = torch.Generator().manual_seed(seed)
        self.denoiser = _denoiser(self.config, self.x.shape[-1], seed)
        self.update = descend(
            lambda x: denoising_loss(self.denoiser, x, generator=self.generator),
            self.denoiser,
            lr=self.config.lr,
            schedule=cosine_decay(self.config.steps, warmup=min(100, self.config.steps // 10)),
            ema=self.config.ema,
            generator=self.generator,
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        batches = Batches(self.scaler(self.x), self.config.batch, self.generator)
        return fit(self.update, batches, self.config.steps - self.update.step)

    def model(self, **about: Any) -> Windows:
        """The model as it stands: a copy of the averaged weights."""
        assert self.update.ema is not None
        D = _denoiser(self.config, self.x.shape[-1], self.seed)
        D.load_state_dict(self.update.ema.module.state_dict())
        about = {"seed": self.seed, "trained": self.update.step, "windows": len(self.x), **about}
        return Windows(D.eval(), self.scaler, self.d, self.config.horizon, self.config, about)


class Windows:
    """A diffusion model of windows [H, d + a]: any denoiser of scaled windows, and the scaling back to units.

    d: columns of a window that are the observation; the others are the action.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scaler: Scaler,
        d: int,
        horizon: int,
        config: WindowDiffuser | None = None,
        about: dict[str, Any] | None = None,
    ):
        if not 0 < d <= len(scaler.center):
            raise ValueError(f"an observation has 1 to {len(scaler.center)} of a window's columns, got d = {d}")
        self.denoiser, self.scaler, self.d, self.horizon = denoiser, scaler, d, horizon
        self.config, self.about = config, about or {}

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A window in units [..., d + a] -> (obs [..., d], act [..., a])."""
        return x[..., : self.d], x[..., self.d :]

    def chain(
        self,
        n: int,
        *,
        steps: int | Tensor = 20,
        step: Step | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Frame]:
        """The making of n windows, frame by frame, x_t and x0_hat in units [n, H, d + a] (`split` takes them apart).

        steps: how many, or a grid of times. step: ancestral (`ddpm()`) unless given.
        """
        x_T = self.denoiser.schedule.prior((n, self.horizon, len(self.scaler.center)), generator=generator)
        for t, x_t, x0_hat in chain(self.denoiser, x_T, steps=steps, step=step or ddpm(), generator=generator):
            yield Frame(t, self.scaler.inverse(x_t), self.scaler.inverse(x0_hat))

    def sample(self, n: int, **options: Any) -> tuple[Tensor, Tensor]:
        """n windows in units, (obs [n, H, d], act [n, H, a]); options of `chain`. Nothing is clipped."""
        for frame in self.chain(n, **options):
            x = frame.x_t
        return self.split(x)

    @torch.no_grad()
    def loss(self, x: Tensor, generator: torch.Generator, repeats: int = 1) -> float:
        """The denoising loss (mean squared error of v) on windows in units x [N, H, d + a], each at `repeats` noise
        levels. What a model never saw tells whether its training is over."""
        D = self.denoiser
        if not isinstance(D, NeuralDenoiser):
            raise ValueError(f"only a network has a denoising loss, got {type(D).__name__}")
        z = self.scaler(x)
        losses = [
            float(denoising_loss(D, part, generator=generator)) * len(part)
            for _ in range(repeats)
            for part in z.split(256)
        ]
        return sum(losses) / (repeats * len(z))

    def save(self, path: str | Path, **about: Any) -> None:
        """The weights as float16 and the scaling, in one safetensors file. Only for a network."""
        if not isinstance(self.denoiser, NeuralDenoiser) or self.config is None:
            raise ValueError(f"only a trained network can be saved, got {type(self.denoiser).__name__}")
        tensors = {k: v.half() if k.startswith("net.") else v for k, v in self.denoiser.state_dict().items()}
        tensors |= {f"scaler.{k}": v for k, v in self.scaler.state().items()}
        save(path, tensors, **{**self.about, **about, "windows_of": self.d, "config": asdict(self.config)})

    @classmethod
    def load(cls, path: str | Path) -> Windows:
        """What `save` wrote. Raises ValueError for a file of something else."""
        tensors, about = load(path)
        if "windows_of" not in about:
            raise ValueError(f"{path} holds no model of windows")
        d, config = about.pop("windows_of"), about.pop("config")
        config = WindowDiffuser(**{**config, "mults": tuple(config["mults"])})
        scaler = Scaler(tensors.pop("scaler.center"), tensors.pop("scaler.spread"))
        D = _denoiser(config, len(scaler.center), 0)
        D.load_state_dict({k: v.float() for k, v in tensors.items()})
        return cls(D.eval(), scaler, d, config.horizon, config, about)


def _denoiser(config: WindowDiffuser, dim: int, seed: int) -> NeuralDenoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TemporalUNet(dim, width=config.width, mults=config.mults)
    return NeuralDenoiser(net, Cosine(), "v")
