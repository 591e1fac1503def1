"""The blind rounds of the museum as a reader plays them: by mouse and keyboard, without a kernel, asking nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyterlab_page import Page, chromium, page

from diffrl_lab.analysis.exhibits import DATA, SAMPLES
from diffrl_lab.widgets import museum

pytestmark = pytest.mark.browser
ALT = "Rounds of blind diagnosis over two rooms of the failure museum"


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    executable = chromium()
    if executable is None:
        message = "NO CHROMIUM: the museum was not seen in a browser (install chromium or set CHROMIUM)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with page(executable) as tab:
        yield tab


def test_rounds_are_played_by_mouse_and_keyboard_and_scored(tab: Page, tmp_path: Path) -> None:
    game = museum.blind([SAMPLES, DATA], rounds=3, seed=2, alt=ALT)
    rounds = game.meta["rounds"]
    file = tmp_path / "museum.html"
    file.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><body>{museum.page(game.meta, game.data)}', "utf-8"
    )
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(file.as_uri())
    board = tab.locator(".dm")
    decide, following = (board.get_by_role("button", name=name) for name in ("this is my diagnosis", "next round"))
    assert decide.is_disabled() and following.is_disabled()
    assert board.locator("img").get_attribute("alt") == rounds[0]["alt"]
    assert rounds[0]["told"][0] not in board.inner_text(), "nothing is told before a diagnosis"

    board.get_by_role("radio", name=rounds[0]["truth"], exact=True).check()
    decide.click()
    assert "✓ You" in board.inner_text() and "you 1 of 1 · detector 1 of 1" in board.inner_text()
    assert all(line in board.inner_text() for line in rounds[0]["told"])

    following.click()
    wrong = next(name for name in rounds[1]["choices"] if name != rounds[1]["truth"])
    choice = board.get_by_role("radio", name=wrong, exact=True)
    choice.focus()
    tab.keyboard.press("Space")
    decide.focus()
    tab.keyboard.press("Enter")
    assert "✗ You" in board.inner_text() and "you 1 of 2 · detector 2 of 2" in board.inner_text()

    following.click()
    board.get_by_role("radio", name=rounds[2]["truth"], exact=True).check()
    decide.click()
    assert "you named 2 of 3, the detectors 3" in board.inner_text() and following.is_disabled()
    width = board.locator("img").evaluate("img => img.naturalWidth")
    assert width > 700 and all(url.startswith(("file:", "blob:")) for url in asked)
    if shot := os.environ.get("MUSEUM_SHOT"):
        tab.screenshot(path=shot)
