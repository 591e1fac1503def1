"""The museum keeps its law: each failure is named from its evidence alone, and healthy evidence is left in peace."""

from __future__ import annotations

import inspect

import pytest
import torch

from diffrl_lab.analysis import exhibits
from diffrl_lab.analysis.exhibits import DATA, ROOMS, SAMPLES, TRAINING
from diffrl_lab.analysis.museum import HEALTHY, UNDECIDED, Room

ALL = [(room, name) for room in ROOMS.values() for name in room.names]
EXHIBITS = pytest.mark.parametrize(("room", "name"), ALL, ids=[f"{room.name}: {name}" for room, name in ALL])


@pytest.mark.parametrize("room", ROOMS.values(), ids=list(ROOMS))
def test_each_exhibit_is_named_in_19_of_20_sets_and_healthy_ones_are_flagged_in_at_most_one(room: Room) -> None:
    found = room.confusion(range(500, 520))  # seeds on which no threshold was chosen
    assert found.keeps(), f"{found.right}\n{found.counts}"
    assert found.counts.sum(1).tolist() == [20] * len(room.names)


def test_the_museum_holds_the_four_signatures_and_twelve_bugs_of_public_projects() -> None:
    projects = [e.project for room in ROOMS.values() for e in room.exhibits.values()]
    signatures = [p for p in projects if p.startswith("the survey's signature")]
    assert len({s[:24] for s in signatures}) == 4 and len(projects) - len(signatures) >= 12
    assert len(set(projects)) == len(projects)


@EXHIBITS
def test_evidence_is_that_of_its_seed_and_has_what_the_panels_draw(room: Room, name: str) -> None:
    one, again, other = room.evidence(name, 3), room.evidence(name, 3), room.evidence(name, 4)
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one if one[k].shape == other[k].shape)
    assert all(bool(torch.isfinite(v).all()) for v in one.values())
    assert {k for p in room.panels for k in (*p.y, *p.exact, p.x) if k} <= set(one)


@EXHIBITS
def test_an_exhibit_has_the_same_entries_as_healthy_evidence(room: Room, name: str) -> None:
    assert room.evidence(name, 0).keys() == room.evidence(HEALTHY, 0).keys()


@pytest.mark.parametrize("room", ROOMS.values(), ids=list(ROOMS))
def test_a_detector_that_is_blind_breaks_the_law(room: Room) -> None:
    last = list(room.exhibits)[-1]
    blind = {name: e.shows for name, e in room.exhibits.items()} | {last: lambda e: False}
    found = room.confusion(range(3), blind)
    assert not found.keeps() and found.right[last] == 0 and found.false_alarms == 0


def test_a_detector_that_always_fires_breaks_the_law_by_its_false_alarms() -> None:
    found = TRAINING.confusion(range(3), {"a mean over what is masked": lambda e: True})
    assert found.false_alarms == 1 and not found.keeps()


def test_two_detectors_that_fire_leave_the_diagnosis_undecided() -> None:
    room = Room("two", lambda g: {"x": torch.zeros(1)}, [])
    told = {"sign": "", "number": "", "project": "", "cure": ""}
    room.add("a", lambda g: {"x": torch.ones(1)}, lambda e: bool(e["x"] > 0), **told)
    assert room.confusion(range(20)).keeps()
    room.add("b", lambda g: {"x": 2 * torch.ones(1)}, lambda e: bool(e["x"] > 0), **told)
    assert room.diagnose({"x": torch.ones(1)}) == UNDECIDED
    assert not room.confusion(range(20)).keeps()
    with pytest.raises(ValueError, match="already"):
        room.add("a", room.healthy, lambda e: False, **told)


def test_an_exhibit_takes_ten_lines() -> None:
    lines = inspect.getsource(exhibits).split("\n")
    hung = [i for i, line in enumerate(lines) if line.endswith((".add(",))]
    ends = [next(j for j in range(i, len(lines)) if lines[j].startswith(")")) for i in hung]
    assert max(end - start + 1 for start, end in zip(hung, ends, strict=True)) <= 10


def test_windows_that_stand_still_in_the_middle_are_not_padded() -> None:
    w = torch.arange(6.0)[None, :, None] + torch.zeros(1, 1, 2)
    still = w.clone()
    still[:, 3] = still[:, 2]
    padded = w.clone()
    padded[:, 4:] = padded[:, 3:4]
    one_column = w.clone()
    one_column[:, 4:, 0] = 3
    found = exhibits.tails(torch.cat([w, still, padded, one_column]))
    assert found.tolist() == [0, 0, 2, 0]


def test_the_average_holds_37_percent_of_a_random_beginning() -> None:
    found = exhibits.averaged(torch.zeros(2000), copied=False, random=1.0)
    assert float(found[-1]) == pytest.approx(0.999**1000, rel=1e-3)


def test_the_wide_limits_are_those_of_the_public_code() -> None:
    reach = DATA.evidence("one constant column widens all", 0)["reach"]
    assert reach[:2].tolist() == pytest.approx([1 / 3, 1 / 3], abs=0.01)


def test_a_small_start_loses_a_mode_that_an_exact_start_keeps() -> None:
    assert exhibits.minor(SAMPLES.evidence("start too small", 0)["samples"]) < 0.01
    assert exhibits.minor(SAMPLES.evidence(HEALTHY, 0)["samples"]) == pytest.approx(0.25, abs=0.04)


def test_a_lost_mode_has_two_causes_that_the_spread_along_the_chain_tells_apart() -> None:
    guided, small = (SAMPLES.evidence(name, 7) for name in ("guidance too strong", "start too small"))
    assert max(exhibits.minor(e["samples"]) for e in (guided, small)) < 0.02
    assert guided["spread"][0] > 0.9 and small["spread"][0] < 0.3
