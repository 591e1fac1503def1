"""What offline policies share: twin Q, the expectile V of IQL, their data, and agents that draw and choose.

Q and V are in units of the reward; states and actions come scaled to unit variance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes, transitions
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import descend
from diffrl_lab.nets import MLP


class Twin(nn.Module):
    """Two networks Q(s, a) with weights of their own; the smaller of the two is what a target is made from."""

    def __init__(self, obs: int, act: int, width: int, depth: int):
        super().__init__()
        self.nets = nn.ModuleList(MLP(obs + act, out=1, width=width, depth=depth, label=0) for _ in range(2))

    def forward(self, s: Tensor, a: Tensor) -> Tensor:
        """Both Q(s, a) of s [B, d] and a [B, a]. -> [2, B]"""
        return torch.stack([net(torch.cat([s, a], -1))[..., 0] for net in self.nets])

    def lower(self, s: Tensor, a: Tensor) -> Tensor:
        """The smaller of both. -> [B]"""
        return self(s, a).amin(0)


def expectile_loss(u: Tensor, tau: float) -> Tensor:
    """The mean of |tau - [u < 0]| u^2: least for u = y - v where v is the tau-expectile of y. -> []"""
    return (torch.where(u < 0, 1 - tau, tau) * u.square()).mean()


def bellman_loss(q: Twin, batch: dict[str, Tensor], after: Tensor, gamma: float) -> Tensor:
    """E (Q(s, a) - r - gamma after)^2 of both networks, `after` [B] being 0 where the episode was over. -> []"""
    y = batch["rew"] + gamma * torch.where(batch["terminal"], 0.0, after)
    return (q(batch["obs"], batch["act"]) - y.detach()).square().mean()


class Expectile(nn.Module):
    """IQL's critics (Kostrikov et al. 2022): V(s) is an expectile of Q(s, a) over the data's actions, and Q looks
    ahead with V, so that neither is asked about an action that the data lacks."""

    def __init__(self, obs: int, act: int, width: int, depth: int):
        super().__init__()
        self.q = Twin(obs, act, width, depth)
        self.v = MLP(obs, out=1, width=width, depth=depth, label=0)

    def updates(self, c: Any) -> tuple[descend, descend]:
        """An update of V and one of Q; c: a config with tau, gamma, lr and target."""

        def v_loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            with torch.no_grad():
                q = average.lower(batch["obs"], batch["act"])
            return {"loss": (v := expectile_loss(q - self.v(batch["obs"])[:, 0], c.tau)), "v_loss": v}

        def q_loss(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            with torch.no_grad():
                after = self.v(batch["after"])[:, 0]
            return {"loss": (q := bellman_loss(self.q, batch, after, c.gamma)), "q_loss": q}

        q_update = descend(q_loss, self.q, lr=c.lr, ema=c.target, warm_up=False)
        assert q_update.ema is not None
        average: Any = q_update.ema.module
        return descend(v_loss, self.v, lr=c.lr), q_update


def advantages(critic: Expectile, update: descend) -> Callable[[dict[str, Tensor]], Tensor]:
    """batch -> min Q(s, a) - V(s) with the running average of Q that `update` keeps. -> [B]"""
    assert update.ema is not None
    average: Any = update.ema.module

    @torch.no_grad()
    def advantage(batch: dict[str, Tensor]) -> Tensor:
        return average.lower(batch["obs"], batch["act"]) - critic.v(batch["obs"])[:, 0]

    return advantage


def prepared(model: Any, episodes: Episodes) -> dict[str, Tensor]:
    """Fit the model's `scaler` and `act_scaler`, and give its data, a row for each step: {"obs", "act", "after":
    scaled, "rew": [N], "terminal": bool [N]}."""
    t = transitions(episodes)
    model.scaler, model.act_scaler = Scaler.fit(t.obs.float(), "standard"), Scaler.fit(t.act.float(), "standard")
    obs, after = model.scaler(t.obs.float()), model.scaler(t.next_obs.float())
    act = model.act_scaler(t.act.float())
    return {"obs": obs, "act": act, "after": after, "rew": t.rew.float(), "terminal": t.terminal}


def states(model: Any, obs: ArrayLike) -> Tensor:
    """Observations [B, d] in units as the model's networks are shown them."""
    return model.scaler(torch.as_tensor(np.asarray(obs), dtype=torch.float32))


def box(model: Any) -> tuple[Tensor, Tensor]:
    """The actions -1 and 1 as the model's networks are shown them: what a denoised action is clipped to."""
    one = torch.ones_like(model.act_scaler.center)
    return model.act_scaler(-one), model.act_scaler(one)


class Acting:
    """Acts for m episodes side by side: of `candidates` actions that the model draws the one of the highest Q is done.

    The draws of each episode depend on its own seed and state alone. model: its `sample(obs, n=, generator=)` gives
    actions [m, n, a] in units; with more than one candidate its `q(s, a)` gives both critics.
    """

    def __init__(self, model: Any, candidates: int = 1):
        self.model, self.candidates = model, candidates

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        """Begin episodes, each with a seed of its own."""
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    @torch.no_grad()
    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float64]:
        """Actions [m, a] in [-1, 1] for observations [m, d] of the episodes `which` [m] (all)."""
        o = np.asarray(obs)
        rows = np.arange(len(o)) if which is None else np.asarray(which)
        generators = [self.generators[i] for i in rows]
        a = self.model.sample(o, n=self.candidates, generator=generators).clamp(-1, 1)
        return best(self.model, o, a).double().numpy()


@torch.no_grad()
def best(model: Any, obs: ArrayLike, a: Tensor) -> Tensor:
    """Of candidates a [B, n, a] for each observation [B, d], in units, that of the highest min Q. -> [B, a]"""
    if a.shape[1] == 1:
        return a[:, 0]
    s = states(model, obs).repeat_interleave(a.shape[1], 0)
    q = model.q.lower(s, model.act_scaler(a.flatten(0, 1))).view(a.shape[:2])
    return a[torch.arange(len(a)), q.argmax(1)]
