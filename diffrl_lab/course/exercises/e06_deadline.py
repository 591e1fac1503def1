"""How many denoising steps fit into a control loop, in evaluations of the network; 0 where no plan is in time."""

from __future__ import annotations

from typing import Any

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "First count what can be paid: in one period of the loop the machine makes rate / hz evaluations, in `every` "
    "periods that many times `every`.",
    "Take away what the plan costs besides its chain, once. What is left buys steps at `calls` evaluations each: "
    "round down, and not below 0.",
)


def cases(seed: int) -> list[dict[str, Any]]:
    k = seed % 4
    return [
        {"rate": 500 + 100 * k, "hz": 50, "every": 1, "fixed": 3, "calls": 1},
        {"rate": 730 + 10 * k, "hz": 50, "every": 4, "fixed": 5, "calls": 2},
        {"rate": 1990, "hz": 100, "every": 3, "fixed": 4 + k, "calls": 2},
        {"rate": 90 + k, "hz": 50, "every": 1, "fixed": 3, "calls": 1},
        {"rate": 1210, "hz": 20, "every": 2, "fixed": 9, "calls": 3},
        {"rate": 399, "hz": 100, "every": 1, "fixed": 3, "calls": 1},
    ]


def right(rate, hz, every, fixed, calls):
    return max(0, (rate * every // hz - fixed) // calls)


def by_trying(rate, hz, every, fixed, calls):
    K = 0
    while hz * (fixed + calls * (K + 1)) <= rate * every:
        K += 1
    return K


def no_fixed(rate, hz, every, fixed, calls):
    return rate * every // hz // calls


def one_period(rate, hz, every, fixed, calls):
    return right(rate, hz, 1, fixed, calls)


def one_call(rate, hz, every, fixed, calls):
    return right(rate, hz, every, fixed, 1)


def up(rate, hz, every, fixed, calls):
    return max(0, -(-(rate * every / hz - fixed) // calls))


def below(rate, hz, every, fixed, calls):
    return (rate * every // hz - fixed) // calls


def at_least_one(rate, hz, every, fixed, calls):
    return max(1, right(rate, hz, every, fixed, calls))


def each_step(rate, hz, every, fixed, calls):
    return rate * every // hz // (calls + fixed)


def fixed_as_steps(rate, hz, every, fixed, calls):
    return max(0, rate * every // hz // calls - fixed)


def a_second(rate, hz, every, fixed, calls):
    return max(0, (rate * every - fixed) // calls)


def less_often(rate, hz, every, fixed, calls):
    return max(0, (rate // (hz * every) - fixed) // calls)


SLIPS = {
    "you left out `fixed`: choosing and following a plan takes time, too": no_fixed,
    "you took one period of the loop: a plan may take `every` of them": one_period,
    "a step asks the network `calls` times": one_call,
    "you rounded up: that plan is late": up,
    "a number of steps below 0: where not even one is in time, the answer is 0": below,
    "you always take one step; where not even one is in time, the answer is 0": at_least_one,
    "you paid `fixed` in every step: a plan pays it once": each_step,
    "you took `fixed` off the steps: it is counted in evaluations, so take it off before you divide by `calls`":
        fixed_as_steps,
    "that is what a second buys: a period lasts 1 / hz seconds": a_second,
    "you divided by `every`: `every` periods are more time, not less": less_often,
}  # fmt: skip


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {text: [f(**c) for c in cases] for text, f in SLIPS.items()}
    return match(
        answers, [right(**c) for c in cases], slips, right="time is counted in evaluations, and 0 is an answer"
    )


RIGHT = [right, by_trying]
WRONG = [
    (no_fixed, "left out `fixed`"),
    (one_period, "one period of the loop"),
    (one_call, "asks the network `calls` times"),
    (up, "rounded up"),
    (below, "below 0"),
    (at_least_one, "always take one step"),
    (each_step, "in every step"),
    (fixed_as_steps, "off the steps"),
    (a_second, "what a second buys"),
    (less_often, "divided by `every`"),
]
