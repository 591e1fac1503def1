"""Mazes and what moves in them: walls, trajectories, grid worlds, and a reverse process as a strip of moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from .pictures import COLOUR, MARKER, WIDTH, Moving, Picture, array, colours, figure, ink_on, look, moving

LIT = "goal"  # the meaning whose colour a path has that lights up: the groups of a movie have other ones


def walls(maze: Any, size: float = 1.0) -> np.ndarray:
    """The wall cells of a maze as rectangles x_min, y_min, x_max, y_max. -> [n, 4]

    `maze` is a map as PointMaze has it (rows of 0, 1 or letters; 1 is a wall; the map's centre is the origin, y up,
    cells `size` wide), or has such a `maze_map` with its `maze_size_scaling`, or `blocked` [R, C] with its `scale`.
    Raises ValueError for rows of unequal length.
    """
    rows, size = _map(maze, size)
    top, side = _middle(rows)
    return np.array(
        [
            [(j - side) * size, (top - i - 1) * size, (j - side + 1) * size, (top - i) * size]
            for i, row in enumerate(rows)
            for j, cell in enumerate(row)
            if cell in (1, "1")
        ]
    ).reshape(-1, 4)


def floor(maze: Any, size: float = 1.0, margin: float = 0.1) -> np.ndarray:
    """The free cells of a maze as rectangles x_min, y_min, x_max, y_max, a margin (in cells) away from walls. -> [n, 4]

    `maze` is what `walls` takes. Raises ValueError for rows of unequal length.
    """
    rows, size = _map(maze, size)
    top, side = _middle(rows)
    free = np.pad(np.array([[cell not in (1, "1") for cell in row] for row in rows]), 1)
    cells = np.argwhere(free) - 1
    left, below, right, above = (
        np.where([free[i + 1 + di, j + 1 + dj] for i, j in cells], 0.0, margin)
        for di, dj in ((0, -1), (1, 0), (0, 1), (-1, 0))
    )
    i, j = cells.T
    ends = (j - side + left, top - i - 1 + below, j - side + 1 - right, top - i - above)
    return size * np.stack(ends, 1)


def bounds(maze: Any, size: float = 1.0) -> tuple[float, float, float, float]:
    """What is drawn of a maze, x_min, x_max, y_min, y_max: all of it, but only half of an outer ring of walls.

    Raises ValueError for rows of unequal length.
    """
    rows, size = _map(maze, size)
    ring = [*rows[0], *rows[-1], *(row[0] for row in rows), *(row[-1] for row in rows)]
    cut = 0.5 if len(rows) > 2 and all(cell in (1, "1") for cell in ring) else 0.0
    x, y = (len(rows[0]) / 2 - cut) * size, (len(rows) / 2 - cut) * size
    return -x, x, -y, y


def _middle(rows: list) -> tuple[float, float]:
    return len(rows) / 2, len(rows[0]) / 2


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
    """Draws walls as rectangles, the start as a circle and the goal as a star, on equal axes without ticks.

    Raises ValueError for a maze whose rows have unequal lengths.
    """
    if maze is not None:
        _draw_walls(ax, walls(maze, size))
        x0, x1, y0, y1 = bounds(maze, size)
        ax.set(xlim=(x0, x1), ylim=(y0, y1))
    for name, point in (("start", start), ("goal", goal)):
        if point is not None:
            p = array(point).reshape(-1, 2)
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

    `groups` has one meaning per trajectory (`left`, `right`, ...; a name of the palette), and none stands for `model`;
    with several panels it may be a mapping title -> meanings. Raises ValueError if there are more or fewer groups than
    trajectories, or a group is no name of the palette.
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
        paths = [array(path) for path in paths]
        paths = [np.stack(paths)] if paths[0].ndim == 1 else paths
        named = groups.get(name) if isinstance(groups, Mapping) else groups
        names = ["model"] * len(paths) if named is None else list(named)
        if len(names) != len(paths):
            raise ValueError(f"groups names one group per trajectory: {len(paths)} trajectories, {len(names)} groups")
        alpha = max(0.25, min(1.0, 8 / len(paths)))
        for path, group in zip(paths, names, strict=True):
            style = look(group) if named is not None else {"color": COLOUR["model"]}
            mark: dict[str, Any] = {"marker": "." if points else "", "markersize": 3}
            if named is not None:  # told apart without colour
                mark = {
                    "marker": MARKER[group],
                    "markersize": 3.5,
                    "markevery": 1 if points else max(1, len(path) // 4),
                }
            ax.plot(*path[:, :2].T, lw=1, alpha=alpha, **mark, **style)
        seen |= dict.fromkeys(names) if named is not None else {}
        ax.set_title(name)
    if seen:
        fig.legend(
            handles=[Line2D([], [], label=g, marker=MARKER[g], **look(g)) for g in seen],
            loc="outside lower center",
            ncols=4,
        )
    return Picture(fig, alt)


def planned_and_driven(
    maze: Any,
    planned: Any,
    driven: Any,
    *,
    start: Any = None,
    goal: Any = None,
    title: str = "",
    unit: str = "m",
    ncols: int = 2,
    size: float = 1.0,
    alt: str | None = None,
) -> Picture:
    """A planned route (wide, `model`) and where it was driven (thin, `data`) in one maze, and how far they are apart.

    planned is [H, 2 or more] and driven [T, 2 or more], x and y first; a list of either has several routes, pair by
    pair, and a mapping title -> these draws panels. The distance in the title is the largest from a driven point to the
    planned route, a line through its points: max over k of min over s of |driven_k - route(s)|, in `unit`; being late
    on the route is no distance. A black bar stands where it is. Raises ValueError for other shapes, for unequal numbers
    of planned and driven, and for mappings with other titles.
    """
    plans = dict(planned) if isinstance(planned, Mapping) else {title: planned}
    drives = dict(driven) if isinstance(driven, Mapping) else {title: driven}
    if list(plans) != list(drives):
        raise ValueError(f"planned and driven have the same titles; got {list(plans)} and {list(drives)}")
    x0, x1, y0, y1 = bounds(maze, size)
    cols = min(ncols, len(plans))
    rows, each = -(-len(plans) // cols), min(WIDTH / cols, 4.2)
    fig, axes = figure(rows * (each * (y1 - y0) / (x1 - x0) + 0.35) + 0.3, rows, cols, squeeze=False, width=each * cols)
    for ax in axes.flat[len(plans) :]:
        ax.set_axis_off()
    said = []
    for ax, name in zip(axes.flat, plans, strict=False):
        draw_maze(ax, maze, start, goal, size)
        routes, balls = _each(plans[name], "planned"), _each(drives[name], "driven")
        if len(routes) != len(balls):
            raise ValueError(f"one driven path per planned route: {len(routes)} planned, {len(balls)} driven")
        bars = [_farthest(ball, route) for route, ball in zip(routes, balls, strict=True)]
        for i, (route, ball) in enumerate(zip(routes, balls, strict=True)):
            ax.plot(
                *route.T, color=COLOUR["model"], lw=5, alpha=0.45, solid_capstyle="round", label="planned" * (not i)
            )
            ax.plot(*ball.T, color=COLOUR["data"], lw=1.6, label="driven" * (not i))
        bar = max(bars, key=lambda b: float(np.linalg.norm(b[0] - b[1])))
        ax.plot(*bar.T, color="black", lw=2.2, zorder=6, solid_capstyle="butt", label="farthest apart")
        said.append(f"{np.linalg.norm(bar[0] - bar[1]):.2f} {unit}")
        ax.set_title(f"{name}: at most {said[-1]} apart" if name else f"planned and driven: at most {said[-1]} apart")
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    words = "; ".join(f"{name}: {far}" if name else far for name, far in zip(plans, said, strict=True))
    return Picture(
        fig,
        alt
        or f"Planned route (wide, blue) and driven path (thin, green) in one maze; largest distance between: {words}.",
    )


def _each(paths: Any, name: str) -> list[np.ndarray]:
    """Paths [n, 2], whether one came or a list of them; of more columns the first two."""
    rows = [array(p) for p in paths]
    rows = [np.stack(rows)] if rows and rows[0].ndim == 1 else rows
    if not rows or any(p.ndim != 2 or p.shape[1] < 2 or not len(p) for p in rows):
        raise ValueError(f"{name} is a path [n, 2] or a list of paths; got {[p.shape for p in rows]}")
    return [p[:, :2] for p in rows]


def _farthest(path: np.ndarray, route: np.ndarray) -> np.ndarray:
    """The point of a path [n, 2] that is farthest from a route [m, 2], and the nearest point of the route. -> [2, 2]"""
    a, b = (route[:-1], route[1:]) if len(route) > 1 else (route, route)
    way = b - a
    share = ((path[:, None] - a) * way).sum(-1) / np.maximum((way**2).sum(-1), 1e-12)
    near = a + np.clip(share, 0, 1)[..., None] * way  # [n, m - 1, 2]
    far = np.linalg.norm(path[:, None] - near, axis=-1)
    best = far.argmin(1)
    k = far[np.arange(len(path)), best].argmax()
    return np.stack([path[k], near[k, best[k]]])


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

    Values (or limits) on both sides of 0 take the diverging map with limits -m to m: 0 is white, below it is orange.
    moves [rows, columns] (or title -> moves) draws an arrow per cell: 0 up, 1 right, 2 down, 3 left, any other number
    none. marks is letter -> (row, column), or several [n, 2]; a mark stands in place of the value. numbers says
    whether, or in which format (".2f"), the value is written into each cell. Raises ValueError for values that are no
    grid.
    """
    panels = {name: array(v) for name, v in (values.items() if isinstance(values, Mapping) else [(title, values)])}
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
    letters = {tuple(at): name for name, where in (marks or {}).items() for at in array(where).reshape(-1, 2).tolist()}
    cmap, low, high = colours(float(low), float(high))
    cmap = cmap.with_extremes(bad=COLOUR["wall"])
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (name, v) in zip(axes.flat, panels.items(), strict=False):
        mesh = ax.imshow(np.ma.masked_invalid(v), cmap=cmap, vmin=low, vmax=high)
        arrows = moves.get(name) if isinstance(moves, Mapping) else moves
        for (i, j), value in np.ndenumerate(v):
            ink = ink_on(mesh.cmap(mesh.norm(value))) if np.isfinite(value) else "black"
            letter = letters.get((i, j))
            if letter:
                ax.text(j, i, letter, ha="center", va="center", weight="bold", color=ink)
            elif numbers and np.isfinite(value):
                text = format(value, numbers if isinstance(numbers, str) else ".2f")
                lift = 0.2 if arrows is not None else 0.0
                ax.text(j, i - lift, text, ha="center", va="center", fontsize=7.5, color=ink)
            if arrows is not None and not letter and np.isfinite(value) and int(array(arrows)[i, j]) in range(4):
                di, dj = ((-1, 0), (0, 1), (1, 0), (0, -1))[int(array(arrows)[i, j])]
                y = i + (0.18 if numbers else 0.0)
                r = 0.2 if numbers else 0.32
                tail, head = (j - r * dj, y - r * di), (j + r * dj, y + r * di)
                ax.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "color": ink, "lw": 1.2, "shrinkA": 0,
                                                        "shrinkB": 0, "mutation_scale": 9})  # fmt: skip
        ax.set(xticks=[], yticks=[], title=name)
    if label:
        fig.colorbar(mesh, ax=axes, label=label, fraction=0.05)
    return Picture(fig, alt)


def unfolding(
    panel: Mapping[str, Any],
    *,
    maze: Any,
    start: Any = None,
    goal: Any = None,
    size: float = 1.0,
    frames: int = 13,
    alt: str,
) -> Moving:
    """A reverse process {t [K], x_t [K, S, H, 2], x0_hat the same} in a maze, as a picture that moves once, by itself.

    There are at most so many frames. The noisy plans x_t are on the left, the belief x0_hat is on the right.
    `movie.stack` makes what it takes.
    """
    x0, x1, y0, y1 = bounds(maze, size)
    width, head = 5.4, 0.3  # inches; the titles' room
    height = width / 2 * (y1 - y0) / (x1 - x0) + head
    place = {"left": 0.005, "right": 0.995, "bottom": 0.005, "top": 1 - head / height, "wspace": 0.03}
    fig, axes = figure(height, 1, 2, width=width, gridspec_kw=place)
    fig.set_layout_engine("none")  # the constrained one moves the axes from picture to picture
    lines = []
    for ax, name in zip(axes, ("x_t", "x0_hat"), strict=True):
        draw_maze(ax, maze, start, goal, size)
        style: dict[str, Any] = {
            "color": COLOUR["noise" if name == "x_t" else "model"],
            "lw": 1.1,
            "marker": "o",
            "ms": 2,
        }
        lines.append([ax.plot([], [], **style)[0] for _ in panel[name][0]])
    t = array(panel["t"])
    shown = np.unique(np.linspace(0, len(t) - 1, frames).round().astype(int))

    def drawn() -> Iterator[Figure]:
        for k in shown:
            for ax, name, paths in zip(axes, ("x_t", "x0_hat"), lines, strict=True):
                for line, path in zip(paths, array(panel[name][k]), strict=True):
                    line.set_data(*path.T)
                ax.set_title("noisy plan" if name == "x_t" else "belief", loc="left")
            axes[0].set_title(f"t = {t[k]:.2f}", loc="right")
            yield fig

    return moving(drawn(), [1500, *[300] * (len(shown) - 2), 3000], alt)


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
    axes: Sequence[str] | None = None,
    curve: tuple[Any, Any] | None = None,
    under: tuple[Sequence[Any], Sequence[Sequence[int]]] | None = None,
    ends: bool = False,
    alt: str,
) -> Picture:
    """A few moments of a reverse process in a row, noise first; title -> {t [K], x_t [K, S, H, 2], x0_hat the same}.

    There is one row per title, as `movie.stack` makes them; samples in one dimension ([K, S, 1, 1]) become histograms.
    `which` is "x_t", "x0_hat" or "both". The scene is a maze, or wall rectangles [n, 4] within limits x_min, x_max,
    y_min, y_max. groups has a number per sample, or per frame and sample, or is a mapping title -> these. axes are the
    names of x and y where there are no walls, and curve, (grid [M], density [K, M]), is the exact law of samples in one
    dimension, dashed, where x_t is shown. under are paths [n, 2] that lie there in grey, and for each frame the numbers
    of those that light up. ends sets a larger dot at the last point of each path that is no NaN.
    """
    if maze is not None:
        rectangles, limits = walls(maze, size), limits or bounds(maze, size)
    ratio = 0.8
    if rectangles is not None and limits is not None:
        ratio = min(1.2, max(0.4, (limits[3] - limits[2]) / (limits[1] - limits[0])))
    bare = rectangles is None
    height = len(panels) * (WIDTH / frames * ratio + 0.32) + 0.45 * bare
    fig, grid = figure(height, len(panels), frames, squeeze=False, sharex=bare, sharey=bare)
    for row, (title, panel) in zip(grid, panels.items(), strict=True):
        own = groups.get(title) if isinstance(groups, Mapping) else groups
        t, number = array(panel["t"]), None if own is None else np.asarray(own).ravel()
        S = len(panel["x_t"][0])
        ahead = S if number is not None and len(number) > S else 0  # a group per frame and sample, or per sample
        for ax, k in zip(row, np.unique(np.linspace(0, len(t) - 1, frames).round().astype(int)), strict=False):
            for i, path in enumerate(under[0] if under else ()):
                lit = i in under[1][k] if under else False
                ax.plot(*array(path).T, lw=1.3 if lit else 0.5, color=COLOUR[LIT if lit else "noise"],
                        alpha=0.9 if lit else 0.5, zorder=1.6 if lit else 1.5)  # fmt: skip
            for name in ("x_t", "x0_hat") if which == "both" else (which,):
                x = array(panel[name][k])
                colour = COLOUR["noise" if which == "both" and name == "x_t" else "model"]
                if x.shape[-1] == 1:
                    ax.hist(
                        x[np.isfinite(x)].ravel(),
                        bins=40,
                        range=limits[:2] if limits is not None else None,
                        density=True,
                        color=colour,
                        alpha=0.7,
                    )
                    if curve is not None and name == "x_t":
                        ax.plot(array(curve[0]), array(curve[1])[k], **look("exact") | {"lw": 1.2})
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
                        lw=0.9,
                        marker="o",
                        markersize=1.5,
                        markeredgewidth=0,
                        alpha=0.8 if len(x) < 5 else 0.65,
                    )
                    if ends and np.isfinite(path).all(1).any():
                        last = path[np.isfinite(path).all(1)][-1]
                        ax.plot(*last, color=tone, marker="o", ms=4.5, mec="white", mew=0.7, zorder=4)
            if x.shape[-1] == 2 and rectangles is not None:
                _draw_walls(ax, rectangles)
                draw_maze(ax, None, start, goal)
            if limits is not None:
                ax.set(xlim=limits[:2], **({"ylim": limits[2:]} if x.shape[-1] == 2 else {}))
            if bare:
                ax.xaxis.set_major_locator(MaxNLocator(2, min_n_ticks=2))
                ax.yaxis.set_major_locator(MaxNLocator(4))
                ax.xaxis.set_major_formatter("{x:g}")
                ax.tick_params(labelsize=8)
            else:
                ax.set(xticks=[], yticks=[])
            for side in ax.spines.values():
                side.set_visible(True)
                side.set_color("#999999")
            ax.set_title(f"{symbol} = {t[k]:.2f}", weight="normal", fontsize=9)
        for ax in row[len(t) :]:
            ax.set_axis_off()
        row[0].set_ylabel("\n".join(filter(None, (title, axes[1] if bare and axes else ""))), fontsize=9.5)
    if bare and axes:
        for ax in grid[-1]:
            ax.set_xlabel(axes[0], fontsize=9)
    return Picture(fig, alt)
