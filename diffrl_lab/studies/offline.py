"""What lesson 03 measures, and draws, around its own few lines: clones on a bridge, and values fitted on a corridor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffrl_lab import widgets
from diffrl_lab.analysis.intervals import bootstrap
from diffrl_lab.widgets import pictures
from diffrl_lab.worlds.mdps import MDP, Corridor, Grid, Steps, drivers

SPEEDS = torch.linspace(0, 1, 101)


# ----------------------------------------------------------------------------------------------------- grids and clones
def returns(steps: Steps, gamma: float) -> Tensor:
    """G_k = r_k + gamma G_{k+1} within each recorded episode, 0 after its last step. -> [N]"""
    rew, episode, G = steps.rew.tolist(), steps.episode.tolist(), steps.rew.tolist()
    for i in range(len(G) - 2, -1, -1):
        if episode[i] == episode[i + 1]:
            G[i] = rew[i] + gamma * G[i + 1]
    return torch.tensor(G, dtype=torch.float64)


def arrival(world: Grid, policy: Tensor, limit: int = 2000) -> float:
    """The exact probability that an episode of policy [S, A] ends at G: visits times the chance of stepping onto G."""
    onto = (policy[..., None] * world.P)[:, :, world.state("G")].sum((1, 2))
    return float((world.visits(policy, limit) * onto).sum())


def wrong_moves(world: MDP, expert: Tensor, policy: Tensor, limit: int = 400) -> float:
    """The exact share of the expert's steps at which the policy [S, A] would move otherwise than she does."""
    hers = world.visits(expert, limit)
    return float((hers * (1 - (policy * expert).sum(1))).sum() / hers.sum())


def bands(table: Tensor, seed: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of results [n, repeats, k], for each of the k: means and the ends of their 95 % bootstrap intervals, each [n]."""
    ends = torch.tensor([[bootstrap(row[:, j], seed=seed) for row in table] for j in range(table.shape[2])])
    return [(table[..., j].mean(1), low, high) for j, (low, high) in enumerate(ends.transpose(1, 2))]


def values_and_moves(world: Grid, V: Tensor, marks: Mapping[str, Any], title: str) -> pictures.Picture:
    """Values V [S] on a grid world, with an arrow for the greedy move wherever there is one."""
    Q = world.q(V)
    moves = torch.where(Q.amax(1) - Q.amin(1) > 1e-9, Q.argmax(1), -1)
    alt = f"Values and greedy moves on the grid, spreading outwards from the goal. {title}."
    return widgets.cells(world.picture(V), moves=world.picture(moves), marks=marks, limits=(-1, 1), label="V",
                       title=title, alt=alt)  # fmt: skip


def clone_picture(world: Grid, expert: Tensor, policy: Tensor, seen: Tensor, episodes: int) -> pictures.Picture:
    """Where n recorded episodes of the expert go (steps seen [S]), and where the clone of them goes."""
    arrive, wrong = arrival(world, policy), wrong_moves(world, expert, policy)
    clone = f"steps of the clone: {wrong:.1%} wrong where she drives, {arrive:.0%} arrive"
    recorded = world.picture(seen / episodes)
    panels = {f"recorded steps of {episodes} episodes": recorded, clone: world.picture(world.visits(policy, 400))}
    marks = {letter: world.cells[world.state(letter)] for letter in "SGX"}
    alt = f"Between pits X: where {episodes} recorded episodes go, and their clone, {arrive:.0%} of it to G."
    return widgets.cells(panels, numbers=False, limits=(0, 1), label="steps per episode", marks=marks, alt=alt)


# --------------------------------------------------------------------------------------------------------- the corridor
def record(road: Corridor, fast: int, seed: int) -> list[Tensor]:
    """1,500 recorded steps of a slow and a brisk driver and the first `fast` (at most 40) of a fast one.

    -> state, action, next state, reward, terminated, each [1500 + fast]
    """
    g = torch.Generator().manual_seed(seed)
    a = torch.cat([drivers((1, 1, 0)).sample(1500, g)[0], drivers((0, 0, 1)).sample(40, g)[0]])[:, 0].clamp(0, 1)
    s = torch.randint(road.n, (len(a),), generator=g)
    return [x[: 1500 + fast] for x in (s, a, *road.step(s, a, g))]


class SpeedValues(nn.Module):
    """Q(s, a) of a cell and a speed, a small network whose weights a seed makes. (s, a) of any one shape -> that."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, s: Tensor, a: Tensor) -> Tensor:
        return self.layers(torch.stack([s.float() / 2 - 0.75, 2 * a - 1], -1))[..., 0]

    @torch.no_grad()
    def everywhere(self, n: int, speeds: Tensor = SPEEDS) -> Tensor:
        """Q at all n cells and all speeds [M]. -> [n, M]"""
        return self(torch.arange(n)[:, None].expand(-1, len(speeds)), speeds.expand(n, -1))


def values_picture(road: Corridor, Q: SpeedValues, data: Tensor, fast: int, cell: int) -> pictures.Picture:
    """The fitted and the exact Q over the speed in one cell, above the recorded speeds."""
    V, best = road.best(SPEEDS)
    fitted = Q.everywhere(road.n)
    a = SPEEDS[fitted.argmax(1)]
    promised, earned = fitted.amax(1)[cell], road.value(a)[cell]
    title = f"{fast} fast records: promised {promised:.2f}, earned {earned:.2f}, best {V[cell]:.2f}"
    return widgets.values_over_data(
        SPEEDS,
        {"exact": road.q(SPEEDS, V)[cell], "model": fitted[cell]},
        data,
        best={"exact": float(best), "model": float(a[cell])},
        xlabel="speed a",
        title=title,
        ylim=(-0.2, 0.8 + 0.17 * cell),
        alt=f"True and fitted Q over the speed, above the recorded speeds, in cell {cell}. {title}.",
    )


@torch.no_grad()
def worth(
    road: Corridor, Q: Callable[[Tensor, Tensor], Tensor], pool: Tensor, n: int, generator: torch.Generator
) -> float:
    """The exact value, in the first cell, of a policy that drives the best by Q of n proposals drawn from a pool [P].

    The policy is taken from 500 of its choices in each cell.
    """
    chosen = []
    for cell in range(road.n):
        rows = pool[torch.randint(len(pool), (500, n), generator=generator)]
        best = Q(torch.full(rows.shape, cell), rows).argmax(1)
        chosen.append(rows[torch.arange(500), best])
    a = torch.stack(chosen)
    return float(road.value(a, torch.full(a.shape, 1 / 500))[0])
