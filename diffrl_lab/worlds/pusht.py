"""PushT, an optional task: a disc pushes a T-shaped block to a drawn place (Chi et al. 2023; the extra `pusht`)."""

from __future__ import annotations

import importlib
from typing import Any

from diffrl_lab.data.pusht import NEEDS


def make(**options: Any) -> Any:
    """`gym_pusht/PushT-v0` that shows its state [5], as `data.pusht.read` gives it: agent, block, the block's angle.

    Actions are places for the agent to go to; `drive` stretches [-1, 1] to them, and the info's `is_success` says
    whether the block covers its place. Raises ValueError where the extra is missing.
    """
    import gymnasium

    try:
        importlib.import_module("gym_pusht")
    except ImportError:
        raise ValueError(f"PushT is not installed; {NEEDS}") from None
    return gymnasium.make("gym_pusht/PushT-v0", **{"obs_type": "state"} | options)
