"""Recorded episodes, and the windows, transitions, returns and resampled segments that methods are trained on.

All rows of all episodes lie end to end. An episode of L steps has L + 1 rows, because it has L + 1 observations:

    row        0      1      ...  L - 1    L
    obs        o_0    o_1         o_{L-1}  o_L      the observation that the last action led to
    act        a_0    a_1         a_{L-1}  0        nothing is done in the last row
    rew        r_0    r_1         r_{L-1}  0        r_i is paid for a_i
    last       0      0           0        1 or 2   TERMINAL or TIME_LIMIT

So the next observation of row i is row i + 1 whenever last[i] == 0, and it can never belong to another episode.
The last row is also the absorbing state: repeating it pads an episode without inventing motion or reward.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

STEP, TERMINAL, TIME_LIMIT = 0, 1, 2


def _checked(name: str, values: object, ndim: int | None) -> Tensor:
    """values as a tensor of real numbers, or a ValueError that says what came."""
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be an array of numbers, got {np.asarray(values, dtype=object).dtype} "
            f"({type(values).__name__}): {error}"
        ) from None
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} must be real numbers, got {tensor.dtype}")
    if ndim is None and tensor.ndim < 2:
        raise ValueError(f"{name} must have one row per step, [N, d]; got the shape {list(tensor.shape)}")
    if ndim is not None and tensor.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), got the shape {list(tensor.shape)}")
    return tensor


def _check_finite(name: str, tensor: Tensor, ends: Tensor | None = None) -> None:
    """ValueError that names the first row with NaN or infinity, and its episode and step where their ends are known."""
    if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
        return
    row = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(1).nonzero()[0, 0])
    where = ""
    if ends is not None:
        episode = int((ends < row).sum())
        where = f" (episode {episode}, step {row - (int(ends[episode - 1]) + 1 if episode else 0)})"
    raise ValueError(f"{name} must be finite, got {tensor[row].tolist()} in row {row}{where}")


@dataclass(frozen=True, eq=False)
class Episodes:
    """All rows of all episodes end to end; an episode of L steps has L + 1 rows (see the module's picture).

    Arrays are turned into tensors, their dtype is kept. A ValueError names the first thing that is wrong:
    NaN or infinity, a wrong shape or dtype, an episode without a step, rows after the last end.
    """

    obs: Tensor  # [N, *o]  what was observed
    act: Tensor  # [N, a]   what was done, 0 in the last row of an episode
    rew: Tensor  # [N]      what was paid for it, 0 in the last row of an episode
    last: Tensor  # [N]      uint8: 0 within an episode, TERMINAL or TIME_LIMIT in its last row

    def __post_init__(self) -> None:
        obs, act = _checked("obs", self.obs, None), _checked("act", self.act, None)
        rew, last = _checked("rew", self.rew, 1), _checked("last", self.last, 1)
        rew = rew if rew.is_floating_point() else rew.float()
        if not len(obs) == len(act) == len(rew) == len(last):
            raise ValueError(
                "obs, act, rew and last need the same number of rows, got "
                f"{len(obs)}, {len(act)}, {len(rew)} and {len(last)}"
            )
        if not len(last):
            raise ValueError("there must be at least one episode, got no rows")
        if last.is_floating_point() or not bool(((last >= STEP) & (last <= TIME_LIMIT)).all()):
            raise ValueError(
                f"last must be whole numbers {STEP} (step), {TERMINAL} (terminal) or {TIME_LIMIT} "
                f"(time limit), got {last.dtype} with values {last.unique()[:5].tolist()}"
            )
        if last[-1] == STEP:
            raise ValueError(f"the last row must end an episode (last = {TERMINAL} or {TIME_LIMIT}), got {STEP}")
        ends = last.nonzero()[:, 0]
        for name, values in (("obs", obs), ("act", act), ("rew", rew)):
            _check_finite(name, values, ends)
        lengths = torch.diff(ends, prepend=ends.new_tensor([-1])) - 1
        if bool((lengths == 0).any()):
            first = int((lengths == 0).nonzero()[0, 0])
            raise ValueError(f"every episode needs at least one step, episode {first} has none")
        for name, values in (("act", act), ("rew", rew)):
            if bool((values[ends] != 0).any()):
                raise ValueError(f"{name} must be 0 in the last row of an episode: nothing is done there")
        for name, values in (("obs", obs), ("act", act), ("rew", rew), ("last", last.to(torch.uint8))):
            object.__setattr__(self, name, values)

    @classmethod
    def join(cls, episodes: Iterable[tuple]) -> Episodes:
        """Episodes from tuples (obs [L + 1, *o], act [L, a], rew [L], terminal: bool), one per episode.

        terminal is False when a time limit, or the end of the recording, cut the episode. Raises ValueError where
        len(obs) is not len(act) + 1 or where the widths of two episodes differ.
        """
        parts: list[list[np.ndarray]] = [[], [], [], []]
        for number, (obs, act, rew, terminal) in enumerate(episodes):
            obs, act, rew = np.asarray(obs), np.asarray(act), np.asarray(rew)
            if not len(obs) == len(act) + 1 == len(rew) + 1:
                raise ValueError(
                    f"episode {number}: L actions and rewards need L + 1 observations, got "
                    f"{len(obs)} observations, {len(act)} actions, {len(rew)} rewards"
                )
            widths = obs.shape[1:], act.shape[1:]
            if number == 0:
                first = widths
            elif widths != first:
                raise ValueError(
                    f"episode {number}: observations and actions have the shapes {widths[0]} and "
                    f"{widths[1]}, but {first[0]} and {first[1]} in the first episode"
                )
            last = np.zeros(len(obs), np.uint8)
            last[-1] = TERMINAL if terminal else TIME_LIMIT
            for part, values in zip(parts, (obs, _with_zero(act), _with_zero(rew), last), strict=True):
                part.append(values)
        if not parts[0]:
            raise ValueError("there must be at least one episode, got none")
        return cls(*(np.concatenate(part) for part in parts))  # type: ignore[arg-type]

    @cached_property
    def ends(self) -> Tensor:
        """Row of each episode's last observation, [E]."""
        return self.last.nonzero()[:, 0]

    @cached_property
    def starts(self) -> Tensor:
        """Row of each episode's first observation, [E]."""
        return torch.cat([self.ends.new_zeros(1), self.ends[:-1] + 1])

    @cached_property
    def lengths(self) -> Tensor:
        """Steps (actions) in each episode, [E]: one less than its rows."""
        return self.ends - self.starts

    def __len__(self) -> int:
        """Number of episodes E."""
        return len(self.ends)

    def __getitem__(self, which: int | slice | Sequence[int] | Tensor) -> Episodes:
        """The chosen episodes, in the order given: episodes[3], episodes[:100], episodes[[5, 2]]."""
        chosen = torch.arange(len(self), device=self.ends.device)[which].reshape(-1)
        if not len(chosen):
            raise ValueError(f"no episode chosen out of {len(self)}")
        rows = torch.cat(
            [
                torch.arange(int(a), int(b) + 1)
                for a, b in zip(self.starts[chosen].cpu(), self.ends[chosen].cpu(), strict=True)
            ]
        )
        rows = rows.to(self.ends.device)
        return Episodes(self.obs[rows], self.act[rows], self.rew[rows], self.last[rows])

    def to(self, device: torch.device | str) -> Episodes:
        """The same episodes on another device."""
        return Episodes(self.obs.to(device), self.act.to(device), self.rew.to(device), self.last.to(device))


def _with_zero(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, np.zeros((1, *values.shape[1:]), values.dtype)])


def check_velocities(episodes: Episodes) -> None:
    """ValueError unless obs [N, 2n] are n positions followed by their n velocities.

    A position must move as its velocity says, x' - x ~ dt v with one dt > 0: the correlation through the origin of a
    column's displacements with its velocities is at least 1/2 (it is 1 for exact ones, 0 for a goal or a constant).
    """
    obs = episodes.obs.double()
    if obs.ndim != 2 or obs.shape[1] % 2:
        raise ValueError(f"n positions and n velocities are wanted, obs [N, 2n]; got {list(obs.shape)}")
    rows, n = (episodes.last == STEP).nonzero()[:, 0], obs.shape[1] // 2
    moved, v = obs[rows + 1, :n] - obs[rows, :n], (obs[rows, n:] + obs[rows + 1, n:]) / 2
    size = moved.square().sum(0).sqrt() * v.square().sum(0).sqrt()
    r = torch.where(size > 0, (moved * v).sum(0) / torch.where(size > 0, size, 1.0), 0.0)
    wrong = (r < 0.5) & ((moved != 0).any(0) | (v != 0).any(0))
    if bool(wrong.any()):
        i = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"column {n + i} of obs is not the velocity of column {i}: displacements correlate with it by {r[i]:.2f} "
            f"(a velocity: 1); choose columns so that n positions come first, then their n velocities"
        )


class Transitions(NamedTuple):
    """(o, a, r, o', terminal), one row per step."""

    obs: Tensor  # [M, *o]
    act: Tensor  # [M, a]
    rew: Tensor  # [M]
    next_obs: Tensor  # [M, *o] of the same episode
    terminal: Tensor  # [M] bool: no future after o'. A time limit is not terminal: bootstrap through it.


def transitions(episodes: Episodes) -> Transitions:
    """Every step (o_i, a_i, r_i, o_{i+1}, terminal) of every episode, M = all rows that are not a last one."""
    i = (episodes.last == STEP).nonzero()[:, 0]
    e = episodes
    return Transitions(e.obs[i], e.act[i], e.rew[i], e.obs[i + 1], e.last[i + 1] == TERMINAL)


def loose(t: Transitions) -> Episodes:
    """Every transition as an episode of one step, so that what trains on episodes trains on rows that belong together
    in no order: `transitions(loose(t))` is t. An end that is not terminal counts as a time limit."""
    n = len(t.rew)
    obs = torch.stack([t.obs, t.next_obs], 1).flatten(0, 1)
    act, rew = t.act.new_zeros(2 * n, *t.act.shape[1:]), t.rew.new_zeros(2 * n)
    last = torch.zeros(2 * n, dtype=torch.uint8)
    act[::2], rew[::2] = t.act, t.rew
    last[1::2] = torch.where(t.terminal, TERMINAL, TIME_LIMIT).to(torch.uint8)
    return Episodes(obs, act, rew, last)


def together(*parts: Episodes) -> Episodes:
    """The episodes of several recordings as one, in the order given. Raises ValueError for other widths, or none."""
    if not parts or len({(p.obs.shape[1:], p.act.shape[1:]) for p in parts}) > 1:
        raise ValueError(
            "recordings of one world are wanted, with observations and actions of the same shape, got "
            f"{[(list(p.obs.shape[1:]), list(p.act.shape[1:])) for p in parts]}"
        )
    return Episodes(*(torch.cat([getattr(p, k) for p in parts]) for k in ("obs", "act", "rew", "last")))


def window_starts(episodes: Episodes, horizon: int, stride: int = 1, *, final: bool = False) -> Tensor:
    """First row of each window of `horizon` rows that lies in one episode -> [N].

    An episode of L steps gives floor((L - horizon) / stride) + 1 windows, so exactly one when L = horizon, and none
    when it is shorter. The windows hold steps only, each with its action; with final=True the last observation
    (whose action is 0) counts as a row too: windows for plans over observations. Raises ValueError when there are none.
    """
    if horizon < 1 or stride < 1:
        raise ValueError(f"horizon and stride must be at least 1, got {horizon} and {stride}")
    rows = episodes.lengths + int(final)
    counts = torch.where(rows >= horizon, (rows - horizon) // stride + 1, 0)
    if not bool(counts.any()):
        raise ValueError(
            f"windows of {horizon} steps need longer episodes: the longest has {int(rows.max())}; "
            "lower horizon or record more"
        )
    return torch.repeat_interleave(episodes.starts, counts) + stride * _count_up(counts)


def windows(episodes: Episodes, horizon: int, stride: int = 1, *, final: bool = False) -> Tensor:
    """Rows of every window of `horizon` steps that lies in one episode -> [N, H]; episodes.obs[rows] -> [N, H, *o].

    See window_starts for the count, for final, and for less memory when the recording is large.
    """
    starts = window_starts(episodes, horizon, stride, final=final)
    return starts[:, None] + torch.arange(horizon, device=starts.device)


def padded_windows(episodes: Episodes, horizon: int, stride: int = 1) -> tuple[Tensor, Tensor]:
    """Windows that start at every step; past the end the last row is repeated -> rows, mask, both [N, horizon].

    The repeated row is the absorbing state (last observation, action 0, reward 0), taken before any scaling, so that
    a scaler treats it like all data. mask is True on the episode's own rows, its last observation included, and False
    on repeats; `mask & (episodes.last[rows] == 0)` is the mask for actions. An episode of L steps gives
    ceil(L / stride) windows.
    """
    if horizon < 1 or stride < 1:
        raise ValueError(f"horizon and stride must be at least 1, got {horizon} and {stride}")
    counts = (episodes.lengths + stride - 1) // stride
    starts = torch.repeat_interleave(episodes.starts, counts) + stride * _count_up(counts)
    ends = torch.repeat_interleave(episodes.ends, counts)[:, None]
    rows = starts[:, None] + torch.arange(horizon, device=starts.device)
    return torch.minimum(rows, ends), rows <= ends


def returns_to_go(episodes: Episodes, gamma: float, bootstrap: Tensor | None = None) -> Tensor:
    """G_i = r_i + gamma r_{i+1} + ... to the end of the episode, for every row -> [N].

    After a terminal nothing follows. After a time limit something would: bootstrap [E] is the value of each episode's
    last observation, used at time limits only, G_i = ... + gamma^(L - i) bootstrap. Without it such a return is what
    was recorded, and too small by that term. The last row holds 0 or the bootstrap.
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
    rew, ends, lengths = episodes.rew.double(), episodes.ends, episodes.lengths
    value = torch.zeros(len(ends), dtype=torch.float64, device=rew.device)
    if bootstrap is not None:
        bootstrap = _checked("bootstrap", bootstrap, 1).to(value)
        _check_finite("bootstrap", bootstrap)
        if len(bootstrap) != len(ends):
            raise ValueError(f"bootstrap needs one value per episode, got {len(bootstrap)} for {len(ends)} episodes")
        value = torch.where(episodes.last[ends] == TIME_LIMIT, bootstrap, value)
    returns = torch.zeros_like(rew)
    returns[ends] = value
    for back in range(1, int(lengths.max()) + 1):  # all episodes at once, from their ends backwards
        alive = lengths >= back
        rows, ends, lengths = ends[alive] - back, ends[alive], lengths[alive]
        value = rew[rows] + gamma * value[alive]
        returns[rows] = value
    return returns.to(episodes.rew.dtype)


def segments(
    episodes: Episodes,
    points: int,
    min_len: int = 1,
    generator: torch.Generator | None = None,
    n: int = 256,
    *,
    max_len: int | None = None,
) -> tuple[Tensor, Tensor]:
    """n random pieces of episodes, each resampled to `points` observations -> obs [n, points, d], duration [n] (steps).

    A piece starts at a row drawn uniformly from those with min_len steps after them, and ends at a row drawn uniformly
    between min_len (at most max_len) steps later and the end of the episode: it never crosses one. Point k is the
    observation at start + duration k / (points - 1), linear between the two recorded rows beside it; the first and last
    point are recorded rows. Columns keep their units: a recorded velocity stays per second or step of the simulation,
    however long the piece. Raises ValueError when no episode is long enough.
    """
    if points < 2 or min_len < 1 or n < 1 or (max_len is not None and max_len < min_len):
        raise ValueError(
            "segments need points >= 2 and n, min_len >= 1 and max_len >= min_len, got "
            f"{points}, {n}, {min_len}, {max_len}"
        )
    possible = (episodes.lengths - min_len + 1).clamp(min=0).cpu().cumsum(0)  # starts in this and earlier episodes
    if not int(possible[-1]):
        raise ValueError(
            f"segments of at least {min_len} steps need longer episodes: the longest has "
            f"{int(episodes.lengths.max())}; lower min_len or record more"
        )
    draw = torch.rand(2, n, generator=generator, dtype=torch.float64)
    pick = (draw[0] * possible[-1]).long()
    episode = torch.searchsorted(possible, pick, right=True)
    start = episodes.ends.cpu()[episode] - min_len - (possible[episode] - 1 - pick)
    longest = episodes.ends.cpu()[episode] - start
    if max_len is not None:
        longest = longest.clamp(max=max_len)
    duration = min_len + (draw[1] * (longest - min_len + 1)).long()
    return resample(episodes.obs, start, duration, points), duration.to(episodes.obs.device)


def resample(obs: Tensor, start: Tensor, duration: Tensor, points: int) -> Tensor:
    """Rows start .. start + duration (each [n]) of obs [N, d], linear at `points` equal distances -> [n, points, d]."""
    at = torch.linspace(0, 1, points, dtype=torch.float64) * duration[:, None].cpu()
    low = torch.minimum(at.long(), duration[:, None].cpu() - 1)
    dtype = obs.dtype if obs.is_floating_point() else torch.float32
    share = (at - low).to(device=obs.device, dtype=dtype).reshape(*at.shape, *[1] * (obs.ndim - 1))
    rows = (start[:, None].cpu() + low).to(obs.device)
    return torch.lerp(obs[rows].to(dtype), obs[rows + 1].to(dtype), share)


def _count_up(counts: Tensor) -> Tensor:
    """0 .. counts[0] - 1, 0 .. counts[1] - 1, ... end to end."""
    total = counts.cumsum(0)
    return torch.arange(int(total[-1]), device=counts.device) - torch.repeat_interleave(total - counts, counts)
