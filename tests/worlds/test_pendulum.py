"""Pendulum's equations: they are Gymnasium's, and what the world itself did has no residual."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import transitions
from diffrl_lab.worlds import pendulum


def test_the_equations_are_gymnasiums() -> None:
    env, rng = gymnasium.make("Pendulum-v1").unwrapped, np.random.default_rng(0)
    o, _ = env.reset(seed=0)
    for _ in range(500):
        a = rng.uniform(-1.2, 1.2, size=1)
        after, rew, *_ = env.step(2 * a)
        mine, paid = pendulum.move(torch.tensor(o, dtype=torch.float64), torch.tensor(a))
        assert_close(mine.float(), torch.tensor(after), rtol=0, atol=1e-5)
        assert_close(float(paid), float(rew), rtol=1e-5, atol=1e-5)
        o = after


def test_what_the_world_did_has_no_residual_and_a_changed_number_has_its_own() -> None:
    t = transitions(pendulum.record(500, seed=0))
    true = pendulum.residual(t)
    assert float(true.state.max()) < 1e-5 and float(true.rew.max()) < 1e-4
    off = pendulum.residual(t._replace(next_obs=t.next_obs + torch.tensor([0.0, 0.0, 3.0]), rew=t.rew + 0.5))
    assert_close(off.state, torch.full((500,), 3**-0.5), rtol=0, atol=1e-4)
    assert_close(off.rew, torch.full((500,), 0.5), rtol=0, atol=1e-3)


def test_a_recording_has_its_steps_episodes_of_200_at_most_and_begins_alike_for_one_seed() -> None:
    short, long = pendulum.record(450, seed=3), pendulum.record(700, seed=3)
    assert short.lengths.tolist() == [200, 200, 50] and len(transitions(long).rew) == 700
    assert torch.equal(short.obs[:402], long.obs[:402])
    assert not torch.equal(short.obs[:50], pendulum.record(450, seed=4).obs[:50])
    with pytest.raises(ValueError, match="at least one step, got 0"):
        pendulum.record(0, seed=0)


def test_the_scripted_policy_swings_up_and_doing_nothing_does_not() -> None:
    swing = pendulum.returns(pendulum.swing, 100)
    idle = pendulum.returns(lambda o: torch.zeros(len(o), 1), 100)
    assert float(swing.mean()) > -250 and float(idle.mean()) < -1000
    assert torch.equal(swing[:20], pendulum.returns(pendulum.swing, 100)[:20])


def test_scattered_transitions_are_the_worlds_own_none_twice_and_fewer_are_the_first_of_more() -> None:
    few, more = (transitions(pendulum.scattered(n, seed=2)) for n in (400, 2000))
    for a, b in zip(few, more, strict=True):
        assert torch.equal(a, b[:400])
    whole = transitions(pendulum.record(pendulum.POOL, seed=2))
    known = {tuple(row) for row in torch.cat([whole.obs, whole.act], 1).tolist()}
    rows = [tuple(row) for row in torch.cat([more.obs, more.act], 1).tolist()]
    assert len(set(rows)) == 2000 and set(rows) <= known
    with pytest.raises(ValueError, match="got 20001"):
        pendulum.scattered(20_001, seed=0)
