"""Conclusions: tagged, stated in a table at the end, true for three seeds, and false where nothing was learned.

(The learner's edition as it is stored is (class, seed 0): nbval runs it; test_notebooks runs (smoke, seed 1).)
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest

from diffrl_lab.course import claims, editions, running

SOURCES = editions.sources()
LESSONS = pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
TAGS = ("exact", "large effect")

# A first cell that makes every assert write down what it compared and whether it held, and go on.
RECORD = """
import ast, json
class _Noted(ast.NodeTransformer):
    def visit_Compare(self, node):
        self.generic_visit(node)
        see = lambda part: ast.Call(ast.Name("_see", ast.Load()), [part], [])
        node.left, node.comparators = see(node.left), [see(part) for part in node.comparators]
        return node
class _Recorded(ast.NodeTransformer):
    def visit_Assert(self, node):
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        test = ast.Lambda(nothing, _Noted().visit(node.test))
        return ast.Expr(ast.Call(ast.Name("_conclude", ast.Load()), [test, node.msg or ast.Constant("")], []))
_seen = []
def _see(value):
    import numpy
    try:
        flat = numpy.asarray(value.detach() if hasattr(value, "detach") else value, dtype=float).ravel()
        _seen.append([float(v) for v in numpy.nan_to_num(flat[:1000])])
    except (TypeError, ValueError):
        _seen.append(repr(value))
    return value
def _conclude(test, message):
    _seen.clear()
    try:
        held = bool(test())
    except Exception:
        held = False
    with open({record!r}, "a") as file:
        file.write(json.dumps([message, held, _seen]) + "\\n")
get_ipython().ast_transformers.append(_Recorded())
"""
# The same lesson with learning switched off: optimisers do not move, shipped planners are their untrained rung, and
# conditioned planners and guides have fresh weights.
UNTRAINED = """
import torch
from diffrl_lab.methods.planning.diffuser import Diffuser
for _kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
    _kind.step = lambda self, closure=None: None
_load = Diffuser.load.__func__
Diffuser.load = classmethod(lambda cls, name, rung="good": _load(cls, name, "untrained"))
from diffrl_lab.methods.planning.decision_diffuser import DecisionDiffuser
from diffrl_lab.methods.planning.value_guidance import Guide
def _unlearned(load, of):
    def loaded(cls, path):
        made = load.__func__(cls, path)
        torch.manual_seed(0)
        for part in of(made).modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
        return made
    return classmethod(loaded)
DecisionDiffuser.load = _unlearned(DecisionDiffuser.load, lambda made: made.planner.denoiser)
Guide.load = _unlearned(Guide.load, lambda made: made)
from diffrl_lab.methods.planning.windows import Windows
Windows.load = _unlearned(Windows.load, lambda made: made.denoiser)
from diffrl_lab.methods.models.diamond import Diamond
Diamond.load = _unlearned(Diamond.load, lambda made: made)
from diffrl_lab.methods.planning.distilled import Distilled
Distilled.load = _unlearned(Distilled.load, lambda made: made.planner.denoiser)
from diffrl_lab.methods.planning.graph import Graph
Graph.load = _unlearned(Graph.load, lambda made: made.motion.denoiser)
from diffrl_lab.methods.models.synther import Synther
Synther.load = _unlearned(Synther.load, lambda made: made.denoiser)
from diffrl_lab import methods
_imitate = ("regression", "two_step", "gaussian", "mixture", "autoregressive", "diffusion_policy")
for _name in (*_imitate, "idql", "weighted", "cfgrl", "diffusion_ql", "td3_bc"):
    _policy = methods.of_class(_name.title().replace("_", ""))[1]
    _policy.load = _unlearned(_policy.load, lambda made: made)
"""


def asserts(source: Path) -> Iterator[ast.Assert]:
    for cell in editions.edition(source, solutions=True).cells:
        if cell.cell_type == "code":
            yield from (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Assert))


def message(node: ast.Assert) -> str:
    first = node.msg.values[0] if isinstance(node.msg, ast.JoinedStr) else node.msg
    return str(first.value) if isinstance(first, ast.Constant) else ""


@LESSONS
def test_every_assert_says_whether_it_is_exact_or_a_large_effect(source: Path) -> None:
    untold = [ast.unparse(node) for node in asserts(source) if not message(node).startswith(TAGS)]
    assert untold == []


@LESSONS
def test_a_lesson_ends_in_a_table_of_what_is_claimed_and_found(source: Path) -> None:
    cells = nbformat.read(editions.target(source), as_version=4).cells
    texts = [c.source for c in cells if c.cell_type == "markdown"]
    texts += [o.data.get("text/markdown", "") for c in cells for o in c.get("outputs", []) if "data" in o]
    own = [t for t in texts if re.search(r"\|\s*verdict\s*\|", t, re.I) and re.search(r"\b(held|failed|open)\b", t)]
    assert own


@LESSONS
def test_a_lesson_that_exists_has_judged_the_claims_that_are_its_own(source: Path) -> None:
    waiting = [c.name for c in claims(editions.number(source.stem)) if c.verdict == "not yet"]
    assert waiting == [], "judge them, or name the later lesson that will"


def concluded(source: Path, first: str, seed: int, folder: Path) -> dict[tuple[str, int], tuple[bool, list]]:
    """(message, how many-eth time) -> (did it hold, what it compared), of a smoke run with a cell put first."""
    record, notebook = folder / "conclusions.jsonl", editions.edition(source)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first.replace("{record!r}", repr(str(record)))))
    with running.quiet_progress():
        papermill.execute_notebook(
            notebook,
            str(folder / "run.ipynb"),
            {"PROFILE": "smoke", "SEED": seed},
            kernel_name="python3",
            cwd=str(editions.target(source).parent),
            progress_bar=False,
            extra_arguments=running.QUIET,
        )
    found: dict[tuple[str, int], tuple[bool, list]] = {}
    for line in record.read_text().splitlines():
        said, held, seen = json.loads(line)
        found[said, sum(key[0] == said for key in found)] = held, seen
    return found


def alike(a: list, b: list) -> bool:
    """Whether two runs compared the same values, but for rounding."""
    try:
        return len(a) == len(b) and all(np.allclose(x, y, rtol=1e-4, atol=1e-6) for x, y in zip(a, b, strict=True))
    except (TypeError, ValueError):  # words, or other shapes
        return a == b


@pytest.mark.slow
@LESSONS
def test_conclusions_hold_and_those_that_rest_on_learning_fail_without_it(source: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "trained", tmp_path / "untrained"]
    for folder in folders:
        folder.mkdir()
    learned = concluded(source, RECORD, 0, folders[0])
    untrained = concluded(source, RECORD + UNTRAINED, 0, folders[1])
    assert len(learned) >= len(list(asserts(source))), "an assert was not reached, or not seen"
    assert [key for key, (held, _) in learned.items() if not held] == []
    large = [key for key in learned if key[0].startswith("large effect")]
    # what compares the same values in both runs is about exact objects, and no network can make it fail
    rests = [key for key in large if not alike(learned[key][1], untrained.get(key, (False, []))[1])]
    print(f"\n{source.stem}: {len(learned)} conclusions, {len(large)} large effects, {len(rests)} rest on learning")
    assert rests, "no conclusion of this lesson rests on anything learned"
    assert [key for key in rests if key in untrained and untrained[key][0]] == [], "true of untrained weights, too"


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "seed"), [("class", 1), ("class", 2), ("smoke", 2)])
@LESSONS
def test_conclusions_hold_for_three_seeds(source: Path, profile: str, seed: int, tmp_path: Path) -> None:
    running.run([source.stem], {"SEED": seed, "PROFILE": profile}, tmp_path)
