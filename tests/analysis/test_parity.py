"""The same numbers as the libraries that people know: prdc, vendi-score, POT, scipy and rliable, where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from diffrl_lab.analysis import intervals, pooled
from diffrl_lab.analysis.distance import energy_distance, precision_recall, sliced_w2
from diffrl_lab.analysis.modes import gaussian_similarity, vendi


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((120, 4)) + 0.3, rng.standard_normal((150, 4))


def test_precision_recall_density_and_coverage_are_those_of_prdc(pair) -> None:
    prdc = pytest.importorskip("prdc")
    x, y = pair
    theirs = prdc.compute_prdc(real_features=y, fake_features=x, nearest_k=5)
    z = torch.as_tensor(np.concatenate([x, y]))
    index, _ = pooled.neighbours(torch.cdist(z, z), 200)
    ours = pooled.manifold(np.arange(270)[None] < 120, index, 5)[0]
    np.testing.assert_allclose(ours, [theirs[k] for k in ("precision", "recall", "density", "coverage")], atol=1e-12)
    np.testing.assert_allclose(pooled.balls(torch.cdist(z, z), np.arange(270) < 120, 5), ours, atol=1e-12)
    np.testing.assert_allclose(precision_recall(torch.as_tensor(x), torch.as_tensor(y), 5), ours[:2], atol=1e-12)


def test_the_vendi_score_is_that_of_vendi_score(pair) -> None:
    package = pytest.importorskip("vendi_score.vendi")
    kernel = gaussian_similarity(torch.as_tensor(pair[0]), 1.0)
    for q in (1.0, 2.0):
        assert vendi(kernel, q) == pytest.approx(package.score_K(kernel.numpy(), q=q), rel=1e-6)


def test_sliced_w2_is_that_of_pot_on_one_axis_and_scipy_agrees_on_the_energy_distance(pair) -> None:
    x, y = pair[0][:, :1], pair[1][:, :1]
    ot = pytest.importorskip("ot")
    ours = sliced_w2(torch.as_tensor(x), torch.as_tensor(y), generator=torch.Generator().manual_seed(0))
    assert ours**2 == pytest.approx(float(ot.wasserstein_1d(x[:, 0], y[:, 0], p=2)), rel=1e-9)
    truth = np.arange(270)[None] < 120
    again = pooled.sliced(np.concatenate([x, y]), truth, np.random.default_rng(0))[0]
    assert again == pytest.approx(ours, rel=0.05)  # at 135 places of the quantile functions
    d = torch.cdist(torch.as_tensor(np.concatenate([x, y])), torch.as_tensor(np.concatenate([x, y])))
    biased = pooled.energy(d.float(), truth)[0]
    assert biased == pytest.approx(stats.energy_distance(x[:, 0], y[:, 0]) ** 2, rel=1e-3)
    n, m = len(x), len(y)
    inner = [float(d[s][:, s].mean()) for s in (slice(0, n), slice(n, n + m))]
    unbiased = biased - inner[0] / (n - 1) - inner[1] / (m - 1)
    assert energy_distance(torch.as_tensor(x), torch.as_tensor(y)) == pytest.approx(unbiased, abs=1e-4)


SCORES = np.random.default_rng(0).standard_normal((2, 10, 4)) + np.array([0.4, 0.0])[:, None, None]


def test_the_interquartile_mean_and_the_probability_of_improvement_are_those_of_rliable() -> None:
    metrics = pytest.importorskip("rliable.metrics")
    a, b = SCORES
    assert intervals.iqm(a) == pytest.approx(metrics.aggregate_iqm(a))
    assert intervals.probability_of_improvement(a, b)[0] == pytest.approx(metrics.probability_of_improvement(a, b))


def test_the_stratified_bootstrap_is_that_of_rliable() -> None:
    metrics = pytest.importorskip("rliable.metrics")
    try:  # it needs arch, and arch before 8 does not import beside pandas 3
        from rliable import library
    except (ImportError, TypeError) as error:
        pytest.skip(f"rliable.library cannot be imported: {error}")
    both = library.get_interval_estimates(
        {"a": SCORES[0]},
        lambda x: np.array([metrics.aggregate_iqm(x)]),
        reps=4000,
        random_state=np.random.RandomState(1),
    )
    theirs = both[1]["a"][:, 0]
    ours = intervals.stratified_bootstrap(SCORES[0], draws=4000)
    assert np.abs(theirs - ours).max() < 0.06 * (theirs[1] - theirs[0])  # other draws: quantiles of 4,000 of them
