"""A, B and Sigma of a linear-Gaussian process s' = A s + B a + w by least squares: the judge of an exact world."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Put s and a side by side, x = torch.cat([s, a], 1), and solve x @ M = after by torch.linalg.lstsq(x, after).",
    "The solution M is [d + k, d], so A = M[:d].T and B = M[d:].T. With e = after - x @ M, Sigma is e.T @ e / n.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for n, d, k in ((40, 2, 2), (60, 3, 3)):
        A, B = rng.normal(0, 0.6, (d, d)), rng.normal(0, 1, (d, k))
        s = rng.normal(0, 1, (n, d)) + rng.normal(0, 0.5, d)
        a = rng.normal(0, 1, (n, k)) + s @ rng.normal(0, 0.8, (d, k))  # a policy: its actions depend on the state
        noise = rng.normal(0, 1, (n, d)) @ rng.normal(0, 0.5, (d, d))
        inputs.append({"s": s, "a": a, "after": s @ A.T + a @ B.T + noise})
    return inputs


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """A, B and Sigma one after the other, so that one array is compared."""
    if not callable(answer):
        return answer
    found = answer(*(torch.as_tensor(case[name]) for name in ("s", "a", "after")))
    if isinstance(found, tuple | list) and len(found) == 3:
        A, B, cov = (np.asarray(torch.as_tensor(v).detach(), float) for v in found)
        return np.concatenate([A.ravel(), B.ravel(), cov.ravel()])
    return found


def right(s, a, after):
    x = torch.cat([s, a], 1)
    M = torch.linalg.lstsq(x, after).solution
    e = after - x @ M
    return M[: s.shape[1]].T, M[s.shape[1] :].T, e.T @ e / len(s)


def by_moments(s, a, after):
    x, d = torch.cat([s, a], -1), s.shape[-1]
    both = after.T @ x @ torch.linalg.inv(x.T @ x)
    left = after.T - both @ x.T
    return both[:, :d], both[:, d:], left @ left.T / left.shape[1]


def transposed(s, a, after):
    A, B, cov = right(s, a, after)
    return A.T, B.T, cov


def constant(s, a, after):
    A, B, cov = right(torch.cat([s, torch.ones_like(s[:, :1])], 1), a, after)
    return A[:, :-1], B, cov


def one_by_one(s, a, after):
    A = torch.linalg.lstsq(s, after).solution
    B = torch.linalg.lstsq(a, after - s @ A).solution
    e = after - s @ A - a @ B
    return A.T, B.T, e.T @ e / len(s)


def each_alone(s, a, after):
    A, B = (torch.linalg.lstsq(x, after).solution for x in (s, a))
    e = after - s @ A - a @ B
    return A.T, B.T, e.T @ e / len(s)


def spread_of_after(s, a, after):
    A, B, _ = right(s, a, after)
    return A, B, torch.cov(after.T, correction=0)


def summed(s, a, after):
    A, B, cov = right(s, a, after)
    return A, B, cov * len(s)


def sample_covariance(s, a, after):
    A, B, _ = right(s, a, after)
    return A, B, torch.cov((after - s @ A.T - a @ B.T).T)


def diagonal(s, a, after):
    A, B, cov = right(s, a, after)
    return A, B, torch.diag(cov.diagonal())


def change(s, a, after):
    return right(s, a, after - s)


SLIPS = {
    "A and B are transposed: M of x @ M = after has a row for each number of s and a, A has a column": transposed,
    "you fitted a constant as well; s' = A s + B a + w has none": constant,
    "you fitted A first and B to what was left; a depends on s, so both are fitted together": one_by_one,
    "you fitted A and B each alone; a depends on s, so both are fitted together": each_alone,
    "that is the covariance of s'; Sigma is that of what A s + B a leaves over": spread_of_after,
    "you summed the products of the errors; Sigma is their mean over the rows": summed,
    "torch.cov takes a mean away and divides by n - 1; Sigma is the plain mean of e e^T here": sample_covariance,
    "Sigma is diagonal in your answer; the numbers of w may depend on each other": diagonal,
    "you fitted the change s' - s; A is of s' itself": change,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [ask(f, c) for c in cases] for text, f in SLIPS.items()}
    said = "A, B and Sigma come out of rows alone, whoever made the rows"
    return match(answers, [ask(right, c) for c in cases], slips, right=said, rtol=1e-3, atol=1e-6)


RIGHT = [right, by_moments]
WRONG = [
    (transposed, "transposed"),
    (constant, "a constant"),
    (one_by_one, "A first"),
    (each_alone, "each alone"),
    (spread_of_after, "covariance of s'"),
    (summed, "you summed"),
    (sample_covariance, "takes a mean away"),
    (diagonal, "diagonal"),
    (change, "the change"),
]
