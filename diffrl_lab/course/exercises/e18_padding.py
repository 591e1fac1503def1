"""How many rows at the end of each window are padding: rows that no longer move."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "windows.diff(dim=1) is 0 in every column where a row is a copy of the one before. Padding reaches to the end.",
    "Turn the steps round, so that the end comes first, and count until something moves: (still).flip(1).long()"
    ".cumprod(1).sum(1). A row that was padded with zeros jumps there first: the jump is a move.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for n, H, d in ((5, 8, 2), (6, 12, 3), (4, 10, 2)):
        w = rng.normal(size=(n, H, d))
        fill = rng.normal(size=d)  # what zeros become once they are scaled
        order = rng.permutation(n)
        for tail, i in enumerate(order[2:], 1):
            w[i, -tail - 1 :] = fill
        w[order[0], -1] = 0.0  # a row of zeros that is none of the padding
        w[order[1], :, -1] = 0.7  # a column that never moves
        w[order[0], 3] = w[order[0], 2]  # one stands still in its middle
        w[order[1], 1] = w[order[1], 0]  # and one at its beginning
        inputs.append({"windows": w})
    return inputs


def still(windows):
    return (windows.diff(dim=1) == 0).all(2)


def right(windows):
    return still(windows).flip(1).long().cumprod(1).sum(1)


def by_loop(windows):
    count = []
    for rows in windows:
        k = 0
        while k < len(rows) - 1 and bool((rows[-1 - k] == rows[-2 - k]).all()):
            k += 1
        count.append(k)
    return torch.tensor(count)


def zeros(windows):
    return (windows == 0).all(2).flip(1).long().cumprod(1).sum(1)


def anywhere(windows):
    return still(windows).sum(1)


def one_column(windows):
    return (windows.diff(dim=1) == 0).any(2).flip(1).long().cumprod(1).sum(1)


def rows_alike(windows):
    return right(windows) + 1


def whether(windows):
    return (right(windows) > 0).long()


def from_front(windows):
    return still(windows).long().cumprod(1).sum(1)


SLIPS = {
    "you looked for zeros: once they are scaled, zeros are something else": zeros,
    "an episode may stand still in its middle: padding reaches to the end of the window": anywhere,
    "one column may stand still by itself: padding stands still in all of them": one_column,
    "one too many: the first of the rows that are alike is not a copy": rows_alike,
    "that is whether there is padding; wanted is how many rows": whether,
    "you counted from the front of the window": from_front,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [torch.as_tensor(c["windows"]) for c in cases]
    slips = {text: [f(w).numpy() for w in put] for text, f in SLIPS.items()}
    return match(answers, [right(w).numpy() for w in put], slips, right="0 for a window that goes on to its end")


RIGHT = [right, by_loop]
WRONG = [
    (zeros, "looked for zeros"),
    (anywhere, "in its middle"),
    (one_column, "in all of them"),
    (rows_alike, "one too many"),
    (whether, "how many rows"),
    (from_front, "from the front"),
]
