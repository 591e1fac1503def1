"""Graph of waypoints (search on the replay buffer: Eysenbach et al. 2019) with a diffusion model of chunks as motion.

What is diffused: chunks x [c, h, 2n + 1] between waypoints, as in `compositional`, joined in the same way.
What is learned: D of one chunk, as there. The graph is read off the recording: waypoints are recorded positions as far
from each other as can be; an edge leads from one to another where a recording went from near the one to near the other
within `reach` steps, and costs the fewest steps that it took.
How it acts: Dijkstra's shortest way from the ball to the goal gives the places where chunks end; chunks through them
are denoised together, and the candidate that contradicts itself least is followed by PD control.
What differs from the paper: distances are steps that were recorded, not learned from a value function, so there is no
edge that nobody went; motions are drawn, not a policy's. Where data lie is looked at: `compositional` does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Run, Stage, cosine_decay, descend
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import compositional
from diffrl_lab.methods.planning.compositional import Chunks, Compositional, Pieces, fitted
from diffrl_lab.methods.planning.plans import Array
from diffrl_lab.worlds.driving import Follower


@dataclass(frozen=True)
class Config(compositional.Config):
    """The hyperparameters: those of `compositional` for chunks, and these."""

    waypoints: int = 250  # M
    looked: int = 20_000  # recorded states that waypoints are chosen from
    reach: int = 40  # steps of the longest edge
    every: int = 3  # steps between the lengths that are tried, from 2 on
    toll: float = 3.0  # steps that an edge costs besides its own: few long ones are better than many short ones
    share: float = 0.6  # of `reach`: a chunk ends at a waypoint that is at least so far from where it began
    spare: float = 10.0  # steps: no chunk ends nearer than this to the goal but the last
    denoising: int = 10  # steps of the chain
    candidates: int = 8  # plans drawn together


def waypoints(episodes: Episodes, config: Config, n: int) -> Tensor:
    """Farthest points (Gonzalez 1985) of `looked` recorded positions, the same for every seed. -> [M, n]

    Raises ValueError for a recording with fewer states than waypoints.
    """
    position = episodes.obs[:, :n].double().numpy()
    if len(position) < config.waypoints:
        raise ValueError(f"{config.waypoints} waypoints need as many recorded states, got {len(position)}")
    some = position[np.random.default_rng(0).permutation(len(position))[: config.looked]]
    chosen, apart = [some[0]], np.linalg.norm(some - some[0], axis=1)
    for _ in range(config.waypoints - 1):
        chosen.append(some[apart.argmax()])
        apart = np.minimum(apart, np.linalg.norm(some - chosen[-1], axis=1))
    return torch.tensor(np.array(chosen), dtype=torch.float32)


def edges(episodes: Episodes, places: Tensor, config: Config) -> Tensor:
    """What it costs to go from waypoint i to j, [M, M]: the fewest recorded steps + `toll`; inf where nobody went.

    Both ends of a recorded stretch lie in one episode, and each belongs to its nearest waypoint.
    """
    position = episodes.obs[:, : places.shape[1]].double().numpy()
    nearest = cKDTree(places.double().numpy()).query(position)[1]
    episode = np.searchsorted(episodes.ends.numpy(), np.arange(len(position)))
    cost = np.full((len(places), len(places)), np.inf)
    for lag in range(2, config.reach + 1, config.every):
        a = np.flatnonzero(episode[:-lag] == episode[lag:])
        np.minimum.at(cost, (nearest[a], nearest[a + lag]), lag + config.toll)
    np.fill_diagonal(cost, np.inf)
    return torch.tensor(cost)


class Graph(nn.Module):
    """Waypoints [M, n], what it costs to go from one to another [M, M], and a motion. obs = 2n, act: columns."""

    about: dict[str, Any]  # how it was trained
    places: Tensor
    cost: Tensor
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.motion = Compositional(config, obs, act)
        M = config.waypoints
        self.register_buffer("places", torch.zeros(M, obs // 2))
        self.register_buffer("cost", torch.full((M, M), torch.inf))

    @classmethod
    def around(cls, motion: Compositional, episodes: Episodes, config: Config | None = None) -> Graph:
        """The graph of a recording around chunks that were trained before: nothing is learned anew."""
        shared = {k: v for k, v in vars(motion.config).items() if k not in ("denoising", "candidates")}
        model = cls(config or Config(**shared), **motion.sizes)
        model.motion.load_state_dict(motion.state_dict())
        model.about = dict(motion.about)
        return model.read(episodes).requires_grad_(False).eval()

    def read(self, episodes: Episodes) -> Graph:
        """Waypoints and edges as the recording has them."""
        self.places.copy_(waypoints(episodes, self.config, self.places.shape[1]))
        self.cost.copy_(edges(episodes, self.places, self.config))
        return self

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss of one chunk, as `Compositional.loss`."""
        return self.motion.loss(batch, generator)

    def way(self, obs: ArrayLike, goal: ArrayLike) -> Array:
        """Where the chunks from the state obs [2n] to the position goal [n] end, the goal last. -> [c, n]

        Without any way from the one to the other it is the goal alone.
        """
        c, places, n = self.config, self.places.double().numpy(), self.places.shape[1]
        end = np.asarray(goal, float)
        a, b = cKDTree(places).query(np.stack([np.asarray(obs, float)[:n], end]))[1]
        cost = self.cost.numpy()
        steps, before = dijkstra(np.where(np.isfinite(cost), cost, 0), indices=a, return_predecessors=True)
        if not np.isfinite(steps[b]):
            return end[None]
        path = [int(b)]
        while path[-1] != a:
            path.append(int(before[path[-1]]))
        ends, last = [], 0.0
        for k in path[-2:0:-1]:
            if steps[k] - last >= c.share * c.reach and steps[b] - steps[k] > c.spare:
                ends.append(places[k])
                last = steps[k]
        return np.array([*ends, end])

    def drawn(
        self, obs: ArrayLike, goal: ArrayLike, n: int | None = None, generator: torch.Generator | None = None
    ) -> Chunks:
        """n plans along `way` from one state obs [2n] to one goal [n]."""
        N = n or self.config.candidates
        ends = torch.as_tensor(self.way(obs, goal), dtype=torch.float32)
        start = torch.as_tensor(np.asarray(obs), dtype=torch.float32).expand(N, -1)
        known, value = self.motion.ends(start, ends.expand(N, -1, -1), len(ends))
        return self.motion.drawn(known, value, generator)

    def sample(
        self, obs: ArrayLike, goal: ArrayLike, *, n: int = 1, generator: torch.Generator | None = None
    ) -> list[Tensor]:
        """n plans for each state obs [B, 2n] and goal [B, n], in units with their steps; how many chunks c there are
        depends on the way. -> B tensors [n, c, h, 2n + 1]"""
        rows = []
        for o, g in zip(np.asarray(obs), np.asarray(goal), strict=True):
            plans = self.drawn(o, g, n, generator)
            steps = plans.durations[..., None, None].expand(*plans.points.shape[:-1], 1)
            rows.append(torch.cat([plans.points, steps], -1))
        return rows

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> Array:
        """A plan for a `Follower`: the candidate with the smallest gap, as a state for every step."""
        plans = self.drawn(obs, goal, generator=torch.Generator().manual_seed(seed))
        k = int(plans.gaps.argmin())
        return self.motion.reference(plans.points[k], plans.durations[k])


class Agent(Follower):
    """Follows a plan along the graph by a PD controller, and plans again where driving goes wrong."""

    def __init__(self, model: Graph, **options: Any):
        super().__init__(model.route, **options)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training of the chunks as a generator; the graph is read off `episodes` first. Raises ValueError as
    `compositional.Pieces` and `waypoints` do."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    pieces = Pieces(episodes, c, generator)
    model = Graph(c, episodes.obs.shape[1], episodes.act.shape[1])
    model.motion = fitted(episodes, pieces, seed)
    model.read(episodes)
    update = descend(
        lambda batch: model.loss(batch, generator),
        model,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    return Run(model, Stage((update,), pieces, c.updates), generator=generator, data=episodes, seed=seed)
