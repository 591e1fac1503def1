"""Fast sampling in control, behind lesson 06: what a plan is worth after K evaluations of a network, and what it costs.

- `exact`: samplers by their evaluations on two laws whose probability-flow map is known in closed form;
- `fidelity`: the same on shipped planners, held against a chain of 400 steps from the same noise;
- `short`: planners trained for few levels of noise, for 1,000, for all times, a shortcut and a consistency model;
- `driven`: plans of few steps driven in the large maze, once and again, also begun from the last plan, and a student's;
- `latency`, `loop`: what passes, chains and plans take in one run; a loop of 50 Hz by the clock (`clocked.py`);
- `chunks`, `robot`: policies over chunks in avoid, and a planner of Hopper's windows, in few steps (`acting.py`);
- `weights`: a student of one step, as the lesson opens it.

A cost is counted in evaluations of a network on 16 candidates, alike for all arms. Networks and points are kept in
runs/fast. How the study came about: docs/studies/fast.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from diffrl_lab.analysis.distance import energy_distance
from diffrl_lab.analysis.evaluate import evaluate
from diffrl_lab.analysis.modes import homotopy
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data import minari
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import (
    Cosine,
    Denoiser,
    MixtureDenoiser,
    Step,
    brownian_bridge,
    ddim,
    given,
    heun,
    load,
    pin,
    sample,
)
from diffrl_lab.files import ROOT
from diffrl_lab.methods.planning import consistency, diffuser, distilled, shortcut
from diffrl_lab.methods.planning.consistency import Consistency
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.methods.planning.distilled import Distilled
from diffrl_lab.methods.planning.plans import Plan
from diffrl_lab.methods.planning.shortcut import Shortcut
from diffrl_lab.studies import acting, clocked
from diffrl_lab.studies.costs import RENEWED, STEPS, Arrays, Counted, chain_of, in_turn
from diffrl_lab.studies.study import Part, Tensors, summary
from diffrl_lab.worlds.driving import Follower
from diffrl_lab.worlds.mazes import STEP, make_maze
from diffrl_lab.worlds.walls import Walls

RUNS = ROOT / "runs" / "fast"
VERSION = "1"  # of what the study's functions call
MAZES = ("large", "two-ways")
EVALUATIONS = (1, 2, 3, 5, 10, 20, 50, 100)
STUDENT = distilled.Config(width=128, pairs=20_000, updates=2000, batch=128, lr=3e-3)
SHAPE: dict[str, Any] = {
    "width": 128,
    "updates": 2000,
    "batch": 128,
    "lr": 3e-3,
    "ema": 0.995,
}  # of what is trained alone
LEVELS = {
    "all times": 0,
    "10 levels": 10,
    "20 levels": 20,
    "1000 levels": 1000,
}  # planners with a training of their own
SHORTCUT, CONSISTENCY = "shortcut", "consistency"
DRAWN = 2000  # samples of an exact law
LEARNER = consistency.Config(width=128, pairs=20_000, updates=2000, batch=128, lr=3e-3)  # as STUDENT
TASKS, FIRST = 128, 1000  # starts and goals whose plans are compared; the first seed that is driven
EPISODES, EVERY = 50, 50  # how many are driven; steps after which an arm plans again
STRIDE, LOOPS = 2, 12  # steps of the mazes in a period of 50 Hz; drives of an arm by the clock
SELDOM, OFTEN = 25, 5  # periods of this loop, half a second and a tenth, after which an arm plans again
WARM = 0.5  # the time that the last plan is noised to, where the next begins with it


def lengths(sampler: str) -> list[int]:
    """The numbers of evaluations that a sampler is measured at."""
    return [n for n in EVALUATIONS if sampler != "heun" or n == 1 or n % 2 == 0]


# ------------------------------------------------------------------------------------------------------- laws, exactly
def law(name: str) -> MixtureDenoiser:
    """modes: .3 N(-1, .15^2) + .7 N(1, .15^2) on the line. bridge: Brownian motion of 32 moments, tied to 0 at both
    ends."""
    if name == "modes":
        return MixtureDenoiser([0.3, 0.7], [[-1.0], [1.0]], Cosine(), std=0.15)
    if name == "bridge":
        return brownian_bridge(32, [0.0], [0.0], Cosine())
    raise ValueError(f"a law is modes or bridge, got {name!r}")


def flowed(D: MixtureDenoiser, x_T: Tensor) -> Tensor:
    """Where the probability-flow ODE takes noise x_T [n, ...] of the prior, in closed form. -> its shape, float64

    Of one Gaussian: mean + Sigma^(1/2) x_T. On a line: the quantile of the law at which x_T stands among the noise,
    since trajectories of an ODE do not overtake each other. Raises ValueError for other laws, whose map is not known.
    """
    x = x_T.double()
    if len(D.weights) == 1:
        root = D.vectors[0] * D.values[0].sqrt() @ D.vectors[0].T
        return (D.means[0] + x.flatten(1) @ root).reshape(x.shape)
    if D.means.shape[1] != 1:
        raise ValueError("the map of the probability flow is known for one Gaussian, and for laws on a line")
    at, std = torch.special.ndtr(x.flatten()), D.values[:, 0].sqrt()
    low, high = torch.full_like(at, -20.0), torch.full_like(at, 20.0)
    for _ in range(80):
        middle = (low + high) / 2
        below = torch.special.ndtr((middle[:, None] - D.means[:, 0]) / std) @ D.weights < at
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2).reshape(x.shape)


def exact(kind: str, sampler: str, evaluations: int, *, seed: int) -> dict[str, Any]:
    """A sampler with an exact denoiser. sampler: one of STEPS; "flow": the closed form; "law": fresh draws, the floor.

    energy: energy distance to fresh draws of the law; off: the root mean square distance to where the probability flow
    ends from the same noise (None for samplers that draw noise of their own); left: the share below 0, of `modes` .3.
    """
    D, g = law(kind), torch.Generator().manual_seed(seed)
    fresh, x_T = D.sample(DRAWN, g), D.schedule.prior((DRAWN, *D.event), g)
    end, cost = flowed(D, x_T), 0
    if sampler == "law":
        x = D.sample(DRAWN, g)
    elif sampler == "flow":
        x = end
    else:
        counted, (steps, step) = Counted(D), chain_of(sampler, evaluations)
        x, cost = sample(counted, x_T.double(), steps=steps, step=step, generator=g), counted.n
    own = sampler in ("ddpm", "law")
    return {
        "cost": cost,
        "energy": energy_distance(x, fresh),
        "off": None if own else float((x - end).flatten(1).square().sum(1).mean().sqrt()),
        "left": float((x < 0).double().mean()) if kind == "modes" else None,
    }


# ------------------------------------------------------------------------------------------- planners and their student
@lru_cache(maxsize=4)
def planner(maze: str) -> Diffuser:
    """The planner that ships for a maze."""
    return Diffuser.load(f"maze-{maze}")


def learned(seed: int, maze: str = "large") -> Distilled:
    """A student of one step as it is kept (float16), trained first where it is missing. about["seconds"]: of a CPU."""
    path = RUNS / "weights" / f"fast-{maze}-{seed}.safetensors"
    if not path.exists():
        begun = time.process_time()
        recorded = minari.read(shipped(f"recordings/pointmaze-{maze}-v0"))
        run = distilled.train(recorded, STUDENT, teacher=planner(maze), seed=seed)
        for _ in run:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        run.model.save(path, maze=maze, seconds=time.process_time() - begun)
    return Distilled.load(path)


def who(maze: str, sampler: str, seed: int) -> Diffuser:
    """The planner that an arm draws with: the shipped one, or a student of it."""
    return learned(seed, maze).planner if sampler == "student" else planner(maze)


@lru_cache(maxsize=4)
def resets(maze: str) -> tuple[Arrays, Arrays]:
    """States [TASKS, 2n] and goals [TASKS, n] of the resets that are driven."""
    env, states, goals = make_maze(maze), [], []
    for seed in range(FIRST, FIRST + TASKS):
        seen, _ = env.reset(seed=seed)
        states.append(seen["observation"])
        goals.append(seen["desired_goal"])
    env.close()
    return np.array(states), np.array(goals)


@lru_cache(maxsize=4)
def tasks(maze: str) -> tuple[Tensor, Tensor]:
    """The ends of TASKS plans as the shipped planner is shown them: (known, value), scaled, [TASKS, H, 2n + 1] each."""
    return planner(maze).ends(*resets(maze))


@torch.no_grad()
def plans(
    model: Diffuser, maze: str, steps: int, step: Step, seed: int, denoiser: Denoiser | None = None
) -> tuple[Tensor, int]:
    """One plan for each task, scaled, from the noise of a seed; and how many evaluations that took. denoiser: another
    than the model's."""
    known, value = model.ends(*resets(maze))
    D, g = Counted(given(denoiser or model.denoiser, {"known": known})), torch.Generator().manual_seed(seed)
    x_T = D.schedule.prior(value.shape, generator=g)
    x = sample(pin(D, known, value), x_T, steps=steps, step=step, generator=g)
    return torch.where(known, value, x), D.n


@lru_cache(maxsize=8)
def fine(maze: str, seed: int) -> Tensor:
    """The plans of 400 steps of DDIM from the noise of a seed, scaled: what others are held against."""
    return plans(planner(maze), maze, 400, ddim(), seed)[0]


def fidelity(maze: str, sampler: str, evaluations: int, *, seed: int) -> dict[str, Any]:
    """How far plans are from those of 400 steps of DDIM from the same noise. sampler: one of STEPS; "student", whose
    training has the seed; "floor": 400 steps against 398 evaluations of Heun's.

    off: metres between the points of two plans, mean over the points and median over the tasks (None for ddpm, which
    draws noise of its own); walls: the share of plans that meet a wall; switched: of the pairs that meet none, the
    share that goes another way around the blocks.
    """
    if sampler == "floor":
        z, cost = plans(planner(maze), maze, 200, heun(), seed)
    else:
        steps, step = chain_of("ddim" if sampler == "student" else sampler, evaluations)
        z, cost = plans(who(maze, sampler, seed), maze, steps, step, seed)
    return {"cost": cost} | beside(planner(maze), maze, z, None if sampler == "ddpm" else fine(maze, seed))


def beside(model: Diffuser, maze: str, z: Tensor, reference: Tensor | None) -> dict[str, Any]:
    """What `fidelity` measures of a model's scaled plans z beside those of the same noise, or beside None."""
    env = make_maze(maze)
    walls = Walls.of(env)
    env.close()
    x = model.unscale(z)[..., :2]
    classes = homotopy(x, walls)
    found: dict[str, Any] = {"off": None, "walls": float(np.mean([c is None for c in classes])), "switched": None}
    if reference is None:
        return found
    wanted = model.unscale(reference)[..., :2]
    pairs = zip(classes, homotopy(wanted, walls), strict=True)
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    off = float((x - wanted).norm(dim=-1).mean(1).median())
    return found | {"off": off, "switched": float(np.mean([a != b for a, b in both])) if both else None}


# -------------------------------------------------------------------------------- planners with a training of their own
def alone(arm: str, seed: int) -> Diffuser | Shortcut | Consistency:
    """A planner of the large maze with a training of its own, as it is kept (float16), trained first where it is
    missing: of LEVELS by denoising, SHORTCUT, or CONSISTENCY. All have the student's network and as many updates; the
    shipped one teaches the last, and no other."""
    path = RUNS / "weights" / f"fast-own-{arm.replace(' ', '-')}-{seed}.safetensors"
    made: Any = {SHORTCUT: Shortcut, CONSISTENCY: Consistency}.get(arm, Diffuser)
    if not path.exists():
        begun, recorded = time.process_time(), minari.read(shipped("recordings/pointmaze-large-v0"))
        if arm == SHORTCUT:
            run = shortcut.train(recorded, shortcut.Config(**SHAPE), seed=seed)
        elif arm == CONSISTENCY:
            run = consistency.train(recorded, LEARNER, teacher=planner("large"), seed=seed)
        else:
            levels = LEVELS[arm]
            config = diffuser.Config(**SHAPE, levels=levels, denoising=levels or diffuser.Config().denoising)
            run = diffuser.train(recorded, config, seed=seed)
        for _ in run:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        run.model.save(path, maze="large", seconds=time.process_time() - begun)
    return made.load(path)


def stepping(model: Diffuser | Shortcut | Consistency, steps: int) -> tuple[Diffuser, Denoiser]:
    """What scales a planner's plans, and its denoiser for a chain of so many steps (more than a shortcut model has
    lengths: its flow)."""
    if isinstance(model, Shortcut):
        return model.planner, model.of(min(steps, model.config.finest))
    planner = model.planner if isinstance(model, Consistency) else model
    return planner, planner.denoiser


@lru_cache(maxsize=4)
def own_fine(arm: str, seed: int) -> Tensor:
    """The plans of 400 steps of DDIM of a planner of `alone`, of CONSISTENCY its teacher's, from the noise of its seed,
    scaled."""
    if arm == CONSISTENCY:
        return fine("large", seed)
    model, D = stepping(alone(arm, seed), 400)
    return plans(model, "large", 400, ddim(), seed, D)[0]


def short(arm: str, sampler: str, evaluations: int, *, seed: int) -> dict[str, Any]:
    """Plans of a planner of `alone` in the large maze, measured as in `fidelity`; training and noise have one seed.

    off, switched: beside its own plans of 400 steps from the same noise; None for ddpm, and for a network that saw 10
    or 20 levels alone, since between these it is no denoiser. ms: median CPU milliseconds of one task's 16 plans on one
    thread, ratio: that over a forward pass of the same network on 16, taken in turn. training: CPU seconds.
    """
    steps, step = chain_of(sampler, evaluations)
    trained = alone(arm, seed)
    model, D = stepping(trained, steps)
    z, cost = plans(model, "large", steps, step, seed, D)
    known, value = (v[:1].expand(model.config.candidates, -1, -1) for v in model.ends(*resets("large")))
    g = torch.Generator().manual_seed(seed)
    x_T, pinned = D.schedule.prior(value.shape, generator=g), pin(given(D, {"known": known}), known, value)
    with torch.no_grad():
        once, whole = (
            partial(pinned, x_T, torch.ones(())),
            partial(sample, pinned, x_T, steps=steps, step=step, generator=g),
        )
        spent = {
            k: float(np.median(v)) for k, v in in_turn({"network": once, "plan": whole}, max(1, 60 // cost)).items()
        }
    reference = None if sampler == "ddpm" or LEVELS.get(arm) in (10, 20) else own_fine(arm, seed)
    costs = {"ms": spent["plan"], "ratio": spent["plan"] / spent["network"], "training": trained.about["seconds"]}
    return {"cost": cost} | beside(model, "large", z, reference) | costs


# --------------------------------------------------------------------------------------------------------------- drives
class Rider(Follower):
    """Follows plans of `steps` steps of a sampler, and asks for a new one where driving goes wrong and, with `every`,
    after so many steps each time. options: of `Follower`.

    warm: a time; plans after the first begin with what is left of the last one, noised to it, and their chain has
    `steps` steps from there. evaluations: how often the network was asked (on all candidates), in all episodes since
    the agent was made; asked: how many plans that were.
    """

    def __init__(
        self, model: Diffuser, steps: int, step: Step, every: int = 0, warm: float | None = None, **options: Any
    ):
        super().__init__(self.planned, **options)
        self.model, self.steps, self.stepping, self.every, self.warm = model, steps, step, every, warm
        self.evaluations = self.asked = 0

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        self.last: dict[int, tuple[Plan, Arrays]] = {}
        super().reset(obs, seeds, goal)

    def _act(self, k: int, x: Arrays) -> Arrays:
        if self.every and self.step[k] == self.every and self.step[k] < len(self.reference[k]) - 1:
            self._ask(k, x)
        return super()._act(k, x)

    def _ask(self, k: int, x: Arrays) -> None:
        self.now = k
        super()._ask(k, x)

    @torch.no_grad()
    def planned(self, obs: Arrays, goal: Arrays, seed: int) -> Arrays:
        """The best of the candidates, as a state for every step."""
        model, g = self.model, torch.Generator().manual_seed(seed)
        known, value = model.ends(obs, goal)
        counted = Counted(given(model.denoiser, {"known": known}))
        D, n = pin(counted, known, value), model.config.candidates
        if self.warm is None or (rest := self.rest()) is None:
            plan = model.drawn(D, known, value, n, self.steps, g, step=self.stepping)
        else:
            alpha, sigma = (float(level) for level in D.schedule(self.warm))
            x = alpha * rest + sigma * torch.randn(n, *known.shape, generator=g)
            grid = torch.linspace(self.warm, 0, self.steps + 1, dtype=torch.float64)
            plan = model.drawn(D, known, value, n, grid, g, step=self.stepping, x_T=x)
        self.evaluations, self.asked = self.evaluations + counted.n, self.asked + 1
        reference = model.reference(plan)
        self.last[self.now] = plan, reference
        return reference

    def rest(self) -> Tensor | None:
        """What is left of the last plan of the episode at hand, as a scaled plan [H, 2n + 1]; None where nothing is
        left, and at the beginning."""
        if self.now not in self.last:
            return None
        left = self.last[self.now][1][self.step[self.now] :]
        if len(left) < 2:
            return None
        at = np.linspace(0, len(left) - 1, self.model.horizon)
        points = np.stack([np.interp(at, np.arange(len(left)), column) for column in left.T], 1)
        steps = np.full((self.model.horizon, 1), math.log(len(left) - 1))
        return self.model.scaler(torch.tensor(np.concatenate([points, steps], 1), dtype=torch.float32))


def driven(
    maze: str, sampler: str, evaluations: int, again: str = "never", warm: float | None = None, *, seed: int
) -> dict[str, Any]:
    """EPISODES episodes of a maze, the same for all arms. again: when a new plan is asked for, "never", "lost" (where
    driving goes wrong) or "often" (after EVERY steps, too).

    cost: evaluations of a network in an episode; plans: in an episode; walls: the share of first plans that meet one.
    """
    steps, step = chain_of("ddim" if sampler == "student" else sampler, evaluations)
    every = EVERY if again == "often" else 0
    rider = Rider(who(maze, sampler, seed), steps, step, every, warm, again=again != "never")
    env = make_maze(maze)
    found = evaluate(env, rider, range(FIRST, FIRST + EPISODES), maze=maze)
    env.close()
    names = ("success", "success_interval", "return", "return_interval", "score", "score_interval", "steps_to_goal")
    free = found["plans_free_of_walls"]
    return {
        **{k: found[k] for k in names},
        "plans": found["plans_per_episode"],
        "walls": None if free is None else 1 - free,
        "cost": rider.evaluations / EPISODES,
    }


# -------------------------------------------------------------------------------------------------------------- latency
@torch.no_grad()
def timed(maze: str, batch: int, repeats: int = 20, *, seed: int) -> list[dict[str, Any]]:
    """How long things take for `batch` plans, a row each: "network", a bare forward pass of the planner's network, and
    "student's network"; "chain, K", K steps of DDIM; "plan, K" and "plan, student", with the choice and the states for
    every step; "plan, K sampler" by another sampler of STEPS.

    ms: median of `repeats`; ratio: that over the bare pass, in the same run; late: the share that takes more than the
    20 ms of a loop of 50 Hz, on a core of its own.
    """
    model, student = planner(maze), learned(seed, maze).planner
    known, value = (v[:1].expand(batch, -1, -1) for v in tasks(maze))
    raw = model.scaler.inverse(value[0])
    obs, goal = raw[0, : 2 * model.n].numpy(), raw[-1, : model.n].numpy()
    g, label, cond = torch.Generator().manual_seed(seed), torch.zeros(batch), {"known": known}
    D = pin(given(model.denoiser, cond), known, value)
    x_T = D.schedule.prior(value.shape, generator=g)

    def whole(m: Diffuser, evaluations: int, sampler: str = "ddim") -> Callable[[], Any]:
        steps, step = chain_of(sampler, evaluations)

        def planned() -> Any:
            known, value = m.ends(obs, goal)
            D = pin(given(m.denoiser, {"known": known}), known, value)
            return m.reference(m.drawn(D, known, value, batch, steps, g, step=step))

        return planned

    each: dict[str, Callable[[], Any]] = {
        "network": lambda: model.denoiser.net(x_T, label, cond),
        "student's network": lambda: student.denoiser.net(x_T, label, cond),
    }
    each |= {f"chain, {k}": partial(sample, D, x_T, steps=k) for k in EVALUATIONS}
    each |= {f"plan, {k}": whole(model, k) for k in EVALUATIONS} | {"plan, student": whole(student, 1)}
    others = [(k, s) for s in STEPS if s != "ddim" for k in lengths(s)]
    each |= {f"plan, {k} {s}": whole(model, k, s) for k, s in others}
    spent = in_turn(each, repeats)
    bare = float(np.median(spent["network"]))
    return [
        {"what": name, "batch": batch, "seed": seed, "ms": float(np.median(v)), "ratio": float(np.median(v)) / bare,
         "late": float((v > 20).mean())}
        for name, v in spent.items()
    ]  # fmt: skip


def latency(seeds: Sequence[int]) -> Table:
    """The rows of `timed` in the large maze, for one plan and for 16 at once: of this machine, as busy as it was."""
    learned(seeds[0], "large")  # trained here if it is not kept: `timed` has no gradients
    return summary(timed, [row for batch in (1, 16) for row in timed("large", batch, seed=seeds[0])], seeds)


# -------------------------------------------------------------------------------------------------- a loop by the clock
class Timed(Rider):
    """A rider of one episode in a loop whose period has STRIDE steps of the world, and which plans inside the loop: at
    its first period, `every` periods after the last plan, where driving goes wrong, and after the end of a route.

    A plan's states have times: what was due while it was drawn is left out. began: the periods in which it planned.
    """

    def begin(self, goal: Arrays, seed: int) -> None:
        """A new episode, for which nothing is planned yet."""
        self.goal, self.seeds = goal[None], [seed]
        self.plans, self.step = np.zeros((2, 1), int)
        self.seconds, self.reference = [[]], [np.empty((0, 4))]
        self.last = {}
        self.began: list[int] = []

    def at(self, period: int, x: Arrays) -> Arrays:
        """The action [2] for a period, at whose beginning the ball's state is x [4]."""
        since = STRIDE * (period - self.began[-1]) if self.began else 0
        self.step[0] = since
        ended = since >= min(STRIDE * self.every, len(self.reference[0]) + self.patience)
        if not self.began or ended or np.linalg.norm(x[:2] - self._target(0)[:2]) > self.off:
            self._ask(0, x)
            self.began.append(period)
        self.step[0] += STRIDE  # where the ball is to be at the period's end
        return self.towards(x, self._target(0))


def clocked_drive(rider: Timed, env: Any, seed: int, clock: clocked.Clock) -> tuple[clocked.Kept, bool, int]:
    """An episode of a maze in a loop of 50 Hz, until the goal is reached or the world's steps are over.

    -> what the loop counted, whether the goal was reached, and after how many steps of the world
    """
    seen, _ = env.reset(seed=seed)
    rider.begin(np.array(seen["desired_goal"]), seed)
    now: dict[str, Any] = {"x": np.array(seen["observation"], float), "steps": 0, "reached": False}

    def move(action: Arrays) -> bool:
        for _ in range(STRIDE):
            seen, _, terminated, truncated, info = env.step(action.astype(np.float32))
            now["x"], now["steps"] = np.array(seen["observation"], float), now["steps"] + 1
            now["reached"] = bool(info["success"])
            if now["reached"] or terminated or truncated:
                return True
        return False

    kept = clocked.in_time(lambda period: rider.at(period, now["x"]), move, 2, clock)
    return kept, now["reached"], now["steps"]


def looped(
    sampler: str, evaluations: int, every: int, warm: float | None = None, *, seed: int, clock: clocked.Clock
) -> dict[str, Any]:
    """LOOPS episodes of the large maze by the clock, planned anew `every` periods (warm: from the last plan, noised to
    this time).

    missed: the share of periods whose action was not there when it was due; p95, worst: milliseconds after the
    beginning of the period, of the actions for which it planned; success: the share of goals reached, of `drives`;
    seconds: of the world, until the goal or the end; plans: in an episode.
    """
    steps, step = chain_of("ddim" if sampler == "student" else sampler, evaluations)
    model, env = planner("large"), make_maze("large")
    if sampler == "student":  # the one that ships
        model = Distilled.load(shipped("weights/fast-large.safetensors")).planner
    rider = Timed(model, steps, step, every, warm)
    states, goals = resets("large")
    rider.begin(goals[0], seed)
    rider.at(0, states[0])  # the first draw of a process takes longer
    drives, spent = [], []
    for k in range(FIRST, FIRST + LOOPS):
        kept, reached, length = clocked_drive(rider, env, k, clock)
        spent += [1000 * s for period, s in kept.spent if period in rider.began]
        drives.append((kept.missed, kept.periods, reached, length * STEP, len(rider.began)))
    env.close()
    missed, periods, reached, seconds, asked = np.array(drives, float).T
    return {
        "missed": missed.sum() / periods.sum(),
        "p95": float(np.quantile(spent, 0.95)),
        "worst": max(spent),
        "success": reached.mean(),
        "drives": LOOPS,
        "seconds": seconds.mean(),
        "plans": asked.mean(),
    }


def looping(seeds: Sequence[int]) -> Table:
    """The rows of `looped` on the clock of this machine, as busy as it was."""
    each: list[tuple[str, int, int, float | None]] = [("ddim", n, SELDOM, None) for n in (1, 2, 5, 10, 20)]
    each += [("ddpm", 100, SELDOM, None)]
    each += [("ddim", n, OFTEN, None) for n in (2, 5, 10, 20)] + [("student", 1, OFTEN, None)]
    each += [("ddim", n, OFTEN, WARM) for n in (1, 2)] + [("ddim", n, 1, None) for n in (2, 20)]
    names = ("sampler", "evaluations", "every", "warm")
    arms: list[dict[str, Any]] = [dict(zip(names, arm, strict=True)) for arm in each]
    rows = [arm | looped(**arm, seed=seeds[0], clock=clocked.Wall()) | {"seed": seeds[0]} for arm in arms]
    return summary(looped, rows, seeds)


# ----------------------------------------------------------------------------------------------------------- the parts
def grids() -> dict[str, tuple[Callable[..., Any], list[dict[str, Any]], list[dict[str, Any]]]]:
    """The points of each table: the function, those of all seeds, and those of the first alone (the planner that ships
    is one training, and its episodes are given)."""
    every: list[dict[str, Any]] = [{"sampler": s, "evaluations": n} for s in STEPS for n in lengths(s)]
    arms = [("ddim", n, "never") for n in (1, 2, 3, 5, 10, 20, 50)] + [("ddpm", n, "never") for n in (20, 100)]
    arms += [("ddim", 1, "lost"), ("ddim", 20, "lost"), ("ddpm", 100, "lost")]
    arms += [("ddim", n, "often") for n in (1, 2, 5, 20)]
    drives: list[dict[str, Any]] = [{"sampler": s, "evaluations": n, "again": again} for s, n, again in arms]
    drives += [{"sampler": "ddim", "evaluations": n, "again": "often", "warm": WARM} for n in (1, 2)]
    own = [("all times", "ddim", n) for n in (1, 2, 10, 20)] + [("all times", "ddpm", n) for n in (10, 20, 100)]
    own += [(f"{n} levels", s, n) for n in (10, 20) for s in ("ddpm", "ddim")]
    own += [(SHORTCUT, "ddim", n) for n in (1, 2, 4, 16)] + [(CONSISTENCY, RENEWED, n) for n in (1, 2, 4)]
    long = [("ddim", 10), ("ddim", 20), ("ddpm", 10), ("ddpm", 20), ("ddpm", 1000)]
    large: dict[str, Any] = {"maze": "large"}
    student: dict[str, Any] = {"sampler": "student", "evaluations": 1}
    floor = {"sampler": "floor", "evaluations": 398}
    floors = [{"sampler": s, "evaluations": 0} for s in ("flow", "law")]
    return {
        "exact": (exact, [{"kind": k} | arm for k in ("modes", "bridge") for arm in [*every, *floors]], []),
        "fidelity": (fidelity, [{"maze": m} | arm for m in MAZES for arm in [*every, floor]] + [large | student], []),
        "short": (
            short,
            [{"arm": arm, "sampler": s, "evaluations": n} for arm, s, n in own],
            [{"arm": "1000 levels", "sampler": s, "evaluations": n} for s, n in long],
        ),
        "driven": (
            driven,
            [large | student | {"again": again} for again in ("never", "often")],
            [large | arm for arm in drives],
        ),
    }


def points(part: str, seeds: Sequence[int]) -> Table:
    """A table, computed or read from the cache."""
    function, seeded, first = grids()[part]
    each = [(g, s) for g, s in ((first, seeds[:1]), (seeded, seeds)) if g]
    tables = [run_grid(function, g, seeds=s, cache=RUNS, version=VERSION) for g, s in each]
    return Table.joined(tables)


def training(seeds: Sequence[int]) -> float:
    """Train the students. -> CPU hours"""
    return sum(learned(s).about["seconds"] for s in seeds) / 3600


def training_alone(seeds: Sequence[int]) -> float:
    """Train the planners of the part `short`. -> CPU hours"""
    arms = (*LEVELS, SHORTCUT, CONSISTENCY)
    trained = [(arm, s) for s in seeds for arm in arms if arm != "1000 levels" or s == seeds[0]]
    return sum(alone(*one).about["seconds"] for one in trained) / 3600


def ships(seeds: Sequence[int]) -> Tensors:
    """The student of the large maze and of the first seed, as the lesson opens it."""
    learned(seeds[0])
    return {"weights/fast-large.safetensors": load(RUNS / "weights" / f"fast-large-{seeds[0]}.safetensors")}


PARTS = {
    "exact": Part(partial(points, "exact"), "results/fast-exact.json"),
    "fidelity": Part(partial(points, "fidelity"), "results/fast-fidelity.json", training=training),
    "short": Part(partial(points, "short"), "results/fast-short.json", training=training_alone),
    "driven": Part(partial(points, "driven"), "results/fast-driven.json", training=training),
    "chunks": Part(acting.chunked, "results/fast-chunks.json", training=acting.training),
    "robot": Part(acting.walked, "results/fast-robot.json", 1, acting.training_robot),
    "latency": Part(latency, "results/fast-latency.json", seeds=1),
    "loop": Part(looping, "results/fast-loop.json", seeds=1),
    "weights": Part(ships, seeds=1),
}
