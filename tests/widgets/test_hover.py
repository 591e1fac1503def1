"""Laws of what one hovers over or turns: the figure has the numbers, the twin has the words, and nothing is fetched."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest

from diffrl_lab.publish import pages
from diffrl_lab.widgets import hover

ALT = "A surface that falls from the corner at the origin towards the one across from it."
X, Y = np.linspace(0, 1, 5), np.linspace(0, 2, 7)
Z = -(X[:, None] + Y[None])


def numbers(packed: dict) -> np.ndarray:
    shape = [int(n) for n in str(packed["shape"]).split(",")] if "shape" in packed else -1
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).reshape(shape)


def surface() -> hover.Hover:
    return hover.landscape(X, Y, Z, xlabel="x_t", ylabel="t", zlabel="energy", alt=ALT)


def test_a_surface_has_its_heights_where_they_belong_and_its_twin_the_same() -> None:
    shown = surface()
    [trace] = shown._repr_mimebundle_()[0][hover.PLOTLY]["data"]
    np.testing.assert_array_equal(numbers(trace["z"]), Z.T.astype(np.float32))  # plotly takes [Y, X]
    np.testing.assert_array_equal(numbers(trace["x"]), X.astype(np.float32))
    mesh = shown.twin.axes[0].collections[0]
    np.testing.assert_array_equal(mesh.get_array().reshape(7, 5), Z.T)


def test_a_point_of_a_frontier_says_what_it_was_made_with() -> None:
    shown = hover.frontier(
        {"exact": (X, -X), "cfg": (X[:2], X[:2])}, about={"cfg": {"scale": [0, 0.25]}}, xlabel="return", ylabel="bits",
        alt=ALT,
    )  # fmt: skip
    exact, cfg = shown._repr_mimebundle_()[0][hover.PLOTLY]["data"]
    assert cfg["hovertext"] == ["return: 0<br>bits: 0<br>scale: 0", "return: 0.25<br>bits: 0.25<br>scale: 0.25"]
    np.testing.assert_array_equal(numbers(exact["y"]), -X.astype(np.float32))
    np.testing.assert_array_equal(shown.twin.axes[0].lines[0].get_ydata(), -X)
    assert exact["line"]["color"] == shown.twin.axes[0].lines[0].get_color()


def test_what_does_not_fit_together_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"z is \[X, Y\] = \(5, 7\); got \(7, 5\)"):
        hover.landscape(X, Y, Z.T, xlabel="x", ylabel="y", zlabel="z", alt=ALT)
    with pytest.raises(ValueError, match=r"'cfg' has 5 points; got other numbers of values: \{'scale': 2\}"):
        hover.frontier({"cfg": (X, X)}, about={"cfg": {"scale": [1, 2]}}, xlabel="x", ylabel="y", alt=ALT)
    with pytest.raises(ValueError, match="40 characters"):
        hover.frontier({"cfg": (X, X)}, xlabel="x", ylabel="y", alt="a frontier")


def test_a_page_shows_the_twin_with_its_words_and_fetches_nothing() -> None:
    data, about = surface()._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data, metadata=about)
    page = pages.page(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("figure", outputs=[output])]))
    assert f'<img src="data:image/png;base64,{data["image/png"]}" alt="{ALT}">' in page
    assert "plotly" not in page and not re.search(r"https?:", json.dumps(data[hover.PLOTLY]))


def test_a_surface_of_sixty_by_sixty_points_is_small_in_a_notebook() -> None:
    n = np.linspace(0, 1, 60)
    shown = hover.landscape(n, n, np.outer(n, n), xlabel="x", ylabel="y", zlabel="z", alt=ALT)
    assert len(json.dumps(shown._repr_mimebundle_()[0])) < 150_000


def test_plotly_is_imported_when_the_first_figure_is_drawn_and_not_before() -> None:
    code = "import sys, diffrl_lab.widgets; print('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
