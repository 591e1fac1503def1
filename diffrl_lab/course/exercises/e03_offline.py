"""The survey's quick check: what is hard about offline RL, and what diffusion changes about it."""

from __future__ import annotations

from typing import Any

from diffrl_lab.course.judging import Verdict, by_letter, questions

HINTS = (
    "Look at the corridor with no fast drives: which action did max Q take, and who could have contradicted it?",
    "Diffusion replaced the law that proposes actions. Which of the lesson's curves were left as they were?",
)
WANTED = ("c", "b", "a")
PRAISE = "nobody contradicts the max; diffusion proposes inside the data; Q stays as wrong as it was"
SLIPS = {
    (0, "a"): "question 1: few data make noisy values; the corridor had plenty, and more of the same did not help",
    (0, "b"): "question 1: the TD loss was lower where the policy crashed; optimisation was not the trouble",
    (1, "a"): "question 2: no model knows the outcome of an action that no record holds",
    (1, "c"): "question 2: the network of Q is the same; it went wrong where its input was never recorded",
    (2, "b"): "question 3: proposals come from the recorded drivers, so their best is a limit; nothing new is tried",
    (2, "c"): "question 3: draw often enough and the tails of any model leave the data; it is a leash, no wall",
}


def cases(seed: int) -> list[dict[str, Any]]:
    return [{}]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    return by_letter(answers[0], WANTED, SLIPS, PRAISE)


PROPERTIES = questions(WANTED)
RIGHT = [("c", "b", "a"), "C B A"]
WRONG = [
    (("a", "b", "a"), "noisy values"),
    (("b", "b", "a"), "TD loss was lower"),
    (("c", "a", "a"), "no record holds"),
    (("c", "c", "a"), "network of Q is the same"),
    (("c", "b", "b"), "their best is a limit"),
    (("c", "b", "c"), "no wall"),
]
