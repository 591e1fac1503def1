"""A linear-Gaussian decision process: regression gives its A, B and Sigma back, so what was learned of it can be read.

s' = A s + B a + w with w ~ N(0, Sigma), r = C s + D a + v with v ~ N(0, RHO^2), and the behaviour a = -K s + e with
e ~ N(0, EPS^2). Once it is stationary, the row (s, a, r, s') is a Gaussian whose covariance is known: the exact
denoiser of such rows is a mixture of one component.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffrl_lab.data.episodes import TIME_LIMIT, Episodes, Transitions

A = ((0.9, 0.2), (-0.2, 0.8))  # [2, 2]
B = ((0.0,), (0.5,))  # [2, 1]
SIGMA = ((0.04, 0.012), (0.012, 0.09))  # [2, 2]
C, D = (-1.0, 0.5), -0.3  # of the reward
RHO = 0.1  # deviation of the reward's noise
K, EPS = (0.3, 0.4), 0.6  # of the behaviour


class Law(NamedTuple):
    """What the process is, as numbers that a regression can be held against."""

    A: Tensor  # [2, 2]
    B: Tensor  # [2, 1]
    sigma: Tensor  # [2, 2], covariance of s' given s and a


def law() -> Law:
    """The true A, B and Sigma, float64."""
    return Law(*(torch.tensor(x, dtype=torch.float64) for x in (A, B, SIGMA)))


def stationary() -> Tensor:
    """Cov(s) under the behaviour: P = F P F' + EPS^2 B B' + Sigma with F = A - B K. -> [2, 2], float64"""
    true, k = law(), torch.tensor([K], dtype=torch.float64)
    F = true.A - true.B @ k
    n = len(F)
    noise = EPS**2 * true.B @ true.B.mT + true.sigma
    P = torch.linalg.solve(torch.eye(n * n, dtype=torch.float64) - torch.kron(F, F), noise.reshape(-1))
    return P.reshape(n, n)


def covariance() -> Tensor:
    """Cov of a row (s, a, r, s') of the stationary process, whose mean is 0. -> [6, 6], float64"""
    true, P = law(), stationary()
    eye, zero = torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    c, k = torch.tensor(C, dtype=torch.float64), torch.tensor(K, dtype=torch.float64)
    act = torch.cat([-k, torch.tensor([EPS, 0.0]), zero])  # each number as a sum of s, e / EPS, v / RHO and w
    s = torch.cat([eye, torch.zeros(2, 4, dtype=torch.float64)], 1)
    rew = c @ s + D * act + torch.tensor([0, 0, 0, RHO, 0, 0], dtype=torch.float64)
    w = torch.cat([torch.zeros(2, 4, dtype=torch.float64), eye], 1)
    after = true.A @ s + true.B @ act[None] + w
    L = torch.cat([s, act[None], rew[None], after])
    return L @ torch.block_diag(P, eye, true.sigma) @ L.mT


def record(steps: int, *, seed: int) -> Episodes:
    """`steps` transitions of one episode of the behaviour, which begins in the stationary law."""
    if steps < 1:
        raise ValueError(f"a recording needs at least one step, got {steps}")
    g, true = torch.Generator().manual_seed(seed), law()
    e, v, w = (torch.randn(steps, n, generator=g, dtype=torch.float64) for n in (1, 1, 2))
    w = w @ torch.linalg.cholesky(true.sigma).mT
    s = torch.linalg.cholesky(stationary()) @ torch.randn(2, generator=g, dtype=torch.float64)
    c, k = torch.tensor(C, dtype=torch.float64), torch.tensor([K], dtype=torch.float64)
    obs, act, rew = torch.zeros(steps + 1, 2), torch.zeros(steps + 1, 1), torch.zeros(steps + 1)
    for i in range(steps):
        a = -k @ s + EPS * e[i]
        obs[i], act[i], rew[i] = s, a, c @ s + D * a[0] + RHO * v[i, 0]
        s = true.A @ s + true.B @ a + w[i]
    obs[steps] = s
    last = torch.zeros(steps + 1, dtype=torch.uint8)
    last[-1] = TIME_LIMIT
    return Episodes(obs, act, rew, last)


def rollouts(start: tuple[float, float], steps: int, *, shift: float = 0.0, eps: float = EPS) -> tuple[Tensor, Tensor]:
    """The law of (a, r, s') over `steps` steps from `start`, the actions being a = -K s + shift + eps e: a Gaussian.

    -> its mean [steps, 4] and covariance [4 steps, 4 steps], float64
    """
    true = law()
    k, c = torch.tensor([K], dtype=torch.float64), torch.tensor(C, dtype=torch.float64)
    noise = torch.eye(4 * steps, dtype=torch.float64).reshape(steps, 4, 4 * steps)
    mean, M = torch.tensor(start, dtype=torch.float64), torch.zeros(2, 4 * steps, dtype=torch.float64)
    root, means, parts = torch.linalg.cholesky(true.sigma), [], []
    for e in noise:  # each number as its mean and a sum of all noise so far, M
        a, A = -k @ mean + shift, -k @ M + eps * e[:1]
        r, R = (c @ mean)[None] + D * a, c[None] @ M + D * A + RHO * e[1:2]
        mean, M = true.A @ mean + true.B @ a, true.A @ M + true.B @ A + root @ e[2:]
        means.append(torch.cat([a, r, mean]))
        parts += [A, R, M]
    L = torch.cat(parts)
    return torch.stack(means), L @ L.mT


def regress(t: Transitions) -> Law:
    """Least squares of s' on (s, a) without a constant, and the covariance of what is left over. -> Law, float64

    Its error falls as one over the root of the number of rows. Raises ValueError for fewer than 4 rows.
    """
    if len(t.rew) < 4:
        raise ValueError(f"a regression on 3 numbers needs at least 4 rows, got {len(t.rew)}")
    x, y = torch.cat([t.obs, t.act], 1).double(), t.next_obs.double()
    weight = torch.linalg.lstsq(x, y).solution.mT
    left = y - x @ weight.mT
    return Law(weight[:, :2], weight[:, 2:], left.mT @ left / (len(x) - 3))


def distance(found: Law) -> dict[str, float]:
    """How far a law is from the true one: |A' - A|, |B' - B| and |Sigma' - Sigma| / |Sigma| by Frobenius' norm."""
    true = law()
    return {
        "A": float((found.A - true.A).norm()),
        "B": float((found.B - true.B).norm()),
        "sigma": float((found.sigma - true.sigma).norm() / true.sigma.norm()),
    }
