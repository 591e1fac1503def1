"""What a learner has tried: attempts, opened hints, time, guesses; one small JSON file that never leaves the machine.

The file is `my/progress.json` in the checkout, or the path in the environment variable DIFFRL_PROGRESS; `off` keeps it
in memory only. `diffrl-lab progress` shows it; `diffrl-lab progress --export FILE` is the only way out.

    {"version": 2, "last": seconds since 1970 of the last event,
     "exercises": {name: {attempts, solved: None or the attempt that first succeeded, opened: rungs, seconds}},
     "guesses": {name: {guess, truth, low, high, unit, late}}}

An exercise's `seconds` are those from the event before (a check, a hint, a guess) to each of its own; more than BREAK
between two events is a break and counts nothing.
"""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffrl_lab.files import ROOT, free_name, write_text

VERSION = 2
BREAK = 15 * 60
_memory: dict[str, Any] = {}


def number(name: str) -> str:
    """The lesson that a file or an exercise belongs to: "04b" of "04b_judge", of "e04b_spread"[1:], of "04b.spread"."""
    head = re.match(r"\d\d[a-z]?(?=[_.]|$)", name)
    return head[0] if head else name


def path() -> Path | None:
    """Where progress is kept, or None where it is kept in memory only."""
    chosen = os.environ.get("DIFFRL_PROGRESS", "")
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    return (ROOT / "my" if (ROOT / "notebooks").is_dir() else Path.home() / ".diffrl_lab") / "progress.json"


def read() -> dict[str, Any]:
    """Everything kept, in the form above. A file of version 1 is read as one without times.

    A file that is not ours, newer, or broken is set aside under a number and a fresh one begun.
    """
    file = path()
    if file is None or not file.exists():
        return _memory if file is None and _memory else _fresh()
    try:
        record = _renewed(json.loads(file.read_text(encoding="utf-8")))
        if _is_ours(record):
            return record
    except (OSError, ValueError, TypeError, KeyError):
        pass
    try:
        aside = free_name(file)
        file.rename(aside)
        warnings.warn(
            f"{file.name} could not be read and was set aside as {aside.name}; progress starts afresh", stacklevel=2
        )
    except OSError:
        pass
    return _fresh()


def record_attempt(exercise: str, ok: bool | None) -> None:
    """Count one attempt; `solved` holds the number of the first that succeeded. A stub (None) moves only the clock."""
    with _changed(None if ok is None else exercise) as entry:
        if ok is not None:
            entry["attempts"] += 1
        if ok and entry["solved"] is None:
            entry["solved"] = entry["attempts"]


def record_opening(exercise: str, rung: int) -> None:
    """Remember the highest rung of the ladder (hint, hint, solution) that was opened."""
    with _changed(exercise) as entry:
        entry["opened"] = max(entry["opened"], rung)


def record_guess(
    name: str, guess: float, truth: float | None, low: float, high: float, unit: str = "", late: bool = False
) -> None:
    """Keep what was guessed between low and high before a surprise was run, and what came out; a first guess stays."""
    with _changed(None, name) as entry:
        if not entry:
            entry |= {"guess": guess, "truth": None, "low": low, "high": high, "unit": unit, "late": late}
        entry["truth"] = truth if truth is not None else entry["truth"]


@contextmanager
def _changed(exercise: str | None, guess: str | None = None) -> Iterator[dict[str, Any]]:
    """The entry of an exercise or of a guess, to be changed and then written, while no other notebook writes."""
    with _alone():
        record = read()
        entry: dict[str, Any] = {}
        if exercise is not None:
            entry = record["exercises"].setdefault(
                exercise, {"attempts": 0, "solved": None, "opened": 0, "seconds": 0.0}
            )
        elif guess is not None:
            entry = record["guesses"].setdefault(guess, {})
        now = time.time()
        gap = now - (record["last"] or now)
        if exercise is not None and 0 <= gap <= BREAK:
            entry["seconds"] = round(entry["seconds"] + gap, 1)
        record["last"] = round(now, 1)
        yield entry
        _write(record)


@contextmanager
def _alone() -> Iterator[None]:
    """Only one notebook at a time between reading and writing; where there can be no lock, the lesson goes on."""
    from filelock import FileLock  # torch brings it

    file = path()
    lock = None
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=5)
            lock.acquire()
        except OSError:
            lock = None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def export(file: Path) -> None:
    """Write a copy of everything kept to a file of the learner's choice. Raises OSError where that is not possible."""
    write_text(file, json.dumps(read(), indent=1) + "\n")


def opened(exercise: str) -> int:
    """The highest rung of an exercise's ladder that was opened, 0 for none."""
    return read()["exercises"].get(exercise, {}).get("opened", 0)


def _fresh() -> dict[str, Any]:
    return {"version": VERSION, "last": None, "exercises": {}, "guesses": {}}


def _renewed(record: Any) -> Any:
    """A file of version 1 in the form of today: no times were kept, and no scales of guesses."""
    if not isinstance(record, dict) or record.get("version") != 1:
        return record
    lost = {"low": None, "high": None, "unit": "", "late": False}
    return {
        "version": VERSION,
        "last": None,
        "exercises": {name: {"seconds": 0.0} | entry for name, entry in dict(record["exercises"]).items()},
        "guesses": {name: lost | entry for name, entry in dict(record["guesses"]).items()},
    }


def _is_ours(record: Any) -> bool:
    if not isinstance(record, dict) or record.get("version") != VERSION or set(record) != set(_fresh()):
        return False
    exercises, guesses = record["exercises"], record["guesses"]
    if not isinstance(exercises, dict) or not isinstance(guesses, dict) or not _is(record["last"], float, int, None):
        return False
    return all(
        isinstance(e, dict) and _is(e.get("attempts"), int) and _is(e.get("opened"), int) and "solved" in e
        and _is(e["solved"], int, None) and _is(e.get("seconds"), int, float)
        for e in exercises.values()
    ) and all(
        isinstance(g, dict) and _is(g.get("guess"), int, float) and {"truth", "low", "high", "unit", "late"} <= set(g)
        and all(_is(g[name], int, float, None) for name in ("truth", "low", "high"))
        for g in guesses.values()
    )  # fmt: skip


def _is(value: Any, *kinds: type | None) -> bool:
    return value is None if value is None and None in kinds else type(value) in kinds


def _write(record: dict[str, Any]) -> None:
    """Replace the file in one step; where nothing can be written, the lesson goes on without."""
    file = path()
    if file is None:
        _memory.update(record)
        return
    try:
        write_text(file, json.dumps(record, indent=1))
    except OSError:
        pass
