from __future__ import annotations

import pytest

from diffrl_lab.widgets import table


def test_a_table_reads_the_same_as_markdown_and_as_text() -> None:
    made = table({"arm": ["a", "bb"], "share": [0.5, "n/a"]})
    assert made._repr_markdown_() == "| arm | share |\n| --- | ---: |\n| a | 0.5 |\n| bb | n/a |"
    assert repr(made) == "arm  share\na    0.5\nbb   n/a"


def test_columns_of_different_lengths_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'b': 1"):
        table({"a": [1, 2], "b": [1]})


def test_a_bar_in_a_head_or_a_cell_does_not_begin_a_column() -> None:
    made = table({"p(mode | x_t)": ["|x| < 1"], "n": [3]})
    assert made._repr_markdown_().split("\n") == [r"| p(mode \| x_t) | n |", "| --- | ---: |", r"| \|x\| < 1 | 3 |"]
