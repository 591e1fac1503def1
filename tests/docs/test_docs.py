"""What the documents say is so: commands exist, links lead somewhere, the samples' numbers come from their code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer.main

from diffrl_lab.cli import app
from diffrl_lab.course import editions

ROOT = editions.ROOT
PAGES = sorted((ROOT / "docs").rglob("*.md"))
EVERY = pytest.mark.parametrize("page", PAGES, ids=[p.name for p in PAGES])


def commands(text: str) -> list[str]:
    """Every `diffrl-lab ...` in code, in a line of a block or between backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.split("\n")]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [c for c in (*lines, *spans) if c.startswith("diffrl-lab")]


@cache
def command(*words: str) -> object:
    found = typer.main.get_command(app)
    for word in words:
        found = getattr(found, "commands", {}).get(word)
    return found


def unknown(line: str) -> list[str]:
    """The words of a command line that `--help` does not know: commands, options, and arguments that are missing."""
    words = shlex.split(line)[1:]
    found, rest = command(), list(words)
    while rest and getattr(found, "commands", None):
        found = found.commands.get(rest[0])  # type: ignore[attr-defined]
        if found is None:
            return [rest[0]]
        rest.pop(0)
    options = {o for p in found.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}  # type: ignore[attr-defined]
    # `train` takes `--set NAME VALUE` among its arguments
    options |= {o for p in found.params for o in re.findall(r"--\w+", p.metavar or "")}  # type: ignore[attr-defined]
    return [w for w in rest if w.startswith("-") and w.split("=")[0] not in options]


@EVERY
def test_every_command_named_in_a_page_exists_with_its_options(page: Path) -> None:
    for line in commands(page.read_text("utf-8")):
        assert unknown(line) == [], line


def test_the_grading_walk_through_names_all_four_commands() -> None:
    said = "\n".join(commands((ROOT / "docs" / "instructor.md").read_text("utf-8")))
    assert all(f"course {name}" in said for name in ("release", "grade", "report")) and "diffrl-lab train" in said


TEXTS = [*PAGES, *ROOT.glob("*.md"), ROOT / "data" / "README.md", ROOT / "data" / "manifest.json"]
TEXTS += [p for room in ("diffrl_lab", "benchmarks", "notebooks/source") for p in (ROOT / room).rglob("*.py")]
ROOMS = [p.name for p in (ROOT / "diffrl_lab").iterdir() if (p / "__init__.py").exists()]
NAMED = re.compile(rf"(?:diffrl_lab\.|`)((?:{'|'.join(ROOMS)})(?:\.[A-Za-z]\w*)+)(?![\w{{])")


@pytest.mark.parametrize("text", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_and_function_named_in_a_text_is_there(text: Path) -> None:
    for name in set(NAMED.findall(text.read_text("utf-8"))):
        parts = name.split(".")
        at = ROOT / "diffrl_lab"
        while parts and (at / parts[0]).is_dir():
            at /= parts.pop(0)
        if parts and (at / f"{parts[0]}.py").is_file():
            at /= f"{parts.pop(0)}.py"
        said = at.read_text("utf-8") if at.is_file() else (at / "__init__.py").read_text("utf-8")
        assert not parts or re.search(rf"\b{parts[0]}\b", said), f"{name} in {text.name}"


def test_an_unknown_command_or_option_would_be_noticed() -> None:
    assert unknown("diffrl-lab course relase x") == ["relase"]
    assert unknown("diffrl-lab course release x --variants 1") == ["--variants"]


@EVERY
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+://", target):
            continue
        path, _, heading = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists() and ROOT in other.parents, target
        if heading:
            heads = re.findall(r"^#+ (.+)$", other.read_text("utf-8"), re.M)
            assert heading in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in heads}, target


def test_lessons_said_to_be_here_are_here_and_planned_ones_are_not() -> None:
    text = (ROOT / "docs" / "instructor.md").read_text("utf-8")
    block = text.split("<!-- here -->")[1].split("<!-- /here -->")[0]
    said = dict(re.findall(r"^\| (\d\d[a-z]?) .+? \| (.+?) \|$", block, re.M))
    assert list(said) == "00 01 02 03 04 04b 05 05b 06 07 09 10 17 18".split()
    here = {editions.number(s.stem) for s in editions.sources() if editions.target(s).exists()}
    for number, state in said.items():
        assert state == ("here today" if number in here else "planned"), f"docs/instructor.md: lesson {number}"


@pytest.mark.parametrize("sample", ["project_a", "project_b", "project_c"])
def test_a_samples_numbers_are_what_its_code_prints(sample: str) -> None:
    text = (ROOT / "docs" / "samples" / f"{sample}.md").read_text("utf-8")
    [code] = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    shown = text.split("<!-- output -->\n")[1].split("<!-- /output -->")[0].replace("```\n", "")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert re.sub(r"-?\d+\.\d+", "#", done.stdout) == re.sub(r"-?\d+\.\d+", "#", shown)
    # other processors round differently, and a sample that stands on an edge falls to the other side
    for came, wrote in zip(re.findall(r"\d+\.\d+", done.stdout), re.findall(r"\d+\.\d+", shown), strict=True):
        assert abs(float(came) - float(wrote)) <= 0.0101


@pytest.mark.parametrize("sample", ["project_a", "project_b", "project_c"])
def test_a_samples_marks_add_up_by_the_rubric(sample: str) -> None:
    text = (ROOT / "docs" / "samples" / f"{sample}.md").read_text("utf-8")
    rubric = (ROOT / "docs" / "rubric.md").read_text("utf-8")
    worth = {name: int(of) for name, of in re.findall(r"^\| \*\*(.+?)\*\* \((\d)\)", rubric, re.M)}
    given = {name: (int(m), int(of)) for name, m, of in re.findall(r"^\| (\w[\w ]+?) \| (\d) of (\d) \|", text, re.M)}
    assert {name: of for name, (_, of) in given.items()} == worth and sum(worth.values()) == 20
    total = sum(m for m, _ in given.values())
    assert f"**{total} of 20**" in text and re.search(rf"samples/{sample}\.md\)", rubric)
    assert re.search(rf"\[[^]]+, {total}\]\(samples/{sample}\.md\)", rubric)
