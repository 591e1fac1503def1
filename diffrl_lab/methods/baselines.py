"""What the planner is held against, under the same protocol: behaviour cloning, and retrieval of the nearest recorded
trajectory.

The third, PD straight to the goal, needs no learning: `straight`. The fourth, the plan's own actions, is
`diffuser.OwnActions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.data.worlds import Follower
from diffrl_lab.diffusion import cosine_decay, descend, fit
from diffrl_lab.methods.diffuser import is_held_out
from diffrl_lab.nets import MLP

Array = NDArray[np.float64]


def straight() -> Follower:
    """PD straight to the goal, as if there were no walls."""
    return Follower(lambda obs, goal, seed: np.r_[goal, 0, 0][None], again=False)


class Cloning:
    """Goal-conditioned behaviour cloning: action = MLP(state, goal), least squares on the recorded actions (Pomerleau
    1989).

    The goal of a recorded row is where its episode ended. `for row in cloning: ...` trains it; then it is an agent.
    """

    def __init__(
        self,
        episodes: Episodes,
        *,
        steps: int = 3000,
        batch: int = 512,
        seed: int = 0,
        held_out: tuple[float, float] | None = None,
    ):
        generator = torch.Generator().manual_seed(seed)
        obs, n = episodes.obs.float(), episodes.obs.shape[1] // 2
        rows = (episodes.last == 0).nonzero()[:, 0]
        ends = episodes.ends[torch.searchsorted(episodes.ends, rows)]
        if held_out:
            keep = ~is_held_out(obs[rows, :n], obs[ends, :n], held_out)
            rows, ends = rows[keep], ends[keep]
        self.scaler = Scaler.fit(obs, "standard")
        inputs, targets = self._inputs(obs[rows], obs[ends, :n]), episodes.act[rows].float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = MLP(inputs.shape[1], out=targets.shape[1], label=0)

        def loss(i: Tensor) -> Tensor:
            return (self.net(inputs[i]) - targets[i]).square().mean()

        self.update = descend(loss, self.net, lr=1e-3, schedule=cosine_decay(steps), generator=generator)
        self.steps = steps
        self.batches = iter(lambda: torch.randint(len(rows), (batch,), generator=generator), None)

    def _inputs(self, obs: Tensor, goal: Tensor) -> Tensor:
        n = goal.shape[-1]
        goal = self.scaler[list(range(n))](goal)
        state = self.scaler(obs)
        return torch.cat([state, goal, goal - state[..., :n]], -1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return fit(self.update, self.batches, self.steps - self.update.step)

    def reset(self, obs: ArrayLike, goal: ArrayLike, seed: int = 0) -> None:
        self.goal = torch.as_tensor(np.asarray(goal), dtype=torch.float32)

    @torch.no_grad()
    def act(self, obs: ArrayLike) -> Array:
        state = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
        return self.net(self._inputs(state[None], self.goal[None]))[0].clamp(-1, 1).double().numpy()


def retrieval(episodes: Episodes, *, held_out: tuple[float, float] | None = None, slowness: float = 0.1) -> Follower:
    """The recorded piece whose start lies nearest to the ball and whose end nearest to the goal, followed like a plan.

    Over all pieces of all episodes it minimises |x_i - start| + `slowness` |v_i - v| + 3 |x_j - goal|, i < j.
    """
    obs, n = episodes.obs.double().numpy(), episodes.obs.shape[1] // 2
    spans = list(zip(episodes.starts.tolist(), (episodes.ends + 1).tolist(), strict=True))

    def nearest(near: Array, far: Array) -> tuple[float, int, int]:
        best, first, last = np.inf, 0, 1
        for a, b in spans:
            cheapest = np.minimum.accumulate(near[a:b])
            j = int((cheapest + far[a:b]).argmin())
            if cheapest[j] + far[a + j] < best:
                best, first, last = cheapest[j] + far[a + j], a + int(near[a : a + j + 1].argmin()), a + j + 1
        return best, first, last

    def route(state: Array, goal: Array, seed: int) -> Array:
        near = np.linalg.norm(obs[:, :n] - state[:n], axis=1) + slowness * np.linalg.norm(
            obs[:, n:] - state[n:], axis=1
        )
        far = 3 * np.linalg.norm(obs[:, :n] - goal, axis=1)
        found = nearest(near, far)
        if held_out is not None and bool(is_held_out(torch.tensor(state), torch.tensor(goal), held_out)):
            # pieces may begin in this cell or end in that one, but not both
            same = [(np.floor(obs[:, :2] - held_out) == np.floor(x[:2] - held_out)).all(1) for x in (state, goal)]
            found = min(nearest(np.where(same[0], np.inf, near), far), nearest(near, np.where(same[1], np.inf, far)))
        return obs[found[1] : found[2]]

    return Follower(route)
