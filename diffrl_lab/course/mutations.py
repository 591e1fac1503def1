"""Mutation-tested checks: what every exercise says to its wrong answers. `python -m diffrl_lab.course.mutations`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffrl_lab.course import checks, judging
from diffrl_lab.files import arguments


@dataclass(frozen=True)
class Mutant:
    """A wrong answer of an exercise: `killed` by the message meant for it; `formed`: only its numbers are wrong."""

    exercise: str
    number: int
    message: str
    killed: bool
    formed: bool


def mutants(exercise: str, seed: int = 0) -> Iterator[Mutant]:
    """Every wrong answer kept beside an exercise, judged on the cases of a seed."""
    module = checks.load(exercise)
    cases = module.cases(seed)
    right = [form(a) for a in judging.answers(module, module.RIGHT[0], cases)]
    for number, (answer, fragment) in enumerate(module.WRONG, 1):
        said = checks.verdict(exercise, answer, seed)
        try:
            formed = [form(a) for a in judging.answers(module, answer, cases)] == right
        except (judging.Mistake, NotImplementedError):
            formed = False
        yield Mutant(exercise, number, said.message, said.ok is False and fragment in said.message, formed)


def form(answer: Any) -> tuple[tuple[int, ...], str, bool]:
    """Shape, kind of number (f, i, b, U, ...) and whether all are finite, of a plain answer."""
    array = np.asarray(answer)
    return array.shape, array.dtype.kind, bool(np.isfinite(array).all()) if array.dtype.kind in "fc" else True


def main() -> None:
    """Print the table: exercise, wrong answer, the message that it gets; and how many there are."""
    every = [m for name in checks.exercises() for m in mutants(name)]
    print("| exercise | wrong answer | rejected with |\n|---|---:|---|")
    for m in every:
        note = "" if m.formed else " (its form is the slip)"
        print(f"| {m.exercise} | {m.number} | {m.message if m.killed else 'NOT REJECTED AS MEANT'}{note} |")
    right = sum(len(checks.load(name).RIGHT) for name in checks.exercises())
    print(
        f"\n{len(checks.exercises())} exercises, {right} right answers, {len(every)} wrong ones, "
        f"{sum(m.killed for m in every)} rejected with a message of their own"
    )


if __name__ == "__main__":
    arguments("python -m diffrl_lab.course.mutations", __doc__)
    main()
