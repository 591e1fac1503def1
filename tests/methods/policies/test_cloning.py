"""What the planner is held against does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.baselines.retrieval import retrieval
from diffrl_lab.methods.baselines.straight import straight
from diffrl_lab.methods.planning.diffuser import is_held_out
from diffrl_lab.methods.policies.cloning import Cloning, StateCloning, best_episodes
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
    clone = Cloning(walks(), steps=300, batch=128)
    before, *_ = [float(row["loss"]) for row in clone]
    clone.reset(np.zeros((1, 4)), [0], np.array([[1.0, -0.5]]))
    assert_close(clone.act(np.array([[0.5, 0.5, 0.5, -1.0]])), np.array([[0.15, -0.3]]), rtol=0, atol=0.03)
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
    policy = StateCloning(Episodes.join(rows), width=64, steps=500, batch=256)
    for _ in policy:
        pass
    assert np.abs(policy.act(at) - wanted).mean() < 0.08 and np.abs(policy.act(100 * at)).max() <= 1
