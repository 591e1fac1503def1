"""Whatever holds a sample, a tensor, an array or a list, the numbers that come out are the same."""

from __future__ import annotations

import inspect
import math
import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from diffrl_lab import analysis
from diffrl_lab.analysis import (
    bring,
    chains,
    commitment,
    diagnosis,
    distance,
    dreams,
    exhibits,
    feasibility,
    frontiers,
    intervals,
    modes,
    pooled,
)
from diffrl_lab.diffusion import Frame, Linear, MixtureDenoiser, ddim
from diffrl_lab.worlds.walls import Walls

Put = Callable[[torch.Tensor], Any]


def eighths(*shape: int, seed: int = 0) -> torch.Tensor:
    """Numbers that bfloat16 holds exactly."""
    return torch.randint(-15, 16, shape, generator=torch.Generator().manual_seed(seed)).double() / 8


def G() -> torch.Generator:
    return torch.Generator().manual_seed(0)


x, y, plans, other = eighths(12, 3), eighths(15, 3, seed=1), eighths(4, 5, 2), eighths(4, 5, 2, seed=2)
labels, share = torch.tensor([0, 1, 1, 0, -1, 1]), torch.tensor([0.25, 0.75])
groups = torch.tensor([0, 1] * 6)
walls = Walls(np.pad(np.zeros((6, 6), bool), 1, constant_values=True), 1.0)
D = MixtureDenoiser([0.25, 0.75], [[-1.0], [1.0]], Linear(), std=0.25)


def frames(put: Put) -> list[Frame]:
    return [
        Frame(put(torch.tensor(1 - k / 2)), put(eighths(6, 1, seed=k)), put(eighths(6, 1, seed=k))) for k in range(3)
    ]


def side(rows: torch.Tensor) -> torch.Tensor:
    return (rows[:, 0] > 0).long()


def moved(obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
    return obs[:, None] + actions.cumsum(1)


CALLS: dict[str, Callable[[Put], Any]] = {
    "dreams.legal": lambda p: dreams.legal(p(x)),
    "frontiers.crossing": lambda p: frontiers.crossing(0.5, p(torch.tensor([0.0, 0.25, 1.0])), p(x[:3])),
    "intervals.student": lambda p: intervals.student(p(x[:, 0])),
    "chains.inconsistency": lambda p: chains.inconsistency(p(plans), p(other), p(torch.tensor(0.5))),
    "bring.bring": lambda p: bring.bring(p(x)),
    "diagnosis.diagnose": lambda p: [f.value for f in diagnosis.diagnose(p(x), p(y), modes=p(x[:2])).findings],
    "pooled.p_value": lambda p: pooled.p_value(p(x[:, 0])),
    "pooled.principal": lambda p: pooled.principal(p(x), 5)[0],
    "chains.spread": lambda p: chains.spread(p(plans.repeat(3, 1, 1)), p(groups)),
    "chains.settled": lambda p: chains.settled(
        p(torch.tensor([[0, 1], [1, 0], [1, 1]])), p(torch.tensor([1.0, 0.5, 0]))
    ),
    "chains.belief_settles": lambda p: chains.belief_settles(frames(p), side),
    "chains.commitment": lambda p: chains.commitment(D, frames(p), side, again=3, step=ddim(), generator=G()),
    "chains.exact_commitment": lambda p: chains.exact_commitment(D, frames(p)),
    "commitment.futures": lambda p: commitment.futures(D, frames(p), 1, again=2, step=ddim()),
    "commitment.undecided": lambda p: commitment.undecided(D, frames(p), side, 2, again=3, step=ddim()),
    "commitment.entropy_of": lambda p: commitment.entropy_of(p(share)),
    "commitment.exact_weights": lambda p: commitment.exact_weights(D, frames(p)),
    "commitment.open_entropy": lambda p: commitment.open_entropy(D, p(torch.tensor([1.0, 0.5])), 8, G()),
    "commitment.half_decided": lambda p: commitment.half_decided(p(torch.tensor([1.0, 0.0])), p(share.flip(0)[:2])),
    "distance.energy_distance": lambda p: distance.energy_distance(p(x), p(y)),
    "distance.noise_floor": lambda p: distance.noise_floor(p(y), 5, generator=G(), repeats=3),
    "distance.nearest": lambda p: distance.nearest(p(x), p(y)),
    "distance.sliced_w2": lambda p: distance.sliced_w2(p(x), p(y), generator=G()),
    "distance.precision_recall": lambda p: distance.precision_recall(p(x), p(y)),
    "distance.memorised": lambda p: distance.memorised(p(x), p(y), p(eighths(20, 3, seed=3))),
    "distance.nearest_ratio": lambda p: distance.nearest_ratio(p(x), p(y), p(eighths(20, 3, seed=3))),
    "distance.floor": lambda p: distance.floor(
        distance.energy_distance, lambda n, g: p(eighths(n, 2, seed=g.initial_seed())), 4, generator=G(), repeats=2
    ),
    "distance.smallest_defect": lambda p: distance.smallest_defect(
        distance.energy_distance,
        lambda n, g: p(eighths(n, 2, seed=g.initial_seed())),
        distance.shift(p(torch.tensor([1.0, 0.0]))),
        [1.0, 8.0],
        4,
        generator=G(),
        repeats=3,
    ),
    "distance.without_replacement": lambda p: distance.without_replacement(p(x))(5, G()),
    "distance.drop": lambda p: distance.drop(lambda rows: rows[:, 0] > 0)(p(x), 0.5, G()),
    "distance.shift": lambda p: distance.shift(p(torch.tensor([1.0, 0.0, 0.0])))(p(x), 0.5, G()),
    "distance.copy": lambda p: distance.copy(p(y))(p(x), 0.5, G()),
    "exhibits.minor": lambda p: exhibits.minor(p(x[:, 0])),
    "exhibits.within": lambda p: exhibits.within(p(x[:, 0])),
    "exhibits.pile": lambda p: exhibits.pile(p(x[:, 0])),
    "exhibits.residual": lambda p: exhibits.residual(p(plans)),
    "exhibits.tails": lambda p: exhibits.tails(p(plans)),
    "exhibits.jumps": lambda p: exhibits.jumps(p(plans)),
    "exhibits.averaged": lambda p: exhibits.averaged(p(x[:, 0])),
    "exhibits.surprise": lambda p: exhibits.surprise(p(x[:, 0])),
    "feasibility.points_in_walls": lambda p: feasibility.points_in_walls(p(2 * plans), walls),
    "feasibility.segments_in_walls": lambda p: feasibility.segments_in_walls(p(2 * plans), walls),
    "feasibility.curve_segments_in_walls": lambda p: feasibility.curve_segments_in_walls(p(2 * plans[0]), 3, walls),
    "feasibility.detour": lambda p: feasibility.detour(p(plans[0]), p(torch.tensor([1.0, 2.0])), walls),
    "feasibility.dynamics_residual": lambda p: feasibility.dynamics_residual(moved, p(plans), p(other), p(1 + share)),
    "feasibility.dynamics_drift": lambda p: feasibility.dynamics_drift(moved, p(plans), p(other), p(1 + share)),
    "feasibility.infeasible": lambda p: feasibility.infeasible(p(x), p(y), 0.5),
    "intervals.bootstrap": lambda p: intervals.bootstrap(p(x[:, 0]), draws=50),
    "intervals.normalised": lambda p: intervals.normalised(p(x), 0.0, 1.0),
    "intervals.paired": lambda p: intervals.paired(p(x[:, 0]), p(y[:12, 0])),
    "intervals.iqm": lambda p: intervals.iqm(p(x)),
    "intervals.stratified_bootstrap": lambda p: intervals.stratified_bootstrap(p(x), draws=50),
    "intervals.probability_of_improvement": lambda p: intervals.probability_of_improvement(p(x), p(y), draws=50),
    "modes.Centres": lambda p: modes.Centres(p(plans[:2]), p(torch.tensor([2.0, 3.0])))(p(plans)),
    "modes.Centres.of": lambda p: modes.Centres.of(p(x), p(groups))(p(y)),
    "modes.shares": lambda p: modes.shares(p(labels), 2),
    "modes.coverage": lambda p: modes.coverage(p(labels), 3),
    "modes.expected_coverage": lambda p: modes.expected_coverage(p(share), 4),
    "modes.entropy": lambda p: modes.entropy(p(labels), 3),
    "modes.expected_entropy": lambda p: modes.expected_entropy(p(share), 4),
    "modes.mode_floor": lambda p: modes.mode_floor(
        modes.entropy, p(share), 4, generator=np.random.default_rng(0), repeats=3
    ),
    "modes.vendi": lambda p: modes.vendi(p(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))),
    "modes.gaussian_similarity": lambda p: modes.gaussian_similarity(p(x), 1.0),
    "modes.homotopy": lambda p: modes.homotopy(p(plans / 2), walls),
}
FILES = {"bring.bring", "diagnosis.diagnose"}  # to these, words are a file's name
NO_SAMPLE = {
    "diagnosis.around",
    "feasibility.point_maze",
    "feasibility.locomotive",
    "intervals.wilson",
    "modes.holes",
    "modes.numbered",
    "evaluate.evaluate",
    "dreams.fresh",
    "dreams.possible",
    "dreams.lasted",
    "dreams.drawn_by",
    "sweeps.run_grid",
    "exhibits.drawn",
    "exhibits.modes",
    "exhibits.width",
    "exhibits.plain",
    "exhibits.starts",
    "exhibits.varies",
    "exhibits.off",
    "exhibits.unpadded",
    "commitment.moments",
    "samples.real",
    "samples.array",
    "bring.is_minari",
    "findings.short",
    *(f"pooled.{n}" for n in ("relabelled", "holm", "clusters", "counts", "lost", "moved", "log_ratio", "neighbours")),
    *(f"pooled.{n}" for n in ("ordered", "first_two", "manifold", "balls", "energy", "sliced")),
    *(f"pooled.{n}" for n in ("classified", "motion")),
}


def differentiable(v: torch.Tensor) -> torch.Tensor:
    return v.clone().requires_grad_() if v.is_floating_point() else v


HOLDERS: dict[str, Put] = {
    "array": lambda v: v.numpy(),
    "float32 array": lambda v: v.float().numpy() if v.is_floating_point() else v.int().numpy(),
    "list": lambda v: v.tolist(),
    "list of tensors": lambda v: list(v) if v.ndim else v,
    "differentiable": differentiable,
    "bfloat16": lambda v: v.bfloat16() if v.is_floating_point() else v,
    "float16 array": lambda v: v.half().numpy() if v.is_floating_point() else v.short().numpy(),
}


def numbers(value: Any) -> Any:
    if torch.is_tensor(value):
        return value.detach().double().numpy()
    if isinstance(value, tuple):
        return tuple(numbers(v) for v in value)
    return value


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("name", CALLS)
def test_what_holds_a_sample_makes_no_difference(name: str, holder: str) -> None:
    # within float32's rounding, in which functions that keep x's precision compute for half precision
    rtol, atol = (1e-5, 1e-6) if name.startswith(("chains.", "commitment.")) or "similarity" in name else (1e-9, 1e-12)
    if name in ("chains.exact_commitment", "commitment.exact_weights") and "16" in holder:
        rtol = 1e-2  # the exact denoiser gives back what it was given: here responsibilities in half precision
    got, wanted = (numbers(CALLS[name](put)) for put in (HOLDERS[holder], lambda v: v))
    for a, b in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, wanted)), strict=True):
        if isinstance(b, list):
            assert a == b
        else:
            np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=rtol, atol=atol)


def test_every_public_function_is_held_to_it() -> None:
    names = set()
    for module in pkgutil.iter_modules(analysis.__path__):
        for name, value in vars(import_module(f"diffrl_lab.analysis.{module.name}")).items():
            own = getattr(value, "__module__", "") == f"diffrl_lab.analysis.{module.name}"
            if own and inspect.isfunction(value) and not name.startswith("_"):
                names.add(f"{module.name}.{name}")
    assert names == (set(CALLS) | NO_SAMPLE) - {"modes.Centres", "modes.Centres.of"}


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"distance.floor", "distance.smallest_defect", *FILES}))
def test_what_holds_no_numbers_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be a tensor, an array or numbers, got "):
        CALLS[name](lambda v: ["no", "number"])


def test_the_floor_of_a_metric_of_two_numbers_is_the_floor_of_each() -> None:
    draw = distance.without_replacement(torch.randn(400, 2, generator=G()))
    both = distance.floor(distance.precision_recall, draw, 40, generator=G(), repeats=9)
    for k in (0, 1):
        one = distance.floor(lambda a, b, k=k: distance.precision_recall(a, b)[k], draw, 40, generator=G(), repeats=9)
        assert_close(both[:, k], one)
    assert 0 < both.min() and both.max() <= 1 and both.std(0).min() > 0
    fresh = distance.floor(lambda a, b: distance.memorised(a, b, x[:, :2], 0.5), draw, 40, generator=G(), repeats=3)
    assert fresh.shape == (3, 5) and not math.isnan(float(fresh.sum()))
    with pytest.raises(ValueError, match=r"a metric of one number, .* gives \[2\] of them"):
        distance.smallest_defect(distance.precision_recall, draw, distance.copy(x), [0.5], 40, generator=G(), repeats=3)


def numbers_in_words(rows: torch.Tensor) -> np.ndarray:
    return np.digitize(rows[:, 0].numpy(), [-0.5, 0.5])


METRICS: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "energy_distance": distance.energy_distance,
    "sliced_w2": lambda a, b: distance.sliced_w2(a, b, 8, G()),
    "precision_recall": distance.precision_recall,
    "memorised": lambda a, b: distance.memorised(a, b[:20], b[20:], 0.1),
    "nearest_ratio": lambda a, b: distance.nearest_ratio(a, b[:20], b[20:]),
    "shares": lambda a, b: modes.shares(numbers_in_words(a), 3).share,
    "an array": lambda a, b: np.array([1.0, 2.0]) * float(a.mean()),
    "a tensor with a gradient": lambda a, b: distance.nearest(a.clone().requires_grad_(), b).mean(),
    "coverage": lambda a, b: modes.coverage(numbers_in_words(a), 3),
    "entropy": lambda a, b: modes.entropy(numbers_in_words(a), 3, True),
    "vendi": lambda a, b: modes.vendi(modes.gaussian_similarity(a, 1.0)),
    "moved": lambda a, b: pooled.moved(*(np.bincount(numbers_in_words(v), minlength=3)[None] for v in (a, b))),
    "balls, an array": lambda a, b: pooled.balls(
        torch.cdist(torch.cat([a, b]), torch.cat([a, b])), np.arange(len(a) + len(b)) < len(a)
    ),
    "scipy's": lambda a, b: stats.wasserstein_distance(a[:, 0], b[:, 0]),
    "a numpy number": lambda a, b: np.float32(a.var() / b.var()),
    "a whole number": lambda a, b: int((a[:, 0] > 0).sum()),
    "a truth": lambda a, b: bool(a.mean() > b.mean()),
}


def rows(n: int, generator: torch.Generator | None = None) -> torch.Tensor:
    return torch.randn(n, 2, generator=generator or G())


@pytest.mark.parametrize("put", [torch.Tensor.clone, torch.Tensor.numpy, torch.Tensor.tolist])
@pytest.mark.parametrize("name", METRICS)
def test_floor_takes_every_metric_and_whatever_is_drawn(name: str, put: Put) -> None:
    found = distance.floor(METRICS[name], lambda n, g: put(rows(n, g)), 40, generator=G(), repeats=3)
    assert len(found) == 3 and found.dtype == torch.float64 and not found.requires_grad
    assert found.isfinite().all() and found[0].numel() == np.size(numbers(METRICS[name](rows(40), rows(40))))
