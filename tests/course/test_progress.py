from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffrl_lab.course import progress


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my" / "progress.json"
    monkeypatch.setenv("DIFFRL_PROGRESS", str(path))
    return path


def test_attempts_are_counted_and_the_first_success_is_kept(file: Path) -> None:
    for ok in (False, True, False, True):
        progress.record_attempt("01.a", ok)
    assert json.loads(file.read_text())["exercises"]["01.a"] == {"attempts": 4, "solved": 2, "opened": 0}


def test_the_first_guess_stays(file: Path) -> None:
    progress.record_guess("01.g", 3)
    progress.record_guess("01.g", 4, truth=5)
    assert progress.read()["guesses"]["01.g"] == {"guess": 3, "truth": 5}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 99}', '{"version": 1, "exercises": {"a": 3}, "guesses": {}}', "\x00\xff"]
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
    assert [p.name for p in file.parent.iterdir()] == ["progress.json"]


def test_switched_off_it_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFRL_PROGRESS", "off")
    assert progress.path() is None
    progress.record_opening("01.a", 2)
    assert progress.opened("01.a") == 2
