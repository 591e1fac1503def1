"""The museum on the page: plots that name nothing, rounds that are scored, and something to see without a kernel."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from diffrl_lab.analysis.exhibits import DATA, PLANS, ROOMS, SAMPLES, TRAINING
from diffrl_lab.analysis.museum import HEALTHY, Confusion
from diffrl_lab.widgets import museum
from diffrl_lab.widgets.pictures import COLOUR

ALT = "Rounds of blind diagnosis over the rooms of the failure museum"


@pytest.fixture(scope="module")
def game() -> museum.Museum:
    return museum.blind([SAMPLES, DATA], rounds=4, seed=1, alt=ALT)


def test_a_round_shows_plots_and_names_of_its_room_and_is_the_same_for_its_seed(game: museum.Museum) -> None:
    again = museum.blind([SAMPLES, DATA], rounds=4, seed=1, alt=ALT)
    assert game.meta == again.meta and game.data == again.data
    truths = [(r["room"], r["truth"]) for r in game.meta["rounds"]]
    assert len(set(truths)) == 4
    at = 0
    for r in game.meta["rounds"]:
        assert r["choices"] == ROOMS[r["room"]].names and r["truth"] in r["choices"] and r["told"]
        image = Image.open(io.BytesIO(game.data[at : at + r["bytes"]]))
        assert image.format == "PNG" and image.width > 700
        at += r["bytes"]
    assert at == len(game.data) < 300_000


@pytest.mark.parametrize("room", ROOMS.values(), ids=list(ROOMS))
def test_the_words_for_those_who_do_not_see_the_plots_differ_and_name_no_failure(room) -> None:
    words = {name: museum.plots(room, room.evidence(name, 2)).alt for name in room.names}
    assert len(set(words.values())) == len(words)
    for name, alt in words.items():
        assert all(panel.title in alt for panel in room.panels)
        assert not any(other in alt for other in room.names), name


def test_the_score_counts_what_was_named_by_both(game: museum.Museum) -> None:
    assert game.score == (0, 0, 0)
    truths = [r["truth"] for r in game.meta["rounds"]]
    wrong = next(n for n in game.meta["rounds"][1]["choices"] if n != truths[1])
    game.picks = [truths[0], wrong, truths[2]]
    assert game.score == (2, 3, 3) and "You named 2 of 3, the detectors 3." in repr(game)
    game.picks = []


def test_without_a_kernel_there_are_a_picture_and_a_page_that_plays(game: museum.Museum) -> None:
    bundle, about = game._repr_mimebundle_()
    Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert about["image/png"]["alt"] == game.meta["rounds"][0]["alt"]
    html = museum.page(game.meta, game.data)
    assert ALT in html and "mountMuseum(host" in html and "export default" not in html and "http" not in html


def test_more_rounds_than_exhibits_are_refused() -> None:
    with pytest.raises(ValueError, match="6 exhibits, healthy ones among them; got 7"):
        museum.blind([SAMPLES], rounds=7, alt=ALT)


def test_a_confusion_matrix_has_its_numbers_in_its_cells_and_hides_answers_never_given() -> None:
    found = Confusion([HEALTHY, "a"], [HEALTHY, "a", "undecided"], np.array([[19, 1, 0], [0, 20, 0]]))
    picture = museum.confusion({"a room": found}, alt=ALT)
    [ax] = picture.axes
    assert sorted(t.get_text() for t in ax.texts) == ["1", "19", "20"]
    assert [t.get_text() for t in ax.get_xticklabels()] == [HEALTHY, "a"]


def test_a_wall_has_a_panel_for_each_exhibit_under_its_name() -> None:
    picture = museum.wall(TRAINING, TRAINING.names[:4], 1, alt=ALT)
    assert [ax.get_title(loc="left") for ax in picture.axes][:4] == TRAINING.names[:4]


def test_only_what_is_exact_is_dashed_and_colours_are_the_courses() -> None:
    for room in (SAMPLES, PLANS, TRAINING):
        picture = museum.plots(room, room.evidence(HEALTHY, 0))
        exact = {name for panel in room.panels for name in panel.exact}
        for ax in picture.axes:
            for line in ax.lines:
                assert line.get_color() in COLOUR.values()
                assert (line.get_linestyle() == "--") == (line.get_label() in exact), line.get_label()
