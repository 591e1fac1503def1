"""What a world model is shown: the last K pictures, and the last K actions, the one that is done now among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Mistake, Verdict, match, plain

HINTS = (
    "frames has one more row than acts: acts[i] was done at frames[i], and `now` is done at frames[-1].",
    "Put `now` behind acts first. Then both have one row for each moment, and both are cut to their last K rows.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    out = []
    for T, K in ((6, 2), (9, 4), (5, 1)):
        acts = rng.integers(3, size=T - 1)
        frames = np.arange(T)[:, None, None] + rng.random((T, 2, 2))
        out.append({"frames": frames, "acts": acts, "now": int((acts[-1] + 1) % 3), "K": K})
    return out


def ask(answer: Any, case: dict[str, Any]) -> Any:
    """(past, act) laid end to end, past first."""
    if not callable(answer):
        return answer
    came = answer(
        torch.from_numpy(case["frames"].copy()), torch.from_numpy(case["acts"].copy()), case["now"], case["K"]
    )
    if came is None:
        return None
    if not isinstance(came, (tuple, list)) or len(came) != 2:
        raise Mistake("two things are wanted, past and act: `return past, act`")
    past, act = (np.asarray(plain(part), float) for part in came)
    K, size = case["K"], case["frames"].shape[1:]
    if past.shape != (K, *size) or act.shape != (K,):
        raise Mistake(f"past {[K, *size]} and act {[K]} are wanted; you gave {list(past.shape)} and {list(act.shape)}")
    return np.concatenate([past.ravel(), act])


def right(frames, acts, now, K):
    acts = torch.cat([acts, acts.new_tensor([now])])
    return frames[-K:], acts[-K:]


def by_loop(frames, acts, now, K):
    every = [*acts.tolist(), now]
    first = len(frames) - K
    return torch.stack([frames[i] for i in range(first, len(frames))]), torch.tensor(
        [every[i] for i in range(first, len(every))]
    )


def _stale(frames, acts, now, K):
    return frames[-K:], torch.as_tensor(acts)[-K:]


def _flipped(frames, acts, now, K):
    past, act = right(frames, acts, now, K)
    return past.flip(0), act.flip(0)


def _first(frames, acts, now, K):
    return frames[:K], torch.cat([acts, acts.new_tensor([now])])[:K]


def _repeated(frames, acts, now, K):
    return frames[-K:], torch.full((K,), now)


def _behind(frames, acts, now, K):
    return frames[-K - 1 : -1], right(frames, acts, now, K)[1]


SLIPS = {
    "your actions are stale: the one that is done now, at the newest picture, is missing": _stale,
    "your rows run backwards: the newest belongs last": _flipped,
    "you took the first K moments of the recording; the last K are shown": _first,
    "you repeated the present action; the actions between the past pictures are shown, too": _repeated,
    "your pictures are one moment old: the newest one is missing": _behind,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    def laid(f: Any, c: dict[str, Any]) -> Any:
        past, act = f(torch.from_numpy(c["frames"]), torch.from_numpy(c["acts"]), c["now"], c["K"])
        return np.concatenate([np.asarray(past).ravel(), np.asarray(act, float)])

    slips = {text: [laid(f, c) for c in cases] for text, f in SLIPS.items()}
    return match(answers, [laid(right, c) for c in cases], slips, right="K pictures and K actions, the newest last")


RIGHT = [right, by_loop]
WRONG = [
    (_stale, "are stale"),
    (_flipped, "run backwards"),
    (_first, "the first K moments"),
    (_repeated, "repeated the present action"),
    (_behind, "one moment old"),
]
