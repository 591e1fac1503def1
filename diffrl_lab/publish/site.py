"""The site: lessons, answers to *How do I*, the API reference, studies and scores as pages that need no network.

`python3 run.py site` writes it into site/, whose index.html opens from the disk; options are those of

    python -m diffrl_lab.publish.site [LESSON ...] [--stored] [--profile smoke] [--out DIR]

A lesson is run once and kept in build/site/runs until its source or the library changes, so its films, explorers and
the world that is played are alive on its page; Sphinx itself runs nothing. --stored runs nothing at all: pages then
show the pictures that the notebooks have. With lessons named the others are taken as they are stored.

Sphinx reads a copy of the repository's texts in build/site/source, where every page lies where the repository has it,
so that a link between two files is a link between two pages. What has no page (a table of numbers, a folder) is named
without a link. The tables of docs/studies.md have pictures there (`publish.plots`). Formulae become MathML, as on the
lessons' own pages. Nothing is fetched when a page is read.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from diffrl_lab.course.editions import ROOT, sources, target
from diffrl_lab.course.running import PROFILES, run
from diffrl_lab.files import Words, show_anything, write_text, written
from diffrl_lab.publish import pages, plots
from diffrl_lab.publish.tables import PAGE

SITE = ROOT / "site"
WORK = ROOT / "build" / "site"
FRAME = ROOT / "docs" / "site"  # conf.py, the pages that lead to all others, style
TEXTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
# answers of the exercises have no page
SPOILERS = ("diffrl_lab.course.exercises", "diffrl_lab.course.blank_01", "diffrl_lab.course.blank_05")
PICTURE = re.compile(r"\(attachment:([\w.-]+)\)")
LINK = re.compile(r"(?<!\!)\[([^\]\[]+)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```[^\n]*\n", re.M | re.S)


# -------------------------------------------------------------------------------------------------------------- lessons
def ran(source: Path, profile: str = "class", runs: Path = WORK / "runs") -> Any:
    """A lesson as it was executed, its widgets' state in it: run now unless the one that is kept is still right."""
    import nbformat

    code = [source, *sorted((ROOT / "diffrl_lab").rglob("*.py")), *sorted((ROOT / "diffrl_lab").rglob("*.js"))]
    said = hashlib.sha256(b"\0".join(path.read_bytes() for path in code)).hexdigest()
    file, mark = runs / profile / f"{source.stem}.ipynb", runs / profile / f"{source.stem}.sha256"
    if not (file.exists() and mark.exists() and mark.read_text("utf-8") == said):
        mark.unlink(missing_ok=True)
        run([source.stem], {} if profile == "class" else {"PROFILE": profile}, file.parent, stops=True)
        write_text(mark, said)
    return nbformat.read(file, as_version=4)


def lesson(notebook: Any) -> tuple[Any, dict[str, bytes]]:
    """A lesson as Sphinx takes it, and its pictures by name: each code cell has at most one output, which is HTML.

    A film is what `publish.pages` makes of it. What answers a guess lies behind a fold, up to the next text.
    """
    from nbformat import v4

    show, cells, pictures, open_ = pages.shower(notebook), list[Any](), dict[str, bytes](), False

    def html(text: str, code: str = "# (no input)", **metadata: Any) -> None:  # a cell without a source is left out
        outputs = [v4.new_output("display_data", {"text/html": text, "text/plain": ""})] if text else []
        cells.append(v4.new_code_cell(code, outputs=outputs, metadata=metadata))

    def fold(begin: bool) -> None:
        nonlocal open_
        if begin != open_:
            tag = '<details class="answer"><summary>show what came out</summary>' if begin else "</details>"
            cells.append(v4.new_markdown_cell(tag))
        open_ = begin

    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        if cell.cell_type == "markdown" or any(map(pages.asks, outputs)):
            fold(False)
        if cell.cell_type == "markdown":
            for name, kinds in cell.get("attachments", {}).items():
                pictures[name] = base64.b64decode(next(iter(kinds.values())))
            cells.append(v4.new_markdown_cell(PICTURE.sub(r"(pictures/\1)", cell.source)))
            if len(cells) == 1:
                html(pages.made_with(notebook), tags=["remove-input"])
        elif cell.cell_type == "code":
            tag = next((tag for tag in cell.metadata.get("tags", []) if tag in pages.FOLDED), None)
            folded = {"tags": ["hide-input"], "mystnb": {"code_prompt_show": pages.FOLDED[tag]}} if tag else {}
            before, after = map(show, pages.parted(outputs))
            html(before, cell.source, **folded)
            if after:
                fold(True)
                html(after, tags=["remove-input"])
    fold(False)
    return v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), pictures


# ------------------------------------------------------------------------------------------------------------ reference
def modules() -> list[str]:
    """Every public module of the package, packages before what is in them; not the exercises, which hold answers."""
    import diffrl_lab

    found = [m.name for m in pkgutil.walk_packages(diffrl_lab.__path__, "diffrl_lab.")]
    return [n for n in found if "._" not in n and not n.startswith(SPOILERS)]


def reference() -> dict[str, str]:
    """The pages of the API reference, by name: one of the whole, and one of each module, from the docstrings."""
    every = modules()
    pages = {}
    for name in ["diffrl_lab", *every]:
        inside = [m for m in every if m.rpartition(".")[0] == name]
        tree = "\n".join([".. toctree::", "   :maxdepth: 1", "", *(f"   {m}" for m in inside), ""]) if inside else ""
        head = f"{name}\n{'=' * len(name)}\n\n"
        options = "" if name == "diffrl_lab" else "   :members:\n   :undoc-members:\n   :ignore-module-all:\n"
        pages[name] = f"{head}.. automodule:: {name}\n{options}\n{tree}"
    return pages


def restructured(lines: Iterable[str]) -> Iterator[str]:
    """A docstring of this project as reStructuredText: paragraphs and lists flow, what is set in columns stays so.

    `code` between single backticks and *words* between stars keep their meaning; every other sign is itself.
    """
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        rows = block.split("\n")
        if rows[0].startswith("- "):
            for row in rows:
                yield f"- {_signs(row[2:])}" if row.startswith("- ") else f"  {_signs(row.strip())}"
        elif any(row.startswith(" ") or re.search(r"\S {2,}\S", row) for row in rows):
            yield from ["::", "", *(f"   {row}" for row in rows)]
        else:
            rows = [_signs(row) for row in rows]
            yield from [rows[0] if rows[0][:1].isalpha() and rows[0][1:2].isalpha() else f"\\ {rows[0]}", *rows[1:]]
        yield ""


def _signs(text: str) -> str:
    """A line of plain text with the signs that reStructuredText would read turned into themselves."""
    parts = re.split(r"`+([^`]+)`+", text)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = f"\\ ``{part.strip()}``\\ "
            continue
        words = re.split(r"(?<![\w*])\*(\w[^*]*\w|\w)\*(?![\w*])", part)
        words = [f"\\ *{w}*\\ " if j % 2 else re.sub(r"([\\*_|`<])", r"\\\1", w) for j, w in enumerate(words)]
        parts[i] = "".join(words).replace("::", ":\\:")
    return "".join(parts)


# --------------------------------------------------------------------------------------------------------------- source
def copied(text: str, place: Path, here: set[Path]) -> str:
    """A text of the repository with links to what has a page, `here` (paths from the root); others become words."""
    fences: list[str] = []

    def hide(m: re.Match) -> str:
        fences.append(m[0])
        return f"\0{len(fences) - 1}\0"

    def link(m: re.Match) -> str:
        path, _, heading = m[2].partition("#")
        if not path or re.match(r"\w+:", m[2]):
            return m[0]
        goal = Path(os.path.normpath(place.parent / path))
        page = Path("api", ".".join(goal.parts) + ".rst")
        if page in here:
            return f"[{m[1]}]({os.path.relpath(page, place.parent)})"
        return m[0] if goal in here else m[1]

    text = LINK.sub(link, FENCE.sub(hide, text))
    text = re.sub(r'(src|srcset)="data/pictures/', r'\1="_static/', text)
    return re.sub(r"\0(\d+)\0", lambda m: fences[int(m[1])], text)


def source(
    folder: Path, which: Sequence[str] = (), *, stored: bool = False, profile: str = "class", runs: Path = WORK / "runs"
) -> None:
    """Write what Sphinx reads into an empty folder: frame, texts, lessons, reference."""
    import nbformat

    every = sources()
    chosen = [] if stored else sources(which)
    api = reference()
    docs = [p.relative_to(ROOT) for p in sorted((ROOT / "docs").rglob("*.md")) if FRAME not in p.parents]
    texts = [*map(Path, TEXTS), *docs]
    here = {*texts, *(target(s).relative_to(ROOT) for s in every), *(Path("api", f"{n}.rst") for n in api)}
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FRAME, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for shown in (Path("data", "pictures"), Path("notebooks", "pictures")):
        shutil.copytree(ROOT / shown, folder / shown)
    for picture in (ROOT / "data" / "pictures").glob("*.webp"):  # what HTML in a page names is not seen by Sphinx
        shutil.copy(picture, folder / "_static")
    for text in texts:
        words = (ROOT / text).read_text("utf-8")
        words = plots.placed(words, folder / "docs" / "pictures") if ROOT / text == PAGE else words
        write_text(folder / text, copied(words, text, here))
    for name, page in api.items():
        write_text(folder / "api" / f"{name}.rst", page)
    for s in every:
        notebook = ran(s, profile, runs) if s in chosen else nbformat.read(target(s), as_version=4)
        made, pictures = lesson(notebook)
        place = target(s).relative_to(ROOT)
        for cell in made.cells:
            if cell.cell_type == "markdown":
                cell.source = copied(cell.source, place, here)
        nbformat.write(made, folder / place)
        for name, data in pictures.items():
            with written(folder / place.parent / "pictures" / name) as beside:
                beside.write_bytes(data)


def _sphinx(work: Path, strict: bool) -> None:
    """Make pages, work/html, of work/source; ValueError with its words where it fails, strict: or warns."""
    shutil.rmtree(work / "html", ignore_errors=True)
    options = ["-W", "--keep-going"] if strict else []
    words = [sys.executable, "-m", "sphinx", "-q", "-E", *options, "-b", "html", "-d", str(work / "doctrees")]
    done = subprocess.run([*words, str(work / "source"), str(work / "html")], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"the site has faults:\n{done.stdout}{done.stderr}")


def build(
    out: Path = SITE,
    which: Sequence[str] = (),
    *,
    stored: bool = False,
    profile: str = "class",
    work: Path = WORK,
    strict: bool = True,
) -> Path:
    """Make the site. -> its first page. Raises ValueError, with Sphinx's words, where a link or a page is wrong."""
    source(work / "source", which, stored=stored, profile=profile, runs=WORK / "runs")
    _sphinx(work, strict)
    if out.exists() and any(out.iterdir()) and not (out / "objects.inv").exists():
        raise ValueError(f"{out} holds something that is not a site: it is left as it is")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(work / "html", out, ignore=shutil.ignore_patterns(".buildinfo", "_sources", "webpack-macros.html"))
    (out / ".nojekyll").touch()  # GitHub Pages would leave out folders that begin with an underscore
    return out / "index.html"


def main(words: Sequence[str] | None = None) -> int:
    """The command. -> exit status: 2 for wrong words, 1 where the site has faults."""
    show_anything()
    name, form = "python -m diffrl_lab.publish.site", argparse.RawDescriptionHelpFormatter
    parser = Words(name, description=__doc__, formatter_class=form)
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="to be run; without one: all")
    parser.add_argument("--stored", action="store_true", help="run none: pictures stand where films would")
    parser.add_argument("--profile", choices=PROFILES, default="class", help="of the lessons that are run")
    parser.add_argument("--out", type=Path, default=SITE, help="a folder, site/ unless given")
    said = parser.parse_args(words)
    try:
        sources(said.lessons)
    except ValueError as fault:
        parser.error(str(fault))
    try:
        page = build(said.out, said.lessons, stored=said.stored, profile=said.profile)
    except ValueError as fault:
        print(fault, file=sys.stderr)
        return 1
    print(f"{page}: {sum(1 for _ in said.out.rglob('*.html'))} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
