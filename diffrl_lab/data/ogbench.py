"""OGBench's recordings (Park et al. 2025): npz files of observations, actions and ends into Episodes, and back.

Its files hold `observations` [N, d], `actions` [N, a] and `terminals` [N], all trajectories end to end; `terminals` is
1 in the last row of each, whose action leads nowhere. Original files and recordings of ours (`worlds.ogbench.record`)
are read alike, and neither needs the package.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.files import written

KEYS = ("observations", "actions", "terminals")


def read(path: str | Path) -> Episodes:
    """A file such as pointmaze-medium-stitch-v0.npz -> Episodes, observations as they are; each ends TIME_LIMIT.

    There are no rewards in it, so all are 0. A single row at the end of a trajectory ends it; rows behind the last end
    are an episode of their own. Raises ValueError for a file that is missing, damaged or something else.
    """
    path = Path(path).expanduser()
    try:
        with np.load(path) as file:
            obs, act, ends = (np.asarray(file[key], np.float32) for key in KEYS)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; OGBench's own files are those that its package downloads") from None
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as an OGBench recording with {', '.join(KEYS)}: {error}") from error
    if obs.ndim != 2 or act.ndim != 2 or not len(obs) == len(act) == len(ends) or not len(obs):
        shapes = ", ".join(f"{key} {list(value.shape)}" for key, value in zip(KEYS, (obs, act, ends), strict=True))
        raise ValueError(f"{path}: rows [N, d], [N, a] and [N] were wanted; got {shapes}")
    last = np.flatnonzero(ends)
    if not len(last) or last[-1] != len(obs) - 1:
        last = np.append(last, len(obs) - 1)
    firsts = np.r_[0, last[:-1] + 1]
    spans = [(a, b) for a, b in zip(firsts, last, strict=True) if b > a]
    return Episodes.join((obs[a : b + 1], act[a:b], np.zeros(b - a, np.float32), False) for a, b in spans)


def save(path: str | Path, episodes: Episodes) -> Path:
    """Episodes as a file of the same kind; `read` gives observations and actions back. -> the file"""
    path = Path(path).expanduser()
    with written(path, replace=True) as work:
        with open(work, "wb") as file:
            np.savez_compressed(
                file,
                observations=episodes.obs.numpy(),
                actions=episodes.act.numpy(),
                terminals=(episodes.last != 0).numpy(),
            )
    return path


def velocity(path: NDArray, over: int, seconds: float) -> NDArray:
    """Velocities [T, n] of positions [T, n]: v_i = (x_{i+k} - x_{i-k}) / (2 k dt) with 2 k = `over`, cut at both ends.

    A world whose actions are displacements has none of its own, and noisy actions make one step's difference noise.
    The first is 0, since an episode begins at rest. over=1: the last step's, (x_i - x_{i-1}) / dt.
    """
    at = np.arange(len(path))
    before, after = np.maximum(at - max(over // 2, 1), 0), np.minimum(at + over // 2, len(path) - 1)
    v = (path[after] - path[before]) / (np.maximum(after - before, 1)[:, None] * seconds)
    v[0] = 0
    return v


def moving(episodes: Episodes, *, unit: float, over: int, seconds: float, stands: float | None = None) -> Episodes:
    """Recorded positions [N, n] as positions in units of `unit` and their velocities, [N, 2n], as planners want them.

    stands: an episode ends where it comes within so many units of its last position for good; what follows is cut off,
    and an episode of fewer than two steps is left out. None: nothing is.
    """

    def parts() -> Iterator[tuple]:
        obs, act, rew = (x.numpy() for x in (episodes.obs, episodes.act, episodes.rew))
        for a, b in zip(episodes.starts.tolist(), episodes.ends.tolist(), strict=True):
            path = obs[a : b + 1] / unit
            if stands is not None:
                away = np.flatnonzero(np.linalg.norm(path - path[-1], axis=1) > stands)
                b = a + min(int(away[-1]) + 1, b - a) if len(away) else a
            if b - a > 1:
                states = np.concatenate([path, velocity(path, over, seconds)], 1)[: b - a + 1]
                yield states.astype(np.float32), act[a:b], rew[a:b], False

    return Episodes.join(parts())


def pieces(episodes: Episodes, steps: int) -> Episodes:
    """Episodes cut into pieces of at most `steps` steps; a rest of fewer than two is left out."""
    obs, act, rew = (x.numpy() for x in (episodes.obs, episodes.act, episodes.rew))
    spans = [
        (k, min(k + steps, b))
        for a, b in zip(episodes.starts.tolist(), episodes.ends.tolist(), strict=True)
        for k in range(a, b, steps)
    ]
    return Episodes.join((obs[a : b + 1], act[a:b], rew[a:b], False) for a, b in spans if b - a > 1)
