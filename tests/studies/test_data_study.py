"""The studies of data: what is cut, taken and labelled is what is said, and what the shipped tables say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data import minari as recordings
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.shipped import shipped
from diffrl_lab.methods.baselines.straight import straight
from diffrl_lab.studies import data
from diffrl_lab.studies.data import FAR, points
from diffrl_lab.studies.data.guides import BINS, TAUGHT, by_way, labelled, way_left
from diffrl_lab.studies.data.recordings import MAZE, cells_apart, legs, taken, wander
from diffrl_lab.studies.data.trials import FIRST, _Whole, distances, summary
from diffrl_lab.worlds.driving import arrived, drive
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import Walls, path_length

RING = Walls(np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]) == 1)


@pytest.fixture(scope="module")
def recording() -> Episodes:
    return recordings.read(shipped("recordings/pointmaze-large-v0"))[:40]


@pytest.fixture(scope="module")
def large() -> Walls:
    return Walls.named("large")


def test_cells_apart_counts_moves_around_walls() -> None:
    at = RING.centre([[1, 1], [1, 3], [3, 2], [2, 3], [2, 2]])
    found = cells_apart(RING, at[[0, 0, 0, 1]], at[[0, 1, 2, 3]])
    assert found.tolist() == [0, 2, 3, 1] and cells_apart(RING, at[0], at[4]) == np.inf


@pytest.mark.parametrize("k", [2, 4])
def test_a_leg_never_leads_farther_than_k_cells_is_as_long_as_that_allows_and_no_step_is_lost(
    recording: Episodes, large: Walls, k: int
) -> None:
    cut = legs(recording, k, large)
    assert_close(cut.act[cut.last == 0], recording.act[recording.last == 0], rtol=0, atol=0)
    p = [cut.obs[a : b + 1, :2].numpy() for a, b in zip(cut.starts, cut.ends, strict=True)]
    reach = [cells_apart(large, x[:, None], x[None]).max() for x in p]
    assert max(reach) == k
    ends = {tuple(x[:4].tolist()) for x in recording.obs[recording.ends]}
    for here, after, last in zip(p, p[1:], cut.obs[cut.ends], strict=False):
        if tuple(last.tolist()) not in ends:  # the episode went on: one step more would have been too far
            assert (here[-1] == after[0]).all() and cells_apart(large, here, after[1]).max() > k
    with pytest.raises(ValueError, match="got 1"):
        legs(recording, 1, large)


def test_pairs_that_stitching_is_asked_for_are_farther_than_any_leg_and_their_length_agrees_with_the_map() -> None:
    apart = distances()
    env = make_maze(MAZE)
    walls = Walls.of(env)
    assert (apart > FAR).sum() == 94  # as docs/studies/data.md says
    assert max(p["k"] for grid, _ in points("stitching", (0,)) for p in grid) <= FAR
    for k in range(10):
        obs, _ = env.reset(seed=FIRST + k)
        way = path_length(walls.shortest_path(obs["observation"][:2], obs["desired_goal"]))
        assert way < apart[k] + 1.5 and apart[k] < 2**0.5 * way + 2  # a diagonal way of 1.4 m is two moves
    env.close()


def test_a_smaller_size_is_a_part_of_a_larger_one_and_exact_and_seeds_differ(recording: Episodes) -> None:
    few, many, other = taken(recording, 700, 3), taken(recording, 2500, 3), taken(recording, 700, 4)
    assert int(few.lengths.sum()) == 700 and int(many.lengths.sum()) == 2500
    assert_close(few.obs[:-1], many.obs[: len(few.obs) - 1], rtol=0, atol=0)
    assert not torch.equal(few.obs[:100], other.obs[:100])
    with pytest.raises(ValueError, match="got 100000000"):
        taken(recording, 10**8, 0)


def test_all_methods_have_the_same_data_and_seeds_at_every_size() -> None:
    for part in ("efficiency", "stitching"):
        have: dict[tuple, dict[str, tuple]] = {}
        for grid, seeds in points(part, (0, 1, 2)):
            for p in grid:
                have.setdefault((p["recorder"], p["k"], p["transitions"]), {})[p["method"]] = seeds
        for methods in have.values():
            assert {"bc", "planner", "retrieval"} <= set(methods)
            assert len({s for m, s in methods.items() if m != "retrieval"}) == 1


def test_random_recorders_take_exact_numbers_of_steps_and_do_what_is_said() -> None:
    acts = wander("umaze", 700, "actions", 0)
    assert acts.lengths.tolist() == [300, 300, 100]
    a = acts.act[acts.last == 0]
    assert abs(float(a.mean())) < 4 * (1 / 3 / 1400) ** 0.5 and abs(float(a.square().mean()) - 1 / 3) < 0.04
    assert abs(float((a[1:] * a[:-1]).mean())) < 4 / 3 / 1400**0.5  # drawn anew every step
    aims = wander("umaze", 400, "targets", 0)
    assert_close(aims.obs, wander("umaze", 400, "targets", 0).obs, rtol=0, atol=0)
    assert float((aims.act[:39] * aims.act[1:40]).sum(1).mean()) > 0.3  # one target for 40 steps pulls one way
    with pytest.raises(ValueError, match="'sometimes'"):
        wander("umaze", 10, "sometimes", 0)


def test_driven_together_each_ball_reaches_its_goal_as_it_does_alone() -> None:
    envs, seeds = [make_maze("medium") for _ in range(3)], range(1000, 1008)
    alone = [e.reached for e in drive(envs[:1], straight(), seeds)]
    assert [e.reached for e in drive(envs, _Whole(straight()), seeds)] == alone and len(set(alone)) == 2
    short = drive(envs, straight(), seeds, until=arrived)
    assert [e.reached for e in short] == alone and min(e.steps for e in short) < 200
    for env in envs:
        env.close()


def test_the_way_left_is_the_shortest_way_round_the_walls(large: Walls) -> None:
    goal = tuple(large.centre((1, 1)).tolist())
    rng = np.random.default_rng(0)
    free = large.centre(np.argwhere(~large.blocked))
    for start in free[rng.integers(len(free), size=12)]:
        exact = path_length(large.shortest_path(start, goal))
        assert exact - 0.3 < way_left(start, goal) < 1.09 * exact + 0.3


def test_returns_of_both_rewards_follow_from_when_the_ball_arrives(large: Walls) -> None:
    goal = tuple(large.centre((1, 1)).tolist())
    x = np.array([[goal[0] + d, goal[1], 0, 0] for d in (2.0, 1.0, 0.1)])
    episode = Episodes.join([(x, np.zeros((2, 2)), np.zeros(2), False)])
    g = 0.9
    assert_close(labelled(episode, goal, "sparse", g), torch.tensor([g, 1, 1], dtype=torch.float64) / (1 - g))
    left = way_left(x[:, :2], goal)
    last = -left[2] / (1 - g)
    assert_close(labelled(episode, goal, "dense", g).numpy(), np.array([-left[1] + g * last, last, last]))
    with pytest.raises(ValueError, match="'shaped'"):
        labelled(episode, goal, "shaped", g)


def test_the_summary_counts_far_pairs_alone_and_pairs_methods_on_episodes() -> None:
    def row(method: str, seed: int, reached: str) -> dict:
        return {"recorder": "expert", "k": 2, "transitions": 9, "method": method, "seed": seed, "reached": reached}

    apart = [1] * 50 + [6] * 50
    rows = [row("bc", s, "1" * 50 + "10" * 25) for s in (0, 1)]
    rows += [row("planner", s, "0" * 50 + "1" * 50) for s in (0, 1)]
    bc, planner = summary(Table(rows, {"distances": apart}), far=4)
    assert (bc["success"], bc["near"], planner["success"], planner["near"]) == (0.5, 1.0, 1.0, 0.0)
    assert planner["over_bc"] == 0.5 and bc["episodes"] == 50 and "over_bc" not in bc
    low, high = planner["over_bc_interval"]
    assert low < 0.5 < high and high - low < 4.5 * 0.5 / 50**0.5  # two standard errors on either side
    both = summary(Table(rows, {"distances": apart}))
    assert [r["success"] for r in both] == [0.75, 0.5] and both[0]["by_seed"] == [0.75, 0.75]


def test_each_guide_is_judged_at_its_best_scale_in_each_bin() -> None:
    n = len(BINS) - 1
    rows = []
    for form, gamma in (("none", 0.0), ("told", 0.0), *TAUGHT):
        for scale, seed in ((1, 0), (1, 1), (2, 0), (2, 1)):
            arrive = [scale + seed] + [3 - scale] * (n - 1)
            rows.append({"form": form, "gamma": gamma, "scale": scale, "seed": seed, "starts": [10] * n,
                         "arrive": arrive, "prefers": [9] * n, "label_std": [0.5] * n})  # fmt: skip
    found = {(r["form"], r["gamma"], r["way"][0]): r for r in by_way(Table(rows, {}))}
    near, far = found["dense", 0.99, BINS[0]], found["dense", 0.99, BINS[1]]
    assert (near["scale"], near["arrive"], near["by_seed"]) == (2, 0.25, [0.2, 0.3])
    assert (far["scale"], far["arrive"]) == (1, 0.2) and near["interval"] == list(wilson(5, 20))
    assert near["prefers"] == 0.9 and "prefers" not in found["none", 0.0, BINS[0]]


@pytest.mark.parametrize("part", data.PARTS)
def test_what_ships_was_summed_up_from_its_own_rows_and_made_by_what_is_committed(part: str) -> None:
    table = Table.load(shipped(f"results/data-{part}.json"))
    far = FAR if part == "stitching" else 0
    assert table.about["summary"] == (by_way(table) if part == "guide" else summary(table, far))
    assert not any(made["commit"].endswith("dirty") for made in table.about["made"])
    if part != "guide":
        assert {len(row["reached"]) for row in table.rows} == {len(table.about["distances"])}


def test_shipped_guides_taught_by_goal_only_reward_lose_more_with_the_way_than_those_of_dense_reward() -> None:
    rows = Table.load(shipped("results/data-guide.json")).about["summary"]
    found = {(r["form"], r["gamma"], r["way"][0]): r for r in rows}
    far, near = BINS[-2], BINS[0]
    for gamma in (0.99, 0.997):
        sparse, dense = found["sparse", gamma, far], found["dense", 0.99, far]
        assert sparse["interval"][1] < dense["interval"][0]
        assert sparse["arrive"] < 0.5 * found["sparse", gamma, near]["arrive"]
