"""What an online learner on Pendulum gains from generated rows in its replay: a part of `synthetic`, behind lesson 12.

SAC of Stable-Baselines3 (the extra `record`) collects; half of each batch is the arm's rows, made anew from all that
was collected so far every `EVERY` steps.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffrl_lab.data.episodes import Transitions, loose
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.methods.models import replay, synther
from diffrl_lab.methods.models.synther import rows, unpacked
from diffrl_lab.worlds import pendulum

STEPS, EVERY, FIRST = 2000, 500, 200  # real steps; between two trainings and two measurements; at random before all
ROWS = 2000  # made at a time
NOISE = 0.05  # deviation of the noisy copies' noise, the rows' own being 1
SETTINGS: dict[str, Any] = {"width": 128, "batch": 128, "lr": 3e-3, "updates": 400}  # of SynthER, and of the replay
SAC: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 128, "policy_kwargs": {"net_arch": [64, 64]}}
GRID = (16, 8)  # cells of angle and of speed


def coverage(obs: NDArray[np.floating]) -> float:
    """The share of `GRID`'s cells of angle, [-pi, pi], and speed, [-8, 8], that states [M, 3] lie in.

    The cell of a state is (floor(16 (theta + pi) / 2 pi), floor(8 (omega + 8) / 16)), the last one closed.
    """
    place = np.stack([np.arctan2(obs[:, 1], obs[:, 0]) / np.pi, obs[:, 2] / pendulum.FASTEST], 1)
    cell = np.clip(np.floor((place + 1) / 2 * GRID), 0, np.array(GRID) - 1)
    return len(np.unique(cell, axis=0)) / (GRID[0] * GRID[1])


def beside(arm: str, t: Transitions, seed: int) -> Transitions | None:
    """`ROWS` rows that an arm has beside the real ones t, or None: `drawn` by SynthER, `prioritised` by prioritised
    replay with curiosity as its score, or `noise`, copies of t with noise."""
    generator = torch.Generator().manual_seed(seed)
    if arm == "real":
        return None
    if arm == "noise":
        scaler = Scaler.fit(rows(t), "standard")
        z = scaler(rows(t))[torch.randint(len(t.rew), (ROWS,), generator=generator)]
        return unpacked(scaler.inverse(z + NOISE * torch.randn(z.shape, generator=generator)), obs=3, act=1)
    if arm == "drawn":
        run = synther.train(loose(t), synther.Config(**SETTINGS), seed=seed)
    else:
        run = replay.train(loose(t), replay.Config(**SETTINGS), seed=seed)
    for _ in run:
        pass
    return run.model.sample(ROWS, generator=generator)


def learner(seed: int) -> Any:
    """SAC that is shown half its batch from `replay_buffer.beside`, once that is set to something."""
    import gymnasium
    from stable_baselines3 import SAC as Learner
    from stable_baselines3.common.buffers import ReplayBuffer
    from stable_baselines3.common.logger import Logger

    class Mixed(ReplayBuffer):
        beside: Transitions | None = None

        def sample(self, batch_size: int, env: Any = None) -> Any:
            if self.beside is None:
                return super().sample(batch_size, env)
            batch, t = super().sample(batch_size - batch_size // 2, env), self.beside
            k = torch.from_numpy(np.random.randint(len(t.rew), size=batch_size // 2))
            return batch._replace(
                observations=torch.cat([batch.observations, t.obs[k].float()]),
                actions=torch.cat([batch.actions, t.act[k].float().clamp(-1, 1)]),
                next_observations=torch.cat([batch.next_observations, t.next_obs[k].float()]),
                dones=torch.cat([batch.dones, torch.zeros(len(k), 1)]),  # Pendulum has no end but the time limit
                rewards=torch.cat([batch.rewards, t.rew[k, None].float()]),
            )

    world = gymnasium.make("Pendulum-v1")
    made = Learner("MlpPolicy", world, replay_buffer_class=Mixed, buffer_size=STEPS, seed=seed, device="cpu", **SAC)
    made.set_logger(Logger(None, []))
    return made


def collected(buffer: Any) -> Transitions:
    """All real transitions that a buffer of Stable-Baselines3 holds, in the order in which they were made."""
    n = buffer.size()
    columns = (buffer.observations, buffer.actions, buffer.rewards, buffer.next_observations)
    obs, act, rew, after = (torch.from_numpy(x[:n, 0].copy()) for x in columns)
    return Transitions(obs, act, rew, after, torch.zeros(n, dtype=torch.bool))


def online(arm: str, updates: int, *, seed: int) -> dict[str, Any]:
    """One learner with so many updates to a real step: return (mean of 50 drives from starts that all share, without
    noise) and coverage after each `EVERY` real steps, the CPU seconds of all but the drives, and the residual of the
    rows made last."""
    sac, seconds, t = learner(seed), 0.0, None
    buffer, rng = sac.replay_buffer, np.random.default_rng(seed)
    world, result = sac.get_env().envs[0], {}

    def acts(o: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(sac.predict(o.numpy(), deterministic=True)[0]) / pendulum.TORQUE

    begun, (obs, _) = time.process_time(), world.reset(seed=seed)
    for k in range(1, STEPS + 1):
        if k <= FIRST:
            act = rng.uniform(-1, 1, 1).astype(np.float32)
        else:
            act = sac.predict(obs)[0] / np.float32(pendulum.TORQUE)
        after, rew, _, cut, _ = world.step(act * pendulum.TORQUE)
        buffer.add(obs[None], after[None], act[None], np.array([rew]), np.array([False]), [{}])
        obs = world.reset()[0] if cut else after
        if k > FIRST:
            sac.train(updates, SAC["batch_size"])
        if k % EVERY == 0:
            real = collected(buffer)
            if k < STEPS:
                t = buffer.beside = beside(arm, real, seed)
            seconds += time.process_time() - begun
            result[f"paid_{k}"] = float(pendulum.returns(acts, 50, seed=77).mean())
            result[f"covered_{k}"] = coverage(real.obs.numpy())
            begun = time.process_time()
    wrong = None if t is None else float(pendulum.residual(t).state.median())
    return result | {"residual": wrong, "seconds": round(seconds, 1)}
