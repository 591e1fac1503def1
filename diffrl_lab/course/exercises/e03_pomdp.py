"""The survey's quick check: what POMDPs add to MDPs, and how diffusion might address partial observability."""

from __future__ import annotations

from typing import Any

from diffrl_lab.course.judging import Verdict, by_letter, questions

HINTS = (
    "Two cells look alike and need opposite moves. What would tell them apart, and is it in the present observation?",
    "A belief is a distribution of the state, given all that was observed and done. Which input holds as much?",
)
WANTED = ("b", "a", "c")
PRAISE = "one observation is not the state; the history determines the belief, so the policy needs the history"
SLIPS = {
    (0, "a"): "question 1: the next state is drawn in an MDP, too; there the agent observes it afterwards",
    (0, "c"): "question 1: many states make an MDP large, not partially observed",
    (1, "b"): "question 2: a random policy leaves a loop, but it forgets what was observed; the belief earns more",
    (
        1,
        "c",
    ): "question 2: a larger network gives one answer to one observation, and two cells have the same observation",
    (2, "a"): "question 3: the level of the noise does not say in which of two cells the agent is; its history does",
    (2, "b"): "question 3: a model of (observation, action) pairs has no memory: it mixes the actions of both cells",
}


def cases(seed: int) -> list[dict[str, Any]]:
    return [{}]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    return by_letter(answers[0], WANTED, SLIPS, PRAISE)


PROPERTIES = questions(WANTED)
RIGHT = [("b", "a", "c"), "B A C"]
WRONG = [
    (("a", "a", "c"), "in an MDP, too"),
    (("c", "a", "c"), "large"),
    (("b", "b", "c"), "leaves a loop"),
    (("b", "c", "c"), "larger network"),
    (("b", "a", "a"), "level of the noise"),
    (("b", "a", "b"), "no memory"),
]
