"""When a score is an alarm: how often healthy sets score as high, and how many detectors look."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Count how many healthy scores are at least as high as the one that was found. The found one is a draw as well, so "
    "add one above and one below the fraction line.",
    "With m detectors there are m chances for a false alarm: multiply by m. A probability is never above 1.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for R, above, m in ((99, 0, 3), (49, 2, 5), (199, 6, 2), (20, 12, 6)):
        scores = np.sort(rng.choice(400, size=R + 3, replace=False)) / 100
        healthy, found = scores[:R], float((scores[R - above - 1] + scores[R - above]) / 2 if above else scores[R])
        if above:  # one of them is as high as the one that was found
            healthy = healthy.copy()
            healthy[R - above] = found
        inputs.append({"found": found, "healthy": rng.permutation(healthy), "detectors": m})
    return inputs


def right(found, healthy, detectors):
    p = (1 + (healthy >= found).sum()) / (1 + len(healthy))
    return (detectors * p).clamp(max=1.0)


def by_rank(found, healthy, detectors):
    below = int(np.searchsorted(np.sort(healthy.numpy()), found, side="left"))
    return min(1.0, detectors * (len(healthy) - below + 1) / (len(healthy) + 1))


def never_zero(found, healthy, detectors):
    return (detectors * (healthy >= found).double().mean()).clamp(max=1.0)


def one_look(found, healthy, detectors):
    return (1 + (healthy >= found).sum()) / (1 + len(healthy))


def divided(found, healthy, detectors):
    return one_look(found, healthy, detectors) / detectors


def without_ties(found, healthy, detectors):
    return (detectors * (1 + (healthy > found).sum()) / (1 + len(healthy))).clamp(max=1.0)


def below(found, healthy, detectors):
    return (detectors * (1 + (healthy <= found).sum()) / (1 + len(healthy))).clamp(max=1.0)


def above_one(found, healthy, detectors):
    return detectors * one_look(found, healthy, detectors)


SLIPS = {
    "of R healthy sets none may be higher, and the probability is still not 0: add 1 above and below": never_zero,
    "each detector is a chance for a false alarm: multiply by their number": one_look,
    "you divided by the number of detectors: more of them make an alarm less surprising, so multiply": divided,
    "a healthy score that equals the found one counts as well": without_ties,
    "the wrong side: count the healthy scores that are as high as the found one, or higher": below,
    "a probability is at most 1": above_one,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in c.items()} for c in cases]
    slips = {text: [np.asarray(f(**c), float) for c in put] for text, f in SLIPS.items()}
    truth = [np.asarray(right(**c), float) for c in put]
    return match(answers, truth, slips, right="below 0.05 the whole room raises a false alarm in at most 1 of 20 sets")


RIGHT = [right, by_rank]
WRONG = [
    (never_zero, "still not 0"),
    (one_look, "multiply by their number"),
    (divided, "so multiply"),
    (without_ties, "equals the found one"),
    (below, "wrong side"),
    (above_one, "at most 1"),
]
