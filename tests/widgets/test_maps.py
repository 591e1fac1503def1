"""Laws of the survey's maps."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from diffrl_lab.widgets import maps, pictures


def pixels(picture: pictures.Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png())).convert("RGB")).astype(int)


def test_the_component_map_lights_the_box_it_is_asked_for():
    blue = np.array([0x00, 0x72, 0xB2])
    for i, name in enumerate(maps.COMPONENTS):
        shown = pixels(maps.component_map(name))
        lit = np.nonzero((np.abs(shown - blue).max(-1) < 10).any(0))[0]
        assert i / 5 < lit.mean() / shown.shape[1] < (i + 1) / 5
    with pytest.raises(ValueError, match="no component 'guidance'"):
        maps.component_map("guidance")


def test_an_unbuilt_cell_of_the_survey_says_so():
    picture = maps.survey_map({("policy learning", "offline", "single"): ("10 Diffusion-QL", False)})
    texts = [text.get_text() for text in picture.axes[0].texts]
    assert "10 Diffusion-QL\nnot built yet" in texts
    with pytest.raises(ValueError, match="no cell"):
        maps.survey_map({("policies", "offline", "single"): ("10", True)})
