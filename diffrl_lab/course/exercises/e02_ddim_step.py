"""One step of DDIM: x_s = alpha_s x0_hat + sigma_s eps_hat, with the noise that is already in x_t."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Which noise explains x_t, if x0_hat is the data? Solve x_t = alpha_t x0_hat + sigma_t eps_hat for eps_hat.",
    "Now mix the same two things again at the new level s: alpha_s x0_hat + sigma_s eps_hat.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for a_t, a_s in ((0.2, 0.5), (0.6, 0.9), (0.7, 1.0)):
        x_t, x0_hat = rng.normal(size=(4, 1)), rng.normal(size=(4, 1))
        s_t, s_s = (1 - a_t**2) ** 0.5, (1 - a_s**2) ** 0.5
        inputs.append({"x_t": x_t, "x0_hat": x0_hat, "alpha_t": a_t, "sigma_t": s_t, "alpha_s": a_s, "sigma_s": s_s})
    return inputs


def _all(cases: list[dict[str, Any]], f: Any) -> list[Any]:
    return [f(c["x_t"], c["x0_hat"], c["alpha_t"], c["sigma_t"], c["alpha_s"], c["sigma_s"]) for c in cases]


def _ddpm_mean(x, x_0, a, s, b, r):
    var = s**2 - (a / b) ** 2 * r**2
    return (a / b * r**2 * x + b * var * x_0) / s**2


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        (
            "you put the data back at the old scale: at time s the signal has the scale alpha_s"
        ): lambda x, x_0, a, s, b, r: a * x_0 + r * (x - a * x_0) / s,
        (
            "you put the noise back at the old scale, so nothing was denoised: at time s it has the scale sigma_s"
        ): lambda x, x_0, a, s, b, r: b * x_0 + x - a * x_0,
        "x_t - alpha_t x0_hat is sigma_t times the noise: divide by sigma_t": lambda x, x_0, a, s, b, r: (
            b * x_0 + r * (x - a * x_0)
        ),
        "eps_hat is what x_t holds beyond alpha_t x0_hat, not beyond x0_hat": lambda x, x_0, a, s, b, r: (
            b * x_0 + r * (x - x_0) / s
        ),
        "your eps_hat uses alpha_s: the noise is what x_t holds beyond the signal at its own time, alpha_t x0_hat": (
            lambda x, x_0, a, s, b, r: b * x_0 + r * (x - b * x_0) / s
        ),
        "that jumps to x0_hat at once; DDIM keeps the noise, at its new size": lambda x, x_0, a, s, b, r: x_0,
        "your noise is gone: DDIM mixes eps_hat back in, with sigma_s": lambda x, x_0, a, s, b, r: b * x_0,
        "this is the mean of DDPM's step; without its fresh noise that shrinks too fast": _ddpm_mean,
    }
    truth = _all(cases, lambda x, x_0, a, s, b, r: b * x_0 + r * (x - a * x_0) / s)
    said = "no dice are thrown, and nothing in it had to be trained"
    return match(answers, truth, {text: _all(cases, f) for text, f in slips.items()}, right=said)


def right(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s):
    eps_hat = (x_t - alpha_t * x0_hat) / sigma_t
    return alpha_s * x0_hat + sigma_s * eps_hat


def by_shrinking(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s):
    share = sigma_s / sigma_t
    return share * x_t + (alpha_s - share * alpha_t) * x0_hat


RIGHT = [right, by_shrinking]
WRONG = [
    (
        lambda x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s: (
            alpha_t * x0_hat + sigma_s * (x_t - alpha_t * x0_hat) / sigma_t
        ),
        "the data back at the old scale",
    ),
    (
        lambda x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * x0_hat + x_t - alpha_t * x0_hat,
        "nothing was denoised",
    ),
    (
        lambda x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * x0_hat + sigma_s * (x_t - alpha_t * x0_hat),
        "divide by sigma_t",
    ),
    (
        lambda x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * x0_hat + sigma_s * (x_t - x0_hat) / sigma_t,
        "not beyond x0_hat",
    ),
    (
        lambda x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s: (
            alpha_s * x0_hat + sigma_s * (x_t - alpha_s * x0_hat) / sigma_t
        ),
        "your eps_hat uses alpha_s",
    ),
    (lambda x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s: x0_hat, "jumps to x0_hat"),
    (lambda x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * x0_hat, "noise is gone"),
    (lambda **case: _ddpm_mean(*case.values()), "mean of DDPM's step"),
]
