"""A student of one step, distilled from a chain of many: judged by the closed form of the probability-flow map.

Where the data are a Gaussian N(m, d^2), the flow takes the noise z to m + d z. On the line it takes z, whatever the
data, to the quantile at which z stands among the noise, for its paths never cross. No student of ours is compared with.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Mistake, Verdict
from diffrl_lab.diffusion import Cosine, MixtureDenoiser

HINTS = (
    "Two halves. First the teacher: walk from x_T along `times` by DDIM, x = alpha_s x0_hat + sigma_s eps_hat with "
    "x0_hat = D(x, t), and keep where each noise ends. Then the student: it gives that end from the noise at once.",
    "The student is linear in its features, so there is no loop: W = torch.linalg.lstsq(features(x_T), x).solution has "
    "the smallest squared error. Return lambda z: features(z) @ W.",
)
NOISE, STEPS = 1000, 60
ROOM = 0.1  # the root mean square error that a good student stays below; the teacher's own is about .02
PLACES = torch.linspace(-2.4, 2.4, 31, dtype=torch.float64)
LAWS = {"a Gaussian": ([1.0], 1), "two modes": ([0.3, 0.7], 2)}


def features(z: torch.Tensor) -> torch.Tensor:
    """What the student sees of noise z [n, 1]: how near it is to each of 31 places, so that it may bend. -> [n, 31]"""
    return (1 - (z.clamp(-2.4, 2.4) - PLACES.to(z)).abs() / 0.16).clamp(min=0)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    drawn = {"noise": rng.normal(size=(NOISE, 1)), "fresh": rng.normal(size=(400, 1)).clip(-2, 2), "seed": seed}
    left = rng.uniform(0.25, 0.35)
    return [
        {"law": "a Gaussian", "mean": rng.uniform(0.4, 0.8), "std": rng.uniform(0.7, 0.9), **drawn},
        {"law": "two modes", "mean": left, "std": 0.3, **drawn},
    ]


def denoiser(case: dict[str, Any]) -> MixtureDenoiser:
    """A Gaussian about `mean`, or modes at -1, with the weight `mean`, and at 1."""
    if case["law"] == "a Gaussian":
        return MixtureDenoiser([1.0], [[case["mean"]]], Cosine(), std=case["std"])
    return MixtureDenoiser([case["mean"], 1 - case["mean"]], [[-1.0], [1.0]], Cosine(), std=case["std"])


def flowed(case: dict[str, Any]) -> np.ndarray:
    """Where the flow takes the fresh noise, in closed form. -> [400]"""
    z = torch.tensor(case["fresh"]).flatten()
    if case["law"] == "a Gaussian":
        return (case["mean"] + case["std"] * z).numpy()
    low, high = torch.full_like(z, -9.0), torch.full_like(z, 9.0)
    for _ in range(60):
        x = (low + high) / 2
        below = sum(
            w * torch.special.ndtr((x - m) / case["std"]) for w, m in ((case["mean"], -1), (1 - case["mean"], 1))
        )
        right_of = below < torch.special.ndtr(z)
        low, high = torch.where(right_of, x, low), torch.where(right_of, high, x)
    return x.numpy()


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """Where the student takes the fresh noise [400], and behind it how often it asks the teacher."""
    if not callable(answer):
        return answer
    exact, asked = denoiser(case), [0]

    class Teacher:
        schedule = exact.schedule

        def __call__(self, x_t: torch.Tensor, t: Any, cond: Any = None) -> torch.Tensor:
            asked[0] += 1
            return exact(x_t, torch.as_tensor(t))

    times = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case["seed"])
        student = answer(Teacher(), features, torch.tensor(case["noise"]), times)
    if student is None or not callable(student):
        return student
    asked[0] = 0
    x = student(torch.tensor(case["fresh"]))
    if not torch.is_tensor(x) or x.numel() != len(case["fresh"]):
        raise Mistake("your student must be a function: noise [n, 1] -> samples [n, 1]")
    return np.append(x.detach().double().numpy().ravel(), asked[0])


def walked(D, x, times):
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = D.schedule(t), D.schedule(s)
        x0_hat = D(x, t)
        x = alpha_s * x0_hat + sigma_s * (x - alpha_t * x0_hat) / sigma_t
    return x


def right(D, features, x_T, times):
    x = x_T
    for t, s in zip(times[:-1], times[1:], strict=True):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = D.schedule(t), D.schedule(s)
        x0_hat = D(x, t)
        x = alpha_s * x0_hat + sigma_s * (x - alpha_t * x0_hat) / sigma_t
    W = torch.linalg.lstsq(features(x_T), x).solution
    return lambda z: features(z) @ W


def by_ridge(D, features, x_T, times):
    alpha, sigma = D.schedule(times)
    x = x_T.clone()
    for k in range(len(times) - 1):
        x0_hat = D(x, times[k])
        x = alpha[k + 1] * x0_hat + sigma[k + 1] * (x - alpha[k] * x0_hat) / sigma[k]
    F = features(x_T)
    W = torch.linalg.solve(F.T @ F + 1e-4 * torch.eye(F.shape[1], dtype=F.dtype), F.T @ x)
    return lambda z: features(z) @ W


def fitted(features, x_T, x):
    F = features(x_T)  # a ridge, so that slips are the same on every machine
    W = torch.linalg.solve(F.T @ F + 1e-4 * torch.eye(F.shape[1], dtype=F.dtype), F.T @ x)
    return lambda z: features(z) @ W


def one_step(D, features, x_T, times):
    return fitted(features, x_T, D(x_T, times[0]))


def unpaired(D, features, x_T, times):
    return fitted(features, torch.randn_like(x_T), walked(D, x_T, times))


def random_chain(D, features, x_T, times):
    x = x_T
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = D.schedule(t), D.schedule(s)
        x0_hat, ts = D(x, t), alpha_t / alpha_s
        var = (sigma_t**2 - ts**2 * sigma_s**2).clamp(min=0)
        mean = (ts * sigma_s**2 * x + alpha_s * var * x0_hat) / sigma_t**2
        x = mean + sigma_s * var**0.5 / sigma_t * torch.randn_like(x)
    return fitted(features, x_T, x)


def backwards(D, features, x_T, times):
    return fitted(features, walked(D, x_T, times), x_T)


def asks(D, features, x_T, times):
    return lambda z: walked(D, z, times)


def half_way(D, features, x_T, times):
    return fitted(features, x_T, walked(D, x_T, times[: len(times) // 2 + 1]))


def straight(D, features, x_T, times):
    line = lambda z: torch.cat([torch.ones_like(z), z], 1)  # noqa: E731
    return fitted(line, x_T, walked(D, x_T, times))


def untrained(D, features, x_T, times):
    return lambda z: z


def few(D, features, x_T, times):
    return fitted(features, x_T, walked(D, x_T, times[:: (len(times) - 1) // 2]))


LOOSE = (
    "noise and samples do not belong together: your student gives nearly the mean. Keep the noise that a chain began "
    "with, and let the chain draw no noise of its own"
)
SLIPS = {
    "your student gives the mean for every noise, as one step of the teacher does: learn the end of the whole chain":
        one_step,
    "your student learned the end of the chain half-way: its last time is 0": half_way,
    "your student is the map from samples to noise: exchange what it sees and what it gives": backwards,
    "your student gives the noise back: nothing was learned": untrained,
    "your student is a straight line: on two modes the map is none, so use `features`": straight,
    "your teacher leaps: walk along all of `times`": few,
}  # fmt: skip


def _off(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(np.mean((x - y) ** 2)))


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    for c, came in zip(cases, answers, strict=True):
        x = np.asarray(came, dtype=float)
        if x.shape != (len(c["fresh"]) + 1,):
            return Verdict(False, "your answer is no student: return a function, noise [n, 1] -> samples [n, 1]")
        if not np.isfinite(x).all():
            return Verdict(False, "your samples hold nan or inf: the last time has sigma = 0; divide by sigma_t")
        if x[-1]:
            return Verdict(
                False, f"your student asks the teacher {int(x[-1])} times: it must give its sample without D"
            )
    off = [_off(np.asarray(a)[:-1], flowed(c)) for c, a in zip(cases, answers, strict=True)]
    if max(off) < ROOM:
        return Verdict(True, f"off the flow's end by {max(off):.3f} at most, with no evaluation of the teacher")
    for text, f in SLIPS.items():
        made = [(c, np.asarray(a)[:-1], ask(f, c)[:-1]) for c, a in zip(cases, answers, strict=True)]
        if all(_off(x, m) < 0.05 * _off(m, flowed(c)) + 0.02 for c, x, m in made):
            return Verdict(False, text)
    wide = [np.asarray(a)[:-1].std() / flowed(c).std() for c, a in zip(cases, answers, strict=True)]
    if max(wide) < 0.6:
        return Verdict(False, LOOSE)
    worst = int(np.argmax(off))
    return Verdict(
        False, f"on {cases[worst]['law']} your student ends {off[worst]:.2f} from where the flow ends, where less than "
        f"{ROOM} is wanted: does the teacher take all steps, and does the student see all features?",
    )  # fmt: skip


PROPERTIES = {
    name: lambda cases, answers, name=name: all(
        _off(np.asarray(a, dtype=float)[:-1], flowed(c)) < ROOM and a[-1] == 0
        for c, a in zip(cases, answers, strict=True)
        if c["law"] == name
    )
    for name in LAWS
}
RIGHT = [right, by_ridge]
WRONG = [
    (one_step, "gives the mean for every noise"),
    (unpaired, "do not belong together"),
    (backwards, "exchange what it sees"),
    (asks, "asks the teacher"),
    (half_way, "half-way"),
    (straight, "straight line"),
    (untrained, "nothing was learned"),
    (few, "your teacher leaps"),
]
