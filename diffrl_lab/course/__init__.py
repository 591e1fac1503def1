"""The course: checks, hints, guesses, editions, and the state of an installation.

In a lesson: `from diffrl_lab.course import check, hint, guess`. Nothing is imported before it is asked for, because
`doctor` has to run where torch does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "check": "checks",
    "hint": "checks",
    "mine": "checks",
    "guess": "guesses",
    "aim": "guesses",
    "claims": "claims",
    "overview": "overview",
    "symbols": "outline",
}
__all__ = ["aim", "check", "claims", "guess", "hint", "mine", "overview", "symbols"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Bound here, since the import binds the file `overview.py` to the name of its function.
    globals()[name] = value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value
