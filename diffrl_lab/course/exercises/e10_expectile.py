"""The loss of expectile regression, the mean of |tau - [u < 0]| u^2: least squares at 1/2, near 1 a soft maximum."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Every squared error is kept, but it has a weight: tau where q lies above v, 1 - tau where it lies below.",
    "torch.where(u > 0, tau, 1 - tau) is the weight of each. Multiply it with u**2, and take the mean.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"q": rng.normal(1.0, 2.0, n), "v": rng.normal(0.0, 1.0, n), "tau": t} for n, t in ((6, 0.7), (9, 0.9))]


def right(q, v, tau):
    u = q - v
    return (torch.where(u > 0, tau, 1 - tau) * u**2).mean()


def in_parts(q, v, tau):
    above, below = (q - v).clamp(min=0), (v - q).clamp(min=0)
    return (tau * above.square() + (1 - tau) * below.square()).sum() / len(q)


def swapped(q, v, tau):
    return right(q, v, 1 - tau)


def symmetric(q, v, tau):
    return (q - v).square().mean()


def quantile(q, v, tau):
    u = q - v
    return (torch.where(u > 0, tau, 1 - tau) * u.abs()).mean()


def above_alone(q, v, tau):
    return tau * (q - v).clamp(min=0).square().mean()


def below_whole(q, v, tau):
    u = q - v
    return (torch.where(u > 0, tau, 1.0) * u**2).mean()


def summed(q, v, tau):
    return len(q) * right(q, v, tau)


def shared(q, v, tau):
    w = torch.where(q > v, tau, 1 - tau)
    return (w * (q - v) ** 2).sum() / w.sum()


def of_mean(q, v, tau):
    u = (q - v).mean()
    return torch.where(u > 0, tau, 1 - tau) * u**2


SLIPS = {
    "tau and 1 - tau are exchanged: a q above v counts tau": swapped,
    "both sides count alike: that is least squares, and tau plays no part": symmetric,
    "absolute errors give quantiles; expectiles are of squared errors": quantile,
    "a q below v counts too, by 1 - tau: without it v would rise for ever": above_alone,
    "a q below v counts 1 - tau, not 1": below_whole,
    "you summed; wanted is the mean over the actions": summed,
    "you divided by the sum of the weights; wanted is the plain mean": shared,
    "you averaged the errors before you squared them": of_mean,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    said = "above v counts tau, below 1 - tau: v leans to the better actions of the data"
    return match(answers, [right(**c).numpy() for c in put], slips, right=said)


RIGHT = [right, in_parts]
WRONG = [
    (swapped, "exchanged"),
    (symmetric, "count alike"),
    (quantile, "quantiles"),
    (above_alone, "rise for ever"),
    (below_whole, "not 1"),
    (summed, "you summed"),
    (shared, "sum of the weights"),
    (of_mean, "before you squared"),
]
