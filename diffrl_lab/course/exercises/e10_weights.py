"""Advantage weights exp(A / eta), cut at `most`, of mean 1: what makes good actions of the data count more."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Three steps in this order: exp(A / eta), then cut each weight at `most`, then divide by the mean.",
    "w = (adv / eta).exp().clamp(max=most), and then w / w.mean().",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for n, eta, most in ((7, 1.0, 100.0), (9, 0.5, 4.0), (8, 2.0, 1.5)):
        adv = rng.normal(0.0, 1.0, n)
        adv[:2] = 3.0 * eta, -1.0  # one weight is cut where `most` is below e^3
        inputs.append({"adv": adv, "eta": eta, "most": most})
    return inputs


def right(adv, eta, most):
    w = (adv / eta).exp().clamp(max=most)
    return w / w.mean()


def in_logarithms(adv, eta, most):
    return len(adv) * torch.softmax((adv / eta).clamp(max=float(np.log(most))), 0)


def times(adv, eta, most):
    return right(adv * eta**2, eta, most)


def no_temperature(adv, eta, most):
    return right(adv * eta, eta, most)


def uncut(adv, eta, most):
    return right(adv, eta, float("inf"))


def cut_last(adv, eta, most):
    return uncut(adv, eta, most).clamp(max=most)


def not_divided(adv, eta, most):
    return (adv / eta).exp().clamp(max=most)


def sum_one(adv, eta, most):
    return right(adv, eta, most) / len(adv)


def cut_advantage(adv, eta, most):
    w = (adv.clamp(max=most) / eta).exp()
    return w / w.mean()


def worse_more(adv, eta, most):
    return right(-adv, eta, most)


def better_alone(adv, eta, most):
    w = (adv > 0).to(adv)
    return w / w.mean()


SLIPS = {
    "you multiplied by eta: a high temperature makes weights alike, so divide": times,
    "eta plays no part: the advantage is divided by it": no_temperature,
    "no weight is cut: one lucky action could outweigh a whole batch": uncut,
    "you cut after you divided: cut exp(A / eta) at `most`, then divide by the mean": cut_last,
    "the weights must have the mean 1: divide by it, so that the loss keeps its size": not_divided,
    "your weights sum to 1; wanted is the mean 1": sum_one,
    "you cut the advantage: `most` is the largest exp(A / eta)": cut_advantage,
    "the sign: better actions count more": worse_more,
    "you keep the better actions and drop the rest; exp(A / eta) drops none": better_alone,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    said = "weighted so, the data are distributed as mu exp(Q / eta), as far as nothing is cut"
    return match(answers, [right(**c).numpy() for c in put], slips, right=said)


RIGHT = [right, in_logarithms]
WRONG = [
    (times, "multiplied by eta"),
    (no_temperature, "eta plays no part"),
    (uncut, "no weight is cut"),
    (cut_last, "cut after you divided"),
    (not_divided, "must have the mean 1"),
    (sum_one, "sum to 1"),
    (cut_advantage, "cut the advantage"),
    (worse_more, "the sign"),
    (better_alone, "drop the rest"),
]
