"""Another way: a cosine schedule, a network that predicts v, precisions instead of the closed form."""

import math

import torch
from torch import nn

STEPS = 60


def bars(T):
    t = torch.arange(T + 1, dtype=torch.float64) / T
    return torch.cos(t * math.pi / 2 * 0.98) ** 2


def betas(T):
    return 1 - bars(T)[1:] / bars(T)[:-1]


def noised(x_0, n, eps, beta):
    alpha_bar = math.exp(torch.log1p(-beta[:n]).sum())
    return math.sqrt(alpha_bar) * x_0 + math.sqrt(1 - alpha_bar) * eps


def posterior(x_n, x_0, n, beta):
    if n == 1:
        return x_0, 0.0
    alpha_bar, b = math.exp(torch.log1p(-beta[: n - 1]).sum()), float(beta[n - 1])
    prior, seen = 1 / (1 - alpha_bar), (1 - b) / b  # precisions: of x_{n-1} given x_0, and of what x_n says about it
    mean = (prior * math.sqrt(alpha_bar) * x_0 + seen * x_n / math.sqrt(1 - b)) / (prior + seen)
    return mean, (prior + seen) ** -0.5


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 96), nn.Linear(96, 96), nn.Linear(96, 1)

    def forward(self, x, level):
        h = torch.tanh(self.a(torch.cat([x, level, level.sqrt()], 1)))
        return self.c(torch.tanh(self.b(h)))


def x0_hat(net, x, alpha_bar):
    return alpha_bar.sqrt() * x - (1 - alpha_bar).sqrt() * net(x, 1 - alpha_bar)


def train(data, steps, seed):
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net, bar = Net(), bars(STEPS).float()
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.0)
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - i / steps)
        x_0 = data[torch.randint(len(data), (256,), generator=g)]
        alpha_bar = bar[torch.randint(1, STEPS + 1, (256, 1), generator=g)]
        x_n = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * torch.randn(256, 1, generator=g)
        loss = ((x0_hat(net, x_n, alpha_bar) - x_0) ** 2 / (1 - alpha_bar)).mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    return net.eval()


def sample(model, n, seed):
    g, beta = torch.Generator().manual_seed(seed), betas(STEPS)
    x = torch.randn((n, 1), generator=g)
    with torch.no_grad():
        for k in reversed(range(1, STEPS + 1)):
            alpha_bar = torch.full((n, 1), float(bars(STEPS)[k]))
            mean, std = posterior(x, x0_hat(model, x, alpha_bar), k, beta)
            x = mean + std * torch.randn((n, 1), generator=g)
    return x
