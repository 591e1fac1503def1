"""Student editions: nothing of the answers inside, other for each cohort, and nbgrader can read them."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import nbformat
import pytest

from diffrl_lab.classroom import release
from diffrl_lab.course import checks, editions, judging

SOURCES = [s for s in editions.sources() if checks.exercises(editions.number(s.stem))]
LESSONS = pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
VARIANTS = ("autumn", "spring", "7")

SOURCE = '''# %% tags=["parameters"]
SEED = 0

# %%
from diffrl_lab.course import check

# %% tags=["exercise"]
def floor(x_0, x0_hat, alpha, sigma):
    """The simple loss."""
    ### BEGIN SOLUTION
    return (alpha / sigma) ** 2 * ((x0_hat - x_0) ** 2).mean()
    ### END SOLUTION


check("01.floor", floor)
'''


ODD = """# %% tags=["parameters"]
SEED = 0

# %%
assert SEED % 2, "only odd seeds hold"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "notebooks" / "source").mkdir(parents=True)
    (tmp_path / "notebooks" / "source" / "01_toy.py").write_text(SOURCE)
    return tmp_path


@pytest.fixture
def odd(root: Path, no_constants: None) -> Path:
    """A lesson without an exercise that holds for odd seeds only."""
    (root / "notebooks" / "source" / "01_toy.py").write_text(ODD)
    return root


@pytest.fixture
def no_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "CONSTANTS", {})


def everything(notebook: Any) -> str:
    return json.dumps(notebook, ensure_ascii=False)


def code(notebook: Any) -> list[Any]:
    return [c for c in notebook.cells if c.cell_type == "code"]


def bare(text: str) -> set[str]:
    return {line.strip() for line in text.split("\n") if line.strip()}


def bodies(text: str) -> list[str]:
    """Every function of a text, as its parsed body without docstring: spaces and comments do not matter."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            found.append("\n".join(map(ast.dump, body)))
    return found


# ----------------------------------------------------------------------------------------------------------- no answers
@LESSONS
def test_every_line_of_a_release_is_the_unsolved_editions_or_the_bugs(source: Path) -> None:
    for variant in VARIANTS:
        notebook, entry = release.student_edition(source, variant)
        plain = editions.edition(source)
        edits = {
            k: v
            for c in release.CONSTANTS.get(editions.number(source.stem), [])
            for k, v in c.edits(entry["constants"][c.name]).items()
        }
        release._vary(plain, edits, entry["constants"]["SEED"], source.name)
        known = set().union(*(bare(c.source) for c in plain.cells))
        wrong = {
            line
            for c in code(plain)
            if release.asks(c.source) == entry["bug"]["exercise"]
            for bug in release.bugs(entry["bug"]["exercise"], c.source)[0]
            for line in bare(bug.body)
        }
        ours = {
            "print(verdict)",
            "1.0 * bool(verdict)",
            'print("repaired" if verdict else "not yet")',
            'mistake = None  # "a", "b", "c" or "d"',
        }
        for cell in code(notebook):
            for line in bare(cell.source):
                assert line.removeprefix("verdict = ") in known | wrong | ours, line


@LESSONS
def test_no_right_answer_of_an_exercise_stands_in_a_release(source: Path) -> None:
    right = {
        body
        for name in checks.exercises(editions.number(source.stem))
        for answer in checks.load(name).RIGHT
        if callable(answer)
        for body in bodies(textwrap.dedent(inspect.getsource(answer)))
    }
    solved = {
        body
        for c in code(editions.edition(source, solutions=True))
        if release.asks(c.source)
        for body in bodies(c.source)
    }
    assert right and solved
    for variant in VARIANTS:
        notebook, _ = release.student_edition(source, variant)
        shown = {body for c in code(notebook) for body in bodies(c.source)}
        assert not shown & (right | solved)
        assert "SOLUTION" not in everything(notebook) and "RIGHT" not in everything(notebook)


@LESSONS
def test_metadata_hold_tags_and_nbgraders_keys_and_nothing_else(source: Path) -> None:
    notebook, entry = release.student_edition(source, "autumn")
    assert notebook.metadata == editions.METADATA
    shipped = {picture.name for picture in (source.parents[1] / "pictures").iterdir()}
    for cell in notebook.cells:
        assert (
            set(cell.metadata) <= {"tags", "nbgrader", "jupyter"}
            and not cell.get("outputs")
            and set(cell.get("attachments", {})) <= shipped
        )
        assert cell.cell_type != "raw"
    assert entry["bug"]["says"] in everything(notebook).replace('\\"', '"')  # as one of four
    assert "autumn" not in everything(notebook), "whoever knows the variant can draw the key"


def test_the_key_lies_beside_the_folder_and_only_its_owner_reads_it(root: Path, no_constants: None) -> None:
    key = release.release(root / "out", "autumn", root=root, run=False)
    assert key == root / "out.key.json" and key.stat().st_mode & 0o077 == 0
    assert [p.name for p in (root / "out").iterdir()] == ["01_toy.ipynb"]
    kept = json.loads(key.read_text())
    assert kept["variant"] == "autumn" and kept["lessons"]["01"]["bug"]["exercise"] == "01.floor"
    assert kept["lessons"]["01"]["sha256"] == release._sha256(root / "out" / "01_toy.ipynb")


# ---------------------------------------------------------------------------------------------------------- what varies
@LESSONS
def test_the_same_variant_is_the_same_release_and_another_is_another(source: Path) -> None:
    first, again = (everything(release.student_edition(source, "autumn")) for _ in range(2))
    assert first == again
    entries = [release.student_edition(source, str(n))[1] for n in range(12)]
    assert len({e["constants"]["SEED"] for e in entries}) == 12
    assert len({(e["bug"]["exercise"], e["bug"]["says"]) for e in entries}) >= 4
    assert len({e["bug"]["mistake"] for e in entries}) >= 3, "the right letter must not stay where it is"
    for constant in release.CONSTANTS.get(editions.number(source.stem), []):
        assert len({str(e["constants"][constant.name]) for e in entries}) >= 2


@pytest.mark.parametrize("lesson", sorted(release.CONSTANTS))
def test_a_drawn_constant_leaves_none_of_the_texts_that_the_old_one_stood_in(lesson: str) -> None:
    [source] = editions.sources([lesson])
    for constant in release.CONSTANTS[lesson]:
        for value in constant.values:
            plain = editions.edition(source)
            release._vary(plain, constant.edits(value), 5, source.name)
            text = "\n".join(c.source for c in plain.cells)
            for old, new in constant.edits(value).items():
                assert new in text and (old == new or old in new or old not in text)


def test_a_source_that_lost_a_text_that_varies_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = release.Constant("p", [1], lambda p: {"no such text": "x"})
    monkeypatch.setattr(release, "CONSTANTS", {"01": [lost]})
    with pytest.raises(ValueError, match="01_toy.py no longer holds 'no such text'"):
        release.release(root / "out", "autumn", root=root, run=False)


def test_a_draw_under_which_an_assert_fails_is_drawn_again(odd: Path) -> None:
    source = editions.sources(root=odd)[0]
    seeds = {
        v: [release.student_edition(source, v, d)[1]["constants"]["SEED"] for d in range(release.DRAWS)]
        for v in map(str, range(40))
    }
    variant = next(v for v, s in seeds.items() if s[0] % 2 == 0 and s[1] % 2)
    said: list[str] = []
    key = release.release(odd / "out", variant, root=odd, tell=said.append)
    assert json.loads(key.read_text())["lessons"]["01"]["constants"]["SEED"] == seeds[variant][1]
    assert said == ["01_toy, draw 1: AssertionError: only odd seeds hold", "01_toy: ran from top to bottom"]


def test_a_lesson_that_holds_under_no_draw_is_not_released(odd: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(release, "DRAWS", 1)
    source = editions.sources(root=odd)[0]
    even = next(v for v in map(str, range(40)) if release.student_edition(source, v)[1]["constants"]["SEED"] % 2 == 0)
    with pytest.raises(ValueError, match="does not hold under 1 draws .* only odd seeds hold"):
        release.release(odd / "out", even, root=odd)
    assert not (odd / "out").exists() and not (odd / "out.key.json").exists()


def test_a_folder_that_holds_something_and_an_empty_variant_are_refused(root: Path, no_constants: None) -> None:
    (root / "out").mkdir()
    release.release(root / "out", "autumn", root=root, run=False)
    with pytest.raises(ValueError, match="release into a new folder"):
        release.release(root / "out", "autumn", root=root, run=False)
    with pytest.raises(ValueError, match="this one is empty"):
        release.release(root / "other", " ", root=root, run=False)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_release_of_every_lesson_runs_with_its_conclusions_holding(variant: str, tmp_path: Path) -> None:
    key = json.loads(release.release(tmp_path / "out", variant, [s.stem for s in SOURCES]).read_text())
    assert set(key["lessons"]) == {editions.number(s.stem) for s in SOURCES}


# --------------------------------------------------------------------------------------------------------- find the bug
@LESSONS
def test_the_bug_shown_is_wrong_as_the_key_says_and_the_lessons_answer_repairs_it(source: Path) -> None:
    for variant in VARIANTS:
        notebook, entry = release.student_edition(source, variant)
        bug = entry["bug"]
        [cell] = [
            c
            for c in code(notebook)
            if c.metadata.get("nbgrader", {}).get("grade_id") == bug["exercise"].replace(".", "-")
        ]
        scope: dict[str, Any] = {}
        exec("from __future__ import annotations\nimport torch\n" + cell.source, scope)
        name = next(n.name for n in ast.parse(cell.source).body if isinstance(n, ast.FunctionDef))
        for seed in (0, 1, 5):
            judged = checks.verdict(bug["exercise"], scope[name], seed)
            assert judged.ok is False and judged.message == bug["says"]
        prompt = next(c.source for c in notebook.cells if "Find the bug" in c.source)
        options = dict(re.findall(r"- \(([abcd])\) (.+)", prompt))
        assert options[bug["mistake"]] == bug["says"] and len(set(options.values())) == 4


# ------------------------------------------------------------------------------------------------------------- nbgrader
NBGRADER = {"schema_version", "grade", "locked", "solution", "task", "grade_id", "points", "checksum", "cell_type"}


@LESSONS
def test_nbgraders_metadata_follow_its_schema_3(source: Path) -> None:
    notebook, _ = release.student_edition(source, "autumn")
    nbformat.validate(notebook)
    marked = {
        c.metadata.nbgrader["grade_id"]: (c, c.metadata.nbgrader) for c in code(notebook) if "nbgrader" in c.metadata
    }
    assert len(marked) == sum("nbgrader" in c.metadata for c in notebook.cells), "a grade_id twice"
    for ident, (cell, about) in marked.items():
        assert re.fullmatch(r"[a-zA-Z0-9_\-]+", ident) and set(about) <= NBGRADER
        assert about["schema_version"] == 3 and about["cell_type"] == cell.cell_type == "code"
        assert all(isinstance(about[k], bool) for k in ("grade", "locked", "solution", "task")) and not about["task"]
        assert about["grade"] == ("points" in about) and not (about["locked"] and about["solution"])
        assert about["grade"] or about["solution"]
    for exercise in checks.exercises(editions.number(source.stem)):
        ident = exercise.replace(".", "-")
        assert marked[ident][1]["solution"] and not marked[ident][1]["grade"]
        assert marked[f"{ident}-check"][1]["grade"] and marked[f"{ident}-check"][1]["locked"]
    by_hand = [i for i, (_, a) in marked.items() if a["grade"] and a["solution"]]
    assert by_hand == [f"{editions.number(source.stem)}-mistake"]


@LESSONS
def test_a_check_cell_ends_in_the_marks_that_nbgrader_reads(source: Path) -> None:
    notebook, _ = release.student_edition(source, "autumn")
    for cell in code(notebook):
        if cell.metadata.get("nbgrader", {}).get("locked"):
            lines = cell.source.split("\n")
            said = {True: judging.Verdict(True, ""), False: judging.Verdict(False, ""), None: judging.Verdict(None, "")}
            assert [eval(lines[-1], {"verdict": v}) for v in said.values()] == [1.0, 0.0, 0.0]
            assert release.asks(cell.source) is not None
