"""What a learner calls: `check` judges an answer at once, `hint` opens the next rung of its ladder, `mine` uses it.

An exercise "01.posterior_mean" is one file, `exercises/e01_posterior_mean.py`, which holds
    cases(seed) -> list[dict]          inputs: plain numpy arrays, numbers and names (of fixtures);
    judge(cases, answers) -> Verdict   compares plain answers, one per case; it never sees the learner's code;
    ask(answer, case)                  optional, how a case is put: by default answer(**case), arrays as tensors;
    HINTS                              a hint, then a broader one;
    RIGHT                              answers that must pass, written differently; the first is the solution shown;
    WRONG                              pairs (answer, fragment of its verdict) that must fail;
    PROPERTIES                         optional, {name: (cases, answers) -> bool}: what earns a part of the marks; by
                                       default each input, or each group of inputs that share their words.
`judging` has what these are made of.
"""

from __future__ import annotations

import html
import importlib
import inspect
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from diffrl_lab.course import judging, progress
from diffrl_lab.course.progress import number

_PASSED: dict[str, Any] = {}  # the last answer to each exercise that passed in this kernel


class Offer(judging.Verdict):
    """A verdict with the hints of its exercise at hand."""

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Where widgets run, a button opens the hints of an exercise that is not solved, one press for each rung."""
        if self.ok or not self.exercise:
            return {}
        from diffrl_lab.widgets.ladder import Ladder

        top = len(ladder(self.exercise))
        following = min(progress.opened(self.exercise) + 1, top)

        def label() -> str:
            return "open a solution" if following == top else f"open hint {following} of {top - 1}"

        def climb() -> tuple[str, str | None]:
            nonlocal following
            rung = hint(self.exercise, following)
            following += 1
            return rung._repr_html_(), label() if following <= top else None

        live = Ladder(self._repr_html_(), label(), climb)._repr_mimebundle_(**kwargs) or {}
        return {**live, "text/plain": repr(self), "text/html": self._repr_html_()}  # where no widget runs


def exercises(lesson: str = "") -> list[str]:
    """Names of all exercises ("01.posterior_mean"), or of one lesson's ("01")."""
    files = sorted(Path(__file__).with_name("exercises").glob("e[0-9][0-9]*_*.py"))
    names = [file.stem[1:].replace("_", ".", 1) for file in files]
    return [name for name in names if not lesson or number(name) == lesson]


def load(exercise: str) -> ModuleType:
    """The module of an exercise. Raises ValueError for a name that no file answers to."""
    if exercise not in exercises():
        names = ", ".join(exercises(number(exercise))) or ", ".join(exercises()) or "none"
        raise ValueError(f"no exercise is called {exercise!r}; known are: {names}")
    return importlib.import_module(f"diffrl_lab.course.exercises.e{exercise.replace('.', '_')}")


def verdict(exercise: str, answer: Any, seed: int = 0) -> judging.Verdict:
    """Judge an answer on the cases of a seed, without recording it.

    Raises ValueError only for a name that no exercise has, whatever the answer does.
    """
    module = load(exercise)
    cases = module.cases(seed)
    try:
        with torch.random.fork_rng(devices=[]):
            came = judging.answers(module, answer, cases)
    except NotImplementedError:
        return judging.Verdict(None, judging.UNSOLVED, exercise)
    except judging.Mistake as mistake:
        return judging.Verdict(False, str(mistake), exercise)
    return replace(judging.judge(module, cases, came), exercise=exercise)


def check(exercise: str, answer: Any) -> judging.Verdict:
    """Judge `answer` (a function or a value) to an exercise such as "01.posterior_mean", and count the attempt.

    Returns a Verdict that displays itself. Raises ValueError only for a name that no exercise has.
    """
    judged = verdict(exercise, answer)
    progress.record_attempt(exercise, judged.ok)
    if judged.ok:
        _PASSED[exercise] = answer
    return Offer(**vars(judged))


def mine(exercise: str) -> Any:
    """The learner's answer to an exercise once its check has passed in this kernel, until then the course's own.

    A lesson goes on with what it returns, and a printed line says whose it is. Raises ValueError for a name that no
    exercise has.
    """
    own = load(exercise).RIGHT[0]
    if exercise in _PASSED:
        print(f"✓ The lesson goes on with your {exercise}.")
        return _PASSED[exercise]
    print(f"○ The lesson goes on with the course's {exercise}, until yours has passed its check.")
    return own


@dataclass(frozen=True)
class Rung:
    """One rung of an exercise's ladder: hints first, the solution last."""

    title: str
    text: str
    code: bool = False

    def __repr__(self) -> str:
        return f"{self.title}\n{self.text}"

    def _repr_html_(self) -> str:
        body = f"<pre>{html.escape(self.text)}</pre>" if self.code else f"<p>{html.escape(self.text)}</p>"
        return f"<div><b>{html.escape(self.title)}</b>{body}</div>"


def ladder(exercise: str) -> list[Rung]:
    """All rungs of an exercise: its hints, then the solution. Raises ValueError for a name that no exercise has."""
    module = load(exercise)
    top = len(module.HINTS) + 1
    solution = module.RIGHT[0]
    source = textwrap.dedent(inspect.getsource(solution)) if callable(solution) else repr(solution)
    rungs = [Rung(f"{exercise}, rung {i} of {top}: a hint", text) for i, text in enumerate(module.HINTS, 1)]
    return [*rungs, Rung(f"{exercise}, rung {top} of {top}: a solution", source, code=True)]


def hint(exercise: str, rung: int | None = None) -> Rung:
    """Open the next rung of an exercise's ladder (hint, hint, solution), or the rung of that number, counted from 1.

    Raises ValueError for a number that the ladder does not have, and for a name that no exercise has.
    """
    rungs = ladder(exercise)
    if rung is None:
        rung = min(progress.opened(exercise) + 1, len(rungs))
    if not 1 <= rung <= len(rungs):
        raise ValueError(f"{exercise} has rungs 1 to {len(rungs)}, not {rung}")
    progress.record_opening(exercise, rung)
    return rungs[rung - 1]
