"""Data: recorded episodes and their windows, scaling, toy laws, maze worlds and Minari recordings.

episodes  Recorded episodes, and the windows, transitions, returns and resampled segments that methods are
          trained on
minari    Recordings: PointMaze with the scripted controller into Minari datasets, and any Minari dataset into
          Episodes
ogbench   OGBench's recordings (Park et al. 2025): npz files of observations, actions and ends into Episodes, and
          back
pusht     Demonstrations of PushT that were recorded elsewhere, read into Episodes: the zarr file of Diffusion
          Policy
scaling   Per-dimension scaling of data to the unit size that diffusion models assume, and back
shipped   What ships in the folder data/: recordings, weights and results, each with its maker, seed, size and
          SHA-256
toys      Toy laws whose every number is known: what an exact denoiser is built from, and what samples are held
          against
"""

from diffrl_lab.data.episodes import (
    STEP,
    TERMINAL,
    TIME_LIMIT,
    Episodes,
    Transitions,
    loose,
    padded_windows,
    resample,
    returns_to_go,
    segments,
    together,
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
    "loose",
    "padded_windows",
    "resample",
    "returns_to_go",
    "segments",
    "together",
    "transitions",
    "window_starts",
    "windows",
]
