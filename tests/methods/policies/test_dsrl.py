"""DSRL: the clone stays as it was, actions are the clone's own, and the noise that pays most is found."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.testing import assert_close

from diffrl_lab.diffusion import (
    Cosine,
    Function,
    GaussianDenoiser,
    MixtureDenoiser,
    clip,
    cosine_decay,
    ddim,
    descend,
    given,
    sample,
)
from diffrl_lab.methods.policies import critics, dsrl
from diffrl_lab.worlds import bandit

EPISODES = bandit.record(500, seed=0)
TINY = dsrl.Config(width=16, updates=4, batch=32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_denoiser(exact, **options):
    """A model whose clone is `exact`, which is not asked for the state."""
    model = dsrl.train(EPISODES, replace(TINY, **options)).trained
    del model.denoiser
    model.__dict__["denoiser"] = Function(lambda x, t, cond: exact(x, t), Cosine())
    return model


def test_once_the_clone_stands_nothing_of_it_changes() -> None:
    run = dsrl.train(EPISODES, TINY, seed=1)
    kept = None
    for row in run:
        if row["step"] == TINY.updates:
            kept = {k: v.clone() for k, v in run.model.denoiser.state_dict().items()}
            others = {k: v.clone() for k, v in run.trained.actor.state_dict().items()}
    assert kept is not None and run.step == 2 * TINY.updates
    assert all(torch.equal(v, kept[k]) for k, v in run.model.denoiser.state_dict().items())
    assert not all(torch.equal(v, others[k]) for k, v in run.trained.actor.state_dict().items())


def test_an_action_is_what_the_clones_chain_makes_of_the_chosen_noise_and_of_none_beyond_the_box() -> None:
    model = dsrl.train(EPISODES, replace(TINY, bound=0.7)).model
    with torch.no_grad():
        model.actor.layers[-1].bias += torch.tensor([50.0, -50.0])
    s = critics.states(model, [[0.0], [0.0]])
    w = model.noise(model.actor, s)
    assert_close(w, torch.tensor([[0.7, -0.7]]).expand(2, 2))
    D = clip(given(model.denoiser, s), *critics.box(model))
    want = model.act_scaler.inverse(sample(D, w, steps=TINY.denoising, step=ddim()))
    got = model.sample([[0.0], [0.0]], n=3)
    assert got.shape == (2, 3, 2) and all(torch.equal(got[:, k], want) for k in range(3))


def test_the_chain_of_a_gaussian_takes_noise_to_its_own_place() -> None:
    """DDIM in the limit of many steps takes w to mu + s w, where the prior has unit variance."""
    mu, std = torch.tensor([0.2, -0.1]), 0.2
    model = with_denoiser(GaussianDenoiser(mu, Cosine(), std=std), denoising=400)
    w = torch.randn(300, 2, generator=generator(1)).clamp(-1.5, 1.5)
    assert_close(model.made(model.denoiser, torch.zeros(300, 1), w), mu + std * w, atol=0.02, rtol=0)


def test_the_losses_are_their_formulas_and_no_slope_goes_through_the_chain() -> None:
    model = dsrl.train(EPISODES, TINY).trained
    s = torch.linspace(-1, 1, 40)[:, None]
    out = model.loss({"obs": s}, generator(2))
    w = torch.randn(40, 2, generator=generator(2)).clamp(-1.5, 1.5)
    y = model.q.lower(s, model.made(model.denoiser, s, w)).detach()
    assert_close(out["loss"], (model.q_noise(torch.cat([s, w], 1))[:, 0] - y).square().mean())
    out["loss"].backward()
    assert all(p.grad is None for net in (model.denoiser, model.q, model.actor) for p in net.parameters())
    assert all(p.grad is not None for p in model.q_noise.parameters())
    climb = model.climb({"obs": s})["loss"]
    assert_close(climb, -model.q_noise(torch.cat([s, 1.5 * torch.tanh(model.actor(s))], 1)).mean())


def test_with_the_exact_clone_and_q_the_noise_of_the_best_mode_is_found_and_nothing_off_the_data_is_done() -> None:
    scaler = dsrl.train(EPISODES, TINY).trained.act_scaler
    centres, std = scaler(torch.tensor(bandit.CENTRES)), float(bandit.STD / scaler.spread.mean())
    model = with_denoiser(MixtureDenoiser(torch.ones(4), centres, Cosine(), std=std), width=32, denoising=20)
    box = 1.5 * torch.tensor([(x, y) for x in (-1, 0.1, 1) for y in (-1, -0.1, 1)])
    made = model.act_scaler.inverse(model.made(model.denoiser, torch.zeros(9, 1), box))
    assert bool((bandit.mode(made) >= 0).all())  # also noise from the corners of the box

    class Exact:
        def lower(self, s, a):
            return bandit.reward(model.act_scaler.inverse(a))

    g, batch = generator(), {"obs": torch.zeros(128, 1)}
    q = descend(lambda _: model.taught(model.denoiser, Exact(), batch, g), model.q_noise, lr=5e-3)
    pi = descend(model.climb, model.actor, lr=5e-3, schedule=cosine_decay(200), ema=0.95)
    for _ in range(200):
        q(batch), pi(batch)
    a = model.sample([[0.0]])[0]
    assert float(bandit.reward(a)) == max(bandit.PAID)
