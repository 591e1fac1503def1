"""Greedy among proposals: of the actions that a model of the data proposes, the one that Q likes best."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Q chooses among the proposals of one row; it may not invent an action, and it may not mix two of them.",
    "q(proposals) is [B, N]. Its argmax over N says which column to pick from `proposals`, row by row.",
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
        "you let Q choose freely in [0, 1]: an action that no proposal contains is the gap again": free,
        "you picked the worst proposal: maximise Q": worst,
    }
    wrong = {message: [ask(slip, c).numpy() for c in cases] for message, slip in slips.items()}
    return match(answers, [ask(right, c).numpy() for c in cases], wrong, right="Q ranks, the data propose")


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
]
