"""The study of offline policies in avoid with payments: what is shown, what is counted, on no trained network; and on
Hopper: all of it, on a recording and trainings of seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffrl_lab import methods
from diffrl_lab.analysis.intervals import iqm
from diffrl_lab.data.episodes import Episodes, transitions
from diffrl_lab.methods.policies import critics, iql
from diffrl_lab.studies import hopping, offline, robots
from diffrl_lab.studies.study import parts
from diffrl_lab.worlds import avoid
from diffrl_lab.worlds.robots import normalised_score


def test_a_position_is_shown_with_features_that_tell_places_apart_which_are_near() -> None:
    at = np.array([[0.0, 0.0], [-avoid.SIDE, avoid.TOP], [avoid.SIDE, 1.0]])
    seen = offline.shown(at)
    assert seen.shape == (3, 26) and offline.shown(at.reshape(1, 3, 2)).shape == (1, 3, 26)
    np.testing.assert_allclose(seen[:, :2], [[0, -1], [-1, 1], [1, -0.6]], atol=1e-12)
    np.testing.assert_allclose(seen[:, 2:14] ** 2 + seen[:, 14:] ** 2, 1)
    near, far = (np.linalg.norm(offline.shown([[x, 0.0]]) - seen[:1]) for x in (0.1, 1.0))
    assert 0.1 / avoid.SIDE * 8 < near < far


def test_what_is_trained_on_has_the_recorded_steps_as_all_are_shown_them() -> None:
    rolled, episodes = offline.recorded(3)
    plain = avoid.episodes(rolled, payments=True)
    assert len(episodes) == offline.RECORDED and np.array_equal(episodes.rew, plain.rew)
    np.testing.assert_allclose(episodes.obs.numpy(), offline.shown(plain.obs.numpy()), atol=1e-6)
    assert 2.9 < float(episodes.rew.sum()) / offline.RECORDED < 3.4  # what the data are paid
    assert offline.recorded(3)[0] is rolled


class Straight:
    """Goes along one way without noise, and says what it was shown."""

    def __init__(self, number: int):
        self.number, self.seen = number, []

    def reset(self, obs, seeds, goal=None):
        self.seen.append(np.shape(obs))

    def act(self, obs, which=None):
        self.seen.append(np.shape(obs))
        obs = np.asarray(obs)[:, :2] * [avoid.SIDE, avoid.TOP / 2] + [0, avoid.TOP / 2]
        return avoid.intent(obs, np.full(len(obs), self.number))


@pytest.mark.parametrize("number", [0, 15, 23])
def test_a_way_that_is_gone_straight_scores_what_it_is_worth(number: int) -> None:
    agent = Straight(number)
    rolled = avoid.roll(offline.Shown(agent), range(20))
    assert set(agent.seen[0][1:]) == {26} and all(shape[1] == 26 for shape in agent.seen)
    found = offline.scores(rolled, 0)
    assert found["score"] == pytest.approx(float(avoid.worth(number))) and found["success"] == 1
    assert found["ways"] == 1 and found["crashed"] == 0 and found["off"] < 0.02
    assert found["best"] == float(avoid.worth(number) == 6)


def test_who_crashes_or_leaves_where_the_data_are_is_told_apart() -> None:
    class Aside(Straight):
        def act(self, obs, which=None):
            return np.tile([1.0, 0.0], (len(obs), 1))

    found = offline.scores(avoid.roll(offline.Shown(Aside(0)), range(20)), 0)
    assert found["score"] == 0 == found["success"] and found["crashed"] == 1 and found["off"] > 0.3
    assert found["steps"] is None


def test_the_data_are_a_row_of_their_own_and_every_arm_has_its_training() -> None:
    row = offline.driven(offline.DATA, 0)
    assert 2.9 < row["score"] < 3.5 and row["ways"] == 24 and row["off"] < 0.01 and row["ms"] is None
    assert {what for what, _ in offline.ARMS.values()} == set(offline.TRAINED)
    files = {offline.name(what, seed) for what in offline.TRAINED for seed in (0, 1)}
    assert len(files) == 2 * len(offline.TRAINED) and not any(set(f) & set(" +=,") for f in files)
    for method, options in offline.TRAINED.values():
        methods.named(method).Config(**offline.SHAPE | options)
    assert 80 < offline.lines("td3_bc") < offline.lines("qgpo") < 250


# --------------------------------------------------------------------------------------------------------------- Hopper
def hops() -> Episodes:
    """Eight short episodes that look like Hopper's, half of them falls, half cut by a time limit."""
    rng = np.random.default_rng(0)
    return Episodes.join(
        (rng.normal(size=(n + 1, 11)), rng.uniform(-1, 1, (n, 3)), np.full(n, 1.0 + (n > 20)), n < 20)
        for n in (10, 12, 14, 16, 30, 32, 34, 36)
    )


def test_returns_are_sums_and_falls_alone_are_ends() -> None:
    episodes = hops()
    np.testing.assert_allclose(hopping.returns(episodes), [10, 12, 14, 16, 60, 64, 68, 72])
    model = iql.Iql(iql.Config(width=8, depth=2), 11, 3)
    data = critics.prepared(model, episodes)
    assert int(data["terminal"].sum()) == 4 and len(data["terminal"]) == int(episodes.lengths.sum())
    assert torch.equal(data["terminal"], transitions(episodes).terminal)
    assert float(data["obs"].std(0).mean()) == pytest.approx(1, abs=0.01)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The study of Hopper with a recording of eight episodes, two starts and a few updates."""
    short = {what: (method, options | {"updates": 3}) for what, (method, options) in hopping.TRAINED.items()}
    monkeypatch.setattr(hopping, "TRAINED", short)
    monkeypatch.setattr(hopping, "SHAPE", hopping.SHAPE | {"width": 16, "batch": 32})
    monkeypatch.setattr(hopping, "RUNS", tmp_path)
    monkeypatch.setattr(robots, "data", lambda name: hops())
    monkeypatch.setattr(robots, "STARTS", range(2))
    hopping.recorded.cache_clear()
    yield tmp_path
    hopping.recorded.cache_clear()


def test_the_part_trains_and_drives_every_policy_on_the_robot(tiny: Path) -> None:
    part = parts("offline")["hopper"]
    assert part.file == "results/offline-hopper.json" and part.training is not None
    assert part.training([0, 1]) > 0 and len(list((tiny / "weights").iterdir())) == 2 * len(hopping.TRAINED)
    found = part.compute([0, 1])
    assert len(found.rows) == 2 * len(hopping.ARMS)
    for row in found.rows:
        assert len(row["scores"]) == 2 == len(row["lengths"]) and row["ms"] > 0 and row["training"] > 0
        np.testing.assert_allclose(row["scores"], normalised_score("hopper", row["returns"]), atol=0.01)
    about = {row["arm"]: row for row in found.about["summary"]}
    assert list(about) == [hopping.DATA, hopping.BEST, *hopping.ARMS] and found.about["episodes"] == 8
    assert about[hopping.DATA]["return"] == pytest.approx(39.5) and about[hopping.BEST]["return"] == 72
    for arm in hopping.ARMS:
        scores = [row["scores"] for row in found.rows if row["arm"] == arm]
        low, high = about[arm]["iqm_interval"]
        assert about[arm]["iqm"] == pytest.approx(float(iqm(scores))) and low <= about[arm]["iqm"] <= high
        assert about[arm]["seeds"] == 2 and {"length", "training", "ms", "published"} <= set(about[arm])
    assert about["IQL, its mean"]["published"] == 94.7 and about["QGPO"]["published"] is None


def test_arms_of_one_training_act_by_their_own_settings(tiny: Path) -> None:
    obs = hops().obs[:5].numpy()
    done = {}
    for arm in ("TD3+BC", "diffusion cloning", "IDQL, best of 32", "least squares"):
        actor, _ = hopping.agent(arm, 0)
        actor.reset(obs, range(5))
        done[arm] = actor.act(obs)
        assert done[arm].shape == (5, 3) and np.abs(done[arm]).max() <= 1
    assert not np.allclose(done["diffusion cloning"], done["IDQL, best of 32"])
    assert int(hopping.recorded("best 10 %").lengths.sum()) == 36  # the best episode alone holds a tenth of the steps
    assert {what for what, _ in hopping.ARMS.values()} == set(hopping.TRAINED)
    files = {hopping.name(what, 0) for what in hopping.TRAINED}
    assert len(files) == len(hopping.TRAINED) and not any(set(file) & set(" +=,%") for file in files)
