"""Constrained planning: what every form keeps, what none may change, and the coverage of conformal margins."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Cosine, GaussianDenoiser
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.constrained import FORMS, Agent, Config, Constrained, conformal, slowed, train
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.worlds import zones
from diffrl_lab.worlds.zones import Box, Disc, Speed

H = 16
TINY = diffuser.Config(horizon=H, width=16, depth=1, channels=8, denoising=5, candidates=8)
START, GOAL = np.array([-1.0, 0.0, 0.0, 0.0]), np.array([1.0, 0.0])
DISC, BOX = Disc(0.0, 0.1, 0.3), Box(-0.2, 0.2, -0.4, 0.3)


def exact_planner() -> Diffuser:
    """A planner whose denoiser is exact: straight ways from (-1, 0) to (1, 0) in 100 steps, each point 0.15 m off."""
    planner = Diffuser(TINY, 4, 2)
    planner.seconds.fill_(0.01)
    way = torch.zeros(H, 5)
    way[:, 0], way[:, 2] = torch.linspace(-1, 1, H), 2.0
    way[:, 4] = torch.log(torch.tensor(100.0))
    spread = torch.tensor([0.15, 0.15, 0.05, 0.05, 0.01])
    planner.scaler.spread.copy_(spread)
    D = GaussianDenoiser((way / spread).reshape(-1), Cosine(), std=1.0)
    flat = lambda x, t, cond=None: D(x.flatten(1), t).view_as(x)  # noqa: E731
    flat.schedule = D.schedule  # type: ignore[attr-defined]
    return weights.around(planner, denoiser=flat)


PLANNER = exact_planner()


def model(form: str, **options) -> Constrained:
    J = lambda x, t: x[:, H // 2, 1]  # noqa: E731  what a classifier might say: high up is safe
    return Constrained.of(PLANNER, Config(form=form, **{"candidates": 16, "tries": 1, "gap": 100.0} | options), J)


def plan(form: str, rules, seed: int = 0, **options):
    return model(form, **options).plan(START, GOAL, rules, generator=torch.Generator().manual_seed(seed))


def test_two_classifiers_add_up_a_rule_told_twice_is_that_rule_at_twice_the_scale_and_their_order_is_nothing() -> None:
    high, early = (lambda x, t: 3 * x[:, H // 2, 1]), (lambda x, t: x[:, H // 4, 0])
    told = lambda scale, *J: Constrained.of(  # noqa: E731
        PLANNER, Config(form="learned", scales=(scale,), candidates=16, tries=1, gap=100.0), J
    ).plan(START, GOAL, [DISC], generator=torch.Generator().manual_seed(0))
    once, twice = told(4.0, high).plan.candidates, told(2.0, high, high).plan.candidates
    assert_close(once, twice)
    one, other, alone = told(2.0, high, early), told(2.0, early, high), told(2.0, high)
    assert_close(one.plan.candidates, other.plan.candidates)
    assert (one.plan.candidates - alone.plan.candidates).abs().max() > 0.01


@pytest.mark.parametrize("form", [f for f in FORMS if f != "learned"])
def test_without_rules_every_form_gives_the_plans_of_the_planner_bit_for_bit(form: str) -> None:
    g = torch.Generator().manual_seed(0)
    if form != "select":  # it judges the first draw, which the other forms take their measure from
        PLANNER.plan(START, GOAL, 16, g, steps=10)
    free, found = PLANNER.plan(START, GOAL, 16, g, steps=10), plan(form, [])
    assert_close(found.plan.candidates, free.candidates[free.gaps.argsort()], atol=0, rtol=0)


@pytest.mark.parametrize("form", ["end", "x0_hat", "iterate", "barrier"])
@pytest.mark.parametrize("zone", [DISC, BOX])
def test_projections_leave_no_point_in_a_zone_and_the_given_ends_where_they_are(form: str, zone) -> None:
    x = plan(form, [zone], margin=0.05, slack=0.0).plan.candidates
    assert float(zone.grown(0.05).depth(x).max()) < 1e-4
    assert zones.inside(plan("select", [zone]).plan.candidates, [zone]).any(-1).float().mean() > 0.9
    assert_close(x[:, 0], torch.tensor(START).float().expand(16, -1))
    assert_close(x[:, -1, :2], torch.tensor(GOAL).float().expand(16, -1))


def test_near_recorded_positions_the_nearest_of_what_is_kept_is_the_best_and_a_far_one_is_drawn_again() -> None:
    line = np.stack([np.linspace(-1, 1, 400), np.zeros(400)], 1)
    m = Constrained.of(PLANNER, Config(form="select", candidates=16, tries=1, gap=100.0), recorded=line)
    found = m.plan(START, GOAL, [], generator=torch.Generator().manual_seed(0))
    far = m.away(found.curves)
    assert_close(far, np.array([np.abs(x[:, 1]).max() for x in found.curves]), atol=0.02, rtol=0)
    assert (np.diff(far) >= 0).all() and found.tries == 1
    again = Constrained.of(PLANNER, replace(m.config, tries=5, reach=0.5 * far[0]), recorded=line)
    better = again.plan(START, GOAL, [], generator=torch.Generator().manual_seed(0))
    assert better.tries == 5 and m.away(better.curves[:1])[0] <= far[0] and not better.given_up
    with pytest.raises(ValueError, match="recorded positions"):
        model("select").away(found.curves)


def test_keeping_the_points_does_not_keep_the_segments_and_a_grown_zone_does() -> None:
    thin = Disc(0.0, 0.0, 0.1)  # points of a plan are 0.13 m apart
    found = plan("end", [thin], margin=0.0, slack=0.0).plan
    assert not zones.inside(found.candidates, zones.grown([thin], -1e-4)).any()
    crossed = zones.broken(found.candidates, [thin]).float().mean()
    assert zones.broken(found.candidates, [thin]).any(-1).float().mean() > 0.5
    wide = plan("end", [thin], margin=0.0, slack=0.5).plan
    assert zones.broken(wide.candidates[:, 1:-1], [thin]).float().mean() < 0.3 * crossed


def test_the_barrier_never_lets_a_point_sink_deeper_than_its_bound() -> None:
    m = model("barrier", rate=0.25, margin=0.0, slack=0.0)
    g = torch.Generator().manual_seed(1)
    x_t, x_s = (PLANNER.scaler(torch.cat([torch.randn(6, H, 4, generator=g), torch.zeros(6, H, 1)], -1)) for _ in "ab")
    rule = m._barrier([DISC])
    depth = lambda x: DISC.depth(PLANNER.scaler.inverse(x)[..., :-1])  # noqa: E731
    t, s = torch.tensor(0.5), torch.tensor(0.4)
    kept, allowed = depth(x_s) <= 0.75 * depth(x_t), 0.75 * depth(x_t)
    assert kept.any() and not kept.all()
    after = rule(x_s, x_t, t, s)
    assert (depth(after) <= allowed + 1e-4).all() and torch.equal(after[kept], x_s[kept])
    assert float(depth(rule(x_s, x_t, t, 0 * s)).max()) < 1e-4


def test_a_cost_of_more_weight_leaves_fewer_points_in_the_zone() -> None:
    weights = (0.0, 10.0, 100.0)
    found = [plan("cost", [DISC], scales=(w,)).plan.candidates for w in weights]
    deep = [float(DISC.depth(x).clamp(min=0).mean()) for x in found]
    assert deep[0] > 1.5 * deep[1] > 2 * deep[2]


def test_the_learned_form_climbs_its_classifier() -> None:
    height = [float(plan("learned", [], scales=(w,)).plan.candidates[:, H // 2, 1].mean()) for w in (0.0, 4.0)]
    assert height[1] > height[0] + 0.1


@pytest.mark.parametrize("form", ["select", "x0_hat", "cost"])
def test_a_plan_that_is_not_given_up_breaks_no_rule_on_its_whole_curve(form: str) -> None:
    side = Disc(0.0, 0.5, 0.25)
    found = plan(form, [side], margin=0.05)
    assert not found.given_up and not zones.broken(found.curves[0], [side.grown(0.05)]).any()
    assert (found.broken[found.kept] == 0).all() and found.kept[: found.kept.sum()].all()


def test_a_plan_through_a_zone_that_leaves_no_room_is_given_up_after_so_many_tries() -> None:
    everywhere = Box(-0.3, 0.3, -9, 9)
    found = plan("select", [everywhere], tries=3)
    assert found.given_up and found.tries == 3 and not found.kept.any() and found.broken[0] == found.broken.min()


def at_fifty(x: np.ndarray) -> np.ndarray:
    """A curve [T, 2+] at fifty times evenly spaced."""
    u, v = np.linspace(0, 1, 50), np.linspace(0, 1, len(x))
    return np.stack([np.interp(u, v, x[:, i]) for i in (0, 1)], 1)


def test_ends_that_are_moved_lead_back_to_the_true_ends_and_the_curve_stays_smooth() -> None:
    found = plan("select", [Box(-0.3, 0.3, -9, 9)], tries=2, jitter=0.3).plan
    assert_close(found.candidates[:, 0, :2], torch.tensor(START[:2]).float().expand(16, -1), atol=1e-5, rtol=0)
    assert_close(found.candidates[:, -1, :2], torch.tensor(GOAL).float().expand(16, -1), atol=1e-5, rtol=0)
    m, flat = model("select"), PLANNER.plan(START, GOAL, 16, torch.Generator().manual_seed(0))
    u = torch.linspace(0, 1, H)[:, None]
    x = torch.cat([u * torch.tensor([2.0, 0.0]), torch.tensor([2.0, 0.0]).expand(H, -1)], -1).expand(16, -1, -1)
    smooth = replace(flat, candidates=x, durations=torch.full((16,), 100.0))
    led = m._led_back(smooth, 0.3 * torch.randn(16, 2, 2, generator=torch.Generator().manual_seed(0)))
    assert float(led.gaps.max()) < 0.02 and float((led.candidates - x)[..., :2].norm(dim=-1).max()) > 0.3


def test_a_limit_of_speed_takes_time_and_leaves_the_way() -> None:
    free, limit = PLANNER.plan(START, GOAL, 4, torch.Generator().manual_seed(0)), Speed(1.3)
    slow = slowed(PLANNER, free, [limit])
    for k in range(4):
        fast, curve = PLANNER.reference(free, k), PLANNER.reference(slow, k)
        f = float(slow.durations[k] / free.durations[k])
        assert f > 1 and float(np.linalg.norm(curve[:, 2:], axis=1).max()) < 1.3 * 1.01
        assert_close(at_fifty(curve), at_fifty(fast), atol=0.01, rtol=0)  # states between steps are straight
    assert slowed(PLANNER, free, [Speed(50.0)]).durations.equal(free.durations)


def test_an_agent_whose_plan_is_given_up_holds_still_and_asks_no_more_than_it_may() -> None:
    agent = Agent(model("select"), [Box(-0.3, 0.3, -9, 9)], most=3)
    agent.reset(START[None], [0], GOAL[None])
    for _ in range(100):
        assert_close(agent.act(START[None]), np.zeros((1, 2)))
    assert agent.extras(0)["refused"] == agent.extras(0)["plans"] == 3
    bold = Agent(model("select", refuse=False), lambda obs, goal, seed: [Box(-0.3, 0.3, -9, 9)], most=3)
    bold.reset(START[None], [0], GOAL[None])
    assert np.abs(bold.act(START[None])).max() > 0.1 and bold.extras(0)["refused"] == 0


def recorded() -> Episodes:
    """Drives from left to right at constant heights y: those with |y| < 0.5 meet the disc of radius 0.5."""
    y = torch.linspace(-1.5, 1.5, 30)[:, None].expand(-1, 41)
    x = torch.linspace(-1, 1, 41).expand(30, -1)
    obs = torch.stack([x, y, torch.full_like(x, 5.0), 0 * x], -1).reshape(-1, 4)
    last = torch.zeros(30, 41, dtype=torch.int64)
    last[:, -1] = 2
    return Episodes(obs.double(), torch.zeros(len(obs), 2), torch.zeros(len(obs)), last.reshape(-1))


def test_the_classifier_learns_which_drives_keep_the_rules_and_the_planner_stays(tmp_path: Path) -> None:
    episodes, planner = recorded(), Diffuser(TINY, 4, 2)
    x, _ = diffuser.drives(episodes, TINY, 41)
    planner.scaler = diffuser.plan_scaler(x, 2)
    before = [p.clone() for p in planner.parameters()]
    run = train(episodes, Config(form="learned", updates=300, batch=32), planner=planner, rules=[Disc(0, 0, 0.5)])
    rows = list(islice(run, 300))
    assert len(rows) == 300
    learned = run.model
    logit = learned.J(learned.planner.scaler(x), torch.tensor(0.1))
    safe = ~zones.broken(x[..., :-1], [Disc(0, 0, 0.5)]).any(-1)
    assert ((logit > 0) == safe).float().mean() > 0.9 and 10 < int(safe.sum()) < 25
    for ours, theirs in zip(learned.planner.parameters(), before, strict=True):
        assert torch.equal(ours, theirs)
    learned.save(tmp_path / "c.safetensors")
    again = Constrained.load(tmp_path / "c.safetensors")
    assert_close(again.J(learned.planner.scaler(x), torch.tensor(0.1)), logit, atol=0.05, rtol=0.01)
    with pytest.raises(ValueError, match="needs both kinds"):
        train(episodes, planner=planner, rules=[Disc(0, 9, 0.5)])


@pytest.mark.parametrize("n", [19, 99])
def test_a_conformal_margin_covers_a_new_score_as_often_as_it_says_and_spreads_like_beta(n: int) -> None:
    rng = np.random.default_rng(0)
    covered = np.array([stats.norm.cdf(conformal(rng.normal(size=n), 0.9)) for _ in range(4000)])
    k = int(np.ceil(0.9 * (n + 1)))
    law = stats.beta(k, n + 1 - k)
    assert abs(covered.mean() - k / (n + 1)) < 4 * law.std() / np.sqrt(4000)
    assert abs(np.quantile(covered, 0.05) - law.ppf(0.05)) < 0.01


def test_a_margin_from_too_few_scores_is_infinite_and_from_just_enough_the_largest() -> None:
    assert conformal(np.arange(8.0)) == np.inf and conformal(np.arange(9.0)) == 8.0
    with pytest.raises(ValueError, match="level"):
        conformal([1.0], 1.0)


@pytest.mark.parametrize("wrong", [{"form": "hope"}, {"margin": -0.1}])
def test_a_config_that_means_nothing_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="must"):
        Config(**wrong)
