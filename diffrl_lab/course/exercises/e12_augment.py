"""Augmenting a data set: scaled draws of a model go back to units, copies are dropped, and no more than a cap is added.

A law judges: a regression on what comes back must give the process's own [A B], as well as recorded rows and new ones
together can tell it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict
from diffrl_lab.data.scaling import Scaler

HINTS = (
    "Work in scaled units: r = scaler(rows), f = scaler(fresh). A draw is new if its nearest row of r is at least "
    "`share` times as far as the median of the fresh rows' nearest distances.",
    "near = lambda z: torch.cdist(z, scaler(rows)).amin(1); new = z[near(z) >= share * near(scaler(fresh)).median()]. "
    "Cut it to [: most * len(rows)], take scaler.inverse of it, and torch.cat it behind the rows.",
)
N, FRESH, DRAWS, STATE = 24, 201, 300, 2  # rows recorded, fresh and drawn; numbers of a state


def cases(seed: int) -> list[dict[str, Any]]:
    return [_case(np.random.default_rng(seed + i), share, most) for i, (share, most) in enumerate(((0.5, 3), (0.6, 2)))]


def _case(rng: np.random.Generator, share: float, most: int) -> dict[str, Any]:
    """Rows (s, a, s') of s' = [A B] (s, a) + w. Of the draws most are copies of the rows that are most mistaken."""
    M = rng.uniform(-0.7, 0.7, (STATE, STATE + 1))
    unit, shift = np.array([1.0, 6.0, 0.3, 1.0, 6.0]), np.array([0.0, 3.0, 0.0, 0.0, 3.0])

    def real(n: int, noise: float) -> np.ndarray:
        x = rng.normal(0, 1, (n, STATE + 1))
        return unit * np.concatenate([x, x @ M.T + noise * rng.normal(0, 1, (n, STATE))], 1) + shift

    rows, fresh, new = real(N, 0.4), real(FRESH, 0.4), real(DRAWS, 0.05)
    off = np.abs(((rows - shift) / unit)[:, 3:] - ((rows - shift) / unit)[:, :3] @ M.T).sum(1)
    worst = rows[np.argsort(off)[-4:]]
    copies = rng.random(DRAWS) < 0.6
    new[copies] = worst[rng.integers(4, size=copies.sum())] + 0.02 * unit * rng.normal(0, 1, (copies.sum(), 5))
    hardly = rng.random(DRAWS) < 0.15  # between copies and new rows: where the level lies is seen
    new[hardly] += (rows[rng.integers(N, size=hardly.sum())] - new[hardly]) * rng.uniform(0.4, 1, (hardly.sum(), 1))
    z = (new - rows.mean(0)) / rows.std(0)
    return {"rows": rows, "fresh": fresh, "z": z, "share": share, "most": most}


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    rows, fresh, z = (torch.as_tensor(case[name]) for name in ("rows", "fresh", "z"))
    return answer(rows, fresh, z, Scaler.fit(rows, "standard"), case["share"], case["most"])


def nearest(x, data):
    return torch.cdist(x, data).amin(1)


def right(rows, fresh, z, scaler, share, most):
    def near(x):
        return torch.cdist(x, scaler(rows)).amin(1)

    new = z[near(z) >= share * near(scaler(fresh)).median()]
    return torch.cat([rows, scaler.inverse(new[: most * len(rows)])])


def one_by_one(rows, fresh, z, scaler, share, most):
    r = scaler(rows)
    level = share * torch.stack([(r - f).norm(dim=1).min() for f in scaler(fresh)]).quantile(0.5)
    kept: list[torch.Tensor] = []
    for x in z:
        if len(kept) < most * len(rows) and (r - x).norm(dim=1).min() >= level:
            kept.append(scaler.inverse(x))
    return torch.cat([rows, torch.stack(kept)])


def _with(level=None, keep=None, back=None, cap=None):
    """`right` with one thing changed."""

    def answer(rows, fresh, z, scaler, share, most):
        r, f = scaler(rows), scaler(fresh)
        cut = share * nearest(f, r).median() if level is None else level(share, r, f)
        far = nearest(z, r)
        new = z[far >= cut if keep is None else keep(far, cut)]
        new = new[: most * len(rows)] if cap is None else cap(new, most, len(rows))
        return torch.cat([rows, scaler.inverse(new) if back is None else back(scaler, new)])

    return answer


everything = _with(keep=lambda far, cut: far >= 0)
copies_alone = _with(keep=lambda far, cut: far < cut)
no_share = _with(level=lambda share, r, f: nearest(f, r).median())
absolute = _with(level=lambda share, r, f: share)
among_fresh = _with(level=lambda share, r, f: share * (torch.cdist(f, f) + 1e9 * torch.eye(len(f))).amin(1).median())
scaled = _with(back=lambda scaler, new: new)
stretched = _with(back=lambda scaler, new: new * scaler.spread)
shifted = _with(back=lambda scaler, new: new + scaler.center)
uncapped = _with(cap=lambda new, most, n: new)
in_all = _with(cap=lambda new, most, n: new[: (most - 1) * n])
most_rows = _with(cap=lambda new, most, n: new[:most])


def early(rows, fresh, z, scaler, share, most):
    return right(rows, fresh, z[: most * len(rows)], scaler, share, 10**6)


def raw_distances(rows, fresh, z, scaler, share, most):
    new = scaler.inverse(z)
    new = new[nearest(new, rows) >= share * nearest(fresh, rows).median()]
    return torch.cat([rows, new[: most * len(rows)]])


def to_fresh(rows, fresh, z, scaler, share, most):
    r, f = scaler(rows), scaler(fresh)
    new = z[nearest(z, f) >= share * nearest(f, r).median()]
    return torch.cat([rows, scaler.inverse(new[: most * len(rows)])])


def alone(rows, fresh, z, scaler, share, most):
    return right(rows, fresh, z, scaler, share, most)[len(rows) :]


def with_fresh(rows, fresh, z, scaler, share, most):
    return torch.cat([right(rows, fresh, z, scaler, share, most), fresh])


SLIPS = {
    "copies are still in: drop draws that are nearer to a recorded row than `share` times the median of fresh rows": (
        everything
    ),
    "you keep the copies and drop what is new": copies_alone,
    "`share` plays no part: the level is `share` times the median of fresh rows": no_share,
    "`share` is no distance: multiply it with the median distance of fresh rows": absolute,
    "the level is taken among the fresh rows: it is their distance to the recorded rows": among_fresh,
    "the new rows are still scaled: take scaler.inverse of them": scaled,
    "the new rows have the spread back, but not the mean: take scaler.inverse": stretched,
    "the new rows have the mean back, but not the spread: take scaler.inverse": shifted,
    "no cap: at most `most` new rows for each recorded row": uncapped,
    "`most` counts the new rows alone, not all rows": in_all,
    "`most` is a ratio: most * len(rows) new rows at most": most_rows,
    "you cut before you dropped the copies: too few new rows are left": early,
    "your distances are in units, where the wide columns rule: take them in scaled units": raw_distances,
    "you looked for copies of the fresh rows: the model was trained on `rows`": to_fresh,
    "the recorded rows are missing: they come first": alone,
    "the fresh rows are in: they only tell how far new rows lie": with_fresh,
}


def told(rows: Any) -> np.ndarray:
    """What is judged: how many rows there are, the mean and spread of each column, and the regression's [A B]."""
    x = np.asarray(rows, dtype=float)
    s, after = np.concatenate([x[:, : STATE + 1], np.ones((len(x), 1))], 1), x[:, STATE + 1 :]
    M = np.linalg.lstsq(s, after, rcond=None)[0][:-1]
    return np.concatenate([[len(x)], x.mean(0), x.std(0), M.ravel()])


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    for c, came in zip(cases, answers, strict=True):
        x = np.asarray(came, dtype=float)
        if x.ndim != 2 or x.shape[1] != c["rows"].shape[1]:
            return Verdict(False, f"your answer has shape {x.shape}; rows of {c['rows'].shape[1]} numbers are wanted")
        if len(x) < 10 or not np.isfinite(x).all():
            return Verdict(False, "your answer holds fewer than 10 rows, or nan or inf")
    seen = [told(x) for x in answers]

    def same(answer: Any) -> bool:
        return all(np.allclose(v, told(ask(answer, c)), 1e-3, 1e-4) for v, c in zip(seen, cases, strict=True))

    if same(right):
        first = all(np.allclose(np.asarray(x)[:N], c["rows"], 1e-3, 1e-4) for x, c in zip(answers, cases, strict=True))
        said = "no row is a copy, and a regression on all of them finds A and B better than on the recorded ones"
        return Verdict(True, said) if first else Verdict(False, "the rows are right, but the recorded ones come first")
    for text, slip in SLIPS.items():
        if same(slip):
            return Verdict(False, text)
    return Verdict(False, "a regression on your rows does not give what new rows and recorded ones together give: "
                   "which draws are copies, in which units are they added, and how many?")  # fmt: skip


def last_first(rows, fresh, z, scaler, share, most):
    both = right(rows, fresh, z, scaler, share, most)
    return torch.cat([both[len(rows) :], rows])


RIGHT = [right, one_by_one]
WRONG = [
    (everything, "still in"),
    (copies_alone, "you keep the copies"),
    (no_share, "plays no part"),
    (absolute, "is no distance"),
    (among_fresh, "among the fresh rows"),
    (scaled, "still scaled"),
    (stretched, "not the mean"),
    (shifted, "not the spread"),
    (uncapped, "no cap"),
    (in_all, "new rows alone"),
    (most_rows, "is a ratio"),
    (early, "cut before"),
    (raw_distances, "wide columns rule"),
    (to_fresh, "copies of the fresh rows"),
    (alone, "recorded rows are missing"),
    (with_fresh, "fresh rows are in"),
    (last_first, "recorded ones come first"),
]
