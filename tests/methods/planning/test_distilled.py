"""The distilled planner: on a Gaussian what it is taught is known in closed form, and so is the map that it reaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    Function,
    GaussianDenoiser,
    MixtureDenoiser,
    cosine_decay,
    ddim,
    descend,
    fit,
    given,
    pin,
    sample,
)
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser, windows
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces
from diffrl_lab.methods.planning.distilled import Agent, Config, Distilled, jumps, train, ways
from diffrl_lab.worlds.driving import Follower

S = Cosine()
SMALL = diffuser.Config(horizon=8, width=48, depth=1, channels=8, updates=8, batch=32, denoising=3, candidates=4)
FREE = replace(SMALL, free=1.0)  # nothing is known: the law of all plans
FEW = Config(updates=6, pairs=64, batch=16, detail=2)


def field(episodes: int = 40, seed: int = 0) -> Episodes:
    """Drives in an open field at constant speed, then rest. dt = 0.01."""
    rng = np.random.default_rng(seed)
    share = np.minimum(np.arange(41) / 30, 1)[:, None]
    rows = []
    for _ in range(episodes):
        a, b = rng.uniform(-3, 3, (2, 2))
        obs = np.concatenate([a + share * (b - a), (b - a) / 0.3 * (share < 1)], 1).astype(np.float32)
        rows.append((obs, np.zeros((40, 2), np.float32), np.zeros(40), False))
    return Episodes.join(rows)


def trained(config: diffuser.Config = SMALL, seed: int = 0) -> Diffuser:
    run = diffuser.train(field(), config, seed=seed)
    for _ in run:
        pass
    return run.model


def pieces(batch: int, config: diffuser.Config = SMALL) -> Pieces:
    return Pieces(field(), replace(config, batch=batch), torch.Generator().manual_seed(0))


def gaussian(mean: Tensor, std: Tensor) -> MixtureDenoiser:
    return GaussianDenoiser(mean, S, cov=torch.diag(std.double().flatten() ** 2))


def carried(x: Tensor, t: float, s: float, mean: Tensor, std: Tensor) -> Tensor:
    """The probability-flow ODE of N(mean, std^2) from t to s: deviations from the mean keep their place."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ([float(v) for v in S(u)] for u in (t, s))
    spread_t, spread_s = (
        (alpha**2 * std**2 + sigma**2).sqrt() for alpha, sigma in ((alpha_t, sigma_t), (alpha_s, sigma_s))
    )
    return alpha_s * mean + spread_s / spread_t * (x - alpha_t * mean)


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.0), (1.0, 0.5), (0.5, 0.0), (0.7, 0.2)])
def test_on_a_gaussian_a_jump_is_the_map_of_the_probability_flow_in_closed_form(t: float, s: float) -> None:
    g = torch.Generator().manual_seed(0)
    mean, std = torch.randn(3, 2, generator=g).double(), torch.rand(3, 2, generator=g).double() + 0.2
    x = torch.randn(50, 3, 2, generator=g, dtype=torch.float64)
    x0_hat = jumps(gaussian(mean, std), x, t, s, 800)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ([float(v) for v in S(u)] for u in (t, s))
    stepped = alpha_s * x0_hat + sigma_s * (x - alpha_t * x0_hat) / sigma_t  # one DDIM step with it
    assert_close(stepped, carried(x, t, s, mean, std), rtol=0, atol=6e-3)
    if s == 0:
        assert_close(
            x0_hat, mean + std / (alpha_t**2 * std**2 + sigma_t**2).sqrt() * (x - alpha_t * mean), rtol=0, atol=6e-3
        )


def test_a_jump_of_one_step_is_what_the_denoiser_says_itself() -> None:
    D, x = gaussian(torch.ones(2), torch.tensor([0.5, 2.0])), torch.randn(9, 2, dtype=torch.float64)
    for t, s in ((1.0, 0.0), (0.6, 0.3)):
        assert_close(jumps(D, x, t, s, 1), D(x, torch.tensor(t, dtype=torch.float64)), rtol=0, atol=1e-9)


def exact_teacher(std: Tensor) -> Diffuser:
    """A planner of 8 points whose denoiser is exact, of N(0, std^2), whatever is known."""

    def D(x_t: Tensor, t: Tensor, cond: Any) -> Tensor:
        alpha, sigma = (float(v) for v in S(t))
        return alpha * std**2 / (alpha**2 * std**2 + sigma**2) * x_t

    return weights.around(diffuser.train(field(), FREE).model, denoiser=Function(D, S))


@pytest.mark.parametrize("denoising", [1, 2])
def test_the_student_of_an_exact_denoiser_reaches_the_probability_flow_of_its_gaussian(denoising: int) -> None:
    std = torch.linspace(0.3, 1.5, 40).view(8, 5)
    c = Config(denoising=denoising, detail=60, pairs=4000, updates=500, batch=128, lr=5e-3)
    data = ways(exact_teacher(std), pieces(32, FREE), c, torch.Generator())
    teacher = trained(FREE)  # for its network, which saw another law
    model = Distilled.of(teacher, c)
    update = descend(
        lambda b: model.loss(b, torch.Generator()),
        model.planner.denoiser,
        lr=c.lr,
        schedule=cosine_decay(c.updates),
        ema=c.ema,
    )
    for _ in fit(update, Batches(data, c.batch, torch.Generator().manual_seed(1)), c.updates):
        pass
    x = torch.randn(500, 8, 5, generator=torch.Generator().manual_seed(9))
    known = {"known": torch.zeros(8, 5, dtype=torch.bool)}

    def off(D: Any) -> float:
        ends = sample(given(D, known), x, steps=denoising)
        return float((ends - std * x).square().mean().sqrt() / (std * x).square().mean().sqrt())

    with torch.no_grad():
        before, after = off(teacher.denoiser), off(update.ema.module if update.ema else None)
    assert after < 0.15 and before > 0.8, (before, after)


def test_before_its_training_one_step_is_the_teachers_own_step_of_ddim() -> None:
    teacher = trained()
    student = Distilled.of(teacher, Config(denoising=1))
    obs, goal = np.array([1.0, -2.0, 0.5, 0.0]), np.array([-2.0, 1.0])
    mine = student.plan(obs, goal, 6, torch.Generator().manual_seed(3))
    its = teacher.plan(obs, goal, 6, torch.Generator().manual_seed(3), steps=1)
    assert_close(mine.candidates, its.candidates, rtol=0, atol=0)
    assert_close(mine.durations, its.durations, rtol=0, atol=0)
    assert not torch.allclose(its.candidates, teacher.plan(obs, goal, 6, torch.Generator().manual_seed(3)).candidates)


def test_known_entries_hold_in_what_the_student_is_taught_and_in_its_plans() -> None:
    teacher = trained()
    c = replace(FEW, denoising=2)
    data = ways(teacher, pieces(16), c, torch.Generator())
    known = data["known"]
    assert len(known) == 64 and sorted(set(data["t"].tolist())) == [0.5, 1.0] and bool(known.any())
    assert_close(data["x"][known], data["jump"][known], rtol=0, atol=0)
    assert float((data["x"] - data["jump"])[~known].abs().max()) > 0.1
    model = Distilled.of(teacher, c)
    moved = data | {"jump": torch.where(known, data["jump"] + 9, data["jump"])}
    assert_close(model.loss(data, torch.Generator()), model.loss(moved, torch.Generator()), rtol=0, atol=0)
    plan = model.plan([1.0, -2.0, 0.5, 0.0], [-2.0, 1.0])
    assert_close(plan.candidates[:, -1, :2], torch.tensor([-2.0, 1.0]).expand(4, 2), rtol=0, atol=1e-5)


def test_a_way_from_noise_may_have_another_pieces_goal_and_a_noised_piece_keeps_its_own() -> None:
    teacher, c = trained(), replace(FEW, denoising=2, pairs=32, mixed=1.0)
    batch = next(pieces(16))
    z, known = teacher.scaler(batch["x"]), batch["known"]
    data = ways(teacher, pieces(16), c, torch.Generator())
    start, goal = known[:, 0, 0], known[:, -1, 0].roll(-1)
    noise = data["t"] == 1
    assert_close(data["known"][noise][:, -1, 0], goal)
    assert_close(data["x"][noise][start, 0, :4], z[start, 0, :4], rtol=0, atol=0)
    assert_close(data["x"][noise][goal, -1, :2], z.roll(-1, 0)[goal, -1, :2], rtol=0, atol=0)
    alone = ways(teacher, pieces(16), replace(c, mixed=0.0), torch.Generator())
    assert_close(data["known"][~noise], alone["known"][~noise])
    assert_close(alone["known"][noise], known)


def test_what_it_is_taught_is_the_end_of_the_teachers_chain_from_the_same_noise() -> None:
    teacher = trained()
    c = replace(FEW, detail=5)
    data = ways(teacher, pieces(64), c, torch.Generator())
    D = pin(given(teacher.denoiser, {"known": data["known"]}), data["known"], data["x"])
    with torch.no_grad():
        end = sample(D, data["x"], steps=5, step=ddim())
    assert_close(torch.where(data["known"], data["x"], end), data["jump"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [None, 16])
def test_a_stopped_training_goes_on_bit_for_bit_and_what_is_saved_plans_alike(tmp_path: Path, width: Any) -> None:
    teacher, config = trained(), replace(FEW, width=width)
    whole = train(field(), config, teacher=teacher, seed=1)
    losses = [float(row["loss"]) for row in whole]
    first, second = (train(field(), config, teacher=teacher, seed=1) for _ in range(2))
    begun = [float(next(rows)["loss"]) for rows in [iter(first)] for _ in range(3)]
    first.save(tmp_path / "run.safetensors")
    second.load(tmp_path / "run.safetensors")
    assert begun + [float(row["loss"]) for row in second] == losses
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(ValueError, match="another run: it has teacher = "):
        train(field(), config, teacher=trained(seed=5), seed=1).load(tmp_path / "run.safetensors")
    model = whole.model
    model.save(tmp_path / "student.safetensors")
    again = Distilled.load(tmp_path / "student.safetensors")
    again.save(tmp_path / "again.safetensors")
    plans = [m.plan([0.0] * 4, [1.0, 1.0], 3, torch.Generator().manual_seed(0)).candidates
             for m in (again, Distilled.load(tmp_path / "again.safetensors"), model)]  # fmt: skip
    assert_close(plans[0], plans[1], rtol=0, atol=0)
    assert_close(plans[0], plans[2], rtol=0, atol=0.05)  # half precision
    assert again.about["teacher"] == model.about["teacher"] and again.config == config


def test_the_teacher_is_left_as_it_is_and_a_smaller_student_has_its_scaling_and_a_network_of_its_own() -> None:
    teacher = trained()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    run = train(field(), replace(FEW, width=16), teacher=teacher)
    for _ in run:
        pass
    assert all(bool((v == before[k]).all()) for k, v in teacher.state_dict().items())
    mine = run.model.planner
    size, its = (sum(p.numel() for p in m.parameters()) for m in (mine, teacher))
    assert mine.config.width == 16 and size < its
    assert_close(mine.scaler.spread, teacher.scaler.spread)
    assert_close(mine.seconds, teacher.seconds)
    assert isinstance(Agent(run.model), Follower)
    plans = run.model.sample(np.zeros((2, 4)), np.ones((2, 2)), n=3)
    assert tuple(plans.shape) == (2, 3, 8, 5) and bool(plans.isfinite().all())


def test_a_wrong_teacher_and_settings_without_a_step_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="a student's teacher is a Diffuser, such as maze-large; got a Windows"):
        train(field(), FEW, teacher=windows.Windows(windows.Config(horizon=8, width=8), 4, 2))  # type: ignore[arg-type]
    three = Episodes.join([(np.zeros((41, 6), np.float32), np.zeros((40, 3), np.float32), np.zeros(40), False)])
    with pytest.raises(ValueError, match=r"plans for \{'obs': 4, 'act': 2\}, the recording has \{'obs': 6, 'act': 3\}"):
        train(three, FEW, teacher=trained())
    with pytest.raises(ValueError, match="a step at least, got 0 and 10"):
        Config(denoising=0)
    with pytest.raises(ValueError, match="4 steps need as many pairs at least, got 3"):
        Config(denoising=4, pairs=3)
