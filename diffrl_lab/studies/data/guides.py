"""A value net on noisy plans, taught by dense or by goal-only reward, by the way from start to goal."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.episodes import Episodes, resample, returns_to_go
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import ascend, given, pin, sample
from diffrl_lab.methods.guides import Guide, value_loss
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces
from diffrl_lab.methods.planning.plans import Plan
from diffrl_lab.studies.data.recordings import named_walls
from diffrl_lab.studies.guidance.models import fresh_guide, trained
from diffrl_lab.studies.planners import expert
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import RADIUS, REACHED

WIDE = "large"  # the maze of the guides: its ways are the longest
CORNERS = ((1, 1), (1, 10), (7, 10))  # the goal's cell, one for each seed
TAUGHT = (("dense", 0.99), ("sparse", 0.99), ("sparse", 0.997))  # rewards and discounts; Diffuser's two discounts
BINS = (0.0, 3.0, 6.0, 9.0, 13.0)  # m of way from start to goal
DRIVES = diffuser.Config(
    from_reset=0.4, to_arrival=1.0
)  # what the guides learn from: drives from anywhere to their end
SCALES = (0.5, 1, 2, 4, 8, 16)
GRID = [("none", 0.0, 0), ("told", 0.0, 0), *((form, g, s) for form, g in TAUGHT for s in SCALES)]
GUIDE_STEPS, STARTS = 1200, 400
TIMES = 1 - torch.linspace(0, 1, 17, dtype=torch.float64) ** 1.7  # 16 denoising steps, most of them early


@lru_cache(maxsize=4)
def _field(goal: tuple[float, float]) -> NDArray[np.float64]:
    """The way to the goal in m from each point of a grid of 0.1 m; points in walls have their neighbour's."""
    walls = named_walls(WIDE)
    left, right, bottom, top = walls.extent
    xs, ys = np.arange(left, right, 0.1) + 0.05, np.arange(bottom, top, 0.1) + 0.05
    free = ~walls.inside(np.stack(np.meshgrid(xs, ys, indexing="ij"), -1), RADIUS)
    number = np.arange(free.size).reshape(free.shape)
    edges = []
    for i, j in ((1, 0), (0, 1), (1, 1), (1, -1)):
        a = (slice(0, -1) if i else slice(None), slice(1, None) if j < 0 else slice(0, -1) if j else slice(None))
        b = (slice(1, None) if i else slice(None), slice(0, -1) if j < 0 else slice(1, None) if j else slice(None))
        both = free[a] & free[b]
        edges.append((number[a][both], number[b][both], np.full(both.sum(), 0.1 * np.hypot(i, j))))
    one, other, length = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = sparse.coo_array((length, (one, other)), shape=(free.size, free.size)).tocsr()
    at = number[int((goal[0] - left) / 0.1), int((goal[1] - bottom) / 0.1)]
    way = dijkstra(graph, directed=False, indices=at).reshape(free.shape)
    near = ndimage.distance_transform_edt(~np.isfinite(way), return_distances=False, return_indices=True)
    return way[tuple(near)]


def way_left(points: ArrayLike, goal: tuple[float, float]) -> NDArray[np.float64]:
    """The length in m of the shortest way in the large maze from points [..., 2] to a goal (on a grid of 0.1 m whose
    steps go straight or diagonally: up to 8 % too long). -> [...]"""
    field = _field(goal)
    left, _, bottom, _ = named_walls(WIDE).extent
    i = ((np.asarray(points, float) - (left, bottom)) / 0.1).astype(int)
    return field[np.clip(i[..., 0], 0, len(field) - 1), np.clip(i[..., 1], 0, field.shape[1] - 1)]


def labelled(episodes: Episodes, goal: tuple[float, float], reward: str, gamma: float) -> Tensor:
    """G_i = sum_j gamma^j r(s_{i + 1 + j}) from every row, the ball staying for ever where its episode ended. -> [N]

    sparse: r = 1 within 0.45 m of the goal, else 0 (the environment's own). dense: r = minus the way left in m.
    """
    p = episodes.obs[:, :2].double().numpy()
    if reward == "sparse":
        r = torch.as_tensor(np.linalg.norm(p - goal, axis=1) <= REACHED, dtype=torch.float64)
    elif reward == "dense":
        r = -torch.as_tensor(way_left(p, goal))
    else:
        raise ValueError(f"a reward is 'dense' or 'sparse', got {reward!r}")
    rew = torch.where(episodes.last == 0, r.roll(-1), 0.0)
    return returns_to_go(replace(episodes, rew=rew), gamma, r[episodes.ends] / (1 - gamma))


class Navigator:
    """The shipped planner of the large maze as a backbone that is told the start alone; and for each reward a guide, J
    = the mean of the standardised return of the noisy drive."""

    def __init__(self, seed: int):
        x, y = named_walls(WIDE).centre(CORNERS[seed % len(CORNERS)]).tolist()
        self.goal: tuple[float, float] = (x, y)
        self.planner = Diffuser.load(f"maze-{WIDE}")
        episodes, g = expert(WIDE), torch.Generator().manual_seed(seed)
        pieces = Pieces(episodes, DRIVES, g)
        row, duration, _ = pieces.draw(20_000)
        log = duration.float().log()[:, None, None].expand(-1, DRIVES.horizon, 1)
        plans = self.planner.scaler(torch.cat([resample(pieces.obs, row, duration, DRIVES.horizon), log], -1))
        which = np.digitize(way_left(pieces.obs[row, :2].numpy(), self.goal), BINS[1:-1])
        self.guides, self.spread = {}, {}
        for reward, gamma in TAUGHT:
            G = labelled(episodes, self.goal, reward, gamma)[row][:, None]
            R = Scaler.fit(G, "standard")(G)[:, 0].float()
            self.guides[reward, gamma] = taught(plans, R, seed)
            self.spread[reward, gamma] = [float(R[torch.as_tensor(which == b)].std()) for b in range(len(BINS) - 1)]

    def plans(self, obs: NDArray, J: Guide | None, scale: float, seed: int, *, told: bool) -> tuple[Plan, Tensor]:
        """One plan from each state [m, 4], climbing J; told: with the goal as its known end. Beside it what the network
        sees of it, [m, H, 5]."""
        known, value = self.planner.ends(obs, np.tile(self.goal, (len(obs), 1)) if told else None)
        D = given(self.planner.denoiser, {"known": known})
        if J is not None:
            D = ascend(D, J, scale)
        x_T = D.schedule.prior(known.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            x = sample(pin(D, known, value), x_T, steps=TIMES)
        raw = self.planner.scaler.inverse(x)
        durations = raw[..., -1].mean(-1).exp()
        return Plan(raw[..., :-1], durations, torch.zeros(len(x))), x


def _start(x: Tensor) -> Tensor:
    known = torch.zeros(x.shape, dtype=torch.bool)
    known[..., 0, :4] = True
    return known


def taught(x: Tensor, y: Tensor, seed: int) -> Guide:
    """J(x_t, t) = E[y | x_t], the start known: `GUIDE_STEPS` updates, averaged weights."""
    J = fresh_guide(x[0].numel(), 1, seed)

    def loss(i: Tensor, g: torch.Generator) -> Tensor:
        return value_loss(J, x[i], y[i], known=_start(x[i]), generator=g)

    return trained(J, loss, x, seed, steps=GUIDE_STEPS, ema=0.99)


@lru_cache(maxsize=5)
def navigator(seed: int) -> Navigator:
    """The guides of a seed and what they guide."""
    return Navigator(seed)


@lru_cache(maxsize=1)
def _starts() -> NDArray[np.float64]:
    """Where the environment's resets put the ball, seeds 5000 and on. -> [STARTS, 4]"""
    env = make_maze(WIDE)
    states = np.array([env.reset(seed=5000 + k)[0]["observation"] for k in range(STARTS)])
    env.close()
    return states


def guide(form: str, gamma: float, scale: float, *, seed: int) -> dict[str, Any]:
    """One plan from each of 400 starts; lists are by the way from start to goal, in bins with edges `BINS` (m).

    form: none, told (the goal is known to the planner, for comparison), or guided by the value net of the dense or the
    sparse reward. arrive: how many plans end within 0.45 m of the goal and pass through no wall, of so many `starts`;
    invalid: how many pass through one; closer: 1 - way left at the end over way left at the start, in sums over the
    valid ones. prefers: from how many starts this guide values a finished plan that was told the goal above one that
    was told nothing. label_std: the spread of the standardised returns from this bin: what there is to learn.
    """
    nav, obs = navigator(seed), _starts()
    way = way_left(obs[:, :2], nav.goal)
    J = nav.guides.get((form, gamma))
    if J is None and form not in ("none", "told"):
        raise ValueError(f"guides are {', '.join(map(str, TAUGHT))}; got {(form, gamma)}")
    plan, _ = nav.plans(obs, J, scale, 30_000 + seed, told=form == "told")
    walls, ends, clear = named_walls(WIDE), plan.candidates[:, -1, :2].numpy(), []
    for k in range(len(obs)):
        sane = 1 <= float(plan.durations[k]) < 5000 and bool(plan.candidates[k].isfinite().all())
        clear.append(sane and not walls.inside(nav.planner.reference(plan, k)[:, :2]).any())
    ok = np.array(clear)
    arrive = ok & (np.linalg.norm(ends - nav.goal, axis=1) <= REACHED)
    rest = way_left(np.nan_to_num(ends), nav.goal)
    bins = [np.digitize(way, BINS[1:-1]) == b for b in range(len(BINS) - 1)]
    row: dict[str, Any] = {
        "goal": list(nav.goal),
        "starts": [int(b.sum()) for b in bins],
        "arrive": [int(arrive[b].sum()) for b in bins],
        "invalid": [int((~ok[b]).sum()) for b in bins],
        "closer": [float(1 - rest[b & ok].sum() / way[b & ok].sum()) if (b & ok).any() else None for b in bins],
    }
    if J is not None:
        with torch.no_grad():
            good, any_ = (
                J(nav.plans(obs, None, 0.0, 40_000 + seed, told=told)[1], torch.tensor(0.0)) for told in (True, False)
            )
        right = (good > any_).numpy()
        row |= {"prefers": [int(right[b].sum()) for b in bins], "label_std": nav.spread[form, gamma]}
    return row


def by_way(table: Table) -> list[dict[str, Any]]:
    """For each guide and bin of way: the share of plans that arrive, at the scale that is best for this guide in this
    bin (so no guide is held back by its scale), over all seeds, with Wilson's interval; and the shares by seed."""
    results = []
    for form, gamma in (("none", 0.0), ("told", 0.0), *TAUGHT):
        rows = [r for r in table.rows if (r["form"], r["gamma"]) == (form, gamma)]
        for b in range(len(BINS) - 1):
            counts = {s: [r["arrive"][b] for r in rows if r["scale"] == s] for s in {r["scale"] for r in rows}}
            best = max(sorted(counts), key=lambda s: sum(counts[s]))
            starts = [r["starts"][b] for r in rows if r["scale"] == best]
            mine = {"form": form, "gamma": gamma, "way": [BINS[b], BINS[b + 1]], "scale": best}
            mine |= {"arrive": sum(counts[best]) / sum(starts), "starts": sum(starts)}
            mine |= {"interval": list(wilson(sum(counts[best]), sum(starts)))}
            mine |= {"by_seed": [a / n for a, n in zip(counts[best], starts, strict=True)]}
            if form in ("dense", "sparse"):
                one = [r for r in rows if r["scale"] == best]
                mine["prefers"] = sum(r["prefers"][b] for r in one) / sum(starts)
                mine["label_std"] = float(np.mean([r["label_std"][b] for r in one]))
            results.append(mine)
    return results
