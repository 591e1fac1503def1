"""Curves: laws and samples in one dimension, learning curves, intervals, values over data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .pictures import COLOUR, HEAT, MARKER, Picture, array, colours, figure, is_exact, look, meaning, nth_look, sparse


def heat_map(
    t: Any,
    x: Any,
    p: Any,
    *,
    paths: Any = None,
    path_t: Any = None,
    relative: bool = True,
    xlabel: str = "t (0: data, 1: noise)",
    ylabel: str = "x_t",
    label: str = "density p(x_t)",
    title: str = "",
    alt: str,
) -> Picture:
    """Density p(x_t) over t as a heat map, with sample paths on top: t [T], x [X], p [T, X], paths [K, S], path_t [K].

    Each t has its own scale (p over its largest value there), so that the narrow end does not hide the wide one;
    `relative=False` draws any other p as it is; values on both sides of 0 take the diverging map, 0 in white. Raises
    ValueError unless p is [T, X].
    """
    t, x, p = array(t), array(x), array(p)
    if p.shape != (len(t), len(x)):
        raise ValueError(f"p is [T, X] = {(len(t), len(x))}, one row per t; got {p.shape}")
    fig, ax = figure(3.3)
    if relative:
        p, label = p / p.max(1, keepdims=True), f"{label}\nover its peak at t"
    cmap, low, high = colours(float(np.nanmin(p)), float(np.nanmax(p)))
    mesh = ax.pcolormesh(t, x, p.T, cmap=cmap, vmin=low, vmax=high, shading="nearest", rasterized=True)
    fig.colorbar(mesh, ax=ax, label=label)
    if paths is not None:
        ax.plot(array(path_t), array(paths), color=COLOUR["right"], lw=1, alpha=0.85)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, xlim=(t.min(), t.max()), ylim=(x.min(), x.max()))
    return Picture(fig, alt)


def band(
    s: Any,
    mean: Any,
    sd: Any,
    samples: Any = None,
    *,
    panels: Mapping[str, Any] | None = None,
    xlabel: str = "step of the plan",
    ylabel: str = "position",
    title: str = "",
    alt: str,
) -> Picture:
    """Exact mean and mean +- 2 sd (both [H]) over s [H], with samples [S, H] and their own mean +- 2 sd.

    `panels` is title -> samples, drawn side by side on one scale in place of `samples`.
    """
    s, mean, sd = array(s), array(mean), array(sd)
    panels = {title: samples} if panels is None else dict(panels)
    fig, axes = figure(3.1, 1, len(panels), squeeze=False, sharey=True, sharex=True)
    for i, (ax, (name, x)) in enumerate(zip(axes.flat, panels.items(), strict=True)):
        ax.fill_between(s, mean - 2 * sd, mean + 2 * sd, color="#dddddd", label="exact mean ± 2 sd", zorder=0)
        ax.plot(s, np.stack([mean - 2 * sd, mean + 2 * sd], 1), lw=0.9, zorder=3, **look("exact"))
        ax.plot(s, mean, lw=1.3, label="exact mean", **look("exact"))
        if x is not None:
            x = array(x)
            ax.plot(s, x.T, color=COLOUR["model"], lw=0.5, alpha=0.25)
            ax.plot([], [], color=COLOUR["model"], lw=0.8, label=f"{len(x)} samples")
            low, high = x.mean(0) - 2 * x.std(0), x.mean(0) + 2 * x.std(0)
            ax.plot(s, low, label="their mean ± 2 sd", **look("right"))
            ax.plot(s, high, **look("right"))
        ax.set(xlabel=xlabel, title=name, ylabel=ylabel if i == 0 else "")
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return Picture(fig, alt)


def histogram(
    samples: Any,
    *,
    exact: tuple[Any, Any] | None = None,
    bins: int | Any = 60,
    xlabel: str = "x",
    title: str = "",
    marks: Mapping[str, float] | None = None,
    alt: str,
) -> Picture:
    """Density histogram of samples [S] (or of several, name -> [S]) against an exact density (x [X], p [X]).

    `marks` is label -> x and draws vertical lines.
    """
    fig, ax = figure(3.0)
    named = dict(samples) if isinstance(samples, Mapping) else {"samples": samples}
    for i, (name, x) in enumerate(named.items()):
        style = nth_look(i, name if name in COLOUR else "")  # samples: whatever their name, they are not exact
        ax.hist(
            array(x).ravel(),
            bins=bins,
            density=True,
            histtype="stepfilled" if i == 0 else "step",
            alpha=0.45 if i == 0 else 1,
            color=style["color"],
            label=name,
            lw=1.6,
        )
    if exact is not None:
        ax.plot(array(exact[0]), array(exact[1]), label="exact", **look("exact"))
    for i, (name, at) in enumerate((marks or {}).items()):
        _upright(ax, float(at), "exact" if is_exact(name) else ("warning", "goal")[i % 2], lw=2, label=name)
    ax.set(xlabel=xlabel, ylabel="density", title=title)
    ax.legend()
    return Picture(fig, alt)


def _upright(ax: Any, at: float, name: str, **style: Any) -> None:
    """A vertical line in the look of a meaning, with its marker on top, told apart without colour."""
    mark = {} if name == "exact" else {"marker": MARKER[name], "markevery": [1], "markersize": 7, "clip_on": False}
    ax.plot([at, at], [0, 1], transform=ax.get_xaxis_transform(), **look(name), **mark, **style)


def lines(
    x: Any,
    curves: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    logx: bool = False,
    logy: bool = False,
    points: bool = False,
    alt: str,
) -> Picture:
    """Curves name -> y [n], or name -> (y, low, high), over x [n].

    A name of the palette takes its colour. Names that begin with "exact" or end in "(exact)" are dashed, and no others;
    several others have a few markers along them, or one on each point with `points`.
    """
    fig, ax = figure(3.0)
    x = array(x)
    for i, (name, y) in enumerate(curves.items()):
        style = nth_look(i, name)
        if isinstance(y, tuple):
            y, low, high = (array(v) for v in y)
            ax.fill_between(x, low, high, color=style["color"], alpha=0.2, lw=0)
        mark: dict[str, Any] = {"marker": MARKER[meaning(i, name)], "markersize": 5} if points else {}
        if not points and sum(not is_exact(other) for other in curves) > 1:
            mark = sparse(i, name, array(y))
        ax.plot(x, array(y), label=name, **mark, **style)
    ax.set(
        xlabel=xlabel,
        ylabel=ylabel,
        title=title,
        xscale="log" if logx else "linear",
        yscale="log" if logy else "linear",
    )
    if logx and len(x) <= 10:  # the numbers that were tried, not powers of ten between them
        ax.set_xticks(x, [f"{v:g}" for v in x])
        ax.set_xticks([], minor=True)
    if len(curves) > 3:  # room inside the axes is for curves
        fig.legend(loc="outside lower center", ncols=min(4, len(curves)))
    else:
        ax.legend()
    return Picture(fig, alt)


def losses(
    history: Any,
    floor: float | Mapping[str, float] | None = None,
    *,
    key: str = "loss",
    every: int = 1,
    title: str = "",
    logy: bool = False,
    alt: str,
) -> Picture:
    """Training loss against updates, thin as it came and thick as a running mean, above its exact floor.

    `history` is what `fit` yielded (dicts with `key`), a sequence of numbers, or a mapping name -> numbers, with one
    entry for `every` so many updates. `floor` is one number, or name -> number, below which no loss can go: it is
    exact, and dashed.
    """
    if not isinstance(history, Mapping):
        history = list(history)
        history = {key: [row[key] if isinstance(row, Mapping) else row for row in history]}
    fig, ax = figure(3.0)
    for i, (name, values) in enumerate(history.items()):
        y = np.array([float(v) for v in values])
        updates = np.arange(1, len(y) + 1) * every
        width = max(1, len(y) // 25)
        total = np.cumsum(np.insert(y, 0, 0.0))
        style = nth_look(i, name)
        ax.plot(updates, y, color=style["color"], lw=0.6, alpha=0.35)
        mean = (total[width:] - total[:-width]) / width
        ax.plot(
            updates[width // 2 : len(y) - (width - 1) // 2],
            mean,
            label=f"{name}, mean of {width}" if width > 1 else name,
            **(sparse(i, name, mean) if len(history) > 1 else {}),
            **style,
        )
    for i, (name, value) in enumerate(
        (floor if isinstance(floor, Mapping) else {"exact floor": floor} if floor is not None else {}).items()
    ):
        tone = COLOUR["exact"] if i == 0 else COLOUR["noise"]
        ax.axhline(float(value), label=f"{name} {float(value):.3g}", lw=1.4, **look("exact") | {"color": tone})
    ax.set(xlabel="training step", ylabel=key, title=title, yscale="log" if logy else "linear")
    if not logy:
        ax.set_ylim(bottom=0)
    ax.legend()
    return Picture(fig, alt)


def intervals(
    rows: Iterable[Sequence[Any]],
    *,
    xlabel: str,
    reference: float | Mapping[str, float] | None = None,
    title: str = "",
    alt: str,
) -> Picture:
    """Dots with intervals, one row each, from top to bottom: (label, value, low, high) or (label, [a value per seed]).

    `reference` is one number, or name -> number, and draws vertical lines, dashed where the name begins with "exact" or
    ends in "(exact)".
    """
    rows = [tuple(row) for row in rows]
    fig, ax = figure(0.75 + 0.34 * len(rows) + (0.3 if reference is not None else 0))
    for i, (_, value, *ends) in enumerate(rows):
        y = len(rows) - 1 - i
        seeds = np.atleast_1d(array(value))
        if ends:
            ax.plot([float(ends[0]), float(ends[1])], [y, y], color=COLOUR["model"], lw=2.2, solid_capstyle="butt")
        if len(seeds) > 1:
            ax.plot(
                seeds, np.full(len(seeds), y), linestyle="", marker="o", markersize=5, color=COLOUR["model"], alpha=0.45
            )
        ax.plot(
            seeds.mean(),
            y,
            marker="D" if len(seeds) > 1 else "o",
            color=COLOUR["model"],
            markersize=7,
            markeredgecolor="white",
        )
    names = reference if isinstance(reference, Mapping) else {"reference": reference} if reference is not None else {}
    for i, (name, value) in enumerate(names.items()):
        tone = "exact" if is_exact(name) else ("noise", "warning", "goal")[i % 3]
        _upright(ax, float(value), tone, lw=1.5, label=f"{name} {float(value):.3g}")
    ax.set(yticks=range(len(rows)), xlabel=xlabel, title=title, ylim=(-0.6, len(rows) - 0.4))
    ax.set_yticklabels([str(row[0]) for row in reversed(rows)])
    ax.grid(axis="y", color="#e5e5e5", lw=0.8)
    ax.set_axisbelow(True)
    if names:
        fig.legend(loc="outside lower center", ncols=3)
    return Picture(fig, alt)


def values_over_data(
    a: Any,
    curves: Mapping[str, Any],
    data: Any,
    *,
    best: Mapping[str, float],
    proposals: Any = None,
    xlabel: str = "action a",
    ylabel: str = "Q",
    title: str = "",
    ylim: tuple[float, float] | None = None,
    alt: str,
) -> Picture:
    """Values of an action over a [M] (name -> Q [M]) above a histogram of the recorded actions `data` on the same axis.

    best is the name of a curve -> the action that an arrow points at. proposals are actions that a model proposes; they
    become ticks under the upper axes.
    """
    fig, (ax, below) = figure(3.7, 2, 1, sharex=True, gridspec_kw={"height_ratios": (2.6, 1)})
    a = array(a)
    for i, (name, q) in enumerate(curves.items()):
        q, style = array(q), nth_look(i, name)
        ax.plot(a, q, label=name, **style, **(sparse(i, name, q) if len(curves) > 2 else {}))
        if name in best:
            ax.annotate(
                f"best, {name}",
                (best[name], float(np.interp(best[name], a, q))), (0, 26), textcoords="offset points", ha="right"
                if best[name] > 0.8 * a.max() else "center", fontsize=8.5, color=style["color"],
                arrowprops={"arrowstyle": "-|>", "color": style["color"], "lw": 1.8},
            )  # fmt: skip
    if proposals is not None:
        x = array(proposals).ravel()
        ax.plot(x, np.full(len(x), 0.02), "|", transform=ax.get_xaxis_transform(), color=COLOUR["warning"],
                markersize=9, label=f"{len(x)} proposals")  # fmt: skip
    below.hist(array(data).ravel(), bins=50, range=(a.min(), a.max()), color=COLOUR["data"])
    below.set(xlabel=xlabel, ylabel="recorded", xlim=(a.min(), a.max()))
    ax.set(ylabel=ylabel, title=title, ylim=ylim)
    ax.legend(loc="lower left")
    return Picture(fig, alt)


def point_and_law(
    t: Any,
    x: Any,
    p: Any,
    point: tuple[float, float],
    law: Any,
    *,
    prior: Any = None,
    marks: Mapping[str, float] | None = None,
    names: tuple[str, str] = ("t", "x_t"),
    alt: str,
) -> Picture:
    """A heat map with a point on it, and beside it a law that belongs to the point.

    Left is p [T, X] over t [T] and x [X], both evenly spaced, with a point (t, x_t) that `explore` lets one drag, as
    the controls `names`. Right, on the same x, are the densities `law` [X] and, pale, `prior` [X]; `marks` is
    label -> x.
    """
    t, x, p, law = array(t), array(x), array(p), array(law)
    fig, (ax, side) = figure(3.4, 1, 2, sharey=True, gridspec_kw={"width_ratios": (1.35, 1)})
    box = (t[0], t[-1], x[0], x[-1])
    ax.imshow((p / p.max(1, keepdims=True)).T, cmap=HEAT, aspect="auto", origin="lower", extent=box)
    ax.plot(*point, marker="o", markersize=11, color=COLOUR["start"], markeredgecolor="black", markeredgewidth=1.5)
    ax.axhline(point[1], color=COLOUR["noise"], lw=0.8)
    ax.set(xlabel="t (0: data, 1: noise)", ylabel="x", title=f"t = {point[0]:.2f},  x_t = {point[1]:.2f}")
    if prior is not None:
        side.fill_betweenx(x, array(prior), color="#dddddd", label="data p(x_0)")
    side.plot(law, x, color=COLOUR["model"], label="p(x_0 | x_t)")
    for i, (name, at) in enumerate((marks or {}).items()):
        side.axhline(at, color=COLOUR["right" if i == 0 else "noise"], lw=2 if i == 0 else 0.8, label=name)
    side.set(xlabel="density", ylim=(x[0], x[-1]))
    fig.legend(*side.get_legend_handles_labels(), loc="outside lower right", ncols=3)
    return Picture(fig, alt, drag=names)


def histograms(
    panels: Mapping[str, Any],
    *,
    exact: tuple[Any, Any],
    bins: int = 50,
    height: float = 2.4,
    top: float | None = None,
    xlabel: str = "x_0",
    alt: str,
) -> Picture:
    """Density histograms of several sets of samples, title -> [S], side by side on one scale, each with an exact curve.

    exact is (x [X], p [X]). Samples outside x count in the bins at its ends. `top` is the height of the density axis.
    """
    x, p = array(exact[0]), array(exact[1])
    fig, axes = figure(height, 1, len(panels), sharey=True, squeeze=False)
    for ax, (title, samples) in zip(axes.flat, panels.items(), strict=True):
        inside = np.clip(array(samples).ravel(), x.min(), x.max())
        ax.hist(
            inside, bins=bins, range=(x.min(), x.max()), density=True, color=COLOUR["model"], alpha=0.6, label="samples"
        )
        ax.plot(x, p, label="exact", **look("exact"))
        ax.set(title=title, xlabel=xlabel)
    axes[0, 0].set(ylabel="density", ylim=(0, top))  # after all are drawn: limits that are set no longer grow
    axes[0, 0].legend(loc="upper left")
    return Picture(fig, alt)


def trails(frames: Iterable[Any]) -> dict[str, Any]:
    """The frames of a chain in one dimension (x_t [S, 1]) as frames for `movie`: each sample's path so far over t.

    -> {"t": [K+1], "x_t": [K+1, S, K+1, 2], "x0_hat": None}. Frame k holds the points (t, x_t) of the frames 0 to k;
    its last point stands for all that are still to come.
    """
    rows = list(frames)
    t = np.array([float(f.t) for f in rows])
    x = np.stack([array(f.x_t)[:, 0] for f in rows])
    path = np.stack([np.broadcast_to(t[:, None], x.shape), x], -1)  # [K+1, S, 2]
    upto = [path[np.minimum(np.arange(len(t)), k)].transpose(1, 0, 2) for k in range(len(t))]
    return {"t": t, "x_t": np.stack(upto), "x0_hat": None}


def noise_to_data(
    t: Any,
    x: Any,
    p: Any,
    paths: Any,
    path_t: Any,
    samples: Any,
    *,
    marks: Mapping[str, float] | None = None,
    title: str = "",
    alt: str,
) -> Picture:
    """Paths of a reverse process from noise (left) to data (right), and beside them where its samples end.

    Left are the density p [T, X] over falling t [T] and x [X], each t on its own scale, and paths [K, S] at the times
    path_t [K]. Right, on the same x, are a histogram of samples [N] and, dashed, the exact density at the last t;
    `marks` is label -> x.
    """
    t, x, p = array(t), array(x), array(p)
    order = np.argsort(-t)
    fig, (ax, side) = figure(3.4, 1, 2, sharey=True, gridspec_kw={"width_ratios": (2, 1)})
    ax.pcolormesh(t[order], x, (p / p.max(1, keepdims=True))[order].T, cmap=HEAT, shading="nearest", rasterized=True)
    ax.plot(array(path_t), array(paths), color=COLOUR["right"], lw=1, alpha=0.85)
    ax.set(xlabel="t (1: noise, 0: data)", ylabel="x_t", title=title, xlim=(t.max(), t.min()), ylim=(x.min(), x.max()))
    side.hist(array(samples).ravel(), bins=np.linspace(x.min(), x.max(), 71), density=True, orientation="horizontal",
              color=COLOUR["model"], alpha=0.45, label="samples")  # fmt: skip
    side.plot(p[t.argmin()], x, label="exact", **look("exact"))
    for name, at in (marks or {}).items():
        side.axhline(at, color=COLOUR["warning"], lw=2, label=name)
    side.set(xlabel="density")
    side.legend(loc="lower right")
    return Picture(fig, alt)
