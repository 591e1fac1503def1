"""Methods that train on little, cut or wandering data drive the same episodes; and what their results sum up to."""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.analysis.intervals import bootstrap, wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.methods.baselines.retrieval import retrieval
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.policies import cloning, diffusion_policy
from diffrl_lab.studies.data.recordings import MAZE, cells_apart, named_walls, recorded
from diffrl_lab.worlds.driving import Follower, roll_out
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import REACHED

EPISODES, FIRST = 134, 1000  # environment seeds from FIRST on
METHODS = ("bc", "diffusion-bc", "planner", "retrieval")
PLANS = 4  # in one episode, of the planner and of retrieval
STEPS = {"bc": 700, "diffusion-bc": 1000, "planner": 430}
PLANNER = diffuser.Config(width=192, depth=2, channels=16, batch=128, ema=0.99, candidates=8, updates=STEPS["planner"])
POLICY = diffusion_policy.Config(batch=256, updates=STEPS["diffusion-bc"])


@lru_cache(maxsize=1)
def _envs() -> list[Any]:
    return [make_maze(MAZE) for _ in range(38)]  # 12 MB each


def together(envs: list[Any], agent: Any, seeds: ArrayLike) -> NDArray[np.bool_]:
    """Whether an agent that drives m balls side by side (obs [m, 2n] -> actions [m, n]) reached each goal in time. The
    same as `roll_out` for each, to the moment at which the last goal is reached. -> [m]"""
    first = [env.reset(seed=int(s))[0] for env, s in zip(envs, np.asarray(seeds), strict=True)]
    obs, goal = (np.array([o[key] for o in first]) for key in ("observation", "desired_goal"))
    agent.reset(obs, seeds, goal)
    reached, over = np.zeros(len(envs), bool), np.zeros(len(envs), bool)
    while not over.all():
        act = agent.act(obs)
        for k in (~over).nonzero()[0]:
            found, _, terminated, truncated, _ = envs[k].step(act[k])
            obs[k] = found["observation"]
            reached[k] = np.linalg.norm(obs[k, :2] - goal[k]) <= REACHED
            over[k] = reached[k] or terminated or truncated
    return reached


def driven(agent: Any) -> NDArray[np.bool_]:
    """Which of the episodes with seeds `FIRST` and on an agent of balls side by side brings to their goal."""
    seeds, envs = np.arange(FIRST, FIRST + EPISODES), _envs()
    rounds = [seeds[k : k + len(envs)] for k in range(0, EPISODES, len(envs))]
    return np.concatenate([together(envs[: len(some)], agent, some) for some in rounds])


class _Until:
    """An environment that is over once the goal is reached: what comes after does not change a success."""

    def __init__(self, env: Any):
        self.env = env

    def reset(self, **options: Any) -> Any:
        return self.env.reset(**options)

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self.env.step(action)
        near = np.linalg.norm(obs["achieved_goal"] - obs["desired_goal"]) <= REACHED
        return obs, reward, terminated or bool(near), truncated, info


class _Few(Follower):
    """Asks for a route at most `PLANS` times an episode; when the last one has ended it makes for the goal."""

    def _ask(self, obs: NDArray[np.float64]) -> None:
        super()._ask(obs)
        self.again = self.plans < PLANS


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
        few = _Few(follower.route)
        reached = np.array([roll_out(_Until(_envs()[0]), few, seed=s).reached for s in seeds])
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
    found = []
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
        found.append(row)
    return found
