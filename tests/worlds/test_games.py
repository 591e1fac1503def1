"""Games: what they do is what they say may happen, with the probabilities that they say."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrl_lab.data import minari
from diffrl_lab.worlds import games
from diffrl_lab.worlds.games import BRICKS, GAMES, STICKY, Ball, Breakout, Chase, Hunt, Witness, bounce

NAMES = pytest.mark.parametrize("name", GAMES)


def ball(**change) -> Ball:
    """A ball in the middle, on its way up to the right, without bricks."""
    return Ball(4, 5, 6, 1, -1, (4, 7), 0, False, 0, False)._replace(**change)


@NAMES
def test_every_step_is_one_of_the_outcomes_and_their_probabilities_add_up_to_1(name: str) -> None:
    game, player = GAMES[name](1), games.careless(random.Random(2))
    for _ in range(5000):
        action = player(game)
        may = game.outcomes(action)
        assert sum(o.p for o in may) == pytest.approx(1) and len({o.state for o in may}) == len(may)
        reward = game.step(action)
        assert any(o.state == game.state and o.reward == reward for o in may)


@NAMES
def test_a_moment_played_again_and_again_comes_out_as_often_as_its_law_says(name: str) -> None:
    """Pearson's chi-square over 6,000 repetitions of the moments with most outcomes stays within five deviations."""
    game, player, n = GAMES[name](3), games.careless(random.Random(4)), 6000
    moments = []
    for _ in range(400):
        action = player(game)
        moments.append((len(game.outcomes(action)), game.state, action))
        game.step(action)
    for _, state, action in sorted(moments, key=lambda m: m[0])[-2:]:
        seen: Counter = Counter()
        for _ in range(n):
            game.state = state
            game.step(action)
            seen[game.state] += 1
        may = [(o.p * n, seen[o.state]) for o in game.outcomes(action, state)]
        assert sum(count for _, count in may) == n
        chi2, freedom = sum((count - mean) ** 2 / mean for mean, count in may), len(may) - 1
        assert abs(chi2 - freedom) < 5 * (2 * freedom) ** 0.5 or chi2 < freedom


def test_the_last_action_sticks_with_its_probability_and_a_lost_ball_comes_back_on_either_side() -> None:
    game = Breakout()
    game.state = ball(last=1)
    right, left = game.outcomes(2)
    assert (right.p, right.state.paddle) == (1 - STICKY, 5) and (left.p, left.state.paddle) == (STICKY, 3)
    assert right.state.last == 2 and left.state.last == 1, "what was done sticks, not what was asked for"
    assert [(o.p, o.state.x) for o in game.outcomes(0, ball(lost=True))] == [(0.5, 0), (0.5, 9)]


def test_the_ball_bounces_off_a_side_off_the_top_and_off_the_paddle() -> None:
    assert bounce(ball(x=9), 0)[0][1:5] == (9, 5, -1, -1)
    assert bounce(ball(y=0), 0)[0][1:5] == (6, 0, 1, 1)
    assert bounce(ball(x=4, y=8, dy=1), 0)[0][1:5] == (5, 8, 1, -1), "from straight above: up again"
    assert bounce(ball(x=3, y=8, dy=1), 0)[0][1:5] == (4, 8, -1, -1), "from the side: back where it came from"
    assert bounce(ball(x=6, y=8, dy=1), 0)[0].lost


def test_a_brick_is_worth_1_a_second_one_in_a_row_is_passed_and_the_last_one_brings_all_back() -> None:
    state, reward = bounce(ball(x=5, y=4, bricks=BRICKS), 0)
    assert (reward, state.dy, state.y, state.bricks.bit_count()) == (1.0, 1, 4, 29)
    again, reward = bounce(state._replace(dy=-1), 0)
    assert (reward, again.y, again.bricks.bit_count()) == (0.0, 3, 29)
    assert bounce(ball(y=8, dy=1, x=4), 0)[0].bricks == BRICKS, "all bricks gone, and the ball is down"


def test_the_beast_goes_each_way_with_a_quarter_and_a_new_pellet_lies_anywhere_else() -> None:
    game = Hunt()
    may = game.outcomes(0, Chase((0, 9), (5, 4), (9, 9), False))
    assert {(o.p, o.state.beast) for o in may} == {(0.25, cell) for cell in ((5, 5), (6, 4), (4, 4))} | {
        (0.25, (5, 4))
    }, "a wall above leaves it where it was"
    eaten = game.outcomes(2, Chase((0, 9), (5, 4), (1, 9), False))
    assert {o.reward for o in eaten} == {1.0} and len({o.state.pellet for o in eaten}) == len(games.FREE) - 1
    met = game.outcomes(0, Chase((5, 5), (5, 4), (9, 9), False))
    assert sum(o.p for o in met if o.state.lost) == pytest.approx(0.25)
    swapped = game.outcomes(1, Chase((5, 5), (5, 4), (9, 9), False))
    assert sum(o.p for o in swapped if o.state.lost) == pytest.approx(0.5), "stays where it is, or changes places"


@NAMES
def test_a_witness_finds_every_real_frame_possible_and_names_what_is_wrong_with_another(name: str) -> None:
    game, player = GAMES[name](5), games.careless(random.Random(6))
    witness = Witness(game, {game.state: 1.0})
    for _ in range(1500):
        action = player(game)
        game.step(action)
        assert witness.see(action, game.frame()) > 0
        assert sum(witness.states.values()) == pytest.approx(1) and game.state in witness.states
    wrong = game.frame()
    wrong[1] = np.roll(wrong[1], 5, 1)  # the ball, the beast
    action, before = 0, dict(witness.states)
    assert witness.see(action, wrong) == 0 and witness.states == before
    assert game.channels[1] in witness.reason(action, wrong)


def test_a_witness_weighs_what_it_cannot_see_by_bayes_rule() -> None:
    """At the wall "stay" and "left" look alike: of 0.9 and 0.1 is left what was asked for and what stuck."""
    game = Breakout()
    witness = Witness(game, {ball(paddle=0, last=1): 1.0})
    after = bounce(ball(paddle=0, last=1), 0)[0]
    assert witness.see(0, game.picture(after)) == pytest.approx(1)
    assert sorted(witness.states.values()) == pytest.approx([STICKY, 1 - STICKY])


@NAMES
def test_who_knows_the_rules_loses_a_tenth_as_often_as_chance(name: str) -> None:
    def losses(share: float) -> int:
        game, player = GAMES[name](0), games.careless(random.Random(1), share)
        return sum(game.lost(game.state) for _ in range(5000) if game.step(player(game)) is not None)

    assert 10 * losses(0.0) < losses(1.0)


@NAMES
def test_the_environment_is_gymnasiums_and_equal_seeds_give_equal_games(name: str) -> None:
    from gymnasium.utils.env_checker import check_env

    env = games.make(name, steps=20)
    check_env(env.unwrapped, skip_render_check=True)
    runs = []
    for _ in range(2):
        frames = [env.reset(seed=7)[0]]
        for k in range(20):
            obs, _, terminated, truncated, _ = env.step(k % 3)
            frames.append(obs)
        assert truncated and not terminated
        runs.append(np.stack(frames))
    assert (runs[0] == runs[1]).all() and len(np.unique(runs[0], axis=0)) > 5


@NAMES
def test_a_recording_is_what_was_played(name: str, tmp_path: Path) -> None:
    folder = games.record(name, 300, 4, tmp_path)
    played = games.play(GAMES[name](4), games.careless(random.Random(5)), 300)
    episodes = minari.read(folder)
    assert episodes.obs.dtype == torch.uint8 and (episodes.obs.numpy() == played.frames).all()
    assert (episodes.act[:-1].argmax(1).numpy() == played.act).all()
    assert (episodes.rew[:-1].numpy() == played.rew).all()
    with pytest.raises(ValueError, match="exists already"):
        games.record(name, 300, 4, tmp_path)


def test_another_name_or_action_is_refused_with_what_is_known() -> None:
    with pytest.raises(ValueError, match="breakout, hunt; got 'pong'"):
        games.make("pong")
    with pytest.raises(ValueError, match="from 0 to 2, got 3"):
        Breakout().step(3)
