"""Denoisers D(x_t, t, cond) = E[x_0 | x_t, cond]: learned ones, and exact ones to hold them against."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from .schedules import Schedule, expand, mask, tensor, weights

Cond = Tensor | Mapping[str, Tensor] | None
PREDICTIONS = ("eps", "x0", "v", "flow", "edm")


class Denoiser(Protocol):
    """D(x_t, t, cond) = E[x_0 | x_t, cond] -> the shape of x_t. t's shape is a prefix of x_t's: [], [B], [B, H], ..."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, cond: Cond = None) -> Tensor: ...


def coefficients(predict: str, alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> tuple[Tensor, Tensor]:
    """(c_skip, c_out) with x0_hat = c_skip x_t + c_out out, where `out` is what the network predicts.

    eps:  out = eps, the noise (Ho et al. 2020);                      x0: out = x_0
    v:    out = (alpha eps - sigma x_0) / sqrt(alpha^2 + sigma^2) (Salimans and Ho 2022, where the root is 1)
    flow: out = eps - x_0, the velocity of rectified flow
    edm:  out = F of Karras et al. 2022, whose target has unit variance for data of standard deviation `sigma_data`.
    With alpha^2 + sigma^2 = 1 and data of mean 0, covariance 1 the part of `out` that is linear in x_t is sigma x_t,
    alpha x_t, 0, (sigma - alpha) x_t, 0: with v and edm it is not learned, but there from the start (`NeuralDenoiser`).
    Where no signal is left (alpha < 1e-4) a prediction of eps says nothing about x_0, and x0_hat is 0, the mean of
    scaled data.
    """
    one = torch.ones_like(alpha)
    if predict == "eps":
        seen = alpha > 1e-4
        inverse = torch.where(seen, 1 / torch.where(seen, alpha, one), 0.0)
        return inverse, -sigma * inverse
    if predict == "x0":
        return 0 * one, one
    if predict == "v":
        total = alpha**2 + sigma**2
        return alpha / total, -sigma * torch.rsqrt(total)
    if predict == "flow":
        return 1 / (alpha + sigma), -sigma / (alpha + sigma)
    if predict == "edm":
        total = sigma**2 + (sigma_data * alpha) ** 2
        return sigma_data**2 * alpha / total, sigma_data * sigma * torch.rsqrt(total)
    raise ValueError(f"predict must be one of {', '.join(PREDICTIONS)}; got {predict!r}")


def target(predict: str, x_0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> Tensor:
    """What a network that is right about x_0 and eps puts out: the inverse of `coefficients`."""
    if predict == "eps":
        return eps
    if predict == "x0":
        return x_0
    if predict == "v":
        return (alpha * eps - sigma * x_0) * torch.rsqrt(alpha**2 + sigma**2)
    if predict == "flow":
        return eps - x_0
    if predict == "edm":
        root = torch.rsqrt(sigma**2 + (sigma_data * alpha) ** 2)
        return (sigma / sigma_data * x_0 - sigma_data * alpha * eps) * root
    raise ValueError(f"predict must be one of {', '.join(PREDICTIONS)}; got {predict!r}")


def shown(alpha: Tensor, sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """How a network sees a noise level: the scale c_in of x_t, and the label."""
    return torch.rsqrt((sigma_data * alpha) ** 2 + sigma**2), (torch.log(sigma / alpha) / 4).clamp(-3, 3)


def _preconditioning(alpha: Tensor, sigma: Tensor, predict: str, sigma_data: float) -> tuple[Tensor, ...]:
    return *coefficients(predict, alpha, sigma, sigma_data), *shown(alpha, sigma, sigma_data)


class NeuralDenoiser(nn.Module):
    """x0_hat = c_skip x_t + c_out net(c_in x_t, label, cond): a network made into a denoiser.

    net: called as net(x [B, ...], label [B] or as t, cond) -> [B, ...]. It sees the noise level only as
    label = ln(sigma / alpha) / 4 (kept within [-3, 3]) and x_t scaled to unit variance by c_in, where c_in^-2 =
    alpha^2 sigma_data^2 + sigma^2. So it knows nothing of the schedule: `D.schedule` may be swapped after training, and
    only the grid of noise levels changes.
    predict: see `coefficients`; it has no default, for none was best everywhere. sigma_data: the standard deviation of
    the (scaled) data.

    Beware of "v", and of "edm" with the data's own sigma_data: with out = 0 they are the best Gaussian denoiser, and on
    data with symmetric modes that is a saddle. Of four modes 1,500 updates of an `MLP` at a rate of 0.005 found none,
    while "x0" and "eps" found them all (`studies.parameterisations`, docs/studies.md; at 0.001 none of them does).
    """

    def __init__(self, net: nn.Module, schedule: Schedule, predict: str, sigma_data: float = 1.0):
        super().__init__()
        if predict not in PREDICTIONS:
            raise ValueError(f"predict must be one of {', '.join(PREDICTIONS)}; got {predict!r}")
        self.net, self.schedule, self.predict, self.sigma_data = net, schedule, predict, float(sigma_data)

    def forward(self, x_t: Tensor, t: Tensor | float, cond: Cond = None) -> Tensor:
        t = torch.as_tensor(t)
        c_skip, c_out, c_in, label = weights(_preconditioning, self.schedule, x_t, [t], self.predict, self.sigma_data)
        label = label.reshape(t.shape) if torch.is_tensor(label) else x_t.new_full(x_t.shape[:1], label)
        return c_skip * x_t + c_out * self.net(c_in * x_t, label, cond)


Method = TypeVar("Method", bound=Callable[..., Any])


def _at_least_float32(method: Method) -> Method:
    """A denoiser's method of x_t (a tensor or an array) computed in float32 at least, its results cast back.

    In half precision squares of sigma overflow and small variances vanish, so autocast stays out as well.
    """

    @functools.wraps(method)
    def wide(self: Any, x_t: Any, *args: Any, **options: Any) -> Any:
        x = tensor("x_t", x_t)
        with torch.autocast(x.device.type, enabled=False):
            out = method(self, x.to(torch.promote_types(x.dtype, torch.float32)), *args, **options)
        if not x.is_floating_point():
            return out
        return tuple(p.to(x.dtype) for p in out) if isinstance(out, tuple) else out.to(x.dtype)

    return cast(Method, wide)


class MixtureDenoiser:
    """The exact denoiser of data that follow a Gaussian mixture sum_k w_k N(mu_k, Sigma_k).

    D = sum_k r_k(x_t) (mu_k + alpha Sigma_k (alpha^2 Sigma_k + sigma^2)^{-1} (x_t - alpha mu_k)), with the
    responsibilities r_k(x_t) ~ w_k N(x_t; alpha mu_k, alpha^2 Sigma_k + sigma^2) (textbook; e.g. Bishop 2006, 2.3).
    weights [K]; means [K, *event]; either `std`, a number or [K] (isotropic), or `cov` [K, n, n] over the flattened
    event. t may differ over the event ([B, H] for an event [H, d]). cond: [B, K] weights that replace w, row by row; a
    row of NaN means "not given". Parameters are kept in float64 and used in x_t's dtype, in float32 at least: for half
    precision it is the result of float32 that comes out, rounded.
    """

    @torch.inference_mode(False)  # else a mixture made there could never be differentiated
    def __init__(
        self,
        weights: Any,
        means: Any,
        schedule: Schedule,
        *,
        std: Any = None,
        cov: Any = None,
    ):
        w, mu = tensor("weights", weights).double(), tensor("means", means).double()
        if w.ndim != 1 or mu.ndim < 1 or len(mu) != len(w) or not (w >= 0).all() or not w.sum() > 0:
            raise ValueError(
                f"weights must be K non-negative numbers and means [K, ...]; got {tuple(w.shape)} and {tuple(mu.shape)}"
            )
        if (std is None) == (cov is None):
            raise ValueError("give either std or cov")
        self.schedule, self.event, self.weights = schedule, mu.shape[1:], w / w.sum()
        self.means = mu.reshape(len(w), -1)
        K, n = self.means.shape
        if cov is None:
            std = tensor("std", std).double()
            self.values = (std**2).reshape(-1, 1).expand(K, n).clone()
            self.vectors = torch.eye(n, dtype=torch.float64).expand(K, n, n)
        else:
            cov = tensor("cov", cov).double().reshape(-1, n, n).expand(K, n, n)
            self.values, self.vectors = torch.linalg.eigh((cov + cov.mT) / 2)
            self.values = self.values.clamp(min=0)

    @property
    def cov(self) -> Tensor:
        """Sigma. -> [K, n, n]"""
        return self.vectors * self.values[:, None, :] @ self.vectors.mT

    def _flat(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        k = len(self.event)
        if tuple(x.shape[x.ndim - k :]) != tuple(self.event):
            raise ValueError(f"x must end in the event's shape {tuple(self.event)}, got {tuple(x.shape)}")
        batch = tuple(x.shape[: x.ndim - k])
        t = torch.as_tensor(t, dtype=torch.float64, device=x.device)
        if t.ndim > len(batch):  # a level of its own for entries of the event
            t = expand(t, x.ndim).expand(x.shape).reshape(-1, self.means.shape[1])
        elif t.ndim:
            t = expand(t, len(batch)).expand(batch).reshape(-1)
        return x.reshape(-1, self.means.shape[1]), t, batch

    def _components(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log N(x; alpha mu_k, C_k) [B, K], E[x_0 | x_t, k] [B, K, n] and its standard deviations [B, K, n]."""
        mu, lam, vec = (p.to(x) for p in (self.means, self.values, self.vectors))
        if t.ndim == 2 and bool((t == t[:1]).all()):
            t = t[:1]  # the same levels in every row: one decomposition serves all
        alpha, sigma = (level.to(x) for level in self.schedule(t))
        if t.ndim < 2:
            alpha, sigma = expand(alpha, 3), expand(sigma, 3)
            u = torch.einsum("bkn,knm->bkm", x[:, None] - alpha * mu, vec)
            var = alpha**2 * lam + sigma**2
            safe = var.clamp(min=torch.finfo(x.dtype).tiny)
            mean = mu + torch.einsum("bkm,knm->bkn", alpha * lam / safe * u, vec)
            spread = torch.einsum("bkm,knm->bkn", (lam * sigma**2 / safe).expand_as(u), vec**2)
            return -0.5 * (u**2 / safe + torch.log(2 * math.pi * safe)).sum(-1), mean, spread.sqrt()
        cov = self.cov.to(x)  # [K, n, n]; alpha, sigma [B, n]
        gain = cov * alpha[:, None, None, :]  # Sigma A
        total = alpha[:, None, :, None] * gain + torch.diag_embed(sigma**2)[:, None]
        val, basis = torch.linalg.eigh(total)
        keep = val > 1e-9 * val.amax(-1, keepdim=True)  # directions in which everything is known carry no density
        inverse = torch.where(keep, 1 / torch.where(keep, val, 1.0), 0.0)
        u = torch.einsum("bkn,bknm->bkm", x[:, None] - alpha[:, None] * mu, basis)
        mean = mu + torch.einsum("bkij,bkjm,bkm->bki", gain, basis, inverse * u)
        spread = cov.diagonal(dim1=-2, dim2=-1) - ((gain @ basis) ** 2 * inverse[..., None, :]).sum(-1)
        log_n = -0.5 * (inverse * u**2 + torch.log(torch.where(keep, 2 * math.pi * val, 1.0))).sum(-1)
        return log_n, mean, spread.clamp(min=0).sqrt().expand_as(mean)

    def _posterior(
        self, x_t: Tensor, t: Tensor | float, cond: Cond
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[int, ...]]:
        x, t, batch = self._flat(x_t, t)
        log_n, mean, spread = self._components(x, t)
        w = self.weights.to(x)
        if cond is not None:
            given = tensor("cond", cond).to(x).reshape(-1, len(w))
            w = torch.where(given.isnan(), w, given)
        log_joint = log_n + torch.log(w)
        return log_joint, torch.softmax(log_joint, -1), mean, spread, batch

    @_at_least_float32
    def __call__(self, x_t: Tensor, t: Tensor | float, cond: Cond = None) -> Tensor:
        _, r, mean, _, _ = self._posterior(x_t, t, cond)
        return torch.einsum("bk,bkn->bn", r, mean).reshape(x_t.shape)

    @_at_least_float32
    def posterior(self, x_t: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """p(x_0 | x_t), again a mixture: weights [..., K], means [..., K, *event], standard deviations as the means."""
        _, r, mean, spread, batch = self._posterior(x_t, t, None)
        shape = (*batch, len(self.weights), *self.event)
        return r.reshape(*batch, -1), mean.reshape(shape), spread.reshape(shape)

    def responsibilities(self, x_t: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """p(component k | x_t). -> [..., K]"""
        return self.posterior(x_t, t)[0]

    @_at_least_float32
    def log_prob(self, x_t: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """log p_t(x_t), in nats. -> [...]"""
        log_joint, _, _, _, batch = self._posterior(x_t, t, None)
        return torch.logsumexp(log_joint, -1).reshape(batch)

    @_at_least_float32
    def score(self, x_t: Tensor, t: Tensor | float, cond: Cond = None) -> Tensor:
        """grad log p_t(x_t) = (alpha D - x_t) / sigma^2 (Tweedie's formula). -> the shape of x_t"""
        t = torch.as_tensor(t, dtype=torch.float64)
        alpha, sigma = (level.to(x_t) for level in self.schedule(t, x_t.ndim if t.ndim else 0))
        return (alpha * self(x_t, t, cond) - x_t) / sigma**2

    def sample(self, n: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """n draws of x_0. -> [n, *event]"""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64) * self.values[k].sqrt()
        return (self.means[k] + torch.einsum("bm,bnm->bn", z, self.vectors[k])).reshape(n, *self.event).to(dtype)

    def condition(self, known: Any, value: Any) -> MixtureDenoiser:
        """The mixture given that the entries `known` (bool, [*event]) equal `value` ([*event]); exact, unlike `pin`.

        Raises ValueError for a mask that is not bool.
        """
        known = mask("known", known).expand(self.event).reshape(-1)
        value = tensor("value", value).double().expand(self.event).reshape(-1)[known]
        cov, mu = self.cov, self.means.clone()
        c_kk, c_xk = cov[:, known][:, :, known], cov[:, :, known]
        delta = value - mu[:, known]
        gain = c_xk @ torch.linalg.pinv(c_kk, hermitian=True)
        log_n = torch.distributions.MultivariateNormal(
            torch.zeros_like(delta), c_kk + 1e-12 * torch.eye(len(value))
        ).log_prob(delta)
        mu = mu + torch.einsum("kij,kj->ki", gain, delta)
        mu[:, known] = value
        cov = cov - gain @ c_xk.mT
        cov[:, known], cov[:, :, known] = 0, 0
        weights = torch.softmax(torch.log(self.weights) + log_n, 0)
        return MixtureDenoiser(weights, mu.reshape(-1, *self.event), self.schedule, cov=cov)

    def tilt(self, b: Any) -> MixtureDenoiser:
        """p(x_0) exp(b . x_0), normalised: each mean moves by Sigma_k b, log-weights by b . mu_k + b Sigma_k b / 2."""
        b = tensor("b", b).double().expand(self.event).reshape(-1)
        shift = self.cov @ b
        weights = torch.softmax(torch.log(self.weights) + self.means @ b + shift @ b / 2, 0)
        return MixtureDenoiser(weights, (self.means + shift).reshape(-1, *self.event), self.schedule, cov=self.cov)


def GaussianDenoiser(mean: Any, schedule: Schedule, *, std: Any = None, cov: Any = None) -> MixtureDenoiser:  # noqa: N802
    """The exact denoiser of N(mean, cov), mean [*event]: a mixture with one component."""
    return MixtureDenoiser(torch.ones(1), tensor("mean", mean)[None], schedule, std=std, cov=cov)


class EmpiricalDenoiser:
    """The exact denoiser of a finite data set, each row equally likely.

    D = sum_i softmax_i(-|x_t - alpha x_i|^2 / 2 sigma^2) x_i.
    data: [N, *event]. It is what a network with no error at all would learn, and its samples are the data themselves.
    Computed in x_t's dtype, in float32 at least.
    """

    def __init__(self, data: Tensor, schedule: Schedule):
        data = tensor("data", data)
        if data.ndim < 1 or len(data) == 0:
            raise ValueError(f"data must be [N, ...] with N >= 1, got {tuple(data.shape)}")
        self.data, self.schedule = data, schedule

    @_at_least_float32
    def __call__(self, x_t: Tensor, t: Tensor | float, cond: Cond = None) -> Tensor:
        t, data = torch.as_tensor(t), self.data.to(x_t).reshape(len(self.data), -1)
        t = t.to(torch.promote_types(t.dtype, torch.float32))
        alpha, sigma = (level.to(x_t) for level in self.schedule(t, x_t.ndim if t.ndim else 0))
        weight = (1 / sigma**2).clamp(max=1e30).expand_as(x_t).reshape(x_t.shape[0], -1)
        scale = alpha.expand_as(x_t).reshape(x_t.shape[0], -1)
        x = x_t.reshape(x_t.shape[0], -1)
        # |x - a d|^2 / s^2 = x'Wx - 2 (W a x) . d + (W a^2) . d^2: three matrix products, no [B, N, n] array
        distance = -2 * (weight * scale * x) @ data.mT + (weight * scale**2) @ (data**2).mT
        return (torch.softmax(-distance / 2, -1) @ data).reshape(x_t.shape)


def brownian_motion(
    horizon: int, schedule: Schedule, *, dim: int = 1, scale: float = 1.0, start_std: float = 1.0
) -> MixtureDenoiser:
    """x(0) ~ N(0, start_std^2), x(u) = x(0) + scale W(u) at u = i / (H - 1): paths with free ends, event [H, dim]."""
    u = torch.linspace(0, 1, horizon, dtype=torch.float64)
    cov = scale**2 * torch.minimum(u[:, None], u) + start_std**2
    return GaussianDenoiser(
        torch.zeros(horizon, dim), schedule, cov=torch.kron(cov, torch.eye(dim, dtype=torch.float64))
    )


def brownian_bridge(horizon: int, start: Any, goal: Any, schedule: Schedule, scale: float = 1.0) -> MixtureDenoiser:
    """Brownian motion tied to `start` at u = 0 and `goal` at u = 1 ([d] each): mean start + u (goal - start),
    covariance scale^2 (min(u, v) - u v) I, at u = i / (H - 1); event [H, d] (Karatzas and Shreve 1991)."""
    u = torch.linspace(0, 1, horizon, dtype=torch.float64)
    start, goal = (tensor("an end", p).double().reshape(-1) for p in (start, goal))
    cov = scale**2 * (torch.minimum(u[:, None], u) - u[:, None] * u)
    mean = start + u[:, None] * (goal - start)
    return GaussianDenoiser(mean, schedule, cov=torch.kron(cov, torch.eye(len(start), dtype=torch.float64)))


class Function:
    """A plain function (x_t, t, cond) -> x0_hat together with a schedule: a denoiser written down on the spot."""

    def __init__(self, fn: Callable[..., Tensor], schedule: Schedule):
        self.fn, self.schedule = fn, schedule

    def __call__(self, x_t: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        return self.fn(x_t, t, cond)
