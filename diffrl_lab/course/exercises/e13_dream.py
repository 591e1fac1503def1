"""A dream: a world model that is shown its own pictures, step after step. The synthesis of lesson 13.

Judged on a drawing rule whose next picture is known, whatever the program that feeds it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "In a loop over `todo`: put the action behind acts, draw from the last K pictures and the last K actions, keep the "
    "picture, and put it behind frames.",
    "The picture that is drawn is rounded before it goes on: (x >= 0.5). What the model sees next is the rounded one, "
    "and that is also what you give back. K is len(frames).",
)


def draw(past: Any, act: Any) -> Any:
    """A world of 3 x 4 pixels: the newest picture goes right or left by the action, older ones leave a trace."""
    K = len(past)
    seen = torch.as_tensor(np.asarray(past, float))
    todo = [int(a) for a in act]
    new = torch.roll(seen[-1], {0: 0, 1: -1, 2: 1}[todo[-1]], -1)
    if K > 1:
        new = 0.62 * new + 0.3 * torch.roll(seen[-2], 1 + todo[-2], -2)
    return 0.9 * new + 0.02


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "frames": (rng.random((K, 3, 4)) < 0.45).astype(float),
            "acts": rng.integers(3, size=K - 1),
            "todo": np.concatenate([rng.permutation(3), rng.integers(3, size=3)]),
        }
        for K in (2, 3)
    ]


def ask(answer: Any, case: dict[str, Any]) -> Any:
    if not callable(answer):
        return answer
    frames, acts, todo = (torch.from_numpy(case[k].copy()) for k in ("frames", "acts", "todo"))
    return answer(draw, frames, acts, todo)


def right(draw, frames, acts, todo):
    K, out = len(frames), []
    for a in todo:
        acts = torch.cat([acts, a[None]])[-K:]
        x = (draw(frames, acts) >= 0.5).to(frames)
        frames = torch.cat([frames[1:], x[None]])
        out.append(x)
    return torch.stack(out)


def with_lists(draw, frames, acts, todo):
    K = len(frames)
    pictures, actions = list(frames), [*acts]
    for a in todo:
        actions.append(a)
        x = draw(torch.stack(pictures[-K:]), torch.stack(actions[-K:]))
        pictures.append(torch.where(x < 0.5, torch.zeros_like(x), torch.ones_like(x)))
    return torch.stack(pictures[K:])


def _variant(
    *, stale: bool = False, awake: bool = False, raw: bool = False, end: bool = False, frozen: bool = False
) -> Any:
    def answer(draw, frames, acts, todo):
        K, out, first = len(frames), [], frames
        before = torch.cat([acts[:1], acts])[-K:] if len(acts) else torch.zeros(K, dtype=torch.long)
        for a in todo:
            acts = torch.cat([acts, a[None]])[-K:]
            shown = before if stale else (torch.cat([acts[:-1], todo[:1]]) if frozen else acts)
            x = draw(first if awake else frames, shown)
            rounded = (x >= 0.5).to(frames)
            frames = torch.cat([frames[1:], (x if raw or end else rounded)[None]])
            out.append(x if raw else rounded)
            before = acts
        return torch.stack(out)

    return answer


SLIPS = {
    "your actions are one step late: the one that is done now must be among those shown": _variant(stale=True),
    "you drew every picture from the real ones: a dream goes on from its own": _variant(awake=True),
    "you did not round: what the model is shown drifts away from legal pixels": _variant(raw=True),
    "you rounded what you give back, but showed the model what was not rounded": _variant(end=True),
    "you did the first action of todo again and again": _variant(frozen=True),
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    def put(f: Any, c: dict[str, Any]) -> Any:
        return f(draw, *(torch.from_numpy(c[k].copy()) for k in ("frames", "acts", "todo"))).numpy()

    slips = {text: [put(f, c) for c in cases] for text, f in SLIPS.items()}
    return match(
        answers, [put(right, c) for c in cases], slips, right="from here on nothing of the game is used but its actions"
    )


RIGHT = [right, with_lists]
WRONG = [
    (_variant(stale=True), "one step late"),
    (_variant(awake=True), "from the real ones"),
    (_variant(raw=True), "did not round"),
    (_variant(end=True), "what was not rounded"),
    (_variant(frozen=True), "again and again"),
]
