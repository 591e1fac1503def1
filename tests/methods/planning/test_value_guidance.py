"""Value guidance: what its losses learn, what a drive returns, and that the best plan stands first."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Batches, Cosine, Function, MixtureDenoiser, cosine_decay, descend, fit
from diffrl_lab.methods import weights
from diffrl_lab.methods.guides import (
    Guide,
    classifier_loss,
    density_loss,
    log_density,
    log_p,
    noised,
    value_loss,
)
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.diffuser import drives, known_ends
from diffrl_lab.methods.planning.value_guidance import Config, ValueGuidance, scaled, train

S = Cosine()
TWO = MixtureDenoiser([0.3, 0.7], [[-1.0], [1.0]], S, std=0.3)
TINY = diffuser.Config(horizon=8, width=32, depth=1, channels=8, updates=8, batch=16, denoising=3, candidates=4)


def learned(loss, out, y_of):
    x, g, steps = TWO.sample(20_000, torch.Generator().manual_seed(1)), torch.Generator().manual_seed(0), 800
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        J = Guide(1, S, out=out, width=64)
    update = descend(lambda b: loss(J, b, y_of(b[:, 0]), generator=g), J, lr=5e-3, schedule=cosine_decay(steps))
    for _ in fit(update, Batches(x, 512, g), steps):
        pass
    return J.eval()


AT = torch.linspace(-1.5, 1.5, 13)[:, None]


@torch.no_grad()
def test_the_classifier_learns_log_p_of_the_class_given_the_noisy_x_and_the_regressor_its_mean() -> None:
    with torch.enable_grad():
        J, R = learned(classifier_loss, 2, lambda x: (x > 0).long()), learned(value_loss, 1, lambda x: 2.0 * (x > 0))
    for t in (0.3, 0.6, 0.9):  # modes are 6.7 deviations apart, so the class is the component
        x_0, eps = TWO.sample(500, torch.Generator().manual_seed(2)), torch.randn(500, 1, generator=torch.Generator())
        alpha, sigma = S(t)
        x = (alpha * x_0 + sigma * eps).float()
        p = TWO.responsibilities(x, t)[:, 1]
        assert (log_p(J, 1)(x, torch.tensor(t)).exp() - p).square().mean().sqrt() < 0.06
        assert (R(x, torch.full((500,), t)) - 2 * p).square().mean().sqrt() < 0.25


def test_the_density_of_numbers_given_the_noisy_x_is_that_of_the_gaussian_posterior() -> None:
    g, steps = torch.Generator().manual_seed(0), 600
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        J = Guide(1, S, out=2, width=64)
    update = descend(lambda b: density_loss(J, b, b, generator=g), J, lr=3e-3, schedule=cosine_decay(steps))
    for _ in fit(update, Batches(torch.randn(20_000, 1, generator=g), 512, g), steps):
        pass
    t = torch.tensor(0.5)  # x_0 | x_t ~ N(alpha x_t, sigma^2) for data N(0, 1)
    alpha, sigma = S(t)
    with torch.no_grad():
        mean, log_std = J(AT, t).chunk(2, -1)
        assert_close(mean, alpha * AT, rtol=0, atol=0.1)
        assert_close(log_std.exp(), sigma.expand(13, 1), rtol=0, atol=0.08)
        wanted = torch.distributions.Normal(mean, log_std.exp()).log_prob(torch.tensor(0.4))[:, 0]
        found = log_density(J, torch.tensor([0.4]))(AT, t)
        assert_close(found - found[0], wanted - wanted[0])


def test_a_saved_guide_is_the_guide_but_for_half_precision(tmp_path: Path) -> None:
    x = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    J = Guide(6, S, out=2, width=16, sigma_data=0.5)
    J.save(tmp_path / "J.safetensors")
    again = Guide.load(tmp_path / "J.safetensors")
    assert_close(again(x, 0.3), J(x, 0.3), rtol=0, atol=5e-3)
    assert (again(x, 0.3) - Guide(6, S, out=2, width=16)(x, 0.3)).abs().max() > 0.02


def test_a_guide_sees_known_entries_clean_and_supports_share_a_time() -> None:
    x = torch.randn(12, 3, 2, generator=torch.Generator().manual_seed(0))
    known = torch.tensor([True, False, False])[:, None]
    x_t, t = noised(S, x, known, torch.Generator().manual_seed(0), support=4)
    assert_close(x_t[:, 0], x[:, 0])
    assert (x_t[:, 1:] != x[:, 1:]).all() and (t.view(3, 4).diff() == 0).all() and (t.view(3, 4)[:, 0].diff() > 0).all()


def rows(lengths=(20, 30), limit_pay=(1.0, 0.0)) -> Episodes:
    """Straight drives of constant speed whose last 4 steps rest; a step pays -0.5 and the last one as told."""
    out = []
    for number, (L, pay) in enumerate(zip(lengths, limit_pay, strict=True)):
        x = np.minimum(np.arange(L + 1) / (L - 4), 1)[:, None] * [2.0, number]
        rew = np.full(L, -0.5)
        rew[-1] = pay
        out.append((np.concatenate([x, np.gradient(x, axis=0)], 1), np.zeros((L, 2)), rew, False))
    return Episodes.join(out)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_a_drive_returns_its_rewards_and_what_staying_pays_until_the_limit(gamma: float) -> None:
    x, R = drives(rows(), TINY, limit=50, gamma=gamma)
    power = gamma ** np.arange(50)
    paid = np.r_[np.full(19, -0.5), np.ones(31)], np.r_[np.full(29, -0.5), np.zeros(21)]
    wanted = [(p * power).sum() for p in paid]
    assert_close(R, torch.tensor(wanted, dtype=torch.float32))
    assert_close(x[:, -1, :2], torch.tensor([[2.0, 0.0], [2.0, 1.0]]))
    assert known_ends(x, 2)[0].sum() == 6 and known_ends(x, 2)[:, -1, :2].all()
    with pytest.raises(ValueError, match="30 steps, more than the limit of 25"):
        drives(rows(), TINY, limit=25)


def test_candidates_come_sorted_by_the_value_of_the_finished_plan_and_climbing_tilts_them() -> None:
    planner = diffuser.train(rows((30, 40, 50) * 5, (1.0,) * 15), TINY).model
    exact = Function(lambda x, t, cond: S(t)[0].to(x) * x, S)  # for plans N(0, 1)
    planner = weights.around(planner, denoiser=exact)

    def J(x, t):  # log E[exp x_0 | x_t] of one entry, without its constant: moves N(0, 1) by the scale
        return S(t)[0] * x[:, 3, 1]

    means = []
    for scale in (0.0, 3.0):
        guided, g = ValueGuidance.of(planner, J, Config(scale=scale, denoising=40)), torch.Generator().manual_seed(0)
        plan, values = guided.plan(np.zeros(4), np.ones(2), 400, g)
        assert (values.diff() <= 0).all()
        assert_close(J(scaled(planner, plan), 0), values)
        assert_close(plan.candidates[:, -1, :2], torch.ones(400, 2))
        means.append(values.mean())
    assert abs(means[1] - means[0] - 3) < 0.15
    best, drawn = (ValueGuidance.of(planner, J, Config(ranked=ranked)) for ranked in (True, False))
    middle = [m.plan(np.zeros(4), np.ones(2), 50, torch.Generator().manual_seed(0))[1] for m in (best, drawn)]
    assert_close(middle[0], middle[1].sort(descending=True)[0])
    assert (middle[0] != middle[1]).any()
    assert_close(best.route(np.zeros(4), np.ones(2), 0)[-1, :2], np.ones(2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("law", ["value", "energy"])
def test_a_guide_is_trained_on_drives_resumes_bit_for_bit_and_is_saved_with_its_planner(
    law: str, tmp_path: Path
) -> None:
    episodes = rows((30, 40, 50) * 5, (1.0, 0.0, 0.5) * 5)
    planner, config = diffuser.train(episodes, TINY).model, Config(law=law, updates=6, batch=64, width=16)
    whole = train(episodes, config, planner=planner, limit=60)
    losses = [float(row["loss"]) for row in whole]
    begun, again = (train(episodes, config, planner=planner, limit=60) for _ in range(2))
    first = [float(row["loss"]) for row in islice(begun, 2)]
    begun.save(tmp_path / "run.safetensors")
    again.load(tmp_path / "run.safetensors")
    assert first + [float(row["loss"]) for row in again] == losses
    for name, v in planner.state_dict().items():  # the planner is left as it was
        assert torch.equal(whole.model.planner.state_dict()[name], v)
    whole.model.save(tmp_path / "w.safetensors")
    kept = ValueGuidance.load(tmp_path / "w.safetensors")
    obs, goal, g = np.zeros((1, 4)), np.ones((1, 2)), torch.Generator
    x = kept.sample(obs, goal, n=4, generator=g().manual_seed(0))
    assert_close(x, whole.model.sample(obs, goal, n=4, generator=g().manual_seed(0)), rtol=0.02, atol=0.02)
    with pytest.raises(ValueError, match='law must be "value" or "energy", got \'mean\''):
        Config(law="mean")
