"""Rules: what a segment breaks that its ends keep, and where the nearest allowed place is."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.worlds.zones import Box, Disc, Speed, broken, grown, inside, nearest

G = torch.Generator().manual_seed(0)
STATES = 2 * torch.randn(500, 6, 4, generator=G, dtype=torch.float64)
ZONES = [Disc(0.3, -0.2, 0.8), Box(-0.7, 0.5, -0.4, 0.6)]


@pytest.mark.parametrize("zone", ZONES)
def test_a_segment_breaks_a_zone_exactly_where_one_of_its_points_does(zone) -> None:
    u = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    a, b = STATES[:, :-1, None], STATES[:, 1:, None]
    points = a + u * (b - a)
    assert_close(zone.broken(STATES), (zone.depth(points) > 1e-6).any(-1), msg=str(zone))


def test_a_path_may_jump_over_a_zone_without_a_point_in_it() -> None:
    path = torch.tensor([[-1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    for zone in (Disc(0, 0, 0.3), Box(-0.3, 0.3, -0.3, 0.3)):
        assert not inside(path, [zone]).any() and broken(path, [zone]).all()


@pytest.mark.parametrize("zone", ZONES)
def test_the_nearest_place_is_on_the_edge_as_far_away_as_the_state_was_deep(zone) -> None:
    moved, depth = zone.nearest(STATES), zone.depth(STATES)
    assert_close((moved - STATES)[..., :2].norm(dim=-1), depth.clamp(min=0), atol=1e-12, rtol=0)
    assert float(zone.depth(moved).max()) < 1e-9 and torch.equal(moved[..., 2:], STATES[..., 2:])


@pytest.mark.parametrize("zone", ZONES)
def test_a_grown_zone_is_as_much_deeper_inside(zone) -> None:
    deep = zone.depth(STATES) > 0
    assert_close(zone.grown(0.2).depth(STATES)[deep], zone.depth(STATES)[deep] + 0.2)


def test_a_zone_grown_by_the_sagitta_keeps_every_segment_whose_ends_are_outside() -> None:
    r, length = 0.8, 0.5
    wide = Disc(0, 0, math.sqrt(r**2 + length**2 / 4))
    a = wide.nearest(torch.randn(4000, 4, generator=G, dtype=torch.float64))
    way = torch.randn(4000, 2, generator=G, dtype=torch.float64)
    b = a.clone()
    b[:, :2] += length * way / way.norm(dim=1, keepdim=True)
    pairs = torch.stack([a, b], 1)[wide.depth(b) <= 0]
    assert not Disc(0, 0, r - 1e-9).broken(pairs).any() and Disc(0, 0, r + 0.03).broken(pairs).any()


def test_a_speed_limit_shortens_velocities_and_leaves_positions() -> None:
    slow = Speed(1.5).nearest(STATES)
    assert float(slow[..., 2:].norm(dim=-1).max()) <= 1.5 + 1e-9 and torch.equal(slow[..., :2], STATES[..., :2])
    assert not broken(slow, [Speed(1.5 + 1e-9)]).any() and broken(STATES, [Speed(1.5)]).any()


def test_states_pushed_from_zone_to_zone_end_outside_of_both() -> None:
    rules = grown([Disc(0, 0, 0.5), Disc(0.8, 0, 0.5)], 0.05)
    assert inside(STATES, rules).any() and not inside(nearest(STATES, rules, 200), grown(rules, -1e-6)).any()


def test_what_has_no_velocity_is_refused() -> None:
    with pytest.raises(ValueError, match="judges states"):
        broken(torch.zeros(5, 2), ZONES)
