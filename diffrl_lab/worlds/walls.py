"""The walls of a maze: their geometry, which recordings, measures and figures use and a learned planner never reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

Array = NDArray[np.float64]

TWO_WAYS: list[list[int | str]] = [
    [1, 1, 1, 1, 1, 1, 1],
    [1, 0, 0, "r", 0, 0, 1],
    [1, 0, 1, 1, 1, 0, 1],
    [1, 0, 1, 1, 1, 0, 1],
    [1, 0, 0, "g", 0, 0, 1],
    [1, 1, 1, 1, 1, 1, 1],
]
"""One block, two corridors of equal length; start and goal lie on the axis of symmetry x = 0."""


RADIUS = 0.1
"""The radius of PointMaze's ball, in metres."""
REACHED = 0.45
"""A goal counts as reached within this distance, in metres (PointMaze's own threshold)."""


def register() -> None:
    """Make gymnasium-robotics' environments known to Gymnasium, without what it prints when it is imported."""
    import contextlib
    import io
    import logging

    import gymnasium

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        logging.disable(logging.WARNING)
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
        logging.disable(logging.NOTSET)


@dataclass(frozen=True, eq=False)
class Walls:
    """The walls of a maze: square blocks of `scale` metres; `blocked` [R, C], row 0 at the top (largest y), origin in
    the middle."""

    blocked: NDArray[np.bool_]
    scale: float = 1.0

    @classmethod
    def of(cls, env) -> Walls:
        """The walls of a PointMaze environment."""
        maze = env.unwrapped.maze
        return cls(np.array([[cell == 1 for cell in row] for row in maze.maze_map]), float(maze.maze_size_scaling))

    @classmethod
    def named(cls, name: str) -> Walls:
        """The walls of one of our mazes by its name, without an environment."""
        register()
        from gymnasium_robotics.envs.maze import maps

        drawn = {"umaze": maps.U_MAZE, "medium": maps.MEDIUM_MAZE, "large": maps.LARGE_MAZE, "two-ways": TWO_WAYS}
        if name not in drawn:
            raise ValueError(f"a maze is one of {', '.join(drawn)}; got {name!r}")
        return cls(np.array([[cell == 1 for cell in row] for row in drawn[name]]))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """(left, right, bottom, top) of the whole map in metres."""
        rows, cols = self.blocked.shape
        return -cols / 2 * self.scale, cols / 2 * self.scale, -rows / 2 * self.scale, rows / 2 * self.scale

    def cell(self, points: ArrayLike) -> NDArray[np.int64]:
        """The cells [..., 2] = (row, column) of points [..., 2] = (x, y)."""
        p = np.asarray(points, float)
        rows, cols = self.blocked.shape
        ij = np.stack([np.floor(rows / 2 - p[..., 1] / self.scale), np.floor(p[..., 0] / self.scale + cols / 2)], -1)
        return np.clip(ij, 0, [rows - 1, cols - 1]).astype(np.int64)

    def centre(self, cells: ArrayLike) -> Array:
        """The centres [..., 2] = (x, y) of cells [..., 2] = (row, column)."""
        c = np.asarray(cells, float)
        rows, cols = self.blocked.shape
        return np.stack([c[..., 1] + 0.5 - cols / 2, rows / 2 - c[..., 0] - 0.5], -1) * self.scale

    def inside(self, points: ArrayLike, clearance: float = 0.0) -> NDArray[np.bool_]:
        """Whether points [..., 2] lie within a wall grown by `clearance` metres on every side (at most half a cell)."""
        p = np.asarray(points, float)
        c = clearance
        hit = np.zeros(p.shape[:-1], bool)
        for shift in ((0, 0), (c, c), (c, -c), (-c, c), (-c, -c)) if c else ((0, 0),):
            cell = self.cell(p + shift)
            hit |= self.blocked[cell[..., 0], cell[..., 1]]
        return hit

    def crosses(self, a: ArrayLike, b: ArrayLike, clearance: float = 0.0, spacing: float = 0.02) -> NDArray[np.bool_]:
        """Whether segments from a [..., 2] to b [..., 2] meet a wall grown by `clearance`; looked at every `spacing`
        metres."""
        a, b = np.asarray(a, float), np.asarray(b, float)
        length = np.linalg.norm(b - a, axis=-1)
        n = max(2, int(np.ceil(length.max(initial=0.0) / spacing)) + 1)
        s = np.linspace(0, 1, n)[:, None]
        return np.asarray(self.inside(a[..., None, :] + s * (b - a)[..., None, :], clearance).any(-1))

    def pushed_out(self, point: ArrayLike, clearance: float) -> Array:
        """The nearest place to `point` [2] in its own cell that is at least `clearance` from every wall."""
        p = np.array(point, float)
        row, col = self.cell(p)
        centre, room = self.centre((row, col)), self.scale / 2 - clearance
        blocked = lambda i, j: bool(self.blocked[row + i, col + j])  # noqa: E731
        offset = p - centre
        low = np.array([-room if blocked(0, -1) else -np.inf, -room if blocked(1, 0) else -np.inf])
        high = np.array([room if blocked(0, 1) else np.inf, room if blocked(-1, 0) else np.inf])
        offset = np.clip(offset, low, high)
        i, j = -int(np.sign(offset[1])), int(np.sign(offset[0]))
        if i and j and blocked(i, j) and (np.abs(offset) > room).all():
            axis = int(np.argmin(np.abs(offset)))
            offset[axis] = np.sign(offset[axis]) * room
        return centre + offset

    @cached_property
    def _corner_signs(self) -> list[tuple[Array, Array]]:
        """Convex corners of the walls: (corner, the diagonal that points into the open)."""
        rows, cols = self.blocked.shape
        corners = []
        for r in range(rows):
            for c in range(cols):
                if not self.blocked[r, c]:
                    continue
                for i in (-1, 1):
                    for j in (-1, 1):
                        if not (0 <= r + i < rows and 0 <= c + j < cols):
                            continue
                        if not (self.blocked[r + i, c] or self.blocked[r, c + j] or self.blocked[r + i, c + j]):
                            diagonal = np.array([j, -i], float)
                            corners.append((self.centre((r, c)) + diagonal * self.scale / 2, diagonal))
        return corners

    def _graph(self, clearance: float) -> tuple[Array, Array]:
        """The visibility graph between corners kept `clearance` away: nodes [K, 2], lengths [K, K] (inf: not in
        sight)."""
        cache = self.__dict__.setdefault("_graphs", {})
        if clearance not in cache:
            nodes = np.array([corner + clearance * diagonal for corner, diagonal in self._corner_signs]).reshape(-1, 2)
            cache[clearance] = nodes, self._sight(nodes[:, None], nodes[None], clearance)
        return cache[clearance]

    def _sight(self, a: Array, b: Array, clearance: float) -> Array:
        length = np.linalg.norm(b - a, axis=-1)
        # a hair less than the nodes' own clearance, so that walking along a wall from corner to corner is allowed
        return np.where(self.crosses(a, b, clearance - 1e-6), np.inf, length)

    def shortest_path(self, start: ArrayLike, goal: ArrayLike, clearance: float = RADIUS, side: int = 0) -> Array:
        """The shortest polyline [n, 2] from start to goal that keeps `clearance` from the walls.

        It is found by Dijkstra's algorithm in the visibility graph. `side` = -1 or +1 uses only corners with x < 0 or
        x > 0: one way around the block of two-ways. Raises ValueError if no path exists.
        """
        a, b = self.pushed_out(start, clearance), self.pushed_out(goal, clearance)
        nodes, lengths = self._graph(clearance)
        if side:
            keep = side * nodes[:, 0] > 0
            nodes, lengths = nodes[keep], lengths[np.ix_(keep, keep)]
        points = np.concatenate([nodes, [a, b]])
        ends = self._sight(points[-2:, None], points[None], clearance)  # what start and goal see, one another included
        graph = np.concatenate([np.concatenate([lengths, ends[:, :-2]]), ends.T], 1)
        i, j = np.nonzero(np.isfinite(graph))  # edges by index, since among entries scipy takes a length of 0 for none
        edges = csr_array((graph[i, j], (i, j)), shape=graph.shape)
        way, before = dijkstra(edges, indices=len(nodes), return_predecessors=True)
        if not np.isfinite(way[-1]):
            named = [np.round(np.asarray(x, float), 2).tolist() for x in (start, goal)]
            raise ValueError(f"no way leads from {named[0]} to {named[1]}")
        path = [len(nodes) + 1]
        while path[-1] != len(nodes):
            path.append(int(before[path[-1]]))
        return points[path[::-1]]


def path_length(points: ArrayLike) -> float:
    """The length of a polyline [n, 2] in metres."""
    return float(np.linalg.norm(np.diff(np.asarray(points, float), axis=0), axis=-1).sum())
