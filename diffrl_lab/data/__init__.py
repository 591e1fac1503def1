"""Data: recorded episodes and their windows, scaling, toy laws, maze worlds and Minari recordings."""

from diffrl_lab.data.episodes import (
    STEP,
    TERMINAL,
    TIME_LIMIT,
    Episodes,
    Transitions,
    padded_windows,
    resample,
    returns_to_go,
    segments,
    transitions,
    window_starts,
    windows,
)
from diffrl_lab.data.scaling import Scaler

__all__ = [
    "STEP",
    "TERMINAL",
    "TIME_LIMIT",
    "Episodes",
    "Scaler",
    "Transitions",
    "padded_windows",
    "resample",
    "returns_to_go",
    "segments",
    "transitions",
    "window_starts",
    "windows",
]
