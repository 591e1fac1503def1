"""DIAMOND: what it is shown, what it draws where two pictures may follow, and how often moments are met."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes, windows
from diffrl_lab.methods.models import diamond
from diffrl_lab.methods.models.diamond import Config, Diamond, gather, train

TINY = Config(width=8, updates=6, batch=8)


def film(lengths=(9, 6)) -> Episodes:
    """Pictures [2, 4, 4] whose pixels spell their number in bits; the action tells its step, and so does the reward."""
    rows, at = [], 0
    for L in lengths:
        number = np.arange(at, at + L + 1)
        obs = (number[:, None] >> np.arange(32) & 1).reshape(-1, 2, 4, 4).astype(np.uint8)
        rows.append((obs, np.eye(10, dtype=np.float32)[np.arange(L)], np.arange(L, dtype=np.float32), L == 6))
        at += L + 1
    return Episodes.join(rows)


def coins(n: int = 400) -> Episodes:
    """Pictures [1, 4, 4], all 1 or all 0 by the toss of a coin, whatever came before."""
    toss = np.random.default_rng(0).integers(2, size=n + 1)
    obs = np.broadcast_to(toss[:, None, None, None], (n + 1, 1, 4, 4)).astype(np.uint8)
    return Episodes.join([(obs, np.ones((n, 1), np.float32), np.zeros(n), False)])


def number(pictures: torch.Tensor) -> torch.Tensor:
    return ((pictures.flatten(-3) > 0) * 2 ** torch.arange(32)).sum(-1)


def test_a_moment_is_the_last_pictures_and_actions_of_one_episode_and_what_came_next() -> None:
    episodes = film()
    rows = windows(episodes, 3)
    assert len(rows) == 7 + 4, "none crosses an episode"
    batch = gather(episodes, rows)
    assert (number(batch.past).diff(dim=1) == 1).all() and (number(batch.x) == number(batch.past[:, -1]) + 1).all()
    assert_close(batch.act.argmax(-1)[:, -1].float(), batch.rew)
    assert batch.end.tolist() == 10 * [0.0] + [1.0], "only the second episode is terminated, at its last moment"


@pytest.mark.parametrize("regress", [False, True])
def test_of_two_pictures_diffusion_draws_one_and_least_squares_their_mean(regress: bool) -> None:
    run = train(coins(), replace(TINY, updates=800, batch=32, lr=5e-3, regress=regress))
    for _ in run:
        pass
    past, act = torch.randint(0, 2, (200, 2, 1, 1, 1)).expand(-1, -1, 1, 4, 4), torch.ones(200, 2, 1)
    x = run.model.sample(past, act, steps=10, generator=torch.Generator().manual_seed(0))
    if regress:
        assert_close(x, torch.full_like(x, 0.5), rtol=0, atol=0.15)
        return
    near = torch.minimum(x.abs(), (1 - x).abs()).amax((1, 2, 3))
    share = float((x.mean((1, 2, 3)) > 0.5).float().mean())
    assert (near < 0.2).float().mean() > 0.95 and abs(share - 0.5) < 0.2


def test_a_share_of_each_batch_is_drawn_from_the_moments_that_are_to_be_shown_often() -> None:
    episodes = film()
    often = torch.zeros(len(episodes.last), dtype=torch.bool)
    often[5] = True
    run = train(episodes, replace(TINY, batch=40, rare=0.5), often=often)
    (batch,) = islice(run.stages[0].batches, 1)
    count = int((number(batch.past[:, -1]) == 5).sum())
    assert 20 <= count <= 28, "20 of 40, and what chance adds"
    with pytest.raises(ValueError, match="none of 13 ends in a row"):
        train(episodes, TINY, often=torch.zeros_like(often))


def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, first, second = (train(film(), TINY, seed=3) for _ in range(3))
    losses = [row["loss"] for row in whole]
    list(islice(first, 3))
    first.save(tmp_path / "half.safetensors")
    second.load(tmp_path / "half.safetensors")
    assert_close([row["loss"] for row in second], losses[3:], rtol=0, atol=0)
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=0)


def test_a_step_draws_what_sample_draws_and_the_file_gives_the_same_model(tmp_path: Path) -> None:
    run = train(film(), TINY)
    list(run)
    past, act = torch.rand(3, 2, 2, 4, 4).round(), torch.eye(10)[:6].reshape(3, 2, 10)
    run.model.save(tmp_path / "m.safetensors")
    model = Diamond.load(tmp_path / "m.safetensors")
    drawn = model.sample(past, act, generator=torch.Generator().manual_seed(1))
    picture, reward, end = model.step(past, act, torch.Generator().manual_seed(1))
    assert_close(picture, drawn, rtol=0, atol=0)
    assert reward.shape == end.shape == (3,) and bool(((end > 0) & (end < 1)).all())
    assert model.config == TINY and model.shape == (2, 4, 4)


def test_other_shapes_are_refused_with_what_was_wanted() -> None:
    model = Diamond(TINY, (2, 4, 4), 10)
    with pytest.raises(ValueError, match=r"past \[3, 2, 2, 4, 4\] and act \[3, 2, 10\]"):
        model.sample(torch.zeros(3, 1, 2, 4, 4), torch.zeros(3, 2, 10))
    with pytest.raises(ValueError, match=r"\[N, C, h, w\] are wanted"):
        train(Episodes.join([(np.zeros((4, 3)), np.zeros((3, 1)), np.zeros(3), False)]), TINY)


def test_the_noise_of_a_moment_does_not_depend_on_its_place_in_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moments to be shown often stand last in a batch: if t rose with the row, the others met no high noise."""
    seen: list[torch.Tensor] = []

    def loss(D, x, *, t, **options):
        seen.append(t)
        return x.mean()

    monkeypatch.setattr(diamond, "denoising_loss", loss)
    model, batch = Diamond(TINY, (2, 4, 4), 10), gather(film(), windows(film(), 2)[:8])
    for seed in range(200):
        model.loss(batch, torch.Generator().manual_seed(seed))
    mean = torch.stack(seen).mean(0)
    assert_close(mean, mean.mean().expand(8), rtol=0, atol=5 * float(torch.stack(seen).std()) / 200**0.5)


def test_past_pictures_are_noised_by_what_was_asked_and_the_network_is_told_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Diamond(replace(TINY, augment=0.6, told=True), (2, 4, 4), 10)
    seen: list[dict[str, torch.Tensor]] = []

    def forward(self, x, label, cond):
        seen.append(cond)
        return torch.zeros_like(x) + 0 * next(model.parameters()).sum()

    monkeypatch.setattr(type(model.denoiser.net), "forward", forward)
    past, act = torch.ones(2000, 2, 2, 4, 4), torch.zeros(2000, 2, 10)
    model.sample(past, act, steps=1, blur=0.25, generator=torch.Generator().manual_seed(0))
    assert abs(float((seen[-1]["past"] - 1).std()) - 0.25) < 0.01
    assert seen[-1]["act"].shape == (2000, 2, 11) and bool((seen[-1]["act"][..., -1] == 0.25).all())
    model.sample(past, act, steps=1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(seen[-1]["past"], past) and not seen[-1]["act"].any()
    episodes = film()
    batch = gather(episodes, windows(episodes, 2)[:1].expand(2000, 2))
    model.loss(batch, torch.Generator().manual_seed(1))
    size, noise = seen[-1]["act"][:, 0, -1], (seen[-1]["past"] - batch.past).flatten(1).std(1)
    assert 0 <= float(size.min()) < 0.01 and 0.59 < float(size.max()) <= 0.6
    assert_close((noise / size)[size > 0.05], torch.ones(int((size > 0.05).sum())), rtol=0, atol=0.5)


def test_a_network_that_is_not_told_the_noise_is_shown_the_actions_alone_and_none_is_the_default() -> None:
    told, untold = (Diamond(replace(TINY, told=t), (2, 4, 4), 10).denoiser.net.embed[0].in_features for t in (1, 0))
    assert told - untold == TINY.past
    model, past, act = Diamond(TINY, (2, 4, 4), 10), torch.ones(3, 2, 2, 4, 4), torch.zeros(3, 2, 10)
    noise = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    plain, none = model.sample(past, act, x_T=noise), model.sample(past, act, x_T=noise, blur=0.0)
    assert torch.equal(plain, none)
