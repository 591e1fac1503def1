"""Retrieval: the nearest recorded trajectory is followed."""

from __future__ import annotations

import numpy as np
import torch

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.planning.diffuser import is_held_out
from diffrl_lab.worlds.driving import Follower
from diffrl_lab.worlds.walls import Array


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
        piece = nearest(near, far)
        if held_out is not None and bool(is_held_out(torch.tensor(state), torch.tensor(goal), held_out)):
            # pieces may begin in this cell or end in that one, but not both
            same = [(np.floor(obs[:, :2] - held_out) == np.floor(x[:2] - held_out)).all(1) for x in (state, goal)]
            piece = min(nearest(np.where(same[0], np.inf, near), far), nearest(near, np.where(same[1], np.inf, far)))
        return obs[piece[1] : piece[2]]

    return Follower(route)
