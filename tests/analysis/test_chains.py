import math

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.chains import belief_settles, commitment, exact_commitment, inconsistency, settled, spread
from diffrl_lab.diffusion.denoisers import MixtureDenoiser
from diffrl_lab.diffusion.samplers import Frame, chain, ddim, ddpm
from diffrl_lab.diffusion.schedules import Cosine


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


# two modes of shares 0.3 and 0.7, ten standard deviations apart
TWO = MixtureDenoiser([0.3, 0.7], [[-1.0], [1.0]], Cosine(), std=0.2)


def right(x: torch.Tensor) -> torch.Tensor:
    return (x[:, 0] > 0).long()


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    g = torch.Generator().manual_seed(0)
    return list(chain(TWO, Cosine().prior((400, 1), g).double(), steps=80, step=ddpm(), generator=g))


def test_it_is_settled_from_the_frame_after_the_last_change() -> None:
    holds = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.bool)
    found = settled(holds, torch.tensor([1.0, 0.6, 0.3, 0.0]))
    assert found.frame.tolist() == [0, 2, 3] and found.t.tolist() == pytest.approx([1.0, 0.3, 0.0])
    with pytest.raises(ValueError, match="true at the last of 4 frames"):
        settled(~holds, torch.linspace(1, 0, 4))


def test_the_belief_settles_when_the_exact_posterior_last_crosses_a_half() -> None:
    even = MixtureDenoiser([0.5, 0.5], [[-1.0], [1.0]], Cosine(), std=0.2)  # here x0_hat > 0 where p(right | x_t) > 1/2
    g = torch.Generator().manual_seed(2)
    frames = list(chain(even, Cosine().prior((400, 1), g).double(), steps=40, step=ddpm(), generator=g))
    frames = frames[1:]  # at t = 1 both are undecided
    half = settled(exact_commitment(even, frames) > 0.5, torch.stack([f.t for f in frames]))
    found = belief_settles(frames, right)
    assert_close(found.frame, half.frame)
    assert len(found.frame.unique()) > 10


def test_by_resampling_a_plan_is_committed_as_far_as_bayes_rule_says(frames: list[Frame]) -> None:
    at, again = [0, 20, 40, 60, 80], 25
    found = commitment(TWO, frames, right, again=again, at=at, generator=torch.Generator().manual_seed(1))
    exact = exact_commitment(TWO, frames)[at]
    error = (exact * (1 - exact) / again).sum(1).sqrt() / exact.shape[1]
    assert ((found - exact).mean(1).abs() < 4 * error + 0.015).all()  # 0.015: steps are finite
    # the scatter about it is binomial: nothing but p(mode | x_t) matters
    noise = (exact * (1 - exact) / again).mean(1)
    assert_close((found - exact).square().mean(1)[:3], noise[:3], rtol=0.25, atol=1e-4)
    assert (found[-1] == 1).all()
    # at t = 1 nothing is known: a chain ends in c with p_c and agrees with p_c, so 0.3^2 + 0.7^2 on average
    assert abs(found[0].mean() - 0.58) < 4 * math.sqrt(0.4**2 * 0.21 / 400 + 0.21 / 400 / again)


def test_the_exact_share_of_a_mode_keeps_its_mean_on_the_way(frames: list[Frame]) -> None:
    p = torch.stack([TWO.posterior(f.x_t, f.t)[0][:, 1] for f in frames]).double()
    assert (abs(p.mean(1) - 0.7) < 4 * math.sqrt(0.21 / 400)).all()
    ended = exact_commitment(TWO, frames)
    assert_close(ended, torch.where(right(frames[-1].x_t) == 1, p, 1 - p))


def test_a_chain_without_noise_always_agrees_with_itself(frames: list[Frame]) -> None:
    still = list(chain(TWO, frames[0].x_t[:50], steps=10))
    assert (commitment(TWO, still, right, again=1, step=ddim()) == 1).all()
    with pytest.raises(ValueError, match=r"got 1, 11, \[11\]"):
        commitment(TWO, still, right, again=1, at=[11])
