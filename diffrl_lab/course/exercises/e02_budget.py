"""How many steps a budget of evaluations of D buys: one evaluation a step, or two, and never two in the last."""

from __future__ import annotations

from typing import Any

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "Count how often each solver calls D in K steps that end at t = 0. Heun's last step has no correction.",
    "DDPM, DDIM and 2M call D K times, Heun 2 K - 1 times. Turn that round, and round down.",
)
ONE = ("ddpm", "ddim", "2m")


def cases(seed: int) -> list[dict[str, Any]]:
    return [{"solver": s, "budget": n} for s in (*ONE, "heun") for n in (2, 7 + 2 * (seed % 3), 20, 64)]


def _all(cases: list[dict[str, Any]], heun: Any, two_m: Any = lambda n: n) -> list[int]:
    rule = {"heun": heun, "2m": two_m}
    return [rule.get(c["solver"], lambda n: n)(c["budget"]) for c in cases]


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    slips = {
        "you count steps, not evaluations: Heun asks D twice in a step": _all(cases, lambda n: n),
        "Heun's last step has no correction: K steps cost 2 K - 1, so an odd budget buys one step more": _all(
            cases, lambda n: n // 2
        ),
        "order 2 does not mean two evaluations: 2M remembers its last x0_hat and asks D once a step": _all(
            cases, lambda n: (n + 1) // 2, lambda n: n // 2
        ),
        "you multiplied: this is what that many steps cost, not what the budget buys": _all(cases, lambda n: 2 * n - 1),
        "you went over the budget: round down": _all(cases, lambda n: n // 2 + 1),
    }
    truth = _all(cases, lambda n: (n + 1) // 2)
    return match(answers, truth, slips, right="compare solvers at equal cost, never at equal steps")


def right(solver, budget):
    return (budget + 1) // 2 if solver == "heun" else budget


def by_trying(solver, budget):
    cost = (lambda K: 2 * K - 1) if solver == "heun" else (lambda K: K)
    return max(K for K in range(1, budget + 1) if cost(K) <= budget)


def _right_for(solvers: tuple[str, ...]) -> Any:
    def holds(cases: list[dict[str, Any]], answers: list[Any]) -> bool:
        asked = [(c, a) for c, a in zip(cases, answers, strict=True) if c["solver"] in solvers]
        return all(bool(a == right(**c)) for c, a in asked)

    return holds


PROPERTIES = {"one evaluation a step": _right_for(ONE), "Heun": _right_for(("heun",))}
RIGHT = [right, by_trying]
WRONG = [
    (lambda solver, budget: budget, "count steps, not evaluations"),
    (lambda solver, budget: budget // 2 if solver == "heun" else budget, "odd budget"),
    (lambda solver, budget: budget // 2 if solver == "2m" else right(solver, budget), "remembers its last x0_hat"),
    (lambda solver, budget: 2 * budget - 1 if solver == "heun" else budget, "you multiplied"),
    (lambda solver, budget: budget // 2 + 1 if solver == "heun" else budget, "over the budget"),
]
