"""The survey's quick check: DDPM's forward process, and the parameterisation of the reverse one for trajectories."""

from __future__ import annotations

from typing import Any

from diffrl_lab.course.judging import Verdict, by_letter, questions

HINTS = (
    "Scrub the first movie: at t = 1, does any point of the plan still know its neighbours?",
    "Look at what the chain hands to D and what it gets back: x_t, t in; x0_hat out. All of them are whole windows.",
)
WANTED = ("b", "c", "a")
PRAISE = "noise on all entries at once, means of whole windows, physics from data alone"
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


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    return by_letter(answers[0], WANTED, SLIPS, PRAISE)


PROPERTIES = questions(WANTED)
RIGHT = [("b", "c", "a"), "B C A"]
WRONG = [
    (("a", "c", "a"), "noisy rollout"),
    (("c", "c", "a"), "share one noise level"),
    (("b", "a", "a"), "dynamics model"),
    (("b", "b", "a"), "gives a mean"),
    (("b", "c", "b"), "no simulator"),
    (("b", "c", "c"), "noise levels only"),
]
