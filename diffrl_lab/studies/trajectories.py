"""What lessons 04 and 04b measure, and draw, around their own few lines: plans in mazes, driven, judged, counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from IPython.display import Markdown
from numpy.typing import NDArray
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis.chains import spread
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.diffusion import Denoiser, Function, ddpm, sample
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.widgets import pictures
from diffrl_lab.worlds import driving, mazes
from diffrl_lab.worlds import robots as locomotion
from diffrl_lab.worlds.walls import Walls


@torch.no_grad()
def bridges(
    D: Denoiser, band: tuple[Tensor, Tensor, Tensor], method: str, exact: float, *, steps: int, seed: int
) -> pictures.Picture:
    """Sixty-four paths of a denoiser over the band (u, mean, standard deviation) of the exact bridge, each [H]."""
    u, mean, sd = band
    g = torch.Generator().manual_seed(seed)
    x = sample(D, torch.randn(64, len(u), 1, generator=g), steps=steps, step=ddpm(), generator=g)[..., 0]
    middle = float(x[:, len(u) // 2].std())
    title = f"{method}: standard deviation {middle:.2f} in the middle (exact {exact:.2f})"
    alt = f"Sixty-four paths over the exact band of the bridge; method: {method}."
    return widgets.band(u, mean, sd, x, xlabel="u, along the plan", title=title, alt=alt)


def stitched_picture(plans: Tensor, cut: NDArray[np.bool_], walls: Walls, r: int) -> pictures.Picture:
    """Plans [n, H, 2] stitched with reach r, and the share of their points outside walls; cut [n]: through a wall."""
    legal = 1 - walls.inside(plans).mean()
    title = f"r = {r}: {legal:.0%} of points legal,\n{int(cut.sum())} of {len(plans)} plans cut a wall"
    alt = f"Twelve plans in the two-ways maze, stitched from pieces of recordings. {title}."
    return widgets.trajectories(plans, maze=walls, title=title, alt=alt)


def unconditioned(planner: Diffuser, n: int, seed: int) -> Tensor:
    """n plans of a planner to which nothing was given, with the log of their durations as a fifth column. [n, H, 5]"""
    plan = planner.free(n, torch.Generator().manual_seed(seed))
    H = plan.candidates.shape[1]
    return torch.cat([plan.candidates, plan.durations.log()[:, None, None].expand(-1, H, 1)], -1)


def seconds_per_point(x: Tensor) -> Tensor:
    """Seconds between two points of plans [n, H, 5] whose fifth column is the log of their duration in steps. -> [n]"""
    return x[:, 0, 4].exp() * 0.01 / (x.shape[1] - 1)


def across(env: Any, seed: int, tries: int = 1000) -> tuple[int, NDArray, NDArray]:
    """The first reset from 1000 seed on with start and goal on opposite sides of the block: seed, state [4], goal [2].

    Raises ValueError where none of `tries` resets is such.
    """
    for k in range(tries * seed, tries * (seed + 1)):
        start = env.reset(seed=k)[0]
        if abs(start["achieved_goal"] - start["desired_goal"])[1] > 1.5:
            return k, start["observation"], start["desired_goal"]
    raise ValueError(f"of {tries} resets none has start and goal on opposite sides of the block")


def driven(env: Any, path: NDArray, seed: int) -> driving.Episode:
    """The episode in which a controller follows a path [T, 4], one state a step, without planning again."""
    return driving.drive([env], driving.Follower(lambda *_: path, again=False), [seed])[0]


Chains = tuple[Tensor, Tensor]
"""Many chains [S, H, d] and the route that each takes, [S]."""
Split = Callable[[Tensor, Tensor], tuple[Any, Any]]
"""(values [S], groups [S]) -> (variance between groups, within a group)."""


def crowd(name: str, plans: int, seed: int, generator: torch.Generator) -> dict[str, Chains]:
    """One task in a maze, planned and driven `plans` times: plans, drives and returns, with the route of each drive.

    Positions are taken every 0.05 s. In the two-ways maze the routes are its two corridors; elsewhere there is one.
    """
    env, planner = mazes.make_maze(name, position_noise_range=0.0), Diffuser.load(f"maze-{name}")
    at, start, goal = across(env, seed)
    plan = planner.plan(start, goal, plans, generator, steps=20)
    H = plan.candidates.shape[1]
    runs = [driven(env, planner.reference(plan, k), at) for k in range(plans)]
    drives = torch.stack([torch.tensor(run.obs[: 5 * H : 5, :2]) for run in runs])
    groups = torch.tensor([mazes.side(p) if name == "two-ways" else 0.0 for p in drives])
    returns = torch.tensor([[[float(run.rew.sum())]] for run in runs])
    things = {"plan": plan.candidates[..., :2], "driven": drives, "return": returns}
    return {what: (x, groups) for what, x in things.items()}


def half_way(split: Split, x: Tensor, groups: Tensor) -> tuple[float, float]:
    """Variance of chains [S, H, d] half-way, between routes and within a route, by `split`, summed over d."""
    middle = x[:, x.shape[1] // 2].double()
    between, within = zip(*(split(column, groups) for column in middle.T), strict=True)
    return float(sum(between)), float(sum(within))


def variances(split: Split, two: dict[str, Chains], one: dict[str, Chains]) -> Markdown:
    """The table of the variance half-way: two-ways between and within its routes, beside the U-maze."""
    rows = {}
    for what, chains in two.items():
        parts = (*half_way(split, *chains), sum(half_way(split, *one[what])))
        names = ("two-ways, between routes", "two-ways, within a route", "U-maze")
        rows[what] = {name: f"{part:.4f}" for name, part in zip(names, parts, strict=True)}
    return table(rows, "variance half-way, of the")


def spread_picture(two: Chains, one: Chains, dt: float) -> pictures.Picture:
    """Spread of driven paths over time, in metres: two-ways split between and within its routes, and the U-maze."""
    parts = spread(*two)
    curves = {"two-ways, between": parts.between, "two-ways, within": parts.within, "U-maze": spread(*one).total}
    return widgets.lines(
        dt * np.arange(len(parts.total)),
        {name: v.sqrt() for name, v in curves.items()},
        xlabel="seconds driven",
        ylabel="root of the variance, m",
        alt="Spread of driven paths over time: large between the two routes, small within one and in the U-maze.",
    )


def score_table(scores: dict[str, list[tuple[float, ...]]]) -> Markdown:
    """Means, and lowest to highest of the draws, of walls (points, segments), inconsistency and energy distance."""
    names = ("points in walls", "segments in walls", "inconsistency, m", "energy distance")
    rows: dict[str, dict[str, str]] = {}
    for name, draws in scores.items():
        rows[name] = {}
        for what, values, form in zip(names, zip(*draws, strict=True), (".1%", ".1%", ".3f", ".2f"), strict=True):
            ends = f" ({min(values):{form}} to {max(values):{form}})" if len(draws) > 1 else ""
            rows[name][what] = f"{np.mean(values):{form}}{ends}"
    return table(rows, "plans")


STUDIED = {
    "hopper": ["gaussian", "small", "medium", "large", "medium-3000"],
    "halfcheetah": ["gaussian", "small", "medium", "medium-3000"],
    "umaze": ["small", "medium", "large", "shipped"],
    "large": ["shipped"],
    "two-ways": ["shipped"],
}
"""Log -> the models of the unconditioned study that `study_tables` shows."""


def study_tables(study: Table) -> Markdown:
    """Quality of unconditioned samples at 20 steps, a row for each log and model, each measure with its floor."""
    parts = []
    for logs, last, said in (
        (("hopper", "halfcheetah"), ("residual", "floor_residual_state"), "dynamics residual"),
        (("umaze", "large", "two-ways"), ("segments_in_walls", "floor_segments_in_walls"), "segments in walls"),
    ):
        rows = {}
        for log, size in [(name, size) for name in logs for size in STUDIED[name]]:
            at = {"world": log, "size": size, "T": 0 if size == "gaussian" else 20}
            pairs = {
                "energy distance": ("energy", "floor_energy_95"),
                "precision": ("precision", "floor_precision"),
                "recall": ("recall", "floor_recall"),
                said: last,
            }
            name = f"{log}: {'normal distribution' if size == 'gaussian' else size}"
            rows[name] = {
                k: f"{study.column(a, **at).mean():.2f} ({study.column(b, **at).mean():.2f})"
                for k, (a, b) in pairs.items()
            }
        parts.append(table(rows, "log: model").data)
    return Markdown("\n\n".join(parts))


def rung_picture(x: Tensor, score: tuple[float, ...], walls: Walls, rung: str) -> pictures.Picture:
    """Thirty-two of the unconditioned samples x [n, H, 5] of a rung, with its share of segments in walls and energy."""
    title = f"{rung}: segments in walls {score[1]:.0%}, energy {score[3]:.2f}"
    alt = f"Thirty-two unconditioned samples, drawn as paths in the U-maze. {title}."
    return widgets.trajectories(x[:32, :, :2], maze=walls, title=title, alt=alt)


def pinned_by(answer: Any, D: Denoiser, known: Tensor, value: Tensor) -> Function:
    """D with the entries `known` of a plan pinned to `value` (both [H, d]) by answer(D, x_t, t, known, value).

    The answer is a learner's, right for plans of one column; so the H d entries are put to it as a plan [H d, 1].
    """

    def asked(x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        def flat(x: Tensor, t: Tensor) -> Tensor:
            return D(x.reshape(x_t.shape), t, cond).reshape(x.shape)

        column = Function(lambda x, t, cond=None: flat(x, t), D.schedule)
        given = (known.reshape(-1, 1), value.to(x_t).reshape(-1, 1))
        return answer(column, x_t.reshape(len(x_t), -1, 1), t, *given).reshape(x_t.shape)

    return Function(asked, D.schedule)


def ends(start: NDArray, goal: NDArray, H: int) -> tuple[Tensor, Tensor]:
    """What is known of a plan of H states from the state `start` [4] to the position `goal` [2]: (known, value) [H, 4].

    The velocity at the goal is left open.
    """
    known, value = torch.zeros(H, 4, dtype=torch.bool), torch.zeros(H, 4)
    known[0], known[-1, :2] = True, True
    value[0], value[-1, :2] = torch.as_tensor(start), torch.as_tensor(goal)
    return known, value


def faults(x: Tensor, routes: list[NDArray], balls: list[NDArray], walls: Walls) -> dict[str, float]:
    """What gives plans [n, H, 4] away that jump, in medians, and how far the balls that followed `routes` left them."""
    steps = x[..., :2].diff(dim=1).norm(dim=-1)
    apart = [abs(route - ball)[:, :2].max() for route, ball in zip(routes, balls, strict=True)]
    return {
        "first step, m": float(steps[:, 0].median()),
        "any step, m": float(steps.median()),
        "last step, m": float(steps[:, -1].median()),
        "share of plans through a wall": float(walls.crosses(x[:, :-1, :2], x[:, 1:, :2]).any(1).mean()),
        "plan to ball, m": float(np.median(apart)),
    }


def followed(
    routes: Mapping[str, NDArray],
    balls: Mapping[str, NDArray],
    walls: Walls,
    start: NDArray,
    goal: NDArray,
    *,
    alt: str,
) -> pictures.Picture:
    """A route [T, 4] and the ball that followed it, in one maze side by side for each name; the title says how far from
    the goal the ball ends, in metres."""
    picture = widgets.planned_and_driven(walls, routes, balls, start=start, goal=goal, alt=alt)
    for ax, (name, ball) in zip(picture.axes, balls.items(), strict=True):
        ax.set_title(f"{name}: {np.linalg.norm(ball[-1, :2] - goal):.2f} m from the goal")
        ax.lines[-1].remove()  # how far the ball is beside the route does not say that it never arrives
    legend = picture.fig.legends[0]
    handles = [handle for handle in legend.legend_handles if handle is not None][:2]
    legend.remove()
    picture.fig.legend(handles, ["planned", "driven"], loc="outside lower center", ncols=2)
    return picture


def table(rows: Mapping[str, Mapping[str, str]], corner: str = "") -> Markdown:
    """A table of text: a row's name -> column -> what stands there; `corner` says what the rows are."""
    columns = list(next(iter(rows.values())))
    lines = [[corner, *columns], ["---"] + ["---:"] * len(columns)]
    lines += [[name, *(row[c] for c in columns)] for name, row in rows.items()]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def stage(robot: Any, windows: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `movie` shows of a robot: title -> observations [n, H, d] as a film over the steps k, n robots side by side,
    as the simulator's kinematics draw them; and the scene, with its ground."""
    films = {}
    for title, obs in windows.items():
        places = np.stack([np.linspace(-1, 1, len(obs)), np.full(len(obs), -0.75)], -1)[:, None]
        poses = locomotion.poses(robot, obs).swapaxes(0, 1) + places
        films[title] = {"t": np.arange(len(poses)), "x_t": poses}
    ground = ["0" * 8] * 4 + ["1" * 8]
    return films, {"maze": ground, "size": 0.5, "dots": False, "clock": "k"}
