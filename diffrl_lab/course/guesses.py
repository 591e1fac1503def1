"""Predict, then run: guesses kept with what came out, and how well they were aimed over the whole course."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from diffrl_lab.course import progress
from diffrl_lab.course.progress import number
from diffrl_lab.widgets.guess import Guess
from diffrl_lab.widgets.guess import guess as ask
from diffrl_lab.widgets.pictures import COLOUR, MARKER, Picture, figure, look


def guess(name: str, question: str, low: float, high: float, unit: str = "", *, truth: float | None = None) -> Guess:
    """Ask for a number between `low` and `high` before it is computed; `reveal(truth)` in a later cell shows both.

    `name` is lesson and guess ("01.snap"), under which progress keeps it. Raises ValueError for another form of name.
    """
    if not re.fullmatch(r"\d\d[a-z]?\.\w+", name):
        raise ValueError(f'a guess is named by lesson and word, such as "01.snap"; got {name!r}')

    def keep(name: str, guess: float, outcome: float | None) -> None:
        # a first guess that arrives together with its truth was committed after the answer was shown
        progress.record_guess(name, guess, outcome, low, high, unit, late=outcome is not None and truth is None)

    return ask(question, low, high, unit, truth=truth, storage=keep, name=name)


@dataclass(frozen=True)
class Nothing:
    """What stands in the place of a figure that has nothing to show yet."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<p>{self.text}</p>"


def aim() -> Picture | Nothing:
    """Guesses against truths over the course, each as its place in the question's range (0: low end, 1: high end).

    The mean distance from the diagonal, in ranges, says how well the learner predicts. Guesses committed after the
    answer was shown, or kept without their range, are left out; with none left it says so.
    """
    pairs = {name: g for name, g in progress.read()["guesses"].items() if _counts(g)}
    if not pairs:
        return Nothing("No guess has met its truth yet. Commit some on the way, run this again, and they stand here.")
    at = {name: (_place(g, "truth"), _place(g, "guess")) for name, g in pairs.items()}
    off = sum(abs(mine - true) for true, mine in at.values()) / len(at)
    fig, ax = figure(3.6, width=5.4)
    ax.plot([0, 1], [0, 1], label="guess = truth", **look("exact"))
    keys = ("model", "right", "data", "warning", "goal", "left", "noise")
    for i, lesson in enumerate(sorted({number(name) for name in at})):
        mine, key = [p for name, p in at.items() if number(name) == lesson], keys[i % len(keys)]
        ax.plot(*zip(*mine, strict=True), linestyle="", marker=MARKER[key], markersize=8,
                color=COLOUR[key], label=f"lesson {lesson}")  # fmt: skip
    ax.set(xlabel="truth, on the question's scale", ylabel="your guess",
           title=f"Off by {off:.0%} on average",
           xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), box_aspect=1)  # fmt: skip
    fig.legend(loc="outside right upper")
    alt = f"{len(at)} guesses against what came out, each on the scale of its own question, beside the diagonal of a "
    return Picture(fig, f"{alt}perfect aim; they are off by {off:.0%} of the scale on average.")


def _place(g: dict[str, Any], what: str) -> float:
    return min(1.0, max(0.0, (g[what] - g["low"]) / (g["high"] - g["low"])))


def _counts(g: dict[str, Any]) -> bool:
    return g["truth"] is not None and g["low"] is not None and not g["late"]
