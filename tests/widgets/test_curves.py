"""Laws of what a picture of curves shows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffrl_lab.widgets import curves

ALT = 'A curve that rises from "0" to 1 & stays there, as <exact> as it gets.'


def test_the_running_mean_of_a_straight_loss_lies_on_it():
    picture = curves.losses([{"loss": 3 - 0.01 * i} for i in range(200)], alt=ALT)
    thin, thick = picture.axes[0].lines[:2]
    assert len(thick.get_xdata()) > 150
    np.testing.assert_allclose(
        np.interp(thick.get_xdata(), thin.get_xdata(), thin.get_ydata()), thick.get_ydata(), atol=0.0051
    )


def test_arrows_point_at_the_named_actions_on_their_curves_and_the_data_are_counted_below():
    a = np.linspace(0, 1, 101)
    shape, data = {"exact": a * (1 - a), "model": a / 2}, [0.11, 0.11, 0.11, 0.93]
    picture = curves.values_over_data(a, shape, data, best={"exact": 0.2, "model": 1.0}, proposals=[0.2, 0.4], alt=ALT)
    above, below = picture.axes
    tips = {t.get_text(): t.xy for t in above.texts}
    assert tips == {"best, exact": (0.2, pytest.approx(0.16)), "best, model": (1.0, 0.5)}
    exact, model, ticks = above.lines
    np.testing.assert_array_equal(exact.get_ydata(), shape["exact"])
    np.testing.assert_array_equal(model.get_ydata(), shape["model"])
    np.testing.assert_array_equal(ticks.get_xdata(), [0.2, 0.4])
    bars = {round(b.get_x() + b.get_width() / 2, 2): b.get_height() for b in below.patches if b.get_height()}
    assert bars == {0.11: 3, 0.93: 1}
    assert above.get_xlim() == below.get_xlim() == (0, 1)


def test_values_over_data_need_a_real_description():
    with pytest.raises(ValueError, match="40 characters"):
        curves.values_over_data([0, 1], {"exact": [0, 1]}, [0.5], best={}, alt="values")


def test_numbers_of_half_precision_are_drawn_as_they_are():
    y = torch.linspace(0, 1, 5, dtype=torch.bfloat16)
    np.testing.assert_array_equal(
        curves.lines(y, {"exact": y}, xlabel="x", ylabel="y", alt=ALT).axes[0].lines[0].get_ydata(), y.double()
    )


def test_side_by_side_histograms_have_one_scale_and_lose_no_sample() -> None:
    x = np.linspace(-2, 2, 41)
    samples = {"near": np.linspace(-1, 1, 100), "partly outside": np.linspace(-9, 9, 100)}
    picture = curves.histograms(
        samples, exact=(x, np.full(41, 0.25)), alt="Two histograms, one narrow, one with high ends."
    )
    masses = [sum(p.get_height() * p.get_width() for p in ax.patches) for ax in picture.axes]
    np.testing.assert_allclose(masses, [1, 1])
    highest = max(p.get_height() for ax in picture.axes for p in ax.patches)
    assert [ax.get_ylim()[1] >= highest for ax in picture.axes] == [True, True]
    assert [ax.get_title(loc="left") for ax in picture.axes] == list(samples)


def test_a_trail_grows_by_the_points_that_the_chain_has_reached() -> None:
    frames = [SimpleNamespace(t=1 - k / 3, x_t=np.array([[k], [10.0 * k]])) for k in range(4)]
    trail = curves.trails(iter(frames))
    assert trail["x_t"].shape == (4, 2, 4, 2)
    np.testing.assert_allclose(trail["x_t"][2, 1], [[1, 0], [2 / 3, 10], [1 / 3, 20], [1 / 3, 20]])
    np.testing.assert_allclose(trail["x_t"][3, 0, :, 1], [0, 1, 2, 3])


def test_a_curve_of_nothing_but_nan_leaves_the_others_to_be_seen():
    blank, seen = np.full(9, np.nan), np.linspace(0, 1, 9)
    for picture in (
        curves.lines(range(9), {"blew up": blank, "learned": seen}, xlabel="updates", ylabel="share", alt=ALT),
        curves.losses({"blew up": blank, "learned": seen}, alt=ALT),
    ):
        assert picture.png().startswith(b"\x89PNG")
