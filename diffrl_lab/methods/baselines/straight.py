"""PD straight to the goal, as if there were no walls: what needs no training at all."""

from __future__ import annotations

import numpy as np

from diffrl_lab.worlds.driving import Follower


def straight() -> Follower:
    """PD straight to the goal, as if there were no walls."""
    return Follower(lambda obs, goal, seed: np.r_[goal, 0, 0][None], again=False)
