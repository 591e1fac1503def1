"""Plans through a code: what the code is, that its ends are kept, which part learns what, and that training resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Cosine, Function
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning.latent import Agent, Config, Latent, Pieces, train

TINY = Config(
    horizon=8,
    code=6,
    coder_width=32,
    coder_updates=6,
    width=32,
    depth=2,
    updates=6,
    batch=16,
    denoising=3,
    candidates=4,
)


def field(episodes: int = 60, steps: int = 40, seed: int = 0) -> Episodes:
    """Drives in an open field, at constant speed from a random place to another one. dt = 0.01."""
    rng, rows, share = np.random.default_rng(seed), [], np.arange(steps + 1)[:, None] / steps
    for _ in range(episodes):
        a, b = rng.uniform(-3, 3, (2, 2))
        obs = np.concatenate([a + share * (b - a), np.ones_like(share) * (b - a) / (steps * 0.01)], 1)
        rows.append((obs.astype(np.float32), np.zeros((steps, 2), np.float32), np.zeros(steps), False))
    return Episodes.join(rows)


def test_codes_are_standardised_and_a_code_of_five_numbers_holds_straight_drives() -> None:
    """A straight drive at constant speed is two places and a duration: five numbers. Its mean alone is none."""
    config = replace(TINY, coder_updates=600, batch=128)
    run = train(field(), config, seed=0)
    for row in run:
        if row["step"] == config.coder_updates:
            break
    model = run.model
    x = next(Pieces(field(), replace(config, batch=2000), torch.Generator().manual_seed(9)))["x"]
    z = model.coder.encode(model.scaler(x))
    assert float(z.mean(0).abs().max()) < 0.25 and float((z.std(0) - 1).abs().max()) < 0.25
    lost = (model.reconstructed(x) - x)[..., :2].square().mean()
    assert float(lost) < 0.05 * float((x[..., :2] - x[..., :2].mean(0)).square().mean())


class Linear(nn.Module):
    """A coder whose two maps are one orthogonal basis: what lies in its span is kept exactly."""

    def __init__(self, basis: torch.Tensor, shape: tuple[int, int]):
        super().__init__()
        self.basis, self.shape, self.standard = basis, shape, Scaler.blank(len(basis))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.basis.T

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return (z @ self.basis).view(-1, *self.shape)


def test_a_drawn_plan_is_its_decoded_code_but_for_its_ends_and_says_by_how_much_it_missed_them() -> None:
    basis = torch.linalg.qr(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)))[0].T
    z = torch.linspace(-1, 1, 6)
    known = Function(lambda z_t, t, cond=None: z.expand_as(z_t), Cosine())
    model = weights.around(Latent(TINY, 4, 2), coder=Linear(basis, (8, 5)), denoiser=known)
    decoded = (z @ basis).view(8, 5)
    obs, goal = np.array([[1.0, 2, 3, 4]]), decoded[-1:, :2].numpy() + [[0.0, 5.0]]
    plan, missed = model.drawn(obs, goal, torch.Generator().manual_seed(0))
    assert_close(plan.candidates[0, 1:-1], decoded[1:-1, :4])
    assert_close(plan.candidates[0, 0], torch.tensor(obs[0]).float())
    assert_close(plan.candidates[0, -1, :2], torch.tensor(goal[0]).float())
    assert_close(plan.candidates[0, -1, 2:], decoded[-1, 2:4])
    start = (decoded[0, :2] - torch.tensor([1.0, 2.0])).norm()
    assert_close(missed, torch.maximum(start, torch.tensor(5.0))[None])
    assert_close(plan.durations[0], decoded[:, 4].mean().exp())


def test_the_denoiser_is_told_the_first_state_and_the_last_position_and_the_code_learns_nothing_of_it() -> None:
    model = Latent(TINY, 4, 2)
    x = torch.arange(2 * 8 * 5.0).view(2, 8, 5)
    assert model.asked(x).tolist() == [[0, 1, 2, 3, 35, 36], [40, 41, 42, 43, 75, 76]]
    batch = next(Pieces(field(), TINY, torch.Generator().manual_seed(0)))
    model.loss(batch, torch.Generator().manual_seed(0))["loss"].backward()
    assert all(p.grad is None for p in model.coder.parameters())
    run = train(field(), TINY, seed=0)
    models = [run.model for row in run if row["step"] in (TINY.coder_updates, TINY.coder_updates + TINY.updates)]
    for a, b in zip(*(m.coder.state_dict().values() for m in models), strict=True):
        assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("stopped", [3, 9])
def test_a_training_stopped_in_either_stage_goes_on_bit_for_bit(tmp_path: Path, stopped: int) -> None:
    whole = train(field(), TINY, seed=1)
    losses = [float(row["loss"]) for row in whole]
    first, second = train(field(), TINY, seed=1), train(field(), TINY, seed=1)
    begun = [float(next(rows)["loss"]) for rows in [iter(first)] for _ in range(stopped)]
    first.save(tmp_path / "run.safetensors")
    second.load(tmp_path / "run.safetensors")
    assert begun + [float(row["loss"]) for row in second] == losses and len(losses) == 12
    whole.model.save(tmp_path / "w.safetensors")
    again = Latent.load(tmp_path / "w.safetensors")
    assert again.config == TINY
    route = again.route(np.zeros(4), np.ones(2), seed=3)
    assert_close(torch.tensor(route[-1, :2]), torch.ones(2).double(), rtol=0, atol=1e-5)
    assert Agent(again, most=2).most == 2
