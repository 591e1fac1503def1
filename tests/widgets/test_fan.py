"""Laws of the fan: what is drawn is the chain's own past and its futures, and a page of it needs nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from diffrl_lab.analysis.commitment import entropy_of, exact_weights, futures, moments
from diffrl_lab.data.toys import ring, two_modes
from diffrl_lab.diffusion import Cosine, MixtureDenoiser, chain, ddpm
from diffrl_lab.widgets.fan import fan, scene
from diffrl_lab.widgets.movie import movie_html, unpack
from diffrl_lab.widgets.pictures import COLOUR

ALT = "One chain of twelve steps and sixteen futures from each of three of its moments."
AT, NAMES = [0, 8, 12], ["low", "high"]


def made(law, seed: int = 0) -> tuple:
    D = MixtureDenoiser(law.weights, law.means, Cosine(), std=law.std)
    g = torch.Generator().manual_seed(seed)
    frames = list(chain(D, D.schedule.prior((1, *law.means.shape[1:]), g), steps=12, step=ddpm(), generator=g))
    runs = [futures(D, frames, k, again=16, generator=g)[:, 0] for k in AT]
    return D, frames, torch.stack([f.x_t[0] for f in frames]), runs


@pytest.fixture(scope="module")
def line() -> tuple:
    D, frames, past, runs = made(two_modes(0.5))
    labels = np.stack([(r[-1, :, 0] > 0).long() for r in runs])
    return D, frames, past, runs, labels


def test_every_path_is_the_chains_own_up_to_the_moment_and_its_future_from_there(line) -> None:
    _, frames, past, runs, labels = line
    shown = fan(past, runs, AT, moments(frames), labels, names=NAMES, alt=ALT)
    [drawn] = unpack(shown.meta, shown.data).values()
    assert drawn["x_t"].shape == (3, 16, 13, 2)
    np.testing.assert_array_equal(drawn["x_t"][..., 0], np.broadcast_to(np.arange(13), (3, 16, 13)))
    for m, k in enumerate(AT):
        np.testing.assert_allclose(drawn["x_t"][m, :, : k + 1, 1], np.tile(past[: k + 1, 0], (16, 1)), atol=1e-6)
        np.testing.assert_allclose(drawn["x_t"][m, :, k:, 1], runs[m][:, :, 0].T, atol=1e-6)
    np.testing.assert_allclose(drawn["t"], moments(frames)[AT], atol=1e-5)
    [panel] = shown.meta["panels"]
    assert panel["groups"] == labels.ravel().tolist() and shown.meta["labels"] == NAMES
    assert shown.meta["colours"]["groups"][:2] == [COLOUR["left"], COLOUR["right"]]
    assert panel["limits"][0] < 0 and panel["limits"][1] > 12


def test_the_curve_of_entropies_has_a_point_per_moment_and_the_exact_one_stays(line) -> None:
    D, frames, past, runs, labels = line
    t, own = moments(frames), entropy_of(exact_weights(D, frames)[:, 0])
    shown = fan(past, runs, AT, t, labels, names=NAMES, entropy=own[AT], exact=(t, own), alt=ALT)
    [chart] = shown.meta["charts"]
    moving, still = chart["curves"]
    assert moving["moving"] and len(moving["at"]) == 3 and not still["moving"] and len(still["at"]) == 13
    assert still["colour"] == COLOUR["exact"]


def test_in_two_dimensions_paths_lie_in_the_plane_and_the_unlabelled_have_a_sign_of_their_own() -> None:
    law = ring(3)
    _, frames, past, runs = made(law)
    labels = np.stack([torch.cdist(r[-1], law.means.float()).argmin(1) for r in runs])
    labels[0, 0] = -1
    frames_shown, given = scene(past, runs, AT, moments(frames), labels, names=["a", "b", "c"])
    [drawn] = frames_shown.values()
    np.testing.assert_allclose(drawn["x_t"][1, 3, 8:], runs[1][:, 3], atol=1e-6)
    assert given["labels"] == ["a", "b", "c", "none"] and given["groups"][0, 0] == 3


def test_a_page_needs_no_kernel_and_no_network_and_a_still_stands_in(line) -> None:
    _, frames, past, runs, labels = line
    shown, given = scene(past, runs, AT, moments(frames), labels, names=NAMES)
    page = movie_html(shown, alt=ALT, **given)
    assert ALT in page and not re.search(r"https?://(?!www\.w3\.org)", page)
    bundle, about = fan(past, runs, AT, moments(frames), labels, names=NAMES, alt=ALT)._repr_mimebundle_()
    assert bundle["image/png"] and ALT in about["image/png"]["alt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"at": [8, 0, 12]}, "at names a rising frame, 0 to 12, for each of 3 fans"),
        ({"at": [0, 7, 12]}, r"the futures from frame 7 are \(6, 16, 1\); got \(5, 16, 1\)"),
        ({"past": torch.zeros(13, 1)}, "must begin in the chain's own x_t"),
        ({"modes": np.full((3, 16), 2)}, "from -1 to 1"),
        ({"names": ["a", "b", "c", "d", "e"]}, "at most 4 modes"),
        ({"alt": "a fan"}, "40 characters"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_words(line, change, said) -> None:
    _, frames, past, runs, labels = line
    asked = {"past": past, "futures": runs, "at": AT, "times": moments(frames), "modes": labels, "names": NAMES}
    with pytest.raises(ValueError, match=said):
        fan(**asked | {"alt": ALT} | change)
