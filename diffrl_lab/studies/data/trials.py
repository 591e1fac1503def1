"""Methods that train on little, cut or wandering data drive the same episodes; and what their results sum up to."""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffrl_lab.analysis.intervals import bootstrap, wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.methods.baselines.retrieval import retrieval
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.policies import cloning, diffusion_policy
from diffrl_lab.studies.data.recordings import MAZE, cells_apart, named_walls, recorded
from diffrl_lab.worlds.driving import Follower, arrived, drive, indices
from diffrl_lab.worlds.mazes import make_maze

EPISODES, FIRST = 134, 1000  # environment seeds from FIRST on
METHODS = ("bc", "diffusion-bc", "planner", "retrieval")
PLANS = 4  # in one episode, of the planner and of retrieval
STEPS = {"bc": 700, "diffusion-bc": 1000, "planner": 430}
PLANNER = diffuser.Config(width=192, depth=2, channels=16, batch=128, ema=0.99, candidates=8, updates=STEPS["planner"])
POLICY = diffusion_policy.Config(batch=256, updates=STEPS["diffusion-bc"], predict="v")


@lru_cache(maxsize=1)
def _envs() -> list[Any]:
    return [make_maze(MAZE) for _ in range(38)]  # 12 MB each


class _Whole:
    """A policy as the tables were measured with it: balls that have arrived stay in its batch, whose size the last bits
    of a network's output depend on; and the noise of all comes from one generator, seeded 0."""

    def __init__(self, agent: Any):
        self.agent = agent

    def reset(self, obs: NDArray, seeds: Any, goal: NDArray | None = None) -> None:
        self.obs = obs.copy()
        self.agent.reset(obs, seeds, goal)
        if isinstance(self.agent, diffusion_policy.Agent):
            self.agent.generators = [torch.Generator().manual_seed(0)] * len(seeds)

    def act(self, obs: NDArray, which: NDArray | None = None) -> NDArray[np.float64]:
        now = indices(obs, which)
        self.obs[now] = obs
        return self.agent.act(self.obs)[now]


def driven(agent: Any) -> NDArray[np.bool_]:
    """Which of the episodes with seeds `FIRST` and on an agent brings to their goal, driven side by side to it."""
    episodes = drive(_envs(), _Whole(agent), range(FIRST, FIRST + EPISODES), until=arrived)
    return np.array([e.reached for e in episodes])


@lru_cache(maxsize=1)
def distances() -> NDArray[np.int64]:
    """Cells between start and goal of the driven episodes. -> [EPISODES]"""
    env = make_maze(MAZE)
    resets = [env.reset(seed=FIRST + k)[0] for k in range(EPISODES)]
    env.close()
    ends = (np.array([r[key] for r in resets]) for key in ("achieved_goal", "desired_goal"))
    return cells_apart(named_walls(MAZE), *ends).astype(int)


def trial(recorder: str, k: int, transitions: int, method: str, *, seed: int) -> dict[str, Any]:
    """One point of the first three tables: train on what was recorded, drive `EPISODES` episodes.

    reached: a 0 or 1 for each, in the order of the environment's seeds. train_cpu, drive_cpu: CPU seconds.
    """
    episodes = recorded(recorder, k, transitions, seed)
    begun = time.process_time()
    agents: dict[str, Any] = {"bc": cloning.Agent, "diffusion-bc": diffusion_policy.Agent}  # drive balls side by side
    if method == "bc":
        run = cloning.train(episodes, cloning.Config(updates=STEPS["bc"]), seed=seed, goal=2)
    elif method == "diffusion-bc":
        run = diffusion_policy.train(episodes, POLICY, seed=seed, goal=2)
    elif method == "planner":
        run = diffuser.train(episodes, PLANNER, seed=seed)
    elif method != "retrieval":
        raise ValueError(f"a method is one of {', '.join(METHODS)}; got {method!r}")
    if method != "retrieval":
        for _ in run:
            pass
    trained = time.process_time()
    if method in agents:
        reached = driven(agents[method](run.model))
    else:
        seeds = range(FIRST, FIRST + EPISODES)
        follower = retrieval(episodes) if method == "retrieval" else diffuser.Agent(run.model)
        few = Follower(follower.route, most=PLANS)  # when the last route has ended it makes for the goal
        reached = np.array([e.reached for e in drive(_envs()[:1], few, seeds, until=arrived)])
    return {
        "reached": "".join("01"[int(r)] for r in reached),
        "success": float(reached.mean()),
        "success_interval": list(wilson(int(reached.sum()), len(reached))),
        "pieces": len(episodes),
        "train_cpu": round(trained - begun, 1),
        "drive_cpu": round(time.process_time() - trained, 1),
    }


def summary(table: Table, far: int = 0) -> list[dict[str, Any]]:
    """Success for each recorder, k, size and method, on pairs farther than `far` cells: the mean over training seeds.

    interval: bootstrap over episodes, each episode's result being its mean over the seeds that were trained (so it is
    about other goals for these trainings); by_seed shows how trainings differ. over_bc: the paired difference to
    behaviour cloning on the same data and episodes, and its interval. near: success on the other pairs.
    """
    apart = np.array(table.about["distances"])
    groups: dict[str, list[NDArray]] = {}
    for row in table.rows:
        key = json.dumps([row[name] for name in ("recorder", "k", "transitions", "method")])
        groups.setdefault(key, []).append(np.array(list(row["reached"]), float))
    rows = []
    for key, seeds in groups.items():
        recorder, k, transitions, method = json.loads(key)
        each = np.mean(seeds, 0)
        row = {"recorder": recorder, "k": k, "transitions": transitions, "method": method, "seeds": len(seeds)}
        row |= {"episodes": int((apart > far).sum()), "success": float(each[apart > far].mean())}
        row |= {"by_seed": [float(s[apart > far].mean()) for s in seeds]}
        row |= {"interval": list(bootstrap(each[apart > far]))}
        if far:
            row |= {"near": float(each[apart <= far].mean()), "near_interval": list(bootstrap(each[apart <= far]))}
        other = groups.get(json.dumps([recorder, k, transitions, "bc"]))
        if other is not None and method != "bc" and len(other) == len(seeds):
            d = (each - np.mean(other, 0))[apart > far]
            row |= {"over_bc": float(d.mean()), "over_bc_interval": list(bootstrap(d))}
        rows.append(row)
    return rows
