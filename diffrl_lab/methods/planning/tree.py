"""Monte-Carlo tree diffusion (Yoon et al. 2025): a tree of chunks, grown where plans through it come out well.

What is diffused: chunks x [c, h, 2n + 1], as in `compositional`; a node of the tree is the state in which one ends.
What is learned: D of one chunk, as there. No value is learned, and the tree looks at no map and at no data.
How it acts: a leaf is selected by UCT, one more chunk is drawn from it, either towards the goal or with its end left
open, and a few coarse steps of denoising carry it on to the goal; how little the whole contradicts itself is paid and
added to all nodes on the way. The best whole plan that was seen is followed by PD control.
What differs from the paper: a chunk's two kinds stand for its guidance levels; a chunk is finished before the next one
begins; `children` are drawn in one batch; plans are judged by the model itself, not by a reward of the task.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.diffusion import Run, Stage, cosine_decay, descend
from diffrl_lab.methods import weights
from diffrl_lab.methods.planning import compositional
from diffrl_lab.methods.planning.compositional import Chunks, Compositional, Pieces, fitted
from diffrl_lab.methods.planning.plans import Array
from diffrl_lab.worlds.driving import Follower

KINDS = ("goal", "open")  # of a chunk: the first one of a plan to the goal, or one whose end is left open


@dataclass(frozen=True)
class Config(compositional.Config):
    """The hyperparameters: those of `compositional` for chunks, and these."""

    simulations: int = 20  # how often a leaf is selected
    children: int = 6  # chunks of each kind that a node gets, drawn in one batch
    exploration: float = 0.3  # c of UCT, in units of what is paid, which lies between 0 and 1
    denoising: int = 10  # steps of the chain of a chunk
    coarse: int = 5  # steps of the chain that carries it on to the goal


@dataclass(eq=False)
class Node:
    """A state [2n] that a chunk ends in, and what plans through it were paid."""

    state: Tensor
    parent: Node | None = None
    points: Tensor | None = None  # of the chunk that leads here, [h, 2n]; None at the root
    duration: float = 0.0  # of it, in steps
    wrong: float = 0.0  # of the worst chunk on the way here
    depth: int = 0
    children: list[Node] = field(default_factory=list)
    untried: list[str] = field(default_factory=lambda: list(KINDS))
    visits: int = 0
    total: float = 0.0  # of what was paid

    @property
    def value(self) -> float:
        """The mean of what plans through it were paid."""
        return self.total / max(self.visits, 1)

    def uct(self, c: float) -> float:
        """UCT (Kocsis and Szepesvari 2006): value + c sqrt(ln N / n), n its own visits and N those of its parent."""
        above = self.parent.visits if self.parent else self.visits
        return self.value + c * float(np.sqrt(np.log(max(above, 1)) / max(self.visits, 1)))

    def paid(self, reward: float) -> None:
        """One more plan through this node and all above it."""
        node: Node | None = self
        while node is not None:
            node.visits, node.total = node.visits + 1, node.total + reward
            node = node.parent

    def way(self) -> list[Node]:
        """From the root's child to this node."""
        return [] if self.parent is None else [*self.parent.way(), self]


@dataclass(eq=False)
class Found:
    """What a search found: the tree, and the best plan in it."""

    root: Node
    points: Tensor  # [c, h, 2n]
    durations: Tensor  # [c], in steps
    wrong: float
    plans: list[float]  # what was wrong with each plan that was seen


class Tree(nn.Module):
    """A motion, and the search with it. obs = 2n and act: columns of the recording."""

    about: dict[str, Any]  # how it was trained
    save = weights.save
    load: Any = classmethod(weights.load)

    def __init__(self, config: Config, obs: int, act: int):
        super().__init__()
        self.config, self.sizes, self.about = config, {"obs": obs, "act": act}, {}
        self.motion = Compositional(config, obs, act)

    @classmethod
    def around(cls, motion: Compositional, config: Config | None = None) -> Tree:
        """A search with chunks that were trained before: nothing is learned anew."""
        shared = {k: v for k, v in vars(motion.config).items() if k != "denoising"}
        model = cls(config or Config(**shared), **motion.sizes)
        model.motion.load_state_dict(motion.state_dict())
        model.about = dict(motion.about)
        return model.requires_grad_(False).eval()

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The denoising loss of one chunk, as `Compositional.loss`."""
        return self.motion.loss(batch, generator)

    def chunks(self, states: Tensor, goal: Tensor, kind: str, left: int, generator: torch.Generator | None) -> Chunks:
        """One chunk from each of the states [N, 2n]: its end is left open, or it is the first of `left` to the goal."""
        number = left if kind == "goal" else 1
        known, value = self.motion.ends(states, goal.expand(len(states), -1), number)
        if kind == "open":
            known[:, -1, -1] = False
        plans = self.motion.drawn(known, value, generator)
        return Chunks(plans.points[:, :1], plans.durations[:, :1], plans.gaps, plans.tears)

    def carried_on(self, states: Tensor, goal: Tensor, left: int, generator: torch.Generator | None) -> Chunks:
        """Plans of `left` chunks from the states [N, 2n] to the goal [n], in a few coarse steps."""
        ends = self.motion.ends(states, goal.expand(len(states), -1), left)
        return self.motion.drawn(*ends, generator, steps=self.config.coarse)

    @torch.no_grad()
    def search(self, obs: ArrayLike, goal: ArrayLike, generator: torch.Generator | None = None) -> Found:
        """The tree from the state obs [2n] to the position goal [n], and the best plan that was seen in it.

        What is wrong with a plan is `Compositional.score` of its worst part, and 1 / (1 + that) is paid. A plan has at
        most `most` chunks; how many are left after a new one is drawn evenly.
        """
        c = self.config
        root = Node(torch.as_tensor(np.asarray(obs), dtype=torch.float32))
        end = torch.as_tensor(np.asarray(goal), dtype=torch.float32)
        found = Found(root, torch.empty(0), torch.empty(0), np.inf, [])
        self._seen(found, [root], end, 1, generator)
        for _ in range(c.simulations if c.most > 1 else 0):
            node = root
            while not node.untried and node.children:
                node = max(node.children, key=lambda child: child.uct(c.exploration))
            if not node.untried:  # as deep as can be: it is carried on once more
                self._seen(found, [node], end, 1, generator)
                continue
            kind = node.untried.pop(0)
            left = 1 + int(torch.randint(c.most - node.depth - 1, (), generator=generator))
            plans = self.chunks(node.state.expand(c.children, -1), end, kind, left + 1, generator)
            wrong = self.motion.score(plans, generator).tolist()
            born = []
            for k, w in enumerate(wrong):
                points, depth = plans.points[k, 0], node.depth + 1
                untried = list(KINDS) if depth + 1 < c.most else []
                duration, worst = float(plans.durations[k, 0]), max(node.wrong, w)
                born.append(Node(points[-1], node, points, duration, worst, depth, untried=untried))
            node.children += born
            self._seen(found, born, end, left, generator)
        return found

    def _seen(
        self, found: Found, nodes: list[Node], goal: Tensor, left: int, generator: torch.Generator | None
    ) -> None:
        """Carry nodes on to the goal, pay them for it, and keep the best plan."""
        plans = self.carried_on(torch.stack([node.state for node in nodes]), goal, left, generator)
        for k, (node, score) in enumerate(zip(nodes, self.motion.score(plans, generator).tolist(), strict=True)):
            wrong = max(node.wrong, score)
            node.paid(1 / (1 + wrong))
            found.plans.append(wrong)
            if wrong < found.wrong:
                way = node.way()
                before = [step.points[None] for step in way if step.points is not None]
                found.wrong, found.points = wrong, torch.cat([*before, plans.points[k]])
                found.durations = torch.cat([torch.tensor([step.duration for step in way]), plans.durations[k]])

    def sample(
        self, obs: ArrayLike, goal: ArrayLike, *, n: int = 1, generator: torch.Generator | None = None
    ) -> list[list[Tensor]]:
        """n plans, each of a search of its own, for each state obs [B, 2n] and goal [B, n], in units with their steps;
        how many chunks c a plan has is its own. -> B lists of n tensors [c, h, 2n + 1]"""
        rows = []
        for o, g in zip(np.asarray(obs), np.asarray(goal), strict=True):
            plans = [self.search(o, g, generator) for _ in range(n)]
            steps = [p.durations[:, None, None].expand(*p.points.shape[:-1], 1) for p in plans]
            rows.append([torch.cat([p.points, s], -1) for p, s in zip(plans, steps, strict=True)])
        return rows

    def route(self, obs: ArrayLike, goal: ArrayLike, seed: int) -> Array:
        """A plan for a `Follower`: the best of a search, as a state for every step."""
        found = self.search(obs, goal, torch.Generator().manual_seed(seed))
        return self.motion.reference(found.points, found.durations)


class Agent(Follower):
    """Follows the best plan of a search by a PD controller, and searches again where driving goes wrong."""

    def __init__(self, model: Tree, **options: Any):
        super().__init__(model.route, **options)


def train(episodes: Episodes, config: Config | None = None, *, seed: int = 0) -> Run:
    """The training of the chunks as a generator. Raises ValueError as `compositional.Pieces` does."""
    c, generator = config or Config(), torch.Generator().manual_seed(seed)
    pieces = Pieces(episodes, c, generator)
    model = Tree(c, episodes.obs.shape[1], episodes.act.shape[1])
    model.motion = fitted(episodes, pieces, seed)
    update = descend(
        lambda batch: model.loss(batch, generator),
        model,
        lr=c.lr,
        schedule=cosine_decay(c.updates, warmup=min(100, c.updates // 10)),
        ema=c.ema,
    )
    return Run(model, Stage((update,), pieces, c.updates), generator=generator, data=episodes, seed=seed)
