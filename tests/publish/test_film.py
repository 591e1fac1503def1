"""The README's moving picture: small, moving, legible in both themes, and made by the function that is said to."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from diffrl_lab.data.shipped import manifest
from diffrl_lab.files import DATA, ROOT
from diffrl_lab.publish import film

THEMES = pytest.mark.parametrize("theme", film.THEMES)


@pytest.fixture(scope="module")
def scenes() -> list[film.Scene]:
    return film.scenes()


@THEMES
def test_the_film_ships_small_enough_moves_and_loops(theme: str) -> None:
    file = DATA / film.FILES[theme]
    [entry] = [e for e in manifest() if e["file"] == film.FILES[theme]]
    assert file.stat().st_size < 1_000_000 and entry["maker"].endswith("diffrl_lab.publish.film")
    assert entry["seed"] == film.SEED
    with Image.open(file) as image:
        assert image.is_animated and image.size == (800, 600) and image.info["loop"] == 0


@THEMES
def test_the_film_that_ships_is_the_one_that_is_made(theme: str, scenes: list[film.Scene]) -> None:
    some = [0, film.STEPS // 2, film.STEPS, len(scenes) - 1]
    made = [np.asarray(image, float) for image in film.drawn([scenes[n] for n in some], theme)]
    with Image.open(DATA / film.FILES[theme]) as image:
        assert image.n_frames == len(scenes)
        for i, number in enumerate(some):
            image.seek(number)
            off = [np.abs(np.asarray(image.convert("RGB"), float) - other).mean() for other in made]
            assert np.argmin(off) == i and off[i] < 4, (
                f"picture {number} is another: `python -m diffrl_lab.publish.film`"
            )


def test_it_begins_as_noise_ends_at_the_goal_and_rests_there(scenes: list[film.Scene]) -> None:
    first, last = scenes[0], scenes[-1]
    turns = [np.linalg.norm(np.diff(s.plans[s.best], axis=0), axis=1).sum() for s in (first, last)]
    assert turns[0] > 3 * turns[1], "noise is many times as long as the route that it becomes"
    assert np.linalg.norm(last.driven[-1] - last.goal) < 0.45 and "goal reached after" in last.words
    assert last.ms > 10 * min(s.ms for s in scenes)


def test_the_readme_shows_it_in_both_themes_and_says_what_it_is() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert f'alt="{film.ALT}"' in text
    assert {f"data/{file}" for file in film.FILES.values()} == set(re.findall(r'(?:src|srcset)="([^"]+)"', text))
