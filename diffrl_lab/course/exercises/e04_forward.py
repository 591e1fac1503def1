"""The survey's quick check: DDPM's forward process, and the parameterisation of the reverse one for trajectories."""

from __future__ import annotations

from typing import Any

from diffrl_lab.course.checks import Verdict

HINTS = (
    "Scrub the first movie: at t = 1, does any point of the plan still know its neighbours?",
    "Look at what the chain hands to D and what it gets back: x_t, t in; x0_hat out. All of them are whole windows.",
)
WANTED = ("b", "c", "a")
SLIPS = {
    (0, "a"): "question 1: that is a noisy rollout; the noise of diffusion passes no dynamics",
    (0, "c"): "question 1: here all points share one noise level; one per point is another method",
    (1, "a"): "question 2: that is a dynamics model, rolled out in time; here the network sees a whole window",
    (1, "b"): "question 2: a sample is what the whole chain makes; one call of the network gives a mean",
    (2, "b"): "question 3: no simulator is called; the lesson's planner has never seen one",
    (2, "c"): "question 3: the schedule knows noise levels only; swap it and the same network works on",
}


def cases(seed: int) -> list[dict[str, Any]]:
    return [{}]


def _letters(answers: list[Any]) -> tuple[str, ...]:
    came = answers[0]
    return tuple(str(a).strip().lower() for a in (came.split() if isinstance(came, str) else came))


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    came = _letters(answers)
    if len(came) != 3 or not set(came) <= set("abc"):
        return Verdict(False, f'three letters are wanted, such as ("a", "b", "c"); you gave {answers[0]!r}')
    for i, (mine, wanted) in enumerate(zip(came, WANTED, strict=True)):
        if mine != wanted:
            return Verdict(False, SLIPS[i, mine])
    return Verdict(True, "noise on all entries at once, means of whole windows, physics from data alone")


PROPERTIES = {
    f"question {i + 1}": lambda cases, answers, i=i: _letters(answers)[i] == WANTED[i] for i in range(len(WANTED))
}
RIGHT = [("b", "c", "a"), "B C A"]
WRONG = [
    (("a", "c", "a"), "noisy rollout"),
    (("c", "c", "a"), "share one noise level"),
    (("b", "a", "a"), "dynamics model"),
    (("b", "b", "a"), "gives a mean"),
    (("b", "c", "b"), "no simulator"),
    (("b", "c", "c"), "noise levels only"),
]
