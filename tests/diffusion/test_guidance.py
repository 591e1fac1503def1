"""Laws of guidance: where it is exact, and by how much it is not where it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.diffusion import (
    Cosine,
    Function,
    GaussianDenoiser,
    Karras,
    Linear,
    MixtureDenoiser,
    Rectified,
    ascend,
    brownian_motion,
    cfg,
    chain,
    clip,
    ddim,
    ddpm,
    drop,
    given,
    heun,
    pin,
    sample,
)

f64 = torch.float64
SCHEDULES = [Linear(), Cosine(), Karras(), Rectified()]
times = [torch.tensor(0.4, dtype=f64), torch.full((6,), 0.4, dtype=f64), torch.full((6, 1), 0.4, dtype=f64)]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=f64)


def gaussian(schedule, mean=(1.0, -0.5), cov=((1.0, 0.9), (0.9, 1.0))):
    return GaussianDenoiser(torch.tensor(mean), schedule, cov=torch.tensor(cov))


def two_modes(schedule=None, std=0.3):
    return MixtureDenoiser([0.5, 0.5], [[-1.0], [1.0]], schedule or Linear(), std=std)


# ----------------------------------------------------------------------------------------------------- classifier-free
left = torch.tensor([[1.0, 0.0]], dtype=f64).expand(6, 2)


@pytest.mark.parametrize("t", times, ids=["one", "rows", "positions"])
def test_cfg_with_w_0_is_unconditional_with_w_1_conditional_and_linear_between_and_beyond(t):
    D, x = two_modes(), noise(6, 1)
    free, conditional = D(x, t), given(D, left)(x, t)
    assert (free - conditional).abs().min() > 1e-3
    for w in (0.0, 1.0, 0.3, 4.0):
        assert_close(cfg(D, left, w)(x, t), (1 - w) * free + w * conditional)
    w = torch.arange(6, dtype=f64)
    assert_close(cfg(D, left, w)(x, t), free + w[:, None] * (conditional - free))


def test_cfg_drops_only_the_named_entries_of_a_dict_and_calls_the_denoiser_once():
    seen = []
    D = Function(lambda x, t, cond: seen.append(cond) or x, Linear())
    cond = {"ret": torch.zeros(3, 1), "obs": torch.ones(3, 2)}
    cfg(D, cond, 2.0, drop=("ret",))(noise(3, 1), torch.tensor(0.5))
    assert len(seen) == 1
    assert_close(seen[0]["obs"], torch.ones(6, 2))
    assert (
        seen[0]["ret"][3:].isnan().all() and (seen[0]["ret"][:3] == 0).all()
    )  # 0 is a legal return, "not given" is NaN


def passes(w, cond=None, **options):
    """What a denoiser is shown by cfg: its conditions, one for each pass."""
    seen = []
    D = Function(lambda x, t, cond: seen.append((len(x), cond)) or 2 * x, Linear())
    cfg(D, torch.ones(3, 1) if cond is None else cond, w, **options)(noise(3, 1), torch.tensor(0.5))
    return seen


@pytest.mark.parametrize(
    "make", [float, int, torch.tensor, np.float32, lambda w: [w] * 3, lambda w: torch.full((3,), w)]
)
def test_cfg_evaluates_only_the_branch_that_counts(make):
    for w, rows in ((0, 3), (1, 3), (2, 6), (0.5, 6)):
        if make is not int or w == int(w):
            ((n, shown),) = passes(make(w))
            assert n == rows and bool(shown.isnan().any()) == (w != 1)
    D, x, w = two_modes(), noise(6, 1), torch.zeros(6, dtype=f64, requires_grad=True)
    cfg(D, left, w)(x, torch.tensor(0.4)).sum().backward()  # a weight that is learned needs both
    assert_close(w.grad, (given(D, left)(x, 0.4) - D(x, 0.4))[:, 0])
    assert len({n for n, _ in passes(torch.tensor([0.0, 1.0, 0.0]))}) == 1


def test_masks_stay_and_whole_numbers_become_numbers_that_can_be_not_given():
    known = torch.tensor([[True, False]] * 3)
    for labels in (torch.tensor([[0], [1], [2]]), np.array([[0], [1], [2]]), [[0], [1], [2]]):
        ((_, shown),) = passes(2.0, {"known": known, "label": labels})
        assert torch.equal(shown["known"], torch.cat([known, known]))
        assert shown["label"][:3].flatten().tolist() == [0, 1, 2] and shown["label"][3:].isnan().all()
        for w, given_to in ((0, False), (1, True)):
            ((_, shown),) = passes(w, {"known": known, "label": labels})
            assert torch.equal(shown["known"], known) and bool(shown["label"].isnan().all()) != given_to


def test_what_cfg_cannot_drop_is_refused_when_it_is_made():
    known, D = torch.ones(3, 2, dtype=torch.bool), two_modes()
    for cond, drop_, said in (
        ({"y": left, "known": known}, ("z",), r"drop names \['z'\], but the condition has \['y', 'known'\]"),
        ({"y": left, "known": known}, "known", "must be real numbers.*'known': 'torch.bool'"),
        ({"known": known}, None, "must be real numbers"),
        (known, None, "must be real numbers"),
        (left, ("y",), r"drop names \['y'\], but the condition is no dict"),
        ({"y": "east"}, None, "the condition 'y' must be a tensor, an array or numbers, got 'east'"),
    ):
        with pytest.raises(ValueError, match=said):
            cfg(D, cond, 2.0, drop=drop_)
    with pytest.raises(ValueError, match=r"w is a number or \[B\], for x \[6, 1\]; got \[5\]"):
        cfg(D, left, torch.arange(5.0))(noise(6, 1), torch.tensor(0.5))


def powered_mean(w):
    """E[x] under p(x) (p(x | left) / p(x))^w by quadrature."""
    x = torch.linspace(-8, 8, 40_001, dtype=f64)
    joint = two_modes(std=0.8)
    one = MixtureDenoiser([1.0], [[-1.0]], Linear(), std=0.8).log_prob(x[:, None])
    p = torch.softmax(joint.log_prob(x[:, None]) * (1 - w) + w * one, 0)
    return (p * x).sum()


def cfg_mean(w):
    D, n = two_modes(std=0.8), 2000
    x = sample(cfg(D, left[:1].expand(n, 2), w), noise(n, 1), steps=40, step=heun())
    return x.mean(), 5 * x.std() / math.sqrt(n)


def test_cfg_samples_are_not_the_powered_law_they_overshoot_it_more_and_more():
    gap = {}
    for w in (1.0, 3.0, 6.0):
        mean, five_standard_errors = cfg_mean(w)
        gap[w] = powered_mean(w) - mean
        assert gap[w] < five_standard_errors + 0.02 if w == 1 else gap[w] > five_standard_errors
    assert gap[6.0] > gap[3.0] > 0.05 > abs(gap[1.0])


def test_training_drops_the_condition_of_whole_samples_with_the_given_probability():
    cond = torch.zeros(20_000, 3)
    dropped = drop(cond, 0.25, torch.Generator().manual_seed(0)).isnan()
    assert torch.equal(dropped.any(1), dropped.all(1))
    assert abs(dropped[:, 0].double().mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 20_000)
    assert (cond == 0).all()  # the caller's tensor is left alone
    assert_close(drop(cond, 0.0), cond)


# ----------------------------------------------------------------------------------------------------------- classifier
b = torch.tensor([0.5, -1.0], dtype=f64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("t", times, ids=["one", "rows", "positions"])
def test_ascent_at_x0_hat_on_a_gaussian_with_linear_j_is_the_exactly_tilted_denoiser(schedule, t):
    D, x = gaussian(schedule), noise(6, 2)
    assert_close(ascend(D, lambda x, t: x @ b, at="x0_hat")(x, t), D.tilt(b)(x, t))
    assert_close(ascend(D, lambda x, t: x @ b, scale=2.0, at="x0_hat")(x, t), D.tilt(2 * b)(x, t))


def test_guided_samples_of_a_gaussian_are_moved_by_sigma_b_with_their_variance_unchanged():
    D = gaussian(Cosine())
    guided, free = (
        sample(E, noise(4000, 2), steps=150, step=heun()) for E in (ascend(D, lambda x, t: x @ b, at="x0_hat"), D)
    )
    assert_close(guided.mean(0) - free.mean(0), D.cov[0] @ b, rtol=0.03, atol=0.01)
    assert_close(guided.T.cov(), free.T.cov(), rtol=0.02, atol=0.01)
    assert_close(free.T.cov(), D.cov[0], rtol=5 * math.sqrt(2 / 4000), atol=0.02)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("t", times, ids=["one", "rows", "positions"])
def test_ascent_at_x_t_with_the_exact_noisy_energy_is_exact_for_any_law(schedule, t):
    D = MixtureDenoiser([0.3, 0.7], [[1.0, 0.0], [-0.5, 0.5]], schedule, std=[0.4, 0.8])
    alpha, _ = schedule(0.4)

    def J(x, t):  # log E[exp(b . x_0) | x_t], by hand from the two noisy densities
        return D.tilt(b).log_prob(x, t) - D.log_prob(x, t)

    x = noise(6, 2)
    assert_close(ascend(D, J)(x, t), D.tilt(b)(x, t))


def test_a_plain_energy_of_the_noisy_x_or_of_x0_hat_is_biased_and_the_contrastive_one_is_not():
    schedule, n = Cosine(), 4000
    D = GaussianDenoiser([0.0], schedule, std=1.0)
    exact = (0.8, 0.2)  # N(0, 1) exp(-2 (x - 1)^2) = N(4/5, 1/5)

    def contrastive(x, t):  # x_0 | x_t ~ N(alpha x, sigma^2) when the data are N(0, 1)
        alpha, sigma = schedule(t)
        return -2 * (alpha * x[:, 0] - 1) ** 2 / (1 + 4 * sigma**2)

    def moments(J, at):
        x = sample(ascend(D, J, at=at), noise(n, 1), steps=100, step=heun())
        return x.mean().item(), x.var().item()

    assert moments(contrastive, "x_t") == pytest.approx(exact, abs=0.02)
    for at in ("x_t", "x0_hat"):
        assert abs(moments(lambda x, t: -2 * (x[:, 0] - 1) ** 2, at)[1] - 0.2) > 0.04


@pytest.mark.parametrize("at", ["x_t", "x0_hat"])
def test_ascent_is_zero_where_no_noise_or_no_signal_is_left(at):
    for t in (0.0, 1.0):
        D, x = two_modes(Cosine()), noise(6, 1)
        t = torch.tensor(t, dtype=f64)
        assert_close(ascend(D, lambda x, t: x[:, 0] ** 2, at=at)(x, t), D(x, t))


def test_ascent_works_under_no_grad_leaves_x_t_alone_and_takes_a_scale_for_each_row():
    D, x = gaussian(Linear()), noise(6, 2)
    with torch.no_grad():
        hat = ascend(D, lambda x, t: x @ b, scale=torch.arange(6.0), at="x0_hat")(x, torch.tensor(0.4))
    assert not x.requires_grad and not hat.requires_grad
    for n in range(6):
        assert_close(hat[n], D.tilt(n * b)(x[n : n + 1], 0.4)[0])


@pytest.mark.parametrize("at", ["x_t", "x0_hat"])
@pytest.mark.parametrize("step", [ddim(), heun()], ids=["ddim", "heun"])
def test_guidance_under_inference_mode_is_that_under_no_grad(at, step):
    def run(mode):
        with mode():
            x, y = noise(6, 2), torch.tensor([[1.0, 0.0]], dtype=f64).expand(6, 2).clone()
            E = MixtureDenoiser([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.5]], Cosine(), std=0.3)
            up = ascend(E, lambda x, t: x @ b, scale=0.5, at=at, cond=y)
            return sample(pin(clip(up), [True, False], [0.5, 0.0]), x, steps=6, step=step)

    assert torch.equal(run(torch.inference_mode).clone(), run(torch.no_grad))
    frames = list(chain(ascend(gaussian(Cosine()), lambda x, t: x @ b, at=at), noise(6, 2), steps=3))
    with torch.inference_mode():
        inner = list(chain(ascend(gaussian(Cosine()), lambda x, t: x @ b, at=at), noise(6, 2), steps=3))
    assert all(torch.equal(f.x0_hat, g.x0_hat) for f, g in zip(frames, inner, strict=True))


def test_ascent_in_half_precision_is_that_of_float32_rounded():
    for schedule in [*SCHEDULES, Karras(sigma_max=400.0)]:  # sigma^2 = 160 000 is beyond float16
        D, t = gaussian(schedule), torch.tensor(1.0)
        x = noise(6, 2).half()
        half = ascend(D, lambda x, t: x.sum(1), scale=1e-5)(x, t)
        assert_close(half.float(), ascend(D, lambda x, t: x.sum(1), scale=1e-5)(x.float(), t), rtol=3e-3, atol=3e-3)


# ------------------------------------------------------------------------------------------------------ pinned, clipped
known = torch.tensor([True, False])


def test_pin_shows_the_denoiser_clean_entries_and_puts_them_into_x0_hat():
    seen = []
    D, x = Function(lambda x, t, cond=None: seen.append(x) or 3 * x, Linear()), noise(4, 2)
    value, before = torch.tensor([1.5, 99.0]), x.clone()
    hat = pin(D, known, value)(x, torch.tensor(0.7))
    assert_close(seen[0], torch.stack([torch.full((4,), 1.5, dtype=f64), x[:, 1]], 1))
    assert_close(hat, torch.stack([torch.full((4,), 1.5, dtype=f64), 3 * x[:, 1]], 1))
    assert torch.equal(x, before)


@pytest.mark.parametrize("put", [torch.tensor, np.array, list, lambda v: [torch.tensor(e) for e in v]])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_holds_an_argument_of_guidance_makes_no_difference(put, dtype):
    D, x, t = gaussian(Linear()), noise(6, 2).to(dtype), torch.tensor(0.4)
    mask, value, hi, each = (
        torch.tensor([True, False]),
        torch.tensor([1.5, 0.0]),
        torch.tensor([0.5, 2.0]),
        torch.arange(6.0),
    )
    pairs = [
        (pin(D, put([True, False]), put([1.5, 0.0])), pin(D, mask, value)),
        (clip(D, -1, put([0.5, 2.0])), clip(D, torch.tensor(-1.0), hi)),
        (clip(D, put([-0.5, -2.0]), np.float32(2.0)), clip(D, -hi, 2.0)),
        (ascend(D, lambda x, t: x.sum(1), put([float(k) for k in range(6)])), ascend(D, lambda x, t: x.sum(1), each)),
        (given(two_modes(), put([[1.0, 0.0]] * 6)), given(two_modes(), left)),
    ]
    for n, (one, other) in enumerate(pairs):
        rows = x[:, :1] if n == 4 else x
        got, wanted = one(rows, t), other(rows, t)
        assert got.dtype == dtype and torch.equal(got, wanted)


def test_pin_takes_one_truth_for_all_and_clip_takes_one_bound():
    D, x, t = gaussian(Linear()), 3 * noise(6, 2), torch.tensor(0.4)
    assert_close(pin(D, True, 0.5)(x, t), torch.full((6, 2), 0.5, dtype=f64))
    assert_close(pin(D, False, 0.5)(x, t), D(x, t))
    assert_close(clip(D, lo=None, hi=0.5)(x, t), D(x, t).clamp(max=0.5))
    assert_close(clip(D, None, None)(x, t), D(x, t))


def conditional_moments(D, **options):
    x = sample(D, noise(4000, 2), generator=torch.Generator().manual_seed(1), **options)
    assert_close(x[:, 0], torch.full_like(x[:, 0], 1.5))
    return x[:, 1].mean().item(), x[:, 1].var().item()


def test_pin_on_an_unconditional_denoiser_is_biased_and_conditioning_is_exact():
    D, value = gaussian(Cosine(), mean=(0.0, 0.0)), torch.tensor([1.5, 0.0])
    exact, se = (1.35, 0.19), 5 * math.sqrt(0.19 / 4000)
    assert conditional_moments(D.condition(known, value), steps=100, step=ddpm()) == pytest.approx(exact, abs=se + 0.01)
    mean, var = conditional_moments(pin(D, known, value), steps=100, step=ddpm())
    assert abs(mean - 1.35) > 0.1 or var > 0.19 * 1.3


def test_levels_of_0_at_known_entries_are_exact_without_a_conditional_denoiser():
    D, x = gaussian(Cosine(), mean=(0.0, 0.0)), noise(4000, 2)
    x[:, 0] = 1.5
    grid = Cosine().grid(100)[:, None, None].repeat(1, 4000, 2)
    grid[..., 0] = 0
    x = sample(D, x, steps=grid, step=ddpm(), generator=torch.Generator().manual_seed(1))
    assert (x[:, 1].mean().item(), x[:, 1].var().item()) == pytest.approx(
        (1.35, 0.19), abs=5 * math.sqrt(0.19 / 4000) + 0.01
    )


def test_pin_on_a_denoiser_that_takes_clean_ends_for_what_they_are_is_exact():
    motion, H = brownian_motion(5, Cosine(), start_std=2.0), 5
    ends = torch.tensor([True, False, False, False, True])[:, None]
    value = torch.tensor([0.5, 0.0, 0.0, 0.0, 2.0], dtype=f64)[:, None]

    def masked(x, t, cond=None):  # what training with the mask learns
        levels = t.expand(len(x), H).clone()
        levels[:, [0, -1]] = 0
        return motion(x, levels)

    ours = sample(pin(Function(masked, Cosine()), ends, value), noise(20, H, 1), steps=12)
    exact = sample(motion.condition(ends, value), noise(20, H, 1), steps=12)
    assert_close(ours, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("step", [ddim(), ddpm(), heun()], ids=["ddim", "ddpm", "heun"])
def test_clip_keeps_x0_hat_within_bounds_and_never_the_iterate(step):
    D = Function(lambda x, t, cond=None: 4 * x, Linear())
    x = 3 * noise(200, 2)
    frames = list(chain(clip(D, -1, 1), x, steps=10, step=step, generator=torch.Generator().manual_seed(0)))
    assert all((f.x0_hat.abs() <= 1).all() for f in frames) and all((f.x_t.abs() > 1).any() for f in frames[:5])
    assert_close(frames[0].x_t, x)


def test_after_clipping_eps_hat_follows_from_the_clipped_x0_hat():
    D, x, (t, s) = Function(lambda x, t, cond=None: 4 * x, Linear()), noise(50, 2), torch.tensor([0.7, 0.5], dtype=f64)
    (a_t, s_t), (a_s, s_s) = Linear()(t), Linear()(s)
    hat = (4 * x).clamp(-1, 1)
    assert_close(ddim()(clip(D), x, t, s)[0], a_s * hat + s_s * (x - a_t * hat) / s_t)


def test_clip_takes_a_bound_for_each_entry_and_guidance_nests():
    hi = torch.tensor([0.5, 2.0], dtype=f64)
    D, x, t = gaussian(Linear()), 3 * noise(6, 2), torch.tensor(0.4, dtype=f64)
    inner = ascend(D, lambda x, t: x @ b, at="x0_hat")
    plan = pin(clip(inner, -hi, hi), known, torch.tensor([9.0, 9.0]))
    shown = torch.where(known, 9.0, x)
    assert_close(plan(x, t), torch.where(known, 9.0, D.tilt(b)(shown, t).clamp(-hi, hi)))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="x0_hat.*got 'x0'"):
        ascend(gaussian(Linear()), lambda x, t: x[:, 0], at="x0")
    for known in (torch.ones(2), np.ones(2), [1, 0], 1.0):
        with pytest.raises(ValueError, match="boolean"):
            pin(gaussian(Linear()), known, torch.ones(2))
    with pytest.raises(ValueError, match="J must be a function"):
        ascend(gaussian(Linear()), 3.0)
    for make in (
        lambda v: clip(two_modes(), v),
        lambda v: clip(two_modes(), -1, v),
        lambda v: pin(two_modes(), True, v),
    ):
        with pytest.raises(ValueError, match=r"must be a tensor, an array or numbers, got 'one'"):
            make("one")
    with pytest.raises(ValueError, match="scale must be a tensor, an array or numbers, got {}"):
        ascend(two_modes(), lambda x, t: x[:, 0], scale={})
    with pytest.raises(ValueError, match="lo must not exceed hi, got 1.0 and -1.0"):
        clip(two_modes(), 1.0, -1.0)
    with pytest.raises(ValueError, match=r"scale is a number or \[B\], for x \[6, 1\]; got \[4\]"):
        ascend(two_modes(), lambda x, t: x[:, 0], [1.0] * 4)(noise(6, 1), torch.tensor(0.4))
