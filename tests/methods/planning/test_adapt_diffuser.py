"""Plans that a planner is tuned on: which the filter keeps, what pieces they become, and that training resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.adapt_diffuser import AdaptDiffuser, Agent, Config, Mixed, train
from diffrl_lab.methods.planning.diffuser import Pieces

TINY = Config(
    horizon=8, width=32, depth=1, channels=8, updates=6, tuned=6, batch=16, denoising=3, candidates=4, made=40, near=3.0
)


def corridor(episodes: int = 40, steps: int = 20, seed: int = 0) -> Episodes:
    """Drives of 1 m to the right along y = 0, from x in [0, 5]. dt = 0.01."""
    rng, rows, share = np.random.default_rng(seed), [], np.arange(steps + 1)[:, None] / steps
    for _ in range(episodes):
        v = np.array([1.0 / (steps * 0.01), 0.0])
        obs = np.concatenate([[rng.uniform(0, 5), 0] + share * [1.0, 0.0], np.ones_like(share) * v], 1)
        rows.append((obs.astype(np.float32), np.zeros((steps, 2), np.float32), np.zeros(steps), False))
    return Episodes.join(rows)


def straight(obs: np.ndarray, goal: np.ndarray, seed: int) -> np.ndarray:
    """A plan of 60 steps at constant speed."""
    share = np.arange(61)[:, None] / 60
    return np.concatenate([obs[:2] + share * (goal - obs[:2]), np.ones_like(share) * (goal - obs[:2]) / 0.6], 1)


def aside(obs: np.ndarray, goal: np.ndarray, seed: int) -> np.ndarray:
    """The same, but of every second seed half a metre beside the corridor."""
    return straight(obs, goal, seed) + [0, 0.5 * (seed % 2), 0, 0]


def test_a_plan_passes_where_all_its_states_lie_near_the_recording_and_it_is_neither_too_long_nor_too_short() -> None:
    model = AdaptDiffuser(replace(TINY, near=0.1), 4, 2)
    recorded = cKDTree(corridor().obs[:, :2].double().numpy())
    x = torch.zeros(4, 8, 5)
    x[..., 0], x[..., 2], x[..., -1] = torch.linspace(0.5, 4, 8), 3.5 / 0.6, float(np.log(60))
    model.planner.seconds.fill_(0.01)
    x[1, 4, 1] = 0.5  # one point of the second is beside
    x[2, :, -1], x[3, :, -1] = float(np.log(1000)), float(np.log(4))
    assert model.passes(x, recorded).tolist() == [True, False, False, False]


def test_of_another_planner_s_proposals_those_that_pass_are_what_it_is_tuned_on_and_no_other() -> None:
    run = train(corridor(), replace(TINY, near=0.1), seed=0, propose=aside)
    for _ in run:
        pass
    model = run.model
    kept = model.own[model.kept]
    assert 0.2 < float(model.kept.double().mean()) < 0.8
    assert float(kept[..., 1].abs().max()) < 1e-6 and float(model.own[~model.kept][..., 1].abs().max()) > 0.4
    assert_close(kept[..., -1], torch.full(kept.shape[:-1], float(np.log(60))))
    drives = model.drives()
    assert len(drives) == len(kept) and bool((drives.lengths == 60 + TINY.rested).all())
    assert bool((drives.obs[drives.ends, 2:] == 0).all())


def test_a_share_of_a_batch_is_of_own_plans_once_the_recording_was_learned() -> None:
    c = replace(TINY, batch=40, share=0.75)
    model, pieces = AdaptDiffuser(c, 4, 2), Pieces(corridor(), c, torch.Generator().manual_seed(0))
    model.planner.seconds.fill_(0.01)
    batches = Mixed(model, pieces, corridor(), lambda o, g, seed: straight(o, o[:2] + [0, 2], seed))
    assert float(next(batches)["x"][..., 1].abs().max()) == 0

    class Done:
        step = c.updates

    batches.update = Done()  # type: ignore[assignment]
    x = next(batches)["x"]
    assert bool((x[:30, :, 1].amax(1) > 0).all()) and float(x[30:, :, 1].abs().max()) == 0


def test_tuning_may_start_from_a_planner_that_was_trained_before() -> None:
    start = diffuser.train(corridor(), diffuser.Config(horizon=8, width=32, depth=1, channels=8), seed=5).model
    run = train(corridor(), replace(TINY, updates=0), seed=0, start=start, propose=aside)
    for a, b in zip(start.state_dict().values(), run.model.planner.state_dict().values(), strict=True):
        assert_close(a, b, rtol=0, atol=0)
    assert len(list(run)) == TINY.tuned
    with pytest.raises(ValueError, match="width = 64"):
        other = diffuser.Diffuser(diffuser.Config(horizon=8, width=64, depth=1, channels=8), 4, 2)
        train(corridor(), TINY, seed=0, start=other)


def test_where_the_filter_keeps_none_it_says_so() -> None:
    run = train(
        corridor(), replace(TINY, near=0.1), seed=0, propose=lambda o, g, seed: straight(o, g, 0) + [0, 1, 0, 0]
    )
    with pytest.raises(ValueError, match="none of 40 plans stays within 0.1 m"):
        for _ in run:
            pass


@pytest.mark.parametrize("stopped", [3, 9])
def test_a_training_stopped_before_or_after_its_plans_are_drawn_goes_on_bit_for_bit(
    tmp_path: Path, stopped: int
) -> None:
    whole = train(corridor(), TINY, seed=1)
    losses = [float(row["loss"]) for row in whole]
    first, second = train(corridor(), TINY, seed=1), train(corridor(), TINY, seed=1)
    begun = [float(next(rows)["loss"]) for rows in [iter(first)] for _ in range(stopped)]
    first.save(tmp_path / "run.safetensors")
    second.load(tmp_path / "run.safetensors")
    assert begun + [float(row["loss"]) for row in second] == losses and len(losses) == 12
    assert_close(whole.model.own, second.model.own, rtol=0, atol=0)
    whole.model.save(tmp_path / "w.safetensors")
    again = AdaptDiffuser.load(tmp_path / "w.safetensors")
    assert again.config == TINY and int(again.kept.sum()) == int(whole.model.kept.sum()) > 0
    route = again.route(np.zeros(4), np.ones(2), seed=3)
    assert_close(torch.tensor(route[-1, :2]), torch.ones(2).double(), rtol=0, atol=1e-5)
    assert Agent(again, most=2).most == 2
