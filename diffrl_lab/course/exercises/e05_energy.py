"""The energy of a noisy x_t that makes guidance exact: log E[exp(J(x_0)) | x_t] (Lu et al. 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Not J of the mean, and not the mean of J: what must be averaged is exp(J), since the data are weighed by it.",
    "torch.logsumexp takes the log of a sum of exponentials without overflow; weights go in as their logarithms.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"r": rng.dirichlet(np.ones(k), size=5), "J": scale * rng.normal(size=k)} for k, scale in ((2, 2.0), (6, 1.0))
    ]


def right(r, J):
    return torch.logsumexp(r.log() + J, -1)


def by_hand(r, J):
    return ((r * J.exp()).sum(-1)).log()


def mean_of_J(r, J):
    return (r * J).sum(-1)


def no_log(r, J):
    return (r * J.exp()).sum(-1)


def no_weights(r, J):
    return torch.logsumexp(r * 0 + J, -1)


def best(r, J):
    return J.max() + 0 * r.sum(-1)


def weights_inside(r, J):
    return torch.logsumexp(r + J, -1)


SLIPS = {
    "you averaged J itself: that is what a regression learns, and it is not the tilt": mean_of_J,
    "you averaged exp(J) and stopped: guidance climbs the *log* of it": no_log,
    "your answer does not know x_t: the weights r of the possible x_0 are missing": no_weights,
    "that is the best J there is, likely or not: weigh each x_0 by its r": best,
    "inside a logsumexp a weight stands as its logarithm": weights_inside,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    return match(
        answers, [right(**c).numpy() for c in put], slips, right="the one noisy energy whose slope is the tilt"
    )


RIGHT = [right, by_hand]
WRONG = [
    (mean_of_J, "a regression learns"),
    (no_log, "the *log* of it"),
    (no_weights, "does not know x_t"),
    (best, "likely or not"),
    (weights_inside, "as its logarithm"),
]
