"""Play a world model: the real game and its dream side by side, under the arrow keys, without a kernel.

The network's weights travel to the browser once, as float16, and run there in plain JavaScript (`dream.js`). Each
dreamed picture is held against the exact law of the game: a light says which was the first that is impossible, and why.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from .pictures import COLOUR, WIDTH, Picture, alt_text, figure

FILES = ("dream.js", "play.js")
STEPS = (1, 2, 3, 5, 10)
PAPER = 0.95  # brightness of an empty cell, white being 1; each colour below has a contrast of 3 to it, dark and light
CELLS = {"paddle": "model", "ball": "right", "trail": "noise", "brick": "data"}
HUNT = {"hunter": "model", "beast": "right", "pellet": "data", "wall": "noise"}


@cache
def _script() -> str:
    """Both files as one module."""
    parts = [Path(__file__).with_name(name).read_text("utf-8") for name in FILES]
    return "\n".join(line for part in parts for line in part.split("\n") if not line.startswith("export {"))


def pack(models: Mapping[str, Any], *, alt: str, seed: int = 0) -> tuple[dict[str, Any], bytes]:
    """What the browser needs of world models of Breakout (name -> Diamond, alike but for their weights): meta, bytes.

    Raises ValueError for no model, for one of another game, of least squares or told the noise of its past, and for
    models of different sizes.
    """
    if not models:
        raise ValueError("at least one world model is wanted, got none")
    every = list(models.values())
    first = every[0]
    kinds = {(m.shape, m.config.past, m.config.width, m.config.regress, m.config.told) for m in every}
    other = first.config.regress or first.config.told  # of what the browser draws
    if len(kinds) > 1 or other or first.shape != (4, 10, 10) or first.sizes["act"] != 3:
        raise ValueError(
            "world models of breakout are wanted, of one size and drawn by diffusion; got "
            + "; ".join(f"{n}: {m.shape}, past {m.config.past}, width {m.config.width}" for n, m in models.items())
        )
    schedule = first.denoiser.schedule
    checkpoints, blobs = [], []
    for name, model in models.items():
        tensors = dict(model.denoiser.net.named_parameters())
        checkpoints.append({"name": name, "tensors": [[key, v.numel()] for key, v in tensors.items()]})
        blobs += [v.detach().half().numpy().tobytes() for v in tensors.values()]
    meta = {
        "kind": "play",
        "alt": alt_text(alt),
        "shape": list(first.shape),
        "past": first.config.past,
        "width": first.config.width,
        "groups": 8,
        "frequencies": first.denoiser.net.label.frequencies.tolist(),  # no weights: float16 has them not exactly
        "sigma_data": first.denoiser.sigma_data,
        "sigma_min": schedule.sigma_min,
        "sigma_max": schedule.sigma_max,
        "rho": schedule.rho,
        "steps": list(STEPS),
        "denoising": first.config.denoising,
        "checkpoints": checkpoints,
        "seed": seed,
        "colours": {**{cell: COLOUR[name] for cell, name in CELLS.items()}, "ground": "#f2f4f6"},
    }
    return meta, b"".join(blobs)


def page(meta: Mapping[str, Any], data: bytes) -> str:
    """The widget as a piece of HTML that needs nothing else."""
    text = json.dumps(meta).replace("</", "<\\/")
    script = _script().replace("export default { render };", "")
    return (
        f'<div class="diffrl-play" role="group" aria-label="{html.escape(meta["alt"], quote=True)}">'
        f"<script>(() => {{\nconst host = document.currentScript.parentElement;\n{script}\n"
        f'const bytes = Uint8Array.from(atob("{base64.b64encode(data).decode()}"), c => c.charCodeAt(0));\n'
        f"mountPlay(host, {text}, bytes);\n}})();</script></div>"
    )


class Play(anywidget.AnyWidget):
    """The widget that `play` makes."""

    _esm = _script()
    meta = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)

    def __init__(self, strip: Picture, **traits: Any) -> None:
        super().__init__(**traits)
        self.strip = strip

    def __repr__(self) -> str:
        return f"play: {self.meta['alt']}"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:  # type: ignore[override]
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        picture, about = self.strip._repr_mimebundle_()
        return ({**bundle, "image/png": picture["image/png"], "text/plain": repr(self)}, {**metadata, **about})


def board(frame: NDArray, channels: tuple[str, ...]) -> NDArray[np.float64]:
    """A picture of a game [C, h, w], 0 to 1, in the course's colours. -> [h, w, 3]"""
    rgb = np.ones((*frame.shape[1:], 3)) * PAPER
    for value, name in reversed(list(zip(np.clip(frame, 0, 1), channels, strict=True))):
        code = COLOUR[(CELLS | HUNT)[name]]
        ink = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        rgb = rgb * (1 - value[..., None]) + value[..., None] * ink
    return rgb


def strip(rows: Mapping[str, NDArray], channels: tuple[str, ...], *, alt: str) -> Picture:
    """Film strips of games, title -> pictures [K, C, h, w], below each other. Raises ValueError for none."""
    if not rows or not all(len(frames) for frames in rows.values()):
        raise ValueError(f"at least one row with a picture is wanted, got { ({k: len(v) for k, v in rows.items()}) }")
    cols, head = max(6, *(len(frames) for frames in rows.values())), 0.3  # inches: a title's room
    side = WIDTH / cols
    height = len(rows) * (side + head)
    place = {"left": 0.005, "right": 0.995, "bottom": 0.005, "top": 1 - head / height, "wspace": 0.1}
    fig, axes = figure(height, len(rows), cols, squeeze=False, gridspec_kw=place | {"hspace": head / side})
    fig.set_layout_engine("none")  # the constrained one makes the first column as wide as its title
    for line, (title, frames) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, frame in zip(line, frames, strict=False):
            ax.imshow(board(np.asarray(frame, float), channels))
        line[0].set_title(title, loc="left")
    return Picture(fig, alt)


def play(models: Mapping[str, Any], strip: Picture, *, alt: str, seed: int = 0) -> Play:
    """Breakout and its dream, to be played with the arrow keys; `strip` stands in where no script runs.

    models: name -> Diamond, trained on breakout; the last one dreams at first. What `pack` refuses is a ValueError.
    """
    meta, data = pack(models, alt=alt, seed=seed)
    return Play(strip, meta=meta, data=data)
