"""The scaler: per dimension, exact on constants, round trip, fitted on training data only."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch.testing import assert_close

from diffrl_lab.data import Scaler
from diffrl_lab.data.scaling import standard


def data() -> torch.Tensor:
    """Dimensions: ordinary, constant, range 1e-3 around 5, rounding error around 1e4, constant 0, large."""
    u = torch.rand(500, 6, generator=torch.Generator().manual_seed(0))
    scale, shift = torch.tensor([2.0, 0, 1e-3, 1e-3, 0, 1e6]), torch.tensor([-1.0, 0.3, 5, 1e4, 0, -7])
    return u * scale + shift


def test_limits_map_the_extremes_to_minus_one_and_one_whatever_the_other_dimensions_are():
    z = Scaler.fit(data())(data())
    assert_close(z[:, [0, 5]].amin(0), torch.tensor([-1.0, -1]))
    assert_close(z[:, [0, 5]].amax(0), torch.tensor([1.0, 1]))
    # float32 near 5 knows 5e-7, that is 1e-3 of this dimension's half range
    assert_close(torch.stack(z[:, 2].aminmax()), torch.tensor([-1.0, 1]), atol=2e-3, rtol=0)


def test_standard_gives_mean_0_and_deviation_1():
    z = Scaler.fit(data().double(), "standard")(data().double())[:, [0, 2, 5]]
    assert_close(z.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    assert_close(z.std(0, correction=0), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["limits", "standard"])
def test_a_constant_dimension_maps_to_0_and_back_exactly_and_rounding_error_counts_as_constant(kind):
    scaler = Scaler.fit(data(), kind)
    assert (scaler(data())[:, [1, 3, 4]] == 0).all()
    back = scaler.inverse(torch.randn(9, 6))
    assert (back[:, 1] == torch.tensor(0.3)).all() and (back[:, 4] == 0).all()


@pytest.mark.parametrize("kind", ["limits", "standard"])
def test_there_and_back_is_the_identity_to_rounding(kind):
    scaler, x = Scaler.fit(data(), kind), data()
    back = scaler.inverse(scaler(x))
    assert ((back - x).abs() <= 4e-7 * x.abs().amax(0) + 1e-3 * torch.eye(6)[3]).all()


def test_fitting_sees_the_training_data_only_and_what_lies_outside_is_not_clipped():
    train = data()[:400]
    scaler = Scaler.fit(train)
    assert_close(scaler(2 * train[:, :].amax(0) - train.amin(0))[0], torch.tensor(3.0))


def test_a_slice_and_its_saved_state_scale_the_same():
    scaler, x = Scaler.fit(data()), data()
    assert torch.equal(scaler[:2](x[:, :2]), scaler(x)[:, :2])
    again = Scaler(**load(save(scaler.state_dict())))
    assert torch.equal(again(x), scaler(x))


@pytest.mark.parametrize(
    "x, message",
    [
        (torch.tensor([[0.0, 1], [float("nan"), 1]]), r"NaN or infinity in the dimension\(s\) \[0\]"),
        (torch.zeros(0, 3), r"with rows in it, got \[0, 3\]"),
        (torch.zeros(3), r"shape \[..., d\]"),
    ],
)
def test_data_that_cannot_be_fitted_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        Scaler.fit(x)
    with pytest.raises(ValueError, match='"limits" or "standard", got \'max\''):
        Scaler.fit(data(), "max")
    with pytest.raises(ValueError, match=r"fitted to 6 dimensions, got the shape \[2, 4\]"):
        Scaler.fit(data())(torch.zeros(2, 4))


@pytest.mark.parametrize("value", [0.0, 20.0, -1e6])
def test_a_constant_target_and_a_single_one_scale_to_zero(value):
    for n in (1, 50):
        mean, deviation = standard(torch.full((n,), value))
        assert (mean, deviation) == (value, 1.0)
    mean, deviation = standard(torch.tensor([1.0, 3.0]))
    assert (mean, round(deviation, 6)) == (2.0, 1.414214)
