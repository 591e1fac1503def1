"""Value guidance (Diffuser, Janner et al. 2022): a learned J(x_t, t) of the *noisy* plan, climbed while denoising.

What is diffused: plans [H, 2n + 1] as in `diffuser`; the planner stays as it was trained.
What is learned: J(x_t, t) of whole drives and what they return, by one of the losses of `guides`.
How it acts: what is wanted comes in at sampling, by `ascend`; candidates are sorted by the value of the *finished*
plan, and a PD controller follows the first.
What differs from the paper: `ascend`'s scale (x0_hat moves by sigma^2 / alpha grad J, one gradient per evaluation), not
the posterior variance with two gradients per step; undiscounted returns to the time limit; and the original ranks
candidates by the value before the last step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, padded_windows, returns_to_go
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Run,
    Stage,
    ascend,
    cosine_decay,
    descend,
    given,
    pin,
    seeded,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.guides import Guide, contrastive_loss, log_mean_exp, value_loss
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.diffuser import Diffuser, drives, known_ends
from diffrl_lab.methods.planning.plans import Plan
from diffrl_lab.worlds.driving import Follower


@dataclass(frozen=True)
class Config:
    """The hyperparameters: how J is trained, and how it is climbed."""

    law: str = "value"  # what J becomes: "value", E[R given x_t], or "energy", log E[exp R given x_t]
    gamma: float = 1.0  # discount of the returns
    width: int = 128  # of J's MLP
    updates: int = 1500  # of J
    batch: int = 256  # drives in each
    lr: float = 2e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of J's weights, which is what guides
    scale: float = 1.0  # of `ascend`; 0 sorts only
    candidates: int = 16  # plans drawn together
    denoising: int = 10  # steps of the chain
    at: str = "x_t"  # where J is evaluated, see `ascend`
    ranked: bool = True  # False: the first candidate drawn, whatever its value

    def __post_init__(self) -> None:
        if self.law not in ("value", "energy"):
            raise ValueError(f'law must be "value" or "energy", got {self.law!r}')


def windows_to_go(episodes: Episodes, horizon: int, gamma: float = 0.99) -> tuple[Tensor, Tensor, Tensor]:
    """Every window of `horizon` rows and what its first step goes on to return: rows, mask [N, H], R [N].

    R = r_0 + gamma r_1 + ... from the window's first step to the end of its *episode*, not of the window (Diffuser's
    guide; it too trains at gamma = 0.99). After a terminal nothing follows; after a time limit the robot would have
    gone on, and counts as earning for ever the mean reward of the episode's last 1 / (1 - gamma) steps. Rows past the
    end of an episode repeat its last one (`padded_windows`), mask is False there.
    Raises ValueError unless 0 <= gamma < 1.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"a return that goes on for ever needs 0 <= gamma < 1, got {gamma}")
    rows, mask = padded_windows(episodes, horizon)
    total = episodes.rew.double().cumsum(0)  # the last row of an episode earns 0
    back = episodes.lengths.clamp(max=max(round(1 / (1 - gamma)), 1))
    last = episodes.ends - 1
    late = (total[last] - total[last - back] * (last >= back)) / back
    return rows, mask, returns_to_go(episodes, gamma, late / (1 - gamma))[rows[:, 0]].float()


class ValueGuidance(nn.Module):
    """A planner whose plans climb J, and whose candidates are sorted by J.

    J(x, t) -> [B] takes plans as the planner's network sees them (scaled); `R_scaler` is what its returns were scaled
    by. planner: the hyperparameters of the planner, as a dict. obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, planner: dict[str, Any], obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"planner": planner, "obs": obs, "act": act}, {}
        self.planner = Diffuser(diffuser.Config(**planner), obs, act)
        self.J = Guide(self.planner.horizon * (obs + 1), width=config.width)
        self.R_scaler = Scaler.blank(1)

    @classmethod
    def of(cls, planner: Diffuser, J: Any, config: Config | None = None) -> ValueGuidance:
        """A planner and a guide that were trained before. J: a `Guide`, or any function (x, t) -> [B]."""
        model = cls(config or Config(), asdict(planner.config), **planner.sizes)
        return weights.around(model, planner=planner, J=J)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of J on {"x": drives [B, H, 2n + 1], "R": returns [B, 1]} in units, their ends known."""
        z, R = self.planner.scaler(batch["x"]), self.R_scaler(batch["R"])[:, 0]
        known = known_ends(z[:1], self.planner.n)
        if self.config.law == "value":
            return {"loss": value_loss(self.J, z, R, known=known, generator=generator)}
        log_mean = batch["log_mean"][0]
        return {"loss": contrastive_loss(self.J, z, R, log_mean=log_mean, known=known, generator=generator)}

    def plan(
        self, obs: ArrayLike, goal: ArrayLike, n: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Plan, Tensor]:
        """n candidates from the state obs [2n] to goal [n], best first, and their values [n]."""
        c, (known, value) = self.config, self.planner.ends(obs, goal)
        D = ascend(given(self.planner.denoiser, {"known": known}), self.J, c.scale, c.at)
        with torch.no_grad():
            plan = self.planner.drawn(pin(D, known, value), known, value, n or c.candidates, c.denoising, generator)
            values = self.J(scaled(self.planner, plan), torch.tensor(0.0))
        if not c.ranked:
            return plan, values
        order = values.argsort(descending=True)
        picked = replace(
            plan, candidates=plan.candidates[order], durations=plan.durations[order], gaps=plan.gaps[order]
        )
        return picked, values[order]

    def sample(
        self, obs: ArrayLike, goal: ArrayLike, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n plans, best first, for each state obs [B, 2n] and goal [B, n], in units with their steps.
        -> [B, n, H, 2n + 1]"""
        plans = [self.plan(o, g, n, generator)[0] for o, g in zip(np.asarray(obs), np.asarray(goal), strict=True)]
        return torch.stack([p.with_steps for p in plans])

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> NDArray[np.float64]:
        """The first candidate as a state for every step, for a `Follower`."""
        return self.planner.reference(self.plan(obs, goal, generator=torch.Generator().manual_seed(seed))[0], 0)


def scaled(planner: Diffuser, plan: Plan) -> Tensor:
    """The candidates of a plan as the planner's network sees them. -> [n, H, 2n + 1]"""
    log = plan.durations.log()[:, None, None].expand(-1, planner.horizon, 1)
    return planner.scaler(torch.cat([plan.candidates, log], -1))


class Agent(Follower):
    """Follows the candidate of the highest value by a PD controller; options of `Follower`."""

    def __init__(self, model: ValueGuidance, **options: Any):
        super().__init__(model.route, **options)


def train(
    episodes: Episodes, config: Config | None = None, *, planner: Diffuser, limit: int | None = None, seed: int = 0
) -> Run:
    """The training of J on whole drives of `episodes` as a generator; the planner is left as it is.

    limit: steps of an episode in the world, up to which a drive is paid (by default the longest recorded episode).
    Raises ValueError where an episode is longer, or never moves.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    x, R = drives(episodes, planner.config, int(episodes.lengths.max()) if limit is None else limit, c.gamma)
    model = seeded(seed, ValueGuidance, c, asdict(planner.config), **planner.sizes)
    model.J = seeded(seed, Guide, x[0].numel(), width=c.width)
    model.planner.load_state_dict(planner.state_dict())
    model.R_scaler = Scaler.fit(R[:, None], "standard")
    log_mean = log_mean_exp(model.R_scaler(R[:, None])[:, 0])
    data = {"x": x, "R": R[:, None], "log_mean": log_mean.expand(len(x))}
    update = descend(
        lambda batch: model.loss(batch, generator), model.J, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema
    )
    stage = Stage((update,), Batches(data, c.batch, generator), c.updates)
    return Run(model, stage, generator=generator, data=episodes, seed=seed, limit=limit)
