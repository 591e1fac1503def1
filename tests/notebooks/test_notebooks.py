"""Every lesson, found by glob: stored as its source builds it, run with another seed, solved by its own solutions.

(nbval runs the stored notebooks at their defaults: pytest collects them from notebooks/.)
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from diffrl_lab.course import checks, editions, running
from diffrl_lab.publish import lessons

SOURCES = editions.sources()
LESSONS = pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
MEGABYTE = 1_000_000


def stored(source: Path, solutions: bool = False) -> nbformat.NotebookNode:
    return nbformat.read(editions.target(source, solutions), as_version=4)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [c for c in notebook.cells if c.cell_type == "code"]


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [o for c in code(notebook) for o in c.outputs]


def texts(notebook: nbformat.NotebookNode) -> Iterator[str]:
    for output in outputs(notebook):
        yield output.get("text", "") + output.get("data", {}).get("text/plain", "")


def alt_texts(notebook: nbformat.NotebookNode) -> Iterator[str | None]:
    """One entry per figure: what stands for it where it is not seen."""
    for output in outputs(notebook):
        data = output.get("data", {})
        named = re.findall(r'<(?:img|canvas)\b[^>]*?\b(?:alt|aria-label)="([^"]*)"', data.get("text/html", ""))
        if "image/png" in data:
            yield output.metadata.get("image/png", {}).get("alt") or (named or [None])[0]
        elif re.search(r"<(img|canvas)\b", data.get("text/html", "")):
            yield from named or [None]
        elif any("plotly" in kind for kind in data):
            yield output.metadata.get("alt") or (named or [None])[0]


@LESSONS
def test_the_stored_notebooks_are_what_their_source_builds(source: Path) -> None:
    assert "\n".join(lessons.differences(source)) == ""


@LESSONS
def test_the_learners_edition_was_run_whole_and_holds_no_error(source: Path) -> None:
    cells = code(stored(source))
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for o in outputs(stored(source)) if o.output_type == "error"]
    assert editions.target(source).stat().st_size < MEGABYTE


@LESSONS
def test_an_unsolved_exercise_says_so_and_none_is_solved(source: Path) -> None:
    said = "\n".join(texts(stored(source)))
    names = checks.exercises(editions.number(source.stem))
    core = source.read_text("utf-8").partition("\n# ## Further")[0]
    asked = [name for name in names if f'check("{name}"' in core]
    assert 3 <= len(asked) <= 5 or source.stem.startswith("00"), asked
    for name in names:
        assert f"○ {name}: exercise not solved yet" in said, name


@LESSONS
def test_every_hint_that_a_verdict_offers_can_be_opened_in_the_lesson(source: Path) -> None:
    trees = [ast.parse(c.source) for c in code(editions.edition(source))]
    nodes = [node for tree in trees for node in tree.body]
    names = [n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    assert "hint" not in names, "the lesson gives the name to something else"
    home = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "diffrl_lab.course"]
    lesson: dict = {}
    exec(compile(ast.Module(home, []), source.name, "exec"), lesson)
    for name in checks.exercises(editions.number(source.stem)):
        for rung in range(1, len(checks.ladder(name)) + 1):
            assert lesson["hint"](name, rung).text


@LESSONS
def test_what_a_guess_asks_is_not_asserted_before_it_is_revealed(source: Path) -> None:
    """Between a guess and its reveal nothing is asserted, and no picture is made: an alt text would say the answer."""
    pending: set[str] = set()
    spoilt = []
    for cell in code(editions.edition(source)):
        for node in ast.parse(cell.source).body:
            text = ast.unparse(node)
            pending |= set(re.findall(r"^(\w+) = guess\(", text))
            revealed = {name for name in pending if re.search(rf"\b{name}\.reveal\(", text)}
            pending -= revealed
            tells = isinstance(node, ast.Assert) or re.search(r"\balt=", text)
            if pending and tells:
                spoilt.append(f"{sorted(pending)}: {text[:90]}")
    assert spoilt == [] and not pending


@LESSONS
def test_every_figure_has_its_own_alt_text_that_says_what_is_seen(source: Path) -> None:
    alts = list(alt_texts(stored(source)))
    assert alts and all(alt and len(alt) >= 40 for alt in alts), alts
    assert len(set(alts)) == len(alts), "two figures share their alt text"


@LESSONS
def test_another_seed_and_profile_run_both_editions_and_every_solution_passes(source: Path, tmp_path: Path) -> None:
    for solutions in (False, True):
        [(made, *_)] = running.run([source.stem], {"SEED": 1, "PROFILE": "smoke"}, tmp_path, solutions=solutions)
        warned = [o.text for o in outputs(nbformat.read(made, as_version=4)) if o.get("name") == "stderr"]
        assert warned == [], "a learner would see this in red"
    said = "\n".join(texts(nbformat.read(made, as_version=4)))
    assert [name for name in checks.exercises(editions.number(source.stem)) if f"✓ {name}: " not in said] == []
    assert re.findall(r"[✗○] \d\d[a-z]?\.\w+: .*", said) == []  # lesson 00's overview has circles of its own


def test_lessons_are_numbered_once_and_every_notebook_has_a_source() -> None:
    numbers = [editions.number(s.stem) for s in SOURCES]
    assert len(numbers) == len(set(numbers))
    folder = editions.ROOT / "notebooks"
    kept = {p.stem for p in (*folder.glob("*.ipynb"), *folder.glob("solutions/*.ipynb"))}
    assert kept == {s.stem for s in SOURCES}


def test_cell_ids_are_unique_over_the_course() -> None:
    ids = [c["id"] for s in SOURCES for c in json.loads(editions.target(s).read_text("utf-8"))["cells"]]
    assert len(ids) == len(set(ids))
