"""What lesson 09 draws around its own few lines: roll-outs coloured by way, and actions at a fork against the exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffrl_lab import methods, widgets
from diffrl_lab.analysis.distance import sliced_w2
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import (
    Batches,
    Cosine,
    MixtureDenoiser,
    NeuralDenoiser,
    cosine_decay,
    ddim,
    denoising_loss,
    descend,
    fit,
    given,
    load,
    sample,
    seeded,
)
from diffrl_lab.methods.policies.cloning import inputs
from diffrl_lab.nets import MLP
from diffrl_lab.studies import imitation
from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.tables import Columns
from diffrl_lab.worlds import avoid

START = (0.0, 0.0)  # where an episode begins, and the first gap is chosen
FORK = (0.0, avoid.ROWS[1][0] + avoid.CLEAR + 0.02)  # where the last gap is chosen, behind the middle gap of two
LAST = ("left", "data", "goal", "right")  # the colour of a path: through which gap of the last row it goes


def policy(arm: str, chunk: int = 1, **options: Any) -> Any:
    """A shipped policy of the study, with other settings for how it draws: `denoising`, `execute`."""
    path = shipped(f"weights/imitation-{imitation.name('', arm, chunk, 0).removeprefix('-')}")
    model = methods.of_class(load(path)[1]["method"])[1].load(path)
    imitation.agent(model, **options)
    return model


def roll(model: Any, n: int = 40, seed: int = 0) -> avoid.Rolled:
    """n episodes of a policy, or of the demonstrator (None), from the starts seed, seed + 1, ..."""
    who = avoid.Demonstrator() if model is None else imitation.agent(model)
    return avoid.roll(who, range(seed, seed + n))


def at_fork(where: ArrayLike = FORK) -> tuple[Tensor, Tensor]:
    """The demonstrator's actions, exactly, where it has just chosen the next gap (START, FORK, or beside them), and
    nothing in the state tells which: its intents [K, 2] for the K gaps of the row, and their probabilities [K]."""
    at = np.asarray(where, float)
    row = int(np.searchsorted([height + avoid.CLEAR for height, _ in avoid.ROWS[:2]], at[1]))
    K, apart = len(avoid.GAPS[row]), (12, 4, 1)[row]  # ways that differ in this gap alone
    acts = avoid.intent(np.tile(at, (K, 1)), apart * np.arange(K))
    return torch.tensor(acts), torch.full((K,), 1 / K, dtype=torch.float64)


def drawn(model: Any, n: int = 400, where: ArrayLike = FORK, seed: int = 0) -> Tensor:
    """n first actions of a policy at one place. -> [n, 2]"""
    return model.sample(np.asarray(where)[None], n=n, generator=torch.Generator().manual_seed(seed))[0, :, 0]


def fork_draws(sigma_data: float, seed: int = 0, updates: int = 1000, n: int = 500, predict: str = "edm") -> Tensor:
    """n draws of a small network that is trained on the demonstrator's actions at the fork alone, with a deviation of
    0.04 around each and scaled to unit variance: no state, so that only `predict` and `sigma_data` differ. -> [n, 2]"""
    (acts, p), g = at_fork(), torch.Generator().manual_seed(seed)
    x = acts[torch.multinomial(p, 4000, replacement=True, generator=g)].float()
    x += 0.04 * torch.randn(x.shape, generator=g)
    scaler = Scaler.fit(x, "standard")
    D = NeuralDenoiser(seeded(seed, lambda: MLP(2, width=64)), Cosine(), predict, sigma_data)
    rate = cosine_decay(updates, warmup=20)
    update = descend(lambda b: denoising_loss(D, b, generator=g), D, lr=5e-3, schedule=rate)
    for _ in fit(update, Batches(scaler(x), 128, g), updates):
        pass
    with torch.no_grad():
        return scaler.inverse(sample(D, torch.randn(n, 2, generator=g), steps=20, step=ddim()))


@torch.no_grad()
def guessed(model: Any, t: float, where: ArrayLike = FORK, n: int = 2000, seed: int = 0) -> dict[str, Tensor]:
    """What is said of x_0 at a time t where only noise is seen, of the action at one place: by a diffusion policy that
    draws one action, and by the exact denoiser of the demonstrator's actions. -> [n, 2] each, in units"""
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    cond = inputs(model.scaler, np.asarray(where)[None], None, 0)
    acts, p = at_fork(where)
    exact = MixtureDenoiser(p, model.act_scaler(acts.float()), model.denoiser.schedule, std=1e-3)
    every = {"network": given(model.denoiser, cond.expand(n, -1)), "exact": exact}
    return {name: model.act_scaler.inverse(D(noise, torch.tensor(t))) for name, D in every.items()}


def near(acts: Tensor, exact: Tensor, within: float = 0.15) -> Tensor:
    """Which of the exact actions [K, 2] each action [n, 2] is, -1 for none that near. -> [n]"""
    far, which = torch.cdist(acts.double(), exact.double()).min(1)
    return torch.where(far < within, which, -1)


def draw_posts(ax: Any) -> None:
    """The posts and the line of arrival, on equal axes without ticks."""
    for x, y in avoid.POSTS:
        ax.add_patch(Circle((x, y), avoid.RADIUS, facecolor=pictures.COLOUR["wall"], edgecolor="black", lw=0.8))
    ax.axhline(avoid.TOP, color=pictures.COLOUR["noise"], lw=1)
    ax.set(xlim=(-avoid.SIDE, avoid.SIDE), ylim=(-0.2, avoid.TOP + 0.25), xticks=[], yticks=[], aspect="equal")
    for side in ax.spines.values():
        side.set_visible(False)


def paths(rolled: Mapping[str, avoid.Rolled], *, alt: str, cols: int = 4) -> pictures.Picture:
    """The paths of each policy, coloured by the last gap of their way; those that crash are grey and end in a cross. A
    title says how many arrived, by how many ways."""
    rows, full = -(-len(rolled) // cols), pictures.WIDTH / cols
    cols = min(cols, len(rolled))
    fig, axes = pictures.figure(rows * (full * 1.15 + 0.55), rows, cols, squeeze=False, width=full * cols)
    for ax in axes.flat[len(rolled) :]:
        ax.set_axis_off()
    for ax, (name, r) in zip(axes.flat, rolled.items(), strict=False):
        draw_paths(ax, name, r)
    return pictures.Picture(fig, alt)


def draw_paths(ax: Any, name: str, rolled: avoid.Rolled, size: float = 9) -> None:
    """One panel of `paths`."""
    draw_posts(ax)
    for path, steps, way in zip(rolled.path, rolled.steps, rolled.way, strict=True):
        x, y = path[: steps + 1].T
        tone = "noise" if way < 0 else LAST[int(avoid.gaps(way)[2])]
        ax.plot(x, y, lw=0.8, alpha=0.75, color=pictures.COLOUR[tone])
        if way < 0:
            ax.plot(x[-1:], y[-1:], marker="X", ms=5, color=pictures.COLOUR["warning"], mec="black", mew=0.4)
    arrived = rolled.way[rolled.way >= 0]
    ax.set_title(f"{name}\n{len(arrived)} of {len(rolled.way)}, {len(set(arrived.tolist()))} ways", fontsize=size)


def fork(acts: Mapping[str, Tensor], exact: Tensor, *, alt: str) -> pictures.Picture:
    """Actions [n, 2] of each policy at the fork, in the plane of actions, and the demonstrator's exact ones. A title
    says which share is none of them."""
    fig, axes = pictures.figure(2.3, 1, len(acts), sharey=True, width=min(pictures.WIDTH, 2.6 * len(acts)))
    for ax, (name, a) in zip(np.atleast_1d(axes), acts.items(), strict=True):
        ax.plot(
            *a.T,
            ".",
            ms=3 if len(a) > 20 else 9,
            alpha=0.4 if len(a) > 20 else 1,
            color=pictures.COLOUR["model"],
            label="drawn",
        )
        ax.plot(*exact.T, "D", ms=7, mfc="none", mec=pictures.COLOUR["exact"], label="exact")
        lost = float((near(a, exact) < 0).double().mean())
        ax.set(xlim=(-1.2, 1.2), ylim=(-0.3, 1.5), xlabel="sideways", aspect="equal")
        ax.set_title(f"{name}\n{lost:.0%} off", fontsize=9)
    np.atleast_1d(axes)[0].set_ylabel("up")
    fig.legend(*np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return pictures.Picture(fig, alt)


BINS = np.linspace(-1.2, 1.2, 17)  # of an action's sideways part


def draw_density(ax: Any, title: str, exact: tuple[Tensor, Tensor], acts: Tensor | None = None) -> None:
    """The share of actions [n, 2] in each of `BINS`, by their sideways part, and dashed what the demonstrator does: its
    exact actions [K, 2] and their probabilities [K]. Both are shares, so heights may be compared; the axis ends at 1.
    """
    if acts is not None:
        share, _ = np.histogram(acts[:, 0].clamp(-1.19, 1.19), BINS)
        ax.bar(BINS[:-1], share / len(acts), np.diff(BINS), align="edge", color=pictures.COLOUR["model"], label="drawn")
    for k, (x, q) in enumerate(zip(exact[0][:, 0].tolist(), exact[1].tolist(), strict=True)):
        ax.plot([x, x], [0, q], label="" if k else "exact: the demonstrator", **pictures.look("exact"))
        ax.plot([x], [q], marker=pictures.MARKER["exact"], ms=3, color=pictures.COLOUR["exact"])
    ax.set(xlim=(-1.2, 1.2), ylim=(0, 1.05), xticks=[-1, 0, 1], yticks=[])
    ax.set_xticklabels(["-1", "0", "1"], fontsize=7)
    ax.set_title(title, fontsize=7, fontweight="normal")


class Slider:
    """Forty roll-outs of each policy, drawn when asked, one action at a time or in chunks of 8; beside them the
    actions that it draws at START and at FORK, against the exact ones."""

    arms = ("least squares", "Gaussian", "mixture, K = 8", "autoregressive", "diffusion", "flow", "two-step")
    places: Mapping[str, tuple[float, float]] = {"start": START, "fork": FORK}

    def picture(self, actions: int, denoising: int, seed: int) -> pictures.Picture:
        """All policies with `actions` 1 or 8 drawn together, the chains of diffusion and flow with so many steps."""
        rows, cols, said = 2, 4, []
        fig, axes = pictures.figure(4.9, 2 * rows, 2 * cols, gridspec_kw={"width_ratios": [1.6, 1] * cols})
        for k, arm in enumerate(("demonstrator", *self.arms)):
            chain = {"denoising": denoising} if arm in ("diffusion", "flow") else {}
            model = None if arm == "demonstrator" else policy(arm, actions, **chain)
            r, c = 2 * (k // cols), 2 * (k % cols)
            for ax in axes[r : r + 2, c]:
                ax.remove()
            wide, lost = fig.add_subplot(axes[0, 0].get_gridspec()[r : r + 2, c]), []
            rolled = roll(model, seed=40 * seed)
            draw_paths(wide, arm, rolled, size=8)
            for ax, (name, where) in zip(axes[r : r + 2, c + 1], self.places.items(), strict=True):
                exact = at_fork(where)
                acts = None if model is None else drawn(model, where=where, seed=seed)
                lost += [] if acts is None else [float((near(acts, exact[0]) < 0).double().mean())]
                draw_density(ax, f"{name} {lost[-1]:.0%} off" if lost else name, exact, acts)
                wide.plot(*where, marker="o", ms=5, color=pictures.COLOUR["start"], mec="black", mew=0.6, zorder=5)
            off = f" (never done: {lost[0]:.0%} of the actions at the start, {lost[1]:.0%} at the fork)" if lost else ""
            said.append(f"{arm} {int((rolled.way >= 0).sum())} of 40{off}")
        fig.legend(*axes[0, 3].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return pictures.Picture(
            fig,
            f"Forty roll-outs of each policy, {'one action' if actions == 1 else f'{actions} actions'} drawn together, "
            f"and beside them the sideways part of the actions that it draws at two places, the exact ones dashed; "
            f"arrived: {'; '.join(said)}.",
        )


class Study:
    """The tables of the study of imitation: name -> a row for each arm, each number the mean of the training seeds."""

    def __init__(self, part: str) -> None:
        self.table = Table.load(shipped(f"results/imitation-{part}.json"))

    def __call__(self, column: str, arm: str, chunk: int = 1, **where: Any) -> NDArray[np.float64]:
        """A result of an arm, a number for each training seed."""
        return self.table.column(column, arm=arm, chunk=chunk, **where).astype(float)

    def shares(self, arm: str, chunk: int = 1) -> NDArray[np.float64]:
        """The share of each way among the drives that arrived, a row for each training seed. -> [seeds, 24]"""
        counts = np.array(self.table.column("counts", arm=arm, chunk=chunk).tolist(), float)
        return counts / counts.sum(1, keepdims=True)

    def rows(self, arms: Sequence[tuple[str, int]], **where: Any) -> Columns:
        """Success, entropy and calibration with their floors, jitter and idle steps, of (arm, chunk)s."""

        def cell(arm: str, chunk: int, column: str, form: str) -> str:
            v = self(column, arm, chunk, **where)
            low, mean, high = np.nanmin(v), np.nanmean(v), np.nanmax(v)
            ends = f" ({low:{form}} to {high:{form}})" if f"{low:{form}}" != f"{high:{form}}" else ""
            return f"{mean:{form}}{ends}"

        columns: dict[str, Callable[[str, int], str]] = {
            "policy": lambda a, c: a if a == "demonstrator" else f"{a}, {'one action' if c == 1 else f'chunks of {c}'}",
            "arrived": lambda a, c: cell(a, c, "success", ".3f"),
            "entropy / ln 24": lambda a, c: cell(a, c, "entropy", ".2f"),
            "total variation": lambda a, c: cell(a, c, "tv", ".2f"),
            "its floor": lambda a, c: cell(a, c, "tv_floor", ".2f"),
            "jitter": lambda a, c: cell(a, c, "jitter", ".3f"),
            "idle": lambda a, c: cell(a, c, "idle", ".3f"),
        }
        return widgets.table({name: [f(*arm) for arm in arms] for name, f in columns.items()})


def calibration(arms: Sequence[str], p: ArrayLike, *, alt: str) -> pictures.Picture:
    """The shares of the 24 ways of policies, one action at a time above and in chunks of 8 below: the mean of the
    training seeds, with a line from the lowest to the highest; dashed: the demonstrator's probabilities p [24]. The
    colour says the last gap, as in `paths`."""
    study, way = Study("avoid"), np.arange(1, avoid.WAYS + 1)
    tones = [pictures.COLOUR[LAST[int(avoid.gaps(k)[2])]] for k in range(avoid.WAYS)]
    fig, axes = pictures.figure(3.3, 2, len(arms), sharex=True, sharey=True, squeeze=False)
    for row, chunk in zip(axes, (1, 8), strict=True):
        for ax, arm in zip(row, arms, strict=True):
            share = study.shares(arm, chunk)
            ax.bar(way, share.mean(0), color=tones)
            ax.vlines(way, share.min(0), share.max(0), lw=0.8, color=pictures.COLOUR["noise"])
            ax.step([0.5, *(way + 0.5)], [*np.asarray(p), np.asarray(p)[-1]], where="post", **pictures.look("exact"))
            ax.set(xticks=[1, 12, 24], xlim=(0, 25))
            ax.set_title(f"{arm}\n{'one action' if chunk == 1 else 'chunks of 8'}", fontsize=8.5)
        row[0].set_ylabel("share")
    for ax in axes[1]:
        ax.set_xlabel("way")
    return pictures.Picture(fig, alt)


def perfect(kind: str, steps: int, n: int = 800, seed: int = 0) -> Tensor:
    """Sliced W2 of n draws to fresh ones of a law of `imitation.curve`: a chain of DDIM with the exact denoiser of n
    points of the law, so that nothing but its steps is wrong. -> []"""
    points, fresh, g = (torch.Generator().manual_seed(3 * seed + k) for k in range(3))
    means = imitation.curve(kind, n, points)
    D = MixtureDenoiser(torch.full((n,), 1 / n), means, Cosine(), std=imitation.THICK)
    x = sample(D, D.schedule.prior((n, 2), g), steps=steps, step=ddim())
    return torch.tensor(sliced_w2(x, imitation.curve(kind, n, fresh), generator=g))


def universal(*, alt: str) -> pictures.Picture:
    """Sliced W2 of mixtures over K and of diffusion over the steps of its chain, a panel for each law; dashed: fresh
    draws of the law itself. Bands: lowest to highest of the training seeds."""
    table = Table.load(shipped("results/imitation-universal.json"))
    fig, axes = pictures.figure(2.9, 1, len(imitation.LAWS))
    for ax, kind in zip(axes, imitation.LAWS, strict=True):
        for form, tone, unit in (("mixture", "right", "components"), ("diffusion", "model", "steps of the chain")):
            n = sorted({row["n"] for row in table.rows if (row["kind"], row["form"]) == (kind, form)})
            y = np.array([table.column("sliced", kind=kind, form=form, n=k) for k in n])
            ax.fill_between(n, y.min(1), y.max(1), alpha=0.2, lw=0, color=pictures.COLOUR[tone])
            ax.plot(n, y.mean(1), marker=pictures.MARKER[tone], ms=4, label=f"{form}: {unit}", **pictures.look(tone))
        floor = table.column("sliced", kind=kind, form="exact").mean()
        ax.axhline(floor, label="exact: fresh draws", **pictures.look("exact"))
        ax.set(title=kind, xlabel="components, or steps", xscale="log", yscale="log")
        ax.set_xticks([1, 2, 4, 8, 16, 50], ["1", "2", "4", "8", "16", "50"])
        ax.set_yticks([0.02, 0.05, 0.1, 0.2], ["0.02", "0.05", "0.1", "0.2"])
        ax.minorticks_off()
    axes[0].set_ylabel("sliced W2")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return pictures.Picture(fig, alt)
