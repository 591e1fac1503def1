"""Greedy among proposals: of the actions that a model of the data proposes, the one that Q likes best."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Q chooses among the proposals of one row. The answer is one of them, neither a new action nor a mixture of two.",
    "q(proposals) is [B, N]. Its argmax over N is the number of a column, one for each row of `proposals`.",
)
FAVOURITE = {"rising": 3.0, "humped": 0.5}  # of a Q that rises to the edge of the data and beyond; of one that does not


def q(which: str, a: Any) -> Any:
    return -((a - FAVOURITE[which]) ** 2)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"which": which, "proposals": rng.uniform(0, 1, size=(4, 6))} for which in FAVOURITE]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    return answer(lambda a: q(case["which"], a), torch.as_tensor(case["proposals"]).clone())


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "you give the value of the best proposal: the action itself is wanted": value,
        "you give the number of the best proposal: the action that has this number is wanted": column,
        "you average the proposals: their mean is an action that nobody may ever have taken": average,
        "you take the largest proposal: Q decides which is best, not the size": largest,
        "you let Q choose freely in [0, 1]: its best action may be far from every proposal": free,
        "you picked the worst proposal: maximise Q": worst,
        "your argmax runs over the whole table: it finds one proposal for all rows; each row has its own best": of_all,
        "you give the one best proposal of the whole table: each row has its own, so use argmax(dim=1)": one_of_all,
        "your argmax runs over the rows (dim=0), and finds the best of each column: use dim=1": of_columns,
        "proposals[:, columns] takes all these columns in every row: pick one for each row, as gather does": square,
    }
    wrong = {message: [ask(slip, c).numpy() for c in cases] for message, slip in slips.items()}
    return match(
        answers,
        [ask(right, c).numpy() for c in cases],
        wrong,
        right="the model of the data proposes, and Q chooses among the proposals",
    )


def right(q, proposals):
    best = q(proposals).argmax(dim=1, keepdim=True)
    return proposals.gather(1, best)[:, 0]


def by_row(q, proposals):
    return torch.stack([max(row, key=lambda a: float(q(a))) for row in proposals])


def value(q, proposals):
    return q(proposals).amax(1)


def column(q, proposals):
    return q(proposals).argmax(1)


def average(q, proposals):
    return proposals.mean(1)


def largest(q, proposals):
    return proposals.amax(1)


def free(q, proposals):
    everywhere = torch.linspace(0, 1, 101, dtype=proposals.dtype)
    return everywhere[q(everywhere).argmax()].expand(len(proposals))


def of_all(q, proposals):
    return proposals.flatten()[q(proposals).argmax()].expand(len(proposals))


def one_of_all(q, proposals):
    return proposals.flatten()[q(proposals).argmax()]


def of_columns(q, proposals):
    return proposals.gather(0, q(proposals).argmax(0, keepdim=True))[0]


def square(q, proposals):
    return proposals[:, q(proposals).argmax(1)]


def worst(q, proposals):
    return proposals.gather(1, q(proposals).argmin(1, keepdim=True))[:, 0]


RIGHT = [right, by_row]
WRONG = [
    (value, "the action itself"),
    (column, "number of the best"),
    (average, "average the proposals"),
    (largest, "largest proposal"),
    (free, "freely"),
    (worst, "worst"),
    (of_all, "one proposal for all rows"),
    (one_of_all, "one best proposal"),
    (of_columns, "of each column"),
    (square, "in every row"),
]
