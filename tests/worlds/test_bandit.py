"""The bandit of four modes: its laws are exact, and the improved policy is the best there is."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import transitions
from diffrl_lab.worlds import bandit


def test_the_behaviours_density_has_mass_one_and_the_draws_follow_it() -> None:
    a, p = bandit.improved(1e9)  # so large an eta changes nothing: mu
    cell = (2.4 / 400) ** 2
    assert abs(float(bandit.log_density(a).exp().sum() * cell) - 1) < 1e-4
    n = 40_000
    x = bandit.draw(n, seed=0)
    want = bandit.shares()
    got = torch.bincount(bandit.mode(x) % 5, minlength=5) / n
    assert bool(((got - want).abs() < 4 * (want * (1 - want) / n).sqrt() + 1e-4).all())
    for k, centre in enumerate(bandit.CENTRES):
        inside = p * (bandit.mode(a) == k)
        mean = (inside[:, None] * a).sum(0) / inside.sum()
        assert_close(mean, torch.tensor(centre, dtype=a.dtype), atol=2e-3, rtol=0)


def test_beside_the_modes_nothing_is_paid() -> None:
    a = torch.tensor([[0.8, -0.8], [0.8, -0.61], [0.8, -0.59], [0.0, 0.0], [0.8, 0.7], [-0.8, 0.8]])
    assert_close(bandit.reward(a), torch.tensor([5.0, 5.0, 0.0, 0.0, 3.0, 0.0]))
    assert bandit.mode(a).tolist() == [3, 3, -1, -1, 0, 1]


@pytest.mark.parametrize("eta", [0.3, 1.0, 4.0])
def test_the_improved_policy_is_tilted_as_the_theory_says_and_no_other_does_better(eta: float) -> None:
    a, p = bandit.improved(eta)
    mu, q = bandit.improved(1e9)[1], bandit.reward(a)
    on = p > 1e-30
    rest = (p.log() - mu.log() - q / eta)[on & (mu > 1e-30)]
    assert float(rest.max() - rest.min()) < 1e-5
    each = torch.stack([p[bandit.mode(a) == k].sum() for k in (*range(4), -1)])
    assert_close(each, bandit.shares(eta), atol=2e-3, rtol=0)

    def worth(pi: torch.Tensor) -> float:
        return float((pi * q).sum() - eta * torch.special.xlogy(pi, pi / mu.clamp(min=1e-300)).sum())

    other = bandit.improved(1.2 * eta)[1]
    assert worth(p) > worth(other) and worth(p) > worth(mu) and worth(p) > worth((p + mu) / 2)


def test_the_best_of_n_is_the_order_statistic() -> None:
    assert abs(bandit.best_of(1) - 2.375 * bandit.INSIDE) < 1e-12
    assert abs(bandit.best_of(4) - 4.268) < 2e-3
    best = bandit.reward(bandit.draw(80_000, seed=1)).view(-1, 4).amax(1)
    assert abs(float(best.mean()) - bandit.best_of(4)) < 4 * float(best.std()) / 20_000**0.5


def test_as_a_recording_it_has_one_step_an_episode_and_ends_there() -> None:
    one, same = bandit.record(50, seed=3), bandit.record(50, seed=3)
    t = transitions(one)
    assert torch.equal(one.act, same.act) and len(t.rew) == 50 and bool(t.terminal.all())
    assert_close(t.rew, bandit.reward(t.act))
    with pytest.raises(ValueError, match="eta"):
        bandit.improved(0.0)
    with pytest.raises(ValueError, match="n >= 1"):
        bandit.best_of(0)
