"""The README's tables, and the whole tables in docs/scores.md: `python -m diffrl_lab.publish.readme`.

lessons: data/results/lessons.json (`python3 run.py bench lessons`); planner: data/results/planner.json
(`diffrl-lab study planner`); far goals: data/results/stitching-mazes.json (`diffrl-lab study stitching mazes`); bench:
benchmarks/RESULTS.md (`python3 run.py bench`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.course.editions import number, sources
from diffrl_lab.course.outline import title
from diffrl_lab.files import ROOT, arguments, write_text

README, SCORES = ROOT / "README.md", ROOT / "docs" / "scores.md"
RESULTS = ROOT / "data" / "results"
METHODS = {
    "planner": "diffusion planner",
    "controller": "controller that knows the map (ceiling)",
    "retrieval": "nearest recorded trajectory",
    "bc": "behaviour cloning",
    "own-actions": "the plan's own actions, open loop",
    "pd": "PD straight to the goal",
}


def _table(head: list[str], rows: list[list[str]]) -> str:
    align = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, align, *rows])


def lessons() -> str:
    """No., title, machine seconds, peak memory, learner minutes (an estimate) of every lesson; – if not measured."""
    measured = json.loads((RESULTS / "lessons.json").read_text("utf-8"))
    rows = []
    for source in sources():
        text, name = source.read_text("utf-8"), source.stem
        minutes = re.search(r"(\d+) minutes \(an estimate\)", text)
        if minutes is None:
            raise ValueError(f"{source.name} needs `NN minutes (an estimate)`")
        usage = measured["lessons"].get(name)
        cost = ["–", "–"] if usage is None else [f"{usage['seconds']:.0f} s", f"{usage['peak_mb']} MB"]
        rows.append([f"[{number(name)} {title(source)}](notebooks/{name}.ipynb)", *cost, minutes[1]])
    table = _table(["lesson", "machine", "peak memory", "learner minutes"], rows)
    by = f"Measured by `{measured['command']}` on {measured['machine']}; learner minutes are estimates."
    return f"{table}\n\n{by}\nThe first cell of a lesson says what a slower machine took, up to three times as long."


def _with(row: dict[str, Any], key: str, form: str) -> str:
    if row.get(key) is None:
        return "–"
    text = f"{row[key]:{form}}"
    return text + " ({:{f}} to {:{f}})".format(*row[f"{key}_interval"], f=form) if f"{key}_interval" in row else text


def planner(maze: str | None = None) -> str:
    """Success, score and cost of every row of the study; of one maze: its first training seed and what it faces."""
    study = json.loads((RESULTS / "planner.json").read_text("utf-8"))
    body: list[list[str]] = []
    held: list[list[str]] = []
    for row in study["rows"]:
        if maze is not None and (row["maze"] != maze or row["held_out"] or row["train_seed"]):
            continue
        name = METHODS[row["method"]]
        if row["train_seed"] is not None:
            name += f", training seed {row['train_seed']}"
        where = row["maze"] + (" (held-out pairs)" if row["held_out"] else "")
        cost = "–" if row["seconds_per_plan"] is None else f"{row['seconds_per_plan']:.3f}"
        time = "–" if row.get("train_minutes") is None else f"{row['train_minutes']:.1f}"
        (held if row["held_out"] else body).append(
            [f"{where}: {name}", _with(row, "success", ".0%"), _with(row, "score", ".1f"), cost, time]
        )
    return _table(["maze: method", "success", "score", "s per plan", "training, min"], body + held)


def long_run() -> str:
    """The same planner over many episodes: success and score with their intervals, and the mean score."""
    study = json.loads((RESULTS / "guidance-planner.json").read_text("utf-8"))
    rows = study["rows"]
    body = [[r["name"].removeprefix("maze-"), _with(r, "success", ".1%"), _with(r, "score", ".1f")] for r in rows]
    mean = sum(row["score"] for row in rows) / len(rows)
    table = _table([f"{rows[0]['episodes']} episodes, shipped weights", "success", "score"], body)
    return f"{table}\n\nMean score {mean:.1f}; `{study['command']}`."


FAR = {
    "graph": "graph of recorded waypoints, diffusion as the motion",
    "compositional": "composed chunks",
    "planner": "diffusion planner, one window",
    "bc": "behaviour cloning",
    "gciql": "IQL with goals (GCIQL)",
    "retrieval": "nearest recorded leg",
}


def _share(row: Mapping[str, Any]) -> str:
    """A share with its interval in per cent, rounded from the two decimals that lesson 07 shows of the same numbers."""
    return "{:.0%} ({:.0%} to {:.0%})".format(*(float(f"{v:.2f}") for v in (row["success"], *row["interval"])))


def far_goals() -> str:
    """Goals farther than any recorded leg: what each arm of the study of stitching reaches, with its interval."""
    study = json.loads((RESULTS / "stitching-mazes.json").read_text("utf-8"))
    rows = {(r["k"], r["arm"]): r for r in study["summary"]}
    body = []
    for arm, name in FAR.items():
        body.append([name, *(_share(rows[k, arm]) for k in (2, 3))])
    some = rows[3, "graph"]
    head = [f"{some['episodes']} far goals, medium maze", "from legs of at most 2 cells", "of at most 3 cells"]
    return (
        f"{_table(head, body)}\n\n{some['seeds']} trainings (retrieval has none); `diffrl-lab study stitching mazes`. "
        + _new_goals()
    )


def _new_goals() -> str:
    """What the two planners that stitch reach of new goals, with its interval."""
    said = []
    for file, legs in (("goals", (2, 3)), ("large", (4,))):
        study = Table.load(RESULTS / f"stitching-{file}.json")
        for k in legs:
            cells = [study.row(k=k, arm=arm) for arm in ("graph", "compositional")]
            where = f"{study.about['maze']} maze, legs of {k} cells: {' and '.join(map(_share, cells))}"
            said.append(f"{where} of {cells[0]['episodes']}")
    return f"New goals, the graph and composed chunks: {'; '.join(said)} (`goals` and `large` of the same study)."


def worst() -> str:
    """How many hostile submissions `python -m benchmarks grading` sent to the grader, and the one that took longest."""
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    _, _, *rows = re.findall(r"^\|.*\|$", text.partition("## grading\n")[2].partition("\n## ")[0], re.M)
    hostile = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if "honest" not in row]
    name, *_, seconds = max(hostile, key=lambda cells: float(cells[-1]))
    return f"It was sent {len(hostile)} hostile submissions; the slowest of them ({name}) was marked after {seconds} s."


def bench() -> str:
    """The tables of benchmarks/RESULTS.md, without its notes; the lessons have a table of their own."""
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    sections = re.findall(r"^## (?!lessons)(\w+)\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return "\n\n".join(f"**{name}**\n\n" + "\n".join(re.findall(r"^\|.*\|$", body, re.M)) for name, body in sections)


def marked(text: str, tables: Mapping[str, str]) -> str:
    """A page with each table between its marks, <!-- name --> and <!-- /name -->. Raises ValueError without them."""
    for name, table in tables.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not (begin and end):
            raise ValueError(f"the page needs one pair of marks <!-- {name} --> and <!-- /{name} -->")
        text = f"{before}{begin}{table}\n{end}{after}"
    return text


def filled() -> dict[Path, str]:
    """The pages with their tables as the results have them now."""
    first = {"lessons": lessons(), "planner": planner("large"), "long run": long_run()}
    first |= {"far goals": far_goals(), "worst": worst()}
    pages = {README: first, SCORES: {"planner": planner(), "bench": bench()}}
    return {page: marked(page.read_text("utf-8"), tables) for page, tables in pages.items()}


def fill() -> None:
    """Write the pages anew with their tables as the results have them now."""
    for page, text in filled().items():
        write_text(page, text)


if __name__ == "__main__":
    arguments("python -m diffrl_lab.publish.readme", __doc__)
    fill()
