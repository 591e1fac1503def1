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
    assert studies.interval(list(x), ".6f") == f"{x.mean():.6f} ({low:.6f} to {high:.6f})"


@pytest.mark.parametrize(("values", "said"), [([], "–"), ([None, float("nan")], "–"), ([0.25, None], "0.2")])
def test_what_is_missing_is_said_and_one_seed_has_no_interval(values: list, said: str) -> None:
    assert studies.interval(values, ".1f") == said


def test_every_table_of_the_results_is_on_the_page_or_said_to_be_elsewhere() -> None:
    shown = {study.file for study in studies.STUDIES.values()} | studies.IN_README | studies.IN_LESSONS
    tables = {path.name for path in studies.RESULTS.glob("*.json") if not path.name.startswith(studies.GRIDS)}
    assert tables == shown
