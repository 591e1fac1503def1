"""A guided sampler, written whole: slope, shift and step of the chain. A law judges its samples: a Gaussian
N(mu, d^2) tilted by exp(w b.x) is N(mu + w d^2 b, d^2).

The energy that is handed over is exact, J(x_t, t) = b.D(x_t), so any chain of small steps may be used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict
from diffrl_lab.diffusion import Cosine, Function

HINTS = (
    "One round of the loop: x = x.detach().requires_grad_(), then torch.autograd.grad(J(x, t).sum(), x) gives the "
    "slope, shift gives the guided x0_hat, and a step of lesson 01 or 02 leads from t to s.",
    "DDIM is the shortest step: eps_hat = (x - alpha_t x0_hat) / sigma_t with the guided x0_hat, then "
    "x = alpha_s x0_hat + sigma_s eps_hat. Detach x0_hat, or the graph grows from step to step.",
)
N, STEPS = 1500, 80


def cases(seed: int) -> list[dict[str, Any]]:
    shift = np.random.default_rng(seed).uniform(-0.1, 0.1)
    return [
        {"mean": np.array([0.5 + shift]), "std": 0.5, "b": np.array([2.0]), "w": 1.6, "seed": seed},
        {"mean": np.array([-0.3, 0.8 + shift]), "std": 0.8, "b": np.array([1.5, -1.0]), "w": 0.6, "seed": seed + 1},
    ]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    g, b, mu = torch.Generator().manual_seed(case["seed"]), torch.tensor(case["b"]), torch.tensor(case["mean"])

    def exact(x_t: torch.Tensor, t: torch.Tensor, _: Any = None) -> torch.Tensor:
        alpha, sigma = Cosine()(t)
        gain = alpha * case["std"] ** 2 / (alpha**2 * case["std"] ** 2 + sigma**2)
        return mu + gain * (x_t - alpha * mu)

    D = Function(exact, Cosine())
    x = torch.randn(N, len(b), generator=g, dtype=torch.float64)
    times = torch.linspace(0.99, 0, STEPS + 1, dtype=torch.float64)

    def shift(x0_hat: torch.Tensor, slope: torch.Tensor, alpha: Any, sigma: Any, w: float) -> torch.Tensor:
        return x0_hat + w * sigma**2 / alpha * slope

    return answer(D, lambda x, t: D(x, t) @ b, shift, case["w"], x, times, g)


def right(D, J, shift, w, x, times, generator):
    for t, s in zip(times[:-1], times[1:], strict=True):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = D.schedule(t), D.schedule(s)
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(J(x, t).sum(), x)
        x0_hat = shift(D(x, t), slope, alpha_t, sigma_t, w).detach()
        x = alpha_s * x0_hat + sigma_s * (x.detach() - alpha_t * x0_hat) / sigma_t
    return x


def ancestral(D, J, shift, w, x, times, generator):
    alpha, sigma = D.schedule(times)
    for k in range(len(times) - 1):
        with torch.enable_grad():
            at = x.clone().requires_grad_()
            slope = torch.autograd.grad(J(at, times[k]).sum(), at)[0]
        with torch.no_grad():
            x0_hat = shift(D(x, times[k]), slope, alpha[k], sigma[k], w)
            ts = alpha[k] / alpha[k + 1]
            var = sigma[k] ** 2 - ts**2 * sigma[k + 1] ** 2
            mean = (ts * sigma[k + 1] ** 2 * x + alpha[k + 1] * var * x0_hat) / sigma[k] ** 2
            z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = mean + sigma[k + 1] * var**0.5 / sigma[k] * z
    return x


def _chain(moved=None, step=None, last=None):
    """`right` with one thing changed: how x0_hat is moved, the step, or what is done to the finished samples."""

    def answer(D, J, shift, w, x, times, generator):
        for t, s in zip(times[:-1], times[1:], strict=True):
            (alpha_t, sigma_t), (alpha_s, sigma_s) = D.schedule(t), D.schedule(s)
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(J(x, t).sum(), x)
            free, x = D(x, t).detach(), x.detach()
            x0_hat = shift(free, slope, alpha_t, sigma_t, w)
            if moved is not None:
                x0_hat = free + moved(w, sigma_t, alpha_t, slope)
            if step is None:
                x = alpha_s * x0_hat + sigma_s * (x - alpha_t * x0_hat) / sigma_t
            else:
                x = step(x, x0_hat, free, (alpha_t, sigma_t), (alpha_s, sigma_s), generator)
        return x if last is None else last(x, J, w, times[-1])

    return answer


def _eps_of_free(x, x0_hat, free, at_t, at_s, generator):
    return at_s[0] * x0_hat + at_s[1] * (x - at_t[0] * free) / at_t[1]


def _mean_only(x, x0_hat, free, at_t, at_s, generator):
    ts = at_t[0] / at_s[0]
    return (ts * at_s[1] ** 2 * x + at_s[0] * (at_t[1] ** 2 - ts**2 * at_s[1] ** 2) * x0_hat) / at_t[1] ** 2


def _fresh(x, x0_hat, free, at_t, at_s, generator):
    return at_s[0] * x0_hat + at_s[1] * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def _climbed(x, J, w, t):
    x = x.detach().requires_grad_()
    return (x + w * torch.autograd.grad(J(x, t).sum(), x)[0]).detach()


unguided = _chain(lambda w, s, a, g: 0 * g)
downhill = _chain(lambda w, s, a, g: -w * s**2 / a * g)
without_scale = _chain(lambda w, s, a, g: s**2 / a * g)
bare_slope = _chain(lambda w, s, a, g: w * g)
root = _chain(lambda w, s, a, g: w * s / a * g)
afterwards = _chain(lambda w, s, a, g: 0 * g, last=_climbed)
free_noise = _chain(step=_eps_of_free)
mean_only = _chain(step=_mean_only)
afresh = _chain(step=_fresh)
SLIPS = {
    "your samples are those of D alone: J does not move x0_hat": unguided,
    "you go downhill: the slope of J is added": downhill,
    "your shift does not listen to w": without_scale,
    "the slope is added as it is: x0_hat moves by w sigma_t^2 / alpha_t times the slope": bare_slope,
    "you used sigma_t where sigma_t^2 belongs": root,
    "you guide the finished samples: the slope belongs into each step, where D can pull back to the data": afterwards,
    "x0_hat is guided and eps_hat is not: after the shift both come from the same x0_hat": free_noise,
    "your steps return the posterior's mean without its noise, so the samples lose their spread": mean_only,
    "each step noises x0_hat afresh and forgets x_t, which knows more": afresh,
}


def _moments(x: Any) -> np.ndarray:
    """Means of the columns, then the spread around them."""
    x = np.asarray(x, dtype=float)
    return np.append(x.mean(0), np.sqrt(x.var(0).mean()))


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    for c, came in zip(cases, answers, strict=True):
        x, d, mu, b = np.asarray(came, dtype=float), c["std"], c["mean"], c["b"]
        if x.shape != (N, len(mu)):
            return Verdict(False, f"your answer has shape {x.shape}; the shape of x, {(N, len(mu))}, is wanted")
        if not np.isfinite(x).all():
            return Verdict(False, "your answer holds nan or inf: is something divided by alpha or sigma at t = 0?")
        law, room = np.append(mu + c["w"] * d**2 * b, d), np.append(np.full(len(mu), 0.14 * d), 0.1 * d)
        if (np.abs(_moments(x) - law) < room).all():
            continue
        for text, slip in SLIPS.items():
            made = _moments(ask(slip, c).detach())
            if (np.abs(_moments(x) - made) < room).all():
                return Verdict(False, text)
        *mean, spread = np.round(_moments(x), 3).tolist()
        *right, _ = np.round(law, 3).tolist()
        return Verdict(
            False, f"N({mu.tolist()}, {d}^2) tilted by exp(w b.x) with w = {c['w']}, b = {b.tolist()} has the mean "
            f"{right} and the spread {d}; your samples have {mean} and {spread:.3g}",
        )  # fmt: skip
    return Verdict(True, "the tilted Gaussian came out: moved by w d^2 b, and as wide as before")


RIGHT = [right, ancestral]
WRONG = [
    (unguided, "J does not move x0_hat"),
    (downhill, "you go downhill"),
    (without_scale, "does not listen to w"),
    (bare_slope, "added as it is"),
    (root, "where sigma_t^2 belongs"),
    (afterwards, "guide the finished samples"),
    (free_noise, "eps_hat is not"),
    (mean_only, "lose their spread"),
    (afresh, "forgets x_t"),
]
