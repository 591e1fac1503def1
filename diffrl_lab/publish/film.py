"""The README's moving picture: a plan comes out of noise, then a ball drives it. `python -m diffrl_lab.publish.film`.

It is an animated WebP for each of GitHub's two themes, data/pictures/readme.webp and readme-dark.webp. Everything in it
is computed: the shipped planner of the large maze, a start and a goal that the environment draws, MuJoCo.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffrl_lab.data import shipped
from diffrl_lab.files import DATA, arguments, written
from diffrl_lab.widgets.pictures import COLOUR

SEED = 14  # a reset of the environment with a long way to go, from one corner to the other
WORLD = "large"
STEPS, EVERY = 20, 8  # denoising steps; steps of the environment (0.01 s each) from picture to picture
SHOWN, SIZE = 4, (800, 600)  # plans; pixels
FIRST, NOISE, PLAN, DRIVE, LAST = 800, 150, 1000, 80, 3000  # how long a picture stands, in ms
LIMIT = 1_000_000  # bytes
QUALITY = 45  # of WebP's 100
ALT = (
    "Animation: four plans in a maze begin as pure noise and become routes from the start to the goal, step by step; "
    "then a ball drives the best of them, simulated, and arrives."
)
THEMES: dict[str, dict[str, Any]] = {
    "light": {"paper": "#ffffff", "ink": "#1f2328", "wall": COLOUR["wall"], "plan": COLOUR["model"]},
    "dark": {"paper": "#0d1117", "ink": "#e6edf3", "wall": "#3d444d", "plan": COLOUR["left"]},
}
FILES = {theme: f"pictures/readme{'' if theme == 'light' else f'-{theme}'}.webp" for theme in THEMES}


@dataclass(frozen=True)
class Scene:
    """One picture of the film: plans [n, H, 2] and the best one's number; where the ball was [T, 2]; what is said."""

    plans: NDArray
    best: int
    driven: NDArray
    goal: NDArray
    words: str
    ms: int


def scenes() -> list[Scene]:
    """The film as numbers: the chain's frames, then the driven positions, with the time that each picture stands."""
    from diffrl_lab.methods.planning.diffuser import Diffuser
    from diffrl_lab.worlds.driving import Along, drive
    from diffrl_lab.worlds.mazes import make_maze

    planner, made = Diffuser.load(f"maze-{WORLD}"), []

    def route(obs: NDArray, goal: NDArray, seed: int) -> NDArray:
        made.append(planner.plan(obs, goal, SHOWN, torch.Generator().manual_seed(seed), steps=STEPS))
        return planner.reference(made[0])

    agent = Along(route)
    [episode] = drive([make_maze(WORLD)], agent, [SEED], until=agent.settled)
    [plan], at, goal = made, episode.obs[:, :2], np.asarray(episode.goal)
    film = []
    for i, frame in enumerate(plan.frames):
        said = f"t = {float(frame.t):.2f}   {'pure noise' if i == 0 else 'the denoiser takes noise away'}"
        film.append(Scene(frame.x_t[..., :2].numpy(), plan.best, at[:1], goal, said, FIRST if i == 0 else NOISE))
    final = film[-1].plans
    film[-1] = Scene(final, plan.best, at[:1], goal, "t = 0.00   four plans; the best one is driven", PLAN)
    for step in range(EVERY, episode.steps, EVERY):
        said = f"driven in MuJoCo: {step / 100:.1f} s"
        film.append(Scene(final[[plan.best]], 0, at[: step + 1], goal, said, DRIVE))
    said = f"goal reached after {(episode.steps_to_goal or np.nan) / 100:.1f} s"
    return [*film, Scene(final[[plan.best]], 0, at, goal, said, LAST)]


def drawn(film: list[Scene], theme: str) -> Iterator[Any]:
    """The scenes as images (PIL, RGB), 800 x 600, in the colours of a theme."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from PIL import Image

    from diffrl_lab.widgets.mazes import bounds, walls
    from diffrl_lab.worlds.walls import Walls

    tone, maze = THEMES[theme], Walls.named(WORLD)
    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, facecolor=tone["paper"])
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.0, 0.98, 0.945))
    x0, x1, y0, y1 = bounds(maze)
    for a, b, c, d in walls(maze):
        axes.add_patch(Rectangle((a, b), c - a, d - b, color=tone["wall"], lw=0.3, zorder=0))
    axes.set(xlim=(x0, x1), ylim=(y0, y1), aspect="equal", anchor="S")
    axes.axis("off")
    style: dict[str, Any] = {"color": tone["plan"], "marker": "o", "solid_joinstyle": "round"}
    others = [axes.plot([], [], lw=0, ms=3.5, alpha=0.6, **style)[0] for _ in range(SHOWN)]
    [best] = axes.plot([], [], lw=2.2, ms=5.5, **style)
    [way] = axes.plot([], [], color=COLOUR["right"], lw=4.5, solid_capstyle="round")
    edge: dict[str, Any] = {"linestyle": "", "markeredgecolor": "black", "zorder": 5}
    [goal] = axes.plot([], [], marker="*", color=COLOUR["goal"], markersize=26, **edge)
    [ball] = axes.plot([], [], marker="o", color=COLOUR["start"], markersize=16, **edge)
    words = figure.text(0.012, 0.955, "", color=tone["ink"], fontsize=15, va="bottom")
    for scene in film:
        for i, line in enumerate(others):
            line.set_data(*(scene.plans[i].T if i < len(scene.plans) and i != scene.best else ([], [])))
        best.set_data(*scene.plans[scene.best].T)
        way.set_data(*scene.driven.T)
        ball.set_data(*scene.driven[-1:].T)
        goal.set_data(*scene.goal[:, None])
        words.set_text(scene.words)
        canvas.draw()
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def encoded(film: list[Scene], theme: str) -> bytes:
    """The film as an animated WebP that loops for ever. Raises ValueError where it is too large for a README."""
    first, *rest = drawn(film, theme)
    out = io.BytesIO()
    first.save(
        out, "WEBP", save_all=True, append_images=rest, duration=[s.ms for s in film], loop=0, quality=QUALITY, method=4
    )
    if out.tell() >= LIMIT:
        raise ValueError(f"the film has {out.tell():,} bytes where {LIMIT:,} are too many: draw fewer pictures")
    return out.getvalue()


def write(folder: Path = DATA) -> None:
    """Write the film of each theme."""
    film = scenes()
    for theme, file in FILES.items():
        with written(folder / file) as beside:
            beside.write_bytes(encoded(film, theme))


if __name__ == "__main__":
    arguments("python -m diffrl_lab.publish.film", __doc__)
    write()
    for file in FILES.values():
        shipped.add(file, "python -m diffrl_lab.publish.film", SEED)
