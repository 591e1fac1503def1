"""Student's interval, the one that every table and study has."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from diffrl_lab.analysis.intervals import paired, student


def test_students_interval_covers_the_mean_of_three_seeds_in_95_of_100_and_keeps_to_what_is_possible() -> None:
    draws = np.random.default_rng(0).normal(2.0, 3.0, (2000, 3))
    found = np.array([student(v) for v in draws])
    covered = ((found[:, 0] <= 2) & (2 <= found[:, 1])).mean()
    assert abs(covered - 0.95) < 4 * (0.95 * 0.05 / 2000) ** 0.5
    assert student([0.9, 1.0, 0.8], 0, 1)[1] == 1.0  # type: ignore[index]
    assert student([0.5] * 3) == (0.5, 0.5) and student([1.0]) is None and student([]) is None


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_it_is_the_interval_that_inverts_the_t_test_and_that_of_a_paired_difference(level: float) -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 5))
    low, high = ttest_1samp(x, 0).confidence_interval(level)
    assert student(x, level=level) == pytest.approx((low, high))
    assert paired(x, y, level).interval == student(x - y, level=level)


@pytest.mark.parametrize("values", [[1.0, np.nan], [[1.0, 2.0]]])
def test_what_is_no_row_of_numbers_is_refused(values: list) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        student(values)
