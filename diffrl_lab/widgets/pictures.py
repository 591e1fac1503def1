"""Pictures: the one palette, the one style, alt text for everything.

What draws returns a `Picture`: the last line of a cell shows it, `picture.axes` lets a lesson add to it first.
"""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

from diffrl_lab.files import written

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
# Dashed means exact and nothing else; other lines have markers in place of dashes.
LINE: dict[str, Any] = dict.fromkeys(COLOUR, "-") | {"exact": (0, (3, 1.5))}
ORDER = ("model", "right", "data", "warning", "goal", "left", "noise")  # of curves that no meaning is named for
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
    "axes.prop_cycle": cycler(color=[COLOUR[k] for k in ORDER]),
}
# A dark page turns brightness over and keeps hues: white paper becomes #121212, a heat map runs from dark to light.
# Where no style is taken (GitHub, an output that is not trusted) the picture is the plain one. In a notebook that shows
# such a picture, those which are stored, stand in its texts or are drawn by plotly follow.
DARK = "{filter:invert(.93) hue-rotate(180deg)}"
BESIDE = ":is(.jp-RenderedPlotly,.jp-RenderedImage img,.jp-MarkdownCell img[src^='data:image/png'])"
THEME = (
    f"[data-jp-theme-light=false] img.diffrl-picture,body.vscode-dark img.diffrl-picture{DARK}"
    f"[data-jp-theme-light=false] .jp-Notebook:has(.diffrl-picture) {BESIDE}{DARK}"
)
DPI = 120
WIDTH = 7.6  # inches: 912 pixels, what a notebook shows without scaling on a screen of 1366, file browser and all
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#bcdcf0", "#56B4E9", "#0072B2", "#002a45"])
# For values on both sides of 0: orange below, blue above, white in the middle; both ends are told apart by any eyes.
SIGNED = LinearSegmentedColormap.from_list(
    "signed", ["#4a1f00", "#D55E00", "#f7cfae", "#ffffff", "#bcdcf0", "#0072B2", "#002a45"]
)


def colours(low: float, high: float) -> tuple[Colormap, float, float]:
    """The colour map for values from low to high, and the limits it is drawn with.

    Values on both sides of 0 get SIGNED from -m to m, m = max(-low, high), so that 0 has the neutral colour, white;
    others HEAT.
    """
    if low < 0 < high:
        m = max(-low, high)
        return SIGNED, -m, m
    return HEAT, low, high


def ink_on(colour: Any) -> str:
    """Black or white, whichever is read better on a colour (r, g, b[, a] from 0 to 1)."""
    return "white" if float(np.dot(array(colour)[:3], (0.299, 0.587, 0.114))) < 0.5 else "black"


def alt_text(alt: str) -> str:
    """The alt text on one line. Raises ValueError if it has less than 40 characters."""
    text = " ".join(str(alt).split())
    if len(text) < 40:
        raise ValueError(f"alt text says what the picture shows, in 40 characters or more; got {len(text)}: {text!r}")
    return text


def array(a: Any) -> np.ndarray:
    """A float64 array of whatever came: tensor (any device, any precision), list or array."""
    return np.asarray(a.detach().cpu().double() if hasattr(a, "detach") else a, dtype=np.float64)


class Picture:
    """A matplotlib figure with its alt text.

    A notebook shows it as an <img alt=...>, what understands only PNG as a PNG, and plain text as the alt text. Raises
    ValueError for alt text of less than 40 characters. `drag` names the controls of the first axes' x and y.
    """

    def __init__(self, fig: Figure, alt: str, drag: tuple[str, str] | None = None) -> None:
        self.fig, self.alt, self.drag = fig, alt_text(alt), drag

    @property
    def axes(self) -> list[Axes]:
        return self.fig.axes

    def png(self, quick: bool = False) -> bytes:
        """The picture as PNG bytes of at most 256 colours (a third of the size; rare colours survive)."""
        return png(self.fig, quick=quick)

    def save(self, path: str | os.PathLike) -> None:
        """Write the picture for a paper: .pdf with TrueType fonts, .svg whose text stays text, or .png at 300 dpi.

        Raises ValueError for another ending.
        """
        kind = Path(path).suffix.lower().removeprefix(".")
        if kind not in ("pdf", "svg", "png"):
            raise ValueError(f"a picture is saved as .pdf, .svg or .png, got {Path(path).name}")
        about: dict[str, Any] = {"svg": {"Date": None, "Description": self.alt}, "pdf": {"CreationDate": None}}
        with (
            matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "diffrl"}),
            written(path) as beside,
        ):
            self.fig.savefig(beside, format=kind, dpi=300, metadata=about.get(kind))

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        return still(self.png(), self.alt), {"image/png": {"alt": self.alt}}


class Moving:
    """A moving PNG with its alt text. It plays once by itself and rests on its last picture.

    A notebook shows it where it shows a `Picture`. Raises ValueError for alt text of less than 40 characters.
    """

    def __init__(self, data: bytes, alt: str) -> None:
        self.data, self.alt = data, alt_text(alt)

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        return still(self.data, self.alt), {"image/png": {"alt": self.alt}}


def moving(frames: Iterable[Figure], ms: Sequence[int], alt: str, colours: int = 48) -> Moving:
    """Figures of one size, one after the other, each for so many milliseconds; the same figure may be drawn again."""
    from PIL import Image

    images = [Image.open(io.BytesIO(png(fig, quick=True))).convert("RGB") for fig in frames]
    w, h = images[0].size
    tower = Image.new("RGB", (w, h * len(images)))  # one palette for all, and each picture in its numbers
    for i, image in enumerate(images):
        tower.paste(image, (0, i * h))
    tower = tower.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    first, *rest = [tower.crop((0, i * h, w, (i + 1) * h)) for i in range(len(images))]
    out = io.BytesIO()
    first.save(out, "PNG", save_all=True, append_images=rest, duration=list(ms), loop=1, optimize=True)
    return Moving(out.getvalue(), alt)


def png(fig: Figure, colours: int = 256, quick: bool = False) -> bytes:
    """A figure as PNG bytes with at most so many colours; `quick` takes all colours, more bytes and less time."""
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
    """PNG bytes as one self-contained <img> element with alt text, and the rule that turns it dark on a dark page."""
    source = base64.b64encode(data).decode()
    words = html.escape(alt, quote=True)
    look = 'class="diffrl-picture" style="max-width:100%;height:auto"'
    return f'<style>{THEME}</style><img alt="{words}" {look} src="data:image/png;base64,{source}">'


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
    """Displays a figure here and now, with its alt text. Raises ValueError for one of less than 40 characters."""
    from IPython.display import display

    inner = fig.fig if isinstance(fig, Picture) else fig
    display(fig if isinstance(fig, Picture) and alt is None else Picture(inner, alt or ""))


def look(name: str) -> dict[str, Any]:
    """Colour and dash of a meaning (`data`, `noise`, `model`, `exact`, ...): `ax.plot(x, y, **look("exact"))`.

    Raises ValueError for a name that the palette does not have.
    """
    if name not in COLOUR:
        raise ValueError(f"no colour for {name!r}; there are {', '.join(COLOUR)}")
    return {"color": COLOUR[name], "linestyle": LINE[name]}


def is_exact(name: str) -> bool:
    """Whether what is drawn under this name is exact: `exact`, `exact floor`, `best speed (exact)`."""
    return name.startswith("exact") or name.endswith("(exact)")


def meaning(i: int, name: str) -> str:
    """The name of the palette that the i-th curve is drawn as: its own, `exact` for what says so, or the i-th."""
    return name if name in COLOUR else "exact" if is_exact(name) else ORDER[i % len(ORDER)]


def nth_look(i: int, name: str) -> dict[str, Any]:
    """The look of a name of the palette, of `exact` for a name that says so, or of the i-th curve."""
    return look(meaning(i, name))


def sparse(i: int, name: str, y: Any) -> dict[str, Any]:
    """A few markers along the i-th curve y, which tell it apart on paper without colour; an exact one has its dashes.

    A curve of nothing but NaN, a training that blew up say, has none: matplotlib finds no place for them.
    """
    if (key := meaning(i, name)) == "exact" or not np.isfinite(np.asarray(y, float)).any():
        return {}
    return {"marker": MARKER[key], "markersize": 4.5, "markevery": (0.02 + 0.03 * (i % 4), 0.13)}
