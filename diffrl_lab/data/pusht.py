"""Demonstrations of PushT that were recorded elsewhere, read into Episodes: the zarr file of Diffusion Policy.

Chi et al. 2023 published 206 demonstrations (pusht_cchi_v7_replay.zarr, in a zip). Theirs is a folder, or a zip of one,
in zarr's second format: `data/state` [N, 5] and `data/action` [N, 2] of all demonstrations end to end, and
`meta/episode_ends` [E], the row after each one's last. Chunks packed with Blosc, as theirs are, need the extra `pusht`.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffrl_lab.data.episodes import Episodes

SIDE = 512.0  # of the table; positions and actions lie in [0, SIDE]
NEEDS = 'this needs the extra pusht: pip install "diffrl-lab[pusht]"'


def read(path: str | os.PathLike) -> Episodes:
    """The demonstrations in a folder or zip as Episodes: a row for each recorded state.

    obs [N, 5]: agent (x, y), block (x, y), its angle, as `gym_pusht` shows them. act [N, 2]: where the agent is to go,
    action / (SIDE / 2) - 1 in [-1, 1]; the action recorded with a demonstration's last state has no next one and is
    left out. rew is 0, since no reward was recorded, and every end counts as a time limit.
    Raises FileNotFoundError; ValueError for what is no such file, and for packed chunks without the extra.
    """
    held = _opened(Path(path))
    state, action, ends = (_array(held, name) for name in ("data/state", "data/action", "meta/episode_ends"))
    ends = ends.astype(int)
    if state.shape != (len(state), 5) or action.shape != (len(state), 2) or ends.ndim != 1:
        raise ValueError(
            f"{path}: states [N, 5], actions [N, 2] and ends [E] were wanted, "
            f"got {list(state.shape)}, {list(action.shape)} and {list(ends.shape)}"
        )
    if not len(ends) or ends[-1] != len(state) or (np.diff(ends, prepend=0) < 2).any():
        raise ValueError(f"{path}: ends must rise by 2 states or more, up to their number {len(state)}")
    act = (action / (SIDE / 2) - 1).clip(-1, 1).astype(np.float32)
    bounds = zip(np.r_[0, ends[:-1]], ends, strict=True)
    return Episodes.join(
        (state[a:b].astype(np.float32), act[a : b - 1], np.zeros(b - a - 1, np.float32), False) for a, b in bounds
    )


Held = Callable[[str], bytes | None]
"""A file's name below the zarr -> its bytes, or None where there is none."""


def _opened(path: Path) -> Held:
    if path.is_dir():
        return lambda name: (path / name).read_bytes() if (path / name).is_file() else None
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither a folder nor a zip")
    archive = zipfile.ZipFile(path)
    names = set(archive.namelist())
    roots = {name.removesuffix("data/state/.zarray") for name in names if name.endswith("data/state/.zarray")}
    root = min(roots, key=len, default="")
    return lambda name: archive.read(root + name) if root + name in names else None


def _array(held: Held, name: str) -> NDArray[Any]:
    """One array of a zarr of the second format."""
    about = held(f"{name}/.zarray")
    if about is None:
        raise ValueError(f"there is no array {name} in zarr's second format")
    told = json.loads(about)
    if told["zarr_format"] != 2 or told.get("filters"):
        raise ValueError(f"{name} is of zarr's format {told['zarr_format']} or has filters; the second format is read")
    shape, chunks, parts = tuple(told["shape"]), tuple(told["chunks"]), told.get("dimension_separator", ".")
    out = np.full(shape, told["fill_value"] or 0, told["dtype"])
    for index in itertools.product(*(range(-(-n // size)) for n, size in zip(shape, chunks, strict=True))):
        packed = held(f"{name}/{parts.join(map(str, index))}")
        if packed is None:  # a chunk of nothing but the fill value is not stored
            continue
        chunk = np.frombuffer(_unpacked(packed, told["compressor"]), out.dtype).reshape(chunks, order=told["order"])
        begin = [i * size for i, size in zip(index, chunks, strict=True)]
        place = tuple(slice(a, min(a + size, n)) for a, size, n in zip(begin, chunks, shape, strict=True))
        out[place] = chunk[tuple(slice(s.stop - s.start) for s in place)]
    return out


def _unpacked(packed: bytes, codec: dict[str, Any] | None) -> Any:
    if codec is None:
        return packed
    if codec["id"] == "zlib":
        return zlib.decompress(packed)
    try:
        codecs = importlib.import_module("numcodecs")
    except ImportError:
        raise ValueError(f"chunks are packed with {codec['id']}; {NEEDS}") from None
    return codecs.get_codec(codec).decode(packed)
