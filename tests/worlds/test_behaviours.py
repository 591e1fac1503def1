"""Behaviour policies: what Stable-Baselines3 trained is what acts here; a stopped training goes on."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from diffrl_lab.worlds import behaviours
from diffrl_lab.worlds import robots as locomotion


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of 32 steps in each of eight environments, which is its first checkpoint."""
    pytest.importorskip("stable_baselines3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(behaviours, "ROLLOUT", 32)
        patch.setattr(behaviours, "EVERY", 8 * 32)
        state = tmp_path_factory.mktemp("state")
        behaviours.train("hopper", 256, 0, state)
        yield state


def test_the_kept_policy_acts_as_stable_baselines_does(trained):
    import io
    import pickle

    from stable_baselines3 import PPO

    saved = pickle.loads((trained / "hopper" / "state.pkl").read_bytes())
    model = PPO.load(io.BytesIO(saved["model"]), device="cpu")
    policy = locomotion.Policy.of(load_file(trained / "hopper" / "00000256.safetensors"))
    obs = np.random.default_rng(0).normal(0, 3, (20, 11))
    wanted, _ = model.predict(saved["normalise"].normalize_obs(obs), deterministic=True)
    assert np.abs(np.stack([policy.act(o) for o in obs]) - wanted).max() < 1e-4
    untrained = locomotion.Policy.of(load_file(trained / "hopper" / "00000000.safetensors"))
    assert np.abs(np.stack([untrained.act(o) for o in obs]) - wanted).max() > 1e-3


def test_a_stopped_training_goes_on_and_keeps_its_rungs_and_its_log(trained):
    before = (trained / "hopper" / "00000256.safetensors").read_bytes()
    behaviours.train("hopper", 512, 0, trained)
    assert [r["steps"] for r in json.loads((trained / "hopper" / "log.json").read_text())] == [256, 512]
    assert (trained / "hopper" / "00000256.safetensors").read_bytes() == before
    assert (trained / "hopper" / "00000512.safetensors").is_file()


def test_what_cannot_be_trained_or_measured_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="one of hopper, halfcheetah, walker2d; got 'ant'"):
        behaviours.train("ant", state=tmp_path)
    with pytest.raises(ValueError, match="there is no training in .*walker2d; `diffrl-lab behaviour walker2d` starts"):
        behaviours.assemble("walker2d", tmp_path)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ImportError, match='pip install "stable-baselines3'):
        behaviours.train("hopper", state=tmp_path)


def test_the_ladder_holds_the_medium_policy_that_stands_nearest_to_40_and_its_scale(tmp_path, monkeypatch):
    """Returns are stubbed by what each checkpoint says of itself: its first bias."""
    from safetensors.torch import save_file

    monkeypatch.setattr(behaviours, "EPISODES", 4)
    told = {0: 0.0, 10: 100.0, 20: 250.0, 30: 390.0, 40: 700.0, 50: 1000.0, 60: 900.0}
    folder = tmp_path / "hopper"
    folder.mkdir()
    for steps, value in told.items():
        tensors = {
            "weight0": torch.zeros(3, 11),
            "bias0": torch.full((3,), value),
            "mean": torch.zeros(11),
            "std": torch.ones(11),
            "log_std": torch.zeros(3),
        }
        save_file(tensors, folder / f"{steps:08d}.safetensors", {"seed": "7"})
    (folder / "log.json").write_text(
        json.dumps([{"steps": s, "return": v, "wall_s": 1, "cpu_s": 1} for s, v in told.items() if s])
    )
    monkeypatch.setattr(
        behaviours,
        "drive",
        lambda envs, agent, seeds: [
            SimpleNamespace(total=float(agent.policy.layers[0][1][0]) if hasattr(agent, "policy") else 0.0)
            for _ in seeds
        ],
    )
    held = locomotion.ladder("hopper", behaviours.assemble("hopper", tmp_path))
    assert held.about["medium"] == 30 and held.about["expert"] == 50 and held.references == (0.0, 1000.0)
    assert float(held.policies[30].log_std[0]) == 0 and abs(float(held.policies[50].log_std[0].exp()) - 0.25) < 1e-6
    assert list(held.policies) == [0, 10, 20, 30, 50] and held.about["seed"] == 7
    assert "medium                     390.0" in behaviours.report(tmp_path / "behaviour-hopper.safetensors")
    (folder / "00000030.safetensors").unlink()
    (folder / "log.json").write_text(
        json.dumps(
            [{"steps": s, "return": v, "wall_s": 1, "cpu_s": 1} for s, v in told.items() if s in (10, 20, 40, 50)]
        )
    )
    with pytest.raises(ValueError, match="no checkpoint of hopper scores 30 to 50: the nearest to 40 is that after 20"):
        behaviours.assemble("hopper", tmp_path)
