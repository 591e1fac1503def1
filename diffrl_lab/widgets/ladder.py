"""A text with a button below it that opens one thing after another: the hints of an exercise."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets


class Ladder(ipywidgets.VBox):
    """`text` (HTML), and a button that adds what `climb()` returns, (its HTML, the button's next label or None).

    With None for a label the top is reached, and the button is dead. label: what the button says at first.
    """

    def __init__(self, text: str, label: str, climb: Callable[[], tuple[str, str | None]]) -> None:
        self._climb = climb
        self.button = ipywidgets.Button(
            description=label, tooltip="Opens below", layout=ipywidgets.Layout(width="auto", align_self="flex-start")
        )
        self.button.on_click(self._open)
        self.rungs = ipywidgets.VBox()  # within it they grow, so that the button stays, and keeps the keyboard
        super().__init__([ipywidgets.HTML(text), self.rungs, self.button])

    def _open(self, _: ipywidgets.Button) -> None:
        rung, label = self._climb()
        self.rungs.children = (*self.rungs.children, ipywidgets.HTML(rung))
        self.button.description, self.button.disabled = label or "this was the last rung", label is None
