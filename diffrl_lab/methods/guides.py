"""Contrastive energy prediction (CEP, Lu et al. 2023; its offline RL method is QGPO): guidance whose law is exact.

Samples of p(x_0) exp(r(x_0)) need the gradient of log E[exp r(x_0) | x_t] at every noise level. Neither the gradient of
r at x_t, nor r at E[x_0 | x_t] (Diffusion Posterior Sampling), nor a regression of r from x_t gives it; a softmax over
a support of K noisy samples does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffrl_lab.methods.planning.value_guidance import Guide, noised


def contrastive_loss(
    J: Guide,
    x_0: Tensor,
    r: Tensor,
    *,
    support: int = 16,
    log_mean: Tensor | float | None = None,
    known: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """- E sum_i w_i log softmax_i J(x_t^i, t) over supports of K samples at one t. -> []

    Its minimum is J = log E[exp r | x_t] + c(t). r [B], B a multiple of K = `support`. w_i = exp(r_i - log_mean), with
    log_mean = log E[exp r] over *all* data: then that is exact for every K >= 2 (Lu et al. 2023, theorem 3.2).
    log_mean=None divides by the support's own sum instead (their code, QGPO): w = softmax(r). It needs no second pass
    over the data and its gradients are tamer, but in a support of K no sample weighs more than all of them together,
    so large exp r are cut off and the tilt comes out too weak, the more so the smaller K.
    """
    if support < 2:
        raise ValueError(f"a softmax over a support needs at least two samples in it, got {support}")
    J_t = J(*noised(J.schedule, x_0, known, generator, support)).view(-1, support)
    r = r.view(-1, support)
    w = r.softmax(1) if log_mean is None else (r - log_mean).exp() / support
    return -(w * J_t.log_softmax(1)).sum(1).mean()


def log_mean_exp(r: Tensor) -> Tensor:
    """log (1/N) sum_i exp r_i, the `log_mean` of a data set's energies r [N]. -> []"""
    return r.logsumexp(0) - torch.log(torch.tensor(float(len(r)))).to(r)


def tilted_shares(r: Tensor, labels: Tensor, modes: int, scale: float = 1.0) -> Tensor:
    """The exact shares of modes under p(x_0) exp(scale r(x_0)), from data with energies r [N] and labels [N]. -> [K]

    Importance weights softmax(scale r) on the data themselves: what guided samples are held against.
    """
    w = (scale * r.double()).softmax(0)
    return torch.zeros(modes, dtype=torch.float64).index_add(0, labels, w)
