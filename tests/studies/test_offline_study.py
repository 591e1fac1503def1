"""The study of offline policies in avoid with payments: what is shown, what is counted, on no trained network."""

from __future__ import annotations

import numpy as np
import pytest

from diffrl_lab import methods
from diffrl_lab.studies import offline
from diffrl_lab.worlds import avoid


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
