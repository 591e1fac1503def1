"""Locomotion: Gymnasium's Hopper, HalfCheetah and Walker2d, their behaviour policies, recordings and exact replay.

A policy is a small network trained by `diffrl-lab behaviour` (`worlds.behaviours`); the policies of one environment,
from untrained to expert, lie in one file, the ladder. The simulator's state is (qpos, qvel): joint positions, root
first, and their velocities. An observation omits the root's x and, except in HalfCheetah, clips velocities to
[-10, 10], so recordings keep qpos and qvel beside it, and `replay` starts the simulator from them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab.data import minari as recordings
from diffrl_lab.worlds.driving import Agent, Uniform, after, drive, indices

Array = NDArray[np.float64]

ENVIRONMENTS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
KINDS = ("random", "medium", "medium-replay", "medium-expert", "expert")
D4RL_RETURNS = {"hopper": (-20.272305, 3234.3), "halfcheetah": (-280.178953, 12135.0), "walker2d": (1.629008, 4592.3)}
"""Returns of a random policy and of the expert in D4RL (Fu et al. 2020, infos.py): another setting (older environments,
SAC trained for millions of steps), printed beside ours and never used as a scale here."""


class Replayed(NamedTuple):
    """What `replay` led to: entry [n, k] is the state, observation and reward after action k of window n."""

    qpos: Array  # [N, H, nq]
    qvel: Array  # [N, H, nv]
    obs: Array  # [N, H, d]
    rew: Array  # [N, H]


def make(name: str, **options: Any):
    """hopper, halfcheetah or walker2d -> Gymnasium's -v5 environment: 1000 steps, actions in [-1, 1].

    An episode of Hopper or Walker2d is terminated when the robot has fallen; HalfCheetah's ends by the time limit only.
    Raises ValueError for another name.
    """
    import gymnasium

    return gymnasium.make(ENVIRONMENTS[_known(name)], **options)


def replay(env, qpos: ArrayLike, qvel: ArrayLike, actions: ArrayLike) -> Replayed:
    """From each of N states do H actions, whatever else is in between -> the states that follow, [N, H, ...].

    qpos: [N, nq], qvel: [N, nv], actions: [N, H, a]; one step from every row of a recording is H = 1. The simulator is
    reset to each state without memory of earlier ones (MuJoCo's solver otherwise starts from its last solution), so a
    row's result does not depend on the others. A robot that fell goes on falling: nothing is cut here.
    Raises ValueError for shapes that do not fit the environment or each other.
    """
    import mujoco

    world = env.unwrapped
    model, data = world.model, world.data
    q, v, a = (np.asarray(x, float) for x in (qpos, qvel, actions))
    wanted = (len(q), model.nq), (len(q), model.nv), (len(q), *a.shape[1:2], model.nu)
    if (q.shape, v.shape, a.shape) != wanted or a.ndim != 3:
        raise ValueError(
            f"qpos [N, {model.nq}], qvel [N, {model.nv}] and actions [N, H, {model.nu}] were wanted; "
            f"got {list(q.shape)}, {list(v.shape)} and {list(a.shape)}"
        )
    n, h = a.shape[:2]
    out = Replayed(
        np.empty((n, h, model.nq)),
        np.empty((n, h, model.nv)),
        np.empty((n, h, *world.observation_space.shape)),
        np.empty((n, h)),
    )
    for i in range(n):
        mujoco.mj_resetData(model, data)
        world.set_state(q[i], v[i])
        for k in range(h):
            obs, reward, *_ = world.step(a[i, k])
            out.qpos[i, k], out.qvel[i, k], out.obs[i, k], out.rew[i, k] = data.qpos, data.qvel, obs, reward
    return out


def state(env, obs: ArrayLike) -> tuple[Array, Array]:
    """The state that an observation [..., d] tells: qpos [..., nq] with x = 0, qvel [..., nv].

    Exact up to the root's x, which the dynamics does not depend on, and up to velocities clipped at 10 (see above).
    """
    model = env.unwrapped.model
    o = np.asarray(obs, float)
    if o.shape[-1:] != (model.nq - 1 + model.nv,):
        raise ValueError(f"observations of {model.nq - 1 + model.nv} numbers were wanted, got {list(o.shape)}")
    return np.concatenate([np.zeros((*o.shape[:-1], 1)), o[..., : model.nq - 1]], -1), o[..., model.nq - 1 :]


def poses(env, obs: ArrayLike) -> Array:
    """The robot that observations [..., d] tell, seen from the side: one line along all its limbs -> [..., P, 2].

    (x, z) in metres with the root at x = 0 (a camera that goes along) and the ground at z = 0, from the simulator's
    own kinematics. Where limbs branch the line goes out and comes back, so that it draws the whole robot in one stroke.
    """
    import mujoco

    model, data = env.unwrapped.model, mujoco.MjData(env.unwrapped.model)
    qpos, _ = state(env, obs)

    def ends(geom: int) -> tuple[Array, Array]:
        half = data.geom_xmat[geom].reshape(3, 3)[:, 2] * model.geom_size[geom, 1]  # a capsule's axis is its own z
        return data.geom_xpos[geom] - half, data.geom_xpos[geom] + half

    def hinge(body: int) -> Array:
        return data.xpos[body] if body == root else data.xanchor[model.body_jntadr[body]]

    def tour(body: int) -> list[Array]:
        joint, line = hinge(body), []
        first = model.body_geomadr[body]
        for geom in range(first, first + model.body_geomnum[body]):
            near, far = sorted(ends(geom), key=lambda end: round(float(np.linalg.norm(end - joint)), 6))
            line += [near, far, near]
        for child in np.flatnonzero(model.body_parentid == body):
            line += [hinge(int(child)), *tour(int(child)), hinge(int(child))]
        return [point.copy() for point in line]

    root = int(np.flatnonzero(model.body_parentid == 0)[1])  # 0 is the world, its own parent
    drawn = []
    for q in qpos.reshape(-1, model.nq):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        drawn.append(np.array(tour(root))[:, [0, 2]])
    return np.array(drawn).reshape(*qpos.shape[:-1], -1, 2)


@dataclass(frozen=True, eq=False)
class Policy:
    """A Gaussian policy: a ~ N(net((obs - mean) / std), diag(exp(log_std))^2), clipped to [-1, 1].

    net is linear layers with ReLU between; normalised observations are clipped to [-10, 10]. All float32.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]  # (weight [out, in], bias [out])
    mean: Tensor  # [d]
    std: Tensor  # [d]
    log_std: Tensor  # [a]

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Policy:
        """From named tensors weight0, bias0, weight1, ..., mean, std, log_std (what `worlds.behaviours` keeps)."""
        count = sum(key.startswith("weight") for key in tensors)
        layers = tuple((tensors[f"weight{i}"], tensors[f"bias{i}"]) for i in range(count))
        return cls(layers, tensors["mean"], tensors["std"], tensors["log_std"])

    def act(self, obs: ArrayLike, generator: torch.Generator | None = None) -> NDArray[np.float32]:
        """An action [a] for an observation [d]: drawn with the generator, or without one the distribution's mean."""
        h = ((torch.as_tensor(np.asarray(obs, np.float32)) - self.mean) / self.std).clamp(-10, 10)
        for number, (weight, bias) in enumerate(self.layers):
            h = torch.addmv(bias, weight, h if number == 0 else h.relu())
        if generator is not None:
            h = h + self.log_std.exp() * torch.randn(len(h), generator=generator)
        return h.clamp(-1, 1).numpy()


@dataclass(frozen=True, eq=False)
class Ladder:
    """The policies of one environment by the training steps behind them, and what was measured with them.

    about: env, algorithm, seed, medium and expert (which rung is which), expert_return and random_return (the scale:
    means over `episodes`), measured (per policy and kind of action: mean, standard error, n), trained (steps, hours).
    """

    policies: dict[int, Policy]
    about: dict[str, Any]

    @property
    def references(self) -> tuple[float, float]:
        """The mean returns that count as 0 (uniform actions) and 100 (the expert)."""
        return self.about["measured"]["random"]["mean"], self.about["measured"]["expert"]["mean"]

    def chosen(self, kind: str) -> list[int]:
        """Which rungs a kind of recording is driven by: each gives the same number of steps."""
        medium, expert = self.about["medium"], self.about["expert"]
        return {
            "medium": [medium],
            "expert": [expert],
            "medium-expert": [medium, expert],
            "medium-replay": [rung for rung in self.policies if rung <= medium],
        }[kind]


def ladder(name: str, weights: str | os.PathLike | None = None) -> Ladder:
    """The policies that ship for an environment, or those in the file `weights` of `diffrl-lab behaviour`.

    Raises ValueError that says how to train some when none ship, and for a file that is something else.
    """
    from safetensors import SafetensorError, safe_open

    from diffrl_lab.data.shipped import manifest, shipped

    file = f"weights/behaviour-{_known(name)}.safetensors"
    if weights is None:
        if not any(entry["file"] == file for entry in manifest()):
            raise ValueError(
                f"no policies for {name} ship; train some: `diffrl-lab behaviour {name}`, then give "
                f"--weights runs/behaviours/behaviour-{name}.safetensors"
            )
        weights = shipped(file)
    try:
        with safe_open(str(weights), "pt") as held:
            about = json.loads((held.metadata() or {})["ladder"])
            tensors: dict[int, dict[str, Tensor]] = {rung: {} for rung in about["rungs"]}
            for key in held.keys():
                rung, _, tensor = key.partition("/")
                tensors[int(rung)][tensor] = held.get_tensor(key)
        if about["env"] != ENVIRONMENTS[name]:
            raise ValueError(f"{weights} holds policies for {about['env']}, wanted {ENVIRONMENTS[name]}")
        return Ladder({rung: Policy.of(t) for rung, t in tensors.items()}, about)
    except (OSError, KeyError, SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{weights} does not hold policies that `diffrl-lab behaviour {name}` made "
            f"({type(error).__name__}: {error})"
        ) from error


@cache
def references(name: str) -> tuple[float, float]:
    """The mean returns of uniform actions and of the shipped expert, measured here: scores 0 and 100."""
    return ladder(name).references


def normalised_score(name: str, returns: ArrayLike) -> Array:
    """100 (R - R_random) / (R_expert - R_random) with the `references` of this project, not D4RL's. -> the shape of
    `returns`"""
    low, high = references(name)
    return 100 * (np.asarray(returns, float) - low) / (high - low)


def with_state(env):
    """`env` whose infos tell the simulator's state, too: qpos [nq] and qvel [nv], at the reset and after every step."""
    import gymnasium

    class State(gymnasium.Wrapper):
        def _told(self, info):
            world: Any = self.unwrapped
            data = world.data
            return {**info, "qpos": data.qpos.copy(), "qvel": data.qvel.copy()}

        def reset(self, **options):
            obs, info = self.env.reset(**options)
            return obs, self._told(info)

        def step(self, action):
            *what, info = self.env.step(action)
            return *what, self._told(info)

    return State(env)


class Behaviour:
    """A policy as an agent: it draws its actions by a generator of each episode's seed, or takes their mean."""

    def __init__(self, policy: Policy, noise: bool = True):
        self.policy, self.noise = policy, noise

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        self.generators = [torch.Generator().manual_seed(int(seed)) if self.noise else None for seed in seeds]

    def act(self, obs: ArrayLike, which: ArrayLike | None = None) -> NDArray[np.float32]:
        # one by one: a sum's last bit may depend on how many rows a product has
        each = zip(indices(obs, which), np.asarray(obs), strict=True)
        return np.stack([self.policy.act(o, self.generators[k]) for k, o in each])


def record(
    name: str,
    kind: str,
    steps: int = 200_000,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    *,
    weights: str | os.PathLike | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Drive hopper, halfcheetah or walker2d for exactly `steps` steps into a Minari dataset -> its folder.

    kind: random (uniform actions); medium and expert (one policy each, drawing its actions); medium-expert (half the
    steps each); medium-replay (equal numbers of steps of every rung from untrained to medium: what a replay buffer of
    the training would hold, driven anew). The next episode goes to the rung that has fewest steps so far, drawn where
    several have. Observations, actions, rewards and the infos qpos and qvel (row for row with the observations) are
    rounded to float32; each episode's metadata tell its rung (training steps; -1: uniform actions) and seed. An
    episode in which the robot fell is terminated, others are truncated: by the limit of 1000 steps, the last one
    perhaps earlier. Equal arguments give equal files, bit for bit, on one machine and installation.
    out, overwrite: as in `worlds.record.record`. weights: policies other than those that ship, see `ladder`.
    Raises ValueError for unknown names, numbers out of range, missing policies, and a dataset that exists already.
    """
    from tqdm.auto import tqdm

    _known(name)
    if kind not in KINDS:
        raise ValueError(f"the kind of a {name} recording is one of {', '.join(KINDS)}; got {kind!r}")
    if steps < 1 or seed < 0:
        raise ValueError(f"steps must be at least 1 and seed at least 0; got {steps} and {seed}")
    folder = recordings.place(f"{name}-{kind}-v0", out, overwrite)
    held = ladder(name, weights)
    env, rng = make(name), np.random.default_rng(seed)
    world = with_state(env)
    agents: dict[int, Agent] = {-1: Uniform(env.action_space.shape[0])}
    if kind != "random":
        agents = {rung: Behaviour(held.policies[rung]) for rung in held.chosen(kind)}
    done = dict.fromkeys(agents, 0)
    episodes: list[dict] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of floats depend on how they are split
    try:
        with tqdm(total=steps, unit=" steps", desc=f"{name} {kind}", disable=not progress) as bar:
            while rest := steps - sum(done.values()):
                rung = int(rng.choice([r for r in done if done[r] == min(done.values())]))
                # seeds of one million and more: no recorded episode is one that an evaluation uses
                reset = int(rng.integers(10**6, 2**31))
                run = drive([world], agents[rung], [reset], until=after(rest))[0]
                episodes.append(
                    {
                        "obs": run.obs.astype(np.float32),
                        "act": run.act.astype(np.float32),
                        "rew": run.rew.astype(np.float32).astype(float),
                        "terminal": run.terminated,
                        "infos": {k: run.infos[k].astype(np.float32) for k in ("qpos", "qvel")},
                        "seed": reset,
                        "told": {"rung": rung},
                    }
                )
                done[rung] += run.steps
                bar.update(run.steps)
    finally:
        torch.set_num_threads(threads)
    low, high = held.references
    about = {
        "dataset_id": folder.name,
        "algorithm_name": "uniform actions" if kind == "random" else f"{held.about['algorithm']}, actions drawn",
        "description": f"{steps} steps of {name}, kind {kind}, seed {seed}",
        "author": {"diffrl_lab"},
        "recorded_with": f"diffrl-lab record {name} --kind {kind} --steps {steps} --seed {seed}"
        + (f" --weights {Path(weights).name}" if weights is not None else ""),
        "requirements": ["gymnasium>=1.1", "mujoco>=3.3,<3.9"],
        "ref_min_score": low,
        "ref_max_score": high,
        "num_episodes_average_score": held.about["episodes"],
        "steps_of_rung": {str(rung): count for rung, count in done.items()},
    }
    recordings.write(folder, episodes, (env.observation_space, env.action_space, env.spec), about, overwrite=overwrite)
    env.close()
    return folder


def _known(name: str) -> str:
    if name not in ENVIRONMENTS:
        raise ValueError(f"a locomotion environment is one of {', '.join(ENVIRONMENTS)}; got {name!r}")
    return name
