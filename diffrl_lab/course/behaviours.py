"""Behaviour policies: what drives the MuJoCo recordings, trained with PPO and kept as a ladder of checkpoints.

`diffrl-lab behaviour hopper` trains, or goes on training, with Stable-Baselines3 (the extra `record`). Below
runs/behaviours/hopper/ it keeps one file of weights each EVERY steps, state.pkl (what Stable-Baselines3 needs to go on
after a stop) and log.json. Training is not repeated bit for bit after a stop; recordings are, because they need the
weights alone.
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

STATE = Path("runs/behaviours")
ENVS = 8
ROLLOUT = 256             # steps of each environment between two updates
EVERY = 10 * ENVS * ROLLOUT  # 20,480 environment steps between two rungs of the ladder
WIDTH = 128
NEEDS_SB3 = 'training behaviour policies needs Stable-Baselines3: pip install "stable-baselines3>=2.6"'
# PPO (Schulman et al. 2017). Discounts, clipping and loss weights are those of RL Baselines3 Zoo (Raffin 2020); eight
# environments and larger batches with a larger, falling learning rate make it three times as fast a step on one thread.
SETTINGS: dict[str, dict[str, Any]] = {
    "hopper": dict(gamma=0.999, gae_lambda=0.99, ent_coef=0.0023, clip_range=0.2, vf_coef=0.84, max_grad_norm=0.7),
    "halfcheetah": dict(gamma=0.98, gae_lambda=0.92, ent_coef=0.0004, clip_range=0.1, vf_coef=0.58, max_grad_norm=0.8),
    "walker2d": dict(gamma=0.99, gae_lambda=0.95, ent_coef=0.0006, clip_range=0.1, vf_coef=0.87, max_grad_norm=1.0),
}
IDS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}


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
    kept = folder / "state.pkl"
    if kept.is_file():
        saved = pickle.loads(kept.read_bytes())  # written by this function on this machine, never shipped
        log = saved["log"]
        envs = saved["normalise"]
        envs.set_venv(make_vec_env(IDS[name], ENVS, seed=seed + log[-1]["steps"]))
        model = PPO.load(io.BytesIO(saved["model"]), env=envs, device="cpu")
    else:
        log = []
        envs = VecNormalize(make_vec_env(IDS[name], ENVS, seed=seed), gamma=SETTINGS[name]["gamma"])
        model = PPO("MlpPolicy", envs, seed=seed, device="cpu", learning_rate=3e-4, n_steps=ROLLOUT, batch_size=256,
                    n_epochs=10, **SETTINGS[name],
                    policy_kwargs=dict(log_std_init=-2, ortho_init=False, activation_fn=torch.nn.ReLU,
                                       net_arch=dict(pi=[WIDTH, WIDTH], vf=[WIDTH, WIDTH])))
        _keep_rung(folder, name, seed, model, envs)
    model.lr_schedule = lambda _: 3e-4 * max(0.0, 1 - model.num_timesteps / steps)
    while model.num_timesteps < steps:
        wall, cpu = time.perf_counter(), time.process_time()
        model.learn(EVERY, reset_num_timesteps=not log)
        done = [e["r"] for e in model.ep_info_buffer]
        log.append({"steps": model.num_timesteps, "return": float(np.mean(done)), "length": float(
            np.mean([e["l"] for e in model.ep_info_buffer])), "wall_s": round(time.perf_counter() - wall, 1),
            "cpu_s": round(time.process_time() - cpu, 1)})
        _keep_rung(folder, name, seed, model, envs)
        buffer = io.BytesIO()
        model.save(buffer, exclude=["lr_schedule"])
        _write(kept, pickle.dumps({"model": buffer.getvalue(), "normalise": envs, "log": log}))
        _write(folder / "log.json", (json.dumps(log, indent=1) + "\n").encode())
        print(json.dumps(log[-1]), flush=True)
    envs.close()
    return folder


def _keep_rung(folder: Path, name: str, seed: int, model, envs) -> None:
    """The policy alone as safetensors: normalisation, two hidden layers, mean of the action, log of its deviation."""
    import torch
    from safetensors.torch import save

    net = [*model.policy.mlp_extractor.policy_net[::2], model.policy.action_net]
    tensors = {f"{kind}{i}": getattr(layer, kind).detach().float().clone()
               for i, layer in enumerate(net) for kind in ("weight", "bias")}
    tensors["log_std"] = model.policy.log_std.detach().float().clone()
    tensors["mean"] = torch.as_tensor(envs.obs_rms.mean).float()
    tensors["std"] = torch.as_tensor(np.sqrt(envs.obs_rms.var + envs.epsilon)).float()
    about = {"env": IDS[name], "algorithm": "PPO", "steps": str(model.num_timesteps), "seed": str(seed)}
    _write(folder / f"{model.num_timesteps:08d}.safetensors", save(tensors, about))


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)
