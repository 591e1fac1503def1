"""The boards of games: each cell can be told from an empty one, on light paper and on a page that turns it dark."""

from __future__ import annotations

import numpy as np
import pytest

from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.play import CELLS, HUNT, board
from diffrl_lab.worlds.games import GAMES

TURNED = np.array([0.213, 0.715, 0.072]) * np.ones((3, 1))
TURNED -= [[0.787, -0.715, -0.072], [-0.213, 0.285, -0.072], [-0.213, -0.715, 0.928]]  # CSS: hue-rotate(180deg)


def dark(rgb: np.ndarray) -> np.ndarray:
    """What the filter of a dark page makes of a colour."""
    assert pictures.DARK == "{filter:invert(.93) hue-rotate(180deg)}"
    return np.clip(TURNED @ (0.93 + rgb * (1 - 2 * 0.93)), 0, 1)


def contrast(a: np.ndarray, b: np.ndarray) -> float:
    """The contrast of two colours by WCAG 2: (L + 0.05) / (l + 0.05), L being the relative luminance of the lighter."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (a, b)]
    low, high = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (high + 0.05) / (low + 0.05)


def cells(name: str) -> dict[str, np.ndarray]:
    """The colour of each channel of a game, and of an empty cell, as `board` draws them."""
    channels = GAMES[name].channels
    frame = np.zeros((len(channels), 1, len(channels) + 1))
    frame[range(len(channels)), 0, range(len(channels))] = 1
    return dict(zip([*channels, "empty"], board(frame, channels)[0], strict=True))


def test_the_contrast_is_that_of_wcag() -> None:
    black, white, grey = (np.full(3, v) for v in (0.0, 1.0, 119 / 255))
    assert contrast(white, black) == pytest.approx(21) and contrast(grey, white) == pytest.approx(4.48, abs=0.01)
    assert dark(white) == pytest.approx(np.full(3, 0.07)) and dark(black) == pytest.approx(np.full(3, 0.93))


@pytest.mark.parametrize("name", sorted(GAMES))
def test_every_cell_has_a_contrast_of_three_to_an_empty_one_in_both_themes(name: str) -> None:
    colours = cells(name)
    empty = colours.pop("empty")
    assert set(colours) <= {*CELLS, *HUNT}
    for channel, ink in colours.items():
        assert contrast(ink, empty) >= 3 and contrast(dark(ink), dark(empty)) >= 3, channel


@pytest.mark.parametrize("name", sorted(GAMES))
def test_no_two_things_of_a_game_have_one_colour(name: str) -> None:
    colours = list(cells(name).values())
    for i, a in enumerate(colours):
        assert all(np.abs(a - b).max() > 0.2 for b in colours[:i])
