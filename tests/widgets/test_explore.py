"""Laws of what is recomputed: the newest values win, nothing is computed twice, failures are words."""

from __future__ import annotations

import asyncio
import base64
import random

import numpy as np
import pytest
import torch

from diffrl_lab import widgets
from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.explore import KEPT, STOPS, control, counts, explore, page, plan_explorer, spread
from diffrl_lab.widgets.movie import pack

MAZE = [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]


def line(w, steps=1):
    if w > 3:
        raise ValueError("w is at most 3 here")
    return widgets.lines(
        [0, 1],
        {"model": [0, w * steps]},
        xlabel="x",
        ylabel="y",
        alt=f"A straight line of slope {w} times {steps}, from 0.",
    )


def plan(start, goal, seed):
    if np.allclose(start, goal):
        raise ValueError("start and goal are one place")
    x_t = np.linspace(start, goal, 6)[None, None] + seed * np.linspace(1, 0, 3)[:, None, None, None]
    return {"t": [1.0, 0.5, 0.0], "x_t": x_t, "x0_hat": x_t}


def test_the_picture_is_that_of_the_controls():
    shown = explore(line, w=(0.0, 5.0, 0.5), steps=[1, 4])
    shown.controls["w"].value, shown.controls["steps"].value = 2.0, 4
    assert shown.picture.png == line(2.0, 4).png(quick=True)
    assert shown.picture.alt == "A straight line of slope 2.0 times 4, from 0."


def test_nothing_is_computed_twice():
    seen = []
    shown = explore(lambda w: seen.append(w) or line(w), w=(0, 3))
    for w in (1, 2, 1, 0, 2):
        shown.controls["w"].value = w
    assert seen == [0, 1, 2]


def test_a_failure_is_said_in_words_and_the_picture_stays():
    shown = explore(line, w=(0, 5))
    before = shown.picture.png
    shown.controls["w"].value = 4
    assert shown.picture.words == "No picture for these values: w is at most 3 here"
    assert shown.picture.png == before
    shown.controls["w"].value = 1
    assert shown.picture.words == "" and shown.picture.png != before


def test_a_drag_is_answered_by_its_newest_value():
    seen = []

    async def drag():
        shown = explore(lambda w: seen.append(w) or line(w), w=(0, 3))
        for w in (1, 2, 3, 2, 1, 3):
            shown.controls["w"].value = w
        await asyncio.sleep(0.3)

    asyncio.run(drag())
    assert seen == [0, 3]


def test_a_first_failure_is_the_cells_own():
    with pytest.raises(ValueError, match="at most 3"):
        explore(line, w=(4, 5))
    with pytest.raises(ValueError, match="control 'w'"):
        explore(line, w=(5, 4))
    with pytest.raises(ValueError, match="alt text"):
        explore(lambda w: widgets.figure()[0], w=(0, 1))


def test_where_no_kernel_runs_the_first_picture_stays_with_its_words():
    shown = explore(line, w=(0, 3))
    bundle, about = shown._repr_mimebundle_()
    assert about["image/png"]["alt"] == "A straight line of slope 0 times 1, from 0."
    assert bundle["text/plain"] == repr(shown) == "explore w: A straight line of slope 0 times 1, from 0."
    assert bundle["image/png"] == pictures.still(line(0).png(), "x")["image/png"]


def test_moving_the_goal_shows_the_plan_to_it():
    shown = plan_explorer(plan, MAZE, (-0.5, 0), (0.5, 0))
    shown.question = {"start": [-0.25, 0.1], "goal": [0.5, 0.25], "seed": 2, "n": 1}
    wanted, data = pack(plan(np.array([-0.25, 0.1]), np.array([0.5, 0.25]), 2), maze=MAZE, alt=shown.alt)
    assert shown.data == data
    assert shown.meta["pick"]["goal"] == [0.5, 0.25] and shown.meta["panels"][0]["t"] == wanted["panels"][0]["t"]
    assert shown.answer["n"] == 1 and shown.answer["words"].startswith("planned in")


def test_a_plan_that_fails_keeps_the_last_one_and_says_why():
    shown = plan_explorer(plan, MAZE, (-0.5, 0), (0.5, 0))
    before = shown.data
    shown.question = {"start": [0.5, 0], "goal": [0.5, 0], "seed": 0, "n": 1}
    assert shown.answer["error"] == "No plan for this: start and goal are one place"
    assert shown.data == before and shown.meta["pick"]["start"] == [-0.5, 0]


def test_a_symbol_keeps_its_subscript_and_words_are_words():
    said = [control(name, (0.0, 1.0)).description for name in ("x_t", "x0_hat", "guidance_scale", "t")]
    assert said == ["x_t", "x0_hat", "guidance scale", "t"]


def test_the_free_floor_keeps_away_from_walls_and_has_no_seam_between_free_cells():
    maze = [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1]]
    free = plan_explorer(plan, maze, (-1, 1), (1, 1), size=2.0).meta["pick"]["free"]
    assert free == [[-1.8, 0.0, 0.0, 1.8], [0.0, 0.2, 1.8, 1.8], [-1.8, -1.8, -0.2, 0.0]]


def test_while_a_picture_is_drawn_the_last_one_is_marked_as_old():
    seen = []
    shown = explore(lambda w: line(w), w=(0, 5))
    shown.picture.observe(lambda change: seen.append(change["new"]), names="busy")
    for w in (1, 4, 1):  # drawn, a failure, remembered
        shown.controls["w"].value = w
    assert seen == [True, False, True, False] and not shown.picture.busy


@pytest.mark.parametrize(
    ("sizes", "first", "wanted"),
    [
        ([51], (), [12]),
        ([5], (), [5]),
        ([9, 9], (), [4, 3]),
        ([2, 50], (), [2, 6]),
        ([2, 2, 2, 2], (), [2, 2, 2, 1]),
        ([9, 9, 9], [2], [1, 1, 9]),
        ([9, 9, 3], [2], [2, 2, 3]),
    ],
)
def test_a_page_has_alike_many_values_of_each_control_and_more_of_the_first(sizes, first, wanted):
    assert counts(sizes, 12, first) == wanted


def test_a_page_has_the_controls_that_the_lesson_names_and_the_seed_last(monkeypatch):
    def numbers(**options):
        controls = explore(lambda a, b, seed: line(1), a=(0, 50), b=(0, 50), seed=(0, 50), **options)
        return [len(c["labels"]) for c in controls.picture.stops["controls"]]

    monkeypatch.setenv(KEPT, "yes")
    assert numbers() == [6, 4, 1] and numbers(on_page=("seed",)) == [1, 1, STOPS]
    with pytest.raises(ValueError, match="on_page names c; the controls are a, b, seed"):
        numbers(on_page=("c",))


@pytest.mark.parametrize("n, k, at", [(51, 12, 0), (51, 12, 50), (51, 12, 13), (5, 5, 2), (9, 3, 7), (9, 1, 4)])
def test_values_on_a_page_are_apart_and_the_first_picture_is_among_them(n, k, at):
    places = spread(n, k, at)
    assert len(set(places)) == k and places == sorted(places) and at in places
    assert k == 1 or np.abs(np.diff(places) - (n - 1) / (k - 1)).max() <= (n - 1) / (k - 1) / 2 + 1


def test_what_is_kept_for_a_page_is_what_the_controls_would_show(monkeypatch):
    monkeypatch.setenv(KEPT, "yes")
    shown = explore(line, w=(0.0, 5.0, 0.5, 1.0), steps={"one": 1, "four": 4})
    stops = shown.picture.stops
    slider, choice = stops["controls"]
    assert (choice["labels"], choice["kind"], choice["at"]) == (["one", "four"], "list", 0)
    assert slider["labels"][slider["at"]] == "1" and len(stops["pictures"]) == 2 * len(slider["labels"]) == 22
    for at, (png, alt) in enumerate(stops["pictures"]):
        w, steps = float(slider["labels"][at // 2]), [1, 4][at % 2]
        if w > 3:
            assert (png, alt) == ("", "No picture for these values: w is at most 3 here")
        else:
            drawn = line(w, steps)
            assert (base64.b64decode(png), alt) == (drawn.png(quick=True), drawn.alt)


def test_what_is_kept_changes_no_random_number_and_nothing_is_kept_for_a_learner(monkeypatch):
    def draw(w):
        random.random(), torch.rand(()), np.random.rand()
        return line(w)

    def after():
        random.seed(0), torch.manual_seed(0), np.random.seed(0)
        shown = explore(draw, w=(0, 3))
        return (random.random(), float(torch.rand(())), np.random.rand()), shown.picture.stops

    without, nothing = after()
    monkeypatch.setenv(KEPT, "yes")
    kept, stops = after()
    assert without == kept and nothing == {} and len(stops["pictures"]) == 4


def test_a_page_leads_no_text_out_of_its_script():
    controls = [{"name": "<w>", "kind": "slider", "labels": ["0", "1"], "at": 1}]
    controls.append({"name": "seed", "kind": "slider", "labels": ["7"], "at": 0})
    made = page({"controls": controls, "pictures": [["YQ==", "</script><b>"], ["Yg==", 'a "b"']]})
    assert "</script><b>" not in made and "&lt;w&gt;" in made and made.count("</script>") == 1
    assert '<img src="data:image/png;base64,Yg==" alt="a &quot;b&quot;">' in made and 'max="1" value="1"' in made
    assert "<span>seed 7</span>" in made and made.count("<input") == 1  # nothing to move where there is one value
