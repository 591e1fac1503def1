"""Every exercise, found by glob: its right answers pass, its wrong ones fail with their own message."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from diffrl_lab.course import checks
from diffrl_lab.course.lessons import ROOT

NAMES = checks.exercises()
pytestmark = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_right_answers_pass_however_they_are_written(name: str, seed: int) -> None:
    right = checks.load(name).RIGHT
    assert len(right) >= 2
    for answer in right:
        verdict = checks.verdict(name, answer, seed)
        assert verdict.ok, f"{getattr(answer, '__name__', answer)}: {verdict}"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_slip_is_rejected_with_its_own_message(name: str, seed: int) -> None:
    for answer, fragment in checks.load(name).WRONG:
        verdict = checks.verdict(name, answer, seed)
        assert verdict.ok is False and fragment in verdict.message, f"wanted {fragment!r}, got {verdict}"
        assert "your code raised" not in verdict.message and "could not be compared" not in verdict.message


def test_at_least_four_slips_are_told_apart(name: str) -> None:
    fragments = [fragment for _, fragment in checks.load(name).WRONG]
    assert len(fragments) >= 4 and len(set(fragments)) >= 3, fragments


def test_no_answer_at_all_says_so_and_stops_nothing(name: str) -> None:
    def stub(*args: object, **kwargs: object) -> None:
        raise NotImplementedError

    for answer in (None, stub, lambda *args, **kwargs: None):
        assert checks.verdict(name, answer).ok is None


def test_answers_of_the_wrong_kind_get_a_verdict(name: str) -> None:
    for odd in ("banana", np.array([np.nan]), {}, [], 1j, object(), -1.5e300):
        assert checks.verdict(name, lambda *args, _odd=odd, **kwargs: _odd).ok is False


def test_cases_are_plain_so_that_they_can_travel_to_another_process(name: str) -> None:
    for case in checks.load(name).cases(3):
        for key, value in case.items():
            assert isinstance(value, (np.ndarray, int, float, str, bool)), f"{key} is a {type(value).__name__}"
            assert not isinstance(value, np.ndarray) or value.dtype != object


def test_the_ladder_has_hints_and_ends_in_an_answer_that_passes(name: str) -> None:
    rungs = checks.ladder(name)
    assert len(rungs) >= 3 and rungs[-1].code and all(len(r.text) >= 20 for r in rungs[:-1])


def test_a_lesson_asks_it(name: str) -> None:
    lesson = "".join(p.read_text("utf-8") for p in Path(ROOT, "notebooks", "source").glob(f"{name[:2]}_*.py"))
    assert re.search(rf'check\("{re.escape(name)}"', lesson), f"no lesson checks {name}"
