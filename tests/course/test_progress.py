from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffrl_lab.cli import app
from diffrl_lab.course import overview, progress


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my" / "progress.json"
    monkeypatch.setenv("DIFFRL_PROGRESS", str(path))
    return path


def test_attempts_are_counted_and_the_first_success_is_kept(file: Path) -> None:
    for ok in (False, True, False, True):
        progress.record_attempt("01.a", ok)
    entry = json.loads(file.read_text())["exercises"]["01.a"]
    assert {k: entry[k] for k in ("attempts", "solved", "opened")} == {"attempts": 4, "solved": 2, "opened": 0}


def test_time_runs_from_event_to_event_and_breaks_do_not_count(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "time", lambda: now[0])
    progress.record_attempt("01.a", None)  # the stub: the learner begins to think
    for wait, event in (
        (60, lambda: progress.record_attempt("01.a", False)),
        (30, lambda: progress.record_opening("01.a", 1)),
        (progress.BREAK + 1, lambda: progress.record_attempt("01.a", False)),  # lunch
        (10, lambda: progress.record_guess("01.g", 3, None, 0, 10)),  # nobody's time
        (5, lambda: progress.record_attempt("01.b", True)),
        (-50, lambda: progress.record_attempt("01.b", True)),  # a clock that was set back
    ):
        now[0] += wait
        event()
    kept = progress.read()["exercises"]
    assert (kept["01.a"]["seconds"], kept["01.b"]["seconds"]) == (90, 5)


def test_the_first_guess_stays(file: Path) -> None:
    progress.record_guess("01.g", 3, None, 0, 10, "m")
    progress.record_guess("01.g", 4, 5, 0, 10, "m", late=True)
    wanted = {"guess": 3, "truth": 5, "low": 0, "high": 10, "unit": "m", "late": False}
    assert progress.read()["guesses"] == {"01.g": wanted}


def test_a_file_of_the_first_version_is_read_on(file: Path) -> None:
    file.parent.mkdir()
    old = {"version": 1, "exercises": {"01.a": {"attempts": 3, "solved": 3, "opened": 1}},
           "guesses": {"01.g": {"guess": 3, "truth": 5}}}  # fmt: skip
    file.write_text(json.dumps(old))
    progress.record_attempt("01.a", True)
    kept = json.loads(file.read_text())
    assert kept["version"] == progress.VERSION and kept["exercises"]["01.a"]["attempts"] == 4
    assert kept["guesses"]["01.g"]["guess"] == 3 and not list(file.parent.glob("progress.1.json"))


def test_two_notebooks_at_once_lose_no_attempt(file: Path) -> None:
    code = "from diffrl_lab.course import progress\nfor _ in range(60): progress.record_attempt('01.a', False)"
    for one in [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]:
        assert one.wait() == 0
    assert progress.read()["exercises"]["01.a"]["attempts"] == 180


def test_it_is_exported_only_on_request_and_whole(file: Path, tmp_path: Path) -> None:
    progress.record_opening("01.draw", 2)
    shown = CliRunner().invoke(app, ["progress"])
    assert shown.exit_code == 0 and "DDPM from scratch" in shown.output
    assert sorted(p.name for p in tmp_path.rglob("*.json")) == ["progress.json"]
    assert CliRunner().invoke(app, ["progress", "--export", str(tmp_path / "mine.json")]).exit_code == 0
    assert json.loads((tmp_path / "mine.json").read_text()) == progress.read()
    assert CliRunner().invoke(app, ["progress", "--export", str(tmp_path)]).exit_code == 2


def test_the_overview_counts_what_is_solved_and_what_is_begun(file: Path) -> None:
    assert "exercises wait" in repr(overview())
    progress.record_attempt("01.betas", True)
    progress.record_attempt("01.draw", False)
    progress.record_opening("01.draw", 2)
    shown = overview()
    row = next(line for line in repr(shown).splitlines() if line.startswith("01"))
    assert "●◐" in row and row.split()[-1] == "2"
    assert shown.text.startswith("1 of ") and "1 in the making" in shown.text and "●◐" in shown._repr_html_()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 99}',
        '{"version": 1, "exercises": {"a": 3}, "guesses": {}}',
        "\x00\xff",
        '{"version": 2, "last": 1, "exercises": {}, "guesses": {"01.g": {"guess": "much"}}}',
        '{"version": 2, "last": "yesterday", "exercises": {}, "guesses": {}}',
        '{"version": 1, "exercises": [1], "guesses": {}}',
    ],
)
def test_a_broken_or_foreign_file_is_set_aside_and_never_lost(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text, encoding="latin-1")
    with pytest.warns(UserWarning, match="set aside as progress.1.json"):
        progress.record_attempt("01.a", True)
    assert (file.parent / "progress.1.json").read_text(encoding="latin-1") == text
    assert progress.read()["exercises"]["01.a"]["solved"] == 1


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flat").write_text("a file where a folder should be")
    monkeypatch.setenv("DIFFRL_PROGRESS", str(tmp_path / "flat" / "progress.json"))
    progress.record_attempt("01.a", True)
    assert progress.opened("01.a") == 0


def test_nothing_half_written_is_left_beside_it(file: Path) -> None:
    progress.record_attempt("01.a", False)
    assert {p.name for p in file.parent.iterdir()} <= {"progress.json", ".progress.json.lock"}


def test_switched_off_it_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFRL_PROGRESS", "off")
    assert progress.path() is None
    progress.record_opening("01.a", 2)
    assert progress.opened("01.a") == 2
