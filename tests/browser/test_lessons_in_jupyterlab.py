"""A real browser opens a lesson in JupyterLab, runs it, moves every control and looks at what changes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyterlab_page import Seen, chromium, page, server

from diffrl_lab.course import editions

pytestmark = pytest.mark.browser
SOURCES = editions.sources()
QUICK = [pytest.param(s, id=s.stem, marks=[] if s.stem.startswith("00") else [pytest.mark.slow]) for s in SOURCES]
KNOWN_NOISE = ()  # console errors of JupyterLab itself; a lesson's own are never listed here


@pytest.fixture(scope="module")
def executable() -> str:
    found = chromium()
    if found is None:
        message = "NO CHROMIUM: the lessons were not seen in a browser (install chromium or set CHROMIUM)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a running JupyterLab and the folder it shows."""
    root, scratch = tmp_path_factory.mktemp("lessons"), tmp_path_factory.mktemp("lab")
    with server(root, scratch) as address:
        yield address, root


@pytest.mark.parametrize("source", QUICK)
def test_a_lesson_runs_and_every_control_changes_the_picture(
    source: Path, executable: str, lab: tuple[str, Path], tmp_path: Path
) -> None:
    address, root = lab
    shutil.copy(editions.target(source), root)
    shots = Path(os.environ.get("DIFFRL_SHOTS", tmp_path))
    with page(executable) as tab:
        seen = Seen(tab)
        seen.open(address.format(f"{source.stem}.ipynb"))
        assert stored_pictures(seen) > 0, "before anything is run the lesson shows no picture"
        assert seen.run_all() == []
        dead = move_everything(seen)
        tab.screenshot(path=shots / f"{source.stem}.png")
        assert dead == []
        assert [e for e in seen.errors if not e.startswith(KNOWN_NOISE)] == []
        assert seen.outside == []


def stored_pictures(seen: Seen) -> int:
    drawn = "all => all.filter(i => i.naturalWidth > 0).length"
    return seen.page.eval_on_selector_all(".jp-OutputArea-output img", drawn)


def move_everything(seen: Seen) -> list[str]:
    """Move every control once. -> those after which no pixel outside the controls had changed."""
    dead = []
    controls = seen.controls()
    assert controls, "the lesson has no control"
    for control in controls:
        if not (control.is_visible() and control.is_enabled()):
            continue
        name = seen.name(control)
        dead += [f"{name} ({how})" for how, act in seen.ways(control) if not seen.changes(control, act)]
        seen.stop(control)
    return dead
