"""The dream that runs in a browser: its rules and its network are those of Python, and it is played with the keys."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from jupyterlab_page import Page, chromium, page

from diffrl_lab.analysis import dreams
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import seeded
from diffrl_lab.methods.models.diamond import Config, Diamond
from diffrl_lab.widgets import play
from diffrl_lab.worlds import games

pytestmark = pytest.mark.browser
SCRIPT = Path(play.__file__).with_name("dream.js").read_text("utf-8").partition("export {")[0]
ALT = "Breakout and the dream of a network that was never trained, side by side"


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    executable = chromium()
    if executable is None:
        message = "NO CHROMIUM: the dream was not played in a browser (install chromium or set CHROMIUM)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with page(executable) as tab:
        yield tab


def model() -> Diamond:
    """A network of which no weight is zero, as some are before a training."""
    made = seeded(0, Diamond, Config(), (4, 10, 10), 3)
    generator = torch.Generator().manual_seed(1)
    for weight in made.parameters():
        noise = 0.02 * torch.randn(weight.shape, generator=generator)
        weight.data = (noise if not weight.any() else weight.data).half().float()
    return made.eval()


def test_10000_random_steps_have_the_same_outcomes_and_pictures_as_in_python(tab: Page) -> None:
    game, player, rows = games.Breakout(3), games.careless(random.Random(4)), []

    def plain(state: games.Ball) -> list:
        return [*map(int, state[:5]), list(state.trail), *map(int, state[6:])]

    for _ in range(10_000):
        action, before = player(game), game.state
        outcomes = [[o.p, plain(o.state), o.reward] for o in game.outcomes(action)]
        game.step(action)
        rows.append([plain(before), action, outcomes, "".join(map(str, game.frame().ravel())), plain(game.state)])
    wrong = tab.evaluate(
        f"""(rows) => {{
        {SCRIPT}
        const plain = (s) => [s.paddle, s.x, s.y, s.dx, s.dy, s.trail, s.bricks, +s.struck, s.last, +s.lost];
        const state = ([paddle, x, y, dx, dy, trail, bricks, struck, last, lost]) =>
          ({{ paddle, x, y, dx, dy, trail, bricks, struck: !!struck, last, lost: !!lost }});
        return rows.filter(([before, action, wanted, picture, after]) => {{
          const came = Breakout.outcomes(state(before), action).map(([p, s, r]) => [p, plain(s), r]);
          return JSON.stringify(came) !== JSON.stringify(wanted) || Breakout.picture(state(after)).join("") !== picture;
        }}).length; }}""",
        json.loads(json.dumps(rows)),
    )
    assert wrong == 0


@pytest.mark.parametrize("which", ["random", "shipped"])
def test_the_same_noise_becomes_the_same_picture_as_in_torch(which: str, tab: Page) -> None:
    made = model() if which == "random" else Diamond.load(shipped("weights/breakout-good.safetensors"))
    meta, data = play.pack({which: made}, alt=ALT)
    moments, generator = dreams.fresh("breakout", 2, seed=10_000), torch.Generator().manual_seed(2)
    past, act = moments.past.float(), moments.act
    z = torch.randn(len(past), 4, 10, 10, generator=generator)
    asked = [[part.flatten().tolist() for part in one] for one in zip(2 * past - 1, act, z, strict=True)]
    came = tab.evaluate(
        f"""([meta, bytes, asked, every]) => {{
        {SCRIPT}
        const w = unpack(meta.checkpoints[0].tensors, Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)));
        const one = (steps) => ([past, act, z]) => [...dream(w, meta, past, act, steps, z)];
        const typed = asked.map((parts) => parts.map((v) => Float32Array.from(v)));
        return every.map((steps) => typed.map(one(steps))); }}""",
        [meta, base64.b64encode(data).decode(), asked, play.STEPS],
    )
    for steps, drawn in zip(play.STEPS, came, strict=True):
        wanted = 2 * made.sample(past, act, steps=steps, x_T=z * made.denoiser.schedule.prior_std) - 1
        np.testing.assert_allclose(drawn, wanted.flatten(1).numpy(), rtol=0, atol=1e-5, err_msg=f"{steps} steps")


def test_the_page_is_played_with_the_arrow_keys_and_asks_nobody_for_anything(tab: Page, tmp_path: Path) -> None:
    meta, data = play.pack({"random": model()}, alt=ALT)
    file = tmp_path / "play.html"
    file.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><body>{play.page(meta, data)}', "utf-8")
    assert file.stat().st_size < 500_000
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(file.as_uri())
    board = tab.locator(".dp")
    board.focus()
    places = [int(board.get_attribute("data-paddle") or -1)]
    for key in 3 * ["ArrowRight"] + 5 * ["ArrowLeft"]:
        tab.keyboard.press(key)
        places.append(int(board.get_attribute("data-paddle") or -1))
    assert max(places) > places[0] > places[-1], f"the paddle goes right, then left: {places}"
    assert "impossible after 0 pictures" in board.inner_text(), "a network that learned nothing dreams nothing possible"
    tab.get_by_role("button", name="Begin the dream again where the game is").click()
    assert "0 pictures so far" in board.inner_text()
    tab.get_by_role("button", name="Play or pause").click()
    before = board.get_attribute("data-paddle"), tab.locator(".dp-score").inner_text()
    tab.wait_for_timeout(1500)
    assert (board.get_attribute("data-paddle"), tab.locator(".dp-score").inner_text()) != before, "it goes on by itself"
    assert all(url.startswith("file:") for url in asked)


def test_models_of_another_game_or_size_are_refused() -> None:
    other = Diamond(Config(width=8), (4, 10, 10), 5)
    with pytest.raises(ValueError, match="world models of breakout"):
        play.pack({"hunt": other}, alt=ALT)
    with pytest.raises(ValueError, match="at least one world model"):
        play.pack({}, alt=ALT)
