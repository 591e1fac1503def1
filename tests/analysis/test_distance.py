import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import linear_sum_assignment
from torch.testing import assert_close

from diffrl_lab.analysis.distance import (
    copy,
    drop,
    energy_distance,
    floor,
    memorised,
    nearest,
    nearest_ratio,
    noise_floor,
    precision_recall,
    shift,
    sliced_w2,
    smallest_defect,
    without_replacement,
)


def normal(n: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_two_points_apart_are_twice_their_distance_apart():
    x, y = torch.zeros(5, 2), torch.tensor([[3.0, 4.0]]).repeat(7, 1)
    assert energy_distance(x, y) == pytest.approx(10.0)


def test_shifted_gaussians_are_as_far_apart_as_the_closed_form_says():
    # E|N(m, 2)| = 2 exp(-m^2 / 4) / sqrt(pi) + m erf(m / 2)
    m = 1.0
    exact = 2 * (2 / math.sqrt(math.pi) * (math.exp(-(m**2) / 4) - 1) + m * math.erf(m / 2))
    found = torch.tensor([energy_distance(normal(400, s), normal(400, s + 100, m)) for s in range(20)])
    assert abs(found.mean() - exact) < 4 * found.std() / math.sqrt(20)


def test_equal_laws_are_zero_apart_on_average_because_no_row_is_paired_with_itself():
    found = torch.tensor([energy_distance(normal(20, s), normal(20, s + 1000)) for s in range(300)])
    assert abs(found.mean()) < 4 * found.std() / math.sqrt(300)


def test_the_noise_floor_is_what_fresh_samples_of_the_law_score():
    floor = noise_floor(normal(4000, 0), 50, generator=torch.Generator().manual_seed(0), repeats=300)
    fresh = torch.tensor([energy_distance(normal(50, s), normal(50, s + 1000)) for s in range(300)]).double()
    assert_close(floor.quantile(0.95), fresh.quantile(0.95), rtol=0.35, atol=0.0)
    assert abs(floor.mean() - fresh.mean()) < 4 * math.hypot(float(floor.std()), float(fresh.std())) / math.sqrt(300)


def test_a_shift_is_seen_above_the_floor():
    data = normal(400, 0)
    floor = noise_floor(data, 100, generator=torch.Generator().manual_seed(0))
    assert energy_distance(normal(100, 5, 0.8), data) > floor.max()


def test_a_row_of_the_data_is_at_distance_zero():
    data = normal(10, 0)
    assert_close(nearest(data[3:4] + 0.01, data), torch.tensor([0.01], dtype=torch.float64))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="got 2 and 3"):
        energy_distance(torch.zeros(4, 2), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"need 6 \+ 6 rows, the data have 10"):
        noise_floor(torch.zeros(10, 1), 6)
    with pytest.raises(ValueError, match="at least two rows"):
        energy_distance(torch.zeros(1, 2), torch.zeros(4, 2))


def gaussians(d: int, std: float = 1.0):
    return lambda n, g: std * torch.randn(n, d, generator=g, dtype=torch.float64)


def two_modes(n: int, g: torch.Generator) -> torch.Tensor:
    centre = 6.0 * (torch.rand(n, 1, generator=g) < 0.5) - 3
    return centre * torch.tensor([1.0, 0.0]) + torch.randn(n, 2, generator=g)


def test_w2_on_the_line_is_the_cost_of_the_best_assignment() -> None:
    x, y = normal(30, 0), normal(30, 1, 0.7) * 2
    cost = np.square(x.numpy() - y.numpy().T)
    assert sliced_w2(x, y) == pytest.approx(np.sqrt(cost[linear_sum_assignment(cost)].mean()))
    # samples of 4 and 6: repeated to 12 each, they are the same two laws
    a, b = normal(4, 2), normal(6, 3)
    assert sliced_w2(a, b) == pytest.approx(sliced_w2(a.repeat_interleave(3, 0), b.repeat_interleave(2, 0)))
    assert sliced_w2(a, a + 0.3) == pytest.approx(0.3)


def test_sliced_w2_of_gaussians_is_the_closed_form() -> None:
    # along any direction N(u.s, 2^2) against N(0, 1): W2^2 = (u.s)^2 + (2 - 1)^2, and E (u.s)^2 = |s|^2 / d
    s, n, g = torch.tensor([1.0, -2.0, 0.5]).double(), 20_000, torch.Generator().manual_seed(0)
    found = sliced_w2(2 * gaussians(3)(n, g) + s, gaussians(3)(n, g), 500, g)
    # (u.s)^2 / |s|^2 has the variance 1/5 - 1/9 on the sphere; means and deviations of the samples err by 5 / n
    error = math.hypot(float(s @ s) * math.sqrt((1 / 5 - 1 / 9) / 500), 2 * 1.7 * math.sqrt(5 / n))
    assert abs(found**2 - (float(s @ s) / 3 + 1)) < 4 * error


def test_precision_and_recall_on_points_that_can_be_counted() -> None:
    data = torch.tensor([[0.0], [1], [2], [10], [11], [12]])
    # balls to the nearest other row reach 1; samples 0.5 and 11.5 lie within, 5 and 40 do not
    x = torch.tensor([[0.5], [5], [11.5], [40]])
    # the samples' own balls reach 4.5, 4.5, 6.5 and 28.5: all data are within
    assert precision_recall(x, data, 1) == (0.5, 1.0)
    near = torch.tensor([[0.5], [0.6], [0.7], [0.8]])
    assert precision_recall(near, data, 1) == (1.0, 0.0)


def test_losing_a_mode_lowers_recall_and_leaving_the_data_lowers_precision() -> None:
    g = torch.Generator().manual_seed(0)
    data, x = two_modes(300, g), two_modes(300, g)
    usual = floor(lambda a, b: precision_recall(a, b)[0], two_modes, 300, generator=g, repeats=50)
    one = (
        x * torch.tensor([0.0, 1.0])
        + torch.tensor([3.0, 0.0])
        + torch.randn(300, 1, generator=g) * torch.tensor([1.0, 0.0])
    )
    precision, recall = precision_recall(one, data)
    assert precision >= usual.min() and recall < 0.6
    between = precision_recall(x * torch.tensor([0.1, 1.0]), data)
    assert between[0] < usual.min()


@pytest.mark.parametrize(
    "metric",
    [
        energy_distance,
        lambda x, y: sliced_w2(x, y, 16, torch.Generator().manual_seed(0)),
        lambda x, y: -precision_recall(x, y)[0],
        lambda x, y: -precision_recall(x, y)[1],
    ],
    ids=["energy distance", "sliced W2", "precision", "recall"],
)
def test_a_perfect_model_exceeds_the_floor_in_5_percent(metric) -> None:
    g, repeats = torch.Generator().manual_seed(3), 800
    threshold = floor(metric, two_modes, 40, generator=g, repeats=repeats).quantile(0.95)
    fresh = floor(metric, two_modes, 40, generator=g, repeats=repeats)
    # precision and recall are whole numbers of rows: what lies on the threshold counts half
    above = ((fresh > threshold).double() + (fresh == threshold).double() / 2).mean()
    ties = float((fresh == threshold).double().mean()) / 2
    assert abs(above - 0.05) < 4 * math.sqrt(2 * 0.05 * 0.95 / repeats) + ties
    assert (fresh > threshold).double().mean() <= 0.05 + 4 * math.sqrt(2 * 0.05 * 0.95 / repeats)


def test_fresh_data_are_called_memorised_as_often_as_the_exact_null_says() -> None:
    g, repeats = torch.Generator().manual_seed(4), 600
    found = [memorised(*gaussians(2)(250, g).split([50, 100, 100])) for _ in range(repeats)]
    share = np.array([f.share for f in found])
    law = stats.betabinom(50, 5, 96)
    assert found[0].null == 5 / 101
    assert abs(share.mean() - 5 / 101) < 4 * law.std() / 50 / math.sqrt(repeats)
    above = law.sf(found[0].floor * 50)
    assert above <= 0.05
    assert abs(np.mean(share > found[0].floor) - above) < 4 * math.sqrt(above * (1 - above) / repeats)
    assert all((f.p <= above + 1e-12) == (f.share > f.floor) for f in found)


def test_copies_are_found_and_the_share_is_that_of_the_copies_and_the_null() -> None:
    g = torch.Generator().manual_seed(5)
    train, fresh = gaussians(3)(400, g), gaussians(3)(2000, g)
    x = copy(train)(gaussians(3)(4000, g), 0.3, g)
    found = memorised(x, train, fresh)
    assert abs(found.share - (0.3 + 0.7 * 0.05)) < 4 * math.sqrt(0.25 / 4000 + (0.7 * 0.05) ** 2 / 100)
    assert found.p < 1e-9 and found.share > found.floor


def test_the_smallest_shift_of_a_mean_is_where_the_normal_law_says() -> None:
    # mean(x) - mean(y) is N(d, s^2), so its power is Phi(d / s - z_95), which is 80 % at d = (1.645 + 0.842) s
    n, m, repeats = 50, 200, 1000
    s = math.sqrt(1 / n + 1 / m)
    sizes = [s * k for k in (0.0, 1.0, 2.0, 2.9, 3.5)]
    found = smallest_defect(
        lambda x, y: float(x.mean() - y.mean()),
        gaussians(1),
        shift(torch.ones(1)),
        sizes,
        n,
        m,
        generator=torch.Generator().manual_seed(0),
        repeats=repeats,
    )
    exact = stats.norm.cdf(np.array(sizes) / s - stats.norm.ppf(0.95))
    # the threshold's own error, sqrt(.05 .95 / repeats) / phi(z) in units of s, moves the power by phi(...) times that
    error = np.hypot(np.sqrt(exact * (1 - exact) / repeats), 0.4 * math.sqrt(0.05 * 0.95 / repeats) / 0.103)
    assert (np.abs(found.power.numpy() - exact) < 4 * error + 1e-3).all()
    assert found.smallest == sizes[3]


def test_a_larger_sample_sees_a_smaller_loss_and_a_blind_metric_none() -> None:
    options = dict(defect=drop(lambda rows: rows[:, 0] > 0), sizes=[0.0, 0.15, 0.3, 0.6, 1.0], repeats=60)
    few, many = (
        smallest_defect(energy_distance, two_modes, n=n, generator=torch.Generator().manual_seed(1), **options)
        for n in (20, 160)
    )
    assert 0 < many.smallest < few.smallest < math.inf
    blind = smallest_defect(lambda x, y: 0.0, two_modes, n=20, generator=torch.Generator(), **options)
    assert blind.smallest == math.inf and blind.power.max() == 0


def test_dropping_a_share_of_a_mode_leaves_the_rest_of_it() -> None:
    g = torch.Generator().manual_seed(0)
    rows = two_modes(20_000, g)
    mine = rows[:, 0] > 0
    out = drop(lambda r: r[:, 0] > 0)(rows, 0.4, g)
    assert abs((out[:, 0] > 0).sum() / mine.sum() - 0.6) < 4 * math.sqrt(0.24 / float(mine.sum()))
    assert_close(out[~mine], rows[~mine])
    assert_close(shift(torch.tensor([3.0, 4.0]))(rows, 10.0, g), rows + torch.tensor([6.0, 8.0]))


def test_disjoint_rows_are_drawn_and_no_more_than_there_are() -> None:
    data = torch.arange(10.0)[:, None]
    assert without_replacement(data)(10, torch.Generator()).flatten().sort().values.tolist() == list(range(10))
    with pytest.raises(ValueError, match="11 different rows are wanted, the data have 10"):
        without_replacement(data)(11, torch.Generator())


def test_metrics_refuse_what_has_no_answer() -> None:
    with pytest.raises(ValueError, match="k = 3 with 3 and 9 rows"):
        precision_recall(torch.zeros(3, 1), torch.zeros(9, 1))
    with pytest.raises(ValueError, match="0.05 of 9 fresh rows"):
        memorised(normal(9, 0), normal(9, 1), normal(9, 2))
    with pytest.raises(ValueError, match=r"sizes must rise, got \[1.0, 0.5\]"):
        smallest_defect(energy_distance, two_modes, shift(torch.ones(2)), [1, 0.5], 4, generator=torch.Generator())
    with pytest.raises(ValueError, match="got 2 and 3"):
        sliced_w2(torch.zeros(4, 2), torch.zeros(4, 3))


def test_the_nearest_ratio_is_1_for_fresh_data_0_for_copies_and_large_for_another_law() -> None:
    g = torch.Generator().manual_seed(0)
    train, fresh, new = (torch.randn(500, 4, generator=g) for _ in range(3))
    assert abs(nearest_ratio(new, train, fresh) - 1) < 0.1
    assert nearest_ratio(train[:50], train, fresh) < 1e-3
    assert_close(nearest_ratio(3 * new, 3 * train, 3 * fresh), nearest_ratio(new, train, fresh))
    assert nearest_ratio(4 * new, train, fresh) > 3
