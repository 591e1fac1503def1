"""What lesson 12 draws around its own few lines: transitions against the equations and against the rows recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffrl_lab.analysis.distance import nearest
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.episodes import Transitions, transitions
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import (
    Batches,
    Karras,
    MixtureDenoiser,
    cosine_decay,
    descend,
    fit,
    heun,
    sample,
    seeded,
)
from diffrl_lab.methods.models.synther import Synther, rows, unpacked
from diffrl_lab.nets import MLP
from diffrl_lab.studies import synthetic
from diffrl_lab.widgets import pictures
from diffrl_lab.worlds import pendulum

LOWEST = 1e-4  # residuals below are drawn there: the world's own rows have none


def model(world: str, n: int) -> Synther:
    """A shipped SynthER of the study: the first seed's, trained on n transitions of a world."""
    return Synther.load(shipped(f"weights/synthetic-{world}-{n}.safetensors"))


def recorded(world: str, n: int) -> Transitions:
    """The transitions that the shipped model of this name was trained on."""
    return transitions(synthetic.recording(world, n, 0))


def copier(real: Transitions, std: float = 0.005) -> MixtureDenoiser:
    """The denoiser with the smallest training loss on `real`: a Gaussian of deviation `std`, in scaled units, on each
    row. With std -> 0 it is the exact minimum, which draws the recorded rows and nothing else."""
    x = rows(real)
    return MixtureDenoiser(torch.ones(len(x)), Scaler.fit(x, "standard")(x), Karras(0.002, 80.0), std=std)


def copied(real: Transitions, n: int, generator: torch.Generator, steps: int = 18) -> Transitions:
    """n transitions drawn from the `copier` of `real`, in units."""
    x, D = rows(real), copier(real)
    z = sample(D, D.schedule.prior((n, x.shape[1]), generator), steps=steps, step=heun())
    return unpacked(Scaler.fit(x, "standard").inverse(z), real.obs.shape[1], real.act.shape[1])


def nearness(t: Transitions, real: Transitions, fresh: Transitions) -> Tensor:
    """The distance of each transition to its nearest recorded one, over the median of fresh ones, in scaled units."""
    scaler = Scaler.fit(rows(real), "standard")
    x, train, new = (scaler(rows(each)) for each in (t, real, fresh))
    return nearest(x, train) / nearest(new, train).median()


def clouds(
    arms: Mapping[str, tuple[Transitions, Transitions]],
    fresh: Transitions,
    *,
    alt: str,
    cols: int = 4,
    shown: int = 500,
) -> pictures.Picture:
    """Each transition by its nearness to a recorded one and its residual; arm -> (transitions, those recorded).

    A title says both medians. The line is where half of the fresh rows lie nearer; residuals below 0.0001 are drawn
    there.
    """
    lines, cols = -(-len(arms) // cols), min(cols, len(arms))
    fig, axes = pictures.figure(3.0 * lines, lines, cols, squeeze=False, sharex=True, sharey=True)
    for ax in axes.flat[len(arms) :]:
        ax.set_axis_off()
    for ax, (name, (t, real)) in zip(axes.flat, arms.items(), strict=False):
        near, wrong = nearness(t, real, fresh), pendulum.residual(t).state
        x, y = near[:shown].clamp(min=1e-3), wrong[:shown].clamp(min=LOWEST)
        ax.axvline(1, lw=1.2, color=pictures.COLOUR["noise"])
        ax.plot(x, y, ".", ms=3, alpha=0.5, color=pictures.COLOUR["model"])
        ax.plot(near.median(), wrong.median().clamp(min=LOWEST), "D", ms=7, mec="white", color=pictures.COLOUR["right"])
        ax.set(xscale="log", yscale="log", xlim=(8e-4, 40), ylim=(0.7 * LOWEST, 3))
        said = f"{name}\nresidual {wrong.median():.3f}\nratio {near.median():.2f}"
        ax.set_title(said, fontsize=9)
    for ax in axes[:, 0]:
        ax.set_ylabel("residual")
    fig.supxlabel("distance to the nearest recorded row, over that of fresh rows", fontsize=9)
    return pictures.Picture(fig, alt)


def joined(*parts: Transitions) -> Transitions:
    """Transitions of several sources, one after the other."""
    return Transitions(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def forecast(t: Transitions, fresh: Transitions, *, seed: int, updates: int = 600) -> float:
    """How far a small network that learned (s, a) -> s' - s from transitions t is off on fresh ones, after so many
    updates: the root of the mean square of its error in s' over `pendulum.SPREAD`."""
    x, y = torch.cat([t.obs, t.act], 1).float(), (t.next_obs - t.obs).float()
    inside, outside = Scaler.fit(x, "standard"), Scaler.fit(y, "standard")
    net = seeded(seed, MLP, x.shape[1], out=y.shape[1], width=64, label=0)
    update = descend(lambda b: (net(b["x"]) - b["y"]).square().mean(), net, lr=3e-3, schedule=cosine_decay(updates))
    batches = Batches({"x": inside(x), "y": outside(y)}, 256, torch.Generator().manual_seed(seed))
    for _ in fit(update, batches, updates):
        pass
    with torch.no_grad():
        after = fresh.obs + outside.inverse(net(inside(torch.cat([fresh.obs, fresh.act], 1))))
    return float(((after - fresh.next_obs) / torch.tensor(pendulum.SPREAD)).square().mean().sqrt())


class Study:
    """A table of the study `synthetic`: a number for each training."""

    def __init__(self, part: str) -> None:
        self.table = Table.load(shipped(f"results/synthetic-{part}.json"))

    def __call__(self, column: str, **where: Any) -> NDArray[np.float64]:
        """A column, a number for each training."""
        return self.table.column(column, **where).astype(float)

    def cell(self, column: str, digits: int = 3, **where: Any) -> str:
        """The mean over the trainings, and the lowest and the highest in brackets."""
        v = self(column, **where)
        return f"{v.mean():.{digits}f} ({v.min():.{digits}f} to {v.max():.{digits}f})"


class Slider:
    """Rows of the shipped models and of noise, drawn anew when asked."""

    def __init__(self, fresh: Transitions) -> None:
        self.fresh, self.models = fresh, {n: model("pendulum", n) for n in (400, 2000)}

    def picture(self, rows: int, denoising: int, noise: float) -> pictures.Picture:
        """SynthER of so many rows with so many steps, and noisy copies of the same rows."""
        g, real = torch.Generator().manual_seed(0), recorded("pendulum", rows)
        arms = {
            f"SynthER, {rows:,} rows, {denoising} steps": (
                self.models[rows].sample(500, steps=denoising, generator=g),
                real,
            ),
            f"noise {noise:g} on {rows:,} rows": (synthetic.noisy(real, 500, noise, g), real),
        }
        said = "; ".join(
            f"{name}: residual {pendulum.residual(t).state.median():.3f}, "
            f"ratio {nearness(t, real, self.fresh).median():.2f}"
            for name, (t, real) in arms.items()
        )
        return clouds(arms, self.fresh, cols=2, alt=f"Two clouds of transitions by nearness and residual. {said}.")
