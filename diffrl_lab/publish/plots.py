"""The pictures of the studies on the site: what docs/studies.md has as a table, drawn from the same file.

A study that has three or more values of a number (evaluations, updates, rows) is drawn as curves over it, the values
evenly apart; any other as one line of points for each row. Bars are the intervals of the table. Black and dashed, or a
black diamond, is the law (`law_...`); grey is the floor (`..._floor`), what a perfect model of so many samples has.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffrl_lab.publish.tables import STUDIES, Study, bounds, lines
from diffrl_lab.widgets import pictures

MOST, CURVES, FACETS = 3, 14, 4  # columns of a table that are drawn; curves of one field; fields above each other
Key = tuple[str, ...]


def number(text: str) -> float:
    """A row's head as a number, or NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def over(study: Study, keys: list[Key]) -> str | None:
    """Which of a study's `by` curves are drawn over: the last with three or more numbers; None for points."""
    if study.over is not None:
        return study.over or None
    for i in reversed(range(len(study.by))):
        if len({key[i] for key in keys if math.isfinite(number(key[i]))}) >= 3:
            return study.by[i]
    return None


def columns(study: Study) -> list[str]:
    """Which columns are drawn: those that the study names, or its first ones that are neither law nor floor."""
    own = [c for c in study.columns if not c.startswith("law") and "floor" not in c]
    own = sorted(own, key=lambda c: c != study.main)
    return list(study.drawn) or own[:MOST]


def beside(study: Study, column: str) -> dict[str, str]:
    """What stands beside a column: {"exact" or "noise", the palette's names of law and floor: its column}."""
    names = {f"law_{column}": "exact", f"{column}_floor": "noise", f"floor_{column}": "noise"}
    names |= {f"floor_{column}_95": "noise"} | ({"law": "exact"} if column == columns(study)[0] else {})
    return {kind: name for name, kind in names.items() if name in study.columns}


def picture(name: str) -> pictures.Picture:
    """The picture of one study, with words for whoever does not see it. Raises ValueError where its file has no row."""
    study = STUDIES[name]
    rows = lines(study)
    x = over(study, list(rows))
    rest = [k for k in study.by if k != x]
    facet = rest[0] if x and len(rest) > 1 and len({k[study.by.index(rest[0])] for k in rows}) <= FACETS else None
    if x and len({_without(k, study, x, facet) for k in rows}) > CURVES:
        x = facet = None
    return _curves(name, study, rows, x, facet) if x else _points(name, study, rows)


def _title(ax: Any, text: str, beside: int) -> None:
    ax.set_title(textwrap.fill(text, 78 // beside), fontsize=9.5)


def _without(key: Key, study: Study, *gone: str | None) -> Key:
    return tuple(v for k, v in zip(study.by, key, strict=True) if k not in gone)


def _called(study: Study, key: Key, *gone: str | None) -> str:
    """A row in a few words: its words, and its numbers with their names."""
    words = []
    for k, v in zip(study.by, key, strict=True):
        if k not in gone and v != "–":
            words.append(f"{study.heads.get(k, k)} {v}" if math.isfinite(number(v)) or v in ("True", "False") else v)
    return ", ".join(words)


def _words(name: str, study: Study, column: str, rows: Mapping[Key, list[dict[str, Any]]]) -> str:
    """The alt text of one column: how many rows, the least and the most."""
    found = {key: v for key, same in rows.items() if math.isfinite(v := bounds(same, column)[0])}
    head, form = study.heads.get(column, column), study.columns[column]
    if not found:
        return f"{head}: no value"
    low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    said = f"{head}, from {found[low]:{form}} ({_called(study, low)}) to {found[high]:{form}} ({_called(study, high)})"
    return said if found[low] < found[high] else f"{head}, {found[low]:{form}} in all rows"


def _curves(name: str, study: Study, rows: Mapping[Key, list], x: str, facet: str | None) -> pictures.Picture:
    at = study.by.index(x)
    values = list(dict.fromkeys(key[at] for key in rows))
    values.sort(key=lambda v: number(v) if math.isfinite(number(v)) else math.inf)
    place = {v: i for i, v in enumerate(values)}
    shown = columns(study)
    fields = list(dict.fromkeys(key[study.by.index(facet)] for key in rows)) if facet else [None]
    names = list(dict.fromkeys(_called(study, key, x, facet) for key in rows))
    height = 2.3 * len(fields) + 0.5 + 0.17 * math.ceil(len(names) / 3)
    fig, axes = pictures.figure(height, len(fields), len(shown), squeeze=False, sharex=True)
    handles = {}
    for i, value in enumerate(fields):
        for j, column in enumerate(shown):
            ax = axes[i, j]
            own = {k: r for k, r in rows.items() if facet is None or k[study.by.index(facet)] == value}
            for n, called in enumerate(names):
                some = {place[k[at]]: r for k, r in own.items() if _called(study, k, x, facet) == called}
                if not some:
                    continue
                spots = sorted(some)
                data = np.array([bounds(some[s], column, study.limits) for s in spots], float)
                look: dict[str, Any] = pictures.nth_look(n, called)
                mark = pictures.MARKER[pictures.meaning(n, called)]
                face = "white" if n >= len(pictures.ORDER) else look["color"]  # the palette has seven; then open ones
                error = np.abs(np.nan_to_num(data[:, 1:] - data[:, :1])).T
                handles[called] = ax.errorbar(
                    spots, data[:, 0], error, **look, marker=mark, markersize=4.5, markerfacecolor=face, elinewidth=0.9
                )
                for kind, other in beside(study, column).items():
                    also = [bounds(some[s], other)[0] for s in spots]
                    handles["the law" if kind == "exact" else "floor"] = ax.plot(spots, also, **pictures.look(kind))[0]
            if not any(np.isfinite(line.get_ydata()).any() for line in ax.lines):
                ax.set_visible(False)
            head = study.heads.get(column, column)
            _title(ax, head if facet is None else f"{value}: {head}", len(shown))
            ax.set_xticks(range(len(values)), values, rotation=45 if max(map(len, values)) * len(values) > 24 else 0)
            ax.set_xlim(-0.4, len(values) - 0.6)
        axes[-1, 0].set_xlabel(study.heads.get(x, x))
    if len(handles) > 1 or "" not in handles:
        fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    said = "; ".join(_words(name, study, column, rows) for column in shown)
    return pictures.Picture(fig, f"Curves over {study.heads.get(x, x)}, {len(rows)} points: {said}.")


def _points(name: str, study: Study, rows: Mapping[Key, list]) -> pictures.Picture:
    shown = columns(study)
    fig, axes = pictures.figure(0.9 + 0.21 * len(rows), 1, len(shown), squeeze=False, sharey=True)
    up = np.arange(len(rows))[::-1]
    for ax, column in zip(axes[0], shown, strict=True):
        data = np.array([bounds(same, column, study.limits) for same in rows.values()], float)
        error = np.abs(np.nan_to_num(data[:, 1:] - data[:, :1])).T
        look = {"color": pictures.COLOUR["model"], "linestyle": "none"}
        ax.errorbar(data[:, 0], up, xerr=error, marker="s", markersize=4, elinewidth=1.1, **look)
        for kind, other in beside(study, column).items():
            also = [bounds(same, other)[0] for same in rows.values()]
            mark = {"color": pictures.COLOUR[kind], "marker": "D" if kind == "exact" else "|", "markersize": 6}
            ax.plot(also, up, linestyle="none", markerfacecolor="none", **mark)
        _title(ax, study.heads.get(column, column), len(shown) + 1)
        ax.grid(axis="y", color=pictures.COLOUR["wall"], linewidth=0.5)
        ax.set_axisbelow(True)
        ax.margins(x=0.08)
    axes[0, 0].set_yticks(up, [_called(study, key) for key in rows])
    axes[0, 0].set_ylim(-0.7, len(rows) - 0.3)
    said = "; ".join(_words(name, study, column, rows) for column in shown)
    return pictures.Picture(fig, f"Points with 95 % intervals, {len(rows)} rows: {said}.")


def placed(text: str, folder: Path) -> str:
    """The page of studies with the picture of each table above it, saved in `folder`, which lies beside the page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in STUDIES:
        mark, file = f"<!-- {name} -->", f"study-{re.sub(r'[^a-z0-9]+', '-', name.lower())}.svg"
        shown = picture(name)
        shown.save(folder / file)
        words = re.sub(r"([\[\]])", r"\\\1", shown.alt)
        text = text.replace(mark, f"![{words}]({folder.name}/{file})\n\n{mark}")
    return text
