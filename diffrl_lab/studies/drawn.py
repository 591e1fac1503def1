"""A maze that a learner draws: drives in it are recorded, a small planner is trained on them, and it is tried there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.methods.baselines.retrieval import retrieval
from diffrl_lab.methods.baselines.straight import straight
from diffrl_lab.methods.planning.diffuser import Agent, Config, Diffuser, train
from diffrl_lab.widgets.mazes import draw_maze, planned_and_driven
from diffrl_lab.widgets.pictures import Picture
from diffrl_lab.widgets.progress import progress
from diffrl_lab.worlds.driving import Episode, arrived, drive
from diffrl_lab.worlds.mazes import drawn_maze
from diffrl_lab.worlds.record import SPREAD, scripted
from diffrl_lab.worlds.walls import Walls

EXAMPLE = [
    [int(cell) for cell in row]
    for row in (
        "1111111111",
        "1000100001",
        "1110101101",
        "1000101001",
        "1011101011",
        "1010001001",
        "1000111001",
        "1111111111",
    )
]
"""What there is to see before anything is drawn: mostly corridors, so that the straight line meets walls."""
SMALL = Config(horizon=24, width=192, channels=16, batch=64, lr=5e-3, ema=0.99, updates=700)
"""A planner that is trained in seconds, and is worse than the shipped ones for it."""

PLANS = 20  # how often a planner plans in one episode at most: one that knows nothing would plan at every step


@dataclass(frozen=True, eq=False)
class Tried:
    """What came out in a drawn maze."""

    walls: Walls
    recorded: Episodes
    planner: Diffuser
    drives: Mapping[str, Sequence[Episode]]  # who drove -> an episode for each goal, the same goals for all

    @property
    def reached(self) -> dict[str, int]:
        """Who drove -> how many goals were reached."""
        return {name: sum(bool(e.reached) for e in episodes) for name, episodes in self.drives.items()}

    def picture(self, name: str, n: int = 6, *, alt: str) -> Picture:
        """The first n drives of one of the drivers over the first plan of each, start and goal marked."""
        shown = {f"goal {k + 1}": e for k, e in enumerate(self.drives[name][:n])}
        planned, driven = ({k: x(e) for k, e in shown.items()} for x in (lambda e: e.reference, lambda e: e.obs))
        picture = planned_and_driven(self.walls, planned, driven, ncols=3, alt=alt)
        for ax, (title, e) in zip(picture.axes, shown.items(), strict=False):
            draw_maze(ax, None, e.obs[0, :2], e.goal)
            ax.set_title(f"{title}: {'reached' if e.reached else 'missed'}, {e.plans} plan{'s' * (e.plans > 1)}")
        return picture


def learn(
    maze_map: Sequence[Sequence[int]],
    *,
    episodes: int = 80,
    updates: int = SMALL.updates,
    goals: int = 20,
    seed: int = 0,
) -> Tried:
    """Record, train and drive in a maze of one's own, each with a bar in view.

    `episodes` drives of the controller that knows the map are recorded; `SMALL` is trained on them for `updates`
    updates; then planner, retrieval and the straight line drive from the same `goals` random starts to as many goals.
    Raises ValueError for a map in which a ball cannot be driven (`drawn_maze`).
    """
    world = drawn_maze(maze_map, position_noise_range=SPREAD)
    teacher = progress(scripted(world, seed), episodes, "drives recorded by the controller that knows the map")
    recorded = Episodes.join((e.obs.astype(np.float32), e.act.astype(np.float32), e.rew, False) for e in teacher)
    run = train(recorded, replace(SMALL, updates=updates), seed=seed)
    for _ in progress(run, updates, "updates of the planner, which sees only these drives"):
        pass
    drivers = {"planner": Agent(run.model, most=PLANS), "retrieval": retrieval(recorded), "straight line": straight()}
    env = drawn_maze(maze_map)
    each = (
        (name, drive([env], agent, [seed + k], until=arrived)[0])
        for name, agent in drivers.items()
        for k in range(goals)
    )
    tried: dict[str, list[Episode]] = {name: [] for name in drivers}
    for name, episode in progress(each, goals * len(drivers), "goals tried by planner, retrieval and straight line"):
        tried[name].append(episode)
    walls = Walls.of(env)
    world.close(), env.close()
    return Tried(walls, recorded, run.model, tried)
