"""Milliseconds that `import diffrl_lab` and its core take beyond `import torch`: the least of several runs."""

from __future__ import annotations

import subprocess
import sys

from . import table

CODE = "import time, torch; t = time.perf_counter(); import {name}; print(1000 * (time.perf_counter() - t))"


def run(repeats: int = 5) -> list[dict]:
    rows = []
    for name in ("diffrl_lab", "diffrl_lab.diffusion"):
        command = [sys.executable, "-c", CODE.format(name=name)]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(repeats)]
        rows.append({"import": name, "ms beyond torch": min(float(r.stdout) for r in runs), "to reach": "<= 150"})
    return rows


if __name__ == "__main__":
    print(table(run()))
