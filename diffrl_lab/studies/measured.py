"""What lesson 05b shows of the tables that ship: goals reached, what a guide learns, robots; and whether they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import Markdown

from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import shipped
from diffrl_lab.studies.frontiers import TwoWays, table
from diffrl_lab.studies.guidance import exact
from diffrl_lab.widgets import pictures

MAZES = ("umaze", "two-ways", "medium", "large")
FORMS = {"cfg": "model", "classifier": "goal"}  # and the colour of each
RANKED = {"dense": ("dense", 0.99), "goal-only, 0.99": ("sparse", 0.99), "goal-only, 0.997": ("sparse", 0.997)}


class Goals:
    """Experiment 2: plans to goals in four mazes, their goal pinned, a condition, or what a classifier is asked.

    clear: (maze, form, scale) -> share of plans that end at the goal and keep out of the walls, before any is driven.
    driven: (maze, form) -> the row of that form's best scale, driven: reached, interval, scale.
    """

    def __init__(self) -> None:
        self.table = Table.load(shipped("results/guidance-goals.json"))
        self.clear: dict[tuple[str, str, float], float] = {}
        for maze in MAZES:
            pilot = Table.load(shipped(f"results/guidance-goals-{maze}.json"))
            for form, scale in sorted({(r["form"], r["scale"]) for r in pilot.rows}):
                self.clear[maze, form, scale] = float(pilot.column("clear", form=form, scale=scale).mean())
        self.driven = {(r["maze"], r["form"]): r for r in self.table.about["pooled"]}

    def over_scale(self, alt: str) -> pictures.Picture:
        """One panel for each maze: the share of clear plans over the scale; pinning has no scale and is level."""
        fig, axes = pictures.figure(2.5, 1, len(MAZES), sharey=True)
        for ax, maze in zip(axes, MAZES, strict=True):
            for form, tone in FORMS.items():
                at = sorted((s, v) for (m, f, s), v in self.clear.items() if (m, f) == (maze, form))
                ax.plot(*zip(*at, strict=True), label=form, color=pictures.COLOUR[tone], marker=pictures.MARKER[tone])
            (pinned,) = {v for (m, f, _), v in self.clear.items() if (m, f) == (maze, "pin")}
            ax.axhline(pinned, label="pinned: no scale", color=pictures.COLOUR["noise"])
            ax.set(title=maze, xlabel="scale", xscale="symlog", ylim=(0, 1.04))
            ax.set_xticks([0, 1, 4, 10], ["0", "1", "4", "10"])
        axes[0].set_ylabel("share of clear plans")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return pictures.Picture(fig, alt)

    def measured(self) -> list[tuple[str, float, float, float]]:
        """(label, share of the goals that are reached, its interval) for each maze and form."""
        return [
            (f"{maze}: {form}" + f", scale {r['scale']:g}" * (form != "pin"), r["reached"], *r["interval"])
            for (maze, form), r in self.driven.items()
        ]

    def costs(self, maze: str = "large") -> Markdown:
        """What one plan costs in a maze: passes of networks, and milliseconds in a large batch and by four."""
        rows = []
        for form in ("pin", "cfg", "classifier"):
            r = next(r for r in self.table.rows if (r["maze"], r["form"]) == (maze, form))
            ms = f"{1000 * r['cpu_batched']:.1f}", f"{1000 * r['cpu'] / 4:.0f}"
            rows.append([form, str(r["evaluations"]), str(r["backward"]), *ms])
        return table(["form", "evaluations", "backward passes", "ms a plan, large batch", "ms a plan, by four"], rows)


class Credit:
    """Guides of the large maze that differ in the reward alone: RANKED name -> a row for each way to the goal.

    curves: name -> (share of plans that arrive, low, high), pooled over trainings; middle: metres to the goal.
    """

    def __init__(self) -> None:
        found = Table.load(shipped("results/data-guide.json")).about["summary"]
        self.ways = sorted({tuple(r["way"]) for r in found})
        self.rows = {name: [r for r in found if (r["form"], r["gamma"]) == kind] for name, kind in RANKED.items()}
        self.middle = [(a + b) / 2 for a, b in self.ways]
        self.curves = {
            name: ([r["arrive"] for r in f], *zip(*(r["interval"] for r in f), strict=True))
            for name, f in self.rows.items()
        }

    def each(self) -> Markdown:
        """The share of plans that arrive, a number for each training and goal."""
        head = ["reward of the guide", *(f"{a:.0f} to {b:.0f} m" for a, b in self.ways)]
        rows = [[name, *(", ".join(f"{v:.0%}" for v in r["by_seed"]) for r in f)] for name, f in self.rows.items()]
        return table(head, rows)


class Robots:
    """Scores of a guided planner against cloning on two robots, and why one fails."""

    def __init__(self) -> None:
        self.about = Table.load(shipped("results/locomotion.json")).about
        self.scores = {
            (robot, method): m for robot, f in self.about["summary"].items() for method, m in f["methods"].items()
        }

    def measured(self) -> list[tuple[str, float, float, float]]:
        return [(f"{robot}: {method}", m["iqm"], *m["interval"]) for (robot, method), m in self.scores.items()]

    def diagnosis(self) -> Markdown:
        """How well J ranks recorded windows, and how far a planned step is from the simulator's."""
        head = ["robot", "J ranks unseen windows: correlation", "guided step: off by", "unguided step: off by"]
        rows = [
            [w["name"], f"{w['rank']:.2f}", f"{w['residual_guided']:.1f}", f"{w['residual_not_guided']:.1f}"]
            for w in self.about["diagnostics"]
        ]
        return table(head, rows)


def recomputed(study: Table, two_ways: TwoWays, points: Mapping[str, float], seeds: Sequence[int]) -> list[dict]:
    """Points of the table `guidance-plans` again, from the weights: for each form -> scale and each seed of the noise
    the share left and the mean return, now and as the table has them, with the standard error of their difference."""
    rows = []
    for form, scale in points.items():
        was = next(r for r in study.rows if (r["form"], r["scale"], r["seed"]) == (form, scale, 0))
        for seed in seeds:
            _, way, R = two_ways.plans(form, scale, seed)
            left = float((way == 0).sum() / (way >= 0).sum().clamp(min=1))
            p = (left + was["left"]) / 2
            rows.append({
                "form": form, "scale": scale, "seed": seed, "left": left, "table": was["left"],
                "se": math.sqrt(max(p * (1 - p), 1 / 128) * 2 / 128), "return": float(np.nanmean(R)),
                "table return": was["return"], "return se": was["return_se"],
            })  # fmt: skip
    return rows


def recomputed_table(rows: Sequence[Mapping[str, Any]]) -> Markdown:
    """The rows of `recomputed` as a table."""
    head = ["form", "scale", "noise", "left now", "left in the table", "return now", "return in the table"]
    columns = {"form": "{}", "scale": "{:g}", "seed": "{}", "left": "{:.3f}", "table": "{:.3f}", "return": "{:.1f}",
               "table return": "{:.1f}"}  # fmt: skip
    return table(head, [[f.format(r[c]) for c, f in columns.items()] for r in rows])


def exactly_again(form: str, scales: Sequence[float], seeds: Sequence[int]) -> float:
    """The largest difference of a mean between the exact table and the same point computed now."""
    toy = Table.load(shipped("results/guidance-exact.json"))
    was = {(r["scale"], r["seed"]): r["mean"] for r in toy.rows if r["form"] == form}
    return max(abs(exact(form, s, seed=seed)["mean"] - was[s, seed]) for s in scales for seed in seeds)
