"""Avoid: the ways are all that there are, the demonstrator's probabilities are exact, and no crash is a way."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats
from typer.testing import CliRunner

from diffrl_lab import commands
from diffrl_lab.cli import app
from diffrl_lab.data import minari
from diffrl_lab.data.episodes import TERMINAL
from diffrl_lab.worlds import avoid
from diffrl_lab.worlds.avoid import GAPS, POSTS, RADIUS, ROWS, WAYS, Demonstrator, roll, way
from diffrl_lab.worlds.driving import Uniform, drive

SKEW = np.arange(1, WAYS + 1) / np.arange(1, WAYS + 1).sum()


def through(*xs: float) -> np.ndarray:
    """The polygon that passes row r at xs[r], straight up. -> [8, 2]"""
    corners = [(x, height + side) for x, (height, _) in zip(xs, ROWS, strict=True) for side in (-0.35, 0.35)]
    return np.array([(0.0, 0.0), *corners, (xs[-1], 5.1)])


def test_the_24_products_of_gaps_are_24_ways_numbered_in_order() -> None:
    numbers = [int(way(through(*xs))) for xs in product(*GAPS)]
    assert numbers == list(range(24)) == list(range(WAYS))
    assert_array_equal(avoid.gaps(numbers), list(product(range(2), range(3), range(4))))


def test_a_way_is_the_last_crossing_before_the_arrival_and_no_crash_or_half_of_a_way_is_one() -> None:
    direct, back = through(0.5, 0.0, 0.5), [[-0.5, 0.5], [-0.5, 1.4], [-0.5, 0.5], [0.5, 0.5]]
    assert way(direct) == 12 + 4 + 2 == way(np.concatenate([direct[:1], back, direct[1:]]))
    assert way(np.concatenate([direct, [[0.0, 6.0], [0.0, -3.0]]])) == 18, "what follows the arrival does not count"
    assert way(direct[:-1]) == -1, "it never arrived"
    assert way(np.array([[0.0, 3.0], [0.5, 3.5], [0.5, 5.1]])) == -1, "two rows were never passed"
    assert way(through(0.15, 0.0, 0.5)) == -1, "it touches a post between two positions"
    assert way(np.array([[0.0, 0.0], [2.3, 0.2], *direct[1:]])) == -1, "it left the field"
    both = np.stack([direct, through(0.15, 0.0, 0.5)])
    assert way(both).tolist() == [18, -1] and way(both[None]).shape == (1, 2)


def test_what_is_counted_as_a_way_never_came_near_a_post() -> None:
    """Against 20 points on every move: none of a way's lies in a post, and each crash has one, or nearly, or left."""
    noisy = roll(Demonstrator(noise=1.5), range(300))
    share = np.linspace(0, 1, 21)[:, None, None, None]
    points = noisy.path[None, :, :-1] * (1 - share) + noisy.path[None, :, 1:] * share
    near = np.linalg.norm(points[..., None, :] - POSTS, axis=-1).min((0, 2, 3))
    out = (np.abs(noisy.path[..., 0]) > avoid.SIDE).any(1) | (noisy.path[..., 1] < avoid.BOTTOM).any(1)
    late = noisy.path[..., 1].max(1) < avoid.TOP
    stays, crashed = noisy.way >= 0, (noisy.way < 0) & ~out & (noisy.steps < avoid.LIMIT)
    assert 50 < stays.sum() < 250 and crashed.sum() > 20
    assert (near[stays] >= RADIUS).all() and not out[stays].any() and not late[stays].any()
    assert (near[crashed] < RADIUS + 1e-3).all()


@pytest.mark.parametrize("p", [None, SKEW], ids=["alike", "skew"])
def test_the_demonstrators_ways_have_their_probabilities(p: np.ndarray | None) -> None:
    """Pearson's chi-square of 3,000 demonstrations, 23 degrees of freedom: below its 0.9999 quantile."""
    n, exact = 3000, np.full(WAYS, 1 / WAYS) if p is None else p
    driven = avoid.demonstrations(n, p, seed=1)
    assert_array_equal(way(driven.path), driven.way)
    count = np.bincount(driven.way, minlength=WAYS)
    chi2 = ((count - n * exact) ** 2 / (n * exact)).sum()
    assert stats.chi2.sf(chi2, WAYS - 1) > 1e-4


def test_what_crashes_is_driven_again_on_the_same_way() -> None:
    """With so much noise a tenth of all episodes crashes, and more on some ways than on others: the shares stay."""
    agent, seeds = Demonstrator(noise=0.9), range(avoid.FIRST, avoid.FIRST + 300)
    lost = roll(agent, seeds).way < 0
    driven = avoid.demonstrations(300, noise=0.9)
    assert lost.mean() > 0.05
    assert_array_equal(driven.way, agent.ways)
    assert_array_equal(way(driven.path), driven.way)


def test_a_demonstrator_of_one_way_takes_no_other() -> None:
    assert set(avoid.demonstrations(50, avoid.only(7)).way) == {7}
    with pytest.raises(ValueError, match="a way is a number from 0 to 23, got 24"):
        avoid.only(24)
    with pytest.raises(ValueError, match="24 probabilities that add up to 1"):
        Demonstrator(np.ones(WAYS))


def test_the_intent_is_what_was_done_less_its_noise_and_never_longer_than_an_action() -> None:
    driven = avoid.demonstrations(200, seed=3)
    running = np.arange(driven.act.shape[1]) < driven.steps[:, None]
    done = np.diff(driven.path, axis=1)[running] / avoid.STEP
    error, length = done - driven.act[running], np.linalg.norm(driven.act[running], axis=1)
    np.testing.assert_allclose(length, 0.9, atol=1e-5)
    assert (driven.act[~running] == 0).all()
    inside = np.abs(done).max(1) < 0.99  # an action of 1 is clipped: there the noise is cut
    assert abs(error[inside].std() / avoid.NOISE - 1) < 0.2 and abs(error.mean()) < 0.1


def test_side_by_side_is_bit_for_bit_what_the_environment_does() -> None:
    for agent, seeds in ((Demonstrator(noise=0.8), range(12)), (Uniform(2), range(6))):
        rolled = roll(agent, seeds)
        for k, one in enumerate(drive([avoid.make() for _ in range(4)], agent, seeds)):
            T = one.steps
            assert (
                T == rolled.steps[k] and one.infos["way"][-1] == rolled.way[k] and one.reached == (rolled.way[k] >= 0)
            )
            assert_array_equal(one.obs, rolled.path[k, : T + 1])
            assert_array_equal(np.float32(one.act), rolled.act[k, :T])
            assert one.total == float(rolled.way[k] >= 0) and one.truncated == (T == avoid.LIMIT)
            assert one.infos["crashed"][-1] == (rolled.way[k] < 0 and not one.truncated)


def test_the_environment_is_gymnasiums() -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(avoid.make().unwrapped, skip_render_check=True)


def test_equal_seeds_give_equal_episodes_whoever_runs_beside_them() -> None:
    many, few, other = roll(Demonstrator(), range(9)), roll(Demonstrator(), [4]), roll(Demonstrator(), [9])
    assert_array_equal(many.path[4, : few.path.shape[1]], few.path[0])
    assert not np.array_equal(few.path[0, :20], other.path[0, :20])
    assert_array_equal(avoid.demonstrations(5, seed=2).act, avoid.demonstrations(5, seed=2).act)
    assert not np.array_equal(avoid.demonstrations(5, seed=2).way, avoid.demonstrations(5, seed=3).way)


def test_a_recording_is_what_was_driven_and_says_its_ways(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["record", "avoid", "--episodes", "30", "--seed", "4", "--out", str(tmp_path)])
    assert done.exit_code == 0 and "30 demonstrations" in done.stdout
    driven = avoid.demonstrations(30, seed=4)
    read, held, said = minari.read(tmp_path / "avoid-v0"), avoid.episodes(driven), minari.about(tmp_path / "avoid-v0")
    for name in ("obs", "act", "rew", "last"):
        assert_array_equal(getattr(read, name).numpy(), getattr(held, name).numpy())
    assert [e["way"] for e in said["episodes"]] == driven.way.tolist() and len(read) == 30
    assert read.rew.sum() == 30 and said["probabilities"] == [1 / WAYS] * WAYS
    with pytest.raises(ValueError, match="exists already"):
        avoid.record(30, 4, tmp_path)


def test_the_control_of_one_way_is_a_recording_of_its_own_and_what_learned_of_it_drives(tmp_path: Path) -> None:
    assert minari._own("avoid-way-7-v0") == ("diffrl-lab record avoid --way 7", "avoid-way-7-v0")
    words = ["record", "avoid", "--episodes", "5", "--way", "7", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert {e["way"] for e in minari.about(tmp_path / "avoid-way-7-v0")["episodes"]} == {7}
    tiny = [("updates", "3"), ("width", "8"), ("batch", "8")]
    path = commands.train("cloning", str(tmp_path / "avoid-way-7-v0"), tiny, out=tmp_path, progress=False)
    assert commands.evaluate(path, episodes=2, progress=False)["success"] is not None


# ----------------------------------------------------------------------------------------------------------- payments
def paid_in_all(path: np.ndarray) -> float:
    return float(avoid.pay(path[:-1], path[1:]).sum())


def test_each_of_the_24_ways_is_paid_its_gaps_and_one_and_one_way_is_paid_six() -> None:
    worth = [paid_in_all(through(*xs)) for xs in product(*GAPS)]
    assert worth == [1 + a + b + c for a, b, c in product(*avoid.PAYS)] == avoid.worth(range(WAYS)).tolist()
    assert sorted(worth)[-2:] == [5, 6] and avoid.worth(np.arange(WAYS).reshape(4, 6)).shape == (4, 6)


def test_no_round_trip_earns_anything_and_a_crash_is_paid_nothing() -> None:
    direct = through(0.5, -1.0, 1.5)
    loop = np.array([[-1.0, 2.2], [-1.0, 2.8], [0.0, 2.8], [0.0, 2.2]])  # up where it pays 2, down where it pays 0
    again = np.concatenate([direct[:3], loop, loop, direct[3:]])
    assert paid_in_all(direct) == 6 == paid_in_all(again) and paid_in_all(np.concatenate([loop, loop[:1]])) == 0
    rng = np.random.default_rng(0)
    for path in rng.uniform([-2, -0.4], [2, 5.4], (200, 60, 2)):
        at, total = np.array([0.0, 0.0]), 0.0
        for there in path[~avoid.crash(path, path)]:  # a walk that leaves out what would crash
            if not avoid.crash(at, there):
                total += float(avoid.pay(at, there)) - (there[1] >= avoid.TOP)
                at = there
        assert total <= 5
    assert avoid.pay([0.3, 0.9], [-0.3, 1.1]) == 0 and avoid.pay([0.5, 0.9], [0.5, 1.1]) == 1


def test_with_payments_the_environment_pays_what_is_earned_side_by_side() -> None:
    for agent, seeds in ((Demonstrator(noise=0.9), range(8)), (Uniform(2), range(4))):
        rolled = roll(agent, seeds)
        earned = avoid.earned(rolled)
        for k, one in enumerate(drive([avoid.make(payments=True) for _ in range(4)], agent, seeds)):
            assert_array_equal(one.rew, earned[k, : one.steps])
            assert (earned[k, one.steps :] == 0).all()
    assert avoid.make(payments=True).spec.id == avoid.PAID and avoid.make().spec.id == avoid.ID


def test_a_recording_with_payments_holds_what_was_done_crashes_too(tmp_path: Path) -> None:
    words = ["record", "avoid-paid", "--episodes", "60", "--seed", "3", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "60 trials" in done.stdout
    driven = avoid.trials(60, seed=3, noise=avoid.RESTLESS)
    read, held = minari.read(tmp_path / "avoid-paid-v0"), avoid.episodes(driven, payments=True)
    for name in ("obs", "act", "rew", "last"):
        assert_array_equal(getattr(read, name).numpy(), getattr(held, name).numpy())
    assert abs(float(read.rew.sum()) - avoid.earned(driven).sum()) < 1e-4
    rows = np.flatnonzero(held.last.numpy() == 0)
    moved = held.obs.numpy()[rows] + np.float32(avoid.STEP) * held.act.numpy()[rows]
    assert_array_equal(held.obs.numpy()[rows + 1], moved)  # the step leads where its action leads
    tiny = [("updates", "3"), ("width", "8"), ("batch", "8")]
    path = commands.train("fql", str(tmp_path / "avoid-paid-v0"), tiny, out=tmp_path, progress=False)
    assert commands.evaluate(path, episodes=2, progress=False)["success"] is not None
    assert minari._own("avoid-paid-v0") == ("diffrl-lab record avoid-paid", "avoid-paid-v0")
    assert minari._own("avoid-paid-way-3-v0") == ("diffrl-lab record avoid-paid --way 3", "avoid-paid-way-3-v0")


def test_what_the_limit_cuts_off_is_no_end_of_the_task_with_payments() -> None:
    crashing = avoid.trials(300, seed=1, noise=1.5)
    last = avoid.episodes(crashing, payments=True).last
    ends = last[last > 0].numpy()
    at = crashing.path[np.arange(300), crashing.steps]
    before = crashing.path[np.arange(300), crashing.steps - 1]
    over = avoid.crash(before, at) | (at[:, 1] >= avoid.TOP)
    assert_array_equal(ends == TERMINAL, over)
    assert 0 < (~over).sum() < 300 and avoid.crash(before, at).sum() > 20
