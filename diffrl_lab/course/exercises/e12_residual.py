"""The residual of a transition of Pendulum: how far its next state lies from what the equations make of s and a."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffrl_lab.course.judging import Verdict, match

HINTS = (
    "theta = torch.atan2(s[:, 1], s[:, 0]), omega = s[:, 2], torque 2 a with a cut to [-1, 1]. First the new speed, "
    "cut to [-8, 8]; then the new angle, which moves by the *new* speed.",
    "true = torch.stack([theta2.cos(), theta2.sin(), omega2], 1); then the root of the mean over the three numbers of "
    "((after - true) / spread)**2.",
)
DT = 0.05


def cases(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    inputs = []
    for n in (6, 9):
        theta, size = rng.uniform(-3, 3, n), rng.uniform(0.8, 1.2, n)  # synthetic states lie beside the circle
        omega = rng.uniform(-6, 6, n)
        omega[:2], theta[:2] = (7.9, -7.9), (1.2, -1.3)  # the next speed is cut
        a = rng.uniform(-1, 1, (n, 1))
        a[2:4] = [[1.6], [-1.4]]  # the torque is cut
        s = np.stack([size * np.cos(theta), size * np.sin(theta), omega], 1)
        after = s + rng.normal(0, 0.3, (n, 3))
        inputs.append({"s": s, "a": a, "after": after, "spread": np.array([0.7, 0.7, 3.0])})
    return inputs


def right(s, a, after, spread):
    theta, u = torch.atan2(s[:, 1], s[:, 0]), 2 * a[:, 0].clamp(-1, 1)
    omega = (s[:, 2] + (15 * theta.sin() + 3 * u) * 0.05).clamp(-8, 8)
    theta = theta + omega * 0.05
    true = torch.stack([theta.cos(), theta.sin(), omega], 1)
    return ((after - true) / spread).square().mean(1).sqrt()


def turned(s, a, after, spread):
    """The same by turning the unit vector: no angle is needed."""
    cos, sin = (s[:, :2] / s[:, :2].norm(dim=1, keepdim=True)).T
    omega = torch.clip(s[:, 2] + 0.75 * sin + 0.3 * torch.clip(a[:, 0], -1, 1), -8, 8)
    c, d = torch.cos(DT * omega), torch.sin(DT * omega)
    off = torch.stack([after[:, 0] - (cos * c - sin * d), after[:, 1] - (sin * c + cos * d), after[:, 2] - omega], 1)
    return (off / spread).norm(dim=1) / 3**0.5


def _variant(angle=None, force=lambda a: 2 * a.clamp(-1, 1), speed=8.0, step=DT, far=None):
    """`right` with one thing changed."""

    def answer(s, a, after, spread):
        theta = torch.atan2(s[:, 1], s[:, 0]) if angle is None else angle(s)
        omega = (s[:, 2] + (15 * theta.sin() + 3 * force(a[:, 0])) * step).clamp(-speed, speed)
        moved = theta + omega * DT
        off = after - torch.stack([moved.cos(), moved.sin(), omega], 1)
        return (off / spread).square().mean(1).sqrt() if far is None else far(off, spread)

    return answer


swapped = _variant(angle=lambda s: torch.atan2(s[:, 0], s[:, 1]))
one_side = _variant(angle=lambda s: torch.acos(s[:, 0].clamp(-1, 1)))
off_circle = _variant(angle=lambda s: torch.asin(s[:, 1].clamp(-1, 1)))
uncut_torque = _variant(force=lambda a: 2 * a)
uncut_speed = _variant(speed=1e9)
no_step = _variant(step=1.0)
unscaled = _variant(far=lambda off, spread: off.square().mean(1).sqrt())
length = _variant(far=lambda off, spread: (off / spread).norm(dim=1))
squares = _variant(far=lambda off, spread: (off / spread).square().mean(1))
absolute = _variant(far=lambda off, spread: (off / spread).abs().mean(1))
one_number = _variant(far=lambda off, spread: (off / spread).square().mean().sqrt())


# written out, so that a release can show them as a bug to be found
def half_torque(s, a, after, spread):
    theta, u = torch.atan2(s[:, 1], s[:, 0]), a[:, 0].clamp(-1, 1)
    omega = (s[:, 2] + (15 * theta.sin() + 3 * u) * 0.05).clamp(-8, 8)
    theta = theta + omega * 0.05
    true = torch.stack([theta.cos(), theta.sin(), omega], 1)
    return ((after - true) / spread).square().mean(1).sqrt()


def hanging(s, a, after, spread):
    theta, u = torch.atan2(s[:, 1], s[:, 0]), 2 * a[:, 0].clamp(-1, 1)
    omega = (s[:, 2] + (-15 * theta.sin() + 3 * u) * 0.05).clamp(-8, 8)
    theta = theta + omega * 0.05
    true = torch.stack([theta.cos(), theta.sin(), omega], 1)
    return ((after - true) / spread).square().mean(1).sqrt()


def old_speed(s, a, after, spread):
    theta, u = torch.atan2(s[:, 1], s[:, 0]), 2 * a[:, 0].clamp(-1, 1)
    omega = (s[:, 2] + (15 * theta.sin() + 3 * u) * 0.05).clamp(-8, 8)
    theta = theta + s[:, 2] * 0.05
    true = torch.stack([theta.cos(), theta.sin(), omega], 1)
    return ((after - true) / spread).square().mean(1).sqrt()


def stays(s, a, after, spread):
    return ((after - s) / spread).square().mean(1).sqrt()


SLIPS = {
    "cos and sin are exchanged: s holds (cos, sin, speed), and atan2 takes the sine first": swapped,
    "arccos cannot tell left from right: take atan2 of both": one_side,
    "arcsin cannot tell up from down: take atan2 of both": off_circle,
    "actions beyond [-1, 1] do what -1 and 1 do: cut the torque": uncut_torque,
    "the torque is 2 a, not a": half_torque,
    "theta = 0 is upright: there gravity pushes the pole away, + 15 sin(theta)": hanging,
    "the speed is at most 8: cut the new one": uncut_speed,
    "the angle moves by the new speed, not by the old one": old_speed,
    "the step of time is missing: the speed changes by 0.05 times the acceleration": no_step,
    "the numbers of the state have different units: divide each by its spread first": unscaled,
    "that is the length of the error; wanted is the root of the *mean* square": length,
    "the root is missing": squares,
    "you averaged absolute errors; wanted is the root of the mean square": absolute,
    "you averaged over the transitions, too; each of them has its own residual": one_number,
    "you compared s' with s: compare it with what the equations make of s and a": stays,
}


def judge(cases: list[dict[str, Any]], answers: list[Any]) -> Verdict:
    put = [{k: torch.as_tensor(v) for k, v in c.items()} for c in cases]
    slips = {text: [f(**c).numpy() for c in put] for text, f in SLIPS.items()}
    said = "0 for what the world did itself, and a number for everything that was made up"
    return match(answers, [right(**c).numpy() for c in put], slips, right=said, rtol=1e-3, atol=1e-5)


RIGHT = [right, turned]
WRONG = [
    (swapped, "exchanged"),
    (one_side, "arccos"),
    (off_circle, "arcsin"),
    (uncut_torque, "cut the torque"),
    (half_torque, "not a"),
    (hanging, "upright"),
    (uncut_speed, "cut the new one"),
    (old_speed, "not by the old one"),
    (no_step, "step of time"),
    (unscaled, "different units"),
    (length, "the length"),
    (squares, "root is missing"),
    (absolute, "absolute errors"),
    (one_number, "over the transitions, too"),
    (stays, "s' with s"),
]
