"""What lesson 10 draws around its own few lines: the actions of policies on the bandit, and what critics believe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Circle
from numpy.typing import NDArray
from torch import Tensor

from diffrl_lab import methods, widgets
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import Cosine, load
from diffrl_lab.studies import hopping, improvement
from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.tables import Columns
from diffrl_lab.worlds import bandit


def policy(what: str) -> Any:
    """A shipped policy of the study: what was trained first."""
    path = shipped(f"weights/improvement-{improvement.name(what, 0)}")
    return methods.of_class(load(path)[1]["method"])[1].load(path)


def draw_modes(ax: Any, pays: bool = True) -> None:
    """The four discs, each with what it pays, on equal axes of actions."""
    for (x, y), paid in zip(bandit.CENTRES, bandit.PAID, strict=True):
        ax.add_patch(Circle((x, y), bandit.RADIUS, fill=False, edgecolor=pictures.COLOUR["exact"], lw=1))
        if pays:
            ax.text(0.52 * x, 0.52 * y, f"{paid:g}", ha="center", va="center", fontsize=9)
    ax.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xticks=[-1, 0, 1], yticks=[-1, 0, 1], aspect="equal")


def scatter(acts: Mapping[str, Tensor], *, alt: str, cols: int = 4) -> pictures.Picture:
    """Actions [n, 2] of each policy among the discs: those on no disc are crosses. A title says the mean reward."""
    rows, cols = -(-len(acts) // cols), min(cols, len(acts))
    fig, axes = pictures.figure(2.45 * rows, rows, cols, squeeze=False, sharex=True, sharey=True)
    for ax in axes.flat[len(acts) :]:
        ax.set_axis_off()
    for ax, (name, a) in zip(axes.flat, acts.items(), strict=False):
        draw_modes(ax)
        on, shown = bandit.mode(a) >= 0, torch.arange(len(a)) < 300
        ax.plot(*a[on & shown].T, ".", ms=3, alpha=0.5, color=pictures.COLOUR["model"])
        ax.plot(*a[~on & shown].T, "x", ms=3.5, mew=0.8, color=pictures.COLOUR["right"])
        found = bandit.found(a)
        ax.set_title(f"{name}\npaid {found['reward']:.2f}, {found['off']:.0%} off", fontsize=9)
    return pictures.Picture(fig, alt)


def q_map(model: Any, a: Tensor, *, alt: str, cells: int = 61) -> pictures.Picture:
    """What is paid and what the model's critics believe, over the plane of actions, with actions a [n, 2] on top."""
    line = torch.linspace(-1, 1, cells)
    grid = torch.cartesian_prod(line, line)
    q = improvement.q_of(model, grid)
    fig, axes = pictures.figure(2.9, 1, 2, sharey=True)
    for ax, (name, values) in zip(axes, {"paid": bandit.reward(grid), "believed (Q)": q}.items(), strict=True):
        top = max(float(q.max()), max(bandit.PAID))
        mesh = ax.pcolormesh(line, line, values.view(cells, cells).T, cmap=pictures.HEAT, vmin=0, vmax=top)
        draw_modes(ax, pays=False)
        ax.plot(*a[:200].T, "x", ms=4, mew=0.8, color=pictures.COLOUR["right"])
        ax.set_title(name, fontsize=9)
    fig.colorbar(mesh, ax=list(axes), label="reward")
    return pictures.Picture(fig, alt)


def tilted(etas: Sequence[float], *, alt: str) -> pictures.Picture:
    """Exact shares of the four modes over the temperature."""
    each = torch.stack([bandit.shares(eta) for eta in etas])
    fig, ax = pictures.figure(2.7)
    for k, tone in enumerate(("left", "noise", "goal", "model")):
        style = {"color": pictures.COLOUR[tone], "linestyle": "--"}
        ax.plot(etas, each[:, k], marker=pictures.MARKER[tone], markevery=4, label=f"pays {bandit.PAID[k]:g}", **style)
    ax.set(xscale="log", xlabel="temperature eta", ylabel="share of the actions (exact)", ylim=(0, 1.03))
    ax.set_xticks([0.2, 0.5, 1, 2, 5, 10, 30], ["0.2", "0.5", "1", "2", "5", "10", "30"])
    ax.minorticks_off()
    fig.legend(loc="outside lower center", ncols=4)
    return pictures.Picture(fig, alt)


def posterior(x_t: Tensor, t: Tensor, K: int = 32, generator: torch.Generator | None = None) -> Tensor:
    """K actions of the data for each x_t [n, 2] of the exact mu(a | x_t), a mixture again. -> [K, n, 2]"""
    (alpha, sigma), means = Cosine()(t), x_t.new_tensor(bandit.CENTRES)
    var, off = alpha**2 * bandit.STD**2 + sigma**2, x_t[:, None] - alpha * means
    below = (-off.square().sum(-1) / (2 * var)).softmax(1).cumsum(1)
    u = torch.rand(K, len(x_t), 1, generator=generator, dtype=x_t.dtype)
    which = (u > below).sum(-1).clamp(max=len(means) - 1)
    mean = (means + alpha * bandit.STD**2 / var * off)[torch.arange(len(x_t)), which]
    return mean + bandit.STD * sigma / var.sqrt() * torch.randn(mean.shape, generator=generator, dtype=x_t.dtype)


class Study:
    """A table of the study of improvement: a number for each training seed."""

    def __init__(self, part: str) -> None:
        self.table = Table.load(shipped(f"results/improvement-{part}.json"))

    def __call__(self, column: str, **where: Any) -> NDArray[np.float64]:
        """A column, a number for each training seed."""
        return self.table.column(column, **where).astype(float)

    def rows(self, arms: Sequence[str]) -> Columns:
        """What each arm is paid, how often it leaves the data, how it keeps modes, and what its critics believe: the
        mean over the trainings, and the lowest and the highest in brackets."""

        def cell(column: str, arm: str) -> str:
            v = self(column, arm=arm)
            if np.isnan(v).all():
                return ""
            low, mean, high = np.nanmin(v), np.nanmean(v), np.nanmax(v)
            return f"{mean:.2f}" + (f" ({low:.2f} to {high:.2f})" if f"{low:.2f}" != f"{high:.2f}" else "")

        heads = {"paid": "reward", "off the modes": "off", "entropy / ln 4": "entropy", "to the exact policy": "tv",
                 "its floor": "tv_floor", "believed": "believed"}  # fmt: skip
        columns = {head: [cell(column, arm) for arm in arms] for head, column in heads.items()}
        return widgets.table({"policy": list(arms), **columns})


OFF = 0.2  # a policy that begins more of its steps where nobody recorded is called off the data


def paid_ways() -> Table:
    """What policies are paid in `avoid` with payments: score, success, off, for each arm and training seed."""
    return Table.load(shipped("results/offline-paid.json"))


def driven(table: Table, *, alt: str) -> pictures.Picture:
    """Scores of the policies of `paid_ways`, a dot for each training, the best above; those off the data say so."""
    arms = [arm for arm in dict.fromkeys(table.column("arm").tolist()) if arm != "the data"]
    arms.sort(key=lambda arm: -table.column("score", arm=arm).astype(float).mean())
    far = {arm: bool(table.column("off", arm=arm).astype(float).mean() > OFF) for arm in arms}
    rows = [(arm + " (off)" * far[arm], table.column("score", arm=arm).astype(float).tolist()) for arm in arms]
    data = float(table.column("score", arm="the data").astype(float).mean())
    return widgets.intervals(rows, xlabel="paid in a drive", reference={"the data": data}, alt=alt)


def on_robot() -> Table:
    """What policies score on Hopper: `summary` has for each arm the IQM over trainings and starts and its interval."""
    return Table.load(shipped("results/offline-hopper.json"))


def hopped(table: Table, *, alt: str) -> pictures.Picture:
    """IQM and interval of the policies of `on_robot`, the best above, beside what is recorded."""
    found = {row["arm"]: row for row in table.about["summary"]}
    reference = {arm: found[arm]["iqm"] for arm in (hopping.DATA, hopping.BEST)}
    rows = sorted((row for arm, row in found.items() if arm not in reference), key=lambda row: -row["iqm"])
    bars = [(row["arm"], row["iqm"], *row["iqm_interval"]) for row in rows]
    return widgets.intervals(bars, xlabel="score: 0 at random, 100 our best policy", reference=reference, alt=alt)


class Slider:
    """The actions of three shipped policies, drawn anew when asked."""

    def __init__(self) -> None:
        self.clone, self.guided = policy("IDQL"), policy("CFGRL")

    def picture(self, candidates: int, w: float, eta: float) -> pictures.Picture:
        """IDQL's best of so many candidates, CFGRL under guidance of the weight w, the exact policy at eta."""
        acts = {
            f"best of {candidates}": improvement.done(self.clone, 300, candidates=candidates),
            f"guidance, w = {w:g}": improvement.done(self.guided, 300, w=float(w)),
            f"exact, eta = {eta:g}": improvement.exact_draws(300, float(eta), 0),
        }
        found = {name: bandit.found(a) for name, a in acts.items()}
        said = "; ".join(f"{name}: paid {f['reward']:.2f}, off {f['off']:.0%}" for name, f in found.items())
        return scatter(acts, cols=3, alt=f"Actions of three policies among the four discs. {said}.")
