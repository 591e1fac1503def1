import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.chains import inconsistency, spread


def test_constant_acceleration_is_consistent_and_a_wrong_clock_is_not():
    s = torch.arange(9, dtype=torch.float64)[:, None] * 0.1
    positions, velocities = 1.0 + 2 * s - 1.5 * s**2, 2 - 3 * s
    assert_close(inconsistency(positions, velocities, 0.1), torch.zeros(8, dtype=torch.float64))
    assert inconsistency(positions, velocities, 0.2).max() > 0.1


def test_a_jump_shows_at_its_own_step_with_its_own_length():
    positions = torch.zeros(2, 5, 2, dtype=torch.float64)
    positions[1, 3:] = torch.tensor([3.0, 4.0], dtype=torch.float64)
    wanted = torch.zeros(2, 4, dtype=torch.float64)
    wanted[1, 2] = 5.0
    assert_close(inconsistency(positions, torch.zeros_like(positions), torch.tensor([0.1, 0.2])), wanted)


def test_variance_is_the_sum_of_its_parts():
    g = torch.Generator().manual_seed(0)
    chains, groups = torch.randn(40, 6, 2, generator=g, dtype=torch.float64), torch.randint(3, (40,), generator=g)
    parts = spread(chains, groups)
    assert_close(parts.between + parts.within, parts.total)
    assert_close(parts.total, ((chains - chains.mean(0)) ** 2).sum(-1).mean(0))


def test_two_exact_routes_differ_between_and_never_within():
    ways = torch.stack([torch.linspace(0, 1, 5), torch.linspace(0, -1, 5)]).double()[..., None]
    groups = torch.tensor([0, 1, 1, 1])
    parts = spread(ways[groups], groups)
    assert_close(parts.within, torch.zeros(5, dtype=torch.float64))
    assert_close(parts.between, 4 * 0.25 * 0.75 * torch.linspace(0, 1, 5).double() ** 2)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\[4, 2\] and \[4, 3\]"):
        inconsistency(torch.zeros(4, 2), torch.zeros(4, 3), 0.1)
    with pytest.raises(ValueError, match="one group for each"):
        spread(torch.zeros(4, 3, 2), torch.zeros(3))
