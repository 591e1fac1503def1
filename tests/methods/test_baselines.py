"""What the planner is held against does what it says."""

from __future__ import annotations

import numpy as np
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.worlds import Follower
from diffrl_lab.methods.baselines import Cloning, retrieval, straight
from diffrl_lab.methods.diffuser import is_held_out


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
    clone.reset(np.zeros(4), np.array([1.0, -0.5]))
    assert_close(clone.act(np.array([0.5, 0.5, 0.5, -1.0])), np.array([0.15, -0.3]), rtol=0, atol=0.03)
    assert before > 0.01


def test_straight_ahead_pulls_towards_the_goal_and_never_plans_again() -> None:
    agent = straight()
    agent.reset(np.zeros(4), np.array([3.0, -4.0]))
    pulls = [agent.act(np.array([0.0, 0, 0, 0])) for _ in range(50)]
    assert isinstance(agent, Follower) and agent.plans == 1
    assert_close(np.array(pulls), np.tile([1.0, -1.0], (50, 1)))
