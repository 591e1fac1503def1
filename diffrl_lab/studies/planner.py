"""The study behind the README's table: `python -m diffrl_lab.studies.planner` writes data/results/planner.json.

Per maze: three training seeds of the planner, and what it is held against; then the same on pairs of start and goal
cells that were kept out of training. 100 episodes from seed 1000, which nothing was tuned on. It trains what it needs;
a row that is in the file already is not computed again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffrl_lab.files import RESULTS, write_text
from diffrl_lab.methods.planning.diffuser import Planner
from diffrl_lab.studies import planners

FILE = RESULTS / "planner.json"
COMMAND = "python -m diffrl_lab.studies.planner"
MAZES = ("umaze", "medium", "large")
TRAIN_SEEDS = (0, 1, 2)
BASELINES = ("controller", "retrieval", "bc", "own-actions", "pd")
EPISODES, FIRST = 100, 1000


def cells() -> list[dict[str, Any]]:
    """What the table is made of, row by row."""
    rows: list[dict[str, Any]] = []
    for held_out in (False, True):
        for maze in MAZES:
            seeds = TRAIN_SEEDS[:1] if held_out else TRAIN_SEEDS
            rows += [{"maze": maze, "method": "planner", "train_seed": s, "held_out": held_out} for s in seeds]
            rows += [{"maze": maze, "method": m, "train_seed": None, "held_out": held_out} for m in BASELINES]
    return rows


def weights(maze: str, seed: int, held_out: bool, folder: Path) -> Path:
    """The weights of one training, trained now unless they are there."""
    tag = "-held-out" if held_out else ""
    path = folder / f"seed{seed}" / f"maze-{maze}{tag}-good.safetensors"
    if not path.is_file():
        planners.train(f"maze-{maze}", seed=seed, held_out=held_out, out=path.parent, resume=True)
    return path


def measure(cell: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One row of the table."""
    maze, held_out, learned = cell["maze"], cell["held_out"], cell["method"] in ("planner", "own-actions")
    path = weights(maze, cell["train_seed"] or 0, held_out, folder) if learned else None
    found = planners.evaluate(
        f"maze-{maze}", episodes=EPISODES, seed=FIRST, method=cell["method"], weights=path, held_out=held_out
    )
    minutes = Planner.load(path).about["seconds"] / 60 if path is not None and cell["method"] == "planner" else None
    return {**found, **cell, "train_minutes": minutes, "weights": None}


def write(rows: list[dict[str, Any]]) -> None:
    """The table as it stands, moved into place whole."""
    write_text(FILE, json.dumps({"command": COMMAND, "rows": rows}, indent=1) + "\n")


def main(folder: Path = Path("runs/study")) -> None:
    done = json.loads(FILE.read_text("utf-8"))["rows"] if FILE.is_file() else []
    wanted = cells()
    have = {json.dumps({k: row[k] for k in wanted[0]}): row for row in done}
    rows: list[dict[str, Any]] = []
    for cell in wanted:
        key = json.dumps(cell)
        rows.append(have[key] if key in have else measure(cell, folder))
        print(planners.report(rows[-1], None), flush=True)
        write(rows + [have[json.dumps(c)] for c in wanted[len(rows) :] if json.dumps(c) in have])


if __name__ == "__main__":
    main()
