"""Constraints on samples: the exact guide gives the exact law, and projections give another."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.toys import Truncated
from diffrl_lab.diffusion import Cosine, GaussianDenoiser, ascend, clip, ddpm, sample
from diffrl_lab.diffusion.constraints import confined, log_within, projected

D = GaussianDenoiser(torch.zeros(1), Cosine(), std=1.0)
N = 8000


def drawn(denoiser, step=None, dim=1, seed=0):
    g = torch.Generator().manual_seed(seed)
    return sample(denoiser, torch.randn(N, dim, generator=g), steps=100, step=step or ddpm(), generator=g)


LAWS = [(1.0, math.inf, False), (-math.inf, -1.2, False), (1.0, 1.5, False), (-1.0, 1.0, True), (0.5, 1.5, True)]


@pytest.mark.parametrize(("lo", "hi", "outside"), LAWS)
def test_a_truncated_gaussian_has_the_moments_of_its_own_draws(lo: float, hi: float, outside: bool) -> None:
    law = Truncated(lo, hi, outside)
    x = law.sample(100_000, torch.Generator().manual_seed(0))
    assert bool(law.holds(x).all())
    assert abs(float(x.mean()) - law.mean) < 4 * law.std / math.sqrt(len(x))
    assert abs(float(x.std()) / law.std - 1) < 0.015
    free = torch.randn(100_000, generator=torch.Generator().manual_seed(1))
    assert abs(float(law.holds(free).double().mean()) - law.share) < 4 * math.sqrt(law.share / len(free))


@pytest.mark.parametrize(("lo", "hi", "outside"), LAWS)
def test_the_exact_guide_of_a_constraint_samples_the_truncated_law(lo: float, hi: float, outside: bool) -> None:
    law = Truncated(lo, hi, outside)
    x = drawn(ascend(D, log_within(D.schedule, lo, hi, outside=outside)))[:, 0]
    assert float((~law.holds(x)).double().mean()) < 0.001
    assert abs(float(x.mean()) - law.mean) < 5 * law.std / math.sqrt(N) + 0.005
    assert abs(float(x.std()) / law.std - 1) < 0.08  # a chain of 100 steps loses a few per cent at the edges


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
def test_the_guide_of_an_interval_is_the_log_of_the_share_of_its_exact_posterior(t: float) -> None:
    x_t = torch.tensor([[-1.5], [0.2], [2.5]], dtype=torch.float64)
    alpha, sigma = (float(v) for v in D.schedule(t))
    g = torch.Generator().manual_seed(0)
    x_0 = alpha * x_t + sigma * torch.randn(3, 400_000, generator=g, dtype=torch.float64)  # alpha^2 + sigma^2 = 1
    share = ((x_0 >= -0.5) & (x_0 <= 1.0)).double().mean(1)
    inside, out = (log_within(D.schedule, -0.5, 1.0, outside=o)(x_t, torch.tensor(t)).exp() for o in (False, True))
    assert_close(inside + out, torch.ones_like(share), atol=1e-9, rtol=0)
    assert ((inside - share).abs() < 4 * (share * (1 - share) / 400_000).sqrt() + 1e-5).all()


def test_the_guide_of_a_narrow_interval_far_from_the_iterate_keeps_its_digits() -> None:
    x = torch.tensor([[-6.0], [6.0]], requires_grad=True)
    J = log_within(D.schedule, 1.0, 1.01)(x, torch.tensor(0.1))
    (slope,) = torch.autograd.grad(J.sum(), x)
    assert torch.isfinite(J).all() and slope[0] > 0 > slope[1]


def test_guides_of_independent_parts_add_up_to_the_guide_of_both() -> None:
    both = GaussianDenoiser(torch.zeros(2), Cosine(), std=1.0)
    x = drawn(ascend(ascend(both, log_within(both.schedule, 1.0)), log_within(both.schedule, hi=-0.5, axis=1)), dim=2)
    for axis, law in enumerate((Truncated(1.0), Truncated(hi=-0.5))):
        assert abs(float(x[:, axis].mean()) - law.mean) < 5 * law.std / math.sqrt(N) + 0.005


def test_minus_the_guide_is_not_the_guide_of_the_complement_but_leads_off_the_data() -> None:
    inside = log_within(D.schedule, 0.5, 1.5)
    minus = drawn(ascend(D, lambda x, t: -inside(x, t)))[:, 0]
    assert float(minus.abs().nanmedian()) > 10  # the law is p(x_0) over P(inside): outside of the interval over zero


def test_projections_keep_every_sample_inside_and_miss_the_law() -> None:
    c, law = 1.0, Truncated(1.0)
    at_the_end = drawn(D).clamp(min=c)
    each_guess = drawn(projected(D, lambda x: x.clamp(min=c)))
    iterates = drawn(D, confined(ddpm(), lambda x, *_: x.clamp(min=c)))
    on_edge = []
    for x in (at_the_end, each_guess, iterates):
        assert float(x.min()) >= c - 1e-6
        assert law.mean - float(x.mean()) > 0.03
        on_edge.append(float((x < c + 1e-3).double().mean()))
    assert abs(on_edge[0] - (1 - law.share)) < 0.02 and on_edge[0] > on_edge[1] > on_edge[2]


def test_projecting_the_guess_onto_an_interval_is_clip() -> None:
    interval = lambda x: x.clamp(-0.3, 0.4)  # noqa: E731
    assert_close(drawn(projected(D, interval)), drawn(clip(D, -0.3, 0.4)), atol=0, rtol=0)


def test_a_step_confined_to_everything_is_the_step() -> None:
    assert_close(drawn(D, confined(ddpm(), lambda x, *_: x)), drawn(D), atol=0, rtol=0)


def test_a_constraint_without_room_is_refused() -> None:
    for make in (lambda: Truncated(1.0, 1.0), lambda: log_within(D.schedule, 2.0, 1.0)):
        with pytest.raises(ValueError, match="lo < hi"):
            make()
