"""Bring your samples: from a file, a Minari dataset, a tensor, an array or a list to rows of numbers, or one sentence.

What is read is float64, [N], [N, a], [S, n, a], [N, H, d] or [N, C, H, W]. Everything that cannot be judged (ragged
rows, NaN, nothing at all) is a ValueError that says where it stands; nothing in a file is executed.
"""

from __future__ import annotations

import csv
import importlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffrl_lab.data import minari

ENDINGS = (".npz", ".npy", ".csv", ".parquet", ".pt", ".pth")
NAMES = ("samples", "actions", "act", "x", "data", "trajectories", "images")
"""The arrays of an .npz that are taken without being asked for."""


def bring(source: Any, name: str = "samples") -> NDArray[np.float64]:
    """Numbers of whatever holds them -> an array of float64, one sample a row; `name` stands in its refusals.

    source: an array, a tensor, a list; or a path: .npz (FILE.npz:KEY where it holds several arrays), .npy, .csv (with
    a line of names or without), .parquet (where pandas is), .pt, or a Minari dataset (its folder or its name: the
    actions of all steps). Raises ValueError for no or ragged rows, for NaN, infinity and what is no number.
    """
    values = _file(source, name) if isinstance(source, str | os.PathLike) else source
    return _numbers(values, name)


def is_minari(source: Any) -> bool:
    """Whether a source is a path that `bring` reads as a Minari dataset."""
    path = isinstance(source, str | os.PathLike)
    return path and ".npz:" not in os.fspath(source) and Path(source).suffix.lower() not in ENDINGS


def _numbers(values: Any, name: str) -> NDArray[np.float64]:
    if torch.is_tensor(values):
        values = values.detach().cpu()
        values = (values if values.is_complex() else values.double()).numpy()
    if isinstance(values, list | tuple):
        rows = [v.detach().cpu().double().numpy() if torch.is_tensor(v) else v for v in values]
        shapes = [np.shape(v) if not isinstance(v, list | tuple) else _shape(v) for v in rows]
        odd = next((i for i, s in enumerate(shapes) if s != shapes[0] or s is None), None)
        if odd is not None:
            raise ValueError(f"{name} are ragged: row 0 has the shape {shapes[0]}, row {odd} has {shapes[odd]}")
        values = rows
    x = np.asarray(values)
    if x.dtype == object:
        raise ValueError(f"{name} must be rows of equal length; these are objects (ragged rows?)")
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got {x.dtype}")
    if x.ndim == 0 or not x.size:
        raise ValueError(f"{name} are empty: their shape is {list(x.shape)}")
    if x.ndim > 4:
        raise ValueError(f"{name} must be [N], [N, a], [S, n, a], [N, H, d] or [N, C, H, W], got {list(x.shape)}")
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        wrong = np.argwhere(~np.isfinite(x))
        rows_hit = len(np.unique(wrong[:, 0]))
        raise ValueError(
            f"{name} hold {x[tuple(wrong[0])]} at {wrong[0].tolist()}, and {rows_hit} of {len(x)} rows are not finite: "
            "leave them out and say how many they were"
        )
    return x


def _shape(v: Any) -> tuple[int, ...] | None:
    try:
        return np.asarray(v, float).shape
    except (TypeError, ValueError):
        return None


def _file(source: str | os.PathLike, name: str) -> Any:
    text = os.fspath(source)
    path, key = Path(text), None
    if ".npz:" in text:
        text, _, key = text.rpartition(":")
        path = Path(text)
    if path.suffix.lower() not in ENDINGS:
        if path.is_file():
            raise ValueError(f"{path.name} is none of {', '.join(ENDINGS)}, nor a Minari dataset")
        return minari.read(source).act  # its refusals name what came and what there is
    if not path.is_file():
        raise ValueError(f"there is no file {path} to read {name} from")
    try:
        return {
            ".npz": lambda: _npz(path, key),
            ".npy": lambda: np.load(path, allow_pickle=False),
            ".csv": lambda: _csv(path),
            ".parquet": lambda: _parquet(path),
        }.get(path.suffix.lower(), lambda: _torch(path))()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(f"{path.name} holds objects (ragged rows?), and only numbers are read") from None
        raise ValueError(str(error) if path.name in str(error) else f"{path.name}: {error}") from None


def _npz(path: Path, key: str | None) -> NDArray:
    with np.load(path, allow_pickle=False) as arrays:
        keys = list(arrays)
        wanted = key or next((k for k in NAMES if k in keys), keys[0] if len(keys) == 1 else None)
        if wanted not in keys:
            raise ValueError(f"{path.name} holds {', '.join(keys) or 'nothing'}: say which, as in {path.name}:KEY")
        return arrays[wanted]


def _csv(path: Path) -> list[list[float]]:
    rows: list[list[float]] = []
    with path.open(newline="", encoding="utf-8-sig") as lines:
        for number, words in enumerate(csv.reader(lines), 1):
            if not any(w.strip() for w in words):
                continue
            try:
                row = [float(w) for w in words]
            except ValueError:
                if not rows and number == 1:  # the names of the columns
                    continue
                raise ValueError(
                    f"line {number} of {path.name} holds what is no number: {','.join(words)[:60]}"
                ) from None
            if rows and len(row) != len(rows[0]):
                raise ValueError(
                    f"{path.name} is ragged: line {number} has {len(row)} numbers, those above have {len(rows[0])}"
                )
            rows.append(row)
    return rows


def _parquet(path: Path) -> NDArray:
    try:
        pandas = importlib.import_module("pandas")
        return pandas.read_parquet(path).to_numpy()
    except ImportError as error:
        raise ValueError(f"{path.name} needs pandas with pyarrow ({error}); or save it as .npy or .csv") from None


def _torch(path: Path) -> Any:
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle that is refused raises whatever it likes
        raise ValueError(f"{path.name} holds no plain tensor: {type(error).__name__}") from None
    if isinstance(values, dict):
        key = next((k for k in NAMES if k in values), None)
        if key is None:
            raise ValueError(f"{path.name} holds {', '.join(map(str, values))[:80]}: name one of them samples")
        return values[key]
    return values
