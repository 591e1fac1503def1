"""What the methods of the study train on: parts of a recording, legs of it, and what a wanderer records."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.studies.planners import expert
from diffrl_lab.worlds.driving import drive, follow, indices
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import Walls

MAZE = "medium"
HELD = 40  # steps for which a wanderer keeps its target


def taken(episodes: Episodes, transitions: int, seed: int) -> Episodes:
    """The first `transitions` steps of the episodes in an order drawn by `seed`; the last one may be cut short.

    So of two sizes with one seed the smaller is a part of the larger. Raises ValueError when there are fewer.
    """
    total = int(episodes.lengths.sum())
    if not 1 <= transitions <= total:
        raise ValueError(f"1 to {total} transitions can be taken from this recording, got {transitions}")
    order = np.random.default_rng(seed).permutation(len(episodes))
    parts, rest = [], transitions
    for k in order:
        a, n = int(episodes.starts[k]), min(int(episodes.lengths[k]), rest)
        parts.append(_piece(episodes, a, a + n))
        rest -= n
        if not rest:
            break
    return Episodes.join(parts)


def _piece(e: Episodes, a: int, b: int) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Rows a .. b of one episode as an episode of b - a steps."""
    return e.obs[a : b + 1], e.act[a:b], e.rew[a:b], False


@lru_cache(maxsize=4)
def cell_distances(walls: Walls) -> NDArray[np.float64]:
    """Moves between two cells over free cells, up, down, left or right: [R C, R C], cells row by row; inf: no way."""
    R, C = walls.blocked.shape
    number, free = np.arange(R * C).reshape(R, C), ~walls.blocked
    pairs = [(number[:-1][m], number[1:][m]) for m in [free[:-1] & free[1:]]]
    pairs += [(number[:, :-1][m], number[:, 1:][m]) for m in [free[:, :-1] & free[:, 1:]]]
    a, b = (np.concatenate(p) for p in zip(*pairs, strict=True))
    graph = sparse.coo_array((np.ones(len(a)), (a, b)), shape=(R * C, R * C))
    return shortest_path(graph, directed=False, unweighted=True)


def cells_apart(walls: Walls, a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """How many moves from cell to cell lie between points a and b, [..., 2] each. -> [...]"""
    (i, j), (k, m) = (np.moveaxis(walls.cell(p), -1, 0) for p in (a, b))
    C = walls.blocked.shape[1]
    return cell_distances(walls)[i * C + j, k * C + m]


def legs(episodes: Episodes, k: int, walls: Walls) -> Episodes:
    """The episodes cut into legs: no two positions of a leg lie more than k cells apart. No step is lost.

    A leg is as long as it can be; the next one begins with the row in which it ended.
    """
    if k < 2:
        raise ValueError(f"a step can lead two cells away, over a corner: legs need k of at least 2, got {k}")
    C, D = walls.blocked.shape[1], cell_distances(walls)
    cell = walls.cell(episodes.obs[:, :2].numpy()) @ np.array([C, 1])
    parts = []
    for a, b in zip(episodes.starts.tolist(), episodes.ends.tolist(), strict=True):
        seen, first = {cell[a]}, a
        for row in range(a + 1, b + 1):
            if cell[row] not in seen and max(D[cell[row], c] for c in seen) > k:
                parts.append(_piece(episodes, first, row - 1))
                seen, first = {cell[row - 1]}, row - 1
            seen.add(cell[row])
        parts.append(_piece(episodes, first, b))
    return Episodes.join(parts)


def wander(maze: str, transitions: int, how: str, seed: int) -> Episodes:
    """A random recorder: episodes of 300 steps from the environment's resets, until there are `transitions` steps.

    how = "targets": PD straight towards a random place of a random free cell, another every 40 steps whether or not it
    arrived, walls or not. how = "actions": a uniformly random force in [-1, 1]^2, drawn anew every step.
    """
    if how not in ("targets", "actions"):
        raise ValueError(f"a random recorder draws 'targets' or 'actions', got {how!r}")
    env, rng, parts, rest = make_maze(maze), np.random.default_rng([seed, 77]), [], transitions
    agent = _Wanderer(how, Walls.of(env), rng)
    while rest:
        reset = int(rng.integers(10**6, 2**31))
        most = min(300, rest)
        run = drive([env], agent, [reset], until=lambda e: e.steps == most)[0]  # noqa: B023 - called at once
        parts.append((*(x.astype(np.float32) for x in (run.obs, run.act, run.rew)), False))
        rest -= run.steps
    env.close()
    return Episodes.join(parts)


class _Wanderer:
    """What `wander` describes, as an agent; all its episodes draw from one generator."""

    def __init__(self, how: str, walls: Walls, rng: np.random.Generator):
        self.how, self.walls, self.rng, self.free = how, walls, rng, np.argwhere(~walls.blocked)

    def reset(self, obs: ArrayLike, seeds: Any, goal: ArrayLike | None = None) -> None:
        self.step, self.target = 0, np.zeros((len(seeds), 4))

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float64]:
        now = indices(obs, which)
        if self.how == "actions":
            return np.array([self.rng.uniform(-1, 1, 2) for _ in now])
        if self.step % HELD == 0:
            for k in now:
                place = self.walls.centre(self.free[self.rng.integers(len(self.free))])
                self.target[k, :2] = place + self.rng.uniform(-0.4, 0.4, 2)
        self.step += 1
        return follow(self.target[now], obs)


@lru_cache(maxsize=2)
def named_walls(maze: str) -> Walls:
    return Walls.named(maze)


@lru_cache(maxsize=1)
def recorded(recorder: str, k: int, transitions: int, seed: int, maze: str = MAZE) -> Episodes:
    """What a point trains on: `transitions` steps of a recorder, cut into legs of at most k cells (k = 0: not cut)."""
    if recorder == "expert":
        episodes = taken(expert(maze), transitions, seed)
    elif recorder == "mixed":
        half = transitions // 2
        both = taken(expert(maze), half, seed), wander(maze, transitions - half, "targets", seed)
        parts = [_piece(e, int(a), int(b)) for e in both for a, b in zip(e.starts, e.ends, strict=True)]
        episodes = Episodes.join(parts)
    else:
        episodes = wander(maze, transitions, recorder, seed)
    return legs(episodes, k, named_walls(maze)) if k else episodes
