"""Rules that a plan and a drive are judged by: zones to keep out of, and limits of speed.

A rule speaks of states [..., 2n], n = 2 positions (m) and as many velocities (m/s). Between two successive states the
ball goes in a straight line, and that *segment* breaks a rule if any point of it does: a path may jump over a zone
without a single state in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor


@dataclass(frozen=True)
class Disc:
    """A round zone, forbidden for the ball's centre: (x, y) its middle, radius in metres."""

    x: float
    y: float
    radius: float

    def depth(self, states: Tensor) -> Tensor:
        """How far states lie inside, in metres (negative: outside). -> [...]"""
        return self.radius - self._from(states).norm(dim=-1)

    def broken(self, states: Tensor) -> Tensor:
        """Whether each segment between states [..., H, 2n] meets the zone. -> bool [..., H - 1]"""
        p = self._from(states)
        a, way = p[..., :-1, :], p.diff(dim=-2)
        u = (-(a * way).sum(-1) / way.square().sum(-1).clamp(min=1e-12)).clamp(0, 1)
        return (a + u[..., None] * way).norm(dim=-1) < self.radius

    def nearest(self, states: Tensor) -> Tensor:
        """States with their positions moved to the nearest place outside; velocities stay."""
        p = self._from(states)
        length = p.norm(dim=-1, keepdim=True)
        out = p * (self.radius / length.clamp(min=1e-6)).clamp(min=1)
        return torch.cat([out + states.new_tensor([self.x, self.y]), states[..., 2:]], -1)

    def grown(self, margin: float) -> Disc:
        """The zone with `margin` metres more on every side."""
        return replace(self, radius=self.radius + margin)

    def _from(self, states: Tensor) -> Tensor:
        return states[..., :2] - states.new_tensor([self.x, self.y])


@dataclass(frozen=True)
class Box:
    """A rectangular zone, forbidden for the ball's centre; sides in metres."""

    left: float
    right: float
    bottom: float
    top: float

    def depth(self, states: Tensor) -> Tensor:
        """How far states lie inside, to the nearest side, in metres (negative: outside). -> [...]"""
        return self._sides(states).amin(-1)

    def broken(self, states: Tensor) -> Tensor:
        """Whether each segment between states [..., H, 2n] meets the zone. -> bool [..., H - 1]"""
        a, way = states[..., :-1, :2], states[..., :2].diff(dim=-2)
        way = torch.where(way.abs() < 1e-9, 1e-9, way)
        low, high = states.new_tensor([self.left, self.bottom]), states.new_tensor([self.right, self.top])
        u, w = (low - a) / way, (high - a) / way
        enters, leaves = torch.minimum(u, w).amax(-1).clamp(min=0), torch.maximum(u, w).amin(-1).clamp(max=1)
        return enters < leaves

    def nearest(self, states: Tensor) -> Tensor:
        """States with their positions moved to the nearest side where they lie inside; velocities stay."""
        sides = self._sides(states)
        depth, side = sides.min(-1)
        to = states.new_tensor([[-1, 0], [1, 0], [0, -1], [0, 1]])[side]
        return torch.cat([states[..., :2] + depth.clamp(min=0)[..., None] * to, states[..., 2:]], -1)

    def grown(self, margin: float) -> Box:
        """The zone with `margin` metres more on every side."""
        return Box(self.left - margin, self.right + margin, self.bottom - margin, self.top + margin)

    def _sides(self, states: Tensor) -> Tensor:
        x, y = states[..., 0], states[..., 1]
        return torch.stack([x - self.left, self.right - x, y - self.bottom, self.top - y], -1)


@dataclass(frozen=True)
class Speed:
    """A limit of the speed |v|, in metres per second."""

    limit: float

    def depth(self, states: Tensor) -> Tensor:
        """By how much states are too fast, in m/s (negative: slower). -> [...]"""
        return states[..., 2:4].norm(dim=-1) - self.limit

    def broken(self, states: Tensor) -> Tensor:
        """Whether each segment between states [..., H, 4] has an end that is too fast. -> bool [..., H - 1]"""
        fast = self.depth(states) > 0
        return fast[..., 1:] | fast[..., :-1]

    def nearest(self, states: Tensor) -> Tensor:
        """States with velocities shortened to the limit; positions stay. A plan that stays right takes longer instead
        (`constrained.slowed`)."""
        v = states[..., 2:4]
        slow = v * (self.limit / v.norm(dim=-1, keepdim=True).clamp(min=1e-9)).clamp(max=1)
        return torch.cat([states[..., :2], slow, states[..., 4:]], -1)

    def grown(self, margin: float) -> Speed:
        """The same limit: metres mean nothing to it."""
        return self


Rule = Disc | Box | Speed


def grown(rules: Sequence[Rule], margin: float) -> list[Rule]:
    """Every rule with `margin` metres more."""
    return [rule.grown(margin) for rule in rules]


def broken(states: ArrayLike | Tensor, rules: Sequence[Rule]) -> Tensor:
    """Whether each segment between states [..., H, 2n] breaks any rule. -> bool [..., H - 1]"""
    x = _states(states)
    hit = torch.zeros(*x.shape[:-2], x.shape[-2] - 1, dtype=torch.bool)
    for rule in rules:
        hit = hit | rule.broken(x)
    return hit


def inside(states: ArrayLike | Tensor, rules: Sequence[Rule]) -> Tensor:
    """Whether each state itself breaks any rule, what lies between them left aside. -> bool [...]"""
    x = _states(states)
    hit = torch.zeros(x.shape[:-1], dtype=torch.bool)
    for rule in rules:
        hit = hit | (rule.depth(x) > 0)
    return hit


def nearest(states: Tensor, rules: Sequence[Rule], sweeps: int = 3) -> Tensor:
    """States moved out of one rule after the other, `sweeps` times, since one zone may push into another."""
    for _ in range(sweeps if len(rules) > 1 else 1):
        for rule in rules:
            states = rule.nearest(states)
    return states


def _states(states: Any) -> Tensor:
    x = torch.as_tensor(states)
    if x.ndim < 2 or x.shape[-1] < 4:
        raise ValueError(f"a rule judges states [..., H, 4 or more] of a ball, got {tuple(x.shape)}")
    return x
