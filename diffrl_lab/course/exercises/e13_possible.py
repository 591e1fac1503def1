"""Is a drawn picture possible? Its number among the legal ones once its pixels are rounded, or -1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "A network draws pixels near 0 and near 1. Make each 0 or 1 first: at least 0.5 is 1.",
    "Compare the rounded picture with each legal one, all pixels at once; if none is equal in every pixel, say -1.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    legal = (rng.random((3, 2, 4, 4)) < 0.3).astype(float)
    legal[1] = legal[0]
    legal[1, 0, 0, 0] = 1 - legal[0, 0, 0, 0]  # two legal pictures that differ in one pixel
    drawn = []
    for k in (0, 1, 2, 2):
        drawn.append(legal[k] + rng.uniform(-0.4, 0.4, legal[k].shape))
    drawn[3][1, 2, 2] = 1 - legal[2, 1, 2, 2]  # one pixel wrong: near a legal picture, and impossible
    edge = legal[0].copy()
    edge[0, 0, 0] = 0.5
    return [{"drawn": x, "legal": legal} for x in (*drawn, edge)]


def right(drawn, legal):
    rounded = (drawn >= 0.5).to(legal)
    same = (legal == rounded).flatten(1).all(1)
    return int(same.int().argmax()) if bool(same.any()) else -1


def one_by_one(drawn, legal):
    for k, picture in enumerate(legal):
        if not ((drawn >= 0.5) != (picture >= 0.5)).any():
            return k
    return -1


def _numbers(f: Any) -> Any:
    """A slip that is written for arrays."""
    return lambda drawn, legal: int(f(np.asarray(drawn), np.asarray(legal)))


def _first(same: Any) -> int:
    return int(np.argmax(same)) if np.any(same) else -1


_raw = _numbers(lambda x, legal: _first([(x == one).all() for one in legal]))
_nearest = _numbers(lambda x, legal: np.argmin([((x - one) ** 2).sum() for one in legal]))
_most = _numbers(lambda x, legal: _first([((x >= 0.5) == one).mean() > 0.9 for one in legal]))
_above = _numbers(lambda x, legal: _first([((x > 0.5) == one).all() for one in legal]))
_any = _numbers(lambda x, legal: int(any(((x >= 0.5) == one).all() for one in legal)))
_positive = _numbers(lambda x, legal: _first([((x > 0) == one).all() for one in legal]))
SLIPS = {
    "you compared pixels that were not rounded: a drawn picture is never exactly 0 and 1": _raw,
    "you gave the nearest legal picture; one wrong pixel, and a picture is impossible: -1": _nearest,
    "most pixels agree, but a picture is possible only if all do": _most,
    "a pixel of exactly 0.5 counts as 1": _above,
    "you said whether it is possible; the number of the legal picture is wanted, or -1": _any,
    "you rounded at 0: noise around 0 lights pixels that are dark": _positive,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [f(c["drawn"], c["legal"]) for c in cases] for text, f in SLIPS.items()}
    truth = [right(torch.from_numpy(c["drawn"]), torch.from_numpy(c["legal"])) for c in cases]
    return match(answers, truth, slips, right="no measure of a picture's quality is needed: the law decides")


RIGHT = [right, one_by_one]
WRONG = [
    (_raw, "not rounded"),
    (_nearest, "nearest legal picture"),
    (_most, "most pixels agree"),
    (_above, "exactly 0.5"),
    (_any, "whether it is possible"),
    (_positive, "rounded at 0"),
]
