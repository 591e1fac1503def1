"""The tables of docs/studies.md, made from data/results: `python -m diffrl_lab.publish.tables`.

A cell is the mean over training seeds with, in brackets, its 95 % interval by Student's t; with one seed there is none.
A table that holds summaries keeps its own intervals. The command below a table is the one in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffrl_lab.analysis.intervals import student
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import manifest
from diffrl_lab.files import ROOT, arguments, write_text
from diffrl_lab.publish.readme import marked

PAGE, RESULTS = ROOT / "docs" / "studies.md", ROOT / "data" / "results"
IN_README = {"lessons.json", "planner.json", "guidance-planner.json"}
IN_LESSONS = {"guidance-asked.json", "guidance-driven.json", "guidance-laws.json"}
FLOORS = {f"floor_{name}_95": "floor" for name in ("energy", "precision", "recall")}
WAYS = {"success": ".3f", "entropy": ".2f", "entropy_floor": ".2f", "tv": ".2f", "tv_floor": ".2f"} | {
    "jitter": ".2f",
    "idle": ".3f",
    "steps": ".0f",
}
WAY_HEADS = {
    "chunk": "actions drawn",
    "execute": "of them done",
    "denoising": "steps of the chain",
    "success": "arrived",
    "entropy": "entropy / ln 24",
    "entropy_floor": "demonstrator",
    "tv": "off in probability",
    "tv_floor": "demonstrator",
    "steps": "steps to arrive",
}
IMPROVED = {"reward": ".2f", "off": ".3f", "entropy": ".2f", "tv": ".3f", "tv_floor": ".3f", "believed": ".2f"}
IMPROVED_HEADS = {
    "reward": "paid",
    "off": "off the modes",
    "entropy": "entropy / ln 4",
    "tv": "to the exact policy",
    "tv_floor": "its floor",
    "believed": "believed (Q)",
    "training": "training, CPU s",
}
DIVERSITY = ("coverage", "off the modes", "entropy", "entropy per state", "Vendi", "variance", "spread within") + (
    "energy distance", "sliced W2", "precision", "recall", "density", "coverage of data", "nearest-row ratio", "copies",
    "classifier",
)  # fmt: skip
COLLAPSED = ("rarest mode lost", "modes narrower", "weights made even", "copies of the data")
SHARES = ("success", "failed", "reached", "clear", "walls", "switched", "left", "on", "rarest", "minor", "between") + (
    "opposite", "on a mode", "aimed", "coverage", "precision", "recall", "sticky_weight", "restart_weight",
    "certain_impossible", "sticky_impossible", "restart_impossible", "whole", "right", "neither",
)  # fmt: skip
COSTS = ("off", "ways", "ms", "training", "jitter", "idle", "tv", "training_cpu", "driving_cpu", "train_cpu") + (
    "seconds", "rmse_1", "rmse_2", "rmse_5", "rmse_10", "rmse_20", "rmse_50",
)  # fmt: skip
Limits = Mapping[str, tuple[float, float]]
LIMITS: Limits = dict.fromkeys(SHARES, (0, 1)) | dict.fromkeys(COSTS, (0, np.inf))  # an interval goes no further
IN_BANDIT: Limits = {"reward": (0, 5), "off": (0, 1), "entropy": (0, 1), "tv": (0, 1)}  # what its discs pay; shares
FAR_GOALS = {"success": ".3f", "shared": ".3f", "untouched": ".3f", "plans": ".2f", "clear": ".2f"} | {
    "plan_seconds": ".3f",
    "train_cpu": ".0f",
}
FAR_HEADS = {
    "k": "legs of at most k cells",
    "seeds": "trainings",
    "success": "far goals reached",
    "shared": "of them shared",
    "plans": "plans an episode",
    "clear": "first plan clear of walls",
    "plan_seconds": "a plan, s",
    "train_cpu": "training, CPU s",
}
NEW_GOALS = {"seeds": ".0f", "success": ".3f", "plans": ".2f", "clear": ".2f", "train_cpu": ".0f"}
OGBENCH = {"success": ".2f", "published": ".2f", "steps": ".0f", "plans": ".2f", "clear": ".2f"} | {
    "plan_seconds": ".3f",
    "train_cpu": ".0f",
}
OGBENCH_HEADS = {
    "kind": "recording",
    "success": "episodes that reach",
    "published": "published, on other data",
    "steps": "steps of those",
    "plans": "plans an episode",
    "clear": "first plan clear of walls",
    "plan_seconds": "a plan, s",
    "train_cpu": "training, CPU s",
}
GRIDS = ("guidance-plans-", "guidance-goals-")  # point by point, what equal return and 500 goals are made from


@dataclass(frozen=True)
class Study:
    """One table of the page: a row for each combination of `by`, a column for each of `columns` (name -> format)."""

    file: str
    by: tuple[str, ...]
    columns: Mapping[str, str]
    heads: Mapping[str, str] = field(default_factory=dict)  # what a column is called, if not by its name
    keep: Callable[[dict[str, Any]], bool] = lambda row: True
    times: Mapping[str, float] = field(default_factory=dict)  # a column is shown times this
    of: str = "rows"  # the list of the file that is shown: its points, or a summary of them
    main: str = ""  # the column of a summary whose interval is called just that
    drawn: tuple[str, ...] = ()  # the columns of its picture (`publish.plots`), the first three unless said
    limits: Limits = field(default_factory=dict)  # of columns whose values end here, elsewhere than LIMITS says
    over: str | None = None  # what its curves are drawn over; "" for points, None: the last that has three numbers


STUDIES: dict[str, Study] = {
    "exact": Study(
        "guidance-exact.json",
        ("form", "scale"),
        {"left": ".3f", "law_left": ".3f", "over": ".2f", "law_over": ".2f"},
        {"law_left": "left, law", "law_over": "over, law"},
        lambda row: row["scale"] in (0, 0.5, 1, 2, 4, 8),
    ),
    "equal return": Study(
        "guidance-frontiers.json",
        ("world", "level", "form"),
        {"scale": ".2f", "left": ".2f", "entropy": ".2f", "coverage": ".2f", "invalid": ".2f", "off": ".2f"},
        {"level": "return"},
        lambda row: (
            row["by"] == "return"
            and row["level"] in {"two-ways-p20": (148, 156), "two-ways-p50": (158, 162, 164)}.get(row["world"], ())
        ),
        drawn=("left", "entropy", "off"),
    ),
    "equal invalid": Study(
        "guidance-frontiers.json",
        ("world", "level", "form"),
        {"scale": ".2f", "valid_return": ".0f", "left": ".2f", "entropy": ".2f", "coverage": ".2f"},
        {"level": "invalid", "valid_return": "return of valid plans"},
        lambda row: row["by"] == "invalid" and row["level"] in (0.05, 0.25) and row["form"] not in ("mixture", "tilt"),
        drawn=("valid_return", "entropy", "coverage"),
    ),
    "goals": Study(
        "guidance-goals.json",
        ("maze", "form", "scale"),
        dict.fromkeys(("aimed", "clear", "reached"), ".3f")
        | {"evaluations": ".0f", "backward": ".0f", "cpu_batched": ".2f"},
        {"cpu_batched": "ms"},
        times={"cpu_batched": 1000},
    ),
    "efficiency": Study(
        "data-efficiency.json",
        ("transitions", "method"),
        {"seeds": ".0f", "success": ".2f", "over_bc": "+.2f"},
        {"over_bc": "over cloning"},
        of="summary",
        main="success",
        drawn=("success", "over_bc"),
    ),
    "stitching": Study(
        "data-stitching.json",
        ("k", "method"),
        {"success": ".2f", "near": ".2f"},
        {"k": "legs of at most k cells (0: whole)", "success": "goals beyond", "near": "goals within"},
        of="summary",
        main="success",
    ),
    "joints": Study(
        "stitching-joint.json",
        ("way", "steps"),
        {"across": ".3f", "law": ".3f", "inside": ".3f", "variance": ".2f"},
        {"across": "across a joint", "inside": "inside (law: .9)", "variance": "variance at a joint (law: 1)"},
    ),
    "far goals": Study(
        "stitching-mazes.json",
        ("k", "arm"),
        FAR_GOALS,
        FAR_HEADS,
        of="summary",
        main="success",
        drawn=("success", "clear", "train_cpu"),
    ),
    "new goals": Study(
        "stitching-goals.json",
        ("k", "arm"),
        NEW_GOALS,
        FAR_HEADS,
        of="summary",
        main="success",
        drawn=("success", "clear", "train_cpu"),
    ),
    "large maze, short legs": Study(
        "stitching-large.json",
        ("k", "arm"),
        NEW_GOALS,
        FAR_HEADS,
        of="summary",
        main="success",
        drawn=("success", "clear", "train_cpu"),
    ),
    "other planners": Study(
        "stitching-others.json",
        ("k", "arm"),
        FAR_GOALS,
        FAR_HEADS,
        of="summary",
        main="success",
        drawn=("success", "clear", "train_cpu"),
    ),
    "ogbench first": Study(
        "ogbench-first.json",
        ("maze", "kind", "arm"),
        OGBENCH,
        OGBENCH_HEADS,
        of="summary",
        main="success",
    ),
    "ogbench": Study(
        "ogbench-mazes.json",
        ("maze", "kind", "arm"),
        OGBENCH,
        OGBENCH_HEADS,
        of="summary",
        main="success",
    ),
    "ogbench longer": Study(
        "ogbench-longer.json",
        ("maze", "kind", "arm"),
        OGBENCH,
        OGBENCH_HEADS,
        of="summary",
        main="success",
    ),
    "latent plans": Study(
        "horizon-latent.json",
        ("size",),
        {"reached": ".2f", "clear": ".2f", "lost": ".2f", "missed": ".2f", "plans": ".2f", "plan_ms": ".1f"}
        | {"train_cpu": ".0f"},
        {
            "size": "numbers of a code",
            "reached": "goals reached",
            "clear": "first plan clear of walls",
            "lost": "a recorded plan moved by, m",
            "missed": "ends missed by, m",
            "plans": "plans an episode",
            "plan_ms": "a plan, ms",
            "train_cpu": "training, CPU s",
        },
        of="summary",
        main="reached",
    ),
    "compounding": Study(
        "horizon-compounding.json",
        ("way", "steps"),
        {"off": ".3f", "worst_tenth": ".3f", "plans": ".0f"},
        {"steps": "after steps", "off": "off, median, m", "worst_tenth": "a tenth is off by more than, m"},
        of="summary",
        main="off",
        drawn=("off", "worst_tenth"),
    ),
    "players": Study(
        "practice.json",
        ("arm",),
        {"bricks": ".1f", "practice": ".0f"},
        {"bricks": "bricks before the first lost ball", "practice": "practice, CPU s"},
        of="summary",
        main="bricks",
        drawn=("bricks",),
    ),
    "replan": Study(
        "horizon-replan.json",
        ("driver", "every"),
        {"reached": ".2f", "plans": ".1f", "steps": ".0f"},
        {
            "every": "plans again after steps",
            "reached": "goals reached",
            "plans": "plans an episode",
            "steps": "steps to the goal",
        },
        of="summary",
        main="reached",
        drawn=("reached", "plans"),
    ),
    "recorders": Study(
        "data-recorders.json",
        ("recorder", "method"),
        {"success": ".2f"},
        of="summary",
        main="success",
    ),
    "guide": Study(
        "data-guide.json",
        ("way", "form", "gamma", "scale"),
        {"arrive": ".2f", "prefers": ".2f"},
        {"way": "way to the goal, m", "prefers": "J prefers the better of two"},
        of="summary",
        main="arrive",
    ),
    "ways": Study(
        "imitation-avoid.json",
        ("arm", "chunk"),
        WAYS | {"training": ".0f"},
        {"arm": "policy", **WAY_HEADS, "training": "training, CPU s"},
    ),
    "ways by steps": Study("imitation-steps.json", ("arm", "chunk", "denoising"), WAYS, {"arm": "policy", **WAY_HEADS}),
    "ways by looks": Study("imitation-looks.json", ("arm", "chunk", "execute"), WAYS, {"arm": "policy", **WAY_HEADS}),
    "one way": Study(
        "imitation-unimodal.json",
        ("arm", "chunk"),
        {k: WAYS[k] for k in ("success", "jitter", "idle", "steps")} | {"jitter": ".3f"},
        {"arm": "policy", **WAY_HEADS},
    ),
    "xor": Study(
        "imitation-xor.json", ("arm", "chunk"), {"opposite": ".3f", "on a mode": ".3f"}, {"arm": "policy", **WAY_HEADS}
    ),
    "curves": Study(
        "imitation-universal.json",
        ("kind", "form", "n"),
        {"sliced": ".4f", "off": ".4f"},
        {"kind": "law", "n": "components, or steps", "sliced": "sliced W2", "off": "to the nearest of 20,000"},
    ),
    "fast, exactly": Study(
        "fast-exact.json",
        ("kind", "sampler", "evaluations"),
        {"off": ".3f", "energy": ".4f", "left": ".3f"},
        {"kind": "law", "off": "off the flow's end", "energy": "energy distance", "left": "left (the law: .3)"},
    ),
    "fast plans": Study(
        "fast-fidelity.json",
        ("maze", "sampler", "evaluations"),
        {"off": ".3f", "walls": ".3f", "switched": ".3f"},
        {"off": "off the plan of 400 steps, m", "walls": "meet a wall", "switched": "another way"},
    ),
    "fast, own trainings": Study(
        "fast-short.json",
        ("arm", "sampler", "evaluations"),
        {"off": ".3f", "walls": ".3f", "switched": ".3f", "ms": ".1f", "ratio": ".1f", "training": ".0f"},
        {
            "arm": "trained on",
            "off": "off its own plan of 400 steps, m",
            "walls": "meet a wall",
            "switched": "another way",
            "ms": "ms for 16 plans",
            "ratio": "in forward passes",
            "training": "training, CPU s",
        },
    ),
    "fast drives": Study(
        "fast-driven.json",
        ("again", "sampler", "evaluations", "warm"),
        {"success": ".2f", "return": ".0f", "walls": ".2f", "plans": ".1f", "cost": ".0f"},
        {
            "again": "plans again",
            "warm": "from the last plan at",
            "success": "arrived",
            "walls": "first plans that meet a wall",
            "plans": "plans an episode",
            "cost": "evaluations an episode",
        },
    ),
    "fast chunks": Study(
        "fast-chunks.json",
        ("arm", "sampler", "evaluations"),
        {"success": ".3f", "entropy": ".2f", "entropy_floor": ".2f", "jitter": ".2f", "ms": ".2f", "ratio": ".1f"},
        {
            "arm": "policy",
            "success": "arrived",
            "entropy": "entropy / ln 24",
            "entropy_floor": "demonstrator",
            "ms": "ms a chunk",
            "ratio": "in forward passes",
        },
    ),
    "fast on a robot": Study(
        "fast-robot.json",
        ("plans", "sampler", "evaluations"),
        {"score": ".1f", "length": ".0f", "off": ".3f", "first": ".3f", "ms": ".1f", "ratio": ".1f"},
        {
            "score": "score, IQM",
            "length": "steps",
            "off": "off the plan of 400 steps",
            "first": "its first action",
            "ms": "ms for 16 plans",
            "ratio": "in forward passes",
        },
        of="summary",
    ),
    "fast in time": Study(
        "fast-latency.json",
        ("what", "batch"),
        {"ms": ".1f", "ratio": ".1f", "late": ".2f"},
        {"batch": "plans at once", "ms": "ms, median", "ratio": "in forward passes", "late": "over 20 ms"},
    ),
    "fast loop": Study(
        "fast-loop.json",
        ("sampler", "evaluations", "every", "warm"),
        {"missed": ".3f", "p95": ".1f", "worst": ".1f", "success": ".2f", "seconds": ".2f", "plans": ".1f"},
        {
            "every": "plans again after periods",
            "warm": "from the last plan at",
            "missed": "periods missed",
            "p95": "95 % of plans within, ms",
            "worst": "slowest plan, ms",
            "success": "arrived",
            "seconds": "seconds a drive",
            "plans": "plans a drive",
        },
    ),
    "offline": Study(
        "improvement-bandit.json",
        ("arm",),
        IMPROVED | {"training": ".0f"},
        IMPROVED_HEADS | {"arm": "policy"},
        limits=IN_BANDIT,
    ),
    "best of N": Study(
        "improvement-best.json", ("candidates",), IMPROVED, IMPROVED_HEADS | {"candidates": "N"}, limits=IN_BANDIT
    ),
    "guided": Study("improvement-guidance.json", ("w",), IMPROVED, IMPROVED_HEADS, limits=IN_BANDIT),
    "improved later": Study(
        "improvement-more.json",
        ("arm",),
        IMPROVED | {"training": ".0f"},
        IMPROVED_HEADS | {"arm": "policy"},
        limits=IN_BANDIT,
    ),
    "offline, paid": Study(
        "offline-paid.json",
        ("arm",),
        {"score": ".2f", "success": ".2f", "ways": ".1f", "off": ".3f", "training": ".0f", "ms": ".2f", "lines": ".0f"},
        {
            "arm": "policy",
            "success": "arrives",
            "off": "off the data",
            "training": "training, CPU s",
            "ms": "ms an action",
            "lines": "lines of its file",
        },
        limits={"score": (-np.inf, 6), "ways": (0, 24), "off": (0, 1)},
    ),
    "offline, on a robot": Study(
        "offline-hopper.json",
        ("arm",),
        {"iqm": ".1f", "return": ".0f", "length": ".0f", "training": ".0f", "ms": ".2f", "published": ".1f"},
        {
            "arm": "policy",
            "iqm": "IQM of the score",
            "return": "mean return",
            "length": "steps",
            "training": "training, CPU s",
            "ms": "ms an action",
            "published": "published, on other data",
        },
        of="summary",
    ),
    "robots": Study(
        "locomotion.json",
        ("name", "method"),
        {"iqm": ".1f", "mean": ".1f", "training_cpu": ".0f", "driving_cpu": ".0f"},
        {"name": "robot", "iqm": "IQM", "training_cpu": "training, CPU s", "driving_cpu": "10 drives, CPU s"},
        drawn=("iqm", "training_cpu"),
    ),
    "saddle": Study(
        "parameterisations-signal.json",
        ("predict", "sigma_data", "gain"),
        {"signal": ".4f", "noise": ".2f"},
        {"gain": "first weights times"},
    ),
    "four modes": Study(
        "parameterisations-modes.json",
        ("predict", "sigma_data"),
        {"on": ".2f", "rarest": ".2f"},
        {"on": "on a mode", "rarest": "on the rarest (of .25)"},
    ),
    "cures": Study(
        "parameterisations-cures.json",
        ("predict", "sigma_data", "gain", "lr"),
        {"on": ".2f", "rarest": ".2f"},
        {"gain": "first weights times", "lr": "rate", "on": "on a mode", "rarest": "on the rarest (of .25)"},
    ),
    "two ways": Study(
        "parameterisations-ways.json",
        ("predict", "sigma_data"),
        {"minor": ".2f", "between": ".3f"},
        {"minor": "left (the law: .3)", "between": "between"},
    ),
    "predictions in avoid": Study(
        "parameterisations-avoid.json", ("predict", "sigma_data"), {"success": ".2f", "entropy": ".2f"}
    ),
    "rules": Study(
        "safety-bent.json",
        ("form", "grown", "scale"),
        {"points": ".3f", "segments": ".3f", "walls": ".3f", "gap": ".3f"},
        {
            "grown": "grown by, m",
            "points": "unsafe point",
            "segments": "unsafe segment",
            "walls": "touches a wall",
            "gap": "points against velocities, m",
        },
        over="",
    ),
    "rules driven": Study(
        "safety-driven.json",
        ("maze", "arm"),
        dict.fromkeys(("given up", "plan safe", "plan clear", "drive safe", "reached", "driven safely", "all"), ".3f")
        | {"unsafe": ".0f", "not there": ".0f", "plans given up": ".3f", "cpu": ".2f"},
        {
            "arm": "planner",
            "driven safely": "safe and reached",
            "all": "plan and drive",
            "unsafe": "drives lost: unsafe",
            "not there": "not there",
            "plans given up": "of all plans given up",
            "cpu": "a task, CPU s",
        },
        of="summary",
    ),
    "guides driven": Study(
        "safety-guided.json",
        ("form", "scale"),
        {"unsafe segment": ".2f", "wall": ".2f", "says": ".2f"}
        | dict.fromkeys(("plan clear", "drive safe", "reached", "driven safely"), ".2f"),
        {
            "form": "guide",
            "unsafe segment": "candidates: unsafe segment",
            "wall": "touches a wall",
            "says": "it says: safe",
            "plan clear": "plan followed: clear",
            "driven safely": "safe and reached",
        },
        of="summary",
    ),
    "guides added": Study(
        "safety-composed.json",
        ("arm", "scale"),
        dict.fromkeys(("right", "left", "either", "wall", "right plan", "gap"), ".2f"),
        {
            "arm": "climbed",
            "right": "meets the right disc",
            "left": "meets the left disc",
            "either": "meets one",
            "wall": "touches a wall",
            "right plan": "none of these",
            "gap": "points against velocities, m",
        },
        of="summary",
    ),
    "sentences": Study(
        "language-heeded.json",
        ("arm",),
        {"seen all": ".2f", "held out all": ".2f", "held out place": ".2f", "held out way": ".2f"}
        | {"held out pace": ".2f", "shared all": ".2f", "clear": ".2f"},
        {
            "arm": "who answers",
            "seen all": "heeded, pair recorded",
            "held out all": "pair held out",
            "held out place": "of these the place",
            "held out way": "the way",
            "held out pace": "the pace",
            "shared all": "words with two meanings",
            "clear": "plan clear of walls",
        },
        of="summary",
    ),
    "margins": Study(
        "safety-margins.json",
        ("n", "level"),
        {"margin": ".3f", "coverage": ".3f", "low": ".3f", "high": ".3f"},
        {"n": "drives measured", "margin": "margin, m", "low": "5 %", "high": "95 %"},
        drawn=("margin", "coverage"),
    ),
    "windows": Study(
        "unconditioned.json",
        ("world", "size", "T"),
        {
            "held_loss": ".3f",
            "energy": ".2f",
            "floor_energy_95": ".2f",
            "precision": ".2f",
            "floor_precision_95": ".2f",
            "recall": ".2f",
            "floor_recall_95": ".2f",
            "memorised": ".2f",
            "residual": ".2f",
            "floor_residual": ".0e",
            "still_residual": ".2f",
            "infeasible": ".2f",
            "floor_residual_99": ".0e",
            "floor_residual_state_99": ".0e",
        },
        {
            "world": "robot",
            "held_loss": "loss, held out",
            **FLOORS,
            "floor_residual": "real",
            "still_residual": "still",
            "floor_residual_99": "99 % level",
            "floor_residual_state_99": "from the state",
        },
        lambda row: row["world"] in ("hopper", "halfcheetah") and row["T"] in (0, 5, 20, 100),
    ),
    "plans": Study(
        "unconditioned.json",
        ("world", "size", "T"),
        {
            "energy": ".2f",
            "floor_energy_95": ".2f",
            "precision": ".2f",
            "floor_precision_95": ".2f",
            "recall": ".2f",
            "floor_recall_95": ".2f",
            "segments_in_walls": ".3f",
            "inconsistency": ".3f",
            "floor_inconsistency": ".3f",
        },
        {"world": "maze", "segments_in_walls": "in walls", **FLOORS, "floor_inconsistency": "floor"},
        lambda row: row["world"] not in ("hopper", "halfcheetah") and row["T"] in (5, 20, 100),
    ),
    "moments": Study(
        "dreams-moments.json",
        ("arm", "updates", "denoising"),
        dict.fromkeys(
            ("certain_impossible", "sticky_impossible", "sticky_weight", "restart_impossible", "restart_weight"), ".3f"
        ),
        {
            "certain_impossible": "one can follow: impossible",
            "sticky_impossible": "sticky: impossible",
            "sticky_weight": "sticky: weight (0.9)",
            "restart_impossible": "restart: impossible",
            "restart_weight": "restart: weight (0.5)",
        },
        drawn=("certain_impossible", "sticky_weight", "restart_weight"),
    ),
    "false alarms": Study(
        "calibration.json",
        ("cases of", "number"),
        {"seen": ".3f"},
        {"cases of": "healthy cases", "seen": "some question said collapsed"},
        of="alarms",
        over="",
    ),
    "power": Study(
        "calibration.json",
        ("kind", "size"),
        {"named": ".2f"} | {f"seen {n}": ".2f" for n in (64, 256, 1024, 4096)},
        {"kind": "defect", "named": "named"},
        of="power",
        drawn=("seen 64", "seen 256", "seen 4096"),
        over="",
    ),
    "diversity": Study("collapse-measures.json", ("defect",), dict.fromkeys(DIVERSITY, ".2f")),
    "diversity by n": Study(
        "collapse-size.json",
        ("measure", "n"),
        {"low": ".3g", "mean": ".3g", "high": ".3g"} | dict.fromkeys(COLLAPSED, ".2f"),
        {"low": "floor, low", "mean": "mean", "high": "floor, high"},
        lambda row: row["n"] in (32, 128, 512),
        drawn=COLLAPSED[:3],
        over="",
    ),
    "knobs": Study(
        "collapse-sweeps.json",
        ("knob", "value"),
        dict.fromkeys(("coverage", "entropy"), ".2f")
        | {"off the modes": ".3f", "spread within": ".2f", "energy distance": ".3f", "to its rows": ".2f"}
        | {f"{name}, seen": ".2f" for name in ("entropy", "spread within", "energy distance")},
        over="",
    ),
    "deciding": Study(
        "collapse-commitment.json",
        ("denoiser", "schedule", "eta", "temperature", "std"),
        dict.fromkeys(("at noise", "ended", "half_t", "half_noise", "law_half_t", "law_half_noise"), ".2f"),
        {
            "std": "deviation",
            "at noise": "entropy from noise",
            "ended": "entropy of the ends",
            "half_t": "half decided at t",
            "half_noise": "noise there",
            "law_half_t": "law: t",
            "law_half_noise": "law: noise",
        },
        over="",
    ),
    "lasting": Study(
        "dreams-lasting.json",
        ("arm", "denoising", "project"),
        {"median": ".0f", "low": ".0f", "high": ".0f", "whole": ".2f"},
        {"project": "rounded", "low": "lower quartile", "high": "upper quartile", "whole": "all 200 possible"},
        drawn=("median", "whole"),
    ),
    "drift": Study(
        "dreams-drift.json",
        ("arm", "blur", "project"),
        {
            "median": ".0f",
            "low": ".0f",
            "high": ".0f",
            "whole": ".2f",
            **{f"impossible_{n}": ".3f" for n in (10, 25, 50, 100)},
            "sticky_weight": ".3f",
        },
        {
            "blur": "noise at play",
            "project": "rounded",
            "low": "lower quartile",
            "high": "upper quartile",
            "whole": "all 100 possible",
            "impossible_10": "impossible of the first 10",
            "impossible_25": "of the next 15",
            "impossible_50": "of the next 25",
            "impossible_100": "of the last 50",
            "sticky_weight": "sticky weight (0.9)",
        },
        drawn=("median", "whole"),
    ),
    "policies": Study(
        "dreams-policies.json",
        ("arm",),
        {"paid": ".1f", "failed": ".2f", "dreamed": ".3f", "real": ".3f"},
        {
            "paid": "return",
            "failed": "below -500",
            "dreamed": "reward of a step, in its dream",
            "real": "the same, in the equations",
        },
        drawn=("paid",),
    ),
    "rollouts": Study(
        "dreams-rollouts.json",
        ("world", "arm"),
        {f"rmse_{h}": ".4f" for h in (1, 2, 5, 10, 20, 50)},
        {f"rmse_{h}": f"{h} step{'s' * (h > 1)}" for h in (1, 2, 5, 10, 20, 50)},
        drawn=("rmse_1", "rmse_10", "rmse_50"),
    ),
    "forked": Study(
        "dreams-forked.json",
        ("arm",),
        {"energy": ".3f", "floor_energy_95": ".3f", "right": ".2f", "left": ".2f", "neither": ".2f", "rmse_end": ".2f"},
        {
            "energy": "energy distance",
            "floor_energy_95": "its floor",
            "right": "right (0.5)",
            "left": "left (0.5)",
            "neither": "neither (0)",
            "rmse_end": "error of the last state",
        },
    ),
    "led": Study(
        "dreams-led.json",
        ("policy_name", "arm"),
        {"moved": ".2f", "act_spread": ".2f", "obs_spread": ".2f"},
        {
            "policy_name": "policy",
            "arm": "by",
            "moved": "way of the last state (1)",
            "act_spread": "spread of actions (1)",
            "obs_spread": "spread of states (1)",
        },
        drawn=("act_spread", "obs_spread"),
        over="",
    ),
    "synthetic oracle": Study(
        "synthetic-oracle.json",
        ("n", "arm", "updates", "noise"),
        {"residual": ".4f", "residual_95": ".3f", "reward_error": ".3f", "ratio": ".2f"},
        {"n": "real rows", "residual_95": "95 % below", "reward_error": "reward off by", "ratio": "nearest-row ratio"},
        drawn=("residual", "ratio"),
        over="",
    ),
    "synthetic linear": Study(
        "synthetic-linear.json",
        ("n", "arm"),
        dict.fromkeys(("A", "B", "sigma", "from_shown"), ".3f"),
        {
            "n": "real rows",
            "A": "A off by",
            "B": "B off by",
            "sigma": "Sigma off by",
            "from_shown": "A: from the rows shown",
        },
    ),
    "synthetic downstream": Study(
        "synthetic-downstream.json",
        ("n", "arm"),
        {"paid": ".0f", "failed": ".2f"},
        {"n": "real rows", "paid": "return of 200 steps", "failed": "drives below -500"},
    ),
    "synthetic online": Study(
        "synthetic-online.json",
        ("arm", "updates"),
        {"paid_1000": ".0f", "paid_1500": ".0f", "paid_2000": ".0f", "covered_2000": ".2f", "residual": ".2f"}
        | {"seconds": ".0f"},
        {
            "updates": "updates a step",
            "paid_1000": "return after 1,000 steps",
            "paid_1500": "1,500",
            "paid_2000": "2,000",
            "covered_2000": "states covered",
            "residual": "residual of made rows",
            "seconds": "CPU s",
        },
        drawn=("paid_1000", "paid_2000", "covered_2000"),
    ),
}


Bounds = tuple[float, float, float]
"""A mean and the ends of its 95 % interval; NaN for what there is not."""


def interval(values: list[Any], low: float = -np.inf, high: float = np.inf) -> Bounds:
    """The mean of a column's seeds and its 95 % interval by Student's t, cut to [low, high]."""
    x = np.array([v for v in values if v is not None], float)
    x = x[np.isfinite(x)]
    if not len(x):
        return np.nan, np.nan, np.nan
    found = student(x, low, high)
    if found is None or np.ptp(x) < 1e-9:  # a law is the same for every seed
        return float(x[0]), np.nan, np.nan
    return float(x.mean()), *found


def bounds(rows: list[dict[str, Any]], name: str, limits: Limits | None = None) -> Bounds:
    """One column of rows that differ in their seed; a table of summaries has one row and an interval of its own.
    limits: where the study's values end, before what LIMITS says."""
    own = rows[0].get(f"{name}_interval") if len(rows) == 1 else None
    if own is None or rows[0].get(name) is None:
        return interval([row.get(name) for row in rows], *{**LIMITS, **(limits or {})}.get(name, ()))
    return (rows[0][name], *own) if own[0] < own[1] else (own[0], np.nan, np.nan)


def cell(rows: list[dict[str, Any]], name: str, form: str, limits: Limits | None = None) -> str:
    """A mean and in brackets its interval as the table has them; – without any value."""
    mean, low, high = bounds(rows, name, limits)
    if np.isnan(mean):
        return "–"
    return f"{mean:{form}}" if np.isnan(low) else f"{mean:{form}} ({low:{form}} to {high:{form}})"


def trainings(same: list[dict[str, Any]]) -> int:
    """Over how many training seeds the rows of one line are: their own seeds; or, of one row that sums up others, what
    it says (`seeds`, or its results `by_seed`); 0 for what has no seed."""
    seeds = {row["seed"] for row in same if "seed" in row}
    return len(seeds) or int(same[0].get("seeds", len(same[0].get("by_seed", ()))))


def _name(value: Any) -> str:
    """What stands in a row's head: – for nothing, a range as its two ends."""
    if isinstance(value, list):
        return " to ".join(_name(v) for v in value)
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def lines(study: Study) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """A table's lines: {what stands in its head: points of its seeds}. ValueError where the file has no such row."""
    results = Table.load(RESULTS / study.file)
    rows: dict[tuple, list[dict[str, Any]]] = {}
    for row in results.rows if study.of == "rows" else results.about[study.of]:
        if study.keep(row):
            shown = row | {k: row[k] * factor for k, factor in study.times.items()}
            shown |= {f"{study.main}_interval": row["interval"]} if study.main else {}
            rows.setdefault(tuple(_name(row.get(k)) for k in study.by), []).append(shown)
    if not rows:
        raise ValueError(f"{study.file} has no row of this study")
    return rows


def table(study: Study) -> str:
    """The study's table, its seeds, hours and command. Raises ValueError where the file has no such row."""
    results, rows = Table.load(RESULTS / study.file), lines(study)
    text = [
        [study.heads.get(k, k) for k in (*study.by, *study.columns)],
        ["---"] * len(study.by) + ["---:"] * len(study.columns),
    ]
    for key, same in rows.items():
        text.append([*key, *(cell(same, name, form, study.limits) for name, form in study.columns.items())])
    body = "\n".join(f"| {' | '.join(line)} |" for line in text)
    numbers = [n for n in map(trainings, rows.values()) if n]
    least, most = min(numbers, default=1), max(numbers, default=1)
    seeds = f"{least} to {most}" if least < most else f"{most}"
    hours = results.about["hours"] + results.about.get("training_hours", 0.0)
    cost = f"{60 * hours:.1f} CPU minutes" if hours < 1 else f"{hours:.1f} CPU hours"
    maker = next(e["maker"] for e in manifest() if e["file"] == f"results/{study.file}")
    return f"{body}\n\n{seeds} training seed{'s' * (most > 1)}, {cost}: `{maker}` → `{study.file}`."


def filled(text: str) -> str:
    """The page with its tables as the results have them now."""
    return marked(text, {name: table(study) for name, study in STUDIES.items()})


if __name__ == "__main__":
    arguments("python -m diffrl_lab.publish.tables", __doc__)
    write_text(PAGE, filled(PAGE.read_text("utf-8")))
