"""A control loop by the clock, on one thread: an action is due in each period, and a world that does not wait holds the
last one where it is late. What the part `loop` of the study `fast` counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

PERIOD = 0.02  # seconds of a loop of 50 Hz
SPIN = 0.001  # seconds before a time from which on the clock is looked at again and again: a sleep may be late


class Clock(Protocol):
    """Says what time it is, in seconds, and waits until a time."""

    def now(self) -> float: ...

    def until(self, due: float) -> None: ...


class Wall:
    """The clock of the machine, on which all that runs there takes its time."""

    def now(self) -> float:
        return time.perf_counter()

    def until(self, due: float) -> None:
        if (left := due - self.now() - SPIN) > 0:
            time.sleep(left)
        while self.now() < due:
            pass


@dataclass
class Kept:
    """What a loop counted: periods, those of them that were missed, and for each action the period at whose beginning
    it was asked for, and how many seconds later it was there."""

    periods: int = 0
    missed: int = 0
    spent: list[tuple[int, float]] = field(default_factory=list)


def in_time(
    act: Callable[[int], NDArray[Any]],
    move: Callable[[NDArray[Any]], bool],
    size: int,
    clock: Clock,
    period: float = PERIOD,
) -> Kept:
    """A loop until move(action [size]), a period of the world, says that it is over.

    act(n) sees the world at the beginning of period n. An action that is there within its period acts in the whole of
    it. In every period that ends before, the last action is held (none at the beginning), and the period is missed;
    the action then acts in the period in which it came.
    """
    kept, held, begun, over = Kept(), np.zeros(size), clock.now(), False
    while not over:
        first = kept.periods
        action = act(first)
        done = clock.now()
        kept.spent.append((first, done - (begun + first * period)))
        while not over and done > begun + (kept.periods + 1) * period:
            over = move(held)
            kept.periods, kept.missed = kept.periods + 1, kept.missed + 1
        if not over:
            over, held = move(action), action
            kept.periods += 1
        clock.until(begun + kept.periods * period)
    return kept
