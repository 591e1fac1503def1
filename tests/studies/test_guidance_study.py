"""The study of guidance: its exact rows, how a plan's return is counted, and what its shipped results say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Cosine
from diffrl_lab.files import RESULTS, WEIGHTS
from diffrl_lab.methods.guides import Guide
from diffrl_lab.methods.planning.decision_diffuser import DecisionDiffuser
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.methods.planning.plans import Plan
from diffrl_lab.studies import guidance
from diffrl_lab.studies.guidance import equal, goals, of_goals
from diffrl_lab.studies.guidance.clouds import plan_returns
from diffrl_lab.studies.guidance.equal import COLUMNS, FORMS, frontiers, mixture, tilt
from diffrl_lab.studies.guidance.goals import arrives, chosen, goal_plans, pooled
from diffrl_lab.studies.guidance.line import exact
from diffrl_lab.studies.guidance.models import SMALL
from diffrl_lab.worlds.driving import Follower, drive
from diffrl_lab.worlds.mazes import Controller, make_maze
from diffrl_lab.worlds.walls import Walls


def test_at_scale_1_two_forms_sample_the_powered_law_and_at_scale_4_both_overshoot_it() -> None:
    for form in ("cfg", "classifier"):
        one, four = exact(form, 1.0, seed=0), exact(form, 4.0, seed=0)
        assert abs(one["left"] - one["law_left"]) < 5 * one["left_se"] + 0.002
        assert abs(one["mean"] - one["law_mean"]) < 0.05
        assert four["over"] > four["law_over"] + 0.5 and four["std"] < 0.8 * four["law_std"]
    assert exact("plain", 1.0, seed=0)["std"] < 0.3
    with pytest.raises(ValueError, match="no form 'best'"):
        exact("best", 1.0, seed=0)


def test_a_plans_return_counts_steps_at_its_end_and_the_toll_of_the_right_corridor() -> None:
    H = 33
    x = torch.zeros(2, H, 4)  # up to the right corridor in no time, down through it at 1 m/s for 2 s, there to stay
    x[:, :, 1] = torch.linspace(1, -1, H)
    x[0, :, 0], x[1, :, 0], x[:, :, 3] = 2.0, -2.0, -1.0
    planner = Diffuser(SMALL, 4, 2)
    planner.seconds.fill_(0.01)
    plan = Plan(x, torch.tensor([200.0, 200.0]), torch.zeros(2))
    right, left = plan_returns(plan, planner, "two-ways")
    assert_close(left, 300 - 200 + 45.0, rtol=0, atol=1.01)  # within 0.45 m of the end for its last 45 steps
    assert_close(left - right, 0.5 * 199, rtol=0, atol=1.01)


@pytest.fixture
def two_modes(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """A recorded world of 30 left drives that return 9 to 11 and 70 right ones that return 0."""
    R = torch.cat([torch.linspace(9, 11, 30), torch.zeros(70)])
    labels = (torch.arange(100) >= 30).long()
    monkeypatch.setattr(equal, "region", lambda world: (None, np.zeros((2, 2, 2)), labels, R, None, 0.0))
    monkeypatch.setattr(equal, "data", lambda world: (None, None, R))
    return R


def test_the_exact_frontiers_meet_the_recorded_share_at_the_recorded_return(two_modes: torch.Tensor) -> None:
    level = float(two_modes.mean())
    for form in (mixture, tilt):
        assert_close(form("here", level)["left"], 0.3, rtol=0, atol=1e-4)
    # above the better mode's own mean only the tilt goes: it picks within the mode
    assert tilt("here", 10.3)["left"] > 0.999 and tilt("here", 10.3)["entropy"] < 0.01
    with pytest.raises(ValueError, match="cannot return 10.3"):
        mixture("here", 10.3)
    p = mixture("here", 5.0, n=100_000)
    assert_close([p["left"], p["entropy"], p["coverage"]], [0.5, np.log(2), 1.0], rtol=0, atol=1e-4)


def test_frontiers_compare_forms_at_equal_return_whatever_their_scales_units(
    two_modes: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equal, "LEVELS", {"here": [4.0, 99.0]})
    rows = []
    for form in FORMS:
        for seed in range(3):
            for k, s in enumerate([0.0, 1.0, 2.0]):
                unit = 10.0 if form == "cfg" else 1.0
                kept = 0.6 - 0.1 * s * (form == "value") + 0.01 * seed
                rows.append(dict.fromkeys(COLUMNS, 0.0) | {
                    "world": "here", "form": form, "seed": seed, "scale": s * unit,
                    "valid_return": 3.0 + s, "entropy": kept, "left": 0.5, "invalid": 0.1 * k,
                })  # fmt: skip
    found, pairs = frontiers(Table(rows, {}))
    at = {r["form"]: r for r in found if r["by"] == "return" and r["level"] == 4.0}
    assert at["cfg"]["scale"] == 10 and at["energy"]["scale"] == 1 and at["cfg"]["entropy"] == at["energy"]["entropy"]
    assert_close(at["value"]["entropy"], 0.51)
    assert_close(at["value"]["entropy_interval"], [0.51 - 0.02484, 0.51 + 0.02484], rtol=0, atol=1e-5)
    assert set(at) == {*FORMS, "mixture", "tilt"}
    none = [r for r in found if r["level"] == 99.0]
    assert none and all(r["reached"] == 0 and r["entropy"] is None for r in none)
    (pair,) = [p for p in pairs if p["a"] == "value" and p["by"] == "return"]
    assert_close([pair["entropy"], *pair["entropy_interval"]], [-0.1, -0.1, -0.1])
    (half,) = [r for r in found if r["by"] == "invalid" and r["level"] == 0.05 and r["form"] == "value"]
    assert_close(half["valid_return"], 3.5)


def test_plans_of_a_batch_go_from_each_query_to_its_own_goal_and_two_forms_of_no_guidance_agree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scaler = Scaler(torch.tensor([0.0, 0.0, 0.0, 0.0, 4.0]), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.3]))
    net = DecisionDiffuser(SMALL, 4, 2, 2).planner
    net.scaler = scaler
    net.seconds.fill_(0.01)
    monkeypatch.setattr(goals, "goal_models", lambda *_: (net, Guide(SMALL.horizon * 5, Cosine(), out=4)))
    rng = np.random.default_rng(0)
    obs, end = rng.uniform(-2, 2, (5, 4)), rng.uniform(-2, 2, (5, 2))
    both = {}
    for form in ("pin", "cfg", "classifier"):
        found = both[form] = goal_plans("umaze", form, 0.0, 0, obs, end, torch.Generator().manual_seed(0))
        assert len(found) == 5
        for k, p in enumerate(found):
            assert p is not None
            assert_close(p[0], obs[k], rtol=0, atol=1e-5)
            assert bool(np.linalg.norm(p[-1, :2] - end[k]) < 1e-5) == (form == "pin")
    for a, b in zip(both["cfg"], both["classifier"], strict=True):
        assert a is not None and b is not None
        assert_close(a, b, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="no form 'best'"):
        goal_plans("umaze", "best", 0.0, 0, obs, end, torch.Generator())


def test_arrival_is_what_a_follower_of_the_whole_episode_would_find() -> None:
    env, walls = make_maze("umaze"), Walls.named("umaze")
    for seed, straight in ((0, False), (1, False), (2, True), (7, True)):
        obs, _ = env.reset(seed=seed)
        start, goal = obs["observation"], obs["desired_goal"]
        route = np.r_[start[:2], 0, 0][None] if straight else Controller(walls).route(start, goal)
        follower = Follower(lambda *_, route=route: route, again=False)
        follower._target = lambda k, f=follower: f.reference[k][min(f.step[k], len(f.reference[k]) - 1)]  # type: ignore[method-assign]
        assert arrives(env, route, seed=seed) == drive([env], follower, [seed])[0].reached
        if not straight:  # a route that ends 0.4 m from the goal arrives, one that ends 0.5 m from it does not
            away = (start[:2] - goal) / np.linalg.norm(start[:2] - goal)
            for metres in (0.4, 0.5):
                stop = np.r_[goal + metres * away, 0, 0]
                short = np.r_[route[np.linalg.norm(route[:, :2] - goal, axis=1) > metres], np.tile(stop, (50, 1))]
                short[:, 2:] = 0
                assert arrives(env, short, seed=seed) == (metres < 0.45)
    env.close()


def test_goals_are_driven_at_the_scales_that_seed_0_chose_and_one_seed_does_not_need_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The whole path from pilot to table, with plans that do not depend on a network."""
    seen = []

    def goal(maze: str, form: str, scale: float, *, seed: int, first: int = 0, queries: int = 1, episodes: int = 1):
        seen.append((maze, form, scale, seed, episodes))
        hit = float(scale == 1.0)
        return {"queries": queries, "episodes": episodes, "clear": hit, "reached": hit, "reached_low": 0.0,
                "cpu_batched": 0.1}  # fmt: skip

    monkeypatch.setattr(goals, "goal", goal)
    monkeypatch.setattr(guidance, "RUNS", tmp_path)
    table = of_goals((1,))
    assert {(r["form"], r["scale"]) for r in table.rows} == {("pin", 0.0), ("cfg", 1.0), ("classifier", 1.0)}
    assert {r["seed"] for r in table.rows} == {1} and {r["episodes"] for r in table.rows} == {500}
    assert {s for *_, s, n in seen if n == 1} == {0}
    assert len(pooled(table)) == 12


def test_the_chosen_scale_has_most_clear_plans_and_a_pool_counts_all_episodes() -> None:
    rows = [
        {"maze": "m", "form": "cfg", "scale": s, "seed": k, "clear": c, "reached": c, "episodes": 100,
         "reached_low": c - 0.1, "cpu_batched": 0.1}
        for s, cs in ((0.0, (0.2, 0.4)), (1.0, (0.9, 0.8)), (2.0, (0.8, 0.9))) for k, c in enumerate(cs)
    ]  # fmt: skip
    assert chosen(Table(rows, {}), "cfg") == 1.0
    (pool,) = pooled(Table([r for r in rows if r["scale"] == 1.0], {}))
    assert pool["reached"] == 0.85 and pool["episodes"] == 200 and pool["lowest"] == 0.8 - 0.1
    assert pool["interval"][0] < 0.85 < pool["interval"][1]


def mean(table: Table, column: str, **where) -> float:
    return float(np.mean(table.column(column, **where).astype(float)))


def test_what_ships_shows_modes_lost_by_one_form_and_kept_by_the_other_at_matched_return() -> None:
    table = Table.load(RESULTS / "guidance-plans-two-ways-p50.json")
    assert len(set(table.column("seed"))) == 3
    assert mean(table, "coverage", form="cfg", scale=1) == 0.5 and mean(table, "coverage", form="value", scale=1) == 1
    assert mean(table, "off", form="cfg", scale=8) > 0.5 > 0.2 > mean(table, "off", form="value", scale=8)


def test_the_shipped_frontiers_show_one_form_passing_through_the_wall_where_the_others_go_around() -> None:
    rows = Table.load(RESULTS / "guidance-frontiers.json").rows
    assert {r["seeds"] for r in rows if "seeds" in r} == {3}
    for world, level in (("two-ways-p50", 166), ("two-ways-p20", 160)):
        at = {r["form"]: r for r in rows if (r["world"], r["by"], r["level"]) == (world, "return", level)}
        low, _ = at["cfg"]["invalid_interval"]
        for form in ("value", "energy", "classifier"):
            assert at[form]["reached"] == 3 and low > at[form]["invalid_interval"][1]
            least, most = at[form]["entropy_interval"]
            assert least < at["tilt"]["entropy"] < most


def test_the_shipped_goals_are_reached_less_often_by_a_classifier_where_the_maze_is_large() -> None:
    table = Table.load(RESULTS / "guidance-goals.json")
    assert pooled(table) == table.about["pooled"]
    at = {(r["maze"], r["form"]): r for r in table.about["pooled"]}
    assert len(at) == 12 and all(r["episodes"] == 500 * r["seeds"] for r in at.values())
    for maze in ("medium", "large"):
        for form in ("pin", "cfg"):
            assert at[maze, form]["interval"][0] > at[maze, "classifier"]["interval"][1]
    cost = {r["form"]: (r["evaluations"], r["guide"], r["backward"]) for r in table.rows}
    assert cost == {"pin": (10, 0, 0), "cfg": (20, 0, 0), "classifier": (10, 10, 10)}
    # one scale each, chosen on other queries
    assert len({(r["maze"], r["form"], r["scale"]) for r in table.rows}) == 12
    for maze in ("umaze", "medium", "large", "two-ways"):
        pilot = Table.load(RESULTS / f"guidance-goals-{maze}.json")
        assert {f: chosen(pilot, f) for f in ("pin", "cfg", "classifier")} == {
            f: at[maze, f]["scale"] for f in ("pin", "cfg", "classifier")
        }


def test_shipped_weights_open_and_sample_finite_plans() -> None:
    dd = DecisionDiffuser.load(WEIGHTS / "guidance-two-ways-returns.safetensors")
    plan = dd.planner.free(4, torch.Generator().manual_seed(0))
    assert bool(plan.candidates.isfinite().all()) and plan.candidates[..., :2].abs().max() < 4
    for name in ("value", "energy"):
        J = Guide.load(WEIGHTS / f"guidance-two-ways-{name}.safetensors")
        assert bool(J(torch.zeros(2, 32, 5), 0.5).isfinite().all())
