"""Laws of commitment: the futures of a chain end in a mode as often as Bayes' rule says; entropy falls from the law's
to nothing; a chain without noise has one future."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.commitment import (
    entropy_of,
    exact_weights,
    futures,
    half_decided,
    moments,
    open_entropy,
    undecided,
)
from diffrl_lab.data.toys import ring
from diffrl_lab.diffusion import Cosine, Frame, Karras, Linear, MixtureDenoiser, Rectified, chain, ddim, ddpm

WEIGHTS = (0.4, 0.3, 0.2, 0.1)
LAW = ring(4, radius=1.0, std=0.1, weights=torch.tensor(WEIGHTS))
OWN = float(-sum(w * math.log(w) for w in WEIGHTS))


def exact(schedule) -> MixtureDenoiser:
    return MixtureDenoiser(LAW.weights, LAW.means, schedule, std=LAW.std)


def mode(x: torch.Tensor) -> torch.Tensor:
    return torch.cdist(x, LAW.means.to(x)).argmin(1)


D = exact(Cosine())


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    g = torch.Generator().manual_seed(0)
    return list(chain(D, D.schedule.prior((200, 2), g).double(), steps=100, step=ddim(1.0), generator=g))


def test_futures_begin_in_the_frame_end_at_the_data_and_differ_by_their_noise(frames) -> None:
    run = futures(D, frames, 60, again=3, step=ddim(1.0), generator=torch.Generator().manual_seed(1))
    assert run.shape == (41, 200, 3, 2)
    for j in range(3):
        assert_close(run[0, :, j], frames[60].x_t)
    assert (run[-1, :, 0] - run[-1, :, 1]).norm(dim=1).min() > 0
    assert futures(D, frames, 100, again=2).shape == (1, 200, 2, 2)
    with pytest.raises(ValueError, match="a frame from 0 to 100; got 2 and 101"):
        futures(D, frames, 101, again=2)


@pytest.mark.parametrize("step", [ddim(1.0), ddpm()], ids=["eta = 1", "ddpm"])
def test_futures_of_an_exact_chain_end_in_each_mode_with_its_posterior_weight(frames, step) -> None:
    at, again = [0, 40, 60, 75, 90], 40
    g = torch.Generator().manual_seed(2)
    found = undecided(D, frames, mode, 4, again=again, at=at, step=step, generator=g)
    p = exact_weights(D, frames)[at]
    error = (p * (1 - p)).sum(1).sqrt() / math.sqrt(again) / 200
    assert ((found.share - p).mean(1).abs() < 4 * error + 0.015).all()  # 0.015: steps are finite
    noise = (p * (1 - p) / again).mean((1, 2))  # about it they scatter binomially: nothing but p(mode | x_t) matters
    assert_close((found.share - p).square().mean((1, 2))[:3], noise[:3], rtol=0.2, atol=1e-4)
    assert_close(found.t, moments(frames)[at])
    assert (found.left == 0).all()


def test_at_the_noise_the_entropy_is_the_laws_and_at_the_data_it_is_none(frames) -> None:
    found = undecided(D, frames, mode, 4, again=400, at=[0, 100], generator=torch.Generator().manual_seed(3))
    assert abs(float(found.entropy[0].mean()) - OWN) < 0.02
    assert (found.entropy[1] == 0).all()
    own = entropy_of(exact_weights(D, frames))
    assert_close(own[0], torch.full((200,), OWN, dtype=torch.float64), rtol=0, atol=1e-3)
    assert float(own[-1].max()) < 1e-6


def test_a_chain_without_noise_has_one_future() -> None:
    start = D.schedule.prior((20, 2), torch.Generator().manual_seed(0)).double()
    still = list(chain(D, start, steps=20, step=ddim()))
    for k in (0, 7, 20):
        run = futures(D, still, k, again=4, step=ddim())
        for j in range(4):
            assert_close(run[-1, :, j], still[-1].x_t)
    assert (undecided(D, still, mode, 4, again=4, step=ddim()).entropy == 0).all()


def test_the_mean_of_the_exact_weights_keeps_the_weights_of_the_law_on_the_way(frames) -> None:
    share = exact_weights(D, frames).mean(1)
    w = torch.tensor(WEIGHTS, dtype=torch.float64)
    assert ((share - w).abs() < 4 * (w * (1 - w) / 200).sqrt()).all()


def test_few_futures_make_the_entropy_too_low_and_the_correction_gives_most_of_it_back(frames) -> None:
    plain, mended = (
        float(undecided(D, frames, mode, 4, again=16, at=[0], corrected=c,
                        generator=torch.Generator().manual_seed(4)).entropy.mean()) for c in (False, True)
    )  # fmt: skip
    assert OWN - plain == pytest.approx(3 / 32, rel=0.35)
    assert abs(OWN - mended) < 0.25 * (OWN - plain)


def test_futures_that_end_in_no_mode_are_counted_and_take_no_part_in_the_shares(frames) -> None:
    lost = lambda x: torch.where(mode(x) == 0, -1, mode(x))  # noqa: E731
    found = undecided(D, frames, lost, 4, again=50, at=[0], generator=torch.Generator().manual_seed(5))
    assert float(found.left.mean()) == pytest.approx(0.4, abs=0.02)
    assert (found.share[..., 0] == 0).all()
    assert_close(found.share.sum(-1), torch.ones(1, 200).double())


def test_the_open_entropy_is_the_mean_over_exact_chains_and_falls_towards_the_data(frames) -> None:
    times = moments(frames)
    curve = open_entropy(D, times, 4000, torch.Generator().manual_seed(6))
    assert curve[0] == pytest.approx(OWN, abs=1e-3) and curve[-1] < 1e-6 and (curve.diff() <= 2e-3).all()
    own = entropy_of(exact_weights(D, frames)).mean(1)
    assert_close(own, curve, rtol=0, atol=4 * math.log(4) / 2 / math.sqrt(200) + 0.02)


def test_against_the_ratio_of_noise_to_signal_every_schedule_has_one_curve() -> None:
    ratio = torch.tensor([2.0, 1.0, 0.5, 0.25], dtype=torch.float64)
    curves = [
        open_entropy(exact(s), s.time(ratio), 500, torch.Generator().manual_seed(7))
        for s in (Cosine(), Linear(), Rectified(), Karras())
    ]
    for curve in curves[1:]:
        assert_close(curve, curves[0], rtol=1e-4, atol=1e-5)


def test_half_of_the_entropy_is_gone_where_the_curve_crosses_it() -> None:
    times = torch.tensor([1.0, 0.8, 0.4, 0.0])
    assert half_decided(times, torch.tensor([1.0, 1.0, 0.0, 0.0])) == pytest.approx(0.6)
    assert half_decided(times, torch.tensor([1.0, 0.9, 0.8, 0.7])) == 0.0
    assert half_decided(times, torch.zeros(4), whole=1.0) == 1.0
    with pytest.raises(ValueError, match="times must fall"):
        half_decided(times.flip(0), torch.ones(4))
