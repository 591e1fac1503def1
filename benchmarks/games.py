"""Breakout's pictures a second, and the milliseconds of a dreamed picture in the browser, 3 denoising steps.

Beside the game: the same pictures, which are known already, copied one after the other. Beside the dream: the same
network and steps in torch, one thread. Python's figures are processor time, the best of several repeats and for the
dream a median. Chromium's is a median by the clock: measure on a machine that does nothing else. It is the
environment's CHROMIUM, or what the system has.
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import statistics
import time
from pathlib import Path

import torch

from diffrl_lab.analysis import dreams
from diffrl_lab.data.shipped import shipped
from diffrl_lab.methods.models.diamond import Diamond
from diffrl_lab.widgets import play
from diffrl_lab.worlds import games

FRAMES, REPEATS = 10_000, 10
STEPS, PICTURES = 3, 60
SCRIPT = Path(play.__file__).with_name("dream.js").read_text("utf-8").partition("export {")[0]
TIMED = f"""([meta, bytes, past, act, steps, pictures]) => {{
  {SCRIPT}
  const w = unpack(meta.checkpoints[0].tensors, Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)));
  const random = generator(0), seen = Float32Array.from(past), done = Float32Array.from(act), took = [];
  for (let k = 0; k < pictures; k++) {{
    const z = Float32Array.from({{ length: 400 }}, random.normal), begun = performance.now();
    dream(w, meta, seen, done, steps, z);
    took.push(performance.now() - begun);
  }}
  return took; }}"""


def game() -> tuple[float, float]:
    """Pictures a second of the game under random actions, and of pictures that are copied."""
    actions = random.Random(0).choices(range(3), k=FRAMES)
    best, copied, pictures = 0.0, 0.0, []
    for seed in range(REPEATS):
        world, begun = games.Breakout(seed), time.thread_time()
        pictures = []
        for action in actions:
            world.step(action)
            pictures.append(world.frame())
        between = time.thread_time()
        for picture in pictures:
            picture.copy()
        ended = time.thread_time()
        best, copied = max(best, FRAMES / (between - begun)), max(copied, FRAMES / (ended - between))
    return best, copied


def dream() -> tuple[float | None, float]:
    """Milliseconds of a picture in Chromium (None without one) and in torch."""
    good = Diamond.load(shipped("weights/breakout-good.safetensors"))
    moment = dreams.fresh("breakout", 1, seed=10_000).only("certain")
    past, act, took = moment.past.float(), moment.act, []
    for _ in range(PICTURES):
        begun = time.thread_time()
        good.sample(past, act, steps=STEPS)
        took.append(1000 * (time.thread_time() - begun))
    ours = statistics.median(took)
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        return None, ours
    from playwright.sync_api import sync_playwright

    meta, data = play.pack({"good": good}, alt="A dream whose pictures are timed and never shown")
    asked = [meta, base64.b64encode(data).decode(), (2 * past - 1).flatten().tolist(), act.flatten().tolist()]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        came = browser.new_page().evaluate(TIMED, [*asked, STEPS, PICTURES])
        browser.close()
    return statistics.median(came), ours


def run() -> list[dict]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (played, copied), (browser, ours) = game(), dream()
    finally:
        torch.set_num_threads(threads)
    here = "no Chromium" if browser is None else browser
    return [
        {"what": "Breakout: pictures a second", "here": played, "beside it": copied, "to reach": ">= 100000"},
        {"what": "dreamed picture, Chromium: ms", "here": here, "beside it": ours, "to reach": "<= 60"},
    ]


def failures(rows: list[dict]) -> list[str]:
    game, dream = (row["here"] for row in rows)
    slow = [f"Breakout gives {game:.0f} pictures a second; 100,000 are wanted"] if game < 100_000 else []
    if not isinstance(dream, str) and dream > 60:
        slow.append(f"a dreamed picture takes {dream:.0f} ms in Chromium; 60 are allowed")
    return slow
