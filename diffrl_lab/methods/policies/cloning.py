"""Behaviour cloning (Pomerleau 1989): the recorded action as a function of the state, by least squares.

What is diffused: nothing; this is what methods that diffuse actions or plans are held against.
What is learned: a = MLP(s) or, where a goal g is given, a = MLP(s, g, g - x): s and g scaled, x the position in s. The
goal of a recorded row is where its episode ended.
How it acts: it does the action of where it is, clipped to [-1, 1], and remembers nothing but its goal. Cloning of the
`best_episodes` alone is 10 %-BC (Chen et al. 2021).
What differs from the paper: states in place of camera images; an action is its numbers, not a hill of activity over 45
output units for 45 ways to steer; AdamW in place of plain backpropagation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Batches, Run, Stage, cosine_decay, descend, seeded
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning.plans import is_held_out
from diffrl_lab.nets import MLP


@dataclass(frozen=True)
class Config:
    """The hyperparameters of cloning."""

    width: int = 256  # of the network's two hidden layers
    updates: int = 3000  # of the network
    batch: int = 512  # steps of the recording in each
    lr: float = 1e-3  # the highest learning rate; half a cosine takes it to 0


def inputs(scaler: Scaler, obs: ArrayLike, goal: ArrayLike | None, g: int) -> Tensor:
    """What a policy is shown: state [..., d] and, for g > 0, a goal [..., g] for the state's first columns and the way
    from here to there, all scaled. -> [..., d + 2 g]

    Raises ValueError for states or goals of another width, and for a goal that is missing or too much.
    """
    s = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
    end = None if goal is None else torch.as_tensor(np.asarray(goal), dtype=torch.float32)
    d = len(scaler.center)
    if s.shape[-1] != d or (0 if end is None else end.shape[-1]) != g:
        shapes = f"{tuple(s.shape)} and {None if end is None else tuple(end.shape)}"
        raise ValueError(f"states [m, {d}] and {f'goals [m, {g}]' if g else 'no goals'} were wanted, got {shapes}")
    state = scaler(s)
    if end is None:
        return state
    end = scaler[:g](end)
    return torch.cat([state, end, end - state[..., :g]], -1)


class Cloning(nn.Module):
    """a = MLP(s), or MLP(s, g, g - x) for goals g of `goal` > 0 numbers: where the first `goal` columns of s shall be.

    obs, act: columns of the recording.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int, goal: int = 0):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act, "goal": goal}, {}
        self.scaler = Scaler.blank(obs)
        self.net = MLP(obs + 2 * goal, out=act, width=config.width, label=0)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The mean squared error of the action on {"inputs": as `inputs` gives them, "act" [B, a]}. -> {"loss": []}"""
        return {"loss": (self.net(batch["inputs"]) - batch["act"]).square().mean()}

    @torch.no_grad()
    def sample(
        self, obs: ArrayLike, goal: ArrayLike | None = None, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """The action for each state obs [B, d] and goal [B, g], in units, n times the same. -> [B, n, a]"""
        return self.net(inputs(self.scaler, obs, goal, self.sizes["goal"]))[:, None].expand(-1, n, -1)


class Agent:
    """Acts for m episodes side by side; each `reset` gives each of them its goal, where the model has goals."""

    def __init__(self, model: Cloning):
        self.model = model

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        """Begin episodes at obs [m, d] with goals [m, g]. Nothing is drawn, so seeds change nothing."""
        self.goal = None if goal is None or not self.model.sizes["goal"] else np.asarray(goal, float)

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float64]:
        """Actions [m, a] in [-1, 1] for observations [m, d] of the episodes `which` [m] (all)."""
        rows = slice(None) if which is None else np.asarray(which)
        action = self.model.sample(obs, None if self.goal is None else self.goal[rows])
        return action[:, 0].clamp(-1, 1).double().numpy()


def best_episodes(episodes: Episodes, share: float = 0.1, of: str = "steps") -> Episodes:
    """The episodes with the highest undiscounted returns, best first: what 10 %-BC clones (Chen et al. 2021).

    of = "episodes": the best ceil(share E) of E episodes. of = "steps": as many of the best as it takes until they hold
    at least `share` of all steps, which is how Chen et al. count, and far fewer where good episodes are long. Ties
    keep the order of the recording. Raises ValueError unless 0 < share <= 1, and for another `of`.
    """
    if not 0 < share <= 1 or of not in ("steps", "episodes"):
        raise ValueError(f'share must lie in (0, 1] and of be "steps" or "episodes", got {share} and {of!r}')
    total = episodes.rew.double().cumsum(0)
    R = total[episodes.ends] - total[episodes.starts] + episodes.rew[episodes.starts]
    order = R.argsort(descending=True, stable=True)
    held = torch.ones_like(order) if of == "episodes" else episodes.lengths[order]
    before = held.cumsum(0) - held
    return episodes[order[before < share * held.sum()]]


def train(
    episodes: Episodes,
    config: Config | None = None,
    *,
    seed: int = 0,
    goal: int = 0,
    held_out: tuple[float, float] | None = None,
) -> Run:
    """The training on all steps of `episodes` as a generator.

    goal: how many of an observation's first columns a goal gives; 0 clones without goals. held_out: the corner of the
    grid of cells whose held-out pairs (`plans.is_held_out`) of state and goal are never trained on.
    Raises ValueError for a goal wider than an observation, and for held-out pairs without goals.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    obs, rows = episodes.obs.float(), (episodes.last == 0).nonzero()[:, 0]
    if not 0 <= goal <= obs.shape[1]:
        raise ValueError(f"a goal gives 0 to {obs.shape[1]} columns of an observation, got goal={goal}")
    if held_out and not goal:
        raise ValueError("pairs of state and goal can be held out only from a cloning with goals; give goal=2")
    model = seeded(seed, Cloning, c, obs.shape[1], episodes.act.shape[1], goal)
    model.scaler = Scaler.fit(obs if goal else obs[rows], "standard")  # an episode's last observation is a goal only
    ends = episodes.ends[torch.searchsorted(episodes.ends, rows)]
    if held_out:
        keep = ~is_held_out(obs[rows, :goal], obs[ends, :goal], held_out)
        rows, ends = rows[keep], ends[keep]
    shown = inputs(model.scaler, obs[rows], obs[ends, :goal] if goal else None, goal)
    update = descend(lambda batch: model.loss(batch, generator), model, lr=c.lr, schedule=cosine_decay(c.updates))
    batches = Batches({"inputs": shown, "act": episodes.act[rows].float()}, c.batch, generator)
    origin = list(held_out) if held_out else None
    stage = Stage((update,), batches, c.updates)
    return Run(model, stage, generator=generator, data=episodes, seed=seed, goal=goal, held_out=origin)
