"""The nearest-row ratio: how near samples lie to the training rows, over how near fresh rows of the world lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Divide all rows by the standard deviation of the training rows' columns. torch.cdist(x, train) has the distances "
    "of all pairs [n, N]: for each row of x the smallest counts.",
    "near = lambda x: torch.cdist(x / std, train / std).amin(1).median(), with std = train.std(0). Then "
    "near(x) / near(fresh).",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for N, n, m, width in ((30, 15, 21, 0.3), (40, 31, 13, 1.0)):
        unit = np.array([1.0, 8.0, 0.1, 3.0])
        train, fresh = (unit * rng.normal(0, 1, (k, 4)) + 2 * unit for k in (N, m))
        x = train[rng.integers(N, size=n)] + width * unit * rng.normal(0, 1, (n, 4))
        x[:3] += 6 * unit * rng.normal(0, 1, (3, 4))  # a few are far off
        inputs.append({"x": x, "train": train, "fresh": fresh})
    return inputs


def distances(x, data, std):
    return torch.cdist(x / std, data / std)


def right(x, train, fresh):
    std = train.std(0)
    return distances(x, train, std).amin(1).median() / distances(fresh, train, std).amin(1).median()


def row_by_row(x, train, fresh):
    z = [(rows - train.mean(0)) / train.std(0, correction=0) for rows in (x, train, fresh)]
    near = [torch.stack([(z[1] - row).square().sum(1).min().sqrt() for row in rows]) for rows in (z[0], z[2])]
    return torch.quantile(near[0], 0.5) / torch.quantile(near[1], 0.5)


def unscaled(x, train, fresh):
    one = torch.ones_like(train[0])
    return distances(x, train, one).amin(1).median() / distances(fresh, train, one).amin(1).median()


def inverted(x, train, fresh):
    return 1 / right(x, train, fresh)


def no_comparison(x, train, fresh):
    return distances(x, train, train.std(0)).amin(1).median()


def to_fresh(x, train, fresh):
    std = train.std(0)
    return distances(x, fresh, std).amin(1).median() / distances(train, fresh, std).amin(1).median()


def among_training(x, train, fresh):
    std = train.std(0)
    own = distances(train, train, std) + 1e9 * torch.eye(len(train)).to(train)
    return distances(x, train, std).amin(1).median() / own.amin(1).median()


def from_training(x, train, fresh):
    std = train.std(0)
    return distances(train, x, std).amin(1).median() / distances(train, fresh, std).amin(1).median()


def means(x, train, fresh):
    std = train.std(0)
    return distances(x, train, std).amin(1).mean() / distances(fresh, train, std).amin(1).mean()


def all_pairs(x, train, fresh):
    std = train.std(0)
    return distances(x, train, std).flatten().median() / distances(fresh, train, std).flatten().median()


def smallest(x, train, fresh):
    std = train.std(0)
    return distances(x, train, std).min() / distances(fresh, train, std).min()


def squared(x, train, fresh):
    return right(x, train, fresh) ** 2


SLIPS = {
    "columns have different units: divide each by its standard deviation in `train`": unscaled,
    "upside down: near copies must make it small": inverted,
    "that is a distance alone; divide it by that of fresh rows, for it depends on how many training rows there are": (
        no_comparison
    ),
    "you looked for the nearest *fresh* row: both distances are to the training rows": to_fresh,
    "the comparison is among the training rows, where the model may copy; compare with fresh rows": among_training,
    "from training rows to samples is the wrong way: for each *sample* the nearest training row counts": from_training,
    "means are ruled by the few rows that are far off: take medians": means,
    "you took all pairs: of each row only the nearest training row counts": all_pairs,
    "that is the one nearest pair: wanted is the median over the rows": smallest,
    "your distances are squared: take the root": squared,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    said = "1 is what new rows of the same world have; far below 1 the samples are copies"
    return match(answers, [right(**c).numpy() for c in put], slips, right=said, rtol=1e-3, atol=1e-6)


RIGHT = [right, row_by_row]
WRONG = [
    (unscaled, "different units"),
    (inverted, "upside down"),
    (no_comparison, "a distance alone"),
    (to_fresh, "nearest *fresh* row"),
    (among_training, "among the training rows"),
    (from_training, "for each *sample*"),
    (means, "means are ruled"),
    (all_pairs, "all pairs"),
    (smallest, "one nearest pair"),
    (squared, "squared"),
]
