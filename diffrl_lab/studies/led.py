"""What a policy makes of an exact denoiser's rollouts: PolyGRAD's lead beside `ascend`, part `led` of `dreams`.

The world is `worlds.linear`, so the denoiser of its rollouts and the rollouts of any linear policy are known: nothing
is trained, and what is off is the lead's own doing. `ascend` climbs the log ratio of the policy and the recorded one;
the exact tilt of the recorded rollouts by it is the policy's rollouts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrl_lab.diffusion import Denoiser, Function, MixtureDenoiser, ascend, given, heun, sample
from diffrl_lab.methods import weights
from diffrl_lab.methods.models.polygrad import Config, Policy, Polygrad, Rollout, train
from diffrl_lab.worlds import linear

STEPS, N = 4, 4000  # of a rollout; rollouts
START = (1.0, -0.5)
ARMS = ("lead", "ascend")
POLICIES = {  # a = -K s + shift + eps e: (shift, eps)
    "the recorded one": (0.0, linear.EPS),
    "every action larger by 1": (1.0, linear.EPS),
    "a third of the noise": (0.0, linear.EPS / 3),
}


def exact() -> Polygrad:
    """PolyGRAD of the linear world with the exact denoiser of rollouts from START in the place of its network."""
    model = train(linear.record(500, seed=0), Config(horizon=STEPS)).model  # scaled, not trained
    (mean, cov), spread = linear.rollouts(START, STEPS), model.scaler.spread.double().repeat(STEPS)
    scaled, schedule = cov / spread[:, None] / spread, model.denoiser.schedule
    mixture = MixtureDenoiser([1.0], model.scaler(mean).reshape(1, -1), schedule, cov=scaled[None])
    return weights.around(model, denoiser=Function(lambda x_t, t, cond=None: mixture(x_t, t), schedule))


def policy(shift: float = 0.0, eps: float = linear.EPS) -> Policy:
    return lambda s: (shift - (s @ torch.tensor(linear.K))[..., None], torch.tensor(eps))


def laid(r: Rollout) -> Tensor:
    """(a, r, s') of each step. -> [n, STEPS, 4], float64"""
    return torch.cat([r.act, r.rew[..., None], r.obs[:, 1:]], -1).double()


def by_lead(model: Polygrad, lead: Policy | None, seed: int = 0) -> Tensor:
    """N rollouts from START led by a policy. -> [N, STEPS, 4]"""
    generator = torch.Generator().manual_seed(seed)
    return laid(model.sample(torch.tensor([START]).expand(N, 2), lead, steps=40, generator=generator))


def by_ascent(model: Polygrad, shift: float, eps: float, seed: int = 0) -> Tensor:
    """N rollouts from START by `ascend` on the log ratio of the policy and the recorded one. -> [N, STEPS, 4]"""

    def J(z: Tensor, t: Tensor) -> Tensor:
        r = model.rollout(z, torch.tensor([START]).expand(len(z), 2))
        left = r.act[..., 0] + r.obs[:, :-1] @ torch.tensor(linear.K)
        return (left**2 / (2 * linear.EPS**2) - (left - shift) ** 2 / (2 * eps**2)).sum(1)

    D: Denoiser = ascend(given(model.denoiser, None), J, at="x0_hat")
    x_T = D.schedule.prior((N, model.dim), torch.Generator().manual_seed(seed))
    z = sample(D, x_T, steps=40, step=heun())
    return laid(model.rollout(z, torch.tensor([START]).expand(N, 2)))


def led(arm: str, policy_name: str, *, seed: int) -> dict[str, Any]:
    """What N rollouts are off by: `moved`, how far the mean of the last state's second number goes from the recorded
    one's to the policy's (exact: 1; None where both are the same), and the spread of actions and of that number, over
    the exact ones, in the mean of all steps."""
    shift, eps = POLICIES[policy_name]
    model = exact()
    x = by_lead(model, policy(shift, eps), seed) if arm == "lead" else by_ascent(model, shift, eps, seed)
    (old, _), (new, cov) = linear.rollouts(START, STEPS), linear.rollouts(START, STEPS, shift=shift, eps=eps)
    ratio = x.std(0) / cov.diagonal().sqrt().reshape(STEPS, 4)
    return {
        "moved": float((x.mean(0) - old)[-1, 3] / (new - old)[-1, 3]) if shift else None,
        "act_spread": float(ratio[:, 0].mean()),
        "obs_spread": float(ratio[:, 3].mean()),
    }
