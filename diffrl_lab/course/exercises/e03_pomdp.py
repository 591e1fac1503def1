"""The survey's quick check: what POMDPs add to MDPs, and how diffusion might address partial observability."""

from __future__ import annotations

from typing import Any

from diffrl_lab.course.judging import Verdict, by_letter, questions

HINTS = (
    "Two cells look alike and need opposite moves. What would tell them apart, and does the picture in front hold it?",
    "A belief is a law over states, given all that was seen and done. Who can represent a law with two peaks?",
)
WANTED = ("b", "a", "c")
PRAISE = "one look is no state; a history carries the belief; diffusion can draw from it, if it is given the history"
SLIPS = {
    (0, "a"): "question 1: noise in the dynamics is in every MDP; there the state still says all that matters",
    (0, "c"): "question 1: many states make an MDP large, not partially observed",
    (1, "b"): "question 2: a coin helps out of a loop, but it forgets what was seen; the belief does better, exactly",
    (1, "c"): "question 2: a larger network on the same look gives two cells the same answer, for they look the same",
    (2, "a"): "question 3: noise levels say nothing of where one is; without the history nothing is known",
    (2, "b"): "question 3: a denoiser of (look, action) pairs is memoryless, too: it learns the blend of both cells",
}


def cases(seed: int) -> list[dict[str, Any]]:
    return [{}]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    return by_letter(answers[0], WANTED, SLIPS, PRAISE)


PROPERTIES = questions(WANTED)
RIGHT = [("b", "a", "c"), "B A C"]
WRONG = [
    (("a", "a", "c"), "in every MDP"),
    (("c", "a", "c"), "large"),
    (("b", "b", "c"), "a coin helps"),
    (("b", "c", "c"), "larger network"),
    (("b", "a", "a"), "noise levels"),
    (("b", "a", "b"), "memoryless"),
]
