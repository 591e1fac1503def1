"""Laws of the networks: what an output may depend on, and that the one interface means the same everywhere."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.nets import MLP, Fourier, ImageUNet, PlanMLP, TemporalUNet


def made(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    net = TemporalUNet(3, width=8) if kind == "temporal" else PlanMLP(16, 3, width=32, channels=8, positions=1)
    for parameter in net.parameters():  # nothing may hide behind a zero initialisation
        torch.nn.init.normal_(parameter, std=0.2)
    return net


@pytest.mark.parametrize("kind", ["temporal", "plan"])
def test_no_condition_means_that_nothing_is_known(kind: str) -> None:
    net, x, label = made(kind), torch.randn(4, 16, 3), torch.randn(4)
    nothing = {"known": torch.zeros(16, 3, dtype=torch.bool)}
    assert_close(net(x, label), net(x, label, nothing), rtol=0, atol=0)
    assert not torch.allclose(net(x, label), net(x, label, {"known": ~nothing["known"]}))


@pytest.mark.parametrize("kind", ["temporal", "plan"])
def test_each_plan_of_a_batch_is_alone(kind: str) -> None:
    net, x, label, known = made(kind), torch.randn(4, 16, 3), torch.randn(4), torch.rand(4, 16, 3) < 0.5
    alone = [net(x[i : i + 1], label[i : i + 1], {"known": known[i : i + 1]}) for i in range(4)]
    assert_close(net(x, label, {"known": known}), torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mults, kernel", [((1,), 3), ((1, 2), 5), ((1, 2, 2), 3)])
def test_an_output_of_the_unet_sees_its_receptive_field_and_no_further(mults: tuple[int, ...], kernel: int) -> None:
    torch.manual_seed(0)
    net = TemporalUNet(2, width=8, mults=mults, kernel=kernel).double()
    for block in (m for m in net.modules() if hasattr(m, "norms")):
        block.norms = torch.nn.ModuleList(torch.nn.Identity() for _ in range(2))  # a GroupNorm's mean sees everything
    x = torch.randn(1, 128, 2, dtype=torch.float64, requires_grad=True)
    reach = []
    for k in range(60, 68):
        (slope,) = torch.autograd.grad(net(x, torch.zeros(1, dtype=torch.float64))[0, k].sum(), x)
        seen = slope[0].abs().sum(-1).nonzero()[:, 0] - k
        reach += [-int(seen.min()), int(seen.max())]
    assert max(reach) == net.receptive_field // 2


def test_an_end_that_is_not_known_leaves_no_trace_in_the_features_of_the_ends() -> None:
    net, x = made("plan"), torch.randn(4, 16, 3)
    known = torch.zeros_like(x, dtype=torch.bool)
    assert not net._ends(x, known).any()
    known[:, -1] = True
    features = net._ends(x, known)
    assert not features[:, :36].any() and features[:, 36:72].all()  # 12 waves of 3 columns, the start's first


def test_one_level_for_the_plan_is_that_level_at_every_point() -> None:
    net, x, label = made("temporal"), torch.randn(4, 16, 3), torch.randn(4)
    assert_close(net(x, label), net(x, label[:, None].expand(4, 16)), rtol=1e-4, atol=1e-5)


def test_a_row_of_nan_means_not_given_and_zero_does_not() -> None:
    torch.manual_seed(0)
    net, x, label = MLP(2, cond=3), torch.randn(4, 2), torch.randn(4)
    nan, zero = torch.full((4, 3), float("nan")), torch.zeros(4, 3)
    assert_close(net(x, label, nan), net(x, label), rtol=0, atol=0)
    assert not torch.allclose(net(x, label, zero), net(x, label))


def test_fourier_features_are_sines_and_cosines_of_the_frequencies_asked_for() -> None:
    u = torch.linspace(-3, 3, 7)
    angle = u[:, None] * torch.tensor([1.0, 30.0])
    assert_close(Fourier(4, 1.0, 30.0)(u), torch.cat([angle.sin(), angle.cos()], 1))


def test_features_stand_beside_the_condition_or_beside_x_where_there_is_none() -> None:
    """With all weights of x, label and cond 0, the output still changes with what has features, and with that alone."""
    for cond, columns in ((2, slice(3 + 32 + 3, None)), (0, slice(3 + 32, None))):
        torch.manual_seed(0)
        net, x, label, c = MLP(3, cond=cond, features=4), torch.randn(4, 3), torch.randn(4), torch.randn(4, 2)
        first = net.layers[0]
        assert first.in_features - columns.start == 4 * (cond or 3)
        with torch.no_grad():
            first.weight[:, : columns.start] = 0
        out = net(x, label, c if cond else None)
        assert torch.equal(out, net(x + 1, label, c)) if cond else not torch.allclose(out, net(x + 1, label))
        if cond:
            assert not torch.allclose(out, net(x, label, c + 1))
            nothing = torch.full_like(c, float("nan"))
            assert_close(net(x, label, nothing), net(x, label, 0 * c), rtol=0, atol=0)


def test_errors_say_what_came_and_what_was_wanted() -> None:
    with pytest.raises(ValueError, match=r"\[B, 16, 3\], got \(4, 15, 3\)"):
        made("plan")(torch.randn(4, 15, 3), torch.zeros(4))
    with pytest.raises(ValueError, match="one noise level per plan"):
        made("plan")(torch.randn(4, 16, 3), torch.zeros(4, 16))
    with pytest.raises(ValueError, match="multiple of 4"):
        made("temporal")(torch.randn(4, 14, 3), torch.zeros(4))
    with pytest.raises(ValueError, match="takes no condition"):
        MLP(2)(torch.randn(4, 2), torch.zeros(4), torch.zeros(4, 1))
    with pytest.raises(ValueError, match="without a noise label"):
        MLP(2, label=0)(torch.randn(4, 2), torch.zeros(4))


def image() -> tuple[ImageUNet, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    net = ImageUNet(2, 2, 3, (4, 6), width=8)
    for parameter in net.parameters():  # nothing may hide behind a zero initialisation
        torch.nn.init.normal_(parameter, std=0.2)
    return (
        net,
        torch.randn(4, 2, 4, 6),
        torch.randn(4),
        {"past": torch.randn(4, 2, 2, 4, 6), "act": torch.rand(4, 2, 3)},
    )


def test_each_picture_of_a_batch_is_alone_and_sees_all_that_it_is_shown() -> None:
    net, x, label, cond = image()
    whole = net(x, label, cond)
    alone = [net(x[[i]], label[[i]], {k: v[[i]] for k, v in cond.items()}) for i in range(4)]
    assert_close(whole, torch.cat(alone), rtol=1e-4, atol=1e-5)
    for name, (row, *rest) in {"past": (3, 0, 1), "act": (3, 0)}.items():
        other = {k: v.clone() for k, v in cond.items()}
        other[name][(row, *rest)] += 1
        moved = (net(x, label, other) - whole).abs().flatten(1).amax(1)
        assert moved[row] > 1e-4 and not moved[:row].any(), name


def test_the_image_unet_knows_where_a_pixel_is() -> None:
    """On one and the same grey everywhere a convolution alone gives the same far from the edges; this one does not."""
    net, x, label, cond = image()
    out = net(torch.zeros_like(x), label, {"past": torch.zeros_like(cond["past"]), "act": cond["act"]})
    net.place.zero_()
    blind = net(torch.zeros_like(x), label, {"past": torch.zeros_like(cond["past"]), "act": cond["act"]})
    assert not torch.allclose(out, blind, atol=1e-4)


def test_pictures_of_another_shape_are_refused_with_what_was_wanted() -> None:
    net, x, label, cond = image()
    with pytest.raises(ValueError, match=r"pictures \[B, 2, 4, 6\] were wanted, got \[4, 2, 6, 4\]"):
        net(x.mT, label, cond)
