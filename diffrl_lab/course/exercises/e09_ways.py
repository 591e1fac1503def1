"""How far the ways of a policy are from a demonstrator's probabilities: total variation over those that arrived."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "First leave out the crashes, the ways -1. Then count each way: torch.bincount(ways, minlength=len(p)).",
    "Half of the sum of |share - p|: half, because what one way has too much another has too little.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for K, n, crash in ((3, 12, 0.0), (5, 20, 0.3), (24, 60, 0.5)):
        p = rng.dirichlet(np.full(K, 2.0))
        ways = rng.choice(K - 1, size=n)  # the last way is never taken
        ways[: int(crash * n)] = -1
        inputs.append({"ways": ways.astype(np.int64), "p": p})
    return inputs


def right(ways, p):
    count = torch.bincount(ways[ways >= 0], minlength=len(p))
    return (count / count.sum() - p).abs().sum() / 2


def too_much(ways, p):
    stayed = ways[ways >= 0]
    share = torch.stack([(stayed == k).double().mean() for k in range(len(p))])
    return (share - p).clamp(min=0).sum()


def with_crashes(ways, p):
    count = torch.bincount(ways[ways >= 0], minlength=len(p))
    return (count / len(ways) - p).abs().sum() / 2


def whole(ways, p):
    return 2 * right(ways, p)


def averaged(ways, p):
    return 2 * right(ways, p) / len(p)


def squares(ways, p):
    count = torch.bincount(ways[ways >= 0], minlength=len(p))
    return (count / count.sum() - p).square().sum() / 2


def taken_alone(ways, p):
    count = torch.bincount(ways[ways >= 0], minlength=len(p))
    gap = (count / count.sum() - p).abs()
    return gap[count > 0].sum() / 2


def largest(ways, p):
    count = torch.bincount(ways[ways >= 0], minlength=len(p))
    return (count / count.sum() - p).abs().max()


SLIPS = {
    "you divided by all episodes: shares are of those that arrived": with_crashes,
    "half of the sum: what one way has too much another has too little": whole,
    "you averaged over the ways; wanted is half of the sum": averaged,
    "absolute values, not squares": squares,
    "a way that was never taken counts too: its share is 0, and p is not": taken_alone,
    "that is the largest gap; wanted is half of the sum of all gaps": largest,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    truth = [right(**c).numpy() for c in put]
    return match(answers, truth, slips, right="0 for the demonstrator's own probabilities, 1 where nothing is shared")


RIGHT = [right, too_much]
WRONG = [
    (with_crashes, "divided by all episodes"),
    (whole, "half of the sum: what"),
    (averaged, "averaged over the ways"),
    (squares, "not squares"),
    (taken_alone, "never taken"),
    (largest, "largest gap"),
]
