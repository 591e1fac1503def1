"""How far something is that takes more than a moment, in view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any, TypeVar

import ipywidgets

Item = TypeVar("Item")
PAUSE = 0.1  # seconds between two messages to the page


class Bar(ipywidgets.HBox):
    """A bar that says what is counted, how many of how many are done, and in how many seconds."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.done, self._begun = total, what, 0, perf_counter()
        self._shown = -PAUSE
        self.bar = ipywidgets.IntProgress(min=0, max=max(total, 1), layout=ipywidgets.Layout(width="260px"))
        self.words = ipywidgets.Label()
        super().__init__([self.bar, self.words])
        self.count(0)

    def count(self, done: int) -> None:
        self.done = done
        seconds = perf_counter() - self._begun
        if done == self.total or seconds - self._shown > PAUSE:
            self._shown = seconds
            self.bar.value = done
            self.words.value = f"{self} in {seconds:.0f} s"

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,} {self.what}"

    def __repr__(self) -> str:
        return f"{self.what}, a bar that fills up to {self.total:,}"  # what a stored lesson has: no clock, no count

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {**(super()._repr_mimebundle_(**kwargs) or {}), "text/plain": repr(self)}


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The first `total` of `items`, one by one, below a bar that counts them: "12 of 80 drives in 3 s"."""
    from IPython.display import display

    bar = Bar(total, what)
    display(bar)
    for done, item in zip(range(1, total + 1), items, strict=False):
        yield item
        bar.count(done)
