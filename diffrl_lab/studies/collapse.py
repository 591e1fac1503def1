"""Collapse, behind lesson 17: what each number of diversity sees and is blind to, from how many samples on, what makes
samples lose it, and when a chain decides.

The law has four modes of the shares .4, .3, .2 and .1 in the plane, ten standard deviations apart. `measures`: defects
against measures; `size`: noise floors and what is seen, by n; `sweeps`: guidance, steps, temperature, data and
prediction, each against the measures; `commitment`: how open a chain's mode is at t. Points are kept in runs/collapse.
How it came about: docs/studies/collapse.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor

from diffrl_lab.analysis import commitment, modes, pooled
from diffrl_lab.analysis.distance import energy_distance, nearest, sliced_w2
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.toys import ring
from diffrl_lab.diffusion import Denoiser, EmpiricalDenoiser, MixtureDenoiser, cfg, chain, ddim, ddpm, sample
from diffrl_lab.files import ROOT
from diffrl_lab.studies import parameterisations
from diffrl_lab.studies.parameterisations import SCHEDULES
from diffrl_lab.studies.study import Part, summary

RUNS, VERSION = ROOT / "runs" / "collapse", "1"
SHARES, STD, EACH = (0.4, 0.3, 0.2, 0.1), 0.2, 8  # shares of the modes, their deviation, samples in one state
LAW = ring(4, radius=2**0.5, std=STD, weights=torch.tensor(SHARES))
"""Four modes in the directions right, up, left and down: .4, .3, .2 and .1 of the data."""
CENTRES: NDArray[np.float64] = LAW.means.numpy()
MODES = modes.Centres(LAW.means, torch.full((4,), STD * float(stats.chi2.ppf(0.99, 2)) ** 0.5))
"""A sample belongs to a mode within the radius that holds 99 % of it."""
Floats = NDArray[np.float64]

# ------------------------------------------------------------------------------------------------------------- defects
SHIFTED: dict[str, tuple[float, ...]] = {  # defects that change nothing but the shares of the modes
    "rarest mode lost": (0.4 / 0.9, 0.3 / 0.9, 0.2 / 0.9, 0.0),
    "all in one mode": (1.0, 0.0, 0.0, 0.0),
    "weights made even": (0.25, 0.25, 0.25, 0.25),
    "weights swapped": (0.1, 0.2, 0.3, 0.4),
}
WIDTHS = {"modes narrower": 0.5, "modes wider": 1.5}  # times the law's deviation
DEFECTS: tuple[str, ...] = (
    *SHIFTED,
    *WIDTHS,
    "noise",
    "far away",
    "between modes",
    "modes moved",
    "copies of the data",
    "rows repeated",
    "one mode per state",
)
HIT = 0.1  # the share of rows that noise, far away and between modes take

# ------------------------------------------------------------------------------------------------------------ measures
SIDES: dict[str, str] = {  # on which side of its floor a measure says that something is wrong
    "coverage": "both",
    "off the modes": "high",
    "entropy": "both",
    "entropy per state": "both",
    "Vendi": "both",
    "variance": "both",
    "spread within": "both",
    "energy distance": "high",
    "sliced W2": "high",
    "precision": "both",
    "recall": "both",
    "density": "both",
    "coverage of data": "both",
    "nearest-row ratio": "both",
    "copies": "high",
    "classifier": "high",
}
NULL, DRAWS, BLOCK = 400, 100, 100  # draws behind a floor, draws of a defect, draws of one point
N, SIZES = 256, (32, 64, 128, 256, 512)
BY_SIZE = ("rarest mode lost", "modes narrower", "weights made even", "copies of the data")


def law(n: int, rng: np.random.Generator, shares: ArrayLike = SHARES, std: float = STD) -> Floats:
    """n rows of the law, or of one with other shares or another spread within modes -> [n, 2]"""
    return CENTRES[rng.choice(4, n, p=np.asarray(shares))] + std * rng.standard_normal((n, 2))


def states(n: int) -> NDArray[np.int64]:
    """The state of each row: EACH samples in one, all of the same law -> [n]"""
    return np.arange(n) // EACH


def damaged(kind: str, n: int, data: Floats, rng: np.random.Generator) -> Floats:
    """n samples with one of DEFECTS, or "healthy"; `data` is what copies are made of -> [n, 2]

    "one mode per state": all samples of a state lie in one mode, and the states take the modes in the law's shares, so
    that on average nothing is lost. Raises ValueError for a defect that does not exist.
    """
    if kind in SHIFTED:
        return law(n, rng, SHIFTED[kind])
    if kind in WIDTHS:
        return law(n, rng, std=STD * WIDTHS[kind])
    if kind == "one mode per state":
        number = -(-n // EACH)
        place = (rng.permutation(number) + rng.random()) / number
        of_state = np.searchsorted(np.cumsum(SHARES)[:-1], place, side="right")
        return CENTRES[of_state[states(n)]] + STD * rng.standard_normal((n, 2))
    x, hit = law(n, rng), rng.random(n) < HIT
    if kind == "noise":  # anywhere in the square that holds the data
        x[hit] = rng.uniform(-2, 2, (hit.sum(), 2))
    elif kind == "far away":
        x[hit] = 4 + STD * rng.standard_normal((hit.sum(), 2))
    elif kind == "between modes":
        x[hit] = CENTRES[0] + rng.uniform(0.3, 0.7, (hit.sum(), 1)) * (CENTRES[1] - CENTRES[0])
    elif kind == "modes moved":
        x[:, 0] += STD
    elif kind == "copies of the data":
        copied = rng.random(n) < 0.5
        x[copied] = data[rng.integers(len(data), size=copied.sum())]
    elif kind == "rows repeated":
        x = x[rng.integers(n // 4, size=n)] + 1e-3 * rng.standard_normal((n, 2))
    elif kind != "healthy":
        raise ValueError(f"there is no defect {kind!r}; there are healthy, {', '.join(DEFECTS)}")
    return x


def measured(x: Floats, data: Floats, fresh: Floats) -> dict[str, float | None]:
    """Every measure of samples x [n, 2], against data [n, 2] that a model was trained on, and data that it was not.

    coverage, entropy (nats, Miller's correction): of the four modes, over rows that belong to one; entropy per state:
    its mean over groups of EACH rows. Vendi: effective number of rows, similarity exp(-|d|^2 / 2 STD^2). variance: its
    trace over that of the data. spread within: root mean square distance to the mode's centre over that of the law.
    precision to coverage of data: `pooled.balls` with 5 neighbours. nearest-row ratio: mean distance to the nearest row
    of the data over that of fresh rows. copies: the share whose nearest row of the data is much nearer than the second
    (`pooled.first_two`). classifier: the AUC of the vote of the 10 nearest other rows (Lopez-Paz and Oquab 2017). None:
    no row belongs to a mode.
    """
    a, b, c = (torch.as_tensor(v) for v in (x, data, fresh))
    label = MODES(a).numpy()
    own = label[label >= 0]
    away = np.linalg.norm(x[label >= 0] - CENTRES[own], axis=1)
    both, truth = torch.cat([a, b]).float(), np.arange(len(x) + len(data)) < len(x)
    distance = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist")
    index, near = pooled.neighbours(distance, 24)
    vote = truth[index[:, :10]].mean(1)
    auc = stats.mannwhitneyu(vote[truth], vote[~truth]).statistic / (len(x) * len(data))
    per_state = [modes.entropy(label[states(len(x)) == s], 4, True) for s in np.unique(states(len(x)))]
    balls = dict(zip(("precision", "recall", "density", "coverage of data"), pooled.balls(distance, truth),
                     strict=True))  # fmt: skip
    found = {
        "coverage": modes.coverage(label, 4),
        "off the modes": modes.shares(label, 4).left,
        "entropy": modes.entropy(label, 4, True),
        "entropy per state": np.nanmean(per_state) if len(own) else np.nan,
        "Vendi": modes.vendi(modes.gaussian_similarity(a, STD)),
        "variance": x.var(0).sum() / data.var(0).sum(),
        "spread within": np.sqrt(np.square(away).mean() / 2) / STD if len(own) else np.nan,
        "energy distance": energy_distance(a, b),
        "sliced W2": sliced_w2(a, b, 32, torch.Generator().manual_seed(0)),
        **balls,
        "nearest-row ratio": float(nearest(a, b).mean() / nearest(c, b).mean()),
        "copies": pooled.first_two(truth[None], index, near, distance)[1][0],
        "classifier": auc,
    }
    return {name: float(found[name]) if np.isfinite(found[name]) else None for name in SIDES}


def scored(kind: str, n: int, block: int, *, seed: int) -> dict[str, list[float | None]]:
    """BLOCK draws of samples with a defect, each with data of its own: every measure's values -> name -> [BLOCK]"""
    rows = []
    for number in range(BLOCK):
        rng = np.random.default_rng([seed, block, number, n, ["healthy", *DEFECTS].index(kind)])
        data, fresh = law(n, rng), law(n, rng)
        rows.append(measured(damaged(kind, n, data, rng), data, fresh))
    return {name: [row[name] for row in rows] for name in SIDES}


def floor(values: ArrayLike, side: str) -> tuple[float, float]:
    """Between which numbers 95 % of perfect draws [m] lie; on one side only where `side` is "high"."""
    v = np.asarray(values)
    low, high = (np.quantile(v, [0.025, 0.975])) if side == "both" else (-np.inf, np.quantile(v, 0.95))
    return float(low), float(high)


def beyond(values: ArrayLike, ends: tuple[float, float]) -> tuple[float, float]:
    """The shares of values [m] below and above a floor; a value that there is not (None) counts as above."""
    v = np.array(values, float)
    return float((v < ends[0] - 1e-12).mean()), float((~(v <= ends[1] + 1e-12)).mean())


def _mean(values: ArrayLike) -> float | None:
    """The mean of the values that there are, None without any."""
    v = np.array(values, float)
    return float(v[np.isfinite(v)].mean()) if np.isfinite(v).any() else None


def _blocks(kinds: Iterable[str], sizes: Iterable[int]) -> list[dict[str, Any]]:
    """The points of a grid: each defect's blocks, and those of perfect draws, of which the first ones are the floor."""
    grid = []
    for n in sizes:
        grid += [{"kind": "healthy", "n": n, "block": b} for b in range((NULL + DRAWS) // BLOCK)]
        grid += [{"kind": kind, "n": n, "block": b} for kind in kinds for b in range(DRAWS // BLOCK)]
    return grid


def _joined(rows: Sequence[Mapping[str, Any]], n: int) -> tuple[dict[str, Floats], dict[str, dict[str, Floats]]]:
    """The perfect draws behind the floors at n, and the others by defect: measure -> values."""
    own = [r for r in rows if r["n"] == n]
    null = [r for r in own if r["kind"] == "healthy" and r["block"] < NULL // BLOCK]
    rest: dict[str, list[Mapping[str, Any]]] = {}
    for r in own:
        if r not in null:
            rest.setdefault(r["kind"], []).append(r)
    join = lambda some: {m: np.array([v for r in some for v in r[m]], float) for m in SIDES}  # noqa: E731
    return join(null), {kind: join(some) for kind, some in rest.items()}


def _measures(seeds: Sequence[int]) -> Table:
    """Defect against measure at n = N: the share of draws in which the measure stands beyond its floor."""
    done = run_grid(scored, _blocks(DEFECTS, [N]), seeds=seeds, cache=RUNS, version=VERSION)
    null, rest = _joined(done.rows, N)
    ends = {m: floor(null[m], side) for m, side in SIDES.items()}
    rows = []
    for kind, values in rest.items():
        sides = {m: beyond(values[m], ends[m]) for m in SIDES}
        rows.append({"defect": kind, "n": N, "seeds": len(seeds)} | {m: sum(s) for m, s in sides.items()}
                    | {f"{m}, above": s[1] for m, s in sides.items()}
                    | {f"{m}, value": _mean(values[m]) for m in SIDES})  # fmt: skip
    floors = {m: {"low": e[0] if np.isfinite(e[0]) else None, "high": e[1], "mean": float(null[m].mean())}
              for m, e in ends.items()}  # fmt: skip
    return summary(scored, rows, seeds, hours=done.about["hours"], floors=floors, draws=DRAWS, null=NULL)


def _size(seeds: Sequence[int]) -> Table:
    """Each measure's floor by n, and the share of draws of four defects that stand beyond it."""
    done = run_grid(scored, _blocks(BY_SIZE, SIZES), seeds=seeds, cache=RUNS, version=VERSION)
    rows = []
    for n in SIZES:
        null, rest = _joined(done.rows, n)
        for m, side in SIDES.items():
            low, high = ends = floor(null[m], side)
            seen = {kind: sum(beyond(values[m], ends)) for kind, values in rest.items()}
            rows.append({"measure": m, "n": n, "seeds": len(seeds), "low": low if np.isfinite(low) else None,
                         "mean": float(null[m].mean()), "high": high} | seen)  # fmt: skip
    return summary(scored, rows, seeds, hours=done.about["hours"], draws=DRAWS, null=NULL)


# -------------------------------------------------------------------------------------------------------------- sweeps
KNOBS: dict[str, tuple[Any, ...]] = {
    "guidance w": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),  # from even shares (0) through the law's own (1) beyond them
    "steps of DDIM": (1, 2, 3, 5, 10, 20, 100),
    "steps of DDPM": (2, 3, 5, 10, 20, 100),
    "temperature": (0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1),  # of DDPM in 100 steps
    "rows of data": (8, 32, 128, 512),  # the exact denoiser of these very rows: a network without any error
    "prediction": ("eps", "x0", "v"),  # networks, trained on 4,000 rows
}
TRAINED = ("rows of data", "prediction")  # models of recorded rows
UPDATES, REPEATS = 1000, 10  # of one training; sets of N samples that are measured of one model


def exact(schedule: str = "Cosine", std: float = STD, shares: Sequence[float] = SHARES) -> MixtureDenoiser:
    """The exact denoiser of the law, or of one with other shares or another spread within modes."""
    return MixtureDenoiser(torch.tensor(shares), LAW.means, SCHEDULES[schedule], std=std)


def rows_of(number: int, seed: int) -> Tensor:
    """The rows that a network is trained on -> [number, 2]"""
    return LAW.sample(number, torch.Generator().manual_seed(seed))[0]


@cache
def learned(predict: str, number: int, seed: int) -> Denoiser:
    """An MLP of width 64 trained on so many rows of the law: batches of 256, 1,000 updates, rate 0.005 falling to 0."""
    D = parameterisations.denoiser(predict, seed=seed)
    g = torch.Generator().manual_seed(1000 + seed)
    parameterisations.trained(D, rows_of(number, seed), UPDATES, 256, 5e-3, g)
    return D


def turned(knob: str, value: Any, n: int, seed: int) -> Tensor:
    """n samples of a model of the law with one knob turned; the others: exact, 100 steps of DDIM -> [n, 2]"""
    g = torch.Generator().manual_seed(seed)
    D, step, steps = exact(), ddim(), 100
    if knob == "guidance w":
        even = exact(shares=(0.25,) * 4)
        D = cfg(even, torch.tensor(SHARES).expand(n, 4), float(value))  # type: ignore[assignment]
    elif knob == "temperature":
        step = ddpm(value)
    elif knob.startswith("steps"):
        step, steps = (ddim() if knob.endswith("DDIM") else ddpm()), int(value)
    elif knob == "rows of data":
        D = EmpiricalDenoiser(rows_of(int(value), seed), SCHEDULES["Cosine"])  # type: ignore[assignment]
    elif knob == "prediction":
        D = learned(value, 4000, seed)  # type: ignore[assignment]
    with torch.no_grad():
        return sample(D, D.schedule.prior((n, 2), g), steps=steps, step=step, generator=g)


def swept(knob: str, value: Any, *, seed: int) -> dict[str, list[float | None]]:
    """REPEATS sets of N samples, each measured against data of its own: name -> [REPEATS].

    to its rows: mean distance to the nearest row that was trained on over that of fresh rows of the law; below 1 the
    samples are nearer than fresh data (only where rows were trained on).
    """
    x = turned(knob, value, N * REPEATS, seed).double().numpy().reshape(REPEATS, N, 2)
    rng = np.random.default_rng([seed, 17])
    rows = [measured(own, law(N, rng), law(N, rng)) for own in x]
    found: dict[str, list[float | None]] = {name: [row[name] for row in rows] for name in SIDES}
    if knob in TRAINED:
        train = rows_of(int(value) if knob == "rows of data" else 4000, seed)
        fresh = float(nearest(torch.as_tensor(law(4 * N, rng)), train).mean())
        found["to its rows"] = [float(nearest(torch.as_tensor(own), train).mean()) / fresh for own in x]
    return found


def _sweeps(seeds: Sequence[int]) -> Table:
    """Each knob's values: the mean of every measure, and the share of sets beyond its floor (that of `measures`)."""
    null, _ = _joined(run_grid(scored, _blocks([], [N]), seeds=[0], cache=RUNS, version=VERSION).rows, N)
    ends = {m: floor(null[m], side) for m, side in SIDES.items()}
    grid = [{"knob": knob, "value": value} for knob, values in KNOBS.items() for value in values]
    done = run_grid(swept, grid, seeds=seeds, cache=RUNS, version=VERSION)
    rows = []
    for r in done.rows:
        rows.append({k: r[k] for k in ("knob", "value", "seed")}
                    | {m: _mean(r[m]) for m in (*SIDES, "to its rows") if m in r}
                    | {f"{m}, seen": sum(beyond(r[m], ends[m])) for m in SIDES})  # fmt: skip
    floors = {m: {"low": e[0] if np.isfinite(e[0]) else None, "high": e[1], "mean": float(null[m].mean())}
              for m, e in ends.items()}  # fmt: skip
    return summary(swept, rows, seeds, hours=done.about["hours"], floors=floors, repeats=REPEATS)


# ---------------------------------------------------------------------------------------------------------- commitment
CHAINS, AGAIN, STEPS = 64, 32, 50  # chains, futures of each from a moment, steps of a chain
AT = tuple(range(0, STEPS + 1, 5))
SETTINGS: tuple[dict[str, Any], ...] = (
    *({"denoiser": "exact", "schedule": s} for s in SCHEDULES),
    *({"denoiser": "exact", "schedule": "Cosine", "eta": e} for e in (0.0, 0.25, 0.5)),
    *({"denoiser": "exact", "schedule": "Cosine", "temperature": v} for v in (0.5, 0.75)),
    *({"denoiser": "exact", "schedule": "Cosine", "std": v} for v in (0.05, 0.5)),
    *({"denoiser": p, "schedule": "Cosine"} for p in ("eps", "x0", "v")),
)


def decided(
    denoiser: str, schedule: str, eta: float = 1.0, temperature: float = 1.0, std: float = STD, *, seed: int
) -> dict[str, Any]:
    """How open the mode is on the way: CHAINS chains of STEPS steps, AGAIN futures of each from the moments AT.

    entropy [M]: of the modes that futures end in (the nearest centre), mean over chains, nats; exact [M]: the mean
    entropy of p(mode | x_t) at the very x_t under the law; law [M]: H(mode | x_t), where the chains are the law's.
    half_t and half_noise: the time, and the share of noise sigma / sqrt(alpha^2 + sigma^2) there, at which half of the
    law's own entropy is gone; law_half_t and law_half_noise: the same of the law. ended: the entropy of the modes that
    the chains themselves end in. Temperature: `ddpm`'s; with it eta is 1.
    """
    law_of = exact(schedule, std)
    D: Denoiser = law_of if denoiser == "exact" else learned(denoiser, 4000, seed)
    step = ddpm(temperature) if temperature != 1 else ddim(eta)
    g = torch.Generator().manual_seed(seed)
    label = lambda x: torch.cdist(x.double(), LAW.means).argmin(1)  # noqa: E731
    with torch.no_grad():
        frames = list(chain(D, D.schedule.prior((CHAINS, 2), g), steps=STEPS, step=step, generator=g))
        found = commitment.undecided(D, frames, label, 4, again=AGAIN, at=AT, step=step, generator=g)
    t, entropy = found.t, found.entropy.mean(1)
    of_frames = commitment.entropy_of(commitment.exact_weights(law_of, frames)[list(AT)]).mean(1)
    curve = commitment.open_entropy(law_of, t, 2000, torch.Generator().manual_seed(1))
    whole = float(commitment.entropy_of(law_of.weights))
    row: dict[str, Any] = {"t": t.tolist(), "entropy": entropy.tolist(), "exact": of_frames.tolist()}
    row |= {"law": curve.tolist(), "at noise": float(entropy[0]), "ended": modes.entropy(label(frames[-1].x_t), 4)}
    for name, h in (("half", entropy), ("law_half", curve)):
        when = commitment.half_decided(t, h, whole)
        ratio = float(law_of.schedule.ratio(when))
        row |= {f"{name}_t": when, f"{name}_noise": ratio / (1 + ratio**2) ** 0.5 if np.isfinite(ratio) else 1.0}
    return row


def _commitment(seeds: Sequence[int]) -> Table:
    """All SETTINGS; what a setting leaves out stands in its row."""
    usual = {"eta": 1.0, "temperature": 1.0, "std": STD}
    return run_grid(decided, [usual | setting for setting in SETTINGS], seeds=seeds, cache=RUNS, version=VERSION)


PARTS = {
    "measures": Part(_measures, "results/collapse-measures.json", seeds=1),
    "size": Part(_size, "results/collapse-size.json", seeds=1),
    "sweeps": Part(_sweeps, "results/collapse-sweeps.json"),
    "commitment": Part(_commitment, "results/collapse-commitment.json"),
}
