"""Small Markov decision processes whose values are known exactly: grids, a comb maze and a corridor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from diffrl_lab.data.toys import MOVES, Mixture, _check_share, _full


class Steps(NamedTuple):
    """Recorded steps, one row each, episode after episode. [N]"""

    obs: Tensor  # number of the state
    act: Tensor
    rew: Tensor
    next_obs: Tensor
    terminated: Tensor  # bool: the world ended, nothing follows
    truncated: Tensor  # bool: only the recording ended
    episode: Tensor  # number of the episode


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite Markov decision process in float64. A terminal state leads to itself, with reward 0."""

    P: Tensor  # [S, A, S], P(s' | s, a)
    rew: Tensor  # [S, A], expected reward
    gamma: float
    start: Tensor  # [S], law of the first state
    terminal: Tensor  # [S], bool

    def q(self, V: Tensor) -> Tensor:
        """Q(s, a) = r(s, a) + gamma sum_s' P(s' | s, a) V(s'). -> [S, A]"""
        return self.rew + self.gamma * self.P @ V

    def value(self, policy: Tensor) -> Tensor:
        """V^pi of a policy [S, A]: the solution of V = r_pi + gamma P_pi V. -> [S]"""
        law = torch.einsum("sa,sax->sx", policy, self.P)
        return torch.linalg.solve(torch.eye(len(law), dtype=law.dtype) - self.gamma * law, (policy * self.rew).sum(1))

    def optimal(self, tolerance: float = 1e-12) -> tuple[Tensor, Tensor]:
        """V* to within `tolerance`, by value iteration, and a greedy policy that breaks ties evenly. -> [S], [S, A]"""
        V = torch.zeros(len(self.rew), dtype=torch.float64)
        change = math.inf
        while change > tolerance * (1 - self.gamma) / self.gamma:
            V, old = self.q(V).amax(1), V
            change = float((V - old).abs().max())
        Q = self.q(V)
        best = (Q > Q.amax(1, keepdim=True) - 1e-9).double()
        return V, best / best.sum(1, keepdim=True)

    def visits(self, policy: Tensor, limit: int) -> Tensor:
        """Mean number of steps taken in each state in the first `limit` steps from `start`; terminal: 0. -> [S]"""
        law = torch.einsum("sa,sax->sx", policy, self.P)
        total, now = torch.zeros_like(self.start), self.start
        for _ in range(limit):
            total, now = total + now, now @ law
        return total * ~self.terminal

    def roll_out(self, policy: Tensor, n: int, limit: int, generator: torch.Generator | None = None) -> Steps:
        """n recorded episodes of a policy [S, A], cut off (`truncated`) after `limit` steps. The reward of a step is
        its expected one.
        """
        s = torch.multinomial(self.start, n, replacement=True, generator=generator)
        running, rows = torch.arange(n), []
        for step in range(limit):
            a = torch.multinomial(policy[s], 1, generator=generator)[:, 0]
            after = torch.multinomial(self.P[s, a], 1, generator=generator)[:, 0]
            ended = self.terminal[after]
            cut = torch.full_like(ended, step == limit - 1) & ~ended
            rows.append((s, a, self.rew[s, a], after, ended, cut, running))
            s, running = after[~ended], running[~ended]
            if not len(s):
                break
        flat = [torch.cat(column) for column in zip(*rows, strict=True)]
        order = torch.argsort(flat[-1], stable=True)
        return Steps(*(column[order] for column in flat))


@dataclass(frozen=True, eq=False)
class Grid(MDP):
    """A grid world: states are the cells that are no wall, in reading order; actions are MOVES."""

    rows: tuple[str, ...]
    cells: Tensor  # [S, 2], row and column of each state

    def picture(self, values: Tensor) -> Tensor:
        """Numbers of the states [S] where they lie, NaN in walls. -> [rows, columns]"""
        out = torch.full((len(self.rows), len(self.rows[0])), math.nan, dtype=torch.float64)
        out[self.cells[:, 0], self.cells[:, 1]] = values.double()
        return out

    def state(self, letter: str) -> Tensor:
        """Numbers of the states that carry a letter of the map. -> [n]"""
        return torch.tensor([s for s, (i, j) in enumerate(self.cells.tolist()) if self.rows[i][j] == letter])

    @property
    def walls_around(self) -> Tensor:
        """What a sensor of walls sees: 1 up + 2 right + 4 down + 8 left. It is the same in many cells. -> [S]"""
        free = {tuple(cell) for cell in self.cells.tolist()}
        return torch.tensor(
            [sum(2**a for a, (di, dj) in enumerate(MOVES) if (i + di, j + dj) not in free)
             for i, j in self.cells.tolist()]
        )  # fmt: skip


def grid_world(rows: Sequence[str], *, slip: float = 0.0, gamma: float = 0.95) -> Grid:
    """A grid of cells: "#" wall, "G" goal (reward 1 on entering), "X" pit (reward -1), both terminal; "S" start.

    A move goes as asked with probability 1 - slip, else to either side with slip / 2 each; into a wall it stays.
    Without an "S" an episode begins in any cell that is not terminal. Raises ValueError for a ragged map, or one
    without a goal.
    """
    _check_share("slip", slip)
    _check_share("gamma", gamma)
    if not rows or len({len(row) for row in rows}) != 1 or not any("G" in row for row in rows):
        raise ValueError(f"a grid is rows of one length with a goal G in them, got {list(rows)}")
    cells = [(i, j) for i, row in enumerate(rows) for j, letter in enumerate(row) if letter != "#"]
    number = {cell: s for s, cell in enumerate(cells)}
    letters = [rows[i][j] for i, j in cells]
    worth = torch.tensor([{"G": 1.0, "X": -1.0}.get(letter, 0.0) for letter in letters], dtype=torch.float64)
    terminal = worth != 0
    P = torch.zeros(len(cells), 4, len(cells), dtype=torch.float64)
    for s, (i, j) in enumerate(cells):
        for a in range(4):
            for turn, share in ((0, 1 - slip), (1, slip / 2), (3, slip / 2)):
                di, dj = MOVES[(a + turn) % 4]
                P[s, a, s if terminal[s] else number.get((i + di, j + dj), s)] += share
    rew = torch.where(terminal[:, None], 0.0, P @ worth)
    start = torch.tensor([letter == "S" for letter in letters]) if "S" in letters else ~terminal
    return Grid(P, rew, gamma, start.double() / start.sum(), terminal, tuple(rows), torch.tensor(cells))


def comb_maze(gamma: float = 0.9) -> Grid:
    """Five cells in a row above three legs, the goal in the middle one; no slip (after McCallum 1995).

    To a sensor of walls the second and the fourth cell of the row look alike, and the way to the goal leads right from
    one and left from the other.
    """
    return grid_world((".....", ".#G#."), gamma=gamma)


@dataclass(frozen=True)
class Corridor:
    """n cells in a row, one action: the speed a in [0, 1]. Reward 1 for leaving the last cell, which ends the episode.

    A step moves on with probability a (1 - c(a)), crashes with a c(a) (the end, reward 0), and stays put with 1 - a,
    where c(a) = 1 / (1 + exp((edge - a) / 0.03)): faster is better up to about `edge`, and fatal beyond it.
    """

    n: int = 4
    gamma: float = 0.8
    edge: float = 0.75

    def crash(self, a: Tensor) -> Tensor:
        """c(a): the probability that a move at speed a is a crash. -> the shape of a"""
        return torch.sigmoid((a - self.edge) / 0.03)

    def value(self, a: Tensor, weight: Tensor | None = None) -> Tensor:
        """V^pi of a policy that drives at speed a[s] (a [n]), or at a[s, m] with probability weight[s, m]. -> [n]

        V(s) = f V(s + 1) gamma / (1 - gamma h) with the probabilities f of moving on and h of staying; from the last
        cell f / (1 - gamma h).
        """
        a = torch.as_tensor(a, dtype=torch.float64)
        onward, stay = a * (1 - self.crash(a)), 1 - a
        if weight is not None:
            onward, stay = (onward * weight).sum(-1), (stay * weight).sum(-1)
        V, following = torch.zeros(self.n, dtype=torch.float64), torch.tensor(1 / self.gamma, dtype=torch.float64)
        for s in reversed(range(self.n)):
            V[s] = following = self.gamma * onward[s] * following / (1 - self.gamma * stay[s])
        return V

    def q(self, a: Tensor, V: Tensor) -> Tensor:
        """Q(s, a) for all cells and speeds a [M], when V [n] follows. -> [n, M]"""
        a = torch.as_tensor(a, dtype=torch.float64)
        following = torch.cat([self.gamma * V[1:], torch.ones(1, dtype=V.dtype)])
        return a * (1 - self.crash(a)) * following[:, None] + (1 - a) * self.gamma * V[:, None]

    def best(self, speeds: Tensor) -> tuple[Tensor, Tensor]:
        """V* when only the speeds [M] may be driven, and the best of them (it is the same everywhere). -> [n], []"""
        speeds = torch.as_tensor(speeds, dtype=torch.float64)
        a = speeds[(speeds * (1 - self.crash(speeds)) / (1 - self.gamma * (1 - speeds))).argmax()]
        return self.value(a.expand(self.n)), a

    def step(self, s: Tensor, a: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """One step from cells s [B] at speeds a [B]. -> next cell [B], reward [B], terminated [B]"""
        moved = torch.rand(len(s), generator=generator) < a
        crashed = moved & (torch.rand(len(s), generator=generator) < self.crash(a))
        after = torch.where(moved, s + 1, s)
        arrived = (after == self.n) & ~crashed
        return after.clamp(max=self.n - 1), arrived.float(), arrived | crashed


def drivers(weights: Sequence[float] = (0.5, 0.5, 0.0)) -> Mixture:
    """Speeds of three drivers of a Corridor: a slow one near 0.1, a brisk one near 0.5, a fast one near 0.85."""
    w = torch.as_tensor(weights, dtype=torch.float64)
    return Mixture(w / w.sum(), torch.tensor([[0.1], [0.5], [0.85]], dtype=torch.float64), _full(3, 0.05))
