"""Drives that wait for each other's plans, so that all of these are drawn in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np

from diffrl_lab.worlds.driving import Episode, Follower, Route, Until, drive
from diffrl_lab.worlds.walls import Array

Routes = Callable[[Array, Array, int], Sequence[Array]]
"""(states [m, 4], goals [m, 2], seed) -> m routes, each as a `Route` gives it."""


def gathered(envs: Sequence[Any], routes: Routes, seeds: Sequence[int], *, most: float, until: Until) -> list[Episode]:
    """One episode for each seed: each is driven as by `drive` with a `Follower` of at most `most` plans.

    As many run at once as there are environments. Each stands still when it needs a plan, and when all that still run
    stand, `routes` is asked once for all of them, with the seed of the first. So the episodes do not depend on which
    thread is faster, and how long a plan took is not known.
    """
    groups = [seeds[first : first + len(envs)] for first in range(0, len(seeds), len(envs))]
    return [e for group in groups for e in _at_once(envs, routes, group, most, until)]


def _at_once(envs: Sequence[Any], routes: Routes, seeds: Sequence[int], most: float, until: Until) -> list[Episode]:
    said: SimpleQueue[tuple[int, Any]] = SimpleQueue()  # what an episode asks for; None: it is over
    answers: list[SimpleQueue[Any]] = [SimpleQueue() for _ in seeds]

    def asking(k: int) -> Route:
        def route(obs: Array, goal: Array, seed: int) -> Array:
            said.put((k, (obs, goal, seed)))
            found = answers[k].get()
            if isinstance(found, Exception):
                raise found
            return found

        return route

    def one(k: int) -> Episode:
        try:
            return drive([envs[k]], Follower(asking(k), most=most), [seeds[k]], until=until)[0]
        finally:
            said.put((k, None))

    with ThreadPoolExecutor(len(seeds)) as pool:
        driven = [pool.submit(one, k) for k in range(len(seeds))]
        running = len(seeds)
        while running:
            every = dict(said.get() for _ in range(running))
            asked = {k: every[k] for k in sorted(every) if every[k] is not None}
            if asked:
                obs, goal, which = zip(*asked.values(), strict=True)
                try:
                    found: Sequence[Any] = routes(np.array(obs), np.array(goal), int(which[0]))
                except Exception as error:  # every episode that waits ends with it
                    found = [error] * len(asked)
                for k, answer in zip(asked, found, strict=True):
                    answers[k].put(answer)
            running = len(asked)
        return [future.result() for future in driven]
