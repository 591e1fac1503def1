"""A receding horizon: a chunk of actions is drawn, its first ones are done, and then another chunk is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Step k does action number k % execute of the chunk, and a new chunk is drawn where that number is 0.",
    "Draw from where the point is *now*, do chunk[:, k % execute], and keep every position, the first one too: "
    "steps + 1 of them, torch.stack(..., 1).",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"x": rng.normal(size=(3, 2)), "steps": steps, "execute": execute, "H": H}
        for steps, execute, H in ((5, 1, 4), (8, 4, 4), (10, 3, 4))
    ]


def chunks(x: torch.Tensor, H: int) -> torch.Tensor:
    """Chunks [m, H, 2] that tell where they were drawn and which of them an action is."""
    k = torch.arange(1.0, H + 1, dtype=x.dtype)
    return torch.stack([0.3 * k - 0.2 * x[:, :1], 0.1 * k**2 + 0.1 * x[:, 1:]], -1)


def moved(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return x + 0.5 * a + 0.1 * a * x


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """The path, and behind it how many chunks were drawn."""
    if not callable(answer):
        return answer
    drawn = []

    def draw(x: torch.Tensor) -> torch.Tensor:
        drawn.append(1)
        return chunks(x, case["H"])

    path = answer(draw, moved, torch.as_tensor(case["x"]).clone(), case["steps"], case["execute"])
    if not torch.is_tensor(path):
        return path
    return np.append(path.detach().numpy().ravel(), len(drawn))


def right(draw, move, x, steps, execute):
    path = [x]
    for k in range(steps):
        if k % execute == 0:
            chunk = draw(path[-1])
        path.append(move(path[-1], chunk[:, k % execute]))
    return torch.stack(path, 1)


def nested(draw, move, x, steps, execute):
    path = [x]
    while len(path) <= steps:
        for a in draw(path[-1])[:, :execute].unbind(1):
            if len(path) <= steps:
                path.append(move(path[-1], a))
    return torch.stack(path, 1)


def first_action(draw, move, x, steps, execute):
    path = [x]
    for k in range(steps):
        if k % execute == 0:
            chunk = draw(path[-1])
        path.append(move(path[-1], chunk[:, 0]))
    return torch.stack(path, 1)


def every_step(draw, move, x, steps, execute):
    path = [x]
    for k in range(steps):
        path.append(move(path[-1], draw(path[-1])[:, k % execute]))
    return torch.stack(path, 1)


def whole_chunk(draw, move, x, steps, execute):
    path = [x]
    for k in range(steps):
        H = 4
        if k % H == 0:
            chunk = draw(path[-1])
        path.append(move(path[-1], chunk[:, k % H]))
    return torch.stack(path, 1)


def never_again(draw, move, x, steps, execute):
    path, chunk = [x], draw(x)
    for k in range(steps):
        path.append(move(path[-1], chunk[:, k % execute]))
    return torch.stack(path, 1)


def from_start(draw, move, x, steps, execute):
    path = [x]
    for k in range(steps):
        if k % execute == 0:
            chunk = draw(x)
        path.append(move(path[-1], chunk[:, k % execute]))
    return torch.stack(path, 1)


def no_start(draw, move, x, steps, execute):
    return right(draw, move, x, steps, execute)[:, 1:]


def other_axis(draw, move, x, steps, execute):
    return right(draw, move, x, steps, execute).transpose(0, 1)


SLIPS = {
    "you do the first action of a chunk again and again: step k does action k % execute": first_action,
    "you draw in every step: draw only where k % execute is 0": every_step,
    "you do all actions of a chunk: look again after `execute` of them": whole_chunk,
    "you draw once and never look again": never_again,
    "you draw from the start each time: draw from where the point is now": from_start,
    "the start is missing: a path has steps + 1 positions": no_start,
    "the axes: points first, then steps; torch.stack(path, 1)": other_axis,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [ask(f, c) for c in cases] for text, f in SLIPS.items()}
    return match(answers, [ask(right, c) for c in cases], slips, right="look, act a few times, look again")


RIGHT = [right, nested]
WRONG = [
    (first_action, "first action of a chunk"),
    (every_step, "draw in every step"),
    (whole_chunk, "all actions of a chunk"),
    (never_again, "never look again"),
    (from_start, "from the start each time"),
    (no_start, "start is missing"),
    (other_axis, "the axes"),
]
