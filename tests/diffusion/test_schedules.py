"""Laws of noise schedules: what alpha, sigma, their ratio, its inverse, the prior and the grid must be."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.diffusion import Cosine, Discrete, Karras, Linear, Rectified

ALL = [Linear(), Cosine(), Karras(), Rectified(), Discrete.linear()]
VARIANCE_PRESERVING = [Linear(), Cosine(), Discrete.linear(), Discrete.linear(20)]
inside = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_at_t_0_there_is_all_of_the_signal_and_no_noise(schedule):
    alpha, sigma = schedule(torch.tensor(0.0, dtype=torch.float64))
    assert (alpha.item(), sigma.item()) == (1.0, 0.0)


@pytest.mark.parametrize("schedule", VARIANCE_PRESERVING, ids=repr)
def test_alpha_squared_plus_sigma_squared_is_one(schedule):
    alpha, sigma = schedule(inside)
    assert_close(alpha**2 + sigma**2, torch.ones_like(inside), rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_time_inverts_the_ratio_and_the_ratio_grows(schedule):
    ratio = schedule.ratio(inside)
    assert (ratio.diff() > 0).all()
    assert_close(schedule.time(ratio), inside, rtol=1e-9, atol=1e-9)
    assert_close(schedule.ratio(schedule.time(ratio)), ratio, rtol=1e-7, atol=0)
    assert_close(schedule.log_snr(inside), -2 * torch.log(ratio))


@pytest.mark.parametrize("schedule", [Cosine(), Rectified()], ids=repr)
def test_no_signal_at_all_is_time_1(schedule):
    assert schedule(torch.ones((), dtype=torch.float64))[0] == 0
    assert_close(schedule.time(torch.tensor(math.inf, dtype=torch.float64)), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_little_noise_keeps_its_digits_in_float32(schedule):
    t = torch.tensor([1e-6, 1e-5, 1e-4, 1e-3])
    for single, double in zip(schedule(t), schedule(t.double()), strict=True):
        assert_close(single.double(), double, rtol=1e-5, atol=1e-38)


def test_the_linear_schedule_is_the_integral_of_its_beta():
    t = inside.clone().requires_grad_()
    log_alpha_bar = 2 * torch.log(Linear()(t)[0])
    (slope,) = torch.autograd.grad(log_alpha_bar.sum(), t)
    assert_close(slope, -(0.1 + 19.9 * inside))
    assert_close(Linear()(1.0)[0].item() ** 2, math.exp(-10.05))


def test_the_cosine_schedule_is_the_squared_cosine_of_its_authors():
    def f(t):
        return torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    assert_close(Cosine()(inside)[0] ** 2, f(inside) / f(torch.zeros(())), rtol=1e-6, atol=0)


def test_discrete_alpha_bar_is_the_product_of_1_minus_beta_and_begins_with_1():
    betas = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64)
    alpha_bar = Discrete(betas)(torch.arange(4, dtype=torch.float64) / 3)[0] ** 2
    assert_close(alpha_bar, torch.tensor([1, 0.9, 0.9 * 0.7, 0.9 * 0.7 * 0.8], dtype=torch.float64))


@pytest.mark.parametrize(("kind", "ours"), [("linear", Discrete.linear()), ("squaredcos_cap_v2", Cosine())])
def test_alpha_bar_is_diffusers_alpha_bar(kind, ours):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(num_train_timesteps=1000, beta_schedule=kind).alphas_cumprod[:990].double()
    assert_close(ours(torch.arange(1, 991, dtype=torch.float64) / 1000)[0] ** 2, theirs, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(("T", "left"), [(20, 0.817), (5, 0.951)])
def test_ddpms_betas_leave_most_of_the_signal_when_there_are_few(T, left):  # a trap, kept in view; Linear has no T
    assert_close(Discrete.linear(T)(1.0)[0].item() ** 2, left, rtol=0, atol=5e-4)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), Rectified()], ids=repr)
def test_at_t_1_next_to_nothing_of_the_signal_is_left(schedule):
    assert schedule(1.0)[0] < 0.007
    assert schedule.grid(5)[0] == 1 and schedule.grid(1000)[0] == 1


def test_the_karras_grid_is_their_equation_5_with_zero_appended():
    i = torch.arange(18, dtype=torch.float64)
    wanted = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert_close(Karras()(Karras().grid(18))[1], torch.cat([wanted, torch.zeros(1, dtype=torch.float64)]))


@pytest.mark.parametrize("schedule", ALL, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_a_grid_falls_from_1_to_0_without_repeating_a_time(schedule, steps):
    grid = schedule.grid(steps)
    assert len(grid) == steps + 1 and grid[0] == 1 and grid[-1] == 0 and (grid.diff() < 0).all()


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_the_prior_has_the_standard_deviation_of_x_at_t_1(schedule):
    x = schedule.prior((4000, 5), torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = schedule(1.0)[1].item()  # for a variance-preserving one 1 within 0.03 of it, sigma_max for Karras
    assert abs(x.std().item() / sigma - 1) < 5 / math.sqrt(2 * 20_000) + (1 - min(sigma, 1))
    assert_close(
        schedule.prior((3,), torch.Generator().manual_seed(1)),
        schedule.prior_std * torch.randn(3, generator=torch.Generator().manual_seed(1)),
    )


def test_levels_along_the_first_axes_broadcast_over_the_rest():
    t = torch.rand(2, 3, dtype=torch.float64)
    alpha, sigma = Linear()(t, 4)
    x = torch.ones(2, 3, 4, 5, dtype=torch.float64)
    assert_close((alpha * x)[..., 2, 1], Linear()(t)[0])
    assert_close((sigma * x)[..., 0, 4], Linear()(t)[1])
    with pytest.raises(ValueError, match="2 axes"):
        Linear()(t, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Karras(sigma_min=3.0, sigma_max=2.0),
        lambda: Karras(sigma_min=0.0),
        lambda: Discrete([]),
        lambda: Discrete([0.1, 1.0]),
        lambda: Discrete([0.0]),
        lambda: Linear().grid(0),
    ],
)
def test_nonsense_is_refused_with_what_came(make):
    with pytest.raises(ValueError, match="got"):
        make()
