"""JupyterLab in Chromium as a learner has it: a server on loopback with a token, a page, and what is seen on it."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image, ImageChops, ImageDraw
from playwright.sync_api import ConsoleMessage, ElementHandle, Page, sync_playwright

CONTROLS = ", ".join(
    f".jp-OutputArea-output {kind}"
    for kind in ("input[type=range]", ".noUi-handle", "select", "input[type=checkbox]", "input[type=radio]")
    + ("input[type=number]", "button", ".dm canvas", "img[style*=crosshair]")
)
# What moves or lights up because it is the control itself is no change of the picture.
OWN_PLACE = "[role=status], .dm-bar, .dm-pick, .widget-inline-hbox, .widget-toggle-buttons, .widget-button"
PLAYED = ("Speed", "Loop")  # what changes how a film plays, and no picture by itself
RUN_ALL = "async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')"
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, i) =>
    (cell.model.toJSON().outputs || []).filter(o => o.output_type === 'error').map(o => `cell ${i}: ${o.evalue}`))"""
READY = """() => { const w = window.jupyterapp && window.jupyterapp.shell.currentWidget;
    const kernel = w && w.sessionContext && w.sessionContext.session && w.sessionContext.session.kernel;
    return !!kernel && kernel.status === 'idle'; }"""


def chromium() -> str | None:
    """The browser to test with: the environment's CHROMIUM, or what the system has."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def server(root: Path, scratch: Path) -> Iterator[str]:
    """A JupyterLab on `root` with its own settings in `scratch`. -> its address, {} standing for a path."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = scratch / "settings" / "@jupyterlab"
    for plugin, text in {
        "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
        "notebook-extension/tracker": '{"windowingMode": "none"}',
    }.items():
        file = settings / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    own = {f"JUPYTERLAB_{kind}_DIR": str(scratch / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")}
    own |= {"JUPYTER_CONFIG_DIR": str(scratch / "config"), "JUPYTER_RUNTIME_DIR": str(scratch / "runtime")}
    token = secrets.token_hex(16)
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", "--allow-root"]
    options += [
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={root}",
        "--LabApp.expose_app_in_browser=True",
    ]
    with open(scratch / "server.log", "w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        process = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT)
        try:
            _await_answer(f"http://127.0.0.1:{port}/api?token={token}", process, scratch / "server.log")
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}&reset"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_answer(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).read()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.2)


class Seen:
    """A page with what went wrong on it: errors on the console, and requests that left loopback (they are refused)."""

    def __init__(self, page: Page) -> None:
        self.page, self.errors, self.outside = page, list[str](), list[str]()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        page.route("**/*", lambda route: self._refuse(route) if self._leaves(route.request.url) else route.continue_())

    def _note(self, said: ConsoleMessage) -> None:
        # JupyterLab shows a text once before it has replaced the address of an attached picture (its own attachment:).
        if said.type == "error" and not said.location["url"].startswith("attachment:"):
            self.errors.append(f"{said.text} {said.location['url']}".strip())

    @staticmethod
    def _leaves(address: str) -> bool:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("127.0.0.1", "localhost")

    def _refuse(self, route) -> None:
        self.outside.append(route.request.url)
        route.abort()

    def open(self, address: str) -> None:
        """Open a notebook and wait for its kernel."""
        self.page.goto(address, wait_until="domcontentloaded", timeout=90_000)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        self.page.wait_for_function(READY, timeout=90_000)

    def run_all(self, seconds: float = 300) -> list[str]:
        """Run all cells. -> the errors that cells ended in."""
        self.page.set_default_timeout(seconds * 1000)
        self.page.evaluate(RUN_ALL)
        self.page.wait_for_function(READY)
        self.page.set_default_timeout(30_000)
        return self.page.evaluate(ERRORS)

    def controls(self) -> list[ElementHandle]:
        """Everything in the outputs that can be moved or pressed, seen and enabled, in reading order."""
        found = self.page.query_selector_all(CONTROLS)
        return [c for c in found if c.is_visible() and c.is_enabled() and c.get_attribute("aria-pressed") != "true"]

    def name(self, control: ElementHandle) -> str:
        says = "e => [e.tagName, e.type, e.getAttribute('aria-label') || e.innerText || e.title || ''].join(' ')"
        return control.evaluate(says)[:90]

    def area(self, control: ElementHandle) -> ElementHandle:
        return control.evaluate_handle("e => e.closest('.jp-OutputArea-output')").as_element()

    def picture(self, control: ElementHandle) -> Image.Image:
        """The output a control stands in, with the controls themselves blanked out."""
        area = self.area(control)
        area.scroll_into_view_if_needed()
        image = Image.open(io.BytesIO(area.screenshot(animations="disabled"))).convert("RGB")
        box = area.bounding_box()
        brush = ImageDraw.Draw(image)
        shown = area.query_selector("img, canvas")  # a guess shows none: there it is the number beside the slider
        for own in [*(area.query_selector_all(OWN_PLACE) if shown else ()), control]:
            place = own.bounding_box() if not own.evaluate("e => /CANVAS|IMG/.test(e.tagName)") else None
            if place and box:
                x, y = place["x"] - box["x"], place["y"] - box["y"]
                brush.rectangle((x - 6, y - 6, x + place["width"] + 6, y + place["height"] + 6), fill="white")
        return image

    def settled(self, control: ElementHandle) -> Image.Image:
        """The picture once it stands still."""
        last = self.picture(control)
        for _ in range(50):
            self.page.wait_for_timeout(100)
            now = self.picture(control)
            if not differ(last, now, least=1):
                break
            last = now
        return last

    def changes(self, control: ElementHandle, act: Callable[[], None], seconds: float = 20) -> bool:
        """Whether the picture a control stands beside is another one within some seconds after `act`.

        A film that stood at its end comes back to that picture: what counts for it is what is seen on the way.
        """
        plays, before = any(word in self.name(control) for word in (*PLAYED, "Play")), self.settled(control)
        act()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if differ(before, self.picture(control)) and (plays or differ(before, self.settled(control))):
                return True
            self.page.wait_for_timeout(100)
        return False

    def ways(self, control: ElementHandle) -> Iterator[tuple[str, Callable[[], None]]]:
        """The ways of moving a control: by mouse, and by keyboard where it takes keys."""
        kind = control.evaluate(
            "e => e.matches('.noUi-handle') ? 'handle' : e.tagName === 'INPUT' ? e.type : e.tagName"
        )
        if self.name(control).split(" ", 2)[-1].startswith(PLAYED):  # how a film plays is seen when it plays
            yield "and play", lambda: self.play(control, "select_option" if kind == "SELECT" else "click")
        elif kind in ("CANVAS", "IMG"):
            yield "drag", lambda: self.drag(control)
        elif kind in ("range", "handle"):
            yield "drag", lambda: self.slide(control)
            yield "keys", lambda: self.press(control, 5 * ["ArrowRight" if self._share(control) < 0.5 else "ArrowLeft"])
        elif kind == "number":
            yield "number", lambda: control.fill("2" if control.input_value() == "1" else "1")
        elif kind == "SELECT":
            yield "choice", lambda: control.select_option(index=1)
        elif "arrow keys" in self.name(control):
            yield "keys", lambda: self.press(control, 3 * ["ArrowRight"] + 2 * ["ArrowUp"] + ["ArrowLeft"])
        else:
            yield "click", control.click

    def play(self, control: ElementHandle, act: str) -> None:
        """Change how a film plays (its second choice, or a click), and play it."""
        getattr(control, act)(**({"index": 1} if act == "select_option" else {}))
        self._film(control).query_selector("button").click()

    def stop(self, control: ElementHandle) -> None:
        """A film that plays or goes round is stopped."""
        film = self._film(control)
        for button in film.query_selector_all("button[aria-label=Pause], button[aria-label^=Loop][aria-pressed=true]"):
            button.click()

    def _film(self, control: ElementHandle) -> ElementHandle:
        return control.evaluate_handle("e => e.closest('.dm-bar') || document.createElement('p')").as_element()

    def drag(self, canvas: ElementHandle) -> None:
        """Drag on a picture: a marker to free floor where there are markers, time to its other half elsewhere."""
        box = canvas.bounding_box()
        assert box
        if canvas.evaluate("e => !!e.closest('.dm-pick')"):
            says = "e => [...e.closest('.dm-pick').querySelectorAll('button')].map(b => b.innerText).join()"
            before = canvas.evaluate(says)
            for u, v in ((0.3, 0.3), (0.7, 0.7), (0.2, 0.75), (0.8, 0.2), (0.45, 0.2), (0.2, 0.45)):
                self._sweep(box, (0.5, 0.5), (u, v))
                if canvas.evaluate(says) != before:
                    return
        if canvas.evaluate("e => e.tagName === 'IMG'"):
            return self._sweep(box, (0.3, 0.6), (0.6, 0.4))
        time_is = canvas.evaluate(
            "e => { const r = e.closest('.dm').querySelector('[type=range]'); return r.value / r.max }"
        )
        self._sweep(box, *((0.8, 0.5), (0.3, 0.5)) if time_is > 0.5 else ((0.3, 0.5), (0.8, 0.5)))

    def _sweep(self, box, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=8)
        self.page.mouse.up()

    def slide(self, control: ElementHandle) -> None:
        """Drag a slider's handle by a third of its track, to the side with more room."""
        track = control.evaluate_handle("e => e.closest('.noUi-target') || e").as_element()
        box, share = track.bounding_box(), min(0.98, max(0.02, self._share(control)))
        assert box
        self._sweep(box, (share, 0.5), (share + (1 / 3 if share < 0.5 else -1 / 3), 0.5))

    def _share(self, control: ElementHandle) -> float:
        """Where a slider stands, from 0 (its least value) to 1."""
        says = "e => ['now', 'min', 'max'].map(k => e.getAttribute('aria-value' + k) || e[k === 'now' ? 'value' : k])"
        value, low, high = (float(v or 0) for v in control.evaluate(says))
        return (value - low) / (high - low)

    def press(self, control: ElementHandle, keys: list[str]) -> None:
        control.focus()
        for key in keys:
            self.page.keyboard.press(key)


def differ(a: Image.Image, b: Image.Image, least: int = 30) -> bool:
    """Whether two pictures differ in at least `least` pixels, or in size."""
    if a.size != b.size:
        return True
    counted = ImageChops.difference(a, b).convert("L").point(lambda v: 255 if v > 24 else 0).histogram()[255]
    return counted >= least


@contextmanager
def page(executable: str) -> Iterator[Page]:
    """A page of a headless Chromium, large enough to see a whole output."""
    with sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = play.chromium.launch(executable_path=executable, headless=True, args=options)
        try:
            yield browser.new_page(viewport={"width": 1300, "height": 1500})
        finally:
            browser.close()
