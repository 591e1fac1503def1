"""Frontiers: what methods whose scales are different units have at an equal level of something else."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.analysis.samples import array


def crossing(level: float, x: ArrayLike, y: ArrayLike, *, last: bool = False) -> NDArray[np.float64]:
    """y [n, ...] where the polyline x [n] first rises to `level`, linearly between its points. -> [...]

    last: where it rises above the level to stay there. Raises ValueError for a level that the polyline begins above or
    does not reach (last: does not stay above).
    """
    a, b = array("x", x), array("y", y)
    if a.ndim != 1 or len(a) < 2 or b.shape[:1] != a.shape or not np.isfinite(a).all():
        raise ValueError(f"a curve is x [n], finite, and y [n, ...], n >= 2; got x {a.shape} and y {b.shape}")
    if last:
        below = np.flatnonzero(a <= level)
        k = int(below[-1]) if len(below) else -1
    else:
        above = np.flatnonzero(a >= level)
        k = int(above[0]) - 1 if len(above) else len(a) - 1
        k = 0 if a[0] == level else k
    if not 0 <= k < len(a) - 1:
        raise ValueError(
            f"the curve does not rise through {level:g}: from {a[0]:g} to {a[-1]:g}, within [{a.min():g}, {a.max():g}]"
        )
    f = 0.0 if a[k] == level else (level - a[k]) / (a[k + 1] - a[k])
    return b[k] + f * (b[k + 1] - b[k])
