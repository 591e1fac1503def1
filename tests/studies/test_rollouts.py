"""Rollouts of states: what least squares knows exactly, the measures, and a point of each arm."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.studies import dreams, rollouts
from diffrl_lab.studies.rollouts import branches, error, made, monomials, stepped, whole
from diffrl_lab.worlds import fork, linear


def G(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch):
    """The study on short recordings, with networks that are hardly trained."""
    monkeypatch.setattr(rollouts, "ROWS", 1000)
    monkeypatch.setattr(rollouts, "CONFIG", replace(rollouts.CONFIG, width=16, updates=5, denoising=3))
    rollouts.recording.cache_clear()
    yield
    rollouts.recording.cache_clear()


def test_monomials_are_all_products_of_so_many_numbers() -> None:
    z = torch.tensor([[2.0, 3.0, 5.0]])
    assert sorted(monomials(z, 2)[0].tolist()) == [1, 2, 3, 4, 5, 6, 9, 10, 15, 25]
    assert monomials(torch.rand(4, 6), 3).shape == (4, 84)


def test_least_squares_rolls_a_linear_world_out_as_it_is_and_draws_what_is_left_over() -> None:
    episodes, true = linear.record(20_000, seed=0), linear.law()
    start, act = episodes.obs[:50].float(), 0.3 * torch.randn(50, 6, 1, generator=G())
    s = start.double()
    for a in act.unbind(1):
        s = s @ true.A.mT + a.double() @ true.B.mT
    assert_close(made("linear", episodes, 0)(start, act, G())[:, -1].double(), s, rtol=0, atol=0.05)
    drawn = made("features, Gaussian", episodes, 0)(start[:1].expand(5000, 2), act[:1, :1].expand(5000, 1, 1), G())
    assert_close(torch.cov(drawn[:, 1].double().mT), true.sigma, rtol=0, atol=0.01)


def test_the_nearest_row_does_what_was_recorded_there() -> None:
    episodes = fork.record(200, seed=0)
    x, y = rollouts.pairs(episodes)
    seen = made("nearest row", episodes, 0)(x[:40, :2], x[:40, None, 2:], G())
    assert_close(seen[:, 1], x[:40, :2] + y[:40])


def test_states_of_a_rollout_stay_within_the_recording() -> None:
    episodes = fork.record(50, seed=0)
    low, high = episodes.obs.amin(0), episodes.obs.amax(0)
    seen = stepped(lambda x, _: torch.full((len(x), 2), 0.5), episodes)(low.expand(3, 2), torch.zeros(3, 9, 1), G())
    assert seen.shape == (3, 10, 2) and torch.equal(seen[:, -1], high.expand(3, 2))


def test_the_error_is_in_deviations_of_each_column_by_step() -> None:
    true = torch.zeros(3, 2, 2)
    seen = true + torch.tensor([[0.0, 0.0], [1.0, 4.0]])
    assert_close(error(seen, true, torch.tensor([1.0, 4.0])), torch.tensor([0.0, 1.0]))


def test_the_branches_of_the_exact_law_have_half_each_and_the_mean_is_in_neither() -> None:
    exact = branches(fork.law(4000, G()))
    assert abs(exact["right"] - 0.5) < 0.03 and exact["neither"] < 0.002
    assert branches(torch.zeros(10, 10)) == {"right": 0.0, "left": 0.0, "neither": 1.0}
    assert branches(-torch.ones(10, 10)) == {"right": 0.0, "left": 1.0, "neither": 0.0}


def test_rollouts_of_several_at_once_are_led_by_the_plan_and_join_where_the_last_one_ended(small) -> None:
    episodes = fork.record(50, seed=0)
    model, begun = rollouts.rollouts_of(episodes, 0), []
    true = model.sample

    def sample(start, lead, *, generator):
        begun.append(start)
        out = true(start, lead, generator=generator)
        assert_close(out.act, lead(out.obs)[0], rtol=0, atol=1e-4)
        return out

    model.sample = sample
    act = 2 * torch.rand(4, 20, 1, generator=G()) - 1
    seen = whole(model)(episodes.obs[:4].float(), act, G())
    assert seen.shape == (4, 21, 2) and torch.equal(begun[1], seen[:, 10])
    with pytest.raises(ValueError, match="rollouts of 10 steps make no 15"):
        whole(model)(episodes.obs[:4].float(), act[:, :15], G())


@pytest.mark.parametrize("arm", rollouts.FORKED)
def test_a_point_of_the_fork_is_a_function_of_its_seed(small, arm: str) -> None:
    row = rollouts.forked(arm, seed=1)
    assert set(row) == {"energy", "floor_energy_95", "rmse_end", "right", "left", "neither"}
    assert row == rollouts.forked(arm, seed=1)
    assert row["energy"] > row["floor_energy_95"] or arm == "nearest row"


def test_the_exact_law_is_within_its_floor_and_the_mean_has_the_smaller_error(small) -> None:
    exact, mean = rollouts.forked("exact", seed=0), rollouts.forked("linear", seed=0)
    assert exact["energy"] < exact["floor_energy_95"] < 0.1 * mean["energy"]
    assert exact["rmse_end"] > 1.2 * mean["rmse_end"] and mean["neither"] == 1


@pytest.mark.parametrize("world", rollouts.WORLDS)
def test_a_point_holds_the_error_of_every_horizon_on_recordings_that_no_training_saw(small, world: str) -> None:
    train, held = rollouts.recording(world, 0)
    assert isinstance(train, Episodes) and len(train.obs) <= 1010
    assert not (held.obs[:, None] == train.obs[:50]).all(-1).any()
    still = rollouts.rolled(world, "nothing moves", seed=0)
    assert set(still) == {f"rmse_{h}" for h in rollouts.HORIZONS} | {"windows"}
    assert rollouts.rolled(world, "features", seed=0)["rmse_5"] < 0.5 * still["rmse_5"]


@pytest.mark.parametrize("arm", ("whole rollouts", "one step"))
def test_the_networks_roll_out_to_the_longest_horizon(small, arm: str) -> None:
    row = rollouts.rolled("umaze", arm, seed=0)
    assert all(0 < row[f"rmse_{h}"] < 10 for h in rollouts.HORIZONS)
    assert {"rollouts", "forked"} <= set(dreams.PARTS)
