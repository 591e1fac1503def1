"""EDM's preconditioning (Karras et al. 2022): D(x, sigma) = c_skip x + c_out F(c_in x, label), alpha = 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "What is shown to the network has variance 1: x has sigma_data^2 + sigma^2, so divide by the root of that.",
    "c_skip = sigma_data^2 / (sigma^2 + sigma_data^2), c_out = sigma sigma_data / root, c_in = 1 / root, where root is "
    "the square root of sigma^2 + sigma_data^2.",
)


def F(x: Any, sigma: float) -> Any:
    """A stand-in for a network: whatever it is, D is built around it."""
    tanh = torch.tanh if torch.is_tensor(x) else np.tanh
    return tanh(1.3 * x - 0.2) + 0.1 * sigma


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    levels = ((5.0, 0.5), (0.5, 0.5), (0.02, 0.5), (1.0, 1.4))
    return [{"x": rng.normal(size=(2, 3)) * (s + d), "sigma": s, "sigma_data": d} for s, d in levels]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    return answer(F, torch.from_numpy(case["x"].copy()), case["sigma"], case["sigma_data"])


def right(F, x, sigma, sigma_data):
    total = sigma**2 + sigma_data**2
    c_skip, c_out, c_in = sigma_data**2 / total, sigma * sigma_data / total**0.5, 1 / total**0.5
    return c_skip * x + c_out * F(c_in * x, sigma)


def by_angle(F, x, sigma, sigma_data):
    u = np.arctan2(sigma, sigma_data)
    return np.cos(u) ** 2 * x + sigma_data * np.sin(u) * F(np.sin(u) / sigma * x, sigma)


def _with(skip: Any = None, out: Any = None, into: Any = None) -> Any:
    def answer(F, x, sigma, sigma_data):
        total = sigma**2 + sigma_data**2
        c_skip, c_out, c_in = sigma_data**2 / total, sigma * sigma_data / total**0.5, 1 / total**0.5
        a = c_skip if skip is None else skip(sigma, sigma_data)
        b = c_out if out is None else out(sigma, sigma_data)
        c = c_in if into is None else into(sigma, sigma_data)
        return a * x + b * F(c * x, sigma)

    return answer


SLIPS = {
    "you show the network x as it is: at sigma = 5 its input is ten times too large": _with(into=lambda s, d: 1.0),
    "there is no skip: with almost no noise D must be x itself": _with(skip=lambda s, d: 0.0),
    "c_skip is sigma_data^2 over the sum; you have sigma^2 there, which keeps the noise": _with(
        skip=lambda s, d: s**2 / (s**2 + d**2)
    ),
    "c_out lacks its root: it is sigma sigma_data over the square root of the sum": _with(
        out=lambda s, d: s * d / (s**2 + d**2)
    ),
    "c_out is sigma alone: it lacks sigma_data over the root, and grows without bound": _with(out=lambda s, d: s),
    "c_in lacks its root: it is 1 over the square root of the sum": _with(into=lambda s, d: 1 / (s**2 + d**2)),
    "you added the deviations; variances add, so it is sigma^2 + sigma_data^2": _with(
        into=lambda s, d: 1 / (s + d), skip=lambda s, d: d / (s + d), out=lambda s, d: s * d / (s + d)
    ),
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [f(F, c["x"], c["sigma"], c["sigma_data"]) for c in cases] for text, f in SLIPS.items()}
    truth = [right(F, c["x"], c["sigma"], c["sigma_data"]) for c in cases]
    return match(answers, truth, slips, right="the network sees variance 1 and predicts variance 1 at every level")


RIGHT = [right, by_angle]
WRONG = [
    (_with(into=lambda s, d: 1.0), "ten times too large"),
    (_with(skip=lambda s, d: 0.0), "no skip"),
    (_with(skip=lambda s, d: s**2 / (s**2 + d**2)), "keeps the noise"),
    (_with(out=lambda s, d: s * d / (s**2 + d**2)), "c_out lacks its root"),
    (_with(out=lambda s, d: s), "sigma alone"),
    (_with(into=lambda s, d: 1 / (s**2 + d**2)), "c_in lacks its root"),
    (
        _with(into=lambda s, d: 1 / (s + d), skip=lambda s, d: d / (s + d), out=lambda s, d: s * d / (s + d)),
        "variances add",
    ),
]
