"""What lesson 03 measures, and draws, around its own few lines: clones on a bridge, and values fitted on a corridor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from IPython.display import Markdown
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


def distinct(steps: Steps) -> tuple[Steps, Tensor]:
    """The steps that differ in more than their episode, and for each recorded step which of these it is. -> [M], [N]"""
    alike = torch.stack([steps.obs, steps.act, steps.next_obs, steps.terminated, steps.truncated])
    kinds, which = torch.unique(alike, dim=1, return_inverse=True)
    first = torch.full((kinds.shape[1],), len(which)).scatter_reduce(0, which, torch.arange(len(which)), "amin")
    return Steps(*(column[first] for column in steps)), which


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
        alt=f"Exact and fitted Q over the speed, above the recorded speeds, in cell {cell}. {title}.",
    )


class Report(NamedTuple):
    """What is known of the greedy policy of a fitted Q on the corridor."""

    td_loss: float  # mean square of Q minus its own target, on the 1,500 records of the slow and the brisk driver
    promised: float  # the largest fitted Q in the first cell
    distance: float  # from the chosen speed to the nearest one recorded in its cell, the largest over the cells
    earned: float  # exact value in the first cell


@torch.no_grad()
def report(road: Corridor, Q: SpeedValues, seed: int, fast: int) -> Report:
    """The greedy policy of a Q that was fitted on `record(road, fast, seed)`."""
    s, a, after, rew, ended = record(road, 0, seed)
    target = rew + road.gamma * ~ended * Q.everywhere(road.n).amax(1)[after]
    where, speed = record(road, fast, seed)[:2]
    best = Q.everywhere(road.n)
    chosen = SPEEDS[best.argmax(1)]
    distance = max(float((speed[where == cell] - chosen[cell]).abs().min()) for cell in range(road.n))
    loss = float((Q(s, a) - target).square().mean())
    return Report(loss, float(best[0].max()), distance, float(road.value(chosen)[0]))


def report_table(rows: Mapping[int, Report]) -> Markdown:
    """Reports by their number of fast records, a row for each."""
    lines = [
        "| fast records | TD loss | promised | farthest from a recorded speed | earned (exact) |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {n} | {r.td_loss:.4f} | {r.promised:.2f} | {r.distance:.3f} | {r.earned:.3f} |" for n, r in rows.items()
    ]
    return Markdown("\n".join(lines))


@torch.no_grad()
def worth(
    road: Corridor,
    Q: SpeedValues,
    choose: Callable[..., Any],
    pool: Tensor,
    n: int,
    generator: torch.Generator,
    rows: int = 250,
) -> float:
    """The exact value, in the first cell, of a policy that drives what `choose` picks of n proposals of a pool [P].

    choose(q, proposals [B, n]) -> [B], where q is Q in the cell. The policy is taken from `rows` choices in each cell.
    """
    chosen = []
    for cell in range(road.n):
        proposals = pool[torch.randint(len(pool), (rows, n), generator=generator)]
        a = choose(lambda a, cell=cell: Q(torch.full(a.shape, cell), a), proposals)
        chosen.append(torch.as_tensor(a, dtype=torch.float64))
    a = torch.stack(chosen)
    return float(road.value(a, torch.full(a.shape, 1 / rows))[0])
