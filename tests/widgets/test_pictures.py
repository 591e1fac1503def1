"""Laws of the palette, of alt text and of what every picture shows."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffrl_lab.widgets import curves, hover, maps, mazes, pictures

ALT = 'A curve that rises from "0" to 1 & stays there, as <exact> as it gets.'


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


PAIRS = list(combinations(pictures.COLOUR, 2))


def linear(name: str) -> np.ndarray:
    c = np.array([int(pictures.COLOUR[name][i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    m = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = np.cbrt(np.clip(m @ rgb, 1e-4, None) / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def pixels(picture: pictures.Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png())).convert("RGB")).astype(int)


@pytest.mark.parametrize("a, b", PAIRS)
def test_without_colour_two_meanings_differ_as_points_and_as_lines(a, b):
    if abs(lab(linear(a))[0] - lab(linear(b))[0]) < 25:  # too near in brightness alone
        assert pictures.MARKER[a] != pictures.MARKER[b]
        assert {a, b} & {"start", "goal", "wall"} or as_line(a) != as_line(b)  # these are never lines


def as_line(name: str) -> tuple:
    """Dash and marker of a curve among others, as `lines` draws it."""
    others = [n for n in pictures.ORDER if n != name][:2]
    drawn = curves.lines([0, 1], {n: [0, 1] for n in (name, *others)}, xlabel="x", ylabel="y", alt=ALT).axes[0].lines[0]
    return drawn.get_linestyle(), drawn.get_marker()


@pytest.mark.parametrize("eyes", BLIND)
@pytest.mark.parametrize("a, b", PAIRS)
def test_colour_blind_eyes_tell_any_two_meanings_apart(a, b, eyes):
    seen = [lab(np.clip(np.array(BLIND[eyes]) @ linear(n), 0, 1)) for n in (a, b)]
    if np.linalg.norm(seen[0] - seen[1]) <= 20:  # 2.3 is just noticeable
        assert pictures.MARKER[a] != pictures.MARKER[b] and as_line(a) != as_line(b)


def test_dashed_means_exact_and_nothing_else():
    assert [name for name in pictures.COLOUR if pictures.look(name)["linestyle"] != "-"] == ["exact"]
    n = np.arange(1, 9.0)
    names = [*pictures.ORDER, "exact", "exact D", "best (exact)", "a", "b", "c", "d", "e", "f", "g", "inexact"]
    drawn = [
        curves.lines(n, {k: n for k in names}, xlabel="x", ylabel="y", alt=ALT),
        curves.losses({k: n for k in names if not pictures.is_exact(k)}, floor={"exact": 1, "exact low": 2}, alt=ALT),
        curves.intervals([("a", 1, 0, 2)], xlabel="x", reference={k: 1.0 for k in names}, alt=ALT),
        curves.histogram({k: n for k in names}, exact=(n, n), marks={k: 1.0 for k in names}, alt=ALT),
        curves.values_over_data(n, {k: n for k in names}, n, best={}, alt=ALT),
        curves.band(n, n, n, n[None] + [[0], [1]], alt=ALT),
        curves.point_and_law(n, n, n[:, None] * n, (1, 1), n, prior=n, marks={"D": 1, "E": 2}, alt=ALT),
        mazes.trajectories(np.ones((7, 3, 2)), groups=list(pictures.ORDER), alt=ALT),
        hover.frontier({k: (n, n) for k in names}, xlabel="x", ylabel="y", alt=ALT).twin,
    ]
    for picture in drawn:
        lines = [line for ax in picture.axes for line in ax.lines]
        dashed = {
            line.get_label().rstrip("0123456789. ") for line in lines if line.get_linestyle() not in ("-", "None")
        }
        exact = {line.get_label().rstrip("0123456789. ") for line in lines if "exact" in line.get_label()} - {"inexact"}
        assert dashed - {"_child"} == exact, picture.alt
        assert all(p.get_linestyle() == "solid" for ax in picture.axes for p in ax.patches)


@pytest.mark.parametrize("alt", ["", "a figure", " ".join(["x"] * 15), None])
def test_a_picture_without_a_real_description_is_refused(alt):
    fig, _ = pictures.figure()
    with pytest.raises(ValueError, match="alt text"):
        pictures.Picture(fig, alt or "")


def test_every_form_of_a_picture_carries_its_alt_text():
    images = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tag == "style" or images.append((tag, dict(attrs)["alt"]))
    picture = curves.lines([0, 1], {"exact": [0, 1]}, xlabel="x", ylabel="y", alt=ALT)
    data, about = picture._repr_mimebundle_()
    parser.feed(data["text/html"])
    assert images == [("img", ALT)]
    assert data["text/plain"] == repr(picture) == about["image/png"]["alt"] == ALT


U_MAZE = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]


def test_a_rare_colour_survives_the_small_png():
    x, names = np.random.default_rng(0).normal(size=(16, 48, 2)), ["left", "right"] * 8
    picture = mazes.trajectories(
        {"a": x, "b": x / 2}, groups=names, maze=U_MAZE, goal=(-1.8, -1), start=(-1, 1.8), alt=ALT
    )
    for name in ("start", "goal", "wall"):
        wanted = np.array([int(pictures.COLOUR[name][i : i + 2], 16) for i in (1, 3, 5)])
        assert np.abs(pixels(picture) - wanted).max(-1).min() <= 6, name


def test_nothing_touches_the_edge_of_a_picture():
    n = np.linspace(0, 12345, 50)
    for picture in (
        curves.lines(
            n, {"a rather long name": n, "exact": -n}, xlabel="gap", ylabel="y, units", title="Title", alt=ALT
        ),
        curves.losses(n, floor=3, title="Losses", alt=ALT),
        curves.intervals([("a method with quite a long name, seed 3", 0.5, 0.1, 0.9)], xlabel="success", alt=ALT),
        curves.histogram(n, marks={"x0_hat": 1.0}, title="Counts", alt=ALT),
        mazes.cells(np.arange(12).reshape(3, 4), marks={"G": (0, 3)}, label="V", title="Values", alt=ALT),
        curves.values_over_data(n, {"exact": n}, n, best={"exact": n[-1]}, title="Values", alt=ALT),
        maps.component_map("conditioning"),
        maps.survey_map({("hybrids", "online", "multi"): ("15 something with a long name indeed", False)}),
    ):
        p = pixels(picture)
        assert min(p[0].min(), p[-1].min(), p[:, 0].min(), p[:, -1].min()) > 250, picture.alt


def test_a_picture_is_saved_for_a_paper_with_truetype_fonts_and_text_that_stays_text(tmp_path: Path) -> None:
    fig, ax = pictures.figure()
    ax.plot([0, 1], [0, 1])
    ax.set_title("a title to find")
    drawn = pictures.Picture(fig, "A line from the origin to the point one, one, with a title.")
    for end in ("pdf", "svg", "png"):
        drawn.save(tmp_path / f"x.{end}")
    pdf = (tmp_path / "x.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert "a title to find" in (tmp_path / "x.svg").read_text()
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match=r"saved as .pdf, .svg or .png, got x.gif"):
        drawn.save(tmp_path / "x.gif")
