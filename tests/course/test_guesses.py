from __future__ import annotations

from pathlib import Path

import pytest

from diffrl_lab.course import aim, guess, progress


def test_the_first_guess_and_the_truth_are_kept_under_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFRL_PROGRESS", str(tmp_path / "progress.json"))
    for value in (0.25, 0.75):
        asked = guess("01.snap", "At which t?", 0.0, 1.0)
        asked.commit(value)
        asked.reveal(0.5)
    kept = progress.read()["guesses"]["01.snap"]
    assert (kept["guess"], kept["truth"], kept["low"], kept["high"], kept["late"]) == (0.25, 0.5, 0.0, 1.0, False)


def test_no_guess_at_all_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFRL_PROGRESS", str(tmp_path / "progress.json"))
    guess("01.snap", "At which t?", 0.0, 1.0).reveal(0.5)
    assert not (tmp_path / "progress.json").exists()


def test_a_guess_without_a_lesson_in_its_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="got 'snap'"):
        guess("snap", "At which t?", 0.0, 1.0)


def test_with_no_guess_the_figure_of_all_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFRL_PROGRESS", str(tmp_path / "progress.json"))
    assert repr(aim()).startswith("No guess has met its truth yet")
    guess("01.snap", "At which t?", 0.0, 1.0).commit(0.5)  # no truth so far
    late = guess("01.late", "And then?", 0.0, 1.0)
    late.reveal(0.5)
    late.commit(0.5)
    assert repr(aim()).startswith("No guess has met its truth yet")
    assert "01.late" not in repr(aim()) and progress.read()["guesses"]["01.late"]["late"]


def test_guesses_are_measured_in_units_of_their_questions_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFRL_PROGRESS", str(tmp_path / "progress.json"))
    for name, low, high, mine, truth in (("01.a", 0, 100, 60, 50), ("02.b", -1.0, 1.0, 0.0, 0.8), ("02.c", 0, 4, 2, 9)):
        asked = guess(name, "How much?", low, high, truth=truth if name == "01.a" else None)
        asked.commit(mine)
        asked.reveal(truth)
    picture = aim()
    at = {tuple(p) for line in picture.axes[0].lines[1:] for p in line.get_xydata().round(3).tolist()}
    assert at == {(0.5, 0.6), (0.9, 0.5), (1.0, 0.5)}  # what lies beyond the scale stands at its end
    assert "off by 33% of the scale" in picture.alt and picture.alt.startswith("3 guesses")
