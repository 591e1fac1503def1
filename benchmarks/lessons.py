"""Seconds and peak memory of every lesson in its class profile, kernel start included; over 1.5 times its budget fails.

Wall-clock seconds: measure on a machine that does nothing else. Writes data/results/lessons.json, too.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from diffrl_lab.course import running
from diffrl_lab.data import shipped
from diffrl_lab.files import write_text
from diffrl_lab.publish import lessons

FILE, COMMAND = "results/lessons.json", "python3 run.py bench lessons"


def run() -> list[dict]:
    with tempfile.TemporaryDirectory() as out:
        done = running.run(["all"], {"PROFILE": "class"}, Path(out))
    write_text(shipped.DATA / FILE, json.dumps(running.report(done, COMMAND), indent=1) + "\n")
    shipped.add(FILE, COMMAND, 0)
    return rows(done)


def rows(done: list[running.Ran]) -> list[dict]:
    return [
        {
            "lesson": ran.path.stem,
            "s": ran.seconds,
            "budget, s": lessons.BUDGET,
            "times the budget": ran.seconds / lessons.BUDGET,
            "peak memory, MB": ran.peak_mb,
        }
        for ran in done
    ]


def failures(rows: list[dict]) -> list[str]:
    over = [row for row in rows if row["times the budget"] > 1.5]
    return [f"lesson {row['lesson']} took {row['s']:.0f} s; its budget is {row['budget, s']} s" for row in over]
