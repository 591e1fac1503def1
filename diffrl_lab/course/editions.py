"""One source per lesson, the editions built from it, and a learner's own copy."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diffrl_lab.course.progress import number
from diffrl_lab.files import ROOT, free_name, written

BEGIN, END, STUB = "### BEGIN SOLUTION", "### END SOLUTION", "### STUB"


TODO = "raise NotImplementedError  # write your answer here"
PICTURES = {"punchline": "{}.png", "broken": "{}-broken.png"}  # tag of a cell -> what its picture is kept as
COLLAPSED = "collapsed"  # tag of a cell whose code JupyterLab folds away


METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


def sources(which: Iterable[str] = (), root: Path = ROOT) -> list[Path]:
    """Sources of the lessons named ("01", "01_ddpm" or "all"; none means all). ValueError for an unknown name."""
    every = sorted((root / "notebooks" / "source").glob("[0-9][0-9]*_*.py"))
    which = [w for w in which if w != "all"]
    for name in which:
        if not any(_named(path, name) for path in every):
            raise ValueError(f"no lesson is called {name!r}; known are: {', '.join(p.stem for p in every) or 'none'}")
    return [p for p in every if not which or any(_named(p, name) for name in which)]


def _named(path: Path, name: str) -> bool:
    return Path(name).stem in (path.stem, number(path.stem))


def unsolved(text: str) -> str:
    """A cell's text with every answer replaced by its `### STUB` lines, or by `raise NotImplementedError` without any.

    Raises ValueError for markers that do not pair up, and for a `raise` outside a function: it would stop the notebook.
    """
    rows: list[str] = []
    stub: list[str] = []
    indent: str | None = None
    for line in text.split("\n"):
        mark = line.strip()
        if mark == BEGIN and indent is None:
            indent, stub = line[: len(line) - len(line.lstrip())], []
        elif mark == END and indent is not None:
            if not stub and not indent:
                raise ValueError(
                    f"an answer at the left margin needs a {STUB} line (say: {STUB} answer = None), in\n{text}"
                )
            rows += [indent + s if s else "" for s in (stub or [TODO])]
            indent = None
        elif mark in (BEGIN, END):
            raise ValueError(f"{mark} without its partner in\n{text}")
        elif indent is None:
            rows.append(line)
        elif mark.startswith(STUB):
            stub.append(line.strip().removeprefix(STUB).removeprefix(" "))
    if indent is not None:
        raise ValueError(f"{BEGIN} without {END} in\n{text}")
    return "\n".join(rows)


def solved(text: str) -> str:
    """A cell's text with its answer and markers, without the lines of the stub."""
    return "\n".join(line for line in text.split("\n") if not line.strip().startswith(STUB))


def edition(source: Path, solutions: bool = False) -> Any:
    """The notebook built from a source, without outputs; cell ids are lesson and position ("01-004")."""
    import jupytext
    import nbformat

    read = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    cells = []
    for position, cell in enumerate(read.cells):
        make = {"markdown": nbformat.v4.new_markdown_cell, "raw": nbformat.v4.new_raw_cell}.get(
            cell.cell_type, nbformat.v4.new_code_cell
        )
        try:
            text = (solved if solutions else unsolved)(cell.source) if cell.cell_type == "code" else cell.source
        except ValueError as error:
            raise ValueError(f"{source.name}, cell {position}: {error}") from None
        metadata = kept_metadata(cell.metadata.get("tags", []))
        cells.append(make(text, metadata=metadata, id=f"{number(source.stem)}-{position:03d}"))
    return attach(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), source.parents[1] / "pictures")


def attach(notebook: Any, pictures: Path) -> Any:
    """The notebook, where each text that shows `attachment:NAME` carries pictures/NAME within it, if that is there."""
    for cell in notebook.cells:
        names = re.findall(r"\]\(attachment:([\w.-]+)\)", cell.source) if cell.cell_type == "markdown" else []
        there = [name for name in names if (pictures / name).exists()]
        if there:
            cell.attachments = {
                name: {"image/png": base64.b64encode((pictures / name).read_bytes()).decode()} for name in there
            }
    return notebook


def kept_metadata(tags: Iterable[str]) -> dict[str, Any]:
    """A cell's metadata: its tags, and what makes JupyterLab fold the code of a collapsed one."""
    fold = {"jupyter": {"source_hidden": True}} if COLLAPSED in (tags := list(tags)) else {}
    return {**fold, **({"tags": tags} if tags else {})}


def target(source: Path, solutions: bool = False) -> Path:
    """Where the edition of a source is kept."""
    folder = source.parents[1] / "solutions" if solutions else source.parents[1]
    return folder / f"{source.stem}.ipynb"


def start(lesson: str, *, reset: bool = False, root: Path = ROOT) -> tuple[Path, Path | None]:
    """A learner's copy of a lesson in my/, without outputs, made if missing.

    -> (the copy, where `reset` set an older one aside). ValueError for an unknown lesson, or one not yet built.
    """
    original = target(sources([lesson], root)[0])
    if not original.exists():
        raise ValueError(f"{original.name} has not been built yet: diffrl-lab lessons build {number(original.stem)}")
    mine = root / "my" / original.name
    mine.parent.mkdir(exist_ok=True)
    aside = None
    if mine.exists() and reset:
        aside = free_name(mine)
        mine.rename(aside)
    if not mine.exists():
        write(blank(original), mine)
    return mine, aside


def blank(stored: Path) -> Any:
    """A stored notebook without its outputs: they would answer its questions before a learner has guessed."""
    import nbformat

    notebook = nbformat.read(stored, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def write(notebook: Any, path: Path) -> None:
    """Write a notebook; an interrupted build leaves the old one."""
    import nbformat

    with written(path) as beside:
        nbformat.write(notebook, beside)
