"""Constrained planning (SafeDiffuser, Xiao et al. 2023, and its rivals): rules that are given when a plan is drawn.

What is diffused: plans [H, 2n + 1] as in `diffuser`; the planner stays as it was trained, and has never met a rule.
What is learned: nothing where rules are formulas. The form `learned` has a classifier J(x_t, t) = log P(safe | x_t),
trained on recorded drives that are labelled by the rules.
How it acts: the chain is bent by one of the forms of `Config`. Candidates whose curve breaks a rule are thrown away,
segment by segment and not point by point, and so are those that contradict themselves; the best is followed. Where none
is left the plan is given up, and the ball stays where it is. Limits of speed are kept by taking more time. From the
second draw on candidates are shown ends moved by `jitter`, and led back to the true ones: a planner that has learned
one way by heart for these ends knows another one for ends nearby. Where recorded positions are given, the best of the
candidates that are kept is the one that stays nearest to them (no drive was recorded in a wall), and else the one that
contradicts itself least.
What differs from the paper: the barrier is a bound on the signed distance to a zone, which a projection keeps exactly,
and not a quadratic program; its bound closes by a fixed rate; zones are grown by a margin, since the paper's guarantee
is one of points; and plans may be given up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree
from torch import Tensor, nn
from torch.nn import functional as F

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import (
    Batches,
    Denoiser,
    Run,
    Stage,
    Step,
    ascend,
    cosine_decay,
    ddim,
    descend,
    given,
    pin,
    seeded,
)
from diffrl_lab.diffusion.constraints import confined, projected
from diffrl_lab.methods import weights
from diffrl_lab.methods.guides import Guide, noised
from diffrl_lab.methods.planning import diffuser
from diffrl_lab.methods.planning.diffuser import Diffuser, drives, known_ends
from diffrl_lab.methods.planning.plans import Plan, interpolated
from diffrl_lab.worlds import zones
from diffrl_lab.worlds.driving import Follower
from diffrl_lab.worlds.zones import Rule, Speed

FORMS = ("select", "end", "x0_hat", "iterate", "barrier", "cost", "learned")


@dataclass(frozen=True)
class Config:
    """How rules bend a plan, and which plans are refused.

    form: "select": not at all, candidates are only thrown away; "end": the finished plan is projected; "x0_hat": what
    the denoiser predicts is, in every step; "iterate": the iterate is; "barrier": the iterate may approach a zone, or
    stay in one, only up to a bound that closes; "cost": the squared depth at x0_hat is descended; "learned": a
    classifier's log P(safe | x_t) is climbed.
    """

    form: str = "x0_hat"
    margin: float = 0.1  # m, by which zones are grown when a finished plan is judged
    slack: float = 0.1  # m, by which they are grown further while it is bent
    reach: float = math.inf  # m: candidates are drawn again, too, while the best goes farther from recorded positions
    gap: float = 2.5  # a candidate is refused that contradicts itself so many times more than plans without rules do
    scales: tuple[float, ...] = (0.0, 300.0, 1000.0, 3000.0)  # of "cost" and "learned", draw by draw
    jitter: float = 0.15  # m, deviation of the ends that candidates are shown from the second draw on
    rate: float = 0.3  # of "barrier": the share of a plan's depth in a zone that a step must remove
    candidates: int = 32  # plans drawn together
    tries: int = 4  # how often so many are drawn before a plan is given up; the last scale serves for all that are left
    denoising: int = 10  # steps of the chain
    refuse: bool = True  # False: where no candidate is kept, the one that breaks the fewest segments is followed
    width: int = 128  # of the classifier's MLP
    updates: int = 1500  # of the classifier
    batch: int = 256  # drives in each
    lr: float = 2e-3  # the highest learning rate; half a cosine takes it to 0
    ema: float = 0.995  # decay of the running average of the classifier's weights

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}; got {self.form!r}")
        if min(self.margin, self.slack) < 0:
            raise ValueError(f"margin and slack must not be negative, got {self.margin} and {self.slack}")


@dataclass(frozen=True, eq=False)
class Judged:
    """A plan whose candidates are sorted: those that keep the rules and agree with themselves first, then by how many
    segments break a rule, and among equals the most consistent, or the nearest to recorded positions."""

    plan: Plan
    curves: list[NDArray[np.float64]]  # of each candidate, a state for every step [T, 2n]
    broken: NDArray[np.int64]  # segments of each curve that break a rule grown by the margin
    kept: NDArray[np.bool_]  # which candidates keep the rules and do not contradict themselves
    tries: int  # how often candidates were drawn

    @property
    def given_up(self) -> bool:
        """No candidate is kept."""
        return not bool(self.kept[0])


class Constrained(nn.Module):
    """A planner under rules. planner: its hyperparameters as a dict; obs, act: columns of the recording.

    J(x, t) -> [B] is the logit of "safe", and takes plans as the planner's network sees them (scaled).
    """

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, planner: dict[str, Any], obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"planner": planner, "obs": obs, "act": act}, {}
        self.planner = Diffuser(diffuser.Config(**planner), obs, act)
        self.J = Guide(self.planner.horizon * (obs + 1), width=config.width)
        self.recorded: KDTree | None = None  # of positions; it is no part of the weights

    @classmethod
    def of(
        cls, planner: Diffuser, config: Config | None = None, J: Any = None, recorded: ArrayLike | None = None
    ) -> Constrained:
        """A planner that was trained before, and a classifier where the form needs one (by default a fresh one). J: it,
        or a tuple of classifiers, of a rule each, whose slopes add up. recorded: positions [N, n] that plans should
        stay near to, where they are to be looked at."""
        model = seeded(0, cls, config or Config(), asdict(planner.config), **planner.sizes)
        model.recorded = None if recorded is None else KDTree(np.asarray(recorded, float))
        return weights.around(model, planner=planner, **({} if J is None else {"J": J}))

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The cross-entropy of J on {"x": drives [B, H, 2n + 1] in units, "safe": [B]}, noised, their ends known."""
        z = self.planner.scaler(batch["x"])
        x_t, t = noised(self.J.schedule, z, known_ends(z[:1], self.planner.n), generator)
        return {"loss": F.binary_cross_entropy_with_logits(self.J(x_t, t), batch["safe"])}

    def bent(self, D: Denoiser, rules: Sequence[Rule], scale: float | None = None) -> tuple[Denoiser, Step]:
        """The planner's denoiser with the rules around it, and the step to sample it by; scale: the first of `scales`
        unless given."""
        c, form = self.config, self.config.form
        scale = c.scales[0] if scale is None else scale
        wide = [rule for rule in zones.grown(rules, c.margin + c.slack) if not isinstance(rule, Speed)]
        if form == "x0_hat":
            return projected(D, self._onto(wide)), ddim()
        if form == "iterate":
            onto = self._onto(wide)
            return D, confined(ddim(), lambda x, *_: onto(x))
        if form == "barrier":
            return D, confined(ddim(), self._barrier(wide))
        if form == "cost":
            inside = lambda x, t: -self._depth(x, wide).clamp(min=0).square().sum((-1, -2))  # noqa: E731
            return ascend(D, inside, scale, "x0_hat"), ddim()
        if form == "learned":
            for J in self.J if isinstance(self.J, tuple) else (self.J,):
                D = ascend(D, self._log_safe(J), scale)
            return D, ddim()
        return D, ddim()

    @staticmethod
    def _log_safe(J: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, t: F.logsigmoid(J(x, t))

    def _units(self, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """What the network sees, changed in metres and metres per second; entries that do not change stay bit for
        bit."""
        raw = self.planner.scaler.inverse(x)
        now = change(raw[..., :-1])
        moved = (now - raw[..., :-1]) / self.planner.scaler.spread[:-1].to(x)
        return torch.cat([x[..., :-1] + moved, x[..., -1:]], -1)

    def _onto(self, rules: Sequence[Rule]) -> Callable[[Tensor], Tensor]:
        return lambda x: self._units(x, lambda states: zones.nearest(states, rules))

    def _depth(self, x: Tensor, rules: Sequence[Rule]) -> Tensor:
        """Depths [B, H, rules] of plans as the network sees them, in metres."""
        states = self.planner.scaler.inverse(x)[..., :-1]
        return torch.stack([rule.depth(states) for rule in rules], -1) if rules else states[..., :1] * 0 - 1

    def _barrier(self, rules: Sequence[Rule]) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """depth(x_s) <= (1 - rate) depth(x_t), and 0 at the end: each point of the iterate by itself."""

        def onto(x_s: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
            last, before = bool((s == 0).all()), self.planner.scaler.inverse(x_t)[..., :-1]

            def change(states: Tensor) -> Tensor:
                for rule in rules:
                    allowed = 0 * rule.depth(before) if last else (1 - self.config.rate) * rule.depth(before)
                    excess = rule.depth(states) - allowed
                    states = torch.where((excess > 0)[..., None], _pushed(rule, states, excess), states)
                return states

            return self._units(x_s, change)

        return onto

    @torch.no_grad()
    def plan(
        self,
        obs: ArrayLike,
        goal: ArrayLike,
        rules: Sequence[Rule] = (),
        n: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Judged:
        """n candidates from the state obs [2n] to goal [n] under `rules`, sorted, drawn again up to `tries` times as
        long as none keeps them, or the best goes farther than `reach`; of all draws the one with the best plan."""
        c, n, (known, value) = self.config, n or self.config.candidates, self.planner.ends(obs, goal)
        D = given(self.planner.denoiser, {"known": known})
        free = self.planner.drawn(pin(D, known, value), known, value, n, c.denoising, generator)
        found, away = list[Judged](), math.inf  # the best so far
        for tries in range(c.tries):
            bent, step = self.bent(D, rules, c.scales[min(tries, len(c.scales) - 1)])
            plan, shift = free, torch.zeros(n, 2, self.planner.n)
            if tries or c.form != "select":
                if tries and c.jitter:
                    shift = c.jitter * torch.randn(shift.shape, generator=generator)
                D_n, shown = pin(bent, known, self._moved(value, shift)), self._moved(value, shift)
                plan = self.planner.drawn(D_n, known, shown, n, c.denoising, generator, step=step)
            plan = self._led_back(plan, shift)
            judged = self.judged(self._ended(plan, rules, known), rules, float(free.gaps.median()), tries + 1)
            far = math.inf if judged.given_up or self.recorded is None else float(self.away(judged.curves[:1])[0])
            if not found or found[0].given_up or far < away:
                found, away = [judged], far
            if not found[0].given_up and (self.recorded is None or away <= c.reach):
                break
        return replace(found[0], tries=tries + 1)

    def _moved(self, value: Tensor, shift: Tensor) -> Tensor:
        """The given ends [H, 2n + 1] with start and goal moved by shift [n, 2, 2n / 2], as the network sees them."""
        if not bool(shift.any()):
            return value
        n = self.planner.n
        x = value.expand(len(shift), -1, -1).clone()
        x[:, [0, -1], :n] += shift / self.planner.scaler.spread[:n]
        return x

    def _led_back(self, plan: Plan, shift: Tensor) -> Plan:
        """A plan whose ends were moved by shift [n, 2, n], led to the true ends within a third of its way: positions
        by a half cosine, velocities by its slope."""
        if not bool(shift.any()):
            return plan
        u = torch.linspace(0, 1, self.planner.horizon)
        fade = lambda v: (1 + torch.cos(math.pi * (3 * v).clamp(max=1))) / 2  # noqa: E731
        slope = lambda v: -1.5 * math.pi * torch.sin(math.pi * (3 * v).clamp(max=1))  # noqa: E731
        weight = torch.stack([fade(u), fade(1 - u)])  # [2, H]
        change = torch.stack([slope(u), -slope(1 - u)])
        seconds = (plan.durations * self.planner.seconds_per_step)[:, None, None]
        x = plan.candidates - torch.cat(
            [
                torch.einsum("bem,eh->bhm", shift, weight),
                torch.einsum("bem,eh->bhm", shift, change) / seconds,
            ],
            -1,
        )
        return replace(plan, candidates=x, gaps=self.planner._gaps(x, plan.durations))

    def _ended(self, plan: Plan, rules: Sequence[Rule], known: Tensor) -> Plan:
        if self.config.form != "end":
            return plan
        wide = [r for r in zones.grown(rules, self.config.margin + self.config.slack) if not isinstance(r, Speed)]
        x = torch.where(known[..., :-1], plan.candidates, zones.nearest(plan.candidates, wide))
        return replace(plan, candidates=x, gaps=self.planner._gaps(x, plan.durations))

    def judged(self, plan: Plan, rules: Sequence[Rule], usual: float = math.inf, tries: int = 1) -> Judged:
        """A plan slowed down to the limits of speed and sorted as `Judged` says; usual: the gap of plans without
        rules."""
        plan = slowed(self.planner, plan, rules)
        curves = [self.planner.reference(plan, k) for k in range(len(plan.candidates))]
        hits = np.array([int(zones.broken(x, zones.grown(rules, self.config.margin)).sum()) for x in curves])
        gaps = plan.gaps.numpy()
        kept = (hits == 0) & (gaps <= self.config.gap * usual)
        order = np.lexsort((gaps if self.recorded is None else self.away(curves), hits, ~kept))
        k = torch.as_tensor(order)
        plan = replace(plan, candidates=plan.candidates[k], durations=plan.durations[k], gaps=plan.gaps[k])
        return Judged(plan, [curves[i] for i in order], hits[order], kept[order], tries)

    def away(self, curves: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """How far each curve [T, 2n] goes from all recorded positions, in metres: its farthest point."""
        if self.recorded is None:
            raise ValueError("no recorded positions were given: Constrained.of(planner, config, recorded=[N, n])")
        return np.array([self.recorded.query(x[:, : self.planner.n])[0].max() for x in curves])

    def sample(
        self,
        obs: ArrayLike,
        goal: ArrayLike,
        rules: Sequence[Rule] = (),
        *,
        n: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """n plans, sorted, for each state obs [B, 2n] and goal [B, n], in units with their steps.
        -> [B, n, H, 2n + 1]"""
        pairs = zip(np.asarray(obs), np.asarray(goal), strict=True)
        return torch.stack([self.plan(o, g, rules, n, generator).plan.with_steps for o, g in pairs])


def _pushed(rule: Rule, states: Tensor, by: Tensor) -> Tensor:
    """States moved `by` metres [...] out of a zone, or towards its edge, along the shortest way."""
    with torch.enable_grad():
        x = states.detach().requires_grad_()
        (slope,) = torch.autograd.grad(rule.depth(x).sum(), x)
    return states - by[..., None] * slope


def slowed(planner: Diffuser, plan: Plan, rules: Sequence[Rule]) -> Plan:
    """A plan whose candidates take as much more time as the limits of speed ask for.

    Time is stretched by f and velocities are divided by f: positions along the curve stay exactly what they are.
    """
    limits = [rule.limit for rule in rules if isinstance(rule, Speed)]
    if not limits:
        return plan
    n, fine = planner.n, 8  # points between two steps, so that the highest speed is not missed
    each = zip(plan.candidates.numpy(), plan.durations.tolist(), strict=True)
    curves = [interpolated(x, fine * T, planner.seconds_per_step / fine) for x, T in each]
    top = torch.tensor([float(np.linalg.norm(x[:, n : 2 * n], axis=1).max()) for x in curves])
    f = (top / (0.998 * min(limits))).clamp(min=1)
    x = torch.cat([plan.candidates[..., :n], plan.candidates[..., n:] / f[:, None, None]], -1)
    return replace(plan, candidates=x.float(), durations=plan.durations * f.float())


class Agent(Follower):
    """Follows the best candidate by a PD controller, and holds still where a plan is given up; options of `Follower`.

    rules: of all episodes, or a function (obs [2n], goal [n], seed) -> the rules of one, called once when it begins.
    """

    def __init__(self, model: Constrained, rules: Any = (), **options: Any):
        self.rules, self.idle = rules, False
        self.now: Sequence[Rule] = ()

        def route(obs: NDArray, goal: NDArray, seed: int) -> NDArray:
            judged = model.plan(obs, goal, self.now, generator=torch.Generator().manual_seed(seed))
            self.judged.append(judged)
            self.idle = judged.given_up and model.config.refuse
            return np.empty((0, 2 * model.planner.n)) if self.idle else judged.curves[0]

        super().__init__(route, **{"most": 10, **options})

    def reset(self, obs: ArrayLike, seeds: Sequence[int], goal: ArrayLike | None = None) -> None:
        self.held: dict[int, NDArray] = {}  # where the ball is held in each episode whose plan was given up
        self.refused, self.judged = np.zeros(len(seeds), int), list[Judged]()  # of all episodes, as they were asked for
        each = zip(np.asarray(obs, float), np.asarray(goal, float), seeds, strict=True)
        self.asked = [self.rules(*one) if callable(self.rules) else self.rules for one in each]
        super().reset(obs, seeds, goal)

    def extras(self, k: int) -> dict[str, Any]:
        return {**super().extras(k), "refused": int(self.refused[k])}

    def _ask(self, k: int, x: NDArray) -> None:
        self.now = self.asked[k]
        super()._ask(k, x)
        self.held.pop(k, None)
        if self.idle:
            self.held[k], self.refused[k] = np.r_[x[:2], 0, 0], self.refused[k] + 1

    def _target(self, k: int) -> NDArray:
        return self.held[k] if k in self.held else super()._target(k)


def train(
    episodes: Episodes,
    config: Config | None = None,
    *,
    planner: Diffuser,
    rules: Sequence[Rule],
    limit: int | None = None,
    seed: int = 0,
) -> Run:
    """The training of the classifier on whole drives of `episodes`, labelled by `rules`, as a generator; the planner is
    left as it is.

    Raises ValueError where all drives keep the rules, or none does: then a classifier has nothing to tell apart.
    """
    c, generator = config or Config(form="learned"), torch.Generator().manual_seed(seed)
    x, _ = drives(episodes, planner.config, int(episodes.lengths.max()) if limit is None else limit)
    safe = ~zones.broken(x[..., :-1], rules).any(-1)
    if bool(safe.all()) or not bool(safe.any()):
        raise ValueError(f"{int(safe.sum())} of {len(safe)} drives keep the rules: a classifier needs both kinds")
    model = seeded(seed, Constrained, c, asdict(planner.config), **planner.sizes)
    model.planner.load_state_dict(planner.state_dict())
    update = descend(
        lambda batch: model.loss(batch, generator), model.J, lr=c.lr, schedule=cosine_decay(c.updates), ema=c.ema
    )
    stage = Stage((update,), Batches({"x": x, "safe": safe.float()}, c.batch, generator), c.updates)
    return Run(model, stage, generator=generator, data=episodes, seed=seed, limit=limit)


def conformal(scores: ArrayLike, level: float = 0.9) -> float:
    """The split conformal margin: the ceil((n + 1) level)-th smallest of n scores (Vovk et al. 2005).

    A new score, exchangeable with these, is at most this large with probability `level` or more, in the mean over
    calibrations; given *one* calibration the coverage is a Beta(k, n + 1 - k) number. Infinite where n is too small.
    """
    s = np.sort(np.asarray(scores, float))
    if s.ndim != 1 or not len(s) or not 0 < level < 1:
        raise ValueError(f"a margin needs scores [n] with n >= 1 and a level in (0, 1), got {s.shape} and {level}")
    k = math.ceil((len(s) + 1) * level - 1e-9)
    return float(s[k - 1]) if k <= len(s) else math.inf
