"""The study of how often `diagnose` is wrong: its cases, its defects, and what its table promises."""

from __future__ import annotations

import numpy as np
import pytest

from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.files import RESULTS
from diffrl_lab.studies import calibration as study


def test_there_are_more_than_two_hundred_cases_each_with_its_own_draw() -> None:
    cases = study.cases()
    assert len(cases) >= 200 and len({tuple(c.values()) for c in cases}) == len(cases)
    assert {c["n"] for c in cases} == {64, 256, 1024, 4096} and {c["d"] for c in cases} == {1, 2, 8, 64}
    assert len(study.DEFECTS) == 10 and all(len(sizes) == 4 for sizes, _ in study.DEFECTS.values())


@pytest.mark.parametrize("kind", study.DEFECTS)
def test_a_defect_of_size_0_is_none_and_a_large_one_is_seen(kind: str) -> None:
    data = study.law(200, 2, np.random.default_rng(1))
    if kind != "rows repeated":  # these are drawn with replacement, whatever the size
        rng = np.random.default_rng(2)
        rng.random(200)  # which rows would be hit
        np.testing.assert_allclose(
            study.damaged(kind, 0.0, 200, data, np.random.default_rng(2)), study.law(200, 2, rng), atol=1e-12
        )
    assert study.case(kind, study.DEFECTS[kind][0][-1], 256, 2, 0, seed=0)["seen"]


def test_the_table_keeps_false_alarms_at_five_percent_and_power_rises_with_the_size() -> None:
    about = Table.load(RESULTS / "calibration.json").about
    everything = about["alarms"][0]
    assert everything["number"] == sum(study.HEALTHY.values()) and everything["seen"] <= 0.05
    assert about["hours"] <= 0.2
    for kind, (sizes, _) in study.DEFECTS.items():
        small, large = (
            [r for r in about["power"] if (r["kind"], r["size"]) == (kind, s)][0] for s in (sizes[0], sizes[-1])
        )
        seen = [sum(row[f"seen {n}"] for n in study.DAMAGED) for row in (small, large)]
        assert seen[1] >= seen[0] and large["seen 1024"] == large["seen 4096"] == 1
