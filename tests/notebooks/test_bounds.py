"""A lesson's core is a course hour: its cells, words, visible lines of code and the length of its cells are bounded.

The core is everything before the first `## Further`. Visible are the lines of code that a learner's eye meets: not
blank, and not in a collapsed cell, which may hold imports and settings of torch alone. Words are those of the text,
without formulae and alt text.
"""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from diffrl_lab.course import editions

SOURCES = editions.sources()
LESSONS = pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
BOUNDS = {"cells": 45, "words": 2000, "lines": 200, "median": 4}


class Size(NamedTuple):
    cells: int
    words: int
    lines: int
    median: float


def collapsed(cell: nbformat.NotebookNode) -> bool:
    return editions.COLLAPSED in cell.metadata.get("tags", [])


def core(cells: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """The cells before the first `## Further`; a text that ends in one still belongs to it."""
    for i, cell in enumerate(cells):
        if cell.cell_type == "markdown" and "## Further" in cell.source:
            return cells[: i + (not cell.source.startswith("## Further"))]
    return cells


def words(text: str) -> int:
    """How many words a text has, without its formulae and alt texts."""
    prose = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|!\[.*?\]\(.*?\)", " ", text, flags=re.DOTALL)
    return len(re.findall(r"[A-Za-z][A-Za-z'-]*", prose))


def size(cells: list[nbformat.NotebookNode]) -> Size:
    inner = core(cells)
    code = [c for c in inner if c.cell_type == "code" and not collapsed(c)]
    lines = [sum(bool(line.strip()) for line in c.source.split("\n")) for c in code]
    text = sum(words(c.source) for c in inner if c.cell_type == "markdown")
    return Size(len(inner), text, sum(lines), statistics.median(lines))


@LESSONS
def test_a_core_is_within_its_bounds(source: Path) -> None:
    found = size(editions.edition(source).cells)._asdict()
    beyond = {what: n for what, n in found.items() if n > BOUNDS[what]}
    assert beyond == {}, f"{source.stem}: {found}"


@LESSONS
def test_a_collapsed_cell_hides_imports_and_settings_alone(source: Path) -> None:
    for cell in filter(collapsed, editions.edition(source).cells):
        for node in ast.parse(cell.source).body:
            setting = isinstance(node, ast.Expr) and ast.unparse(node).startswith("torch.set_")
            assert isinstance(node, (ast.Import, ast.ImportFrom)) or setting, ast.unparse(node)


def test_a_core_ends_where_further_begins_and_what_is_collapsed_is_not_seen() -> None:
    new = nbformat.v4
    cells = [
        new.new_markdown_cell("![a picture](attachment:01.png)\n# Title of $x_t$"),
        new.new_code_cell("import torch\nimport math", metadata={"tags": [editions.COLLAPSED]}),
        new.new_code_cell("a = 1\n\nb = 2\nc = 3"),
        new.new_code_cell("d = 4"),
        new.new_markdown_cell("## What was seen\n\n## Further · more"),
        new.new_code_cell("e = 5"),
    ]
    assert size(cells) == (5, 7, 4, 2)
    assert size([*cells[:4], new.new_markdown_cell("## Further · more")]) == (4, 2, 4, 2)
