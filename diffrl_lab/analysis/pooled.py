"""Two samples in one pool: numbers of the pool, computed again under permutations of which row came from where.

Whatever is computed from the pool alone (modes, scales, neighbours, distances) does not know where a row came from. So
if samples and reference follow one law, every relabelling is equally likely, and a share of relabelled scores is an
exact p-value at any n and d (Phipson and Smyth 2010). All functions below take `mine` [P, N]: true where a row counts
as a sample; its first line is the truth. Rows of one state are relabelled among themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import HDBSCAN
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier

from diffrl_lab.analysis.samples import array

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def relabelled(mine: ArrayLike, groups: ArrayLike, repeats: int, rng: np.random.Generator) -> Bools:
    """The truth [N] and `repeats` permutations of it within each group of rows -> [1 + repeats, N]."""
    truth, group = np.asarray(mine, bool), np.asarray(groups)
    out = np.empty((1 + repeats, len(truth)), bool)
    out[0] = truth
    if (group == group[0]).all():
        out[1:] = rng.permuted(np.tile(truth, (repeats, 1)), axis=1)
        return out
    order = np.argsort(group, kind="stable")
    for p in range(1, 1 + repeats):
        shuffled = np.lexsort((rng.random(len(truth)), group))
        out[p, shuffled] = truth[order]
    return out


def p_value(scores: ArrayLike) -> float:
    """The share of scores [1 + P] as large as the first, itself included: an exact p-value, never 0."""
    s = array("scores", scores)
    return float((s >= s[0] - 1e-12).mean())


def holm(p: dict[str, float]) -> dict[str, float]:
    """Adjusted p-values: of questions asked together, one is answered wrongly with a probability of at most the level
    (Holm 1979), however they depend on each other."""
    out, highest = {}, 0.0
    for i, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p) - i) * value))
        out[name] = highest
    return out


def principal(x: ArrayLike, most: int) -> tuple[Floats, float]:
    """The rows of x [N, D] along at most so many principal axes of the pool -> [N, k], and the share of variance."""
    v = array("x", x)
    if v.shape[1] <= most:
        return v, 1.0
    t = torch.as_tensor(v - v.mean(0))
    generator = torch.random.get_rng_state()
    torch.manual_seed(0)
    _, _, axes = torch.svd_lowrank(t, q=min(most + 8, *t.shape), niter=3)
    torch.random.set_rng_state(generator)
    kept = (t @ axes[:, :most]).numpy()
    return kept, float(np.square(kept).sum() / max(np.square(v - v.mean(0)).sum(), 1e-300))


# -------------------------------------------------------------------------------------------------------------- modes
def clusters(x: ArrayLike, rng: np.random.Generator, most: int = 1500, agree: float = 0.8) -> tuple[NDArray, float]:
    """Modes of the pool by HDBSCAN (Campello et al. 2013) -> the label of each row [N], and how stable they are.

    At most `most` rows are clustered, along ten principal axes of the columns as they are, of the columns scaled alike,
    and along two axes: the most stable clustering of several modes is taken, and every row belongs to the mode of its
    nearest clustered ones. Stability: the mean adjusted Rand index with the clusterings of two random halves, on the
    rows of the half. Where none reaches `agree`, modes are those of chance, and all rows have the label 0.
    """
    v = array("x", x)
    spread = v.std(0)
    views = [(v, 10), (v, 2), (v[:, spread > 0] / spread[spread > 0], 10)][: 3 if v.shape[1] > 2 else 1]
    taken = rng.permutation(len(v))[:most]
    best, stable = np.zeros(len(v), np.int64), 0.0
    for columns, axes in views:
        rows, _ = principal(columns, axes)
        some = rows[taken]
        labels = _hdbscan(some)
        if labels.max() < 1:
            continue
        scores = []
        for _ in range(2):
            half = rng.permutation(len(some))[: len(some) // 2]
            again = _hdbscan(some[half])
            scores.append(
                adjusted_rand_score(_spread(some, labels, some[half]), _spread(some[half], again, some[half]))
            )
        if np.mean(scores) > stable:
            stable = float(np.mean(scores))
            best = _spread(some, labels, rows)
        if stable > 0.98:
            break
    return (best, stable) if stable >= agree else (np.zeros(len(v), np.int64), stable)


def _hdbscan(rows: NDArray) -> NDArray:
    """On a line distances to the few nearest rows vary so much that gaps within a mode look like gaps between modes:
    there a density needs as many rows as a mode has at least."""
    line = rows.shape[1] == 1
    size = max(6, len(rows) // (20 if line else 40))
    neighbours = size if line else max(3, min(10, size // 2))
    return HDBSCAN(min_cluster_size=size, min_samples=neighbours, copy=True).fit_predict(rows)


def _spread(rows: NDArray, labels: NDArray, to: NDArray) -> NDArray:
    """Labels of clustered rows, carried to others by their nearest three; HDBSCAN's noise takes part in no vote."""
    kept = labels >= 0
    if not kept.any():
        return np.zeros(len(to), np.int64)
    return KNeighborsClassifier(min(3, int(kept.sum()))).fit(rows[kept], labels[kept]).predict(to).astype(np.int64)


def counts(labels: NDArray, modes: int, mine: Bools) -> tuple[Floats, Floats]:
    """Rows of each mode among samples and among the reference -> [P, K] twice."""
    one_hot = np.eye(modes, dtype=np.float32)[np.maximum(labels, 0)] * (labels >= 0)[:, None]
    a = np.concatenate([part.astype(np.float32) @ one_hot for part in np.array_split(mine, max(1, len(mine) // 64))])
    return a.astype(float), one_hot.sum(0) - a


def lost(a: Floats, b: Floats) -> Floats:
    """The clearest loss: the largest z-score of too few samples among modes with under a fifth of their share."""
    n, m, c = a.sum(1, keepdims=True), b.sum(1, keepdims=True), a + b
    expected = c * n / (n + m)
    z = (expected - a) / np.sqrt(np.maximum(expected * m / (n + m), 1e-12))
    gone = a / n < 0.2 * b / m
    return np.where(gone, z, 0.0).max(1)


def moved(a: Floats, b: Floats) -> Floats:
    """Total variation of the shares of two samples: sum_k |s_k - r_k| / 2 -> [P]"""
    return np.abs(a / a.sum(1, keepdims=True) - b / b.sum(1, keepdims=True)).sum(1) / 2


def log_ratio(values: Floats, mine: Bools) -> Floats:
    """ln of the mean of positive values [N] over samples, less that over the reference -> [P]"""
    v = values.astype(np.float32)
    a = np.concatenate([part.astype(np.float32) @ v for part in np.array_split(mine, max(1, len(mine) // 64))])
    n = mine.sum(1)
    return np.log(np.maximum(a / n, 1e-12)) - np.log(np.maximum((v.sum() - a) / (len(v) - n), 1e-12))


# ---------------------------------------------------------------------------------------------------------- neighbours
def neighbours(distance: torch.Tensor, most: int) -> tuple[NDArray, Floats]:
    """The nearest other rows of each row -> their numbers [N, L] and distances [N, L], rising."""
    d = distance.clone()
    d.fill_diagonal_(float("inf"))
    near = torch.topk(d, min(most, len(d) - 1), largest=False)
    return near.indices.numpy(), near.values.double().numpy()


def ordered(mine: Bools, index: NDArray, k: int) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """For each relabelling: which row is a sample [N], which neighbour is one [N, L], and how many of the reference
    stand up to there [N, L], counted to k + 1."""
    for truth in mine:
        near = truth[index]
        yield truth, near, np.cumsum(~near, 1, dtype=np.int16)


def first_two(mine: Bools, index: NDArray, near: Floats, distance: torch.Tensor) -> tuple[Floats, Floats]:
    """Of each row under each relabelling: the distance to its nearest reference row, and that over the second's ->
    the two shares of samples [P] beyond the reference's own 99 % and below its own 5 % quantile.

    The first tells samples that left the data, the second samples that are copies: a ratio has no unit, so a narrow
    mode does not look like one (Yoon et al. 2023). index, near: of `neighbours`; a row whose list holds fewer than two
    of the reference is looked up in `distance` [N, N].
    """
    far, copied = np.empty(len(mine)), np.empty(len(mine))
    rows = np.arange(len(index))
    for p, (truth, _, count) in enumerate(ordered(mine, index, 2)):
        i, j = (count >= 1).argmax(1), (count >= 2).argmax(1)
        one, two = near[rows, i], near[rows, j]
        alone = np.flatnonzero(count[:, -1] < 2)
        if len(alone):
            d = distance[alone].clone()
            d[torch.arange(len(alone)), torch.as_tensor(alone)] = float("inf")
            one[alone], two[alone] = (
                torch.topk(d[:, torch.as_tensor(~truth)], 2, largest=False).values.double().numpy().T
            )
        ratio = np.where(two > 0, one / np.maximum(two, 1e-300), 1.0)
        far[p] = (one[truth] > np.quantile(one[~truth], 0.99)).mean()
        copied[p] = (ratio[truth] < np.quantile(ratio[~truth], 0.05)).mean()
    return far, copied


def manifold(mine: Bools, index: NDArray, k: int = 5) -> Floats:
    """precision, recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020) -> [P, 4].

    Balls reach from each row to its k-th nearest of its own kind. Rows whose list of neighbours ends before that count
    up to its end: give L well above k (n + m) / min(n, m).
    """
    out = np.empty((len(mine), 4))
    for p, truth in enumerate(mine):
        near = truth[index]
        for of_samples, place in ((False, 0), (True, 1)):
            own = truth == of_samples
            kin = near[own] == of_samples
            inside = (np.cumsum(kin, 1, dtype=np.int16) < k) & ~kin
            hit = np.zeros(len(truth), bool)
            hit[index[own][inside]] = True
            out[p, place] = hit[~own].mean()
            if not of_samples:
                out[p, 2] = inside.sum() / (k * (~own).sum())
                out[p, 3] = inside.any(1).mean()
    return out


def balls(distance: torch.Tensor, truth: Bools, k: int = 5) -> Floats:
    """The four numbers of `manifold` from all distances [N, N], for one labelling -> [4]"""
    a, b = torch.as_tensor(np.flatnonzero(truth)), torch.as_tensor(np.flatnonzero(~truth))
    across = distance[a][:, b]
    reach = [distance[s][:, s].kthvalue(min(k + 1, len(s)), dim=1).values for s in (a, b)]
    inside = across < reach[1]
    recall = (across < reach[0][:, None]).any(0)
    of = [inside.any(1), recall, inside.sum(1) / k, inside.any(0)]
    return np.array([float(v.double().mean()) for v in of])


# ------------------------------------------------------------------------------------------------------ the whole law
def energy(distance: torch.Tensor, mine: Bools, weights: tuple[Floats, Floats] | None = None) -> Floats:
    """Energy distances -u' D u, u = 1/n on samples and -1/m on the reference (with their own pairs: never negative,
    and for permutations as good as the unbiased one) -> [P]. weights: other masses of a row as a sample, as reference.
    """
    n, m = mine[0].sum(), (~mine[0]).sum()
    w = weights or (np.full(mine.shape[1], 1 / n), np.full(mine.shape[1], 1 / m))
    out = []
    for part in np.array_split(mine, max(1, len(mine) // 128)):
        u = torch.as_tensor(np.where(part, w[0], -w[1]), dtype=torch.float32)
        out.append(-((u @ distance) * u).sum(1).double().numpy())
    return np.concatenate(out)


def sliced(x: Floats, mine: Bools, rng: np.random.Generator, directions: int = 32) -> Floats:
    """Sliced 2-Wasserstein distances, by quantile functions at (n + m) / 2 places at most 500 -> [P]"""
    u = rng.standard_normal((x.shape[1], directions))
    y = x @ (u / np.linalg.norm(u, axis=0))
    order = np.argsort(y, 0)
    y = np.take_along_axis(y, order, 0)
    q = (np.arange(min(500, len(x) // 2)) + 0.5) / min(500, len(x) // 2)
    out = np.zeros(len(mine))
    for p, truth in enumerate(mine):
        for j in range(directions):
            own = truth[order[:, j]]
            a, b = y[own, j], y[~own, j]
            out[p] += np.square(a[(q * len(a)).astype(int)] - b[(q * len(b)).astype(int)]).mean()
    return np.sqrt(out / directions)


def classified(x: Floats, truth: Bools, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """A classifier two-sample test (Lopez-Paz and Oquab 2017): a forest learns one half of the pool -> how much each
    row of the other half looks like a sample, and whether it is one. Their AUC is 0.5 if nothing tells them apart."""
    held = np.zeros(len(truth), bool)
    for own in (truth, ~truth):
        rows = rng.permutation(np.flatnonzero(own))
        held[rows[: len(rows) // 2]] = True
    forest = RandomForestClassifier(
        60, min_samples_leaf=4, max_samples=0.8, class_weight="balanced", random_state=int(rng.integers(2**31))
    )
    forest.fit(x[~held], truth[~held])
    return forest.predict_proba(x[held])[:, 1], truth[held]


def motion(x: Floats) -> Floats:
    """Of trajectories [N, H, d], H >= 4: the autocorrelation of steps at lag 1, and jitter, the mean squared second
    difference over the mean squared first one (0: straight, 2: steps without memory) -> [N, 2]."""
    step = np.diff(x, axis=1)
    jerk = np.diff(step, axis=1)
    centred = step - step.mean(1, keepdims=True)
    power = np.maximum(np.square(centred).mean((1, 2)), 1e-12)
    return np.stack(
        [
            (centred[:, 1:] * centred[:, :-1]).mean((1, 2)) / power,
            np.square(jerk).mean((1, 2)) / np.maximum(np.square(step).mean((1, 2)), 1e-12),
        ],
        1,
    )
