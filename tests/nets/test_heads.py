"""Heads: their densities and draws are those of the distributions that they name."""

from __future__ import annotations

import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

from diffrl_lab.nets.heads import LOG_STD, gaussians, index


def test_a_mixtures_density_is_that_of_torch_and_entries_that_are_not_valid_are_integrated_out() -> None:
    g = torch.Generator().manual_seed(0)
    numbers, logits, x = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((5, 3, 8), (5, 3), (5, 4)))
    law = gaussians(numbers, logits)

    def exact(d: int) -> torch.Tensor:
        each = Independent(Normal(law.mean[..., :d], law.log_std[..., :d].exp()), 1)
        return MixtureSameFamily(Categorical(logits=logits), each).log_prob(x[:, :d])

    assert_close(law.log_prob(x), exact(4))
    assert_close(law.log_prob(x, (torch.arange(4) < 2).expand(5, 4)), exact(2))
    assert bool((law.log_std > LOG_STD[0]).all() and (law.log_std < LOG_STD[1]).all())


def test_a_network_that_says_0_gives_the_standard_normal_law_of_scaled_data() -> None:
    law = gaussians(torch.zeros(2, 3, 8))
    assert_close(law.log_std, torch.zeros(2, 3, 4), rtol=0, atol=1e-6)
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert_close(law.log_prob(x), Normal(0.0, 1.0).log_prob(x).sum(-1))


def test_a_single_gaussian_is_a_mixture_of_one() -> None:
    numbers = torch.randn(5, 1, 8, generator=torch.Generator().manual_seed(0))
    law = gaussians(numbers)
    assert_close(law.log_w, torch.zeros(5, 1))
    assert_close(
        law.log_prob(torch.ones(5, 4)), Normal(law.mean, law.log_std.exp()).log_prob(torch.ones(4)).sum(-1)[:, 0]
    )


def test_draws_have_the_weights_means_and_deviations() -> None:
    n, g = 40_000, torch.Generator().manual_seed(0)
    law = gaussians(torch.tensor([[-9.0, 1.0, 0.0, -1.0], [9.0, 2.0, 0.5, 0.0]]), torch.tensor([0.3, 0.7]).log())
    x = law.sample(torch.rand(n, generator=g), torch.randn(n, 2, generator=g))
    left = x[:, 0] < 0
    assert abs(float(left.double().mean()) - 0.3) < 4 * (0.21 / n) ** 0.5
    for k, rows in ((0, x[x[:, 0] < -1]), (1, x[x[:, 0] > 1])):
        assert abs(float(rows[:, 1].mean() - law.mean[k, 1])) < 0.05
        assert abs(float(rows[:, 1].std() / law.log_std[k, 1].exp()) - 1) < 0.1


def test_the_choice_in_which_u_falls_has_its_probability_and_one_of_probability_0_is_never_made() -> None:
    p = torch.tensor([0.2, 0.0, 0.5, 0.3])
    assert index(p, torch.tensor([0.0, 0.19, 0.2, 0.69, 0.71, 0.99999994])).tolist() == [0, 0, 2, 2, 3, 3]
    assert index(p * 0.99, torch.tensor(0.999)).tolist() == 3, "a sum that is a little short of 1"
