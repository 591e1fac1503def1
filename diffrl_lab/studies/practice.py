"""Practice in a dream, behind lesson 13: is a player who practised in a dreamed Breakout any good at the real one?

One learner, PPO of Stable-Baselines3 with one small network, begins as a clone of the recorded player, practises
FRAMES pictures in a world and is then judged in the real game. Worlds: the real game; the dreams of the models that
ship with lesson 13, of one training each: diffusion, well trained and hardly (`early`), in three denoising steps, and
least squares (`mean`). A dream is made of a recording of 30,000 real pictures, so the real game for as many pictures
stands beside it, and so does what needs no world at all: the clone itself, and Q-learning on the recording. A player
who knows the rules and one who draws actions at random are the ends of the scale. How it came about:
docs/studies/practice.md.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from diffrl_lab.analysis.intervals import bootstrap
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.data.episodes import Episodes, windows
from diffrl_lab.data.shipped import shipped
from diffrl_lab.files import ROOT
from diffrl_lab.methods.models.diamond import Diamond
from diffrl_lab.studies import dreams
from diffrl_lab.studies.study import Part
from diffrl_lab.worlds import games

RUNS, VERSION = ROOT / "runs" / "practice", "1"
FRAMES = 300_000  # pictures that a learner practises
SIDE = 32  # worlds side by side
DREAM = 50  # pictures of a dream before it begins again at a recorded moment
GAMES, LONGEST = 40, 1000  # real games that judge a player, and steps after which one is cut
BALL = games.Breakout.channels.index("ball")
DREAMS = {"dream": "good", "dream, early": "early", "dream, mean": "mean"}  # and the weights that ship
ARMS = ("real", "real, 30,000", *DREAMS, "cloning", "q-learning", "random", "scripted")
PPO: dict[str, Any] = {"n_steps": 64, "batch_size": 512, "n_epochs": 4, "learning_rate": 3e-4, "gamma": 0.99}
UPDATES = 3000  # of cloning and Q-learning, 256 steps of the recording in each


def bottom(pictures: Tensor) -> Tensor:
    """Whether each picture [B, C, 10, 10] shows the ball on the lowest row, which is how a ball is lost. -> [B]"""
    return (pictures[:, BALL, games.BOTTOM] > 0.5).any(1)


class Dream:
    """`SIDE` dreams side by side, each `DREAM` pictures long, begun at recorded moments: what a learner practises in.

    What is dreamed is rounded to 0 and 1 before it is shown, to the player and to the model.
    """

    def __init__(self, model: Diamond, episodes: Episodes, seed: int, side: int = SIDE):
        self.model, self.episodes, self.side = model, episodes, side
        self.rows = windows(episodes, model.config.past)
        self.generator = torch.Generator().manual_seed(seed)
        self.past, self.acts = self._begun(side)
        self.age = torch.randint(DREAM, (side,), generator=self.generator)  # so that they do not all end at once

    def _begun(self, n: int) -> tuple[Tensor, Tensor]:
        """Pictures [n, K, C, 10, 10] and actions [n, K, a] of n recorded moments; the last action is still to come."""
        rows = self.rows[torch.randint(len(self.rows), (n,), generator=self.generator)]
        return self.episodes.obs[rows].float(), self.episodes.act[rows].float()

    def step(self, act: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """act [B] -> (what is seen now [B, C, 10, 10], reward [B], lost [B], cut [B], what was seen before a new
        beginning [B, C, 10, 10]); where a ball was lost or a dream was cut, the picture is that of a new dream."""
        self.acts[:, -1] = F.one_hot(act, self.acts.shape[-1]).float()
        drawn, reward, _ = self.model.step(self.past, self.acts, self.generator)
        x = (drawn > 0.5).float()
        self.past = torch.cat([self.past[:, 1:], x[:, None]], 1)
        self.acts = torch.cat([self.acts[:, 1:], torch.zeros_like(self.acts[:, :1])], 1)
        self.age += 1
        lost = bottom(x)
        cut = ~lost & (self.age >= DREAM)
        again = lost | cut
        if again.any():
            self.past[again], self.acts[again] = self._begun(int(again.sum()))
            self.age[again] = 0
        return self.past[:, -1].clone(), reward, lost, cut, x


class Real:
    """`SIDE` real games side by side, with the same interface as `Dream`; a game goes on after a lost ball."""

    def __init__(self, seed: int, side: int = SIDE):
        self.games = [games.Breakout(1000 * seed + k) for k in range(side)]
        self.side = side

    @property
    def past(self) -> Tensor:
        return torch.from_numpy(np.stack([g.frame() for g in self.games])).float()[:, None]

    def step(self, act: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """As `Dream.step`. The picture of the lost ball is shown, and the next one is a new game's."""
        reward = torch.tensor([g.step(int(a)) for g, a in zip(self.games, act, strict=True)])
        x = self.past[:, -1]
        return x, reward, bottom(x), torch.zeros(self.side, dtype=torch.bool), x


def _learner(world: Dream | Real, clone: nn.Sequential, seed: int) -> Any:
    """PPO that practises in a world, and begins as a clone; what it believes of the future it learns from nothing."""
    import gymnasium
    from stable_baselines3 import PPO as Learner
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.vec_env import VecEnv

    class Eyes(BaseFeaturesExtractor):
        def __init__(self, space: Any, features_dim: int = 128):
            super().__init__(space, features_dim)
            self.net = copy.deepcopy(clone[0])

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    class Side(VecEnv):
        """A world as Stable-Baselines3 wants it."""

        def __init__(self) -> None:
            box = gymnasium.spaces.Box(0, 1, tuple(world.past.shape[2:]), np.float32)
            super().__init__(world.side, box, gymnasium.spaces.Discrete(len(games.Breakout.actions)))

        def reset(self) -> NDArray[np.float32]:
            return world.past[:, -1].numpy()

        def step_async(self, actions: NDArray) -> None:
            self.asked = torch.from_numpy(actions).long()

        def step_wait(self) -> Any:
            x, reward, lost, cut, before = world.step(self.asked)
            infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            for k in torch.nonzero(lost | cut).flatten().tolist():
                infos[k] = {"terminal_observation": before[k].numpy(), "TimeLimit.truncated": bool(cut[k])}
            return x.numpy(), reward.float().numpy(), (lost | cut).numpy(), infos

        def close(self) -> None: ...

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [None] * self.num_envs  # no world is drawn on a screen

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            return [None] * self.num_envs

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * self.num_envs

    options = {"features_extractor_class": Eyes, "normalize_images": False, "net_arch": []}
    learner = Learner("MlpPolicy", Side(), policy_kwargs=options, seed=seed, device="cpu", **PPO)
    # Stable-Baselines3 draws the weights of the eyes anew after it has made them
    policy: Any = learner.policy
    policy.features_extractor.net.load_state_dict(clone[0].state_dict())
    policy.action_net.load_state_dict(clone[1].state_dict())
    return learner


def eyes(width: int = 128) -> nn.Sequential:
    """The network that every player sees with. [B, C, 10, 10] -> [B, width]"""
    channels = len(games.Breakout.channels)
    conv = nn.Conv2d(channels, 16, 3, padding=1)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(16 * games.SIZE**2, width), nn.ReLU())


def _recorded(episodes: Episodes, generator: torch.Generator, size: int = 256) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Picture, action, reward and next picture of `size` recorded steps."""
    k = torch.randint(len(episodes.obs) - 1, (size,), generator=generator)
    return episodes.obs[k].float(), episodes.act[k].argmax(-1), episodes.rew[k].float(), episodes.obs[k + 1].float()


def cloned(episodes: Episodes, seed: int) -> nn.Sequential:
    """Scores of actions [B, 3] that imitate the recorded player: cross-entropy."""
    return _fitted(seed, lambda net, _, batch: F.cross_entropy(net(batch[0]), batch[1]), episodes)


def q_learned(episodes: Episodes, seed: int) -> nn.Sequential:
    """Values of actions [B, 3] by double Q-learning (van Hasselt et al. 2016) on the recording alone."""

    def loss(net: nn.Module, slow: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        obs, act, rew, after = batch
        with torch.no_grad():
            best = net(after).argmax(1, keepdim=True)
            target = rew + PPO["gamma"] * slow(after).gather(1, best)[:, 0] * ~bottom(obs)
        return F.smooth_l1_loss(net(obs).gather(1, act[:, None])[:, 0], target)

    return _fitted(seed, loss, episodes)


def _fitted(seed: int, loss: Callable[..., Tensor], episodes: Episodes) -> nn.Sequential:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net, slow = (nn.Sequential(eyes(), nn.Linear(128, len(games.Breakout.actions))) for _ in range(2))
    slow.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(UPDATES):
        optimizer.zero_grad()
        loss(net, slow, _recorded(episodes, generator)).backward()
        optimizer.step()
        for now, old in zip(net.parameters(), slow.parameters(), strict=True):
            old.data.lerp_(now.data, 0.01)
    return net


def judged(player: games.Player, number: int | None = None, longest: int | None = None) -> NDArray[np.float64]:
    """Bricks in each of `number` real games, until the first ball is lost or the game is cut. -> [number]"""
    bricks = np.zeros(number or GAMES)
    for k in range(len(bricks)):
        game = games.Breakout(50_000 + k)
        for _ in range(longest or LONGEST):
            bricks[k] += game.step(player(game))
            if game.lost(game.state):
                break
    return bricks


def seeing(choose: Callable[[Tensor], Tensor]) -> games.Player:
    """A player who sees pictures [1, C, 10, 10] and takes the action of the highest score [1, 3]."""

    @torch.no_grad()
    def act(game: games.Game) -> int:
        return int(choose(torch.from_numpy(game.frame())[None].float()).argmax(1))

    return act


def player(arm: str, seed: int) -> games.Player:
    """Who plays in an arm, after practice."""
    rng = random.Random(seed)
    if arm == "random":
        return lambda game: rng.randrange(len(game.actions))
    if arm == "scripted":
        return games.scripted
    if arm == "q-learning":
        return seeing(q_learned(_recording(), seed))
    clone = cloned(_recording(), seed)
    if arm == "cloning":
        return seeing(clone)
    if arm in DREAMS:
        world: Dream | Real = Dream(
            Diamond.load(shipped(f"weights/breakout-{DREAMS[arm]}.safetensors")), _recording(), seed
        )
    else:
        world = Real(seed)
    learner = _learner(world, clone, seed)
    learner.learn(dreams.RECORDED if arm == "real, 30,000" else FRAMES)
    return seeing(lambda x: learner.policy.get_distribution(x).distribution.logits)


@lru_cache(maxsize=1)
def _recording() -> Episodes:
    return dreams.recording()[0]


def point(arm: str, *, seed: int) -> dict[str, Any]:
    """Bricks that an arm's player takes in each real game; the CPU seconds of its practice."""
    begun = time.process_time()
    who = player(arm, seed)
    seconds = time.process_time() - begun
    return {"bricks": [float(b) for b in judged(who)], "practice": round(seconds, 1)}


def by_arm(table: Table) -> list[dict[str, Any]]:
    """Bricks a game for each arm: the mean over games, each game's bricks being their mean over trainings, with the
    bootstrap's interval over games; `by_seed`: each training."""
    rows = []
    for arm in ARMS:
        same = [r for r in table.rows if r["arm"] == arm]
        if same:
            every = np.array([r["bricks"] for r in same])
            row = {"arm": arm, "seeds": len(same), "bricks": float(every.mean())}
            row |= {"interval": list(bootstrap(every.mean(0))), "by_seed": [float(v.mean()) for v in every]}
            rows.append(row | {"practice": float(np.mean([r["practice"] for r in same]))})
    return rows


def players(seeds: Sequence[int]) -> Table:
    """The table of players; the scripted one and the dream that was hardly trained have one seed alone."""
    once = ("scripted", "dream, early")
    grids = [([{"arm": a} for a in ARMS if a not in once], seeds), ([{"arm": a} for a in once], seeds[:1])]
    table = Table.joined(run_grid(point, g, seeds=s, cache=RUNS, version=VERSION) for g, s in grids)
    return Table(table.rows, table.about | {"frames": FRAMES, "summary": by_arm(table)})


PARTS = {"players": Part(players, "results/practice.json")}
