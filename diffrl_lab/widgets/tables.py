"""Numbers as a table: what a lesson shows where a picture would say less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Columns:
    """A table that displays itself, as Markdown where that is read and else as plain text."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"a table needs columns of one length, got {lengths}")
        self.head, self.rows = list(columns), [list(map(str, row)) for row in zip(*columns.values(), strict=True)]

    def _repr_markdown_(self) -> str:
        cells = [[text.replace("|", r"\|") for text in line] for line in (self.head, *self.rows)]
        lines = [cells[0], ["---"] + ["---:"] * (len(self.head) - 1), *cells[1:]]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in [self.head, *self.rows])


def table(columns: Mapping[str, Sequence[Any]]) -> Columns:
    """name -> values, one for each row, the first column naming the rows. Raises ValueError for unequal lengths."""
    return Columns(columns)
