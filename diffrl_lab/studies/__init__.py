"""What was measured behind the lessons: a lesson's question each, with its parts and seeds (`study.py` runs them)."""

from __future__ import annotations

import re
from pathlib import Path


def names() -> list[str]:
    """The studies that there are: the files and folders of this room that have `PARTS`. Nothing is imported."""
    room = Path(__file__).parent
    files = {p.stem: p for p in room.glob("*.py")} | {p.parent.name: p for p in room.glob("*/__init__.py")}
    return sorted(name for name, p in files.items() if re.search(r"^PARTS\b", p.read_text("utf-8"), re.M))
