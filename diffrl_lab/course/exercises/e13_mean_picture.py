"""The mean of the pictures that may follow, weighted by their probabilities: what least squares learns to draw."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Each picture counts as much as it is probable. Multiply each by its probability, then add them up.",
    "p is [n] and pictures are [n, h, w]: give p two more axes, p[:, None, None], before you multiply.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    laws = (np.array([0.9, 0.1]), np.array([0.5, 0.5]), rng.dirichlet(np.ones(4)))
    return [{"pictures": (rng.random((len(p), 3, 5)) < 0.4).astype(float), "p": p} for p in laws]


def right(pictures, p):
    return (p[:, None, None] * pictures).sum(0)


def by_product(pictures, p):
    return (p @ pictures.reshape(len(p), -1)).reshape(pictures.shape[1:])


SLIPS = {
    "you gave every picture the same weight; a picture counts as much as it is probable": lambda x, p: x.mean(0),
    "you took the most probable picture; the mean also has a trace of the others": lambda x, p: x[p.argmax()],
    "you also divided by the number of pictures; probabilities add up to 1": lambda x, p: right(x, p) / len(p),
    "you rounded the mean: its pixels between 0 and 1 are what least squares draws": lambda x, p: (
        (right(x, p) >= 0.5) * 1.0
    ),
    "you weighted by the root of p; a mean is weighted by p itself": lambda x, p: right(x, p**0.5),
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [f(c["pictures"], c["p"]) for c in cases] for text, f in SLIPS.items()}
    truth = [right(c["pictures"], c["p"]) for c in cases]
    return match(answers, truth, slips, right="a pixel of the mean is the probability that it is lit")


RIGHT = [right, by_product]
WRONG = [
    (lambda pictures, p: pictures.mean(0), "same weight"),
    (lambda pictures, p: pictures[p.argmax()], "most probable picture"),
    (lambda pictures, p: right(pictures, p) / len(p), "number of pictures"),
    (lambda pictures, p: (right(pictures, p) >= 0.5) * 1.0, "you rounded"),
    (lambda pictures, p: right(pictures, p**0.5), "root of p"),
]
