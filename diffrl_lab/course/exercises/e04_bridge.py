"""A whole sampler of paths between two fixed ends, out of an exact denoiser that takes a time for each point."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict
from diffrl_lab.diffusion import Cosine, Function, brownian_motion, ddpm, pin, sample

HINTS = (
    "Which time do the two ends have, whatever t is? D takes t as a tensor [B, H]: a time for each point.",
    "In each step: write start and goal into x_t; make a tensor of times, t everywhere and 0 at both ends; ask D; then "
    "take lesson 01's ancestral step from t to s with its x0_hat. Write the ends in once more before you return.",
)
H, PATHS = 9, 1500
D = brownian_motion(H, Cosine())
PRAISE = "ends given clean and at time 0: mean and spread of the exact bridge, and nothing was trained"


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    ends = np.array([(1.0, 3.0), (-1.5, -2.0)]) + rng.uniform(-0.2, 0.2, (2, 2))
    return [{"start": float(a), "goal": float(b), "seed": int(rng.integers(1000))} for a, b in ends]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    generator = torch.Generator().manual_seed(case["seed"])
    x_T = torch.randn(PATHS, H, 1, generator=generator)
    return answer(D, x_T, case["start"], case["goal"], torch.linspace(1, 0, 101), generator)


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    for case, answer in zip(cases, answers, strict=True):
        x = np.asarray(answer, float)
        if x.shape != (PATHS, H, 1):
            return Verdict(False, f"your answer has shape {x.shape}; one path for each row of x_T, {(PATHS, H, 1)}")
        if not np.isfinite(x).all():
            return Verdict(False, "your paths hold nan or inf: at t = 1 alpha is 0, so never divide by alpha_t")
        if wrong := _wrong(x[..., 0], case):
            at = f"start = {case['start']:.2f}, goal = {case['goal']:.2f}"
            return Verdict(False, f"{wrong} (asked for {at}: half-way {_seen(x[..., 0])}, the bridge {_right(case)})")
    return Verdict(True, PRAISE)


def _seen(x: np.ndarray) -> str:
    return f"mean {x[:, H // 2].mean():.2f}, standard deviation {x[:, H // 2].std():.2f}"


def _right(case: dict[str, Any]) -> str:
    return f"{(case['start'] + case['goal']) / 2:.2f}, 0.50"


def ends_kept(x: np.ndarray, case: dict[str, Any]) -> bool:
    """Whether paths [S, H] begin at the start and end at the goal."""
    return bool(abs(x[:, [0, -1]] - [case["start"], case["goal"]]).max() < 1e-3)


def mean_off(x: np.ndarray, case: dict[str, Any]) -> float:
    """The largest distance of the mean path from the straight line, in the bridge's own standard deviation half-way."""
    line = np.linspace(case["start"], case["goal"], H)
    return float(abs(x.mean(0) - line).max() / 0.5)


def width(x: np.ndarray) -> float:
    """The standard deviation half-way over the bridge's, sqrt(1/2 * 1/2): 1 is right."""
    return float(x[:, H // 2].std() / 0.5)


def roughness(x: np.ndarray) -> float:
    """The variance of a step over the bridge's, (1 - 1/(H - 1)) / (H - 1): 1 is right."""
    return float(np.diff(x).var(0).mean() * (H - 1) / (1 - 1 / (H - 1)))


def _wrong(x: np.ndarray, case: dict[str, Any]) -> str:
    """What a law of the bridge says against paths [S, H]; "" where all laws hold."""
    if ends_kept(x[:, ::-1], case):
        return "your paths run from the goal to the start: point 0 is the start"
    if not ends_kept(x, case):
        return "your paths do not begin at start and end at goal: write both in after the last step as well"
    if mean_off(x, case) > 2:
        return "D never saw the two ends: show them to it, clean, at every step and not only at the last"
    if width(x) > 1.2:
        return "half-way the paths are too spread: D took your clean ends for noisy ones. Which time do the ends have?"
    if mean_off(x, case) > 0.2:
        return "the mean path is no straight line from start to goal"
    if width(x) < 0.1:
        return "all your paths are nearly the same: an ancestral step adds fresh noise, with lesson 01's deviation"
    if width(x) < 0.85 or abs(roughness(x) - 1) > 0.25:
        return "the spread is not the bridge's: x_s keeps a part of x_t, it is not x0_hat under wholly fresh noise"
    return ""


PROPERTIES = {
    "the ends are kept": lambda cases, answers: all(
        ends_kept(np.asarray(a, float)[..., 0], c) for c, a in zip(cases, answers, strict=True)
    ),
    "the mean is the straight line": lambda cases, answers: all(
        mean_off(np.asarray(a, float)[..., 0], c) <= 0.2 for c, a in zip(cases, answers, strict=True)
    ),
    "the spread is the bridge's": lambda cases, answers: judge(cases, answers).ok,
}


def right(D, x_T, start, goal, times, generator):
    x = x_T.clone()
    for t, s in zip(times[:-1], times[1:], strict=True):
        x[:, 0], x[:, -1] = start, goal
        each = t.repeat(x.shape[:2])  # a time for each point, [B, H]
        each[:, [0, -1]] = 0
        x0_hat = D(x, each)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = D.schedule(t), D.schedule(s)
        alpha_ts = alpha_t / alpha_s
        sigma_ts = (sigma_t**2 - alpha_ts**2 * sigma_s**2).sqrt()
        mean = (alpha_ts * sigma_s**2 * x + alpha_s * sigma_ts**2 * x0_hat) / sigma_t**2
        x = mean + sigma_ts * sigma_s / sigma_t * torch.randn(x.shape, generator=generator)
    x[:, 0], x[:, -1] = start, goal
    return x


def _clean_ends(D, start, goal, H):
    """D pinned to both ends, which it takes at time 0."""
    known, value = torch.zeros(H, 1, dtype=torch.bool), torch.zeros(H, 1)
    known[[0, -1]], value[0], value[-1] = True, start, goal
    timed = Function(lambda x, t, cond=None: D(x, torch.where(known[:, 0], 0.0, t).expand(len(x), H)), D.schedule)
    return pin(timed, known, value)


def by_library(D, x_T, start, goal, times, generator):
    return sample(_clean_ends(D, start, goal, x_T.shape[1]), x_T, steps=times, step=ddpm(), generator=generator)


def _walk(D, x_T, start, goal, times, generator, *, shown=True, kept=True, clock=True, noise=1.0, fresh=False):
    x = x_T.clone()
    for t, s in zip(times[:-1], times[1:], strict=True):
        if shown:
            x[:, 0], x[:, -1] = start, goal
        each = t.repeat(x.shape[:2])
        if clock:
            each[:, [0, -1]] = 0
        x0_hat = D(x, each)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = D.schedule(t), D.schedule(s)
        alpha_ts = alpha_t / alpha_s
        sigma_ts = (sigma_t**2 - alpha_ts**2 * sigma_s**2).sqrt()
        mean = (alpha_ts * sigma_s**2 * x + alpha_s * sigma_ts**2 * x0_hat) / sigma_t**2
        std = noise * sigma_ts * sigma_s / sigma_t
        if fresh:
            mean, std = alpha_s * x0_hat, sigma_s
        x = mean + std * torch.randn(x.shape, generator=generator)
    if kept:
        x[:, 0], x[:, -1] = start, goal
    return x


def ends_lost(*case):
    return _walk(*case, shown=False, kept=False, clock=False)


def unshown(*case):
    return _walk(*case, shown=False)


def one_clock(*case):
    return _walk(*case, clock=False)


def turned(D, x_T, start, goal, times, generator):
    return _walk(D, x_T, goal, start, times, generator)


def silent(*case):
    return _walk(*case, noise=0.0)


def all_fresh(*case):
    return _walk(*case, fresh=True)


RIGHT = [right, by_library]
WRONG = [
    (ends_lost, "do not begin at start"),
    (unshown, "never saw"),
    (one_clock, "too spread"),
    (turned, "from the goal to the start"),
    (silent, "nearly the same"),
    (all_fresh, "wholly fresh noise"),
]
