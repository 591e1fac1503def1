"""What lesson 06 measures and draws around its own few lines: plans of few steps, and a loop that does not wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import Denoiser, Step, ddim, given, pin, sample
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.methods.planning.distilled import Distilled
from diffrl_lab.studies import clocked, fast
from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.mazes import draw_maze
from diffrl_lab.widgets.tables import Columns
from diffrl_lab.worlds.driving import Episode, Follower, arrived, drive
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import Walls

HZ = 100  # periods of the loop in a second: a step of the mazes
CHOICE = 1  # what choosing among the candidates and following one costs, in evaluations (docs/studies.md)


def student() -> Diffuser:
    """The student of one step that ships, of the large maze's planner."""
    return Distilled.load(shipped("weights/fast-large.safetensors")).planner


def inside(walls: Walls) -> Callable[[Any], Tensor]:
    """Which of points [..., 2] lie in a wall, as a function of tensors. -> bool [...]"""
    return lambda points: torch.as_tensor(walls.inside(np.asarray(points)))


class Tasks:
    """The first n resets of the study's tasks in a maze, and a plan for each."""

    def __init__(self, maze: str, n: int) -> None:
        self.planner, self.walls = fast.planner(maze), Walls.named(maze)
        self.known, self.value = (v[:n] for v in fast.tasks(maze))

    @property
    def farthest(self) -> int:
        """The task whose goal is farthest from its start, among those whose plan of 20 steps meets no wall."""
        x = self.plans(20, 0)
        free = torch.as_tensor(~self.walls.crosses(x[:, :-1], x[:, 1:]).any(1))
        return int(((x[:, -1] - x[:, 0]).norm(dim=-1) * free).argmax())

    @torch.no_grad()
    def drawn(self, steps: int, seed: int, model: Diffuser | None = None, step: Step | None = None) -> Tensor:
        """A plan for each task, as the network sees it, from the noise of a seed. -> [n, H, 2n + 1]"""
        D = pin(given((model or self.planner).denoiser, {"known": self.known}), self.known, self.value)
        g = torch.Generator().manual_seed(seed)
        x_T = D.schedule.prior(self.value.shape, generator=g)
        return torch.where(self.known, self.value, sample(D, x_T, steps=steps, step=step, generator=g))

    def plans(self, steps: int, seed: int, model: Diffuser | None = None, step: Step | None = None) -> Tensor:
        """The positions of `drawn`, in metres. -> [n, H, 2]"""
        return self.planner.unscale(self.drawn(steps, seed, model, step))[..., :2]


@torch.no_grad()
def from_noise(tasks: Tasks, k: int, x_T: Tensor, steps: int, model: Diffuser | None = None) -> Tensor:
    """Plans of task k from noise [n, H, 2n + 1], in metres. -> [n, H, 2]"""
    known, value = tasks.known[[k]], tasks.value[[k]]
    D = pin(given((model or tasks.planner).denoiser, {"known": known}), known, value)
    return tasks.planner.unscale(torch.where(known, value, sample(D, x_T, steps=steps)))[..., :2]


def apart(x: Tensor, y: Tensor) -> float:
    """Metres between the points of two plans [n, H, 2], mean over the points and median over the plans."""
    return float((x - y).norm(dim=-1).mean(1).median())


@torch.no_grad()
def one_task(maze: str, steps: int, n: int, seed: int, start: ArrayLike, goal: ArrayLike) -> Tensor:
    """n plans from the state `start` [4] to `goal` [2], in metres. -> [n, H, 2]"""
    g = torch.Generator().manual_seed(seed)
    return fast.planner(maze).plan(start, goal, n, g, steps=steps, frames=False).candidates[..., :2]


def plans_picture(x: Tensor, walls: Walls, share: float, steps: int) -> pictures.Picture:
    """Plans of a chain of so many steps, and which share of them meets a wall."""
    title = f"steps: {steps}, {share:.0%} of the plans meet a wall"
    return widgets.trajectories(x, maze=walls, title=title, alt=f"Plans in the two-ways maze. {title}.")


# ---------------------------------------------------------------------------------------------------------- warm starts
def shift(planner: Diffuser, done: int) -> Callable[[Tensor], Tensor]:
    """What is left of a plan [H, 2n + 1], as the network sees it, once its first `done` points are done: the others,
    stretched to H points, with as many steps less."""

    def shifted(plan: Tensor) -> Tensor:
        raw = planner.scaler.inverse(plan).double()
        left, H = raw[done:], len(raw)
        at = np.linspace(0, len(left) - 1, H)
        points = [np.interp(at, np.arange(len(left)), column) for column in left.numpy().T]
        out = torch.tensor(np.stack(points, 1), dtype=torch.float32)
        out[:, -1] = float(raw[:, -1].mean()) + math.log((len(left) - 1) / (H - 1))
        return planner.scaler(out)

    return shifted


def one_step(D: Denoiser, x: Tensor, t: Any, s: Any) -> Tensor:
    """A step of DDIM from t to s."""
    return ddim()(D, x, torch.as_tensor(t).double(), torch.as_tensor(s).double())[0]


@torch.no_grad()
def continued(
    tasks: Tasks, before: Tensor, done: int, draw: Callable[[Denoiser, Tensor, Tensor], Tensor], n: int, seed: int
) -> Tensor:
    """n new plans for each of `before` [T, H, 2n + 1], `done` points later, by draw(D, plan, noise [n, H, 2n + 1]).

    -> positions [T n, H, 2]
    """
    planner, found, g = tasks.planner, [], torch.Generator().manual_seed(seed)
    for plan, value in zip(before, tasks.value, strict=False):
        now, goal = (planner.scaler.inverse(v) for v in (plan[done], value[-1]))
        known, ends = planner.ends(now[: 2 * planner.n].numpy(), goal[: planner.n].numpy())
        D = pin(given(planner.denoiser, {"known": known}), known, ends)
        x = draw(D, plan, torch.randn(n, *plan.shape, generator=g))
        found.append(planner.unscale(torch.where(known, ends, x).float())[..., :2])
    return torch.cat(found)


# -------------------------------------------------------------------------------------------------- a loop in real time
class Late(Follower):
    """Follows plans of `steps` steps in a world that does not wait: a plan takes steps + CHOICE evaluations, a machine
    makes `rate` of them in a second, and until it is there the robot holds its last action (none at the beginning).

    It asks again after `every` periods and, like `Follower`, where driving goes wrong. Nothing is timed.
    """

    def __init__(self, model: Diffuser, steps: int, rate: float, every: int = 50):
        super().__init__(self.planned)
        self.model, self.steps, self.every = model, steps, every
        self.periods = math.ceil((steps + CHOICE) * HZ / rate)

    def planned(self, obs: NDArray, goal: NDArray, seed: int) -> NDArray:
        g = torch.Generator().manual_seed(seed)
        return self.model.reference(self.model.plan(obs, goal, None, g, steps=self.steps, frames=False))

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        self.wait, self.held = np.zeros(len(seeds), int), np.zeros((len(seeds), 2))
        self.late = np.zeros(len(seeds), int)
        super().reset(obs, seeds, goal)

    def extras(self, k: int) -> dict[str, Any]:
        return {**super().extras(k), "held": int(self.late[k])}

    def _ask(self, k: int, x: NDArray) -> None:
        super()._ask(k, x)
        self.wait[k] = self.periods - 1  # a plan that is there within its period is in time

    def _act(self, k: int, x: NDArray) -> NDArray:
        ended = self.step[k] >= min(self.every, len(self.reference[k]) + self.patience)
        astray = bool(self.step[k]) and np.linalg.norm(x[:2] - self._target(k)[:2]) > self.off
        if not self.wait[k] and (ended or astray):
            self._ask(k, x)
        if self.wait[k]:
            self.wait[k] -= 1
            self.late[k] += 1
            return self.held[k]
        self.step[k] += 1
        self.held[k] = self.towards(x, self._target(k))
        return self.held[k]


def drives(steps: int, rate: float, n: int, seed: int = 0, maze: str = "large") -> list[Episode]:
    """n drives of a maze with plans that are as late as their evaluations make them; each ends at the goal."""
    envs = [make_maze(maze) for _ in range(n)]
    first = fast.FIRST + 100 * seed
    found = drive(envs, Late(fast.planner(maze), steps, rate), range(first, first + n), until=arrived)
    for env in envs:
        env.close()
    return found


# ------------------------------------------------------------------------------------------------------ study's tables
class Study:
    """A table of the study of fast sampling: "exact", "fidelity", "short", "driven", "chunks", "robot", "latency" or
    "loop"."""

    def __init__(self, part: str) -> None:
        self.table = Table.load(shipped(f"results/fast-{part}.json"))

    def __call__(self, column: str, **where: Any) -> NDArray[np.float64]:
        """A result of an arm, a number for each seed."""
        return self.table.column(column, **where).astype(float)


def in_time() -> Columns:
    """Milliseconds of one run of the study, of whole plans with 16 candidates, in forward passes beside them."""
    study, rows = Study("latency"), [f"plan, {k}" for k in fast.EVALUATIONS] + ["plan, student"]
    ms, ratio, late = ([float(study(c, what=w, batch=16)[0]) for w in rows] for c in ("ms", "ratio", "late"))
    names = [w.removeprefix("plan, ") for w in rows]
    return widgets.table({
        "steps": names, "milliseconds": [f"{v:.1f}" for v in ms], "in forward passes": [f"{v:.1f}" for v in ratio],
        "later than 20 ms": [f"{v:.0%}" for v in late],
    })  # fmt: skip


def timed_arms() -> dict[str, dict[int, tuple[float, float]]]:
    """Sampler -> evaluations -> (milliseconds of a whole plan with 16 candidates, share of single plans in a wall), of
    the large maze, for the samplers that the study has timed: DDIM first, the student last."""
    arms: dict[str, dict[int, tuple[float, float]]] = {}
    latency, walls = Study("latency"), Study("fidelity")
    for row in latency.table.rows:
        kind, _, words = row["what"].partition(", ")
        if kind != "plan" or row["batch"] != 16:
            continue
        count, _, sampler = words.partition(" ")
        sampler, n = (count, 1) if count == "student" else (sampler or "ddim", int(count))
        lost = float(walls("walls", maze="large", sampler=sampler, evaluations=n).mean())
        arms.setdefault(sampler, {})[n] = row["ms"], lost
    student = arms.pop("student")
    return arms | {"student": student}


def against_time(tasks: Tasks, k: int, x_T: Tensor, steps: int) -> pictures.Picture:
    """Left: what share of plans meets a wall, against the milliseconds of a whole plan, a point for each arm of
    `timed_arms`; DDIM with so many steps is ringed, the line stands at a period of 50 Hz. Right: plans of task k with
    these steps, from noise [n, H, 2n + 1]."""
    arms, limit = timed_arms(), 1000 * clocked.PERIOD
    fig, (left, right) = pictures.figure(3.2, 1, 2, width_ratios=(1.2, 1))
    for i, (name, found) in enumerate(arms.items()):
        at, share = zip(*found.values(), strict=True)
        style = pictures.nth_look(i, name) | {"linestyle": "", "marker": pictures.MARKER[pictures.meaning(i, name)]}
        left.plot(at, share, label=name, markersize=6, alpha=0.8, **style)
    ms, lost = arms["ddim"][steps]
    ring = {"marker": "o", "markersize": 14, "markerfacecolor": "none", "markeredgewidth": 2}
    left.plot([ms], [lost], linestyle="", markeredgecolor=pictures.COLOUR["model"], **ring)
    left.axvline(limit, color=pictures.COLOUR["noise"], lw=1.2)
    left.text(limit * 1.06, 0.97, "50 Hz", transform=left.get_xaxis_transform(), va="top", fontsize=9)
    left.set(xscale="log", ylim=(0, None), xlabel="milliseconds of a plan", ylabel="plans that meet a wall")
    ticks = [2, 5, 10, 20, 50, 100]
    left.set_xticks(ticks, [str(v) for v in ticks])
    left.set_xticks([], minor=True)
    left.set_title(f"DDIM, steps: {steps}: {ms:.1f} ms, {lost:.0%}")
    left.legend()
    draw_maze(right, tasks.walls, *(tasks.planner.unscale(tasks.value[k])[[0, -1], :2].tolist()))
    for path in from_noise(tasks, k, x_T, steps).numpy():
        right.plot(*path.T, lw=1, alpha=0.6, **pictures.look("model"))
    right.set_title(f"{len(x_T)} plans of these steps")
    alt = (
        "Share of plans that meet a wall against milliseconds of a whole plan, on a logarithmic axis, points for each "
        "sampler: it falls steeply from one to two evaluations and little after, one evaluation of the student lies "
        "between, and the longest chains lie beyond the line of 50 Hz. "
        f"Ringed: DDIM with steps: {steps}, {ms:.1f} ms, {lost:.0%}. Beside it {len(x_T)} plans with these steps in "
        "the large maze."
    )
    return pictures.Picture(fig, alt)


def loop_rows() -> Columns:
    """The drives by the clock, a row for each arm: how many periods its action was not there, how late plans were, and
    who arrived."""
    rows = Study("loop").table.rows
    period = 1000 * clocked.PERIOD
    return widgets.table({
        "sampler, evaluations": [f"{r['sampler']}, {r['evaluations']}" + ", warm" * bool(r["warm"]) for r in rows],
        "plans again after": [f"{period * r['every']:.0f} ms" for r in rows],
        "periods missed": [f"{r['missed']:.0%}" for r in rows],
        "95 % of plans within": [f"{r['p95']:.0f} ms" for r in rows],
        "slowest plan": [f"{r['worst']:.0f} ms" for r in rows],
        "arrived": [f"{r['success'] * r['drives']:.0f} of {r['drives']}" for r in rows],
        "seconds a drive": [f"{r['seconds']:.1f}" for r in rows],
    })  # fmt: skip


def short_rows(arms: Sequence[tuple[str, str, int]]) -> Columns:
    """Planners with a training of their own, by (what was trained, sampler, evaluations): the mean over the trainings,
    and the lowest and the highest in brackets; how far off their own plans of 400 steps, where they have such."""
    study = Study("short")

    def cell(column: str, arm: tuple[str, str, int]) -> str:
        v = study(column, arm=arm[0], sampler=arm[1], evaluations=arm[2])
        if np.isnan(v).all():
            return ""
        return f"{v.mean():.2f}" + (f" ({v.min():.2f} to {v.max():.2f})" if len(v) > 1 else "")

    trained = [len(study("walls", arm=a, sampler=s, evaluations=n)) for a, s, n in arms]
    passes = [f"{study('ratio', arm=a, sampler=s, evaluations=n).mean():.0f}" for a, s, n in arms]
    return widgets.table({
        "trained on": [a for a, _, _ in arms], "sampler": [s for _, s, _ in arms],
        "evaluations": [n for _, _, n in arms], "plans through a wall": [cell("walls", arm) for arm in arms],
        "m, off its own fine plan": [cell("off", arm) for arm in arms], "time, in forward passes": passes,
        "trainings": trained,
    })  # fmt: skip


def chunk_rows(arms: Sequence[tuple[str, str]], counts: Sequence[int]) -> Columns:
    """Policies over chunks in avoid, by (policy, sampler): who arrives, and on how many ways (entropy over ln 24), for
    each of the numbers of evaluations that the study has: the mean over the trainings."""
    study = Study("chunks")
    there = {(row["arm"], row["sampler"], row["evaluations"]) for row in study.table.rows}
    rows = [(*arm, n) for arm in arms for n in counts if (*arm, n) in there]

    def cell(column: str, row: tuple[str, str, int]) -> str:
        return f"{study(column, arm=row[0], sampler=row[1], evaluations=row[2]).mean():.2f}"

    heads = {"arrived": "success", "entropy of the ways": "entropy", "a demonstrator's": "entropy_floor",
        "time, in forward passes": "ratio"}  # fmt: skip
    return widgets.table({
        "policy": [arm for arm, _, _ in rows], "sampler": [sampler for _, sampler, _ in rows],
        "evaluations": [n for _, _, n in rows], **{head: [cell(c, row) for row in rows] for head, c in heads.items()},
    })  # fmt: skip


def chunk_curves(arms: Sequence[tuple[str, str]], counts: Sequence[int]) -> dict[str, list[float]]:
    """The share of episodes in avoid that arrive, the mean over the trainings, for each number of evaluations; NaN
    where the study has none."""
    study = Study("chunks")
    found: dict[tuple[str, str, int], list[float]] = {}
    for row in study.table.rows:
        found.setdefault((row["arm"], row["sampler"], row["evaluations"]), []).append(row["success"])
    return {f"{arm}, {s}": [float(np.mean(found.get((arm, s, n), [math.nan]))) for n in counts] for arm, s in arms}


def window_rows() -> Columns:
    """The planner of Hopper: what it scores by the evaluations of a plan (IQM over ten episodes, and its interval), and
    how far its plans are from those of 400 steps of DDIM."""
    rows = Study("robot").table.about["summary"]

    def cell(row: dict[str, Any], column: str) -> str:
        return "" if row[column] is None else f"{row[column]:.2f}"

    score = "{:.0f} ({:.0f} to {:.0f})".format
    scores = ["" if r["score"] is None else score(r["score"], *r["score_interval"]) for r in rows]
    return widgets.table({
        "plans": [r["plans"] for r in rows], "sampler": [r["sampler"] for r in rows],
        "evaluations": [r["evaluations"] for r in rows], "score": scores,
        "deviations off the plan of 400 steps": [cell(r, "off") for r in rows],
        "its first action": [cell(r, "first") for r in rows],
        "time, in forward passes": [cell(r, "ratio") for r in rows],
    })  # fmt: skip
