"""Dreams are judged by the exact law: what follows the law is found right, what does not is found out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrl_lab.analysis import dreams

MOMENTS = dreams.fresh("breakout", 40, seed=3)


def from_law(moments: dreams.Moments, share: float | None = None) -> dreams.Draw:
    """Draws the law's pictures: with its own probabilities, or the first one with `share`; in order of the moments."""
    rng, place = np.random.default_rng(0), [0]

    def draw(past, act, generator):
        out = []
        for _ in range(len(past)):
            law = moments.laws[place[0] % len(moments)]
            place[0] += 1
            p = np.array([q for q, _ in law])
            p = p if share is None or len(p) == 1 else np.array([share, 1 - share])
            out.append(np.frombuffer(law[rng.choice(len(p), p=p)][1], np.uint8).reshape(past.shape[2:]))
        return torch.from_numpy(np.stack(out)).float()

    return draw


def test_moments_of_each_kind_are_as_many_as_asked_for_and_have_the_law_of_their_kind() -> None:
    assert {kind: int((MOMENTS.kind == kind).sum()) for kind in dreams.KINDS} == dict.fromkeys(dreams.KINDS, 40)
    for law, kind in zip(MOMENTS.laws, MOMENTS.kind, strict=True):
        wanted = {"certain": [1.0], "sticky": [0.9, 0.1], "restart": [0.5, 0.5]}[kind]
        assert [p for p, _ in law] == pytest.approx(wanted)


def test_draws_from_the_law_are_never_impossible_and_have_its_weights() -> None:
    certain, sticky, restart = dreams.possible(from_law(MOMENTS), MOMENTS, repeats=100)
    assert certain.impossible == sticky.impossible == restart.impossible == 0
    assert certain.weight is None and sticky.draws == 4000
    for row, p in ((sticky, 0.9), (restart, 0.5)):
        assert row.exact == pytest.approx(p) and row.weight == pytest.approx(p, abs=5 * (p * (1 - p) / 4000) ** 0.5)


def test_a_draw_that_always_takes_the_likelier_picture_is_seen_by_its_weight_alone() -> None:
    rows = dreams.possible(from_law(MOMENTS, share=1.0), MOMENTS)
    assert [row.weight for row in rows] == [None, 1.0, 1.0] and not any(row.impossible for row in rows)


def test_the_mean_of_two_pictures_is_impossible() -> None:
    """At a restart the two balls of the mean have 0.5 each, and both are drawn."""
    restart = MOMENTS.only("restart")
    both = [[np.frombuffer(seen, np.uint8).reshape(4, 10, 10) for _, seen in law] for law in restart.laws]
    mean = torch.from_numpy(np.mean(both, 1)).float()
    (row,) = dreams.possible(lambda past, act, generator: mean, restart)
    assert row.impossible == 1.0 and np.isnan(row.weight)


def test_a_dream_ends_with_its_first_impossible_picture() -> None:
    frozen = dreams.lasted(lambda past, act, generator: past[:, -1], "breakout", 8, limit=20)
    assert frozen.median == 0, "the ball always moves"
    assert frozen.limit == 20 and len(frozen.frames) == 8


def test_where_nothing_possible_was_drawn_there_is_no_weight_and_where_one_picture_follows_none_is_asked_for() -> None:
    moments = dreams.fresh("breakout", 5, seed=3)
    blank = {r.kind: r for r in dreams.possible(lambda past, act, g: torch.zeros_like(past[:, 0]), moments)}
    assert np.isnan([blank["sticky"].weight, blank["restart"].weight]).all() and blank["certain"].weight is None
    assert all(r.impossible == 1 for r in blank.values())
