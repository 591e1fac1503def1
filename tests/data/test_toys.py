"""Toy laws: samples follow the parameters they come with."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data import toys

N = 40_000


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("law", [toys.two_modes(0.3), toys.ring(8), toys.two_corridors(0.2, horizon=5),
                                 toys.ring(3, weights=torch.tensor([1.0, 2, 0]))])
def test_each_component_of_a_mixture_has_its_weight_mean_and_deviation(law):
    x, mode = law.sample(N, seeded())
    for k, w in enumerate(law.weights.tolist()):
        mine = x[mode == k].double()
        assert abs(len(mine) / N - w) <= 4 * math.sqrt(w * (1 - w) / N)  # 4 standard errors
        if len(mine):
            error = law.std[k] / math.sqrt(len(mine))
            assert ((mine.mean(0) - law.means[k]).abs() < 4.5 * error).all()
            assert abs((mine - law.means[k]).std() / law.std[k] - 1) < 4.5 / math.sqrt(2 * mine.numel())


@pytest.mark.parametrize("law", [toys.ar1(6, 0.8, 2.0), toys.brownian(6), toys.bridge(6, -1, 1, 0.5)])
def test_paths_have_their_mean_and_covariance(law):
    x = law.sample(N, seeded())[..., 0].double()
    size = law.cov.diagonal().sqrt()
    assert ((x.mean(0) - law.mean[:, 0]).abs() <= 4.5 * size / math.sqrt(N) + 1e-6).all()
    spread = (size[:, None] ** 2 * size**2 + law.cov**2).sqrt() / math.sqrt(N)  # standard error of a covariance
    assert ((x.mT.cov() - law.cov).abs() <= 4.5 * spread + 1e-5).all()


def test_an_ar1_path_forgets_at_its_rate_and_a_bridge_is_tied_at_both_ends():
    cov = toys.ar1(5, 0.5, 3.0).cov
    assert_close(cov[0], 9 * torch.tensor([1, 0.5, 0.25, 0.125, 0.0625], dtype=torch.float64))
    x = toys.bridge(9, start=2.0, goal=-3.0).sample(20, seeded())[..., 0]
    assert_close(x[:, 0], torch.full((20,), 2.0))
    assert_close(x[:, -1], torch.full((20,), -3.0))


def test_the_two_corridors_begin_and_end_together_mirror_each_other_and_their_mean_runs_through_the_block():
    left, right = toys.two_corridors(0.5, horizon=33).means
    assert_close(left * torch.tensor([-1.0, 1.0]), right)
    assert_close(left[[0, -1]], right[[0, -1]], atol=1e-12, rtol=0)
    assert (left[1:-1, 0] < 0).all() and left[16, 0] == -1 and right[16, 0] == 1


def test_parameters_without_a_law_are_refused():
    for call, message in [(lambda: toys.two_modes(1.2), r"p must lie in \[0, 1\], got 1.2"),
                          (lambda: toys.ring(0), "at least one Gaussian, got k = 0"),
                          (lambda: toys.ring(3, weights=torch.tensor([1.0, -1, 1])), "weights must be 3 numbers"),
                          (lambda: toys.ar1(rho=1.0), r"needs \|rho\| < 1, got 1.0"),
                          (lambda: toys.two_corridors(horizon=1), "at least 2 points"),
                          (lambda: toys.two_modes(std=-1), "std must be at least 0, got -1")]:
        with pytest.raises(ValueError, match=message):
            call()
