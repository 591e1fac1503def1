"""Laws of the scrubber's numbers: what is packed is what is shown, and a page needs nothing else."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
import torch
from PIL import Image

from diffrl_lab.diffusion import Rectified, chain, ddim
from diffrl_lab.diffusion.denoisers import GaussianDenoiser
from diffrl_lab.widgets.mazes import unfolding
from diffrl_lab.widgets.movie import lying, movie, movie_html, pack, stack, unpack
from diffrl_lab.widgets.pictures import COLOUR

ALT = "Five plans of nine points come out of noise, all points at once."
MAZE = [[1, 1, 1], [1, 0, 1], [1, 1, 1]]


@pytest.fixture
def frames():
    g = torch.Generator().manual_seed(0)
    D = GaussianDenoiser(torch.zeros(9, 2), Rectified(), std=0.5)
    return list(chain(D, torch.randn(5, 9, 2, generator=g), steps=7, step=ddim()))


def test_the_bytes_are_the_frames_bit_for_bit(frames):
    few = {"t": [1.0, 0.0], "x_t": np.random.default_rng(1).normal(size=(2, 5, 9, 2))}
    shown = unpack(*pack({"long": frames, "short": few}, alt=ALT))
    for k, frame in enumerate(frames):
        torch.testing.assert_close(torch.tensor(shown["long"]["x_t"][k]), frame.x_t.float(), rtol=0, atol=0)
        torch.testing.assert_close(torch.tensor(shown["long"]["x0_hat"][k]), frame.x0_hat.float(), rtol=0, atol=0)
        assert abs(shown["long"]["t"][k] - float(frame.t)) < 1e-5
    np.testing.assert_array_equal(shown["short"]["x_t"], few["x_t"].astype(np.float32))
    assert shown["short"]["x0_hat"] is None


def test_positions_are_two_columns_after_the_transform(frames):
    wide = [f._replace(x_t=torch.cat([-f.x_t, f.x_t], -1), x0_hat=None) for f in frames]
    shown = stack(wide, transform=lambda x: 3 * x + 1, dims=(2, 1))["x_t"]
    np.testing.assert_allclose(shown[2, ..., 0], 3 * frames[2].x_t[..., 0].numpy() + 1, rtol=1e-6)
    np.testing.assert_allclose(shown[2, ..., 1], 1 - 3 * frames[2].x_t[..., 1].numpy(), rtol=1e-6)


def test_numbers_of_half_precision_are_shown_as_they_are():
    x = torch.randn(2, 5, 9, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    shown = stack({"t": torch.tensor([1, 0], dtype=torch.bfloat16), "x_t": x})["x_t"]
    torch.testing.assert_close(torch.tensor(shown), x.float(), rtol=0, atol=0)


def test_a_sequence_of_numbers_is_drawn_against_its_index():
    x = np.random.default_rng(0).normal(size=(4, 3, 6)).astype(np.float32)
    for shape in (x, x[..., None]):
        shown = stack({"t": [1, 0.6, 0.3, 0], "x_t": shape})["x_t"]
        np.testing.assert_array_equal(shown[..., 0], np.broadcast_to(np.arange(6), x.shape))
        np.testing.assert_array_equal(shown[..., 1], x)


def test_a_frame_without_a_guess_shows_none_and_not_a_wrong_one(frames):
    guesses = stack([frames[0]._replace(x0_hat=None), *frames[1:]])["x0_hat"]
    assert np.isnan(guesses[0]).all() and np.isfinite(guesses[1:]).all()


def test_the_share_of_noise_on_rectified_flow_halves_the_variance_in_the_middle():
    meta, _ = pack({"t": [1.0, 0.5, 0.0], "x_t": np.zeros((3, 4, 2))}, schedule=Rectified(), alt=ALT)
    np.testing.assert_allclose(meta["panels"][0]["noise"], [1, 0.5**0.5, 0], atol=1e-4)


def test_a_page_is_self_contained_and_holds_the_numbers(frames):
    page = movie_html(frames, maze=MAZE, alt=ALT + " </script><b>", start=(0, 0), goal=(0.2, 0.2))
    assert not re.search(r"https?:|//cdn|\bimport\b|src=|href=", page)
    assert page.count("</script>") == 1
    encoded = re.search(r'atob\("([^"]+)"\)', page).group(1)
    assert base64.b64decode(encoded) == movie(frames, alt=ALT).data


def test_plain_text_is_the_same_in_every_run_and_holds_the_alt_text(frames):
    first, second = movie(frames, alt=ALT), movie(frames, alt=ALT)
    bundles = [m._repr_mimebundle_()[0] for m in (first, second)]
    assert bundles[0]["text/plain"] == bundles[1]["text/plain"] == repr(first) == f"movie: {ALT}"
    assert bundles[0]["image/png"] == bundles[1]["image/png"]


def test_the_film_strip_shows_noise_first_and_the_plan_last():
    far = np.zeros((9, 1, 2, 2)) + np.linspace(-0.4, 0.4, 9)[:, None, None, None]
    strip = movie({"t": np.linspace(1, 0, 9), "x_t": far}, maze=MAZE, alt=ALT).strip
    image = np.asarray(strip_image(strip)).astype(int)
    blue = (np.abs(image - [0, 0x72, 0xB2]).max(-1) < 90) & (image[..., 2] > image[..., 0] + 60)
    w = image.shape[1] // 5
    columns = [np.nonzero(blue[:, i * w : (i + 1) * w].any(0))[0].mean() for i in range(5)]
    assert all(b > a for a, b in zip(columns, columns[1:], strict=False)), columns
    assert "noise (left) to sample (right)" in strip.alt


def strip_image(picture):
    import io

    return Image.open(io.BytesIO(picture.png())).convert("RGB")


def test_a_picture_that_moves_plays_once_from_noise_to_the_plan_beside_a_belief_that_rests(frames):
    import io

    K = 9
    far = np.zeros((K, 1, 2, 2)) + [[-0.4, 0.0], [0.4, 0.0]]
    moves = far * np.linspace(1, 0.2, K)[:, None, None, None]
    shown = unfolding({"t": np.linspace(1, 0, K), "x_t": moves, "x0_hat": far}, maze=MAZE, frames=5, alt=ALT)
    data, _ = shown._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == shown.data and data["text/plain"] == ALT == repr(shown)
    image, wide, steady = Image.open(io.BytesIO(shown.data)), [], []
    assert image.n_frames == 5 and image.info["loop"] == 1, "WCAG 2.2.2: it stops by itself"
    for k in range(5):
        image.seek(k)
        assert image.info["duration"] == [1500, 300, 300, 300, 3000][k]
        left, right = np.split(np.asarray(image.convert("RGB")).astype(int), [image.width // 2], axis=1)
        middle = left[image.height // 3 : 2 * image.height // 3, image.width // 7 : -image.width // 7]
        grey = np.nonzero((np.abs(middle - 0x77) < 20).all(-1).any(0))[0]
        wide.append(np.ptp(grey)), steady.append(right)
    assert wide[0] > 2 * wide[-1] and (np.diff(wide) <= 0).all(), wide
    assert all((s[30:] == steady[0][30:]).all() for s in steady), "the belief, without its title, rests"
    with pytest.raises(ValueError, match="40 characters"):
        unfolding({"t": [1, 0], "x_t": moves, "x0_hat": far}, maze=MAZE, alt="short")


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"alt": "too short"}, "40 characters"),
        ({"show": "x0"}, "x_t, x0_hat, both"),
        ({"groups": [0, 1]}, "5 samples, 2 groups"),
        ({"maze": [[1, 1], [1]]}, "rectangular"),
        ({"frames": []}, "at least one frame"),
        ({"frames": {"t": [1.0], "x_t": np.zeros((1, 2, 3, 4, 5))}}, "got"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(frames, wrong, said):
    with pytest.raises(ValueError, match=said):
        movie(**({"frames": frames, "alt": ALT} | wrong))


def test_too_much_for_a_page_is_refused():
    with pytest.raises(ValueError, match="ship fewer samples"):
        pack({"t": np.linspace(1, 0, 400), "x_t": np.zeros((400, 64, 128, 2), np.float32)}, alt=ALT)


def scales(**also):
    """Plans [K=3, S=2] over a scale w in a maze, and beside them a dot on a line with limits of its own."""
    x = np.arange(3 * 2 * 4 * 2, dtype=np.float32).reshape(3, 2, 4, 2)
    shown = {"plans": {"t": [0.0, 1.0, 2.0], "x_t": x}, "front": {"t": [0.0, 1.0, 2.0], "x_t": x[:, :1, :1]}}
    options = {"maze": {"plans": MAZE}, "limits": {"front": (0, 1, 0, 2)}}
    options["groups"] = {"plans": [[0, 1], [1, 1], [1, 0]]}
    return shown, {"alt": ALT, "clock": "w", "labels": ["left", "right"], **options, **also}


def test_each_panel_has_its_own_scene_where_one_is_named_for_it():
    shown, options = scales()
    plans, front = pack(shown, **options)[0]["panels"]
    assert plans["walls"] and plans["limits"] == [-1.0, 1.0, -1.0, 1.0] and front["walls"] is None
    assert front["limits"] == [0, 1, 0, 2] and front["groups"] is None


def test_a_sample_may_change_its_group_from_frame_to_frame_in_the_order_k_then_s():
    shown, options = scales()
    assert pack(shown, **options)[0]["panels"][0]["groups"] == [0, 1, 1, 1, 1, 0]
    with pytest.raises(ValueError, match=r"are \[K, S\] = \(3, 2\); got \(2, 2\)"):
        pack(shown, **{**options, "groups": {"plans": [[0, 1], [1, 1]]}})


def test_a_group_has_one_number_in_every_panel():
    shown, options = scales(groups={"plans": ["right", "left"], "front": ["right"]}, labels=None)
    meta, _ = pack(shown, **options)
    assert meta["labels"] == ["left", "right"] and [p["groups"] for p in meta["panels"]] == [[1, 0], [1]]


def test_the_film_strip_of_another_clock_tells_its_values_and_shows_the_first_scene_alone():
    shown, options = scales()
    strip = movie(shown, **options).strip
    titles = [title for ax in strip.axes if (title := ax.get_title(loc="left") or ax.get_title())]
    assert titles == ["w = 0.00", "w = 1.00", "w = 2.00"] and "w grows from left to right" in strip.alt


def test_a_chart_beside_the_panels_holds_one_point_per_frame_and_what_is_exact_stays():
    shown, options = scales()
    x, y = [150.0, 160.0, 170.0], [1.0, 0.5, 0.0]
    chart = {"x": "return", "y": "bits", "curves": {"ascent": (x, y)}, "exact": {"tilt": ([150.0, 175.0], [1.0, 0.1])}}
    meta, data = pack(shown, charts={"frontier": chart}, **options)
    ascent, tilt = meta["charts"][0]["curves"]
    assert ascent["at"] == [[150, 1], [160, 0.5], [170, 0]] and ascent["moving"] and not tilt["moving"]
    low, high = meta["charts"][0]["limits"][:2]
    assert low < 150 and high > 175 and len(unpack(meta, data)) == 2
    page = movie_html(shown, charts={"frontier": chart}, **options)
    assert '"x": "return"' in page and "paintChart" in page


def test_a_chart_whose_curve_does_not_follow_the_frames_is_refused():
    shown, options = scales()
    with pytest.raises(ValueError, match="3 frames, 'ascent' has 2"):
        pack(shown, charts={"": {"x": "a", "y": "b", "curves": {"ascent": ([0, 1], [0, 1])}}}, **options)
    with pytest.raises(ValueError, match="has dots, too"):
        pack(shown, charts={"": {"x": "a", "y": "b", "curves": {}, "dots": 1}}, **options)


def test_each_row_of_the_film_strip_has_the_colours_of_its_own_panel():
    shown, _ = scales()
    both = {"a": shown["plans"], "b": shown["plans"]}
    strip = movie(both, maze=MAZE, alt=ALT, clock="w", groups={"a": [[0, 0]] * 3, "b": [[1, 1]] * 3}).strip
    tones = [{line.get_color() for line in ax.lines} for ax in strip.axes]
    assert [t for t in tones if t] == [{COLOUR["left"]}] * 3 + [{COLOUR["right"]}] * 3


def test_the_still_of_a_histogram_has_an_axis_and_the_exact_law_of_its_own_frame_dashed():
    x, t = np.linspace(-3, 3, 50), [1.0, 0.5, 0.0]
    law = np.stack([np.exp(-x * x / 2 / s) / (2 * np.pi * s) ** 0.5 for s in (2.0, 1.0, 0.5)])
    samples = np.random.default_rng(0).normal(size=(3, 400))
    strip = movie({"t": t, "x_t": samples}, curve=(x, law), alt=ALT, limits=(-3, 3, 0, 1), samples=400).strip
    for k, ax in enumerate(strip.axes[:3]):
        (line,) = ax.lines
        np.testing.assert_allclose(line.get_ydata(), law[k], rtol=1e-6)
        assert line.get_linestyle() != "-" and len(ax.get_xticks()) > 1
    assert strip.axes[0].get_ylabel() == "density" and strip.axes[0].get_xlabel() == "x"


def test_axes_have_names_where_there_is_no_maze_and_plans_of_numbers_lie_against_their_index():
    rows = {"t": [1.0, 0.0], "x_t": np.random.default_rng(0).normal(size=(2, 3, 6))}
    assert pack(rows, alt=ALT)[0]["panels"][0]["axes"] == ["index", "x"]
    assert pack(rows, alt=ALT, xlabel="u", ylabel="x_t")[0]["panels"][0]["axes"] == ["u", "x_t"]
    assert pack({"t": [1.0], "x_t": np.zeros((1, 4))}, alt=ALT)[0]["panels"][0]["axes"] == ["x", "density"]
    assert pack({"t": [1.0], "x_t": np.zeros((1, 4, 2))}, maze=MAZE, alt=ALT)[0]["panels"][0]["axes"] is None
    with pytest.raises(ValueError, match="80 to 1000; got 5"):
        pack(rows, alt=ALT, height=5)


def over_legs(**also):
    """Two paths in a maze, of which the first alone is drawn from the beginning, over three legs that light up."""
    x = np.full((3, 2, 4, 2), np.nan)
    for k in range(3):
        x[k, 0, : k + 2] = np.linspace(-0.4, -0.1, 4)[: k + 2, None]
    x[2, 1] = 0.3
    legs = [np.random.default_rng(i).uniform(-0.5, 0.5, (i + 2, 2)) for i in range(3)]
    shown = {"t": [0.0, 1.0, 2.0], "x_t": x}
    return shown, {
        "maze": MAZE,
        "alt": ALT,
        "groups": ["a", "b"],
        "ends": True,
        "under": legs,
        "lit": [[2], [], [0, 1]],
        **also,
    }


def test_what_lies_under_the_paths_is_packed_bit_for_bit_and_lights_up_in_its_own_frames():
    shown, options = over_legs()
    paths, lit = lying(*pack(shown, **options))
    assert lit == [[2], [], [0, 1]]
    for path, leg in zip(paths, options["under"], strict=True):
        np.testing.assert_array_equal(path, leg.astype(np.float32))
    np.testing.assert_array_equal(unpack(*pack(shown, **options))[""]["x_t"], shown["x_t"].astype(np.float32))
    assert lying(*pack(shown, **over_legs(under=None, lit=None)[1])) is None


def test_in_the_film_strip_a_path_has_the_bright_colour_in_the_frames_that_name_it_and_grey_in_the_others():
    shown, options = over_legs()
    for ax, lit in zip(movie(shown, **options).strip.axes, options["lit"], strict=False):
        found = [line.get_color() for leg in options["under"] for line in ax.lines
                 if np.array_equal(np.stack(line.get_data(), 1), leg.astype(np.float32))]  # fmt: skip
        assert found == [COLOUR["goal" if i in lit else "noise"] for i in range(3)]


def test_a_larger_dot_stands_at_the_last_point_that_a_path_has_reached():
    shown, options = over_legs()
    for k, ax in enumerate(movie(shown, **options).strip.axes[:3]):
        dots = [
            line.get_xydata()[0] for line in ax.lines if line.get_markersize() == 4.5 and len(line.get_xydata()) == 1
        ]
        ends = [shown["x_t"][k, 0, k + 1], shown["x_t"][k, 1, 3]][: 1 + (k == 2)]
        np.testing.assert_allclose(dots, ends, rtol=1e-6)


def test_paths_that_light_up_must_be_there_and_have_a_row_for_each_frame():
    for wrong, said in (
        ({"lit": [[0], [1]]}, "each of 3 frames"),
        ({"lit": [[], [], [3]]}, "0 to 2"),
        ({"under": None}, "none"),
    ):
        shown, options = over_legs(**wrong)
        with pytest.raises(ValueError, match=said):
            pack(shown, **options)
