"""Whether a plan can be driven: walls it passes through, detours, and states that its actions would not lead to
(`chains.inconsistency` needs neither walls nor simulator).

Walls and simulator are used here, after the fact, to measure; no planner of this project sees them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffrl_lab.analysis.samples import array
from diffrl_lab.worlds import robots as locomotion
from diffrl_lab.worlds.walls import RADIUS, Walls, path_length

Simulate = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""(obs [N, d], actions [N, H, a]) -> the observations that follow, [N, H, d], each row from its own state."""


def points_in_walls(plans: ArrayLike, walls: Walls, clearance: float = RADIUS) -> float:
    """The share of a plan's points [..., 2+] at which the ball (radius `clearance`) would stand in a wall."""
    return float(walls.inside(array("plans", plans)[..., :2], clearance).mean())


def segments_in_walls(plans: ArrayLike, walls: Walls, clearance: float = RADIUS) -> float:
    """The share of straight segments between successive points of plans [..., H, 2+] on which the ball would meet a
    wall.

    A segment over a gap in time cuts corners that the drive between its ends rounds: give the interpolated plan where
    that matters.
    """
    p = array("plans", plans)[..., :2]
    return float(walls.crosses(p[..., :-1, :], p[..., 1:, :], clearance).mean())


def curve_segments_in_walls(
    curve: ArrayLike, segments: int, walls: Walls, clearance: float = RADIUS
) -> NDArray[np.bool_]:
    """For each of `segments` equal stretches of time of a plan's curve [T+1, 2+]: does the ball meet a wall on it? ->
    [segments]"""
    hit = walls.inside(array("curve", curve)[:, :2], clearance)
    which = np.minimum(np.arange(len(hit)) * segments // max(len(hit) - 1, 1), segments - 1)
    return np.bincount(which, weights=hit, minlength=segments) > 0


def detour(positions: ArrayLike, goal: ArrayLike, walls: Walls, clearance: float = RADIUS) -> float:
    """The length of a path [T, 2+] plus the straight rest to the goal, over the shortest path for the ball (1 is the
    best).

    Give the path up to where the goal counts as reached.
    """
    p = array("positions", positions)[:, :2]
    goal = array("goal", goal)
    shortest = path_length(np.concatenate([p[:1], walls.shortest_path(p[0], goal, clearance), goal[None]]))
    return (path_length(p) + float(np.linalg.norm(p[-1] - goal))) / shortest


def point_maze(env) -> Simulate:
    """The dynamics of a PointMaze environment from any states (x, y, vx, vy), walls included, goals and rewards not.

    A state within a wall is pushed out of it by MuJoCo's contact forces, which shows as a residual.
    """
    point = env.unwrapped.point_env

    def simulate(obs: NDArray[np.float64], actions: NDArray[np.float64]) -> NDArray[np.float64]:
        import mujoco

        out = np.empty((*actions.shape[:2], obs.shape[-1]))
        for i, (state, todo) in enumerate(zip(obs, actions, strict=True)):
            mujoco.mj_resetData(point.model, point.data)  # the solver starts from its last solution else
            point.set_state(state[:2], state[2:])
            for k, action in enumerate(todo):
                out[i, k] = point.step(action)[0]
        return out

    return simulate


def locomotive(env) -> Simulate:
    """The dynamics of Hopper, HalfCheetah or Walker2d from the states that observations tell (`worlds.robots.state`).

    Where an observation clipped a velocity at 10 the state is not what it was: real windows have that residual too, so
    it belongs to the floor.
    """
    return lambda obs, actions: locomotion.replay(env, *locomotion.state(env, obs), actions).obs


def dynamics_residual(
    simulate: Simulate, obs: ArrayLike, actions: ArrayLike, scale: ArrayLike = 1.0
) -> NDArray[np.float64]:
    """|o_{k+1} - f(o_k, a_k)| at each step of plans obs [N, H, d], actions [N, H or H - 1, a] -> [N, H - 1].

    f is the simulator started from the plan's own state o_k, so one wrong state is felt at the steps into and out of
    it, no later. scale [d] divides the differences: give the standard deviation of a real one-step change, or
    dimensions of large units decide alone. The floor is the same function of real windows: 0 for exact float64 states,
    more after float32, clipping or an observation that is not the whole state. `infeasible` holds one against the
    other. Raises ValueError for shapes that do not fit.
    """
    o, a = _plans(obs, actions)
    n, h, d = o.shape
    led = simulate(o[:, :-1].reshape(-1, d), a.reshape(n * (h - 1), 1, -1)).reshape(n, h - 1, d)
    return np.linalg.norm((o[:, 1:] - led) / array("scale", scale), axis=-1)


def dynamics_drift(
    simulate: Simulate, obs: ArrayLike, actions: ArrayLike, scale: ArrayLike = 1.0
) -> NDArray[np.float64]:
    """|o_k - o'_k| for k = 1 to H - 1 where o' does all the plan's actions from its first state on -> [N, H - 1].

    Without feedback errors add up, and in chaotic dynamics grow: this is what an open loop would see, not a measure of
    one step. Shapes, scale and floor as in `dynamics_residual`.
    """
    o, a = _plans(obs, actions)
    return np.linalg.norm((o[:, 1:] - simulate(o[:, 0], a)) / array("scale", scale), axis=-1)


def infeasible(residuals: ArrayLike, real: ArrayLike, level: float = 0.99) -> float:
    """The share of plans' residuals above the `level` quantile of real windows' residuals.

    A plan as good as real windows has 1 - level; an interval needs independent plans, not steps: take the bootstrap of
    each plan's own share. Raises ValueError without either.
    """
    ours, floor = array("residuals", residuals), array("real", real)
    if not ours.size or not floor.size:
        raise ValueError(f"residuals of plans and of real windows are needed, got {ours.shape} and {floor.shape}")
    return float((ours > np.quantile(floor, level)).mean())


def _plans(obs: ArrayLike, actions: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    o, a = array("obs", obs), array("actions", actions)
    h = o.shape[1] if o.ndim == 3 else 0
    if h < 2 or a.ndim != 3 or len(a) != len(o) or a.shape[1] not in (h, h - 1):
        raise ValueError(
            "plans are obs [N, H, d] and actions [N, H or H - 1, a] with H >= 2, got "
            f"{list(o.shape)} and {list(a.shape)}"
        )
    return o, a[:, : h - 1]  # the last action leads out of the plan
