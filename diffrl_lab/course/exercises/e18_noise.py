"""How wide samples are within their modes, over how wide the data are: whatever the shares of the modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Give each number to its nearest centre. What is left of it once the mean of its own group is taken off?",
    "torch.cdist(x[:, None], centres[:, None]).argmin(1) names the groups. Take the root of the mean of all squared "
    "remainders, for the samples and for the data, and divide.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for K, width in ((2, 0.5), (3, 1.0), (2, 1.4)):
        centres = 4.0 * np.arange(K) + rng.uniform(-0.5, 0.5, size=K)
        sets = []
        for n, scale in ((40, width), (60, 1.0)):
            k = np.append(np.arange(K), rng.choice(K, size=n - K, p=rng.dirichlet(np.full(K, 2.0))))
            k = np.append(k, np.arange(K))  # at least two of each
            # off the centre, and of another width in each mode
            sets.append(centres[k] + 0.3 + scale * (0.2 + 0.1 * k) * np.clip(rng.normal(size=len(k)), -2, 2))
        inputs.append({"samples": sets[0], "data": sets[1], "centres": centres})
    return inputs


def groups(x, centres):
    k = (x[:, None] - centres).abs().argmin(1)
    return [x[k == i] for i in range(len(centres))]


def within(x, centres):
    return (sum((g - g.mean()).square().sum() for g in groups(x, centres)) / len(x)).sqrt()


def right(samples, data, centres):
    return within(samples, centres) / within(data, centres)


def by_scatter(samples, data, centres):
    found = []
    for x in (samples, data):
        k = torch.cdist(x[:, None], centres[:, None]).argmin(1)
        member = torch.nn.functional.one_hot(k, len(centres)).to(x)
        mean = (member * x[:, None]).sum(0) / member.sum(0)
        found.append(((x - mean[k]) ** 2).mean() ** 0.5)
    return found[0] / found[1]


def over_all(samples, data, centres):
    return samples.std(correction=0) / data.std(correction=0)


def variances(samples, data, centres):
    return right(samples, data, centres) ** 2


def about_centres(samples, data, centres):
    off = [sum((g - c).square().sum() for g, c in zip(groups(x, centres), centres, strict=True)) / len(x)
           for x in (samples, data)]  # fmt: skip
    return (off[0] / off[1]).sqrt()


def modes_alike(samples, data, centres):
    each = [torch.stack([g.std(correction=0) for g in groups(x, centres)]).mean() for x in (samples, data)]
    return each[0] / each[1]


def upside_down(samples, data, centres):
    return 1 / right(samples, data, centres)


def alone(samples, data, centres):
    return within(samples, centres)


SLIPS = {
    "you took the deviation of all samples: it is mostly the distance between the modes": over_all,
    "that is the ratio of the variances: take the root": variances,
    "you measured from the centres: a mode that moved is not wider; measure from each group's own mean": about_centres,
    "you averaged the modes' deviations: pool the squares, so that each sample counts once": modes_alike,
    "upside down: the samples' deviation over the data's": upside_down,
    "divide by the deviation of the data": alone,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    truth = [right(**c).numpy() for c in put]
    return match(answers, truth, slips, right="1 for a healthy sampler, whatever the shares of its modes")


RIGHT = [right, by_scatter]
WRONG = [
    (over_all, "distance between the modes"),
    (variances, "take the root"),
    (about_centres, "own mean"),
    (modes_alike, "pool the squares"),
    (upside_down, "upside down"),
    (alone, "divide by the deviation"),
]
