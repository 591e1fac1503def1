"""What lessons 05 and 05b draw around their own few lines: the knob of guidance on the planner of two ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from IPython.display import Markdown
from numpy.typing import NDArray
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis import modes
from diffrl_lab.analysis.frontiers import crossing
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import shipped
from diffrl_lab.data.toys import two_modes
from diffrl_lab.diffusion import Cosine, Function, MixtureDenoiser, ascend, given, load
from diffrl_lab.methods.guides import Guide
from diffrl_lab.methods.planning.decision_diffuser import DecisionDiffuser
from diffrl_lab.methods.planning.plans import Plan
from diffrl_lab.methods.planning.value_guidance import scaled
from diffrl_lab.studies.guidance import STEPS, plan_returns
from diffrl_lab.widgets import pictures
from diffrl_lab.widgets.hover import Hover
from diffrl_lab.widgets.movie import Movie, movie
from diffrl_lab.worlds import driving, mazes
from diffrl_lab.worlds.walls import Walls

FORMS = ("cfg", "value", "energy")
COLUMNS = ("scale", "valid_return", "entropy", "invalid", "off", "over")
FIRST = [0.05, 0.1, 0.15, 0.2]  # the grid of plans that ships begins 0, 0.25: what is between is drawn when asked


def entropy(share: Tensor) -> Tensor:
    """-p log2 p - (1 - p) log2 (1 - p), in bits, of one of two modes with share p: 1 is even, 0 is one mode alone."""
    return -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)) / math.log(2)


def bits(ways: Tensor) -> Tensor:
    """Entropy of left (0) and right (1) among the plans [..., n] that keep out of the walls. -> [...]"""
    left, right = ((ways == k).double().sum(-1) for k in (0, 1))
    return entropy(left / (left + right).clamp(min=1))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markdown:
    """A Markdown table."""
    return Markdown("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)))


class TwoWays:
    """The planner of the two-ways maze that knows the return of a drive, and the two networks that guide it."""

    def __init__(self) -> None:
        self.maze = Walls.named("two-ways")
        self.dd = DecisionDiffuser.load(shipped("weights/guidance-two-ways-returns.safetensors"))
        self.planner = self.dd.planner
        self.guides = {
            J: Guide.load(shipped(f"weights/guidance-two-ways-{J}.safetensors")) for J in ("value", "energy")
        }
        self.laws = Table.load(shipped("results/guidance-laws.json"))
        self.asked = float(self.laws.column("asked", world="two-ways-p50")[0])  # one drive in twenty beats it
        self.known, self.value = torch.zeros(32, 5, dtype=torch.bool), torch.zeros(32, 5)  # of a plan nothing is fixed

    @torch.no_grad()
    def plans(self, form: str, scale: float, seed: int, n: int = 128) -> tuple[Plan, Tensor, NDArray]:
        """n plans; the way of each (0 left, 1 right, -1 through a wall); what each returns if it is driven exactly."""
        free = given(self.planner.denoiser, {"known": self.known})
        if form == "cfg":
            D = self.dd.denoiser(self.asked, self.known, self.value, n, w=scale)
        else:
            D = ascend(free, self.guides[form], scale)
        plan = self.planner.drawn(D, self.known, self.value, n, STEPS, torch.Generator().manual_seed(seed))
        return plan, self.ways(plan), plan_returns(plan, self.planner, "two-ways")

    def ways(self, plan: Plan) -> Tensor:
        words = modes.homotopy(plan.candidates[..., :2], self.maze)
        return torch.tensor(modes.numbered(words, [(1,), ()]))

    def picture(self, form: str, scale: float, seed: int) -> pictures.Picture:
        """Twenty-four plans, drawn now, with how many go where and their mean return."""
        plan, way, R = self.plans(form, scale, seed, 24)
        groups = named(way)
        left, right, wall = (int((way == k).sum()) for k in (0, 1, -1))
        title = f"{left} left, {right} right, {wall} through a wall,\nmean return {R.mean():.0f}"
        alt = f"Twenty-four plans drawn just now, {form}, scale {scale}: {title}."
        shown = widgets.trajectories(
            plan.candidates[..., :2], maze=self.maze, groups=groups, points=False, title=title, alt=alt
        )
        return walls_named(shown)

    def climb(
        self, n: int, seed: int, *, uphill: int = 80, every: int = 20
    ) -> tuple[list[int], list[float], list[float]]:
        """From n finished plans uphill on the value network, about a centimetre a step, without the diffusion model.

        -> steps, what the network says, what the drives return, each after every so many steps
        """
        env, J = mazes.make_maze("two-ways", position_noise_range=0.0), self.guides["value"]
        plan = self.plans("value", 0, seed, n)[0]
        z = scaled(self.planner, plan)
        at: list[int] = []
        said: list[float] = []
        driven: list[float] = []
        for k in range(uphill + 1):
            if k % every == 0:
                raw = self.planner.scaler.inverse(z)
                now = replace(plan, candidates=raw[..., :-1], durations=raw[..., -1].mean(-1).exp())
                paths = [self.planner.reference(now, i) for i in range(len(z))]
                runs = [driving.drive([env], driving.Follower(lambda *_, x=x: x, again=False), [3])[0] for x in paths]
                at.append(k)
                said.append(float(self.dd.y_scaler.inverse(J(z, 0.0).detach()[:, None]).mean()))
                driven.append(float(np.mean([run.rew.sum() for run in runs])))
            slope = torch.autograd.grad(J(z.requires_grad_(), 0.0).sum(), z)[0]
            z = (z + 0.01 * slope / slope.square().mean((1, 2), keepdim=True).sqrt()).detach()
        return at, said, driven


class Knob:
    """Plans over the guidance scale w, shipped and (near 0) drawn now, with frontiers of return against coverage.

    scales: [S]. panels, options: what `movie` takes. Two exact modes stand beside the maze: what classifier-free
    guidance samples there, and the powered distribution that it is said to sample.
    """

    def __init__(self, two_ways: TwoWays) -> None:
        fine = load(shipped("results/guidance-two-ways-p50.safetensors"))[0]
        self.scales = torch.tensor([0.0, *FIRST, *fine["scales"][1:].tolist()], dtype=torch.float64)
        self.maze = two_ways.maze
        self.film: dict[str, list[Tensor]] = {}
        for name, form in {"classifier-free": "cfg", "ascent": "value"}.items():
            new = [two_ways.plans(form, w, 10_000, 48) for w in FIRST]
            parts = {"plans": [plan.candidates[..., :2] for plan, *_ in new], "labels": [way for _, way, _ in new],
                     "returns": [torch.tensor(R) for *_, R in new]}  # fmt: skip
            old = {k: fine[f"{form}.{k}"] for k in parts}
            self.film[name] = [torch.cat([old[k][:1], torch.stack(x).to(old[k]), old[k][1:]]) for k, x in parts.items()]
        curves = {name: (R.double().nanmean(1), bits(ways)) for name, (_, ways, R) in self.film.items()}
        tilt = next(row for row in two_ways.laws.rows if row["world"] == "two-ways-p50")["tilted"]
        tilted = [r["return"] for r in tilt], entropy(torch.tensor([r["left"] for r in tilt], dtype=torch.float64))
        sampled, powered = two_exact_modes(self.scales)
        self.panels = {name: {"t": self.scales, "x_t": x} for name, (x, *_) in self.film.items()}
        axes = {"y": "coverage (entropy, bits)"}
        self.options: dict[str, Any] = {
            "maze": two_ways.maze, "clock": "w", "samples": 48, "shown": 24,
            "groups": {name: torch.where(ways < 0, 3, ways) for name, (_, ways, _) in self.film.items()},
            "labels": ["left", "right", "", "through a wall"],
            "charts": {
                "The maze": {"x": "mean return of the plans", **axes, "exact": {"drives, tilted": tilted},
                             "curves": curves},
                "Two exact modes": {"x": "how far to the left, on average", **axes, "exact": {"powered": powered},
                                    "curves": {"classifier-free": sampled}}},
        }  # fmt: skip

    def empty(self, way: int = 1, name: str = "classifier-free") -> float:
        """The lowest scale at which no plan takes a way (1: right)."""
        return float(self.scales[(self.film[name][1] != way).all(1)].min())

    def slider(self, height: int = 190) -> Movie:
        """Plans of both forms above, return against coverage below; each panel is `height` pixels tall."""
        return movie(
            self.panels, **self.options, height=height, alt="Plans in the two-ways maze while the guidance scale grows "
            "from 0 to 8: classifier-free, the right corridor is empty almost at once and later the plans run through "
            "walls; with ascent it empties slowly. Below, return against coverage with a dot for the present scale.",
        )  # fmt: skip

    def shares(self, name: str, scale: float) -> tuple[float, float]:
        """(share of the plans that go right, share that run through a wall) at a scale of the slider."""
        ways = self.film[name][1][int((self.scales - scale).abs().argmin())]
        return float((ways == 1).double().mean()), float((ways < 0).double().mean())

    def stills(self, scales: Sequence[float], alt: str, shown: int = 24) -> pictures.Picture:
        """Plans of both forms, a row each, at a few scales of the slider."""
        panels, groups = {}, {}
        for name, (x, ways, _) in self.film.items():
            for scale in scales:
                k, title = int((self.scales - scale).abs().argmin()), f"{name}, w = {scale:g}"
                panels[title] = x[k, :shown].float()
                groups[title] = named(ways[k, :shown])
        picture = widgets.trajectories(panels, maze=self.maze, groups=groups, points=False, ncols=len(scales), alt=alt)
        for ax in picture.axes:
            ax.set_title(ax.get_title("left").replace(", w", "\nw"), fontsize=9)
        return walls_named(picture)


def two_exact_modes(scales: Tensor) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """(how far left, entropy) over the scale, of classifier-free samples (a table) and of the powered law (exact)."""
    toy, law = Table.load(shipped("results/guidance-exact.json")), two_modes(p=0.3, std=0.5)
    at = sorted({row["scale"] for row in toy.rows})
    mean, left = (
        np.interp(scales, at, [toy.column(k, form="cfg", scale=s).mean() for s in at]) for k in ("mean", "left")
    )
    grid = torch.linspace(-3.2, 3.2, 321, dtype=torch.float64)[:, None]
    free, one = (MixtureDenoiser(w, law.means, Cosine(), std=law.std).log_prob(grid) for w in (law.weights, [1.0, 0.0]))
    more = torch.linspace(0, 8**0.5, 99, dtype=torch.float64)[:, None] ** 2
    p = torch.softmax(free + more * (one - free), 1)
    return (-mean, entropy(torch.tensor(left))), (-p @ grid[:, 0], entropy(p[:, grid[:, 0] < 0].sum(1).clamp(max=1)))


def frontier(study: Table) -> dict[str, list[NDArray]]:
    """form -> for each training its rows COLUMNS by scale, up to where no plan keeps out of the walls."""

    def curve(form: str, seed: int) -> NDArray:
        rows = sorted((r for r in study.rows if (r["form"], r["seed"]) == (form, seed)), key=lambda r: r["scale"])
        return np.array([[r[c] for c in COLUMNS] for r in rows if r["valid_return"] is not None], float)

    return {form: [curve(form, seed) for seed in study.about["seeds"]] for form in FORMS}


def hovering(curves: dict[str, list[NDArray]]) -> Hover:
    """Coverage over the return for the first training, point by point: which scale each is, and how many plans of it
    run through walls."""
    shown, about = {}, {}
    for form, (rows, *_) in curves.items():
        scale, returns, entropies, walls = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]
        shown[form] = returns, entropies / math.log(2)
        about[form] = {"scale": scale.tolist(), "in walls": [f"{share:.0%}" for share in walls]}
    return widgets.frontier(
        shown,
        about=about,
        xlabel="mean return of valid plans",
        ylabel="coverage, bits",
        alt="Coverage against return for three forms of guidance, each a curve of its scales: all fall towards higher "
        "returns, and classifier-free guidance turns back.",
    )


def at_equal_return(
    curves: dict[str, list[NDArray]], wanted: float, at: Callable[[Tensor, Tensor, float], Any] | None = None
) -> dict[str, dict[str, NDArray]]:
    """form -> one number per training: coverage (bits) and share in walls where the return is `wanted`, and the best
    return at which at most 2 % of the plans run through walls.

    at: (returns [S] that rise, y [S], wanted) -> y there; it gets of each frontier the scales whose return beats all
    smaller ones, since frontiers turn back. `analysis.frontiers.crossing` by default.
    """
    numbers = {}
    for form, every in curves.items():
        rising = [torch.tensor(c[np.r_[True, c[1:, 1] > np.maximum.accumulate(c[:, 1])[:-1]]]) for c in every]
        meet = at or (lambda returns, y, level: crossing(level, returns, y))
        here = np.array([[float(meet(c[:, 1], c[:, k], wanted)) for k in (2, 3)] for c in rising])
        best = np.array([c[c[:, 3] <= 0.02, 1].max() for c in every])
        numbers[form] = {"coverage": here[:, 0] / math.log(2), "walls": here[:, 1], "best": best}
    return numbers


def return_table(found: dict[str, dict[str, NDArray]], wanted: float) -> Markdown:
    """The table of `at_equal_return`, one number per training."""
    head = [
        "form",
        f"coverage at a return of {wanted:g}, bits",
        "in walls there",
        "best return with at most 2 % in walls",
    ]
    formats = {"coverage": "{:.2f}", "walls": "{:.0%}", "best": "{:.1f}"}
    return table(head, [
        [form, *(", ".join(f.format(v) for v in row[c]) for c, f in formats.items())] for form, row in found.items()
    ])  # fmt: skip


def over_scale(curves: dict[str, list[NDArray]]) -> pictures.Picture:
    """Three panels over the scale: coverage, share outside the data, and how far the mode moves; bands: trainings."""
    fig, axes = pictures.figure(2.9, 1, 3)
    titles = ("a mode is lost", "the data are left", "the mode moves")
    units = ("coverage, bits", "share outside the data", "metres")
    for ax, k, title, unit in zip(axes, (2, 4, 5), titles, units, strict=True):
        for (form, every), tone in zip(curves.items(), ("model", "goal", "data"), strict=True):
            scales = np.array(sorted(set.intersection(*(set(c[:, 0]) for c in every))))
            y = np.array([c[np.isin(c[:, 0], scales), k] for c in every]) / (math.log(2) if k == 2 else 1)
            ax.fill_between(scales, y.min(0), y.max(0), alpha=0.2, lw=0, color=pictures.COLOUR[tone])
            ax.plot(scales, y.mean(0), label=form if k == 2 else None, marker=pictures.MARKER[tone],
                    markersize=4, **pictures.look(tone))  # fmt: skip
        ax.set(title=title, xlabel="scale", ylabel=unit)
    fig.legend(loc="outside lower center", ncols=3)
    return pictures.Picture(
        fig,
        "Three panels over the scale, for classifier-free, value and energy: coverage falls at once for "
        "classifier-free and late for ascent; the share of plans outside the data is far higher for classifier-free at "
        "large scales; the distance of the left plans from their mode rises for all, most for classifier-free.",
    )


def driven_table(drives: Table) -> tuple[dict[tuple[str, float], NDArray], Markdown]:
    """(form, scale) -> the mean driven return of each training, and the same as a table."""
    keys = {(r["form"], r["scale"]): 0 for r in drives.rows}
    R = {(f, s): np.array([np.mean(r["returns"]) for r in drives.rows if (r["form"], r["scale"]) == (f, s)])
         for f, s in keys}  # fmt: skip
    head = ["form", "scale", "driven return, mean", "of each training"]
    rows = [[f, f"{s:g}", f"{v.mean():.1f}", ", ".join(f"{x:.1f}" for x in v)] for (f, s), v in R.items()]
    return R, table(head, rows)


def named(ways: Tensor) -> list[str]:
    """The meaning of each way, for `trajectories`: left, right, or warning for a plan through a wall."""
    return [("left", "right", "warning")[int(way)] for way in ways]


def walls_named(picture: pictures.Picture) -> pictures.Picture:
    """The picture, its legend saying what `warning` means among plans."""
    for legend in picture.fig.legends:
        for text in legend.get_texts():
            text.set_text({"warning": "through a wall"}.get(text.get_text(), text.get_text()))
    return picture


@torch.no_grad()
def asking(
    two_ways: TwoWays, returns: Mapping[float, float], combined: Callable[..., Tensor], seed: int, n: int = 64
) -> tuple[Tensor, Tensor, NDArray]:
    """n plans asked for several returns at once, return -> weight; combined(free [B, m], conditional [k, B, m], w [k])
    makes the guided answer of the free one and the conditional ones, over flat plans. -> paths, ways, what each returns
    """
    D, known = two_ways.planner.denoiser, two_ways.known.expand(n, *two_ways.known.shape)
    ys = [two_ways.dd.y_scaler(torch.tensor([[float(r)]])).expand(n, 1) for r in returns]

    def guided(x_t: Tensor, t: Tensor, _: Any = None) -> Tensor:
        free, *conditional = (
            D(x_t, t, {"known": known, "y": y}).flatten(1) for y in (torch.full((n, 1), torch.nan), *ys)
        )
        w = torch.tensor(list(returns.values()), dtype=x_t.dtype)
        return combined(free, torch.stack(conditional), w).reshape(x_t.shape).to(x_t)

    g = torch.Generator().manual_seed(seed)
    plan = two_ways.planner.drawn(Function(guided, D.schedule), two_ways.known, two_ways.value, n, STEPS, g)
    return plan.candidates[..., :2], two_ways.ways(plan), plan_returns(plan, two_ways.planner, "two-ways")


def asked_plans(
    two_ways: TwoWays, outcomes: Mapping[str, tuple[Tensor, Tensor, NDArray]], alt: str, shown: int = 24
) -> pictures.Picture:
    """The first plans of each outcome of `asking`, side by side."""
    paths, groups = {}, {}
    for name, (x, ways, _) in outcomes.items():
        paths[name], groups[name] = x[:shown], named(ways[:shown])
    return walls_named(widgets.trajectories(paths, maze=two_ways.maze, groups=groups, points=False, alt=alt))


def asked_table(outcomes: Mapping[str, tuple[Tensor, Tensor, NDArray]]) -> Markdown:
    """What `asking` came to, name -> outcome."""
    head = ["asked for", "mean return", "spread of the return", "left", "right", "through walls"]
    return table(head, [
        [name, f"{R.mean():.1f}", f"{R.std():.1f}", *(str(int((way == k).sum())) for k in (0, 1, -1))]
        for name, (_, way, R) in outcomes.items()
    ])  # fmt: skip
