"""Check 1: clouds of plans of one backbone under each form of guidance, in numbers and driven."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffrl_lab.analysis import modes
from diffrl_lab.diffusion import Denoiser, ascend, cfg, ddpm, given, pin
from diffrl_lab.methods.guides import log_p, tilted_shares
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.methods.planning.plans import Plan
from diffrl_lab.methods.planning.value_guidance import scaled
from diffrl_lab.studies.guidance.models import WORLDS, classifier, data, ends, models
from diffrl_lab.studies.study import Tensors
from diffrl_lab.worlds.driving import Follower, drive
from diffrl_lab.worlds.mazes import EPISODE_STEPS, make_maze
from diffrl_lab.worlds.walls import REACHED, Walls

SCALES = [0, 0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8]
FINER = [0.02, 0.05, 0.1, 0.15, 0.2]  # more of them for `cfg`, which has lost a mode at 0.25
QUERY = {"two-ways": ((0.0, 1.5), (0.0, -1.5)), "umaze": ((-1.0, 1.0), (-1.0, -1.0))}
STEPS = 1 - torch.linspace(0, 1, 25, dtype=torch.float64) ** 1.7  # 24 steps, most of them where a mode is decided
ASKED = 0.95  # quantile of the recorded returns that the condition asks for


def denoiser(world: str, form: str, scale: float | Tensor, seed: int, n: int) -> tuple[Denoiser, Tensor, Tensor]:
    """A form of guidance at a scale around one backbone, for n plans of the world's query: (D, known, value)."""
    dd, value_guide, energy = models(world, seed)
    start, goal = QUERY[WORLDS[world][0]]
    known, value = dd.planner.ends(np.r_[start, 0, 0], goal)
    known = ends(world, value)
    free = given(dd.planner.denoiser, {"known": known})
    if form == "cfg":
        R = data(world)[2]
        asked = dd.y_scaler(R.quantile(ASKED)[None])
        cond = {"known": known.expand(n, *known.shape), "y": asked.expand(n, 1)}
        return pin(cfg(dd.planner.denoiser, cond, scale, drop=("y",)), known, value), known, value
    if form not in ("value", "energy", "classifier"):
        raise ValueError(f"no form {form!r}")
    J = {"value": value_guide, "energy": energy}.get(form) or log_p(classifier(world, seed), 1)
    return pin(ascend(free, J, scale), known, value), known, value


def cloud(world: str, form: str, scale: float, seed: int, n: int = 128) -> Plan:
    """n plans by deterministic DDIM, from the same noise at every scale and for every form."""
    planner = models(world, seed)[0].planner
    D, known, value = denoiser(world, form, scale, seed, n)
    with torch.no_grad():
        return planner.drawn(D, known, value, n, STEPS, torch.Generator().manual_seed(10_000 + seed))


def plan_returns(plan: Plan, planner: Diffuser, maze: str) -> np.ndarray:
    """What each candidate would return up to the time limit if it were driven exactly, its last point being the goal,
    and then held. -> [n]"""
    limit, returns = EPISODE_STEPS[maze], []
    for k in range(len(plan.candidates)):
        duration = float(plan.durations[k])
        if not np.isfinite(duration) or not bool(plan.candidates[k].isfinite().all()):
            returns.append(np.nan)
            continue
        T = int(min(max(round(duration), 1), limit))
        p = planner.reference(plan, k)[1 : T + 1, :2] if duration < 10 * limit else plan.candidates[k, :1, :2].numpy()
        p = np.concatenate([p, np.repeat(p[-1:], limit - len(p), 0)]) if len(p) < limit else p[:limit]
        toll = 0.5 * ((p[:, 0] > 1.5) & (np.abs(p[:, 1]) < 1)) if maze == "two-ways" else 0.0
        returns.append(float(((np.linalg.norm(p - p[-1], axis=1) <= REACHED) - toll).sum()))
    return np.array(returns)


@lru_cache(maxsize=4)
def region(world: str) -> tuple[modes.Centres, np.ndarray, Tensor, Tensor, Tensor, float]:
    """Of a world's recorded drives along the query: centres of its modes and their radii in scaled plans, the modes'
    mean paths, labels, returns, scaled positions and durations."""
    _, x, R = data(world)
    maze = WORLDS[world][0]
    start, goal = (torch.tensor(q) for q in QUERY[maze])
    near = ((x[:, 0, :2] - start).norm(dim=1) < 0.6) & ((x[:, -1, :2] - goal).norm(dim=1) < 0.6)
    x, R = x[near], R[near]
    labels = torch.zeros(len(x), dtype=torch.long)
    if maze == "two-ways":
        labels = (x[:, x.shape[1] // 2, 0] > 0).long()  # 0 left, 1 right
    centres = modes.Centres.of(x[..., :2], labels)
    paths = torch.stack([x[labels == k, :, :2].mean(0) for k in range(int(labels.max()) + 1)])
    return centres, paths.numpy(), labels, R, x, float(x[:, 0, -1].exp().mean())


def plans(world: str, form: str, scale: float, *, seed: int) -> dict[str, Any]:
    """One point of the diversity table: 128 plans of one backbone at one scale of one form.

    invalid: share with over 0.2 m in walls. off: share outside the 99 % radius of each mode of the data. left, entropy,
    coverage: of the valid ones (coverage: modes with over 5 %). over: metres by which the valid left plans' mean path
    lies off the left mode's. spread: mean distance per point between two plans of one mode; distance: of any two.
    """
    maze = WORLDS[world][0]
    walls = Walls.named(maze)
    plan = cloud(world, form, scale, seed)
    planner = models(world, seed)[0].planner
    p = plan.candidates[..., :2]
    K = 2 if maze == "two-ways" else 1
    words = modes.homotopy(p.numpy(), walls)
    labels = modes.numbered(words, [(1,), ()] if K == 2 else [()])
    centres, paths, *_ = region(world)
    off = float((centres(torch.nan_to_num(p, 1e3)) < 0).double().mean())
    returns, J = plan_returns(plan, planner, maze), _values(world, seed, plan)
    shares = modes.shares(labels, K)
    ok = labels == 0
    over = float(np.linalg.norm(p[ok].numpy().mean(0) - paths[0], axis=-1).mean()) if ok.any() else None
    n = len(p)
    pair = torch.cdist(p.flatten(1), p.flatten(1)) / p.shape[1] ** 0.5
    same = torch.as_tensor(labels)[:, None] == torch.as_tensor(labels)[None]
    same &= torch.as_tensor(labels)[:, None] >= 0
    same.fill_diagonal_(False)
    return {
        "left": float(shares.share[0]) if np.isfinite(shares.share[0]) else None,
        "left_interval": [float(v) for v in shares.interval[0]],
        "entropy": modes.entropy(labels, K) if (labels >= 0).any() else None,
        "coverage": modes.coverage(labels, K, 0.05),
        "invalid": float(shares.left),
        "invalid_interval": [float(v) for v in shares.left_interval],
        "off": off,
        "over": over,
        "distance": float(pair.sum() / (n * (n - 1))),
        "spread": float(pair[same].mean()) if same.any() else None,
        "return": float(np.nanmean(returns)),
        "return_se": float(np.nanstd(returns) / n**0.5),
        "valid_return": float(np.nanmean(returns[labels >= 0])) if (labels >= 0).any() else None,
        "value": float(J.mean()),
        "duration": float(plan.durations.median()),
    }


def _values(world: str, seed: int, plan: Plan) -> Tensor:
    dd, value, _ = models(world, seed)
    with torch.no_grad():
        return value(scaled(dd.planner, plan), 0.0)


def law(world: str) -> dict[str, Any]:
    """What is exact: the recorded share of left, and shares and mean return under weights exp(scale R) on the data."""
    centres, paths, labels, R, x, duration = region(world)
    K, r = len(paths), (R - data(world)[2].mean()) / data(world)[2].std()
    tilted = []
    for s in SCALES:
        w = (s * r.double()).softmax(0)
        tilted.append(
            {
                "scale": s,
                "left": float(tilted_shares(r, labels, K, s)[0]),
                "return": float((w * R).sum()),
                "effective": float(1 / (w**2).sum()),
            }
        )
    pair = torch.cdist(x[..., :2].flatten(1), x[..., :2].flatten(1)) / x.shape[1] ** 0.5
    n = len(x)
    return {
        "world": world,
        "drives": n,
        "left": float((labels == 0).double().mean()),
        "return": float(R.mean()),
        "return_left": float(R[labels == 0].mean()),
        "return_right": float(R[labels == 1].mean()) if K == 2 else None,
        "asked": float(data(world)[2].quantile(ASKED)),
        "distance": float(pair.sum() / (n * (n - 1))),
        "duration": duration,
        "tilted": tilted,
    }


def driven(world: str, form: str, scale: float, *, seed: int, episodes: int = 20) -> dict[str, Any]:
    """Returns in the environment of single plans of one form at one scale, followed by the PD controller, not ranked
    and not planned again; environment seeds 1000 + 100 seed and on, the same for every form and scale."""
    maze = WORLDS[world][0]
    planner = models(world, seed)[0].planner

    def route(obs: np.ndarray, goal: np.ndarray, number: int) -> np.ndarray:
        D, known, value = denoiser(world, form, scale, seed, 1)
        with torch.no_grad():
            plan = planner.drawn(D, known, value, 1, STEPS, torch.Generator().manual_seed(number))
        duration = float(plan.durations[0])
        return planner.reference(plan, 0) if 1 <= duration < 1000 else np.r_[obs[:2], 0, 0][None]

    env = make_maze(maze)
    first = 1000 + 100 * seed
    rows = drive([env], Follower(route, again=False), range(first, first + episodes))
    env.close()
    return {
        "returns": [float(e.rew.sum()) for e in rows],
        "reached": float(np.mean([e.reached for e in rows])),
    }


def asked(world: str, w: float, quantile: float, temperature: float, *, seed: int) -> dict[str, Any]:
    """Decision Diffuser asked for a quantile of the recorded returns: what 128 plans would return."""
    maze = WORLDS[world][0]
    dd, R = models(world, seed)[0], data(world)[2]
    want, n = float(R.quantile(quantile)), 128
    known = torch.zeros(dd.planner.horizon, len(dd.planner.scaler.center), dtype=torch.bool)
    D = dd.denoiser(want, known, torch.zeros(known.shape), n, w)
    g = torch.Generator().manual_seed(20_000 + seed)
    with torch.no_grad():
        plan = dd.planner.drawn(D, known, torch.zeros(known.shape), n, STEPS, g, step=ddpm(temperature))
    got = plan_returns(plan, dd.planner, maze)
    return {
        "want": want,
        "got": float(np.nanmean(got)),
        "error": float(np.nanmean(np.abs(got - want))),
        "error_se": float(np.nanstd(np.abs(got - want)) / len(got) ** 0.5),
        "sd": float(np.nanstd(got)),
    }


def fine(seeds: Sequence[int], world: str = "two-ways-p50", n: int = 48) -> Tensors:
    """The grid behind the lesson's slider: 33 scales x 48 plans x 32 points in metres for each form, float16, of the
    first training seed."""
    seed = seeds[0]
    scales = torch.linspace(0, 8, 33)
    tensors: dict[str, Tensor] = {"scales": scales}
    maze = WORLDS[world][0]
    for form in ("cfg", "value", "energy"):
        paths, labels, returns = [], [], []
        for s in scales.tolist():
            plan = cloud(world, form, s, seed, n)
            p = plan.candidates[..., :2].nan_to_num().clamp(-9, 9)
            paths.append(p.half())
            words = modes.homotopy(p.numpy(), Walls.named(maze))
            labels.append(torch.as_tensor(modes.numbered(words, [(1,), ()])).to(torch.int8))
            values = plan_returns(plan, models(world, seed)[0].planner, maze)
            returns.append(torch.as_tensor(values).half())
        tensors |= {
            f"{form}.plans": torch.stack(paths),
            f"{form}.labels": torch.stack(labels),
            f"{form}.returns": torch.stack(returns),
        }
    about = {"world": world, "seed": seed, "labels": "0 left, 1 right, -1 through a wall"}
    return {f"results/guidance-{world}.safetensors": (tensors, about)}
