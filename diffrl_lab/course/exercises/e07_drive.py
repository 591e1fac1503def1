"""A loop that follows a plan and plans again every so many steps. The synthesis of lesson 07.

Judged in a world of drift whose every step is known, whatever the program that plans.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Keep the current plan and a counter into it. Where the number of steps is a multiple of `every`, plan again from "
    "the state in which you *are*, and set the counter back to 0.",
    "Row 0 of a plan is where it begins. In each step aim at the next row, `route[min(k, len(route) - 1)]` with k from "
    "1, and put the new state behind the path.",
)


def plan(obs: Any, goal: Any) -> Any:
    """Ten states on a straight line from obs, the first, to the goal, and a little beyond it."""
    a, b = (torch.as_tensor(v, dtype=torch.float64) for v in (obs, goal))
    return a + torch.linspace(0, 1.1, 10, dtype=torch.float64)[:, None] * (b - a)


def world(drift: Any) -> Any:
    """A step of the world: it goes most of the way to the target, and the wind blows."""
    wind = torch.as_tensor(np.asarray(drift), dtype=torch.float64)

    def step(obs: Any, target: Any) -> Any:
        return obs + 0.85 * (target - obs) + wind

    return step


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for every, limit in ((3, 30), (1, 12), (20, 25), (4, 9)):
        angle = rng.uniform(0, 2 * np.pi)
        goal = 4 * np.array([np.cos(angle), np.sin(angle)])
        drift = 0.05 * np.array([-np.sin(angle), np.cos(angle)]) * rng.uniform(0.8, 1.2)
        inputs.append({"obs": rng.normal(size=2) * 0.1, "goal": goal, "drift": drift, "every": every, "limit": limit})
    return inputs


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    obs, goal = (torch.from_numpy(case[k].copy()) for k in ("obs", "goal"))
    return answer(plan, world(case["drift"]), obs, goal, case["every"], case["limit"])


def _variant(
    *,
    once: bool = False,
    always: bool = False,
    first: bool = False,
    dreamed: bool = False,
    on: bool = False,
    behind: bool = False,
    without: bool = False,
    late: bool = False,
) -> Any:
    def answer(plan, step, obs, goal, every, limit):
        path, route, k = [obs], plan(obs, goal), 0
        for n in range(limit):
            again = (n % every == 0 and not once) or always or n == 0
            if late:
                again = n % every == every - 1
            if again and n:
                if dreamed:
                    begin = route[min(k, len(route) - 1)]
                else:
                    begin = path[0] if first else obs
                route, k = plan(begin, goal), (k if on else 0)
            k += not behind or n > 0
            obs = step(obs, route[min(k, len(route) - 1)])
            path.append(obs)
        return torch.stack(path[1:] if without else path)

    return answer


right = _variant()


def with_a_while(plan, step, obs, goal, every, limit):
    path = obs[None]
    while len(path) <= limit:
        n = (len(path) - 1) % every
        if n == 0:
            route = plan(path[-1], goal)
        path = torch.cat([path, step(path[-1], route[min(n + 1, len(route) - 1)])[None]])
    return path


once, always, first, dreamed = (_variant(**{k: True}) for k in ("once", "always", "first", "dreamed"))
on, behind, without, late = (_variant(**{k: True}) for k in ("on", "behind", "without", "late"))
SLIPS = {
    "you planned once: every `every` steps a new plan begins": once,
    "you planned in every step: follow a plan for `every` steps": always,
    "you planned again from the first state: plan from the one in which you are": first,
    "you planned again from where the *plan* was: the world has drifted from it": dreamed,
    "a new plan begins at its first row: set the counter back": on,
    "row 0 of a plan is where it begins: the first target is row 1": behind,
    "the path begins with the state before the first step": without,
    "you planned one step early: after steps 0, every, 2 every, ...": late,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [ask(f, c).numpy() for c in cases] for text, f in SLIPS.items()}
    return match(
        answers, [ask(right, c).numpy() for c in cases], slips, right="plan, follow, plan again from where you are"
    )


RIGHT = [right, with_a_while]
WRONG = [
    (once, "planned once"),
    (always, "in every step"),
    (first, "from the first state"),
    (dreamed, "*plan* was"),
    (on, "counter back"),
    (behind, "row 1"),
    (without, "before the first step"),
    (late, "one step early"),
]
