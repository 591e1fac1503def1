"""The noise floor of a measure, out of the reference alone: two disjoint halves of it, many times."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "For one order: the rows data[order[:n]] play the samples, and the next n rows, data[order[n : 2 * n]], the data.",
    "Do that for each row of `orders`, stack the values, and take their quantile(0.95).",
)
MEASURES = {
    "mean": lambda x, y: (x.mean(0) - y.mean(0)).norm(),
    "ratio": lambda x, y: (x.std(0) / y.std(0)).log().abs().sum() + 0.1 * x[:, 0].max(),
}


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for kind, N, n, R in (("mean", 40, 10, 30), ("ratio", 60, 20, 50), ("mean", 50, 25, 40)):
        orders = np.stack([rng.permutation(N) for _ in range(R)])
        inputs.append({"kind": kind, "data": rng.normal(size=(N, 2)), "n": n, "orders": orders})
    return inputs


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    data, orders = torch.as_tensor(case["data"]).clone(), torch.as_tensor(case["orders"]).clone()
    value = answer(MEASURES[case["kind"]], data, case["n"], orders)
    return value.detach().numpy() if torch.is_tensor(value) else value


def values(measure, data, n, orders):
    return torch.stack([torch.as_tensor(measure(data[o[:n]], data[o[n : 2 * n]])) for o in orders])


def right(measure, data, n, orders):
    return values(measure, data, n, orders).quantile(0.95)


def by_numpy(measure, data, n, orders):
    shuffled = data[orders[:, : 2 * n]]
    found = [float(measure(both[:n], both[n:])) for both in shuffled]
    return float(np.quantile(found, 0.95))


def overlap(measure, data, n, orders):
    return torch.stack([measure(data[o[:n]], data) for o in orders]).quantile(0.95)


def all_others(measure, data, n, orders):
    return torch.stack([measure(data[o[:n]], data[o[n:]]) for o in orders]).quantile(0.95)


def against_itself(measure, data, n, orders):
    return torch.stack([measure(data[o[:n]], data[o[:n]]) for o in orders]).quantile(0.95)


def unshuffled(measure, data, n, orders):
    return measure(data[:n], data[n : 2 * n])


def average(measure, data, n, orders):
    return values(measure, data, n, orders).mean()


def lower(measure, data, n, orders):
    return values(measure, data, n, orders).quantile(0.05)


def largest(measure, data, n, orders):
    return values(measure, data, n, orders).max()


def swapped(measure, data, n, orders):
    return values(lambda x, y: measure(y, x), data, n, orders).quantile(0.95)


SLIPS = {
    "your sample is part of the data it is held against: take two sets that share no row": overlap,
    "the second set is too large: n rows against n other rows": all_others,
    "you compare a set with itself: take two sets that share no row": against_itself,
    "one split is one draw of luck: use every row of `orders`": unshuffled,
    "that is the mean: half of all perfect models lie above it. Wanted is the 95 % quantile": average,
    "the wrong end: a larger value is worse, so the floor is the 95 % quantile": lower,
    "that is the largest value, which grows with the number of orders: take the 95 % quantile": largest,
    "the first n rows play the samples, and the samples come first in `measure`": swapped,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [ask(f, c) for c in cases] for text, f in SLIPS.items()}
    said = "a perfect model stays below it in 19 of 20 cases, at this n"
    return match(answers, [ask(right, c) for c in cases], slips, right=said)


RIGHT = [right, by_numpy]
WRONG = [
    (overlap, "is part of the data"),
    (all_others, "too large"),
    (against_itself, "with itself"),
    (unshuffled, "one draw of luck"),
    (average, "that is the mean"),
    (lower, "wrong end"),
    (largest, "largest value"),
    (swapped, "samples come first"),
]
