"""A search over chunks: what is added up, which leaf is next, which plan is kept, and that training resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.planning.compositional import Chunks, Compositional
from diffrl_lab.methods.planning.tree import KINDS, Agent, Config, Node, Tree, train

TINY = Config(
    horizon=6, width=32, depth=1, channels=8, updates=8, batch=16, denoising=3, most=3, simulations=9, children=3
)


def legs(episodes: int = 60, steps: int = 20, seed: int = 0) -> Episodes:
    """Drives of 1 m at constant speed in an open field, from a random place. dt = 0.01."""
    rng, rows, share = np.random.default_rng(seed), [], np.arange(steps + 1)[:, None] / steps
    for _ in range(episodes):
        a, angle = rng.uniform(-3, 3, 2), rng.uniform(0, 2 * np.pi)
        way = np.array([np.cos(angle), np.sin(angle)])
        obs = np.concatenate([a + share * way, np.ones_like(share) * way / (steps * 0.01)], 1).astype(np.float32)
        rows.append((obs, np.zeros((steps, 2), np.float32), np.zeros(steps), False))
    return Episodes.join(rows)


class Straight(nn.Module):
    """A motion that draws straight chunks: to where it is told, else one metre anywhere. The longest chunk of a plan is
    what is wrong with it, as far as it is longer than a metre: so a far goal is reached by several chunks alone."""

    def ends(self, obs, goals, chunks):
        known = torch.ones(len(obs), chunks, 6, 4, dtype=torch.bool)
        value = torch.zeros(known.shape)
        share = torch.linspace(0, 1, chunks + 1)[:, None, None]
        at = (obs[:, :2] + share * (goals - obs[:, :2])).transpose(0, 1)
        within = torch.linspace(0, 1, 6)[:, None]
        value[..., :2] = at[:, :-1, None] + within * (at[:, 1:] - at[:, :-1])[:, :, None]
        return known, value

    def drawn(self, known, value, generator=None, *, steps=None):
        points = value.clone()
        if not bool(known[:, -1, -1].any()):  # an open end
            angle = 2 * np.pi * torch.rand(len(points), generator=generator)
            way = torch.stack([angle.cos(), angle.sin()], -1)
            points[..., :2] = value[:, :, :1, :2] + torch.linspace(0, 1, 6)[:, None] * way[:, None, None]
        nothing = torch.zeros(len(points))
        return Chunks(points, torch.full(points.shape[:2], 20.0), nothing, nothing)

    def score(self, plans, generator=None):
        far = (plans.points[:, :, -1, :2] - plans.points[:, :, 0, :2]).norm(dim=-1)
        return (far - 1).clamp(min=0).amax(1)


def straight(**options) -> Tree:
    model = Tree(replace(TINY, **options), 4, 2)
    model.motion = Straight()  # type: ignore[assignment]
    return model


def every(node: Node) -> list[Node]:
    return [node, *(n for child in node.children for n in every(child))]


def test_a_node_s_visits_and_total_are_those_of_the_plans_below_it_and_its_own() -> None:
    found = straight(simulations=40).search(np.zeros(4), np.array([2.5, 0]), torch.Generator().manual_seed(0))
    assert found.root.visits == len(found.plans)
    assert found.root.total == pytest.approx(sum(1 / (1 + w) for w in found.plans))
    for node in every(found.root):
        assert not node.untried or node.depth + 1 < TINY.most
        own = node.visits - sum(child.visits for child in node.children)
        assert own >= 1 and node.depth < TINY.most and len(node.way()) == node.depth
        assert 0 < node.value <= 1


@pytest.mark.parametrize("goal", [[0.5, 0.2], [2.5, 0.0]])
def test_the_plan_is_the_best_that_was_seen_and_goes_from_the_state_to_the_goal_without_a_tear(goal: list) -> None:
    found = straight().search(np.zeros(4), np.array(goal), torch.Generator().manual_seed(0))
    assert found.wrong == min(found.plans)
    assert_close(found.points[0, 0, :2], torch.zeros(2))
    assert_close(found.points[-1, -1, :2], torch.tensor(goal))
    assert_close(found.points[1:, 0], found.points[:-1, -1])
    assert len(found.durations) == len(found.points) <= TINY.most
    assert found.wrong < 1e-6  # one chunk, or three of less than a metre


def test_a_goal_that_is_farther_than_all_chunks_together_is_reached_by_a_plan_that_is_said_to_be_wrong() -> None:
    found = straight().search(np.zeros(4), np.array([4.5, 0]), torch.Generator().manual_seed(0))
    assert found.wrong > 0.4 and len(found.points) == 3


def test_much_exploration_visits_evenly_and_none_goes_where_it_paid_best() -> None:
    node = Node(torch.zeros(4), untried=[])
    for reward in (0.9, 0.5, 0.1):
        child = Node(torch.zeros(4), node)
        node.children.append(child)
        child.paid(reward)
    for c, chosen in ((1e6, None), (0.0, 0)):
        for _ in range(30):
            best = max(node.children, key=lambda child: child.uct(c))
            best.paid((0.9, 0.5, 0.1)[node.children.index(best)])
            assert chosen is None or best is node.children[chosen]
        if chosen is None:
            assert [child.visits for child in node.children] == [11, 11, 11]
    assert node.children[0].uct(2.0) == pytest.approx(0.9 + 2 * np.sqrt(np.log(node.visits) / node.children[0].visits))


def test_a_node_gets_chunks_of_both_kinds_once_and_only_open_ones_end_anywhere() -> None:
    model = Tree(TINY, 4, 2)
    states, goal = torch.zeros(5, 4), torch.tensor([1.0, 2.0])
    seen = {}

    def ends_seen(known, value, generator=None, **options):
        seen["known"] = known.clone()
        return Compositional.drawn(model.motion, known, value, generator, **options)

    model.motion.drawn = ends_seen  # type: ignore[method-assign]
    for kind, last in (("open", False), ("goal", True)):
        plans = model.chunks(states, goal, kind, 2, torch.Generator().manual_seed(0))
        assert plans.points.shape == (5, 1, 6, 4) and bool(seen["known"][:, -1, -1, :2].all()) == last
        assert seen["known"].shape[1] == (2 if last else 1) and bool(seen["known"][:, 0, 0, :4].all())
    found = straight(simulations=2).search(np.zeros(4), np.ones(2), torch.Generator().manual_seed(0))
    assert len(found.root.children) == len(KINDS) * TINY.children and not found.root.untried


def test_a_stopped_training_goes_on_bit_for_bit_and_chunks_that_were_trained_before_can_be_taken(
    tmp_path: Path,
) -> None:
    whole = train(legs(), TINY, seed=1)
    losses = [float(row["loss"]) for row in whole]
    first, second = train(legs(), TINY, seed=1), train(legs(), TINY, seed=1)
    begun = [float(next(rows)["loss"]) for rows in [iter(first)] for _ in range(3)]
    first.save(tmp_path / "run.safetensors")
    second.load(tmp_path / "run.safetensors")
    assert begun + [float(row["loss"]) for row in second] == losses
    whole.model.save(tmp_path / "w.safetensors")
    again = Tree.load(tmp_path / "w.safetensors")
    around = Tree.around(again.motion, TINY)
    one, other = (m.route(np.zeros(4), np.ones(2), seed=3) for m in (again, around))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one[-1, :2], 1, atol=1e-5)
    assert Agent(again, most=2).most == 2
