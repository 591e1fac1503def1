"""The likelihood of a mixture of Gaussians, -ln sum_k w_k N(a; m_k, s_k^2), without underflow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "ln N(a; m, s^2) = -(a - m)^2 / 2 s^2 - ln s - ln(2 pi) / 2. Do it for each number of a, and add up the numbers.",
    "The components add up as probabilities, not as logarithms: torch.logsumexp(log_w + log_n, dim=-1).",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for K, far in ((1, 1.0), (3, 1.0), (4, 60.0)):
        w = rng.dirichlet(np.full(K, 2.0))
        inputs.append({
            "a": far * rng.normal(size=(5, 2)), "log_w": np.log(w), "mean": rng.normal(size=(K, 2)),
            "std": rng.uniform(0.3, 1.5, size=(K, 2)),
        })  # fmt: skip
    return inputs


def each(a, mean, std):
    z = (a[:, None] - mean) / std
    return -0.5 * z**2 - std.log() - 0.5 * math.log(2 * math.pi)


def right(a, log_w, mean, std):
    return -torch.logsumexp(log_w + each(a, mean, std).sum(-1), -1).mean()


def by_torch(a, log_w, mean, std):
    log_n = torch.distributions.Normal(mean, std).log_prob(a.unsqueeze(1)).sum(2)
    return -(log_n + log_w).logsumexp(1).mean(0)


def logs_added(a, log_w, mean, std):
    return -(log_w.exp() * each(a, mean, std).sum(-1)).sum(-1).mean()


def no_weights(a, log_w, mean, std):
    return -torch.logsumexp(each(a, mean, std).sum(-1), -1).mean()


def no_deviation(a, log_w, mean, std):
    return -torch.logsumexp(log_w + (each(a, mean, std) + std.log()).sum(-1), -1).mean()


def number_by_number(a, log_w, mean, std):
    return -torch.logsumexp(log_w[:, None] + each(a, mean, std), 1).sum(-1).mean()


def positive(a, log_w, mean, std):
    return -right(a, log_w, mean, std)


def no_half(a, log_w, mean, std):
    z = (a[:, None] - mean) / std
    return -torch.logsumexp(log_w + (each(a, mean, std) - 0.5 * z**2).sum(-1), -1).mean()


def underflows(a, log_w, mean, std):
    return -(log_w + each(a, mean, std).sum(-1)).exp().sum(-1).log().mean()


SLIPS = {
    "you averaged logarithms: probabilities add up, so take logsumexp over the components": logs_added,
    "the weights are missing: a component counts by its weight": no_weights,
    "the -ln s is missing: without it a wide Gaussian costs nothing": no_deviation,
    "you mixed each number of the action for itself: add up the numbers of a component, then mix": number_by_number,
    "the sign: a loss falls as the likelihood grows": positive,
    "a factor of 1/2 is missing in the exponent": no_half,
    "far from all components your exp is 0 and its logarithm infinite: use torch.logsumexp": underflows,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    truth = [right(**c).numpy() for c in put]
    return match(answers, truth, slips, right="numbers add up within a component, components as probabilities")


RIGHT = [right, by_torch]
WRONG = [
    (logs_added, "averaged logarithms"),
    (no_weights, "weights are missing"),
    (no_deviation, "-ln s is missing"),
    (number_by_number, "each number of the action for itself"),
    (positive, "the sign"),
    (no_half, "1/2 is missing"),
    (underflows, "infinite"),
]
