"""Laws of denoisers: E[x_0 | x_t] against quadrature, algebra and conditional probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from diffrl_lab.diffusion import (
    Cosine,
    Discrete,
    EmpiricalDenoiser,
    GaussianDenoiser,
    Karras,
    Linear,
    MixtureDenoiser,
    NeuralDenoiser,
    Rectified,
    brownian_bridge,
    brownian_motion,
    coefficients,
    cosine_decay,
    ddim,
    denoising_loss,
    descend,
    sample,
    seeded,
)
from diffrl_lab.diffusion.denoisers import PREDICTIONS, target
from diffrl_lab.nets import MLP

f64 = torch.float64
SCHEDULES = [Linear(), Cosine(), Karras(), Rectified(), Discrete.linear()]


def tensor(*values):
    return torch.tensor(values, dtype=f64)


def two_modes(schedule=None):
    return MixtureDenoiser([0.2, 0.8], [[-1.0], [1.0]], schedule or Cosine(), std=[0.15, 0.3])


def correlated(schedule=None):
    cov = tensor(
        [[1.0, 0.6, 0.2], [0.6, 0.8, -0.1], [0.2, -0.1, 0.5]], [[0.3, 0.0, 0.1], [0.0, 0.2, 0.0], [0.1, 0.0, 0.4]]
    )
    return MixtureDenoiser([0.3, 0.7], [[1.0, 0.0, -1.0], [-0.5, 0.5, 0.2]], schedule or Linear(), cov=cov)


def density(x):  # of two_modes, by hand
    return sum(
        w * torch.exp(-(((x - m) / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi))
        for w, m, s in [(0.2, -1.0, 0.15), (0.8, 1.0, 0.3)]
    )


# ---------------------------------------------------------------------------------------------- what a network predicts
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("predict", PREDICTIONS)
def test_a_perfect_prediction_of_any_kind_gives_back_x_0(schedule, predict):
    g = torch.Generator().manual_seed(0)
    x_0, eps, t = (torch.randn(50, generator=g, dtype=f64) for _ in range(3))
    alpha, sigma = schedule(0.05 + 0.9 * t.sigmoid())
    x_t, root = alpha * x_0 + sigma * eps, torch.sqrt(alpha**2 + sigma**2)
    total = sigma**2 + (0.7 * alpha) ** 2
    out = {
        "eps": eps,
        "x0": x_0,
        "v": (alpha * eps - sigma * x_0) / root,
        "flow": eps - x_0,
        "edm": (x_0 * total - 0.49 * alpha * x_t) / (0.7 * sigma * total.sqrt()),
    }[predict]
    c_skip, c_out = coefficients(predict, alpha, sigma, 0.7)
    assert_close(c_skip * x_t + c_out * out, x_0, rtol=1e-7, atol=1e-7)


def test_the_edm_target_has_unit_variance_at_every_level():
    alpha, sigma = Karras()(torch.linspace(0.2, 1, 50, dtype=f64))
    c_skip, c_out = coefficients("edm", alpha, sigma, 0.7)
    assert_close((0.49 * (1 - c_skip * alpha) ** 2 + (c_skip * sigma) ** 2) / c_out**2, torch.ones_like(alpha))


def test_a_prediction_of_eps_says_nothing_where_no_signal_is_left():
    D = NeuralDenoiser(Spy(), Cosine(), "eps")
    assert_close(D(torch.randn(3, 2), torch.tensor(1.0)), torch.zeros(3, 2))


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), Discrete.linear()], ids=repr)
def test_a_network_that_says_0_is_the_best_gaussian_denoiser_for_v_and_edm_and_for_no_other(schedule):
    """Of data with mean 0 and covariance 1: the part of each target that is linear in x_t is what is left to learn."""
    x, t = torch.randn(9, 2, dtype=f64, generator=torch.Generator().manual_seed(0)), torch.tensor(0.3, dtype=f64)
    (alpha, sigma), best = schedule(t), GaussianDenoiser(torch.zeros(2), schedule, cov=torch.eye(2))(x, t)
    left = {"eps": sigma, "x0": alpha, "v": 0 * alpha, "flow": sigma - alpha, "edm": 0 * alpha}
    for predict, slope in left.items():
        c_skip, c_out = coefficients(predict, alpha, sigma)
        assert_close(c_skip * x + c_out * slope * x, best)
        # cov(target, x_t) / var(x_t), since the target is linear in x_0 and eps
        assert_close(target(predict, alpha, sigma, alpha, sigma), slope, rtol=1e-7, atol=1e-12)


def test_four_symmetric_modes_are_found_by_x0_and_not_by_v():
    """The warning of NeuralDenoiser: v starts at a saddle, where a batch does not show the gradient."""
    modes = 2**0.5 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    share = {}
    for predict in ("x0", "v"):
        g = torch.Generator().manual_seed(0)
        D = NeuralDenoiser(seeded(0, MLP, 2, width=64), Cosine(), predict)
        update = descend(lambda x, D=D, g=g: denoising_loss(D, x, generator=g), D, lr=5e-3, schedule=cosine_decay(1200))
        for _ in range(1200):
            update(modes[torch.randint(4, (128,), generator=g)] + 0.1 * torch.randn(128, 2, generator=g))
        with torch.no_grad():
            x = sample(D, torch.randn(1000, 2, generator=g), steps=20, step=ddim())
        share[predict] = (torch.cdist(x, modes) < 0.3).double().mean(0)
    assert share["x0"].sum() > 0.8 and share["x0"].min() > 0.1 and share["v"].sum() < 0.1


class Spy(nn.Module):
    """Some function of x and the label that remembers what it was shown."""

    def forward(self, x, label, cond=None):
        self.x, self.label = x, label
        return torch.sin(2 * x) + label.reshape(label.shape + (1,) * (x.ndim - label.ndim))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize(
    "t",
    [torch.tensor(0.4, dtype=f64), torch.full((6,), 0.4, dtype=f64), torch.full((6, 3), 0.4, dtype=f64)],
    ids=["one", "rows", "positions"],
)
def test_the_network_sees_unit_variance_and_a_quarter_of_ln_sigma_over_alpha(schedule, t):
    net, x = Spy(), torch.randn(6, 3, 2, dtype=f64)
    NeuralDenoiser(net, schedule, "x0", sigma_data=0.5)(x, t)
    alpha, sigma = (level.item() for level in schedule(0.4))
    assert_close(net.x, x / math.sqrt(0.25 * alpha**2 + sigma**2))
    label = min(3.0, max(-3.0, math.log(sigma / alpha) / 4))
    assert_close(net.label, torch.full((6,) if t.ndim < 2 else (6, 3), label, dtype=f64))


@pytest.mark.parametrize("predict", PREDICTIONS)
def test_a_schedule_swapped_under_a_trained_network_changes_nothing(predict):
    D, x = NeuralDenoiser(Spy(), Linear(), predict, 0.6), torch.randn(9, 2, dtype=f64)
    t = torch.tensor(0.37, dtype=f64)
    before, scale, ratio = D(x, t), Linear()(t)[0], Linear().ratio(t)
    for other in SCHEDULES:
        D.schedule = other
        s = other.time(ratio)
        assert_close(D(x / scale * other(s)[0], s), before)


# -------------------------------------------------------------------------------------------------- the exact denoisers
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("t", [0.4, 0.6, 0.9])
def test_the_mixtures_denoiser_and_density_are_those_of_quadrature(schedule, t):
    D, x_0 = two_modes(schedule), torch.linspace(-4, 5, 40_001, dtype=f64)
    alpha, sigma = schedule(t)
    x_t = alpha * tensor(-1.1, -0.2, 0.0, 0.7, 1.6) + 0.3 * sigma
    joint = (
        density(x_0) * torch.exp(-(((x_t[:, None] - alpha * x_0) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))
    )
    p, mean = torch.trapezoid(joint, x_0), torch.trapezoid(joint * x_0, x_0)
    assert_close(D(x_t[:, None], t)[:, 0], mean / p, rtol=1e-6, atol=1e-6)
    assert_close(D.log_prob(x_t[:, None], t), p.log(), rtol=1e-6, atol=1e-6)


def test_the_posterior_is_a_mixture_with_the_moments_of_quadrature():
    D, x_0, x_t = two_modes(), torch.linspace(-4, 5, 40_001, dtype=f64), 0.1
    alpha, sigma = Cosine()(0.6)
    p = density(x_0) * torch.exp(-(((x_t - alpha * x_0) / sigma) ** 2) / 2)
    mean, second = ((p * x_0**k).sum() / p.sum() for k in (1, 2))
    w, m, s = D.posterior(tensor([x_t]), 0.6)
    assert_close((w * m[..., 0]).sum(), mean)
    assert_close((w * (m**2 + s**2)[..., 0]).sum(), second)
    left = 0.2 * torch.distributions.Normal(-1.0, 0.15).log_prob(x_0).exp() / density(x_0)
    assert_close(w[0, 0], (p * left).sum() / p.sum(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("D", [two_modes(), correlated(), correlated(Karras())], ids=["1d", "vp", "ve"])
def test_the_score_is_the_gradient_of_the_log_density(D):
    x = torch.randn(20, *D.event, dtype=f64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (slope,) = torch.autograd.grad(D.log_prob(x, 0.6).sum(), x)
    assert_close(D.score(x.detach(), 0.6), slope)


def test_the_gaussians_denoiser_is_the_linear_regression_of_x_0_on_x_t():
    cov, mean = tensor([1.0, 0.6], [0.6, 0.8]), tensor(1.0, -2.0)
    D, x = GaussianDenoiser(mean, Linear(), cov=cov), torch.randn(7, 2, dtype=f64)
    alpha, sigma = (level.item() for level in Linear()(0.3))
    gain = alpha * cov @ torch.linalg.inv(alpha**2 * cov + sigma**2 * torch.eye(2, dtype=f64))
    assert_close(D(x, 0.3), mean + (x - alpha * mean) @ gain.mT)


def test_a_level_for_every_entry_is_the_linear_regression_with_that_noise():
    cov, mean, t = tensor([1.0, 0.6], [0.6, 0.8]), tensor(1.0, -2.0), tensor(0.2, 0.7)
    x = torch.randn(7, 2, dtype=f64)
    alpha, sigma = Linear()(t)
    gain = cov * alpha @ torch.linalg.inv(alpha[:, None] * cov * alpha + torch.diag(sigma**2))
    assert_close(GaussianDenoiser(mean, Linear(), cov=cov)(x, t.expand(7, 2)), mean + (x - alpha * mean) @ gain.mT)


def test_equal_levels_for_all_entries_are_one_level():
    D, x = correlated(), torch.randn(7, 3, dtype=f64)
    assert_close(D(x, torch.full((7, 3), 0.4, dtype=f64)), D(x, 0.4))
    assert_close(D.log_prob(x, torch.full((7, 3), 0.4, dtype=f64)), D.log_prob(x, 0.4))
    for one, many in zip(D.posterior(x, 0.4), D.posterior(x, torch.full((7, 3), 0.4, dtype=f64)), strict=True):
        assert_close(many, one)


@pytest.mark.parametrize("dtype", [f64, torch.float32])
def test_entries_at_level_0_are_exactly_conditioned_on(dtype):
    D, x = correlated(Cosine()), torch.randn(5, 3, dtype=dtype)
    t = torch.tensor([0.0, 0.6, 0.6], dtype=f64).expand(5, 3)
    for row, hat in zip(x, D(x, t), strict=True):
        exact = D.condition(torch.tensor([True, False, False]), row)(row[None], 0.6)[0]
        assert_close(hat[1:], exact[1:])
        assert_close(hat[0], row[0])


@pytest.mark.parametrize("dtype", [f64, torch.float32])
def test_known_ends_at_level_0_turn_brownian_motion_into_the_bridge(dtype):
    H, motion = 9, brownian_motion(9, Cosine(), dim=2, start_std=3.0)
    bridge = brownian_bridge(9, [0.5, -1.0], [2.0, 1.0], Cosine())
    x = torch.randn(4, H, 2, dtype=dtype)
    x[:, 0], x[:, -1] = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 1.0])
    t = torch.full((4, H), 0.7, dtype=f64)
    t[:, [0, -1]] = 0
    near = {"rtol": 1e-9, "atol": 1e-9} if dtype == f64 else {"rtol": 1e-4, "atol": 1e-4}
    assert_close(motion(x, t), bridge(x, 0.7), **near)
    assert_close(bridge(x, t), bridge(x, 0.7), **near)


def test_the_brownian_bridge_is_brownian_motion_given_its_ends():
    known = torch.zeros(9, 2, dtype=torch.bool)
    known[[0, -1]] = True
    value = torch.zeros(9, 2, dtype=f64)
    value[0], value[-1] = tensor(0.5, -1.0), tensor(2.0, 1.0)
    given = brownian_motion(9, Cosine(), dim=2, scale=0.7).condition(known, value)
    bridge = brownian_bridge(9, value[0], value[-1], Cosine(), scale=0.7)
    assert_close(given.means, bridge.means)
    assert_close(given.cov, bridge.cov)
    assert_close(bridge.cov[0, 8, 8], tensor(0.49 / 4)[0])  # half way: scale^2 / 4


def test_conditioning_a_gaussian_gives_the_textbook_mean_and_variance():
    D = GaussianDenoiser([0.0, 0.0], Linear(), cov=[[1.0, 0.9], [0.9, 1.0]]).condition([True, False], [1.5, 0.0])
    assert_close(D.means[0], tensor(1.5, 1.35))
    assert_close(D.cov[0], tensor([0.0, 0.0], [0.0, 0.19]))


def test_conditioning_a_mixture_is_a_slice_of_its_density():
    D = correlated()
    slice_ = D.condition([False, True, False], [0.0, 0.3, 0.0])
    x = torch.randn(30, 3, dtype=f64)
    x[:, 1] = 0.3
    free = MixtureDenoiser(slice_.weights, slice_.means[:, [0, 2]], Linear(), cov=slice_.cov[:, [0, 2]][:, :, [0, 2]])
    ratio = D.log_prob(x) - free.log_prob(x[:, [0, 2]])
    assert_close(ratio, ratio[0].expand(30))  # p(x) / p(x given) = p(known), one number


def test_tilting_multiplies_the_density_by_exp_b_x():
    D, b, x = correlated(), tensor(0.5, -1.0, 2.0), torch.randn(30, 3, dtype=f64)
    ratio = D.tilt(b).log_prob(x) - D.log_prob(x) - x @ b
    assert_close(ratio, ratio[0].expand(30))


def test_a_tilted_gaussian_is_the_same_gaussian_moved_by_sigma_b():
    cov, b = tensor([1.0, 0.6], [0.6, 0.8]), tensor(0.5, -1.0)
    tilted = GaussianDenoiser([1.0, 2.0], Linear(), cov=cov).tilt(b)
    assert_close(tilted.means[0], tensor(1.0, 2.0) + cov @ b)
    assert_close(tilted.cov[0], cov)


def test_draws_from_the_mixture_have_its_moments():
    D, n = correlated(), 40_000
    x = D.sample(n, torch.Generator().manual_seed(0), dtype=f64)
    mean = D.weights @ D.means
    centred = D.means - mean
    cov = torch.einsum("k,kij->ij", D.weights, D.cov + centred[:, :, None] * centred[:, None])
    assert ((x.mean(0) - mean).abs() < 5 * (cov.diagonal() / n).sqrt()).all()
    assert ((x.T.cov() - cov).abs() < 5 * torch.sqrt(2 * cov.diagonal()[:, None] * cov.diagonal() / n)).all()


def test_a_condition_of_a_mixture_is_its_weights_and_nan_means_not_given():
    D, x = two_modes(), torch.randn(3, 1, dtype=f64)
    hat = D(x, 0.8, tensor([1.0, 0.0], [0.0, 1.0], [math.nan, math.nan]))
    for row, weights in enumerate([[1.0, 0.0], [0.0, 1.0], [0.2, 0.8]]):
        assert_close(hat[row], MixtureDenoiser(weights, D.means, Cosine(), std=[0.15, 0.3])(x[row : row + 1], 0.8)[0])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_empirical_denoiser_is_a_mixture_of_points(schedule):
    g = torch.Generator().manual_seed(0)
    data, x = torch.randn(12, 4, 2, generator=g, dtype=f64), torch.randn(5, 4, 2, generator=g, dtype=f64)
    points = MixtureDenoiser(torch.ones(12), data, schedule, std=0.0)
    assert_close(EmpiricalDenoiser(data, schedule)(x, 0.5), points(x, 0.5))
    assert_close(EmpiricalDenoiser(data, schedule)(x, torch.full((5,), 0.5, dtype=f64)), points(x, 0.5))
    assert_close(
        EmpiricalDenoiser(data.float(), schedule)(x.float(), 0.0), points(x, 1e-3).float()
    )  # at t = 0 the nearest


def test_flow_matchings_velocity_is_the_expected_difference_of_noise_and_data():
    D, t, x = two_modes(Rectified()), 0.4, tensor([-0.3], [0.2], [1.0])
    x_0 = torch.linspace(-4, 5, 40_001, dtype=f64)
    p = density(x_0) * torch.exp(-(((x - (1 - t) * x_0) / t) ** 2) / 2)
    velocity = (p * ((x - (1 - t) * x_0) / t - x_0)).sum(1) / p.sum(1)  # E[eps - x_0 | x_t]
    assert_close((x - D(x, t))[:, 0] / t, velocity, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_what_holds_the_numbers_of_an_exact_denoiser_makes_no_difference(dtype):
    cov, x = [[1.0, 0.5], [0.5, 1.0]], torch.linspace(-2, 2, 12, dtype=f64).reshape(6, 2)

    def values(put):
        two = MixtureDenoiser(put([0.25, 0.75]), put([[-1.0, 0.0], [1.0, 0.5]]), Linear(), std=put([0.25, 0.5]))
        one = GaussianDenoiser(put([0.0, 1.0]), Linear(), cov=put(cov)).tilt(put([0.5, 0.0]))
        known = one.condition(np.array(put([1.0, 0.0])) > 0.5, put([0.5, 0.0]))
        points = EmpiricalDenoiser(put([[0.0, 1.0], [0.5, 0.25]]), Linear())
        bridge = brownian_bridge(2, put([0.0]), put([1.0]), Linear())
        hats = [D(x, 0.5) for D in (two, one, known, points)] + [bridge(x[..., None], 0.5), two.log_prob(x)]
        return torch.cat([hat.flatten() for hat in (*hats, two(x, 0.5, put([[1.0, 0.0]] * 6)), two(x.numpy(), 0.5))])

    wanted = values(lambda v: torch.tensor(v, dtype=f64))
    for put in (lambda v: v, lambda v: np.array(v, dtype), lambda v: torch.tensor(np.array(v, dtype))):
        assert torch.equal(values(put), wanted)


@pytest.mark.parametrize(
    "make",
    [
        lambda: NeuralDenoiser(Spy(), Linear(), "noise"),
        lambda: coefficients("noise", torch.ones(1), torch.ones(1)),
        lambda: MixtureDenoiser([0.5, -0.5], [[0.0], [1.0]], Linear(), std=1.0),
        lambda: MixtureDenoiser([1.0], [[0.0], [1.0]], Linear(), std=1.0),
        lambda: MixtureDenoiser([1.0], [[0.0]], Linear()),
        lambda: two_modes()(torch.zeros(3, 2), 0.5),
        lambda: EmpiricalDenoiser(torch.zeros(0, 2), Linear()),
        lambda: GaussianDenoiser([0.0, 0.0], Linear(), std=1.0).condition([1, 0], [0.5, 0.0]),
        lambda: GaussianDenoiser("zero", Linear(), std=1.0),
        lambda: GaussianDenoiser([0.0], Linear(), std=1.0)("x", 0.5),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(ValueError, match="got|give"):
        make()
