"""GCIQL (in OGBench, Park et al. 2025): IQL with goals in hindsight, whose policy climbs Q and is held to the data.

What is diffused: nothing; this is what planners that stitch are held against.
What is learned: V(s, g) and Q(s, a, g) as in `iql`, of goals that are chosen after the fact; at a goal the reward is 1
and the episode is over, so V = gamma^d, d steps from the goal. Then a = pi(s, g), which climbs Q and is held to the
recorded action by least squares. Only Q can know that two legs fit together: no goal is seen beyond a leg's end.
How it acts: it does pi(s, g), clipped to [-1, 1], and remembers nothing but its goal.
What differs from the paper: a goal is a position and is reached within `reached` of it, not in one recorded state; the
reward is 1 at the goal, not -1 elsewhere, which shifts and scales V and changes no order; the lower of both averaged Q
is climbed; small networks, and thousands of updates in place of a million; AdamW, the policy with half a cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Run, Stage, cosine_decay, descend, seeded
from diffrl_lab.methods import weights
from diffrl_lab.methods.policies import cloning, critics
from diffrl_lab.nets import MLP
from diffrl_lab.worlds.walls import REACHED


@dataclass(frozen=True)
class Config:
    """The hyperparameters of GCIQL."""

    alpha: float = 0.3  # weight of imitation beside Q
    tau: float = 0.9  # V is this expectile of Q; .5: its mean
    reached: float = REACHED  # metres, or the unit of a position
    own: float = 0.2  # share of the critics' goals that are where the row itself is
    ahead: float = 0.5  # share of them that lie later in its episode, Geometric(1 - gamma) steps; the others: any row
    wanted: float = 0.5  # share of the policy's goals that lie later in its episode, evenly; the others: any row
    width: int = 128  # of the networks' hidden layers
    depth: int = 3  # their layers
    updates: int = 5000  # of V, of Q and of the policy, in turn
    batch: int = 128  # transitions in each
    lr: float = 2e-3  # the highest learning rate; the policy's goes down to 0 by half a cosine
    ema: float = 0.995  # decay of the running average of the policy's weights, which is what acts
    target: float = 0.99  # decay of the running average of Q, which V and the policy are shown
    gamma: float = 0.99  # discount


class Goals:
    """Endless batches of transitions with goals in hindsight (Andrychowicz et al. 2017), those of the critics and those
    of the policy drawn apart.

    {"obs", "after": states before and after with the critics' goal, as `cloning.inputs` gives them, "rew": 1 at it
    and 0 elsewhere [B], "terminal": whether it is reached before the step [B], "wanted": states with the policy's
    goal, "act": scaled actions [B, a]}. All randomness comes from `generator`. Raises ValueError for shares that are
    none.
    """

    def __init__(self, model: Gciql, episodes: Episodes, generator: torch.Generator):
        c = model.config
        if min(c.own, c.ahead, c.wanted) < 0 or c.own + c.ahead > 1 or c.wanted > 1:
            raise ValueError(f"shares lie in [0, 1], got own {c.own}, ahead {c.ahead}, wanted {c.wanted}")
        self.model, self.generator = model, generator
        self.obs, self.place = episodes.obs.float(), episodes.obs[:, : model.sizes["goal"]].float()
        self.act = model.act_scaler(episodes.act.float())
        self.rows = (episodes.last == 0).nonzero()[:, 0]
        self.ends = episodes.ends[torch.searchsorted(episodes.ends, self.rows)]

    def __iter__(self) -> Goals:
        return self

    def draw(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the recording: of `size` transitions, of the critics' goals, and of the policy's. -> [size] each"""
        c, g = self.model.config, self.generator
        k = torch.randint(len(self.rows), (size,), generator=g)
        row, end = self.rows[k], self.ends[k]
        anywhere = torch.randint(len(self.obs), (2, size), generator=g)
        which, u = torch.rand(2, size, generator=g), torch.rand(2, size, generator=g, dtype=torch.float64)
        steps = (u[0].clamp(min=1e-12).log() / torch.tensor(c.gamma).double().log()).ceil().clamp(min=1).long()
        critics_ = torch.where(which[0] < c.own + c.ahead, torch.minimum(row + steps, end), anywhere[0])
        critics_ = torch.where(which[0] < c.own, row, critics_)
        evenly = row + 1 + (u[1] * (end - row)).long()
        return row, critics_, torch.where(which[1] < c.wanted, evenly, anywhere[1])

    def __next__(self) -> dict[str, Tensor]:
        row, of_critics, of_policy = self.draw(self.model.config.batch)
        goal = self.place[of_critics]
        there = (self.place[row] - goal).norm(dim=-1) <= self.model.config.reached
        shown = self.model.shown
        return {
            "obs": shown(self.obs[row], goal),
            "after": shown(self.obs[row + 1], goal),
            "wanted": shown(self.obs[row], self.place[of_policy]),
            "act": self.act[row],
            "rew": there.float(),
            "terminal": there,
        }


class Gciql(nn.Module):
    """a = pi(s, g), and the critics that it climbs.

    obs, act: columns of the recording. goal: how many of an observation's first columns a goal gives.
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int, goal: int = 2):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act, "goal": goal}, {}
        self.actor = MLP(obs + 2 * goal, out=act, width=config.width, depth=config.depth, label=0)
        self.critic = critics.Expectile(obs + 2 * goal, act, config.width, config.depth)
        self.scaler, self.act_scaler = Scaler.blank(obs), Scaler.blank(act)

    def shown(self, obs: ArrayLike, goal: ArrayLike) -> Tensor:
        """What the networks are shown of states obs [B, d] and goals [B, g], in units. -> [B, d + 2 g]"""
        return cloning.inputs(self.scaler, obs, goal, self.sizes["goal"])

    @torch.no_grad()
    def value(self, obs: ArrayLike, goal: ArrayLike) -> Tensor:
        """V(s, g), about gamma^d where the better actions of the data lead from s to g in d steps. -> [B]"""
        return self.critic.v(self.shown(obs, goal))[:, 0]

    def loss(
        self, batch: dict[str, Tensor], q: critics.Twin | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """- E Q(s, pi, g) / E |Q| + alpha E |pi - a|^2 / 2 on {"wanted", "act"} as `Goals` has them; q: another Q than
        the model's. -> {"loss": [], "imitation": []}"""
        s, (low, high) = batch["wanted"], critics.box(self)
        a = self.actor(s)
        value = (q or self.critic.q).lower(s, a.clamp(low, high))
        climb = -value.mean() / value.detach().abs().mean().clamp(min=1e-3)
        imitation = (a - batch["act"]).square().sum(-1).mean() / 2
        return {"loss": climb + self.config.alpha * imitation, "imitation": imitation}

    @torch.no_grad()
    def sample(
        self, obs: ArrayLike, goal: ArrayLike | None = None, *, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """pi(s, g), n times, for each state obs [B, d] and goal [B, g], in units; nothing is drawn. -> [B, n, a]"""
        low, high = critics.box(self)
        a = self.actor(cloning.inputs(self.scaler, obs, goal, self.sizes["goal"])).clamp(low, high)
        return self.act_scaler.inverse(a)[:, None].repeat(1, n, 1)


class Agent(cloning.Agent):
    """Acts for m episodes side by side; each `reset` gives each of them its goal."""

    def __init__(self, model: Gciql):
        self.model: Any = model


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0, goal: int = 2) -> Run:
    """The training on all transitions of `episodes` as a generator: on each batch V, Q, then the policy.

    Rewards of the recording are not looked at. Raises ValueError for a goal that is wider than an observation, and as
    `Goals` does.
    """
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    if not 1 <= goal <= episodes.obs.shape[1]:
        raise ValueError(f"a goal gives 1 to {episodes.obs.shape[1]} columns of an observation, got goal={goal}")
    model = seeded(seed, Gciql, c, episodes.obs.shape[1], episodes.act.shape[1], goal)
    rows = episodes.last == 0
    model.scaler = Scaler.fit(episodes.obs.float(), "standard")
    model.act_scaler = Scaler.fit(episodes.act[rows].float(), "standard")
    v, q = model.critic.updates(c)
    assert q.ema is not None
    average: Any = q.ema.module
    policy = descend(
        lambda b: model.loss(b, average), model.actor, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema
    )
    stage = Stage((v, q, policy), Goals(model, episodes, generator), c.updates)
    return Run(model, stage, generator=generator, data=episodes, seed=seed, goal=goal)
