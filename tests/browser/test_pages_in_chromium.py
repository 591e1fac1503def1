"""The HTML edition in a real browser, from a file, without a network: films move, formulae stand, nothing is asked."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyterlab_page import Seen, chromium, differ, page
from PIL import Image
from playwright.sync_api import ElementHandle

from diffrl_lab.course import editions, running
from diffrl_lab.publish import pages

pytestmark = pytest.mark.browser
SOURCES = editions.sources()
QUICK = [pytest.param(s, id=s.stem, marks=[] if s.stem.startswith("01") else [pytest.mark.slow]) for s in SOURCES]
PROSE = """() => { const main = document.querySelector("main").cloneNode(true);
    main.querySelectorAll("pre, code, script, style, .dm").forEach((e) => e.remove()); return main.textContent; }"""
CUT = "() => [...document.querySelectorAll('.code, .code pre')].filter((e) => e.scrollWidth > e.clientWidth)"
LIGHT = """() => ["color", "backgroundColor"].map((k) => getComputedStyle(document.body)[k].match(/[\\d.]+/g))
    .map((rgb) => rgb.slice(0, 3).reduce((a, b) => a + Number(b), 0) / 765)"""
# The cells that make something to be moved, and between which and the next cell neither a film nor a picture stands.
EMPTY = """() => {
    const all = [...document.querySelectorAll('.code, .out canvas, .out img')];
    return all.flatMap((e, i) => /\\b(movie|explore|plan_explorer)\\(/.test(e.textContent) && e.matches('.code')
        && !(all[i + 1] && !all[i + 1].matches('.code')) ? [e.textContent.slice(0, 80)] : []);
}"""
# Every control of an explorer goes through its values: which pictures, or words in place of one, are shown.
TURN = """(part) => [...part.querySelectorAll("input, select")].flatMap((c) => {
    const n = Number(c.dataset.n), first = c.value, shown = () => part.querySelector("p:not([hidden])")?.textContent
        || part.querySelector("img").src;
    const go = (k) => { c.value = String(k); c.dispatchEvent(new Event("input")); return shown(); };
    const all = [...Array(n).keys()].map(go);
    go(first);
    return all;
})"""


@pytest.fixture
def seen() -> Iterator[Seen]:
    executable = chromium()
    if executable is None:
        message = "NO CHROMIUM: the pages were not seen in a browser (install chromium or set CHROMIUM)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with page(executable) as tab:
        tab.context.set_offline(True)
        yield Seen(tab)


def shot(canvas: ElementHandle) -> Image.Image:
    canvas.scroll_into_view_if_needed()
    return Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")


@pytest.mark.parametrize("source", QUICK)
def test_a_page_needs_no_kernel_and_no_network(source: Path, seen: Seen, tmp_path: Path) -> None:
    running.run([source.stem], {"PROFILE": "smoke"}, tmp_path, page=pages.write)
    tab, asked = seen.page, list[str]()
    tab.on("request", lambda request: asked.append(request.url))
    file = (tmp_path / f"{source.stem}.html").as_uri()
    tab.goto(file)
    assert "These numbers are those of a quick run" in tab.inner_text(".banner")
    tab.eval_on_selector_all("details", "all => all.forEach((fold) => fold.open = true)")
    assert tab.evaluate(EMPTY) == [], "what a learner moves in the notebook is a film or a picture on the page"
    films = tab.query_selector_all(".dm figure:not(.dm-pick):not(figure:not(.dm-pick) ~ figure) canvas")
    assert films or not re.search(r"\b(movie|plan_explorer)\(", source.read_text("utf-8"))
    for canvas in films:
        before = shot(canvas)
        seen.drag(canvas)
        assert differ(before, shot(canvas)), canvas.get_attribute("aria-label")
    explorers = tab.query_selector_all(".diffrl-stops")
    assert explorers or not re.search(r"(?<!plan_)\bexplore\(", source.read_text("utf-8"))
    for part in explorers:
        pictures = part.evaluate(TURN)
        assert len(pictures) > 1 and len(set(pictures)) > 1, part.inner_text()
    dollars = tab.evaluate(PROSE).count("$")
    formulae = tab.eval_on_selector_all("math", "all => all.map(m => m.getBoundingClientRect().height)")
    words = tab.eval_on_selector_all("img, canvas", "all => all.map(e => e.alt || e.getAttribute('aria-label') || '')")
    assert formulae and min(formulae) > 5 and dollars == 0
    assert all(len(text) >= 40 for text in words), words
    assert ([u for u in asked if not u.startswith(("data:", "blob:"))], seen.errors, seen.outside) == ([file], [], [])


def test_a_page_is_read_on_a_phone_and_in_the_dark(seen: Seen, tmp_path: Path) -> None:
    text = "# Long\n\n$$" + " + ".join(f"x_{n}" for n in range(60)) + "$$\n\n| a | b |\n|---|---|\n| c | d |"
    make = nbformat.v4
    cells = [make.new_markdown_cell(text), make.new_code_cell("x = " + " + ".join("abcdefgh" * 9))]
    file = pages.write(make.new_notebook(cells=cells), tmp_path / "page.html")
    seen.page.set_viewport_size({"width": 390, "height": 800})
    seen.page.goto(file.as_uri())
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.page.evaluate(CUT) == [], "no line of code is cut, on a phone either"
    for scheme, dark in (("light", False), ("dark", True)):
        seen.page.emulate_media(color_scheme=scheme)
        ink, paper = seen.page.evaluate(LIGHT)
        assert abs(ink - paper) > 0.7 and (ink > paper) == dark
