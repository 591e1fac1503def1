"""K of T training steps for a short chain, counted back from T ("trailing"): it starts where pure noise belongs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "The chain starts from pure noise, which is level T; it ends in data, which is level 0. Both ends are fixed.",
    "K steps of equal size T / K have K + 1 ends: T, T - T/K, ..., 0.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    return [{"T": T, "K": K} for T, K in ((1000, 10), (1000, 50 if seed % 2 else 20), (60, 4))]


def _all(cases: list[dict[str, Any]], f: Any) -> list[Any]:
    return [f(c["T"], c["K"]) for c in cases]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    for c, came in zip(cases, answers, strict=True):
        n = np.asarray(came, dtype=float).ravel()
        if len(n) == c["K"]:
            if n[0] == c["T"]:
                return Verdict(False, "your grid stops short of 0: K steps have K + 1 ends, and the last one is data")
            lead = f"your grid starts at {n[0]:g} of {c['T']}" if n[0] > n[-1] else "your grid rises, and misses an end"
            return Verdict(False, f"{lead}: that is 'leading'. The chain starts from pure noise, and that is level T")
    slips = {
        "your grid rises; a chain runs from noise (T) to data (0)": _all(cases, lambda T, K: np.arange(K + 1) * T // K),
        "your last level is 1, not 0: one step of noise stays in the sample": _all(
            cases, lambda T, K: np.round(np.linspace(T, 1, K + 1))
        ),
        "you start at T - 1, the last index of a list counted from 0; as a level of noise the end is T": _all(
            cases, lambda T, K: np.round(np.linspace(T - 1, 0, K + 1))
        ),
        "your steps shrink towards the data, as squares do; equal ones are wanted": _all(
            cases, lambda T, K: np.arange(K, -1, -1) ** 2 * T // K**2
        ),
        "you counted K whole steps of 1; each of the K steps is T / K levels long": _all(
            cases, lambda T, K: T - np.arange(K + 1)
        ),
    }
    truth = _all(cases, lambda T, K: T - np.arange(K + 1) * T // K)
    return match(answers, truth, slips, right="pure noise stands at T, data at 0")


def right(T, K):
    return torch.arange(K, -1, -1) * T // K


def by_linspace(T, K):
    return torch.linspace(T, 0, K + 1).round().long()


RIGHT = [right, by_linspace]
WRONG = [
    (lambda T, K: torch.arange(K - 1, -1, -1) * T // K, "leading"),
    (lambda T, K: torch.arange(K, 0, -1) * T // K, "stops short of 0"),
    (lambda T, K: torch.arange(K + 1) * T // K, "your grid rises"),
    (lambda T, K: torch.linspace(T, 1, K + 1).round().long(), "your last level is 1"),
    (lambda T, K: torch.linspace(T - 1, 0, K + 1).round().long(), "start at T - 1"),
    (lambda T, K: torch.arange(K, -1, -1) ** 2 * T // K**2, "as squares do"),
    (lambda T, K: torch.arange(T, T - K - 1, -1), "steps of 1"),
]
