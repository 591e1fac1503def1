"""Decision Diffuser: dropped conditions, their composition against exact densities, inverse dynamics, files."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    Function,
    GaussianDenoiser,
    cfg,
    cosine_decay,
    descend,
    fit,
    heun,
    sample,
    seeded,
)
from diffrl_lab.methods.planning.decision_diffuser import (
    Agent,
    Config,
    DecisionDiffuser,
    InverseDynamics,
    compose,
    conditioned,
    neighbours,
    train,
)

S, f64 = Cosine(), torch.float64
TINY = Config(
    horizon=8,
    width=32,
    depth=1,
    channels=8,
    updates=8,
    batch=16,
    denoising=3,
    candidates=4,
    inverse_width=16,
    inverse_updates=4,
)


# ---------------------------------------------------------------------------------------------------------- composition
def regions(*weights):
    """D(x_t, t, c) for x_0 ~ N(0, I) on a fine grid of the plane, times one region's weight: c [B, 1] numbers it."""
    u = torch.linspace(-4, 4, 49, dtype=f64)
    grid = torch.cartesian_prod(u, u)
    prior = -(grid**2).sum(1) / 2
    log_w = torch.stack([prior, *(prior + w(grid) for w in weights)])

    def D(x, t, cond=None):
        c = torch.zeros(len(x)) if cond is None else torch.nan_to_num(cond[:, 0], nan=0.0)
        alpha, sigma = S(torch.as_tensor(t, dtype=f64))
        log_n = -(x[:, None] - alpha * grid).square().sum(-1) / (2 * sigma**2)
        return (log_n + log_w[c.long()]).softmax(-1) @ grid

    return Function(D, S), grid, log_w


def number(c, n):
    return torch.full((n, 1), float(c), dtype=f64)


def right(x):
    return torch.where(x[:, 0] > 0.5, 0.0, -torch.inf)


def upper(x):
    return torch.where(x[:, 1] > 0.5, 0.0, -torch.inf)


def diagonal(x):
    return torch.where(x.sum(1) > 1, 0.0, -torch.inf)


def noise(n):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=f64)


def test_conditions_on_independent_parts_compose_to_the_exact_denoiser_under_both() -> None:
    D, _, _ = regions(right, upper, lambda x: right(x) + upper(x))
    x = noise(40)
    for t in (0.2, 0.6, 0.95):
        both = compose(D, [(number(1, 40), 1.0), (number(2, 40), 1.0)])(x, torch.tensor(t))
        assert_close(both, D(x, t, number(3, 40)), rtol=0, atol=1e-6)
        one = compose(D, [(number(1, 40), 3.0)])(x, torch.tensor(t))
        assert_close(one, cfg(D, number(1, 40), 3.0)(x, torch.tensor(t)))


def test_and_of_dependent_regions_meets_both_yet_overshoots_their_product_and_not_flees_far_beyond_its_region() -> None:
    D, grid, log_w = regions(right, diagonal)
    n = 150

    def drawn(*terms):
        terms = [(number(c, n), w) for c, w in terms]
        return sample(compose(D, terms), noise(n), steps=12, step=heun())

    def met(x):
        return ((right(x) == 0) & (diagonal(x) == 0)).double().mean()

    one, both, none = drawn((1, 1.0)), drawn((1, 1.0), (2, 1.0)), drawn((1, -1.0))
    assert met(one) < 0.7 < 0.95 < met(both)
    exact = (log_w[0] + right(grid) + diagonal(grid)).softmax(0) @ grid  # p(x | 1) p(x | 2) / p(x) by quadrature
    gap = both.mean(0) - exact
    assert 5 * both.std(0)[0] / n**0.5 < gap[0] < 0.4  # the known gap
    assert (right(none) == 0).double().mean() < 0.1
    outside = (log_w[0] + torch.where(right(grid) == 0, -torch.inf, 0.0)).softmax(0) @ grid
    assert none.mean(0)[0] < outside[0] - 3


def test_composition_calls_the_denoiser_once_and_drops_only_what_is_named() -> None:
    seen = []
    D = Function(lambda x, t, cond: seen.append(cond) or x, S)
    terms = [({"y": number(k, 3), "known": torch.ones(3, 2)}, 1.0) for k in (1, 2)]
    compose(D, terms, drop="y")(torch.zeros(3, 2), torch.tensor(0.5))
    assert len(seen) == 1 and seen[0]["y"][:3].isnan().all() and seen[0]["known"].eq(1).all()
    assert seen[0]["y"][3:, 0].tolist() == [1, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="nothing to compose"):
        compose(D, [])


def test_gaussian_conditions_compose_by_adding_what_they_do_to_the_mean() -> None:
    prior, first, second = (GaussianDenoiser([m], S, std=s) for m, s in ((0.0, 1.0), (1.0, 0.5), (-0.5, 0.8)))
    D = Function(lambda x, t, c: torch.where(c.isnan(), prior(x, t), torch.where(c == 1, first(x, t), second(x, t))), S)
    x, t = noise(5)[:, :1], torch.tensor(0.5, dtype=f64)
    ours = compose(D, [(number(1, 5), 0.7), (number(2, 5), -0.3)])(x, t)
    assert_close(ours, prior(x, t) + 0.7 * (first(x, t) - prior(x, t)) - 0.3 * (second(x, t) - prior(x, t)))


# ------------------------------------------------------------------------------------------------- conditions, learned
def test_not_given_is_a_vector_of_its_own_and_not_a_condition_of_zero() -> None:
    D, x = seeded(0, conditioned, TINY, 5, 2), torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(1)
    for p in D.parameters():  # the corrections start at zero
        torch.nn.init.normal_(p, std=0.2, generator=g)
    t = torch.full((3,), 0.5)

    def at(y):
        return D(x, t, {"known": torch.zeros(8, 5, dtype=torch.bool), "y": y})

    zero, nan = torch.zeros(3, 2), torch.full((3, 2), float("nan"))
    assert (at(zero) - at(nan)).abs().max() > 1e-3
    assert_close(at(nan), D(x, t))
    assert_close(at(torch.tensor([[0.0, float("nan")]] * 3)), at(nan))
    (grad,) = torch.autograd.grad(at(nan).square().sum(), D.net.null)
    assert (grad != 0).all()
    mixed = torch.stack([zero[0], nan[0], zero[0] + 1])
    assert_close(at(mixed)[1], at(nan)[1])
    with pytest.raises(ValueError, match="condition has 2 numbers"):
        at(torch.zeros(3, 3))


def lines(n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Plans that rise from 0 to y, y ~ N(0, 1): [n, 8, 3] (place, pace, log steps) and y [n, 1]."""
    y = torch.randn(n, 1, 1, generator=torch.Generator().manual_seed(0))
    u = torch.linspace(0, 1, 8)[:, None]
    return torch.cat([y * u, y.expand(n, 8, 1), torch.ones(n, 8, 1)], -1), y[:, 0]


def test_plans_follow_the_condition_they_are_given_and_spread_without_it() -> None:
    x, y = lines()
    config = Config(horizon=8, width=64, depth=1, channels=8, updates=400, lr=3e-3, ema=0.98)
    g, dd = torch.Generator().manual_seed(0), seeded(0, DecisionDiffuser, config, 2, 1, 1)
    dd.planner.scaler = scaler = Scaler.fit(x, "standard")
    decay = cosine_decay(400, warmup=40)
    update = descend(lambda b: dd.loss(b, g), dd.planner.denoiser, lr=config.lr, schedule=decay, ema=config.ema)
    known = torch.zeros(128, 8, 3, dtype=torch.bool)
    for _ in range(config.updates):
        i = torch.randint(len(x), (128,), generator=g)
        update({"x": x[i], "known": known, "y": y[i]})
    asked = torch.linspace(-1.5, 1.5, 200)[:, None]
    cond = {"known": known[:1].expand(200, 8, 3), "y": asked}
    x_T = torch.randn(200, 8, 3, generator=torch.Generator().manual_seed(1))
    ends = [scaler.inverse(sample(cfg(update.ema.module, cond, w, ("y",)), x_T, steps=10))[:, -1, 0] for w in (0, 1)]
    free, given = ((end - asked[:, 0]).abs().mean().item() for end in ends)
    assert given < 0.2 < 0.7 < free
    assert ends[0].std() > 0.6


# ------------------------------------------------------------------------------------------- inverse dynamics and files
def saturated(n: int = 80, steps: int = 30) -> Episodes:
    """v' = 0.9 v + 0.2 tanh(2 a), x' = x + 0.2 v': not linear in the action."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(n):
        act, s = rng.uniform(-1, 1, (steps, 1)), [rng.normal(size=2)]
        for a in act[:, 0]:
            v = 0.9 * s[-1][1] + 0.2 * np.tanh(2 * a)
            s.append(np.array([s[-1][0] + 0.2 * v, v]))
        rows.append((np.array(s, np.float32), act.astype(np.float32), np.zeros(steps), False))
    return Episodes.join(rows)


def test_inverse_dynamics_find_the_action_where_no_linear_map_does() -> None:
    episodes = saturated()
    pairs, f = neighbours(episodes), seeded(0, InverseDynamics, 2, 1, 32)
    f.scaler = Scaler.fit(pairs["features"], "standard")
    update = descend(f.loss, f, lr=2e-3, schedule=cosine_decay(1500))
    list(fit(update, Batches(pairs, 256, torch.Generator().manual_seed(0)), 1500))
    rows = (episodes.last == 0).nonzero()[:, 0]
    s, after, a = episodes.obs[rows], episodes.obs[rows + 1], episodes.act[rows]
    linear = torch.cat([torch.ones(len(s), 1), s, after - s], 1)
    fitted = linear @ torch.linalg.lstsq(linear, a).solution
    with torch.no_grad():
        errors = [(found - a).square().mean().sqrt() for found in (f(s, after), fitted)]
    assert errors[0] < 0.6 * errors[1] and errors[0] < 0.08


def method() -> DecisionDiffuser:
    dd = seeded(0, DecisionDiffuser, TINY, 4, 2, 1)
    dd.y_scaler = Scaler(torch.tensor([3.0]), torch.tensor([2.0]))
    return dd


def test_a_saved_method_plans_and_acts_as_before_but_for_half_precision(tmp_path: Path) -> None:
    before = method()
    before.save(tmp_path / "dd.safetensors", note="x")
    after = DecisionDiffuser.load(tmp_path / "dd.safetensors")
    plans = [
        m.plan(np.zeros(4), 5.0, np.ones(2), 4, torch.Generator().manual_seed(0), w=2.0).candidates
        for m in (before, after)
    ]
    assert_close(plans[0], plans[1], rtol=0, atol=0.02)
    assert_close(plans[0][:, 0, :4], torch.zeros(4, 4)), assert_close(plans[0][:, -1, :2], torch.ones(4, 2))
    s = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert_close(before.inverse(s[:, :4], s[:, 4:]), after.inverse(s[:, :4], s[:, 4:]), rtol=0, atol=0.01)
    assert after.about["note"] == "x" and after.config == TINY
    (tmp_path / "other.safetensors").write_bytes((tmp_path / "dd.safetensors").read_bytes()[:100])
    with pytest.raises(ValueError, match="not a whole"):
        DecisionDiffuser.load(tmp_path / "other.safetensors")


def test_noise_of_low_temperature_spreads_plans_less() -> None:
    x, y = lines(400)
    m, g = method(), torch.Generator()
    spread = []
    for temperature in (0.0, 1.0):
        plan = m.plan(np.zeros(4), 3.0, None, 64, g.manual_seed(0), temperature=temperature)
        spread.append(plan.candidates[:, 1:].std(0).mean())
    assert spread[1] > 1.05 * spread[0]


def drives_of(n: int = 20) -> Episodes:
    """Straight drives in the plane at constant speed, each paid by its length."""
    rng, rows = np.random.default_rng(1), []
    for _ in range(n):
        a, b = rng.uniform(-2, 2, (2, 2))
        x = a + np.linspace(0, 1, 26)[:, None] * (b - a)
        v = np.broadcast_to((b - a) / 0.25, x.shape)
        pay = np.full(25, -np.linalg.norm(b - a))
        rows.append((np.concatenate([x, v], 1).astype(np.float32), np.zeros((25, 2), np.float32), pay, False))
    return Episodes.join(rows)


def test_both_networks_are_trained_one_after_the_other_and_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = train(drives_of(), TINY, seed=2)
    losses = [float(row["loss"]) for row in whole]
    assert whole.step == whole.updates == TINY.updates + TINY.inverse_updates
    for stop in (3, 10):
        begun, again = train(drives_of(), TINY, seed=2), train(drives_of(), TINY, seed=2)
        first = [float(row["loss"]) for row in islice(begun, stop)]
        begun.save(tmp_path / "run.safetensors")
        again.load(tmp_path / "run.safetensors")
        assert first + [float(row["loss"]) for row in again] == losses
        for a, b in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_the_agent_does_what_the_inverse_dynamics_say_of_the_plan_s_next_state() -> None:
    model = train(drives_of(), TINY).model
    agent = Agent(model, 0.0)
    agent.reset(np.zeros((1, 4)), [3], np.ones((1, 2)))
    a = agent.act(np.zeros((1, 4)))
    plan = model.plan(np.zeros(4), 0.0, np.ones(2), 1, torch.Generator().manual_seed(3))
    after = torch.tensor(model.planner.reference(plan)[1]).float()[None]
    wanted = model.inverse(torch.zeros(1, 4), after)[0].detach().clamp(-1, 1).double().numpy()
    assert_close(a[0], wanted)
