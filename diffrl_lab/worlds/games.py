"""Games of 10 x 10 cells whose law is known exactly: what a world model is held against.

Breakout, in the manner of MinAtar (Young and Tian 2019, whose published rules it follows): a paddle, a ball and its
trail, three rows of bricks. It never ends: the frame after a lost ball is a new game's. Two of its transitions are
random, and their probabilities are known: with STICKY the last action is done again in place of the one asked for, and
a new game begins on either side with 1/2.

Hunt: a hunter among walls, a pellet, and a beast that walks at random. An eaten pellet lies somewhere else at once,
everywhere with the same probability; where the beast meets the hunter, the next frame is a new game's.

A frame is uint8 [C, 10, 10], 0 or 1, one channel for each kind of thing. `outcomes` enumerates all that may follow.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffrl_lab.data.minari import place, write

SIZE = 10
STICKY = 0.1  # Machado et al. (2018) repeat the last action with 0.25 in Atari, MinAtar with 0.1
Frame = NDArray[np.uint8]


class Outcome(NamedTuple):
    """One of the states that may follow: with which probability, and which reward is paid on the way."""

    p: float
    state: Any
    reward: float


class Game:
    """A game in play: `state`, `frame()`, `step(action)`, and `outcomes(action)`, which says exactly what may follow.

    Equal seeds and equal actions give equal games.
    """

    channels: ClassVar[tuple[str, ...]]
    actions: ClassVar[tuple[str, ...]]
    state: Any

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)

    def frame(self) -> Frame:
        """What is seen of the state. -> [C, 10, 10]"""
        return self.picture(self.state)

    def step(self, action: int) -> float:
        """Do an action, a number below len(actions) -> the reward. Raises ValueError for another number."""
        raise NotImplementedError

    def outcomes(self, action: int, state: Any = None) -> list[Outcome]:
        """All states that may follow `state` (default: the present one), each once; probabilities add up to 1."""
        raise NotImplementedError

    @staticmethod
    def lost(state: Any) -> bool:
        """Whether the next frame is a new game's, whatever is done."""
        raise NotImplementedError

    @staticmethod
    def picture(state: Any) -> Frame:
        """What is seen of a state. -> [C, 10, 10]"""
        raise NotImplementedError

    def _checked(self, action: int) -> int:
        if not 0 <= action < len(self.actions):
            raise ValueError(f"an action is a number from 0 to {len(self.actions) - 1}, got {action!r}")
        return int(action)


# ---------------------------------------------------------------------------------------------------------- Breakout
BRICKS = (1 << 3 * SIZE) - 1  # one bit for each brick: rows 1 to 3, left to right
BOTTOM = SIZE - 1  # the paddle's row


class Ball(NamedTuple):
    """A state of Breakout. The ball is at (x, y), y downwards, and moves by (dx, dy), each -1 or 1."""

    paddle: int
    x: int
    y: int
    dx: int
    dy: int
    trail: tuple[int, int]  # where the ball was
    bricks: int
    struck: bool  # it hit a brick one step ago, and hits none now
    last: int  # what was done last, and may stick
    lost: bool


class Breakout(Game):
    """Actions: stay, left, right. Reward: 1 for a brick. When the last brick has gone and the ball is down, all return.

    The ball bounces off walls, bricks and the paddle: straight under the ball it sends it up; met from the side, back.
    """

    channels = ("paddle", "ball", "trail", "brick")
    actions = ("stay", "left", "right")
    state: Ball

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.state = _serve(self.rng.getrandbits(1))

    def step(self, action: int) -> float:
        done = self._checked(action)
        if self.state.lost:
            self.state = _serve(self.rng.getrandbits(1))
            return 0.0
        if self.rng.random() < STICKY:
            done = self.state.last
        self.state, reward = bounce(self.state, done)
        return reward

    def outcomes(self, action: int, state: Ball | None = None) -> list[Outcome]:
        asked, state = self._checked(action), self.state if state is None else state
        if state.lost:
            return [Outcome(0.5, _serve(side), 0.0) for side in (0, 1)]
        if asked == state.last:
            return [Outcome(1.0, *bounce(state, asked))]
        return [Outcome(1 - STICKY, *bounce(state, asked)), Outcome(STICKY, *bounce(state, state.last))]

    @staticmethod
    def lost(state: Ball) -> bool:
        return state.lost

    @staticmethod
    def picture(state: Ball) -> Frame:
        seen = _wall(state.bricks).copy()
        seen[10 * BOTTOM + state.paddle] = 1
        seen[100 + 10 * state.y + state.x] = 1
        seen[200 + 10 * state.trail[1] + state.trail[0]] = 1
        return seen.reshape(4, SIZE, SIZE)


def _serve(side: int) -> Ball:
    """A new game: the ball comes down from the left (0) or from the right (1), the paddle is left of the middle."""
    x, dx = ((0, 1), (BOTTOM, -1))[side]
    return Ball(4, x, 3, dx, 1, (x, 3), BRICKS, False, 0, False)


def bounce(state: Ball, done: int) -> tuple[Ball, float]:
    """One step of Breakout when the action `done` is what happens -> the state and the reward."""
    paddle, x, y, dx, dy, _, bricks, struck, _, _ = state
    paddle = min(BOTTOM, max(0, paddle + (0, -1, 1)[done]))
    to_x, to_y = x + dx, y + dy
    reward, hit, lost = 0.0, False, False
    if not 0 <= to_x <= BOTTOM:
        to_x, dx = x, -dx
    if to_y < 0:
        to_y, dy = 0, -dy
    elif 1 <= to_y <= 3 and bricks >> (SIZE * (to_y - 1) + to_x) & 1:
        hit = True
        if not struck:  # two bricks in a row are passed, else a ball between two of them would never come out
            bricks ^= 1 << (SIZE * (to_y - 1) + to_x)
            reward, to_y, dy = 1.0, y, -dy
    elif to_y == BOTTOM:
        bricks = bricks or BRICKS
        if x == paddle:
            to_y, dy = y, -dy
        elif to_x == paddle:
            to_y, dx, dy = y, -dx, -dy
        else:
            lost = True
    return Ball(paddle, to_x, to_y, dx, dy, (x, y), bricks, hit, done, lost), reward


@lru_cache(maxsize=4096)
def _wall(bricks: int) -> Frame:
    """A frame of nothing but bricks, flat. -> [400]"""
    seen = np.zeros(4 * SIZE * SIZE, np.uint8)
    seen[310:340] = [bricks >> i & 1 for i in range(3 * SIZE)]
    seen.flags.writeable = False
    return seen


# -------------------------------------------------------------------------------------------------------------- Hunt
MOVES = ((0, 0), (0, -1), (1, 0), (0, 1), (-1, 0))  # (x, y), y downwards: stay, up, right, down, left
WALLS = (
    "..........",
    ".##....##.",
    ".#......#.",
    "....##....",
    "..........",
    "..........",
    "....##....",
    ".#......#.",
    ".##....##.",
    "..........",
)
FREE = tuple((x, y) for y, row in enumerate(WALLS) for x, cell in enumerate(row) if cell == ".")
_FREE = frozenset(FREE)
Cell = tuple[int, int]


class Chase(NamedTuple):
    """A state of Hunt: cells (x, y), y downwards."""

    hunter: Cell
    beast: Cell
    pellet: Cell
    lost: bool


class Hunt(Game):
    """Actions: stay, up, right, down, left. Reward: 1 for a pellet. The beast goes one cell in a random direction.

    Each of the four directions has probability 1/4; a wall leaves it, or the hunter, where it was. Where the two meet,
    or change places, the game is lost. A new pellet lies in any free cell but the hunter's and the beast's.
    """

    channels = ("hunter", "beast", "pellet", "wall")
    actions = ("stay", "up", "right", "down", "left")
    state: Chase

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.state = self.rng.choice(_beginnings())

    def step(self, action: int) -> float:
        asked = self._checked(action)
        if self.state.lost:
            self.state = self.rng.choice(_beginnings())
            return 0.0
        walked, reward = walk(self.state, asked, self.rng.randrange(1, 5))
        if reward:
            walked = walked._replace(pellet=self.rng.choice(_elsewhere(walked)))
        self.state = walked
        return reward

    def outcomes(self, action: int, state: Chase | None = None) -> list[Outcome]:
        asked, state = self._checked(action), self.state if state is None else state
        if state.lost:
            every = _beginnings()
            return [Outcome(1 / len(every), new, 0.0) for new in every]
        shares: dict[tuple[Chase, float], float] = {}
        for direction in range(1, 5):
            walked, reward = walk(state, asked, direction)
            cells = _elsewhere(walked) if reward else (walked.pellet,)
            for cell in cells:
                key = walked._replace(pellet=cell), reward
                shares[key] = shares.get(key, 0.0) + 0.25 / len(cells)
        return [Outcome(p, *key) for key, p in shares.items()]

    @staticmethod
    def lost(state: Chase) -> bool:
        return state.lost

    @staticmethod
    def picture(state: Chase) -> Frame:
        seen = _ground().copy()
        for channel, (x, y) in enumerate(state[:3]):
            seen[channel, y, x] = 1
        return seen


def walk(state: Chase, asked: int, direction: int) -> tuple[Chase, float]:
    """One step of Hunt when the beast goes in `direction`; an eaten pellet still lies where it was -> state, reward."""
    hunter, beast = _moved(state.hunter, asked), _moved(state.beast, direction)
    lost = hunter == beast or (hunter == state.beast and beast == state.hunter)
    reward = float(not lost and hunter == state.pellet)
    return Chase(hunter, beast, state.pellet, lost), reward


def _moved(cell: Cell, move: int) -> Cell:
    to = cell[0] + MOVES[move][0], cell[1] + MOVES[move][1]
    return to if to in _FREE else cell


def _elsewhere(state: Chase) -> tuple[Cell, ...]:
    return tuple(cell for cell in FREE if cell not in (state.hunter, state.beast))


@lru_cache(maxsize=1)
def _beginnings() -> list[Chase]:
    """All states that a game may begin with: hunter below left, beast above right, the pellet anywhere else."""
    first = Chase((0, BOTTOM), (BOTTOM, 0), (0, 0), False)
    return [first._replace(pellet=cell) for cell in _elsewhere(first)]


@lru_cache(maxsize=1)
def _ground() -> Frame:
    seen = np.zeros((4, SIZE, SIZE), np.uint8)
    seen[3] = [[cell == "#" for cell in row] for row in WALLS]
    return seen


GAMES: dict[str, type[Game]] = {"breakout": Breakout, "hunt": Hunt}


# ------------------------------------------------------------------------------------------- what frames are held to
class Witness:
    """Follows frames of a game, dreamed or real, and says which was impossible.

    It keeps the probability of every state that agrees with all frames so far, as Bayes' rule has it.
    """

    def __init__(self, game: Game, states: dict[Any, float]) -> None:
        self.game, self.states = game, dict(states)

    def law(self, action: int) -> dict[bytes, tuple[float, dict[Any, float]]]:
        """The exact law of the next frame: its bytes -> (probability, the states that show it with theirs)."""
        shares: dict[bytes, tuple[float, dict[Any, float]]] = {}
        for state, weight in self.states.items():
            for p, after, _ in self.game.outcomes(action, state):
                seen = self.game.picture(after).tobytes()
                total, states = shares.get(seen, (0.0, {}))
                states[after] = states.get(after, 0.0) + weight * p
                shares[seen] = total + weight * p, states
        return shares

    def see(self, action: int, frame: Frame) -> float:
        """The probability of `frame` after `action`; 0: it is impossible, and what was known stays as it was."""
        p, states = self.law(action).get(np.asarray(frame, np.uint8).tobytes(), (0.0, {}))
        if p > 0:
            self.states = {state: weight / p for state, weight in states.items()}
        return p

    def reason(self, action: int, frame: Frame) -> str:
        """What is wrong with an impossible frame, in a sentence: the first channel in which no legal frame agrees."""
        legal = [np.frombuffer(seen, np.uint8).reshape(-1, SIZE, SIZE) for seen in self.law(action)]
        nearest = min(legal, key=lambda one: int((one != frame).sum()))
        for name, has, may in zip(self.game.channels, np.asarray(frame), nearest, strict=True):
            if (has != may).any():
                return f"{name}: {_cells(has)} where {_cells(may)} is possible"
        return "this frame is possible"


def _cells(channel: Frame) -> str:
    """The cells of a channel in words: "column 4, row 9", "none", "12 cells"."""
    rows, columns = np.nonzero(channel)
    if len(rows) > 2:
        return f"{len(rows)} cells"
    return " and ".join(f"column {x}, row {y}" for y, x in zip(rows, columns, strict=True)) or "none"


# ----------------------------------------------------------------------------------------------- who plays, and records
Player = Callable[[Game], int]


def scripted(game: Game) -> int:
    """The action of a player who knows the rules: below where the ball will be; or one cell nearer to the pellet."""
    if isinstance(game, Breakout):
        state = game.state
        x = state.x + state.dx if 0 <= state.x + state.dx <= BOTTOM else state.x
        x = x if state.y < BOTTOM - 1 else state.x
        return 0 if x == state.paddle else 1 if x < state.paddle else 2
    assert isinstance(game, Hunt)
    away = _distances(game.state.pellet)
    near = {_moved(game.state.beast, direction) for direction in range(5)}  # where the beast may be next
    safe = [a for a in range(5) if _moved(game.state.hunter, a) not in near]
    return min(safe or range(5), key=lambda a: away[_moved(game.state.hunter, a)])


@cache
def _distances(goal: Cell) -> dict[Cell, int]:
    """Steps from every free cell to a goal."""
    steps, edge = {goal: 0}, [goal]
    for cell in edge:
        for to in {_moved(cell, move) for move in range(1, 5)} - steps.keys():
            steps[to] = steps[cell] + 1
            edge.append(to)
    return steps


def careless(rng: random.Random, share: float | None = None) -> Player:
    """A player who does something random with probability `share`, else what `scripted` does.

    By default the share changes every 50 steps or so, between 0, 0.3 and 1: a recording sees good and bad play.
    """
    now = 0.3 if share is None else share

    def act(game: Game) -> int:
        nonlocal now
        if share is None and rng.random() < 0.02:
            now = rng.choices((0.0, 0.3, 1.0), (0.3, 0.5, 0.2))[0]
        return rng.randrange(len(game.actions)) if rng.random() < now else scripted(game)

    return act


class Played(NamedTuple):
    """A game that was played: frame i shows what was there before action i; the last one, what came of all."""

    frames: Frame  # [N + 1, C, 10, 10]
    act: NDArray[np.int64]  # [N]
    rew: NDArray[np.float32]  # [N]


def play(game: Game, player: Player, steps: int) -> Played:
    """So many steps of a game."""
    frames = np.empty((steps + 1, len(game.channels), SIZE, SIZE), np.uint8)
    act, rew = np.empty(steps, np.int64), np.empty(steps, np.float32)
    frames[0] = game.frame()
    for i in range(steps):
        act[i] = player(game)
        rew[i] = game.step(int(act[i]))
        frames[i + 1] = game.frame()
    return Played(frames, act, rew)


def record(
    name: str,
    steps: int = 30_000,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Play breakout or hunt carelessly for exactly `steps` steps into a Minari dataset of one episode -> its folder.

    Observations are frames, uint8 [4, 10, 10]; actions count those of the game. Equal arguments give equal files.
    Raises ValueError for an unknown name, numbers out of range, or a dataset that exists and overwrite=False.
    """
    if name not in GAMES:
        raise ValueError(f"a game is one of {', '.join(GAMES)}; got {name!r}")
    if steps < 1 or seed < 0:
        raise ValueError(f"steps must be at least 1 and seed at least 0; got {steps} and {seed}")
    folder = place(f"{name}-v0", out, overwrite)
    played = play(GAMES[name](seed), careless(random.Random(seed + 1)), steps)
    env = make(name)
    episode = {"obs": played.frames, "act": played.act, "rew": played.rew.astype(float), "seed": seed, "told": {}}
    about = {
        "dataset_id": folder.name,
        "algorithm_name": "a scripted player, careless to a degree that changes",
        "description": f"{steps} steps of {name}, which never ends, seed {seed}",
        "author": {"diffrl_lab"},
        "recorded_with": f"diffrl-lab record {name} --steps {steps} --seed {seed}",
    }
    write(folder, [episode], (env.observation_space, env.action_space, env.spec), about, overwrite=overwrite)
    return folder


def make(name: str, steps: int = 1000) -> Any:
    """breakout or hunt as Gymnasium's environment, cut off (`truncated`) after so many steps; it never terminates.

    Observations uint8 [4, 10, 10], actions Discrete. The info's `lost` is 1 where the next frame is a new game's.
    Raises ValueError for another name.
    """
    import gymnasium

    if name not in GAMES:
        raise ValueError(f"a game is one of {', '.join(GAMES)}; got {name!r}")
    known = f"diffrl_lab/{name.capitalize()}-v0"
    if known not in gymnasium.registry:
        gymnasium.register(known, "diffrl_lab.worlds.games:environment", kwargs={"name": name})
    return gymnasium.make(known, max_episode_steps=steps)


def environment(name: str) -> Any:
    """The environment that `make` registers, without a limit."""
    import gymnasium

    class Environment(gymnasium.Env):
        def __init__(self) -> None:
            kind = GAMES[name]
            self.observation_space = gymnasium.spaces.Box(0, 1, (len(kind.channels), SIZE, SIZE), np.uint8)
            self.action_space = gymnasium.spaces.Discrete(len(kind.actions))

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Frame, dict]:
            super().reset(seed=seed)
            self.game = GAMES[name](int(self.np_random.integers(2**31)))
            return self.game.frame(), {"lost": 0}

        def step(self, action: int) -> tuple[Frame, float, bool, bool, dict]:
            reward = self.game.step(int(action))
            return self.game.frame(), reward, False, False, {"lost": int(self.game.lost(self.game.state))}

    return Environment()
