"""Slips of a learner, each a change of right_classic.py: (what stands there, what is written instead, what is told)."""

FORWARD = "alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps"
WRONG = [
    (FORWARD, "alpha_bar * x_0 + (1 - alpha_bar) * eps", "shares of variance"),
    (FORWARD, "(1 - alpha_bar).sqrt() * x_0 + alpha_bar.sqrt() * eps", "scales of signal and noise"),
    ("alpha_bar = (1 - beta).cumprod(0)[n - 1]", "alpha_bar = 1 - beta[n - 1]", "step n alone"),
    # the list is never adapted to T
    ("return torch.linspace(1e-4, 0.02, 1000)[: 1000 // T * T].reshape(T, -1).sum(1).clamp(max=0.999)",
     "return torch.linspace(1e-4, 0.02, T)", "signal's variance is left"),
    ("((1 - before) / (1 - now) * b).sqrt()", "b.sqrt()", "noise of a whole step forward"),
    ("((1 - before) / (1 - now) * b).sqrt()", "(1 - before) / (1 - now) * b", "that is the variance"),
    ("b * x_0 + (1 - b).sqrt() * (1 - before) * x_n", "b * x_n + (1 - b).sqrt() * (1 - before) * x_0",
     "swapped x_n and x_0"),
    ("g, beta = torch.Generator().manual_seed(seed), betas(T)", "g, beta = None, betas(T)", "gives two results"),
    ("x = mean + std * torch.randn(n, 1, generator=g)", "x = mean", "as wide as the data's"),
    ("return net\n", "return data\n", "copies of training data"),
    ("x0_hat = (x - (1 - a).sqrt() * model(torch.cat([x, torch.full_like(x, k / T)], 1))) / a.sqrt()",
     "x0_hat = model(torch.cat([x, torch.full_like(x, k / T)], 1))", "where no data are"),
]  # fmt: skip
# the one that copies needs another sampler, too
BOOTSTRAP = (
    "@torch.no_grad()\ndef sample",
    "def sample(model, n, seed):\n    g = torch.Generator().manual_seed(seed)\n"
    "    return model[torch.randint(len(model), (n,), generator=g)]\n\n\n@torch.no_grad()\ndef old",
)
