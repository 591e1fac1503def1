"""A ball that meets a peg: half-way it goes to the left or to the right by chance, and the law of its path is known.

The state is (x, y): x counts the way, y lies across it. A drop begins at x = -0.45 with y uniform in [-0.3, 0.3] and
has 10 steps. An action a in [-1, 1] pushes a little to the side. With e ~ N(0, 0.02^2) and a fair coin c of -1 and 1,

    x' = x + 0.1,   y' = y + 0.1 a + e + c [x < 0 <= x'],   r = -|y'|.

So the sideways way y_h - y_0 less that of the actions is N(0, h 0.02^2) for h <= 4, and from the fifth step on a
mixture of N(-1, h 0.02^2) and N(1, h 0.02^2) with the weights 1/2 and 1/2, the same coin at every later step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffrl_lab.data.episodes import Episodes

STEPS, SPEED, PUSH, NOISE, SIDE = 10, 0.1, 0.1, 0.02, 1.0
FIRST = -0.45  # x at the start: no x that is met lies on the peg


def move(obs: Tensor, act: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """A draw of what follows obs [m, 2] under act [m, 1] -> (next observation [m, 2], reward [m])."""
    x = obs[:, 0] + SPEED
    coin = 2.0 * torch.randint(2, (len(obs),), generator=generator) - 1
    met = (obs[:, 0] < 0) & (x >= 0)
    e = NOISE * torch.randn(len(obs), generator=generator)
    y = obs[:, 1] + PUSH * act[:, 0].clamp(-1, 1) + e + SIDE * coin * met
    return torch.stack([x, y], 1), -y.abs()


def starts(n: int, generator: torch.Generator) -> Tensor:
    """First states of n drops. -> [n, 2]"""
    y = 0.6 * torch.rand(n, generator=generator) - 0.3
    return torch.stack([torch.full((n,), FIRST), y], 1)


def record(drops: int, *, seed: int) -> Episodes:
    """`drops` episodes of 10 steps whose actions are uniform in [-1, 1]. Raises ValueError for drops < 1."""
    if drops < 1:
        raise ValueError(f"a recording needs at least one drop, got {drops}")
    g = torch.Generator().manual_seed(seed)
    obs, acts, paid = [starts(drops, g)], [], []
    for _ in range(STEPS):
        acts.append(2 * torch.rand(drops, 1, generator=g) - 1)
        after, rew = move(obs[-1], acts[-1], g)
        obs.append(after)
        paid.append(rew)
    o, a, r = (torch.stack(x, 1).numpy() for x in (obs, acts, paid))
    return Episodes.join((o[k], a[k], r[k], False) for k in range(drops))


def aside(obs: Tensor, act: Tensor) -> Tensor:
    """What chance did to paths obs [n, H + 1, 2] under act [n, H, 1]: y_h - y_0 less what actions did. -> [n, H]"""
    return obs[:, 1:, 1] - obs[:, :1, 1] - PUSH * act[..., 0].clamp(-1, 1).cumsum(1)


def law(n: int, generator: torch.Generator) -> Tensor:
    """n draws of `aside` over a whole drop from its exact law. -> [n, 10]"""
    h = torch.arange(1, STEPS + 1)
    path = NOISE * torch.randn(n, STEPS, generator=generator).cumsum(1)
    coin = 2.0 * torch.randint(2, (n, 1), generator=generator) - 1
    return path + SIDE * coin * (FIRST + SPEED * h >= 0)
