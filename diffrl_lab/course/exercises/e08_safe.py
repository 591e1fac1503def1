"""The denoiser of a Gaussian that is known to lie above a threshold: E[x_0 given x_t and x_0 >= c]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match, put

HINTS = (
    "Without the constraint x_0 given x_t is N(m, s^2): m = alpha x_t and s = sigma where alpha^2 + sigma^2 = 1. "
    "What is the mean of N(m, s^2) above c?",
    "With z = (m - c) / s the mean is m + s phi(z) / Phi(z), phi the density of N(0, 1), Phi its integral.",
    "For z = -30 both are too small for a float: exp(log phi - log Phi), with torch.special.log_ndtr for log Phi.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for t, c, n in ((0.5, 1.0, 7), (0.85, -0.5, 5), (0.02, 1.5, 6)):
        alpha, sigma = math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)
        inputs.append(
            {"x_t": rng.normal(size=(n, 1)), "alpha": alpha, "sigma": sigma, "c": c + float(rng.uniform(0, 0.3))}
        )
    return inputs


def log_phi(z):
    return -0.5 * z**2 - 0.5 * math.log(2 * math.pi)


def right(x_t, alpha, sigma, c):
    m = alpha * x_t
    z = (m - c) / sigma
    return m + sigma * torch.exp(log_phi(z) - torch.special.log_ndtr(z))


def by_slope(x_t, alpha, sigma, c):
    x = x_t.clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(torch.special.log_ndtr((alpha * x - c) / sigma).sum(), x)
    return alpha * x_t + sigma**2 / alpha * slope


def clamped(x_t, alpha, sigma, c):
    return (alpha * x_t).clamp(min=c)


def no_guide(x_t, alpha, sigma, c):
    return alpha * x_t


def no_alpha(x_t, alpha, sigma, c):
    return right(x_t / alpha, alpha, sigma, c)


def below(x_t, alpha, sigma, c):
    m = alpha * x_t
    z = (c - m) / sigma
    return m - sigma * torch.exp(log_phi(z) - torch.special.log_ndtr(z))


def no_sigma(x_t, alpha, sigma, c):
    return alpha * x_t + (right(x_t, alpha, sigma, c) - alpha * x_t) / sigma


def variance(x_t, alpha, sigma, c):
    m = alpha * x_t
    z = (m - c) / sigma**2
    return m + sigma**2 * torch.exp(log_phi(z) - torch.special.log_ndtr(z))


def slope_alone(x_t, alpha, sigma, c):
    z = (alpha * x_t - c) / sigma
    return alpha * x_t + alpha / sigma * torch.exp(log_phi(z) - torch.special.log_ndtr(z))


def no_share(x_t, alpha, sigma, c):
    z = (alpha * x_t - c) / sigma
    return alpha * x_t + sigma * log_phi(z).exp()


def underflows(x_t, alpha, sigma, c):
    z = (alpha * x_t - c) / sigma
    return alpha * x_t + sigma * log_phi(z).exp() / (0.5 * (1 + torch.erf(z / math.sqrt(2))))


SLIPS = {
    "you clamped the mean: the mean of what lies above c is larger than c": clamped,
    "that is the denoiser without the constraint": no_guide,
    "m is alpha x_t, the mean of x_0 given x_t for data N(0, 1)": no_alpha,
    "that is the mean of what lies *below* c: z = (m - c) / s": below,
    "the shift is s times phi / Phi: your s is missing": no_sigma,
    "s is a deviation: sigma, not sigma^2": variance,
    "that is m plus the slope of log P(safe): the shift is sigma^2 / alpha times that slope": slope_alone,
    "divide by Phi(z), the probability of being safe: without it the shift is too small": no_share,
    "far below c your phi and Phi are both 0: subtract logarithms, torch.special.log_ndtr(z)": underflows,
}


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """What came, with inf in place of nan, so that 0 / 0 is known again."""
    found = put(answer, case)
    return torch.nan_to_num(found, nan=math.inf) if torch.is_tensor(found) and found.is_floating_point() else found


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [ask(f, c).numpy() for c in cases] for text, f in SLIPS.items()}
    return match(answers, [ask(right, c).numpy() for c in cases], slips, right="the exact denoiser of the safe part")


RIGHT = [right, by_slope]
WRONG = [
    (clamped, "clamped the mean"),
    (no_guide, "without the constraint"),
    (no_alpha, "alpha x_t"),
    (below, "*below* c"),
    (no_sigma, "your s is missing"),
    (variance, "not sigma^2"),
    (slope_alone, "sigma^2 / alpha times"),
    (no_share, "divide by Phi"),
    (underflows, "both 0"),
]
