"""The page of studies shows what the tables hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from diffrl_lab.publish import tables as studies


def test_the_page_shows_the_tables_as_they_are_stored() -> None:
    text = studies.PAGE.read_text("utf-8")
    assert studies.filled(text) == text, "run `python -m diffrl_lab.publish.tables`"


def test_an_interval_is_students() -> None:
    x = np.random.default_rng(0).normal(size=5)
    low, high = ttest_1samp(x, 0).confidence_interval(0.95)
    assert studies.interval(list(x)) == pytest.approx((x.mean(), low, high))


def test_an_interval_of_a_share_ends_at_one_and_at_nought() -> None:
    rows = [{"success": v, "off": v - 0.5, "paid": v} for v in (1.0, 1.0, 0.6)]
    assert studies.cell(rows, "success", ".2f").endswith("to 1.00)")
    assert studies.cell(rows, "off", ".2f").startswith("0.37 (0.00 to")
    assert "to 1.44)" in studies.cell(rows, "paid", ".2f")


def test_an_interval_of_what_a_disc_pays_ends_where_the_discs_end() -> None:
    """The discs pay 0 to 5: three trainings of which one found the disc of 1.5 say nothing of 8.85."""
    same = [{"reward": v, "off": 1.0 - v / 5} for v in (5.0, 1.5, 5.0)]
    assert studies.cell(same, "reward", ".2f", studies.IN_BANDIT) == "3.83 (0.00 to 5.00)"
    assert studies.cell(same, "off", ".2f", studies.IN_BANDIT) == "0.23 (0.00 to 1.00)"
    held = [studies.STUDIES[name].limits for name in ("offline", "best of N", "guided", "improved later")]
    assert held == [studies.IN_BANDIT] * 4


@pytest.mark.parametrize(("values", "said"), [([], "–"), ([None, float("nan")], "–"), ([0.25, None], "0.2")])
def test_what_is_missing_is_said_and_one_seed_has_no_interval(values: list, said: str) -> None:
    assert studies.cell([{"paid": v} for v in values] or [{}], "paid", ".1f") == said


def test_every_table_of_the_results_is_on_the_page_or_said_to_be_elsewhere() -> None:
    shown = {study.file for study in studies.STUDIES.values()} | studies.IN_README | studies.IN_LESSONS
    tables = {path.name for path in studies.RESULTS.glob("*.json") if not path.name.startswith(studies.GRIDS)}
    assert tables == shown


def rows(*seeds: int, **summary: object) -> list[dict]:
    return [{"seed": s} for s in seeds] or [summary]


@pytest.mark.parametrize(
    ("same", "n"),
    [
        (rows(0, 1, 2), 3),
        (rows(0), 1),
        (rows(0, 0), 1),  # two points of one training
        (rows(seeds=3, reached=2), 3),
        (rows(by_seed=[0.1, 0.2]), 2),
        (rows(form="mixture"), 0),  # exact: it has no seed
    ],
)
def test_a_line_is_over_its_own_seeds_or_over_those_that_a_summary_says(same: list[dict], n: int) -> None:
    assert studies.trainings(same) == n


@pytest.mark.parametrize("name", studies.STUDIES)
def test_what_stands_below_a_table_counts_the_trainings_behind_its_intervals(name: str) -> None:
    """A bracket needs two trainings at least, and no more trainings can be said than the file has seeds."""
    study = studies.STUDIES[name]
    table = studies.table(study)
    said = [int(n) for n in table.rpartition("\n\n")[2].partition(" training seed")[0].split(" to ")]
    assert max(said) == len(studies.Table.load(studies.RESULTS / study.file).about["seeds"])
    if study.of == "rows" and " to " in table.partition("\n\n")[0]:
        assert max(said) > 1
