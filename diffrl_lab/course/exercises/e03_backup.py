"""One sweep of value iteration on a finite MDP."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "First the value of each action: its reward now, and the discounted value of where it leads. Then choose.",
    "P @ V is [S, A]: the mean value of the next state. Add rewards and take the best action of each state.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"P": rng.dirichlet(np.ones(5) / 2, size=(5, 3)), "rew": rng.normal(size=(5, 3)), "gamma": gamma,
         "V": 5 * rng.normal(size=5)}
        for gamma in (0.9, 0.5)
    ]  # fmt: skip


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "you average over the actions: that is the value of a policy that chooses at random; take the best": mean,
        "gamma is missing: what comes a step later counts gamma times": undiscounted,
        "your gamma discounts the reward of this step, too: only what comes after it is discounted": discounted_all,
        "you choose the best action by its reward alone: the best action is best by r + gamma P V": greedy,
        "you take the luckiest next state: the world draws it, so take the mean over P": lucky,
        "you take the largest term P V over s' and drop the others: the mean over s' is their sum, P @ V": largest_term,
        "you take the likeliest next state: all next states count, each with its probability": likeliest,
        "you return Q [S, A]: the value of a state is the largest Q over its actions": all_actions,
        "your maximum is over the states (axis 0): the choice is among the actions, the last axis": over_states,
        "max(dim=...) of torch returns values and their numbers: take its .values, or use amax": with_numbers,
    }
    wrong = {message: [slip(**c) for c in cases] for message, slip in slips.items()}
    return match(
        answers, [best(**c) for c in cases], wrong, right="the mean over the next states, the maximum over the actions"
    )


def best(P, rew, gamma, V):
    return (rew + gamma * P @ V).max(-1)


def mean(P, rew, gamma, V):
    return (rew + gamma * P @ V).mean(-1)


def undiscounted(P, rew, gamma, V):
    return best(P, rew, 1.0, V)


def discounted_all(P, rew, gamma, V):
    return best(P, gamma * rew, gamma, V)


def greedy(P, rew, gamma, V):
    a, s = rew.argmax(-1), np.arange(len(rew))
    return rew[s, a] + gamma * P[s, a] @ V


def lucky(P, rew, gamma, V):
    return (rew + gamma * V.max()).max(-1)


def largest_term(P, rew, gamma, V):
    return (rew + gamma * (P * V).max(-1)).max(-1)


def likeliest(P, rew, gamma, V):
    return (rew + gamma * V[P.argmax(-1)]).max(-1)


def all_actions(P, rew, gamma, V):
    return rew + gamma * P @ V


def over_states(P, rew, gamma, V):
    return all_actions(P, rew, gamma, V).max(0)


def with_numbers(P, rew, gamma, V):
    return best(P, rew, gamma, V), all_actions(P, rew, gamma, V).argmax(-1)


def right(P, rew, gamma, V):
    return (rew + gamma * P @ V).amax(dim=-1)


def by_state(P, rew, gamma, V):
    values = []
    for s in range(len(rew)):
        values.append(max(float(rew[s, a]) + gamma * float((P[s, a] * V).sum()) for a in range(rew.shape[1])))
    return values


def plain(slip):
    return lambda P, rew, gamma, V: slip(P.numpy(), rew.numpy(), gamma, V.numpy())


RIGHT = [right, by_state]
WRONG = [
    (plain(mean), "average over the actions"),
    (plain(undiscounted), "gamma is missing"),
    (plain(discounted_all), "reward of this step"),
    (plain(greedy), "by its reward alone"),
    (plain(lucky), "luckiest next state"),
    (plain(largest_term), "largest term"),
    (plain(likeliest), "likeliest"),
    (plain(all_actions), "you return Q"),
    (plain(over_states), "over the states"),
    (plain(with_numbers), ".values"),
]
