"""Predict, then run: the learner commits a number before the lesson computes it, then sees both."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from .pictures import COLOUR

CSS = """<style>
.dg{position:relative;height:30px;max-width:420px;margin:2px 10px}
.dg:before{content:'';position:absolute;left:0;right:0;top:15px;border-top:2px solid #999}
.dg i{position:absolute;top:15px;width:14px;height:14px;box-sizing:border-box;transform:translate(-50%,-50%)}
.dg .dgt{width:11px;height:11px;transform:translate(-50%,-50%) rotate(45deg)}
.dgk{display:flex;justify-content:space-between;max-width:440px;font-size:13px}
</style>"""
Storage = Callable[[str, float, float | None], None]


class Guess(ipywidgets.VBox):
    """The widget that `guess` makes: its `value` is the committed number or None, and `reveal(truth)` shows both."""

    def __init__(
        self,
        question: str,
        low: float,
        high: float,
        unit: str,
        truth: float | None,
        storage: Storage | None,
        name: str | None,
    ) -> None:
        if not low < high:
            raise ValueError(f"a guess lies between low and high, low < high; got {low} and {high}")
        self.question, self.low, self.high, self.unit = question, low, high, unit
        self.name = name or question
        self.value: float | None = None
        self.truth: float | None = None
        self._late = False
        self._storage = storage
        whole = isinstance(low, int) and isinstance(high, int) and high - low > 2  # -1 to 1 is a correlation
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        step = {} if whole else {"step": (high - low) / 100, "readout_format": ".3g"}
        # A slider has a value from the start, and a guess has none: until it is moved it shows no number and counts as
        # none, so that a handle that was left alone cannot win.
        self.moved = False
        self.slider = kind(
            min=low, max=high, value=low, **step, readout=False,
            description="my guess", layout=ipywidgets.Layout(width="420px"),
        )  # fmt: skip
        self.button = ipywidgets.Button(
            description="move the slider first",
            disabled=True,
            layout=ipywidgets.Layout(width="auto"),  # the words are longer than a button is by default
            tooltip="Commit this number: it cannot be changed afterwards",
        )
        self.slider.observe(self._move, names="value")
        self.result = ipywidgets.HTML()
        self.button.on_click(lambda _: self.commit(self.slider.value) if self.moved else None)
        ask = ipywidgets.HTML(f"<b>Your guess, before you run on:</b> {html.escape(question)}")
        row = ipywidgets.HBox([self.slider, ipywidgets.Label(unit), self.button])
        super().__init__([ask, row, self.result])
        self._given = None if truth is None else float(truth)
        self._tell()

    def commit(self, value: float) -> None:
        """Fixes the guess; only the first one counts. Raises ValueError for a number outside low .. high."""
        if self.value is not None:
            return
        if not self.low <= value <= self.high:
            raise ValueError(f"the guess lies between {self.low} and {self.high} {self.unit}; got {value}")
        self.value = float(value)
        self._late = self.truth is not None
        self.slider.disabled = self.button.disabled = True
        if self._given is not None:
            self.truth = self._given
        self._keep()
        self._tell()

    def reveal(self, truth: float | None = None) -> ipywidgets.HTML:
        """What came out beside what was guessed; where nothing was guessed it says so and stops nothing.

        Raises ValueError if the truth is given neither here nor before.
        """
        truth = self._given if truth is None else truth
        if truth is None:
            raise ValueError("reveal needs the truth: guess.reveal(number)")
        self.truth = float(truth)
        self._keep()
        self._tell()
        return Revealed(self)

    def _move(self, _: Any = None) -> None:
        self.moved = self.slider.readout = True
        self.button.disabled = self.value is not None
        self.button.description = f"commit {self.slider.value:.3g} {self.unit}".strip()

    def _keep(self) -> None:
        if self._storage is not None and self.value is not None:
            self._storage(self.name, self.value, self.truth)

    @property
    def text(self) -> str:
        """Guess and truth in one sentence."""
        truth = None if self.truth is None else f"{self.truth:.3g} {self.unit}".strip()
        if self.value is None:
            return "No guess was committed." + ("" if truth is None else f" What came out: {truth}.")
        mine = f"{self.value:.3g} {self.unit}".strip()
        if truth is None:
            return f"Committed: {mine}. Run on to see what comes out."
        off = abs(self.value - self.truth)  # type: ignore[operator]
        late = " (committed after the answer was shown)" if self._late else ""
        return f"You guessed {mine}{late}; what came out is {truth}; off by {off:.3g}."

    def bars(self) -> str:
        """Guess (hollow) and truth (filled) as marks on the scale from low to high, as HTML."""

        def at(v: float) -> float:
            return 100 * min(1.0, max(0.0, (v - self.low) / (self.high - self.low)))

        marks = ""
        if self.value is not None:
            marks += (
                f'<i style="left:{at(self.value):.1f}%;border:2.5px solid {COLOUR["right"]};border-radius:50%"></i>'
            )
        if self.truth is not None:
            marks += f'<i class="dgt" style="left:{at(self.truth):.1f}%;background:currentColor"></i>'
        words, unit = html.escape(self.text, quote=True), html.escape(self.unit)
        ends = f"<span>{self.low:g}</span><span>○ guess &nbsp; ◆ truth</span><span>{self.high:g} {unit}</span>"
        return f'{CSS}<div class="dg" role="img" aria-label="{words}">{marks}</div><div class="dgk">{ends}</div>'

    def _tell(self) -> None:
        if self.truth is not None and self.value is not None:
            self.result.value = f"<div>{html.escape(self.text)}</div>{self.bars()}"
        else:
            self.result.value = f"<div>{html.escape(self.text)}</div>" if self.value is not None else ""

    def __repr__(self) -> str:
        return f"guess: {self.question} ({self.low:g} to {f'{self.high:g} {self.unit}'.strip()}) {self.text}"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {**(super()._repr_mimebundle_(**kwargs) or {}), "text/plain": repr(self)}


class Revealed(ipywidgets.HTML):
    """Guess and truth side by side; it follows a guess that is committed late."""

    def __init__(self, guess: Guess) -> None:
        self._guess = guess
        super().__init__()
        self._update()
        guess.result.observe(self._update, names="value")

    def _update(self, _: Any = None) -> None:
        self.value = f"<div>{html.escape(self._guess.text)}</div>{self._guess.bars()}"

    def __repr__(self) -> str:
        return self._guess.text

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        # a page that strips styles would leave crumbs of the scale: there the sentence stands alone
        return {**(super()._repr_mimebundle_(**kwargs) or {}), "text/plain": repr(self)}


def guess(
    question: str,
    low: float,
    high: float,
    unit: str = "",
    *,
    truth: float | None = None,
    storage: Storage | None = None,
    name: str | None = None,
) -> Guess:
    """Asks for a number between low and high before it is computed.

    It has no start value: the button is dead until the slider was moved. It is a whole number where both ends are whole
    and more than 2 apart. With `truth` it is shown as soon as the learner commits; without, a later cell says
    `g.reveal(truth)`, which says so and stops nothing where no guess was committed. `storage(name, guess, truth)` is
    called when a guess is committed and when the truth is known. Raises ValueError unless low < high.
    """
    return Guess(question, low, high, unit, truth, storage, name)
