"""Practice in a dream: what a lost ball is, when a dream begins again, and that a learner runs in either world."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffrl_lab.studies import dreams, practice
from diffrl_lab.worlds import games


@pytest.fixture(scope="module")
def episodes() -> Any:
    return dreams.recording(600)[0]


class Stub:
    """A model that draws what it is told to, a little off 0 and 1."""

    config = SimpleNamespace(past=2)

    def __init__(self, picture: Tensor):
        self.picture, self.seen = picture, []

    def step(self, past: Tensor, act: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        self.seen.append((past.clone(), act.clone()))
        B = len(past)
        return self.picture.expand(B, -1, -1, -1) * 0.8 + 0.1, torch.full((B,), 0.5), torch.zeros(B)


def test_a_ball_is_lost_where_the_game_says_so() -> None:
    game, rng = games.Breakout(3), random.Random(0)
    seen = []
    for _ in range(2000):
        game.step(rng.randrange(3))
        seen.append((bool(practice.bottom(torch.from_numpy(game.frame())[None])), game.lost(game.state)))
    assert all(a == b for a, b in seen) and 20 < sum(a for a, _ in seen) < 500


def test_a_dream_shows_rounded_pictures_and_begins_again_when_a_ball_is_lost_or_its_time_is_over(episodes: Any) -> None:
    ball = torch.zeros(4, 10, 10)
    ball[practice.BALL, 5, 5] = 1
    stub: Any = Stub(ball)
    world = practice.Dream(stub, episodes, 0, side=3)
    world.age = torch.tensor([0, practice.DREAM - 1, 0])
    x, reward, lost, cut, before = world.step(torch.tensor([0, 1, 2]))
    assert stub.seen[0][1][:, -1].argmax(1).tolist() == [0, 1, 2], "the model is shown the action that was asked for"
    assert cut.tolist() == [False, True, False] and not lost.any() and (reward == 0.5).all()
    assert torch.equal(x[0], ball) and torch.equal(before[1], ball) and not torch.equal(x[1], ball)
    assert world.age.tolist() == [1, 0, 1]
    ball[practice.BALL, 5, 5], ball[practice.BALL, games.BOTTOM, 5] = 0, 1
    x, _, lost, cut, before = world.step(torch.tensor([0, 0, 0]))
    assert lost.all() and not cut.any() and torch.equal(before, ball.expand(3, -1, -1, -1))
    recorded = {bytes(f.numpy().astype(np.uint8)) for f in episodes.obs}
    assert all(bytes(f.numpy().astype(np.uint8)) in recorded for f in x)
    stub.picture = torch.zeros(4, 10, 10)
    world.step(torch.tensor([1, 1, 1]))
    assert torch.equal(stub.seen[2][0][:, -1], x), "the model is shown what the player is shown"


def test_who_knows_the_rules_plays_better_than_chance_and_a_game_ends_with_its_first_lost_ball() -> None:
    scripted = practice.judged(games.scripted, 10, 300)
    chance = practice.judged(practice.player("random", 0), 10, 300)
    assert scripted.mean() > 10 > 3 > chance.mean()
    assert practice.judged(lambda game: 1, 10, 300).max() <= 2, "who stays in a corner loses the first ball or the next"


def test_values_end_with_a_lost_ball(episodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every picture shows a lost ball, the value of an action is its reward, whatever follows."""
    lost = torch.zeros(4, 10, 10)
    lost[practice.BALL, games.BOTTOM, 5] = 1
    obs = lost.expand(256, -1, -1, -1)
    act = torch.arange(256) % 3
    monkeypatch.setattr(practice, "_recorded", lambda *_: (obs, act, act.float(), obs))
    monkeypatch.setattr(practice, "UPDATES", 150)
    net = practice.q_learned(episodes, 0)
    torch.testing.assert_close(net(lost[None])[0].detach(), torch.tensor([0.0, 1.0, 2.0]), atol=0.05, rtol=0)


def test_cloning_does_what_was_recorded(episodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded player moves towards the ball more often than away from it; so does the clone."""
    monkeypatch.setattr(practice, "UPDATES", 200)
    net = practice.cloned(episodes, 0)
    right = (net(episodes.obs[:-1].float()).argmax(1) == episodes.act[:-1].argmax(1)).double().mean()
    assert right > 0.55


@pytest.mark.parametrize("arm", ["real", "dream"])
def test_a_learner_practises_in_either_world(arm: str, episodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    monkeypatch.setitem(practice.PPO, "batch_size", 64)
    ball = torch.zeros(4, 10, 10)
    ball[practice.BALL, games.BOTTOM, 5] = 1
    stub: Any = Stub(ball)
    world: Any = practice.Real(0, side=2) if arm == "real" else practice.Dream(stub, episodes, 0, side=2)
    clone = torch.nn.Sequential(practice.eyes(), torch.nn.Linear(128, 3))
    learner = practice._learner(world, clone, 0)
    seen = world.past[:, -1].float()
    torch.testing.assert_close(
        learner.policy.get_distribution(seen).distribution.logits,
        clone(seen).log_softmax(1),
        msg="it begins as a clone",
    )
    before = [p.clone() for p in learner.policy.parameters()]
    learner.learn(2 * practice.PPO["n_steps"])
    assert learner.num_timesteps == 2 * practice.PPO["n_steps"]
    assert any((p != q).any() for p, q in zip(before, learner.policy.parameters(), strict=True))


def test_arms_are_summed_up_over_games_and_trainings() -> None:
    rows = [{"arm": "real", "seed": s, "bricks": [s, s + 2.0], "practice": 1.0} for s in (0, 1)]
    [row] = practice.by_arm(practice.Table(rows, {}))
    assert row["bricks"] == 1.5 and row["by_seed"] == [1.0, 2.0] and row["seeds"] == 2
    assert row["interval"][0] <= 1.5 <= row["interval"][1]
