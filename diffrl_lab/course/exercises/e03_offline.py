"""The survey's quick check: what is hard about offline RL, and what diffusion changes about it."""

from __future__ import annotations

from typing import Any

from diffrl_lab.course.judging import Verdict, by_letter, questions

HINTS = (
    "Look at the corridor without fast records: which speed did max Q take, and which record could contradict it?",
    "Diffusion replaced the distribution that proposes actions. Did the network of Q change?",
)
WANTED = ("c", "b", "a")
PRAISE = "no record contradicts the maximum; diffusion proposes inside the data; Q stays as wrong as it was"
SLIPS = {
    (
        0,
        "a",
    ): "question 1: with few data all values are noisy; here the fitted Q is close to the exact one at recorded speeds",
    (0, "b"): "question 1: the TD loss was not high: it was lower for the policy that crashed",
    (1, "a"): "question 2: no record says what happens beyond the data, so the model of the data cannot know the edge",
    (1, "c"): "question 2: the network of Q is the same for all proposals; nothing was trained again",
    (2, "b"): "question 3: Q was not trained again, so it is still wrong where nothing was recorded",
    (
        2,
        "c",
    ): "question 3: with enough draws, the tails of any model propose actions outside the data; N is no guarantee",
}


def cases(seed: int) -> list[dict[str, Any]]:
    return [{}]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    return by_letter(answers[0], WANTED, SLIPS, PRAISE)


PROPERTIES = questions(WANTED)
RIGHT = [("c", "b", "a"), "C B A"]
WRONG = [
    (("a", "b", "a"), "values are noisy"),
    (("b", "b", "a"), "TD loss was not high"),
    (("c", "a", "a"), "cannot know the edge"),
    (("c", "c", "a"), "nothing was trained again"),
    (("c", "b", "b"), "still wrong"),
    (("c", "b", "c"), "no guarantee"),
]
