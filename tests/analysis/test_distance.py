import math

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.distance import energy_distance, nearest, noise_floor


def normal(n: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_two_points_apart_are_twice_their_distance_apart():
    x, y = torch.zeros(5, 2), torch.tensor([[3.0, 4.0]]).repeat(7, 1)
    assert energy_distance(x, y) == pytest.approx(10.0)


def test_shifted_gaussians_are_as_far_apart_as_the_closed_form_says():
    # E|N(m, 2)| = 2 exp(-m^2 / 4) / sqrt(pi) + m erf(m / 2)
    m = 1.0
    exact = 2 * (2 / math.sqrt(math.pi) * (math.exp(-(m**2) / 4) - 1) + m * math.erf(m / 2))
    found = torch.tensor([energy_distance(normal(400, s), normal(400, s + 100, m)) for s in range(20)])
    assert abs(found.mean() - exact) < 4 * found.std() / math.sqrt(20)


def test_equal_laws_are_zero_apart_on_average_because_no_row_is_paired_with_itself():
    found = torch.tensor([energy_distance(normal(20, s), normal(20, s + 1000)) for s in range(300)])
    assert abs(found.mean()) < 4 * found.std() / math.sqrt(300)


def test_the_noise_floor_is_what_fresh_samples_of_the_law_score():
    floor = noise_floor(normal(4000, 0), 50, generator=torch.Generator().manual_seed(0), repeats=300)
    fresh = torch.tensor([energy_distance(normal(50, s), normal(50, s + 1000)) for s in range(300)]).double()
    assert_close(floor.quantile(0.95), fresh.quantile(0.95), rtol=0.35, atol=0.0)
    assert abs(floor.mean() - fresh.mean()) < 4 * math.hypot(float(floor.std()), float(fresh.std())) / math.sqrt(300)


def test_a_shift_is_seen_above_the_floor():
    data = normal(400, 0)
    floor = noise_floor(data, 100, generator=torch.Generator().manual_seed(0))
    assert energy_distance(normal(100, 5, 0.8), data) > floor.max()


def test_a_row_of_the_data_is_at_distance_zero():
    data = normal(10, 0)
    assert_close(nearest(data[3:4] + 0.01, data), torch.tensor([0.01], dtype=torch.float64))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="got 2 and 3"):
        energy_distance(torch.zeros(4, 2), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"need 6 \+ 6 rows, the data have 10"):
        noise_floor(torch.zeros(10, 1), 6)
    with pytest.raises(ValueError, match="at least two rows"):
        energy_distance(torch.zeros(1, 2), torch.zeros(4, 2))
