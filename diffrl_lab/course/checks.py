"""Instant checks: an answer is held against laws and oracles in milliseconds, and the verdict names the mistake.

An exercise "01.posterior_mean" is one file, `exercises/e01_posterior_mean.py`, which holds
    cases(seed) -> list[dict]          inputs: plain numpy arrays, numbers and names (of fixtures);
    judge(cases, answers) -> Verdict   compares plain answers, one per case; it never sees the learner's code;
    ask(answer, case)                  optional, how a case is put: by default answer(**case), arrays as tensors;
    HINTS                              a hint, then a broader one;
    RIGHT                              answers that must pass, written differently; the first is the solution shown;
    WRONG                              pairs (answer, fragment of its verdict) that must fail;
    PROPERTIES                         optional, {name: (cases, answers) -> bool}: what earns a part of the marks; by
                                       default each input, or each group of inputs that share their words.
Because cases and answers are plain, the two halves can run apart: `answers` beside the learner's code, `judge` where
the learner's code never is.
"""

from __future__ import annotations

import html
import importlib
import inspect
import linecache
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from diffrl_lab.course import progress

UNSOLVED = "exercise not solved yet"


@dataclass(frozen=True)
class Verdict:
    """What a check says: `ok` is True (solved), False (a mistake, named in `message`) or None (not solved yet)."""

    ok: bool | None
    message: str
    exercise: str = ""

    def __bool__(self) -> bool:
        return self.ok is True

    def __repr__(self) -> str:
        return "\n  ".join(filter(None, (f"{self._sign()} {self._sentence()}", self._next())))

    def _sign(self) -> str:
        return {True: "✓", False: "✗", None: "○"}[self.ok]

    def _sentence(self) -> str:
        return f"{self.exercise}: {self.message}" if self.exercise else self.message

    def _next(self) -> str:
        return "" if self.ok or not self.exercise else f'hint("{self.exercise}") opens a hint'

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

    def _repr_html_(self) -> str:
        colour = _colour(self.ok)
        return (
            f'<div style="border-left: 4px solid {colour}; padding: 2px 10px">'
            f'<b style="color: {colour}">{self._sign()}</b> '
            f"{html.escape(self._sentence())}<br><small>{html.escape(self._next())}</small></div>"
        )


class Mistake(Exception):
    """An answer that cannot be judged; its text is the verdict."""


def exercises(lesson: str = "") -> list[str]:
    """Names of all exercises ("01.posterior_mean"), or of one lesson's ("01")."""
    files = sorted(Path(__file__).with_name("exercises").glob("e[0-9][0-9]_*.py"))
    names = [f"{file.stem[1:3]}.{file.stem[4:]}" for file in files]
    return [name for name in names if name.startswith(lesson)]


def load(exercise: str) -> ModuleType:
    """The module of an exercise. Raises ValueError for a name that no file answers to."""
    if exercise not in exercises():
        known = ", ".join(exercises(exercise[:2])) or ", ".join(exercises()) or "none"
        raise ValueError(f"no exercise is called {exercise!r}; known are: {known}")
    return importlib.import_module(f"diffrl_lab.course.exercises.e{exercise.replace('.', '_')}")


def plain(value: Any) -> Any:
    """`value` without tensors or code: arrays, numbers, strings, containers of them. Raises Mistake for the rest."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().resolve_conj().resolve_neg().numpy()
    if isinstance(value, (tuple, list)):
        return type(value)(plain(v) for v in value) if type(value) in (tuple, list) else tuple(plain(v) for v in value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray) and value.dtype == object:
        raise Mistake("your answer is an array of objects, not of numbers")
    if isinstance(value, (np.ndarray, np.generic, bool, int, float, complex, str)) or value is None:
        return value
    raise Mistake(f"your answer is a {type(value).__name__}; a tensor, an array or a number is wanted")


def put(answer: Any, case: Mapping[str, Any]) -> Any:
    """Put one case to an answer: a function gets its entries by name, arrays as tensors; a value stands for itself."""
    if not callable(answer):
        return answer
    return answer(**{k: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in case.items()})


def answers(module: ModuleType, answer: Any, cases: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The plain answers to `cases`. Raises NotImplementedError for a stub, Mistake for what cannot be judged."""
    found = [one(getattr(module, "ask", put), answer, case) for case in cases]
    if all(f is None for f in found):
        raise NotImplementedError
    for case, value in zip(cases, found, strict=True):
        if value is None:
            raise Mistake(returned_nothing(case))
    return found


def one(ask: Callable[[Any, Mapping[str, Any]], Any], answer: Any, case: Mapping[str, Any]) -> Any:
    """The plain answer to one case, as `ask` puts it. Raises NotImplementedError for a stub, else Mistake."""
    try:
        return plain(ask(answer, case))
    except (NotImplementedError, Mistake):
        raise
    except (Exception, SystemExit) as error:
        raise Mistake(_complaint(error, answer, case)) from error


def returned_nothing(case: Mapping[str, Any]) -> str:
    """The sentence for a function that returns None on one input of several."""
    return f"your function returns None for {_sketch(case)}: is a return missing on one of its paths?"


def properties(
    module: ModuleType, cases: Sequence[Mapping[str, Any]], answers: Sequence[Any], right: Sequence[Any]
) -> dict[str, bool]:
    """What answers got right, name -> whether it holds, each worth the same part of an exercise's marks.

    These are the module's PROPERTIES. By default there is one for each group of inputs, which holds when `judge`
    accepts the answers to that group with the right answers in place of all others. `answers` holds None where none
    came. Answers that are the same to every input, where the right ones are not, get nothing: they ignore the input.
    """
    if hasattr(module, "PROPERTIES"):
        return {name: _holds(holds, cases, answers) for name, holds in module.PROPERTIES.items()}
    blind = len(cases) > 1 and _all_equal(answers) and not _all_equal(right)

    def accepted(group: Sequence[int]) -> bool:
        mixed = [answers[i] if i in group else right[i] for i in range(len(cases))]
        return all(answers[i] is not None for i in group) and _holds(module.judge, cases, mixed)

    return {name: not blind and accepted(group) for name, group in _groups(cases).items()}


def _groups(cases: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Numbers of the cases that belong together: those that share their words, or else at most six runs of them."""
    words = [", ".join(f"{k} = {v}" for k, v in case.items() if isinstance(v, str)) for case in cases]
    if len(set(words)) > 1:
        return {word: [i for i, w in enumerate(words) if w == word] for word in dict.fromkeys(words)}
    runs = [[int(i) for i in run] for run in np.array_split(np.arange(len(cases)), min(len(cases), 6))]
    return {f"input {r[0] + 1}" if len(r) == 1 else f"inputs {r[0] + 1} to {r[-1] + 1}": r for r in runs}


def _holds(holds: Callable[..., Any], cases: Sequence[Mapping[str, Any]], answers: Sequence[Any]) -> bool:
    try:
        return bool(holds(cases, answers))
    except Exception:  # answers of a shape or kind that the property did not expect
        return False


def _all_equal(values: Sequence[Any]) -> bool:
    return all(_equal(values[0], v) for v in values[1:])


def _equal(a: Any, b: Any) -> bool:
    """Whether two plain values are the same; ragged lists, which are no arrays, are compared one by one."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    try:
        return bool(np.array_equal(np.asarray(a), np.asarray(b)))
    except ValueError:  # a list against an array
        return False


def verdict(exercise: str, answer: Any, seed: int = 0) -> Verdict:
    """Judge an answer on the cases of a seed; nothing is recorded, nothing raised whatever the answer does."""
    module = load(exercise)
    cases = module.cases(seed)
    try:
        with torch.random.fork_rng(devices=[]):
            found = answers(module, answer, cases)
    except NotImplementedError:
        return Verdict(None, UNSOLVED, exercise)
    except Mistake as mistake:
        return Verdict(False, str(mistake), exercise)
    try:
        return replace(module.judge(cases, found), exercise=exercise)
    except Exception as error:  # an answer of a shape or kind that the judge did not expect
        return Verdict(False, f"your answer could not be compared ({type(error).__name__}: {error})", exercise)


def check(exercise: str, answer: Any) -> Verdict:
    """Judge `answer` (a function or a value) to an exercise such as "01.posterior_mean", and count the attempt.

    Returns a Verdict that displays itself. Raises ValueError only for a name that no exercise has.
    """
    judged = verdict(exercise, answer)
    progress.record_attempt(exercise, judged.ok)
    return judged


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
    """All rungs of an exercise: its hints, then the solution."""
    module = load(exercise)
    top = len(module.HINTS) + 1
    solution = module.RIGHT[0]
    source = textwrap.dedent(inspect.getsource(solution)) if callable(solution) else repr(solution)
    rungs = [Rung(f"{exercise}, rung {i} of {top}: a hint", text) for i, text in enumerate(module.HINTS, 1)]
    return [*rungs, Rung(f"{exercise}, rung {top} of {top}: a solution", source, code=True)]


def hint(exercise: str, rung: int | None = None) -> Rung:
    """Open the next rung of an exercise's ladder (hint, hint, solution), or the rung of that number, counted from 1."""
    rungs = ladder(exercise)
    if rung is None:
        rung = min(progress.opened(exercise) + 1, len(rungs))
    if not 1 <= rung <= len(rungs):
        raise ValueError(f"{exercise} has rungs 1 to {len(rungs)}, not {rung}")
    progress.record_opening(exercise, rung)
    return rungs[rung - 1]


def letters(answer: Any) -> tuple[str, ...]:
    """The answer to a multiple-choice exercise as small letters: ("b", "a") or "B A" -> ("b", "a")."""
    return tuple(str(a).strip().lower() for a in (answer.split() if isinstance(answer, str) else answer))


def by_letter(
    answer: Any, wanted: Sequence[str], slips: Mapping[tuple[int, str], str], right: str = "right"
) -> Verdict:
    """Judge letters a to c, one per question; `slips` maps (question, letter) to what that letter mistakes."""
    came = letters(answer)
    if len(came) != len(wanted) or not set(came) <= set("abc"):
        return Verdict(False, f'three letters are wanted, such as ("a", "b", "c"); you gave {answer!r}')
    for i, (mine, its) in enumerate(zip(came, wanted, strict=True)):
        if mine != its:
            return Verdict(False, slips[i, mine])
    return Verdict(True, right)


def questions(wanted: Sequence[str]) -> dict[str, Any]:
    """PROPERTIES of a multiple-choice exercise: each question earns its part."""
    return {
        f"question {i + 1}": lambda cases, answers, i=i: letters(answers[0])[i] == wanted[i] for i in range(len(wanted))
    }


def match(
    answers: Sequence[Any],
    truth: Sequence[Any],
    slips: Mapping[str, Sequence[Any]] | None = None,
    right: str = "right",
    rtol: float = 1e-5,
    atol: float = 1e-7,
) -> Verdict:
    """Compare answers with the truth, an array or number per case; on a difference name the slip that gives these.

    `slips` maps a message to what that slip would have answered to the same cases; the truth is compared first.
    """
    wanted = [np.asarray(t) for t in truth]
    try:
        came = [
            np.asarray(a, dtype=float if w.dtype.kind in "fiub" else None) for a, w in zip(answers, wanted, strict=True)
        ]
    except (TypeError, ValueError):
        return Verdict(False, f"your answer is {answers[0]!r}; numbers are wanted")
    for a, w in zip(came, wanted, strict=True):
        if a.shape != w.shape:
            return Verdict(False, f"your answer has shape {a.shape}; shape {w.shape} is wanted")
        if w.dtype.kind == "f" and not np.isfinite(a).all():
            return Verdict(
                False, "your answer holds nan or inf: is something divided by 0, or a root taken of a negative number?"
            )

    def same(others: Sequence[Any]) -> bool:
        return all(_close(a, np.asarray(o), rtol, atol) for a, o in zip(came, others, strict=True))

    if same(wanted):
        return Verdict(True, right)
    for message, slip in (slips or {}).items():
        if same(slip):
            return Verdict(False, message)
    worst = max(
        range(len(came)),
        key=lambda i: float(np.abs(came[i] - wanted[i]).max()) if wanted[i].dtype.kind in "fiub" else 0,
    )
    flat, off = came[worst].ravel(), wanted[worst].ravel()
    where = int(np.abs(flat - off).argmax()) if wanted[worst].dtype.kind in "fiub" else 0
    return Verdict(False, f"on input {worst + 1} your answer is {flat[where]:.4g} where {off[where]:.4g} is right")


def _close(a: np.ndarray, b: np.ndarray, rtol: float, atol: float) -> bool:
    if a.shape != b.shape:
        return False
    return bool(np.allclose(a, b, rtol, atol)) if b.dtype.kind in "fiub" else bool((a == b).all())


def _complaint(error: BaseException, answer: Any, case: Mapping[str, Any]) -> str:
    """One sentence about an exception: what was raised, by which of the learner's lines, for which input."""
    own = getattr(getattr(answer, "__code__", None), "co_filename", None)
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    line = (lines[-1].line or linecache.getline(lines[-1].filename, lines[-1].lineno or 0)).strip() if lines else ""
    at = f" in the line `{line}`" if line else ""
    return f"your code raised {type(error).__name__}: {error}{at}, called with {_sketch(case)}"


def _sketch(case: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{k} of shape {v.shape}" if isinstance(v, np.ndarray) else f"{k}={v!r}" for k, v in case.items())
        or "nothing"
    )


def _colour(ok: bool | None) -> str:
    from diffrl_lab.widgets.views import COLOUR

    return COLOUR[{True: "data", False: "right", None: "noise"}[ok]]
