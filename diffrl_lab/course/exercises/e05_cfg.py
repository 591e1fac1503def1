"""Classifier-free guidance in this course's w, and what another paper's w becomes here."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "w = 0 must give the free answer and w = 1 the conditional one; beyond 1 it goes on along the same line.",
    "Ho and Salimans write (1 + v) conditional - v free. At which v is that our w = 1?",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    free, conditional = rng.normal(size=(2, 5, 2))
    return [
        {"free": free, "conditional": conditional, "scale": s, "papers": p}
        for s, p in ((0.0, False), (1.5, False), (4.0, False), (0.0, True), (0.5, True), (3.0, True))
    ]


def right(free, conditional, scale, papers):
    w = scale + 1 if papers else scale
    return free + w * (conditional - free)


def spelled_out(free, conditional, scale, papers):
    if papers:
        return (1 + scale) * conditional - scale * free
    return scale * conditional + (1 - scale) * free


def one_convention(free, conditional, scale, papers):
    return free + scale * (conditional - free)


def always_one_more(free, conditional, scale, papers):
    return (1 + scale) * conditional - scale * free


def from_conditional(free, conditional, scale, papers):
    w = scale + 1 if papers else scale
    return conditional + w * (conditional - free)


def backwards(free, conditional, scale, papers):
    w = scale + 1 if papers else scale
    return free + w * (free - conditional)


def minus_one(free, conditional, scale, papers):
    w = scale - 1 if papers else scale
    return free + w * (conditional - free)


SLIPS = {
    "you take the paper's scale for ours: (1 + v) conditional - v free is conditional already at v = 0": one_convention,
    "you take our scale for the paper's: w = 0 must be the free answer": always_one_more,
    "you started at the conditional answer: w counts the way from the free one": from_conditional,
    "you walk away from the condition: the way is conditional - free": backwards,
    "the paper's scale is one less than ours, so add 1 to come back": minus_one,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [f(**c) for c in cases] for text, f in SLIPS.items()}
    return match(
        answers, [right(**c) for c in cases], slips, right="one line through two answers, in both papers' words"
    )


RIGHT = [right, spelled_out]
WRONG = [
    (one_convention, "paper's scale for ours"),
    (always_one_more, "our scale for the paper's"),
    (from_conditional, "started at the conditional"),
    (backwards, "away from the condition"),
    (minus_one, "one less than ours"),
]
