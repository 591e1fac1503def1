"""The grid to draw a maze in, and the bar that counts: what the page sends is the map, and what is wrong is said."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from diffrl_lab.widgets.draw import draw
from diffrl_lab.widgets.progress import Bar, progress

ROOM = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]


def test_what_is_drawn_on_the_page_is_the_map_and_what_it_lacks_is_said_below() -> None:
    grid = draw(ROOM)
    assert grid.maze_map == ROOM and grid.words.startswith("A maze: 6 free cells, the longest way has 3 steps.")
    grid.rows = ["11111", "10101", "10101", "11111"]
    assert grid.maze_map[1] == [1, 0, 1, 0, 1] and "2 of 4 cannot be, such as row 2, column 4" in grid.words
    grid.rows = grid.example
    assert grid.maze_map == ROOM and grid.words.startswith("A maze")


def test_a_map_to_begin_with_is_a_maze() -> None:
    with pytest.raises(ValueError, match="closed by walls"):
        draw([[0, 0], [0, 0]])


def test_where_no_kernel_runs_the_maze_is_seen_and_read() -> None:
    data, about = draw(ROOM)._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.width > picture.height > 50 and "6 free cells" in about["image/png"]["alt"]
    assert data["text/plain"].splitlines()[1:] == ["█████", "█···█", "█···█", "█████"]


def test_a_bar_hands_on_each_thing_once_and_says_in_the_end_that_all_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Bar] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert list(progress(iter(range(10)), 4, "things")) == [0, 1, 2, 3]
    assert str(shown[0]) == "4 of 4 things" and shown[0].bar.value == 4 and "4 of 4 things in" in shown[0].words.value
    assert not any(digit in repr(Bar(4, "things")) for digit in "0123567"), "a stored lesson has no clock"
