"""Tables of plans compared at equal return and at an equal share of invalid plans, beside what is exact."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffrl_lab.analysis import modes
from diffrl_lab.analysis.frontiers import crossing
from diffrl_lab.analysis.intervals import paired, student
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.studies.guidance.clouds import region
from diffrl_lab.studies.guidance.models import data

FORMS = ("cfg", "value", "energy", "classifier")
LEVELS = {
    "two-ways-p50": [158, 160, 162, 164, 166, 168, 170],
    "two-ways-p20": [148, 152, 156, 160, 164, 168, 172],
    "umaze": [183, 184, 190, 200],
}
INVALID = [0.02, 0.05, 0.1, 0.25, 0.5]
COLUMNS = ("scale", "valid_return", "left", "entropy", "coverage", "invalid", "off", "over", "distance", "spread")
BOUNDS = {
    **dict.fromkeys(("left", "coverage", "invalid", "off"), (0, 1)),
    **dict.fromkeys(("scale", "over", "distance", "spread"), (0, np.inf)),
    "entropy": (0, np.log(2)),
}


def mixture(world: str, level: float, n: int = 128) -> dict[str, float]:
    """Of the exact mixture of the two recorded modes, weighed so that it returns `level`: its share of left, and what
    entropy and coverage n samples of it are expected to have. Raises ValueError for a level outside the modes'."""
    _, _, labels, R, *_ = region(world)
    if int(labels.max()) != 1:
        raise ValueError(f"{world} has {int(labels.max()) + 1} mode, not two")
    left, right = float(R[labels == 0].mean()), float(R[labels == 1].mean())
    share = (level - right) / (left - right)
    if not 0 <= share <= 1:
        raise ValueError(f"a mixture of {right:.1f} and {left:.1f} cannot return {level:g}")
    return _expected(share, n)


def tilt(world: str, level: float, n: int = 128) -> dict[str, float]:
    """Of the recorded drives under the weights exp(scale R) which return `level` on the average: as `mixture`, and the
    scale in standard deviations of the return. Unlike a mixture it picks within the modes, too."""
    _, _, labels, R, *_ = region(world)
    r = ((R - data(world)[2].mean()) / data(world)[2].std()).double()
    scales = torch.linspace(0, 12, 601, dtype=torch.float64)
    w = (scales[:, None] * r).softmax(1)
    curve = torch.stack([scales, w[:, labels == 0].sum(1)], 1)
    scale, share = crossing(level, w @ R.double(), curve)
    return {"scale": float(scale)} | _expected(float(share), n)


def _expected(left: float, n: int) -> dict[str, float]:
    p = [left, 1 - left]
    return {"left": left, "entropy": modes.expected_entropy(p, n), "coverage": modes.expected_coverage(p, n, 0.05)}


def frontiers(table: Table) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A table of plans compared at equal return and at equal share of invalid plans: (rows, pairs).

    Each seed's curve over the scale is crossed with each level: of the valid plans' return, where it is first reached;
    of the invalid share, where it is exceeded from there on. rows: for each world, form and level the mean over the
    seeds that reach it and its Student interval under NAME_interval, `reached` of `seeds` seeds; two exact ones beside
    them, `mixture` and `tilt`, without intervals. Where no seed reaches a level all is None. pairs: entropy and left of
    each other form minus those of `energy`, paired by seed, where all seeds reach the level.
    """
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    seeds = sorted({int(r["seed"]) for r in table.rows})
    for world in sorted({r["world"] for r in table.rows}):
        curves = {}
        for form, seed in ((f, s) for f in FORMS for s in seeds):
            at = sorted(
                (r for r in table.rows if (r["world"], r["form"], r["seed"]) == (world, form, seed)),
                key=lambda r: r["scale"],
            )
            # where no plan is valid there is nothing to compare, and the curve ends
            curves[form, seed] = np.array([[r[c] for c in COLUMNS] for r in at if r["left"] is not None], float)
        levels = [("return", v) for v in LEVELS.get(world, [])] + [("invalid", v) for v in INVALID]
        for by, level in levels:
            column = COLUMNS.index("valid_return" if by == "return" else "invalid")
            met: dict[str, dict[int, NDArray]] = {form: {} for form in FORMS}
            for (form, seed), curve in curves.items():
                with suppress(ValueError):
                    met[form][seed] = crossing(level, curve[:, column], curve, last=by == "invalid")
            for form, points in met.items():
                row = {"world": world, "by": by, "level": level, "form": form}
                row |= {"seeds": len(seeds), "reached": len(points)}
                for k, name in enumerate(COLUMNS):
                    v = np.array([c[k] for c in points.values()])
                    row[name] = float(v.mean()) if len(v) else None
                    row[f"{name}_interval"] = student(v, *BOUNDS.get(name, ()))
                rows.append(row)
            for form, exactly in (("mixture", mixture), ("tilt", tilt)) if by == "return" else ():
                row = {"world": world, "by": by, "level": level, "form": form}
                with suppress(ValueError):
                    rows.append(row | exactly(world, level))
            for form in FORMS:
                if form != "energy" and len(seeds) > 1 and len(met[form]) == len(met["energy"]) == len(seeds):
                    pair = {"world": world, "by": by, "level": level, "a": form, "b": "energy"}
                    for name in ("entropy", "left"):
                        k = COLUMNS.index(name)
                        ours, theirs = ([met[f][s][k] for s in seeds] for f in (form, "energy"))
                        difference = paired(ours, theirs)
                        pair |= {name: difference.difference, f"{name}_interval": list(difference.interval)}
                    pairs.append(pair)
    return rows, pairs
