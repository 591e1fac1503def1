"""The outline of the course as the lessons' sources tell it: titles, what each needs, and all letters."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from diffrl_lab.course.editions import ROOT, number, sources


def title(source: Path) -> str:
    """The title of a lesson, "Schedules and samplers"; ValueError where its first heading is not "# NN · title"."""
    head = re.match(
        rf"# %% \[markdown\]\n(?:# !\[.+\n#\n)?# # {number(source.stem)} · (.+)\n", source.read_text(encoding="utf-8")
    )
    if not head:
        raise ValueError(f"{source.name} begins with the heading '# {number(source.stem)} · title'")
    return head[1]


def needed(root: Path = ROOT) -> dict[str, list[str]]:
    """Lesson -> the lessons it builds on: {"02": ["01"]}, out of "lesson 01" between **You need** and **Machine:**.

    Raises ValueError for a source whose first cell has no such passage.
    """
    graph = {}
    for source in sources(root=root):
        head = source.read_text(encoding="utf-8").split("\n\n", 1)[0]
        said = re.search(r"\*\*You need\*\*(.+?)\*\*Machine:\*\*", " ".join(head.replace("\n#", " ").split()))
        if not said:
            raise ValueError(f"{source.name}: its first cell says **You need** ... and then **Machine:** ...")
        graph[number(source.stem)] = re.findall(r"\blesson (\d\d[a-z]?)\b", said[1])
    return graph


def outline(root: Path = ROOT) -> list[tuple[str, str, list[str]]]:
    """(number, title, the lessons it builds on) of every lesson, in order."""
    graph = needed(root)
    return [(number(source.stem), title(source), graph[number(source.stem)]) for source in sources(root=root)]


def symbols(root: Path = ROOT) -> Any:
    """notebooks/source/symbols.csv as a table: each letter of the course, code, meaning, and its names in papers.

    A letter of one lesson alone has that lesson's number beside its meaning.
    """
    from IPython.display import Markdown

    with open(root / "notebooks" / "source" / "symbols.csv", newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    papers = [name for name in rows[0] if name not in ("symbol", "code", "meaning", "lessons", "clock")]
    lines = [["letter, code", "meaning", *papers], ["---"] * (2 + len(papers))]
    for row in rows:
        letter = f"${row['symbol']}$" + (f" `{row['code']}`" if row["code"] else "")
        only = f" ({row['lessons']})" if re.fullmatch(r"\d\d[a-z]?", row["lessons"]) else ""
        lines.append([letter, row["meaning"] + only, *(row[name] for name in papers)])
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))
