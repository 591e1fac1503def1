"""Run all benchmarks, or those named, print their tables and write them to benchmarks/RESULTS.md and the README."""

from __future__ import annotations

import importlib
import platform
import re
import sys
from pathlib import Path

import torch

from diffrl_lab.files import arguments, write_text
from diffrl_lab.publish import readme

from . import table

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"


def main(names: list[str]) -> None:
    present = sorted(p.stem for p in HERE.glob("[a-z]*.py"))
    names = arguments("python -m benchmarks", __doc__, names, present)
    old = RESULTS.read_text("utf-8") if RESULTS.exists() else ""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", old, re.M | re.S))  # what is not run stays as it was
    sections = {name: body for name, body in sections.items() if name in present}
    failures: list[str] = []
    for name in names or present:
        module = importlib.import_module(f"benchmarks.{name}")
        about = f"{platform.machine()}, Python {platform.python_version()}, PyTorch {torch.__version__}"
        rows = module.run()
        sections[name] = f"{(module.__doc__ or '').strip()}\n\n{table(rows)}\n\n({about})\n\n"
        print(f"## {name}\n{sections[name]}", flush=True)
        body = "".join(f"## {name}\n{sections[name]}" for name in sorted(sections))
        write_text(RESULTS, "# Measured by `python3 run.py bench`\n\n" + body.rstrip() + "\n")
        readme.fill()
        failures += getattr(module, "failures", lambda rows: [])(rows)
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main(sys.argv[1:])
