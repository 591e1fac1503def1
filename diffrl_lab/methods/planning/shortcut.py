"""A planner of one step that needs no teacher: a shortcut model (Frans, Hafner, Levine and Abbeel 2025).

What is diffused: a plan x [H, 2n + 1], as `Diffuser` has it, along straight lines x_t = (1 - t) x + t z.
What is learned: D(x_t, t, d, known) of one network that is told how long its step is, d = 1 / K for K = 1, 2, 4, ...,
`finest` / 2, or that it is as short as can be. Then it learns a flow. Told a length, x_t - d (x_t - D) / t must end
where two steps of half the length end that the network itself takes. So one training gives plans of any of these
numbers of steps, one included; what it is taught by is itself, and nothing is simulated beforehand.
How it acts: candidates are drawn together, in `denoising` evaluations each; the one that agrees best with itself is
followed by a PD controller, and it plans again where driving goes wrong.
What differs from the paper: the network predicts x_0 and its error is taken there, in place of a velocity's; the step's
length is told one-hot; the network sees which entries are known, and a share of what it teaches itself from noise has
the goal of another piece; no guidance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import (
    Denoiser,
    NeuralDenoiser,
    Rectified,
    Run,
    Stage,
    cosine_decay,
    denoising_loss,
    descend,
    given,
    masked_mean,
    pin,
    sample,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces
from diffrl_lab.methods.planning.plans import Plan, inverse_dynamics, plan_scaler, seconds_per_step
from diffrl_lab.nets import PlanMLP
from diffrl_lab.worlds.driving import Follower


@dataclass(frozen=True)
class Config:
    """The hyperparameters of a shortcut model of plans; what pieces it is shown: as `Diffuser` has it."""

    denoising: int = 1  # steps of its chain: 1, 2, 4, ..., finest
    finest: int = 16  # steps of the chain that is a flow, a power of 2
    taught: float = 0.25  # share of a batch that the network's own halved steps teach
    mixed: float = 0.7  # share of the plans from noise alone whose goal is that of another piece
    horizon: int = 32  # H, points of a plan
    width: int = 360  # of the network's MLP
    depth: int = 3  # its residual blocks
    channels: int = 32  # of its convolution along the plan
    updates: int = 6000  # of the network
    batch: int = 256  # pieces in each
    lr: float = 3e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the weights, which plans and teaches
    candidates: int = 16  # plans drawn together

    def __post_init__(self) -> None:
        if self.finest < 2 or self.finest & (self.finest - 1):
            raise ValueError(f"the finest chain has a power of 2 of steps, got {self.finest}")
        octave(self.denoising, self.finest)


def octave(steps: int, finest: int) -> int:
    """j of a chain of 2^j steps. Raises ValueError for a number of steps that is no power of 2 up to `finest`."""
    if steps < 1 or steps > finest or steps & (steps - 1):
        raise ValueError(f"a shortcut model has chains of 1, 2, 4, ..., {finest} steps; got {steps}")
    return steps.bit_length() - 1


class Shortcut(nn.Module):
    """A planner whose network is told how far each step goes. `planner`: what it has of a `Diffuser`, with a network
    and a schedule of its own. obs = 2n, act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        names = ("horizon", "width", "depth", "channels", "batch", "candidates", "denoising")
        self.planner = Diffuser(replace(diffuser.Config(), **{k: getattr(config, k) for k in names}), obs, act)
        shape = {"width": config.width, "depth": config.depth, "channels": config.channels}
        self.lengths = octave(config.finest, config.finest) + 1  # the flow's, which is told as the finest, included
        net = PlanMLP(config.horizon, obs + 1, positions=obs // 2, beside=self.lengths, **shape)
        self.planner.denoiser = NeuralDenoiser(net, Rectified(), "x0")

    def told(self, j: Tensor | int) -> Tensor:
        """The length 2^-j as the network is told it, one-hot. -> [..., lengths]"""
        return nn.functional.one_hot(torch.as_tensor(j), self.lengths).float()

    def of(self, steps: int) -> Denoiser:
        """The denoiser of a chain of so many steps, `D(x_t, t, {"known"})`. Raises ValueError for other than 1, 2, 4,
        ..., finest."""
        return Stepping(self.planner.denoiser, self.told(octave(steps, self.config.finest)))

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss on `Pieces` {"x" [B, H, 2n + 1] in units, "known"}: of a share `taught` of the rows the squared
        distance to its own two halved steps, of the others the flow's. -> {"loss": [], "flow": [], "self": []}"""
        return self.shown(self.planner.denoiser, batch, generator)

    def shown(self, D: Denoiser, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """`loss` with another network as the teacher: the averaged one."""
        x, known = self.planner.scaler(batch["x"]), batch["known"]
        n = round(self.config.taught * len(x))
        cond = {"known": known[n:], "beside": self.told(self.lengths - 1).expand(len(x) - n, -1)}
        flow = denoising_loss(self.planner.denoiser, x[n:], cond=cond, known=known[n:], generator=generator)
        if not n:
            return {"loss": flow, "flow": flow, "self": torch.zeros(())}
        x_t, t, j, held = self.asked(x[:n], known[:n], generator)
        wanted = halves(D, self.told, x_t, t, j, held)
        mine = self.planner.denoiser(x_t, t, {"known": held, "beside": self.told(j)})
        own = masked_mean((mine - wanted).square(), ~held)
        share = n / len(x)
        return {"loss": share * own + (1 - share) * flow, "flow": flow, "self": own}

    def asked(self, x: Tensor, known: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What its own steps are taught at: scaled pieces x [B, H, 2n + 1] noised to a time of a chain of 2^j steps.
        -> x_t, t [B], j [B], known

        At t = 1 nothing is left of a piece but its known ends, so there a share `mixed` takes another one's goal.
        """
        B, c = len(x), self.config
        j = torch.randint(0, self.lengths - 1, (B,), generator=generator)
        u = torch.rand(2, B, generator=generator)
        t = 1 - (u[0] * 2**j).floor() / 2**j
        other = (t == 1) & (u[1] < c.mixed)
        row = torch.where(other, (torch.arange(B) + 1) % B, torch.arange(B))  # pieces are drawn independently
        value, held = x.clone(), known.clone()
        value[:, -1], held[:, -1] = x[row, -1], known[row, -1]
        eps, at = torch.randn(x.shape, generator=generator), t[:, None, None]
        return torch.where(held, value, (1 - at) * value + at * eps), t, j, held

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
        """n candidates from the state obs [2n] to the position goal [n], in one batch of `steps` steps, 1, 2, 4, ..."""
        model, steps = self.planner, self.config.denoising if steps is None else steps
        known, value = model.ends(obs, goal)
        D = pin(given(self.of(steps), {"known": known}), known, value)
        return model.drawn(D, known, value, n or self.config.candidates, steps, generator, frames)

    @torch.no_grad()
    def sample(
        self, obs: ArrayLike, goal: ArrayLike | None = None, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans for each state obs [B, 2n] and goal [B, n], in units with their steps. -> [B, n, H, 2n + 1]"""
        model, K = self.planner, self.config.denoising
        known, value = (v.repeat_interleave(n, 0) for v in model.ends(obs, goal))
        D = pin(given(self.of(K), {"known": known}), known, value)
        x = sample(D, D.schedule.prior(value.shape, generator=generator), steps=K)
        return model.with_steps(torch.where(known, value, x)).unflatten(0, (-1, n))

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> NDArray:
        """A plan for a `Follower`: the best of the candidates, as a state for every step."""
        return self.planner.reference(self.plan(obs, goal, generator=torch.Generator().manual_seed(seed)))


class Stepping:
    """A network with one length of its step, as a denoiser D(x_t, t, {"known"})."""

    def __init__(self, D: NeuralDenoiser, told: Tensor):
        self.D, self.schedule, self.told = D, D.schedule, told

    def __call__(self, x_t: Tensor, t: Tensor | float, cond: Any = None) -> Tensor:
        known = torch.zeros_like(x_t, dtype=torch.bool) if cond is None else cond["known"]
        return self.D(x_t, t, {"known": known, "beside": self.told.expand(len(x_t), -1)})


@torch.no_grad()
def halves(D: Callable[..., Tensor], told: Any, x_t: Tensor, t: Tensor, j: Tensor, known: Tensor) -> Tensor:
    """The x0_hat with which one step of the length d = 2^-j from x_t [B, ...] at t [B] ends where two steps of d / 2
    end. told: what D is told of j. -> the shape of x_t

    A step goes from x_t to x_t - d v, v = (x_t - D) / t; both together go d (v_1 + v_2) / 2, so x0_hat = x_t - t
    (v_1 + v_2) / 2. Known entries stay where they are.
    """
    cond, half = {"known": known, "beside": told(j + 1)}, 0.5 ** (j + 1)
    at, later = t[:, None, None], (t - half)[:, None, None]
    v_1 = torch.where(known, 0.0, (x_t - D(x_t, t, cond)) / at)
    x = x_t - half[:, None, None] * v_1
    v_2 = torch.where(known, 0.0, (x - D(x, t - half, cond)) / later)
    return x_t - at * (v_1 + v_2) / 2


class Agent(Follower):
    """Follows the best of the candidates by a PD controller, and plans again where driving goes wrong; options of
    `Follower`."""

    def __init__(self, model: Shortcut, **options: Any):
        super().__init__(model.route, **options)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training on pieces of `episodes` as a generator.

    Raises ValueError for observations of odd width, or when no episode moves long enough.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    model = seeded(seed, Shortcut, c, episodes.obs.shape[1], episodes.act.shape[1])
    pieces = Pieces(episodes, model.planner.config, generator)
    model.planner.scaler = plan_scaler(pieces.plans(20_000)[0], pieces.n)
    model.planner.seconds.fill_(seconds_per_step(episodes))
    model.planner.inverse.copy_(inverse_dynamics(episodes))
    decay = cosine_decay(c.updates, warmup=min(100, c.updates // 10))

    def loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return model.shown(update.ema.module, batch, generator)

    update: Any = descend(loss, model.planner.denoiser, lr=c.lr, schedule=decay, ema=c.ema)
    return Run(model, Stage((update,), pieces, c.updates), generator=generator, data=episodes, seed=seed)
