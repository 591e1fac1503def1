"""Predict, then run, with the first guess and what came out kept in the learner's progress."""

from __future__ import annotations

import re

from diffrl_lab.course import progress
from diffrl_lab.widgets.guess import Guess
from diffrl_lab.widgets.guess import guess as ask


def guess(name: str, question: str, low: float, high: float, unit: str = "", *, truth: float | None = None) -> Guess:
    """Ask for a number between `low` and `high` before it is computed; `reveal(truth)` in a later cell shows both.

    `name` is lesson and guess ("01.snap"), under which progress keeps it. Raises ValueError for another form of name.
    """
    if not re.fullmatch(r"\d\d\.\w+", name):
        raise ValueError(f'a guess is named by lesson and word, such as "01.snap"; got {name!r}')
    return ask(question, low, high, unit, truth=truth, storage=progress.record_guess, name=name)
