"""An alarm of collapse per state: it must see one state of twelve that lost its modes, and leave healthy ones alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict

HINTS = (
    "First one state: the entropy of its labels, and the entropies of many healthy sets of as many labels, drawn by "
    "torch.multinomial(p[s], n, replacement=True, generator=generator).",
    "Twelve states are twelve chances for a false alarm. So compare the *worst* state of the policy with the worst "
    "states of healthy policies. Worst means: the entropy minus its healthy mean, over its healthy deviation.",
    "A state with a single mode has a healthy deviation of 0: nothing can be lost there, so leave it out (or add a "
    "small number below the fraction line). Alarm if the worst state is worse than those of all 200 healthy policies.",
)
S, K = 12, 4
KINDS = {  # how many of 20 sets must raise the alarm: at least, at most
    "healthy": (0, 4),
    "healthy, few draws": (0, 4),
    "healthy, some states have one mode": (0, 4),
    "each state in a mode of its own": (18, 20),
    "one state of twelve": (18, 20),
    "one state of twelve, some states have one mode": (18, 20),
}


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"kind": kind, "seed": int(rng.integers(1_000_000))} for kind in KINDS]


def made(kind: str, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels [S, n] of a policy, and the demonstrator's probabilities p [S, K]."""
    n = 10 if "few" in kind else 60
    p = 0.6 * torch.rand(S, K, generator=generator, dtype=torch.float64) + 0.4
    p = p / p.sum(1, keepdim=True)
    if "some states" in kind:
        p[8:] = torch.eye(K, dtype=p.dtype)
    labels = torch.multinomial(p, n, replacement=True, generator=generator)
    if kind.startswith("each"):
        labels = (torch.arange(S) % K)[:, None].expand(S, n).clone()
    if kind.startswith("one state"):
        labels[int(torch.randint(8, (1,), generator=generator))] = int(torch.randint(K, (1,), generator=generator))
    return labels, p


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """In how many of 20 sets of this kind the alarm is raised."""
    if not callable(answer):
        return answer
    raised = 0
    for i in range(20):
        generator = torch.Generator().manual_seed(case["seed"] + i)
        labels, p = made(case["kind"], generator)
        said = answer(labels, p, generator)
        if said is None:
            return None
        raised += bool(said)
    return raised


def entropies(labels, modes):
    """[..., n] -> [...]"""
    share = torch.stack([(labels == k).double().mean(-1) for k in range(modes)], -1)
    return torch.special.entr(share).sum(-1)


def healthy(p, n, generator, repeats=200):
    """Labels of healthy policies [repeats, S, n]."""
    drawn = torch.multinomial(p, repeats * n, replacement=True, generator=generator)
    return drawn.reshape(len(p), repeats, n).transpose(0, 1)


def right(labels, p, generator):
    floor = entropies(healthy(p, labels.shape[1], generator), p.shape[1])  # [repeats, S]
    mean, std = floor.mean(0), floor.std(0) + 1e-6
    worst = ((floor - mean) / std).min(1).values
    return bool(((entropies(labels, p.shape[1]) - mean) / std).min() < worst.min())


def by_rank(labels, p, generator):
    for s in range(len(p)):
        floor = entropies(healthy(p[s : s + 1], labels.shape[1], generator, 2000)[:, 0], p.shape[1])
        rank = (1 + (floor <= entropies(labels[s], p.shape[1])).sum()) / (1 + len(floor))
        if len(p) * rank < 0.05 and floor.std() > 0:
            return True
    return False


def pooled(labels, p, generator):
    every = healthy(p, labels.shape[1], generator).flatten(1)
    return bool(entropies(labels.flatten(), p.shape[1]) < entropies(every, p.shape[1]).min())


def mean_of_states(labels, p, generator):
    floor = entropies(healthy(p, labels.shape[1], generator), p.shape[1]).mean(1)
    return bool(entropies(labels, p.shape[1]).mean() < 0.8 * floor.mean())


def without_floor(labels, p, generator):
    exact = torch.special.entr(p).sum(1)
    return bool((entropies(labels, p.shape[1]) < 0.8 * exact)[exact > 0].any())


def each_at_five(labels, p, generator):
    floor = entropies(healthy(p, labels.shape[1], generator), p.shape[1])
    return bool((entropies(labels, p.shape[1]) < floor.quantile(0.05, dim=0)).any())


def one_mode_is_alarm(labels, p, generator):
    return right(labels, p, generator) or bool((entropies(labels, p.shape[1]) == 0).any())


def always(labels, p, generator):
    return True


def never(labels, p, generator):
    return False


def nothing_over_nothing(labels, p, generator):
    floor = entropies(healthy(p, labels.shape[1], generator), p.shape[1])
    z = (entropies(labels, p.shape[1]) - floor.mean(0)) / floor.std(0)
    worst = ((floor - floor.mean(0)) / floor.std(0)).min(1).values
    return bool(z.min() < worst.min())


MESSAGES = {
    "healthy": "your alarm is raised by healthy policies: twelve states are twelve chances for a false alarm",
    "healthy, few draws": (
        "your alarm is raised by healthy policies with few draws: hold the entropy against healthy sets of the same n"
    ),
    "healthy, some states have one mode": (
        "your alarm is raised where the demonstrator itself has a single mode: nothing is lost there"
    ),
    "each state in a mode of its own": (
        "your alarm misses a policy that has one mode in each state: do not pool the states"
    ),
    "one state of twelve": "your alarm misses one state of twelve that lost its modes: a mean over states hides it",
    "one state of twelve, some states have one mode": (
        "your alarm misses a lost state where others have a single mode: is 0 divided by 0 there?"
    ),
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    found = {c["kind"]: int(np.asarray(a)) for c, a in zip(cases, answers, strict=True)}
    if all(count == 20 for count in found.values()):
        return Verdict(False, "your alarm is always raised")
    if not any(found.values()):
        return Verdict(False, "your alarm is never raised")
    for kind, count in found.items():
        low, high = KINDS[kind]
        if not low <= count <= high:
            return Verdict(False, MESSAGES[kind])
    return Verdict(True, "healthy policies are left alone, and one collapsed state of twelve is seen")


RIGHT = [right, by_rank]
WRONG = [
    (each_at_five, "twelve chances"),
    (without_floor, "with few draws"),
    (one_mode_is_alarm, "itself has a single mode"),
    (pooled, "do not pool"),
    (mean_of_states, "mean over states"),
    (nothing_over_nothing, "divided by 0"),
    (always, "always raised"),
    (never, "never raised"),
]
