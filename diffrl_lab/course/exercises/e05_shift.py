"""Classifier guidance as a shift of x0_hat: D + w sigma^2 / alpha grad J (Dhariwal and Nichol 2021, by Tweedie)."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Tweedie: alpha_t x0_hat = x_t + sigma_t^2 * score. The guided score is score + w * slope. Put it in.",
    "Only x0_hat's share of the new term is left: sigma_t^2 * w * slope, divided by what stands before x0_hat.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for angle, w in ((0.3, 1.0), (0.8, 2.5), (1.2, 0.7)):
        x, slope = rng.normal(size=(2, 4, 1))
        inputs.append(
            {"x0_hat": x, "slope": slope, "alpha": float(np.cos(angle)), "sigma": float(np.sin(angle)), "w": w}
        )
    return inputs


def right(x0_hat, slope, alpha, sigma, w):
    return x0_hat + w * sigma**2 / alpha * slope


def through_the_score(x0_hat, slope, alpha, sigma, w):
    x_t = 0.0  # any x_t will do: it cancels
    score = (alpha * x0_hat - x_t) / sigma**2
    return (x_t + sigma**2 * (score + w * slope)) / alpha


def no_factor(x0_hat, slope, alpha, sigma, w):
    return x0_hat + w * slope


def noise_once(x0_hat, slope, alpha, sigma, w):
    return x0_hat + w * sigma / alpha * slope


def no_alpha(x0_hat, slope, alpha, sigma, w):
    return x0_hat + w * sigma**2 * slope


def downhill(x0_hat, slope, alpha, sigma, w):
    return x0_hat - w * sigma**2 / alpha * slope


def no_scale(x0_hat, slope, alpha, sigma, w):
    return x0_hat + sigma**2 / alpha * slope


SLIPS = {
    "your shift is as large with no noise as with much: the slope needs the factor sigma_t^2 / alpha_t": no_factor,
    "you used sigma_t where sigma_t^2 belongs: Tweedie's formula has the variance": noise_once,
    "the factor 1 / alpha_t is missing: Tweedie's formula speaks of alpha_t x0_hat, not of x0_hat": no_alpha,
    "you go downhill: J is to grow, so its slope is added": downhill,
    "your shift does not listen to w": no_scale,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [f(**c) for c in cases] for text, f in SLIPS.items()}
    return match(answers, [right(**c) for c in cases], slips, right="the slope of J, in the units of x_0")


RIGHT = [right, through_the_score]
WRONG = [
    (no_factor, "as large with no noise"),
    (noise_once, "where sigma_t^2 belongs"),
    (no_alpha, "1 / alpha_t is missing"),
    (downhill, "downhill"),
    (no_scale, "listen to w"),
]
