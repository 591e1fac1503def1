"""The simple loss of a denoiser in terms of its error in x_0; for the exact one it is a floor above zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match
from diffrl_lab.diffusion import Linear, MixtureDenoiser

HINTS = (
    "eps = (x_t - alpha x_0) / sigma and eps_hat = (x_t - alpha x0_hat) / sigma. Subtract them: x_t cancels.",
    "eps - eps_hat = (alpha / sigma) (x0_hat - x_0). Square it, then take the mean.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    exact = MixtureDenoiser([0.3, 0.7], [[-1.0], [1.0]], Linear(), std=0.2)
    inputs = []
    for t in (0.1, 0.2, 0.4):
        x_0 = exact.sample(50, generator, torch.float64)
        alpha, sigma = (float(level) for level in exact.schedule(t))
        x_t = alpha * x_0 + sigma * torch.randn(50, 1, generator=generator, dtype=torch.float64)
        inputs.append({"x_0": x_0.numpy(), "x0_hat": exact(x_t, t).numpy(), "alpha": alpha, "sigma": sigma})
    return inputs


def _all(cases: list[dict[str, Any]], f: Any) -> list[Any]:
    return [f(c["x_0"] - c["x0_hat"], c["alpha"], c["sigma"]) for c in cases]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        (
            "you say 0, but x_t does not tell all of x_0: even the exact denoiser errs, and its error is the floor"
        ): lambda d, a, s: 0.0,
        (
            "this is the loss in units of x_0; the simple loss is in units of eps: a factor (alpha / sigma)^2"
        ): lambda d, a, s: np.mean(d**2),
        "your factor is alpha / sigma; the error is squared, so square the factor too": lambda d, a, s: (
            a / s * np.mean(d**2)
        ),
        "your factor is upside down: with little noise a small error in x_0 is a large one in eps": lambda d, a, s: (
            (s / a) ** 2 * np.mean(d**2)
        ),
        "your factor lacks sigma: eps is what remains of x_t, divided by sigma": lambda d, a, s: a**2 * np.mean(d**2),
        "your factor lacks alpha: x_t holds alpha times x_0, so an error in x_0 counts alpha times": lambda d, a, s: (
            np.mean(d**2) / s**2
        ),
        "you took a root at the end; the loss is the mean of the squares itself": lambda d, a, s: (
            a / s * np.mean(d**2) ** 0.5
        ),
        "your loss is half of it; the simple loss has no factor 1/2": lambda d, a, s: (a / s) ** 2 * np.mean(d**2) / 2,
        "you took the sum over the batch; the loss is a mean": lambda d, a, s: (a / s) ** 2 * np.sum(d**2),
        "you took the square of the mean error; errors of both signs cancel there": lambda d, a, s: (
            (a / s * np.mean(d)) ** 2
        ),
    }
    truth = _all(cases, lambda d, a, s: (a / s) ** 2 * np.mean(d**2))
    said = f"and with the exact denoiser it is {truth[0]:.2f} at t = 0.1, not 0: no training gets below"
    return match(answers, truth, {text: _all(cases, f) for text, f in slips.items()}, right=said)


def right(x_0, x0_hat, alpha, sigma):
    return (alpha / sigma) ** 2 * ((x0_hat - x_0) ** 2).mean()


def by_the_noise(x_0, x0_hat, alpha, sigma):
    eps = torch.zeros_like(x_0)  # any eps will do, since only the difference counts
    x_t = alpha * x_0 + sigma * eps
    return torch.nn.functional.mse_loss((x_t - alpha * x0_hat) / sigma, eps)


RIGHT = [right, by_the_noise]
WRONG = [
    (lambda x_0, x0_hat, alpha, sigma: 0.0, "even the exact denoiser errs"),
    (lambda x_0, x0_hat, alpha, sigma: ((x0_hat - x_0) ** 2).mean(), "units of x_0"),
    (lambda x_0, x0_hat, alpha, sigma: alpha / sigma * ((x0_hat - x_0) ** 2).mean(), "square the factor"),
    (lambda x_0, x0_hat, alpha, sigma: (sigma / alpha) ** 2 * ((x0_hat - x_0) ** 2).mean(), "upside down"),
    (lambda x_0, x0_hat, alpha, sigma: alpha**2 * ((x0_hat - x_0) ** 2).mean(), "lacks sigma"),
    (lambda x_0, x0_hat, alpha, sigma: ((x0_hat - x_0) ** 2).mean() / sigma**2, "lacks alpha"),
    (lambda x_0, x0_hat, alpha, sigma: alpha / sigma * ((x0_hat - x_0) ** 2).mean() ** 0.5, "a root at the end"),
    (lambda x_0, x0_hat, alpha, sigma: (alpha / sigma) ** 2 * ((x0_hat - x_0) ** 2).mean() / 2, "half of it"),
    (lambda x_0, x0_hat, alpha, sigma: (alpha / sigma) ** 2 * ((x0_hat - x_0) ** 2).sum(), "sum over the batch"),
    (lambda x_0, x0_hat, alpha, sigma: (alpha / sigma * (x0_hat - x_0).mean()) ** 2, "signs cancel"),
]
