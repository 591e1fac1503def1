"""The improved policy, drawn: a chain whose denoiser counts what the action may become by exp(Q / eta). A law judges:
N(mu, d^2) with Q = b.a becomes N(mu + d^2 b / eta, d^2), and the share of each of several modes is tilted by its Q.

The posterior mu(a | x_t) that is handed over is exact, so any chain of small steps may be used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict
from diffrl_lab.diffusion import Cosine

HINTS = (
    "One round of the loop: a = posterior(x, t) are K actions [K, n, d] that x_t may have come from. Weigh them by "
    "softmax(Q(a) / eta, 0), over the K; their weighted mean is the denoiser of the improved policy.",
    "DDIM is the shortest step: eps_hat = (x - alpha_t x0_hat) / sigma_t with that weighted mean as x0_hat, then "
    "x = alpha_s x0_hat + sigma_s eps_hat. schedule(t) gives alpha and sigma.",
)
N, STEPS, K = 400, 30, 32


def cases(seed: int) -> list[dict[str, Any]]:
    shift = np.random.default_rng(seed).uniform(-0.1, 0.1)
    corners = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    return [
        {"means": np.array([[0.3 + shift, -0.2]]), "std": 0.5, "b": np.array([1.1, -0.7]), "eta": 0.5, "seed": seed},
        {"means": corners, "std": 0.15, "q": np.array([2.0, 0.0, 3.0 + shift]), "eta": 2.5, "seed": seed + 1},
    ]


def value(case: dict[str, Any], a: torch.Tensor) -> torch.Tensor:
    """Q of a [..., 2]: linear, or what the nearest mode is worth. -> [...]"""
    if "b" in case:
        return a @ torch.as_tensor(case["b"])
    far = (a[..., None, :] - torch.as_tensor(case["means"])).square().sum(-1)
    return torch.as_tensor(case["q"])[far.argmin(-1)]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    g, means, std = torch.Generator().manual_seed(case["seed"]), torch.as_tensor(case["means"]), case["std"]
    draws, schedule = torch.Generator().manual_seed(case["seed"] + 100), Cosine()

    def posterior(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = schedule(t)
        var = alpha**2 * std**2 + sigma**2
        off = x[:, None] - alpha * means  # [n, modes, 2]
        below = (-off.square().sum(-1) / (2 * var)).softmax(1).cumsum(1)
        u = torch.rand(K, len(x), 1, generator=draws, dtype=x.dtype)
        which = (u > below).sum(-1).clamp(max=len(means) - 1)
        mean = (means + alpha * std**2 / var * off)[torch.arange(len(x)), which]
        return mean + std * sigma / var.sqrt() * torch.randn(mean.shape, generator=draws, dtype=x.dtype)

    x = torch.randn(N, 2, generator=g, dtype=torch.float64)
    times = torch.linspace(0.99, 0, STEPS + 1, dtype=torch.float64)
    return answer(posterior, lambda a: value(case, a), case["eta"], x, times, schedule)


def right(posterior, Q, eta, x, times, schedule):
    for t, s in zip(times[:-1], times[1:], strict=True):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        a = posterior(x, t)
        x0_hat = ((Q(a) / eta).softmax(0)[..., None] * a).sum(0)
        x = alpha_s * x0_hat + sigma_s * (x - alpha_t * x0_hat) / sigma_t
    return x


def resampled(posterior, Q, eta, x, times, schedule):
    for k in range(len(times) - 1):
        a = posterior(x, times[k])
        w = ((Q(a) - Q(a).amax(0)) / eta).exp()
        kept = torch.multinomial(w.T / w.sum(0)[:, None], 1)[:, 0]
        (alpha, sigma), (to_alpha, to_sigma) = schedule(times[k]), schedule(times[k + 1])
        ratio = alpha / to_alpha
        var = sigma**2 - ratio**2 * to_sigma**2
        mean = (ratio * to_sigma**2 * x + to_alpha * var * a[kept, torch.arange(len(x))]) / sigma**2
        x = mean + to_sigma * var**0.5 / sigma * torch.randn_like(x)
    return x


def _chain(weigh, step=None):
    """`right` with one thing changed: how the draws make x0_hat, or the step."""

    def answer(posterior, Q, eta, x, times, schedule):
        for t, s in zip(times[:-1], times[1:], strict=True):
            at_t, at_s = schedule(t), schedule(s)
            a = posterior(x, t)
            x0_hat = weigh(a, Q, eta)
            from_ = x0_hat if step is None else step(a)
            x = at_s[0] * x0_hat + at_s[1] * (x - at_t[0] * from_) / at_t[1]
        return x

    return answer


def _tilted(a, Q, eta):
    return ((Q(a) / eta).softmax(0)[..., None] * a).sum(0)


def _over_rows(a, Q, eta):
    return ((Q(a) / eta).softmax(1)[..., None] * a).sum(0)


def _afterwards(posterior, Q, eta, x, times, schedule):
    x = cloned(posterior, Q, eta, x, times, schedule)
    best = torch.stack([x, *(x.roll(k, 0) for k in range(1, 16))])
    return best[Q(best).argmax(0), torch.arange(len(x))]


cloned = _chain(lambda a, Q, eta: a.mean(0))
inverted = _chain(lambda a, Q, eta: _tilted(a, Q, -eta))
multiplied = _chain(lambda a, Q, eta: _tilted(a, Q, 1 / eta))
greedy = _chain(lambda a, Q, eta: a.gather(0, Q(a).argmax(0)[None, :, None].expand(1, -1, 2))[0])
no_eta = _chain(lambda a, Q, eta: _tilted(a, Q, 1.0))
half = _chain(_tilted, step=lambda a: a.mean(0))
over_rows = _chain(_over_rows)
SLIPS = {
    "your samples are those of the data: Q does not weigh what the action may become": cloned,
    "the sign: actions of low Q count most": inverted,
    "you multiplied by eta: Q is divided by it": multiplied,
    "eta plays no part: Q is divided by it": no_eta,
    "you take the best draw at each step: wanted is their mean, weighted by exp(Q / eta)": greedy,
    "x0_hat is weighted and eps_hat is not: both come from the same x0_hat": half,
    "your weights sum to 1 over the rows: they must do so over the K draws of each row, dim 0": over_rows,
    "you choose among finished samples: that is the best of several, not mu exp(Q / eta)": _afterwards,
}


def told(case: dict[str, Any], x: Any) -> np.ndarray:
    """What is judged: means and spread of one Gaussian, or the shares of several modes and of none of them."""
    x = np.asarray(x, dtype=float)
    if "b" in case:
        return np.append(x.mean(0), np.sqrt(x.var(0).mean()))
    far = np.linalg.norm(x[:, None] - case["means"], axis=-1)
    near = np.where(far.min(1) < 4 * case["std"], far.argmin(1), len(case["means"]))
    return np.bincount(near, minlength=len(case["means"]) + 1) / len(x)


def law(case: dict[str, Any]) -> np.ndarray:
    if "b" in case:
        return np.append(case["means"][0] + case["std"] ** 2 * case["b"] / case["eta"], case["std"])
    w = np.exp(case["q"] / case["eta"])
    return np.append(w / w.sum(), 0.0)


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    for came in answers:
        x = np.asarray(came, dtype=float)
        if x.shape != (N, 2):
            return Verdict(False, f"your answer has shape {x.shape}; the shape of x, {(N, 2)}, is wanted")
        if not np.isfinite(x).all():
            return Verdict(False, "your answer holds nan or inf: is something divided by alpha or sigma at t = 0?")
    if all((np.abs(told(c, x) - law(c)) < ROOM).all() for c, x in zip(cases, answers, strict=True)):
        return Verdict(True, "mu exp(Q / eta) came out: a chain of the data, in which better actions count more")
    seen = np.concatenate([told(c, x) for c, x in zip(cases, answers, strict=True)])
    off = {}
    for text, slip in SLIPS.items():
        off[text] = np.abs(seen - np.concatenate([told(c, ask(slip, c)) for c in cases])).max()
    likely = min(off, key=lambda text: off[text])
    if off[likely] < ROOM:
        return Verdict(False, likely)
    return Verdict(False, "your samples are not distributed as mu exp(Q / eta): weigh the K draws in every step of the "
                   "chain, and take both x0_hat and eps_hat from their mean")  # fmt: skip


ROOM = 0.14
RIGHT = [right, resampled]
WRONG = [
    (cloned, "those of the data"),
    (inverted, "the sign"),
    (multiplied, "multiplied by eta"),
    (no_eta, "eta plays no part"),
    (greedy, "best draw at each step"),
    (half, "eps_hat is not"),
    (over_rows, "sum to 1 over the rows"),
    (_afterwards, "finished samples"),
]
