"""Practice in dreams of states: the learner's arithmetic, its worlds, and what it learns where the world is exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from diffrl_lab.studies import dreams, dreamt, rollouts
from diffrl_lab.studies.dreamt import GAMMA, LAMBDA, Learner, advantages, driven, equations, practised
from diffrl_lab.worlds import pendulum


def G(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch):
    """The study on a short recording, with networks and learners that are hardly trained."""
    monkeypatch.setattr(rollouts, "ROWS", 1000)
    monkeypatch.setattr(rollouts, "CONFIG", replace(rollouts.CONFIG, width=16, updates=5, denoising=3))
    monkeypatch.setattr(dreamt, "TURNS", 2)
    monkeypatch.setattr(dreamt, "OFFLINE", {"width": 8, "updates": 5})
    rollouts.recording.cache_clear()
    yield
    rollouts.recording.cache_clear()


def test_advantages_are_the_discounted_sum_of_what_each_step_leaves_over() -> None:
    rew, value = torch.randn(3, 5, generator=G()), torch.randn(3, 6, generator=G(1))
    left = rew + GAMMA * value[:, 1:] - value[:, :-1]
    summed = [sum((GAMMA * LAMBDA) ** (k - t) * left[:, k] for k in range(t, 5)) for t in range(5)]
    assert_close(advantages(rew, value), torch.stack([torch.as_tensor(x) for x in summed], 1))
    still = torch.full((3, 6), 2 / (1 - GAMMA))  # the value of a reward of 2 for ever
    assert_close(advantages(torch.full((3, 5), 2.0), still), torch.zeros(3, 5), rtol=0, atol=1e-4)


def test_the_log_probability_is_that_of_the_gaussian_that_is_drawn_from() -> None:
    learner = Learner(pendulum.record(400, seed=0).obs, 1).requires_grad_(False)
    obs = pendulum.starts(6, G())[:, None].expand(6, 4, 3)
    mean, std = learner.policy(obs)
    assert mean.shape == (6, 4, 1) and bool((mean.abs() < 1).all())
    act = mean + std * torch.randn(mean.shape, generator=G(1))
    wanted = -(((act - mean) / std) ** 2) / 2 - std.log() - 0.5 * torch.log(torch.tensor(2 * torch.pi))
    assert_close(learner.log_prob(obs, act), wanted[..., 0])


def test_what_a_policy_meets_in_the_equations_is_what_pendulum_does() -> None:
    policy = lambda o: (pendulum.swing(o), torch.tensor(0.7))  # noqa: E731
    obs, act = driven(equations, 8)(pendulum.starts(50, G()), policy, G(1))
    assert_close(obs[:, 0], pendulum.starts(50, G()))
    assert_close(pendulum.move(obs[:, :-1], act)[0], obs[:, 1:])
    left = act - pendulum.swing(obs[:, :-1])
    assert abs(float(left.std()) - 0.7) < 0.06 and float(act.abs().max()) > 1


def test_a_model_of_one_step_is_shown_actions_within_the_box_that_was_recorded() -> None:
    shown: list[Tensor] = []

    def roll(start: Tensor, act: Tensor, generator: torch.Generator) -> Tensor:
        shown.append(act)
        return equations(start, act, generator)

    driven(roll, 3)(pendulum.starts(50, G()), lambda o: (torch.zeros(len(o), 1), torch.tensor(3.0)), G())
    assert len(shown) == 3 and all(a.shape == (50, 1, 1) and float(a.abs().max()) == 1 for a in shown)


def test_rollouts_drawn_at_once_do_the_learner_s_actions_and_stay_within_the_recording(small) -> None:
    episodes = rollouts.recording("pendulum", 0)[0]
    dream = dreamt.dream_of("whole rollouts", episodes, 0)
    start = episodes.obs[:20].float()
    obs, act = dream(start, lambda o: (torch.tensor(0.3), torch.tensor(0.0)), G())
    assert_close(act, torch.full((20, 10, 1), 0.3), rtol=0, atol=1e-3)
    assert_close(obs[:, 0], start)
    low, high = episodes.obs.amin(0), episodes.obs.amax(0)
    assert bool(((obs >= low) & (obs <= high)).all())


def test_a_learner_swings_the_pole_up_where_the_world_is_exact_and_not_where_nothing_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dreamt, "TURNS", 40)
    states = pendulum.record(4000, seed=5).obs.float()
    still = driven(lambda start, act, _: start[:, None].expand(-1, act.shape[1] + 1, -1), 10)
    found = {}
    for name, dream in (("exact", driven(equations, 10)), ("still", still)):
        learner = practised(dream, states, 0).requires_grad_(False)
        found[name] = dreamt.paid(lambda o, who=learner: who.policy(o)[0])["paid"]
    assert found["exact"] > -500 > -900 > found["still"]


@pytest.mark.parametrize("arm", ("whole rollouts", "network", "TD3+BC"))
def test_an_arm_is_a_function_of_its_seed_and_only_who_practises_has_a_dream(small, arm: str) -> None:
    first, again = ({k: v for k, v in dreamt.policy(arm, seed=1).items() if k != "seconds"} for _ in range(2))
    assert first == again and first["paid"] < 0
    assert set(first) == {"paid", "failed"} | ({"dreamed", "real"} if arm in dreamt.DREAMS else set())


def test_what_the_exact_world_pays_is_what_its_dream_pays(small) -> None:
    row = dreamt.policy("exact", seed=0)
    assert row["dreamed"] == row["real"]
    assert dreamt.policy("scripted", seed=0)["paid"] > -200 > -900 > dreamt.policy("random", seed=0)["paid"]
    assert "policies" in dreams.PARTS
