"""The law behind exercise 12.augment: new rows tell a process better than the recorded ones, copies tell it worse."""

from __future__ import annotations

import numpy as np
import pytest

from diffrl_lab.course.exercises import e12_augment as augment


@pytest.mark.parametrize("seed", range(5))
def test_new_rows_tell_the_process_and_copies_spoil_it(seed: int) -> None:
    case = augment.cases(seed)[0]
    M = np.random.default_rng(seed).uniform(-0.7, 0.7, (2, 3))  # what `_case` draws first
    unit = np.array([1.0, 6.0, 0.3, 1.0, 6.0])

    def off(rows: object) -> float:
        found = augment.told(rows)[-6:].reshape(3, 2).T * unit[:3] / unit[3:, None]
        return float(np.abs(found - M).mean())

    grown, spoilt = (off(augment.ask(answer, case)) for answer in (augment.right, augment.everything))
    assert grown < off(case["rows"]) and grown < spoilt
