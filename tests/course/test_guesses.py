from __future__ import annotations

from pathlib import Path

import pytest

from diffrl_lab.course import guess, progress


def test_the_first_guess_and_the_truth_are_kept_under_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFRL_PROGRESS", str(tmp_path / "progress.json"))
    for value in (0.25, 0.75):
        asked = guess("01.snap", "At which t?", 0.0, 1.0)
        asked.commit(value)
        asked.reveal(0.5)
    assert progress.read()["guesses"] == {"01.snap": {"guess": 0.25, "truth": 0.5}}


def test_no_guess_at_all_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFRL_PROGRESS", str(tmp_path / "progress.json"))
    guess("01.snap", "At which t?", 0.0, 1.0).reveal(0.5)
    assert not (tmp_path / "progress.json").exists()


def test_a_guess_without_a_lesson_in_its_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="got 'snap'"):
        guess("snap", "At which t?", 0.0, 1.0)
