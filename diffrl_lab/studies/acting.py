"""Few steps where actions are drawn: chunks of a policy in avoid, and windows of a planner of Hopper, parts of `fast`.

`chunks`: the diffusion and the flow policy of lesson 09 over chunks of 8 actions, from the same weights by each sampler
and number of evaluations: who arrives, on how many of the 24 ways, at which cost. `robot`: the guided planner of lesson
05b, each plan from noise: what it scores, and how far its plans are from those of 400 steps of the same noise. Both are
tables of `diffrl-lab study fast`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from diffrl_lab.analysis.intervals import iqm
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import windows
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import Denoiser, Step, ascend, ddim, given, heun, pin, sample
from diffrl_lab.files import ROOT
from diffrl_lab.methods.planning import receding
from diffrl_lab.methods.planning.receding import Receding
from diffrl_lab.methods.policies import chunks
from diffrl_lab.methods.policies.cloning import inputs
from diffrl_lab.methods.policies.diffusion_policy import DiffusionPolicy
from diffrl_lab.studies import imitation, robots
from diffrl_lab.studies.costs import STEPS, Counted, chain_of, in_turn
from diffrl_lab.worlds import avoid
from diffrl_lab.worlds.robots import normalised_score

RUNS = ROOT / "runs" / "fast"
VERSION = "1"  # of what the study's functions call
EVALUATIONS = (1, 2, 3, 5, 10, 20, 100)
LONG = ("ddpm", "ddim")  # whose longest chain is measured, too
CHUNK = 8  # actions drawn together in avoid, all of which are done before the next look
ROBOT, WALKED = "hopper", (1, 2, 3, 5, 10, 20)
STATES = 200  # held-out states whose plans are compared


def spent(once: Any, whole: Any, cost: int) -> dict[str, float]:
    """What a draw of so many evaluations takes: ms, the median of this thread's milliseconds, and ratio, that over a
    forward pass of the same network, taken in turn."""
    found = {k: float(np.median(v)) for k, v in in_turn({"network": once, "draw": whole}, max(3, 60 // cost)).items()}
    return {"ms": found["draw"], "ratio": found["draw"] / found["network"]}


# ---------------------------------------------------------------------------------------------------- chunks, in avoid
class Drawer:
    """Chunks of a policy, drawn by `steps` steps of a sampler. generator: of the noise that a step draws. evaluations:
    how often the network was asked; draws: how many batches of chunks that were."""

    def __init__(self, model: DiffusionPolicy, steps: int, step: Step, generator: torch.Generator):
        self.model, self.steps, self.step, self.generator = model, steps, step, generator
        self.sizes, self.evaluations, self.draws = model.sizes, 0, 0

    @torch.no_grad()
    def sample(self, obs: ArrayLike, goal: None = None, *, generator: chunks.Generators = None) -> Tensor:
        """One chunk for each state obs [B, d], in units, from noise of the state's own. -> [B, 1, H, a]"""
        model, cond = self.model, inputs(self.model.scaler, obs, goal, 0)
        shape = model.config.chunk, self.sizes["act"]
        D = Counted(given(model.denoiser, cond))
        x_T = chunks.drawn(D.schedule.prior, len(cond), 1, shape[0] * shape[1], generator=generator).flatten(0, 1)
        x = sample(D, x_T, steps=self.steps, step=self.step, generator=self.generator)
        self.evaluations, self.draws = self.evaluations + D.n, self.draws + 1
        return model.act_scaler.inverse(x.view(len(cond), 1, *shape))


def drawn(arm: str, sampler: str, evaluations: int, *, seed: int) -> dict[str, Any]:
    """A policy over chunks in avoid, as `imitation.driven` has it, by a sampler; training and noise have one seed.

    What `imitation.scores` counts; cost: evaluations for a chunk; ms, ratio: of the chunk of one state.
    """
    model = imitation.learned("avoid", arm, CHUNK, seed)
    steps, step = chain_of(sampler, evaluations)
    drawer = Drawer(model, steps, step, torch.Generator().manual_seed(seed))
    agent = chunks.Receding(drawer, CHUNK)
    found = imitation.scores(avoid.roll(agent, range(imitation.EPISODES)), imitation.UNIFORM)
    cost = drawer.evaluations // drawer.draws
    obs, g = np.zeros((1, 2)), torch.Generator().manual_seed(seed)
    D, x = given(model.denoiser, inputs(model.scaler, obs, None, 0)), torch.randn(1, 2 * CHUNK, generator=g)
    with torch.no_grad():
        once, whole = partial(D, x, torch.tensor(0.5)), partial(drawer.sample, obs, generator=g)
        costs = spent(once, whole, cost)
    return found | {"cost": cost} | costs | {"training": model.about["seconds"]}


# --------------------------------------------------------------------------------------------------- windows of Hopper
def scale() -> float:
    """The scale of guidance that was tuned for the table of robots."""
    tuned = Table.load(shipped("results/locomotion.json")).about["tuning"]
    return next(row["option"]["scale"] for row in tuned if (row["name"], row["method"]) == (ROBOT, "guided"))


def guided(model: Receding, obs: Tensor, n: int, w: float) -> tuple[Denoiser, Tensor, Tensor]:
    """The denoiser of n windows from each state obs [B, d], guided with scale w; which entries it is given, and their
    values, scaled. -> D, known [H, a + d], value [B n, H, a + d]"""
    known, a = model.known, model.sizes["act"]
    value = torch.zeros(len(obs), *known.shape)
    value[:, 0, a:] = model.scaler[a:](obs)
    value = value.repeat_interleave(n, 0)
    D: Denoiser = given(model.denoiser, {"known": known.expand(value.shape)})
    return ascend(D, model.J, w) if w else D, known, value


@torch.no_grad()
def plans(
    model: Receding, obs: Tensor, x_T: Tensor, steps: int, step: Step, g: torch.Generator, w: float | None = None
) -> tuple[Tensor, int]:
    """Windows from noise x_T [B, n, H, a + d] for states obs [B, d], scaled, and how many evaluations that took. w: of
    the guidance; the tuned scale unless given."""
    D, known, value = guided(model, obs, x_T.shape[1], float(scale()) if w is None else w)
    counted = Counted(D)
    x = sample(pin(counted, known, value), x_T.flatten(0, 1), steps=steps, step=step, generator=g)
    return torch.where(known, value, x).unflatten(0, x_T.shape[:2]), counted.n


class Walker(receding.Agent):
    """Plans as the planner does, guided (`plans`' w) and by choice, but each time from noise, by `steps` steps of a
    sampler."""

    def __init__(self, model: Receding, steps: int, step: Step, seed: int, w: float | None = None):
        super().__init__(model)
        self.steps, self.stepping, self.w, self.noise = steps, step, w, torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def plan(self, obs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        shape = self.config.candidates, *self.model.known.shape
        x_T = torch.stack([torch.randn(shape, generator=self.generators[i]) for i in rows.tolist()])
        x, _ = plans(self.model, obs, x_T, self.steps, self.stepping, self.noise, self.w)
        return x, self.model.J(x.flatten(0, 1), torch.tensor(0.0)).unflatten(0, x.shape[:2])


@lru_cache(maxsize=1)
def states() -> Tensor:
    """STATES observations of held-out episodes. -> [STATES, d]"""
    held = robots.data(ROBOT, "test")
    rows = windows(held, 2)[:, 0]
    return held.obs[rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:STATES]]].float()


def noise(model: Receding, seed: int) -> Tensor:
    """What the plans that are compared begin with. -> [STATES, 1, H, a + d]"""
    return torch.randn(STATES, 1, *model.known.shape, generator=torch.Generator().manual_seed(seed))


@lru_cache(maxsize=2)
def fine(seed: int) -> Tensor:
    """The plans of 400 steps of DDIM, scaled. -> [STATES, 1, H, a + d]"""
    model, _ = robots.planner(ROBOT, seed)
    return plans(model, states(), noise(model, seed), 400, ddim(), torch.Generator())[0]


def walk(sampler: str, evaluations: int, *, seed: int) -> dict[str, Any]:
    """The guided planner of Hopper by a sampler, from the same weights. sampler: one of STEPS; "as tuned": from the
    last plan, as in the table of robots; "floor": 398 evaluations of Heun's, which nobody drives.

    score: IQM of the normalised scores of one episode for each of `robots.STARTS`, its interval over these episodes;
    length: mean, in steps; off: root mean square distance of a plan's entries to the plan of 400 steps of DDIM of the
    same noise, in deviations of the data, median over STATES; first: of the first action alone; ms, ratio: of the 16
    guided plans of one state, in forward passes of the network without guidance.
    """
    model, cpu = robots.planner(ROBOT, seed)
    found: dict[str, Any] = dict.fromkeys(("score", "score_interval", "scores", "length", "off", "first"))
    g = torch.Generator().manual_seed(seed)
    steps, step = (200, heun()) if sampler == "floor" else (1, ddim()) if sampler == "as tuned" else chain_of(
        sampler, evaluations
    )  # fmt: skip
    if sampler != "floor":
        agent = receding.Agent(model, scale=scale()) if sampler == "as tuned" else Walker(model, steps, step, seed)
        R, L = robots.together(ROBOT, agent, robots.STARTS)
        scores = normalised_score(ROBOT, R)
        found |= {"score": float(iqm(scores)), "score_interval": robots.interval([scores]), "length": float(L.mean())}
        found |= {"scores": [round(float(v), 2) for v in scores]}
    if sampler == "as tuned":
        return found | {"cost": evaluations, "ms": None, "ratio": None, "training": cpu}
    with torch.no_grad():
        x, cost = plans(model, states(), noise(model, seed), steps, step, g)
        if sampler != "ddpm":
            a, off = model.sizes["act"], (x - fine(seed))[:, 0]
            found["off"] = float(off.square()[:, ~model.known].mean(1).sqrt().median())
            found["first"] = float(off[:, 0, :a].square().mean(1).sqrt().median())
        one, x_T = states()[:1], torch.randn(1, model.config.candidates, *model.known.shape, generator=g)
        D = given(model.denoiser, {"known": model.known.expand(x_T[0].shape)})
        once, whole = partial(D, x_T[0], torch.tensor(0.5)), partial(plans, model, one, x_T, steps, step, g)
        return found | {"cost": cost, "training": cpu} | spent(once, whole, cost)


def unguided(sampler: str, evaluations: int, *, seed: int) -> dict[str, Any]:
    """What `walk` scores where nothing guides the plans; the one of the highest J is chosen all the same."""
    model, cpu = robots.planner(ROBOT, seed)
    R, L = robots.together(ROBOT, Walker(model, *chain_of(sampler, evaluations), seed, 0.0), robots.STARTS)
    scores = normalised_score(ROBOT, R)
    found = {"score": float(iqm(scores)), "score_interval": robots.interval([scores]), "length": float(L.mean())}
    return found | {"scores": [round(float(v), 2) for v in scores], "cost": evaluations, "training": cpu}


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each arm of `robot`: IQM of all scores and its interval (`robots.interval`: trainings drawn anew, then
    episodes within each), the means of what else was measured, and how many trainings there are."""
    by: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        by.setdefault((row["plans"], row["sampler"], row["evaluations"]), []).append(row)
    found: list[dict[str, Any]] = []
    for (kind, sampler, evaluations), same in by.items():
        line: dict[str, Any] = {"plans": kind, "sampler": sampler, "evaluations": evaluations, "seeds": len(same)}
        for column in ("length", "off", "first", "ms", "ratio"):
            values = [row[column] for row in same if row.get(column) is not None]
            line[column] = float(np.mean(values)) if values else None
        scores = [row["scores"] for row in same if row["scores"] is not None]
        line["score"] = float(iqm(scores)) if scores else None
        found.append(line | ({"score_interval": robots.interval(scores)} if scores else {}))
    return found


# ----------------------------------------------------------------------------------------------------------- the parts
def lengths(sampler: str) -> list[int]:
    """The numbers of evaluations that a sampler is measured at."""
    return [n for n in EVALUATIONS if (sampler != "heun" or n == 1 or n % 2 == 0) and (sampler in LONG or n <= 20)]


def chunked(seeds: Sequence[int]) -> Table:
    """The points of `chunks`. A flow policy's Euler step is DDIM."""
    arms = [("diffusion", s) for s in STEPS] + [("flow", "ddim")]
    grid = [{"arm": arm, "sampler": s, "evaluations": n} for arm, s in arms for n in lengths(s)]
    return run_grid(drawn, grid, seeds=seeds, cache=RUNS, version=VERSION)


def walked(seeds: Sequence[int]) -> Table:
    """The points of `robot`, guided and not."""
    arms = [("ddim", n) for n in WALKED] + [("ddpm", 20), ("as tuned", 4), ("floor", 398)]
    grid = [{"sampler": s, "evaluations": n} for s, n in arms]
    plain = [{"sampler": "ddim", "evaluations": n} for n in WALKED]
    tables = [run_grid(f, g, seeds=seeds, cache=RUNS, version=VERSION) for f, g in ((walk, grid), (unguided, plain))]
    joined = Table.joined(tables)
    kind = ["guided"] * len(tables[0].rows) + ["not guided"] * len(tables[1].rows)
    rows = [{"plans": k} | row for k, row in zip(kind, joined.rows, strict=True)]
    return Table(rows, joined.about | {"summary": summary(rows)})


def training(seeds: Sequence[int]) -> float:
    """Train the policies. -> CPU hours"""
    each = [imitation.learned("avoid", arm, CHUNK, s) for s in seeds for arm in ("diffusion", "flow")]
    return sum(model.about["seconds"] for model in each) / 3600


def training_robot(seeds: Sequence[int]) -> float:
    """Train the planner of Hopper. -> CPU hours"""
    return sum(robots.planner(ROBOT, s)[1] for s in seeds) / 3600
