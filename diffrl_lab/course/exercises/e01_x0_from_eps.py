"""The denoiser behind a prediction of the noise: x0_hat = (x_t - sigma_t eps_hat) / alpha_t."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "x_t = alpha x_0 + sigma eps is one equation. You know all of it but x_0.",
    "Take sigma * eps_hat away from x_t; what is left is alpha times x_0.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"x_t": rng.normal(size=(5, 1)), "eps_hat": rng.normal(size=(5, 1)), "alpha": a, "sigma": (1 - a**2) ** 0.5}
        for a in rng.uniform(0.2, 0.9, 3)
    ]


def _all(cases: list[dict[str, Any]], f: Any) -> list[Any]:
    return [f(c["x_t"], c["eps_hat"], c["alpha"], c["sigma"]) for c in cases]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "you removed the noise but left the signal shrunk: divide by alpha": lambda x, e, a, s: x - s * e,
        "you removed eps_hat at full size; x_t holds only sigma times it": lambda x, e, a, s: (x - e) / a,
        (
            "you used DDPM's formula with alpha_t in the place of alpha_bar; here alpha_t is its square root already"
        ): lambda x, e, a, s: (x - (1 - a) ** 0.5 * e) / a**0.5,
        "you divided x_t alone by alpha; divide the difference": lambda x, e, a, s: x / a - s * e,
        "you divided the noise alone by alpha; divide the difference": lambda x, e, a, s: x - s * e / a,
        "you took 1 - alpha for sigma; alpha^2 + sigma^2 is 1": lambda x, e, a, s: (x - (1 - a) * e) / a,
        "you squared sigma; it is a scale, and x_t holds sigma times eps": lambda x, e, a, s: (x - s**2 * e) / a,
        "you swapped the scales: sigma belongs to the noise": lambda x, e, a, s: (x - a * e) / s,
        "you added the noise once more; it is to be taken away": lambda x, e, a, s: (x + s * e) / a,
    }
    truth = _all(cases, lambda x, e, a, s: (x - s * e) / a)
    said = "so a network that predicts noise IS a denoiser"
    return match(answers, truth, {text: _all(cases, f) for text, f in slips.items()}, right=said)


def right(x_t, eps_hat, alpha, sigma):
    return (x_t - sigma * eps_hat) / alpha


def by_ratio(x_t, eps_hat, alpha, sigma):
    return x_t / alpha - (sigma / alpha) * eps_hat


RIGHT = [right, by_ratio]
WRONG = [
    (lambda x_t, eps_hat, alpha, sigma: x_t - sigma * eps_hat, "divide by alpha"),
    (lambda x_t, eps_hat, alpha, sigma: (x_t - eps_hat) / alpha, "full size"),
    (lambda x_t, eps_hat, alpha, sigma: (x_t - (1 - alpha) ** 0.5 * eps_hat) / alpha**0.5, "in the place of alpha_bar"),
    (lambda x_t, eps_hat, alpha, sigma: (x_t - alpha * eps_hat) / sigma, "swapped"),
    (lambda x_t, eps_hat, alpha, sigma: x_t / alpha - sigma * eps_hat, "x_t alone"),
    (lambda x_t, eps_hat, alpha, sigma: x_t - sigma * eps_hat / alpha, "the noise alone"),
    (lambda x_t, eps_hat, alpha, sigma: (x_t - (1 - alpha) * eps_hat) / alpha, "1 - alpha for sigma"),
    (lambda x_t, eps_hat, alpha, sigma: (x_t - sigma**2 * eps_hat) / alpha, "you squared sigma"),
    (lambda x_t, eps_hat, alpha, sigma: (x_t + sigma * eps_hat) / alpha, "once more"),
]
