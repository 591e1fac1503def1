"""Time from scratch until a planner reaches 95 % of its goals, in each maze, and the time of its whole training.

From a recording on disk. The averaged weights are driven over 40 episodes (seeds below 1000) after 100, 200, 400, ...
updates until at least 38 goals are reached; the time of driving is not counted.
"""

from __future__ import annotations

import time

from diffrl_lab.analysis.evaluate import evaluate
from diffrl_lab.methods.planning.diffuser import CONFIGS, Agent, train
from diffrl_lab.studies.planners import recording
from diffrl_lab.worlds.mazes import make_maze

MAZES = ("umaze", "medium", "large")


def run() -> list[dict]:
    rows = []
    for maze in MAZES:
        episodes, _ = recording(f"maze-{maze}")
        begun, driving, ahead, first, success = time.perf_counter(), 0.0, 100, None, 0.0
        training, world = train(episodes, CONFIGS[maze]), make_maze(maze)
        for row in training:
            if first is None and row["step"] == ahead:
                pause = time.perf_counter()
                success = evaluate(world, Agent(training.model), range(40))["success"]
                if success >= 0.95:
                    first = ahead, (pause - begun - driving) / 60
                ahead, driving = 2 * ahead, driving + time.perf_counter() - pause
        whole = (time.perf_counter() - begun - driving) / 60
        rows.append(
            {
                "maze": maze,
                "updates to 95 %": first[0] if first else "not reached",
                "minutes to 95 %": first[1] if first else "not reached",
                "updates in all": training.step,
                "minutes in all": whole,
            }
        )
    return rows
