"""What bends samples, whatever it bends: a network J(x_t, t) of the *noisy* sample and the losses that teach it.

| loss | what J becomes | what `ascend` samples |
|---|---|---|
| `value_loss` | E[R given x_t], Diffuser's choice (Janner et al. 2022) | no named law: E[R] is not log E[exp R] |
| `classifier_loss`, `density_loss` | log p(y given x_t) | p(x_0) p(y given x_0)^scale, exactly at scale 1 |
| `contrastive_loss` | log E[exp R given x_t] | p(x_0) exp(R(x_0)), exactly at scale 1 |

Contrastive energy prediction (CEP, Lu et al. 2023; its offline RL method is QGPO) is the last row. Neither the gradient
of R at x_t, nor R at E[x_0 | x_t] (Diffusion Posterior Sampling), nor a regression of R from x_t gives samples of
p(x_0) exp(R(x_0)); a softmax over a support of K noisy samples does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffrl_lab.diffusion import Cosine, Schedule
from diffrl_lab.diffusion.denoisers import shown
from diffrl_lab.diffusion.schedules import weights as schedule_weights
from diffrl_lab.methods import weights
from diffrl_lab.nets import MLP


class Guide(nn.Module):
    """J(x_t, t) of a noisy x_t [B, ...] -> [B], or [B, out] for out > 1: an MLP over the flattened event.

    It is shown the noise level as a `NeuralDenoiser` is: x_t scaled to unit variance, label = ln(sigma / alpha) / 4.
    dim: numbers in one event. schedule: Cosine() unless given. t: [] or [B].
    """

    def __init__(
        self,
        dim: int,
        schedule: Schedule | None = None,
        *,
        out: int = 1,
        width: int = 128,
        sigma_data: float = 1.0,
    ):
        super().__init__()
        self.sizes = {"dim": dim, "out": out, "width": width, "sigma_data": float(sigma_data)}
        self.schedule, self.dim, self.out, self.sigma_data = schedule or Cosine(), dim, out, float(sigma_data)
        self.net = MLP(dim, out=out, width=width)

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        x, t = x_t.flatten(1), torch.as_tensor(t)
        if x.shape[1] != self.dim or t.ndim > 1:
            raise ValueError(
                f"this guide was made for events of {self.dim} numbers at one noise level each, got x_t "
                f"{tuple(x_t.shape)} and t {tuple(t.shape)}"
            )
        c_in, label = schedule_weights(shown, self.schedule, x, [t], self.sigma_data)
        label = label.reshape(t.shape) if torch.is_tensor(label) else x.new_full(x.shape[:1], label)
        y = self.net(c_in * x, label)
        return y[:, 0] if self.out == 1 else y

    def save(self, path: str | Path, **about: Any) -> None:
        """The weights as float16 and the sizes, in one safetensors file. Only for the schedule `Cosine`."""
        if not isinstance(self.schedule, Cosine):
            raise ValueError(f"a guide's file holds no schedule but Cosine(), got {self.schedule!r}")
        weights.save(self, path, **about)

    load: Any = classmethod(weights.load)


def noised(
    schedule: Schedule,
    x_0: Tensor,
    known: Tensor | None = None,
    generator: torch.Generator | None = None,
    support: int = 1,
) -> tuple[Tensor, Tensor]:
    """(x_t, t [B]) with x_t = alpha x_0 + sigma eps, t ~ U(t_min, 1) stratified, known entries shown clean.

    Runs of `support` rows share their t (B must be a multiple of it).
    """
    groups, rest = divmod(len(x_0), support)
    if rest or not groups:
        raise ValueError(f"{len(x_0)} rows cannot be divided into supports of {support}")
    width = (1 - schedule.t_min) / groups
    t = torch.linspace(schedule.t_min, 1 - width, groups) + width * torch.rand(groups, generator=generator)
    t = t.repeat_interleave(support).to(x_0)
    eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype).to(x_0.device)
    alpha, sigma = schedule(t, x_0.ndim)
    x_t = alpha * x_0 + sigma * eps
    return (x_t if known is None else torch.where(known, x_0, x_t)), t


def value_loss(
    J: Guide, x_0: Tensor, R: Tensor, *, known: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """E (J(x_t, t) - R)^2, whose minimum is J = E[R | x_t]: Diffuser's return regressor. R [B]. -> []"""
    return F.mse_loss(J(*noised(J.schedule, x_0, known, generator)), R)


def classifier_loss(
    J: Guide, x_0: Tensor, y: Tensor, *, known: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Cross-entropy of the logits J(x_t, t) [B, K] and classes y [B] (whole numbers): softmax(J) = p(y | x_t). -> []"""
    return F.cross_entropy(J(*noised(J.schedule, x_0, known, generator)), y)


def log_p(J: Guide, y: int) -> Callable[[Tensor, Tensor], Tensor]:
    """(x_t, t) -> log p(y | x_t) [B] from a classifier's logits: what `ascend` takes (Dhariwal and Nichol 2021)."""
    return lambda x_t, t: J(x_t, t).log_softmax(-1)[:, y]


def density_loss(
    J: Guide, x_0: Tensor, y: Tensor, *, known: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """- log p(y | x_t) of numbers y [B, c], a Gaussian whose mean and log deviations J(x_t, t) [B, 2c] gives. -> []"""
    return -log_density(J, y)(*noised(J.schedule, x_0, known, generator)).mean()


def log_density(J: Guide, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """(x_t, t) -> log p(y | x_t) [B] without its constant: the classifier of numbers y ([c] or [B, c])."""

    def log_p_y(x_t: Tensor, t: Tensor) -> Tensor:
        mean, log_std = J(x_t, t).chunk(2, -1)
        log_std = log_std.clamp(-5, 3)
        return (-0.5 * ((y - mean) / log_std.exp()) ** 2 - log_std).sum(-1)

    return log_p_y


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
