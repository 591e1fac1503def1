"""As DDPM has it: a list of betas, a network that predicts eps, the posterior step."""

import torch

T = 100


def betas(T):
    return torch.linspace(1e-4, 0.02, 1000)[: 1000 // T * T].reshape(T, -1).sum(1).clamp(max=0.999)


def noised(x_0, n, eps, beta):
    alpha_bar = (1 - beta).cumprod(0)[n - 1]
    return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps


def posterior(x_n, x_0, n, beta):
    alpha_bar = torch.cat([torch.ones(1, dtype=beta.dtype), (1 - beta).cumprod(0)])
    before, now, b = alpha_bar[n - 1], alpha_bar[n], beta[n - 1]
    mean = (before.sqrt() * b * x_0 + (1 - b).sqrt() * (1 - before) * x_n) / (1 - now)
    return mean, ((1 - before) / (1 - now) * b).sqrt()


def network():
    layers = [torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 1)]
    return torch.nn.Sequential(*layers)


def train(data, steps, seed):
    torch.manual_seed(seed)
    net, alpha_bar = network(), (1 - betas(T)).cumprod(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x_0, n = data[torch.randint(len(data), (256,))], torch.randint(1, T + 1, (256, 1))
        eps, a = torch.randn(256, 1), alpha_bar[n - 1]
        x_n = a.sqrt() * x_0 + (1 - a).sqrt() * eps
        loss = (net(torch.cat([x_n, n / T], 1)) - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return net


@torch.no_grad()
def sample(model, n, seed):
    g, beta = torch.Generator().manual_seed(seed), betas(T)
    x = torch.randn(n, 1, generator=g)
    for k in range(T, 0, -1):
        a = (1 - beta[:k]).prod()
        x0_hat = (x - (1 - a).sqrt() * model(torch.cat([x, torch.full_like(x, k / T)], 1))) / a.sqrt()
        mean, std = posterior(x, x0_hat.clamp(-2, 2), k, beta)
        x = mean + std * torch.randn(n, 1, generator=g)
    return x
