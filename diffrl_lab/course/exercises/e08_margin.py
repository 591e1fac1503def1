"""A margin from n measured errors that a new one keeps with a wanted probability: split conformal prediction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match, put

HINTS = (
    "Sort n errors and one new one: the new one is equally likely at each of the n + 1 places.",
    "k = ceil((n + 1) level); the margin is the k-th smallest error (index k - 1), and infinite where k > n.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"errors": rng.exponential(size=n), "level": level} for n, level in ((19, 0.9), (33, 0.75), (7, 0.9), (12, 0.6))
    ]


def right(errors, level):
    k = math.ceil((len(errors) + 1) * level - 1e-9)
    return errors.sort().values[k - 1] if k <= len(errors) else torch.tensor(math.inf)


def by_counting(errors, level):
    wide = torch.cat([errors, errors.new_tensor([math.inf])])
    return wide.kthvalue(math.ceil((len(errors) + 1) * level - 1e-9)).values


def no_new(errors, level):
    k = math.ceil(len(errors) * level - 1e-9)
    return errors.sort().values[k - 1]


def interpolated(errors, level):
    return torch.quantile(errors, level)


def one_too_far(errors, level):
    k = math.ceil((len(errors) + 1) * level - 1e-9)
    return errors.sort().values[k] if k < len(errors) else torch.tensor(math.inf)


def rounded_down(errors, level):
    k = math.floor((len(errors) + 1) * level + 1e-9)
    return errors.sort().values[k - 1]


def largest(errors, level):
    return errors.max()


def from_above(errors, level):
    k = math.ceil((len(errors) + 1) * level - 1e-9)
    return errors.sort(descending=True).values[k - 1] if k <= len(errors) else torch.tensor(math.inf)


def never_infinite(errors, level):
    k = math.ceil((len(errors) + 1) * level - 1e-9)
    return errors.sort().values[min(k, len(errors)) - 1]


SLIPS = {
    "the new error is one of n + 1: your k is ceil(n level), which covers too little": no_new,
    "torch.quantile interpolates and knows of no new error: take a whole k": interpolated,
    "one too far: the k-th smallest has the index k - 1": one_too_far,
    "round k up: rounded down it covers less than you want": rounded_down,
    "that is the largest error: it covers more than you want": largest,
    "you sorted from large to small": from_above,
    "with so few errors no margin is enough: where k > n the answer is infinite": never_infinite,
}


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """What came, with 1e9 for an infinite margin."""
    found = put(answer, case)
    return torch.nan_to_num(found, posinf=1e9) if torch.is_tensor(found) and found.is_floating_point() else found


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [np.asarray(ask(f, c)) for c in cases] for text, f in SLIPS.items()}
    return match(
        answers, [np.asarray(ask(right, c)) for c in cases], slips, right="a new error is as likely at each place"
    )


RIGHT = [right, by_counting]
WRONG = [
    (no_new, "ceil(n level)"),
    (interpolated, "interpolates"),
    (one_too_far, "one too far"),
    (rounded_down, "round k up"),
    (largest, "largest error"),
    (from_above, "large to small"),
    (never_infinite, "infinite"),
]
