"""The scrubber in a real browser, from a file and without a kernel: what is painted is what was packed."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from diffrl_lab.widgets.explore import plan_explorer
from diffrl_lab.widgets.movie import _script, movie_html
from diffrl_lab.widgets.pictures import COLOUR, Picture, figure, img

pytestmark = pytest.mark.browser
ALT = "One point that moves from the left of a square room to its right, seen in eleven frames."
ROOM = [[0] * 4] * 4  # x and y from -2 to 2
X = np.linspace(-1.5, 1.5, 11)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    sync = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        message = "NO CHROMIUM: the scrubber was not seen in a browser (install chromium or set CHROMIUM)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    point = {
        "t": np.linspace(1, 0, 11),
        "x_t": np.stack([[[x, 0.5]] for x in X]),
        "x0_hat": np.stack([[[1.5, -1]]] * 11),
    }
    half = {k: v[::2] for k, v in point.items()}
    file = tmp_path_factory.mktemp("page") / "movie.html"
    file.write_text(movie_html({"all": point, "half": half}, maze=ROOM, alt=ALT), encoding="utf-8")
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 800, "height": 700})
        page.wrong = []
        page.on("pageerror", lambda e: page.wrong.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith("file:") else page.wrong.append(r.url))
        page.goto(file.as_uri())
        yield page
        browser.close()


def painted(tab, panel: int) -> tuple[float, float]:
    """Where the blue of a panel's canvas is, in the room's units."""
    image = Image.open(io.BytesIO(tab.locator("canvas").nth(panel).screenshot())).convert("RGB")
    p = np.asarray(image).astype(int)[4:-4, 4:-4]
    y, x = np.nonzero((p[..., 2] - p[..., 0] > 60) & (p[..., 2] > 120))
    return 4 * (x.mean() + 4) / image.width - 2, 2 - 4 * (y.mean() + 4) / image.height


def at(tab) -> int:
    return int(tab.locator(".dm").get_attribute("data-step"))


def press(tab, *keys: str) -> None:
    tab.locator("input[type=range]").focus()
    for key in keys:
        tab.keyboard.press(key)


def test_the_keys_move_time_and_each_frame_is_painted_where_its_numbers_say(tab):
    press(tab, "Home")
    for k in (0, 1, 2, 3):
        assert at(tab) == k
        np.testing.assert_allclose(painted(tab, 0), (X[k], 0.5), atol=0.04)
        tab.keyboard.press("ArrowRight")
    press(tab, "End", "ArrowLeft")
    np.testing.assert_allclose(painted(tab, 0), (X[9], 0.5), atol=0.04)


def test_panels_with_fewer_steps_keep_to_the_same_time(tab):
    press(tab, "Home", *["ArrowRight"] * 4)
    np.testing.assert_allclose(painted(tab, 1), (X[4], 0.5), atol=0.04)
    press(tab, "End")
    np.testing.assert_allclose(painted(tab, 1), (X[10], 0.5), atol=0.04)


def test_a_sideways_drag_turns_time_back_and_forth(tab):
    press(tab, "Home")
    box = tab.locator("canvas").first.bounding_box()
    tab.mouse.move(box["x"] + 40, box["y"] + 50)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 40 + box["width"] * 0.4, box["y"] + 60, steps=4)
    assert at(tab) == 5
    tab.mouse.move(box["x"] + 40, box["y"] + 60, steps=4)
    tab.mouse.up()
    assert at(tab) == 0


def test_space_plays_to_the_end_and_the_guess_can_be_shown(tab):
    press(tab, "Home", "Space")
    tab.wait_for_function("document.querySelector('.dm').dataset.step === '10'")
    tab.get_by_role("button", name="Show x0_hat").click()
    np.testing.assert_allclose(painted(tab, 0), (1.5, -1), atol=0.04)
    tab.get_by_role("button", name="Show x_t: ").click()


def test_a_repaint_takes_under_ten_milliseconds_and_nothing_left_the_page(tab):
    press(tab, "Home")
    spent = []
    for _ in range(10):
        tab.keyboard.press("ArrowRight")
        spent.append(float(tab.locator(".dm").get_attribute("data-ms")))
    assert sorted(spent)[5] < 10, spent
    assert tab.wrong == []


def test_a_reader_of_the_screen_hears_what_it_is_and_where_time_stands(tab):
    press(tab, "Home", "ArrowRight")
    assert tab.locator(".dm").get_attribute("aria-label") == ALT
    assert tab.locator("input[type=range]").get_attribute("aria-valuetext") == "t = 0.900, step 1 of 10"
    names = tab.locator("button, input, canvas").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
    assert all(names), names


def test_another_clock_is_named_by_its_letter_and_a_dot_takes_its_groups_colour_frame_by_frame(tab, tmp_path):
    dot = {"t": [0.0, 2.0, 4.0], "x_t": np.array([[[[-1.0, 0.5]]], [[[0.0, 0.5]]], [[[1.0, 0.5]]]])}
    file = tmp_path / "scale.html"
    file.write_text(movie_html(dot, maze=ROOM, alt=ALT, clock="w", groups=[[0], [1], [0]], labels=["left", "right"]))
    page = tab.context.browser.new_page()
    page.goto(file.as_uri())
    press(page, "Home")
    seen = []
    for _ in range(3):
        seen.append(page.locator("output").inner_text())
        image = Image.open(io.BytesIO(page.locator("canvas").screenshot())).convert("RGB")
        blue = np.asarray(image).astype(int)[4:-4, 4:-4]
        seen.append(bool(((blue[..., 2] - blue[..., 0] > 60) & (blue[..., 2] > 120)).any()))
        page.keyboard.press("ArrowRight")
    page.close()
    assert seen == ["w = 0.000 · step 0 of 2", True, "w = 2.000 · step 1 of 2", False, "w = 4.000 · step 2 of 2", True]


def test_a_film_that_plays_by_itself_does_so_once_and_not_for_readers_who_want_less_motion(tab, tmp_path):
    point = {"t": np.linspace(1, 0, 11), "x_t": np.stack([[[x, 0.5]] for x in X])}
    file = tmp_path / "play.html"
    file.write_text(movie_html(point, maze=ROOM, alt=ALT, play=True), encoding="utf-8")
    for motion, end in (("no-preference", 10), ("reduce", 0)):
        page = tab.context.browser.new_page(reduced_motion=motion)
        page.goto(file.as_uri())
        page.wait_for_timeout(2500)
        assert at(page) == end
        page.close()


def test_steps_go_both_ways_and_a_loop_begins_anew_at_its_end(tab):
    press(tab, "Home")
    for name, wanted in (("Step forward", 1), ("Step forward", 2), ("Step back", 1)):
        tab.get_by_role("button", name=name).click()
        assert at(tab) == wanted
    tab.get_by_label("Speed").select_option("4")
    tab.get_by_role("button", name="Loop").click()
    press(tab, "End", "Space")
    for step in (10, 3):
        tab.wait_for_function(f"document.querySelector('.dm').dataset.step === '{step}'")
    tab.get_by_role("button", name="Loop").click()
    tab.wait_for_function("document.querySelector('.dm').dataset.step === '10'")
    assert tab.get_by_role("button", name="Play").is_visible()


def test_two_rows_of_panels_and_all_controls_fit_a_notebooks_screen(tab, tmp_path):
    x = {"t": np.linspace(1, 0, 4), "x_t": np.zeros((4, 5, 9)), "x0_hat": np.zeros((4, 5, 9))}
    file = tmp_path / "rows.html"
    file.write_text(movie_html({str(i): x for i in range(4)}, alt=ALT, labels=["left"]), encoding="utf-8")
    page = tab.context.browser.new_page(viewport={"width": 1190, "height": 640})
    page.goto(file.as_uri())
    box = page.locator(".dm").bounding_box()
    bars = page.locator(".dm-bar").evaluate_all("all => all.map(b => b.clientHeight)")
    page.close()
    assert box["height"] <= 640 and len(bars) == 1 and bars[0] < 40


def test_a_picture_is_plain_on_a_light_page_and_dark_in_jupyterlabs_dark_theme_with_its_hues(tab):
    fig, ax = figure(2)
    ax.axhspan(0, 1, color=COLOUR["model"])
    picture = Picture(fig, ALT).png(), ALT
    page = tab.context.browser.new_page()
    seen = {}
    for light in ("true", "false"):
        page.set_content(f"<body data-jp-theme-light={light}>{img(*picture)}</body>")
        shot = Image.open(io.BytesIO(page.locator("img").screenshot())).convert("RGB")
        seen[light] = np.array([shot.getpixel((2, 2)), shot.getpixel((shot.width // 2, shot.height // 2))])
    page.close()
    assert (seen["true"] == [[255, 255, 255], [0, 0x72, 0xB2]]).all()
    paper, blue = seen["false"]
    assert paper.max() < 25 and blue.argmax() == 2 and blue.max() > 0xB2


def test_a_leg_under_a_plan_lights_up_in_the_frames_that_name_it_and_a_larger_dot_stands_where_the_plan_is(
    tab, tmp_path
):
    plan = np.full((3, 1, 3, 2), np.nan)
    for k in range(3):
        plan[k, 0, : k + 1] = np.array([[-1.5, 0.5], [0.0, 0.5], [1.5, 0.5]])[: k + 1]
    legs = [np.array([[-1.5, -1.0], [1.5, -1.0]]), np.array([[-1.5, 1.2], [1.5, 1.2]])]
    film = movie_html(
        {"t": [0.0, 1.0, 2.0], "x_t": plan},
        maze=ROOM,
        alt=ALT,
        clock="s",
        ends=True,
        dots=False,
        under=legs,
        lit=[[], [0], [1]],
    )
    file = tmp_path / "legs.html"
    file.write_text(film, encoding="utf-8")
    page = tab.context.browser.new_page()
    page.goto(file.as_uri())
    press(page, "Home")
    pink, front = [], []
    for _ in range(3):
        image = np.asarray(Image.open(io.BytesIO(page.locator("canvas").screenshot())).convert("RGB")).astype(int)
        rows = [image[round((2 - y) / 4 * len(image)) + np.arange(-3, 4)] for y in (-1.0, 1.2)]
        pink.append([bool(((p[..., 0] - p[..., 1] > 40) & (p[..., 2] - p[..., 1] > 20)).any()) for p in rows])
        blue = (image[..., 2] - image[..., 0] > 60) & (image[..., 2] > 120)
        thick = np.nonzero(blue.sum(0) >= 7)[0]  # a line is 2 pixels thick, a dot at an end 10
        front.append(4 * thick.mean() / image.shape[1] - 2)
        page.keyboard.press("ArrowRight")
    page.close()
    assert pink == [[False, False], [True, False], [False, True]]
    np.testing.assert_allclose(front, [-1.5, 0.0, 1.5], atol=0.05)


SCENE = """const host = document.body.appendChild(document.createElement("div")); window.asked = [];
window.film = mount(host, META, new Float32Array(Uint8Array.from(atob("DATA"), c => c.charCodeAt(0)).buffer),
    { ask(q) { asked.push(q); setTimeout(() => film.update(null, null, "planned"), 20); } });"""


def test_a_marker_is_grabbed_plans_are_asked_for_on_the_way_and_a_wall_sends_it_to_the_nearest_floor(tab):
    maze = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 1, 1, 1], [1, 1, 1, 1, 1]]  # x from -2.5 to 2.5, y from -2 to 2
    still_there = {"t": [1.0, 0.0], "x_t": np.zeros((2, 1, 3, 2))}
    shown = plan_explorer(lambda start, goal, seed: still_there, maze, (-1, 0.5), (1, 0.5))
    page = tab.context.browser.new_page()
    page.set_content("<body></body>")
    script = SCENE.replace("META", json.dumps(shown.meta)).replace("DATA", base64.b64encode(shown.data).decode())
    page.add_script_tag(content=_script() + script)
    canvas = page.locator(".dm-pick canvas")
    box, (x0, x1, y0, y1) = canvas.bounding_box(), shown.meta["pick"]["limits"]

    def to(x: float, y: float) -> None:
        page.mouse.move(
            box["x"] + 1 + (x - x0) / (x1 - x0) * (box["width"] - 2),
            box["y"] + 1 + (y1 - y) / (y1 - y0) * (box["height"] - 2),
        )
        page.wait_for_timeout(60)

    cursor = []
    for x in (0.0, 1.0):
        to(x, 0.5)
        cursor.append(canvas.evaluate("c => c.style.cursor"))
    page.mouse.down()
    for x in (0.8, 0.6, 0.4):
        to(x, 0.5)
    on_the_way = page.evaluate("asked.length")
    to(0.4, -0.3)
    goal, words = page.evaluate("film && asked.at(-1).goal"), page.locator("figcaption").first.inner_text()
    page.mouse.up()
    page.close()
    assert cursor == ["pointer", "grab"] and on_the_way >= 3
    np.testing.assert_allclose(goal, (0.4, 0.1), atol=0.03)
    assert words == "A wall: the goal goes to the nearest free floor. · planned"
