"""The study of collapse: its defects are what they are called, its measures what they say, and what its tables show."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from diffrl_lab.files import RESULTS
from diffrl_lab.studies import collapse as study


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shares(x: np.ndarray) -> np.ndarray:
    return np.bincount(np.linalg.norm(x[:, None] - study.CENTRES, axis=2).argmin(1), minlength=4) / len(x)


@pytest.mark.parametrize("kind", study.SHIFTED)
def test_a_shift_changes_the_shares_of_the_modes_and_nothing_within_them(kind: str) -> None:
    x = study.damaged(kind, 8000, study.law(8000, rng(1)), rng(2))
    np.testing.assert_allclose(shares(x), study.SHIFTED[kind], atol=0.025)
    away = np.linalg.norm(x[:, None] - study.CENTRES, axis=2).min(1)
    assert np.sqrt(np.square(away).mean() / 2) / study.STD == pytest.approx(1, abs=0.03)


def test_with_one_mode_per_state_each_state_has_one_and_all_together_have_the_laws_shares() -> None:
    x = study.damaged("one mode per state", 800, study.law(800, rng(1)), rng(2))
    label = np.linalg.norm(x[:, None] - study.CENTRES, axis=2).argmin(1)
    assert all(len(set(label[study.states(800) == s])) == 1 for s in range(100))
    np.testing.assert_allclose(shares(x), study.SHARES, atol=0.0101)  # 100 states take turns


def test_the_other_defects_hit_a_tenth_of_the_rows_or_copy_half_of_them() -> None:
    data = study.law(4000, rng(1))
    far, between, moved, copied, again = (
        study.damaged(k, 4000, data, rng(2))
        for k in ("far away", "between modes", "modes moved", "copies of the data", "rows repeated")
    )
    assert (far.min(1) > 3).mean() == pytest.approx(0.1, abs=0.02)
    off = np.linalg.norm(between[:, None] - study.CENTRES, axis=2).min(1) > 3 * study.STD
    assert 0.09 < off.mean() < 0.13  # and 1.1 % of the law itself
    np.testing.assert_allclose(moved.mean(0), study.law(4000, rng(2)).mean(0) + [study.STD, 0], atol=0.06)
    assert np.isin(copied[:, 0], data[:, 0]).mean() == pytest.approx(0.5, abs=0.03)
    assert len(np.unique(np.round(again, 2), axis=0)) <= 1000 * 9
    with pytest.raises(ValueError, match="no defect 'x'; there are healthy, rarest mode lost"):
        study.damaged("x", 10, data, rng())


def test_measures_of_the_data_themselves_say_copies_and_nothing_else() -> None:
    data, fresh = study.law(256, rng(1)), study.law(256, rng(2))
    found = study.measured(data.copy(), data, fresh)
    assert found["nearest-row ratio"] == pytest.approx(0, abs=1e-6) and found["copies"] == 1 == 1 - found["sliced W2"]
    assert found["variance"] == pytest.approx(1) and found["coverage"] == 1
    assert found["precision"] == found["recall"] == 1
    assert set(found) == set(study.SIDES)


def test_samples_far_from_every_mode_have_no_entropy_and_that_counts_as_seen() -> None:
    data = study.law(64, rng(1))
    found = study.measured(data + 50, data, study.law(64, rng(2)))
    assert found["entropy"] is None and found["spread within"] is None and found["off the modes"] == 1
    assert study.beyond([None, 1.0], (0.0, 2.0)) == (0.0, 0.5)


def test_a_floor_holds_95_percent_on_the_sides_that_count() -> None:
    values = np.arange(1000.0)
    assert study.beyond(values, study.floor(values, "both")) == pytest.approx((0.025, 0.025), abs=1e-3)
    assert study.beyond(values, study.floor(values, "high")) == pytest.approx((0.0, 0.05), abs=1e-3)


# ------------------------------------------------------------------------------------------------------ what is shipped
@pytest.fixture(scope="module")
def grid() -> dict[str, dict]:
    rows = json.loads((RESULTS / "collapse-measures.json").read_text())["rows"]
    return {row["defect"]: row for row in rows}


def test_healthy_samples_are_beyond_a_floor_about_as_often_as_it_promises(grid) -> None:
    assert np.mean([grid["healthy"][m] for m in study.SIDES]) < 0.08
    assert max(grid["healthy"][m] for m in study.SIDES) <= 0.14


def test_every_defect_is_seen_by_some_measure_and_every_measure_is_blind_to_some_defect(grid) -> None:
    for kind in study.DEFECTS:
        assert max(grid[kind][m] for m in study.SIDES) >= 0.95, kind
    for m in study.SIDES:
        assert min(grid[kind][m] for kind in study.DEFECTS) <= 0.2, m


def test_floors_close_in_with_n_and_few_samples_cannot_show_a_lost_mode_in_the_coverage() -> None:
    rows = json.loads((RESULTS / "collapse-size.json").read_text())["rows"]
    by = {(r["measure"], r["n"]): r for r in rows}
    assert len(by) == len(study.SIDES) * len(study.SIZES)
    for m in ("entropy", "energy distance", "sliced W2", "variance", "spread within", "nearest-row ratio"):
        highs = [abs(by[m, n]["high"] - by[m, study.SIZES[-1]]["mean"]) for n in study.SIZES]
        assert highs[-1] < highs[0] / 2, m
    lost = [by["coverage", n]["rarest mode lost"] for n in study.SIZES]
    assert lost[0] <= 0.05 and lost[-1] == 1
    assert 0.9**32 > 0.025 > 0.9**64  # a perfect model misses the mode in so many draws, and the floor holds 2.5 %
    seen = lambda m: next(n for n in study.SIZES if by[m, n]["rarest mode lost"] >= 0.8)  # noqa: E731
    assert seen("entropy") < seen("energy distance")


def test_knobs_left_alone_sample_the_law_and_turned_ones_do_not() -> None:
    table = json.loads((RESULTS / "collapse-sweeps.json").read_text())
    by: dict[tuple, list[dict]] = {}
    for r in table["rows"]:
        by.setdefault((r["knob"], r["value"]), []).append(r)
    assert set(by) == {(knob, v) for knob, values in study.KNOBS.items() for v in values}
    assert all(len(rows) == 3 for rows in by.values())
    mean = lambda knob, value, m: np.mean([r[m] for r in by[knob, value]])  # noqa: E731
    own = -sum(p * np.log(p) for p in study.SHARES)
    assert mean("guidance w", 1.0, "entropy") == pytest.approx(own, abs=0.03)
    assert mean("guidance w", 0.0, "entropy") == pytest.approx(np.log(4), abs=0.02)
    falling = [mean("guidance w", w, "entropy") for w in study.KNOBS["guidance w"]]
    assert falling == sorted(falling, reverse=True) and falling[-1] < own - 0.5
    widths = [mean("temperature", v, "spread within") for v in study.KNOBS["temperature"]]
    assert widths == sorted(widths) and mean("temperature", 0.0, "entropy") == 0  # one path: one mode
    assert mean("rows of data", 8, "to its rows") < 0.05  # copies, and nothing else
    assert mean("steps of DDIM", 1, "off the modes") == 1  # the mean of the law


def test_modes_are_decided_at_one_share_of_noise_under_every_schedule_and_earlier_with_less_noise() -> None:
    rows = json.loads((RESULTS / "collapse-commitment.json").read_text())["rows"]
    usual = [r for r in rows if (r["denoiser"], r["eta"], r["temperature"], r["std"]) == ("exact", 1, 1, study.STD)]
    assert {r["schedule"] for r in usual} == set(study.SCHEDULES)
    assert np.ptp([r["law_half_noise"] for r in usual]) < 0.03 < 0.2 < np.ptp([r["law_half_t"] for r in usual])
    for r in usual:
        assert r["half_noise"] == pytest.approx(r["law_half_noise"], abs=0.06)
        np.testing.assert_allclose(r["entropy"], r["exact"], atol=0.16)  # 50 steps are few, for Karras's above all
    of = lambda **want: np.mean(  # noqa: E731
        [r["half_noise"] for r in rows if all(r[k] == v for k, v in ({"denoiser": "exact", "schedule": "Cosine",
         "eta": 1, "temperature": 1, "std": study.STD} | want).items())]
    )  # fmt: skip
    assert of() < of(eta=0.5) < of(eta=0.25) <= of(eta=0.0) and of() < of(temperature=0.75) < of(temperature=0.5)
    still = [r for r in rows if r["eta"] == 0]
    assert still and all(max(r["entropy"]) == 0 for r in still)


def test_a_knob_takes_samples_of_the_model_that_it_names() -> None:
    torch.manual_seed(0)
    assert torch.cdist(study.turned("rows of data", 8, 64, 0), study.rows_of(8, 0)).min(1).values.max() < 1e-3
    mean = study.LAW.weights @ study.LAW.means
    torch.testing.assert_close(study.turned("steps of DDIM", 1, 16, 0).mean(0).double(), mean, rtol=0, atol=0.05)
