"""Sentences that say to which place of two-ways a ball goes, by which way and how fast: their meaning is exact.

    sentence := place way [pace] | way place [pace]
    place    := "go to the" ("upper" | "lower") ("left" | "middle" | "right")
    way      := "by the" ("left" | "right") "way"
    pace     := "slowly" | "quickly"; without it, in between

72 sentences with 36 meanings. A drive begins in the middle of the other row, so both ways lead to each place. "Left"
and "right" are words for a place and for a way: "go to the upper left by the right way" has the same words as "go to
the upper right by the left way". So 12 of the 36 meanings share their words with another one, and who knows only which
words were said can be right about 30 at most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.worlds.driving import Along, drive
from diffrl_lab.worlds.mazes import Controller, make_maze, side
from diffrl_lab.worlds.walls import Walls

ROWS = {"upper": 1, "lower": 4}  # word -> row of the map
COLUMNS = {"left": 1, "middle": 3, "right": 5}  # word -> column of the map
SIDES = {"left": -1, "right": 1}  # word -> which way around the block, as `mazes.side` has it
PACES = {"slowly": 1.5, "": 2.7, "quickly": 4.8}  # word -> the highest speed of a drive, m/s
WORDS = ("go", "to", "the", "upper", "lower", "left", "middle", "right", "by", "way", "slowly", "quickly")
STEPS = 700  # of an episode; the slowest drives take about 500
SPREAD = 0.1  # m: how far a start or a goal lies from the middle of its cell; both ways stay in sight from there
FIRST = 10**6  # the first seed of recorded drives: evaluations use smaller ones
HELD_OUT = (
    ("upper", "left", "right"),
    ("upper", "middle", "left"),
    ("lower", "middle", "right"),
    ("lower", "right", "left"),
)
"""Pairs of place and way (row, column, side) that are never recorded; each place and each way is, with another one."""

_PLACE, _WAY = r"go to the (?P<row>upper|lower) (?P<column>left|middle|right)", r"by the (?P<side>left|right) way"
_FORMS = [re.compile(rf"{a} {b}(?: (?P<pace>slowly|quickly))?") for a, b in ((_PLACE, _WAY), (_WAY, _PLACE))]


@dataclass(frozen=True)
class Meaning:
    """What a sentence means: words of ROWS, COLUMNS, SIDES and PACES."""

    row: str
    column: str
    side: str
    pace: str = ""

    @property
    def cell(self) -> tuple[int, int]:
        """Where the drive ends: (row, column) of the map."""
        return ROWS[self.row], COLUMNS[self.column]

    @property
    def start(self) -> tuple[int, int]:
        """Where it begins: the middle of the other row."""
        return ROWS["lower" if self.row == "upper" else "upper"], COLUMNS["middle"]

    @property
    def held_out(self) -> bool:
        """Whether its pair of place and way is never recorded."""
        return (self.row, self.column, self.side) in HELD_OUT


def meanings() -> list[Meaning]:
    """All 36 of them."""
    return [Meaning(*words) for words in product(ROWS, COLUMNS, SIDES, PACES)]


def said(meaning: Meaning, way_first: bool = False) -> str:
    """A sentence with that meaning: the place first, or the way."""
    parts = [f"go to the {meaning.row} {meaning.column}", f"by the {meaning.side} way"]
    return " ".join([*(parts[::-1] if way_first else parts), *([meaning.pace] if meaning.pace else [])])


def sentences() -> list[str]:
    """All 72 of them, the place first and then the way first."""
    return [said(m, way_first) for way_first in (False, True) for m in meanings()]


def parse(sentence: str) -> Meaning:
    """What a sentence means. Raises ValueError for one that the grammar has not."""
    for form in _FORMS:
        if found := form.fullmatch(sentence):
            return Meaning(**{k: v or "" for k, v in found.groupdict().items()})
    raise ValueError(f"the grammar has no sentence {sentence!r}; one of its 72 is {sentences()[0]!r}")


def indices(sentence: str) -> list[int]:
    """The words of a sentence as their places in WORDS. Raises ValueError for a word that is not there."""
    if strange := [w for w in sentence.split() if w not in WORDS]:
        raise ValueError(f"the grammar has no word {strange[0]!r}; it has {', '.join(WORDS)}")
    return [WORDS.index(w) for w in sentence.split()]


# -------------------------------------------------------------------------------------------------- the world, recorded
class Told:
    """Two-ways with a sentence for each seed: `told[seed % len(told)]`. A Gymnasium environment as `driving.drive`
    wants it; an episode begins in the sentence's start cell, its goal lies in the place that is named."""

    def __init__(self, told: Sequence[str]):
        self.told, self.env = list(told), make_maze("two-ways", max_episode_steps=STEPS, position_noise_range=SPREAD)
        self.action_space, self.observation_space = self.env.action_space, self.env.observation_space

    def sentence(self, seed: int) -> str:
        """What is said in the episode of that seed."""
        return self.told[int(seed) % len(self.told)]

    def reset(self, *, seed: int) -> tuple[Any, dict[str, Any]]:
        """Begin the episode of that seed."""
        meaning = parse(self.sentence(seed))
        cells = {"reset_cell": np.array(meaning.start), "goal_cell": np.array(meaning.cell)}
        return self.env.reset(seed=seed, options=cells)

    def step(self, action: NDArray) -> Any:
        """Gymnasium's."""
        return self.env.step(action)

    def close(self) -> None:
        """Gymnasium's."""
        self.env.close()


class Scripted(Along):
    """Does what a sentence means: the controller that knows the map, by the way and at the speed that are named."""

    def __init__(self, world: Told):
        walls = Walls.named("two-ways")

        def route(obs: NDArray, goal: NDArray, seed: int) -> NDArray:
            meaning = parse(world.sentence(seed))
            left = float(meaning.side == "left")
            return Controller(walls, speed=PACES[meaning.pace], left=left).route(obs, goal, int(seed))

        super().__init__(route)


@dataclass(frozen=True, eq=False)
class Recording:
    """Drives and what was said before each of them."""

    episodes: Episodes
    told: list[str]

    @cached_property
    def starts(self) -> NDArray[np.float64]:
        """The first position of each drive, [E, 2]."""
        return self.episodes.obs[self.episodes.starts, :2].double().numpy()


def recorded(each: int = 8, seed: int = 0, held_out: bool = True) -> Recording:
    """`each` scripted drives for every sentence, or only for those whose pair of place and way is not held out."""
    told = [s for s in sentences() if not (held_out and parse(s).held_out)]
    world, first = Told(told), FIRST + 10_000 * len(told) * seed
    agent = Scripted(world)
    seeds = range(first - first % len(told), first - first % len(told) + each * len(told))
    try:
        driven = drive([world], agent, seeds, until=agent.settled)
    finally:
        world.close()
    rows = ((e.obs.astype(np.float32), e.act.astype(np.float32), e.rew, False) for e in driven)
    return Recording(Episodes.join(rows), [world.sentence(e.seed) for e in driven])


def heeded(states: ArrayLike, meaning: Meaning) -> dict[str, bool]:
    """Whether a path of states [T, 4] did what was meant: "place", it ends in the cell that is named; "way", it passed
    the block on that side; "pace", its highest speed is nearer to that of PACES than to another one, by their ratio;
    "all" three."""
    x = np.asarray(states, float)
    top = np.log(max(float(np.linalg.norm(x[:, 2:4], axis=1).max()), 1e-9))
    nearest = min(PACES, key=lambda word: abs(np.log(PACES[word]) - top))
    ends = tuple(Walls.named("two-ways").cell(x[-1, :2]).tolist()) == meaning.cell
    found = {"place": ends, "way": side(x[:, :2]) == SIDES[meaning.side], "pace": nearest == meaning.pace}
    return found | {"all": all(found.values())}
