"""Numbers -> pictures: the one palette, the one style, alt text for everything.

Every function returns a `Picture`: last line of a cell shows it, `picture.axes` lets a lesson add to it first.
No mathematics lives here.
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

# Colours by meaning: Okabe and Ito's eight (2008), told apart with colour-blind eyes, and two greys.
COLOUR = {
    "data": "#009E73",
    "noise": "#777777",
    "model": "#0072B2",
    "exact": "#000000",
    "left": "#56B4E9",
    "right": "#D55E00",
    "start": "#F0E442",
    "goal": "#CC79A7",
    "wall": "#D0D4D8",
    "warning": "#E69F00",
}
# On paper without colour these tell the same things apart.
MARKER = {
    "data": "o",
    "noise": ".",
    "model": "s",
    "exact": "D",
    "left": "v",
    "right": "^",
    "start": "o",
    "goal": "*",
    "wall": "s",
    "warning": "X",
}
LINE: dict[str, Any] = {
    "data": "-",
    "noise": (0, (1, 1.5)),
    "model": (0, (6, 1.5)),
    "exact": (0, (3, 1.5)),
    "left": (0, (8, 1, 1, 1)),
    "right": (0, (5, 2)),
    "start": "-",
    "goal": (0, (1, 1, 4, 1)),
    "wall": "-",
    "warning": (0, (4, 1.5, 1, 1.5)),
}
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.prop_cycle": cycler(
        color=[COLOUR[k] for k in ("model", "right", "data", "warning", "goal", "left", "exact", "noise")]
    ),
}
DPI = 120
WIDTH = 6.6  # inches: 792 pixels, what a notebook cell shows without scaling
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#bcdcf0", "#56B4E9", "#0072B2", "#002a45"])


def _alt(alt: str) -> str:
    text = " ".join(str(alt).split())
    if len(text) < 40:
        raise ValueError(f"alt text says what the picture shows, in 40 characters or more; got {len(text)}: {text!r}")
    return text


def _array(a: Any) -> np.ndarray:
    """A float64 array of whatever came: tensor (any device), list or array."""
    return np.asarray(a.detach().cpu() if hasattr(a, "detach") else a, dtype=np.float64)


class Picture:
    """A matplotlib figure with its alt text (40 characters or more, else ValueError).

    Shown in a notebook as an <img alt=...>; where only PNG is understood as a PNG; in plain text as the alt text.
    """

    def __init__(self, fig: Figure, alt: str, drag: tuple[str, str] | None = None) -> None:
        self.fig, self.alt, self.drag = fig, _alt(alt), drag  # drag: controls of the first axes' x and y

    @property
    def axes(self) -> list[Axes]:
        return self.fig.axes

    def png(self, quick: bool = False) -> bytes:
        """The picture as PNG bytes of at most 256 colours (a third of the size; rare colours survive)."""
        return png(self.fig, quick=quick)

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        return still(self.png(), self.alt), {"image/png": {"alt": self.alt}}


def png(fig: Figure, colours: int = 256, quick: bool = False) -> bytes:
    """Renders a figure to PNG bytes with at most so many colours; `quick`: all colours, larger, in less time."""
    from PIL import Image

    raw, small = io.BytesIO(), io.BytesIO()
    fig.savefig(raw, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
    if quick:
        return raw.getvalue()
    raw.seek(0)
    image = (
        Image.open(raw).convert("RGB").quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    image.save(small, format="PNG", optimize=True)
    return small.getvalue()


def still(data: bytes, alt: str) -> dict[str, str]:
    """PNG bytes and alt text in the three forms a notebook may choose from."""
    return {"image/png": base64.b64encode(data).decode(), "text/html": img(data, alt), "text/plain": alt}


def img(data: bytes, alt: str) -> str:
    """PNG bytes as one self-contained <img> element with alt text."""
    source = base64.b64encode(data).decode()
    words = html.escape(alt, quote=True)
    return f'<img alt="{words}" style="max-width:100%;height:auto" src="data:image/png;base64,{source}">'


def figure(
    height: float = 3.0, rows: int = 1, cols: int = 1, width: float = WIDTH, **subplots: Any
) -> tuple[Figure, Any]:
    """A figure in the lab's style and its axes (one, or an array when there are several); sizes in inches.

    It does not go through pyplot, so a callback may make thousands without leaking.
    """
    matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, fig.subplots(rows, cols, **subplots)


def show(fig: Figure | Picture, alt: str | None = None) -> None:
    """Displays a figure here and now, with its alt text (40 characters or more)."""
    from IPython.display import display

    inner = fig.fig if isinstance(fig, Picture) else fig
    display(fig if isinstance(fig, Picture) and alt is None else Picture(inner, alt or ""))


def look(name: str) -> dict[str, Any]:
    """Colour and dash of a meaning (`data`, `noise`, `model`, `exact`, `left`, `right`, ...), for `ax.plot(...,
    **look("exact"))`.
    """
    if name not in COLOUR:
        raise ValueError(f"no colour for {name!r}; there are {', '.join(COLOUR)}")
    return {"color": COLOUR[name], "linestyle": LINE[name]}


def _cycle(i: int, name: str) -> dict[str, Any]:
    if name in COLOUR:
        return look(name)
    return look(("model", "right", "data", "warning", "goal", "left", "exact", "noise")[i % 8])


# mazes


def walls(maze: Any, size: float = 1.0) -> np.ndarray:
    """The wall cells of a maze as rectangles x_min, y_min, x_max, y_max. -> [n, 4]

    `maze` is a map as PointMaze has it (rows of 0, 1 or letters; 1 is a wall; the map's centre is the origin, y up,
    cells `size` wide), or has such a `maze_map` with its `maze_size_scaling`, or `blocked` [R, C] with its `scale`.
    """
    rows, size = _map(maze, size)
    top, side = len(rows) / 2, len(rows[0]) / 2
    return np.array(
        [
            [(j - side) * size, (top - i - 1) * size, (j - side + 1) * size, (top - i) * size]
            for i, row in enumerate(rows)
            for j, cell in enumerate(row)
            if cell in (1, "1")
        ]
    ).reshape(-1, 4)


def bounds(maze: Any, size: float = 1.0) -> tuple[float, float, float, float]:
    """x_min, x_max, y_min, y_max of what is drawn of a maze: all of it, but only half of an outer ring of walls."""
    rows, size = _map(maze, size)
    ring = [*rows[0], *rows[-1], *(row[0] for row in rows), *(row[-1] for row in rows)]
    cut = 0.5 if len(rows) > 2 and all(cell in (1, "1") for cell in ring) else 0.0
    x, y = (len(rows[0]) / 2 - cut) * size, (len(rows) / 2 - cut) * size
    return -x, x, -y, y


def _map(maze: Any, size: float) -> tuple[list, float]:
    if hasattr(maze, "blocked"):
        maze, size = np.asarray(maze.blocked).astype(int), float(maze.scale)
    rows = getattr(maze, "maze_map", maze)
    size = float(getattr(maze, "maze_size_scaling", size))
    rows = [list(row) for row in rows]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError(f"a maze is a rectangular map, rows of equal length; got rows of {[len(r) for r in rows]}")
    return rows, size


def _draw_walls(ax: Axes, rectangles: Any) -> None:
    for x0, y0, x1, y1 in rectangles:
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=COLOUR["wall"], edgecolor=COLOUR["wall"], lw=0.3))


def draw_maze(ax: Axes, maze: Any = None, start: Any = None, goal: Any = None, size: float = 1.0) -> Axes:
    """Walls as rectangles, start as a circle, goal as a star, equal axes, no ticks."""
    if maze is not None:
        _draw_walls(ax, walls(maze, size))
        x0, x1, y0, y1 = bounds(maze, size)
        ax.set(xlim=(x0, x1), ylim=(y0, y1))
    for name, point in (("start", start), ("goal", goal)):
        if point is not None:
            p = _array(point).reshape(-1, 2)
            ax.plot(
                p[:, 0],
                p[:, 1],
                linestyle="",
                marker=MARKER[name],
                color=COLOUR[name],
                markersize=9 if name == "start" else 14,
                markeredgecolor="black",
                markeredgewidth=1,
                zorder=5,
            )
    ax.set(xticks=[], yticks=[])
    ax.set_aspect("equal")
    for side in ax.spines.values():
        side.set_visible(False)
    return ax


def trajectories(
    x: Any,
    *,
    maze: Any = None,
    start: Any = None,
    goal: Any = None,
    groups: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    title: str = "",
    points: bool = True,
    ncols: int = 3,
    size: float = 1.0,
    alt: str,
) -> Picture:
    """Trajectories x [S, H, 2] (or a list of [H_i, 2]) in a maze; a mapping title -> x draws panels side by side.

    `groups`: one meaning per trajectory (`left`, `right`, ...; a name of the palette), or nothing for `model`; with
    several panels also title -> meanings.
    """
    panels = dict(x) if isinstance(x, Mapping) else {title: x}
    cols = min(ncols, len(panels))
    rows = -(-len(panels) // cols)
    each = min(WIDTH / cols, 4.2)
    ratio = 1.0
    if maze is not None:
        x0, x1, y0, y1 = bounds(maze, size)
        ratio = (y1 - y0) / (x1 - x0)
    fig, axes = figure(rows * (each * ratio + 0.35), rows, cols, squeeze=False, width=each * cols)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    seen: dict[str, None] = {}
    for ax, (name, paths) in zip(axes.flat, panels.items(), strict=False):
        draw_maze(ax, maze, start, goal, size)
        paths = [_array(path) for path in paths]
        paths = [np.stack(paths)] if paths[0].ndim == 1 else paths
        named = groups.get(name) if isinstance(groups, Mapping) else groups
        names = ["model"] * len(paths) if named is None else list(named)
        if len(names) != len(paths):
            raise ValueError(f"groups names one group per trajectory: {len(paths)} trajectories, {len(names)} groups")
        alpha = max(0.25, min(1.0, 8 / len(paths)))
        for path, group in zip(paths, names, strict=True):
            style = look(group) if named is not None else {"color": COLOUR["model"]}
            ax.plot(*path[:, :2].T, marker="." if points else "", markersize=3, lw=1, alpha=alpha, **style)
        seen |= dict.fromkeys(names) if named is not None else {}
        ax.set_title(name)
    if seen:
        fig.legend(handles=[Line2D([], [], label=g, **look(g)) for g in seen], loc="outside lower center", ncols=4)
    return Picture(fig, alt)


def cells(
    values: Any,
    *,
    moves: Any = None,
    marks: Mapping[str, Any] | None = None,
    limits: tuple[float, float] | None = None,
    numbers: bool | str = True,
    label: str = "",
    title: str = "",
    ncols: int = 1,
    alt: str,
) -> Picture:
    """A grid world as a heat map, values [rows, columns], NaN in walls; title -> values draws panels on one scale.

    moves [rows, columns] (or title -> moves): an arrow per cell, 0 up, 1 right, 2 down, 3 left, any other number: none.
    marks: letter -> (row, column), or several [n, 2]; a mark stands in place of the value. numbers: whether, or in
    which format (".2f"), the value is written into each cell. Raises ValueError for values that are no grid.
    """
    panels = {name: _array(v) for name, v in (values.items() if isinstance(values, Mapping) else [(title, values)])}
    if any(v.ndim != 2 for v in panels.values()):
        raise ValueError(f"values are [rows, columns]; got {[v.shape for v in panels.values()]}")
    n, m = next(iter(panels.values())).shape
    ncols = min(ncols, len(panels))
    down = -(-len(panels) // ncols)
    side = (WIDTH - (1.0 if label else 0.2)) / ncols / m
    fig, axes = figure(down * (min(side, 0.75) * n + 0.38), down, ncols, squeeze=False)
    low, high = limits or (
        min(0.0, *(np.nanmin(v) for v in panels.values())),
        max(np.nanmax(v) for v in panels.values()),
    )
    letters = {tuple(at): name for name, where in (marks or {}).items() for at in _array(where).reshape(-1, 2).tolist()}
    colours = HEAT.with_extremes(bad=COLOUR["wall"])
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (name, v) in zip(axes.flat, panels.items(), strict=False):
        mesh = ax.imshow(np.ma.masked_invalid(v), cmap=colours, vmin=low, vmax=high)
        arrows = moves.get(name) if isinstance(moves, Mapping) else moves
        for (i, j), value in np.ndenumerate(v):
            ink = "white" if np.isfinite(value) and (value - low) > 0.6 * (high - low) else "black"
            letter = letters.get((i, j))
            if letter:
                ax.text(j, i, letter, ha="center", va="center", weight="bold", color=ink)
            elif numbers and np.isfinite(value):
                text = format(value, numbers if isinstance(numbers, str) else ".2f")
                lift = 0.2 if arrows is not None else 0.0
                ax.text(j, i - lift, text, ha="center", va="center", fontsize=7.5, color=ink)
            if arrows is not None and not letter and np.isfinite(value) and int(_array(arrows)[i, j]) in range(4):
                di, dj = ((-1, 0), (0, 1), (1, 0), (0, -1))[int(_array(arrows)[i, j])]
                y = i + (0.18 if numbers else 0.0)
                r = 0.2 if numbers else 0.32
                tail, head = (j - r * dj, y - r * di), (j + r * dj, y + r * di)
                ax.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "color": ink, "lw": 1.2, "shrinkA": 0,
                                                        "shrinkB": 0, "mutation_scale": 9})  # fmt: skip
        ax.set(xticks=[], yticks=[], title=name)
    if label:
        fig.colorbar(mesh, ax=axes, label=label, fraction=0.05)
    return Picture(fig, alt)


# laws and samples in one dimension


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
    `relative=False` draws any other p as it is.
    """
    t, x, p = _array(t), _array(x), _array(p)
    if p.shape != (len(t), len(x)):
        raise ValueError(f"p is [T, X] = {(len(t), len(x))}, one row per t; got {p.shape}")
    fig, ax = figure(3.3)
    if relative:
        p, label = p / p.max(1, keepdims=True), f"{label}\nover its peak at t"
    mesh = ax.pcolormesh(t, x, p.T, cmap=HEAT, shading="nearest", rasterized=True)
    fig.colorbar(mesh, ax=ax, label=label)
    if paths is not None:
        ax.plot(_array(path_t), _array(paths), color=COLOUR["right"], lw=1, alpha=0.85)
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

    `panels`: title -> samples, drawn side by side on one scale in place of `samples`.
    """
    s, mean, sd = _array(s), _array(mean), _array(sd)
    panels = {title: samples} if panels is None else dict(panels)
    fig, axes = figure(3.1, 1, len(panels), squeeze=False, sharey=True, sharex=True)
    for i, (ax, (name, x)) in enumerate(zip(axes.flat, panels.items(), strict=True)):
        ax.fill_between(s, mean - 2 * sd, mean + 2 * sd, color="#dddddd", label="exact mean ± 2 sd", zorder=0)
        ax.plot(s, np.stack([mean - 2 * sd, mean + 2 * sd], 1), color=COLOUR["exact"], lw=0.9, zorder=3)
        ax.plot(s, mean, lw=1.3, label="exact mean", **look("exact"))
        if x is not None:
            x = _array(x)
            ax.plot(s, x.T, color=COLOUR["model"], lw=0.5, alpha=0.25)
            ax.plot([], [], color=COLOUR["model"], lw=0.8, label=f"{len(x)} samples")
            low, high = x.mean(0) - 2 * x.std(0), x.mean(0) + 2 * x.std(0)
            ax.plot(s, low, color=COLOUR["right"], linestyle=LINE["right"], label="their mean ± 2 sd")
            ax.plot(s, high, color=COLOUR["right"], linestyle=LINE["right"])
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
    """Density histogram of samples [S] (or of several: name -> [S]) against an exact density (x [X], p [X]).

    `marks`: label -> x, vertical lines.
    """
    fig, ax = figure(3.0)
    named = dict(samples) if isinstance(samples, Mapping) else {"samples": samples}
    for i, (name, x) in enumerate(named.items()):
        style = _cycle(i, name)
        ax.hist(
            _array(x).ravel(),
            bins=bins,
            density=True,
            histtype="stepfilled" if i == 0 else "step",
            alpha=0.45 if i == 0 else 1,
            color=style["color"],
            label=name,
            linestyle="-" if i == 0 else style["linestyle"],
            lw=1.6,
        )
    if exact is not None:
        ax.plot(_array(exact[0]), _array(exact[1]), label="exact", **look("exact"))
    for i, (name, at) in enumerate((marks or {}).items()):
        ax.axvline(
            float(at), color=COLOUR["warning" if i % 2 == 0 else "goal"], linestyle=("-.", ":")[i % 2], lw=2, label=name
        )
    ax.set(xlabel=xlabel, ylabel="density", title=title)
    ax.legend()
    return Picture(fig, alt)


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
    """Curves name -> y [n], or name -> (y, low, high), over x [n]; a name of the palette takes its colour and dash."""
    fig, ax = figure(3.0)
    x = _array(x)
    for i, (name, y) in enumerate(curves.items()):
        style = _cycle(i, name)
        if isinstance(y, tuple):
            y, low, high = (_array(v) for v in y)
            ax.fill_between(x, low, high, color=style["color"], alpha=0.2, lw=0)
        ax.plot(x, _array(y), label=name, marker=list(MARKER.values())[i % 8] if points else "", markersize=5, **style)
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
    """Training loss against steps, thin as it came and thick as a running mean, with the exact floor it cannot go
    below.

    `history`: what `fit` yielded (dicts with `key`), a sequence of numbers, or a mapping name -> numbers; `every`:
    steps between them.
    """
    if not isinstance(history, Mapping):
        history = list(history)
        history = {key: [row[key] if isinstance(row, Mapping) else row for row in history]}
    fig, ax = figure(3.0)
    for i, (name, values) in enumerate(history.items()):
        y = np.array([float(v) for v in values])
        steps = np.arange(1, len(y) + 1) * every
        width = max(1, len(y) // 25)
        total = np.cumsum(np.insert(y, 0, 0.0))
        style = _cycle(i, name)
        ax.plot(steps, y, color=style["color"], lw=0.6, alpha=0.35)
        ax.plot(
            steps[width // 2 : len(y) - (width - 1) // 2],
            (total[width:] - total[:-width]) / width,
            label=f"{name}, mean of {width}" if width > 1 else name,
            **style,
        )
    for i, (name, value) in enumerate(
        (floor if isinstance(floor, Mapping) else {"exact floor": floor} if floor is not None else {}).items()
    ):
        ax.axhline(
            float(value),
            label=f"{name} {float(value):.3g}",
            color=COLOUR["exact"],
            linestyle=("--", ":", "-.")[i % 3],
            lw=1.4,
        )
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
    """Dots with intervals, one row each: (label, value, low, high) or (label, [values of the seeds]); top to bottom
    as given.

    `reference`: one number or name -> number, dashed vertical lines.
    """
    rows = [tuple(row) for row in rows]
    fig, ax = figure(0.75 + 0.34 * len(rows) + (0.3 if reference is not None else 0))
    for i, (_, value, *ends) in enumerate(rows):
        y = len(rows) - 1 - i
        seeds = np.atleast_1d(_array(value))
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
        ax.axvline(
            float(value),
            color=COLOUR["exact"],
            linestyle=("--", ":", "-.")[i % 3],
            lw=1.3,
            label=f"{name} {float(value):.3g}",
        )
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

    best: the name of a curve -> the action that an arrow points at. proposals: actions that a model proposes, ticks
    under the upper axes.
    """
    fig, (ax, below) = figure(3.7, 2, 1, sharex=True, gridspec_kw={"height_ratios": (2.6, 1)})
    a = _array(a)
    for i, (name, q) in enumerate(curves.items()):
        q, style = _array(q), _cycle(i, name)
        ax.plot(a, q, label=name, **style)
        if name in best:
            ax.annotate(
                f"best by {name}",
                (best[name], float(np.interp(best[name], a, q))), (0, 26), textcoords="offset points", ha="right"
                if best[name] > 0.8 * a.max() else "center", fontsize=8.5, color=style["color"],
                arrowprops={"arrowstyle": "-|>", "color": style["color"], "lw": 1.8},
            )  # fmt: skip
    if proposals is not None:
        x = _array(proposals).ravel()
        ax.plot(x, np.full(len(x), 0.02), "|", transform=ax.get_xaxis_transform(), color=COLOUR["warning"],
                markersize=9, label=f"{len(x)} proposals")  # fmt: skip
    below.hist(_array(data).ravel(), bins=50, range=(a.min(), a.max()), color=COLOUR["data"])
    below.set(xlabel=xlabel, ylabel="recorded", xlim=(a.min(), a.max()))
    ax.set(ylabel=ylabel, title=title, ylim=ylim)
    ax.legend(loc="lower left")
    return Picture(fig, alt)


# the reverse process


def film_strip(
    panels: Mapping[str, Mapping[str, Any]],
    *,
    maze: Any = None,
    start: Any = None,
    goal: Any = None,
    which: str = "x_t",
    frames: int = 5,
    size: float = 1.0,
    rectangles: Any = None,
    limits: Sequence[float] | None = None,
    groups: Any = None,
    symbol: str = "t",
    alt: str,
) -> Picture:
    """A few moments of a reverse process in a row, noise first; title -> {t [K], x_t [K, S, H, 2], x0_hat the same}.

    One row per title, as `movie.stack` makes them; samples in one dimension ([K, S, 1, 1]) become histograms. `which`:
    "x_t", "x0_hat" or "both". The scene is a maze, or wall rectangles [n, 4] within limits x_min, x_max, y_min, y_max.
    groups: a number per sample, or per frame and sample; or title -> these.
    """
    if maze is not None:
        rectangles, limits = walls(maze, size), limits or bounds(maze, size)
    ratio = 0.8
    if rectangles is not None and limits is not None:
        ratio = min(1.2, max(0.4, (limits[3] - limits[2]) / (limits[1] - limits[0])))
    fig, axes = figure(len(panels) * (WIDTH / frames * ratio + 0.32), len(panels), frames, squeeze=False)
    for row, (title, panel) in zip(axes, panels.items(), strict=True):
        own = groups.get(title) if isinstance(groups, Mapping) else groups
        t, number = _array(panel["t"]), None if own is None else np.asarray(own).ravel()
        S = len(panel["x_t"][0])
        ahead = S if number is not None and len(number) > S else 0  # a group per frame and sample, or per sample
        for ax, k in zip(row, np.unique(np.linspace(0, len(t) - 1, frames).round().astype(int)), strict=False):
            for name in ("x_t", "x0_hat") if which == "both" else (which,):
                x = _array(panel[name][k])
                colour = COLOUR["noise" if which == "both" and name == "x_t" else "model"]
                if x.shape[-1] == 1:
                    ax.hist(
                        x[np.isfinite(x)].ravel(),
                        bins=40,
                        range=limits[:2] if limits is not None else None,
                        color=colour,
                        alpha=0.7,
                    )
                    continue
                for i, path in enumerate(x[: 8 if len(panels) == 1 else 5]):
                    tone = (
                        colour
                        if number is None or colour == COLOUR["noise"]
                        else COLOUR[("left", "right", "data", "warning")[int(number[k * ahead + i]) % 4]]
                    )
                    ax.plot(
                        path[:, 0],
                        path[:, 1],
                        color=tone,
                        lw=0.6,
                        marker="o",
                        markersize=1.3,
                        markeredgewidth=0,
                        alpha=0.8 if len(x) < 5 else 0.45,
                    )
            if x.shape[-1] == 2 and rectangles is not None:
                _draw_walls(ax, rectangles)
                draw_maze(ax, None, start, goal)
            if limits is not None:
                ax.set(xlim=limits[:2], **({"ylim": limits[2:]} if x.shape[-1] == 2 else {}))
            ax.set(xticks=[], yticks=[])
            for side in ax.spines.values():
                side.set_visible(True)
                side.set_color("#999999")
            ax.set_title(f"{symbol} = {t[k]:.2f}", weight="normal", fontsize=9)
        for ax in row[len(t) :]:
            ax.set_axis_off()
        if title:
            row[0].set_ylabel(title, fontsize=9.5)
    return Picture(fig, alt)


# maps of the survey

COMPONENTS = {
    "data": "logs, experience",
    "diffusion model": "of plans or actions",
    "conditioning": "goal, return, cost",
    "guided sampling": "denoise, steered",
    "execution": "act, replan",
}


def component_map(lit: str | Sequence[str], alt: str | None = None) -> Picture:
    """The survey's component map, data -> diffusion model -> conditioning -> guided sampling -> execution, with the
    lesson's box lit.

    Survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (arXiv 2510.12253,
    2025).
    """
    on = [lit] if isinstance(lit, str) else list(lit)
    for name in on:
        if name not in COMPONENTS:
            raise ValueError(f"no component {name!r} in the map; there are {', '.join(COMPONENTS)}")
    fig, ax = figure(1.05)
    for i, (name, note) in enumerate(COMPONENTS.items()):
        bright = name in on
        ax.add_patch(
            FancyBboxPatch(
                (i * 1.25, 0),
                1,
                0.8,
                boxstyle="round,pad=0,rounding_size=.08",
                lw=2.5 if bright else 1,
                facecolor=COLOUR["model"] if bright else "white",
                edgecolor="black" if bright else COLOUR["noise"],
            )
        )
        ink = "white" if bright else "#222222"
        ax.text(i * 1.25 + 0.5, 0.52, name, ha="center", va="center", fontsize=7.9, weight="bold", color=ink)
        ax.text(i * 1.25 + 0.5, 0.24, note, ha="center", va="center", fontsize=7.6, color=ink)
        if i:
            ax.add_patch(
                FancyArrowPatch(
                    (i * 1.25 - 0.22, 0.4), (i * 1.25 - 0.03, 0.4), arrowstyle="-|>", mutation_scale=11, color="#333333"
                )
            )
    ax.set(xlim=(-0.05, 6.05), ylim=(-0.06, 0.86))
    ax.set_axis_off()
    return Picture(
        fig,
        alt or f"The survey's component map, from left to right: {', '.join(COMPONENTS)}. Lit here: {', '.join(on)}.",
    )


ROLES = (
    "trajectory optimisation",
    "policy learning",
    "imitation learning",
    "exploration augmentation",
    "environment simulation",
    "reward modelling",
    "hybrids",
)


def survey_map(
    cells: Mapping[tuple[str, str, str], tuple[str, bool]], *, roles: Sequence[str] = ROLES, alt: str | None = None
) -> Picture:
    """The survey's taxonomy as a table: role x (offline | online) x (single | multi-agent).

    cells: (role, regime, agents) -> (text, built); what is not built is hatched and says so, what is absent is a dash.
    """
    columns = [("offline", "single"), ("online", "single"), ("offline", "multi"), ("online", "multi")]
    for role, regime, agents in cells:
        if role not in roles or (regime, agents) not in columns:
            raise ValueError(
                f"no cell {(role, regime, agents)!r}; roles are {', '.join(roles)}; then offline|online, single|multi"
            )
    fig, ax = figure(0.75 + 0.62 * len(roles))
    for j, (regime, agents) in enumerate(columns):
        ax.text(j + 0.5, -0.12, f"{regime}\n{agents}-agent", ha="center", va="bottom", fontsize=9, weight="bold")
    for i, role in enumerate(roles):
        ax.text(-0.05, i + 0.5, "\n".join(textwrap.wrap(role, 14)), ha="right", va="center", fontsize=9, weight="bold")
        for j, (regime, agents) in enumerate(columns):
            text, built = cells.get((role, regime, agents), ("", False))
            ax.add_patch(
                Rectangle(
                    (j + 0.02, i + 0.04),
                    0.96,
                    0.92,
                    facecolor="#cfe5f3" if built else "#f6f6f6",
                    lw=1.4 if built else 0.8,
                    edgecolor=COLOUR["model"] if built else "#bbbbbb",
                    hatch=None if built or not text else "///",
                )
            )
            words = "\n".join(textwrap.wrap(text, 20)[:3]) + ("" if built or not text else "\nnot built yet")
            ax.text(
                j + 0.5,
                i + 0.5,
                words if text else "–",
                ha="center",
                va="center",
                fontsize=7.8,
                color="black" if built else "#444444",
                style="normal" if built else "italic",
                bbox=None if built or not text else {"facecolor": "#f6f6f6", "edgecolor": "none", "pad": 0.8},
            )
    ax.set(xlim=(-1.0, 4.02), ylim=(len(roles) + 0.02, -0.75))
    ax.set_axis_off()
    known = [f"{r}, {g}, {a}-agent: {text}" for (r, g, a), (text, ok) in cells.items() if ok]
    return Picture(
        fig,
        alt
        or "Map of the survey, role by regime by number of agents. Built: "
        + ("; ".join(known) or "nothing yet")
        + f". Not built yet: {sum(not ok for _, ok in cells.values())} named cells.",
    )


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
    """Left: the heat map p [T, X] over t [T], x [X] (both even) with a point (t, x_t) that `explore` lets one drag, as
    the controls `names`. Right, on the same x: the densities `law` [X] and, pale, `prior` [X]; `marks`: label -> x.
    """
    t, x, p, law = _array(t), _array(x), _array(p), _array(law)
    fig, (ax, side) = figure(3.4, 1, 2, sharey=True, gridspec_kw={"width_ratios": (1.35, 1)})
    box = (t[0], t[-1], x[0], x[-1])
    ax.imshow((p / p.max(1, keepdims=True)).T, cmap=HEAT, aspect="auto", origin="lower", extent=box)
    ax.plot(*point, marker="o", markersize=11, color=COLOUR["start"], markeredgecolor="black", markeredgewidth=1.5)
    ax.axhline(point[1], color=COLOUR["noise"], lw=0.8)
    ax.set(xlabel="t (0: data, 1: noise)", ylabel="x", title=f"t = {point[0]:.2f},  x_t = {point[1]:.2f}")
    if prior is not None:
        side.fill_betweenx(x, _array(prior), color="#dddddd", label="data p(x_0)")
    side.plot(law, x, color=COLOUR["model"], label="p(x_0 | x_t)")
    for i, (name, at) in enumerate((marks or {}).items()):
        side.axhline(at, color=COLOUR["right" if i == 0 else "noise"], lw=2 if i == 0 else 0.8, label=name)
    side.set(xlabel="density", ylim=(x[0], x[-1]))
    fig.legend(*side.get_legend_handles_labels(), loc="outside lower right", ncols=3)
    return Picture(fig, alt, drag=names)
