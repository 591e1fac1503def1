"""Plans by sentences, behind the end of lesson 08: who heeds a sentence, and who one whose place and way never met?

- `heeded`: each of the 72 sentences of `worlds.sentences` is said once, and what the ball then does is judged by its
  meaning: planners that read, count or parse the words, three trainings each, and what needs no training.

Points are kept in runs/language. How the study came about: docs/studies/language.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.analysis.intervals import student
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.files import ROOT
from diffrl_lab.methods.planning import diffuser, language
from diffrl_lab.methods.planning.plans import interpolated, seconds_per_step
from diffrl_lab.studies.study import Part
from diffrl_lab.worlds import sentences
from diffrl_lab.worlds.driving import Along, drive
from diffrl_lab.worlds.sentences import WORDS, Meaning, Recording, Told, heeded, parse, recorded, said
from diffrl_lab.worlds.walls import RADIUS, Walls

Array = NDArray[np.float64]
Speaking = Callable[[Array, str, int], Array]
"""(state [4], sentence, seed) -> the states to be in, one for each step, [T, 4]."""

RUNS, VERSION = ROOT / "runs" / "language", "1"
EACH = 6  # recorded drives a sentence that is not held out
UPDATES, BATCH = 1000, 128  # of each planner
PLANNERS = {"gru": "words read by a GRU", "bag": "words counted", "meaning": "words parsed by the grammar"}
SIMPLE = {
    "nearest": "recorded drive with the same words",
    "words": "least squares on words",
    "pairs": "least squares on words and pairs",
}
PARTS_HEEDED = ("place", "way", "pace", "all")


class Nearest:
    """The recorded drive before which the same sentence was said, from the nearest start; where it never was, one with
    as many words in common as there are."""

    def __init__(self, recording: Recording):
        self.recording, self.bags = recording, [Counter(s.split()) for s in recording.told]

    def __call__(self, obs: Array, sentence: str, seed: int) -> Array:
        r, bag = self.recording, Counter(sentence.split())
        same = np.array([s == sentence for s in r.told])
        if not same.any():
            common = np.array([(b & bag).total() - (b - bag).total() for b in self.bags])
            same = common == common.max()
        k = np.flatnonzero(same)[np.linalg.norm(r.starts[same] - obs[:2], axis=1).argmin()]
        return r.episodes.obs[r.episodes.starts[k] : r.episodes.ends[k] + 1].double().numpy()


class LeastSquares:
    """A plan [H, 5] as a linear function of the start and of indicators of words, or of words and of which word comes
    after which, by least squares (the smallest solution where there are several)."""

    def __init__(self, recording: Recording, pairs: bool, horizon: int = 32):
        self.pairs, self.horizon = pairs, horizon
        x, _ = diffuser.drives(recording.episodes, diffuser.Config(horizon=horizon), 10**6)
        self.seconds = seconds_per_step(recording.episodes)
        self.W = np.linalg.lstsq(self._features(recording.starts, recording.told), x.flatten(1).double().numpy())[0]

    def _features(self, starts: ArrayLike, told: Sequence[str]) -> Array:
        n = len(WORDS)
        rows = np.zeros((len(told), n + n * n))
        for row, sentence in zip(rows, told, strict=True):
            k: NDArray[np.int64] = np.array(sentences.indices(sentence), np.int64)
            np.add.at(row, k, 1)
            np.add.at(row, n + n * k[:-1] + k[1:], float(self.pairs))
        return np.concatenate([np.ones((len(told), 1)), np.asarray(starts, float), rows], 1)

    def __call__(self, obs: Array, sentence: str, seed: int) -> Array:
        x = (self._features(obs[None, :2], [sentence]) @ self.W).reshape(self.horizon, 5)
        return interpolated(x[:, :4], float(np.exp(x[:, 4].mean())), self.seconds)


@lru_cache(maxsize=1)
def recording() -> Recording:
    """The drives that all learn from: scripted, each with its sentence; held-out pairs are not among them."""
    return recorded(EACH)


def trained(encoder: str, seed: int, updates: int = UPDATES) -> language.Language:
    """A planner by its way to read."""
    found = recording()
    config = language.Config(encoder=encoder, updates=updates, batch=BATCH)
    run = language.train(found.episodes, config, told=found.told, seed=seed)
    for _ in run:
        pass
    return run.model


def shares_words(meaning: Meaning) -> bool:
    """Whether another meaning is said with the same words."""
    return {meaning.column, meaning.side} == {"left", "right"}


def judged(speaking: Speaking, told: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every sentence said once, to a ball that then follows the plan. -> for each: whether plan and drive heed place,
    way, pace and all, whether the plan is clear of walls, its pair held out, its words those of another meaning"""
    told, walls = list(told) or sentences.sentences(), Walls.named("two-ways")
    world = Told(told)
    agent = Along(lambda obs, goal, seed: speaking(np.asarray(obs, float), world.sentence(seed), seed))
    try:
        episodes = drive([world], agent, range(len(told)), until=agent.settled)
    finally:
        world.close()
    rows = []
    for episode, sentence in zip(episodes, told, strict=True):
        meaning = parse(sentence)
        plan, driven = heeded(episode.reference, meaning), heeded(episode.obs, meaning)
        row = {f"plan {k}": v for k, v in plan.items()} | {f"drive {k}": v for k, v in driven.items()}
        row["clear"] = not bool(walls.inside(episode.reference[:, :2], RADIUS).any())
        rows.append(row | {"held out": meaning.held_out, "shared": shares_words(meaning)})
    return rows


def who(arm: str, seed: int) -> Speaking:
    """What answers to sentences: a planner that is trained for it, or one of SIMPLE."""
    if arm in PLANNERS:
        return trained(arm, seed).route
    return Nearest(recording()) if arm == "nearest" else LeastSquares(recording(), arm == "pairs")


def answered(arm: str, *, seed: int) -> dict[str, Any]:
    """An arm on the 72 sentences: shares of drives that heed what was said, of sentences whose pair of place and way
    was recorded, of those whose pair was held out, and of those whose words have two meanings (held out or not)."""
    rows = judged(who(arm, seed))
    groups = {"seen": [r for r in rows if not r["held out"]], "held out": [r for r in rows if r["held out"]]}
    groups["shared"] = [r for r in rows if r["shared"]]
    found: dict[str, Any] = {}
    for group, same in groups.items():
        found |= {f"{group} {k}": float(np.mean([r[f"drive {k}"] for r in same])) for k in PARTS_HEEDED}
        found[f"{group} plan"] = float(np.mean([r["plan all"] for r in same]))
        found[f"{group} sentences"] = len(same)
    return found | {"clear": float(np.mean([r["clear"] for r in rows]))}


def by_arm(table: Table) -> list[dict[str, Any]]:
    """The trainings of each arm as one row, with Student's interval over trainings where there are several."""
    rows = []
    for arm in dict.fromkeys(r["arm"] for r in table.rows):
        same = [r for r in table.rows if r["arm"] == arm]
        row: dict[str, Any] = {"arm": (PLANNERS | SIMPLE)[arm], "seeds": len(same) if arm in PLANNERS else 0}
        for group in ("seen", "held out", "shared"):
            for name in (*PARTS_HEEDED, "plan"):
                values = [r[f"{group} {name}"] for r in same]
                row[f"{group} {name}"] = float(np.mean(values))
                if len(values) > 1:
                    row[f"{group} {name}_interval"] = list(student(values, 0, 1) or ())
        rows.append(row | {"clear": float(np.mean([r["clear"] for r in same]))})
    return rows


def _heeded(seeds: Sequence[int]) -> Table:
    grids = (([{"arm": arm} for arm in SIMPLE], seeds[:1]), ([{"arm": arm} for arm in PLANNERS], seeds))
    table = Table.joined(run_grid(answered, g, seeds=s, cache=RUNS, version=VERSION) for g, s in grids)
    return Table(table.rows, table.about | {"summary": by_arm(table)})


def ambiguous(meaning: Meaning) -> tuple[str, str]:
    """A sentence that shares its words with another meaning, and that other sentence. Raises ValueError where none
    does."""
    if not shares_words(meaning):
        raise ValueError(f"no other meaning has the words of {said(meaning)!r}")
    return said(meaning), said(Meaning(meaning.row, meaning.side, meaning.column, meaning.pace))


PARTS = {"heeded": Part(_heeded, "results/language-heeded.json", seeds=3)}
