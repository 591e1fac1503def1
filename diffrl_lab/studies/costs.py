"""What a chain costs: evaluations of a network, counted at the denoiser, and a thread's milliseconds, in turn.

Of the study `fast`, which counts alike in mazes (`fast.py`) and where actions are drawn (`acting.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffrl_lab.diffusion import Denoiser, Step, ddim, ddpm, dpm_pp_2m, heun
from diffrl_lab.methods.planning.consistency import renewed

Arrays = NDArray[np.float64]
STEPS: dict[str, Callable[[], Step]] = {"ddpm": ddpm, "ddim": ddim, "heun": heun, "2m": dpm_pp_2m}
RENEWED = "renewed"  # the step of consistency models, which is for them alone


class Counted:
    """A denoiser that counts how often it is asked: `n`."""

    def __init__(self, D: Denoiser):
        self.D, self.schedule, self.n = D, D.schedule, 0

    def __call__(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        self.n += 1
        return self.D(x_t, t, cond)


def chain_of(sampler: str, evaluations: int) -> tuple[int, Step]:
    """How many steps of a sampler, one of STEPS or RENEWED, cost so many evaluations, and the step.

    `heun` asks twice in a step, but for the first (no signal) and the last (no noise): so K steps cost 2 K - 2, or 1.
    Raises ValueError for an odd number of evaluations above 1 with it.
    """
    if sampler != "heun" or evaluations == 1:
        return evaluations, renewed() if sampler == RENEWED else STEPS[sampler]()
    if evaluations % 2:
        raise ValueError(f"Heun's steps cost 1 or an even number of evaluations, not {evaluations}")
    return evaluations // 2 + 1, heun()


def in_turn(each: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Arrays]:
    """Milliseconds of this thread in each function, all in turn, `repeats` times: what other programs take of the core
    does not count, and a core that slows down slows all. Three rounds before warm up. -> [repeats] each"""
    spent: dict[str, list[float]] = {name: [] for name in each}
    for _ in range(repeats + 3):
        for name, do in each.items():
            begun = time.thread_time()
            do()
            spent[name].append(1000 * (time.thread_time() - begun))
    return {name: np.array(v[3:]) for name, v in spent.items()}
