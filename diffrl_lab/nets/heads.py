"""Heads: what the numbers of a network's last layer mean as a distribution."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOG_STD = (-3.0, 2.0)  # an open interval, reached smoothly: a bound that cuts would leave no gradient beyond it
START = math.log(-LOG_STD[0] / LOG_STD[1])  # what the number 0 becomes is log_std = 0, the deviation of scaled data:
# components that are narrow from the start do not see most of the data, and remain where they are


class Gaussians(NamedTuple):
    """A mixture of K Gaussians over x [..., d], whose numbers are independent within each component:
    p(x) = sum_k w_k prod_i N(x_i; m_ki, s_ki^2)."""

    log_w: Tensor  # [..., K], normalised
    mean: Tensor  # [..., K, d]
    log_std: Tensor  # [..., K, d]

    def log_prob(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """ln p(x) of x [..., d], over the entries where `valid` (bool [..., d]) is true: the others are integrated out.
        -> [...]"""
        z = (x[..., None, :] - self.mean) * (-self.log_std).exp()
        each = -0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        if valid is not None:
            each = torch.where(valid[..., None, :], each, 0.0)
        return torch.logsumexp(self.log_w + each.sum(-1), -1)

    def sample(self, u: Tensor, eps: Tensor) -> Tensor:
        """x = m_k + s_k eps, k the component in which u falls, for u [...] uniform and eps [..., d] standard Gaussian.
        -> [..., d]"""
        k = index(self.log_w.exp(), u)[..., None, None].expand(*u.shape, 1, eps.shape[-1])
        mean, log_std = (v.expand(*u.shape, *v.shape[-2:]).gather(-2, k)[..., 0, :] for v in (self.mean, self.log_std))
        return mean + log_std.exp() * eps


def gaussians(numbers: Tensor, logits: Tensor | None = None) -> Gaussians:
    """The mixture of K Gaussians that numbers [..., K, 2 d] (means, then what the deviations are made from) and logits
    [..., K] (default: all alike) stand for.

    log_std = lo + (hi - lo) sigmoid(number + START), with LOG_STD = (lo, hi); the number 0 is a deviation of 1.
    """
    mean, raw = numbers.chunk(2, -1)
    log_w = (torch.zeros_like(mean[..., 0]) if logits is None else logits).log_softmax(-1)
    return Gaussians(log_w, mean, LOG_STD[0] + (LOG_STD[1] - LOG_STD[0]) * (raw + START).sigmoid())


def index(p: Tensor, u: Tensor) -> Tensor:
    """The number of the choice in which u falls: sum_{j < k} p_j <= u < sum_{j <= k} p_j, for probabilities p [..., K]
    and u [...] uniform in [0, 1). -> [...]"""
    below = (p.cumsum(-1) <= u[..., None]).sum(-1)
    return below.clamp(max=p.shape[-1] - 1)  # a sum of float32 may end a little below 1
