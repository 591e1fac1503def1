"""How a network is told "no condition": a value and a flag, since every number may be a legal condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "The network needs two numbers for each row: what was asked for, and whether anything was.",
    "torch.isnan finds the rows without a condition; torch.where puts a harmless 0 there, and the flag tells it apart.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    cond = rng.normal(size=8)
    cond[[1, 5]] = np.nan
    cond[[2, 6]] = 0.0  # a return of 0 is a legal condition
    return [{"cond": cond}, {"cond": np.array([0.0, np.nan, 1.0])}]


def right(cond):
    given = ~cond.isnan()
    return torch.stack([torch.where(given, cond, 0.0), given.to(cond)], -1)


def by_nan_to_num(cond):
    flag = 1 - cond.isnan().double()
    return torch.cat([cond.nan_to_num(0.0)[:, None], flag[:, None]], 1)


def flag_from_value(cond):
    value = cond.nan_to_num(0.0)
    return torch.stack([value, (value != 0).double()], -1)


def flag_upside_down(cond):
    return torch.stack([cond.nan_to_num(0.0), cond.isnan().double()], -1)


def no_flag(cond):
    return torch.stack([cond.nan_to_num(0.0), torch.ones_like(cond)], -1)


def all_dropped(cond):
    given = (~cond.isnan()).all().double().expand(len(cond))
    return torch.stack([cond.nan_to_num(0.0) * given, given], -1)


def order(cond):
    return right(cond).flip(-1)


SLIPS = {
    "a condition of 0 and no condition look alike: take the flag from NaN, not from the value": flag_from_value,
    "your flag is upside down: 1 means that a condition is given": flag_upside_down,
    "your flag is always 1: the network cannot tell a condition of 0 from no condition": no_flag,
    "one row without a condition silenced the whole batch: the flag belongs to each row": all_dropped,
    "value first, flag second": order,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    for answer in answers:
        if np.isnan(np.asarray(answer, dtype=float)).any():
            return Verdict(False, "NaN reaches the network, and everything it says will be NaN: put a 0 there")
    put = [{k: torch.as_tensor(v) for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    return match(
        answers, [right(**c).numpy() for c in put], slips, right="what was asked for, and whether anything was"
    )


RIGHT = [right, by_nan_to_num]
WRONG = [
    (flag_from_value, "look alike"),
    (flag_upside_down, "upside down"),
    (no_flag, "always 1"),
    (all_dropped, "silenced the whole batch"),
    (order, "value first"),
    (lambda cond: torch.stack([cond, (~cond.isnan()).double()], -1), "NaN reaches the network"),
]
