"""Every exercise, found by glob: its right answers pass, its wrong ones fail with their own message."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

from diffrl_lab.course import checks, editions
from diffrl_lab.course.mutations import mutants

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
    found = list(mutants(name, seed))
    assert [m for m in found if not m.killed] == []
    assert len({m.message for m in found}) == len(found), "two slips get one message"
    blind = "your code raised|could not be compared|on input \\d+ your answer is"
    assert not [m for m in found if re.search(blind, m.message)]


def test_at_least_four_slips_have_the_form_of_a_right_answer(name: str) -> None:
    found = list(mutants(name))
    fragments = [fragment for (_, fragment), m in zip(checks.load(name).WRONG, found, strict=True) if m.formed]
    assert len(set(fragments)) == len(fragments) >= 4, fragments


def test_right_answers_are_written_differently(name: str) -> None:
    right = checks.load(name).RIGHT
    written = {inspect.getsource(a).partition("(")[2] if callable(a) else repr(a) for a in right}
    assert len(written) == len(right) >= 2


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
    lesson = "".join(p.read_text("utf-8") for p in editions.sources([editions.number(name)]))
    assert re.search(rf'check\("{re.escape(name)}"', lesson), f"no lesson checks {name}"
