"""A policy that practises in rollouts of states: is it any good at the real Pendulum? A part of `dreams`, lesson 13.

One learner, an actor-critic with PPO's clipped objective (Schulman et al. 2017), practises 10 steps at a time from
recorded states, in one of three worlds: PolyGRAD's rollouts, led by the learner (`whole rollouts`); rollouts of a
one-step least-squares network that the learner drives (`network`); and the equations (`exact`). Rewards are those of
the equations at the states and actions that were met, everywhere, so the worlds differ in their states alone. TD3+BC
and cloning need no world, and have the recording that both dreams are made of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import seeded
from diffrl_lab.methods.models.polygrad import Policy
from diffrl_lab.methods.policies import cloning, td3_bc
from diffrl_lab.nets import MLP
from diffrl_lab.studies import rollouts
from diffrl_lab.studies.rollouts import Roll
from diffrl_lab.worlds import pendulum

Dream = Callable[[Tensor, Policy, torch.Generator], tuple[Tensor, Tensor]]
"""(first states [B, d], policy, generator) -> states [B, H + 1, d], the first as it was, and actions [B, H, a]."""

DREAMS = ("exact", "network", "whole rollouts")
ARMS = (*DREAMS, "TD3+BC", "cloning", "scripted", "random")
STEPS, SIDE, TURNS = 10, 256, 100  # of a rollout; rollouts side by side; how often they are made
EPOCHS, BATCH, CLIP = 4, 640, 0.2  # over the rollouts of a turn; steps in an update; of PPO's objective
GAMMA, LAMBDA, RATE = 0.95, 0.95, 2e-3  # discount; generalised advantage; learning rate, which goes to 0 evenly
OFFLINE: dict[str, Any] = {"width": 64, "updates": 2000, "batch": 256}  # of TD3+BC and of cloning
PAID = 0.1  # rewards are multiplied by this, so that values are of the order of 1


def driven(roll: Roll, steps: int) -> Dream:
    """`steps` steps of a policy in a one-step model, which is shown each action within [-1, 1]."""

    def dream(start: Tensor, policy: Policy, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        obs, act = [start], []
        for _ in range(steps):
            mean, std = policy(obs[-1])
            act.append(mean + std * torch.randn(mean.shape, generator=generator))
            obs.append(roll(obs[-1], act[-1].clamp(-1, 1)[:, None], generator)[:, 1])
        return torch.stack(obs, 1), torch.stack(act, 1)

    return dream


def equations(start: Tensor, act: Tensor, generator: torch.Generator) -> Tensor:
    """What Pendulum itself makes of actions [B, H, 1]. -> [B, H + 1, 3]"""
    obs = [start]
    for a in act.unbind(1):
        obs.append(pendulum.move(obs[-1], a)[0])
    return torch.stack(obs, 1)


def dream_of(arm: str, episodes: Episodes, seed: int) -> Dream:
    """A world to practise in, of DREAMS, made of a recording."""
    if arm == "exact":
        return driven(equations, STEPS)
    if arm == "network":
        return driven(rollouts.network(episodes, seed), STEPS)
    model, low, high = rollouts.rollouts_of(episodes, seed), episodes.obs.amin(0), episodes.obs.amax(0)

    def dream(start: Tensor, policy: Policy, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        seen = model.sample(start, policy, generator=generator)
        return seen.obs.clamp(low, high), seen.act

    return dream


class Learner(nn.Module):
    """A Gaussian policy, its mean within [-1, 1] and its deviation one number, and the value of a state."""

    def __init__(self, states: Tensor, act: int):
        super().__init__()
        d = states.shape[1]
        self.actor, self.critic = MLP(d, out=act, width=64, label=0), MLP(d, out=1, width=64, label=0)
        self.scaler, self.log_std = Scaler.fit(states, "standard"), nn.Parameter(torch.full((act,), -0.7))

    def policy(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [..., a] and deviation [a] of the action in states [..., d]."""
        flat = self.actor(self.scaler(obs).flatten(0, -2)).tanh()
        return flat.unflatten(0, obs.shape[:-1]), self.log_std.exp()

    def value(self, obs: Tensor) -> Tensor:
        """What is still to come from states [..., d], in units of PAID. -> [...]"""
        return self.critic(self.scaler(obs).flatten(0, -2)).unflatten(0, obs.shape[:-1])[..., 0]

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        """Of actions [..., a] in states [..., d]. -> [...]"""
        return torch.distributions.Normal(*self.policy(obs), validate_args=False).log_prob(act).sum(-1)


def advantages(rew: Tensor, value: Tensor) -> Tensor:
    """Generalised advantages (Schulman et al. 2016) of rewards [B, H] and values [B, H + 1]. -> [B, H]"""
    left = rew + GAMMA * value[:, 1:] - value[:, :-1]
    out, after = [], torch.zeros(len(rew))
    for delta in reversed(left.unbind(1)):
        after = delta + GAMMA * LAMBDA * after
        out.append(after)
    return torch.stack(out[::-1], 1)


def practised(dream: Dream, states: Tensor, seed: int) -> Learner:
    """A learner after TURNS turns in a dream: rollouts from SIDE recorded states, of [N, d], then EPOCHS over them."""
    generator = torch.Generator().manual_seed(seed)
    learner = seeded(seed, Learner, states, 1)
    optimizer = torch.optim.Adam(learner.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 - k / TURNS)
    for _ in range(TURNS):
        with torch.no_grad():
            start = states[torch.randint(len(states), (SIDE,), generator=generator)]
            obs, act = dream(start, learner.policy, generator)
            value, before = learner.value(obs), learner.log_prob(obs[:, :-1], act)
            gain = advantages(PAID * pendulum.move(obs[:, :-1], act)[1], value)
            batch = [x.flatten(0, 1) for x in (obs[:, :-1], act, before, gain, gain + value[:, :-1])]
        for _ in range(EPOCHS):
            for i in torch.randperm(len(batch[0]), generator=generator).split(BATCH):
                o, a, log_old, adv, target = (x[i] for x in batch)
                ratio, adv = (learner.log_prob(o, a) - log_old).exp(), (adv - adv.mean()) / (adv.std() + 1e-6)
                climbed = torch.minimum(ratio * adv, ratio.clamp(1 - CLIP, 1 + CLIP) * adv).mean()
                optimizer.zero_grad()
                ((learner.value(o) - target).square().mean() - climbed).backward()
                nn.utils.clip_grad_norm_(learner.parameters(), 0.5)
                optimizer.step()
        schedule.step()
    return learner


def paid(agent: Any) -> dict[str, float]:
    """The return in the real Pendulum, mean over 100 drives whose starts all arms share, and the share below -500."""
    each = pendulum.returns(agent, 100, seed=77)
    return {"paid": float(each.mean()), "failed": float((each < -500).float().mean())}


def policy(arm: str, *, seed: int) -> dict[str, Any]:
    """One arm of ARMS, judged. Of those that practise: the reward of a step that the dream ends with, under the trained
    policy from recorded states, and what the equations pay this policy from the same states."""
    episodes, begun = rollouts.recording("pendulum", seed)[0], time.process_time()
    if arm in DREAMS:
        dream, states = dream_of(arm, episodes, seed), episodes.obs.float()
        learner = practised(dream, states, seed).requires_grad_(False)
        seconds, seen = time.process_time() - begun, {}
        for key, world in (("dreamed", dream), ("real", driven(equations, STEPS))):
            obs, act = world(states[::30], learner.policy, torch.Generator().manual_seed(seed))
            seen[key] = float(pendulum.move(obs[:, :-1], act)[1].mean())
        return paid(lambda o: learner.policy(o)[0]) | seen | {"seconds": round(seconds, 1)}
    if arm == "scripted":
        return paid(pendulum.swing)
    if arm == "random":
        generator = torch.Generator().manual_seed(seed)
        return paid(lambda o: 2 * torch.rand(len(o), 1, generator=generator) - 1)
    method: Any = td3_bc if arm == "TD3+BC" else cloning
    told = Episodes(episodes.obs, episodes.act, PAID * episodes.rew, episodes.last)
    run = method.train(told, method.Config(**OFFLINE), seed=seed)
    for _ in run:
        pass
    return paid(method.Agent(run.model)) | {"seconds": round(time.process_time() - begun, 1)}
