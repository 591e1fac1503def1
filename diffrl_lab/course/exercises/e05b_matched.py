"""Two frontiers compared where it is fair: diversity at one return, whatever the scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Forget the scales: they are in different units. Look for where a method's return passes the wanted one.",
    "Find the first scale at which the return has reached the wanted one, and interpolate the coverage between it and "
    "the scale before, in proportion to the return.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for n, at in ((6, 0.35), (9, 0.6), (5, 0.8)):
        rises = rng.uniform(0.2, 1, size=n).cumsum()
        returns = (rises - rises[0]) / (rises[-1] - rises[0])
        coverage = 1 - rng.uniform(0.2, 1, size=n).cumsum() / n
        inputs.append({"returns": returns, "coverage": coverage, "wanted": at})
    return inputs


def right(returns, coverage, wanted):
    k = int((returns >= wanted).nonzero()[0, 0])
    share = (wanted - returns[k - 1]) / (returns[k] - returns[k - 1])
    return coverage[k - 1] + share * (coverage[k] - coverage[k - 1])


def by_numpy(returns, coverage, wanted):
    return float(np.interp(wanted, returns.numpy(), coverage.numpy()))


def nearest(returns, coverage, wanted):
    return coverage[(returns - wanted).abs().argmin()]


def next_scale(returns, coverage, wanted):
    return coverage[int((returns >= wanted).nonzero()[0, 0])]


def by_index(returns, coverage, wanted):
    at = wanted * (len(returns) - 1)
    return float(np.interp(at, np.arange(len(returns)), coverage.numpy()))


def halfway(returns, coverage, wanted):
    k = int((returns >= wanted).nonzero()[0, 0])
    return (coverage[k - 1] + coverage[k]) / 2


def swapped(returns, coverage, wanted):
    k = int((returns >= wanted).nonzero()[0, 0])
    share = (wanted - returns[k - 1]) / (returns[k] - returns[k - 1])
    return coverage[k] + share * (coverage[k - 1] - coverage[k])


SLIPS = {
    "that is the coverage at the nearest scale that was tried; between two scales, interpolate": nearest,
    "that is the coverage one scale too far: the wanted return was passed before it": next_scale,
    "you went the wanted share along the *scales*: go along the returns": by_index,
    "half-way between two scales is not where the return is met: weigh by the return": halfway,
    "your two weights are exchanged: near the lower scale, the lower scale counts more": swapped,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in c.items()} for c in cases]
    slips = {text: [np.asarray(f(**c), float) for c in put] for text, f in SLIPS.items()}
    truth = [np.asarray(right(**c), float) for c in put]
    return match(answers, truth, slips, right="compared at one return, not at one scale")


RIGHT = [right, by_numpy]
WRONG = [
    (nearest, "nearest scale"),
    (next_scale, "one scale too far"),
    (by_index, "along the *scales*"),
    (halfway, "half-way"),
    (swapped, "weights are exchanged"),
]
