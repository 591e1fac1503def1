"""Student editions for one cohort: constants, mixtures and one injected bug per lesson change with the variant.

`release(folder, variant)` writes one notebook per lesson, and beside the folder a key that stays with the instructor:
    folder/NN_name.ipynb     no answers, no outputs; an exercise is two cells, answer and check, in nbgrader's metadata
    folder.key.json          variant, time, and per lesson file, hash, constants, and which mistake was put where;
                             weights, grace and extensions are empty, for the instructor (report.read_key)
What varies is drawn from the variant alone, so that the same variant gives the same notebooks byte for byte:
- SEED, in the cell tagged parameters;
- the constants of CONSTANTS, with every sentence and assert that depends on them;
- *find the bug*: one exercise of the lesson is turned round. Instead of a stub it holds a wrong answer from that
  exercise's own list (checks.py: WRONG); the student names the mistake, out of four, and repairs it. The repair is
  judged as any answer to that exercise; classroom/report.py marks the name, with the key.
Each notebook is run before it is written: a draw under which an assert does not hold is drawn again.
"""

from __future__ import annotations

import ast
import builtins
import copy
import hashlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrl_lab import __version__
from diffrl_lab.course import checks, editions, running
from diffrl_lab.files import write_text

DRAWS = 5
CHOICES = "abcd"
KEY_VERSION = 1


@dataclass(frozen=True)
class Constant:
    """A constant of a lesson: what it may be, and what each text that depends on it becomes."""

    name: str
    values: Sequence[Any]
    edits: Callable[[Any], dict[str, str]]  # value -> {a text of the source: what stands there for this value}


CONSTANTS: dict[str, list[Constant]] = {
    "00": [
        Constant(
            "start and goal",
            [((7, 1), (1, 10)), ((1, 10), (7, 1)), ((7, 10), (1, 1)), ((1, 1), (7, 10))],
            lambda v: {
                "start, goal = walls.centre((7, 1)), walls.centre((1, 10))": (
                    f"start, goal = walls.centre({v[0]}), walls.centre({v[1]})"
                ),
            },
        )
    ],
    "01": [
        Constant(
            "share of left turns",
            [0.25, 0.3, 0.35, 0.4],
            lambda p: {
                "two_modes(p=0.3,": f"two_modes(p={p},",
                "three times out of ten,": f"{100 * p:.0f} times out of a hundred,",
                "alpha[n] * 0.4)": f"alpha[n] * {1 - 2 * p:.1f})",
                '"30 % of the data': f'"{100 * p:.0f} % of the data',
                'left["betas from alpha_bar"] - 30)': f'left["betas from alpha_bar"] - {100 * p:.0f})',
            },
        )
    ],
    "02": [
        Constant(
            "share of left turns",
            [0.16, 0.18, 0.2, 0.22],
            lambda p: {
                "two_modes(p=0.2)": f"two_modes(p={p})",
                "two times out of ten,": f"{100 * p:.0f} times out of a hundred,",
                "DDPM takes about a fifth there": f"DDPM takes about {100 * p:.0f} % there",
                "1,000 about a fifth are,": f"1,000 about {100 * p:.0f} % are,",
                "standard deviation 5 about a fifth is (": f"standard deviation 5 about {100 * p:.0f} % are (",
                '"20 % of the data': f'"{100 * p:.0f} % of the data',
                "the lowest fifth of the noise becomes the left turns": (
                    f"the lowest {100 * p:.0f} % of the noise become the left turns"
                ),
                "in its lowest fifth.": f"in its lowest {100 * p:.0f} %.",
            },
        )
    ],
}


@dataclass(frozen=True)
class Bug:
    """A wrong answer as a student sees it: `body` is what the stub holds, `says` what the check answers to it."""

    exercise: str
    body: str
    says: str


def release(
    folder: Path,
    variant: str,
    which: Iterable[str] = (),
    *,
    run: bool = True,
    root: Path = editions.ROOT,
    tell: Callable[[str], Any] = lambda text: None,
) -> Path:
    """Write the lessons named (all by default) for the cohort `variant`. -> the key, which students must not get.

    With run=False nothing is tried out. ValueError for an unknown lesson, an empty variant, a folder that is not empty,
    a key that is there already, a text that is to vary and is not in the source any more, and a lesson whose asserts
    fail under DRAWS draws in a row.
    """
    key = folder.with_name(f"{folder.name}.key.json")
    if not variant.strip():
        raise ValueError("a variant is a number or word that students do not know; this one is empty")
    if folder.exists() and any(folder.iterdir()) or key.exists():
        raise ValueError(f"{folder} or {key.name} holds something already: release into a new folder")
    chosen = editions.sources(which, root)
    notebooks = [_that_holds(source, variant, run, tell) for source in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {}
    for source, (notebook, entry) in zip(chosen, notebooks, strict=True):
        path = folder / f"{source.stem}.ipynb"
        editions.write(notebook, path)
        hashes = {"sha256": _sha256(path), "source_sha256": _sha256(source)}
        about[editions.number(source.stem)] = {"file": path.name, **hashes, **entry}
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps(
        {
            "version": KEY_VERSION,
            "variant": variant,
            "made": made_at,
            "diffrl_lab": __version__,
            "run": run,
            "weights": {},
            "grace": {},
            "extensions": {},
            "lessons": about,
        },
        indent=1,
    )
    write_text(key, text + "\n", private=True)
    return key


def _that_holds(source: Path, variant: str, run: bool, tell: Callable[[str], Any]) -> tuple[Any, dict[str, Any]]:
    """The first draw of a lesson under which it runs from top to bottom, unsolved, in its default profile."""
    from nbclient.exceptions import CellExecutionError

    for draw in range(DRAWS):
        notebook, entry = student_edition(source, variant, draw)
        if not run:
            return notebook, entry
        tried = copy.deepcopy(notebook)
        try:
            running.execute(tried, editions.target(source).parent)
        except CellExecutionError as error:
            last = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()[-1]
            tell(f"{source.stem}, draw {draw + 1}: {last}")
            continue
        tell(f"{source.stem}: ran from top to bottom")
        return notebook, entry
    raise ValueError(f"lesson {source.stem} does not hold under {DRAWS} draws of variant {variant!r}; the last: {last}")


def student_edition(source: Path, variant: str, draw: int = 0) -> tuple[Any, dict[str, Any]]:
    """One lesson for a cohort, not run. -> (notebook, its entry in the key). Depends on nothing but its arguments."""
    import nbformat

    lesson = editions.number(source.stem)
    seed = hashlib.sha256(f"{variant}/{lesson}/{draw}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    plain = editions.edition(source)
    constants: dict[str, Any] = {"SEED": int(rng.integers(1, 10_000))}
    edits: dict[str, str] = {}
    for constant in CONSTANTS.get(lesson, []):
        value = constant.values[int(rng.integers(len(constant.values)))]
        constants[constant.name] = value
        edits |= constant.edits(value)
    _vary(plain, edits, constants["SEED"], source.name)
    hunt = _hunt([c.source for c in plain.cells if c.cell_type == "code"], lesson, rng)
    cells: list[Any] = []
    for cell in plain.cells:
        asked = asks(cell.source) if cell.cell_type == "code" else None
        if asked is None:
            cells.append(cell)
            continue
        answer, check = _halves(cell.source, asked)
        if hunt is not None and asked == hunt[0].exercise:
            bug, letter, options = hunt
            answer = _put_in(answer, bug.body)
            prompt = nbformat.v4.new_markdown_cell(_PROMPT.format(options="\n".join(options)), id=f"{cell.id}-bug")
            name = nbformat.v4.new_code_cell('mistake = None  # "a", "b", "c" or "d"', id=f"{cell.id}-name")
            name.metadata["nbgrader"] = _nbgrader(f"{lesson}-mistake", grade=True, solution=True, points=1)
            cells += [prompt, name]
            check = _CHECK_BUG.format(check=check)
        else:
            check = _CHECK.format(check=check)
        ident = asked.replace(".", "-")
        cell.source = answer
        cell.metadata["nbgrader"] = _nbgrader(ident, solution=True)
        test = nbformat.v4.new_code_cell(check, id=f"{cell.id}-check")
        test.metadata["nbgrader"] = _nbgrader(f"{ident}-check", grade=True, locked=True, points=1)
        cells += [cell, test]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=copy.deepcopy(editions.METADATA))
    bug_entry = None if hunt is None else {"mistake": hunt[1], **asdict(hunt[0])}
    return notebook, {"draw": draw, "constants": constants, "bug": bug_entry}


_PROMPT = """**Find the bug.** In this edition a colleague has answered the exercise above. The code runs, its answer \
has the right shape and type, and it is wrong. Two marks:

1. *Name the mistake* before you run anything: set `mistake` to one letter.

{options}

2. *Repair it*, and change as little as you can. The check says right or wrong, and nothing more."""
# nbgrader takes the last value of a graded cell as marks; the lesson goes on whatever it is
_CHECK = "verdict = {check}\nprint(verdict)\n1.0 * bool(verdict)"
_CHECK_BUG = 'verdict = {check}\nprint("repaired" if verdict else "not yet")\n1.0 * bool(verdict)'


def _nbgrader(
    ident: str, *, grade: bool = False, solution: bool = False, locked: bool = False, points: float = 0
) -> dict[str, Any]:
    """Metadata of a cell in nbgrader's schema 3."""
    about: dict[str, Any] = {
        "schema_version": 3,
        "grade_id": ident,
        "grade": grade,
        "solution": solution,
        "locked": locked,
        "task": False,
        "cell_type": "code",
    }
    return about | ({"points": points} if grade else {})


def _vary(notebook: Any, edits: dict[str, str], seed: int, name: str) -> None:
    """Put drawn constants in, in place. Each text must be found somewhere, or the lesson would contradict itself."""
    for old in edits:
        if not any(old in cell.source for cell in notebook.cells):
            raise ValueError(f"{name} no longer holds {old!r}; classroom/release.py: CONSTANTS must follow it")
    # all at once: what one edit writes, another must not read
    anything = re.compile("|".join(map(re.escape, edits)) or r"(?!)")
    for cell in notebook.cells:
        cell.source = anything.sub(lambda m: edits[m.group()], cell.source)
        if "parameters" in cell.metadata.get("tags", []):
            cell.source, count = re.subn(r"^SEED = 0\b", f"SEED = {seed}", cell.source, flags=re.MULTILINE)
            if not count:
                raise ValueError(f"{name}: its cell of parameters has no line `SEED = 0`")


# ----------------------------------------------------------------------------------------------------- exercise cells
def asks(text: str) -> str | None:
    """The exercise that a cell's text checks at its top level, or None."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    for statement in tree.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    return first.value
    return None


def _halves(text: str, exercise: str) -> tuple[str, str]:
    """A cell that ends in check("NN.name", answer), as its answer and its check."""
    last = ast.parse(text).body[-1]
    lines = text.split("\n")
    answer, check = "\n".join(lines[: last.lineno - 1]).rstrip(), "\n".join(lines[last.lineno - 1 :]).strip()
    if not check.startswith("check(") or not answer:
        raise ValueError(f"the cell of {exercise} must hold an answer, then end in check({exercise!r}, ...):\n{text}")
    return answer, check


def _put_in(answer: str, body: str) -> str:
    todo = re.compile(rf"^( +){re.escape(editions.TODO)}$", re.MULTILINE)
    code, count = todo.subn(lambda m: textwrap.indent(body, m.group(1)), answer)
    if count != 1:
        raise ValueError(f"a bug is put where a stub stands alone in its cell; this one has {count} stubs:\n{answer}")
    return code


# ------------------------------------------------------------------------------------------------------- injected bugs
def _hunt(codes: Sequence[str], lesson: str, rng: np.random.Generator) -> tuple[Bug, str, list[str]] | None:
    """One exercise of the lesson, one of its mistakes, and four names for it, one of them right, in a drawn order."""
    candidates = {}
    for code in codes:
        exercise = asks(code)
        if exercise in checks.exercises(lesson) and editions.TODO in code:
            here, names = bugs(exercise, code)
            if here and len(names) >= len(CHOICES):
                candidates[exercise] = here, names
    if not candidates:
        return None
    here, names = candidates[sorted(candidates)[int(rng.integers(len(candidates)))]]
    bug = here[int(rng.integers(len(here)))]
    others = sorted(set(names) - {bug.says})
    options = [bug.says, *rng.permutation(others)[: len(CHOICES) - 1]]
    order = rng.permutation(len(CHOICES))
    shown = [f"   - ({letter}) {options[k]}" for letter, k in zip(CHOICES, order, strict=True)]
    return bug, CHOICES[list(order).index(0)], shown


@cache
def bugs(exercise: str, stub: str) -> tuple[list[Bug], list[str]]:
    """The wrong answers of an exercise that can be shown, and the names of all its mistakes.

    Shown can be what needs nothing but its arguments, torch, builtins and numbers: its arguments are renamed as the
    stub names them. A mistake whose verdict changes with the cases (it quotes a number) is no name.
    """
    module = checks.load(exercise)
    verdicts = [{checks.verdict(exercise, answer, seed).message for seed in (0, 1, 2)} for answer, _ in module.WRONG]
    names = sorted({next(iter(s)) for s in verdicts if len(s) == 1})
    tree = ast.parse(inspect.getsource(module))
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    [wrong] = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "WRONG"]
    definition = next(n for n in ast.parse(stub).body if isinstance(n, ast.FunctionDef))
    mistakes = []
    for pair, messages in zip(getattr(wrong, "elts", []), verdicts, strict=True):
        node = pair.elts[0]
        node = functions.get(node.id) if isinstance(node, ast.Name) else node
        body = _shown(node, [a.arg for a in definition.args.args], module)
        if body is None or len(messages) != 1:
            continue
        scope: dict[str, Any] = {"torch": torch}
        arguments = ", ".join(a.arg for a in definition.args.args)
        exec(f"def answer({arguments}):\n{textwrap.indent(body, '    ')}", scope)
        judged = [checks.verdict(exercise, scope["answer"], seed) for seed in (0, 1, 2)]
        if all(v.ok is False and v.message in messages for v in judged):
            mistakes.append(Bug(exercise, body, next(iter(messages))))
    return mistakes, names


def _shown(node: Any, names: Sequence[str], module: Any) -> str | None:
    """The body of a wrong answer that stands alone, its arguments renamed; None for one that does not."""
    if not isinstance(node, (ast.Lambda, ast.FunctionDef)):
        return None
    own = [a.arg for a in node.args.args]
    if len(own) != len(names) or node.args.vararg or node.args.kwarg or node.args.kwonlyargs:
        return None
    node = copy.deepcopy(node)
    renamed = dict(zip(own, names, strict=True))
    bound = set(own) | {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {a.asname or a.name for n in ast.walk(node) if isinstance(n, ast.Import) for a in n.names}
    if bound - set(own) & set(names):
        return None

    class Rename(ast.NodeTransformer):
        alone = True

        def visit_Name(self, name: ast.Name) -> ast.AST:
            value = getattr(module, name.id, None)
            if name.id in renamed:
                return ast.Name(renamed[name.id], name.ctx)
            if name.id in bound or name.id == "torch" or hasattr(builtins, name.id):
                return name
            if isinstance(value, (int, float)):
                return ast.Constant(value)
            self.alone = False
            return name

    rename = Rename()
    tree = rename.visit(node)
    if not rename.alone:
        return None
    if isinstance(tree, ast.Lambda):
        return "return " + ast.unparse(tree.body)
    return "\n".join(ast.unparse(ast.fix_missing_locations(s)) for s in tree.body)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
