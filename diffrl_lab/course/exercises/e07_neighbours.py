"""What a chunk is shown of its neighbours: the noisy states at its two ends as the neighbours have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match, put

HINTS = (
    "The last state of a chunk and the first state of the next one are two copies of one state.",
    "near[1:, 0] is the *last* state of the chunk before, x_t[:-1, -1]; near[:-1, 1] the *first* of the next one.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"x_t": rng.normal(size=shape)} for shape in ((3, 5, 4), (2, 4, 2), (5, 3, 4), (1, 4, 2))]


def right(x_t):
    near = x_t.new_zeros(len(x_t), 2, x_t.shape[-1])
    near[1:, 0], near[:-1, 1] = x_t[:-1, -1], x_t[1:, 0]
    return near


def by_padding(x_t):
    nothing = torch.zeros_like(x_t[:1, 0])
    return torch.stack([torch.cat([nothing, x_t[:-1, -1]]), torch.cat([x_t[1:, 0], nothing])], 1)


def own(x_t):
    return x_t[:, [0, -1]].clone()


def around(x_t):
    return torch.stack([torch.roll(x_t[:, -1], 1, 0), torch.roll(x_t[:, 0], -1, 0)], 1)


def far_ends(x_t):
    near = x_t.new_zeros(len(x_t), 2, x_t.shape[-1])
    near[1:, 0], near[:-1, 1] = x_t[:-1, 0], x_t[1:, -1]
    return near


def swapped(x_t):
    return right(x_t).flip(1)


def one_side(x_t):
    near = right(x_t)
    near[:, 1] = 0
    return near


def wrong_way(x_t):
    near = x_t.new_zeros(len(x_t), 2, x_t.shape[-1])
    near[:-1, 0], near[1:, 1] = x_t[1:, -1], x_t[:-1, 0]
    return near


def averaged(x_t):
    ends = x_t[:, [0, -1]].clone()
    middle = (x_t[:-1, -1] + x_t[1:, 0]) / 2
    ends[1:, 0], ends[:-1, 1] = middle, middle
    return ends


SLIPS = {
    "those are the chunk's own ends: it should be shown its *neighbours'* copies of them": own,
    "the first chunk has no neighbour before it, and the last none after it: their places are 0": around,
    "you showed the far ends of the neighbours: the state that is shared is the last of the one before": far_ends,
    "the order of the two: first the end that was before, then the one that comes after": swapped,
    "you showed one neighbour alone: a chunk in the middle has two": one_side,
    "you looked the wrong way: the neighbour before chunk i is chunk i - 1": wrong_way,
    "do not average yet: what is shown is the neighbour's copy": averaged,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [put(f, c).numpy() for c in cases] for text, f in SLIPS.items()}
    return match(
        answers, [put(right, c).numpy() for c in cases], slips, right="each chunk sees both copies of its ends"
    )


RIGHT = [right, by_padding]
WRONG = [
    (own, "own ends"),
    (around, "no neighbour"),
    (far_ends, "far ends"),
    (swapped, "order of the two"),
    (one_side, "one neighbour alone"),
    (wrong_way, "wrong way"),
    (averaged, "do not average"),
]
