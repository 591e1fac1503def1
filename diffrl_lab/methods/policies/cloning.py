"""What the planner is held against, under the same protocol: behaviour cloning, of all episodes or of the best, and
retrieval of the nearest recorded trajectory.

The third, PD straight to the goal, needs no learning: `straight`. The fourth, the plan's own actions, is
`diffuser.OwnActions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab.data.episodes import Episodes, transitions
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import cosine_decay, descend, fit
from diffrl_lab.methods.planning.diffuser import is_held_out
from diffrl_lab.nets import MLP
from diffrl_lab.worlds.driving import indices

Array = NDArray[np.float64]


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

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        self.goal = torch.as_tensor(np.asarray(goal), dtype=torch.float32)

    @torch.no_grad()
    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> Array:
        state = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
        return self.net(self._inputs(state, self.goal[indices(obs, which)])).clamp(-1, 1).double().numpy()


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


class StateCloning:
    """Behaviour cloning of robots: action = MLP(state), on the recorded actions (Pomerleau 1989).

    Least squares. `for row in cloning: ...` trains it; `act` then takes states [n, d] to actions [n, a] in [-1, 1].
    """

    def __init__(
        self,
        episodes: Episodes,
        *,
        width: int = 256,
        steps: int = 5000,
        batch: int = 256,
        lr: float = 1e-3,
        seed: int = 0,
    ):
        generator = torch.Generator().manual_seed(seed)
        rows = transitions(episodes)
        self.scaler = Scaler.fit(rows.obs.float(), "standard")
        states, actions = self.scaler(rows.obs.float()), rows.act.float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = MLP(states.shape[1], out=actions.shape[1], width=width, label=0)

        def loss(i: Tensor) -> Tensor:
            return (self.net(states[i]) - actions[i]).square().mean()

        self.update = descend(loss, self.net, lr=lr, schedule=cosine_decay(steps), generator=generator)
        self.steps = steps
        self.batches = iter(lambda: torch.randint(len(states), (batch,), generator=generator), None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return fit(self.update, self.batches, self.steps - self.update.step)

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        """Nothing is remembered between steps."""

    @torch.no_grad()
    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> Array:
        x = self.scaler(torch.as_tensor(np.asarray(obs), dtype=torch.float32))
        return self.net(x).clamp(-1, 1).double().numpy()
