"""Levels of one's own: the grid in which points take turns, its exact law, what the loss draws, and resuming."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Cosine, Function, chain, ddim, sample
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.forcing import Agent, Config, Forcing, levels, train

TINY = Config(horizon=8, width=8, updates=6, batch=16, denoising=4, lag=1.0, candidates=4)


def field(episodes: int = 40, steps: int = 40, seed: int = 0) -> Episodes:
    """Drives in an open field, at constant speed from a random place to another one. dt = 0.01."""
    rng, rows, share = np.random.default_rng(seed), [], np.arange(steps + 1)[:, None] / steps
    for _ in range(episodes):
        a, b = rng.uniform(-3, 3, (2, 2))
        obs = np.concatenate([a + share * (b - a), np.ones_like(share) * (b - a) / (steps * 0.01)], 1)
        rows.append((obs.astype(np.float32), np.zeros((steps, 2), np.float32), np.zeros(steps), False))
    return Episodes.join(rows)


@pytest.mark.parametrize("lag", [0.0, 0.4, 1.0, 4.0])
def test_each_point_takes_the_same_times_in_its_turn_and_in_each_row_one_moves(lag: float) -> None:
    times = Cosine().grid(4)
    grid = levels(times, 8, lag)
    assert grid.shape == (5 + round(7 * lag), 1, 8)
    for k in range(8):
        column = grid[:, 0, k]
        assert_close(column[torch.cat([torch.tensor([True]), column.diff() != 0])], times, rtol=0, atol=0)
        assert int((column == 1).sum()) == 1 + round(lag * k)
    assert bool((grid.diff(dim=0) <= 0).all()) and bool((grid.diff(dim=0) < 0).any(-1).all())
    frames = list(chain(Function(lambda x, t, cond=None: 0 * x, Cosine()), torch.ones(3, 8, 2), steps=grid))
    assert len(frames) == len(grid)  # a chain takes it


def test_a_lag_that_leaves_rows_in_which_nothing_moves_is_refused() -> None:
    for lag in (-1.0, 4.5):
        with pytest.raises(ValueError, match="0 to 4 rows after the one before it"):
            levels(Cosine().grid(4), 8, lag)


def _exact(cov: Tensor) -> Function:
    """E[x_0 | x_t] of N(0, cov) over the points of x [B, H, 1]; their levels t [B, H] are alike in all rows."""

    def D(x_t: Tensor, t: Tensor, cond: object = None) -> Tensor:
        alpha, sigma = (v.double() for v in Cosine()(t[0]))
        seen = alpha[:, None] * cov * alpha + torch.diag(sigma**2)
        gain = torch.linalg.solve(seen, alpha[:, None] * cov)
        return (x_t[..., 0].double() @ gain)[..., None].to(x_t)

    return Function(D, Cosine())


@pytest.mark.parametrize("lag", [0.0, 5.5, 100.0])
def test_in_whatever_order_points_are_denoised_the_law_is_the_data_s(lag: float) -> None:
    """Exact, of a Gaussian: all at once, overlapping turns, each point after the one before is finished."""
    at = torch.arange(4).double()
    cov = 0.8 ** (at[:, None] - at).abs()
    g = torch.Generator().manual_seed(0)
    grid = levels(Cosine().grid(100), 4, lag)
    x = sample(_exact(cov), torch.randn(6000, 4, 1, generator=g), steps=grid, step=ddim(1.0), generator=g)
    # an entry's standard error is at most sqrt(2 / 6000) = .018; a hundred steps of each point cost some more
    assert_close(torch.cov(x[..., 0].double().T), cov, rtol=0, atol=0.1)


def test_points_are_trained_at_levels_apart_from_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Forcing(TINY, 4, 2)
    pieces = diffuser.Pieces(field(), diffuser.Config(horizon=8, batch=4000), torch.Generator().manual_seed(0))
    batch = next(pieces)
    seen = {}

    def loss(D, x, **options):
        seen.update(options)
        return x.sum()

    monkeypatch.setattr("diffrl_lab.methods.planning.forcing.denoising_loss", loss)
    model.loss(batch, torch.Generator().manual_seed(0))
    t = seen["t"]
    apart = torch.corrcoef(t.T) - torch.eye(8)
    assert t.shape == (4000, 8) and float(apart.abs().max()) < 5 / 4000**0.5
    assert abs(float(t.mean()) - 0.5) < 0.01 and torch.equal(seen["known"], batch["known"])


def test_a_plan_keeps_its_ends_and_with_no_lag_is_a_chain_of_one_level() -> None:
    model = train(field(), TINY, seed=0).model
    obs, goal = np.array([[0.5, -1, 0.3, 0.2]]), np.array([[1.0, 2.0]])
    for lag in (0.0, 1.0):
        x = model.sample(obs, goal, n=5, lag=lag, generator=torch.Generator().manual_seed(0))[0]
        assert_close(x[:, 0, :4], torch.tensor(obs).float().expand(5, 4))
        assert_close(x[:, -1, :2], torch.tensor(goal).float().expand(5, 2))
    other = weights.around(model, denoiser=Function(lambda x, t, cond: model.denoiser(x, t.max(), cond), Cosine()))
    draws = [m.sample(obs, goal, n=5, lag=0.0, generator=torch.Generator().manual_seed(0)) for m in (model, other)]
    assert_close(*draws)


def test_what_is_known_is_shown_clean_at_every_level_and_said_to_be_known() -> None:
    model, shown = Forcing(TINY, 4, 2), []

    def D(x_t: Tensor, t: Tensor, cond: dict) -> Tensor:
        known = diffuser.known_ends(x_t, 2)
        assert torch.equal(cond["known"].expand(x_t.shape), known)
        shown.append(x_t[known])
        return torch.zeros_like(x_t)

    other = weights.around(model, denoiser=Function(D, Cosine()))
    other.drawn(np.array([[1.0, 2, 3, 4]]), np.array([[5.0, 6]]), torch.Generator().manual_seed(0))
    assert len(shown) == TINY.denoising + TINY.horizon - 1
    for values in shown:
        assert_close(values, torch.tensor([1.0, 2, 3, 4, 5, 6]))


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = train(field(), TINY, seed=1)
    losses = [float(row["loss"]) for row in whole]
    first, second = train(field(), TINY, seed=1), train(field(), TINY, seed=1)
    begun = [float(next(rows)["loss"]) for rows in [iter(first)] for _ in range(3)]
    first.save(tmp_path / "run.safetensors")
    second.load(tmp_path / "run.safetensors")
    assert begun + [float(row["loss"]) for row in second] == losses
    whole.model.save(tmp_path / "w.safetensors")
    again = Forcing.load(tmp_path / "w.safetensors")
    route = again.route(np.zeros(4), np.ones(2), seed=3)
    np.testing.assert_allclose(route[-1, :2], 1, atol=1e-5)
    assert again.config == TINY and Agent(again, most=2).most == 2
