"""The best of N: for each decision N actions are drawn, and the one of the highest Q is done."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Draw m * N actions at once and view them as [m, N, d]: row i holds the candidates of decision i. Q wants [n, d].",
    "q = Q(a.flatten(0, 1)).view(m, N), then k = q.argmax(1), and a[torch.arange(m), k] are the actions to do.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    return [{"N": N, "m": m, "seed": seed + i} for i, (N, m) in enumerate(((1, 4), (3, 5), (8, 6)))]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """The actions done. What `draw` gives is fixed by the case; asked in parts it goes on where it stopped."""
    if not callable(answer):
        return answer
    rng = np.random.default_rng(case["seed"])

    def draw(n: int) -> torch.Tensor:
        return torch.as_tensor(rng.normal(size=(n, 2)))

    return answer(draw, Q, case["N"], case["m"])


def Q(a: torch.Tensor) -> torch.Tensor:  # noqa: N802
    """Two hills of unequal height, for a [n, 2]. -> [n]"""
    low, high = a.new_tensor([-0.8, 0.3]), a.new_tensor([0.9, -0.4])
    return (-2 * (a - low).square().sum(-1)).exp() + 1.5 * (-2 * (a - high).square().sum(-1)).exp()


def right(draw, Q, N, m):
    a = draw(m * N).view(m, N, -1)
    return a[torch.arange(m), Q(a.flatten(0, 1)).view(m, N).argmax(1)]


def one_by_one(draw, Q, N, m):
    done = []
    for _ in range(m):
        a = draw(N)
        done.append(a[Q(a).argmax()])
    return torch.stack(done)


def elite(draw, Q, N, m):
    a = draw(m * N)
    return a[Q(a).topk(m).indices]


def champion(draw, Q, N, m):
    a = draw(m * N)
    return a[Q(a).argmax()].expand(m, -1)


def same_candidates(draw, Q, N, m):
    a = draw(N)
    return a[Q(a).argmax()].expand(m, -1)


def worst(draw, Q, N, m):
    return right(draw, lambda a: -Q(a), N, m)


def averaged(draw, Q, N, m):
    return draw(m * N).view(m, N, -1).mean(1)


def softened(draw, Q, N, m):
    a = draw(m * N).view(m, N, -1)
    return (Q(a.flatten(0, 1)).view(m, N).softmax(1)[..., None] * a).sum(1)


def first(draw, Q, N, m):
    return draw(m * N).view(m, N, -1)[:, 0]


def columns(draw, Q, N, m):
    a = draw(m * N).view(m, N, -1)
    return a[torch.arange(m), Q(a.transpose(0, 1).flatten(0, 1)).view(m, N).argmax(1)]


def values(draw, Q, N, m):
    return Q(draw(m * N)).view(m, N).amax(1)


SLIPS = {
    "you took the m best of all candidates: each decision chooses among its own N": elite,
    "you took the best of all candidates for every decision: each chooses among its own N": champion,
    "all decisions share one set of candidates: each draws N of its own": same_candidates,
    "that is the candidate of the lowest Q": worst,
    "you averaged candidates: the mean of good actions may be none": averaged,
    "you averaged candidates by their Q: the mean of good actions may be none": softened,
    "you do the first candidate: Q plays no part": first,
    "actions and their Q are in different orders: flatten and view must agree": columns,
    "that is the highest Q; wanted is the action that has it": values,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [ask(f, c).numpy() for c in cases] for text, f in SLIPS.items()}
    truth = [ask(right, c).numpy() for c in cases]
    return match(answers, truth, slips, right="of N actions like the data's the best is done: none is invented")


RIGHT = [right, one_by_one]
WRONG = [
    (elite, "the m best of all"),
    (champion, "the best of all candidates for every"),
    (same_candidates, "share one set"),
    (worst, "lowest Q"),
    (averaged, "you averaged candidates: the"),
    (softened, "by their Q"),
    (first, "plays no part"),
    (columns, "different orders"),
    (values, "the highest Q; wanted"),
]
