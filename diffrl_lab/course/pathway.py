"""A learner's way through the course as a table."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from diffrl_lab.course.progress import read


@dataclass(frozen=True)
class Overview:
    """A learner's way through the course, a row per lesson: (number, title, needs, its exercises' entries or None)."""

    rows: tuple[tuple[str, str, str, tuple[dict[str, Any] | None, ...]], ...]

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for number, title, needs, entries in self.rows:
            own = [e for e in entries if e]
            signs = "".join("○" if not e else "●" if e["solved"] else "◐" for e in entries)
            hints = sum(e["opened"] for e in own)
            minutes = sum(e["seconds"] for e in own) / 60
            yield number, title, needs, signs, str(hints or ""), f"{minutes:.0f}" if minutes >= 0.5 else ""

    @property
    def text(self) -> str:
        """One sentence on the whole."""
        entries = [e for *_, row in self.rows for e in row]
        solved = sum(bool(e and e["solved"]) for e in entries)
        begun = sum(bool(e and not e["solved"]) for e in entries)
        if not solved and not begun:
            return f"{len(entries)} exercises wait; a circle fills when you check an answer."
        going = f", {begun} in the making" if begun else ""
        return f"{solved} of {len(entries)} exercises solved{going}. This record stays on your machine."

    def __repr__(self) -> str:
        width = max(len(title) for _, title, *_ in self.rows)
        head = ("", "lesson", "after", "exercises", "hints", "minutes")
        form = f"{{:3}}  {{:{width}}}  {{:10}}  {{:9}}  {{:>5}}  {{:>7}}"
        lines = [form.format(*row).rstrip() for row in (head, *self._cells())]
        return "\n".join([*lines, "● solved  ◐ begun  ○ waiting", self.text])

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align: left'>{h}</th>"
                       for h in ("", "lesson", "builds on", "exercises", "hints opened", "minutes"))  # fmt: skip
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align: left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._cells()
        )
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>● solved &nbsp; ◐ begun &nbsp; ○ waiting. {html.escape(self.text)}</p>"
        )


def overview() -> Overview:
    """Every lesson with what it builds on, and what the learner has done in it. It shows itself."""
    from diffrl_lab.course import checks, outline

    mine = read()["exercises"]
    return Overview(
        tuple(
            (number, title, ", ".join(needs), tuple(mine.get(name) for name in checks.exercises(number)))
            for number, title, needs in outline.outline()
        )
    )
