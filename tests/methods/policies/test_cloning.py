"""What the planner is held against does what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.baselines.retrieval import retrieval
from diffrl_lab.methods.baselines.straight import straight
from diffrl_lab.methods.planning.plans import is_held_out
from diffrl_lab.methods.policies.cloning import Agent, Cloning, Config, best_episodes, train
from diffrl_lab.worlds.driving import Follower


def walks(n: int = 200, steps: int = 20, seed: int = 0) -> Episodes:
    """Straight walks whose action is 0.3 (end - position)."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(n):
        a, b = rng.uniform(-2, 2, (2, 2))
        x = a + np.linspace(0, 1, steps + 1)[:, None] * (b - a)
        rows.append(
            (np.concatenate([x, np.tile(b - a, (steps + 1, 1))], 1), 0.3 * (b - x[:-1]), np.zeros(steps), False)
        )
    return Episodes.join(rows)


def test_a_recorded_start_and_goal_retrieve_the_piece_between_them() -> None:
    episodes = walks()
    first, last = int(episodes.starts[7]) + 3, int(episodes.starts[7]) + 15
    state, goal = episodes.obs[first].numpy(), episodes.obs[last, :2].numpy()
    assert_close(retrieval(episodes).route(state, goal, 0), episodes.obs[first : last + 1].numpy())


def test_retrieval_never_uses_a_piece_between_a_held_out_pair_of_cells() -> None:
    episodes, origin = walks(), (-2.0, -2.0)
    ends = episodes.obs[episodes.starts], episodes.obs[episodes.ends]
    out = is_held_out(*ends, origin).nonzero()[:, 0]
    route = retrieval(episodes, held_out=origin).route
    assert len(out) > 10
    for k in out[:10]:
        piece = route(ends[0][k].numpy(), ends[1][k, :2].numpy(), 0)
        assert not is_held_out(torch.tensor(piece[0]), torch.tensor(piece[-1]), origin)


def test_cloning_finds_a_policy_that_is_a_function_of_state_and_goal() -> None:
    run = train(walks(), Config(updates=300, batch=128), goal=2)
    before, *_ = [float(row["loss"]) for row in run]
    agent = Agent(run.model)
    agent.reset(np.zeros((2, 4)), [0, 1], np.array([[1.0, -0.5], [-0.5, 1.0]]))
    obs = np.array([[0.5, 0.5, 0.5, -1.0], [0.5, 0.5, -1.0, 0.5]])
    assert_close(agent.act(obs), np.array([[0.15, -0.3], [-0.3, 0.15]]), rtol=0, atol=0.03)
    assert_close(agent.act(obs[1:], [1]), np.array([[-0.3, 0.15]]), rtol=0, atol=0.03)
    assert before > 0.01


def test_straight_ahead_pulls_towards_the_goal_and_never_plans_again() -> None:
    agent = straight()
    agent.reset(np.zeros((1, 4)), [0], np.array([[3.0, -4.0]]))
    pulls = [agent.act(np.zeros((1, 4)))[0] for _ in range(50)]
    assert isinstance(agent, Follower) and agent.extras(0)["plans"] == 1
    assert_close(np.array(pulls), np.tile([1.0, -1.0], (50, 1)))


def test_the_best_tenth_is_counted_in_steps_or_in_episodes_and_ties_keep_their_order() -> None:
    def episode(length: int, pays: float, mark: float) -> tuple:
        return np.full((length + 1, 1), mark), np.zeros((length, 1)), np.full(length, pays), False

    # returns 4, 10, 10, 6, 0 ...; a long poor one holds most of the steps
    some = [episode(2, 2.0, 0), episode(5, 2.0, 1), episode(10, 1.0, 2), episode(3, 2.0, 3), episode(180, 0.0, 4)]
    episodes = Episodes.join(some)

    def marks(**options) -> list[float]:
        chosen = best_episodes(episodes, **options)
        return chosen.obs[chosen.starts, 0].tolist()

    assert marks(share=0.2, of="episodes") == [1] and marks(share=0.21, of="episodes") == [1, 2]
    assert marks(share=5 / 200) == [1] and marks(share=0.026) == [1, 2] and marks(share=0.1) == [1, 2, 3, 0]
    assert marks(share=1.0) == [1, 2, 3, 0, 4]
    for wrong in ({"share": 0.0}, {"share": 1.1}, {"of": "rows"}):
        with pytest.raises(ValueError, match="share must lie"):
            best_episodes(episodes, **wrong)


def test_cloning_of_states_finds_the_policy_under_the_scatter() -> None:
    rng, rows = np.random.default_rng(0), []
    for _ in range(40):
        x = rng.normal(size=(51, 2))
        scatter = rng.normal(size=(50, 1)) * np.where(x[:-1, :1] > 0, 0.3, 0.02)
        rows.append((x, np.tanh(0.5 * x[:-1, :1] - 0.3 * x[:-1, 1:]) + scatter, np.zeros(50), False))
    at = rng.normal(size=(200, 2))
    wanted = np.tanh(0.5 * at[:, :1] - 0.3 * at[:, 1:])
    run = train(Episodes.join(rows), Config(width=64, updates=500, batch=256))
    list(run)
    policy = Agent(run.model)
    policy.reset(at, range(200))
    assert np.abs(policy.act(at) - wanted).mean() < 0.08 and np.abs(policy.act(100 * at)).max() <= 1


TINY = Config(width=16, updates=8, batch=16)


@pytest.mark.parametrize("goal", [0, 2])
def test_a_cloning_that_was_stopped_goes_on_bit_for_bit(goal: int, tmp_path: Path) -> None:
    whole, stopped, again = (train(walks(20), TINY, seed=3, goal=goal) for _ in range(3))
    losses = [float(row["loss"]) for row in whole]
    first = [float(row["loss"]) for _, row in zip(range(5), stopped, strict=False)]
    stopped.save(tmp_path / "run.safetensors")
    again.load(tmp_path / "run.safetensors")
    assert first + [float(row["loss"]) for row in again] == losses
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


@pytest.mark.parametrize("goal", [0, 2])
def test_a_cloning_that_was_saved_acts_the_same_when_saved_again(goal: int, tmp_path: Path) -> None:
    run = train(walks(20), TINY, seed=3, goal=goal)
    list(run)
    run.model.save(tmp_path / "a.safetensors")
    once = Cloning.load(tmp_path / "a.safetensors")
    once.save(tmp_path / "b.safetensors")
    obs, ends = np.random.default_rng(0).normal(size=(5, 4)), np.zeros((5, 2)) if goal else None
    one, two = (m.sample(obs, ends, n=2) for m in (once, Cloning.load(tmp_path / "b.safetensors")))
    assert torch.equal(one, two) and torch.equal(one[:, 0], one[:, 1]) and once.config == TINY
    assert_close(one, run.model.sample(obs, ends, n=2), rtol=0.01, atol=0.01)  # float16 keeps 11 bits of a weight


def test_pairs_of_cells_that_are_held_out_are_not_cloned() -> None:
    episodes, origin = walks(20), (-2.0, -2.0)
    x, kept = (
        train(episodes, TINY, goal=2, held_out=corner).stages[0].batches.data["inputs"]  # type: ignore[attr-defined]
        for corner in (None, origin)
    )
    rows = (episodes.last == 0).nonzero()[:, 0]
    ends = episodes.ends[torch.searchsorted(episodes.ends, rows)]
    out = is_held_out(episodes.obs[rows, :2], episodes.obs[ends, :2], origin)
    assert 0 < int(out.sum()) < len(x) and torch.equal(kept, x[~out])


def test_states_and_goals_that_do_not_fit_are_named() -> None:
    plain, told = train(walks(5), TINY).model, train(walks(5), TINY, goal=2).model
    for model, obs, goal in ((plain, 3, None), (plain, 4, 2), (told, 4, None), (told, 4, 3)):
        with pytest.raises(ValueError, match=r"states \[m, 4\] and (no goals|goals \[m, 2\]) were wanted, got \(6, "):
            model.sample(np.zeros((6, obs)), None if goal is None else np.zeros((6, goal)))
    with pytest.raises(ValueError, match="0 to 4 columns of an observation, got goal=5"):
        train(walks(5), goal=5)
    with pytest.raises(ValueError, match="held out only from a cloning with goals"):
        train(walks(5), held_out=(0.0, 0.0))
