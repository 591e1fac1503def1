"""The linear-Gaussian process: its recording has the covariance that is written down, and regression finds its law."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import transitions
from diffrl_lab.worlds import linear


def test_a_long_recording_has_the_covariance_that_is_known() -> None:
    n = 60_000
    t = transitions(linear.record(n, seed=0))
    x = torch.cat([t.obs, t.act, t.rew[:, None], t.next_obs], 1).double()
    want = linear.covariance()
    size = want.diagonal().sqrt()
    scaled = (x.mT @ x / n - want) / size[:, None] / size
    assert float(scaled.abs().max()) < 4 * (2 / n) ** 0.5 * 5**0.5, "5: neighbouring rows are alike"
    assert float(x.mean(0).abs().max()) < 0.05


def test_the_covariance_is_stationary_and_of_rank_six() -> None:
    cov = linear.covariance()
    assert_close(cov[:2, :2], cov[4:, 4:])
    assert float(torch.linalg.eigvalsh(cov)[0]) > 1e-3


def test_regression_gives_the_law_back_and_its_error_falls_as_one_over_the_root_of_the_rows() -> None:
    def errors(n: int) -> torch.Tensor:
        found = [linear.regress(transitions(linear.record(n, seed=s))) for s in range(12)]
        return torch.tensor([list(linear.distance(law).values()) for law in found]).mean(0)

    ratio = errors(200) / errors(3200)
    assert bool(((ratio > 2.5) & (ratio < 6)).all()), f"16 times the rows: a quarter of the error, got {ratio}"
    true = linear.law()
    assert linear.distance(true) == {"A": 0.0, "B": 0.0, "sigma": 0.0}
    with pytest.raises(ValueError, match="at least 4 rows, got 3"):
        linear.regress(transitions(linear.record(3, seed=0)))


def test_rollouts_from_a_state_have_the_mean_and_covariance_that_are_written_down() -> None:
    start, steps, n, g = (1.0, -0.5), 3, 40_000, torch.Generator().manual_seed(0)
    true, k, c = linear.law(), torch.tensor(linear.K).double(), torch.tensor(linear.C).double()
    s, parts = torch.tensor(start).double().expand(n, 2), []
    for _ in range(steps):
        e, v, w = (torch.randn(n, m, generator=g, dtype=torch.float64) for m in (1, 1, 2))
        a = 0.7 - (s @ k)[:, None] + 0.2 * e
        r = (s @ c)[:, None] + linear.D * a + linear.RHO * v
        s = s @ true.A.mT + a @ true.B.mT + w @ torch.linalg.cholesky(true.sigma).mT
        parts += [a, r, s]
    x, (mean, cov) = torch.cat(parts, 1), linear.rollouts(start, steps, shift=0.7, eps=0.2)
    size = cov.diagonal().sqrt()
    assert float(((x.mean(0) - mean.flatten()) / size).abs().max()) < 4 / n**0.5
    assert float(((torch.cov(x.mT) - cov) / size[:, None] / size).abs().max()) < 4 * (2 / n) ** 0.5
