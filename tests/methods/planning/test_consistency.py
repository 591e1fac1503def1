"""Consistency plans: a Gaussian's consistency function is known, keeps its value along the flow, and is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Cosine, GaussianDenoiser, chain, cosine_decay, descend, sample, seeded
from diffrl_lab.methods.planning import consistency, diffuser
from diffrl_lab.methods.planning.consistency import Agent, Config, Consistency, disagreement, renewed, train, ways
from diffrl_lab.methods.planning.diffuser import Diffuser, Pieces, known_ends
from diffrl_lab.worlds.driving import Follower

TINY = Config(levels=4, pairs=40, width=48, updates=8, batch=16)
TEACHER = diffuser.Config(horizon=8, width=32, depth=1, channels=8, candidates=4)
MEAN, STD = 0.4, 0.3


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


def teacher(seed: int = 0) -> Diffuser:
    return seeded(seed, Diffuser, TEACHER, 4, 2)


def exactly(x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
    """The consistency function of N(MEAN, STD^2): deviations from the mean keep their place along the flow."""
    alpha, sigma = (torch.as_tensor(v, dtype=x.dtype) for v in Cosine()(torch.as_tensor(t).double()))
    alpha, sigma = (v.reshape(-1, *[1] * (x.ndim - 1)) if v.ndim else v for v in (alpha, sigma))
    return MEAN + STD * (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2).sqrt()


def gaussian_ways(levels: int, n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ways of the exact flow of N(MEAN, STD^2) in each of 8 numbers, [n, levels + 1, 8], and their times."""
    D = GaussianDenoiser(torch.full((8,), MEAN), Cosine(), std=STD)
    x_T = torch.randn(n, 8, generator=g, dtype=torch.float64)
    frames = list(chain(D, x_T, steps=levels))
    return torch.stack([f.x_t for f in frames], 1), torch.stack([f.t for f in frames])


def test_the_known_consistency_function_of_a_gaussian_agrees_with_itself_and_its_denoiser_does_not() -> None:
    g = torch.Generator().manual_seed(0)
    D = GaussianDenoiser(torch.full((8,), MEAN), Cosine(), std=STD)
    lost = {}
    for levels in (50, 400):
        x, times = gaussian_ways(levels, 400, g)
        i, none = torch.randint(0, levels, (400,), generator=g), torch.zeros(400, 8, dtype=torch.bool)
        j = i + 1 + (torch.rand(400, generator=g) * (levels - i)).long()
        lost[levels] = float(disagreement(exactly, x, i, j, times, none))
        mean = disagreement(lambda x, t, cond: D(x, t), x, i, j, times, none)
        assert lost[levels] < float(mean) / 5, "E[x_0 | x_t] changes along a way"
    assert lost[400] < lost[50] / 8 and lost[400] < 1e-6, lost
    x_T = torch.randn(500, 8, generator=g, dtype=torch.float64)
    assert_close(exactly(x_T, torch.tensor(1.0)), sample(D, x_T, steps=800), rtol=0, atol=0.01)


def test_at_time_0_the_point_itself_teaches_and_no_gradient_goes_through_the_teacher() -> None:
    x = torch.randn(4, 3, 8, 5, generator=torch.Generator().manual_seed(0))
    times, none = torch.tensor([1.0, 0.5, 0.0]), torch.zeros(4, 8, 5, dtype=torch.bool)
    i = torch.zeros(4, dtype=torch.long)
    w = torch.tensor(2.0, requires_grad=True)
    f = lambda x, t, cond: w * x  # noqa: E731
    assert_close(disagreement(f, x, i, i + 2, times, none), (2 * x[:, 0] - x[:, 2]).square().mean())
    lost = disagreement(f, x, i, i + 1, times, none)
    assert_close(lost, (2 * x[:, 0] - 2 * x[:, 1]).square().mean())
    lost.backward()
    assert_close(w.grad, (2 * (2 * x[:, 0] - 2 * x[:, 1]) * x[:, 0]).mean())


def test_one_evaluation_of_a_trained_network_has_the_spread_of_the_law_and_known_entries_teach_nothing() -> None:
    """Of N(MEAN, STD^2) in each number one step of DDIM gives the mean; this gives the flow's own map."""
    c, g = Config(levels=8, width=96, batch=128), torch.Generator().manual_seed(1)
    model = Consistency.of(teacher(), c)
    x, times = gaussian_ways(c.levels, 2000, g)
    x, f = torch.nn.functional.pad(x.float()[..., None].repeat(1, 1, 1, 5), (0, 0)), model.planner.denoiser
    none = torch.zeros(c.batch, 8, 5, dtype=torch.bool)

    def loss(_: Any) -> dict[str, Tensor]:
        return model.loss({"x": x[torch.randint(0, len(x), (c.batch,), generator=g)], "known": none}, g)

    update: Any = descend(loss, f, lr=3e-3, schedule=cosine_decay(600), ema=0.98)
    for _ in range(600):
        update(None)
    z = x[:500, 0]
    with torch.no_grad():
        got = update.ema.module(z, torch.ones(()), {"known": none[:1].expand(500, -1, -1)})
    assert float((got - (MEAN + STD * z)).square().mean().sqrt()) < 0.5 * STD
    assert 0.7 * STD < float(got.std()) < 1.2 * STD
    i, row, j = torch.zeros(c.batch, dtype=torch.long), x[: c.batch], torch.ones(c.batch, dtype=torch.long)
    some = none.clone()
    some[:, 0] = True
    spoiled = row.clone()
    spoiled[:, :, 0] = 1e3
    constant = lambda x, t, cond: x  # noqa: E731
    assert_close(disagreement(constant, row, i, j, times, some), disagreement(constant, spoiled, i, j, times, some))


def test_the_ways_are_the_teachers_from_noise_to_its_plans_between_any_two_ends() -> None:
    model, c = teacher(), TINY
    pieces = Pieces(field(), diffuser.Config(**{**vars(TEACHER), "batch": 20}), torch.Generator().manual_seed(0))
    found = ways(model, pieces, c, torch.Generator().manual_seed(1))
    x, known = found["x"], found["known"]
    assert len(x) == c.pairs and x.shape[1] == c.levels + 1
    held = known[:, None].expand_as(x)
    assert torch.equal(x[held], x[:, -1:].expand_as(x)[held])
    free = x[:, 0][~known]
    assert abs(float(free.mean())) < 5 / len(free) ** 0.5 and abs(float(free.std()) - 1) < 5 / len(free) ** 0.5
    D = consistency.pin(consistency.given(model.denoiser, {"known": known}), known, x[:, -1])
    again = sample(D, x[:, 0], steps=c.levels)
    assert_close(torch.where(known, x[:, -1], again), x[:, -1], rtol=0, atol=1e-5)


def test_a_renewed_step_has_the_law_of_its_level_and_ends_at_the_answer() -> None:
    D, g = GaussianDenoiser(torch.zeros(1), Cosine(), std=1e-3), torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, generator=g, dtype=torch.float64)
    half, end, _ = renewed()(D, x, torch.tensor(1.0), torch.tensor(0.5), None, g)
    sigma = float(Cosine()(0.5)[1])
    assert abs(float(half.std()) / sigma - 1) < 5 / 200 and abs(float((half * x).mean())) < 5 * sigma / 141
    last, end, _ = renewed()(D, half, torch.tensor(0.5), torch.tensor(0.0), None, g)
    assert torch.equal(last, end)


def test_a_stopped_training_goes_on_bit_for_bit_and_what_is_saved_plans_alike(tmp_path: Path) -> None:
    whole, part, rest = (train(field(), TINY, teacher=teacher(), seed=1) for _ in range(3))
    list(whole)
    for row in part:
        if row["step"] == 5:
            break
    part.save(tmp_path / "part")
    rest.load(tmp_path / "part")
    list(rest)
    want, got = whole.model.state_dict(), rest.model.state_dict()
    assert all(torch.equal(want[k], got[k]) for k in want)
    whole.model.save(tmp_path / "weights")
    back = Consistency.load(tmp_path / "weights")
    draws = [
        m.sample([[0.0] * 4], [[1.0, 1.0]], n=3, generator=torch.Generator().manual_seed(0))
        for m in (whole.model, back)
    ]
    assert_close(draws[0], draws[1], atol=0.05, rtol=0.02)


def test_a_plan_begins_and_ends_where_it_was_told_and_a_teacher_of_another_kind_is_refused() -> None:
    run = train(field(), TINY, teacher=teacher())
    list(run)
    model: Any = run.model
    start, goal = [0.5, -1.0, 0.0, 0.2], [1.0, 2.0]
    for steps in (None, 3):
        plan = model.plan(start, goal, 3, torch.Generator().manual_seed(0), steps=steps)
        assert_close(plan.candidates[:, 0], torch.tensor([start] * 3), atol=1e-5, rtol=0)
        assert_close(plan.candidates[:, -1, :2], torch.tensor([goal] * 3), atol=1e-5, rtol=0)
        assert float(plan.candidates[:, 4].std(0).min()) > 1e-4, "from noise of their own"
    known, value = model.planner.ends(start, goal)
    assert torch.equal(known, known_ends(value, 2))
    agent = Agent(model)
    assert isinstance(agent, Follower) and model.route(start, goal, 0).shape[1] == 4
    wrong: Any = model
    with pytest.raises(ValueError, match="the teacher is a Diffuser"):
        Consistency.of(wrong)
    with pytest.raises(ValueError, match="one at least"):
        Config(levels=0)
