"""What windows say of a long process together, when each joint is counted once: the Bethe combination."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match, put

HINTS = (
    "Scores of windows add. Add up what all windows say of each state, and count how many windows hold it.",
    "A state that c windows hold was counted c times. Subtract (c - 1) times what it says alone, "
    "E[x_0 | x_t] of N(0, 1): alpha x_t / (alpha^2 + sigma^2).",
    "torch.zeros(len(x_t)).index_add(0, places.flatten(), says.flatten()) adds up; with ones it counts.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for c, h, alpha in ((3, 5, 0.6), (2, 4, 0.85), (4, 3, 0.4)):
        places = np.arange(c)[:, None] * (h - 1) + np.arange(h)
        # alpha^2 + sigma^2 is not 1 on purpose: a schedule may do that
        inputs.append(
            {
                "says": rng.normal(size=(c, h)),
                "places": places,
                "x_t": rng.normal(size=c * (h - 1) + 1),
                "alpha": alpha,
                "sigma": float(rng.uniform(0.5, 0.7)),
            }
        )
    return inputs


def _added(says, places, length):
    total = torch.zeros(length, dtype=says.dtype).index_add(0, places.flatten(), says.flatten())
    return total, torch.bincount(places.flatten(), minlength=length)


def right(says, places, x_t, alpha, sigma):
    total, count = _added(says, places, len(x_t))
    return total - (count - 1) * alpha / (alpha**2 + sigma**2) * x_t


def in_a_loop(says, places, x_t, alpha, sigma):
    out = -alpha / (alpha**2 + sigma**2) * x_t * torch.tensor([(places == k).sum() - 1 for k in range(len(x_t))])
    for row, place in zip(says, places, strict=True):
        out[place] = out[place] + row
    return out


def averaged(says, places, x_t, alpha, sigma):
    total, count = _added(says, places, len(x_t))
    return total / count


def summed(says, places, x_t, alpha, sigma):
    return _added(says, places, len(x_t))[0]


def last_wins(says, places, x_t, alpha, sigma):
    out = torch.zeros_like(x_t)
    for row, place in zip(says, places, strict=True):
        out[place] = row
    return out


def iterate(says, places, x_t, alpha, sigma):
    total, count = _added(says, places, len(x_t))
    return total - (count - 1) * x_t


def no_alpha(says, places, x_t, alpha, sigma):
    total, count = _added(says, places, len(x_t))
    return total - (count - 1) / (alpha**2 + sigma**2) * x_t


def no_variance(says, places, x_t, alpha, sigma):
    total, count = _added(says, places, len(x_t))
    return total - (count - 1) * alpha * x_t


def everywhere(says, places, x_t, alpha, sigma):
    total, count = _added(says, places, len(x_t))
    return total - count * alpha / (alpha**2 + sigma**2) * x_t


SLIPS = {
    "that is the mean of what the windows say, not their sum less what the joint says alone": averaged,
    "that is the sum alone: a state at a joint is counted twice": summed,
    "where two windows hold a state, the last one overwrote the other": last_wins,
    "subtract what the state says alone, E[x_0 | x_t], not x_t itself": iterate,
    "E[x_0 | x_t] = alpha x_t / (alpha^2 + sigma^2): your alpha is missing": no_alpha,
    "E[x_0 | x_t] = alpha x_t / (alpha^2 + sigma^2): here alpha^2 + sigma^2 is not 1": no_variance,
    "subtract it (count - 1) times: a state that one window holds is counted once already": everywhere,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [put(f, c).numpy() for c in cases] for text, f in SLIPS.items()}
    return match(
        answers, [put(right, c).numpy() for c in cases], slips, right="scores of windows add, joints count once"
    )


RIGHT = [right, in_a_loop]
WRONG = [
    (averaged, "the mean of what"),
    (summed, "the sum alone"),
    (last_wins, "overwrote"),
    (iterate, "not x_t itself"),
    (no_alpha, "alpha is missing"),
    (no_variance, "is not 1"),
    (everywhere, "(count - 1) times"),
]
