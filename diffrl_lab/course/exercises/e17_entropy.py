"""The entropy of modes on few samples, with Miller's correction of its bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Leave out the rows that belong to no mode, count each mode (torch.bincount), and take shares. A share of 0 adds "
    "nothing to the entropy: torch.special.entr(share) knows that.",
    "Then add (modes that were hit - 1) / (2 n), where n is the number of rows that belong to a mode.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for K, n, left in ((4, 12, 0), (6, 30, 5), (24, 40, 9)):
        hit = K - 2 if K > 4 else K - 1  # the last modes are never hit
        labels = np.concatenate([np.arange(hit), rng.choice(hit, size=n - hit)])
        labels[n - left :] = -1
        inputs.append({"labels": rng.permutation(labels).astype(np.int64), "K": K})
    return inputs


def counted(labels, K):
    return torch.bincount(labels[labels >= 0], minlength=K).double()


def right(labels, K):
    count = counted(labels, K)
    n = count.sum()
    return torch.special.entr(count / n).sum() + ((count > 0).sum() - 1) / (2 * n)


def by_distribution(labels, K):
    _, count = labels[labels >= 0].unique(return_counts=True)
    plain = torch.distributions.Categorical(probs=count.double() / count.sum()).entropy()
    return plain + (len(count) - 1) / (2 * float(count.sum()))


def plain(labels, K):
    count = counted(labels, K)
    return torch.special.entr(count / count.sum()).sum()


def all_modes(labels, K):
    return plain(labels, K) + (K - 1) / (2 * counted(labels, K).sum())


def with_left(labels, K):
    count = counted(labels, K)
    share = count / len(labels)
    return torch.special.entr(share).sum() + ((count > 0).sum() - 1) / (2 * len(labels))


def left_is_a_mode(labels, K):
    return right(labels + 1, K + 1)


def without_half(labels, K):
    count = counted(labels, K)
    return plain(labels, K) + ((count > 0).sum() - 1) / count.sum()


def minus(labels, K):
    return 2 * plain(labels, K) - right(labels, K)


def bits(labels, K):
    return right(labels, K) / np.log(2)


def no_minus_one(labels, K):
    count = counted(labels, K)
    return plain(labels, K) + (count > 0).sum() / (2 * count.sum())


SLIPS = {
    "that is the entropy without its correction: on few samples it is too low": plain,
    "count the modes that were hit, not all K: a mode that is gone needs no correction": all_modes,
    "rows that belong to no mode (-1) are not among the n": with_left,
    "-1 is no mode of its own: leave these rows out": left_is_a_mode,
    "the correction is half of that: divide by 2 n": without_half,
    "the entropy of few samples is too low, so the correction is added": minus,
    "nats are wanted: the natural logarithm": bits,
    "one less: with a single mode there is nothing to correct": no_minus_one,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in c.items()} for c in cases]
    slips = {text: [np.asarray(f(**c), float) for c in put] for text, f in SLIPS.items()}
    truth = [np.asarray(right(**c), float) for c in put]
    said = "most of the bias is gone, as long as no mode is expected to stay empty"
    return match(answers, truth, slips, right=said)


RIGHT = [right, by_distribution]
WRONG = [
    (plain, "without its correction"),
    (all_modes, "not all K"),
    (with_left, "not among the n"),
    (left_is_a_mode, "no mode of its own"),
    (without_half, "divide by 2 n"),
    (minus, "correction is added"),
    (bits, "nats are wanted"),
    (no_minus_one, "one less"),
]
