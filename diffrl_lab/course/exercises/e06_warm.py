"""A warm start: what is left of the last plan is noised to a time t, and the chain begins there."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match
from diffrl_lab.diffusion import Cosine, Function, ddim

HINTS = (
    "x_t = alpha_t x_0 + sigma_t eps: here x_0 is what is left of the plan, shift(plan), and D.schedule(t) gives the "
    "two scales.",
    "Then walk: torch.linspace(t, 0, K + 1) holds the times, and x = step(D, x, a, b) goes from each to the next.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"plan": rng.normal(size=(H, 2)), "t": t, "K": K, "noise": rng.normal(size=(B, H, 2)), "std": std}
        for B, H, t, K, std in ((3, 5, 0.5, 3, 0.4), (2, 8, 0.3, 2, 0.8), (4, 4, 0.8, 6, 0.2))
    ]


def shift(plan: torch.Tensor) -> torch.Tensor:
    """What is left of a plan once its first point is done; the last point is held."""
    return torch.cat([plan[1:], plan[-1:]])


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer

    def exact(x_t: torch.Tensor, t: torch.Tensor, _: Any = None) -> torch.Tensor:
        alpha, sigma = Cosine()(t)
        return alpha * case["std"] ** 2 / (alpha**2 * case["std"] ** 2 + sigma**2) * x_t

    def step(D: Any, x: torch.Tensor, t: Any, s: Any) -> torch.Tensor:
        return ddim()(D, x, torch.as_tensor(t).double(), torch.as_tensor(s).double())[0]

    plan, noise = torch.tensor(case["plan"]), torch.tensor(case["noise"])
    return answer(Function(exact, Cosine()), plan, shift, case["t"], case["K"], noise, step)


def walked(D, x, t, K, step, end=0.0):
    for a, b in pairwise(torch.linspace(t, end, K + 1).tolist()):
        x = step(D, x, a, b)
    return x


def right(D, plan, shift, t, K, noise, step):
    alpha, sigma = D.schedule(t)
    x = alpha * shift(plan) + sigma * noise
    times = torch.linspace(t, 0, K + 1)
    for a, b in zip(times[:-1], times[1:], strict=True):
        x = step(D, x, a, b)
    return x


def counted(D, plan, shift, t, K, noise, step):
    scales = D.schedule(torch.tensor(t, dtype=torch.float64))
    x = scales[0] * shift(plan)[None] + scales[1] * noise
    for k in range(K):
        x = step(D, x, t * (K - k) / K, t * (K - k - 1) / K)
    return x


def cold(D, plan, shift, t, K, noise, step):
    return walked(D, noise, 1.0, K, step)


def unscaled(D, plan, shift, t, K, noise, step):
    return walked(D, shift(plan) + D.schedule(t)[1] * noise, t, K, step)


def bare(D, plan, shift, t, K, noise, step):
    return walked(D, shift(plan) + noise, t, K, step)


def stale(D, plan, shift, t, K, noise, step):
    alpha, sigma = D.schedule(t)
    return walked(D, alpha * plan + sigma * noise, t, K, step)


def from_one(D, plan, shift, t, K, noise, step):
    alpha, sigma = D.schedule(t)
    return walked(D, alpha * shift(plan) + sigma * noise, 1.0, K, step)


def quiet(D, plan, shift, t, K, noise, step):
    alpha = D.schedule(t)[0]
    return walked(D, alpha * shift(plan) + 0 * noise, t, K, step)


def time_as_scale(D, plan, shift, t, K, noise, step):
    return walked(D, (1 - t) * shift(plan) + t * noise, t, K, step)


def short(D, plan, shift, t, K, noise, step):
    alpha, sigma = D.schedule(t)
    x = alpha * shift(plan) + sigma * noise
    for a, b in pairwise([t * (K - k) / K for k in range(K)]):
        x = step(D, x, a, b)
    return x


def one_leap(D, plan, shift, t, K, noise, step):
    alpha, sigma = D.schedule(t)
    return step(D, alpha * shift(plan) + sigma * noise, t, 0.0)


def afterwards(D, plan, shift, t, K, noise, step):
    alpha, sigma = D.schedule(t)
    x = walked(D, alpha * plan + sigma * noise, t, K, step)
    return torch.stack([shift(each) for each in x])


SLIPS = {
    "you start from pure noise at t = 1: the last plan is not used": cold,
    "the plan is not scaled: x_t = alpha_t x_0 + sigma_t eps": unscaled,
    "neither plan nor noise is scaled: x_t = alpha_t x_0 + sigma_t eps": bare,
    "you noise the whole last plan: its first point is done, so shift it first": stale,
    "your chain begins at t = 1, but x carries noise of level t alone": from_one,
    "there is no noise in x: D is told a level that x does not have": quiet,
    "you took t for sigma_t and 1 - t for alpha_t: ask D.schedule(t)": time_as_scale,
    "your chain stops one step short of 0": short,
    "you leap from t to 0 at once: K steps were asked for": one_leap,
    "you shift the new plan: shift the last one, before it is noised": afterwards,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [ask(f, c).numpy() for c in cases] for text, f in SLIPS.items()}
    truth = [ask(right, c).numpy() for c in cases]
    return match(answers, truth, slips, right="noise up to t, and down again from there", rtol=1e-4, atol=1e-6)


RIGHT = [right, counted]
WRONG = [
    (cold, "last plan is not used"),
    (unscaled, "the plan is not scaled"),
    (bare, "neither plan nor noise"),
    (stale, "shift it first"),
    (from_one, "begins at t = 1, but"),
    (quiet, "no noise in x"),
    (time_as_scale, "took t for sigma_t"),
    (short, "one step short"),
    (one_leap, "leap from t to 0"),
    (afterwards, "shift the new plan"),
]
