"""What lesson 09 draws around its own few lines: roll-outs coloured by way, and actions at a fork against the exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab import methods, widgets
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import load
from diffrl_lab.studies import imitation
from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.tables import Columns
from diffrl_lab.worlds import avoid

START = (0.0, 0.0)  # where an episode begins, and the first gap is chosen
FORK = (0.0, avoid.ROWS[1][0] + avoid.CLEAR + 0.02)  # where the last gap is chosen, behind the middle gap of two
LAST = ("left", "data", "goal", "right")  # the colour of a path: through which gap of the last row it goes


def policy(arm: str, chunk: int = 1, **options: Any) -> Any:
    """A shipped policy of the study, with other settings for how it draws: `denoising`, `execute`."""
    path = shipped(f"weights/imitation-{imitation.name('', arm, chunk, 0).removeprefix('-')}")
    model = methods.of_class(load(path)[1]["method"])[1].load(path)
    imitation.agent(model, **options)
    return model


def roll(model: Any, n: int = 40, seed: int = 0) -> avoid.Rolled:
    """n episodes of a policy, or of the demonstrator (None), from the starts seed, seed + 1, ..."""
    who = avoid.Demonstrator() if model is None else imitation.agent(model)
    return avoid.roll(who, range(seed, seed + n))


def at_fork(where: ArrayLike = FORK) -> tuple[Tensor, Tensor]:
    """The demonstrator's actions, exactly, where it has just chosen the next gap (START, FORK, or beside them), and
    nothing in the state tells which: its intents [K, 2] for the K gaps of the row, and their probabilities [K]."""
    at = np.asarray(where, float)
    row = int(np.searchsorted([height + avoid.CLEAR for height, _ in avoid.ROWS[:2]], at[1]))
    K, apart = len(avoid.GAPS[row]), (12, 4, 1)[row]  # ways that differ in this gap alone
    acts = avoid.intent(np.tile(at, (K, 1)), apart * np.arange(K))
    return torch.tensor(acts), torch.full((K,), 1 / K, dtype=torch.float64)


def drawn(model: Any, n: int = 400, where: ArrayLike = FORK, seed: int = 0) -> Tensor:
    """n first actions of a policy at one place. -> [n, 2]"""
    return model.sample(np.asarray(where)[None], n=n, generator=torch.Generator().manual_seed(seed))[0, :, 0]


def near(acts: Tensor, exact: Tensor, within: float = 0.15) -> Tensor:
    """Which of the exact actions [K, 2] each action [n, 2] is, -1 for none that near. -> [n]"""
    far, which = torch.cdist(acts.double(), exact.double()).min(1)
    return torch.where(far < within, which, -1)


def draw_posts(ax: Any) -> None:
    """The posts and the line of arrival, on equal axes without ticks."""
    for x, y in avoid.POSTS:
        ax.add_patch(Circle((x, y), avoid.RADIUS, facecolor=pictures.COLOUR["wall"], edgecolor="black", lw=0.8))
    ax.axhline(avoid.TOP, color=pictures.COLOUR["noise"], lw=1)
    ax.set(xlim=(-avoid.SIDE, avoid.SIDE), ylim=(-0.2, avoid.TOP + 0.25), xticks=[], yticks=[], aspect="equal")
    for side in ax.spines.values():
        side.set_visible(False)


def paths(rolled: Mapping[str, avoid.Rolled], *, alt: str, cols: int = 4) -> pictures.Picture:
    """The paths of each policy, coloured by the last gap of their way; those that crash are grey and end in a cross. A
    title says how many arrived, by how many ways."""
    rows, full = -(-len(rolled) // cols), pictures.WIDTH / cols
    cols = min(cols, len(rolled))
    fig, axes = pictures.figure(rows * (full * 1.15 + 0.55), rows, cols, squeeze=False, width=full * cols)
    for ax in axes.flat[len(rolled) :]:
        ax.set_axis_off()
    for ax, (name, r) in zip(axes.flat, rolled.items(), strict=False):
        draw_posts(ax)
        for path, steps, way in zip(r.path, r.steps, r.way, strict=True):
            x, y = path[: steps + 1].T
            tone = "noise" if way < 0 else LAST[int(avoid.gaps(way)[2])]
            ax.plot(x, y, lw=0.8, alpha=0.75, color=pictures.COLOUR[tone])
            if way < 0:
                ax.plot(x[-1:], y[-1:], marker="X", ms=5, color=pictures.COLOUR["warning"], mec="black", mew=0.4)
        arrived = r.way[r.way >= 0]
        ax.set_title(f"{name}\n{len(arrived)} of {len(r.way)}, {len(set(arrived.tolist()))} ways", fontsize=9)
    return pictures.Picture(fig, alt)


def fork(acts: Mapping[str, Tensor], exact: Tensor, *, alt: str) -> pictures.Picture:
    """Actions [n, 2] of each policy at the fork, in the plane of actions, and the demonstrator's exact ones. A title
    says which share is none of them."""
    fig, axes = pictures.figure(2.3, 1, len(acts), sharey=True, width=min(pictures.WIDTH, 2.6 * len(acts)))
    for ax, (name, a) in zip(np.atleast_1d(axes), acts.items(), strict=True):
        ax.plot(
            *a.T,
            ".",
            ms=3 if len(a) > 20 else 9,
            alpha=0.4 if len(a) > 20 else 1,
            color=pictures.COLOUR["model"],
            label="drawn",
        )
        ax.plot(*exact.T, "D", ms=7, mfc="none", mec=pictures.COLOUR["exact"], label="exact")
        lost = float((near(a, exact) < 0).double().mean())
        ax.set(xlim=(-1.2, 1.2), ylim=(-0.3, 1.5), xlabel="sideways", aspect="equal")
        ax.set_title(f"{name}\n{lost:.0%} off", fontsize=9)
    np.atleast_1d(axes)[0].set_ylabel("up")
    fig.legend(*np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return pictures.Picture(fig, alt)


class Slider:
    """Forty roll-outs of each policy, drawn when asked, one action at a time or in chunks of 8."""

    arms = ("least squares", "Gaussian", "mixture, K = 8", "autoregressive", "diffusion", "flow", "two-step")

    def picture(self, actions: int, denoising: int, seed: int) -> pictures.Picture:
        """All policies with `actions` 1 or 8 drawn together, the chains of diffusion and flow with so many steps."""
        rolled: dict[str, avoid.Rolled] = {"demonstrator": roll(None, seed=40 * seed)}
        for arm in self.arms:
            chain = {"denoising": denoising} if arm in ("diffusion", "flow") else {}
            rolled[arm] = roll(policy(arm, actions, **chain), seed=40 * seed)
        said = "; ".join(f"{name} {int((r.way >= 0).sum())} of 40" for name, r in rolled.items())
        return paths(rolled, alt=f"Forty roll-outs of each policy, {actions} actions drawn together; arrived: {said}.")


class Study:
    """The tables of the study of imitation: name -> a row for each arm, each number the mean of the training seeds."""

    def __init__(self, part: str) -> None:
        self.table = Table.load(shipped(f"results/imitation-{part}.json"))

    def __call__(self, column: str, arm: str, chunk: int = 1, **where: Any) -> NDArray[np.float64]:
        """A result of an arm, a number for each training seed."""
        return self.table.column(column, arm=arm, chunk=chunk, **where).astype(float)

    def rows(self, arms: Sequence[tuple[str, int]], **where: Any) -> Columns:
        """Success, entropy and calibration with their floors, jitter and idle steps, of (arm, chunk)s."""

        def cell(arm: str, chunk: int, column: str, form: str) -> str:
            v = self(column, arm, chunk, **where)
            low, mean, high = np.nanmin(v), np.nanmean(v), np.nanmax(v)
            ends = f" ({low:{form}} to {high:{form}})" if f"{low:{form}}" != f"{high:{form}}" else ""
            return f"{mean:{form}}{ends}"

        columns: dict[str, Callable[[str, int], str]] = {
            "policy": lambda a, c: a if a == "demonstrator" else f"{a}, {'one action' if c == 1 else f'chunks of {c}'}",
            "arrived": lambda a, c: cell(a, c, "success", ".3f"),
            "entropy / ln 24": lambda a, c: cell(a, c, "entropy", ".2f"),
            "total variation": lambda a, c: cell(a, c, "tv", ".2f"),
            "its floor": lambda a, c: cell(a, c, "tv_floor", ".2f"),
            "jitter": lambda a, c: cell(a, c, "jitter", ".2f"),
            "idle": lambda a, c: cell(a, c, "idle", ".3f"),
        }
        return widgets.table({name: [f(*arm) for arm in arms] for name, f in columns.items()})


def universal(*, alt: str) -> pictures.Picture:
    """Sliced W2 of mixtures over K and of diffusion over the steps of its chain, a panel for each law; dashed: fresh
    draws of the law itself. Bands: lowest to highest of the training seeds."""
    table = Table.load(shipped("results/imitation-universal.json"))
    fig, axes = pictures.figure(2.9, 1, len(imitation.LAWS))
    for ax, kind in zip(axes, imitation.LAWS, strict=True):
        for form, tone, unit in (("mixture", "right", "components"), ("diffusion", "model", "steps of the chain")):
            n = sorted({row["n"] for row in table.rows if (row["kind"], row["form"]) == (kind, form)})
            y = np.array([table.column("sliced", kind=kind, form=form, n=k) for k in n])
            ax.fill_between(n, y.min(1), y.max(1), alpha=0.2, lw=0, color=pictures.COLOUR[tone])
            ax.plot(n, y.mean(1), marker=pictures.MARKER[tone], ms=4, label=f"{form}: {unit}", **pictures.look(tone))
        floor = table.column("sliced", kind=kind, form="exact").mean()
        ax.axhline(floor, label="exact: fresh draws", **pictures.look("exact"))
        ax.set(title=kind, xlabel="components, or steps", xscale="log", yscale="log")
        ax.set_xticks([1, 2, 4, 8, 16, 50], ["1", "2", "4", "8", "16", "50"])
        ax.set_yticks([0.02, 0.05, 0.1, 0.2], ["0.02", "0.05", "0.1", "0.2"])
        ax.minorticks_off()
    axes[0].set_ylabel("sliced W2")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return pictures.Picture(fig, alt)
