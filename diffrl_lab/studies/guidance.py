"""The study of guidance behind lesson 05: `python -m diffrl_lab.studies.guidance` writes data/results/guidance*.

Tables, from small grids of pure functions (`analysis.sweeps`), kept in runs/guidance point by point:

- `exact`: two Gaussian modes in one dimension, where each form of guidance and the law it should sample are known.
- `plans-*`, `driven`, `asked` (check 1): two-ways at p = 0.5 and 0.2 and, as a control with one route, the U-maze. What
  becomes of modes, spread, validity and return over the guidance scale. Scales of the forms are different units, so
  `frontiers` compares them at equal return and at equal share of invalid plans, beside what is exact.
- `goals-*`, `goals` (experiment 2, check 2): reaching a goal by inpainting, by classifier-free guidance and by a
  classifier; scales are chosen by training seed 0 on the queries of `goals-*`, and `goals` drives them to 500 others.

The grid, and the CPU minutes of one core that it took, sampling + training: exact 3 forms x 9 scales (0.4); plans 3
worlds x 4 forms x 11 scales, and 5 more of `cfg`, x 128 plans (3 + 13); asked 5 x 5 and driven 5 x 20 episodes (1); all
with 3 training seeds. goals-* 4 mazes x 10 rows x 100 queries and 30 episodes, seed 0 (1), then goals, 3 rows each x
500 and 500, with the seeds that the table names (2 + 4 a seed). The backbones of `goals` are small and trained for 20
to 90 seconds each, so shares in the two larger mazes stand for these, not for what a planner can reach; two-ways is
there as the easy end, since all its goals lie in one cell. Seed 0 of two-ways at p = 0.5 was looked at while the set-up
was still being changed; seeds 1 and 2 were not. Everything is trained to a last checkpoint; none is chosen by its
score. In a table `hours` counts sampling and driving, `training_hours` the networks.
"""

from __future__ import annotations

import itertools
import sys
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor

from diffrl_lab.analysis import modes
from diffrl_lab.analysis.intervals import paired, wilson
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Cosine,
    Denoiser,
    MixtureDenoiser,
    ascend,
    cfg,
    cosine_decay,
    ddpm,
    descend,
    given,
    heun,
    load,
    pin,
    sample,
    save,
)
from diffrl_lab.files import ROOT, provenance
from diffrl_lab.methods.guides import contrastive_loss, log_mean_exp, tilted_shares
from diffrl_lab.methods.planning.decision_diffuser import DecisionDiffuser, InverseDynamics, Learning, conditioned
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces, Plan, Planner, _scaler, seconds_per_step
from diffrl_lab.methods.planning.value_guidance import (
    Guide,
    classifier_loss,
    density_loss,
    drives,
    known_ends,
    log_density,
    log_p,
    value_loss,
)
from diffrl_lab.studies.planners import recording
from diffrl_lab.worlds.driving import Along, Follower, arrived, drive
from diffrl_lab.worlds.mazes import EPISODE_STEPS, make_maze
from diffrl_lab.worlds.walls import RADIUS, REACHED, Walls

RUNS, RESULTS, WEIGHTS = ROOT / "runs" / "guidance", ROOT / "data" / "results", ROOT / "data" / "weights"
COMMAND = "python -m diffrl_lab.studies.guidance"
SEEDS = (0, 1, 2)
SCALES = [0, 0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8]
FINER = [0.02, 0.05, 0.1, 0.15, 0.2]  # more of them for `cfg`, which has lost a mode at 0.25
VERSION = "1"  # of what the functions below call
WORLDS = {"two-ways-p50": ("two-ways", 0.5), "two-ways-p20": ("two-ways", 0.2), "umaze": ("umaze", 0.5)}
QUERY = {"two-ways": ((0.0, 1.5), (0.0, -1.5)), "umaze": ((-1.0, 1.0), (-1.0, -1.0))}
SMALL = Diffuser(width=128, depth=2, channels=16, steps=2000, batch=128)
STEPS = 1 - torch.linspace(0, 1, 25, dtype=torch.float64) ** 1.7  # 24 steps, most of them where a mode is decided
ASKED = 0.95  # quantile of the recorded returns that the condition asks for
BEST = 0.9  # the class that the classifier knows: returns above this quantile, so that ASKED is its median


# ----------------------------------------------------------------------------------------------------------- exact rows
def exact(form: str, scale: float, *, seed: int, p: float = 0.3, std: float = 0.5, n: int = 4000) -> dict[str, Any]:
    """Samples of one form of guidance towards the left one of two modes, and p(x) p(left | x)^scale by quadrature.

    Nothing is learned. left: share with x < 0. over: how far the left samples' mean lies beyond the left mode's centre.
    """
    D = MixtureDenoiser([p, 1 - p], [[-1.0], [1.0]], Cosine(), std=std)

    def log_left(x: Tensor, t: Tensor | float) -> Tensor:
        return D.responsibilities(x, t)[:, 0].clamp(min=1e-30).log()

    grid = torch.linspace(-5, 5, 2001, dtype=torch.float64)[:, None]
    law = (D.log_prob(grid) + scale * log_left(grid, 0.0)).softmax(0)

    if form == "cfg":
        E: Denoiser = cfg(D, torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(n, 2), scale)
    elif form == "classifier":
        E = ascend(D, log_left, scale)
    elif form == "plain":
        E = ascend(D, lambda x, t: log_left(x, 0.0), scale)
    else:
        raise ValueError(f"no form {form!r}")
    x_T = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = sample(E, x_T, steps=50, step=heun())[:, 0]
    left = x < 0

    def summary(x: Tensor, w: Tensor) -> tuple[float, ...]:
        mean = (w * x).sum() / w.sum()
        beyond = -1 - (w * x * (x < 0)).sum() / (w * (x < 0)).sum()
        return tuple(
            float(v) for v in ((w * (x < 0)).sum() / w.sum(), mean, (w * (x - mean) ** 2).sum().sqrt(), beyond)
        )

    ours, theirs = summary(x, torch.full_like(x, 1 / n)), summary(grid[:, 0], law)
    names = ("left", "mean", "std", "over")
    share = torch.tensor([ours[0], 1 - ours[0]])
    return {
        **dict(zip(names, ours, strict=True)),
        **{f"law_{k}": v for k, v in zip(names, theirs, strict=True)},
        "entropy": float(torch.special.entr(share).sum()),
        "left_se": float(left.double().std() / n**0.5),
    }


# ------------------------------------------------------------------------------------------------------ data and models
@lru_cache(maxsize=4)
def data(world: str) -> tuple[Episodes, Tensor, Tensor]:
    """The full recording of a world, its whole drives as plans x [E, H, 5], and what each returns [E]."""
    from diffrl_lab.data import minari as recordings
    from diffrl_lab.worlds.record import record

    maze, p = WORLDS.get(world, (world, 0.5))
    if maze == "two-ways":
        try:
            episodes = recordings.read(f"pointmaze-two-ways-p{round(100 * p)}-v0")
        except ValueError:
            record("pointmaze-two-ways", p=p, progress=False)
            episodes = recordings.read(f"pointmaze-two-ways-p{round(100 * p)}-v0")
    else:
        episodes, _ = recording(f"maze-{maze}", progress=False)
    return episodes, *drives(episodes, SMALL, EPISODE_STEPS[maze])


def ends(world: str, x: Tensor) -> Tensor:
    """What is known of plans x. In the U-maze start and goal; in two-ways nothing, since all drives go the same way,
    and a network that saw where 1,200 drives began would remember which side each of them took."""
    return known_ends(x, 2) if WORLDS[world][0] == "umaze" else torch.zeros(x.shape, dtype=torch.bool)


def _trained(J: Guide, loss, x: Tensor, seed: int, steps: int = 1500, batch: int = 256) -> Guide:
    """A guide after `steps` updates on loss(rows): its averaged weights."""
    g = torch.Generator().manual_seed(seed)
    update = descend(lambda i: loss(i, g), J, lr=2e-3, schedule=cosine_decay(steps), ema=0.995, generator=g)
    for _ in range(steps):
        update(torch.randint(len(x), (batch,), generator=g))
    assert update.ema is not None
    return update.ema.module  # type: ignore[return-value]


def _fresh(dim: int, out: int, seed: int) -> Guide:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Guide(dim, Cosine(), out=out)


@lru_cache(maxsize=4)
def models(world: str, seed: int) -> tuple[DecisionDiffuser, Guide, Guide]:
    """One backbone, conditioned on the return (dropped for a quarter of the samples), and two guides of its plans: the
    mean of the return and its contrastive energy, in standard deviations of the return. Trained unless they are kept.
    """
    folder = RUNS / "weights"
    paths = [folder / f"{world}-{seed}-{k}.safetensors" for k in ("plans", "value", "energy")]
    if not all(path.is_file() for path in paths):
        begun = time.process_time()
        episodes, x, R = data(world)
        scaler, y_scaler = _scaler(x, 2), Scaler.fit(R[:, None], "standard")
        z, y = scaler(x), y_scaler(R[:, None])
        g, D = torch.Generator().manual_seed(seed), conditioned(SMALL, x.shape[-1], 1, seed)
        update = Learning(D, SMALL, g)
        for _ in range(SMALL.steps):
            i = torch.randint(len(z), (SMALL.batch,), generator=g)
            u = torch.rand(len(i), 1, 1, generator=g)
            known = ends(world, z[i]) & (u > SMALL.free)
            update({"x": z[i], "known": known, "y": y[i]})
        assert update.ema is not None
        known, r = ends(world, z[:1]), y[:, 0]
        log_mean = log_mean_exp(r)
        J = _fresh(z[0].numel(), 1, seed)
        value = _trained(J, lambda i, g: value_loss(J, z[i], r[i], known=known, generator=g), z, seed)
        K = _fresh(z[0].numel(), 1, seed)
        energy = _trained(
            K, lambda i, g: contrastive_loss(K, z[i], r[i], log_mean=log_mean, known=known, generator=g), z, seed
        )
        inverse = InverseDynamics.fit(episodes, steps=1000, batch=256, seed=seed)
        about = {"world": world, "seed": seed, "seconds": round(time.process_time() - begun, 1)}
        planner = Planner(update.ema.module, scaler, SMALL, seconds_per_step(episodes))  # type: ignore[arg-type]
        DecisionDiffuser(planner, inverse, y_scaler).save(paths[0], **about)
        value.save(paths[1], **about)
        energy.save(paths[2], **about)
    return DecisionDiffuser.load(paths[0]), Guide.load(paths[1]), Guide.load(paths[2])


@lru_cache(maxsize=4)
def classifier(world: str, seed: int) -> Guide:
    """A classifier of noisy plans: two logits, the second one's class is a return in the recorded best tenth."""
    path = RUNS / "weights" / f"{world}-{seed}-classifier.safetensors"
    if not path.is_file():
        begun = time.process_time()
        _, x, R = data(world)
        z, y = models(world, seed)[0].planner.scaler(x), (R >= R.quantile(BEST)).long()
        known = ends(world, z[:1])
        C = _fresh(z[0].numel(), 2, seed)
        C = _trained(C, lambda i, g: classifier_loss(C, z[i], y[i], known=known, generator=g), z, seed)
        C.save(path, world=world, seed=seed, seconds=round(time.process_time() - begun, 1))
    return Guide.load(path)


# -------------------------------------------------------------------------------------------------- the cloud of plans
def denoiser(world: str, form: str, scale: float | Tensor, seed: int, n: int) -> tuple[Denoiser, Tensor, Tensor]:
    """A form of guidance at a scale around one backbone, for n plans of the world's query: (D, known, value)."""
    dd, value_guide, energy = models(world, seed)
    start, goal = QUERY[WORLDS[world][0]]
    known, value = dd.planner.ends(np.r_[start, 0, 0], goal)
    known = ends(world, value)
    free = given(dd.planner.denoiser, {"known": known})
    if form == "cfg":
        R = data(world)[2]
        asked = dd.y_scaler(R.quantile(ASKED)[None])
        cond = {"known": known.expand(n, *known.shape), "y": asked.expand(n, 1)}
        return pin(cfg(dd.planner.denoiser, cond, scale, drop=("y",)), known, value), known, value
    if form not in ("value", "energy", "classifier"):
        raise ValueError(f"no form {form!r}")
    J = {"value": value_guide, "energy": energy}.get(form) or log_p(classifier(world, seed), 1)
    return pin(ascend(free, J, scale), known, value), known, value


def cloud(world: str, form: str, scale: float, seed: int, n: int = 128) -> Plan:
    """n plans by deterministic DDIM, from the same noise at every scale and for every form."""
    planner = models(world, seed)[0].planner
    D, known, value = denoiser(world, form, scale, seed, n)
    with torch.no_grad():
        return planner.drawn(D, known, value, n, STEPS, torch.Generator().manual_seed(10_000 + seed))


def plan_returns(plan: Plan, planner: Planner, maze: str) -> np.ndarray:
    """What each candidate would return up to the time limit if it were driven exactly, its last point being the goal,
    and then held. -> [n]"""
    limit, found = EPISODE_STEPS[maze], []
    for k in range(len(plan.candidates)):
        duration = float(plan.durations[k])
        if not np.isfinite(duration) or not bool(plan.candidates[k].isfinite().all()):
            found.append(np.nan)
            continue
        T = int(min(max(round(duration), 1), limit))
        p = planner.reference(plan, k)[1 : T + 1, :2] if duration < 10 * limit else plan.candidates[k, :1, :2].numpy()
        p = np.concatenate([p, np.repeat(p[-1:], limit - len(p), 0)]) if len(p) < limit else p[:limit]
        toll = 0.5 * ((p[:, 0] > 1.5) & (np.abs(p[:, 1]) < 1)) if maze == "two-ways" else 0.0
        found.append(float(((np.linalg.norm(p - p[-1], axis=1) <= REACHED) - toll).sum()))
    return np.array(found)


@lru_cache(maxsize=4)
def _region(world: str) -> tuple[modes.Centres, np.ndarray, Tensor, Tensor, Tensor, float]:
    """Of a world's recorded drives along the query: centres of its modes and their radii in scaled plans, the modes'
    mean paths, labels, returns, scaled positions and durations."""
    _, x, R = data(world)
    maze = WORLDS[world][0]
    start, goal = (torch.tensor(q) for q in QUERY[maze])
    near = ((x[:, 0, :2] - start).norm(dim=1) < 0.6) & ((x[:, -1, :2] - goal).norm(dim=1) < 0.6)
    x, R = x[near], R[near]
    labels = torch.zeros(len(x), dtype=torch.long)
    if maze == "two-ways":
        labels = (x[:, x.shape[1] // 2, 0] > 0).long()  # 0 left, 1 right
    centres = modes.Centres.of(x[..., :2], labels)
    paths = torch.stack([x[labels == k, :, :2].mean(0) for k in range(int(labels.max()) + 1)])
    return centres, paths.numpy(), labels, R, x, float(x[:, 0, -1].exp().mean())


def plans(world: str, form: str, scale: float, *, seed: int) -> dict[str, Any]:
    """One point of the diversity table: 128 plans of one backbone at one scale of one form.

    invalid: share with over 0.2 m in walls. off: share outside the 99 % radius of each mode of the data. left, entropy,
    coverage: of the valid ones (coverage: modes with over 5 %). over: metres by which the valid left plans' mean path
    lies off the left mode's. spread: mean distance per point between two plans of one mode; distance: of any two.
    """
    maze = WORLDS[world][0]
    walls = Walls.named(maze)
    plan = cloud(world, form, scale, seed)
    planner = models(world, seed)[0].planner
    p = plan.candidates[..., :2]
    K = 2 if maze == "two-ways" else 1
    words = modes.homotopy(p.numpy(), walls)
    labels = modes.numbered(words, [(1,), ()] if K == 2 else [()])
    centres, paths, *_ = _region(world)
    off = float((centres(torch.nan_to_num(p, 1e3)) < 0).double().mean())
    found, J = plan_returns(plan, planner, maze), _values(world, seed, plan)
    shares = modes.shares(labels, K)
    ok = labels == 0
    over = float(np.linalg.norm(p[ok].numpy().mean(0) - paths[0], axis=-1).mean()) if ok.any() else None
    n = len(p)
    pair = torch.cdist(p.flatten(1), p.flatten(1)) / p.shape[1] ** 0.5
    same = torch.as_tensor(labels)[:, None] == torch.as_tensor(labels)[None]
    same &= torch.as_tensor(labels)[:, None] >= 0
    same.fill_diagonal_(False)
    return {
        "left": float(shares.share[0]) if np.isfinite(shares.share[0]) else None,
        "left_interval": [float(v) for v in shares.interval[0]],
        "entropy": modes.entropy(labels, K) if (labels >= 0).any() else None,
        "coverage": modes.coverage(labels, K, 0.05),
        "invalid": float(shares.left),
        "invalid_interval": [float(v) for v in shares.left_interval],
        "off": off,
        "over": over,
        "distance": float(pair.sum() / (n * (n - 1))),
        "spread": float(pair[same].mean()) if same.any() else None,
        "return": float(np.nanmean(found)),
        "return_se": float(np.nanstd(found) / n**0.5),
        "valid_return": float(np.nanmean(found[labels >= 0])) if (labels >= 0).any() else None,
        "value": float(J.mean()),
        "duration": float(plan.durations.median()),
    }


def _values(world: str, seed: int, plan: Plan) -> Tensor:
    from diffrl_lab.methods.planning.value_guidance import scaled

    dd, value, _ = models(world, seed)
    with torch.no_grad():
        return value(scaled(dd.planner, plan), 0.0)


def law(world: str) -> dict[str, Any]:
    """What is exact: the recorded share of left, and shares and mean return under weights exp(scale R) on the data."""
    centres, paths, labels, R, x, duration = _region(world)
    K, r = len(paths), (R - data(world)[2].mean()) / data(world)[2].std()
    tilted = []
    for s in SCALES:
        w = (s * r.double()).softmax(0)
        tilted.append(
            {
                "scale": s,
                "left": float(tilted_shares(r, labels, K, s)[0]),
                "return": float((w * R).sum()),
                "effective": float(1 / (w**2).sum()),
            }
        )
    pair = torch.cdist(x[..., :2].flatten(1), x[..., :2].flatten(1)) / x.shape[1] ** 0.5
    n = len(x)
    return {
        "world": world,
        "drives": n,
        "left": float((labels == 0).double().mean()),
        "return": float(R.mean()),
        "return_left": float(R[labels == 0].mean()),
        "return_right": float(R[labels == 1].mean()) if K == 2 else None,
        "asked": float(data(world)[2].quantile(ASKED)),
        "distance": float(pair.sum() / (n * (n - 1))),
        "duration": duration,
        "tilted": tilted,
    }


# ---------------------------------------------------------------------------------------------------------- frontiers
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


def crossing(level: float, x: ArrayLike, y: ArrayLike, *, last: bool = False) -> NDArray[np.float64]:
    """y [n, ...] where the polyline x [n] first rises to `level`, linearly between its points. -> [...]

    last: where it rises above the level to stay there. Raises ValueError for a level that the polyline begins above or
    does not reach (last: does not stay above).
    """
    a, b = np.asarray(x, float), np.asarray(y, float)
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


def student(values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> list[float] | None:
    """Student's 95 % interval (1908) of the mean of values [n], cut to what is possible, [low, high]; None for n < 2.

    For three seeds it is 2.5 standard deviations to each side: wide, and honest. Equal values have no width.
    """
    v = np.asarray(values, float)
    if len(v) < 2:
        return None
    half = stats.t.ppf(0.975, len(v) - 1) * v.std(ddof=1) / len(v) ** 0.5
    return [float(np.clip(v.mean() + h, low, high)) for h in (-half, half)]


def mixture(world: str, level: float, n: int = 128) -> dict[str, float]:
    """Of the exact mixture of the two recorded modes, weighed so that it returns `level`: its share of left, and what
    entropy and coverage n samples of it are expected to have. Raises ValueError for a level outside the modes'."""
    _, _, labels, R, *_ = _region(world)
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
    _, _, labels, R, *_ = _region(world)
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
            for form, found in met.items():
                row = {"world": world, "by": by, "level": level, "form": form}
                row |= {"seeds": len(seeds), "reached": len(found)}
                for k, name in enumerate(COLUMNS):
                    v = np.array([c[k] for c in found.values()])
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


def driven(world: str, form: str, scale: float, *, seed: int, episodes: int = 20) -> dict[str, Any]:
    """Returns in the environment of single plans of one form at one scale, followed by the PD controller, not ranked
    and not planned again; environment seeds 1000 + 100 seed and on, the same for every form and scale."""
    maze = WORLDS[world][0]
    planner = models(world, seed)[0].planner

    def route(obs: np.ndarray, goal: np.ndarray, number: int) -> np.ndarray:
        D, known, value = denoiser(world, form, scale, seed, 1)
        with torch.no_grad():
            plan = planner.drawn(D, known, value, 1, STEPS, torch.Generator().manual_seed(number))
        duration = float(plan.durations[0])
        return planner.reference(plan, 0) if 1 <= duration < 1000 else np.r_[obs[:2], 0, 0][None]

    env = make_maze(maze)
    first = 1000 + 100 * seed
    rows = drive([env], Follower(route, again=False), range(first, first + episodes))
    env.close()
    return {
        "returns": [float(e.rew.sum()) for e in rows],
        "reached": float(np.mean([e.reached for e in rows])),
    }


def asked(world: str, w: float, quantile: float, temperature: float, *, seed: int) -> dict[str, Any]:
    """Decision Diffuser asked for a quantile of the recorded returns: what 128 plans would return."""
    maze = WORLDS[world][0]
    dd, R = models(world, seed)[0], data(world)[2]
    want, n = float(R.quantile(quantile)), 128
    known = torch.zeros(dd.planner.horizon, len(dd.planner.scaler.center), dtype=torch.bool)
    D = dd.denoiser(want, known, torch.zeros(known.shape), n, w)
    g = torch.Generator().manual_seed(20_000 + seed)
    with torch.no_grad():
        plan = dd.planner.drawn(D, known, torch.zeros(known.shape), n, STEPS, g, step=ddpm(temperature))
    got = plan_returns(plan, dd.planner, maze)
    return {
        "want": want,
        "got": float(np.nanmean(got)),
        "error": float(np.nanmean(np.abs(got - want))),
        "error_se": float(np.nanstd(np.abs(got - want)) / len(got) ** 0.5),
        "sd": float(np.nanstd(got)),
    }


def fine(world: str = "two-ways-p50", seed: int = 0, n: int = 48) -> None:
    """The grid behind the lesson's slider: 33 scales x 48 plans x 32 points in metres for each form, float16."""
    scales = torch.linspace(0, 8, 33)
    tensors: dict[str, Tensor] = {"scales": scales}
    maze = WORLDS[world][0]
    for form in ("cfg", "value", "energy"):
        paths, labels, returns = [], [], []
        for s in scales.tolist():
            plan = cloud(world, form, s, seed, n)
            p = plan.candidates[..., :2].nan_to_num().clamp(-9, 9)
            paths.append(p.half())
            words = modes.homotopy(p.numpy(), Walls.named(maze))
            labels.append(torch.as_tensor(modes.numbered(words, [(1,), ()])).to(torch.int8))
            found = plan_returns(plan, models(world, seed)[0].planner, maze)
            returns.append(torch.as_tensor(found).half())
        tensors |= {
            f"{form}.plans": torch.stack(paths),
            f"{form}.labels": torch.stack(labels),
            f"{form}.returns": torch.stack(returns),
        }
    save(
        RESULTS / f"guidance-{world}.safetensors",
        tensors,
        world=world,
        seed=seed,
        labels="0 left, 1 right, -1 through a wall",
    )


# --------------------------------------------------------------------------------------------------- reaching the goal
@lru_cache(maxsize=1)
def recorded(maze: str) -> Episodes:
    """The full recording of a maze, read once for all seeds."""
    return recording(f"maze-{maze}", progress=False)[0]


@lru_cache(maxsize=2)
def goal_models(maze: str, seed: int) -> tuple[Planner, Guide]:
    """A backbone of pieces of episodes whose condition is their end (dropped for a quarter of the samples), shown the
    start alone or start and goal in equal parts; and a classifier of the end, given the start and the noisy piece."""
    paths = [RUNS / "weights" / f"goals-{maze}-{seed}-{k}.safetensors" for k in ("plans", "classifier")]
    config = GOALS[maze]
    if not all(path.is_file() for path in paths):
        begun = time.process_time()
        episodes = recorded(maze)
        g = torch.Generator().manual_seed(seed)
        pieces = Pieces(episodes, config, g)
        scaler = _scaler(pieces.plans(20_000)[0], 2)
        ends = scaler[[0, 1]]
        D = conditioned(config, 5, 2, seed)
        update, J = Learning(D, config, g), _fresh(config.horizon * 5, 4, seed)
        climb = descend(
            lambda b: density_loss(J, b["x"], b["y"], known=b["start"], generator=g),
            J,
            lr=2e-3,
            schedule=cosine_decay(config.steps),
            ema=0.995,
            generator=g,
        )
        for _ in range(config.steps):
            x = scaler(pieces.plans(config.batch)[0])
            known = known_ends(x, 2)
            known[torch.rand(len(x), generator=g) < 0.5, -1] = False
            start = torch.zeros(1, config.horizon, 5, dtype=torch.bool)
            start[:, 0, :4] = True
            batch = {"x": x, "known": known, "y": x[:, -1, :2], "start": start}
            update(batch), climb(batch)
        assert update.ema is not None and climb.ema is not None
        planner = Planner(update.ema.module, scaler, config, seconds_per_step(episodes))  # type: ignore[arg-type]
        about = {"maze": maze, "seed": seed, "seconds": round(time.process_time() - begun, 1)}
        nothing = InverseDynamics(Scaler(torch.zeros(8), torch.ones(8)), 2, width=8)
        DecisionDiffuser(planner, nothing, ends).save(paths[0], **about)
        climb.ema.module.save(paths[1], **about)  # type: ignore[operator]
    return DecisionDiffuser.load(paths[0]).planner, Guide.load(paths[1])


GOALS = {
    "umaze": Diffuser(width=160, depth=2, channels=16, batch=128, steps=1200),
    "medium": Diffuser(width=192, depth=2, channels=16, batch=128, steps=2000),
    "large": Diffuser(width=224, depth=2, channels=16, batch=128, steps=2500),
    "two-ways": Diffuser(width=128, depth=2, channels=16, batch=128, steps=600),
}
CANDIDATES, DENOISING = 4, 10


def goal_plans(
    maze: str, form: str, scale: float, seed: int, obs: ArrayLike, end: ArrayLike, generator: torch.Generator
) -> list[NDArray[np.float64] | None]:
    """For each query (state obs [Q, 4], goal end [Q, 2]) the most consistent of 4 plans as states at every step
    [T + 1, 4], or None where it takes less than 1 step or over 5,000 or is not finite. All are drawn in one batch."""
    planner, J = goal_models(maze, seed)
    obs, end = np.asarray(obs, float), np.asarray(end, float)
    known, value = planner.ends(obs, end if form == "pin" else None)
    known, value = known[0], value.repeat_interleave(CANDIDATES, 0)
    y = planner.scaler[[0, 1]](torch.as_tensor(end, dtype=torch.float32)).repeat_interleave(CANDIDATES, 0)
    D = given(planner.denoiser, {"known": known})
    if form == "cfg":
        D = cfg(planner.denoiser, {"known": known.expand(len(y), *known.shape), "y": y}, scale, drop=("y",))
    elif form == "classifier":
        D = ascend(D, log_density(J, y), scale)
    elif form != "pin":
        raise ValueError(f"no form {form!r}")
    with torch.no_grad():
        plan = planner.drawn(pin(D, known, value), known, value, len(y), DENOISING, generator)
    best = plan.gaps.nan_to_num(torch.inf).view(-1, CANDIDATES).argmin(1) + CANDIDATES * torch.arange(len(obs))
    fine = (plan.durations >= 1) & (plan.durations < 5000) & plan.candidates.isfinite().all(-1).all(-1)
    return [planner.reference(plan, k) if fine[k] else None for k in best.tolist()]


def arrives(env, reference: NDArray[np.float64], *, seed: int) -> bool:
    """Whether the ball, led along reference [T, 4] by the PD controller and held at its end, comes within 0.45 m of the
    goal before the time limit. The plan is asked for once, and the episode is over on arrival."""
    return bool(drive([env], Along(lambda *_: reference), [seed], until=arrived)[0].reached)


def goal(
    maze: str, form: str, scale: float, *, seed: int, first: int = 100_000, queries: int = 100, episodes: int = 30
) -> dict[str, Any]:
    """One row of the table of goals: 4 candidates per query, the most consistent one counts.

    The queries are environment resets from seed `first` + 1000 seed on. aimed: share of plans that end within 0.45 m of
    the goal; clear: of those, and free of walls; reached: share of the first `episodes` of them whose plan, followed
    open-loop, takes the ball to the goal. *_low: Wilson's lower 95 % bounds. The cost: forward `evaluations` of the
    plan network for one plan (`cfg` has two branches), `guide` evaluations of the classifier and as many `backward`
    passes through it; cpu_batched: CPU seconds for one plan, all queries in one batch; cpu: for the 4 plans of one
    query planned alone, the median of 10.
    """
    env, walls = make_maze(maze), Walls.named(maze)
    seeds = [first + 1000 * seed + k for k in range(queries)]
    resets = [env.reset(seed=s)[0] for s in seeds]
    obs = np.array([r["observation"] for r in resets])
    end = np.array([r["desired_goal"] for r in resets])
    goal_models(maze, seed)
    begun = time.process_time()
    plans = goal_plans(maze, form, scale, seed, obs, end, torch.Generator().manual_seed(seed))
    batched = (time.process_time() - begun) / (queries * CANDIDATES)
    spent = []
    for k in range(10):
        begun = time.process_time()
        goal_plans(maze, form, scale, seed, obs[k : k + 1], end[k : k + 1], torch.Generator().manual_seed(k))
        spent.append(time.process_time() - begun)
    hits: dict[str, list[bool]] = {"aimed": [], "clear": [], "reached": []}
    for k, p in enumerate(plans):
        hits["aimed"].append(p is not None and bool(np.linalg.norm(p[-1, :2] - end[k]) <= REACHED))
        hits["clear"].append(hits["aimed"][-1] and p is not None and not walls.inside(p[:, :2], RADIUS).any())
        if k < episodes:
            hits["reached"].append(p is not None and arrives(env, p, seed=seeds[k]))
    env.close()
    found: dict[str, Any] = {"queries": queries, "episodes": episodes, "from_seed": first + 1000 * seed}
    for name, hit in hits.items():
        found |= {name: float(np.mean(hit)), f"{name}_low": wilson(sum(hit), len(hit))[0]}
    passes = DENOISING if form == "classifier" else 0
    return found | {
        "cpu": float(np.median(spent)),
        "cpu_batched": batched,
        "evaluations": 2 * DENOISING if form == "cfg" else DENOISING,
        "guide": passes,
        "backward": passes,
    }


def reaching(maze: str, form: str, scale: float, *, seed: int) -> dict[str, Any]:
    """`goal` over 500 queries and episodes, resets from seed 1000 + 1000 seed on, by which nothing was chosen."""
    return goal(maze, form, scale, seed=seed, first=1000, queries=500, episodes=500)


def chosen(table: Table, form: str) -> float:
    """The scale of a form at which most plans are clear, over all seeds of a table of goals; the smallest of equals."""
    scales = sorted({r["scale"] for r in table.rows if r["form"] == form})
    return max(scales, key=lambda s: (float(table.column("clear", form=form, scale=s).mean()), -s))


def pooled(table: Table) -> list[dict[str, Any]]:
    """For each maze and form of a table of goals, all its seeds' episodes together: `reached` and Wilson's interval,
    and the lowest of the seeds' own lower bounds. The pool has no share for the variance between trainings."""
    found = []
    for maze, form in dict.fromkeys((r["maze"], r["form"]) for r in table.rows):
        rows = [r for r in table.rows if (r["maze"], r["form"]) == (maze, form)]
        n = sum(r["episodes"] for r in rows)
        hits = sum(round(r["reached"] * r["episodes"]) for r in rows)
        found.append(
            {
                "maze": maze,
                "form": form,
                "scale": rows[0]["scale"],
                "seeds": len(rows),
                "episodes": n,
                "reached": hits / n,
                "interval": list(wilson(hits, n)),
                "lowest": min(r["reached_low"] for r in rows),
                "cpu_batched": float(np.mean([r["cpu_batched"] for r in rows])),
            }
        )
    return found


# ------------------------------------------------------------------------------------------------------------- the runs
FORMS = ("cfg", "value", "energy", "classifier")
GOAL_ROWS = [
    ("pin", 0.0),
    *(("cfg", w) for w in (0.0, 0.5, 1.0, 2.0, 4.0)),
    *(("classifier", w) for w in (0.3, 1.0, 3.0, 10.0)),
]


def tables(part: str, seeds: tuple[int, ...] = SEEDS) -> Table:
    """One part of the study, computed or read from the cache."""
    if part == "exact":
        grid: Any = {"form": ["cfg", "classifier", "plain"], "scale": [0, 0.5, 1, 1.5, 2, 3, 4, 6, 8]}
        return run_grid(exact, grid, seeds=seeds, cache=RUNS, version=VERSION)
    if part.startswith("plans-"):
        world = part.removeprefix("plans-")
        grid = [{"world": world, "form": f, "scale": s} for f in FORMS for s in SCALES]
        grid += [{"world": world, "form": "cfg", "scale": s} for s in FINER]
        return run_grid(plans, grid, seeds=seeds, cache=RUNS, version=VERSION)
    if part == "driven":
        rows = [("value", 0), ("value", 4), ("energy", 4), ("cfg", 1), ("cfg", 8)]
        grid = [{"world": "two-ways-p50", "form": f, "scale": s} for f, s in rows]
        return run_grid(driven, grid, seeds=seeds, cache=RUNS, version=VERSION)
    if part == "asked":
        grid = {
            "world": ["two-ways-p50"],
            "w": [0, 1, 1.4, 2, 4],
            "quantile": [0.1, 0.3, 0.5, 0.7, 0.9],
            "temperature": [0.5],
        }
        return run_grid(asked, grid, seeds=seeds, cache=RUNS, version=VERSION)
    if part == "goals":
        grid = []
        for maze in GOALS:
            pilot = tables(f"goals-{maze}", SEEDS[:1])
            for f in ("pin", "cfg", "classifier"):
                grid.append({"maze": maze, "form": f, "scale": chosen(pilot, f)})
        return run_grid(reaching, grid, seeds=seeds, cache=RUNS, version=VERSION)
    if part.startswith("goals-"):
        grid = [{"maze": part.removeprefix("goals-"), "form": f, "scale": s} for f, s in GOAL_ROWS]
        return run_grid(goal, grid, seeds=seeds, cache=RUNS, version=VERSION)
    raise ValueError(f"no part {part!r}")


def trained(part: str, seeds: tuple[int, ...]) -> float:
    """Train the networks behind a part, unless they are kept -> the CPU hours their trainings took, as their files say.

    A part's points come after it, so that a table's `hours` counts sampling and driving alone.
    """
    files = []
    if part.startswith("goals"):
        for maze, seed in itertools.product(GOALS if part == "goals" else [part.removeprefix("goals-")], seeds):
            goal_models(maze, seed)
            files.append(f"goals-{maze}-{seed}-plans")
    else:
        worlds = {"driven": ["two-ways-p50"], "asked": ["two-ways-p50"], "frontiers": list(WORLDS)}
        for world, seed in itertools.product(worlds.get(part, [w for w in WORLDS if part == f"plans-{w}"]), seeds):
            models(world, seed)
            files.append(f"{world}-{seed}-plans")  # its `seconds` are those of its value and energy, too
            if part not in worlds or part == "frontiers":
                classifier(world, seed)
                files.append(f"{world}-{seed}-classifier")
    return sum(load(RUNS / "weights" / f"{file}.safetensors")[1]["seconds"] for file in files) / 3600


def _written(function: str, rows: list[dict[str, Any]], seeds: tuple[int, ...], hours: float, **more: Any):
    """A table whose rows are no points of a grid."""
    made = [provenance()]
    about = {"function": f"{__name__}.{function}", "version": VERSION, "seeds": list(seeds), "points": len(rows)}
    return Table(rows, about | {"hours": hours, "made": made} | more)


PARTS = (
    "exact",
    *(f"plans-{world}" for world in WORLDS),
    "laws",
    "frontiers",
    "driven",
    "asked",
    *(f"goals-{maze}" for maze in GOALS),
    "goals",
    "fine",
    "weights",
)


def main(words: list[str]) -> None:
    """Compute the parts named (all, without names) and write what ships; `--seeds N`: training seeds 0 to N - 1."""
    from diffrl_lab.data.shipped import add

    n, parts = len(SEEDS), words
    if "--seeds" in words:
        at = words.index("--seeds")
        n, parts = int(words[at + 1]), words[:at] + words[at + 2 :]
    option, seeds = "" if n == len(SEEDS) else f" --seeds {n}", tuple(range(n))
    for part in parts or PARTS:
        if part == "fine":
            fine()
            add("results/guidance-two-ways-p50.safetensors", f"{COMMAND} fine", 0)
        elif part == "weights":
            for k, name in (("plans", "returns"), ("value", "value"), ("energy", "energy")):
                target = WEIGHTS / f"guidance-two-ways-{name}.safetensors"
                models("two-ways-p50", 0)
                tensors, about = load(RUNS / "weights" / f"two-ways-p50-0-{k}.safetensors")
                save(target, tensors, **about)
                add(f"weights/{target.name}", f"{COMMAND} weights", 0)
        else:
            training, begun = trained(part, seeds), time.process_time()
            if part == "laws":
                table = _written("law", [law(w) for w in WORLDS], (), 0.0)
                table.about["hours"] = (time.process_time() - begun) / 3600
            elif part == "frontiers":
                grids = [tables(f"plans-{world}", seeds) for world in WORLDS]
                rows, pairs = frontiers(Table([r for t in grids for r in t.rows], {}))
                table = _written("frontiers", rows, seeds, sum(t.about["hours"] for t in grids), pairs=pairs)
            else:
                table = tables(part, seeds)
                if part == "goals":
                    table.about["pooled"] = pooled(table)
            table.about["training_hours"] = training
            table.save(RESULTS / f"guidance-{part}.json")
            add(f"results/guidance-{part}.json", f"{COMMAND} {part}{option}", 0)
            print(f"{part}: {len(table.rows)} rows, {table.about['hours']:.3f} hours", flush=True)


if __name__ == "__main__":
    from diffrl_lab.studies import guidance as guidance_study

    torch.set_num_threads(1)
    guidance_study.main(sys.argv[1:])
