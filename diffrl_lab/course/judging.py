"""How an answer is judged: cases are put to it, what comes back is made plain, and plain values are compared.

Because cases and answers are plain (arrays, numbers, strings), the two halves can run apart: `answers` beside the
learner's code, `judge`, `match`, `by_letter` and `properties` where the learner's code never is. A `Verdict` names the
mistake, and shows the input on which it came out.
"""

from __future__ import annotations

import html
import inspect
import linecache
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import torch

UNSOLVED = "exercise not solved yet"


@dataclass(frozen=True)
class Verdict:
    """What a check says: `ok` is True (solved), False (a mistake, named in `message`) or None (not solved yet).

    A judge that compares numbers says in `input` at which case, counted from 0, they differ; `judge` below writes that
    case into `given`, as lines of Python.
    """

    ok: bool | None
    message: str
    exercise: str = ""
    input: int | None = None
    given: str = ""

    def __bool__(self) -> bool:
        return self.ok is True

    def __repr__(self) -> str:
        return "\n  ".join(filter(None, (f"{self._sign()} {self._sentence()}", *self.given.split("\n"), self._next())))

    def _sign(self) -> str:
        return {True: "✓", False: "✗", None: "○"}[self.ok]

    def _sentence(self) -> str:
        return f"{self.exercise}: {self.message}" if self.exercise else self.message

    def _next(self) -> str:
        return "" if self.ok or not self.exercise else f'hint("{self.exercise}") opens a hint'

    def _repr_html_(self) -> str:
        colour = _colour(self.ok)
        given = f'<pre style="margin: 2px 0">{html.escape(self.given)}</pre>' if self.given else "<br>"
        return (
            f'<div style="border-left: 4px solid {colour}; padding: 2px 10px">'
            f'<b style="color: {colour}">{self._sign()}</b> '
            f"{html.escape(self._sentence())}{given}<small>{html.escape(self._next())}</small></div>"
        )


class Mistake(Exception):
    """An answer that cannot be judged; its text is the verdict."""


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
    """Put one case to an answer: a function gets its entries by name, arrays as tensors; a value stands for itself.

    Raises Mistake for a function that does not take these names.
    """
    if not callable(answer):
        return answer
    try:
        taken = inspect.signature(answer)
    except (TypeError, ValueError):  # written in C, without a signature
        taken = None
    try:
        _ = taken and taken.bind(**case)
    except TypeError:
        theirs = ", ".join(taken.parameters) if taken else ""
        raise Mistake(f"keep the argument names: {', '.join(case) or 'none'}; your function has ({theirs})") from None
    return answer(**{k: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in case.items()})


def answers(module: ModuleType, answer: Any, cases: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The plain answers to `cases`. Raises NotImplementedError for a stub, Mistake for what cannot be judged."""
    values = [one(getattr(module, "ask", put), answer, case) for case in cases]
    if all(f is None for f in values):
        raise NotImplementedError
    for case, value in zip(cases, values, strict=True):
        if value is None:
            raise Mistake(returned_nothing(case))
    return values


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


def judge(module: ModuleType, cases: Sequence[Mapping[str, Any]], answers: Sequence[Any]) -> Verdict:
    """The module's verdict on plain answers to `cases`, with the input on which a number is wrong. Never raises."""
    try:
        judged: Verdict = module.judge(cases, answers)
    except Exception as error:  # an answer of a shape or kind that the judge did not expect
        return Verdict(False, f"your answer could not be compared ({type(error).__name__}: {error})")
    return judged if judged.input is None else replace(judged, given=written(cases[judged.input]))


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


def letters(answer: Any) -> tuple[str, ...]:
    """The answer to a multiple-choice exercise as small letters: ("b", "a"), "B A", "b, a" or "ba" -> ("b", "a")."""
    each = [a for a in answer if a.isalnum()] if isinstance(answer, str) else answer
    return tuple(str(a).strip().lower() for a in each)


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

    `slips` maps a message to what that slip would have answered to the same cases; the truth is compared first. A
    verdict that names no slip says in `input` which case it speaks of.
    """
    wanted = [np.asarray(t) for t in truth]
    try:
        came = [
            np.asarray(a, dtype=float if w.dtype.kind in "fiub" else None) for a, w in zip(answers, wanted, strict=True)
        ]
    except (TypeError, ValueError):
        return Verdict(False, f"your answer is {answers[0]!r}; numbers are wanted")

    def same(others: Sequence[Any]) -> bool:
        return all(_close(a, np.asarray(o), rtol, atol) for a, o in zip(came, others, strict=True))

    if same(wanted):
        return Verdict(True, right)
    for message, slip in (slips or {}).items():  # before the shapes, for a slip may have another one
        if same(slip):
            return Verdict(False, message)
    for i, (a, w) in enumerate(zip(came, wanted, strict=True)):
        if a.shape != w.shape:
            return Verdict(False, f"your answer has shape {a.shape}; shape {w.shape} is wanted", input=i)
        if w.dtype.kind == "f" and not np.isfinite(a).all():
            why = "is something divided by 0, or a root taken of a negative number?"
            return Verdict(False, f"your answer holds nan or inf: {why}", input=i)
    worst = max(
        range(len(came)),
        key=lambda i: float(np.abs(came[i] - wanted[i]).max()) if wanted[i].dtype.kind in "fiub" else 0,
    )
    a, w = came[worst], wanted[worst]
    where = np.unravel_index(int(np.abs(a - w).argmax()) if w.dtype.kind in "fiub" else 0, w.shape)
    entry = f", in entry [{', '.join(map(str, where))}]" if w.size > 1 else ""
    said = f"on input {worst + 1} your answer is {a[where]:.4g} where {w[where]:.4g} is right{entry}"
    return Verdict(False, said, input=worst)


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


def written(case: Mapping[str, Any]) -> str:
    """A case as lines of Python to paste into a cell, numbers to 4 digits; of more than 6 numbers the first three."""
    return "\n".join(_line(k, v) for k, v in case.items())


def _line(name: str, value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return f"{name} = {_short(value)!r}"
    if value.size <= 6:
        return f"{name} = torch.tensor({_short(value.tolist())})"
    first = ", ".join(repr(_short(v)) for v in value.ravel()[:3].tolist())
    return f"# {name} has shape {list(value.shape)} and begins {first}, ..."


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _colour(ok: bool | None) -> str:
    from diffrl_lab.widgets.pictures import COLOUR

    return COLOUR[{True: "data", False: "right", None: "noise"}[ok]]
