"""The law of total variance: different routes against unreliability on one route."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Test yourself: between + within must equal the variance of all values together.",
    "A group counts with its share of the samples: between = sum_g p_g (mean_g - mean)^2, within = sum_g p_g var_g.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    groups = np.array([0] * 9 + [1] * 3)
    return [{"values": rng.normal(size=12) + 2.0 * shift * groups, "groups": groups} for shift in (0.0, 1.0)]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "both groups count alike here, but one holds three times as many samples: weigh by its share": alike,
        "you gave (within, between): the order asked for is between first": turned,
        "`between` compares the groups with each other; it should compare each with the mean of all": apart,
        "you took standard deviations: only variances add up": roots,
    }
    wrong = {message: [slip(**c) for c in cases] for message, slip in slips.items()}
    judged = match(answers, [_parts(**c) for c in cases], wrong, right="between + within = total, always")
    formed = judged.ok is False and all(np.shape(a) == (2,) for a in answers)
    parts = " and ".join(_minus_one(cases, answers)) if formed else ""
    return Verdict(False, f"n - 1 divides in {parts}: a variance is the mean square here") if parts else judged


def _minus_one(cases: list[dict[str, Any]], answers: list[Any]) -> list[str]:
    """Which of the two parts is a variance with n - 1, if the other is right or one, too."""
    truth, slips = np.array([_parts(**c) for c in cases]), np.array([_with_minus_one(**c) for c in cases])
    came, found = np.asarray(answers, dtype=float), []
    for i, part in enumerate(("between", "within")):
        if any(np.allclose(came[:, i], slips[:, way, i]) for way in range(slips.shape[1])):
            found.append(part)
        elif not np.allclose(came[:, i], truth[:, i]):
            return []
    return found


def _with_minus_one(values: Any, groups: Any) -> list[tuple[float, float]]:
    """Ways to (between, within) with n - 1: within each route, for all values, as what the other part leaves."""
    between, within = _parts(values, groups)
    n, total = len(values), float(np.var(values, ddof=1))
    by_route = minus_one(values, groups)[1]
    more = n / (n - 1)
    return [(between * more, by_route), (total - by_route, within * more), (total - within, total - between)]


def _parts(values: Any, groups: Any) -> tuple[float, float]:
    values, groups = np.asarray(values), np.asarray(groups)
    mine = [(np.mean(groups == g), values[groups == g]) for g in np.unique(groups)]
    between = sum(p * (x.mean() - values.mean()) ** 2 for p, x in mine)
    return float(between), float(sum(p * x.var() for p, x in mine))


def alike(values: Any, groups: Any) -> tuple[float, float]:
    mine = [np.asarray(values)[np.asarray(groups) == g] for g in (0, 1)]
    middle = np.mean([x.mean() for x in mine])
    return float(np.mean([(x.mean() - middle) ** 2 for x in mine])), float(np.mean([x.var() for x in mine]))


def minus_one(values: Any, groups: Any) -> tuple[float, float]:
    values, groups = np.asarray(values), np.asarray(groups)
    mine = [(np.mean(groups == g), values[groups == g]) for g in (0, 1)]
    return _parts(values, groups)[0], float(sum(p * x.var(ddof=1) for p, x in mine))


def turned(values: Any, groups: Any) -> tuple[float, float]:
    return _parts(values, groups)[::-1]


def apart(values: Any, groups: Any) -> tuple[float, float]:
    a, b = (np.asarray(values)[np.asarray(groups) == g].mean() for g in (0, 1))
    return float((a - b) ** 2), _parts(values, groups)[1]


def roots(values: Any, groups: Any) -> tuple[float, float]:
    between, within = _parts(values, groups)
    return between**0.5, within**0.5


def all_minus_one(values, groups):
    centres = values.clone()
    for g in groups.unique():
        centres[groups == g] = values[groups == g].mean()
    return centres.var(), (values - centres).var()


def rest_minus_one(values, groups):
    within = right(values, groups)[1]
    return float(values.var()) - within, within


def right(values, groups):
    between = within = 0.0
    for g in groups.unique():
        mine = values[groups == g]
        share = len(mine) / len(values)
        between += share * float(mine.mean() - values.mean()) ** 2
        within += share * float(mine.var(correction=0))
    return between, within


def by_total(values, groups):
    centred = values.clone()
    for g in groups.unique():
        centred[groups == g] -= values[groups == g].mean()
    within = (centred**2).mean()
    return ((values - values.mean()) ** 2).mean() - within, within


RIGHT = [right, by_total]
WRONG = [
    (alike, "weigh by its share"),
    (minus_one, "n - 1 divides in within"),
    (all_minus_one, "n - 1 divides in between and within"),
    (rest_minus_one, "n - 1 divides in between:"),
    (turned, "between first"),
    (apart, "mean of all"),
    (roots, "only variances"),
]
