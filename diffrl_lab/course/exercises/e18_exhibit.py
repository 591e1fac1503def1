"""An exhibit of one's own: a bug, and a detector that names it, leaves healthy sets in peace and the other bugs too."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict

HINTS = (
    "Where every sample is cut to a multiple of 1/16, how many different values are there? The mean moves by "
    "1/32 only: that is less than chance moves it.",
    "The bug: torch.floor(16 * x) / 16. The detector: fewer than a tenth of the samples are different numbers, "
    "len(samples.unique()). The clipped set has many equal samples too, so one pair of equal ones is no proof.",
)
KINDS = ("yours", "healthy", "one mode lost", "clipped", "too narrow", "too wide")


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"kind": kind, "seed": int(rng.integers(1_000_000))} for kind in KINDS]


def healthy(generator: torch.Generator, share: float = 0.25, std: float = 0.15) -> torch.Tensor:
    """2,000 draws of two modes, at -1.6 and 0.55."""
    low = torch.rand(2000, generator=generator, dtype=torch.float64) < share
    return torch.where(low, -1.6, 0.55) + std * torch.randn(2000, generator=generator, dtype=torch.float64)


def faulty(kind: str, generator: torch.Generator) -> torch.Tensor:
    x = healthy(
        generator, 0.0 if kind == "one mode lost" else 0.25, {"too narrow": 0.08, "too wide": 0.19}.get(kind, 0.15)
    )
    return x.clamp(-1, 1) if kind == "clipped" else x


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """In how many of 20 sets of this kind the detector fires, and in how many of them the bug changed nothing."""
    pair = answer() if callable(answer) else answer
    if pair is None:
        return None
    damage, seen = pair
    fired = unchanged = 0
    for k in range(20):
        generator = torch.Generator().manual_seed(case["seed"] + k)
        data, x = healthy(generator), faulty(case["kind"], generator)
        if case["kind"] == "yours":
            damaged = damage(x.clone(), generator)
            unchanged += bool(damaged.shape == x.shape and (damaged == x).all())
            x = damaged
        fired += bool(seen(x, data))
    return np.array([fired, unchanged])


def right():
    def damage(x, generator):
        return torch.floor(16 * x) / 16

    def seen(samples, data):
        return len(samples.unique()) < 0.1 * len(samples)

    return damage, seen


def on_a_grid():
    step = 1 / 16
    return (
        lambda x, generator: x - x.remainder(step),
        lambda samples, data: bool((samples.remainder(step) < 1e-9).double().mean() > 0.9),
    )


def spread(x):
    low = x < -0.5
    means = torch.where(low, x[low].mean() if low.any() else 0.0, x[~low].mean())
    return (x - means).std()


def no_bug():
    return lambda x, generator: x, right()[1]


def mean_only():
    return right()[0], lambda samples, data: bool((samples.mean() - data.mean()).abs() > 0.25)


def always():
    return right()[0], lambda samples, data: True


def any_equal():
    return right()[0], lambda samples, data: len(samples.unique()) < len(samples)


def mode_too():
    def seen(samples, data):
        return right()[1](samples, data) or bool((samples < -0.5).double().mean() < 0.1)

    return right()[0], seen


def any_width():
    return (
        lambda x, generator: x + 0.15 * torch.randn(x.shape, generator=generator),
        lambda samples, data: bool(spread(samples) > 1.12 * spread(data)),
    )


def any_narrow():
    return (
        lambda x, generator: torch.where(x < -0.5, -1.6, 0.55),
        lambda samples, data: bool(spread(samples) < 0.8 * spread(data)),
    )


NAMED = {
    "one mode lost": "your detector also names sets that lost a mode: look for what only your bug leaves behind",
    "clipped": "your detector also names clipped sets: some equal samples are there, too, but only at a bound",
    "too narrow": "your detector also names sets that are too narrow: it must tell your bug from theirs",
    "too wide": "your detector also names sets that are too wide: it must tell your bug from theirs",
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    found: dict[str, tuple[int, int]] = {}
    for case, answer in zip(cases, answers, strict=True):
        counts = np.asarray(answer)
        if counts.shape != (2,):
            return Verdict(False, "a pair is wanted: a function that damages, and one that looks")
        found[case["kind"]] = int(counts[0]), int(counts[1])
    if found["yours"][1] > 0:
        return Verdict(False, "your bug changes nothing")
    if found["healthy"][0] > 1:
        return Verdict(False, "your detector fires on healthy sets, in more than 1 of 20")
    if found["yours"][0] < 19:
        return Verdict(False, "your detector misses your bug: it must see it in 19 of 20 sets")
    for kind, message in NAMED.items():
        if found[kind][0] > 1:
            return Verdict(False, message)
    return Verdict(True, "named in 19 of 20 sets or more, and nothing else is named after it")


RIGHT = [right, on_a_grid]
WRONG = [
    (no_bug, "changes nothing"),
    (mean_only, "misses your bug"),
    (always, "healthy sets"),
    (any_equal, "names clipped"),
    (mode_too, "lost a mode"),
    (any_width, "too wide"),
    (any_narrow, "too narrow"),
]
