"""Known entries of a plan: shown clean to the denoiser, and kept in what it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Mistake, Verdict, match
from diffrl_lab.diffusion import Cosine, brownian_motion

HINTS = (
    "The known entries must be overwritten in two places. One is what comes out. Which is the other?",
    "torch.where(known, value, x_t) is what D should be shown; do the same to what D says.",
)
D = brownian_motion(6, Cosine())
BROADCAST = (
    "`known` and `value` are one plan [H, 1], x_t is a batch of plans [B, H, 1]: an index does not broadcast, so "
    "x_t[known] fails; torch.where(known, value, x_t) does broadcast"
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    known = np.zeros((6, 1), bool)
    known[[0, -1]] = True
    value = np.zeros((6, 1))
    value[[0, -1], 0] = rng.normal(size=2)
    return [{"x_t": rng.normal(size=(3, 6, 1)), "t": t, "known": known, "value": value} for t in (0.3, 0.8)]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    x_t, t, known, value = (torch.as_tensor(case[k]) for k in ("x_t", "t", "known", "value"))
    try:
        return answer(D, x_t.clone(), t, known, value.clone())
    except IndexError as error:
        if "shape of the mask" not in str(error):
            raise
        raise Mistake(BROADCAST) from error


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "D was shown the noisy ends: overwrite them in x_t as well, or the middle never hears of them": only_out,
        "the plan does not keep its ends: D's answer moves them, so overwrite them in x0_hat as well": only_in,
        "your mask is upside down: `known` marks what is given, the rest is D's": upside_down,
        "you put *noisy* ends in, scaled by alpha_t: known means shown clean": noised,
        "the known entries belong into x_t and x0_hat, not into the noise estimate": in_eps,
    }
    wrong = {message: [ask(slip, c).numpy() for c in cases] for message, slip in slips.items()}
    truth = [ask(right, c).numpy() for c in cases]
    return match(answers, truth, wrong, right="clean where D looks, clean where D speaks")


def right(D, x_t, t, known, value):
    x0_hat = D(torch.where(known, value, x_t), t)
    return torch.where(known, value, x0_hat)


def by_index(D, x_t, t, known, value):
    shown = x_t.clone()
    shown[:, known[:, 0]] = value[known[:, 0]]
    out = D(shown, t).clone()
    out[:, known[:, 0]] = value[known[:, 0]]
    return out


def only_out(D, x_t, t, known, value):
    return torch.where(known, value, D(x_t, t))


def only_in(D, x_t, t, known, value):
    return D(torch.where(known, value, x_t), t)


def upside_down(D, x_t, t, known, value):
    return torch.where(known, D(torch.where(known, x_t, value), t), value)


def noised(D, x_t, t, known, value):
    alpha, _ = D.schedule(t)
    return torch.where(known, value, D(torch.where(known, alpha * value, x_t), t))


def in_eps(D, x_t, t, known, value):
    alpha, sigma = D.schedule(t)
    eps = (x_t - alpha * D(x_t, t)) / sigma
    return (x_t - sigma * torch.where(known, value, eps)) / alpha


RIGHT = [right, by_index]
WRONG = [
    (only_out, "shown the noisy ends"),
    (only_in, "does not keep its ends"),
    (upside_down, "upside down"),
    (noised, "noisy* ends"),
    (in_eps, "noise estimate"),
]
