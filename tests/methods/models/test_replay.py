"""Prioritised replay: ranks, what the exact guided law is, and that the score that is asked for is what is drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import loose, transitions
from diffrl_lab.diffusion import Function, Karras, MixtureDenoiser
from diffrl_lab.methods import weights
from diffrl_lab.methods.models import replay, synther
from diffrl_lab.methods.models.replay import Config, Replay, curiosity, ranks, train
from diffrl_lab.worlds import linear

TINY = Config(width=16, depth=2, updates=6, batch=8)


def G(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_ranks_are_even_from_lowest_to_highest_whatever_the_scale_and_equal_scores_share_one() -> None:
    score = torch.tensor([3.0, -1.0, 100.0, 0.0, 4.0])
    assert_close(ranks(score), torch.tensor([0.0, -1.0, 1.0, -0.5, 0.5]))
    assert_close(ranks(score**3), ranks(score))
    assert_close(ranks(torch.tensor([2.0, 1.0, 1.0])), torch.tensor([1.0, -0.5, -0.5]))
    with pytest.raises(ValueError, match="that differ are wanted"):
        ranks(torch.ones(3))


def test_guidance_draws_between_and_beyond_the_two_laws_as_their_means_say() -> None:
    """Two Gaussians of one variance, that of a high rank shifted by m: with w the samples' mean is w m, exactly."""
    shift = torch.arange(7.0)
    plain, high = (MixtureDenoiser([1.0], m[None], Karras(0.002, 80.0), std=1.0) for m in (torch.zeros(7), shift))
    D = Function(
        lambda x, t, c=None: torch.where(c.isnan().any(-1, keepdim=True), plain(x, t), high(x, t)), plain.schedule
    )
    run = train(linear.record(50, seed=0), TINY, score=torch.rand(50, generator=G()))
    model = weights.around(run.model, denoiser=D)
    for w in (0.0, 0.5, 1.0, 3.0):
        x = synther.rows(model.sample(20_000, w=w, steps=40, generator=G()))[:, :-1]
        z = (x - model.scaler.center[:-1]) / model.scaler.spread[:-1]
        assert_close(z.mean(0), w * shift[:-1], rtol=0.02, atol=0.05)
        assert_close(z.std(0), torch.ones(6), rtol=0, atol=0.05)


def test_rows_of_the_rank_that_is_asked_for_are_drawn() -> None:
    """The score is the first number of the state: high ranks have a high one, low ranks a low one."""
    t = transitions(linear.record(600, seed=0))
    run = train(loose(t), replace(TINY, width=64, depth=3, updates=500, batch=64, lr=3e-3), score=t.obs[:, 0])
    for _ in run:
        pass
    order = t.obs[:, 0].sort().values
    top, low = order[-150:].mean(), order[:150].mean()
    high = run.model.sample(600, generator=G()).obs[:, 0].mean()
    under = run.model.sample(600, rank=-1 + 0.5 * torch.rand(600, generator=G()), generator=G()).obs[:, 0].mean()
    free = run.model.sample(600, w=0.0, generator=G()).obs[:, 0].mean()
    spread = float(t.obs[:, 0].std())
    assert abs(high - top) < 0.3 * spread and abs(under - low) < 0.3 * spread
    assert abs(free - t.obs[:, 0].mean()) < 0.3 * spread, "w = 0 asks for nothing"
    beyond = run.model.sample(600, w=2.0, generator=G()).obs[:, 0].mean()
    assert beyond > high


def test_curiosity_is_highest_where_the_world_does_what_it_rarely_does() -> None:
    t = transitions(linear.record(500, seed=0))
    after = t.next_obs.clone()
    after[:20] += 5.0
    score = curiosity(t._replace(next_obs=after))
    assert float(score[:20].min()) > float(score[20:].median())
    assert (score[:20].mean() > 5 * score[20:].mean()).item()
    assert torch.equal(score, curiosity(t._replace(next_obs=after))), "the same for one seed"


def test_a_share_of_the_rows_is_shown_without_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def loss(D, x, *, cond, **options):
        seen.append(cond)
        return x.mean()

    monkeypatch.setattr(replay, "denoising_loss", loss)
    model = Replay(TINY, 1, 1)
    model.loss({"x": torch.zeros(4000, 5), "rank": torch.ones(4000, 1)}, G())
    assert abs(float(seen[0].isnan().float().mean()) - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_a_training_that_was_stopped_goes_on_bit_for_bit_and_other_scores_are_another_run(tmp_path: Path) -> None:
    e, g = linear.record(40, seed=0), G()
    score = torch.rand(40, generator=g)
    whole, first, second = (train(e, TINY, seed=3, score=score) for _ in range(3))
    losses = [row["loss"] for row in whole]
    list(islice(first, 3))
    first.save(tmp_path / "half.safetensors")
    second.load(tmp_path / "half.safetensors")
    assert_close([row["loss"] for row in second], losses[3:], rtol=0, atol=0)
    with pytest.raises(ValueError, match="scores = "):
        train(e, TINY, seed=3, score=2 * score).load(tmp_path / "half.safetensors")
    whole.model.save(tmp_path / "m.safetensors")
    a, b = (synther.rows(m.sample(5, generator=G(1))) for m in (Replay.load(tmp_path / "m.safetensors"),) * 2)
    assert torch.equal(a, b)


def test_scores_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="one score for each of 40 transitions"):
        train(linear.record(40, seed=0), TINY, score=torch.rand(39))
