"""Behaviour policies: what drives the MuJoCo recordings, trained with PPO and kept as a ladder of checkpoints.

`diffrl-lab behaviour hopper` trains, or goes on training, with Stable-Baselines3 (the extra `record`), measures the
ladder and writes it to runs/behaviours/behaviour-hopper.safetensors. Below runs/behaviours/hopper/ it keeps one file of
weights each EVERY steps, state.pkl (what Stable-Baselines3 needs to go on after a stop) and log.json. Training is not
repeated bit for bit after a stop; recordings are, because they need the weights alone.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from scipy.stats import bootstrap

from diffrl_lab.files import written
from diffrl_lab.worlds import robots as locomotion
from diffrl_lab.worlds.driving import Agent, Uniform, drive

STATE = Path("runs/behaviours")
ENVS = 8
ROLLOUT = 256  # steps of each environment between two updates
EVERY = 10 * ENVS * ROLLOUT  # 20,480 environment steps between two rungs of the ladder
WIDTH = 128
NEEDS_SB3 = 'training behaviour policies needs Stable-Baselines3: pip install "stable-baselines3>=2.6"'
# PPO (Schulman et al. 2017). Eight environments and batches of 256 are three times as fast on one thread as the usual
# one environment and batches of 32 or 64. HalfCheetah: discounts, clipping and loss weights of RL Baselines3 Zoo
# (Raffin 2020). Hopper, Walker2d: more common ones; with the Zoo's (0.999, little noise) Hopper learned to stand still.
SETTINGS: dict[str, dict[str, Any]] = {
    "hopper": dict(gamma=0.99, gae_lambda=0.95, ent_coef=0.0, clip_range=0.2, vf_coef=0.5, max_grad_norm=0.5),
    "halfcheetah": dict(gamma=0.98, gae_lambda=0.92, ent_coef=0.0004, clip_range=0.1, vf_coef=0.58, max_grad_norm=0.8),
    "walker2d": dict(gamma=0.99, gae_lambda=0.95, ent_coef=0.0, clip_range=0.2, vf_coef=0.5, max_grad_norm=0.5),
}
LOG_STD = {"hopper": 0.0, "halfcheetah": -2.0, "walker2d": 0.0}  # of the actions, untrained
EPISODES = 100  # behind each measured mean, seeds 0 to 99
RUNGS = 8  # kept up to the medium policy, at most
CANDIDATES = 8  # checkpoints that are tried as the expert
EXPERT_NOISE = {"hopper": 0.25, "halfcheetah": 0.5, "walker2d": 0.25}  # of the trained deviation: what PPO explores
# with costs Hopper up to half of its return (it falls), and half of it still 28 of 100 points
MEDIUM = 40  # the score that the medium policy is nearest to; 30 to 50 are accepted


def train(name: str, steps: int = 3_000_000, seed: int = 0, state: str | os.PathLike = STATE) -> Path:
    """Train a policy for `steps` environment steps in all, going on from what is in state/name -> that folder.

    One thread, ENVS environments, observations and rewards normalised (the running mean and deviation of observations
    are part of the policy). The learning rate falls from 3e-4 to 0 at `steps`; a stopped run loses at most EVERY steps.
    Raises ValueError for an unknown name and ImportError without Stable-Baselines3.
    """
    if name not in SETTINGS:
        raise ValueError(f"a behaviour policy is one of {', '.join(SETTINGS)}; got {name!r}")
    try:
        from stable_baselines3 import PPO
        from stable_baselines3.common.env_util import make_vec_env
        from stable_baselines3.common.vec_env import VecNormalize
    except ImportError as error:
        raise ImportError(f"{NEEDS_SB3} ({error})") from None
    import torch

    torch.set_num_threads(1)
    folder = Path(state) / name
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "state.pkl"
    if checkpoint.is_file():
        saved = pickle.loads(checkpoint.read_bytes())  # written by this function on this machine, never shipped
        log = saved["log"]
        envs = saved["normalise"]
        envs.set_venv(make_vec_env(locomotion.ENVIRONMENTS[name], ENVS, seed=seed + log[-1]["steps"]))
        model = PPO.load(io.BytesIO(saved["model"]), env=envs, device="cpu")
    else:
        log = []
        envs = VecNormalize(make_vec_env(locomotion.ENVIRONMENTS[name], ENVS, seed=seed), gamma=SETTINGS[name]["gamma"])
        model = PPO(
            "MlpPolicy",
            envs,
            seed=seed,
            device="cpu",
            learning_rate=3e-4,
            n_steps=ROLLOUT,
            batch_size=256,
            n_epochs=10,
            **SETTINGS[name],
            policy_kwargs=dict(
                log_std_init=LOG_STD[name],
                ortho_init=False,
                activation_fn=torch.nn.ReLU,
                net_arch=dict(pi=[WIDTH, WIDTH], vf=[WIDTH, WIDTH]),
            ),
        )
        _keep_rung(folder, name, seed, model, envs)
    model.lr_schedule = lambda _: 3e-4 * max(0.0, 1 - model.num_timesteps / steps)
    while model.num_timesteps < steps:
        wall, cpu = time.perf_counter(), time.process_time()
        model.learn(EVERY, reset_num_timesteps=not log)
        done = list(model.ep_info_buffer or ())  # the last 100 episodes
        log.append(
            {
                "steps": model.num_timesteps,
                "return": float(np.mean([e["r"] for e in done])),
                "length": float(np.mean([e["l"] for e in done])),
                "wall_s": round(time.perf_counter() - wall, 1),
                "cpu_s": round(time.process_time() - cpu, 1),
            }
        )
        _keep_rung(folder, name, seed, model, envs)
        buffer = io.BytesIO()
        model.save(buffer, exclude=["lr_schedule"])
        _write(checkpoint, pickle.dumps({"model": buffer.getvalue(), "normalise": envs, "log": log}))
        _write(folder / "log.json", (json.dumps(log, indent=1) + "\n").encode())
        print(json.dumps(log[-1]), flush=True)
    envs.close()
    return folder


def assemble(name: str, state: str | os.PathLike = STATE) -> Path:
    """Measure the checkpoints of `train` and write those that drive recordings into one file -> its path.

    Score 0 is the mean return of uniform actions, 100 that of the expert acting by its mean. The expert is the
    best of the CANDIDATES with the highest returns during training, with EXPERT_NOISE times its actions' deviation; the
    medium policy, drawing its actions, is the one whose score is nearest to MEDIUM among those around the first
    crossing (both are chosen on other episodes than they are measured on). Of the checkpoints before it at most RUNGS
    are kept, evenly spaced.
    Raises ValueError when nothing was trained yet and when no checkpoint scores 30 to 50.
    """
    import torch
    from safetensors.torch import load_file, save

    folder = Path(state) / locomotion._known(name)
    if not (folder / "log.json").is_file():
        raise ValueError(f"there is no training in {folder}; `diffrl-lab behaviour {name}` starts one")
    log = json.loads((folder / "log.json").read_text())
    files = {int(path.stem): path for path in sorted(folder.glob("[0-9]*.safetensors"))}
    files = {rung: path for rung, path in files.items() if rung <= log[-1]["steps"]}
    env = locomotion.make(name)
    torch.set_num_threads(1)

    def loaded(rung: int, noise: float = 1.0) -> dict[str, torch.Tensor]:
        tensors = load_file(files[rung])
        return tensors | {"log_std": tensors["log_std"] + np.log(noise)}

    def policy(rung: int, noise: float = 1.0) -> locomotion.Policy:
        return locomotion.Policy.of(loaded(rung, noise))

    def tried(rung: int, noise: float = 1.0) -> float:
        agent = locomotion.Behaviour(policy(rung, noise))
        return float(np.mean([e.total for e in drive([env], agent, range(EPISODES, EPISODES + 10))]))

    def measured(which: locomotion.Policy | None, noise: bool = True) -> dict[str, Any]:
        agent: Agent = Uniform(env.action_space.shape[0]) if which is None else locomotion.Behaviour(which, noise)
        returns = np.array([e.total for e in drive([env], agent, range(EPISODES))])
        spread = bootstrap((returns,), np.mean, method="percentile", rng=0).confidence_interval
        return {"mean": float(returns.mean()), "low": float(spread.low), "high": float(spread.high), "n": EPISODES}

    candidates = sorted(log, key=lambda row: -row["return"])[:CANDIDATES]
    expert = max((row["steps"] for row in candidates), key=lambda rung: tried(rung, EXPERT_NOISE[name]))
    table = {
        "random": measured(None),
        "expert": measured(policy(expert), noise=False),
        "expert, actions drawn": measured(policy(expert, EXPERT_NOISE[name])),
    }
    low, high = table["random"]["mean"], table["expert"]["mean"]

    crossing = next((i for i, row in enumerate(log) if 100 * (row["return"] - low) / (high - low) >= MEDIUM), len(log))
    around = {
        row["steps"]: 100 * (tried(row["steps"]) - low) / (high - low)
        for row in log[max(0, crossing - 8) : crossing + 3]
    }
    medium = min(around, key=lambda rung: abs(around[rung] - MEDIUM))
    table["medium"] = measured(policy(medium), noise=False)
    table["medium, actions drawn"] = measured(policy(medium))
    reached = 100 * (table["medium, actions drawn"]["mean"] - low) / (high - low)
    if not 30 <= reached <= 50:
        raise ValueError(
            f"no checkpoint of {name} scores 30 to 50: the nearest to {MEDIUM} is that after "
            f"{medium} steps with {reached:.0f}"
        )
    env.close()
    early = [rung for rung in files if rung <= medium]
    rungs = sorted({early[i] for i in np.linspace(0, len(early) - 1, min(RUNGS, len(early))).round().astype(int)})
    rungs += [expert] * (expert not in rungs)
    with safe_open(str(files[expert]), "pt") as held:
        seed = int(held.metadata()["seed"])
    about = {
        "env": locomotion.ENVIRONMENTS[name],
        "algorithm": "PPO",
        "seed": seed,
        "rungs": rungs,
        "medium": medium,
        "expert": expert,
        "episodes": EPISODES,
        "measured": table,
        "d4rl_v2": locomotion.D4RL_RETURNS[name],
        "expert_noise": EXPERT_NOISE[name],
        "trained": {
            "steps": log[-1]["steps"],
            "best_return": max(row["return"] for row in log),
            "hours": round(sum(row["wall_s"] for row in log) / 3600, 2),
            "cpu_hours": round(sum(row["cpu_s"] for row in log) / 3600, 2),
        },
    }
    tensors = {
        f"{rung}/{key}": tensor
        for rung in rungs
        for key, tensor in loaded(rung, EXPERT_NOISE[name] if rung == expert else 1.0).items()
    }
    path = Path(state) / f"behaviour-{name}.safetensors"
    _write(path, save(tensors, {"ladder": json.dumps(about)}))
    return path


def report(path: Path) -> str:
    """What `assemble` measured: mean return [95 % interval] and score of each, D4RL's references beside them."""
    with safe_open(str(path), "pt") as held:
        about = json.loads(held.metadata()["ladder"])
    low, high = about["measured"]["random"]["mean"], about["measured"]["expert"]["mean"]
    lines = [
        f"{about['env']}: {about['trained']['steps']} steps in {about['trained']['hours']} h "
        f"({about['trained']['cpu_hours']} h of CPU); medium after {about['medium']}, "
        f"expert after {about['expert']}"
    ]
    for who, m in about["measured"].items():
        lines.append(
            f"{who:23} {m['mean']:8.1f} [{m['low']:.1f}, {m['high']:.1f}]  score "
            f"{100 * (m['mean'] - low) / (high - low):5.1f}"
        )
    return "\n".join([*lines, "D4RL v2, another setting: random {:.1f}, expert {:.1f}".format(*about["d4rl_v2"])])


def ship(path: Path) -> Path:
    """Copy what `assemble` wrote into data/weights and enter it into the manifest."""
    from diffrl_lab.data import shipped

    with safe_open(str(path), "pt") as held:
        about = json.loads(held.metadata()["ladder"])
    target = shipped.DATA / "weights" / path.name
    _write(target, path.read_bytes())
    name = path.stem.removeprefix("behaviour-")
    shipped.add(
        f"weights/{path.name}",
        f"diffrl-lab behaviour {name} --steps {about['trained']['steps']} --seed {about['seed']} --ship",
        about["seed"],
    )
    return target


def _keep_rung(folder: Path, name: str, seed: int, model, envs) -> None:
    """The policy alone as safetensors: normalisation, two hidden layers, mean of the action, log of its deviation."""
    import torch
    from safetensors.torch import save

    net = [*model.policy.mlp_extractor.policy_net[::2], model.policy.action_net]
    tensors = {
        f"{kind}{i}": getattr(layer, kind).detach().float().clone()
        for i, layer in enumerate(net)
        for kind in ("weight", "bias")
    }
    tensors["log_std"] = model.policy.log_std.detach().float().clone()
    tensors["mean"] = torch.as_tensor(envs.obs_rms.mean).float()
    tensors["std"] = torch.as_tensor(np.sqrt(envs.obs_rms.var + envs.epsilon)).float()
    about = {"env": locomotion.ENVIRONMENTS[name], "seed": str(seed)}
    _write(folder / f"{model.num_timesteps:08d}.safetensors", save(tensors, about))


def _write(path: Path, content: bytes) -> None:
    with written(path) as beside:
        beside.write_bytes(content)
