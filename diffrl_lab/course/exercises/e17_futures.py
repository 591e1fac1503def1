"""The futures of one moment of a chain: it is run again from there, many times, each time under new noise."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Copy the frame `again` times: x = frames[k].expand(again, -1). From then on each row has a noise of its own, if "
    "`step` gets all rows at once.",
    "The chain stands at times[k]; its next steps go from times[k] to times[k + 1], and so on to the last time: "
    "zip(times[k:-1], times[k + 1:]).",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"frames": rng.normal(size=(K + 1, d)), "times": np.linspace(1, 0, K + 1), "k": k, "again": again}
        for K, d, k, again in ((5, 2, 2, 3), (8, 1, 5, 4), (6, 3, 1, 5))
    ]


class Walk:
    """A step whose noise is known: the j-th row that is moved from time t gets the j-th noise of that time."""

    def __init__(self, d: int) -> None:
        self.d, self.moved = d, Counter[float]()

    def __call__(self, x: torch.Tensor, t: Any, s: Any) -> torch.Tensor:
        rows = x.reshape(-1, self.d)
        at = round(float(t), 6)
        j = torch.arange(self.moved[at], self.moved[at] + len(rows), dtype=torch.float64)
        self.moved[at] += len(rows)
        column = torch.arange(1, self.d + 1, dtype=torch.float64)
        noise = torch.sin(7.3 * (j[:, None] + 1) * column + 11.0 * at)
        return (x + 0.4 * (float(t) - float(s)) * x.cos() + (0.3 * float(t) * noise).reshape(x.shape)).to(x)


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    frames, times = torch.as_tensor(case["frames"]).clone(), torch.as_tensor(case["times"]).clone()
    ends = answer(Walk(frames.shape[1]), frames, times, case["k"], case["again"])
    return ends.detach().numpy() if torch.is_tensor(ends) else ends


def right(step, frames, times, k, again):
    x = frames[k].expand(again, -1)
    for t, s in zip(times[k:-1], times[k + 1 :], strict=True):
        x = step(x, t, s)
    return x


def one_by_one(step, frames, times, k, again):
    ends = []
    for _ in range(again):
        x = frames[k : k + 1]
        for i in range(k, len(times) - 1):
            x = step(x, times[i], times[i + 1])
        ends.append(x[0])
    return torch.stack(ends)


def one_noise(step, frames, times, k, again):
    return right(step, frames, times, k, 1).expand(again, -1)


def from_noise(step, frames, times, k, again):
    return right(step, frames, times, 0, again)


def wrong_clock(step, frames, times, k, again):
    x = frames[k].expand(again, -1)
    for t, s in zip(times[:-1], times[1:], strict=True):
        x = step(x, t, s)
    return x


def one_late(step, frames, times, k, again):
    x = frames[k].expand(again, -1)
    for t, s in zip(times[k + 1 : -1], times[k + 2 :], strict=True):
        x = step(x, t, s)
    return x


def one_short(step, frames, times, k, again):
    return right(step, frames, times[:-1], k, again)


def along_the_old_chain(step, frames, times, k, again):
    x = frames[k].expand(again, -1)
    for i in range(k, len(times) - 1):
        x = step(frames[i].expand(again, -1), times[i], times[i + 1])
    return x


def the_end(step, frames, times, k, again):
    return frames[-1].expand(again, -1)


SLIPS = {
    "all futures are one: each row needs a noise of its own, so give `step` all rows at once": one_noise,
    "you started again from noise: the futures start from frames[k]": from_noise,
    "frames[k] has the noise of times[k]; do not go through the earlier times again": wrong_clock,
    "the first step is missing: it goes from times[k] to times[k + 1]": one_late,
    "the last step is missing: the futures end at the last time": one_short,
    "each step starts from the old chain again: go on from where the step before has led": along_the_old_chain,
    "that is the end of the old chain: draw new ones": the_end,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [ask(f, c) for c in cases] for text, f in SLIPS.items()}
    return match(answers, [ask(right, c) for c in cases], slips, right="one past, many futures")


RIGHT = [right, one_by_one]
WRONG = [
    (one_noise, "all futures are one"),
    (from_noise, "again from noise"),
    (wrong_clock, "earlier times"),
    (one_late, "first step is missing"),
    (one_short, "last step is missing"),
    (along_the_old_chain, "from the old chain again"),
    (the_end, "end of the old chain"),
]
