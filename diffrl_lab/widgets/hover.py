"""What one hovers over or turns: plain plotly figures, each with a static twin for places that run no script.

plotly is imported when the first of them is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_hex

from .pictures import DPI, MARKER, Picture, array, colours, figure, meaning, nth_look

if TYPE_CHECKING:
    import plotly.graph_objects as go

PLOTLY = "application/vnd.plotly.v1+json"
SYMBOL = {"o": "circle", ".": "circle", "s": "square", "D": "diamond", "v": "triangle-down", "^": "triangle-up",
          "*": "star", "X": "x"}  # fmt: skip


class Hover:
    """A plotly `figure` and its static `twin`, which has the alt text.

    JupyterLab shows the figure; GitHub, an exported page and whatever else runs no script shows the twin, and plain
    text is the alt text.
    """

    def __init__(self, figure: go.Figure, twin: Picture) -> None:
        self.figure, self.twin = figure, twin

    @property
    def alt(self) -> str:
        return self.twin.alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        still, about = self.twin._repr_mimebundle_()
        live = json.loads(self.figure.to_json()) | {"config": {"displaylogo": False, "responsive": True}}
        return {PLOTLY: live, "image/png": still["image/png"], "text/plain": self.alt}, about


def frontier(
    curves: Mapping[str, tuple[Any, Any]],
    *,
    about: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
    xlabel: str,
    ylabel: str,
    title: str = "",
    alt: str,
) -> Hover:
    """Frontiers of a study, name -> (x [n], y [n]), joined in the order of their points.

    `about` is name -> {label: n values}, say the scale that each point was made with; they stand beside the point
    under the pointer. A name of the palette takes its colour and dash. Raises ValueError for curves whose x and y, or
    whose labels, have other lengths.
    """
    import plotly.graph_objects as go

    fig, ax = figure(3.4, width=5.4)  # JupyterLab does not scale it to a narrow cell
    live = _empty(title, xaxis=_axis(xlabel), yaxis=_axis(ylabel), hovermode="closest")
    for i, (name, xy) in enumerate(curves.items()):
        x, y = (array(v) for v in xy)
        labels: dict[str, Any] = {xlabel: x, ylabel: y, **(about or {}).get(name, {})}
        if wrong := {label: len(values) for label, values in labels.items() if len(values) != len(x)}:
            raise ValueError(f"{name!r} has {len(x)} points; got other numbers of values: {wrong}")
        style, mark = nth_look(i, name), MARKER[meaning(i, name)]
        ax.plot(x, y, label=name, marker=mark, markersize=5, **style)
        words = [
            "<br>".join(f"{label}: {_short(values[k])}" for label, values in labels.items()) for k in range(len(x))
        ]
        live.add_trace(
            go.Scatter(
                x=x.astype(np.float32), y=y.astype(np.float32), name=name, mode="lines+markers", hoverinfo="text+name",
                hovertext=words, line={"color": style["color"], "dash": _dash(style["linestyle"]), "width": 2},
                marker={"symbol": SYMBOL[mark], "size": 7},
            )
        )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend()
    return Hover(live, Picture(fig, alt))


def landscape(x: Any, y: Any, z: Any, *, xlabel: str, ylabel: str, zlabel: str, title: str = "", alt: str) -> Hover:
    """An energy, or any z [X, Y] over x [X] and y [Y], as a surface to be turned; its twin is a map with contours.

    Raises ValueError unless z is [X, Y].
    """
    import plotly.graph_objects as go

    x, y, z = array(x), array(y), array(z)
    if z.shape != (len(x), len(y)):
        raise ValueError(f"z is [X, Y] = {(len(x), len(y))}; got {z.shape}")
    fig, ax = figure(3.4, width=5.4)  # JupyterLab does not scale it to a narrow cell
    cmap, low, high = colours(float(z.min()), float(z.max()))
    mesh = ax.pcolormesh(x, y, z.T, cmap=cmap, vmin=low, vmax=high, shading="nearest", rasterized=True)
    ax.contour(x, y, z.T, levels=10, colors="black", linewidths=0.5)
    fig.colorbar(mesh, ax=ax, label=zlabel)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    names = {f"{axis}axis": _axis(label) for axis, label in zip("xyz", (xlabel, ylabel, zlabel), strict=True)}
    live = _empty(title, scene=names)
    heat = [[s, to_hex(cmap(s))] for s in np.linspace(0, 1, 13).tolist()]
    x, y, z = (v.astype(np.float32) for v in (x, y, z.T))
    live.add_trace(
        go.Surface(x=x, y=y, z=z, colorscale=heat, cmin=low, cmax=high, colorbar={"title": {"text": zlabel}})
    )
    return Hover(live, Picture(fig, alt))


def _empty(title: str, **layout: Any) -> go.Figure:
    """A plotly figure in the lab's style, as wide as its cell, without plotly's own template (7 kB)."""
    import plotly.graph_objects as go

    about = {"text": f"<b>{title}</b>", "x": 0, "xref": "paper", "font": {"size": 14}}
    size = {"autosize": True, "height": round(3.4 * DPI), "margin": {"t": 40, "r": 20, "b": 80, "l": 60}}
    legend = {"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.2, "yanchor": "top"}
    style = {"template": {}, "paper_bgcolor": "white", "plot_bgcolor": "white", "legend": legend}
    return go.Figure(layout={"title": about, **style, **size, **layout})


def _axis(label: str) -> dict[str, Any]:
    return {"title": {"text": label}, "gridcolor": "#e5e5e5", "linecolor": "#333333", "zeroline": False}


def _dash(line: Any) -> str:
    """A dash of matplotlib (in widths of a line of 2 pixels) as plotly writes it."""
    return "solid" if line == "-" else ",".join(f"{2 * part:g}px" for part in line[1])


def _short(value: Any) -> str:
    return format(float(value), ".3g") if isinstance(value, (int, float, np.number)) else str(value)
