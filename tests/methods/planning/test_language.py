"""Plans by sentences: what the words become, that a plan starts where it must, and that training learns and resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.planning.language import ENCODERS, Agent, Config, Language, Words, spelt, train
from diffrl_lab.worlds.sentences import sentences

TINY = Config(horizon=8, beside=8, width=32, depth=1, channels=8, updates=4, batch=32, denoising=3, candidates=4)
A, B = "go to the upper left by the right way", "go to the upper right by the left way"


def field(told: list[str], steps: int = 30) -> Episodes:
    """Drives of 1 m: up where the last word but one is "left", down where it is "right"; each from a place nearby."""
    rng, rows, share = np.random.default_rng(0), [], np.arange(steps + 1)[:, None] / steps
    for sentence in told:
        way = np.array([0.0, 1.0 if sentence.split()[-2] == "left" else -1.0])
        obs = np.concatenate([rng.uniform(-0.1, 0.1, 2) + share * way, np.ones_like(share) * way / (steps * 0.01)], 1)
        rows.append((obs.astype(np.float32), np.zeros((steps, 2), np.float32), np.zeros(steps), False))
    return Episodes.join(rows)


def test_a_bag_of_words_cannot_tell_two_sentences_apart_that_a_gru_and_the_grammar_can() -> None:
    for encoder in ENCODERS:
        torch.manual_seed(0)
        a, b = Words(encoder, 8)(spelt([A, B], encoder))
        assert torch.equal(a, b) == (encoder == "bag"), encoder


def test_a_gru_reads_the_same_whether_zeros_stand_before_a_sentence_or_not() -> None:
    torch.manual_seed(0)
    words = Words("gru", 8)
    alone, beside = spelt([A], "gru"), spelt([A, A + " slowly"], "gru")
    assert alone.shape == (1, 9) and beside.shape == (2, 10) and beside[0, 0] == 0
    assert_close(words(alone)[0], words(beside)[0])


def test_a_meaning_is_an_indicator_for_each_of_its_four_words() -> None:
    every = spelt(sentences(), "meaning")
    assert every.shape == (72, 10) and (every.sum(1) == 4).all() and len(every.unique(dim=0)) == 36


def test_the_words_decide_what_is_drawn_and_the_start_is_kept() -> None:
    told = [A, B] * 40
    run = train(field(told), replace(TINY, updates=300, lr=3e-3), told=told, seed=0)
    for _ in run:
        pass
    start = np.array([[0.05, 0.0, 0.0, -3.0], [0.0, 0.05, 0.0, 3.0]])
    x = run.model.sample(start, [A, B], n=8, generator=torch.Generator().manual_seed(0))
    assert x.shape == (2, 8, 8, 5)
    assert_close(x[:, :, 0, :4], torch.tensor(start).float()[:, None].expand(-1, 8, -1))
    assert (x[0, :, -1, 1] < -0.5).all() and (x[1, :, -1, 1] > 0.5).all()
    agent = Agent(run.model, lambda seed: (A, B)[seed])
    agent.reset(start, [0, 1], np.zeros((2, 2)))
    assert agent.reference[0][-1, 1] < -0.5 and agent.reference[1][-1, 1] > 0.5


def test_training_resumes_bit_for_bit_and_weights_come_back(tmp_path: Path) -> None:
    told = [A, B] * 8
    whole, first = (train(field(told), TINY, told=told, seed=3) for _ in range(2))
    for _ in whole:
        pass
    steps = iter(first)
    next(steps), next(steps)
    first.save(tmp_path / "run.safetensors")
    again = train(field(told), TINY, told=told, seed=3)
    again.load(tmp_path / "run.safetensors")
    for _ in again:
        pass
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    whole.model.save(tmp_path / "m.safetensors")
    g = [torch.Generator().manual_seed(1) for _ in range(2)]
    back = Language.load(tmp_path / "m.safetensors")
    assert back.config == TINY
    drawn = [m.sample(np.zeros((1, 4)), [A], generator=one) for m, one in zip((whole.model, back), g, strict=True)]
    assert_close(*drawn, atol=0.02, rtol=0.02)  # weights are kept as float16


def test_what_cannot_be_trained_or_drawn_is_refused() -> None:
    told = [A, B] * 8
    with pytest.raises(ValueError, match="16 drives, 15 sentences"):
        train(field(told), TINY, told=told[1:])
    with pytest.raises(ValueError, match="encoder must be one of"):
        Config(encoder="letters")
    with pytest.raises(ValueError, match="want states"):
        Language(TINY, 4, 2).drawn(np.zeros((2, 4)), [A])
