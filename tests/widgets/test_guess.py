"""Laws of predict-then-run: the first guess stays, and a lesson runs through without one."""

from __future__ import annotations

import pytest

from diffrl_lab.widgets.guess import guess


def test_the_first_guess_stays_and_is_shown_beside_the_truth():
    asked = guess("How many of 16 plans go left?", 0, 16, "plans")
    asked.slider.value = 12
    asked.button.click()
    asked.commit(3)
    assert repr(asked.reveal(7)) == "You guessed 12 plans; what came out is 7 plans; off by 5."
    assert asked.slider.disabled and asked.value == 12


def test_a_guess_has_no_start_value_and_counts_only_once_it_was_moved():
    asked = guess("How many of 16 plans go left?", 0, 16, "plans")
    assert asked.button.disabled and not asked.slider.readout and "8" not in asked.button.description
    asked.button.click()
    assert asked.value is None
    asked.slider.value = 3
    asked.slider.value = 0  # the low end is a guess like any other, once it was chosen
    assert not asked.button.disabled and asked.slider.readout and asked.button.description == "commit 0 plans"
    asked.button.click()
    assert asked.value == 0


def test_an_unanswered_question_says_so_and_stops_nothing():
    asked = guess("What is the floor of the loss?", 0.0, 1.0)
    assert repr(asked.reveal(0.37)) == "No guess was committed. What came out: 0.37."


def test_a_guess_after_the_answer_is_called_late_wherever_it_is_shown():
    asked = guess("What is the floor of the loss?", 0.0, 1.0)
    shown = asked.reveal(0.37)
    asked.commit(0.37)
    assert "after the answer was shown" in repr(shown) and "after the answer was shown" in shown.value


def test_a_truth_given_with_the_question_is_not_shown_before_the_guess():
    asked = guess("What is the floor of the loss?", 0.0, 1.0, truth=0.371)
    assert "0.371" not in repr(asked) + asked.result.value
    asked.commit(0.5)
    assert "0.371" in repr(asked) and "0.371" in asked.result.value


def test_storage_hears_the_guess_and_then_the_truth():
    heard = []
    asked = guess("How far?", 0, 10, "m", storage=lambda *said: heard.append(said), name="00.far")
    asked.reveal(4)
    asked.commit(7)
    asked.reveal(4)
    assert heard == [("00.far", 7.0, 4.0)] * 2


def test_marks_stand_where_the_numbers_are_and_inside_the_scale():
    asked = guess("How far?", 0, 10, "m")
    asked.commit(2)
    asked.reveal(25)
    assert "left:20.0%" in asked.bars() and "left:100.0%" in asked.bars()


def test_a_guess_outside_the_scale_is_refused():
    with pytest.raises(ValueError, match="between 0 and 10 m; got 11"):
        guess("How far?", 0, 10, "m").commit(11)
    with pytest.raises(ValueError, match="low < high"):
        guess("How far?", 5, 5)
