"""The page *Numbers that give it away*, docs/numbers.md: `python -m diffrl_lab.publish.numbers`.

Each lesson breaks something on purpose, and its section *Break it* ends with a table of signatures. Here they stand
together, each under its lesson, with the lesson's picture of the fault (notebooks/pictures/NN-broken.png) if there is
one. After them stand the exhibits of the failure museum (`analysis.exhibits`), room by room, from their registry.
"""

from __future__ import annotations

import re
from pathlib import Path

from diffrl_lab.course.editions import PICTURES, ROOT, edition, number, sources
from diffrl_lab.course.outline import title
from diffrl_lab.files import arguments, write_text

PAGE = ROOT / "docs" / "numbers.md"
HEAD = "| signature | in the picture | the number that gives it away | cure |"
INTRODUCTION = """# Numbers that give it away

A broken diffusion model still makes samples, and they often look fine. Each lesson breaks something on purpose and
names the number that shows the fault. This page collects these faults: what you see in the picture, which number to
print, and the cure. The command `python -m diffrl_lab.publish.numbers` writes this page from the sections *Break it* of
the lessons, and from the exhibits of the failure museum.
"""
MUSEUM = """## The failure museum

Failures that public projects had, and the four signatures of the survey, each injected by a seed into exact models.
`ROOM.diagnose(evidence)` of `diffrl_lab.analysis.exhibits` names them from what stands in the third column; lesson 18
is about them.
"""


def broken(source: Path) -> str | None:
    """The text of a lesson's section *Break it*, up to the next section; None where it has none."""
    texts = "\n\n".join(c.source for c in edition(source).cells if c.cell_type == "markdown")
    sections = re.split(r"^(?=## )", texts, flags=re.MULTILINE)
    return next((text for text in sections if re.match(r"## (?:\d+ · )?Break it\b", text)), None)


def rows(source: Path) -> list[str]:
    """The faults of a lesson as rows of its table, in order. Raises ValueError for a row that has not four cells."""
    table = re.search(rf"^{re.escape(HEAD)}\n\|[-:| ]+\|\n((?:\|.*(?:\n|\Z))+)", broken(source) or "", re.MULTILINE)
    found = re.sub(r"<!--.*?-->", "", table[1]).strip().split("\n") if table else []
    for row in found:
        if len(re.split(r"(?<!\\)\|", row.strip().strip("|"))) != 4:
            raise ValueError(f"{source.name}: a row of its break-it has one cell for each of {HEAD}; got {row}")
    return found


def museum() -> list[str]:
    """The exhibits of each room as a table, with where each was found."""
    from diffrl_lab.analysis.exhibits import ROOMS

    parts = [MUSEUM]
    for room in ROOMS.values():
        rows = [f"| {e.name} ({e.project}) | {e.sign} | {e.number} | {e.cure} |" for e in room.exhibits.values()]
        parts.append("\n".join([f"### The room of {room.name}\n", HEAD, "|---|---|---|---|", *rows]) + "\n")
    return parts


def page() -> str:
    """The whole page as the lessons have it now."""
    parts = [INTRODUCTION]
    for source in sources():
        if not (faults := rows(source)):
            continue
        parts.append(f"## [{number(source.stem)} {title(source)}](../notebooks/{source.stem}.ipynb)\n")
        picture = PICTURES["broken"].format(number(source.stem))
        if (source.parents[1] / "pictures" / picture).exists():
            signatures = "; ".join(re.sub(r"[\[\]*`$]", "", row.strip("| ").split(" | ")[0]) for row in faults)
            parts.append(
                f"![What lesson {number(source.stem)} breaks: {signatures}](../notebooks/pictures/{picture})\n"
            )
        parts.append("\n".join([HEAD, "|---|---|---|---|", *faults]) + "\n")
    return "\n".join([*parts, *museum()])


if __name__ == "__main__":
    arguments("python -m diffrl_lab.publish.numbers", __doc__)
    write_text(PAGE, page())
