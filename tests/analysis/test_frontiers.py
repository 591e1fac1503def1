"""A curve is crossed where it rises through a level, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from torch.testing import assert_close

from diffrl_lab.analysis.frontiers import crossing


def test_a_frontier_is_read_off_a_known_curve_and_an_unreachable_level_is_refused() -> None:
    x, y = [0.0, 1.0, 2.0, 1.0, 3.0], [[0.0, 5.0], [10.0, 5.0], [20.0, 5.0], [30.0, 5.0], [40.0, 5.0]]
    assert_close(crossing(1.5, x, y), np.array([15.0, 5.0]))
    assert_close(crossing(1.5, x, y, last=True), np.array([32.5, 5.0]))
    assert crossing(2.0, x, x) == 2.0 == crossing(2.0, x, x, last=True)
    assert_close(crossing(0.0, x, y), np.array([0.0, 5.0]))
    for level in (-1.0, 3.5):
        for last in (False, True):
            with pytest.raises(ValueError, match=f"does not rise through {level:g}"):
                crossing(level, x, y, last=last)
    with pytest.raises(ValueError, match="does not rise through 0.5"):
        crossing(0.5, [0.0, 1.0, 0.2], [0, 1, 2], last=True)  # it was above, but does not stay there
    with pytest.raises(ValueError, match="does not rise through 0.5"):
        crossing(0.5, [1.0, 0.2, 1.0], [0, 1, 2])  # it begins above: nothing guided it there
    with pytest.raises(ValueError, match="finite"):
        crossing(0.5, [0.0, np.nan], [0, 1])
