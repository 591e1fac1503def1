"""Did it collapse? `diagnose(samples, reference)` asks up to eight questions of anyone's samples and answers each.

A question is a two-sample test whose p-value is exact by relabelling (`analysis.pooled`); Holm's correction keeps the
probability of any false alarm at 5 %. An answer is *collapsed*, *healthy*, or *not seen at this n* with the n that it
would need: *healthy* is said only where a defect that matters (`MATTERS`) would have been seen with a power of 80 %.
It asks for independent rows: steps of one episode are not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from tqdm.auto import tqdm

from diffrl_lab.analysis import modes as ways
from diffrl_lab.analysis import pooled
from diffrl_lab.analysis.bring import bring, is_minari
from diffrl_lab.analysis.distance import energy_distance
from diffrl_lab.analysis.findings import MATTERS, QUESTIONS, UNITS, Diagnosis, Finding, short
from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.worlds.walls import Walls

Floats = NDArray[np.float64]


def diagnose(
    samples: Any,
    reference: Any = None,
    *,
    modes: Any = None,
    states: Any = None,
    reference_states: Any = None,
    level: float = 0.05,
    repeats: int = 399,
    most: int = 2000,
    seed: int = 0,
    progress: bool = False,
) -> Diagnosis:
    """Hold samples against reference data: what is lost, shifted, shrunk, outside or copied, and what could be seen.

    samples, reference: [N] or [N, a] rows; [S, n, a] with states=True: n samples in each of S states; [N, H, d]
    trajectories; [N, C, H, W] images; arrays, tensors, lists or files (`analysis.bring`). reference: data of the law
    that the samples should follow, rows independent; if the model was trained on them, `memorised` is about copies.
    modes: None (HDBSCAN finds them in the pool), 1 (there are none), centres [K, ...], `Centres`, a pair of labels (of
    samples, of the reference; -1 for none), or a function of rows -> labels or names, None for invalid rows, such as
    lambda plans: homotopy(plans, walls). states, reference_states: the state of each row, whole numbers or vectors:
    rows of equal ones are compared. repeats: relabellings, at least 399: with fewer no p-value of eight questions gets
    below 5 %. most: rows a side that enter neighbours and distances, which bounds time and memory. Raises ValueError
    for what cannot be judged.
    """
    x = bring(samples, "samples")
    notes: list[str] = []
    for name, v in (("samples", samples), ("reference", reference)):
        if getattr(v, "dtype", None) is not None and "int" in str(v.dtype):
            notes.append(f"{name} are whole numbers: equal rows are ties, and copies cannot be told from them")
        if is_minari(v):
            notes.append(
                f"{name} are all steps of a recording; steps of an episode are alike, so p-values are too small"
            )
    if not 0 < level < 1 or repeats < 399 or most < 50:
        raise ValueError(f"wanted 0 < level < 1, repeats >= 399, most >= 50; got {level}, {repeats}, {most}")
    rng = np.random.default_rng(seed)
    if reference is None:
        return _alone(x, notes)
    y = bring(reference, "reference")
    if x.ndim != y.ndim or x.shape[1 + (states is True) :] != y.shape[1 + (states is True) :]:
        raise ValueError(f"samples {list(x.shape)} and reference {list(y.shape)} must be rows of one shape")
    gx, gy = _groups(x, y, states, reference_states)
    if states is True:
        x, y = x.reshape(-1, *x.shape[2:]), y.reshape(-1, *y.shape[2:])
    if min(len(x), len(y)) < 8:
        raise ValueError(f"at least 8 rows a side are wanted, got {len(x)} samples and {len(y)} reference rows")
    if not (np.ptp(x, axis=0) > 0).any() and not (np.ptp(y, axis=0) > 0).any():
        raise ValueError("samples and reference are both constant: every row is the same, nothing can be compared")
    if not (np.ptp(y, axis=0) > 0).any():
        raise ValueError("the reference is constant: every row is the same, so it has no spread to be kept")
    if not (np.ptp(x, axis=0) > 0).any():
        notes.append("the samples are constant: every row is the same")
    with tqdm(total=7, disable=not progress, desc="diagnose", leave=False) as bar:
        return _Asked(x, y, gx, gy, modes, level, repeats, most, rng, notes, bar).answer()


def around(walls: str) -> Callable[[Any], list[ways.Word | None]]:
    """Modes of trajectories [N, H, 2+]: the ways around a maze's blocks (`analysis.modes.homotopy`), for `diagnose`.

    walls: the name of a maze, or a file (`analysis.bring`) with a grid of 0 and 1 [R, C]: cells of 1 m, row 0 at the
    top, the origin in the middle. Raises ValueError for a file that holds something else, and for no such maze.
    """
    if not Path(walls).suffix:
        maze = Walls.named(walls)
    else:
        grid = bring(walls, "walls")
        if grid.ndim != 2 or not np.isin(grid, (0, 1)).all():
            raise ValueError(f"{walls}: a grid of 0 and 1 is wanted, cells of 1 m; got {list(grid.shape)} numbers")
        maze = Walls(grid == 1)
    return lambda plans: ways.homotopy(plans, maze)


def _groups(x: Floats, y: Floats, states: Any, reference_states: Any) -> tuple[NDArray, NDArray] | tuple[None, None]:
    if states is None and reference_states is None:
        return None, None
    if states is True:
        if x.ndim != 3 or len(x) != len(y):
            raise ValueError(
                "states=True wants [S, n, a] and [S, m, a] of the same S states, got "
                f"{list(x.shape)} and {list(y.shape)}"
            )
        return np.repeat(np.arange(len(x)), x.shape[1]), np.repeat(np.arange(len(y)), y.shape[1])
    if states is None or reference_states is None:
        raise ValueError("states and reference_states come together: the state of each row on both sides")
    a, b = bring(states, "states"), bring(reference_states, "reference_states")
    if len(a) != len(x) or len(b) != len(y) or a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"a state for each row is wanted: {len(x)} and {len(y)} rows, got {list(a.shape)}, {list(b.shape)}"
        )
    both = np.concatenate([a.reshape(len(a), -1), b.reshape(len(b), -1)])
    _, group = np.unique(both, axis=0, return_inverse=True)
    group = group.reshape(-1)
    shared = np.intersect1d(group[: len(a)], group[len(a) :])
    if not len(shared):
        raise ValueError("no state stands on both sides: rows can be compared only where states are equal")
    return group[: len(a)], group[len(a) :]


class _Asked:
    """The pool of one diagnosis and its questions."""

    def __init__(self, x, y, gx, gy, modes, level, repeats, most, rng, notes, bar) -> None:
        self.level, self.rng, self.notes, self.bar, self.most, self.repeats = level, rng, notes, bar, most, repeats
        self.n, self.m, self.shape = len(x), len(y), list(x.shape[1:])
        raw = np.concatenate([x, y])
        self.truth = np.arange(len(raw)) < len(x)
        self.states = gx is not None
        self.group = np.concatenate([gx, gy]) if self.states else np.zeros(len(raw), np.int64)
        flat = raw.reshape(len(raw), -1)
        if raw.ndim == 3:  # a coordinate of a trajectory has one scale for all its times
            scale = np.tile(raw.reshape(-1, raw.shape[-1]).std(0), raw.shape[1])
        elif raw.ndim == 4:
            scale = np.full(flat.shape[1], flat.std())
        else:
            scale = flat.std(0)
        if (scale <= 0).any():
            notes.append(f"{int((scale <= 0).sum())} of {len(scale)} columns are constant and were left out")
        self.z, kept = pooled.principal(flat[:, scale > 0] / scale[scale > 0], 64)
        if kept < 0.999:
            notes.append(f"{len(scale)} numbers a row became 64 principal axes with {kept:.1%} of the variance")
        self.raw, self.mine = raw, pooled.relabelled(self.truth, self.group, repeats, rng)
        self.labels, self.names = self._modes(modes, x, y)
        self.k = len(self.names)
        self.findings: dict[str, dict[str, Any]] = {}
        self.measures: list[dict[str, Any]] = []
        self.alone = level / 8  # the level of one question where eight are asked: what `smallest` is computed for

    # ----------------------------------------------------------------------------------------------------------- modes
    def _modes(self, modes: Any, x: Floats, y: Floats) -> tuple[NDArray, list[str]]:
        self.found, self.stability = False, 1.0
        if modes is None:
            self.found = True
            labels, self.stability = pooled.clusters(self.raw.reshape(len(self.raw), -1), self.rng)
            if 0 < self.stability < 0.8:
                self.notes.append(
                    f"HDBSCAN's modes change when half of the rows are left out (Rand index {self.stability:.2f}): "
                    "taken as one mode; give labels or centres if you know them"
                )
            return labels, [str(k) for k in range(labels.max() + 1)]
        if isinstance(modes, int):
            if modes != 1:
                raise ValueError(f"modes={modes}: a number of modes cannot be given, only 1; give centres or labels")
            return np.zeros(len(self.truth), np.int64), ["0"]
        if isinstance(modes, tuple) and len(modes) == 2:
            sides = [list(np.asarray(bring(v, "labels")).reshape(-1).astype(int)) for v in modes]
        elif isinstance(modes, ways.Centres):
            sides = [modes(torch.as_tensor(v)).tolist() for v in (x, y)]
        elif callable(modes):
            sides = [v.tolist() if hasattr(v, "tolist") else list(v) for v in (modes(x), modes(y))]
        else:
            c = bring(modes, "centres")
            c = c.reshape(len(c), -1)
            if c.shape[1] != np.prod(self.shape, dtype=int):
                raise ValueError(f"centres of {c.shape[1]} numbers do not suit rows of {int(np.prod(self.shape))}")
            flat = torch.as_tensor(self.raw.reshape(len(self.raw), -1))
            nearest = torch.cdist(flat, torch.as_tensor(c)).argmin(1).tolist()
            sides = [nearest[: self.n], nearest[self.n :]]
        if [len(s) for s in sides] != [self.n, self.m]:
            raise ValueError(f"a label for each row is wanted: {self.n} and {self.m}, got {[len(s) for s in sides]}")
        each = [
            None if v is None or v == -1 else tuple(v) if isinstance(v, list) else v for side in sides for v in side
        ]
        known = sorted({v for v in each if v is not None}, key=lambda v: (str(type(v)), v))
        if not known:
            raise ValueError("no row belongs to a mode: every label is -1 or None")
        place = {v: i for i, v in enumerate(known)}
        return np.array([-1 if v is None else place[v] for v in each]), [str(v) for v in known]

    # ---------------------------------------------------------------------------------------------------------- answer
    def answer(self) -> Diagnosis:
        self._ask_modes()
        self.bar.update()
        self._ask_spread("spread", self.labels)
        if self.states:
            self._ask_spread("state", self.group)
        self.bar.update()
        self._ask_neighbours()
        self.bar.update(3)
        if self.raw.ndim == 3:
            self._ask_motion()
        adjusted = pooled.holm({name: f["p"] for name, f in self.findings.items()})
        findings = [self._verdict(name, adjusted[name]) for name in QUESTIONS if name in self.findings]
        self.bar.update(2)
        words = {f.verdict for f in findings}
        verdict = "collapsed" if "collapsed" in words else "healthy" if words == {"healthy"} else "not seen at this n"
        if "state" in self.findings and self["state"] <= self.level < adjusted["law"]:
            self.notes.append("it shows per state and not on average")
        about = {
            "n": self.n, "m": self.m, "d": int(np.prod(self.shape)), "shape": self.shape, "modes": self.k,
            "modes_found": self.found, "stability": self.stability, "level": self.level, "repeats": self.repeats,
            "rows_compared": [int(self.few.sum()), int((~self.few).sum())],
        }  # fmt: skip
        rows = {"x": self.z[self.taken][:, :8], "sample": self.few, "label": self.labels[self.taken]}
        return Diagnosis(verdict, findings, self.measures, self.table, about, self.notes, rows)

    def __getitem__(self, name: str) -> float:
        return pooled.holm({k: f["p"] for k, f in self.findings.items()})[name]

    def _put(self, name: str, scores: Floats, value: float, interval: tuple[float, float], **more: Any) -> None:
        """A question by the scores of the truth and of its relabellings; what is seen is above the critical score."""
        null = scores[1:]
        critical = float(np.quantile(null, 1 - self.alone))
        seen = critical + 0.84 * float(null.std())
        self.findings[name] = {
            "p": pooled.p_value(scores), "value": value, "interval": tuple(round(v, 12) for v in interval),
            "smallest": seen, "floor": float(np.quantile(null, 0.95)), "matters": MATTERS.get(name, np.nan), 
            "zero": float(null.mean()),
        } | more  # fmt: skip

    def _ask_modes(self) -> None:
        a, b = pooled.counts(self.labels, self.k, self.mine)
        ref, own = b[0], a[0]
        stayed = max(own.sum(), 1)
        ratio = (own / stayed) / np.maximum(ref / max(ref.sum(), 1), 1e-12)
        self.table = [
            {
                "mode": self.names[k], "samples": int(own[k]), "reference": int(ref[k]), "share": own[k] / stayed,
                "interval": wilson(int(own[k]), int(stayed)), "reference_share": ref[k] / max(ref.sum(), 1),
                "lost": bool(ratio[k] < 0.2 and ref[k] > 0),
            }
            for k in range(self.k)
        ]  # fmt: skip
        entropy = [
            ways.entropy(np.repeat(np.arange(self.k), c.astype(int)), self.k, True) for c in (own, ref) if c.sum()
        ]
        null = np.array([_miller(c) for c in a[1:]])
        self._measure("coverage of modes", float((own > 0).mean()), np.array([(c > 0).mean() for c in a[1:]]))
        self._measure("entropy of modes, nats (Miller)", entropy[0], null, entropy[1])
        if self.k < 2 or not own.sum() or not ref.sum():
            return
        gone = (ratio < 0.2) & (ref > 0)
        scores = pooled.lost(a, b)
        mass = float(ref[gone].sum() / ref.sum()) if scores[0] > 0 else 0.0
        least, need = self._smallest_mode(ref)
        p_ref = ref / ref.sum()
        self._put("lost", scores, mass, wilson(int(ref[gone].sum()), int(ref.sum())), smallest=least, floor=0.0,
                  matters=float(p_ref[p_ref > 0].min()), need=need,
                  which=[self._place(int(k)) for k in np.flatnonzero(gone)])  # fmt: skip
        again = self.rng.multinomial(int(stayed), own / stayed, 400), self.rng.multinomial(int(ref.sum()), p_ref, 400)
        moved = pooled.moved(*(v.astype(float) for v in again))
        tv = pooled.moved(a, b)
        bias = float(tv[1:].mean())  # resampled shares move as much again
        low, high = np.quantile(moved, [0.025, 0.975]) - (moved.mean() - tv[0])
        self._put("weights", tv, float(tv[0]), (max(0.0, float(low)), min(1.0, float(high))), bias=bias)

    def _place(self, k: int) -> str:
        """What a mode is called in a sentence: its given name, or where HDBSCAN found it."""
        if not self.found:
            return self.names[k]
        flat = self.raw[self.labels == k].reshape(int((self.labels == k).sum()), -1)
        where = f" about ({', '.join(map(short, flat.mean(0)))})" if flat.shape[1] <= 4 else ""
        return f"mode {self.names[k]}{where}"

    def _smallest_mode(self, ref: Floats) -> tuple[float, int]:
        """The smallest mode whose total loss is seen, and the n at which the loss of the smallest one is."""
        wanted = self.alone / max((ref > 0).sum(), 1)
        rows = np.log(1 / wanted) / np.log((self.n + self.m) / self.m)  # all c rows of a mode in the reference: p^c
        share = float(min(1.0, np.ceil(rows) / self.m))
        smallest = float(ref[ref > 0].min() / ref.sum())
        return share, int(np.ceil(self.n * share / smallest * 1.3))

    def _ask_spread(self, name: str, label: NDArray) -> None:
        """Mean squared distance to the pool's centre of the mode, in its own units, samples over reference."""
        square = np.ones(len(self.truth))
        kept = label >= 0
        for k in np.unique(label[kept]):
            own = label == k
            if len(np.unique(self.truth[own])) < 2:
                kept = kept & ~own
                continue
            away = np.square(self.z[own] - self.z[own].mean(0)).sum(1)
            square[own] = away / away.mean() if away.mean() > 0 else 1.0
        if kept.sum() < 8 or len(np.unique(self.truth[kept])) < 2:
            return
        ratio = pooled.log_ratio(square[kept], self.mine[:, kept]) / 2
        a, b = square[kept & self.truth], square[kept & ~self.truth]
        draws = [
            0.5 * np.log(max(self.rng.choice(a, len(a)).mean(), 1e-12) / max(self.rng.choice(b, len(b)).mean(), 1e-12))
            for _ in range(300)
        ]
        low, high = np.exp(np.quantile(draws, [0.025, 0.975]))
        shown = lambda s: float(np.exp(-s))  # noqa: E731  (what is seen lies below)
        self._put(name, -ratio, float(np.exp(ratio[0])), (float(low), float(high)), shown=shown)

    def _ask_neighbours(self) -> None:
        sides = [self._few(own) for own in (self.truth, ~self.truth)]
        self.taken = taken = np.concatenate(sides)
        self.few = few = self.truth[taken]
        z = torch.as_tensor(self.z[taken], dtype=torch.float32)
        mine = pooled.relabelled(few, self.group[taken], self.repeats, self.rng)
        distance = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")
        odds = len(few) / min(few.sum(), (~few).sum())
        first = int(10 * odds)
        index, near = pooled.neighbours(distance, int(max(24, 14 * odds)))
        far, copied = pooled.first_two(mine, index[:, :first], near[:, :first], distance)
        self.bar.update()
        outside = int(round(far[0] * few.sum()))
        beyond = self.labels < 0
        left: dict[str, Any] = {}
        if beyond.any():  # rows of no mode are the other way to leave the data
            share = (self.mine & beyond).sum(1) / self.n
            p, q = pooled.p_value(far), pooled.p_value(share)
            left = {"p": min(1.0, 2 * min(p, q)), "which": ["rows of no mode"] * (q < p)}
            self._measure("share of no mode", float(share[0]), share[1:], float(beyond[~self.truth].mean()))
        self._put("left", far, float(far[0]), wilson(outside, int(few.sum())), **left)
        self._put("memorised", copied, float(copied[0]), wilson(int(round(copied[0] * few.sum())), int(few.sum())))
        scores = pooled.energy(distance, mine)
        x, y = z[few].double(), z[~few].double()
        low = pooled.p_value(scores)
        self._measure("energy distance", energy_distance(x, y), scores[1:] - scores[1:].mean(), 0.0)
        some = mine[:100]
        sliced = pooled.sliced(z.double().numpy(), some, self.rng)
        self._measure("sliced W2", float(sliced[0]), sliced[1:])
        names = ("precision", "recall", "density", "coverage")
        exact = dict(zip(names, pooled.balls(distance, few).tolist(), strict=True))
        for name, null in zip(names, pooled.manifold(some, index).T, strict=True):
            self._measure(name, exact[name], null[1:])
        self._vendi(distance, few)
        self.bar.update()
        self._ask_law(z.double().numpy(), few, low)
        if self.states:
            self._state_law(distance, mine, taken, few)

    def _few(self, own: NDArray) -> NDArray:
        """At most `most` rows of one side: at random, whole states together."""
        rows = np.flatnonzero(own)
        if len(rows) <= self.most:
            return rows
        if not self.states:
            return np.sort(self.rng.permutation(rows)[: self.most])
        every = np.random.default_rng(0).permutation(np.unique(self.group))  # the same states on both sides
        size = max(1, int(len(every) * self.most / max(self.truth.sum(), (~self.truth).sum())))
        return rows[np.isin(self.group[rows], every[:size])][: 2 * self.most]

    def _vendi(self, distance: torch.Tensor, few: NDArray, rows: int = 150) -> None:
        n = min(rows, int(few.sum()), int((~few).sum()))
        pick = np.concatenate([self.rng.permutation(np.flatnonzero(own))[:n] for own in (few, ~few)])
        d = distance[pick][:, pick].double()
        width = float(d[d > 0].median()) / 2 if (d > 0).any() else 1.0
        kernel = torch.exp(-d.square() / (2 * width**2))
        truth = np.arange(2 * n) < n
        draws = pooled.relabelled(truth, np.zeros(2 * n), 40, self.rng)
        score = [ways.vendi(kernel[own][:, own]) for own in map(torch.as_tensor, draws)]
        self._measure(f"Vendi score of {n} rows", score[0], np.array(score[1:]), ways.vendi(kernel[n:, n:]))

    def _ask_law(self, z: Floats, few: NDArray, p_energy: float) -> None:
        rows, _ = pooled.principal(z, 16)
        looks, is_sample = pooled.classified(rows, few, self.rng)
        a, b = looks[is_sample], looks[~is_sample]
        auc = float(stats.mannwhitneyu(a, b, alternative="greater").statistic / (len(a) * len(b)))
        p = float(stats.mannwhitneyu(a, b, alternative="greater").pvalue)
        se = np.sqrt((1 / len(a) + 1 / len(b)) / 12)
        half = 1.96 * max(np.sqrt(auc * (1 - auc)) / 0.5 * se, 1e-3)
        self.findings["law"] = {
            "p": min(1.0, 2 * min(p, p_energy)), "value": auc, "interval": (max(0, auc - half), min(1, auc + half)),
            "floor": 0.5 + 1.645 * se, "smallest": 0.5 + (stats.norm.isf(self.alone / 2) + 0.84) * se,
            "matters": MATTERS["law"], "zero": 0.5, "which": ["energy distance"] * (p_energy <= p),
        }  # fmt: skip

    def _state_law(self, distance: torch.Tensor, mine: NDArray, taken: NDArray, few: NDArray) -> None:
        """Energy distances within states, summed, and the spread within states: two halves of one question."""
        g = self.group[taken]
        w = [np.zeros(len(g)), np.zeros(len(g))]
        for s in np.unique(g):
            own = g == s
            a, b = (own & few).sum(), (own & ~few).sum()
            if a and b:
                w[0][own], w[1][own] = 1 / a, 1 / b
        same = torch.as_tensor(g[:, None] == g[None])
        scores = pooled.energy(distance * same, mine, (w[0], w[1]))
        if "state" in self.findings:
            f, p = self.findings["state"], pooled.p_value(scores)
            f["which"] = ["energy distance"] * (p < f["p"])
            f["p"] = min(1.0, 2 * min(f["p"], p))
        self._measure("energy distance within states, summed", float(scores[0]), scores[1:])

    def _ask_motion(self) -> None:
        if self.raw.shape[1] < 4:
            self.notes.append(f"trajectories of {self.raw.shape[1]} steps are too short for autocorrelation and jitter")
            return
        numbers = pooled.motion(self.raw)
        a, b = self.mine.sum(1)[:, None], (~self.mine).sum(1)[:, None]
        sums = self.mine.astype(np.float32) @ numbers.astype(np.float32)
        gap = sums / a - (numbers.sum(0) - sums) / b
        apart = np.abs(gap) / np.maximum(numbers.std(0), 1e-12)
        for i, name in enumerate(("autocorrelation of steps", "jitter")):
            mean = [float(numbers[own, i].mean()) for own in (self.truth, ~self.truth)]
            self._measure(name, mean[0], gap[1:, i] + mean[1], mean[1])
        half = 1.96 * np.sqrt(1 / self.n + 1 / self.m)
        top = float(apart[0].max())
        self._put("motion", apart.max(1), top, (max(0.0, top - half), top + half))

    # --------------------------------------------------------------------------------------------------------- verdict
    def _measure(self, name: str, value: float, null: Floats, reference: float | None = None) -> None:
        low, high = np.quantile(null, [0.025, 0.975]) if len(null) else (np.nan, np.nan)
        self.measures.append(
            {
                "measure": name, "samples": value, "reference": reference, "floor_low": float(low),
                "floor_high": float(high), "inside": bool(low - 1e-9 <= value <= high + 1e-9),
            }
        )  # fmt: skip

    def _verdict(self, name: str, adjusted: float) -> Finding:
        f = self.findings[name]
        shown: Callable[[float], float] = f.get("shown", float)
        smallest, matters = shown(f["smallest"]), f["matters"]
        ratio = "shown" in f
        if name == "lost":
            enough, need = smallest <= matters, f["need"]
        else:
            zero = shown(f["zero"])
            reach, wanted = (abs(np.log(v)) for v in (smallest, matters)) if ratio else (smallest - zero, matters)
            wanted = matters - zero if name == "law" else wanted
            if name in ("left", "memorised"):
                wanted = matters  # a share on top of the data's own
            enough, need = reach <= wanted, int(np.ceil(self.n * (reach / wanted) ** 2))
        if adjusted <= self.level:
            verdict, need_n = "collapsed", None
        elif enough:
            verdict, need_n = "healthy", None
        else:
            verdict, need_n = f"not seen at this n (you would need n = {need:,})", need
        low, high = f["interval"]
        value = f["value"]
        if verdict == "collapsed":
            which = f" ({', '.join(f['which'][:6])})" if f.get("which") else ""
            said = f"{QUESTIONS[name]} Yes{which}: {UNITS[name]} {short(value)}"
            said += f", 95 % interval {short(low)} to {short(high)}"
            above = f["zero"] if name in ("left", "memorised") else 0.0
            less = value > matters if ratio else value - above < matters
            if less and name != "lost" and not f.get("which"):
                said += f"; small, {short(matters)} matters"
        else:
            said = f"{QUESTIONS[name]} Nothing seen: {UNITS[name]} {short(value)}"
            said += f"; from {short(smallest)} on it would show"
            said += "" if enough else f", and {short(matters)} matters: n = {need:,} on both sides"
        return Finding(
            name, QUESTIONS[name], verdict, UNITS[name], value, low, high, shown(f["floor"]), f["p"], adjusted,
            smallest, matters, need_n, said + ".",
        )  # fmt: skip


def _alone(x: Floats, notes: list[str]) -> Diagnosis:
    """Without a reference nothing can be missed: only what the samples are is said."""
    flat = x.reshape(len(x), -1)
    if not (np.ptp(flat, axis=0) > 0).any():
        raise ValueError("the samples are constant: every row is the same, and there is no reference to compare with")
    if len(x) < 8:
        raise ValueError(f"at least 8 rows are wanted, got {len(x)}")
    scale = flat.std(0)
    z, _ = pooled.principal(flat[:, scale > 0] / scale[scale > 0], 64)
    labels, stable = pooled.clusters(flat, np.random.default_rng(0))
    k = int(labels.max()) + 1
    share = np.bincount(labels, minlength=k)
    table = [
        {"mode": str(i), "samples": int(c), "share": c / len(x), "interval": wilson(int(c), len(x))}
        for i, c in enumerate(share)
    ]
    repeated = 1 - len(np.unique(flat, axis=0)) / len(flat)
    measures: list[dict[str, Any]] = [
        {"measure": "entropy of modes, nats (Miller)", "samples": ways.entropy(labels, k, True)},
        {"measure": "share of repeated rows", "samples": float(repeated)},
    ]
    about = {"n": len(x), "m": 0, "d": flat.shape[1], "shape": list(x.shape[1:]), "modes": k, "stability": stable}
    notes = [*notes, "without a reference nothing can be judged: give data of the law that the samples should follow"]
    rows = {"x": z[:2000, :8], "sample": np.ones(min(len(x), 2000), bool), "label": labels[:2000]}
    return Diagnosis("not asked (no reference)", [], measures, table, about, notes, rows)


def _miller(count: Floats) -> float:
    p = count / max(count.sum(), 1)
    return float(-(p[p > 0] * np.log(p[p > 0])).sum() + (np.count_nonzero(count) - 1) / (2 * max(count.sum(), 1)))
