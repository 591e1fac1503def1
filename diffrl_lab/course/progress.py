"""What a learner has tried: attempts, opened hints, guesses; one small JSON file that never leaves the machine.

The file is `my/progress.json` in the checkout, or the path in the environment variable DIFFRL_PROGRESS; `off` keeps it
in memory only.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

VERSION = 1
_memory: dict[str, Any] = {}


def path() -> Path | None:
    """Where progress is kept, or None where it is kept in memory only."""
    chosen = os.environ.get("DIFFRL_PROGRESS", "")
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    root = Path(__file__).parents[2]
    return (root / "my" if (root / "notebooks").is_dir() else Path.home() / ".diffrl_lab") / "progress.json"


def read() -> dict[str, Any]:
    """Everything kept: {"version", "exercises": {name: {attempts, solved, opened}}, "guesses": {name: {...}}}.

    A file that is not ours, or broken, is set aside under a number and a fresh one begun.
    """
    file = path()
    if file is None or not file.exists():
        return _memory if file is None and _memory else _fresh()
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if _is_ours(kept):
            return kept
    except (OSError, ValueError):
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


def record_attempt(exercise: str, ok: bool) -> None:
    """Count one attempt; `solved` holds the number of the attempt that first succeeded."""
    kept = read()
    entry = kept["exercises"].setdefault(exercise, {"attempts": 0, "solved": None, "opened": 0})
    entry["attempts"] += 1
    if ok and entry["solved"] is None:
        entry["solved"] = entry["attempts"]
    _write(kept)


def record_opening(exercise: str, rung: int) -> None:
    """Remember the highest rung of the ladder (hint, hint, solution) that was opened."""
    kept = read()
    entry = kept["exercises"].setdefault(exercise, {"attempts": 0, "solved": None, "opened": 0})
    entry["opened"] = max(entry["opened"], rung)
    _write(kept)


def record_guess(name: str, guess: Any, truth: Any = None) -> None:
    """Keep what was guessed before a surprise was run, and what came out; the first guess stays."""
    kept = read()
    entry = kept["guesses"].setdefault(name, {"guess": guess, "truth": None})
    entry["truth"] = truth if truth is not None else entry["truth"]
    _write(kept)


def opened(exercise: str) -> int:
    """The highest rung of an exercise's ladder that was opened, 0 for none."""
    return read()["exercises"].get(exercise, {}).get("opened", 0)


def free_name(file: Path) -> Path:
    """The first of file.1, file.2, ... (the number before the extension) that does not exist."""
    return next(p for n in range(1, 10**6) if not (p := file.with_name(f"{file.stem}.{n}{file.suffix}")).exists())


def _fresh() -> dict[str, Any]:
    return {"version": VERSION, "exercises": {}, "guesses": {}}


def _is_ours(kept: Any) -> bool:
    if not isinstance(kept, dict) or kept.get("version") != VERSION:
        return False
    exercises, guesses = kept.get("exercises"), kept.get("guesses")
    if not isinstance(exercises, dict) or not isinstance(guesses, dict):
        return False
    numbers = all(
        isinstance(e, dict) and type(e.get("attempts")) is type(e.get("opened")) is int and "solved" in e
        for e in exercises.values()
    )
    return numbers and all(isinstance(g, dict) and "guess" in g and "truth" in g for g in guesses.values())


def _write(kept: dict[str, Any]) -> None:
    """Replace the file in one step; where nothing can be written, the lesson goes on without."""
    file = path()
    if file is None:
        _memory.update(kept)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=file.parent, prefix=".progress-", suffix=".json")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(kept, out, indent=1)
        os.replace(beside, file)
    except OSError:
        pass
