"""How often `analysis.diagnose` is wrong about samples whose defect is known: false alarms, and what it sees.

The law has four modes of the shares .4, .3, .2 and .1, in 1, 2, 8 or 64 dimensions. Samples are healthy, or have one of
ten defects in one of four sizes; there are 64 to 4,096 of them and as many rows of data. Modes are found, not given.
A case is one diagnosis; `seen` says that some question answered *collapsed*, `named` that one meant for this defect
did. Points are kept in runs/calibration. How it came about: docs/studies/calibration.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.analysis.diagnosis import diagnose
from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.files import ROOT
from diffrl_lab.studies.study import Part

RUNS = ROOT / "runs" / "calibration"
VERSION = "2"  # of what the functions below call
SHARES, STD = (0.4, 0.3, 0.2, 0.1), 0.3
HEALTHY = {64: 100, 256: 100, 1024: 60, 4096: 20}  # n -> cases
DAMAGED = {64: 3, 256: 3, 1024: 1, 4096: 1}  # n -> cases of each defect and size
DIMENSIONS = (1, 2, 8, 64)
DEFECTS: dict[str, tuple[tuple[float, ...], tuple[str, ...]]] = {  # sizes, and the questions that are meant for it
    "mode lost": ((0.25, 0.5, 0.75, 1.0), ("lost", "weights")),
    "weights shifted": ((0.05, 0.1, 0.2, 0.3), ("weights",)),
    "modes narrower": ((0.1, 0.2, 0.4, 0.8), ("spread",)),
    "modes wider": ((0.1, 0.2, 0.4, 0.8), ("law", "left")),
    "far away": ((0.02, 0.05, 0.1, 0.3), ("left",)),
    "between modes": ((0.02, 0.05, 0.1, 0.3), ("left", "law")),
    "copies of the data": ((0.05, 0.1, 0.2, 0.5), ("memorised",)),
    "modes moved": ((0.1, 0.25, 0.5, 1.0), ("law", "left")),
    "one axis narrower": ((0.1, 0.2, 0.4, 0.8), ("spread", "law")),
    "rows repeated": ((0.25, 0.5, 0.75, 0.9), ("law", "memorised")),
}


def centres(d: int) -> NDArray[np.float64]:
    """Where the four modes are [4, d]: on a line, or in the corners of a square on the first two axes."""
    if d == 1:
        return np.array([[-4.5], [-1.5], [1.5], [4.5]])
    c = np.zeros((4, d))
    c[:, :2] = [[1.5, 1.5], [1.5, -1.5], [-1.5, 1.5], [-1.5, -1.5]]
    return c


def law(n: int, d: int, rng: np.random.Generator, shares: ArrayLike = SHARES, std: float = STD) -> NDArray:
    """n rows of the law, or of one with other shares or another spread within modes -> [n, d]"""
    return centres(d)[rng.choice(4, n, p=np.asarray(shares))] + std * rng.standard_normal((n, d))


def damaged(kind: str, size: float, n: int, data: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """n samples with one of the ten defects in some size; `data` is what copies are made of -> [n, d]"""
    d = data.shape[1]
    hit = rng.random(n) < size
    if kind == "mode lost":  # the third mode keeps a share 1 - size of its own
        p = np.array(SHARES) * [1, 1, 1 - size, 1]
        return law(n, d, rng, p / p.sum())
    if kind == "weights shifted":
        return law(n, d, rng, np.array(SHARES) + size * np.array([-1, 0, 0, 1]))
    if kind in ("modes narrower", "modes wider"):
        return law(n, d, rng, std=STD * (1 - size if kind == "modes narrower" else 1 + size))
    x = law(n, d, rng)
    if kind == "far away":
        x[hit] = 8 + STD * rng.standard_normal((hit.sum(), d))
    elif kind == "between modes":
        a, b = centres(d)[[0, 1]]
        x[hit] = a + rng.uniform(0.3, 0.7, (hit.sum(), 1)) * (b - a)
    elif kind == "copies of the data":
        x[hit] = data[rng.integers(len(data), size=hit.sum())]
    elif kind == "modes moved":
        x[:, 0] += size * STD
    elif kind == "one axis narrower":
        own = np.abs(x[:, None] - centres(d)).sum(2).argmin(1)
        x[:, -1] = centres(d)[own, -1] + (1 - size) * (x[:, -1] - centres(d)[own, -1])
    elif kind == "rows repeated":
        x = x[rng.integers(max(1, round(n * (1 - size))), size=n)] + 1e-3 * rng.standard_normal((n, d))
    else:
        raise ValueError(f"there is no defect {kind!r}; there are {', '.join(DEFECTS)}")
    return x


def case(kind: str, size: float, n: int, d: int, number: int, *, seed: int) -> dict[str, Any]:
    """One diagnosis of samples whose defect is known; kind "healthy": none."""
    rng = np.random.default_rng([seed, number, n, d, sorted(["healthy", *DEFECTS]).index(kind), int(1000 * size)])
    data = law(n, d, rng)
    samples = law(n, d, rng) if kind == "healthy" else damaged(kind, size, n, data, rng)
    found = diagnose(samples, data, seed=number)
    yes = [f.name for f in found.findings if f.verdict == "collapsed"]
    meant = DEFECTS[kind][1] if kind != "healthy" else ()
    return {
        "verdict": found.verdict, "yes": yes, "seen": bool(yes), "named": bool(set(yes) & set(meant)),
        "modes": found.about["modes"],
    }  # fmt: skip


def cases() -> list[dict[str, Any]]:
    """Every case: healthy ones, and each defect in each size at each n; dimensions take turns."""
    rows = [
        {"kind": "healthy", "size": 0.0, "n": n, "d": DIMENSIONS[i % 4], "number": i}
        for n, number in HEALTHY.items()
        for i in range(number)
    ]
    for k, (kind, (sizes, _)) in enumerate(DEFECTS.items()):
        for s, size in enumerate(sizes):
            for j, (n, number) in enumerate(DAMAGED.items()):
                for i in range(number):
                    d = DIMENSIONS[(k + s + j + 2 * i) % 4]
                    rows.append({"kind": kind, "size": size, "n": n, "d": d, "number": i})
    return rows


def _share(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """A share of cases with its Wilson interval, None where there is none."""
    if not rows:
        return {name: None}
    yes = sum(bool(row[name]) for row in rows)
    return {name: yes / len(rows), f"{name}_interval": wilson(yes, len(rows))}


def summed(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """False alarms by n and d, and the share of cases seen and named by defect and size, and by defect and n."""
    well, ill = [r for r in rows if r["kind"] == "healthy"], [r for r in rows if r["kind"] != "healthy"]
    groups = [("all", well), *((f"n = {n}", [r for r in well if r["n"] == n]) for n in HEALTHY)]
    groups += [(f"d = {d}", [r for r in well if r["d"] == d]) for d in DIMENSIONS]
    seeds = {"seeds": len({r["seed"] for r in rows})}
    alarms = [seeds | {"cases of": name, "number": len(some)} | _share(some, "seen") for name, some in groups]
    power = []
    for kind, (sizes, _) in DEFECTS.items():
        for size in sizes:
            own = [r for r in ill if (r["kind"], r["size"]) == (kind, size)]
            line = seeds | {"kind": kind, "size": size} | _share(own, "named")
            for n in DAMAGED:
                some = [r["seen"] for r in own if r["n"] == n]
                line[f"seen {n}"] = float(np.mean(some)) if some else None
            power.append(line)
    return {"alarms": alarms, "power": power}


def _cases(seeds: Sequence[int]) -> Table:
    table = run_grid(case, cases(), seeds=seeds, cache=RUNS, version=VERSION)
    return Table(table.rows, table.about | summed(table.rows))


PARTS = {"cases": Part(_cases, "results/calibration.json", seeds=1)}
