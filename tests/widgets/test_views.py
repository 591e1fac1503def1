"""Laws of the palette, of alt text and of what a picture shows."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from diffrl_lab.widgets import views

ALT = 'A curve that rises from "0" to 1 & stays there, as <exact> as it gets.'
U_MAZE = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
PAIRS = list(combinations(views.COLOUR, 2))


def linear(name: str) -> np.ndarray:
    c = np.array([int(views.COLOUR[name][i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    m = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = np.cbrt(np.clip(m @ rgb, 1e-4, None) / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def pixels(picture: views.Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png())).convert("RGB")).astype(int)


@pytest.mark.parametrize("a, b", PAIRS)
def test_without_colour_two_meanings_differ_as_points_and_as_lines(a, b):
    if abs(lab(linear(a))[0] - lab(linear(b))[0]) < 25:  # too near in brightness alone
        assert views.MARKER[a] != views.MARKER[b]
        assert views.LINE[a] != views.LINE[b] or {a, b} & {"start", "goal", "wall"}  # these are never lines


@pytest.mark.parametrize("eyes", BLIND)
@pytest.mark.parametrize("a, b", PAIRS)
def test_colour_blind_eyes_tell_any_two_meanings_apart(a, b, eyes):
    seen = [lab(np.clip(np.array(BLIND[eyes]) @ linear(n), 0, 1)) for n in (a, b)]
    if np.linalg.norm(seen[0] - seen[1]) <= 20:  # 2.3 is just noticeable
        assert views.MARKER[a] != views.MARKER[b] and views.LINE[a] != views.LINE[b]


@pytest.mark.parametrize("alt", ["", "a figure", " ".join(["x"] * 15), None])
def test_a_picture_without_a_real_description_is_refused(alt):
    fig, _ = views.figure()
    with pytest.raises(ValueError, match="alt text"):
        views.Picture(fig, alt or "")


def test_every_form_of_a_picture_carries_its_alt_text():
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, dict(attrs)["alt"]))
    picture = views.lines([0, 1], {"exact": [0, 1]}, xlabel="x", ylabel="y", alt=ALT)
    data, about = picture._repr_mimebundle_()
    parser.feed(data["text/html"])
    assert found == [("img", ALT)]
    assert data["text/plain"] == repr(picture) == about["image/png"]["alt"] == ALT


def test_a_rare_colour_survives_the_small_png():
    x, names = np.random.default_rng(0).normal(size=(16, 48, 2)), ["left", "right"] * 8
    picture = views.trajectories(
        {"a": x, "b": x / 2}, groups=names, maze=U_MAZE, goal=(-1.8, -1), start=(-1, 1.8), alt=ALT
    )
    for name in ("start", "goal", "wall"):
        wanted = np.array([int(views.COLOUR[name][i : i + 2], 16) for i in (1, 3, 5)])
        assert np.abs(pixels(picture) - wanted).max(-1).min() <= 6, name


def test_walls_are_where_point_maze_puts_them():
    maze = pytest.importorskip("gymnasium_robotics.envs.maze.maze_v4").Maze(
        U_MAZE, maze_size_scaling=1.5, maze_height=1
    )
    for row, col in np.ndindex(5, 5):
        x, y = maze.cell_rowcol_to_xy(np.array([row, col]))
        inside = [x0 < x < x1 and y0 < y < y1 for x0, y0, x1, y1 in views.walls(maze)]
        assert sum(inside) == U_MAZE[row][col]


def test_nothing_touches_the_edge_of_a_picture():
    n = np.linspace(0, 12345, 50)
    for picture in (
        views.lines(n, {"a rather long name": n, "exact": -n}, xlabel="gap", ylabel="y, units", title="Title", alt=ALT),
        views.losses(n, floor=3, title="Losses", alt=ALT),
        views.intervals([("a method with quite a long name, seed 3", 0.5, 0.1, 0.9)], xlabel="success", alt=ALT),
        views.histogram(n, marks={"x0_hat": 1.0}, title="Counts", alt=ALT),
        views.cells(np.arange(12).reshape(3, 4), marks={"G": (0, 3)}, label="V", title="Values", alt=ALT),
        views.values_over_data(n, {"exact": n}, n, best={"exact": n[-1]}, title="Values", alt=ALT),
        views.component_map("conditioning"),
        views.survey_map({("hybrids", "online", "multi"): ("15 something with a long name indeed", False)}),
    ):
        p = pixels(picture)
        assert min(p[0].min(), p[-1].min(), p[:, 0].min(), p[:, -1].min()) > 250, picture.alt


def test_the_running_mean_of_a_straight_loss_lies_on_it():
    picture = views.losses([{"loss": 3 - 0.01 * i} for i in range(200)], alt=ALT)
    thin, thick = picture.axes[0].lines[:2]
    assert len(thick.get_xdata()) > 150
    np.testing.assert_allclose(
        np.interp(thick.get_xdata(), thin.get_xdata(), thin.get_ydata()), thick.get_ydata(), atol=0.0051
    )


def test_the_component_map_lights_the_box_it_is_asked_for():
    blue = np.array([0x00, 0x72, 0xB2])
    for i, name in enumerate(views.COMPONENTS):
        lit = np.nonzero((np.abs(pixels(views.component_map(name)) - blue).max(-1) < 10).any(0))[0]
        assert i / 5 < lit.mean() / 792 < (i + 1) / 5
    with pytest.raises(ValueError, match="no component 'guidance'"):
        views.component_map("guidance")


def test_an_unbuilt_cell_of_the_survey_says_so():
    picture = views.survey_map({("policy learning", "offline", "single"): ("10 Diffusion-QL", False)})
    texts = [text.get_text() for text in picture.axes[0].texts]
    assert "10 Diffusion-QL\nnot built yet" in texts
    with pytest.raises(ValueError, match="no cell"):
        views.survey_map({("policies", "offline", "single"): ("10", True)})


GRID = np.array([[0.0, 0.25, np.nan], [0.5, 1.0, -1.0]])


def written(picture: views.Picture) -> dict[str, tuple[int, int]]:
    return {t.get_text(): (round(t.get_position()[1]), round(t.get_position()[0])) for t in picture.axes[0].texts}


def test_a_cell_says_its_value_where_it_lies_a_wall_nothing_and_a_mark_its_letter():
    texts = written(views.cells(GRID, marks={"G": (1, 1)}, alt=ALT))
    assert texts == {"0.00": (0, 0), "0.25": (0, 1), "0.50": (1, 0), "G": (1, 1), "-1.00": (1, 2)}
    assert written(views.cells(GRID, numbers=False, alt=ALT)) == {}
    several = views.cells(GRID, marks={"X": [(0, 0), (1, 2)]}, numbers=False, alt=ALT).axes[0].texts
    assert [(t.get_text(), *t.get_position()) for t in several] == [("X", 0, 0), ("X", 2, 1)]


def test_a_cell_has_the_colour_of_its_value_on_one_scale_in_every_panel():
    picture = views.cells({"a": GRID, "b": GRID / 2}, numbers=False, limits=(-1, 1), alt=ALT)
    for ax, values in zip(picture.axes, (GRID, GRID / 2), strict=True):
        drawn = ax.images[0]
        np.testing.assert_array_equal(np.ma.filled(drawn.get_array(), np.nan), values)
        assert drawn.get_clim() == (-1, 1)
    np.testing.assert_allclose(drawn.cmap(drawn.norm(drawn.get_array()))[0, 2, :3], to_rgb(views.COLOUR["wall"]))


@pytest.mark.parametrize("move, towards", [(0, (-1, 0)), (1, (0, 1)), (2, (1, 0)), (3, (0, -1))])
def test_an_arrow_points_where_the_move_goes_and_no_move_has_none(move, towards):
    moves = np.full((2, 3), -1)
    moves[1, 0] = move
    (arrow,) = [t for t in views.cells(GRID, moves=moves, numbers=False, alt=ALT).axes[0].texts if t.arrow_patch]
    (x0, y0), (x1, y1) = arrow.xyann, arrow.xy
    assert ((y0 + y1) / 2, (x0 + x1) / 2) == (1, 0)
    np.testing.assert_array_equal(np.sign(np.round([y1 - y0, x1 - x0], 6)), towards)


def test_arrows_point_at_the_named_actions_on_their_curves_and_the_data_are_counted_below():
    a = np.linspace(0, 1, 101)
    curves, data = {"exact": a * (1 - a), "model": a / 2}, [0.11, 0.11, 0.11, 0.93]
    picture = views.values_over_data(a, curves, data, best={"exact": 0.2, "model": 1.0}, proposals=[0.2, 0.4], alt=ALT)
    above, below = picture.axes
    tips = {t.get_text(): t.xy for t in above.texts}
    assert tips == {"best by exact": (0.2, pytest.approx(0.16)), "best by model": (1.0, 0.5)}
    exact, model, ticks = above.lines
    np.testing.assert_array_equal(exact.get_ydata(), curves["exact"])
    np.testing.assert_array_equal(model.get_ydata(), curves["model"])
    np.testing.assert_array_equal(ticks.get_xdata(), [0.2, 0.4])
    bars = {round(b.get_x() + b.get_width() / 2, 2): b.get_height() for b in below.patches if b.get_height()}
    assert bars == {0.11: 3, 0.93: 1}
    assert above.get_xlim() == below.get_xlim() == (0, 1)


def test_pictures_of_values_need_grids_and_real_descriptions():
    with pytest.raises(ValueError, match=r"values are \[rows, columns\]; got \[\(3,\)\]"):
        views.cells([1.0, 2, 3], alt=ALT)
    with pytest.raises(ValueError, match="40 characters"):
        views.cells(GRID, alt="a grid")
    with pytest.raises(ValueError, match="40 characters"):
        views.values_over_data([0, 1], {"exact": [0, 1]}, [0.5], best={}, alt="values")
