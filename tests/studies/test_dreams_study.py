"""The study of dreams: its arms differ in what they say, a point is a function of its seed, and what ships draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrl_lab.analysis import dreams
from diffrl_lab.data.shipped import shipped
from diffrl_lab.methods.models.diamond import Diamond
from diffrl_lab.studies import dreams as study
from diffrl_lab.widgets import play


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The study with networks that have hardly been trained, on a short recording, kept in a folder of its own."""
    monkeypatch.setattr(study, "RUNS", tmp_path)
    monkeypatch.setattr(study, "RECORDED", 400)
    monkeypatch.setattr(study, "EARLY", 2)
    monkeypatch.setattr(study.recording, "__defaults__", (400, 0))
    for arms in (study.ARMS, study.DRIFTING):
        for name, config in arms.items():
            monkeypatch.setitem(arms, name, replace(config, width=8, updates=4))
    study.model.cache_clear()
    yield
    study.model.cache_clear()


def test_the_rows_shown_often_are_those_with_a_ball_on_the_lowest_row() -> None:
    episodes, lost = study.recording(600)
    ball = episodes.obs[:, 1, 9].any(1)
    assert torch.equal(ball, lost) and 0 < lost.double().mean() < 0.1


def test_a_point_is_the_same_for_one_seed_and_a_checkpoint_is_another_model(small) -> None:
    first = study.model("diffusion", 0)
    early = study.model("diffusion", 0, 2)
    for path in (study.RUNS / "weights").iterdir():  # so that it is trained again
        path.unlink()
    study.model.cache_clear()
    again = study.model("diffusion", 0)
    key = "denoiser.net.enter.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], early.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], study.model("diffusion", 1).state_dict()[key])
    assert not torch.equal(first.state_dict()[key], study.model("as recorded", 0).state_dict()[key])


def test_what_ships_draws_both_futures_and_least_squares_draws_the_likelier_alone() -> None:
    moments = dreams.fresh("breakout", 120, seed=77)
    good, mean = (Diamond.load(shipped(f"weights/breakout-{name}.safetensors")) for name in ("good", "mean"))
    drawn = {r.kind: r for r in dreams.possible(dreams.drawn_by(good, steps=5), moments, repeats=2, seed=1)}
    squares = {r.kind: r for r in dreams.possible(dreams.drawn_by(mean), moments, seed=1)}
    assert drawn["sticky"].weight < 0.97 < squares["sticky"].weight
    assert drawn["certain"].impossible < 0.08 and drawn["restart"].impossible < 0.1 < squares["restart"].impossible
    assert 0.35 < drawn["restart"].weight < 0.65


def test_the_page_with_both_checkpoints_has_half_a_megabyte_at_most() -> None:
    both = {name: Diamond.load(shipped(f"weights/breakout-{name}.safetensors")) for name in ("early", "good")}
    assert (
        3e5 < len(play.page(*play.pack(both, alt="Breakout and its dream side by side, played with arrow keys."))) < 5e5
    )


def test_the_share_of_impossible_pictures_is_counted_among_those_drawn_between_two_horizons(monkeypatch) -> None:
    monkeypatch.setattr(study, "FAR", (0, 2, 4))
    assert study.by_horizon(np.array([0, 1, 3, 4])) == {"impossible_2": 2 / 7, "impossible_4": 1 / 4}
    assert study.by_horizon(np.array([0, 1])) == {"impossible_2": 2 / 3, "impossible_4": None}


def test_dreams_without_an_impossible_picture_do_not_drift_and_a_constant_share_shows_as_constant() -> None:
    assert set(study.by_horizon(np.full(5, study.FAR[-1])).values()) == {0.0}
    frames = np.minimum(np.random.default_rng(0).geometric(0.03, 20_000) - 1, study.FAR[-1])
    assert all(abs(share - 0.03) < 0.004 for share in study.by_horizon(frames).values())


@pytest.mark.parametrize("arm", ["diffusion", *study.DRIFTING])
def test_a_dream_that_may_drift_is_shown_as_many_past_pictures_and_as_much_noise_as_was_asked(
    small, monkeypatch: pytest.MonkeyPatch, arm: str
) -> None:
    shown: list[tuple[int, bool]] = []
    blurs: list[float] = []

    def lasted(draw, name, n, limit, past, *, project, seed):
        shown.append((past, project))
        return dreams.Lasted(np.array([0, 10, 60, 100] * (n // 4)), limit)

    few = dreams.fresh("breakout", 8, (study.ARMS | study.DRIFTING)[arm].past, seed=1)
    sample = study.Diamond.sample
    monkeypatch.setattr(study.Diamond, "sample", lambda *a, **o: (blurs.append(o["blur"]), sample(*a, **o))[1])
    monkeypatch.setattr(study.dreams, "lasted", lasted)
    monkeypatch.setattr(study.dreams, "fresh", lambda *args, **options: few)
    row = study.drift(arm, 0.25, True, seed=0)
    assert (row["median"], row["whole"]) == (35.0, 0.25) and row["impossible_25"] == 64 / (64 + 128 * 15)
    assert shown == [((study.ARMS | study.DRIFTING)[arm].past, True)] and set(blurs) == {0.25}


def test_what_may_let_a_dream_last_differs_from_diffusion_in_that_alone() -> None:
    plain, noised, longer = study.ARMS["diffusion"], study.DRIFTING["noised past"], study.DRIFTING["four pictures"]
    assert replace(noised, augment=0.0, told=False) == replace(longer, past=plain.past) == plain
    assert (plain.past, longer.past, plain.augment) == (2, 4, 0.0)
