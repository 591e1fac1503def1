"""The failure museum on the page: the plots of a room, its confusion matrix, and rounds in which the learner diagnoses.

A round shows plots only. The learner picks a diagnosis, then the detector's is shown, and what it is. All rounds travel
to the page at once (`museum.js`), so that it needs no kernel; without scripts, the first round stands as a picture.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from matplotlib.axes import Axes

from diffrl_lab.analysis.museum import HEALTHY, Confusion, Evidence, Panel, Room

from .pictures import COLOUR, HEAT, MARKER, Picture, alt_text, array, figure, ink_on, look, nth_look

COLS = 3


def draw_panel(ax: Axes, panel: Panel, evidence: Evidence, words: bool = True) -> None:
    """One panel of a room, drawn from its evidence alone."""
    entries = {name: array(evidence[name]) for name in (*panel.y, *panel.exact)}
    if panel.kind == "histogram":
        pooled = np.concatenate([v.ravel() for v in entries.values()])
        ends = np.append(pooled, panel.least or ())
        bins = np.linspace(ends.min() - 1e-3, ends.max() + 1e-3, 61)
        for name, values in entries.items():
            style: dict[str, Any] = {"color": COLOUR["data" if name == "data" else "model"], "label": name}
            kind: dict[str, Any] = {"histtype": "step"} if name == "data" else {"alpha": 0.55}
            ax.hist(values.ravel(), bins=list(bins), weights=np.full(values.size, 1 / values.size), **style, **kind)
    for i, (name, values) in enumerate(entries.items() if panel.kind != "histogram" else ()):
        x = array(evidence[panel.x]) if panel.x else np.arange(values.shape[-1])
        style = look("exact") if name in panel.exact else nth_look(i, name)
        if panel.kind == "paths":
            ax.plot(x, values.T, color=COLOUR["model"], alpha=0.35, linewidth=0.8)
        elif panel.kind == "points" and name not in panel.exact:
            marker = MARKER[("model", "right")[i % 2]]
            ax.plot(x, values, linestyle="", marker=marker, markersize=4, color=style["color"], label=name)
        else:
            order = np.argsort(x, kind="stable")  # a dashed line that goes to and fro looks whole
            ax.plot(x[order], values[order], label=name, **style)
    if panel.least and panel.kind != "histogram":
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, panel.least[0]), max(high + 0.04 * abs(high), panel.least[1]))
    ax.set_title(panel.title)
    if words:
        ax.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    if len(entries) > 1:
        ax.legend(fontsize=7.5)


def said(panel: Panel, evidence: Evidence) -> str:
    """What a panel shows, in words and numbers, for those who do not see it. It names no failure."""
    parts = []
    for name in (*panel.y, *panel.exact):
        values = array(evidence[name])
        if panel.kind == "histogram":
            marks = ", ".join(f"{q:.3g}" for q in np.quantile(values, [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1]))
            parts.append(f"{name}: quantiles 0, 10, 25, 50, 75, 90, 100 % at {marks}")
        elif panel.kind == "paths":
            first, last = values[:, 0], values[:, -1]
            parts.append(
                f"{len(values)} paths from {first.min():.3g} to {first.max():.3g} at first, {last.min():.3g} to "
                f"{last.max():.3g} at last; longest step {np.abs(np.diff(values)).max():.3g}"
            )
        else:
            x = array(evidence[panel.x]) if panel.x else np.arange(values.shape[-1])
            order = np.argsort(x, kind="stable")
            at = order[np.unique(np.linspace(0, len(order) - 1, 5).round().astype(int))]
            parts.append(f"{name}: " + ", ".join(f"{values[k]:.3g} at {x[k]:.3g}" for k in at))
    return f"{panel.title}: {'; '.join(parts)}."


def plots(room: Room, evidence: Evidence, alt: str = "") -> Picture:
    """The panels of a room for one piece of evidence; by default the alt text says what each shows, in numbers."""
    rows = -(-len(room.panels) // COLS)
    fig, axes = figure(2.35 * rows, rows, min(COLS, len(room.panels)), squeeze=False)
    for ax, panel in zip(axes.flat, room.panels, strict=False):
        draw_panel(ax, panel, evidence)
    return Picture(fig, alt or " ".join(said(panel, evidence) for panel in room.panels))


def wall(room: Room, names: Sequence[str], panel: int = 0, *, seed: int = 0, alt: str) -> Picture:
    """The same panel of several exhibits of a room (or `healthy`), each under its name."""
    cols = min(COLS, len(names))
    rows = -(-len(names) // cols)
    fig, axes = figure(2.0 * rows + 0.2, rows, cols, squeeze=False)
    for i, ax in enumerate(axes.flat):
        if i >= len(names):
            ax.set_axis_off()
            continue
        draw_panel(ax, room.panels[panel], room.evidence(names[i], seed), words=False)
        ax.set_title(names[i])
        if i % cols == 0:
            ax.set_ylabel(room.panels[panel].ylabel)
        if i >= len(names) - cols:
            ax.set_xlabel(room.panels[panel].xlabel)
    return Picture(fig, alt)


def confusion(found: Mapping[str, Confusion], alt: str) -> Picture:
    """Confusion matrices by title: what is true in rows, what was diagnosed in columns.

    Answers that were never given have no column; `healthy` always has one.
    """
    cols = 1 if len(found) == 1 else 2
    rows = -(-len(found) // cols)
    fig, axes = figure(3.3 * rows, rows, cols, squeeze=False)
    for ax, (title, matrix) in zip(axes.flat, found.items(), strict=False):
        used = [j for j in range(len(matrix.answers)) if j == 0 or matrix.counts[:, j].any()]
        share = matrix.counts[:, used] / matrix.counts.sum(1, keepdims=True)
        ax.imshow(share, cmap=HEAT, vmin=0, vmax=1, aspect="auto")
        for i, j in np.argwhere(matrix.counts[:, used] > 0):
            n = matrix.counts[i, used[j]]
            ax.text(j, i, str(n), ha="center", va="center", fontsize=8, color=ink_on(HEAT(share[i, j])))
        numbers = {truth: str(k) for k, truth in enumerate(matrix.truths)} if len(used) > 3 else {}
        ax.set_yticks(
            range(len(matrix.truths)), [f"{t}  {numbers.get(t, '')}".rstrip() for t in matrix.truths], fontsize=7.5
        )
        ax.set_xticks(range(len(used)), [numbers.get(matrix.answers[j], matrix.answers[j]) for j in used], fontsize=8)
        ax.set(title=title, xlabel="diagnosis")
        ax.tick_params(length=0)
    for ax in list(axes.flat)[len(found) :]:
        ax.set_axis_off()
    return Picture(fig, alt)


@cache
def _script() -> str:
    return Path(__file__).with_name("museum.js").read_text("utf-8")


def page(meta: Mapping[str, Any], data: bytes) -> str:
    """The widget as a piece of HTML that needs nothing else."""
    text = json.dumps(meta).replace("</", "<\\/")
    return (
        f'<div class="diffrl-museum" role="group" aria-label="{html.escape(meta["alt"], quote=True)}">'
        f"<script>(() => {{\nconst host = document.currentScript.parentElement;\n"
        f"{_script().replace('export default { render };', '')}\n"
        f'const bytes = Uint8Array.from(atob("{base64.b64encode(data).decode()}"), c => c.charCodeAt(0));\n'
        f"mountMuseum(host, {text}, bytes);\n}})();</script></div>"
    )


class Museum(anywidget.AnyWidget):
    """The widget that `blind` makes: `picks` are the learner's diagnoses so far, `score` counts the right ones."""

    _esm = _script()
    meta = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    picks: traitlets.List = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, first: Picture, **traits: Any) -> None:
        super().__init__(**traits)
        self.first = first

    @property
    def score(self) -> tuple[int, int, int]:
        """Of the rounds that the learner has played: named by the learner, named by the detectors, all."""
        played = self.meta["rounds"][: len(self.picks)]
        mine = sum(pick == r["truth"] for pick, r in zip(self.picks, played, strict=False))
        return mine, sum(r["detector"] == r["truth"] for r in played), len(played)

    def __repr__(self) -> str:
        mine, its, n = self.score
        return f"museum: {self.meta['alt']} {f'You named {mine} of {n}, the detectors {its}.' if n else ''}".strip()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:  # type: ignore[override]
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        picture, about = self.first._repr_mimebundle_()
        return ({**bundle, "image/png": picture["image/png"], "text/plain": repr(self)}, {**metadata, **about})


def blind(rooms: Sequence[Room], *, rounds: int = 8, seed: int = 0, alt: str) -> Museum:
    """Rounds of blind diagnosis over the exhibits of rooms, drawn by seed; no exhibit comes twice.

    Each round shows plots and the names that its room offers; after the learner's pick it shows the detector's answer,
    what it is, the sign, the number that gives it away, and which project had it. Raises ValueError for more rounds
    than there are exhibits, healthy ones among them.
    """
    rng = np.random.default_rng(seed)
    every = [(room, name) for room in rooms for name in room.names]
    if not 1 <= rounds <= len(every):
        raise ValueError(f"there are {len(every)} exhibits, healthy ones among them; got {rounds} rounds")
    drawn = [every[i] for i in rng.permutation(len(every))[:rounds]]
    entries, blobs, first = [], [], None
    for room, name in drawn:
        evidence = room.evidence(name, int(rng.integers(10_000, 20_000)))
        picture = plots(room, evidence)
        first = first or picture
        blobs.append(picture.png())
        entries.append({
            "room": room.name, "choices": room.names, "truth": name, "detector": room.diagnose(evidence),
            "alt": picture.alt, "told": _told(room, name), "bytes": len(blobs[-1]),
        })  # fmt: skip
    assert first is not None
    return Museum(first, meta={"kind": "museum", "alt": alt_text(alt), "rounds": entries}, data=b"".join(blobs))


def _told(room: Room, name: str) -> list[str]:
    """What is said of an exhibit once it was diagnosed."""
    if name == HEALTHY:
        return ["Nothing is wrong: what differs from the exact lines is chance."]
    e = room.exhibits[name]
    return [
        f"In the picture: {e.sign}. The number that gives it away: {e.number}.",
        f"Found in {e.project}.",
        f"Cure: {e.cure}.",
    ]
