"""Energies: the contrastive loss is exact where the others are not."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    GaussianDenoiser,
    MixtureDenoiser,
    ascend,
    cosine_decay,
    descend,
    fit,
    heun,
    sample,
)
from diffrl_lab.methods.guides import Guide, contrastive_loss, log_mean_exp, tilted_shares

S, N = Cosine(), 20_000
GAUSSIAN = GaussianDenoiser([0.0], S, std=1.0)
TWO = MixtureDenoiser([0.1, 0.9], [[-1.0], [1.0]], S, std=0.3)


class Table(torch.nn.Module):
    """J as a free number for x = 0 and for x = 1: the whole space of functions of a place."""

    def __init__(self) -> None:
        super().__init__()
        self.J, self.schedule = torch.nn.Parameter(torch.zeros(2)), S

    def forward(self, x, t):
        return self.J[x[:, 0].long()]


def test_weights_over_all_data_are_exact_for_every_support_and_those_of_the_support_itself_come_out_weak() -> None:
    g, n = torch.Generator().manual_seed(0), 100_000
    x = torch.randint(2, (n, 1), generator=g).float()
    r = 3 * x[:, 0] * torch.randint(2, (n,), generator=g)  # at x = 1 it is 0 or 3, and x does not tell which
    known = torch.ones(n, 1, dtype=torch.bool)

    def minimum(**options):
        J = Table()
        descent = torch.optim.LBFGS(J.parameters(), max_iter=40)

        def loss():
            descent.zero_grad()
            value = contrastive_loss(J, x, r, known=known, **options)  # type: ignore[arg-type]
            value.backward()
            return value

        descent.step(loss)
        return float(J.J[1] - J.J[0])

    wanted = math.log((1 + math.exp(3)) / 2)  # log E[exp r | x = 1] - log E[exp r | x = 0]
    for support in (2, 20):
        assert abs(minimum(support=support, log_mean=log_mean_exp(r)) - wanted) < 0.05
    two, many = minimum(support=2), minimum(support=100)
    assert two < wanted - 0.5 and two < many < wanted + 0.05


def learned(D, r, steps=800):
    x, g = D.sample(N, torch.Generator().manual_seed(1)), torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        J = Guide(1, S, width=64)
    log_mean = log_mean_exp(r(x[:, 0]))
    update = descend(
        lambda b: contrastive_loss(J, b, r(b[:, 0]), log_mean=log_mean, generator=g),
        J,
        lr=5e-3,
        schedule=cosine_decay(steps),
        ema=0.99,
    )
    for _ in fit(update, Batches(x, 256, g), steps):
        pass
    return update.ema.module


def guided(D, J, at="x_t", n=1000):
    noise = torch.randn(n, 1, generator=torch.Generator().manual_seed(5))
    return sample(ascend(D, J, at=at), noise, steps=20, step=heun())


def test_a_learned_energy_tilts_a_gaussian_where_regression_dps_and_the_plain_gradient_do_not() -> None:
    def r(x):
        return -2 * (x - 1) ** 2

    def regression(x, t):  # E[r | x_t], what `value_loss` learns
        alpha, sigma = S(t)
        return r(alpha * x[:, 0]) - 2 * sigma**2

    def off(J, at="x_t"):  # N(0, 1) exp(r) = N(4/5, 1/5)
        x = guided(GAUSSIAN, J, at)
        return (x.mean() - 0.8).abs() + (x.std() - math.sqrt(0.2)).abs()

    assert off(learned(GAUSSIAN, r)) < 0.12
    assert off(regression) > 0.3
    for at in ("x0_hat", "x_t"):
        assert off(lambda x, t: r(x[:, 0]), at) > 0.15


def test_a_learned_energy_brings_a_rare_mode_to_its_exact_share_and_regression_leaves_it_far_behind() -> None:
    def share(J):
        return (guided(TWO, J)[:, 0] < 0).double().mean()

    def left(x, t):
        return TWO.responsibilities(x, t)[:, 0]

    gain = math.exp(3)  # r = 3 in the left mode, 0 in the other
    wanted = 0.1 * gain / (0.1 * gain + 0.9)
    se = math.sqrt(wanted * (1 - wanted) / 1000)
    assert abs(share(lambda x, t: torch.log1p((gain - 1) * left(x, t))) - wanted) < 5 * se
    assert abs(share(learned(TWO, lambda x: 3.0 * (x < 0))) - wanted) < 0.1
    assert share(lambda x, t: 3 * left(x, t)) < wanted - 0.2


def test_shares_under_a_tilt_are_those_of_importance_weights() -> None:
    x = TWO.sample(200_000, torch.Generator().manual_seed(0))[:, 0]
    found = tilted_shares(-x, (x > 0).long(), 2)
    assert_close(found, TWO.tilt([-1.0]).weights, rtol=0, atol=0.01)
    assert_close(tilted_shares(-x, (x > 0).long(), 2, scale=0.0)[0], (x < 0).double().mean())


def test_nonsense_is_refused() -> None:
    J, x = Guide(1, S, width=8), torch.zeros(9, 1)
    with pytest.raises(ValueError, match="at least two"):
        contrastive_loss(J, x, x[:, 0], support=1)
    with pytest.raises(ValueError, match="9 rows cannot be divided into supports of 4"):
        contrastive_loss(J, x, x[:, 0], support=4)
    with pytest.raises(ValueError, match=r"events of 1 numbers.*\(2, 3\)"):
        J(torch.zeros(2, 3), 0.5)
