"""Laws of samplers: one step against Bayes' rule and HF diffusers, chains against exact flows and exact densities."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from diffrl_lab.diffusion import (
    Cosine,
    Discrete,
    EmpiricalDenoiser,
    Function,
    GaussianDenoiser,
    Karras,
    Linear,
    MixtureDenoiser,
    NeuralDenoiser,
    Rectified,
    brownian_bridge,
    brownian_motion,
    chain,
    ddim,
    ddpm,
    dpm_pp_1,
    dpm_pp_2m,
    euler,
    heun,
    sample,
)

f64 = torch.float64
SCHEDULES = [Linear(), Cosine(), Karras(), Rectified(), Discrete.linear()]
STEPS = {
    "ddpm": ddpm(),
    "ddim": ddim(),
    "ddim eta": ddim(0.7),
    "euler": euler(),
    "euler churn": euler(0.3),
    "heun": heun(),
    "heun churn": heun(0.3),
    "dpm++1": dpm_pp_1(),
    "dpm++2m": dpm_pp_2m(),
}


def G(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=G(seed), dtype=f64)


def two_modes(schedule):
    return MixtureDenoiser([0.2, 0.8], [[-1.0], [1.0]], schedule, std=0.15)


def eps_of(D, x, t):
    alpha, sigma = D.schedule(t)
    return (x - alpha * D(x, t)) / sigma


# ------------------------------------------------------------------------------------------------------------- one step
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("step", [ddpm(), ddim(1.0)], ids=["ddpm", "ddim eta=1"])
def test_an_ancestral_step_draws_from_bayes_rule(schedule, step):
    t, s, x_0 = torch.tensor(0.7, dtype=f64), torch.tensor(0.6, dtype=f64), noise(6, 2, seed=1)
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    x_t = a_t * x_0 + s_t * noise(6, 2, seed=2)
    # x_s and x_t given x_0 are jointly Gaussian: Cov(x_s, x_t) = (a_t / a_s) s_s^2
    gain = (a_t / a_s) * s_s**2 / s_t**2
    mean, std = a_s * x_0 + gain * (x_t - a_t * x_0), torch.sqrt(s_s**2 - gain * (a_t / a_s) * s_s**2)
    x_s, _, _ = step(Function(lambda *_: x_0, schedule), x_t, t, s, None, G(3))
    assert_close(x_s, mean + std * noise(6, 2, seed=3), rtol=1e-7, atol=1e-7)


def test_a_temperature_of_one_half_divides_the_variance_by_four():
    t, s, D = torch.tensor(0.7, dtype=f64), torch.tensor(0.6, dtype=f64), two_modes(Linear())
    cold, half, full = (ddpm(T)(D, noise(5, 1), t, s, None, G(1))[0] for T in (0.0, 0.5, 1.0))
    assert_close((half - cold) ** 2 * 4, (full - cold) ** 2)
    assert (full != cold).all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("name", STEPS)
def test_a_step_from_t_to_t_is_the_identity(schedule, name):
    x, D, step = noise(4, 3, 1), brownian_motion(3, schedule), STEPS[name]
    for state in (None, (noise(4, 3, 1, seed=1), torch.tensor(0.8, dtype=f64))):
        for t in (0.0, 0.5, 1.0):
            t = torch.tensor(t, dtype=f64)
            assert_close(step(D, x, t, t, state, G())[0], x)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("name", STEPS)
def test_positions_that_wait_stay_while_the_others_move(schedule, name):
    x, D = noise(2, 4, 1), brownian_motion(4, schedule)
    t = torch.tensor([[0.0, 0.5, 1.0, 1.0]], dtype=f64).expand(2, 4)
    s = torch.tensor([[0.0, 0.5, 1.0, 0.8]], dtype=f64).expand(2, 4)
    x_s, x0_hat, state = STEPS[name](D, x, t, s, None, G())
    assert_close(x_s[:, :3], x[:, :3])
    assert torch.isfinite(x_s).all() and (x_s[:, 3] != x[:, 3]).all()
    again = STEPS[name](D, x_s, s, s, state, G())[0]
    assert_close(again, x_s)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("name", STEPS)
def test_one_time_for_all_and_the_same_time_for_each_row_or_position_agree(schedule, name):
    x, D = 0.3 * noise(4, 3, 1), brownian_motion(3, schedule)
    one = schedule.grid(5)
    wanted = sample(D, x, steps=one, step=STEPS[name], generator=G())
    for shape in ((4,), (4, 3)):
        grid = one.reshape(-1, *(1 for _ in shape)).expand(-1, *shape)
        assert_close(sample(D, x, steps=grid, step=STEPS[name], generator=G()), wanted, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------- identities of chains
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_ddim_with_eta_1_is_ddpm(schedule):
    D, x = two_modes(schedule), schedule.prior((50, 1), G(), dtype=f64)
    ours, other = (list(chain(D, x, steps=20, step=step, generator=G(1))) for step in (ddim(1.0), ddpm()))
    for f, g in zip(ours, other, strict=True):
        assert_close(f.x_t, g.x_t, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("step", [euler(), dpm_pp_1()], ids=["euler", "dpm++1"])
def test_ddim_is_euler_and_first_order_dpm_solver(schedule, step):
    D, x = two_modes(schedule), schedule.prior((50, 1), G(), dtype=f64)
    for f, g in zip(chain(D, x, steps=20), chain(D, x, steps=20, step=step), strict=True):
        assert_close(f.x_t, g.x_t, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_last_step_adds_no_noise_and_lands_on_x0_hat(schedule, name):
    frames = list(
        chain(two_modes(schedule), schedule.prior((9, 1), G(), dtype=f64), steps=6, step=STEPS[name], generator=G(1))
    )
    assert_close(frames[-1].x_t, frames[-2].x0_hat)
    assert_close(frames[-1].x0_hat, frames[-1].x_t)


# ---------------------------------------------------------------------------- the same step in HF diffusers, same noise
def follow(D, frames, scheduler, to_theirs=lambda x, t: x, seed=None, order=1, **options):
    """Feed diffusers' scheduler the eps of our denoiser at its own iterates; compare all of them with our frames."""
    x, generator = to_theirs(frames[0].x_t, frames[0].t), G(seed or 0)
    if seed is not None:
        options["generator"] = generator
    for n, ts in enumerate(scheduler.timesteps):
        here = frames[(n + 1) // order] if order == 2 else frames[n]
        alpha = D.schedule(here.t)[0] if to_theirs(torch.ones(()), here.t) != 1 else 1.0
        x = scheduler.step(eps_of(D, (x * alpha).to(f64), here.t), ts, x, **options).prev_sample
        if order == 1 or n % 2 == 1 or n == len(scheduler.timesteps) - 1:
            after = frames[n // order + 1]
            assert_close(x.to(f64), to_theirs(after.x_t, after.t), rtol=1e-5, atol=1e-5)


HF = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def doubled(scheduler, steps):  # their tables in float64, from the same betas
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=f64)
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = betas, 1 - betas, (1 - betas).cumprod(0)
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("steps", [20, 250])
def test_ddpm_is_diffusers_ddpm(steps):
    from diffusers import DDPMScheduler

    D = two_modes(Discrete.linear())
    frames = list(chain(D, noise(8, 1), steps=steps, step=ddpm(), generator=G(1)))
    follow(D, frames, doubled(DDPMScheduler(**HF, clip_sample=False, timestep_spacing="trailing"), steps), seed=1)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_diffusers_ddim(eta):
    from diffusers import DDIMScheduler

    D = two_modes(Discrete.linear())
    frames = list(chain(D, noise(8, 1), steps=50, step=ddim(eta), generator=G(1)))
    follow(D, frames, doubled(DDIMScheduler(**HF, clip_sample=False, timestep_spacing="trailing"), 50), seed=1, eta=eta)


@pytest.mark.parametrize(("order", "step"), [(1, dpm_pp_1()), (2, dpm_pp_2m())])
@pytest.mark.parametrize("steps", [8, 20])
def test_dpm_solver_is_diffusers_dpm_solver(order, step, steps):
    from diffusers import DPMSolverMultistepScheduler

    D = two_modes(Discrete.linear())
    theirs = DPMSolverMultistepScheduler(
        **HF, solver_order=order, timestep_spacing="trailing", final_sigmas_type="zero"
    )
    follow(D, list(chain(D, noise(8, 1), steps=steps, step=step)), doubled(theirs, steps))


@pytest.mark.parametrize(
    ("name", "order", "step"), [("EulerDiscreteScheduler", 1, euler()), ("HeunDiscreteScheduler", 2, heun())]
)
def test_euler_and_heun_are_diffusers_in_x_over_alpha(name, order, step):
    import diffusers

    D, theirs = two_modes(Discrete.linear()), getattr(diffusers, name)(**HF, timestep_spacing="trailing")
    theirs.set_timesteps(20)
    frames = list(chain(D, noise(8, 1), steps=20, step=step))
    follow(D, frames, theirs, to_theirs=lambda x, t: x / D.schedule(t)[0], order=order)


@pytest.mark.parametrize("churn", [0.0, 4.0])
def test_edm_euler_with_churn_is_diffusers_and_the_network_sees_the_raised_level(churn):
    from diffusers import EDMEulerScheduler

    schedule, K, seen = Karras(), 18, []
    exact = two_modes(schedule)
    D = Function(lambda x, t, cond=None: seen.append((x, t)) or exact(x, t), schedule)
    frames = list(chain(D, schedule.prior((8, 1), G(), dtype=f64), steps=K, step=euler(churn / K), generator=G(1)))
    theirs, generator = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5), G(1)
    theirs.set_timesteps(K)
    for n, ts in enumerate(theirs.timesteps):
        x_hat, t_hat = seen[n]
        sigma = schedule(t_hat)[1]
        assert_close(sigma, schedule(frames[n].t)[1] * (1 + churn / K))
        F = (exact(x_hat, t_hat) - 0.25 / (sigma**2 + 0.25) * x_hat) * torch.sqrt(sigma**2 + 0.25) / (sigma * 0.5)
        x_s = theirs.step(F, ts, frames[n].x_t, s_churn=churn, generator=generator).prev_sample
        assert_close(x_s.to(f64), frames[n + 1].x_t, rtol=2e-5, atol=2e-5)


def test_rectified_flow_is_diffusers_flow_matching_euler():
    from diffusers import FlowMatchEulerDiscreteScheduler

    D, theirs, x = two_modes(Rectified()), FlowMatchEulerDiscreteScheduler(), noise(8, 1)
    theirs.set_timesteps(sigmas=torch.linspace(1, 0.1, 10).numpy())
    frames = list(chain(D, x, steps=10, step=euler()))
    for f, g, ts in zip(frames, frames[1:], theirs.timesteps, strict=False):
        x = theirs.step((f.x_t - f.x0_hat) / f.t, ts, x).prev_sample  # the velocity eps - x_0
        assert_close(x.to(f64), g.x_t, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------------------- exact flows, laws
def gaussian_flow(schedule, x, t, s, mean=0.5, sd=0.4):
    """The probability-flow ODE of N(mean, sd^2) keeps the quantile (x_t - alpha_t mean) / std(x_t)."""
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    return a_s * mean + (x - a_t * mean) * torch.sqrt((a_s**2 * sd**2 + s_s**2) / (a_t**2 * sd**2 + s_t**2))


ORDERS = [("ddim", 1), ("euler", 1), ("dpm++1", 1), ("heun", 2), ("dpm++2m", 2)]


@pytest.mark.parametrize(("name", "order"), ORDERS)
@pytest.mark.parametrize("schedule", [Linear(), Rectified(), Karras(sigma_max=10.0)], ids=repr)
def test_each_solver_converges_at_its_order(schedule, name, order):
    D, x, ends = GaussianDenoiser([0.5], schedule, std=0.4), noise(20, 1), torch.tensor([0.9, 0.2], dtype=f64)
    exact = gaussian_flow(schedule, x, *ends)
    error = [
        (sample(D, x, steps=torch.linspace(*ends.tolist(), K + 1, dtype=f64), step=STEPS[name]) - exact).abs().mean()
        for K in (150, 300)
    ]
    assert math.log2(error[0] / error[1]) == pytest.approx(order, abs=0.2)


def test_the_flow_of_a_gaussian_is_its_consistency_map():
    D, x = GaussianDenoiser([0.0], Karras(), std=0.5), 80 * noise(50, 1)
    assert_close(sample(D, x, steps=300, step=heun()), x * 0.5 / math.sqrt(0.25 + 80**2), rtol=1e-3, atol=1e-4)


def test_the_flow_to_a_single_point_is_a_straight_line():
    D, x = Function(lambda x, t, cond=None: torch.full_like(x, 2.0), Rectified()), noise(5, 1)
    for frame in chain(D, x, steps=4):
        assert_close(frame.x_t, (1 - frame.t) * 2.0 + frame.t * x)


SHARES = [
    ("ddpm", Linear(), 250),
    ("ddpm", Cosine(), 250),
    ("ddim", Cosine(), 100),
    ("dpm++2m", Cosine(), 50),
    ("heun", Karras(), 30),
    ("heun churn", Karras(), 60),
    ("dpm++2m", Karras(), 30),
    ("ddim", Rectified(), 100),
    ("ddpm", Discrete.linear(), 250),
]


@pytest.mark.parametrize(("name", "schedule", "K"), SHARES)
def test_samples_have_the_modes_the_spread_and_the_minor_modes_share_of_the_data(name, schedule, K):
    n, D = 4_000, two_modes(schedule)
    x = sample(D, schedule.prior((n, 1), G(1), dtype=f64), steps=K, step=STEPS[name], generator=G(2))[:, 0]
    left = x < 0
    assert abs(left.double().mean() - 0.2) < 5 * math.sqrt(0.16 / n)
    for part, mean in ((x[left], -1.0), (x[~left], 1.0)):
        assert abs(part.mean() - mean) < 5 * 0.15 / math.sqrt(len(part)) + 0.005
        assert abs(part.std() / 0.15 - 1) < 5 / math.sqrt(2 * len(part)) + 0.1  # the rest is the solver's own error
    floor = [(D.sample(n, G(s), f64).sort(0)[0] - D.sample(n, G(s + 9), f64).sort(0)[0]).abs().mean() for s in range(5)]
    assert (x.sort()[0] - D.sample(n, G(3), f64)[:, 0].sort()[0]).abs().mean() < 3 * max(floor)  # distance W1


def test_noise_that_is_too_small_at_the_start_loses_the_minor_mode():
    D = two_modes(Karras())
    share = [
        (sample(D, x, steps=30, step=heun()) < 0).double().mean()
        for x in (noise(2000, 1), Karras().prior((2000, 1), G(), dtype=f64))
    ]
    assert share[0] == 0 and abs(share[1] - 0.2) < 5 * math.sqrt(0.16 / 2000)


@pytest.mark.parametrize(("steps", "schedule"), [(10, Linear()), (20, Cosine())])
def test_few_steps_of_2m_keep_the_spread_since_the_last_one_has_order_1(steps, schedule):
    x = sample(two_modes(schedule), noise(5000, 1), steps=steps, step=dpm_pp_2m())
    assert 0.11 < x[x > 0].std() < 0.17


def test_ddpms_own_betas_with_few_steps_do_not_reach_the_data():  # x_T ~ N(0, 1) is not what 20 of them lead to
    D = {s: MixtureDenoiser([0.5, 0.5], [[1.7], [2.3]], s, std=0.15) for s in (Discrete.linear(20), Linear())}
    few, enough = (sample(D[s], noise(4000, 1), steps=20, step=ddpm(), generator=G(1)) for s in D)
    assert abs((few > 2).double().mean() - 0.5) > 0.3 and abs((enough > 2).double().mean() - 0.5) < 0.05


# --------------------------------------------------------------------------------------------------- levels by position
@pytest.mark.parametrize("name", ["ddim", "heun", "dpm++2m", "dpm++1", "ddpm"])
def test_known_entries_at_level_0_make_the_chain_exactly_conditional(name):
    H, schedule, x = 7, Cosine(), noise(3, 7, 1)
    motion, bridge = brownian_motion(H, schedule, start_std=3.0), brownian_bridge(H, [0.5], [2.0], schedule)
    x[:, 0], x[:, -1] = 0.5, 2.0
    grid = schedule.grid(12)[:, None, None].repeat(1, 3, H)
    grid[..., [0, -1]] = 0
    ours = sample(motion, x, steps=grid, step=STEPS[name], generator=G(1))
    exact = sample(bridge, x, steps=12, step=STEPS[name], generator=G(1))
    assert_close(ours[:, 1:-1], exact[:, 1:-1], rtol=1e-6, atol=1e-6)
    assert_close(ours[:, [0, -1]], x[:, [0, -1]])


def test_rows_and_positions_may_finish_one_after_the_other():
    K, H, n, D = 100, 5, 2000, brownian_motion(5, Cosine())
    delay = torch.arange(H, dtype=f64) / (2 * H)  # the far end of the plan lags behind
    u = torch.linspace(0, 1 + delay[-1].item(), K + 1, dtype=f64)[:, None, None]
    grid = (1 - (u - delay).clamp(0, 1)).expand(K + 1, n, H)
    x = sample(D, noise(n, H, 1), steps=grid, step=ddpm(), generator=G(1))[..., 0]
    se = math.sqrt(2 / n) * D.cov[0].diagonal()
    assert ((x.var(0) - D.cov[0].diagonal()).abs() < 5 * se + 0.08 * D.cov[0].diagonal()).all()


def test_what_rests_stays_bit_for_bit_and_one_grid_for_all_plans_is_that_grid_for_each():
    H, x = 5, noise(3, 5, 1).float()
    row = Cosine().grid(6)[:, None].repeat(1, H)
    row[:3, 1], row[:, 0], row[4:, 3] = 1.0, 0.0, row[4, 3]
    row = row.cummin(0).values
    for name, step in STEPS.items():
        D = brownian_motion(H, Cosine())
        one = list(chain(D, x, steps=row[:, None], step=step, generator=G()))
        each = list(chain(D, x, steps=row[:, None].expand(-1, 3, -1), step=step, generator=G()))
        for k, (f, g) in enumerate(zip(one, each, strict=True)):
            assert torch.equal(f.x_t, g.x_t) and torch.equal(f.t, g.t)
            if k:
                rests = row[k] == row[k - 1]
                assert rests.any() and torch.equal(f.x_t[:, rests], one[k - 1].x_t[:, rests]), name


# ------------------------------------------------------------------------------------------------ arguments, precision
@pytest.mark.parametrize("name", STEPS)
def test_a_number_of_steps_a_tensor_an_array_and_a_list_are_one_grid(name):
    D, x, grid = two_modes(Cosine()), noise(5, 1), Cosine().grid(4)
    wanted = sample(D, x, steps=4, step=STEPS[name], generator=G())
    rows = grid[:, None].expand(-1, 5)
    for steps in (np.int64(4), grid, grid.numpy(), grid.tolist(), tuple(grid), list(grid)):
        assert torch.equal(sample(D, x, steps=steps, step=STEPS[name], generator=G()), wanted)
    by_row = sample(D, x, steps=rows, step=STEPS[name], generator=G())
    for steps in (rows.numpy(), rows.tolist(), list(rows), grid.reshape(-1, 1)):
        assert torch.equal(sample(D, x, steps=steps, step=STEPS[name], generator=G()), by_row)
    assert torch.equal(sample(D, x.numpy(), steps=4, step=STEPS[name], generator=G()), wanted)


@pytest.mark.parametrize(
    "steps", [4.0, True, None, "4", {}, object(), [], 1 + 2j, [[1.0], [0.5, 0.0]], ["1", "0"], [1.0]]
)
def test_steps_of_another_kind_are_refused_with_what_they_may_be(steps):
    with pytest.raises(ValueError, match="steps is a whole number|must be a tensor, an array or numbers|at least two"):
        sample(two_modes(Linear()), noise(3, 1), steps=steps)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize(("dtype", "eps"), [(torch.float16, 2**-10), (torch.bfloat16, 2**-7)])
def test_the_exact_denoisers_in_half_precision_are_those_of_float32_rounded(schedule, dtype, eps):
    data = noise(9, 2).float()
    for D in (
        MixtureDenoiser([0.2, 0.8], [[-1.0, 0.0], [1.0, 0.5]], schedule, std=0.015),
        GaussianDenoiser([0.0, 1.0], schedule, cov=[[1.0, 0.5], [0.5, 1.0]]),
        EmpiricalDenoiser(data, schedule),
    ):
        for t in (0.02, 0.5, 1.0, torch.full((40,), 0.97), torch.full((40, 2), 0.97)):
            x = schedule.prior((40, 2), G(), dtype=dtype)
            for autocast in (False, True):
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                    assert torch.equal(D(x, t), D(x.float(), t).to(dtype))
        x = sample(D, schedule.prior((40, 2), G(), dtype=dtype), steps=20)
        assert x.dtype == dtype and x.isfinite().all()
        f32 = sample(D, schedule.prior((40, 2), G(), dtype=dtype).float(), steps=20)
        assert ((x.float() - f32).abs() < 60 * eps).double().mean() > 0.9  # a few change their mode


# --------------------------------------------------------------------------------------------------------- the recorder
def test_a_frame_holds_the_denoisers_opinion_of_its_iterate():
    D = two_modes(Linear())
    frames = list(chain(D, noise(5, 1), steps=8))
    assert [f.t.item() for f in frames] == Linear().grid(8).tolist()
    for f in frames[:-1]:
        assert_close(f.x0_hat, D(f.x_t, f.t))
    assert_close(frames[-1].x_t, sample(D, noise(5, 1), steps=8))


def test_a_chain_is_lazy_and_keeps_no_frame_alive():
    calls, alive = [], []
    D = Function(lambda x, t, cond=None: calls.append(t) or x * 0.5, Linear())
    for n, frame in enumerate(chain(D, noise(4, 1), steps=40, step=dpm_pp_2m())):
        assert len(calls) == min(n + 1, 40)
        assert frame.x_t.shape == (4, 1)  # one plan a frame: the history is the caller's list
        alive.append(weakref.ref(frame.x_t))
    assert sum(ref() is not None for ref in alive) <= 3


@pytest.mark.parametrize("grad", [False, True])
def test_no_grad_stands_around_the_step_and_never_around_the_callers_code(grad):
    inner, x = [], noise(4, 1).requires_grad_()
    D = Function(lambda x, t, cond=None: inner.append(torch.is_grad_enabled()) or x * 0.5, Linear())
    for frame in chain(D, x, steps=4, grad=grad):
        assert torch.is_grad_enabled()
        last = frame.x_t.requires_grad
    assert inner == 4 * [grad] and last == grad


def test_an_abandoned_chain_leaves_autograd_as_it_was():
    frames = chain(two_modes(Linear()), noise(4, 1), steps=4)
    next(frames)
    frames.close()
    assert torch.is_grad_enabled()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)).double()

    def forward(self, x, label, cond=None):
        return self.layers(torch.cat([x, label[:, None]], -1))


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("schedule", [Cosine(), Karras(sigma_max=3.0)], ids=repr)
def test_the_derivative_through_the_chain_is_that_of_finite_differences(schedule, name):
    torch.manual_seed(0)
    D = NeuralDenoiser(Net(), schedule, "x0")
    x = schedule.prior((2, 2), G(), dtype=f64).requires_grad_()
    weight = D.net.layers[2].weight

    def run(x, _):
        return sample(D, x, steps=4, step=STEPS[name], generator=G(1), grad=True)

    torch.autograd.gradcheck(run, (x, weight), atol=1e-6)


@pytest.mark.parametrize("name", STEPS)
def test_a_chain_is_a_function_of_its_generator(name):
    D, x = two_modes(Linear()), noise(5, 1)
    first, again, other = (sample(D, x, steps=5, step=STEPS[name], generator=G(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in ("ddim", "euler", "heun", "dpm++1", "dpm++2m"))


@pytest.mark.parametrize(
    "grid",
    [
        [0.0, 1.0],
        [1.0, 0.5, 0.5, 0.0],
        [1.0, 0.2, 0.4, 0.0],
        [1.5, 0.0],
        [1.0],
        [[1.0, 1.0], [0.0, 0.0]],
        [[1.0] * 5, [0.5] * 5, [0.5] * 5],
    ],
)
def test_a_grid_that_rises_repeats_a_time_or_does_not_fit_is_refused(grid):
    with pytest.raises(ValueError, match="got|twice"):
        list(chain(two_modes(Linear()), noise(5, 1), steps=torch.tensor(grid)))


@pytest.mark.parametrize("make", [lambda: ddim(-0.1), lambda: heun(-1), lambda: euler(-1)])
def test_negative_noise_is_refused(make):
    with pytest.raises(ValueError, match="negative"):
        make()
