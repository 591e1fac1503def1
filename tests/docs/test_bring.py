"""The page on bringing samples, tried as it is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from diffrl_lab.analysis import diagnose
from diffrl_lab.analysis.findings import MATTERS, QUESTIONS
from diffrl_lab.cli import app
from diffrl_lab.files import ROOT

PAGE = (ROOT / "docs" / "bring_your_samples.md").read_text("utf-8")


def test_every_piece_of_python_runs_and_its_asserts_hold(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S):
        exec(block, names)  # noqa: S102
    assert capsys.readouterr().out.startswith("collapsed (modes lost, weights shifted")


def test_the_command_writes_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("samples.npy", rng.standard_normal((60, 2)))
    np.save("data.npy", rng.standard_normal((60, 2)))
    [line] = re.findall(r"^```bash\n(.*?)\n```", PAGE, re.M | re.S)
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    said = set(re.findall(r"`(?:diagnosis)?(\.(?:json|csv|svg|pdf|html))`", PAGE))
    assert {p.suffix for p in (tmp_path / "report").iterdir()} == said == {".json", ".csv", ".svg", ".pdf", ".html"}


def test_the_table_names_every_question_with_what_matters() -> None:
    for name, question in QUESTIONS.items():
        [row] = [line for line in PAGE.splitlines() if line.startswith(f"| {question} |")]
        assert row.endswith(f"| {MATTERS.get(name, 'the smallest mode')} |"), row


def test_the_shapes_of_the_table_are_taken() -> None:
    rng = np.random.default_rng(0)
    for shape in [(30,), (30, 3), (30, 6, 2), (30, 1, 4, 4)]:
        assert diagnose(rng.standard_normal(shape), rng.standard_normal(shape)).findings
