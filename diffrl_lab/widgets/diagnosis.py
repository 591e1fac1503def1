"""A diagnosis (`analysis.diagnose`) to look at: a picture for a paper, and one page that needs no network."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffrl_lab.analysis.findings import Diagnosis
from diffrl_lab.files import write_text
from diffrl_lab.widgets.pictures import COLOUR, MARKER, Picture, figure

FACTS = ("question", "verdict", "unit", "value", "low", "high", "floor", "adjusted", "smallest", "n_needed")
HEADS = {"low": "from", "high": "to", "adjusted": "p (Holm)", "smallest": "smallest seen", "n_needed": "n needed"}
SIDES = ((False, "reference", "data"), (True, "samples", "model"))
CSS = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#111;background:#fff}"
    "table{border-collapse:collapse;font-size:14px;margin:1em 0;display:block;overflow-x:auto}"
    "td,th{padding:.3em .7em;border-bottom:1px solid #ccc;text-align:left}"
    ".collapsed{color:#a33c00;font-weight:bold}.healthy{color:#006b4c;font-weight:bold}"
)


def picture(found: Diagnosis) -> Picture:
    """Samples and reference along two axes, and the shares of modes with their intervals, as a `Picture`."""
    x, mine = found.rows["x"], found.rows["sample"]
    fig, (left, right) = figure(3.2, 1, 2)
    second = x[:, 1] if x.shape[1] > 1 else np.zeros(len(x))
    for side, name, key in SIDES:
        own = mine == side
        left.scatter(
            x[own, 0], second[own], s=7, alpha=0.5, color=COLOUR[key], marker=MARKER[key], label=name, linewidths=0
        )
    left.set(xlabel="axis 1", ylabel="axis 2", title="Rows")
    left.legend(markerscale=2)
    shown = found.modes[:24]
    at = np.arange(len(shown))
    share = np.array([m["share"] for m in shown], float)
    low, high = np.array([m["interval"] for m in shown], float).T
    right.errorbar(
        at, share, [np.maximum(share - low, 0), np.maximum(high - share, 0)], fmt=MARKER["model"],
        color=COLOUR["model"], capsize=3, label="samples, 95 %",
    )  # fmt: skip
    if all("reference_share" in m for m in shown):
        right.plot(
            at,
            [m["reference_share"] for m in shown],
            MARKER["data"],
            color=COLOUR["data"],
            mfc="none",
            label="reference",
        )
    right.set(xlabel="mode", ylabel="share", title="Modes", xticks=at, ylim=(-0.04, None))
    right.set_xticklabels([m["mode"] for m in shown])
    right.legend()
    said = "; ".join(f"{f.question} {f.verdict}" for f in found.findings)
    return Picture(fig, f"Samples and reference along two axes, and the shares of {len(shown)} modes. {said}")


def page(found: Diagnosis, title: str = "Did it collapse?") -> str:
    """One self-contained HTML page: answers, a scatter one can turn, parallel coordinates, measures and floors."""
    import plotly.graph_objects as go

    x, mine, label = found.rows["x"], found.rows["sample"], found.rows["label"]
    layout = {"template": "plotly_white", "height": 520, "margin": {"l": 50, "r": 40, "t": 60, "b": 40}}
    scatter = go.Figure(layout=layout | {"legend": {"itemsizing": "constant"}})
    for side, name, key in SIDES:
        own = np.flatnonzero(mine == side)[:1500]
        if not len(own):
            continue
        words = [
            f"{name}, row {i}, mode {found.modes[k]['mode'] if k >= 0 else 'none'}"
            for i, k in zip(own, label[own], strict=True)
        ]
        look: dict[str, Any] = {"mode": "markers", "name": name, "text": words, "hoverinfo": "text"}
        look["marker"] = {"size": 3 if x.shape[1] > 2 else 6, "color": COLOUR[key], "opacity": 0.6}
        coordinates = [np.round(x[own, i], 4).tolist() if i < x.shape[1] else [0.0] * len(own) for i in range(3)]
        if x.shape[1] > 2:
            scatter.add_trace(go.Scatter3d(x=coordinates[0], y=coordinates[1], z=coordinates[2], **look))
        else:
            scatter.add_trace(go.Scatter(x=coordinates[0], y=coordinates[1], **look))
    every = np.sort(np.random.default_rng(0).permutation(len(x))[:800])
    axes = [{"label": f"axis {i + 1}", "values": np.round(x[every, i], 4).tolist()} for i in range(x.shape[1])]
    axes.append({"label": "mode", "values": label[every].tolist()})
    parallel = go.Figure(
        go.Parcoords(
            dimensions=axes,
            line={
                "color": mine[every].astype(int).tolist(), "cmin": 0, "cmax": 1,
                "colorscale": [[0, COLOUR["data"]], [1, COLOUR["model"]]],
            },
        ),
        layout=layout,
    )  # fmt: skip
    parts = [
        f"<h1>{html.escape(title)}</h1><p>{_mark(found.verdict)}: {found.about['n']} samples, {found.about['m']} "
        f"reference rows, {found.about['d']} numbers a row.</p>",
        _table(found.to_rows(), FACTS),
        *(f"<p>{html.escape(f.words)}</p>" for f in found.findings),
        *(f"<p><em>{html.escape(n)}.</em></p>" for n in found.notes),
        "<h2>Rows</h2><p>Turn it, hover, click a name to hide it.</p>",
        scatter.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False}),
        "<h2>Coordinate by coordinate</h2><p>Drag along an axis to keep only the rows that cross there.</p>",
        parallel.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False}),
        "<h2>Modes</h2>" + _table(found.modes, tuple(found.modes[0])),
        "<h2>Measures and what a perfect model reaches</h2>",
        _table(found.measures, tuple(found.measures[0])),
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{CSS}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def write(found: Diagnosis, folder: str | Path) -> list[Path]:
    """diagnosis.json, .csv, .svg, .pdf and .html into a folder -> their paths."""
    paths = [Path(folder) / f"diagnosis.{end}" for end in ("json", "csv", "svg", "pdf", "html")]
    found.to_json(paths[0])
    found.to_csv(paths[1])
    drawn = picture(found)
    drawn.save(paths[2])
    drawn.save(paths[3])
    write_text(paths[4], page(found))
    return paths


def _mark(verdict: str) -> str:
    kind = verdict if verdict in ("collapsed", "healthy") else ""
    return f'<span class="{kind}">{html.escape(verdict)}</span>'


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    def cell(name: str, value: Any) -> str:
        if name == "verdict":
            return _mark(value)
        if isinstance(value, tuple | list):
            return " to ".join(cell("", v) for v in value)
        if value is None:
            return "–"
        if isinstance(value, float | np.floating):
            number = float(value)
            if name == "adjusted" and number < 1e-3:
                return "&lt; 0.001"
            return "0" if abs(number) < 1e-12 else f"{number:.3g}"
        return html.escape(str(value))

    head = "".join(f"<th>{html.escape(HEADS.get(c, c.replace('_', ' ')))}</th>" for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell(c, row.get(c))}</td>" for c in columns) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
