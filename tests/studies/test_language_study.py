"""The study of sentences: who is judged how, on agents whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.studies import language
from diffrl_lab.worlds import sentences
from diffrl_lab.worlds.mazes import Controller
from diffrl_lab.worlds.sentences import PACES, Meaning, Recording, parse
from diffrl_lab.worlds.walls import Walls

WALLS = Walls.named("two-ways")
A, B = "go to the upper left by the right way", "go to the upper right by the left way"


def right_answer(obs: np.ndarray, sentence: str, seed: int) -> np.ndarray:
    meaning = parse(sentence)
    controller = Controller(WALLS, speed=PACES[meaning.pace], left=float(meaning.side == "left"))
    return controller.route(obs, WALLS.centre(meaning.cell), seed)


def test_who_does_what_is_said_heeds_it_and_who_takes_the_other_way_misses_the_way_alone() -> None:
    told = [A, "by the left way go to the lower middle quickly"]
    found = language.judged(right_answer, told)
    assert all(row["plan all"] and row["drive all"] and row["clear"] for row in found)
    assert [row["held out"] for row in found] == [True, False] and [row["shared"] for row in found] == [True, False]
    other = language.judged(lambda obs, s, k: right_answer(obs, s.replace("left way", "right way"), k), told[1:])[0]
    assert not other["drive way"] and other["drive place"] and other["drive pace"] and not other["drive all"]


def recorded(told: list[str], steps: int = 30) -> Recording:
    """Straight drives in an open field whose end is linear in the start and in which words are said after which."""
    rows, share = [], np.arange(steps + 1)[:, None] / steps
    for k, sentence in enumerate(told):
        start, way = np.array([0.01 * k, 0.0]), np.array([1.0 if "upper left" in sentence else -1.0, 1.0])
        obs = np.concatenate([start + share * way, np.ones_like(share) * way / (steps * 0.01)], 1)
        rows.append((obs.astype(np.float32), np.zeros((steps, 2), np.float32), np.zeros(steps), False))
    return Recording(Episodes.join(rows), told)


def test_the_nearest_drive_has_the_same_sentence_and_else_the_most_words_in_common() -> None:
    found = language.Nearest(recorded([A, A, B, B]))
    assert found(np.array([0.011, 0, 0, 0]), A, 0)[0, 0] == pytest.approx(0.01)
    assert found(np.array([0.011, 0, 0, 0]), B, 0)[0, 0] == pytest.approx(0.02)
    assert found(np.array([0.0, 0, 0, 0]), A + " slowly", 0)[0, 0] == pytest.approx(0.0)  # A and B share all words


def test_least_squares_on_words_cannot_tell_two_sentences_apart_that_pairs_of_words_can() -> None:
    found = recorded([A, B] * 6)
    words, pairs = (language.LeastSquares(found, pairs, horizon=8) for pairs in (False, True))
    start = np.zeros(4)
    assert np.allclose(words(start, A, 0), words(start, B, 0))
    assert pairs(start, A, 0)[-1, 0] == pytest.approx(1, abs=0.05)
    assert pairs(start, B, 0)[-1, 0] == pytest.approx(-1, abs=0.05)


def test_a_sentence_with_the_words_of_another_one_is_found_and_others_have_none() -> None:
    assert language.ambiguous(Meaning("upper", "left", "right")) == (A, B)
    with pytest.raises(ValueError, match="no other meaning"):
        language.ambiguous(Meaning("upper", "middle", "right"))
    shared = [m for m in sentences.meanings() if language.shares_words(m)]
    assert len(shared) == 12


def test_a_trained_planner_answers_with_a_plan_from_where_the_ball_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "recording", lambda: recorded([A, B] * 8))
    torch.manual_seed(0)
    plan = language.trained("gru", 0, updates=2).route(np.array([0.3, -0.2, 0, 0]), A, 0)
    assert np.allclose(plan[0], [0.3, -0.2, 0, 0], atol=1e-5) and plan.shape[1] == 4
