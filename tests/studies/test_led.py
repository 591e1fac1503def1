"""A policy's lead on an exact denoiser: the table that ships is what the code gives, and the exact tilt is exact."""

from __future__ import annotations

import pytest

from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import shipped
from diffrl_lab.studies import dreams, led


@pytest.mark.parametrize("arm", led.ARMS)
def test_a_row_that_ships_is_made_again_and_only_the_exact_tilt_goes_all_the_way(arm: str) -> None:
    name = "every action larger by 1"
    kept = Table.load(shipped("results/dreams-led.json")).row(arm=arm, policy_name=name, seed=0)
    made = led.led(arm, name, seed=0)
    assert {k: kept[k] for k in made} == pytest.approx(made, abs=5e-3)
    wanted = {"lead": 1 / 3, "ascend": 1.0}[arm]
    assert made["moved"] == pytest.approx(wanted, abs=0.05)
    assert made["act_spread"] == pytest.approx(1, abs=0.05), "actions are the policy's by both"
    assert "led" in dreams.PARTS
