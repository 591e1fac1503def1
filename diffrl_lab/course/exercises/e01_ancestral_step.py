"""One step of the reverse process: x_s ~ q(x_s | x_t, x_0 = x0_hat), the noise z being given."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "The two bells have the means alpha_s x0_hat and x_t / alpha_ts. Weigh each by its precision and multiply by v.",
    "Multiplied out, the mean is (alpha_ts sigma_s^2 x_t + alpha_s sigma_ts^2 x0_hat) / sigma_t^2; nothing is divided "
    "by sigma_s, which is 0 at s = 0. z is multiplied by the root of v.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for s, t in ((0.3, 0.6), (0.85, 0.9), (0.0, 0.2)):  # angles: alpha = cos, sigma = sin; the last step ends at s = 0
        (a_s, a_t), (s_s, s_t) = np.cos(np.pi / 2 * np.array([s, t])), np.sin(np.pi / 2 * np.array([s, t]))
        x = {name: rng.normal(size=(6, 1)) for name in ("x_t", "x0_hat", "z")}
        inputs.append(x | {"alpha_t": float(a_t), "sigma_t": float(s_t), "alpha_s": float(a_s), "sigma_s": float(s_s)})
    return inputs


def _bells(c: dict[str, Any], var_2: Any = None, mean_1: Any = None) -> Any:
    """Two bells multiplied by hand, with one slip; sigma_s = 0 is their limit."""
    ts = c["alpha_t"] / c["alpha_s"]
    v_1 = max(c["sigma_s"] ** 2, 1e-30)
    v_2 = (c["sigma_t"] ** 2 - (ts * c["sigma_s"]) ** 2) / ts**2
    v_2 = var_2(c, ts, v_2) if var_2 else v_2
    mu_1 = mean_1(c) if mean_1 else c["alpha_s"] * c["x0_hat"]
    v = 1 / (1 / v_1 + 1 / v_2)
    return v * (mu_1 / v_1 + c["x_t"] / ts / v_2) + v**0.5 * c["z"]


def _deterministic(c: dict[str, Any]) -> Any:
    return c["alpha_s"] * c["x0_hat"] + c["sigma_s"] / c["sigma_t"] * (c["x_t"] - c["alpha_t"] * c["x0_hat"])


def _step(
    c: dict[str, Any], std: Any = None, swap: bool = False, plain: bool = False, weigh: Any = None, shrunk: bool = True
) -> Any:
    ts = c["alpha_t"] / c["alpha_s"]
    var_ts = c["sigma_t"] ** 2 - (ts**2 if shrunk else 1) * c["sigma_s"] ** 2
    a, b = ts * c["sigma_s"] ** 2 / c["sigma_t"] ** 2, c["alpha_s"] * var_ts / c["sigma_t"] ** 2
    a, b = (b, a) if swap else (a, b)
    a, b = weigh(c, a, b) if weigh else (a, b)
    right = c["sigma_s"] * var_ts**0.5 / c["sigma_t"]
    mean = c["alpha_s"] * c["x0_hat"] if plain else a * c["x_t"] + b * c["x0_hat"]
    return mean + c["z"] * (right if std is None else std(c, right, var_ts))


WEIGH: dict[str, Any] = {
    "x_t": lambda c, a, b: (a * c["alpha_s"], b),
    "x0_hat": lambda c, a, b: (a, b * c["alpha_t"] / c["alpha_s"]),
    "whole": lambda c, a, b: (a * c["sigma_t"] ** 2, b * c["sigma_t"] ** 2),
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "you return the posterior's mean without its noise: the samples lose their spread": [
            _step(c, lambda c, r, v: 0) for c in cases
        ],
        "you multiplied z by the variance; a standard deviation, its root, belongs there": [
            _step(c, lambda c, r, v: r**2) for c in cases
        ],
        "your noise is sigma_ts, a whole forward step's: at s = 0 it would blur the finished sample": [
            _step(c, lambda c, r, v: v**0.5) for c in cases
        ],
        "you noised x0_hat afresh up to the level s and forgot x_t, which knows more": [
            _step(c, lambda c, r, v: c["sigma_s"], plain=True) for c in cases
        ],
        "your noise is sigma_s, the level's whole noise; part of it is in x_t already": [
            _step(c, lambda c, r, v: c["sigma_s"]) for c in cases
        ],
        "you swapped the weights: near t = s the mean must be close to x_t": [_step(c, swap=True) for c in cases],
        "your sigma_ts^2 is sigma_t^2 - sigma_s^2; the noise at s shrinks by alpha_ts on its way to t": [
            _step(c, shrunk=False) for c in cases
        ],
        "your weight of x_t has alpha_t; it is the one step's alpha_ts = alpha_t / alpha_s": [
            _step(c, weigh=WEIGH["x_t"]) for c in cases
        ],
        "your weight of x0_hat has alpha_t; the step ends at the level s, so alpha_s belongs there": [
            _step(c, weigh=WEIGH["x0_hat"]) for c in cases
        ],
        "your mean is not divided by sigma_t^2: precisions add up to sigma_t^2 / (sigma_s^2 sigma_ts^2)": [
            _step(c, weigh=WEIGH["whole"]) for c in cases
        ],
        "the bell from x_t has the variance sigma_ts^2 / alpha_ts^2: solved for x_s, its noise is divided as well": [
            _bells(c, var_2=lambda c, ts, v: v * ts**2) for c in cases
        ],
        "the bell from x0_hat has the mean alpha_s x0_hat: on the way to s the signal has shrunk": [
            _bells(c, mean_1=lambda c: c["x0_hat"]) for c in cases
        ],
        "your step has no fresh noise: it keeps all of the noise that x_t has (this is DDIM, lesson 02)": [
            _deterministic(c) for c in cases
        ],
        "you return x0_hat: that is the mean of all data that fit, not a step towards one of them": [
            c["x0_hat"] for c in cases
        ],
    }
    said = "and at s = 0 the step ends on x0_hat, with no noise on it: the final-step rule comes for free"
    return match(answers, [_step(c) for c in cases], slips, right=said)


def right(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s, z):
    alpha_ts = alpha_t / alpha_s
    var_ts = sigma_t**2 - alpha_ts**2 * sigma_s**2
    mean = (alpha_ts * sigma_s**2 * x_t + alpha_s * var_ts * x0_hat) / sigma_t**2
    return mean + sigma_s * var_ts**0.5 / sigma_t * z


def by_eps(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s, z):
    std = sigma_s * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2) ** 0.5
    eps_hat = (x_t - alpha_t * x0_hat) / sigma_t
    return alpha_s * x0_hat + (sigma_s**2 - std**2) ** 0.5 * eps_hat + std * z


RIGHT = [right, by_eps]


def _wrong(**change: Any) -> Any:
    def answer(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s, z):
        names = ("x_t", "x0_hat", "alpha_t", "sigma_t", "alpha_s", "sigma_s", "z")
        return _step(dict(zip(names, (x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s, z), strict=True)), **change)

    return answer


WRONG = [
    (_wrong(std=lambda c, r, v: 0), "lose their spread"),
    (_wrong(std=lambda c, r, v: r**2), "by the variance"),
    (_wrong(std=lambda c, r, v: v**0.5), "blur the finished sample"),
    (_wrong(std=lambda c, r, v: c["sigma_s"], plain=True), "forgot x_t"),
    (_wrong(std=lambda c, r, v: c["sigma_s"]), "in x_t already"),
    (_wrong(swap=True), "swapped the weights"),
    (_wrong(shrunk=False), "shrinks by alpha_ts"),
    (_wrong(weigh=WEIGH["x_t"]), "it is the one step's"),
    (_wrong(weigh=WEIGH["x0_hat"]), "ends at the level s"),
    (_wrong(weigh=WEIGH["whole"]), "not divided by sigma_t^2"),
    (lambda **case: _bells(case, var_2=lambda c, ts, v: v * ts**2), "divided as well"),
    (lambda **case: _bells(case, mean_1=lambda c: c["x0_hat"]), "the signal has shrunk"),
    (lambda **case: _deterministic(case), "this is DDIM"),
    (lambda x_t, x0_hat, **levels: x0_hat, "not a step"),
]
