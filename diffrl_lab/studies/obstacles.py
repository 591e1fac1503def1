"""What lesson 08 draws around its own few lines: plans and drives beside zones, and samples beside a truncated law."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data import minari
from diffrl_lab.data.shipped import shipped
from diffrl_lab.data.toys import Truncated
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.constrained import Agent, Config, Constrained, Judged, train
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.methods.planning.value_guidance import scaled
from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.mazes import bounds, draw_maze
from diffrl_lab.widgets.tables import Columns
from diffrl_lab.worlds import zones
from diffrl_lab.worlds.driving import Episode, arrived, drive
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import RADIUS, Walls
from diffrl_lab.worlds.zones import Disc, Rule

START, GOAL = np.array([-0.1, 1.5, 0.0, 0.0]), np.array([0.1, -1.5])
DISC = Disc(1.75, 0.1, 0.3)  # beside the middle of the right corridor, x = 2
FORMS = {"no rule": None, "candidates refused": "select", "x0_hat projected": "x0_hat", "cost descended": "cost"}


def planner() -> Diffuser:
    """The shipped planner of two-ways, which has never met a rule."""
    return Diffuser.load("maze-two-ways")


def planned(
    rules: Sequence[Rule], seed: int = 0, obs: ArrayLike = START, goal: ArrayLike = GOAL, **config: Any
) -> Judged:
    """A draw of candidates under rules, options of `constrained.Config`."""
    model = Constrained.of(planner(), Config(**config))
    return model.plan(obs, goal, rules, generator=torch.Generator().manual_seed(seed))


def shares(judged: Judged, rules: Sequence[Rule]) -> dict[str, float]:
    """Of the candidates: how many have an unsafe point, an unsafe segment of their curve, or touch a wall."""
    walls = Walls.named("two-ways")
    return {
        "unsafe point": float(zones.inside(judged.plan.candidates, rules).any(-1).float().mean()),
        "unsafe segment": float(np.mean([bool(zones.broken(x, rules).any()) for x in judged.curves])),
        "wall": float(np.mean([bool(walls.inside(x[:, :2], RADIUS).any()) for x in judged.curves])),
    }


def law(samples: Mapping[str, Tensor], exact: Truncated, *, alt: str) -> pictures.Picture:
    """A histogram of each way's samples [N, 1] beside the exact density; a title says how many lie on the boundary."""
    fig, axes = pictures.figure(2.4, 1, len(samples), sharex=True, sharey=True)
    grid = np.linspace(-1, 4, 400)
    density = (
        np.where(exact.holds(torch.tensor(grid)), np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi), 0) / exact.share
    )
    for ax, (name, x) in zip(np.atleast_1d(axes), samples.items(), strict=True):
        ax.hist(
            x.ravel(), bins=60, range=(-1, 4), density=True, color=pictures.COLOUR["model"], alpha=0.6, label="samples"
        )
        ax.plot(grid, density, label="exact", **pictures.look("exact"))
        ax.set(xlabel="x", ylim=(0, 2.2))
        ax.set_title(f"{name}\n{on_boundary(x, exact.lo):.0%} on the boundary", fontsize=9)
    np.atleast_1d(axes)[0].set_ylabel("density")
    fig.legend(*np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return pictures.Picture(fig, alt)


def on_boundary(x: Tensor, c: float) -> float:
    """The share of samples that lie on the threshold c, to a thousandth."""
    return float(((x - c).abs() < 1e-3).double().mean())


def compared(samples: Mapping[str, Tensor], exact: Truncated) -> Columns:
    """Share on the boundary, share outside, mean and spread of each way, beside the exact ones."""
    form = lambda x: [f"{v:.3f}" for v in x]  # noqa: E731
    outside = [float((x < exact.lo - 1e-4).double().mean()) for x in samples.values()]
    return widgets.table(
        {
            "way": ["exact", *samples],
            "unsafe": form([0.0, *outside]),
            "on the boundary": form([0.0, *(on_boundary(x, exact.lo) for x in samples.values())]),
            "mean": form([exact.mean, *(float(x.mean()) for x in samples.values())]),
            "spread": form([exact.std, *(float(x.std()) for x in samples.values())]),
        }
    )


def in_maze(
    panels: Mapping[str, Sequence[NDArray[np.float64]]],
    rules: Sequence[Disc],
    *,
    start: ArrayLike = START,
    goal: ArrayLike = GOAL,
    maze: str = "two-ways",
    drag: tuple[str, str] | None = None,
    alt: str,
) -> pictures.Picture:
    """Curves [T, 2+] of each panel in a maze with discs; those with an unsafe segment are orange, those that touch a
    wall pink. A title says how many of each there are."""
    walls, shown = Walls.named(maze), list(panels)
    x0, x1, y0, y1 = bounds(walls)
    cols = min(4, len(shown))
    rows, each = -(-len(shown) // cols), pictures.WIDTH / max(cols, 2)
    fig, axes = pictures.figure(
        rows * (each * (y1 - y0) / (x1 - x0) + 0.65), rows, cols, squeeze=False, width=each * cols
    )
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, shown, strict=False):
        draw_maze(ax, walls, np.asarray(start)[:2], goal)
        for zone in rules:
            ax.add_patch(
                Circle((zone.x, zone.y), zone.radius, fc=pictures.COLOUR["warning"], alpha=0.45, ec="black", lw=1)
            )
        unsafe = [bool(zones.broken(x, rules).any()) for x in panels[name]]
        cut = [bool(walls.inside(x[:, :2], RADIUS).any()) for x in panels[name]]
        for x, bad, wall in zip(panels[name], unsafe, cut, strict=True):
            tone = "right" if bad else "goal" if wall else "model"
            ax.plot(*x[:, :2].T, color=pictures.COLOUR[tone], lw=1, alpha=0.5)
        ax.set_title(f"{name}\n{sum(unsafe)} of {len(unsafe)} unsafe\n{sum(cut)} touch a wall", fontsize=9)
    return pictures.Picture(fig, alt, drag)


class From:
    """A maze whose episodes begin in a given state [4], and else are its own."""

    def __init__(self, env: Any, state: ArrayLike) -> None:
        self.env, self.state = env, np.asarray(state, float)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self, **options: Any) -> tuple[dict[str, NDArray], dict[str, Any]]:
        seen, info = self.env.reset(**options)
        self.env.unwrapped.point_env.set_state(self.state[:2], self.state[2:])
        return seen | {"observation": self.state.copy()}, info


class Obstacle:
    """A disc that the learner puts into two-ways by mouse or sliders while a ball drives there: what is planned when it
    appears, and what is driven then."""

    TASK, MOST = 0, 3  # its seed: the first plan takes the right corridor; how often it plans after the disc appears

    def __init__(self) -> None:
        self.env, self.planner = make_maze("two-ways"), planner()
        (self.before,) = drive([self.env], diffuser.Agent(self.planner), [self.TASK], until=arrived)

    def driven(self, rules: Sequence[Rule], after: int, config: Config) -> tuple[Episode, Judged]:
        """The rest of the drive, planned anew with rules that appear when `after` of its steps are done. -> it, and
        what was planned then"""
        agent = Agent(Constrained.of(self.planner, config), rules, most=self.MOST)
        env = From(self.env, self.before.obs[after])
        (rest,) = drive([env], agent, [self.TASK], until=arrived)
        return rest, agent.judged[0]

    def picture(self, form: str, after: int, x: float, y: float, radius: float) -> pictures.Picture:
        """A drive under one form of constraint, in which a disc appears at (x, y) when `after` steps are done."""
        disc, told = Disc(x, y, radius), FORMS[form]
        config = Config(form=told or "select", tries=1 if told == "x0_hat" else 4)
        rest, judged = self.driven([disc] if told else [], after, config)
        kept = [c for c, good in zip(judged.curves, judged.kept, strict=True) if good]
        safe = not zones.broken(rest.obs, [disc]).any()
        ends = f"{'safe' if safe else 'unsafe'}, {'at the goal' if rest.reached else 'not at the goal'}"
        said = f"{len(kept)} of {len(judged.kept)} new plans kept" if kept else "the new plan is given up"
        picture = in_maze(
            {form: kept},
            [disc],
            start=self.before.obs[0],
            goal=np.asarray(rest.goal),
            drag=("x", "y"),
            alt=f"Two-ways with a disc of {radius:.2f} m at ({x:.1f}, {y:.1f}) that appears after {after} steps of a "
            f"drive; {form}: {said}; the rest of the drive is {ends}.",
        )
        (ax,) = picture.axes
        past, then = self.before.obs[: after + 1, :2], rest.obs[:, :2]
        ax.plot(*past.T, color=pictures.COLOUR["noise"], lw=3, label="before the disc appears")
        ax.plot(*then.T, color=pictures.COLOUR["data"], lw=2, label="after it appears")
        ax.plot(*past[-1], "o", color="white", mec="black", ms=8, zorder=6)
        ax.set_title(f"{form}: {said}\nthe rest of the drive: {ends}", fontsize=9)
        ax.legend(loc="center", fontsize=8)
        return picture


class Study:
    """A table of the study of safety, or of another one: rows found by their columns."""

    def __init__(self, part: str, study: str = "safety") -> None:
        self.table = Table.load(shipped(f"results/{study}-{part}.json"))
        self.rows: list[dict[str, Any]] = self.table.about.get("summary", self.table.rows)

    def row(self, **where: Any) -> dict[str, Any]:
        """The one row with these values. Raises ValueError for none or several."""
        return self.table.row(**where)

    def shown(self, heads: Mapping[str, str], **where: Any) -> Columns:
        """Rows as a table: column -> its head; shares with their intervals where the row has them."""

        def cell(row: Mapping[str, Any], name: str) -> str:
            v, ends = row[name], row.get(f"{name}_interval")
            form = "g" if name in ("scale", "grown") else ".2f"  # settings, and no shares
            said = "–" if v is None else f"{v:{form}}" if isinstance(v, float) else str(v)
            around = f"{ends[0]:.2f} to {ends[1]:.2f}" if ends else ""
            return f"{said} ({around})" if around and around != f"{said} to {said}" else said

        rows = [r for r in self.rows if all(r[k] == v for k, v in where.items())]
        return widgets.table({head: [cell(r, name) for r in rows] for name, head in heads.items()})


def classifier(zone: Disc, updates: int, seed: int = 0) -> Constrained:
    """A classifier of "keeps out of the zone", trained in view on the recorded drives of two-ways."""
    episodes = minari.read(shipped("recordings/pointmaze-two-ways-p50-v0"))
    run = train(episodes, Config(form="learned", updates=updates), planner=planner(), rules=[zone], seed=seed)
    for _ in run:
        pass
    return run.model


def climbed(model: Constrained, zone: Disc, scale: float, seed: int = 0) -> tuple[Judged, NDArray[np.float64]]:
    """Candidates that climb a classifier, and the probability of "safe" that it gives to each when finished."""
    config = Config(form="learned", scales=(scale,), tries=1, margin=0.0, slack=0.0)
    mine = Constrained.of(planner(), config, model.J)
    judged = mine.plan(START, GOAL, [zone], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        says = torch.sigmoid(model.J(scaled(mine.planner, judged.plan), torch.tensor(0.0)))
    return judged, says.double().numpy()
