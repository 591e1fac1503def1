"""Another way: straight paths, a network that predicts the velocity, Euler steps."""

import torch
from torch import nn


def dropped(c, p, seed):
    g = torch.Generator().manual_seed(seed)
    gone = torch.rand(c.shape, generator=g) < p
    return torch.stack([torch.where(gone, 0.0, c), 1 - gone.to(c.dtype)], -1)


def guided(free, conditional, w):
    return w * conditional + (1 - w) * free


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 96), nn.Linear(96, 96), nn.Linear(96, 1)

    def forward(self, x, t, wish):
        h = torch.tanh(self.a(torch.cat([x, t, t * t, wish], 1)))
        return self.c(torch.nn.functional.silu(self.b(h)))


def train(x, c, steps, seed):
    torch.manual_seed(seed)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.0)
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - k / steps)
        i, t, z = torch.randint(len(x), (256,)), torch.rand(256, 1), torch.randn(256, 1)
        loss = (net((1 - t) * x[i] + t * z, t, dropped(c[i], 0.2, k)) - (z - x[i])).square().mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    return net.eval()


def sample(model, n, c, w, seed):
    x, steps = torch.randn((n, 1), generator=torch.Generator().manual_seed(seed)), 80
    wish = torch.cat([torch.full((n, 1), float(c)), torch.ones(n, 1)], 1)
    with torch.no_grad():
        for k in range(steps, 0, -1):
            t = torch.full((n, 1), k / steps)
            x = x - guided(model(x, t, 0 * wish), model(x, t, wish), w) / steps
    return x
