"""A draw from p(x_0 | x_t), a mixture; its mean D(x_t) is not a draw. Judged by the shares and widths of what comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict

HINTS = (
    "A draw from a mixture takes two dice: the first says which mode, the second where in it.",
    "torch.multinomial(r, n, replacement=True, generator=generator) picks n modes k; then m[k] + s[k] * noise.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for k in (2, 3):
        r = rng.uniform(0.1, 0.25, k)
        r[-1] = 1 - r[:-1].sum()
        m = np.arange(k) * 2.0 - 1.0 + rng.uniform(-0.2, 0.2, k)
        inputs.append({"r": r, "m": m, "s": rng.uniform(0.08, 0.18, k), "n": 4000, "seed": seed + k})
    return inputs


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    r, m, s = (torch.from_numpy(case[name].copy()) for name in "rms")
    return answer(r, m, s, case["n"], torch.Generator().manual_seed(case["seed"]))


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    for c, came in zip(cases, answers, strict=True):
        x, (r, m, s), n = np.asarray(came, dtype=float), (c["r"], c["m"], c["s"]), c["n"]
        if x.shape != (n,):
            return Verdict(False, f"your answer has shape {x.shape}; n draws, shape {(n,)}, are wanted")
        if not np.isfinite(x).all():
            return Verdict(False, "your answer holds nan or inf")
        D, se = float(r @ m), np.sqrt(r * (1 - r) / n)
        if x.std() < 1e-6:
            which = "that is D: the mean" if abs(x[0] - D) < 1e-3 else "one number"
            return Verdict(False, f"you return {which}, {n} times over; draws differ, and lie in the modes")
        k = np.abs(x[:, None] - m).argmin(1)
        share = np.bincount(k, minlength=len(r)) / n
        gap = np.mean(np.abs(x - m[k]) > 3.5 * s[k])
        if gap > 0.05:
            text = f"{100 * gap:.0f} % of your draws lie between the modes, where there are no data"
            return Verdict(False, f"{text}: a bell around D is not p(x_0 | x_t)")
        if share.max() > 0.999:
            return Verdict(False, "all your draws are in one mode: draw it by r, do not take the largest")
        if (np.abs(share - r) > 5 * se + 1e-3).any():
            equal = (np.abs(share - 1 / len(r)) < 5 * se + 1e-3).all()
            text = "you picked the modes with equal probability, not r" if equal else "a mode's share is off"
            return Verdict(False, f"{text}: mode 1 has {share[0]:.2f} of your draws and should have {r[0]:.2f}")
        for i in range(len(r)):
            ratio = x[k == i].std() / s[i]
            if abs(ratio - 1) > 5 / np.sqrt(2 * r[i] * n):
                alike = ratio < 0.05 and abs(x[k == i].mean() - m[i]) > 1e-3 * s[i]
                width = "each draw needs noise of its own" if alike else "the modes have a width: add s * noise"
                cause = width if ratio < 0.05 else "s is a standard deviation"
                return Verdict(False, f"your draws in mode {i + 1} have {ratio:.2f} times the right spread: {cause}")
            if abs(x[k == i].mean() - m[i]) > 5 * s[i] / np.sqrt(r[i] * n):
                return Verdict(False, f"your draws in mode {i + 1} have mean {x[k == i].mean():.3f}, not {m[i]:.3f}")
    return Verdict(True, "each draw lies in a mode; D, their mean, need not lie in any")


def right(r, m, s, n, generator):
    k = torch.multinomial(r, n, replacement=True, generator=generator)
    return m[k] + s[k] * torch.randn(n, generator=generator)


def by_the_distribution_function(r, m, s, n, generator):
    k = torch.searchsorted(r.cumsum(0), torch.rand(n, generator=generator, dtype=r.dtype)).clamp(max=len(r) - 1)
    return torch.normal(m[k], s[k], generator=generator)


def _pick(r, n, g):
    return torch.multinomial(r, n, replacement=True, generator=g)


def _variance(r, m, s, n, g):
    k = _pick(r, n, g)
    return m[k] + s[k] ** 2 * torch.randn(n, generator=g)


def _one_noise(r, m, s, n, g):
    k = _pick(r, n, g)
    return m[k] + s[k] * torch.randn(1, generator=g)


def _bell(r, m, s, n, g):
    D = (r * m).sum()
    return D + ((r * (m - D) ** 2).sum() + (r * s**2).sum()) ** 0.5 * torch.randn(n, generator=g)


RIGHT = [right, by_the_distribution_function]
WRONG = [
    (lambda r, m, s, n, g: (r * m).sum().expand(n), "that is D"),
    (_bell, "a bell around D"),
    (lambda r, m, s, n, g: m[r.argmax()] + s[r.argmax()] * torch.randn(n, generator=g), "do not take the largest"),
    (lambda r, m, s, n, g: m[_pick(r, n, g)], "add s * noise"),
    (_variance, "standard deviation"),
    (_one_noise, "noise of its own"),
    (lambda r, m, s, n, g: right(torch.ones_like(r), m, s, n, g), "equal probability"),
]
