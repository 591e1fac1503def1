"""The graph: edges only where a recording went, ways against a search by hand, and that training resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.planning import compositional
from diffrl_lab.methods.planning.graph import Agent, Config, Graph, edges, train, waypoints

TINY = Config(
    horizon=6, width=32, depth=1, channels=8, updates=8, batch=16, denoising=3, candidates=4,
    waypoints=24, reach=20, spare=3.0,
)  # fmt: skip


def ell(seed: int = 0) -> Episodes:
    """Legs of 1 m along the two arms of an L, (0, 0) to (4, 0) and (4, 0) to (4, 4), in both directions; dt = 0.01."""
    rng, rows = np.random.default_rng(seed), []
    corner = np.array([[0.0, 0], [4, 0], [4, 4]])
    for _ in range(200):
        at = rng.uniform(0, 7)
        s = at + np.arange(21)[:, None] / 20
        s = s if rng.uniform() < 0.5 else s[::-1]
        x = np.concatenate([np.interp(s, [0, 4, 8], corner[:, i]) for i in (0, 1)], 1)
        v = np.gradient(x, 0.01, axis=0)
        rows.append((np.concatenate([x, v], 1).astype(np.float32), np.zeros((20, 2), np.float32), np.zeros(20), False))
    return Episodes.join(rows)


def test_waypoints_are_recorded_far_apart_and_the_same_again() -> None:
    places = waypoints(ell(), TINY, 2)
    assert_close(places, waypoints(ell(), TINY, 2), rtol=0, atol=0)
    apart = torch.cdist(places, places) + 9 * torch.eye(24)
    assert apart.min() > 0.25  # 24 points on 8 m; drawn at random some would touch
    assert torch.cdist(ell().obs[:, :2], places).amin(1).max() <= apart.min() + 1e-6
    with pytest.raises(ValueError, match="24 waypoints need as many recorded states, got 21"):
        waypoints(ell()[:1], TINY, 2)


def test_an_edge_costs_the_fewest_steps_that_were_recorded_and_none_joins_two_episodes() -> None:
    x = np.zeros((13, 4), np.float32)
    x[:, 0] = np.arange(13)
    far = x + np.array([13, 0, 0, 0], np.float32)  # begins one step after the first ends
    data = Episodes.join([(o, np.zeros((12, 2), np.float32), np.zeros(12), False) for o in (x, far)])
    places = torch.stack([torch.arange(26.0), torch.zeros(26)], 1)
    cost = edges(data, places, Config(reach=11, every=3, toll=3.0))
    assert cost[0, 2] == 5 and cost[0, 5] == 8 and cost[0, 11] == 14  # lags 2, 5, 8 and 11, and the toll
    assert torch.isinf(cost[:13, 13:]).all() and torch.isinf(cost[2, 0]) and torch.isinf(cost.diagonal()).all()


def test_the_way_goes_round_the_corner_and_ends_at_the_goal_and_where_there_is_none_the_goal_is_all() -> None:
    model = train(ell(), TINY).model
    goal = np.array([4.0, 3.5])
    way = model.way([0.2, 0, 0, 0], goal)
    assert len(way) >= 3 and (way[-1] == goal).all()
    on = np.minimum(np.abs(way[:, 1]), np.abs(way[:, 0] - 4))
    assert on.max() < 1e-6  # never across the field between the arms
    along = way[:, 0] + way[:, 1]
    assert (np.diff(along) > 0).all()
    assert_close(model.way([4.0, 3.4, 0, 0], goal), goal[None])
    model.cost.fill_(torch.inf)
    assert_close(model.way([0.2, 0, 0, 0], goal), goal[None])


def test_chunks_end_at_the_waypoints_and_the_graph_around_trained_chunks_is_the_same(tmp_path: Path) -> None:
    model = train(ell(), TINY, seed=1).model
    obs, goal = np.array([[0.2, 0, 0, 0]]), np.array([[4.0, 3.5]])
    (plans,) = model.sample(obs, goal, n=2, generator=torch.Generator().manual_seed(0))
    way = model.way(obs[0], goal[0])
    assert plans.shape == (2, len(way), 6, 5)
    assert_close(plans[:, :, -1, :2], torch.tensor(way).float().expand(2, -1, -1), rtol=0, atol=1e-5)
    shared = {k: v for k, v in vars(TINY).items() if k in vars(compositional.Config())}
    motion = compositional.train(ell(), compositional.Config(**shared), seed=1).model
    other = Graph.around(motion, ell(), TINY)
    assert_close(other.cost, model.cost, rtol=0, atol=0)
    again = other.sample(obs, goal, n=2, generator=torch.Generator().manual_seed(0))
    assert_close(again[0], plans, rtol=0, atol=0)
    model.save(tmp_path / "w.safetensors")
    loaded = Graph.load(tmp_path / "w.safetensors")
    assert_close(loaded.cost, model.cost, rtol=0, atol=0)
    agent = Agent(loaded)
    agent.reset(obs, [0], goal)
    assert agent.act(obs).shape == (1, 2)


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = train(ell(), TINY, seed=1)
    losses = [float(row["loss"]) for row in whole]
    first, second = train(ell(), TINY, seed=1), train(ell(), TINY, seed=1)
    begun = [float(next(rows)["loss"]) for rows in [iter(first)] for _ in range(3)]
    first.save(tmp_path / "run.safetensors")
    second.load(tmp_path / "run.safetensors")
    assert begun + [float(row["loss"]) for row in second] == losses
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=0)
