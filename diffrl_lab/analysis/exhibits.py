"""The exhibits of the museum: the survey's four failure signatures, and bugs that public projects had.

Nothing here is trained. Denoisers are exact (`MixtureDenoiser`), curves come from closed forms, and each failure is
what its project's code does. An exhibit takes ten lines: a function that makes its evidence, a detector, and
`ROOM.add(name, make, detector, sign=..., number=..., project=..., cure=...)`. A detector sees the evidence and nothing
else; its thresholds lie between what healthy sets of this size show by chance and what the failure shows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from diffrl_lab.analysis.museum import Evidence, Panel, Room
from diffrl_lab.analysis.samples import real
from diffrl_lab.diffusion.denoisers import Denoiser, Function, GaussianDenoiser, MixtureDenoiser
from diffrl_lab.diffusion.guidance import ascend, clip
from diffrl_lab.diffusion.samplers import Step, chain, ddim, ddpm, heun, sample
from diffrl_lab.diffusion.schedules import Cosine, Karras, Schedule

# ------------------------------------------------------------------------------------------------------------- samples
N, START = 2000, 5.0
VARIANCE = 0.25 * 1.6**2 + 0.75 * 0.55**2 - (0.75 * 0.55 - 0.25 * 1.6) ** 2 + 0.15**2  # of the data
SPLIT = -0.5  # between the two modes


def modes(schedule: Schedule) -> MixtureDenoiser:
    """The exact denoiser of the room of samples: a quarter at -1.6, the rest at 0.55, each with deviation 0.15."""
    return MixtureDenoiser([0.25, 0.75], [[-1.6], [0.55]], schedule, std=0.15)


KARRAS, COSINE = modes(Karras(0.02, START)), modes(Cosine())


def drawn(D: Denoiser, g: torch.Generator, step: Step, steps: Any = 20, start: float | None = None) -> Evidence:
    """N samples of a chain, as many rows of data, and the spread of x_t along the chain over the exact one."""
    x_T = (D.schedule.prior_std if start is None else start) * torch.randn(N, 1, generator=g)
    frames = list(chain(D, x_T, steps=steps, step=step, generator=g))
    alpha, sigma = (torch.stack(level) for level in zip(*(D.schedule(f.t) for f in frames), strict=True))
    wanted = torch.sqrt(alpha**2 * VARIANCE + sigma**2)
    spread = torch.stack([f.x_t.double().std() for f in frames]) / wanted
    return {
        "samples": frames[-1].x_t[:, 0], "data": KARRAS.sample(N, g)[:, 0],
        "done": torch.linspace(0, 1, len(frames)), "spread": spread, "exact": torch.ones(len(frames)),
    }  # fmt: skip


def minor(x: Tensor) -> float:
    """The share of samples [n] in the smaller mode."""
    return float((real("x", x) < SPLIT).double().mean())


def within(x: Tensor) -> float:
    """The deviation of samples [n] within their modes, pooled over both."""
    x = real("x", x).detach().double()
    parts = [x[x < SPLIT], x[x >= SPLIT]]
    return math.sqrt(sum(float((p - p.mean()).square().sum()) for p in parts if len(p)) / len(x))


def width(e: Evidence) -> float:
    """The deviation within the modes, over that of the data."""
    return within(e["samples"]) / within(e["data"])


def pile(x: Tensor) -> float:
    """The share of samples [n] that lie on their own smallest or largest value."""
    x = real("x", x).double()
    return float((torch.minimum(x - x.min(), x.max() - x) < 1e-3).double().mean())


def plain(e: Evidence) -> bool:
    """A chain that began as noise should, and samples that do not pile up at a bound."""
    return bool(e["spread"][0] > 0.7) and pile(e["samples"]) < 0.05


SAMPLES = Room(
    "samples",
    lambda g: drawn(KARRAS, g, heun()),
    [
        Panel("histogram", ("data", "samples"), title="Samples", xlabel="x", ylabel="share"),
        Panel(
            "lines",
            ("spread",),
            "done",
            ("exact",),
            "Along the chain",
            "part of the chain that is done",
            "spread of x_t / exact",
            least=(0, 1.3),
        ),
    ],
)


def _two_m(D: Denoiser, x: Tensor, t: Tensor, s: Tensor, state: Any = None, generator: Any = None) -> tuple:
    """DPM-Solver++(2M) that keeps order 2 in its last step, where h is large."""
    (a_t, s_t), (a_s, s_s) = D.schedule(t), D.schedule(s)
    h, x0 = torch.log(a_s / s_s) - torch.log(a_t / s_t), D(x, t)
    corrected = x0 if state is None else x0 + h / (2 * state[1]) * (x0 - state[0])
    return (s_s / s_t * x - a_s * torch.expm1(-h) * corrected).to(x), x0, (x0, h)


SAMPLES.add(
    "guidance too strong",
    lambda g: drawn(ascend(COSINE, lambda x, t: -(x - 0.9).square().sum(-1), 1.0, at="x0_hat"), g, ddim()),
    lambda e: plain(e) and minor(e["samples"]) < 0.02,
    sign="one mode is left",
    number="share of the smaller mode, beside the data's",
    project="the survey's signature 2: guidance over-constrains generation",
    cure="a smaller scale; plot share against scale",
)
SAMPLES.add(
    "start too small",
    lambda g: drawn(KARRAS, g, heun(), start=1.0),
    lambda e: bool(e["spread"][0] < 0.7),
    sign="a mode is missing, and the chain begins too narrow",
    number="spread of x_T over the schedule's",
    project="DIAMOND: noise of deviation 1 where the schedule begins at 5",
    cure="x_T = sigma_max times noise",
)
SAMPLES.add(
    "clipped below the data",
    lambda g: drawn(clip(KARRAS, -1, 1), g, heun()),
    lambda e: bool(e["spread"][0] > 0.7) and pile(e["samples"]) > 0.05,
    sign="samples pile up on a bound",
    number="share of samples on their own minimum or maximum",
    project="innate-os (pull request 474): a scheduler clips at 1, and the actions are z-scored",
    cure="clip at the data's bounds, or scale to them",
)
SAMPLES.add(
    "half the deviation",
    lambda g: drawn(COSINE, g, ddpm(0.5), steps=50),
    lambda e: plain(e) and width(e) < 0.8 and minor(e["samples"]) > 0.02,
    sign="both modes are there, each too narrow",
    number="deviation within modes over the data's",
    project="Decision Diffuser: the paper scales the variance by 0.5, the code the deviation",
    cure="multiply by the root",
)
SAMPLES.add(
    "second order to the end",
    lambda g: drawn(COSINE, g, _two_m, steps=torch.linspace(1, 0.002, 21, dtype=torch.float64)),
    lambda e: plain(e) and width(e) > 1.1,
    sign="both modes are there, each too wide",
    number="deviation within modes over the data's",
    project="CleanDiffuser: DPM-Solver++(2M) does not drop to order 1 in its last step",
    cure="order 1 in the last step",
)

# --------------------------------------------------------------------------------------------------------------- plans
H, DT, ASKED = 32, 0.1, 1.0


def _motion() -> Tensor:
    """Covariance [2H, 2H] of plans [H, 2]: x_{k+1} = x_k + dt v_k, v_{k+1} = 0.9 v_k + noise, x_0 and v_0 ~ N(0, 1)."""
    v, x = torch.zeros(H, H + 2, dtype=torch.float64), torch.zeros(H, H + 2, dtype=torch.float64)
    x[0, 0] = v[0, 1] = 1
    for k in range(H - 1):
        x[k + 1] = x[k] + DT * v[k]
        v[k + 1] = 0.9 * v[k]
        v[k + 1, k + 2] = math.sqrt(1 - 0.9**2)
    A = torch.stack([x, v], 1).reshape(2 * H, -1)
    return A @ A.mT + 1e-6 * torch.eye(2 * H, dtype=torch.float64)


MOTION = GaussianDenoiser(torch.zeros(H, 2), Cosine(), cov=_motion())
KNOWN = torch.zeros(H, 2, dtype=torch.bool)
KNOWN[0, 0] = True
FROM_START = MOTION.condition(KNOWN, ASKED * KNOWN)
PLANS_N = 300


def _exactly() -> tuple[Tensor, Tensor]:
    """The exact deviation of the positions [H], and of what positions and velocities differ by at each step [H - 1]."""
    cov = FROM_START.cov[0].reshape(H, 2, H, 2)
    off = torch.zeros(H - 1, H, 2, dtype=torch.float64)
    k = torch.arange(H - 1)
    off[k, k + 1, 0], off[k, k, 0], off[k, k, 1] = 1, -1, -DT
    return cov[:, 0, :, 0].diagonal().sqrt(), torch.einsum("khi,hijl,kjl->k", off, cov, off).sqrt()


EXACT = _exactly()


def _planned(plans: Tensor) -> Evidence:
    """Plans [n, H, 2] of positions and velocities, how they vary, and how far both disagree at each step."""
    return {
        "plans": plans, "position": plans[:30, :, 0],
        "every step": torch.arange(1.0 * H), "step": torch.arange(H - 1.0),
        "plans vary": plans[..., 0].std(0), "exact spread": EXACT[0],
        "residual": residual(plans), "exact residual": EXACT[1],
    }  # fmt: skip


def residual(plans: Tensor) -> Tensor:
    """How far positions and velocities of plans [n, H, 2] disagree at each step, root mean square -> [H - 1]"""
    plans = real("plans", plans).double()
    off = plans[:, 1:, 0] - plans[:, :-1, 0] - DT * plans[:, :-1, 1]
    return off.square().mean(0).sqrt()


def varies(e: Evidence) -> float:
    """The deviation from plan to plan at the last step, over the exact one."""
    return float(e["plans vary"][-1] / e["exact spread"][-1])


def off(e: Evidence) -> tuple[float, float]:
    """The residual of the last eight steps, in the units of the plan, and over that of the first eight."""
    early, late = float(e["residual"][:8].mean()), float(e["residual"][-8:].mean())
    return late, late / early


def starts(e: Evidence) -> bool:
    """Whether plans start where they were asked to."""
    return float((e["plans"][:, 0, 0] - ASKED).abs().mean()) < 0.1


def _plan(g: torch.Generator, D: Denoiser = FROM_START, step: Step | None = None) -> Tensor:
    return sample(D, torch.randn(PLANS_N, H, 2, generator=g), steps=25, step=step or ddim(), generator=g)


def _compounded(g: torch.Generator) -> Evidence:
    """Each step builds on the one before it, and so does its error."""
    plans, e = _plan(g), torch.zeros(PLANS_N)
    for k in range(1, H):
        e = 1.15 * e + 0.01 * torch.randn(PLANS_N, generator=g)
        plans[:, k, 0] += e
    return _planned(plans)


def _overwritten(x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
    """The start is written into the predicted noise, not into x_0."""
    alpha, sigma = (level.to(x_t) for level in MOTION.schedule(t))
    eps = (x_t - alpha * MOTION(x_t, t)) / sigma
    return (x_t - sigma * torch.where(KNOWN, ASKED * KNOWN.to(x_t), eps)) / alpha.clamp(min=1e-3)


def _mixed(g: torch.Generator) -> Evidence:
    """Positions of one plan with the velocities of another: each right by itself."""
    a, b = _plan(g), _plan(g)
    return _planned(torch.stack([a[..., 0], b[..., 1]], -1))


PLANS = Room(
    "plans",
    lambda g: _planned(_plan(g)),
    [
        Panel("paths", ("position",), "every step", (), "Asked to start at 1", "step", "position"),
        Panel("lines", ("plans vary",), "every step", ("exact spread",), "From plan to plan", "step", "deviation"),
        Panel(
            "lines",
            ("residual",),
            "step",
            ("exact residual",),
            "Against its velocities",
            "step",
            "residual",
            least=(0, 0.05),
        ),
    ],
)
PLANS.add(
    "plans that vary too much",
    lambda g: _planned(_plan(g, step=ddpm(1.8))),
    lambda e: starts(e) and off(e)[0] < 0.02 and varies(e) > 1.3,
    sign="plans fan out more than the exact ones",
    number="deviation from plan to plan over the exact one",
    project="the survey's signature 1: high variance across samples",
    cure="a lower temperature, or more steps",
)
PLANS.add(
    "errors that compound",
    _compounded,
    lambda e: starts(e) and off(e)[0] > 0.02 and off(e)[1] > 3,
    sign="late steps are jagged",
    number="residual late over early",
    project="the survey's signature 3: errors compound over a long horizon",
    cure="shorter chunks, replanning",
)
PLANS.add(
    "plans without dynamics",
    _mixed,
    lambda e: starts(e) and off(e)[0] > 0.02 and off(e)[1] < 3,
    sign="positions look right, and velocities contradict them",
    number="residual of a step, alike early and late",
    project="the survey's signature 4: plans do not match the dynamics",
    cure="denoise both together",
)
PLANS.add(
    "start written into the noise",
    lambda g: _planned(_plan(g, clip(Function(_overwritten, MOTION.schedule), -3, 3))),
    lambda e: not starts(e),
    sign="plans start anywhere",
    number="distance of the first step from what was asked",
    project="users of Diffuser (issue 67): conditions overwrite predicted noise",
    cure="write into x_0, after each step",
)

# ---------------------------------------------------------------------------------------------------------------- data
EPISODES, WINDOW = 12, 16


def _recorded(g: torch.Generator) -> list[Tensor]:
    """Episodes [L, 4] of different lengths: two smooth columns around 0.2, one of six times the unit, one constant."""
    episodes = []
    for length in torch.randint(30, 60, (EPISODES,), generator=g).tolist():
        u = torch.linspace(0, 1, length)[:, None]
        turn, phase = 1 + torch.rand(3, generator=g), 6.28 * torch.rand(3, generator=g)
        moved = torch.sin(4 * turn * u + phase) * torch.tensor([0.5, 0.5, 3.0]) + torch.tensor([0.3, 0.1, 0.0])
        episodes.append(torch.cat([moved, torch.full((length, 1), 0.7)], 1))
    return episodes


def _limits(rows: Tensor, widen: float = 0.0, shared: bool = False) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each column of rows [N, d], or one of both for all of them."""
    low, high = rows.amin(0) - widen, rows.amax(0) + widen
    return (low.min().expand_as(low), high.max().expand_as(high)) if shared else (low, high)


def _scaled(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x with low to high as -1 to 1; a constant column becomes 0."""
    return torch.where(high > low, 2 * (x - low) / torch.where(high > low, high - low, 1) - 1, 0 * x)


def _loaded(episodes: list[Tensor], low: Tensor, high: Tensor, lost: int = 0, pad: int = 0) -> Evidence:
    """Every window of scaled episodes, and how often the rows before an episode's end are in one.

    lost: so many windows of each episode are left out at its end; pad: so many rows of zeros follow each episode.
    """
    windows, visits = [], torch.zeros(WINDOW)
    for episode in episodes:
        rows = _scaled(torch.cat([episode, torch.zeros(pad, 4)]), low, high)
        count = len(rows) - WINDOW + 1 - lost
        windows += [rows[i : i + WINDOW] for i in range(count)]
        for back in range(WINDOW):
            row = len(episode) - 1 - back
            visits[back] += max(0, min(row, count - 1) - max(row - WINDOW + 1, 0) + 1)
    w, g = torch.stack(windows), torch.Generator().manual_seed(0)
    shown = w[torch.randperm(len(w), generator=g)[:40]]
    return {
        "windows": w, "first column": shown[..., 0], "visits": visits,
        "back": torch.arange(float(WINDOW)), "row": torch.arange(float(WINDOW)),
        "reach": (w.amax((0, 1)) - w.amin((0, 1))) / 2, "column": torch.arange(4.0),
    }  # fmt: skip


def tails(windows: Tensor) -> Tensor:
    """How many rows at the end of each window [n, H, d] stand still in every column -> [n]"""
    still = (real("windows", windows).diff(dim=1).abs() < 1e-9).all(2)
    return still.flip(1).long().cumprod(1).sum(1)


def jumps(windows: Tensor) -> float:
    """The share of windows [n, H, d] with a step ten times as long as the median one."""
    step = real("windows", windows).double().diff(dim=1).norm(dim=2)
    return float((step.amax(1) > 10 * step.median()).double().mean())


def unpadded(e: Evidence) -> bool:
    """Windows that go on to their ends."""
    return float((tails(e["windows"]) > 0).double().mean()) < 0.02


def _healthy_data(g: torch.Generator) -> Evidence:
    episodes = _recorded(g)
    return _loaded(episodes, *_limits(torch.cat(episodes)))


def _joined(g: torch.Generator) -> Evidence:
    """Windows over the rows of all episodes, one after the other."""
    episodes = _recorded(g)
    return {**_loaded([torch.cat(episodes)], *_limits(torch.cat(episodes))), "visits": _healthy_data(g)["visits"]}


def _widened(g: torch.Generator) -> Evidence:
    episodes = _recorded(g)
    return _loaded(episodes, *_limits(torch.cat(episodes), widen=1.0))


def _one_scale(g: torch.Generator) -> Evidence:
    episodes = _recorded(g)
    return _loaded(episodes, *_limits(torch.cat(episodes), shared=True))


def _short_by_one(g: torch.Generator) -> Evidence:
    episodes = _recorded(g)
    return _loaded(episodes, *_limits(torch.cat(episodes)), lost=1)


def _zeros_behind(g: torch.Generator) -> Evidence:
    episodes = _recorded(g)
    return _loaded(episodes, *_limits(torch.cat(episodes)), pad=WINDOW - 4)


DATA = Room(
    "data",
    _healthy_data,
    [
        Panel("paths", ("first column",), "row", (), "A column, scaled", "row of the window", "value", least=(-1, 1)),
        Panel("points", ("reach",), "column", (), "What columns cover", "column", "half its range", least=(0, 1.05)),
        Panel("points", ("visits",), "back", (), "Rows near the end", "rows before the end", "windows", least=(0, 1)),
    ],
)
DATA.add(
    "one constant column widens all",
    _widened,
    lambda e: float(e["reach"].max()) < 0.9,
    sign="no column reaches -1 or 1",
    number="half of each column's range after scaling",
    project="Diffuser: SafeLimitsNormalizer moves the limits of every column if one is constant",
    cure="widen that column alone",
)
DATA.add(
    "one scale for all columns",
    _one_scale,
    lambda e: float(e["reach"].max()) > 0.9 and float(e["reach"][e["reach"] > 0].min()) < 0.4,
    sign="one column fills the range, others hardly move",
    number="smallest range over largest",
    project="diffusers' pipeline for reinforcement learning: one mean and deviation for all (issue 10636)",
    cure="fit each column",
)
DATA.add(
    "the last row is never seen",
    _short_by_one,
    lambda e: float(e["visits"][0]) < 0.5,
    sign="the row at the end is in no window",
    number="windows that hold an episode's last row",
    project="Diffuser: make_indices leaves out the last window",
    cure="L - H + 1 windows of an episode of length L",
)
DATA.add(
    "zeros behind the end",
    _zeros_behind,
    lambda e: not unpadded(e),
    sign="windows end in a flat line that is not 0",
    number="rows at the end of a window that stand still",
    project="Diffuser: episodes are padded with zeros before they are scaled",
    cure="scale, then repeat the last row; mask it in the loss",
)
DATA.add(
    "windows across episodes",
    _joined,
    lambda e: unpadded(e) and jumps(e["windows"]) > 0.05,
    sign="a line jumps in mid-window",
    number="share of windows with a step of ten medians",
    project="GenerativeRL's loader: the next observation is one of the next episode",
    cure="cut at the ends of episodes",
)

# ------------------------------------------------------------------------------------------------------------ training
UPDATES, DECAY, BEGINS = 2000, 0.999, 1000


def _run(g: torch.Generator, **changed: Tensor) -> Evidence:
    """The curves of a run, as a dashboard shows them, each with its noise; `changed` takes the place of some."""
    n = torch.arange(1.0 * UPDATES)
    weight = 3 * torch.exp(-n / 150) + 0.1 * torch.randn(UPDATES, generator=g)  # distance to the best weight
    share = torch.linspace(0, 0.75, 7)
    left, times = torch.arange(100.0), torch.linspace(0, 1, 100)
    found = 60 + 5 * torch.randn(24, generator=g)
    predicted = 40 + 20 * torch.rand(60, generator=g)
    curves = {
        "weights": weight.square(), "average": averaged(weight).square(), "update": n,
        "padding": share, "loss": 1 + 0.01 * torch.randn(7, generator=g), "without padding": torch.ones(7),
        "time": left, "value": 100 + torch.randn(100, generator=g), "true value": 100 + 0 * times,
        "reported": found, "again": found + 2 * torch.randn(24, generator=g), "seed": torch.arange(24.0),
        "ratio": 1 + 1e-4 * torch.randn(400, generator=g),
        "predicted": predicted, "realised": predicted + 2 * torch.randn(60, generator=g),
    }  # fmt: skip
    curves |= changed
    return {**curves, "as predicted": curves["predicted"]}


def surprise(difference: Tensor) -> float:
    """The mean of differences [n] in standard errors."""
    difference = real("difference", difference).double()
    return float(difference.mean() / (difference.std() / math.sqrt(len(difference))))


def averaged(weight: Tensor, copied: bool = True, random: float = 3.0) -> Tensor:
    """The moving average of a weight [T] that begins at update BEGINS, with a copy of it or with a random weight."""
    out, mean = [], 0.0
    for i, w in enumerate(real("weight", weight).tolist()):
        if i <= BEGINS:
            mean = w if copied else random
        mean = DECAY * mean + (1 - DECAY) * w
        out.append(mean)
    return torch.tensor(out)


def _random_average(g: torch.Generator) -> Evidence:
    """At update 2,000 the average still holds 0.999^1000 = 37 % of what it began with."""
    n = torch.arange(1.0 * UPDATES)
    weight = 3 * torch.exp(-n / 150) + 0.1 * torch.randn(UPDATES, generator=g)
    return _run(g, weights=weight.square(), average=averaged(weight, copied=False).square())


def _over_all(g: torch.Generator) -> Evidence:
    """The masked loss is divided by all entries: it falls with the share of padding."""
    share = torch.linspace(0, 0.75, 7)
    return _run(g, loss=1 - share + 0.01 * torch.randn(7, generator=g))


def _cut_off(g: torch.Generator) -> Evidence:
    """A time limit taken for an end: with reward 1 and discount 0.99 the value is (1 - 0.99^left) / 0.01."""
    left = 100 - torch.arange(100.0)
    return _run(g, value=100 * (1 - 0.99**left) + torch.randn(100, generator=g))


def _best_checkpoint(g: torch.Generator) -> Evidence:
    """Of 20 checkpoints that are all alike the best score is reported; each score has a deviation of 5."""
    scores = 60 + 5 * torch.randn(24, 20, generator=g)
    return _run(g, reported=scores.amax(1), again=60 + 5 * torch.randn(24, generator=g))


def _two_deviations(g: torch.Generator) -> Evidence:
    """Actions are drawn with one deviation, and their probability is computed with a larger one, a floor."""
    z = torch.randn(400, generator=g)
    return _run(g, ratio=torch.exp(-0.5 * (z / 1.5).square() + 0.5 * z.square()) / 1.5)


def _two_discounts(g: torch.Generator) -> Evidence:
    """Rewards of 300 steps: predicted with a discount of 0.99, summed up with 0.997."""
    sums = [(1 - d**300) / (1 - d) for d in (0.99, 0.997)]
    realised = 40 + 20 * torch.rand(60, generator=g)
    return _run(g, realised=realised, predicted=realised * sums[0] / sums[1] + torch.randn(60, generator=g))


TRAINING = Room(
    "training",
    _run,
    [
        Panel("lines", ("weights", "average"), "update", (), "Loss of the weights", "update", "loss"),
        Panel(
            "lines",
            ("loss",),
            "padding",
            ("without padding",),
            "One batch, padded",
            "share of padding",
            "loss",
            least=(0, 1.3),
        ),
        Panel("lines", ("value",), "time", ("true value",), "Reward 1 for ever", "step", "value", least=(0, 120)),
        Panel("points", ("reported", "again"), "seed", (), "Scores", "training", "score"),
        Panel(
            "histogram",
            ("ratio",),
            title="Before an update",
            xlabel="new / old probability",
            ylabel="share",
            least=(0.9, 1.1),
        ),
        Panel("points", ("realised",), "predicted", ("as predicted",), "Returns", "predicted", "realised"),
    ],
)
TRAINING.add(
    "an average that was never copied",
    _random_average,
    lambda e: float(e["average"][-100:].mean()) > 3 * float(e["weights"][-100:].mean()),
    sign="the averaged weights are worse than the weights",
    number="loss of the average over loss of the weights",
    project="Diffusion-QL and DiffCPS: the average begins at update 1,000, from random weights",
    cure="copy the weights when it begins",
)
TRAINING.add(
    "a mean over what is masked",
    _over_all,
    lambda e: float(e["loss"][-1]) < 0.8 * float(e["loss"][0]),
    sign="more padding, less loss",
    number="loss of one batch at two shares of padding",
    project="LeRobot (issue 3353): a masked loss divided by all entries",
    cure="divide by the entries that count",
)
TRAINING.add(
    "a time limit that ends the world",
    _cut_off,
    lambda e: float(e["value"][-10:].mean()) < 0.8 * float(e["value"][:10].mean()),
    sign="values fall towards the limit",
    number="value at the end over value at the beginning",
    project="DIPO: the mask is 0 at the time limit as well",
    cure="bootstrap through a truncation",
)
TRAINING.add(
    "the best of many checkpoints",
    _best_checkpoint,
    lambda e: surprise(e["reported"] - e["again"]) > 4,
    sign="reported scores lie above repeated ones",
    number="mean difference over its standard error",
    project="Diffusion-QL: the checkpoint with the best score in the environment is reported",
    cure="report the last, or repeat the evaluation",
)
TRAINING.add(
    "two deviations for one action",
    _two_deviations,
    lambda e: float(e["ratio"].std()) > 0.01,
    sign="ratios differ from 1 before anything was learned",
    number="deviation of the ratio before the first update",
    project="DPPO: sampling and probability have floors of their own for the deviation",
    cure="one deviation for both",
)
TRAINING.add(
    "two discounts for one return",
    _two_discounts,
    lambda e: abs(float(e["realised"].mean() / e["predicted"].mean()) - 1) > 0.2,
    sign="points lie off the diagonal",
    number="realised over predicted return",
    project="Diffuser: the value is trained with a discount of 0.99, plans are compared with 0.997",
    cure="one discount, stored with the guide",
)


ROOMS = {room.name: room for room in (SAMPLES, PLANS, DATA, TRAINING)}
