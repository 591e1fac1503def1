"""The pages *How do I ...*, tried as they are written."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from diffrl_lab.cli import app
from diffrl_lab.files import ROOT

DOCS = ROOT / "docs"
PAGES = ["your_environment", "your_dataset", "your_network", "your_method", "figure"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def tried(text: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a page's Python in this folder, its files (a first line `# name.py`) written first. -> its names"""
    for number, block in enumerate(blocks(text, "python")):
        own = re.match(r"# (\w+\.py)\n", block)
        file = Path(own[1] if own else f"page_{number}.py").resolve()  # a sweep reads the source of its function
        file.write_text(block, "utf-8")
        if not own:
            exec(compile(block, str(file), "exec"), names)  # noqa: S102
    return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("weighted", "my_study"):  # what the pages write
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_every_piece_of_python_runs_and_its_asserts_hold(page: str, folder: Path) -> None:
    text = (DOCS / f"{page}.md").read_text("utf-8")
    assert blocks(text, "python") and "assert " in text
    tried(text, {"__name__": "__main__"})
    for line in (line for block in blocks(text, "bash") for line in block.splitlines()):
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, done.output


def test_the_method_has_at_most_150_lines_and_the_four_headings() -> None:
    pieces = blocks((DOCS / "your_method.md").read_text("utf-8"), "python")
    [file] = [piece for piece in pieces if piece.startswith("# weighted.py")]
    places = [file.find(h) for h in ("What is diffused:", "What is learned:", "How it acts:", "What differs from the")]
    assert file.count("\n") <= 150 and -1 not in places and places == sorted(places)


def test_the_figure_has_truetype_fonts_and_words_that_stay_words(folder: Path) -> None:
    tried((DOCS / "figure.md").read_text("utf-8"), {"__name__": "__main__"})
    assert b"/Type42" in Path("error.pdf").read_bytes() or b"/FontFile2" in Path("error.pdf").read_bytes()
    assert ">error</text>" in Path("error.svg").read_text("utf-8")


MEASURE = """
import numpy as np

def measure(w, steps, seed):
    return {"success": float(np.random.default_rng([seed, int(w), steps]).random())}
"""


def test_a_sweep_runs_here_in_two_processes_and_on_a_cluster_as_the_page_says(folder: Path) -> None:
    from distributed import LocalCluster

    block = blocks((DOCS / "clusters.md").read_text("utf-8"), "python")[0]
    Path("my_study.py").write_text(MEASURE, "utf-8")
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        names: dict[str, Any] = {}
        exec(block.replace("tcp://host:8786", cluster.scheduler_address), names)  # noqa: S102
    assert len(names["table"].rows) == 5 * 2 * 5 and Path("data/results/my_study.json").exists()
