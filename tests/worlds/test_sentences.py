"""The grammar of places, ways and paces: each sentence has its meaning, and a drive heeds it or does not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from diffrl_lab.worlds import sentences
from diffrl_lab.worlds.sentences import Meaning, heeded, parse, said


def test_every_sentence_of_the_grammar_parses_to_its_meaning_and_no_two_meanings_share_a_sentence() -> None:
    every = sentences.sentences()
    assert len(set(every)) == 72 and len(set(sentences.meanings())) == 36
    for meaning in sentences.meanings():
        for way_first in (False, True):
            assert parse(said(meaning, way_first)) == meaning and said(meaning, way_first) in every
    assert parse("go to the upper left by the right way slowly") == Meaning("upper", "left", "right", "slowly")
    assert parse("by the left way go to the lower middle") == Meaning("lower", "middle", "left", "")


@pytest.mark.parametrize(
    "wrong", ["", "go to the left upper by the right way", "go to the upper left", "by the right way"]
)
def test_what_is_no_sentence_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="the grammar has no sentence"):
        parse(wrong)
    with pytest.raises(ValueError, match="no word 'centre'"):
        sentences.indices("go to the upper centre")


def test_twelve_meanings_share_their_words_with_another_one() -> None:
    bags = Counter(tuple(sorted(said(m).split())) for m in sentences.meanings())
    shared = [m for m in sentences.meanings() if bags[tuple(sorted(said(m).split()))] == 2]
    assert len(shared) == 12 and len(bags) == 30 and all({m.column, m.side} == {"left", "right"} for m in shared)


def test_every_place_and_every_way_is_recorded_although_pairs_are_held_out() -> None:
    seen = [m for m in sentences.meanings() if not m.held_out]
    assert len(seen) == 24
    assert len({(m.row, m.column) for m in seen}) == 6 and len({(m.row, m.side) for m in seen}) == 4


def test_recorded_drives_heed_what_was_said_and_nothing_is_recorded_of_what_is_held_out() -> None:
    found = sentences.recorded(each=1)
    starts, ends = found.episodes.starts.tolist(), found.episodes.ends.tolist()
    assert len(found.told) == len(starts) == 48 and not any(parse(s).held_out for s in found.told)
    for a, b, sentence in zip(starts[::7], ends[::7], found.told[::7], strict=True):
        assert heeded(found.episodes.obs[a : b + 1].numpy(), parse(sentence))["all"], sentence


def test_a_path_is_judged_by_where_it_ends_by_its_way_and_by_its_highest_speed() -> None:
    path = np.array([[0, -1.5], [-2, -1.5], [-2, 0], [-2, 1.5]], float)
    drive = np.concatenate([path, [[0, 0], [0, 2.6], [0, 2.6], [0, 0]]], 1)
    left = Meaning("upper", "left", "left")
    assert heeded(drive, left) == {"place": True, "way": True, "pace": True, "all": True}
    assert not heeded(drive, Meaning("upper", "left", "right"))["way"]
    assert not heeded(drive, Meaning("upper", "middle", "left"))["place"]
    assert heeded(drive * [1, 1, 0.5, 0.5], Meaning("upper", "left", "left", "slowly"))["all"]
    assert not heeded(drive * [1, 1, 2, 2], left)["pace"]
