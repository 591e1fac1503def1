"""Windows of a process whose law is known: the laws that are carried are those that the library's chain samples."""

from __future__ import annotations

import pytest
import torch

from diffrl_lab.diffusion import ddpm, sample
from diffrl_lab.studies.joints import WAYS, Chain, correlation, denoiser, joint, law, matrix


@pytest.mark.parametrize("way", ["exact", "averaged", "bethe", "shown"])
def test_the_covariance_that_is_carried_is_that_of_samples_of_the_library_s_chain(way: str) -> None:
    chain, n = Chain(0.8, 5, 2), 20_000
    size = 10 if way == "shown" else 9
    g = torch.Generator().manual_seed(0)
    x_T = torch.randn(n, size, generator=g, dtype=torch.float64)
    x = sample(denoiser(chain, way), x_T, steps=12, step=ddpm(), generator=g)
    if way == "shown":
        x = torch.cat([x[:, :4], x[:, 4:6].mean(1, keepdim=True), x[:, 6:]], 1)
    found, wanted = torch.cov(x.T), law(chain, way, 12)
    scale = wanted.diagonal().sqrt()
    assert ((found - wanted) / torch.outer(scale, scale)).abs().max() < 0.05  # a standard error is at most 0.01


def test_the_exact_denoiser_gives_the_law_and_one_window_needs_no_joining() -> None:
    chain = Chain(windows=2)
    assert abs(joint("exact", steps=400)["across"] - 0.9**8) < 0.001
    t = 0.4
    for way in ("averaged", "bethe", "shown"):
        assert torch.allclose(matrix(Chain(windows=1), way, t), matrix(Chain(windows=1), "exact", t))
    assert correlation(chain.cov(17), 4, 12) == pytest.approx(0.9**8)


def test_every_way_to_join_loses_correlation_across_the_joint_averaging_most_and_resampling_wins_some_back() -> None:
    across = {way: joint(way)["across"] for way in WAYS}
    assert across["averaged"] < across["bethe"] < across["shown"] < across["resampled"] < across["exact"]
    assert across["shown"] < 0.5 * across["exact"]


@pytest.mark.parametrize("way", WAYS)
def test_the_law_reads_the_same_backwards_as_the_process_does(way: str) -> None:
    V = law(Chain(0.8, 5, 3), way, 20, repeats=3)
    assert torch.allclose(V, V.flip(0, 1), atol=1e-10)


def test_windows_by_bethe_have_the_score_of_the_whole_at_clean_states_and_miss_it_at_noisy_ones() -> None:
    chain, off = Chain(), {}
    for t in (1e-4, 0.2, 0.5):
        alpha, sigma = (float(v) for v in chain.schedule(torch.tensor(t, dtype=torch.float64)))
        one = torch.eye(chain.length, dtype=torch.float64)
        true = torch.linalg.inv(alpha**2 * chain.cov(chain.length) + sigma**2 * one)
        off[t] = float(((one - alpha * matrix(chain, "bethe", t)) / sigma**2 - true).abs().max())  # minus the scores
    assert off[1e-4] < 1e-3 and off[0.2] > 0.1 and off[0.5] > 0.1
