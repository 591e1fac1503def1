"""What policies over chunks of actions share: the data they are trained on, their draws, and how they act.

A chunk is the next H actions of a recording, scaled, in one vector x [H a], with the state it was begun in, and the
goal where there is one. Beyond an episode's end it has no target: those entries are not `valid` and leave every loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab.data.episodes import Episodes, padded_windows
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Batches, Run, Stage, cosine_decay, descend, seeded
from diffrl_lab.methods.policies.cloning import inputs

Generators = torch.Generator | Sequence[torch.Generator] | None


def check(chunk: int, execute: int) -> None:
    """ValueError unless of a chunk 1 to all actions are executed."""
    if not 1 <= execute <= chunk:
        raise ValueError(f"of a chunk 1 to {chunk} actions can be executed, got execute={execute}")


def drawn(draw: Callable[..., Tensor], B: int, n: int, *shape: int, generator: Generators) -> Tensor:
    """draw(shape, generator=...) for n samples of each of B states. -> [B, n, *shape]

    generator: one for all, or B of them, one for each state: then no sample depends on the other states.
    """
    if isinstance(generator, Sequence):
        return torch.stack([draw((n, *shape), generator=one) for one in generator])
    return draw((B, n, *shape), generator=generator)


class Receding:
    """Acts for m episodes side by side: of a chunk the first `execute` actions are done, then it looks again.

    The chunks of each episode depend on its own seed, state and goal alone. model: its `sample(obs, goal, generator=)`
    gives chunks [m, 1, H, a] in units; its `sizes` say whether it takes goals.
    """

    def __init__(self, model: Any, execute: int):
        self.model, self.execute = model, execute

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        """Begin episodes with goals [m, g], where the model has goals."""
        self.goal = None if goal is None or not self.model.sizes["goal"] else np.asarray(goal, float)
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.chunks = np.zeros((len(seeds), self.execute, self.model.sizes["act"]))
        self.step = np.zeros(len(seeds), int)  # how many actions each episode has done

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float64]:
        """Actions [m, a] in [-1, 1] for observations [m, d] of the episodes `which` [m] (all): one step of each."""
        o = np.asarray(obs)
        rows = np.arange(len(o)) if which is None else np.asarray(which)
        k = self.step[rows] % self.execute
        look = rows[k == 0]
        if len(look):
            generators = [self.generators[i] for i in look]
            goal = None if self.goal is None else self.goal[look]
            chunks = self.model.sample(o[k == 0], goal, generator=generators)
            self.chunks[look] = chunks[:, 0, : self.execute].clamp(-1, 1).double().numpy()
        self.step[rows] += 1
        return self.chunks[rows, k]


def prepared(model: Any, episodes: Episodes, chunk: int, goal: int, kind: str = "standard") -> dict[str, Tensor]:
    """Fit the model's `scaler` and `act_scaler` (of that kind), and give its data: {"x": chunks, scaled [N, H a],
    "valid": bool [N, H a], "cond": what `cloning.inputs` gives}, a row for each step that a chunk may begin with."""
    obs, act = episodes.obs.float(), episodes.act.float()
    model.scaler = Scaler.fit(obs, "standard")
    model.act_scaler = Scaler.fit(act[episodes.last == 0], kind)
    rows, mask = padded_windows(episodes, chunk)
    ends = episodes.ends[torch.searchsorted(episodes.ends, rows[:, 0].contiguous())]
    return {
        "x": model.act_scaler(act[rows]).flatten(1),
        "valid": (mask & (episodes.last[rows] == 0)).repeat_interleave(act.shape[1], 1),
        "cond": inputs(model.scaler, obs[rows[:, 0]], obs[ends, :goal] if goal else None, goal),
    }


def run(
    method: Callable[..., Any], episodes: Episodes, c: Any, chunk: int, *, seed: int, goal: int, kind: str = "standard"
) -> Run:
    """The training of method(config, obs, act, goal) on all chunks of `episodes` as a generator; one begins at each
    step. c: a config with updates, batch, lr and ema; chunk: its H.

    Raises ValueError for a goal wider than an observation.
    """
    generator, width = torch.Generator().manual_seed(seed), episodes.obs.shape[1]
    if not 0 <= goal <= width:
        raise ValueError(f"a goal gives 0 to {width} columns of an observation, got goal={goal}")
    model = seeded(seed, method, c, width, episodes.act.shape[1], goal)
    data = prepared(model, episodes, chunk, goal, kind)
    update = descend(
        lambda batch: model.loss(batch, generator), model, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema
    )
    stage = Stage((update,), Batches(data, c.batch, generator), c.updates)
    return Run(model, stage, generator=generator, data=episodes, seed=seed, goal=goal)
