"""DDPM's whole sampling algorithm out of its betas, judged where each sample is known: two modes, a bell, one point."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "alpha_bar_n is the product of all 1 - beta_i up to n, and alpha_bar_0 = 1. Which roots are the two scales at n?",
    "Put a 1 in front of (1 - beta).cumprod(0), so that entry n belongs to step n. For n = T, ..., 1 the step leads "
    "from entry n to entry n - 1: x = step(x, D(x, n), alpha[n], sigma[n], alpha[n - 1], sigma[n - 1], z[n - 1]).",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for T, mean, apart, std in ((6, 0.5, 1.0, 0.3), (9, -1.0, 0.0, 1.5), (7, 0.7, 0.0, 0.0)):
        beta = rng.uniform(0.1, 0.4, T)
        x_T, z = rng.normal(size=(5, 1)), rng.normal(size=(T, 5, 1))
        inputs.append({"mean": mean, "apart": apart, "std": std, "beta": beta, "x_T": x_T, "z": z})
    return inputs


def _mean(case: dict[str, Any], alpha: float, x: Any) -> Any:
    """E[x_0 | x] where x = alpha x_0 + noise."""
    var = alpha**2 * case["std"] ** 2 + 1 - alpha**2
    u = x - alpha * case["mean"]
    mode = case["apart"] * torch.tanh(alpha * case["apart"] / max(var, 1e-12) * u)
    return case["mean"] + mode + alpha * case["std"] ** 2 / max(var, 1e-12) * (u - alpha * mode)


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    beta, x_T, z = (torch.from_numpy(case[name].copy()) for name in ("beta", "x_T", "z"))
    bars, T = [1.0, *(1 - case["beta"]).cumprod().tolist()], len(beta)

    def D(x_n: Any, n: Any) -> Any:
        """At step n, the exact denoiser of data near mean - apart or mean + apart, equally likely, with spread std."""
        if not 0 <= int(n) <= T:
            raise ValueError(f"D(x_n, n) knows the steps n = 1 to {T}, and n = {int(n)} is none of them")
        return _mean(case, bars[int(n)] ** 0.5, torch.as_tensor(x_n))

    def step(x_t: Any, x0_hat: Any, alpha_t: Any, sigma_t: Any, alpha_s: Any, sigma_s: Any, z: Any) -> Any:
        kept = alpha_t / alpha_s * sigma_s**2 / sigma_t**2
        std = (sigma_s**2 * (1 - kept * alpha_t / alpha_s)) ** 0.5
        return alpha_s * x0_hat + kept * (x_t - alpha_t * x0_hat) + std * z

    return answer(D, beta, x_T, z, step)


def _paper(case: dict[str, Any], turned: bool = False) -> np.ndarray:
    """Algorithm 2 of Ho et al. 2020 (with the variance beta tilde), which has eps_hat for x0_hat."""
    bars = np.concatenate([[1.0], np.cumprod(1 - case["beta"])])
    x, z = case["x_T"], case["z"][::-1] if turned else case["z"]
    for n in range(len(case["beta"]), 0, -1):
        beta, bar = case["beta"][n - 1], bars[n]
        eps_hat = (x - np.sqrt(bar) * _mean(case, np.sqrt(bar), torch.from_numpy(x)).numpy()) / np.sqrt(1 - bar)
        tilde = (1 - bars[n - 1]) / (1 - bar) * beta
        x = (x - beta / np.sqrt(1 - bar) * eps_hat) / np.sqrt(1 - beta) + np.sqrt(tilde) * z[n - 1]
    return x


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    backwards = [_paper(c, turned=True) for c in cases]  # the noises are alike, so their order is free
    answers = [_paper(c) if match([a], [b]).ok else a for c, a, b in zip(cases, answers, backwards, strict=True)]
    said = "your steps and algorithm 2 of the DDPM paper agree to the last digit, and data that are one point come back"
    verdict = match(answers, [_paper(c) for c in cases], right=said)
    if verdict.ok:
        return verdict
    if any(np.asarray(a).dtype.kind == "f" and np.isnan(a).any() for a in answers):
        text = "your samples are nan, because a step leads to a level with less signal. alpha_n^2 is the product of all"
        return Verdict(False, f"{text} 1 - beta_i up to n, and a step leads from n to n - 1")
    for message, slip in SLIPS.items():
        with np.errstate(all="ignore"), torch.no_grad():
            if match(answers, [ask(slip, c).numpy() for c in cases]).ok:
                return Verdict(False, message)
    for c, a in ((c, np.asarray(a)) for c, a in zip(cases, answers, strict=True) if not c["std"]):
        if _formed(cases, answers) and a.dtype.kind == "f" and not np.allclose(a, c["mean"], atol=1e-6):
            text = f"where all data are {c['mean']}, D says so at each step, and every chain must end there"
            return Verdict(False, f"{text}; yours end at {a.ravel()[0]:.3g}. Does the last step lead to n = 0?")
    text = (
        "where all data are one point yours end there. Is the noise of each step a row of z, and is x the last step's?"
    )
    return Verdict(False, f"{verdict.message}; {text}") if _formed(cases, answers) else verdict


def _formed(cases: list[dict[str, Any]], answers: list[Any]) -> bool:
    return all(np.shape(a) == c["x_T"].shape for c, a in zip(cases, answers, strict=True))


def right(D, beta, x_T, z, step):
    alpha_bar = torch.cat([torch.ones(1), (1 - beta).cumprod(0)])
    alpha, sigma = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x = x_T
    for n in range(len(beta), 0, -1):
        x = step(x, D(x, n), alpha[n], sigma[n], alpha[n - 1], sigma[n - 1], z[n - 1])
    return x


def by_the_paper(D, beta, x_T, z, step):
    x, T = x_T, len(beta)
    for k, noise in enumerate(z):
        n = T - k
        bar, before = torch.prod(1 - beta[:n]), torch.prod(1 - beta[: n - 1])
        eps_hat = (x - bar.sqrt() * D(x, n)) / (1 - bar).sqrt()
        mean = (x - beta[n - 1] / (1 - bar).sqrt() * eps_hat) / (1 - beta[n - 1]).sqrt()
        x = mean + ((1 - before) / (1 - bar) * beta[n - 1]).sqrt() * noise
    return x


RIGHT = [right, by_the_paper]


def _slip(
    levels: Any = None, steps: Any = None, asked: Any = None, noise: Any = None, once: bool = False,
    more: bool = False, crossed: bool = False
) -> Any:  # fmt: skip
    """The right answer but for one change: its scales, the order of its steps, what D is asked, or its noise."""

    def answer(D: Any, beta: Any, x_T: Any, z: Any, step: Any) -> Any:
        bar = torch.cat([torch.ones(1), (1 - beta).cumprod(0)])
        alpha, sigma = levels(bar, beta) if levels else (bar**0.5, (1 - bar) ** 0.5)
        x, T = x_T, len(beta)
        for n in steps(T) if steps else range(T, 0, -1):
            x0_hat = D(x_T, T) if once else D(x, asked(n) if asked else n)
            fresh = noise(z, n) if noise else z[n - 1]
            scales = alpha[n], sigma[n], alpha[n - 1], sigma[n - 1]
            x = step(x, x0_hat, *((scales[i] for i in (0, 2, 1, 3)) if crossed else scales), fresh)
        return D(x, 1) if more else x

    return answer


def _single(bar: Any, beta: Any) -> tuple[Any, Any]:
    one = torch.cat([torch.ones(1), 1 - beta])
    return one**0.5, (1 - one) ** 0.5


SLIPS = {
    "after the last step x is clean; you asked D once more, as if it had the noise of n = 1": _slip(more=True),
    "you gave step its scales in another order: alpha and sigma at n come first, then both at n - 1": (
        _slip(crossed=True)
    ),
    "you took alpha_bar and 1 - alpha_bar for the scales: they are shares of variance; the scales are their roots": (
        _slip(levels=lambda bar, beta: (bar, 1 - bar))
    ),
    "you took 1 - alpha for sigma: it is the variances alpha^2 and sigma^2 that add up to 1": (
        _slip(levels=lambda bar, beta: (bar**0.5, 1 - bar**0.5))
    ),
    "your sigma is 1 - alpha_bar, a variance: take its root": _slip(levels=lambda bar, beta: (bar**0.5, 1 - bar)),
    "you went from n = 1 up to T: that is the way of the noise; samples come from T down to 1": (
        _slip(steps=lambda T: range(1, T + 1))
    ),
    "you asked D at step n - 1 for an x that still has the noise of step n": _slip(asked=lambda n: n - 1),
    "your last step is missing: you stop at x_1, which is not clean": _slip(steps=lambda T: range(T, 1, -1)),
    "your first step is missing: x_T belongs to n = T, and you treat it as x at n = T - 1": (
        _slip(steps=lambda T: range(T - 1, 0, -1))
    ),
    "you add the same noise in every step; each step has a row of z to itself": _slip(noise=lambda z, n: z[0]),
    "your steps have no noise: all chains that start at one x_T would end in one place": (
        _slip(noise=lambda z, n: torch.zeros_like(z[0]))
    ),
    "you end on D(x_T, T), a mean of the data and not a sample: ask D again after each step": _slip(once=True),
}
WRONG = [
    (_slip(more=True), "asked D once more"),
    (_slip(crossed=True), "in another order"),
    (_slip(levels=lambda bar, beta: (bar, 1 - bar)), "shares of variance"),
    (_slip(levels=lambda bar, beta: (bar**0.5, 1 - bar**0.5)), "add up to 1"),
    (_slip(levels=lambda bar, beta: (bar**0.5, 1 - bar)), "take its root"),
    (_slip(steps=lambda T: range(1, T + 1)), "the way of the noise"),
    (_slip(asked=lambda n: n - 1), "still has the noise"),
    (_slip(steps=lambda T: range(T, 1, -1)), "stop at x_1"),
    (_slip(steps=lambda T: range(T - 1, 0, -1)), "first step is missing"),
    (_slip(noise=lambda z, n: z[0]), "same noise in every step"),
    (_slip(noise=lambda z, n: torch.zeros_like(z[0])), "no noise"),
    (_slip(once=True), "a mean of the data"),
    (_slip(levels=_single), "product of all"),
    (lambda D, beta, x_T, z, step: right(D, beta, x_T, z, step) + 0.1, "every chain must end there"),
]
