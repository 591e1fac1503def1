"""The cheapest way through a graph of waypoints: the cost of every waypoint to the goal, and the next one to go to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match, put

HINTS = (
    "This is value iteration from lesson 03: the cost of i is the smallest, over j, of cost[i, j] + the cost of j.",
    "Start with 0 at the goal, infinity elsewhere. Repeat M times: left = minimum(left, (cost + left).min(1).values).",
    "cost + left adds left[j] to column j: `cost + left[None]`; `.min(1).values` is the smallest over j.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for M, edges in ((6, 0.6), (9, 0.4), (12, 0.3)):
        cost = rng.uniform(2, 20, (M, M))
        cost[rng.random((M, M)) > edges] = np.inf
        order = rng.permutation(M)
        cost[order[:-1], order[1:]] = rng.uniform(6, 9, M - 1)  # there is a way to the last
        np.fill_diagonal(cost, np.inf)
        cost[order[-1], order[0]] = 1.0  # a one-way edge, which shows who reads the table the wrong way round
        inputs.append({"cost": cost, "goal": int(order[-1])})
    return inputs


def right(cost, goal):
    left = torch.full((len(cost),), torch.inf, dtype=cost.dtype)
    left[goal] = 0
    for _ in range(len(cost)):
        left = torch.minimum(left, (cost + left).min(1).values)
    return left


def dijkstra(cost, goal):
    left = [float("inf")] * len(cost)
    left[goal] = 0.0
    open_ = set(range(len(cost)))
    while open_:
        j = min(open_, key=lambda k: left[k])
        open_.remove(j)
        for i in open_:
            left[i] = min(left[i], float(cost[i, j]) + left[j])
    return torch.tensor(left, dtype=cost.dtype)


def backwards(cost, goal):
    return right(cost.T, goal)


def hops(cost, goal):
    return right(torch.where(cost.isfinite(), torch.ones_like(cost), cost), goal)


def direct(cost, goal):
    left = cost[:, goal].clone()
    left[goal] = 0
    return left


def two_only(cost, goal):
    left = direct(cost, goal)
    return torch.minimum(left, (cost + left).min(1).values)


def goal_pays(cost, goal):
    left = torch.full((len(cost),), torch.inf, dtype=cost.dtype)
    left[goal] = 0
    for _ in range(len(cost)):
        left = (cost + left).min(1).values
        back = float(left[goal])
        left[goal] = 0
    left[goal] = back
    return left


def greedy(cost, goal):
    left = torch.full((len(cost),), torch.inf, dtype=cost.dtype)
    left[goal] = 0
    edge, to = cost.min(1)
    for _ in range(len(cost)):
        left = edge + left[to]
        left[goal] = 0
    return left


SLIPS = {
    "you read the table the wrong way round: cost[i, j] is from i to j, you look for the smallest over j": backwards,
    "you counted edges: an edge costs what the table says": hops,
    "that is the cost of the direct edge alone: a way may have many": direct,
    "you looked two edges far: repeat until nothing changes, M times are enough": two_only,
    "from the goal to the goal costs 0": goal_pays,
    "you took the cheapest edge from each waypoint: the cheapest way may begin with a dear one": greedy,
}


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """What came, with 1e9 for no way."""
    found = put(answer, case)
    return torch.nan_to_num(found, posinf=1e9) if torch.is_tensor(found) and found.is_floating_point() else found


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [np.asarray(ask(f, c)) for c in cases] for text, f in SLIPS.items()}
    return match(
        answers, [np.asarray(ask(right, c)) for c in cases], slips, right="the cost of the cheapest way to the goal"
    )


RIGHT = [right, dijkstra]
WRONG = [
    (backwards, "wrong way round"),
    (hops, "counted edges"),
    (direct, "direct edge"),
    (two_only, "two edges far"),
    (goal_pays, "costs 0"),
    (greedy, "cheapest edge"),
]
