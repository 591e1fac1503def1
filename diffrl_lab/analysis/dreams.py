"""Dreams held against the exact law of a game: is a drawn picture possible, and does each possible one come as often
as it should?"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffrl_lab.analysis.samples import array
from diffrl_lab.worlds.games import GAMES, Game, Player, Witness, careless

Draw = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(past [B, K, C, h, w] of 0 and 1, act [B, K, a] one-hot, generator) -> the next pictures [B, C, h, w]."""

KINDS = ("certain", "sticky", "restart")


@dataclass(frozen=True, eq=False)
class Moments:
    """What was seen and done in moments of a game, and the exact law of the next picture in each."""

    past: Tensor  # [N, K, C, h, w] uint8, the newest last
    act: Tensor  # [N, K, a] one-hot
    laws: list[list[tuple[float, bytes]]]  # of each moment: probability and picture, the most probable first
    kind: NDArray[np.str_]  # [N], of KINDS

    def __len__(self) -> int:
        return len(self.laws)

    def law(self, k: int) -> tuple[Tensor, Tensor]:
        """The exact law of moment k: probabilities [n], falling, and pictures [n, C, h, w] of 0 and 1."""
        p, seen = zip(*self.laws[k], strict=True)
        shape = self.past.shape[2:]
        pictures = np.stack([np.frombuffer(one, np.uint8).reshape(shape) for one in seen])
        return torch.tensor(p), torch.from_numpy(pictures).float()

    def only(self, kind: str) -> Moments:
        """The moments of one kind. Raises ValueError without any."""
        i = np.flatnonzero(self.kind == kind)
        if not len(i):
            raise ValueError(f"there is no moment of the kind {kind!r} among {len(self)}; there are {set(self.kind)}")
        return Moments(self.past[i], self.act[i], [self.laws[k] for k in i], self.kind[i])


class Possible(NamedTuple):
    """Drawn pictures beside the law: shares of all draws of one kind of moment."""

    kind: str
    draws: int
    impossible: float  # the share of pictures that cannot follow
    weight: float | None  # of the possible ones, the share of the law's first picture; NaN where none was possible
    exact: float | None  # that picture's probability, in the mean; both are None where only one picture may follow


def fresh(name: str, n: int, past: int = 2, *, seed: int = 0, player: Player | None = None) -> Moments:
    """n moments of each kind out of a game that no training saw (breakout), in the order in which they came.

    certain: one picture may follow; sticky: two may, according to whether the last action sticks; restart: the ball was
    lost, and a new game begins. The law is that of the next picture given the game's state, which may know more than
    the last pictures show. Of hunt, sticky are all other moments in which several pictures may follow.
    """
    game = GAMES[name](seed)
    act = player or careless(random.Random(seed + 1))
    eye = np.eye(len(game.actions), dtype=np.float32)
    frames, done = [game.frame()], []
    rows: dict[str, list[tuple[NDArray, NDArray, list]]] = {kind: [] for kind in KINDS}
    order: list[tuple[str, int]] = []
    while min(len(v) for v in rows.values()) < n:
        action = act(game)
        done.append(action)
        if len(done) >= past:
            law = Witness(game, {game.state: 1.0}).law(action)
            pictures = sorted(((p, seen) for seen, (p, _) in law.items()), reverse=True)
            kind = "restart" if game.lost(game.state) else "sticky" if len(pictures) > 1 else "certain"
            if len(rows[kind]) < n:
                order.append((kind, len(rows[kind])))
                rows[kind].append((np.stack(frames[-past:]), eye[done[-past:]], pictures))
        game.step(action)
        frames = [*frames, game.frame()][-past:]
        done = done[-past:]
    chosen = [rows[kind][i] for kind, i in order]
    return Moments(
        torch.from_numpy(np.stack([r[0] for r in chosen])),
        torch.from_numpy(np.stack([r[1] for r in chosen])),
        [r[2] for r in chosen],
        np.array([kind for kind, _ in order]),
    )


def legal(pictures: Any) -> NDArray[np.uint8]:
    """Pictures as a game has them: at least 0.5 is 1. -> [..., C, h, w]"""
    return (array("pictures", pictures) >= 0.5).astype(np.uint8)


@torch.no_grad()
def possible(draw: Draw, moments: Moments, repeats: int = 1, *, seed: int = 0, batch: int = 250) -> list[Possible]:
    """How often what is drawn is possible, and with which weight, by kind; each moment is drawn `repeats` times."""
    generator = torch.Generator().manual_seed(seed)
    which: list[list[int]] = [[] for _ in moments.laws]  # number of the picture in the law, -1: impossible
    for _ in range(repeats):
        for begin in range(0, len(moments), batch):
            part = slice(begin, begin + batch)
            drawn = legal(draw(moments.past[part].float(), moments.act[part], generator))
            for k, picture in enumerate(drawn, begin):
                seen = [p[1] for p in moments.laws[k]]
                which[k].append(seen.index(picture.tobytes()) if picture.tobytes() in seen else -1)
    out = []
    for kind in KINDS:
        rows = np.flatnonzero(moments.kind == kind)
        if not len(rows):
            continue
        came = np.array([which[k] for k in rows])
        several = [k for k in rows if len(moments.laws[k]) > 1]
        weights = np.array([which[k] for k in several]) if several else np.empty((0, 1), int)
        good = weights >= 0
        out.append(
            Possible(
                kind,
                came.size,
                float((came < 0).mean()),
                (float((weights == 0).sum() / good.sum()) if good.any() else np.nan) if several else None,
                float(np.mean([moments.laws[k][0][0] for k in several])) if several else None,
            )
        )
    return out


class Lasted(NamedTuple):
    """How far dreams went: for each, how many pictures were possible before the first that was not."""

    frames: NDArray[np.int64]  # [n]; `limit` where none was impossible
    limit: int

    @property
    def median(self) -> float:
        return float(np.median(self.frames))


@torch.no_grad()
def lasted(
    draw: Draw, name: str, n: int = 32, limit: int = 200, past: int = 2, *, project: bool = True, seed: int = 0
) -> Lasted:
    """Dreams that go on from their own pictures, until one is impossible given all before it.

    They begin with `past` real pictures. The player sees the game that the dream shows: he does what `careless` does
    in the most probable state. project: each drawn picture is rounded before it is shown to the model again; what is
    judged is always the rounded one.
    """
    generator, kind = torch.Generator().manual_seed(seed), GAMES[name]
    games: list[Game] = []
    shown, done, witnesses, players = [], [], [], []
    for k in range(n):
        game, act = kind(seed + k), careless(random.Random(seed + k), 0.3)
        frames, actions = [], []
        for _ in range(past + 20):
            frames.append(game.frame())
            actions.append(act(game))
            game.step(actions[-1])
        games.append(game)
        shown.append([*frames, game.frame()][-past:])
        done.append(actions[-past + 1 :] if past > 1 else [])
        witnesses.append(Witness(game, {game.state: 1.0}))
        players.append(act)
    history = torch.from_numpy(np.stack([np.stack(f) for f in shown])).float()
    eye = np.eye(len(kind.actions), dtype=np.float32)
    frames_of, alive = np.full(n, limit), np.ones(n, bool)
    for i in range(limit):
        which = np.flatnonzero(alive).tolist()
        if not which:
            break
        actions = []
        for k in which:
            games[k].state = max(witnesses[k].states.items(), key=itemgetter(1))[0]
            actions.append(players[k](games[k]))
            done[k] = [*done[k], actions[-1]][-past:]
        act_now = torch.from_numpy(np.stack([eye[done[k]] for k in which]))
        drawn = draw(history[which], act_now, generator)
        rounded = legal(drawn)
        for j, k in enumerate(which):
            if witnesses[k].see(actions[j], rounded[j]) == 0:
                frames_of[k], alive[k] = i, False
        newest = torch.from_numpy(rounded).float() if project else drawn.clamp(0, 1)
        history[which] = torch.cat([history[which][:, 1:], newest[:, None]], 1)
    return Lasted(frames_of, limit)


def drawn_by(model: Any, **options: Any) -> Draw:
    """The draws of a world model, `model.sample(past, act, **options)`."""
    return lambda past, act, generator: model.sample(past, act, generator=generator, **options)
