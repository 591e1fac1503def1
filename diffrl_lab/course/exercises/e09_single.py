"""The best single action where several were taken: their mean, and how far it is from all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "The expected squared error sum_k p_k |a - a_k|^2 has one minimum. Set its slope with respect to a to 0.",
    "It is the mean, weighted by p. Then take the distance from it to each action, and the smallest of these.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"actions": rng.normal(size=(K, 2)), "p": rng.dirichlet(np.full(K, 2.0))} for K in (2, 3, 5)]


def right(actions, p):
    mean = (p[:, None] * actions).sum(0)
    return mean, (actions - mean).norm(dim=1).min()


def by_product(actions, p):
    mean = p @ actions
    return mean, torch.cdist(mean[None], actions).amin()


def unweighted(actions, p):
    return right(actions, torch.full_like(p, 1 / len(p)))


def likeliest(actions, p):
    return right(actions, (p == p.max()).to(p))


def mean_distance(actions, p):
    mean = p @ actions
    return mean, p @ (actions - mean).norm(dim=1)


def squared(actions, p):
    mean = p @ actions
    return mean, (actions - mean).square().sum(1).min()


def farthest(actions, p):
    mean = p @ actions
    return mean, (actions - mean).norm(dim=1).max()


def one_number(actions, p):
    mean = p @ actions
    return mean, (actions - mean).abs().min()


SLIPS = {
    "you took all actions alike: the mean is weighted by p": unweighted,
    "that is the likeliest action: least squares does not choose one, it averages": likeliest,
    "you averaged the distances: wanted is the distance to the *nearest* action": mean_distance,
    "your distance is squared: take the root": squared,
    "that is the distance to the farthest action; wanted is the nearest": farthest,
    "your distance looks at one number of the action at a time: take the length of the difference": one_number,
}


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    found = answer(torch.as_tensor(case["actions"]), torch.as_tensor(case["p"]))
    if isinstance(found, tuple | list) and len(found) == 2:
        mean, off = (np.asarray(torch.as_tensor(v).detach(), float) for v in found)
        return np.append(mean.ravel(), off.ravel())
    return found


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [ask(f, c) for c in cases] for text, f in SLIPS.items()}
    return match(answers, [ask(right, c) for c in cases], slips, right="least squares gives the mean, near no action")


RIGHT = [right, by_product]
WRONG = [
    (unweighted, "all actions alike"),
    (likeliest, "likeliest action"),
    (mean_distance, "averaged the distances"),
    (squared, "squared"),
    (farthest, "farthest"),
    (one_number, "one number of the action"),
]
