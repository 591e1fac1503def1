"""Recording a maze: the scripted controller drives, and what it did becomes a Minari dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffrl_lab.data.minari import place, write
from diffrl_lab.worlds.driving import Episode, drive
from diffrl_lab.worlds.mazes import EPISODE_STEPS, REFERENCE_RETURNS, Controller, make_maze, side
from diffrl_lab.worlds.walls import Walls

RECORDINGS = {f"pointmaze-{maze}": maze for maze in ("umaze", "medium", "large", "two-ways")}
NOISE = 0.1  # standard deviation of what is added to every recorded action
SPREAD = 0.38  # m: starts and goals lie all over their cells; the environment's own 0.25 leaves gaps between them


def record(
    name: str,
    steps: int = 200_000,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    *,
    p: float = 0.5,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Drive PointMaze with the scripted controller for exactly `steps` steps into a Minari dataset -> its folder.

    name: pointmaze-umaze, -medium, -large or -two-ways. One episode is one task: a random start and goal, driven until
    the ball has settled at the goal, then cut as a time limit (the task itself never ends); only the last episode may
    be cut earlier. Observations (the environment's dict) and actions are stored as float32, rewards as float64. Equal
    arguments give equal files, bit for bit, on one machine and installation. In two-ways the controller goes left with
    probability p, and each episode says which side it took; elsewhere p means nothing.
    out: the Minari root to write below (default: MINARI_DATASETS_PATH or ~/.minari/datasets).
    Raises ValueError for an unknown name, numbers out of range, or a dataset that exists and overwrite=False.
    """
    if name not in RECORDINGS:
        raise ValueError(f"a recording is one of {', '.join(RECORDINGS)} (or of robots, games and avoid); got {name!r}")
    if steps < 1 or seed < 0 or not 0 <= p <= 1:
        raise ValueError(f"steps must be at least 1, seed at least 0 and p in [0, 1]; got {steps}, {seed} and {p}")
    dataset_id = f"{name}-p{round(100 * p)}-v0" if name == "pointmaze-two-ways" else f"{name}-v0"
    folder = place(dataset_id, out, overwrite)
    episodes, spaces = _drive_all(RECORDINGS[name], steps, seed, p, progress)
    about = {
        "dataset_id": dataset_id,
        "algorithm_name": "scripted controller: shortest path, speed profile, PD",
        "description": f"{steps} steps of {name} by a controller that knows the map, seed {seed}",
        "author": {"diffrl_lab"},
        "recorded_with": f"diffrl-lab record {name} --steps {steps} --seed {seed}"
        + (f" --p {p:g}" if name == "pointmaze-two-ways" else ""),
        "requirements": ["gymnasium-robotics>=1.4", "mujoco>=3.3,<3.9"],
        **_references(RECORDINGS[name]),
    }
    if name == "pointmaze-two-ways":
        about |= {"left_probability": p, "left_share": float(np.mean([e["told"]["side"] == "left" for e in episodes]))}
    write(folder, episodes, spaces, about, overwrite=overwrite)
    return folder


def scripted(env, seed: int = 0, left: float | None = None) -> Iterator[Episode]:
    """Endless episodes of the controller that knows the map, with noisy actions: one random task after the other, each
    until the ball has settled at its goal. left: see `Controller`."""
    controller, rng = Controller(Walls.of(env), noise=NOISE, left=left), np.random.default_rng(seed)
    while True:
        # seeds of one million and more: no recorded task is one that an evaluation uses
        reset = int(rng.integers(10**6, 2**31))
        yield drive([env], controller, [reset], until=controller.settled)[0]


def _drive_all(maze: str, steps: int, seed: int, p: float, progress: bool) -> tuple[list[dict], tuple]:
    """Episodes as dicts (see `write`), `steps` steps in all, and the spaces."""
    from tqdm.auto import tqdm

    env = make_maze(maze, position_noise_range=SPREAD)
    episodes: list[dict] = []
    rest = steps
    with tqdm(total=steps, unit=" steps", desc=maze, disable=not progress) as bar:
        for run in scripted(env, seed, left=p if maze == "two-ways" else None):
            n = min(run.steps, rest)
            state = run.obs[: n + 1].astype(np.float32)
            obs = {
                "observation": state,
                "achieved_goal": state[:, :2],
                "desired_goal": np.broadcast_to(np.asarray(run.goal, np.float32), (n + 1, 2)),
            }
            way = {-1.0: "left", 0.0: "none", 1.0: "right"}[side(state[:, :2])]
            episodes.append(
                {
                    "obs": obs,
                    "act": run.act[:n].astype(np.float32),
                    "rew": run.rew[:n].astype(float),
                    "seed": run.seed,
                    "told": {"side": way} if maze == "two-ways" else {},
                }
            )
            rest -= n
            bar.update(n)
            if not rest:
                break
    spaces = env.unwrapped.observation_space, env.unwrapped.action_space, env.unwrapped.spec
    env.close()
    return episodes, spaces


def _references(maze: str) -> dict[str, Any]:
    """Returns of a random policy and of the expert: scores 0 and 100 of Minari's normalised score."""
    if maze not in REFERENCE_RETURNS:
        return {}
    low, high = REFERENCE_RETURNS[maze]
    return {
        "ref_min_score": low,
        "ref_max_score": high,
        "num_episodes_average_score": 100,
        "ref_episode_steps": EPISODE_STEPS[maze],
    }
