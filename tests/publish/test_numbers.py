"""The page of numbers that give faults away is what its command makes, and holds every lesson that breaks something."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffrl_lab.analysis.exhibits import ROOMS
from diffrl_lab.course import editions
from diffrl_lab.publish import numbers

LESSONS = pytest.mark.parametrize("source", editions.sources(), ids=lambda s: s.stem)
ROW = "| the left mode is too high | two bars differ | alpha at t = 1 | more steps |"
TABLE = f"{numbers.HEAD}\n|---|---|---|---|\n{ROW}\n| a \\| b | c | d | e |"


def lesson(folder: Path, text: str, name: str = "77_toy") -> Path:
    source = folder / "notebooks" / "source" / f"{name}.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    cells = text.split("\n\n---\n\n")
    source.write_text(
        "\n\n".join("# %% [markdown]\n" + "\n".join(f"# {x}".rstrip() for x in c.split("\n")) for c in cells)
    )
    return source


def test_the_page_is_what_its_command_makes() -> None:
    assert numbers.PAGE.read_text("utf-8") == numbers.page(), "run `python -m diffrl_lab.publish.numbers`"


@LESSONS
def test_a_lesson_that_breaks_something_says_which_number_gives_it_away(source: Path) -> None:
    if numbers.broken(source) is not None:
        assert numbers.rows(source), f"{source.name}: its section Break it ends with a table {numbers.HEAD}"


def test_the_rows_are_those_of_the_break_it_alone(tmp_path: Path) -> None:
    before, after = f"# 77 · Toy\n\n{TABLE.replace('left', 'first')}\n\n", f"\n\n---\n\nmore\n\n{TABLE}\n\n## 6"
    source = lesson(tmp_path, f"{before}## 5 · Break it: so\n\nwords{after}")
    assert numbers.rows(source) == TABLE.split("\n")[2:]
    assert numbers.rows(lesson(tmp_path, "# 77 · Toy\n\n## 5 · Mend it\n\n" + TABLE)) == []
    assert (
        numbers.rows(lesson(tmp_path, "# 77 · Toy\n\n## Break it\n\n| signature | cure |\n|---|---|\n| a | b |")) == []
    )


@pytest.mark.parametrize("row", ["| a | b | c |", "| a | b | c | d | e |"])
def test_a_row_that_has_not_four_cells_is_refused(row: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"77_toy.py: a row of its break-it"):
        numbers.rows(lesson(tmp_path, f"# 77 · Toy\n\n## 1 · Break it\n\n{TABLE}\n{row}"))


def test_a_lesson_with_its_picture_and_link_stands_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = [lesson(tmp_path, f"# {n} · Toy\n\n## 1 · Break it\n\n{TABLE}", f"{n}_toy") for n in ("04b", "77")]
    monkeypatch.setattr(numbers, "sources", lambda: [*every, lesson(tmp_path, "# 78 · No", "78_no")])
    (tmp_path / "notebooks" / "pictures").mkdir()
    (tmp_path / "notebooks" / "pictures" / "04b-broken.png").touch()
    page = numbers.page()
    assert "## [04b Toy](../notebooks/04b_toy.ipynb)" in page and "## [77 Toy]" in page and "78" not in page
    page = page.partition("## The failure museum")[0]
    assert page.count(ROW) == 2 and page.count("](../notebooks/pictures/04b-broken.png)") == page.count("![") == 1
    assert "![What lesson 04b breaks: the left mode is too high; a" in page


def test_every_exhibit_of_the_museum_stands_on_the_page_with_its_number_and_where_it_was_found() -> None:
    page = numbers.page().partition("## The failure museum")[2]
    exhibits = [e for room in ROOMS.values() for e in room.exhibits.values()]
    for e in exhibits:
        assert f"| {e.name} ({e.project}) | {e.sign} | {e.number} | {e.cure} |" in page
    rows = [line for line in page.split("\n") if line.startswith("| ") and line != numbers.HEAD]
    assert len(rows) == len(exhibits)
    assert all(len(row.strip("|").split("|")) == 4 for row in rows)
