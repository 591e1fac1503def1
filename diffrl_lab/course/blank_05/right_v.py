"""A network that predicts v = alpha eps - sigma x_0, cosine levels, deterministic steps."""

import math

import torch


def dropped(c, p, seed):
    keep = (torch.rand(len(c), generator=torch.Generator().manual_seed(seed)) >= p).to(c)
    return torch.stack([c * keep, keep], 1)


def guided(free, conditional, w):
    return free + w * (conditional - free)


def levels(t):
    return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)


def train(x, c, steps, seed):
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(4, 96), torch.nn.SiLU(), torch.nn.Linear(96, 96), torch.nn.SiLU(), torch.nn.Linear(96, 1)]
    net = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for k in range(steps):
        i, t = torch.randint(len(x), (256,)), 0.002 + 0.996 * torch.rand(256, 1)
        alpha, sigma = levels(t)
        eps = torch.randn(256, 1)
        told = dropped(c[i], 0.25, seed + k)
        v = net(torch.cat([alpha * x[i] + sigma * eps, t, told], 1))
        loss = (v - alpha * eps + sigma * x[i]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return net


@torch.no_grad()
def sample(model, n, c, w, seed):
    x = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))
    wish, none = torch.tensor([[float(c), 1.0]]).expand(n, 2), torch.zeros(n, 2)
    grid = torch.linspace(0.998, 0.002, 61)
    for t, s in zip(grid[:-1], grid[1:], strict=True):
        (alpha, sigma), (a, b) = levels(t), levels(s)
        free, conditional = (model(torch.cat([x, t.expand(n, 1), told], 1)) for told in (none, wish))
        v = guided(free, conditional, w)
        x = a * (alpha * x - sigma * v) + b * (sigma * x + alpha * v)
    return x
