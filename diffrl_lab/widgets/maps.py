"""Maps of the survey: its component map, and its taxonomy of roles, regimes and agents."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from .pictures import COLOUR, Picture, figure

COMPONENTS = {
    "data": "logs, experience",
    "diffusion model": "of plans or actions",
    "conditioning": "goal, return, cost",
    "guided sampling": "denoise, steered",
    "execution": "act, replan",
}


def component_map(lit: str | Sequence[str], alt: str | None = None) -> Picture:
    """The survey's map, data -> diffusion model -> conditioning -> guided sampling -> execution, with boxes lit.

    The survey is "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (arXiv
    2510.12253, 2025). Raises ValueError for a box that the map does not have.
    """
    on = [lit] if isinstance(lit, str) else list(lit)
    for name in on:
        if name not in COMPONENTS:
            raise ValueError(f"no component {name!r} in the map; there are {', '.join(COMPONENTS)}")
    fig, ax = figure(1.05)
    for i, (name, note) in enumerate(COMPONENTS.items()):
        bright = name in on
        ax.add_patch(
            FancyBboxPatch(
                (i * 1.25, 0),
                1,
                0.8,
                boxstyle="round,pad=0,rounding_size=.08",
                lw=2.5 if bright else 1,
                facecolor=COLOUR["model"] if bright else "white",
                edgecolor="black" if bright else COLOUR["noise"],
            )
        )
        ink = "white" if bright else "#222222"
        ax.text(i * 1.25 + 0.5, 0.52, name, ha="center", va="center", fontsize=7.9, weight="bold", color=ink)
        ax.text(i * 1.25 + 0.5, 0.24, note, ha="center", va="center", fontsize=7.6, color=ink)
        if i:
            ax.add_patch(
                FancyArrowPatch(
                    (i * 1.25 - 0.22, 0.4), (i * 1.25 - 0.03, 0.4), arrowstyle="-|>", mutation_scale=11, color="#333333"
                )
            )
    ax.set(xlim=(-0.05, 6.05), ylim=(-0.06, 0.86))
    ax.set_axis_off()
    return Picture(
        fig,
        alt or f"The survey's component map, from left to right: {', '.join(COMPONENTS)}. Lit here: {', '.join(on)}.",
    )


ROLES = (
    "trajectory optimisation",
    "policy learning",
    "imitation learning",
    "exploration augmentation",
    "environment simulation",
    "reward modelling",
    "hybrids",
)


def survey_map(
    cells: Mapping[tuple[str, str, str], tuple[str, bool]], *, roles: Sequence[str] = ROLES, alt: str | None = None
) -> Picture:
    """The survey's taxonomy as a table: role x (offline | online) x (single | multi-agent).

    cells is (role, regime, agents) -> (text, built); what is not built is hatched and says so, what is absent is a
    dash. Raises ValueError for a cell that the table does not have.
    """
    columns = [("offline", "single"), ("online", "single"), ("offline", "multi"), ("online", "multi")]
    for role, regime, agents in cells:
        if role not in roles or (regime, agents) not in columns:
            raise ValueError(
                f"no cell {(role, regime, agents)!r}; roles are {', '.join(roles)}; then offline|online, single|multi"
            )
    fig, ax = figure(0.75 + 0.62 * len(roles))
    for j, (regime, agents) in enumerate(columns):
        ax.text(j + 0.5, -0.12, f"{regime}\n{agents}-agent", ha="center", va="bottom", fontsize=9, weight="bold")
    for i, role in enumerate(roles):
        ax.text(-0.05, i + 0.5, "\n".join(textwrap.wrap(role, 14)), ha="right", va="center", fontsize=9, weight="bold")
        for j, (regime, agents) in enumerate(columns):
            text, built = cells.get((role, regime, agents), ("", False))
            ax.add_patch(
                Rectangle(
                    (j + 0.02, i + 0.04),
                    0.96,
                    0.92,
                    facecolor="#cfe5f3" if built else "#f6f6f6",
                    lw=1.4 if built else 0.8,
                    edgecolor=COLOUR["model"] if built else "#bbbbbb",
                    hatch=None if built or not text else "///",
                )
            )
            words = "\n".join(textwrap.wrap(text, 20)[:3]) + ("" if built or not text else "\nnot built yet")
            ax.text(
                j + 0.5,
                i + 0.5,
                words if text else "–",
                ha="center",
                va="center",
                fontsize=7.8,
                color="black" if built else "#444444",
                style="normal" if built else "italic",
                bbox=None if built or not text else {"facecolor": "#f6f6f6", "edgecolor": "none", "pad": 0.8},
            )
    ax.set(xlim=(-1.0, 4.02), ylim=(len(roles) + 0.02, -0.75))
    ax.set_axis_off()
    built_cells = [f"{r}, {g}, {a}-agent: {text}" for (r, g, a), (text, ok) in cells.items() if ok]
    return Picture(
        fig,
        alt
        or "Map of the survey, role by regime by number of agents. Built: "
        + ("; ".join(built_cells) or "nothing yet")
        + f". Not built yet: {sum(not ok for _, ok in cells.values())} named cells.",
    )
