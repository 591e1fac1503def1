"""PolyGRAD: the exact denoiser draws the law of a linear-Gaussian process, and what a policy's lead is off by."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.models.polygrad import Config, Polygrad, gather, train
from diffrl_lab.studies import led
from diffrl_lab.studies.led import START, by_ascent, by_lead, exact, laid, policy
from diffrl_lab.worlds import linear, pendulum

H = led.STEPS
TINY = Config(horizon=H, width=16, depth=2, updates=6, batch=8)
law = partial(linear.rollouts, START, H)


def G(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def deviations(cov: Tensor) -> Tensor:
    return cov.diagonal().sqrt().reshape(H, 4)


def test_the_exact_denoiser_draws_the_rollouts_law() -> None:
    x, (mean, cov) = by_lead(exact(), None), law()
    assert_close(x.mean(0), mean, rtol=0, atol=0.05)
    scale = cov.diagonal().sqrt()
    assert_close(torch.cov(x.flatten(1).mT) / scale / scale[:, None], cov / scale / scale[:, None], rtol=0, atol=0.07)


def test_a_lead_that_looks_at_no_state_draws_its_actions_exactly() -> None:
    x = by_lead(exact(), lambda s: (torch.tensor([0.7]), torch.tensor(0.25)))
    assert_close(x[..., 0].mean(0), torch.full((H,), 0.7).double(), rtol=0, atol=0.02)
    assert_close(x[..., 0].std(0), torch.full((H,), 0.25).double(), rtol=0.05, atol=0)


def test_led_by_the_recorded_behaviour_actions_are_its_own_and_states_a_little_narrow() -> None:
    x, (mean, cov) = by_lead(exact(), policy()), law()
    assert_close(x.mean(0), mean, rtol=0, atol=0.05)
    ratio = x.std(0) / deviations(cov)
    assert_close(ratio[:, 0], torch.ones(H).double(), rtol=0, atol=0.05)
    assert 0.91 < float(ratio[:, 3].mean()) < 0.97, "what later states tell about an action is left out"


def test_states_follow_a_policy_far_from_the_recording_by_a_third_only() -> None:
    (old, _), (new, _) = law(), law(shift=1.0)
    x = by_lead(exact(), policy(shift=1.0)).mean(0)
    assert 0.25 < float((x - old)[-1, 3] / (new - old)[-1, 3]) < 0.42


def test_ascending_the_policy_is_exact_where_its_log_ratio_is_linear() -> None:
    x, (mean, cov) = by_ascent(exact(), 1.0, linear.EPS), law(shift=1.0)
    assert_close(x.mean(0), mean, rtol=0, atol=0.06)
    assert_close(x.std(0) / deviations(cov), torch.ones(H, 4).double(), rtol=0, atol=0.06)


def test_ascending_a_narrower_policy_is_biased_actions_come_out_too_narrow() -> None:
    x, (mean, cov) = by_ascent(exact(), 0.0, 0.2), law(eps=0.2)
    assert_close(x.mean(0), mean, rtol=0, atol=0.05)
    ratio = x.std(0)[:, 0] / deviations(cov)[:, 0]
    assert 0.2 < float(ratio[0]) < 0.36 and bool((ratio[1:] < 0.6).all()), f"of the exact tilt's 1: {ratio}"


def test_a_step_is_action_reward_and_next_state_of_one_episode() -> None:
    episodes = Episodes.join(
        [(10 * k + np.arange(4.0)[:, None], np.arange(3.0)[:, None] / 10, -np.arange(3.0), False) for k in range(2)]
    )
    x, start = gather(episodes, 2)
    assert start[:, 0].tolist() == [0, 1, 10, 11]
    assert_close(x[1], torch.tensor([[0.1, -1.0, 2.0], [0.2, -2.0, 3.0]]))
    model = train(episodes, Config(horizon=2, width=8, depth=2, updates=1, batch=2)).model
    back = model.rollout(model.scaler(x).flatten(1), start)
    assert_close(back.obs[3, :, 0], torch.tensor([11.0, 12.0, 13.0]))
    assert_close(back.rew[3], torch.tensor([-1.0, -2.0]))


def test_a_training_finds_where_rollouts_go_from_a_state() -> None:
    config = Config(horizon=2, width=64, depth=3, updates=500, batch=128, lr=3e-3)
    run = train(linear.record(4000, seed=0), config)
    list(run)
    x = laid(run.model.sample(torch.tensor([START]).expand(1000, 2), generator=G()))
    mean, cov = law()
    assert_close(x.mean(0), mean[:2], rtol=0, atol=0.12)
    assert_close(x.std(0) / deviations(cov)[:2], torch.ones(2, 4).double(), rtol=0, atol=0.25)


def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, first, second = (train(linear.record(60, seed=0), TINY, seed=3) for _ in range(3))
    losses = [row["loss"] for row in whole]
    list(islice(first, 3))
    first.save(tmp_path / "half.safetensors")
    second.load(tmp_path / "half.safetensors")
    assert_close([row["loss"] for row in second], losses[3:], rtol=0, atol=0)


def test_the_file_gives_the_same_rollouts(tmp_path: Path) -> None:
    run = train(pendulum.record(60, seed=0), TINY)
    list(run)
    run.model.save(tmp_path / "m.safetensors")
    start = torch.tensor([[1.0, 0.0, 0.0]])
    a, b = (m.sample(start, generator=G(1)) for m in (run.model, Polygrad.load(tmp_path / "m.safetensors")))
    for x, y in zip(a, b, strict=True):
        assert_close(x, y, rtol=0.02, atol=0.02)  # the file holds float16
    assert a.obs.shape == (1, H + 1, 3) and torch.equal(a.obs[:, 0], start)


def test_other_states_and_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"states \[B, 2\] are wanted"):
        train(linear.record(60, seed=0), TINY).model.sample(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"states \[N, d\] are wanted"):
        train(Episodes.join([(np.zeros((6, 2, 2)), np.zeros((5, 1)), np.zeros(5), False)]), TINY)
