"""Slips of a learner, each a change of right_v.py: (what stands there, what is written instead, what is told)."""

GUIDED = "return free + w * (conditional - free)"
WRONG = [
    (GUIDED, "return (1 + w) * conditional - w * free", "counts from the free one"),
    (GUIDED, "return free - w * (conditional - free)", "walk away from the wish"),
    ("torch.stack([c * keep, keep], 1)", "torch.stack([c, keep], 1)", "still there"),
    ("torch.stack([c * keep, keep], 1)", "torch.stack([c * keep, 1 - keep], 1)", "upside down"),
    ("torch.stack([c * keep, keep], 1)", "torch.stack([c * keep, (c * keep != 0).to(c)], 1)", "that is a wish, too"),
    ("(torch.rand(len(c), generator=torch.Generator().manual_seed(seed)) >= p)", "(torch.rand(len(c)) >= p)",
     "twice gives"),
    ("manual_seed(seed)) >= p)", "manual_seed(seed))[:1].expand(len(c)) >= p)", "each by itself"),
    ("return torch.stack([c * keep, keep], 1)",
     "return torch.stack([torch.where(keep > 0, c, float('nan')), keep], 1)", "holds NaN"),
    ("told = dropped(c[i], 0.25, seed + k)", "told = dropped(c[i], 0.0, seed + k)", "drop wishes in training"),
    ("told = dropped(c[i], 0.25, seed + k)", "told = dropped(c[i], 1.0, seed + k)", "are near it"),
    ("v = guided(free, conditional, w)", "v = guided(free, conditional, min(w, 1.0))", "this is no guidance"),
    ("v = guided(free, conditional, w)", "v = guided(free, conditional, w + 0.3)", "listen to the wish"),
    ("x = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))",
     "x = torch.randn(n, 1, generator=torch.Generator().manual_seed(0))",
     "the seed is not used"),
]  # fmt: skip
