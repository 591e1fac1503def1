"""How far apart two sets of samples are, how far apart two samples of one law are by chance alone, and the smallest
defect that shows above that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from diffrl_lab.analysis.samples import real
from diffrl_lab.diffusion.schedules import tensor

Metric = Callable[[Tensor, Tensor], float | Sequence[float]]
"""(samples [n, ...], data [m, ...]) -> a number, the larger the worse (`floor` takes several numbers as well)."""
Defect = Callable[[Tensor, float, torch.Generator], Tensor]
"""(rows [n, ...], size, generator) -> rows damaged by `size`; size 0 changes nothing."""


def energy_distance(x: Tensor, y: Tensor) -> float:
    """E = 2 E|X - Y| - E|X - X'| - E|Y - Y'| between samples x [n, ...] and y [m, ...] (Szekely and Rizzo 2013).

    It is 0 for equal laws and positive otherwise, in the units of x. Each row is one point (a whole trajectory: scale
    its columns first). Pairs of a row with itself are left out, so the estimate is unbiased and may fall a little below
    0: hold it against `noise_floor`, never against 0. Raises ValueError for fewer than two rows or rows that differ.
    """
    x, y = _rows("x", x), _rows("y", y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"rows of x and y must be alike, got {x.shape[1]} and {y.shape[1]} numbers in one")
    return float(2 * torch.cdist(x, y).mean() - _within(x) - _within(y))


def noise_floor(
    data: Tensor, n: int, m: int | None = None, generator: torch.Generator | None = None, repeats: int = 50
) -> Tensor:
    """Energy distances between two disjoint samples, of n and m (default n) rows of `data` [N, ...] -> [repeats].

    What a perfect model scores: its samples differ from the data by this much. Rows must be independent (one window
    per episode, say), or the floor comes out too low. Raises ValueError where n + m exceeds N.
    """
    rows, m = _rows("data", data), n if m is None else m
    if n < 2 or m < 2 or n + m > len(rows):
        raise ValueError(f"two disjoint samples of at least 2 rows need {n} + {m} rows, the data have {len(rows)}")
    pairs = torch.cdist(rows, rows)
    distances = []
    for _ in range(repeats):
        order = torch.randperm(len(rows), generator=generator)
        a, b = order[:n], order[n : n + m]
        inner = [pairs[i][:, i].sum() / (len(i) * (len(i) - 1)) for i in (a, b)]
        distances.append(2 * pairs[a][:, b].mean() - inner[0] - inner[1])
    return torch.stack(distances)


def nearest(x: Tensor, data: Tensor) -> Tensor:
    """Distance from each row of x [n, ...] to the nearest row of data [N, ...], in the units of x -> [n].

    Samples much nearer to the training data than fresh data are were memorised.
    """
    return torch.cdist(_rows("x", x, grad=True), _rows("data", data, grad=True)).amin(1)


def sliced_w2(x: Tensor, y: Tensor, directions: int = 128, generator: torch.Generator | None = None) -> float:
    """The sliced 2-Wasserstein distance of samples x [n, ...] and y [m, ...] (Rabin et al. 2011; Bonneel et al. 2015).

    SW2^2 = mean over unit vectors u of W2^2(u.x, u.y), each the integral of (quantile of u.x - quantile of u.y)^2. In
    the units of x; rows of one number have two directions and SW2 = W2. For d dimensions and a mean shift s it is
    |s| / sqrt(d). Never 0 for two samples of one law: hold it against `floor`. Raises ValueError for rows that differ.
    """
    x, y = _rows("x", x), _rows("y", y)
    d = x.shape[1]
    if y.shape[1] != d:
        raise ValueError(f"rows of x and y must be alike, got {d} and {y.shape[1]} numbers in one")
    u = torch.nn.functional.normalize(torch.randn(d, directions if d > 1 else 1, generator=generator).double(), dim=0)
    n, m = len(x), len(y)
    # both quantile functions are constant between these ends: (i + 1) / n and (j + 1) / m in units of 1 / nm
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    width = torch.diff(ends, prepend=ends.new_zeros(1)).double() / (n * m)
    a, b = (x @ u).sort(0).values[(ends - 1) // m], (y @ u).sort(0).values[(ends - 1) // n]
    return float((width @ (a - b).square()).mean().sqrt())


def precision_recall(x: Tensor, data: Tensor, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall of samples x [n, ...] (Kynkaanniemi et al. 2019).

    precision: the share of samples that lie in the balls around rows of `data` [m, ...] that reach to each one's k-th
    nearest other row. recall: the share of data in such balls around the samples. A low precision means that samples
    leave the data, a low recall that they miss a part of it. A perfect model stays below 1: hold both against `floor`,
    at the same n and m (with n = m, as in the paper, both have one floor). Raises ValueError for k + 1 > n or m.
    """
    x, data = _rows("x", x), _rows("data", data)
    if not 1 <= k < min(len(x), len(data)):
        raise ValueError(f"the k-th neighbour needs 1 <= k < rows, got k = {k} with {len(x)} and {len(data)} rows")
    across = torch.cdist(x, data)
    reach = [torch.cdist(r, r).kthvalue(k + 1, dim=1).values for r in (x, data)]  # the nearest is the row itself
    precision, recall = (across <= reach[1]).any(1), (across <= reach[0][:, None]).any(0)
    return float(precision.double().mean()), float(recall.double().mean())


class Memorised(NamedTuple):
    """How many samples lie nearer to the training data than nearly all fresh data do."""

    share: float  # of the samples below the threshold
    null: float  # the share expected of fresh data: j / (m + 1)
    floor: float  # the share that fresh data exceed with a probability of at most 5 %
    p: float  # the probability that fresh data have this share or more
    threshold: float  # the j-th smallest distance of fresh data to the training data, in the units of x


def memorised(x: Tensor, train: Tensor, fresh: Tensor, level: float = 0.05) -> Memorised:
    """The share of samples x [n, ...] nearer to `train` than a share `level` of `fresh` [m, ...], data not trained on.

    The threshold is the j-th smallest of the m distances from fresh rows to their nearest training row, j = level m.
    Whatever the law, n fresh rows would have a beta-binomial(n, j, m + 1 - j) number below it: floor and p are exact
    (order statistics; the question is that of Meehan et al. 2020). Fresh rows must be independent of train and of each
    other (one window per episode). Raises ValueError where level m is below 1.
    """
    near, fresh_near = nearest(x, train).detach(), nearest(fresh, train).detach().sort().values
    n, m = len(near), len(fresh_near)
    j = round(level * m)
    if not 1 <= j <= m:
        raise ValueError(f"a share of {level} of {m} fresh rows is less than one row: give more of them")
    count, law = int((near < fresh_near[j - 1]).sum()), stats.betabinom(n, j, m + 1 - j)
    return Memorised(
        count / n, j / (m + 1), float(law.ppf(0.95)) / n, float(law.sf(count - 1)), float(fresh_near[j - 1])
    )


def nearest_ratio(x: Tensor, train: Tensor, fresh: Tensor) -> float:
    """The median distance of samples x [n, ...] to their nearest row of `train`, over that of `fresh` [m, ...].

    Fresh rows are data not trained on, so 1 is what new samples of the same law have; well below 1: copies, and far
    above 1: samples of another law. The medians let it stand where few rows are far off. Scale the columns first.
    """
    return float((nearest(x, train).median() / nearest(fresh, train).median()).detach())


def floor(
    metric: Metric,
    draw: Callable[[int, torch.Generator], Tensor],
    n: int,
    m: int | None = None,
    *,
    generator: torch.Generator,
    repeats: int = 200,
) -> Tensor:
    """What a perfect model scores: metric(n rows, m other rows), both of one law, m = n by default -> [repeats], or
    [repeats, k] for a metric of k numbers, like `precision_recall`.

    draw(n, generator) -> n independent rows: of a known law, or `without_replacement(data)`. Its 95 % quantile is the
    floor that a model must exceed to be told from the data. (`noise_floor` is this for the energy distance, faster.)
    """
    return _scores(metric, draw, lambda rows, size, g: rows, 0.0, n, m or n, generator, repeats)


class Detection(NamedTuple):
    """Which defects a metric sees at this n."""

    smallest: float  # the smallest size seen with the wanted power, as are all larger ones; infinite if none is
    sizes: Tensor  # [S]
    power: Tensor  # [S]  the share of repeats above the threshold
    threshold: float  # the floor's quantile


def smallest_defect(
    metric: Metric,
    draw: Callable[[int, torch.Generator], Tensor],
    defect: Defect,
    sizes: Sequence[float],
    n: int,
    m: int | None = None,
    *,
    generator: torch.Generator,
    level: float = 0.95,
    power: float = 0.8,
    repeats: int = 200,
) -> Detection:
    """The smallest of `sizes` (rising) at which metric(defect(n rows), m rows) exceeds the floor's `level` quantile in
    a share `power` of all cases.

    What lies below it cannot be claimed absent. draw and m: as in `floor`; defect: `drop`, `shift`, `copy`, or a
    function of your own. A power has a standard error of sqrt(power (1 - power) / repeats), 0.03 by default.
    Raises ValueError for sizes that do not rise and for a metric of several numbers.
    """
    sizes = [float(s) for s in sizes]
    if not sizes or sorted(set(sizes)) != sizes:
        raise ValueError(f"sizes must rise, got {sizes}")
    usual = floor(metric, draw, n, m, generator=generator, repeats=repeats)
    if usual.ndim > 1:
        raise ValueError(
            "smallest_defect needs a metric of one number, the larger the worse; this one gives "
            f"{list(usual.shape[1:])} of them: take one, as in lambda x, y: 1 - precision_recall(x, y)[1]"
        )
    threshold = float(usual.quantile(level))
    shares = torch.stack(
        [(_scores(metric, draw, defect, s, n, m or n, generator, repeats) > threshold).double().mean() for s in sizes]
    )
    enough = (shares >= power).flip(0).long().cumprod(0).flip(0)
    return Detection(
        sizes[int(enough.argmax())] if enough.any() else float("inf"),
        torch.tensor(sizes, dtype=torch.float64),
        shares,
        threshold,
    )


def without_replacement(data: Tensor) -> Callable[[int, torch.Generator], Tensor]:
    """draw(n, generator): n different rows of data [N, ...]. Rows must be independent (one window per episode)."""
    data = tensor("data", data)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        if n > len(data):
            raise ValueError(f"{n} different rows are wanted, the data have {len(data)}")
        return data[torch.randperm(len(data), generator=generator)[:n]]

    return draw


def drop(member: Callable[[Tensor], Tensor]) -> Defect:
    """A share `size` of one mode is lost: each row for which member(rows) [n] is true gives way to a row of the others
    with this probability."""

    def defect(rows: Tensor, size: float, generator: torch.Generator) -> Tensor:
        rows = tensor("rows", rows)
        mine = tensor("member(rows)", member(rows)).bool()
        lost = mine & (torch.rand(len(rows), generator=generator) < size)
        others = rows[~mine]
        if lost.any() and not len(others):
            raise ValueError("every row belongs to the mode that is dropped: nothing can take its place")
        out = rows.clone()
        out[lost] = others[torch.randint(max(len(others), 1), (int(lost.sum()),), generator=generator)]
        return out

    return defect


def shift(direction: Tensor) -> Defect:
    """Every row moves by `size` along direction [...], made a unit vector over the whole row."""
    direction = real("direction", direction)
    unit = direction / torch.linalg.vector_norm(direction)

    def defect(rows: Tensor, size: float, generator: torch.Generator) -> Tensor:
        rows = real("rows", rows)
        return rows + size * unit.to(rows)

    return defect


def copy(train: Tensor) -> Defect:
    """A share `size` of the rows become rows of `train`: a model that memorises."""
    train = tensor("train", train)

    def defect(rows: Tensor, size: float, generator: torch.Generator) -> Tensor:
        rows = tensor("rows", rows)
        taken = torch.rand(len(rows), generator=generator) < size
        out = rows.clone()
        out[taken] = train[torch.randint(len(train), (int(taken.sum()),), generator=generator)].to(rows)
        return out

    return defect


def _scores(metric: Metric, draw, defect: Defect, size: float, n: int, m: int, generator, repeats: int) -> Tensor:
    scores = []
    for _ in range(repeats):
        rows = tensor("the rows drawn", draw(n + m, generator))
        score = metric(defect(rows[:n], size, generator), rows[n:])
        scores.append(tensor("what the metric gives", score).detach().double())
    return torch.stack(scores)


def _rows(name: str, x: Tensor, grad: bool = False) -> Tensor:
    x = real(name, x) if grad else real(name, x).detach()
    if x.ndim < 1 or len(x) < 1 or (name != "x" and len(x) < 2):
        raise ValueError(f"{name} must hold at least two rows, got the shape {list(x.shape)}")
    return x.reshape(len(x), -1).double()


def _within(x: Tensor) -> Tensor:
    """Mean distance between two different rows."""
    if len(x) < 2:
        raise ValueError("an energy distance needs at least two rows on each side, got one")
    return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))
