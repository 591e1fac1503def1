"""The study of dreams: its arms differ in what they say, a point is a function of its seed, and what ships draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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
    for name, config in study.ARMS.items():
        monkeypatch.setitem(study.ARMS, name, replace(config, width=8, updates=4))
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
