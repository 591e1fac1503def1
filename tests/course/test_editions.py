"""A lesson's pictures travel within it, and its number may carry a letter."""

from __future__ import annotations

import base64
from pathlib import Path

import nbformat
import pytest

from diffrl_lab.course import editions
from diffrl_lab.publish import lessons

PIXEL = base64.b64encode(b"a picture").decode()


@pytest.mark.parametrize(
    ("name", "number"),
    [("04_pin", "04"), ("04b_judge", "04b"), ("04b.spread", "04b"), ("04", "04"), ("04bits", "04bits"), ("x", "x")],
)
def test_the_number_of_a_lesson_may_carry_a_letter(name: str, number: str) -> None:
    assert editions.number(name) == number


def test_the_picture_of_a_punch_line_is_kept_and_travels_in_every_edition(tmp_path: Path) -> None:
    source = tmp_path / "notebooks" / "source" / "07_dream.py"
    source.parent.mkdir(parents=True)
    source.write_text('# %% [markdown]\n# ![a dream](attachment:07.png)\n\n# %% tags=["punchline"]\n1\n', "utf-8")
    notebook = editions.edition(source)
    assert "attachments" not in notebook.cells[0], "nothing is kept before the lesson was run"
    shown = nbformat.v4.new_output("display_data", data={"image/png": PIXEL, "text/plain": "alt"})
    notebook.cells[1].outputs = [shown]
    lessons.keep_pictures(notebook, source)
    assert (tmp_path / "notebooks" / "pictures" / "07.png").read_bytes() == b"a picture"
    for solutions in (False, True):
        first = editions.edition(source, solutions).cells[0]
        assert first.attachments == {"07.png": {"image/png": PIXEL}}
