"""The studies of data: `python -m diffrl_lab.studies.data` writes data/results/data-*.json.

Four tables, from grids of pure functions (`analysis.sweeps`) kept in runs/data-study point by point:

- `efficiency` (study d): who reaches how many goals of the medium maze after 2,000 to 200,000 recorded transitions.
- `stitching` (study e): the whole recording cut into legs of at most k cells; the 94 of 134 goals that are farther than
  3 cells, and beside them the nearer ones.
- `recorders` (study e): the planner on 20,000 transitions of the expert, of a wanderer that makes for one random place
  after another without arriving, and of half each.
- `guide` (study e): a value net on noisy plans taught by dense or by goal-only reward, by the way left to the goal.

All methods train equally long: `STEPS` updates each, so that a training takes about 10 CPU seconds on a loaded core
(`train_cpu` is what it took); the last checkpoint counts. That is a tenth of what this maze's shipped planner had: the
tables compare methods that are all short of time, also where data are plenty. All drive the same 134 episodes from the
environment's own random resets, which nothing was tuned on. Which transitions a size means is drawn by the training
seed, the same for all methods, and a smaller size is a part of a larger one. Retrieval needs no training.

The grid, three training seeds each: efficiency 3 sizes x 3 methods, 7 retrievals (10 minutes of one core); stitching 2
more k x 2 methods and 2 retrievals (6 minutes); recorders 2 more (2 minutes); guide 3 guides of the shipped planner of
the large maze, 20 rows of 400 plans (3 minutes). It was planned with five sizes, five seeds and one more k, and reduced
for lack of hours; `points` says what is left. The guide's seeds differ in
the guides and in the goal. How long a training takes was chosen by one look at seed 7 and 200,000 transitions; for the
guides the backbone, the bins and the scales by seed 0.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import dijkstra, shortest_path
from torch import Tensor

from diffrl_lab.analysis.intervals import bootstrap, wilson
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes, resample, returns_to_go
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Cosine, ascend, cosine_decay, descend, given, pin, sample
from diffrl_lab.files import ROOT
from diffrl_lab.methods.baselines.retrieval import retrieval
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces, Plan, Planner, Training
from diffrl_lab.methods.planning.value_guidance import Guide, value_loss
from diffrl_lab.methods.policies.cloning import Cloning
from diffrl_lab.methods.policies.diffusion_policy import Chunks, DiffusionPolicy
from diffrl_lab.studies.planners import recording
from diffrl_lab.worlds.driving import Follower, after, arrived, drive, follow, indices
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import RADIUS, REACHED, Walls

RUNS, RESULTS = ROOT / "runs" / "data-study", ROOT / "data" / "results"
COMMAND = "python -m diffrl_lab.studies.data"
SEEDS = (0, 1, 2)
VERSION = "1"  # of what the functions below call

MAZE = "medium"
EPISODES, FIRST = 134, 1000  # environment seeds from FIRST on
SIZES = (2_000, 20_000, 200_000)
METHODS = ("bc", "diffusion-bc", "planner", "retrieval")
PLANS = 4  # in one episode, of the planner and of retrieval
STEPS = {"bc": 700, "diffusion-bc": 1000, "planner": 430}
PLANNER = Diffuser(width=192, depth=2, channels=16, batch=128, ema=0.99, candidates=8, steps=STEPS["planner"])
POLICY = Chunks(batch=256, steps=STEPS["diffusion-bc"])
FAR = 3  # cells: stitching is asked for goals farther than this
HELD = 40  # steps for which a wanderer keeps its target


# ------------------------------------------------------------------------------------------------------------- the data
def taken(episodes: Episodes, transitions: int, seed: int) -> Episodes:
    """The first `transitions` steps of the episodes in an order drawn by `seed`; the last one may be cut short.

    So of two sizes with one seed the smaller is a part of the larger. Raises ValueError when there are fewer.
    """
    total = int(episodes.lengths.sum())
    if not 1 <= transitions <= total:
        raise ValueError(f"1 to {total} transitions can be taken from this recording, got {transitions}")
    order = np.random.default_rng(seed).permutation(len(episodes))
    parts, left = [], transitions
    for k in order:
        a, n = int(episodes.starts[k]), min(int(episodes.lengths[k]), left)
        parts.append(_piece(episodes, a, a + n))
        left -= n
        if not left:
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
    env, rng, parts, left = make_maze(maze), np.random.default_rng([seed, 77]), [], transitions
    agent = _Wanderer(how, Walls.of(env), rng)
    while left:
        reset = int(rng.integers(10**6, 2**31))
        run = drive([env], agent, [reset], until=after(min(300, left)))[0]
        parts.append((*(x.astype(np.float32) for x in (run.obs, run.act, run.rew)), False))
        left -= run.steps
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
def _expert(maze: str) -> Episodes:
    return recording(f"maze-{maze}", progress=False)[0]


@lru_cache(maxsize=2)
def _walls(maze: str) -> Walls:
    return Walls.named(maze)


@lru_cache(maxsize=1)
def recorded(recorder: str, k: int, transitions: int, seed: int) -> Episodes:
    """What a point trains on: `transitions` steps of a recorder, cut into legs of at most k cells (k = 0: not cut)."""
    if recorder == "expert":
        found = taken(_expert(MAZE), transitions, seed)
    elif recorder == "mixed":
        half = transitions // 2
        both = taken(_expert(MAZE), half, seed), wander(MAZE, transitions - half, "targets", seed)
        parts = [_piece(e, int(a), int(b)) for e in both for a, b in zip(e.starts, e.ends, strict=True)]
        found = Episodes.join(parts)
    else:
        found = wander(MAZE, transitions, recorder, seed)
    return legs(found, k, _walls(MAZE)) if k else found


# ---------------------------------------------------------------------------------------------------------- the driving
@lru_cache(maxsize=1)
def _envs() -> list[Any]:
    return [make_maze(MAZE) for _ in range(38)]  # 12 MB each


class _Whole:
    """A policy as the tables were measured with it: balls that have arrived stay in its batch, whose size the last bits
    of a network's output depend on; and the noise of all comes from one generator, seeded 0."""

    def __init__(self, agent: Any):
        self.agent = agent

    def reset(self, obs: NDArray, seeds: Any, goal: NDArray | None = None) -> None:
        self.obs = obs.copy()
        self.agent.reset(obs, seeds, goal)
        if isinstance(self.agent, DiffusionPolicy):
            self.agent.generators = [torch.Generator().manual_seed(0)] * len(seeds)

    def act(self, obs: NDArray, which: NDArray | None = None) -> NDArray[np.float64]:
        now = indices(obs, which)
        self.obs[now] = obs
        return self.agent.act(self.obs)[now]


def driven(agent: Any) -> NDArray[np.bool_]:
    """Which of the episodes with seeds `FIRST` and on an agent brings to their goal, driven side by side to it."""
    episodes = drive(_envs(), _Whole(agent), range(FIRST, FIRST + EPISODES), until=arrived)
    return np.array([e.reached for e in episodes])


@lru_cache(maxsize=1)
def distances() -> NDArray[np.int64]:
    """Cells between start and goal of the driven episodes. -> [EPISODES]"""
    env = make_maze(MAZE)
    resets = [env.reset(seed=FIRST + k)[0] for k in range(EPISODES)]
    env.close()
    ends = (np.array([r[key] for r in resets]) for key in ("achieved_goal", "desired_goal"))
    return cells_apart(_walls(MAZE), *ends).astype(int)


def trial(recorder: str, k: int, transitions: int, method: str, *, seed: int) -> dict[str, Any]:
    """One point of the first three tables: train on what was recorded, drive `EPISODES` episodes.

    reached: a 0 or 1 for each, in the order of the environment's seeds. train_cpu, drive_cpu: CPU seconds.
    """
    episodes = recorded(recorder, k, transitions, seed)
    begun, agent = time.process_time(), None
    if method == "bc":
        agent = run = Cloning(episodes, steps=STEPS["bc"], seed=seed)
    elif method == "diffusion-bc":
        agent = run = DiffusionPolicy(episodes, POLICY, seed=seed)  # type: ignore[assignment]
    elif method == "planner":
        run = Training(episodes, PLANNER, seed=seed)  # type: ignore[assignment]
    elif method != "retrieval":
        raise ValueError(f"a method is one of {', '.join(METHODS)}; got {method!r}")
    if method != "retrieval":
        for _ in run:
            pass
    trained = time.process_time()
    if agent is not None:
        reached = driven(agent)
    else:
        seeds = range(FIRST, FIRST + EPISODES)
        follower = retrieval(episodes) if method == "retrieval" else run.planner().agent()  # type: ignore[attr-defined]
        few = Follower(follower.route, most=PLANS)  # when the last route has ended it makes for the goal
        reached = np.array([e.reached for e in drive(_envs()[:1], few, seeds, until=arrived)])
    return {
        "reached": "".join("01"[int(r)] for r in reached),
        "success": float(reached.mean()),
        "success_interval": list(wilson(int(reached.sum()), len(reached))),
        "pieces": len(episodes),
        "train_cpu": round(trained - begun, 1),
        "drive_cpu": round(time.process_time() - trained, 1),
    }


def summary(table: Table, far: int = 0) -> list[dict[str, Any]]:
    """Success for each recorder, k, size and method, on pairs farther than `far` cells: the mean over training seeds.

    interval: bootstrap over episodes, each episode's result being its mean over the seeds that were trained (so it is
    about other goals for these trainings); by_seed shows how trainings differ. over_bc: the paired difference to
    behaviour cloning on the same data and episodes, and its interval. near: success on the other pairs.
    """
    apart = np.array(table.about["distances"])
    groups: dict[str, list[NDArray]] = {}
    for row in table.rows:
        key = json.dumps([row[name] for name in ("recorder", "k", "transitions", "method")])
        groups.setdefault(key, []).append(np.array(list(row["reached"]), float))
    found = []
    for key, seeds in groups.items():
        recorder, k, transitions, method = json.loads(key)
        each = np.mean(seeds, 0)
        row = {"recorder": recorder, "k": k, "transitions": transitions, "method": method, "seeds": len(seeds)}
        row |= {"episodes": int((apart > far).sum()), "success": float(each[apart > far].mean())}
        row |= {"by_seed": [float(s[apart > far].mean()) for s in seeds]}
        row |= {"interval": list(bootstrap(each[apart > far]))}
        if far:
            row |= {"near": float(each[apart <= far].mean()), "near_interval": list(bootstrap(each[apart <= far]))}
        other = groups.get(json.dumps([recorder, k, transitions, "bc"]))
        if other is not None and method != "bc" and len(other) == len(seeds):
            d = (each - np.mean(other, 0))[apart > far]
            row |= {"over_bc": float(d.mean()), "over_bc_interval": list(bootstrap(d))}
        found.append(row)
    return found


# ------------------------------------------------------------------------------------------------------------ the guide
WIDE = "large"  # the maze of the guides: its ways are the longest
CORNERS = ((1, 1), (1, 10), (7, 10))  # the goal's cell, one for each seed
TAUGHT = (("dense", 0.99), ("sparse", 0.99), ("sparse", 0.997))  # rewards and discounts; Diffuser's two discounts
BINS = (0.0, 3.0, 6.0, 9.0, 13.0)  # m of way from start to goal
DRIVES = Diffuser(from_reset=0.4, to_arrival=1.0)  # what the guides learn from: drives from anywhere to their end
GUIDE_STEPS, STARTS = 1200, 400
TIMES = 1 - torch.linspace(0, 1, 17, dtype=torch.float64) ** 1.7  # 16 denoising steps, most of them early


@lru_cache(maxsize=4)
def _field(goal: tuple[float, float]) -> NDArray[np.float64]:
    """The way to the goal in m from each point of a grid of 0.1 m; points in walls have their neighbour's."""
    walls = _walls(WIDE)
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
    left, _, bottom, _ = _walls(WIDE).extent
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
        x, y = _walls(WIDE).centre(CORNERS[seed % len(CORNERS)]).tolist()
        self.goal: tuple[float, float] = (x, y)
        self.planner = Planner.load(f"maze-{WIDE}")
        episodes, g = _expert(WIDE), torch.Generator().manual_seed(seed)
        pieces = Pieces(episodes, DRIVES, g)
        row, duration, _ = pieces.draw(20_000)
        log = duration.float().log()[:, None, None].expand(-1, DRIVES.horizon, 1)
        plans = self.planner.scaler(torch.cat([resample(pieces.obs, row, duration, DRIVES.horizon), log], -1))
        which = np.digitize(way_left(pieces.obs[row, :2].numpy(), self.goal), BINS[1:-1])
        self.guides, self.spread = {}, {}
        for reward, gamma in TAUGHT:
            G = labelled(episodes, self.goal, reward, gamma)[row][:, None]
            R = Scaler.fit(G, "standard")(G)[:, 0].float()
            self.guides[reward, gamma] = _taught(plans, R, seed)
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


def _taught(x: Tensor, y: Tensor, seed: int) -> Guide:
    """J(x_t, t) = E[y | x_t], the start known: `GUIDE_STEPS` updates, averaged weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        J = Guide(x[0].numel(), Cosine())
    g = torch.Generator().manual_seed(seed)
    update = descend(
        lambda i: value_loss(J, x[i], y[i], known=_start(x[i]), generator=g),
        J, lr=2e-3, schedule=cosine_decay(GUIDE_STEPS), ema=0.99, generator=g,
    )  # fmt: skip
    for _ in range(GUIDE_STEPS):
        update(torch.randint(len(x), (256,), generator=g))
    assert update.ema is not None
    return update.ema.module  # type: ignore[return-value]


@lru_cache(maxsize=5)
def navigator(seed: int) -> Navigator:
    """The guides of a seed and what they guide."""
    return Navigator(seed)


@lru_cache(maxsize=1)
def _starts() -> NDArray[np.float64]:
    """Where the environment's resets put the ball, seeds 5000 and on. -> [STARTS, 4]"""
    env = make_maze(WIDE)
    found = np.array([env.reset(seed=5000 + k)[0]["observation"] for k in range(STARTS)])
    env.close()
    return found


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
    walls, ends, clear = _walls(WIDE), plan.candidates[:, -1, :2].numpy(), []
    for k in range(len(obs)):
        sane = 1 <= float(plan.durations[k]) < 5000 and bool(plan.candidates[k].isfinite().all())
        clear.append(sane and not walls.inside(nav.planner.reference(plan, k)[:, :2]).any())
    ok = np.array(clear)
    arrive = ok & (np.linalg.norm(ends - nav.goal, axis=1) <= REACHED)
    left = way_left(np.nan_to_num(ends), nav.goal)
    bins = [np.digitize(way, BINS[1:-1]) == b for b in range(len(BINS) - 1)]
    found: dict[str, Any] = {
        "goal": list(nav.goal),
        "starts": [int(b.sum()) for b in bins],
        "arrive": [int(arrive[b].sum()) for b in bins],
        "invalid": [int((~ok[b]).sum()) for b in bins],
        "closer": [float(1 - left[b & ok].sum() / way[b & ok].sum()) if (b & ok).any() else None for b in bins],
    }
    if J is not None:
        with torch.no_grad():
            good, any_ = (
                J(nav.plans(obs, None, 0.0, 40_000 + seed, told=told)[1], torch.tensor(0.0)) for told in (True, False)
            )
        right = (good > any_).numpy()
        found |= {"prefers": [int(right[b].sum()) for b in bins], "label_std": nav.spread[form, gamma]}
    return found


def by_way(table: Table) -> list[dict[str, Any]]:
    """For each guide and bin of way: the share of plans that arrive, at the scale that is best for this guide in this
    bin (so no guide is held back by its scale), over all seeds, with Wilson's interval; and the shares by seed."""
    found = []
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
            found.append(mine)
    return found


# ------------------------------------------------------------------------------------------------------------- the runs
SCALES = (0.5, 1, 2, 4, 8, 16)
GUIDED = [("none", 0.0, 0), ("told", 0.0, 0), *((form, g, s) for form, g in TAUGHT for s in SCALES)]


def points(part: str, seeds: tuple[int, ...]) -> list[tuple[list[dict[str, Any]], tuple[int, ...]]]:
    """The grid of one of the first three tables, in groups of points and the seeds they are computed for.

    Retrieval of the whole recording does not depend on the seed, and has the first alone.
    """

    def one(n: int, method: str, k: int = 0, recorder: str = "expert") -> dict[str, Any]:
        return {"recorder": recorder, "k": k, "transitions": n, "method": method}

    whole = SIZES[-1]
    if part == "efficiency":
        seeded = [one(n, m) for n in SIZES for m in METHODS if (n, m) != (whole, "retrieval")]
        return [(seeded, seeds), ([one(whole, "retrieval")], seeds[:1])]
    if part == "stitching":
        learned = [one(whole, m, k) for k in (2, FAR, 0) for m in ("bc", "planner")]
        return [(learned, seeds), ([one(whole, "retrieval", k) for k in (2, FAR, 0)], seeds[:1])]
    if part == "recorders":
        return [([one(SIZES[1], "planner", recorder=r) for r in ("expert", "mixed", "targets")], seeds)]
    raise ValueError(f"a part is one of {', '.join(PARTS)}; got {part!r}")


def joined(tables: list[Table]) -> Table:
    """The rows of several tables of one function as one table."""
    rows, made = [], []
    for table in tables:
        for row in table.rows:
            how = table.about["made"][row["made"]]
            if how not in made:
                made.append(how)
            rows.append(row | {"made": made.index(how)})
    hours = sum(row["cpu_seconds"] for row in rows) / 3600
    seeds = sorted({row["seed"] for row in rows})
    return Table(rows, tables[0].about | {"seeds": seeds, "points": len(rows), "hours": hours, "made": made})


def tables(part: str, seeds: tuple[int, ...] = SEEDS) -> Table:
    """One part of the study, computed or read from the cache."""
    if part == "guide":
        grid = [{"form": f, "gamma": g, "scale": s} for f, g, s in GUIDED]
        table = run_grid(guide, grid, seeds=seeds, cache=RUNS, version=VERSION)
        return Table(table.rows, table.about | {"bins": list(BINS), "maze": WIDE, "summary": by_way(table)})
    groups = points(part, seeds)
    table = joined([run_grid(trial, grid, seeds=chosen, cache=RUNS, version=VERSION) for grid, chosen in groups])
    about = {"maze": MAZE, "first": FIRST, "steps": STEPS, "distances": distances().tolist()}
    table = Table(table.rows, table.about | about)
    return Table(table.rows, table.about | {"summary": summary(table, FAR if part == "stitching" else 0)})


PARTS = ("guide", "efficiency", "stitching", "recorders")


def main(words: list[str]) -> None:
    """Compute the parts named (all, without names) and write what ships; `--seeds N`: training seeds 0 to N - 1."""
    from diffrl_lab.data.shipped import add

    n, parts = len(SEEDS), words
    if "--seeds" in words:
        at = words.index("--seeds")
        n, parts = int(words[at + 1]), words[:at] + words[at + 2 :]
    option = "" if n == len(SEEDS) else f" --seeds {n}"
    for part in parts or PARTS:
        table = tables(part, tuple(range(n)))
        table.save(RESULTS / f"data-{part}.json")
        add(f"results/data-{part}.json", f"{COMMAND} {part}{option}", 0)
        print(f"{part}: {len(table.rows)} points, {table.about['hours']:.3f} hours", flush=True)


if __name__ == "__main__":
    from diffrl_lab.studies import data as data_study

    torch.set_num_threads(1)
    data_study.main(sys.argv[1:])
