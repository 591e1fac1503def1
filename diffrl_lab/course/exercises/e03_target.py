"""The target of a value: what follows a step that ended the world, and one that only ended the recording."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Ask of each row: does anything come after this step in the world, whether somebody recorded it or not?",
    "Only `terminated` makes the future worth 0. A time limit stops the recorder, not the world.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"rew": rng.normal(size=8), "next_V": rng.normal(size=8), "terminated": np.arange(8) % 4 == 1,
         "truncated": np.arange(8) % 4 == 3, "gamma": gamma}
        for gamma in (0.9, 0.6)
    ]  # fmt: skip


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    def target(c: dict[str, Any], goes_on: Any, gamma: float | None = None) -> np.ndarray:
        return c["rew"] + (c["gamma"] if gamma is None else gamma) * goes_on * c["next_V"]

    going = [~c["terminated"] for c in cases]
    slips = {
        "a time limit is no terminal: where `truncated`, the world goes on and next_V counts": [
            target(c, ~(c["terminated"] | c["truncated"])) for c in cases
        ],
        "you count next_V after a terminal step as well: nothing follows it, whatever a network says": [
            target(c, 1.0) for c in cases
        ],
        "the two flags are swapped: `terminated` ends the world, `truncated` ends the recording": [
            target(c, ~c["truncated"]) for c in cases
        ],
        "gamma is missing before next_V": [target(c, on, 1.0) for c, on in zip(cases, going, strict=True)],
        "your mask is upside down: next_V counts where the world goes on": [target(c, c["terminated"]) for c in cases],
        "you dropped the reward of the terminal step: it was earned": [
            target(c, on) * on for c, on in zip(cases, going, strict=True)
        ],
    }
    truth = [target(c, on) for c, on in zip(cases, going, strict=True)]
    return match(answers, truth, slips, right="the future is 0 after `terminated`, and only there")


def right(rew, next_V, terminated, truncated, gamma):
    return rew + gamma * (~terminated) * next_V


def by_row(rew, next_V, terminated, truncated, gamma):
    rows = zip(rew, next_V, terminated, strict=True)
    return [float(r) if bool(over) else float(r) + gamma * float(v) for r, v, over in rows]


def both(rew, next_V, terminated, truncated, gamma):
    return rew + gamma * ~(terminated | truncated) * next_V


def neither(rew, next_V, terminated, truncated, gamma):
    return rew + gamma * next_V


def swapped(rew, next_V, terminated, truncated, gamma):
    return rew + gamma * ~truncated * next_V


def undiscounted(rew, next_V, terminated, truncated, gamma):
    return rew + ~terminated * next_V


def upside_down(rew, next_V, terminated, truncated, gamma):
    return rew + gamma * terminated * next_V


def unpaid(rew, next_V, terminated, truncated, gamma):
    return ~terminated * (rew + gamma * next_V)


RIGHT = [right, by_row]
WRONG = [
    (both, "no terminal"),
    (neither, "after a terminal step"),
    (swapped, "swapped"),
    (undiscounted, "gamma is missing"),
    (upside_down, "upside down"),
    (unpaid, "it was earned"),
]
