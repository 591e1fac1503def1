"""Laws of what a picture of a maze or of a grid world shows."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from diffrl_lab.widgets import curves, mazes, pictures

ALT = 'A curve that rises from "0" to 1 & stays there, as <exact> as it gets.'


U_MAZE = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]


def test_walls_are_where_point_maze_puts_them():
    maze = pytest.importorskip("gymnasium_robotics.envs.maze.maze_v4").Maze(
        U_MAZE, maze_size_scaling=1.5, maze_height=1
    )
    for row, col in np.ndindex(5, 5):
        x, y = maze.cell_rowcol_to_xy(np.array([row, col]))
        inside = [x0 < x < x1 and y0 < y < y1 for x0, y0, x1, y1 in mazes.walls(maze)]
        assert sum(inside) == U_MAZE[row][col]


GRID = np.array([[0.0, 0.25, np.nan], [0.5, 1.0, -1.0]])


def written(picture: pictures.Picture) -> dict[str, tuple[int, int]]:
    return {t.get_text(): (round(t.get_position()[1]), round(t.get_position()[0])) for t in picture.axes[0].texts}


def test_a_cell_says_its_value_where_it_lies_a_wall_nothing_and_a_mark_its_letter():
    texts = written(mazes.cells(GRID, marks={"G": (1, 1)}, alt=ALT))
    assert texts == {"0.00": (0, 0), "0.25": (0, 1), "0.50": (1, 0), "G": (1, 1), "-1.00": (1, 2)}
    assert written(mazes.cells(GRID, numbers=False, alt=ALT)) == {}
    several = mazes.cells(GRID, marks={"X": [(0, 0), (1, 2)]}, numbers=False, alt=ALT).axes[0].texts
    assert [(t.get_text(), *t.get_position()) for t in several] == [("X", 0, 0), ("X", 2, 1)]


def test_a_cell_has_the_colour_of_its_value_on_one_scale_in_every_panel():
    picture = mazes.cells({"a": GRID, "b": GRID / 2}, numbers=False, limits=(-1, 1), alt=ALT)
    for ax, values in zip(picture.axes, (GRID, GRID / 2), strict=True):
        drawn = ax.images[0]
        np.testing.assert_array_equal(np.ma.filled(drawn.get_array(), np.nan), values)
        assert drawn.get_clim() == (-1, 1)
    np.testing.assert_allclose(drawn.cmap(drawn.norm(drawn.get_array()))[0, 2, :3], to_rgb(pictures.COLOUR["wall"]))


@pytest.mark.parametrize("move, towards", [(0, (-1, 0)), (1, (0, 1)), (2, (1, 0)), (3, (0, -1))])
def test_an_arrow_points_where_the_move_goes_and_no_move_has_none(move, towards):
    moves = np.full((2, 3), -1)
    moves[1, 0] = move
    (arrow,) = [t for t in mazes.cells(GRID, moves=moves, numbers=False, alt=ALT).axes[0].texts if t.arrow_patch]
    (x0, y0), (x1, y1) = arrow.xyann, arrow.xy
    assert ((y0 + y1) / 2, (x0 + x1) / 2) == (1, 0)
    np.testing.assert_array_equal(np.sign(np.round([y1 - y0, x1 - x0], 6)), towards)


def test_a_grid_has_rows_and_columns_and_a_real_description():
    with pytest.raises(ValueError, match=r"values are \[rows, columns\]; got \[\(3,\)\]"):
        mazes.cells([1.0, 2, 3], alt=ALT)
    with pytest.raises(ValueError, match="40 characters"):
        mazes.cells(GRID, alt="a grid")


def test_the_distance_of_planned_and_driven_is_that_of_a_driven_point_from_the_route_not_from_its_points():
    route, ball = [[-2, 0], [2, 0]], [[-2, 0], [0, 0.25], [1, -0.5], [1.5, 0]]  # late, and never at the end
    picture = mazes.planned_and_driven(U_MAZE, route, ball)
    assert "at most 0.50 m apart" in picture.axes[0].get_title("left") and "0.50 m" in picture.alt
    two = mazes.planned_and_driven(U_MAZE, {"a": [route, route], "b": route}, {"a": [ball, route], "b": route})
    assert [ax.get_title("left") for ax in two.axes] == ["a: at most 0.50 m apart", "b: at most 0.00 m apart"]
    with pytest.raises(ValueError, match="2 planned, 1 driven"):
        mazes.planned_and_driven(U_MAZE, [route, route], [ball])


@pytest.mark.parametrize("values", [GRID, -3 * GRID, GRID + 0.2])
def test_zero_has_the_neutral_colour_of_a_symmetric_scale_where_values_lie_on_both_sides(values):
    most = np.nanmax(np.abs(values))
    for picture in (
        mazes.cells(values, numbers=False, alt=ALT),
        curves.heat_map([0, 1], [0, 1, 2], np.nan_to_num(values), relative=False, alt=ALT),
    ):
        drawn = [*picture.axes[0].images, *picture.axes[0].collections][0]
        assert drawn.get_clim() == pytest.approx((-most, most))
        np.testing.assert_allclose(drawn.cmap(drawn.norm(0.0))[:3], (1, 1, 1), atol=0.01)
        below, above = drawn.cmap(drawn.norm(-most / 2)), drawn.cmap(drawn.norm(most / 2))
        assert below[0] > below[2] and above[2] > above[0]  # orange, blue
    assert mazes.cells(np.abs(values), numbers=False, alt=ALT).axes[0].images[0].get_clim()[0] == 0
