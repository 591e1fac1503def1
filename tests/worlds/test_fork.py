"""The ball at a peg: its steps, and the law of its whole path."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.distance import energy_distance, floor
from diffrl_lab.data.episodes import windows
from diffrl_lab.worlds import fork


def paths(drops: int, seed: int) -> torch.Tensor:
    episodes = fork.record(drops, seed=seed)
    rows = windows(episodes, fork.STEPS, fork.STEPS)
    return fork.aside(torch.cat([episodes.obs[rows], episodes.obs[rows[:, -1:] + 1]], 1), episodes.act[rows])


def test_a_step_goes_forward_is_pushed_and_only_the_step_past_the_peg_is_sent_aside_by_a_fair_coin() -> None:
    n, g = 20_000, torch.Generator().manual_seed(0)
    for x, jump in ((-0.25, 0.0), (-0.05, 1.0), (0.05, 0.0)):
        obs = torch.tensor([[x, 0.2]]).expand(n, 2)
        after, rew = fork.move(obs, torch.full((n, 1), 0.5), g)
        assert_close(after[:, 0], torch.full((n,), x + 0.1)) and assert_close(rew, -after[:, 1].abs())
        moved = after[:, 1] - 0.2 - 0.05
        assert abs(float((moved.abs() - jump).std() if jump else moved.std()) - 0.02) < 0.001
        assert abs(float(moved.mean())) < 0.03 and abs(float(moved.abs().mean()) - max(jump, 0.016)) < 0.001


def test_a_recorded_path_has_the_exact_law_one_coin_for_all_steps_after_the_peg() -> None:
    seen, law = paths(1500, 3), fork.law(1500, torch.Generator().manual_seed(4))
    scores = floor(energy_distance, fork.law, 1500, generator=torch.Generator().manual_seed(5), repeats=20)
    assert energy_distance(seen, law) < 1.5 * float(scores.amax().clamp(min=0.005))
    assert (law[:, :4].abs() < 0.2).all() and (law[:, 4:].abs() > 0.7).all()
    assert (law[:, 4:].sign() == law[:, 4:5].sign()).all(), "the coin is tossed once"
    assert_close(law[:, 3].std(), torch.tensor(0.04), rtol=0.06, atol=0)
    assert_close((law[:, 9] - law[:, 9].sign()).std(), torch.tensor(0.02 * 10**0.5), rtol=0.06, atol=0)
    assert abs(float((law[:, 9] > 0).double().mean()) - 0.5) < 0.05


def test_a_recording_is_one_of_its_seed_and_needs_a_drop() -> None:
    a = fork.record(5, seed=1)
    assert a.lengths.tolist() == [10] * 5 and torch.equal(a.obs, fork.record(5, seed=1).obs)
    assert not torch.equal(a.obs, fork.record(5, seed=2).obs)
    with pytest.raises(ValueError, match="at least one drop"):
        fork.record(0, seed=0)
