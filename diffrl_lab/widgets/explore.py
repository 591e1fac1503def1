"""Controls in front of what must be recomputed.

`explore` redraws one picture in place; `plan_explorer` plans anew in a maze.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
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


class Explorer(ipywidgets.VBox):
    """The widget that `explore` makes: it has controls above one picture, and `values` are what they say now."""

    def __init__(self, draw: Callable[..., Picture], controls: Mapping[str, Any]) -> None:
        self._draw = draw
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


def explore(draw: Callable[..., Picture], **controls: Any) -> Explorer:
    """Controls above a picture that is recomputed and redrawn in place.

    `explore(draw, w=(0., 5., .5), steps=[5, 10, 20], pin=True)` calls `draw(w=..., steps=..., pin=...)`, which returns
    a `Picture`, once per set of values; `control` says what makes which control. Where the picture names two controls
    (`Picture(..., drag=("t", "x_t"))`), its first axes can be dragged over. The first picture is there at once and
    stays, as a still, where no kernel runs. Raises ValueError for what is no control and for a first drawing that is
    no `Picture`, and whatever the first drawing raises; later errors are shown in words.
    """
    return Explorer(draw, controls)


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
