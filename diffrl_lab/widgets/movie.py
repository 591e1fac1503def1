"""The scrubber: a reverse process, frame by frame, under the learner's hand.

All frames travel to the browser once, as float32 bytes, and are painted there on a canvas: no kernel is asked while the
learner scrubs by slider, mouse, keyboard or touch. The scene is the same in JupyterLab and in `movie_html`.
"""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from .mazes import bounds, film_strip, walls
from .pictures import COLOUR, Picture, alt_text

JS = Path(__file__).with_suffix(".js")
LIMIT = 16 * 2**20  # bytes to one browser page; a plan of 64 points, 64 samples and 100 frames is 6 MiB
SHOWN = ("x_t", "x0_hat", "both")
GROUPS = ("left", "right", "data", "warning")
CURVES = ("model", "goal", "data")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a movie is asked to show besides its frames; `movie` lists what each field means.

    Raises ValueError for alt text of less than 40 characters and for a `show` or a `colour` that does not exist.
    """

    alt: str
    maze: Any = None
    size: float = 1.0
    start: Any = None
    goal: Any = None
    show: str = "x_t"
    samples: int = 64
    shown: int = 16
    groups: Any = None
    labels: Sequence[str] | None = None
    colour: str = "group"
    dots: bool | None = None
    ends: bool = False
    under: Sequence[Any] | None = None
    lit: Sequence[Sequence[int]] | None = None
    schedule: Any = None
    limits: Any = None
    curve: tuple[Any, Any] | None = None
    step: int = 0
    transform: Callable | None = None
    dims: Sequence[int] | None = None
    clock: str = "t"
    charts: Mapping[str, Mapping[str, Any]] | None = None
    play: bool = False
    height: int | None = None
    xlabel: str | None = None
    ylabel: str | None = None

    def __post_init__(self) -> None:
        alt_text(self.alt)
        if self.show not in SHOWN:
            raise ValueError(f"show is one of {', '.join(SHOWN)}; got {self.show!r}")
        if self.height is not None and not 80 <= self.height <= 1000:
            raise ValueError(f"height is a panel's, in pixels, 80 to 1000; got {self.height!r}")
        if self.lit is not None and self.under is None:
            raise ValueError("lit names paths of `under`, and there are none")
        if self.colour not in ("group", "step"):
            raise ValueError(f"colour is 'group' or 'step' (along the plan); got {self.colour!r}")

    def of(self, panel: str) -> Options:
        """The options of one panel: where a mapping title -> value was given, its own value, or nothing."""
        own: dict[str, Any] = {}
        for name in ("maze", "start", "goal", "groups", "limits"):
            if isinstance(value := getattr(self, name), Mapping):
                own[name] = value.get(panel)
        return replace(self, **own)


class Floats:
    """Arrays end to end as little-endian float32, in C order."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.size = 0

    def put(self, a: np.ndarray) -> int:
        """Appends an array and returns the place of its first float."""
        self.parts.append(np.ascontiguousarray(a, dtype="<f4").ravel())
        self.size += self.parts[-1].size
        return self.size - self.parts[-1].size

    def bytes(self) -> bytes:
        """All arrays as bytes. Raises ValueError for more than a page can take (LIMIT)."""
        if 4 * self.size > LIMIT:
            size = f"{4 * self.size / 2**20:.0f} MiB"
            raise ValueError(f"a movie of {size} is too much for a page (limit {LIMIT // 2**20}): ship fewer samples")
        return np.concatenate(self.parts).tobytes()


def _numpy(a: Any) -> np.ndarray:
    """A float32 array of whatever came: tensor (any device, any precision), list or array."""
    return np.asarray(a.detach().cpu().float() if hasattr(a, "detach") else a, dtype=np.float32)


def _field(frame: Any, name: str) -> Any:
    return frame.get(name) if isinstance(frame, Mapping) else getattr(frame, name, None)


def _event(x: np.ndarray, dims: Sequence[int] | None) -> np.ndarray:
    """Samples in the shape that the browser draws.

    [S] and [S, 1] become dots [S, 1, 1], and [S, 2] becomes points [S, 1, 2]. [S, H] and [S, H, 1] are drawn against
    their index, [S, H, 2]. Of [S, H, d] the columns `dims` are drawn (the first two by default), [S, H, 2].
    """
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim == 2 and x.shape[1] <= 2:
        return x[:, None, :]
    if x.ndim == 2:
        x = x[:, :, None]
    if x.ndim != 3:
        raise ValueError(f"a frame holds samples [S], [S, 2], [S, H] or [S, H, d]; got {x.shape}")
    if x.shape[2] == 1:
        index = np.broadcast_to(np.arange(x.shape[1], dtype=np.float32)[None, :, None], x.shape)
        return np.concatenate([index, x], axis=2)
    return x[:, :, list(dims or (0, 1))]


def stack(
    frames: Any, *, samples: int = 64, transform: Callable | None = None, dims: Sequence[int] | None = None
) -> dict[str, Any]:
    """The frames as float32 arrays: {"t": [K], "x_t": [K, S, H, n], "x0_hat": the same or None}.

    n is 2, or 1 for samples in one dimension. `frames` is an iterable of `Frame` (t, x_t, x0_hat), or a mapping with
    these three already stacked. At most `samples` of the samples are taken. `transform` is applied to each x first
    (say, a scaler's inverse), and `dims` says which two columns are the position. Raises ValueError if there is no
    frame, and for samples of another shape than `movie` names.
    """
    if isinstance(frames, Mapping):
        x0 = frames.get("x0_hat")
        frames = [
            {"t": t, "x_t": frames["x_t"][k], "x0_hat": None if x0 is None else x0[k]}
            for k, t in enumerate(frames["t"])
        ]
    rows = list(frames)
    if not rows:
        raise ValueError(
            "a movie needs at least one frame; got none (was the chain already used up? wrap it in list(...))"
        )
    prepare = transform or (lambda x: x)

    def event(x: Any) -> np.ndarray:
        return _event(_numpy(prepare(x)), dims)[:samples]

    t = np.array([_numpy(_field(f, "t")).max() for f in rows], dtype=np.float32)
    x_t = np.stack([event(_field(f, "x_t")) for f in rows])
    guesses = [_field(f, "x0_hat") for f in rows]
    if all(g is None for g in guesses):
        return {"t": t, "x_t": x_t, "x0_hat": None}
    return {
        "t": t,
        "x_t": x_t,
        "x0_hat": np.stack([np.full_like(x_t[0], np.nan) if g is None else event(g) for g in guesses]),
    }


def pack(frames: Any, **options: Any) -> tuple[dict[str, Any], bytes]:
    """What the browser gets: a description of the scene, and all frames as little-endian float32 bytes.

    The arguments are those of `movie`. Panel p finds its x_t at float `p["x_t"]` of the bytes, [K, S, H, n] in C
    order, and x0_hat likewise. Raises ValueError for what `movie` cannot show.
    """
    asked, floats = Options(**options), Floats()
    taken: dict[str, Any] = {"samples": asked.samples, "transform": asked.transform, "dims": asked.dims}
    titled = dict(frames) if isinstance(frames, Mapping) and "x_t" not in frames else {"": frames}
    arrays = {title: stack(f, **taken) for title, f in titled.items()}
    alone = isinstance(asked.maze, Mapping) or isinstance(asked.limits, Mapping)
    names = _names(asked)
    panels = [
        _panel(title, a, asked.of(title), names, {title: a} if alone else arrays, floats) for title, a in arrays.items()
    ]
    data, longest = floats.bytes(), max(len(panel["t"]) for panel in panels)
    meta = {
        "alt": alt_text(asked.alt),
        "show": asked.show,
        "count": asked.shown,
        "step": asked.step,
        "clock": asked.clock,
        "play": asked.play,
        "height": asked.height,
        "labels": list(asked.labels) if asked.labels else names or None,
        "panels": panels,
        "charts": [_chart(title, chart, longest) for title, chart in (asked.charts or {}).items()],
        "pick": None,
        "colours": {
            **{k: COLOUR[k] for k in ("model", "noise", "wall", "start", "goal")},
            "groups": [COLOUR[g] for g in GROUPS],
        },
    }
    return meta, data


def _panel(
    title: str, a: Mapping[str, Any], asked: Options, names: list[str], beside: Mapping[str, Any], floats: Floats
) -> dict[str, Any]:
    """One panel as the browser takes it; its arrays go to `floats`, and `beside` share its limits."""
    K, S, H, d = a["x_t"].shape
    box = [float(v) for v in asked.limits] if asked.limits is not None else _limits(beside, asked.maze, asked.size)
    groups = _groups(asked.groups, names, K, S)
    if K != len(a["t"]):
        raise ValueError(f"one t per frame: {K} frames, {len(a['t'])} times")
    rectangles = None if asked.maze is None else walls(asked.maze, asked.size)
    against_index = d == 2 and H > 1 and (a["x_t"][..., 0] == np.arange(H)).all()
    own = ("x", "density") if d == 1 else ("index", "x") if against_index else ("x", "y")
    panel: dict[str, Any] = {
        "title": title,
        "kind": "dots" if d == 1 else "paths",
        "S": S,
        "H": H,
        "t": [round(float(t), 5) for t in a["t"]],
        "noise": _noise(asked.schedule, a["t"]),
        "x_t": floats.put(a["x_t"]),
        "x0_hat": None if a["x0_hat"] is None else floats.put(a["x0_hat"]),
        "groups": groups,
        "gradient": asked.colour == "step",
        "limits": box,
        "dots": S * H <= 4096 if asked.dots is None else bool(asked.dots),
        "ends": bool(asked.ends),
        "under": None if asked.under is None else _under(asked.under, asked.lit, K, floats),
        "axes": None if rectangles is not None else [asked.xlabel or own[0], asked.ylabel or own[1]],
        "equal": d == 2 and (asked.maze is not None or H == 1),
        "walls": None if rectangles is None else [[round(float(v), 4) for v in wall] for wall in rectangles],
        "start": _point(asked.start),
        "goal": _point(asked.goal),
    }
    return panel if d == 2 else panel | _density(a, asked.curve, box, floats)


def _under(paths: Sequence[Any], lit: Sequence[Sequence[int]] | None, K: int, floats: Floats) -> dict[str, Any]:
    """Paths that lie under a panel: where their floats begin, how many points each has, and which light up when."""
    points = [_numpy(path)[:, :2] for path in paths]
    if lit is not None and (len(lit) != K or any(not 0 <= i < len(points) for row in lit for i in row)):
        raise ValueError(f"lit names for each of {K} frames some of the {len(points)} paths, 0 to {len(points) - 1}")
    rows = None if lit is None else [[int(i) for i in row] for row in lit]
    return {"at": floats.put(np.concatenate(points)), "lengths": [len(p) for p in points], "lit": rows}


def _density(a: Mapping[str, Any], curve: tuple[Any, Any] | None, box: list[float], floats: Floats) -> dict[str, Any]:
    """What a panel of dots has besides: the height of its density axis, and the exact curve over the grid [M]."""
    if curve is None:
        return {"top": _top(a, curve, box)}
    grid, p = _numpy(curve[0]), _numpy(curve[1])
    p = np.broadcast_to(p, (len(a["x_t"]), len(grid)))
    return {"top": _top(a, curve, box), "curve": {"M": len(grid), "x": floats.put(grid), "p": floats.put(p)}}


def _noise(schedule: Any, t: np.ndarray) -> list[float] | None:
    """Share of noise in the standard deviation, sigma / sqrt(alpha^2 + sigma^2): 1 is pure noise on any schedule."""
    if schedule is None:
        return None
    import torch

    alpha, sigma = (_numpy(a).astype(float) for a in schedule(torch.as_tensor(t, dtype=torch.float64)))
    return [round(float(v), 4) for v in sigma / np.hypot(alpha, sigma)]


def unpack(meta: Mapping[str, Any], data: bytes) -> dict[str, dict[str, Any]]:
    """The arrays that `pack` packed, bit for bit: title -> {"t", "x_t", "x0_hat"}, float32."""
    floats = np.frombuffer(data, dtype="<f4")
    panels: dict[str, dict[str, Any]] = {}
    for p in meta["panels"]:
        shape = (len(p["t"]), p["S"], p["H"], 1 if p["kind"] == "dots" else 2)
        cut = {name: None if p[name] is None else floats[p[name] :][: math.prod(shape)] for name in ("x_t", "x0_hat")}
        panels[p["title"]] = {"t": np.array(p["t"], dtype=np.float32)} | {
            name: None if a is None else a.reshape(shape) for name, a in cut.items()
        }
    return panels


def lying(meta: Mapping[str, Any], data: bytes) -> tuple[list[np.ndarray], list[list[int]]] | None:
    """What lies under the first panel, as `pack` packed it: paths [n, 2], and which of them light up at each frame."""
    panel = meta["panels"][0]
    if (under := panel["under"]) is None:
        return None
    flat = np.frombuffer(data, dtype="<f4")[under["at"] :][: 2 * sum(under["lengths"])].reshape(-1, 2)
    paths = np.split(flat, np.cumsum(under["lengths"])[:-1])
    return paths, under["lit"] or [[]] * len(panel["t"])


def _chart(title: str, chart: Mapping[str, Any], frames: int) -> dict[str, Any]:
    """A chart as the browser takes it: axes, limits, and curves that have points, a colour and a name."""
    if unknown := set(chart) - {"x", "y", "curves", "exact"}:
        raise ValueError(f"a chart has x, y, curves and exact; {title!r} has {', '.join(sorted(unknown))}, too")
    rows = []
    for i, (name, xy) in enumerate((*chart["curves"].items(), *chart.get("exact", {}).items())):
        moving = i < len(chart["curves"])
        at = np.stack([_numpy(v).astype(float) for v in xy], 1)
        if moving and len(at) != frames:
            raise ValueError(f"a curve of a chart has one point per frame: {frames} frames, {name!r} has {len(at)}")
        tone = COLOUR[CURVES[i % len(CURVES)] if moving else "exact"]
        points = [[float(v) for v in p] for p in at.round(5)]
        rows.append({"name": name, "colour": tone, "moving": moving, "at": points})
    every = np.concatenate([row["at"] for row in rows])
    low, high = every.min(0), every.max(0)
    pad = np.maximum((high - low) * 0.06, 1e-3)
    limits = [float(v) for lo, hi, p in zip(low, high, pad, strict=True) for v in (lo - p, hi + p)]
    return {"title": title, "x": chart["x"], "y": chart["y"], "limits": limits, "curves": rows}


def _point(p: Any) -> list[float] | None:
    return None if p is None else [round(float(v), 5) for v in _numpy(p).ravel()[:2]]


def _names(asked: Options) -> list[str]:
    """The names among the groups of all panels, in alphabetical order, so that one name has one colour everywhere."""
    each = asked.groups.values() if isinstance(asked.groups, Mapping) else [asked.groups]
    return sorted({g for groups in each for g in np.asarray(groups).ravel().tolist() if isinstance(g, str)})


def _groups(groups: Any, names: list[str], K: int, S: int) -> list[int] | None:
    """A number per sample [S], or per frame and sample [K, S] end to end; a name is its place among `names`."""
    if groups is None:
        return None
    values = np.asarray(groups).ravel().tolist()
    if len(values) < S:
        raise ValueError(f"groups names one group per sample: {S} samples, {len(values)} groups")
    each_frame = np.ndim(groups) == 2
    if each_frame and len(values) != K * S:
        raise ValueError(f"groups in two dimensions are [K, S] = {(K, S)}; got {np.shape(groups)}")
    return [names.index(g) if isinstance(g, str) else int(g) for g in values[: K * S if each_frame else S]]


def _limits(arrays: Mapping[str, Mapping[str, Any]], maze: Any, size: float) -> list[float]:
    if maze is not None:
        return [float(v) for v in bounds(maze, size)]
    ends = []
    for a in arrays.values():
        x = np.concatenate([v.reshape(-1, v.shape[-1]) for v in (a["x_t"], a["x0_hat"]) if v is not None])
        x = x[np.isfinite(x).all(1)]
        ends.append(np.stack([np.quantile(x, 0.002, axis=0), np.quantile(x, 0.998, axis=0)]))
    low, high = np.min([e[0] for e in ends], axis=0), np.max([e[1] for e in ends], axis=0)
    pad = np.maximum((high - low) * 0.06, 1e-3)
    box = [v for lo, hi, p in zip(low, high, pad, strict=True) for v in (float(lo - p), float(hi + p))]
    return box if len(box) == 4 else [*box, 0.0, 1.0]


def _top(a: Mapping[str, Any], curve: tuple[Any, Any] | None, box: Sequence[float]) -> float:
    """The height of the density axis: the exact curve's peak, or the histogram's 98th percentile over frames."""
    if curve is not None:
        return float(_numpy(curve[1]).max() * 1.1)
    peaks = [np.histogram(x[np.isfinite(x)], bins=60, range=(box[0], box[1]))[0].max() for x in a["x_t"]]
    return max(1e-6, float(np.quantile(peaks, 0.98)) / a["x_t"].shape[1] / ((box[1] - box[0]) / 60) * 1.1)


@cache
def _script() -> str:
    """movie.js without its export, to stand inside a page."""
    return JS.read_text(encoding="utf-8").replace("export default { render };", "")


def page(meta: Mapping[str, Any], data: bytes) -> str:
    """One scene as an HTML fragment that opens from a file: script, description and frames are inside."""
    text = json.dumps(meta).replace("</", "<\\/")
    return (
        f'<div class="diffrl-movie" role="group" aria-label="{html.escape(meta["alt"], quote=True)}">'
        f"<script>(() => {{\nconst host = document.currentScript.parentElement;\n{_script()}\n"
        f'const bytes = Uint8Array.from(atob("{base64.b64encode(data).decode()}"), c => c.charCodeAt(0));\n'
        f"mount(host, {text}, new Float32Array(bytes.buffer));\n}})();</script></div>"
    )


class Movie(anywidget.AnyWidget):
    """The widget that `movie` makes; its `go(step)` moves the clock from Python."""

    _esm = JS
    meta = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    step = traitlets.Int(-(10**6)).tag(sync=True)
    question = traitlets.Dict().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)

    @property
    def alt(self) -> str:
        return self.meta["alt"]

    @property
    def strip(self) -> Picture:
        """The film strip that stands in where nothing runs, drawn from the very bytes that the browser has."""
        first, arrays = self.meta["panels"][0], unpack(self.meta, self.data)
        which = self.meta["show"] if all(a["x0_hat"] is not None for a in arrays.values()) else "x_t"
        alike = all(p["walls"] == first["walls"] and p["limits"] == first["limits"] for p in self.meta["panels"])
        clock = self.meta["clock"]
        way = "from noise (left) to sample (right)" if clock == "t" else f"{clock} grows from left to right"
        curve = first.get("curve")
        if curve is not None:
            floats, K, M = np.frombuffer(self.data, dtype="<f4"), len(first["t"]), curve["M"]
            curve = floats[curve["x"] :][:M], floats[curve["p"] :][: K * M].reshape(K, M)
        return film_strip(
            arrays if alike else {first["title"]: arrays[first["title"]]},
            rectangles=first["walls"],
            start=first["start"],
            goal=first["goal"],
            which=which,
            limits=first["limits"],
            groups={p["title"]: p["groups"] for p in self.meta["panels"]},
            symbol=clock,
            axes=first["axes"],
            curve=curve,
            under=lying(self.meta, self.data),
            ends=first["ends"],
            alt=f"Film strip of a movie, {way}. {self.alt}",
        )

    def go(self, step: int) -> None:
        """Moves the clock to this frame (a negative number counts from the end)."""
        frames = max(len(p["t"]) for p in self.meta["panels"])
        self.step = step % frames

    def __repr__(self) -> str:
        return f"movie: {self.alt}"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:  # type: ignore[override]
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        picture, about = self.strip._repr_mimebundle_()
        return ({**bundle, "image/png": picture["image/png"], "text/plain": repr(self)}, {**metadata, **about})


def movie(frames: Any, *, alt: str, **options: Any) -> Movie:
    """A reverse process to be scrubbed: by slider, sideways drag, arrow keys, Home and End, touch; space plays it.

    frames: the frames of a `chain` (a list of `Frame`), or a mapping {"t": [K], "x_t": [K, S, ...], "x0_hat": ...};
        title -> frames draws panels side by side under one clock (by t: they may have different numbers of steps).
        A frame's samples are [S] (drawn as a histogram with dots), [S, 2] points, [S, H] or [S, H, 1] values against
        their index, or [S, H, d] trajectories, of which the columns `dims` are drawn (the first two by default).
    alt: what the movie shows, in words (40 characters or more).
    maze, size, start, goal: the scene, as in `mazes.walls`, in the units of x.
    show: "x_t", "x0_hat" or "both" at first; the learner may switch.
    samples, shown: how many go to the browser (64) and how many are drawn at first (16).
    groups, labels: a group per sample (a number or a name), or one per frame and sample [K, S], and their names in
        the legend; a group whose name is "" is left out of it.
    colour: "group", or "step": blue at the plan's first point to orange at its last.
    dots: whether the paths have points (by default while they are few).
    ends: whether a larger dot stands at the last point of each path (of those that are no NaN).
    under: paths [n, 2] that lie in grey under those of the samples, the same in every frame and panel.
    lit: for each frame the numbers of those among `under` that light up.
    xlabel, ylabel: the names of the axes where there is no maze; by default x and density, or x and y, or index and x.
    play: it plays once by itself when it is first seen (not for readers who asked their system for less motion).
    height: of a panel, in pixels; by default a film of two rows fits a screen of 768 with its controls.
    schedule: its share of noise sigma / sqrt(alpha^2 + sigma^2) is shown beside t.
    limits: x_min, x_max, y_min, y_max.
    curve: (grid [M], density [M] or [K, M]), the exact law of samples in one dimension, dashed.
    step: the first frame shown (negative from the end).
    transform: what is applied to every x first (say, a scaler's inverse).
    clock: the letter of what is scrubbed, "t" for a reverse process; with another one (say "w", a guidance scale) the
        frames' "t" are its values, and the slider says so.
    charts: title -> {"x": label, "y": label, "curves": {name: (x [K], y [K])}, "exact": {name: (x [M], y [M])}}, drawn
        beside the panels: a dot moves along each curve, which has one point per frame, and the exact ones, which may
        be left out, stay and are dashed.
    maze, start, goal, groups, limits may each be a mapping title -> value, for panels with scenes of their own.

    Raises ValueError for no frames, for shapes and names other than these, for groups, curves or lit paths that do not
    fit the frames, for a maze that is no rectangle, and for more than a page can take (LIMIT).
    """
    meta, data = pack(frames, alt=alt, **options)
    return Movie(meta=meta, data=data)


def movie_html(frames: Any, *, title: str = "", **options: Any) -> str:
    """`movie` as one whole HTML page: the numbers and the script are inside, and nothing is loaded from anywhere.

    The title is by default the beginning of the alt text. Raises ValueError for what `movie` cannot show.
    """
    meta, data = pack(frames, **options)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title or meta['alt'][:80])}</title>"
        "<style>:root{color-scheme:light dark}body{margin:1em}</style></head>"
        f"<body>{page(meta, data)}</body></html>\n"
    )


__all__ = ["Movie", "movie", "movie_html", "pack", "page", "stack", "unpack"]
