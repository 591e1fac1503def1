"""Controls in front of what must be recomputed.

`explore` redraws one picture in place; `plan_explorer` plans anew in a maze. A page without a kernel shows some
pictures of an explorer: where the environment has `KEPT`, an explorer draws them when it is made; `page` shows them.
"""

from __future__ import annotations

import asyncio
import base64
import html
import itertools
import json
import math
import os
import random
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets

from .mazes import floor
from .movie import Movie, pack
from .pictures import THEME, Picture, still

MEMORY = 64  # pictures that an explorer remembers
KEPT = "DIFFRL_STOPS"  # set for a kernel whose notebook becomes a page
STOPS = 24  # pictures of an explorer that a page without a kernel has
WAIT = 0.05  # seconds from a change to the redraw, so that a drag is answered by its newest value


class Redrawn(anywidget.AnyWidget):
    """One <img> whose picture, alt text and message change in place.

    The next picture is decoded before it is swapped in, so that nothing flickers.
    """

    _esm = """
    function render({ model, el }) {
      const img = document.createElement("img"), words = document.createElement("div");
      img.className = "diffrl-picture";
      img.style.cssText = "display:block;max-width:100%;height:auto;background:#fff";
      words.style.cssText = "min-height:1.5em;font:14px/1.4 system-ui,sans-serif;"
        + "color:var(--jp-content-font-color1,CanvasText)";
      words.setAttribute("role", "status");
      el.append(img, words);
      let old = null;
      const draw = async () => {
        const url = URL.createObjectURL(new Blob([model.get("png")], { type: "image/png" }));
        const next = new Image();
        next.src = url;
        await next.decode().catch(() => {});
        img.src = url;
        img.alt = model.get("alt");
        if (old) URL.revokeObjectURL(old);
        old = url;
      };
      img.style.transition = "opacity .1s";
      const fade = () => {               // a faint picture is an old one; what is quick does not flicker
        img.style.transitionDelay = model.get("busy") ? ".25s" : "0s";
        img.style.opacity = model.get("busy") ? 0.45 : 1;
      };
      const say = () => { words.textContent = model.get("words"); };
      const grab = (event) => {  // a point of the first axes, as shares of its width and height, origin below left
        const [x0, y0, x1, y1] = model.get("area"), box = img.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width - x0) / (x1 - x0);
        const y = ((event.clientY - box.top) / box.height - y1) / (y0 - y1);
        if (event.type === "pointerdown" && (x < 0 || x > 1 || y < 0 || y > 1)) return false;
        model.set("picked", [Math.min(1, Math.max(0, x)), Math.min(1, Math.max(0, y))]);
        model.save_changes();
        return true;
      };
      if (model.get("area").length) {
        img.draggable = false;
        img.style.cursor = "crosshair";
        img.style.touchAction = "none";
        img.addEventListener("pointerdown", (e) => { if (grab(e)) img.setPointerCapture(e.pointerId); });
        img.addEventListener("pointermove", (e) => { if (img.hasPointerCapture(e.pointerId)) grab(e); });
      }
      model.on("change:png", draw);
      model.on("change:alt", () => { img.alt = model.get("alt"); });
      model.on("change:words", say);
      model.on("change:busy", fade);
      draw(); say();
      return () => { if (old) URL.revokeObjectURL(old); };
    }
    export default { render };
    """
    _css = THEME
    png = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)
    # the first axes in shares of the picture: left, top, right, bottom
    area: traitlets.List = traitlets.List().tag(sync=True)
    picked: traitlets.List = traitlets.List().tag(sync=True)
    # what `Explorer.keep` drew: empty, or {"controls": [...], "pictures": [...]}, for `page`
    stops: traitlets.Dict = traitlets.Dict().tag(sync=True)

    def __repr__(self) -> str:
        return self.alt


def control(name: str, spec: Any) -> Any:
    """One ipywidget for one argument.

    (low, high[, step[, first]]) makes a slider, of whole numbers where all are whole. A list, or a mapping
    label -> value, makes a choice whose first entry is chosen; True or False makes a checkbox. An ipywidget stands for
    itself. Raises ValueError for anything else.
    """
    words = name if re.fullmatch(r"[a-z]_\w|x0_hat", name) else name.replace("_", " ")  # a symbol keeps its subscript
    label = {"description": words, "style": {"description_width": "initial"}}
    wide = {"layout": ipywidgets.Layout(width="340px")}
    if isinstance(spec, ipywidgets.Widget):
        return spec
    if isinstance(spec, bool):
        return ipywidgets.Checkbox(value=spec, indent=False, **label)
    if isinstance(spec, list | Mapping) and len(spec):
        options = list(spec.items()) if isinstance(spec, Mapping) else [(str(v), v) for v in spec]
        return ipywidgets.Dropdown(options=options, value=options[0][1], **label)
    if isinstance(spec, tuple) and 2 <= len(spec) <= 4 and spec[0] < spec[1]:
        low, high, *more = spec
        whole = all(isinstance(v, int) for v in spec)
        step = more[0] if more else 1 if whole else (high - low) / 50
        first = more[1] if len(more) > 1 else low
        make = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        return make(min=low, max=high, step=step, value=first, **label, **wide)
    raise ValueError(
        f"control {name!r}: wanted (low, high[, step[, first]]), a list, a mapping, a bool or a widget; got {spec!r}"
    )


def choices(widget: Any) -> tuple[list[Any], int]:
    """All values of a control, in their order, and the place of the one that it has now."""
    if isinstance(widget, ipywidgets.Dropdown):
        return [value for _, value in widget.options], widget.index or 0
    if isinstance(widget, ipywidgets.Checkbox):
        return [False, True], int(widget.value)
    if isinstance(widget, ipywidgets.IntSlider | ipywidgets.FloatSlider):
        kind, n = type(widget.value), math.floor((widget.max - widget.min) / widget.step + 1e-9) + 1
        values = [kind(round(widget.min + k * widget.step, 10)) for k in range(n)]
        at = min(range(n), key=lambda k: abs(values[k] - widget.value))
        values[at] = widget.value
        return values, at
    return [widget.value], 0


def counts(sizes: Sequence[int], most: int, first: Sequence[int] = ()) -> list[int]:
    """How many values of each control to draw, where they have so many: alike many, their product at most `most`.

    first: the controls that get theirs before others get more than one.
    """
    found = [1] * len(sizes)
    for some in (first, range(len(sizes))):
        while free := [
            k for k in some if found[k] < sizes[k] and math.prod(found) // found[k] * (found[k] + 1) <= most
        ]:
            found[min(free, key=lambda k: found[k])] += 1
    return found


def spread(n: int, k: int, at: int) -> list[int]:
    """k of the places 0 to n - 1, evenly apart from the first to the last, the nearest one moved to `at`."""
    places = [round(v) for v in np.linspace(0, n - 1, k)] if k > 1 else [at]
    places[min(range(len(places)), key=lambda i: abs(places[i] - at))] = at
    return places


class Explorer(ipywidgets.VBox):
    """The widget that `explore` makes: it has controls above one picture, and `values` are what they say now."""

    def __init__(self, draw: Callable[..., Picture], controls: Mapping[str, Any], on_page: Sequence[str] = ()) -> None:
        self._draw, self._on_page = draw, on_page
        self._drawn: OrderedDict[tuple, tuple[bytes, str]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self.controls = {name: control(name, spec) for name, spec in controls.items()}
        self.picture = Redrawn()
        self.redraw(raises=True)
        row = ipywidgets.HBox(list(self.controls.values()), layout=ipywidgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self.picture])
        for widget in self.controls.values():
            widget.observe(self._changed, names="value")
        self.picture.observe(self._dragged, names="picked")
        if KEPT in os.environ:
            self.keep()

    def keep(self, most: int = STOPS) -> None:
        """Draw at most `most` pictures, for values of the controls evenly apart, into the state of `picture`.

        Controls in `on_page` come first; where there are none, all do but one called seed.
        What fails is kept as its sentence, in place of a picture. Random numbers that are drawn here are drawn again
        by the cells that come after.
        """
        import torch

        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        every = {name: choices(widget) for name, widget in self.controls.items()}
        first = [k for k, name in enumerate(every) if name in self._on_page or not self._on_page and name != "seed"]
        number = counts([len(values) for values, _ in every.values()], most, first)
        places = [spread(len(values), k, at) for (values, at), k in zip(every.values(), number, strict=True)]
        controls, pictures = [], []
        for (name, (values, at)), some in zip(every.items(), places, strict=True):
            widget = self.controls[name]
            names = dict(enumerate(label for label, _ in widget.options)) if hasattr(widget, "options") else {}
            labels = [names.get(k, f"{values[k]:g}" if isinstance(values[k], float) else str(values[k])) for k in some]
            kind = "list" if hasattr(widget, "options") or isinstance(values[0], bool) else "slider"
            controls.append({"name": widget.description, "kind": kind, "labels": labels, "at": some.index(at)})
        for these in itertools.product(*places):
            chosen = {n: values[k] for (n, (values, _)), k in zip(every.items(), these, strict=True)}
            try:
                drawn = self._draw(**chosen)
                pictures.append([base64.b64encode(drawn.png(quick=True)).decode(), drawn.alt])
            except Exception as error:
                pictures.append(["", f"No picture for these values: {error}"])
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
        self.picture.stops = {"controls": controls, "pictures": pictures}

    def _dragged(self, change: Any) -> None:
        """The point under the hand becomes the values of the two controls that the picture names."""
        for name, share, (low, high) in zip(self._drag[0], change["new"], self._drag[1], strict=True):
            slider = self.controls[name]
            value = slider.min + round((low + share * (high - low) - slider.min) / slider.step) * slider.step
            slider.value = min(slider.max, max(slider.min, value))

    @property
    def values(self) -> dict[str, Any]:
        return {name: widget.value for name, widget in self.controls.items()}

    def _changed(self, _: Any) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: a test or a script
            self.redraw()
            return
        if self._timer is None:
            self._timer = loop.call_later(WAIT, self.redraw)

    def redraw(self, raises: bool = False) -> None:
        """Draws for the present values, or takes the picture that is remembered for them.

        What fails is said in words under the picture; with `raises` the error goes on to the caller.
        """
        self._timer = None
        values = self.values
        key = tuple(repr(v) for v in values.values())
        try:
            if key not in self._drawn:
                if not raises:
                    self.picture.words, self.picture.busy = "computing…", True
                drawn = self._draw(**values)
                if not isinstance(drawn, Picture):
                    raise ValueError(f"explore draws a Picture (a figure with alt text); got {type(drawn).__name__}")
                self._drawn[key] = drawn.png(quick=not raises), drawn.alt  # the first one stays in the notebook
                if drawn.drag and not self.picture.area:
                    place, ax = drawn.axes[0].get_position(), drawn.axes[0]
                    self._drag = drawn.drag, (ax.get_xlim(), ax.get_ylim())
                    self.picture.area = [float(v) for v in (place.x0, 1 - place.y1, place.x1, 1 - place.y0)]
                if len(self._drawn) > MEMORY:
                    self._drawn.popitem(last=False)
            self._drawn.move_to_end(key)
        except Exception as error:
            if raises:
                raise
            self.picture.words, self.picture.busy = f"No picture for these values: {error}", False
            return
        png, alt = self._drawn[key]
        with self.picture.hold_sync():
            self.picture.png, self.picture.alt, self.picture.words, self.picture.busy = png, alt, "", False

    def __repr__(self) -> str:
        return f"explore {', '.join(self.controls)}: {self.picture.alt}"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        picture = still(self.picture.png, self.picture.alt)
        live = super()._repr_mimebundle_(**kwargs) or {}
        bundle = {**live, "image/png": picture["image/png"], "text/plain": repr(self)}
        return bundle, {"image/png": {"alt": self.picture.alt}}


PAGE = """
const host = document.currentScript.parentElement, img = host.querySelector("img");
const words = host.querySelector("p"), every = [...host.querySelectorAll("[data-n]")];
const show = () => {
  let at = 0;
  for (const c of every) {
    at = at * Number(c.dataset.n) + Number(c.value);
    const said = c.parentElement.querySelector("output");
    if (said) c.setAttribute("aria-valuetext", said.textContent = JSON.parse(c.dataset.labels)[c.value]);
  }
  const [png, alt] = pictures[at];
  img.hidden = !png;
  words.hidden = Boolean(png);
  if (png) { img.src = "data:image/png;base64," + png; img.alt = alt; } else words.textContent = alt;
};
for (const c of every) c.addEventListener("input", show);
show();
"""


def page(stops: Mapping[str, Any]) -> str:
    """What `Explorer.keep` drew as an HTML fragment whose controls need no kernel and no network."""
    marks, first = [], 0
    for control in stops["controls"]:
        labels, at, n = control["labels"], control["at"], len(control["labels"])
        first = first * n + at
        about = f'data-n="{n}" aria-label="{html.escape(control["name"], quote=True)}"'
        if n == 1:
            part = html.escape(labels[0])
        elif control["kind"] == "list":
            chosen = [" selected" if k == at else "" for k in range(n)]
            options = "".join(f'<option value="{k}"{chosen[k]}>{html.escape(v)}</option>' for k, v in enumerate(labels))
            part = f"<select {about}>{options}</select>"
        else:
            said = html.escape(json.dumps(labels), quote=True)
            part = f'<input type="range" min="0" max="{n - 1}" value="{at}" {about} data-labels="{said}">'
            part += f" <output>{html.escape(labels[at])}</output>"
        tag = "label" if n > 1 else "span"
        marks.append(f"<{tag}>{html.escape(control['name'])} {part}</{tag}>")
    png, alt = stops["pictures"][first]
    inside = json.dumps(stops["pictures"]).replace("</", "<\\/")  # no alt text ends the script
    return (
        f'<div class="diffrl-stops" style="display:flex;flex-direction:column;gap:.4em">'
        f'<div style="display:flex;flex-wrap:wrap;gap:.3em 1.5em">{"".join(marks)}</div>'
        f'<img src="data:image/png;base64,{png}" alt="{html.escape(alt, quote=True)}"><p hidden></p>'
        f"<script>(() => {{\nconst pictures = {inside};{PAGE}}})();"
        "</script></div>"
    )


def explore(draw: Callable[..., Picture], *, on_page: Sequence[str] = (), **controls: Any) -> Explorer:
    """Controls above a picture that is recomputed and redrawn in place.

    `explore(draw, w=(0., 5., .5), steps=[5, 10, 20], pin=True)` calls `draw(w=..., steps=..., pin=...)`, which returns
    a `Picture`, once per set of values; `control` says what makes which control. Where the picture names two controls
    (`Picture(..., drag=("t", "x_t"))`), its first axes can be dragged over. The first picture is there at once and
    stays, as a still, where no kernel runs; on a page that this project makes there are some more, for values of the
    controls in `on_page`, or of all but the seed. Raises ValueError for what is no control and for a first drawing that
    is no `Picture`, and whatever the first drawing raises; later errors are shown in words.
    """
    if unknown := set(on_page) - set(controls):
        raise ValueError(f"on_page names {', '.join(sorted(unknown))}; the controls are {', '.join(controls)}")
    return Explorer(draw, controls, on_page)


class PlanExplorer(Movie):
    """The widget that `plan_explorer` makes; its `frames` are those of the plan now shown."""

    def __init__(
        self,
        plan: Callable[..., Any],
        maze: Any,
        start: Any,
        goal: Any,
        seed: int,
        size: float,
        alt: str,
        options: dict,
    ) -> None:
        self._plan, self._maze, self._size, self._options = plan, maze, size, {**options, "alt": alt}
        self._start, self._goal, self._seed = _xy(start, "start"), _xy(goal, "goal"), int(seed)
        meta, data = self._make()
        super().__init__(meta=meta, data=data)
        self.observe(self._asked, names="question")

    def _make(self) -> tuple[dict[str, Any], bytes]:
        self.frames = self._plan(np.array(self._start), np.array(self._goal), self._seed)
        if not isinstance(self.frames, Mapping):
            self.frames = list(self.frames)
        scene = {"maze": self._maze, "size": self._size, "start": self._start, "goal": self._goal}
        meta, data = pack(self.frames, **scene, **self._options)
        first = meta["panels"][0]
        meta["pick"] = {
            "start": self._start, "goal": self._goal, "seed": self._seed, "walls": first["walls"],
            "limits": first["limits"], "free": floor(self._maze, self._size).round(4).tolist(),
            "cell": float(getattr(self._maze, "maze_size_scaling", self._size)),
        }  # fmt: skip
        return meta, data

    def _asked(self, change: Any) -> None:
        asked = change["new"]
        begun = perf_counter()
        try:
            self._start, self._goal = _xy(asked["start"], "start"), _xy(asked["goal"], "goal")
            self._seed = int(asked["seed"])
            meta, data = self._make()
        except Exception as error:
            self.answer = {"n": asked.get("n", 0), "error": f"No plan for this: {error}"}
            return
        words = f"planned in {perf_counter() - begun:.2f} s, seed {self._seed}"
        with self.hold_sync():
            self.meta, self.data, self.answer = meta, data, {"n": asked.get("n", 0), "words": words}


def _xy(point: Any, name: str) -> list[float]:
    xy = np.asarray(point.detach().cpu() if hasattr(point, "detach") else point, dtype=float).ravel()
    if xy.shape != (2,) or not np.isfinite(xy).all():
        raise ValueError(f"{name} is a point x, y; got {point!r}")
    return [round(float(v), 5) for v in xy]


def plan_explorer(
    plan: Callable[..., Any],
    maze: Any,
    start: Any,
    goal: Any,
    *,
    seed: int = 0,
    size: float = 1.0,
    alt: str = "A maze in which start and goal can be moved, and the plan between them as it comes out of noise.",
    **options: Any,
) -> PlanExplorer:
    """A maze whose start and goal the learner drags, or moves with the arrow keys, beside the movie of the plan.

    `plan(start [2], goal [2], seed) -> frames` is called once now, and again while the learner drags, as fast as plans
    come; frames and `options` are what `movie` takes. What is dropped on a wall goes to the nearest free floor. An
    error of a later `plan` is shown to the learner in its own words; without a kernel the first plan remains. Raises
    ValueError for a start or goal that is no point x, y, and whatever the first plan raises.
    """
    return PlanExplorer(plan, maze, start, goal, seed, size, alt, options)
