"""What lesson 17 draws around its own few lines: a distribution with known modes, defects, measures, futures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffrl_lab.analysis import commitment, modes
from diffrl_lab.analysis.distance import energy_distance, precision_recall
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import Cosine, MixtureDenoiser
from diffrl_lab.diffusion.denoisers import Denoiser, Function
from diffrl_lab.diffusion.samplers import Frame, Step, ddpm, sample
from diffrl_lab.studies import imitation, ways
from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.fan import fan as fan_of
from diffrl_lab.widgets.movie import Movie
from diffrl_lab.worlds import avoid

SHARES, PLACES, WIDTH = (0.4, 0.1, 0.3, 0.2), (-2.0, -0.6, 0.6, 2.0), 0.15
RARE = 1  # the mode of 10 %
REACH = 4 * WIDTH  # farther from every centre than that a number belongs to no mode


def distribution(shares: Sequence[float] = SHARES, width: float = WIDTH) -> MixtureDenoiser:
    """The exact denoiser of the lesson's data: four modes on a line."""
    return MixtureDenoiser(list(shares), [[x] for x in PLACES], Cosine(), std=width)


EXACT = distribution()
LABEL = modes.Centres(torch.tensor(PLACES)[:, None], torch.tensor(REACH))
Draw = Callable[[int, torch.Generator], Tensor]


def variance(shares: Sequence[float] = SHARES, width: float = WIDTH) -> float:
    """The exact variance of a mixture at PLACES: that between its modes and that within them."""
    p, x = np.array(shares) / np.sum(shares), np.array(PLACES)
    return float(p @ x**2 - (p @ x) ** 2 + width**2)


def without(k: int = RARE) -> list[float]:
    """The shares where mode k is lost and the others take its place in proportion."""
    kept = [0.0 if i == k else s for i, s in enumerate(SHARES)]
    return [s / sum(kept) for s in kept]


# ------------------------------------------------------------------------------------------------- defects and measures
def _between(n: int, g: torch.Generator) -> Tensor:
    x = EXACT.sample(n, g)
    gone = torch.rand(n, 1, generator=g) < 0.1
    return torch.where(gone, 1.3 + 0.02 * torch.randn(n, 1, generator=g), x)  # half-way between two modes


def _copies(n: int, g: torch.Generator) -> Tensor:
    few = EXACT.sample(n // 4, g)
    return few[torch.randint(len(few), (n,), generator=g)]


DEFECTS: dict[str, Draw] = {
    "healthy": EXACT.sample,
    "10 % mode lost": distribution(without()).sample,
    "shares shifted": distribution((0.3, 0.2, 0.3, 0.2)).sample,
    "modes narrower": distribution(width=0.6 * WIDTH).sample,
    "modes wider": distribution(width=1.5 * WIDTH).sample,
    "10 % between modes": _between,
    "each sample four times": _copies,
}
"""Name -> n samples that have this defect, of the size that the lesson shows."""
Measure = Callable[[Tensor, Tensor], float]
MEASURES: dict[str, Measure] = {
    "variance": lambda x, y: float(x.var()),
    "coverage": lambda x, y: modes.coverage(LABEL(x), 4),
    "entropy": lambda x, y: modes.entropy(LABEL(x), 4, corrected=True),
    "in no mode": lambda x, y: float((LABEL(x) < 0).double().mean()),
    "Vendi": lambda x, y: modes.vendi(modes.gaussian_similarity(x, WIDTH)),
    "energy distance": energy_distance,
    "recall": lambda x, y: precision_recall(x, y)[1],
    "own nearest": lambda x, y: float(_nearest_other(x).median()),
}
"""Name -> a number of samples [n, 1] and data [m, 1]; most look at the samples alone."""


def _nearest_other(x: Tensor) -> Tensor:
    """The distance of each row to the nearest other one. [n, 1] -> [n]"""
    far = torch.cdist(x, x)
    return far.fill_diagonal_(math.inf).amin(1)


class Grid:
    """How often each measure lies beyond its floor, for each defect: `share` [defects, measures].

    A floor is what `sets` healthy sets of n rows have, each against n fresh rows of data: the central 95 % of them. A
    second lot of healthy sets is the first row, so that false alarms are seen, too.
    """

    def __init__(self, n: int = 200, sets: int = 40, *, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.n, self.sets, self.defects, self.measures = n, sets, list(DEFECTS), list(MEASURES)
        floor = self._values(EXACT.sample, 2 * sets, g)
        self.low, self.high = np.quantile(floor, 0.025, axis=0), np.quantile(floor, 0.975, axis=0)
        self.values = np.stack([self._values(draw, sets, g) for draw in DEFECTS.values()])  # [defects, sets, measures]
        self.share = ((self.values < self.low - 1e-9) | (self.values > self.high + 1e-9)).mean(1)

    def _values(self, draw: Draw, sets: int, g: torch.Generator) -> NDArray[np.float64]:
        found = []
        for _ in range(sets):
            x, y = draw(self.n, g), EXACT.sample(self.n, g)
            found.append([measure(x, y) for measure in MEASURES.values()])
        return np.array(found)

    def __getitem__(self, cell: tuple[str, str]) -> float:
        """The share of sets with a defect that a measure flags."""
        return float(self.share[self.defects.index(cell[0]), self.measures.index(cell[1])])

    def picture(self, *, alt: str) -> pictures.Picture:
        """Defects in rows, measures in columns; a cell says how many of 100 sets are flagged."""
        title = f"of 100 sets of {self.n}, how many lie beyond the floor"
        return _table(self.share, self.defects, self.measures, title, alt, 3.6)


def _table(
    share: NDArray[np.float64], rows: Sequence[str], cols: Sequence[str], title: str, alt: str, height: float
) -> pictures.Picture:
    fig, ax = pictures.figure(height)
    ax.imshow(share, cmap=pictures.HEAT, vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(share.shape):
        ink = pictures.ink_on(pictures.HEAT(share[i, j]))
        size = 10 if len(cols) < 10 else 8
        ax.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", color=ink, fontsize=size)
    ax.set_xticks(range(len(cols)), cols, rotation=25 if len(cols) < 10 else 40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows)
    ax.set_title(title)
    return pictures.Picture(fig, alt)


class Study:
    """The part `measures` of the study `collapse`: defects against measures, in the plane."""

    def __init__(self) -> None:
        self.rows = Table.load(shipped("results/collapse-measures.json")).rows
        self.defects = [row["defect"] for row in self.rows]
        self.measures = [k for k in self.rows[0] if f"{k}, value" in self.rows[0]]
        self.share = np.array([[row[k] for k in self.measures] for row in self.rows], float)

    def seen_by(self, defect: str, above: float = 0.8) -> list[str]:
        """The measures that flag more than a share `above` of the sets with a defect."""
        row = self.share[self.defects.index(defect)]
        return [name for name, share in zip(self.measures, row, strict=True) if share > above]

    def picture(self, *, alt: str) -> pictures.Picture:
        """The whole table, as `Grid.picture`."""
        title = f"of 100 sets of {self.rows[0]['n']}, how many lie beyond the floor"
        return _table(self.share, self.defects, self.measures, title, alt, 5.2)


def sets(named: Mapping[str, Tensor], *, alt: str) -> pictures.Picture:
    """Histograms of sets of samples [n, 1], side by side, with the exact density of the data."""
    cols = min(4, len(named))
    rows = -(-len(named) // cols)
    fig, axes = pictures.figure(1.9 * rows + 0.4, rows, cols, squeeze=False, sharex=True, sharey=True)
    at = torch.linspace(-3, 3, 400, dtype=torch.float64)
    density = EXACT.log_prob(at[:, None]).exp()
    for ax in axes.flat[len(named) :]:
        ax.set_axis_off()
    for ax, (name, x) in zip(axes.flat, named.items(), strict=False):
        ax.hist(x.flatten().numpy(), bins=60, range=(-3, 3), density=True, color=pictures.COLOUR["model"], alpha=0.6)
        ax.plot(at, density, lw=1, **pictures.look("exact"))
        ax.set_title(name, fontsize=9)
    for ax in axes[:, 0]:
        ax.set_ylabel("density")
    return pictures.Picture(fig, alt)


# ------------------------------------------------------------------------------------------------------------- futures
def fan(times: Tensor, frames: Tensor, futures: Mapping[int, Tensor], *, alt: str) -> pictures.Picture:
    """One chain [K + 1] over its times, and a panel for each branching step: the futures [again, K + 1 - k] that were
    drawn from its frame k. A title says at which t, and how many modes they end in."""
    cols = min(2, len(futures))
    rows = -(-len(futures) // cols)
    fig, axes = pictures.figure(2.1 * rows + 0.4, rows, cols, squeeze=False, sharex=True, sharey=True)
    for ax, (k, paths) in zip(axes.flat, futures.items(), strict=False):
        for place in PLACES:
            ax.axhline(place, **pictures.look("exact"), lw=0.8)
        ax.plot(times[k:], paths.T, color=pictures.COLOUR["model"], lw=0.7, alpha=0.7)
        ax.plot(times[: k + 1], frames[: k + 1], color=pictures.COLOUR["data"], lw=2)
        ax.plot(times[k], frames[k], "o", color=pictures.COLOUR["data"], ms=5)
        ends = LABEL(paths[:, -1:])
        ax.set_title(f"branched at t = {float(times[k]):.2f}: {len(set(ends[ends >= 0].tolist()))} modes", fontsize=9)
        ax.set(xlim=(1, 0), ylim=(-3.2, 3.2))
    for ax in axes[-1]:
        ax.set_xlabel("t (1: noise, 0: data)")
    for ax in axes[:, 0]:
        ax.set_ylabel("$x_t$")
    return pictures.Picture(fig, alt)


def alone(frames: Sequence[Frame], i: int) -> list[Frame]:
    """The i-th of many chains, as a chain of its own."""
    return [Frame(f.t, f.x_t[i : i + 1], f.x0_hat[i : i + 1]) for f in frames]


def branched(chain: Sequence[Frame], k: int, again: int = 16, *, generator: torch.Generator) -> Tensor:
    """The ways of `again` futures of one chain from its frame k on, under DDPM. -> [again, K + 1 - k]"""
    return commitment.futures(EXACT, chain, k, again=again, generator=generator)[:, 0, :, 0].T


def moving(chain: Sequence[Frame], at: Sequence[int], *, seed: int = 0, alt: str) -> Movie:
    """Sixteen futures of one chain from each of the frames `at`, to be picked, beside the entropy of their modes."""
    g, times = torch.Generator().manual_seed(seed), commitment.moments(chain)
    runs = [commitment.futures(EXACT, chain, k, again=16, generator=g)[:, 0] for k in at]
    ends = [EXACT.responsibilities(run[-1]).argmax(1) for run in runs]
    counted = [modes.entropy(k, 4, corrected=True) for k in ends]
    exact = commitment.entropy_of(commitment.exact_weights(EXACT, chain)[:, 0])
    past = torch.stack([f.x_t[0] for f in chain])
    names = [f"mode at {x:+.1f}" for x in PLACES]
    return fan_of(
        past, runs, at, times, torch.stack(ends), names=names, entropy=counted, exact=(times, exact), alt=alt
    )  # fmt: skip


def ways_left(r: Tensor) -> Tensor:
    """exp of the entropy of the modes' probabilities: how many modes are still open. [..., K] -> [...]"""
    return commitment.entropy_of(r).exp()


# -------------------------------------------------------------------------------------------------------------- sweeps
def towards(w: float) -> Denoiser:
    """Classifier-free guidance of the exact denoiser by the wish x_0 > 0: modes 2 and 3 in their own proportion."""
    wish = torch.tensor([[0.0, 0.0, 0.6, 0.4]])

    def guided(x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        free, asked = EXACT(x, t), EXACT(x, t, wish.expand(len(x), -1))
        return free + w * (asked - free)

    return Function(guided, EXACT.schedule)


class Outcome:
    """What a sampler's draws are: `entropy` of their modes in nats, `outside` (the share in no mode) and `width`, the
    deviation within the modes over that of the data."""

    def __init__(self, x: Tensor) -> None:
        label = LABEL(x)
        self.entropy = modes.entropy(label, 4, corrected=True) if (label >= 0).any() else math.nan
        self.outside = float((label < 0).double().mean())
        inside = [x[label == k].double() for k in range(4) if (label == k).sum() > 1]
        within = sum(float((g - g.mean()).square().sum()) for g in inside)
        self.width = math.sqrt(within / max(1, sum(map(len, inside)))) / WIDTH


def drawn(D: Denoiser, n: int, *, steps: int = 100, step: Step | None = None, seed: int = 0) -> Tensor:
    """n draws of a chain, DDPM's by default. -> [n, 1]"""
    g = torch.Generator().manual_seed(seed)
    return sample(D, torch.randn(n, 1, generator=g), steps=steps, step=step or ddpm(), generator=g)


def sweep(n: int, seed: int = 0) -> dict[str, dict[float, Outcome]]:
    """Three dials of a sampler of the exact denoiser: name -> value -> what comes out."""
    return {
        "guidance scale": {w: Outcome(drawn(towards(w), n, seed=seed)) for w in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)},
        "steps": {k: Outcome(drawn(EXACT, n, steps=k, seed=seed)) for k in (2, 4, 8, 16, 32, 100)},
        "temperature": {
            a: Outcome(drawn(EXACT, n, step=ddpm(a), seed=seed)) for a in (0.0, 0.5, 0.8, 1.0, 1.5, 2.0)
        },
    }  # fmt: skip


def point(w: float, temperature: float, seed: int) -> dict[str, float]:
    """One point of a sweep over two dials, 1,000 draws: modes (exp of the entropy), the share in no mode, the width."""
    out = Outcome(drawn(towards(w), 1000, step=ddpm(temperature), seed=seed))
    return {"modes": math.exp(out.entropy), "outside": out.outside, "width": out.width}


def dials(found: Mapping[str, Mapping[float, Outcome]], *, alt: str) -> pictures.Picture:
    """A panel for each dial: modes (exp of the entropy) and the width within them over the dial's values, and the share
    in no mode; dashed, the exact number of modes."""
    fig, axes = pictures.figure(2.9, 1, len(found))
    for ax, (name, row) in zip(np.atleast_1d(axes), found.items(), strict=True):
        at = range(len(row))
        for label, tone, y in (
            ("modes, exp(entropy)", "model", [math.exp(o.entropy) for o in row.values()]),
            ("width within modes", "right", [o.width for o in row.values()]),
            ("share in no mode", "warning", [o.outside for o in row.values()]),
        ):
            ax.plot(at, y, marker=pictures.MARKER[tone], ms=5, label=label, **pictures.look(tone))
        ax.axhline(
            float(ways_left(torch.tensor(SHARES))), label="exact: modes of the data", lw=1, **pictures.look("exact")
        )
        ax.set_xticks(list(at), [f"{v:g}" for v in row])
        ax.set(xlabel=name, ylim=(0, 4.2))
    fig.legend(*np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return pictures.Picture(fig, alt)


# --------------------------------------------------------------------------------------------------- collapse per state
def per_state(labels: Mapping[str, Tensor], *, alt: str) -> pictures.Picture:
    """A panel for each policy: the share of each mode [S, K] in each of its states, and below a row for all of them."""
    fig, axes = pictures.figure(3.2, 1, len(labels), squeeze=False, sharey=True)
    for ax, (name, k) in zip(axes.flat, labels.items(), strict=True):
        share = torch.stack([(k == m).double().mean(1) for m in range(4)], 1)
        rows = torch.cat([share, torch.full((1, 4), math.nan), share.mean(0, keepdim=True)]).numpy()
        ax.imshow(rows, cmap=pictures.HEAT, vmin=0, vmax=1, aspect="auto")
        S = len(share)
        ax.set_yticks([*range(S), S + 1], [*(f"state {i + 1}" for i in range(S)), "all states"])
        ax.set_xticks(range(4), [f"mode {m + 1}" for m in range(4)])
        ax.set_title(name)
    return pictures.Picture(fig, alt)


def blind(count: int, n: int, *, seed: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """`count` sets of n samples under letters, at least one healthy and one not, and what each of them is."""
    g = torch.Generator().manual_seed(seed)
    faulty = [name for name in DEFECTS if name not in ("healthy", "each sample four times")]
    ill = int(torch.randint(1, count, (), generator=g))
    names = [faulty[int(torch.randint(len(faulty), (), generator=g))] for _ in range(ill)] + ["healthy"] * (count - ill)
    truth = dict(zip("ABCDEFGHIJ", (names[i] for i in torch.randperm(count, generator=g)), strict=False))
    shown = {letter: DEFECTS[name](n, g) for letter, name in truth.items()}
    return shown, truth


# ---------------------------------------------------------------------------------------------------------------- avoid
def at_start(arm: str, n: int, states: int = 12, *, seed: int = 0) -> Tensor:
    """n actions of a shipped policy in states side by side at the start: 0 where the nearest of the demonstrator's two
    actions there is the one to the left, else 1. -> [states, n]"""
    policy, labels = ways.policy(arm), []
    for i, x in enumerate(np.linspace(-0.1, 0.1, states)):
        exact, _ = ways.at_fork((x, 0.0))
        acts = ways.drawn(policy, n, (x, 0.0), seed=1000 * seed + i)
        labels.append(ways.near(acts, exact, within=math.inf))
    return torch.stack(labels)


class Shaken:
    """An agent whose actions get normal noise of deviation `level`, drawn from `seed`."""

    def __init__(self, agent: Any, level: float, seed: int) -> None:
        self.agent, self.level, self.rng = agent, level, np.random.default_rng(seed)

    def reset(self, obs: Any, seeds: Sequence[int], goal: Any = None) -> None:
        self.agent.reset(obs, seeds, goal)

    def act(self, obs: Any, which: Any = None) -> NDArray[np.float64]:
        acts = np.asarray(self.agent.act(obs, which))
        return acts + self.level * self.rng.standard_normal(acts.shape)


def noisy(arm: str, level: float, n: int, *, seed: int = 0) -> avoid.Rolled:
    """n episodes of a shipped policy whose actions are shaken."""
    return avoid.roll(Shaken(imitation.agent(ways.policy(arm)), level, seed), range(seed * n, (seed + 1) * n))
