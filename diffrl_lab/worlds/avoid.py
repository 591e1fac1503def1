"""Avoid: a point goes up past three rows of 1, 2 and 3 posts, so there are 2 * 3 * 4 = 24 ways, and all are known.

In the manner of D3IL's obstacle avoidance (Jia et al. 2024), without its robot. The state is the position (x, y), which
is all that is seen; an action a in [-1, 1]^2 moves it by 0.08 a. The task is done at y >= 5. Who comes nearer than 0.2
to a post, anywhere between two positions, or leaves the field (|x| <= 2.2, y >= -0.5), has crashed.

A row of k posts leaves k + 1 gaps, counted from the left; a way is its three gaps (g1, g2, g3), and its number
(3 g1 + g2) 4 + g3. The demonstrator takes each way with a probability that is given: the exact answer to which a policy
that imitates it is held.

With payments some ways are worth more: who passes a row upwards is paid what the gap pays, PAYS, and 1 for the arrival.
Who falls back below a row gives back the most that it pays. So no round trip earns anything, the position says all that
matters, and an episode is paid at most 6, on the one way that is worth it: `worth`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.minari import place, write
from diffrl_lab.worlds.driving import Agent, indices

ROWS = ((1.0, (0.0,)), (2.5, (-0.5, 0.5)), (4.0, (-1.0, 0.0, 1.0)))  # each row's height, and where its posts are
GAPS = ((-0.5, 0.5), (-1.0, 0.0, 1.0), (-1.5, -0.5, 0.5, 1.5))  # where the demonstrator passes each row
WAYS = 24
POSTS = np.array([(x, y) for y, posts in ROWS for x in posts])
RADIUS, SIDE, BOTTOM, TOP = 0.2, 2.2, -0.5, 5.0
STEP = 0.08  # how far an action of 1 moves the point
ID = "diffrl_lab/Avoid-v0"
LIMIT = 200  # steps of an episode; the demonstrator needs about 100
NOISE = 0.3  # standard deviation of what is added to the demonstrator's actions
FIRST = 10**6  # the first seed of demonstrations: evaluations use smaller ones
PAYS = ((0.0, 1.0), (2.0, 0.0, 0.5), (0.5, 0.0, 1.0, 2.0))  # what each gap pays who passes it upwards, with payments
PAID = "diffrl_lab/AvoidPaid-v0"
RESTLESS = 0.5  # standard deviation of what is added to the actions of a recording with payments
CLEAR, RISE = 0.2, 0.6  # the demonstrator turns to its next gap CLEAR above a row's posts, and is there RISE higher
Floats = NDArray[np.float32]


def gaps(number: ArrayLike) -> NDArray[np.int64]:
    """The gaps (g1, g2, g3) of the way of that number, 0 to 23. [...] -> [..., 3]"""
    return np.stack(np.unravel_index(np.asarray(number), [len(g) for g in GAPS]), -1)


def way(path: ArrayLike) -> NDArray[np.int64]:
    """The number of the way of a trajectory [..., T + 1, 2], 0 to 23; -1: it crashed first, or never arrived. -> [...]

    A row's gap is that of the last crossing upwards before the arrival; what follows the arrival does not count.
    """
    path = np.asarray(path, float)
    x, y = path[..., :-1, :], path[..., 1:, :]
    there = y[..., 1] >= TOP
    arrival = np.where(there.any(-1), there.argmax(-1), -1)
    before = np.arange(there.shape[-1]) <= arrival[..., None]
    number, valid = np.zeros(arrival.shape, int), (arrival >= 0) & ~(crash(x, y) & before).any(-1)
    for height, posts in ROWS:
        up = (x[..., 1] < height) & (y[..., 1] >= height) & before
        rise = np.where(up, y[..., 1] - x[..., 1], 1.0)
        at = x[..., 0] + (y[..., 0] - x[..., 0]) * (height - x[..., 1]) / rise
        last = up.shape[-1] - 1 - up[..., ::-1].argmax(-1)
        gap = np.searchsorted(posts, np.take_along_axis(at, last[..., None], -1)[..., 0])
        number = number * (len(posts) + 1) + gap
        valid = valid & up.any(-1)  # a trajectory that begins above a row has no way
    return np.where(valid, number, -1)


def crash(x: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
    """Whether the straight move from x to y [..., 2] touches a post or leaves the field. -> [...]"""
    x, y = np.asarray(x, float), np.asarray(y, float)
    move = (y - x)[..., None, :]
    to = POSTS - x[..., None, :]
    share = ((to * move).sum(-1) / np.maximum((move * move).sum(-1), 1e-12)).clip(0, 1)  # of the move, where nearest
    nearest = np.linalg.norm(share[..., None] * move - to, axis=-1).min(-1)
    return (nearest < RADIUS) | (np.abs(y[..., 0]) > SIDE) | (y[..., 1] < BOTTOM)


def start(rng: np.random.Generator) -> Floats:
    """Where an episode begins: x uniform in [-0.1, 0.1], y = 0. -> [2]"""
    return np.array([rng.uniform(-0.1, 0.1), 0.0], np.float32)


def moved(x: Floats, action: ArrayLike) -> Floats:
    """Where an action, clipped to [-1, 1]^2, leads from x [..., 2]. -> [..., 2]"""
    return x + np.float32(STEP) * np.clip(np.asarray(action, np.float32), -1, 1)


# ----------------------------------------------------------------------------------------------------------- payments
def worth(number: ArrayLike) -> NDArray[np.float64]:
    """What the way of that number, 0 to 23, is paid in all, with payments: its three gaps, and 1. [...] -> [...]"""
    gap = gaps(number)
    return 1 + np.stack([np.asarray(pays)[gap[..., row]] for row, pays in enumerate(PAYS)]).sum(0)


def pay(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """What the straight moves from x to y [..., 2] are paid, with payments. -> [...]

    A row that is passed upwards pays its gap, one that is passed downwards takes back its largest payment, and 1 is
    paid at y >= 5. A crash is paid nothing at all.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    total = (y[..., 1] >= TOP).astype(float)
    for (height, posts), pays in zip(ROWS, PAYS, strict=True):
        up = (x[..., 1] < height) & (y[..., 1] >= height)
        down = (x[..., 1] >= height) & (y[..., 1] < height)
        rise = np.where(up, y[..., 1] - x[..., 1], 1.0)
        at = x[..., 0] + (y[..., 0] - x[..., 0]) * (height - x[..., 1]) / rise
        total += np.where(up, np.asarray(pays)[np.searchsorted(posts, at)], 0.0) - np.where(down, max(pays), 0.0)
    return np.where(crash(x, y), 0.0, total)


def earned(rolled: Rolled) -> NDArray[np.float64]:
    """What each step of episodes was paid, with payments; nothing after their end. -> [m, T]"""
    lived = np.arange(rolled.act.shape[1]) < rolled.steps[:, None]
    return np.where(lived, pay(rolled.path[:, :-1], rolled.path[:, 1:]), 0.0)


# ------------------------------------------------------------------------------------------------------ many at a time
class Rolled(NamedTuple):
    """Episodes that were driven side by side; beyond an episode's `steps` the point rests, and its actions are 0."""

    path: Floats  # [m, T + 1, 2]
    act: Floats  # [m, T, 2], as they were done: clipped
    steps: NDArray[np.int64]  # [m]
    way: NDArray[np.int64]  # [m], -1: crashed, or not there after LIMIT steps


def roll(agent: Agent, seeds: Sequence[int]) -> Rolled:
    """One episode for each seed, all side by side: bit for bit what `driving.drive` does in the environment, faster."""
    seeds = [int(seed) for seed in seeds]
    path = [np.stack([start(np.random.default_rng(seed)) for seed in seeds])]
    acts: list[Floats] = []
    steps, alive = np.full(len(seeds), LIMIT), np.arange(len(seeds))
    agent.reset(path[0], seeds)
    while len(alive) and len(acts) < LIMIT:
        act, y = np.zeros_like(path[-1]), path[-1].copy()
        act[alive] = np.clip(agent.act(path[-1][alive], alive), -1, 1)
        y[alive] = moved(path[-1][alive], act[alive])
        over = crash(path[-1][alive], y[alive]) | (y[alive, 1] >= TOP)
        path.append(y)
        acts.append(act)
        steps[alive[over]] = len(acts)
        alive = alive[~over]
    paths = np.stack(path, 1)
    return Rolled(paths, np.stack(acts, 1), steps, way(paths))


# ----------------------------------------------------------------------------------------------- who goes, and records
def only(number: int) -> NDArray[np.float64]:
    """The probabilities of a demonstrator that always takes one way: a task with a single mode. -> [24]"""
    if not 0 <= number < WAYS:
        raise ValueError(f"a way is a number from 0 to {WAYS - 1}, got {number!r}")
    return np.eye(WAYS)[number]


class Demonstrator:
    """An agent that takes way k with probability p[k]: for each row sideways towards its gap, then up through it.

    Its intent is an action of length 0.9; what it does is that and Gaussian noise of deviation `noise` in each number.
    p: [24], default: all alike; `only(k)` takes one way. About eight of 10,000 episodes crash: noise has no bound.
    Raises ValueError for p that are no probabilities.
    """

    def __init__(self, p: ArrayLike | None = None, noise: float = NOISE) -> None:
        self.p = np.full(WAYS, 1 / WAYS) if p is None else np.asarray(p, float)
        self.noise = noise
        if self.p.shape != (WAYS,) or (self.p < 0).any() or abs(self.p.sum() - 1) > 1e-9:
            raise ValueError(f"p must be {WAYS} probabilities that add up to 1, got {self.p.tolist()}")

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        """Draw the way and the noise of each episode from its seed alone: `ways` [m]."""
        each = [np.random.default_rng([int(seed), 1]) for seed in seeds]  # not what the start is drawn from
        self.ways = np.array([rng.choice(WAYS, p=self.p) for rng in each])
        self.errors = self.noise * np.stack([rng.standard_normal((LIMIT, 2)) for rng in each])
        self.step = np.zeros(len(seeds), int)
        self.intents = np.zeros((len(seeds), LIMIT, 2), np.float32)  # what it meant to do in each step

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float64]:
        """Actions [m, 2] in [-1, 1], noise included."""
        now = np.array(indices(obs, which))
        k = self.step[now]
        self.intents[now, k] = intent(obs, self.ways[now])
        self.step[now] += 1
        return np.clip(self.intents[now, k] + self.errors[now, k], -1, 1)


def intent(obs: ArrayLike, ways: ArrayLike) -> NDArray[np.float64]:
    """What the demonstrator means to do at positions obs [m, 2] on its `ways` [m]. -> [m, 2] of length 0.9"""
    obs, clear = np.asarray(obs, float), np.array([0.0, ROWS[0][0] + CLEAR, ROWS[1][0] + CLEAR])
    row = np.searchsorted(clear[1:], obs[:, 1])  # which comes next
    aim = np.array([[*g, *[0.0] * (4 - len(g))] for g in GAPS])[row, gaps(ways)[np.arange(len(obs)), row]]
    side = aim - obs[:, 0]
    up = np.where(np.abs(side) > 0.12, clear[row] + RISE - obs[:, 1], 1.0).clip(0.05)
    direction = np.stack([side, up], 1)
    return 0.9 * direction / np.linalg.norm(direction, axis=1, keepdims=True)


def demonstrations(n: int, p: ArrayLike | None = None, seed: int = 0, noise: float = NOISE) -> Rolled:
    """n episodes of the demonstrator, none of them crashed, with its intents as `act` in place of what was done.

    So the states are those that noise leads to, beside the ways too, while the actions to be learned lead back to them
    (DART, Laskey et al. 2017): `path` moves by what was done, not by `act`. Way k has probability p[k] exactly: what
    crashes is driven again on the same way with other noise, so ways that crash more often are not rarer.
    Raises ValueError for numbers out of range, or noise with which a way is not done in a hundred trials.
    """
    if n < 1 or seed < 0 or noise < 0:
        raise ValueError(f"n must be at least 1, seed and noise at least 0; got {n}, {seed} and {noise}")
    first = FIRST + seed * 10**7
    agent = Demonstrator(p, noise)
    driven = roll(agent, range(first, first + n))
    pieces = [(driven.path[k], agent.intents[k], int(driven.steps[k])) for k in range(n)]
    for k in np.flatnonzero(driven.way != agent.ways):
        again = Demonstrator(only(int(agent.ways[k])), noise)
        for trial in range(1, 101):
            one = roll(again, [first + int(k) + n * trial])
            if one.way[0] == agent.ways[k]:
                break
        else:
            raise ValueError(f"noise={noise} leaves way {agent.ways[k]} undone in a hundred trials; lower it")
        pieces[k] = one.path[0], again.intents[0], int(one.steps[0])
    steps = np.array([length for *_, length in pieces])
    rest = np.arange(steps.max() + 1)
    path = np.stack([x[np.minimum(rest, length)] for x, _, length in pieces])
    act = np.stack([np.where(rest[:-1, None] < length, a[: len(rest) - 1], 0) for _, a, length in pieces])
    return Rolled(path, act, steps, agent.ways)


def trials(n: int, p: ArrayLike | None = None, seed: int = 0, noise: float = RESTLESS) -> Rolled:
    """n episodes of the demonstrator as they went, crashes among them, with what was *done* as `act`.

    So a step leads where its action leads, which is what a critic is learned from. Raises ValueError for numbers out of
    range.
    """
    if n < 1 or seed < 0 or noise < 0:
        raise ValueError(f"n must be at least 1, seed and noise at least 0; got {n}, {seed} and {noise}")
    first = FIRST + seed * 10**7
    return roll(Demonstrator(p, noise), range(first, first + n))


def episodes(rolled: Rolled, payments: bool = False) -> Episodes:
    """What was driven as Episodes: obs (x, y), the reward 1 for the step that does the task, or with payments.

    Arrivals and crashes are terminal; what the limit of 200 steps cut off is not.
    """
    told = _told(rolled, payments)
    return Episodes.join((d["obs"], d["act"], np.float32(d["rew"]), d["terminal"]) for d in told)


def _told(rolled: Rolled, payments: bool) -> Iterator[dict[str, Any]]:
    """Each episode as `write` takes it, without its seed."""
    rewards = earned(rolled) if payments else None
    for k, (path, act, length, number) in enumerate(zip(*rolled, strict=True)):
        cut = payments and length == LIMIT and number < 0 and not bool(crash(path[length - 1], path[length]))
        yield {
            "obs": path[: length + 1],
            "act": act[:length],
            "rew": _paid(length, number).astype(float) if rewards is None else rewards[k, :length],
            "terminal": not cut,
            "told": {"way": int(number)},
        }


def _paid(steps: int, number: int) -> Floats:
    """[steps]: 1 in the last, where there is a way."""
    return ((np.arange(steps) == steps - 1) & (number >= 0)).astype(np.float32)


def record(
    n: int = 600,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    *,
    p: ArrayLike | None = None,
    payments: bool = False,
    overwrite: bool = False,
) -> Path:
    """n `demonstrations` (intents as actions, see there) with probabilities p into a Minari dataset -> its folder.

    It is avoid-v0; avoid-way-K-v0 where way K alone is taken; avoid-p-v0 for other p. Each episode says its way, the
    dataset its p. With payments it is avoid-paid-v0 (avoid-paid-way-K-v0, avoid-paid-p-v0) and holds `trials`: what was
    done, crashes too. Equal arguments give equal files. Raises ValueError for numbers out of range, p that are no
    probabilities, or a dataset that exists and overwrite=False.
    """
    agent = Demonstrator(p)
    one = int(agent.p.argmax()) if agent.p.max() == 1 else None
    start_of = "avoid-paid" if payments else "avoid"
    name = f"{start_of}-way-{one}" if one is not None else start_of if p is None else f"{start_of}-p"
    folder = place(f"{name}-v0", out, overwrite)
    driven, env = (trials if payments else demonstrations)(n, p, seed), make(payments)
    told = [d | {"seed": seed} for d in _told(driven, payments)]
    command = f"diffrl-lab record {start_of} --episodes {n} --seed {seed}" + (
        f" --way {one}" if one is not None else ""
    )
    about = {
        "dataset_id": folder.name,
        "algorithm_name": "scripted demonstrator; "
        + ("what it did is recorded, noise included" if payments else "noise is done, the intent is recorded (DART)"),
        "description": f"{n} {'trials' if payments else 'demonstrations'} past rows of 1, 2 and 3 posts, seed {seed}",
        "author": {"diffrl_lab"},
        "recorded_with": "diffrl_lab.worlds.avoid.record" if name.endswith("-p") else command,
        "probabilities": agent.p.tolist(),
        "ref_episode_steps": LIMIT,
    }
    write(folder, told, (env.observation_space, env.action_space, env.spec), about, overwrite=overwrite)
    return folder


# ------------------------------------------------------------------------------------------------------ the environment
def make(payments: bool = False, **options: Any) -> Any:
    """Avoid as Gymnasium's environment diffrl_lab/Avoid-v0, cut off (`truncated`) after 200 steps; with payments it is
    diffrl_lab/AvoidPaid-v0.

    Observations (x, y), actions [-1, 1]^2. An episode terminates with the task done, reward 1, or with a crash, reward
    0; other steps pay 0, or what `pay` says. The info has `success`, `crashed` and `way` (-1: none yet).
    """
    import gymnasium

    name = PAID if payments else ID
    if name not in gymnasium.registry:
        entry = "diffrl_lab.worlds.avoid:environment"
        gymnasium.register(name, entry, max_episode_steps=LIMIT, kwargs={"payments": True} if payments else None)
    return gymnasium.make(name, **options)


def environment(payments: bool = False) -> Any:
    """The environment that `make` registers, without a limit."""
    import gymnasium

    class Environment(gymnasium.Env):
        def __init__(self) -> None:
            low, high = np.array([-SIDE, BOTTOM]) - STEP, np.array([SIDE, TOP]) + STEP
            self.observation_space = gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32))
            self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Floats, dict]:
            super().reset(seed=seed)
            self.path = [start(self.np_random)]
            return self.path[0], {"success": False, "crashed": False, "way": -1}

        def step(self, action: ArrayLike) -> tuple[Floats, float, bool, bool, dict]:
            x, y = self.path[-1], moved(self.path[-1], action)
            self.path.append(y)
            crashed = bool(crash(x, y))
            success = bool(y[1] >= TOP) and not crashed
            number = int(way(self.path)) if success else -1
            info = {"success": success, "crashed": crashed, "way": number}
            reward = float(pay(x, y)) if payments else float(success)
            return y, reward, success or crashed, False, info

    return Environment()
