"""Decision Diffuser (Ajay et al. 2023): plans of states only, conditioned on a return or a goal without a classifier.

One network learns D(x_t, t) and D(x_t, t, y) together, the condition y of a sample being dropped now and then; `cfg`
extrapolates from one to the other, noise of low temperature (`ddpm(temperature)`) keeps to likely plans, and a second
network says which action leads from one state to the next. Conditions combine: `compose` adds and subtracts what each
does to D.

What differs from the paper: plans are those of `methods.planning.diffuser` (variable duration, no history of K states),
the returns are scaled to mean 0 and deviation 1, and the network is a `PlanMLP`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from diffrl_lab.data.episodes import Episodes
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import (
    Cosine,
    Denoiser,
    Function,
    NeuralDenoiser,
    cfg,
    cosine_decay,
    ddpm,
    denoising_loss,
    descend,
    drop,
    load,
    pin,
    save,
)
from diffrl_lab.diffusion.denoisers import Cond
from diffrl_lab.methods.planning.diffuser import Diffuser, Plan, Planner
from diffrl_lab.nets import MLP, PlanMLP
from diffrl_lab.worlds.driving import Follower


class Conditioned(nn.Module):
    """net(x [B, H, d], label [B], {"known": bool, "y": [B, c]}) -> [B, H, d]: a plan network with a condition y.

    y's embedding e = W y + b stands beside the plan as `columns` further columns that are always known. A row of y with
    NaN in it, or no y at all, means "not given": its embedding is a learned vector of its own, since a y of 0 is legal
    (a return of 0, a goal at the origin).
    """

    def __init__(self, net: nn.Module, cond: int, columns: int):
        super().__init__()
        self.net, self.cond, self.columns = net, cond, columns
        self.embed = nn.Linear(cond, columns)
        self.null = nn.Parameter(torch.randn(columns))
        with torch.no_grad():  # begin with y itself, which PlanMLP sees as waves
            self.embed.weight.copy_(torch.eye(columns, cond))
            self.embed.bias.zero_()

    def forward(self, x: Tensor, label: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        B, H, d = x.shape
        cond = cond or {}
        y = cond.get("y", x.new_full((B, self.cond), float("nan"))).expand(B, -1)
        if y.shape[1] != self.cond:
            raise ValueError(f"this network's condition has {self.cond} numbers, got {tuple(y.shape)}")
        absent = y.isnan().any(1, keepdim=True)
        e = torch.where(absent, self.null, self.embed(torch.where(absent, 0.0, y)))
        known = cond.get("known", torch.zeros(1, dtype=torch.bool)).expand(x.shape)
        beside = torch.ones(B, H, self.columns, dtype=torch.bool, device=x.device)
        wide = torch.cat([x, e[:, None].expand(-1, H, -1)], -1)
        return self.net(wide, label, {"known": torch.cat([known, beside], -1)})[..., :d]


def conditioned(config: Diffuser, dim: int, cond: int, seed: int = 0, columns: int = 4) -> NeuralDenoiser:
    """A fresh denoiser of plans [H, dim] under a condition of `cond` numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PlanMLP(
            config.horizon,
            dim + columns,
            width=config.width,
            depth=config.depth,
            channels=config.channels,
            positions=(dim - 1) // 2,
        )
        return NeuralDenoiser(Conditioned(net, cond, columns), Cosine(), "x0")


class Learning(descend):
    """One update of a conditioned denoiser on {"x": [B, H, d] scaled, "known": bool, "y": [B, c]}; y is dropped for
    each *sample* with probability p (the paper's 0.25)."""

    def __init__(self, D: NeuralDenoiser, config: Diffuser, generator: torch.Generator, *, p: float = 0.25):
        def loss(batch: Mapping[str, Tensor]) -> Tensor:
            cond = {"known": batch["known"], "y": drop(batch["y"], p, generator)}
            return denoising_loss(D, batch["x"], cond=cond, known=batch["known"], generator=generator)

        decay = cosine_decay(config.steps, warmup=min(100, config.steps // 10))
        super().__init__(loss, D, lr=config.lr, schedule=decay, ema=config.ema, generator=generator)


def compose(D: Denoiser, terms: Sequence[tuple[Cond, float]], drop: tuple[str, ...] = ("y",)) -> Denoiser:
    """D + sum_i w_i (D(., y_i) - D), all branches in one batch: AND for w_i > 0, NOT for w_i < 0 (Liu et al. 2022).

    terms: (condition, w), conditions being tensors [B, c] or dicts, of which `drop` is what the unconditional branch is
    not given. One term is `cfg`. With w_i = 1 it is the denoiser under all conditions at once wherever these are
    independent given x_t *and* x_0's parts they speak of are too; in general the denoiser of a product of laws is not
    the sum of their denoisers, and the samples follow no law that can be written down.
    """
    if not terms:
        raise ValueError("nothing to compose: give at least one (condition, weight)")
    conds = [c for c, _ in terms]
    first = conds[0]

    def joined() -> Cond:
        if isinstance(first, Mapping):
            rows: list[Any] = [{k: _nan(v) if k in drop else v for k, v in first.items()}, *conds]
            return {k: torch.cat([row[k] for row in rows]) for k in first}
        return torch.cat([_nan(first), *conds])  # type: ignore[arg-type, list-item]

    def composed(x_t: Tensor, t: Tensor, _: Cond = None) -> Tensor:
        t, n = torch.as_tensor(t), len(conds) + 1
        free, *others = D(torch.cat([x_t] * n), torch.cat([t] * n) if t.ndim else t, joined()).chunk(n)
        return free + sum(w * (other - free) for (_, w), other in zip(terms, others, strict=True))

    return Function(composed, D.schedule)


def _nan(y: Any) -> Tensor:
    return torch.full_like(y, float("nan"))


class InverseDynamics(nn.Module):
    """a = f(s, s'): the action that leads from a state s [B, m] to the next s' [B, m], by least squares. -> [B, a]

    An MLP over s and s' - s, scaled to unit size on the data: states one step apart are nearly equal.
    """

    def __init__(self, scaler: Scaler, act: int, *, width: int = 64, seed: int = 0):
        super().__init__()
        self.scaler = scaler
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = MLP(len(scaler.center), out=act, width=width, label=0)

    @classmethod
    def fit(
        cls, episodes: Episodes, *, steps: int = 1500, batch: int = 512, width: int = 64, seed: int = 0
    ) -> InverseDynamics:
        """Trained on all pairs of neighbouring rows within episodes."""
        rows = (episodes.last == 0).nonzero()[:, 0]
        features = _features(episodes.obs[rows].float(), episodes.obs[rows + 1].float())
        f = cls(Scaler.fit(features, "standard"), episodes.act.shape[1], width=width, seed=seed)
        inputs, wanted = f.scaler(features), episodes.act[rows].float()
        generator = torch.Generator().manual_seed(seed)
        update = descend(
            lambda i: (f.net(inputs[i]) - wanted[i]).square().mean(), f, lr=2e-3, schedule=cosine_decay(steps)
        )
        for _ in range(steps):
            update(torch.randint(len(rows), (batch,), generator=generator))
        return f

    def forward(self, s: Tensor, after: Tensor) -> Tensor:
        return self.net(self.scaler(_features(s, after)))


def _features(s: Tensor, after: Tensor) -> Tensor:
    return torch.cat([s, after - s], -1)


@dataclass(frozen=True, eq=False)
class DecisionDiffuser:
    """A conditioned denoiser of plans and the inverse dynamics that drive them.

    planner: a `Planner` around a `Conditioned` network (its own `plan` gives the condition-free model). y is scaled to
    mean 0, deviation 1 by `y_scaler`.
    """

    planner: Planner
    inverse: InverseDynamics
    y_scaler: Scaler
    w: float = 1.4  # scale of the guidance; the paper's 1.2 to 1.8
    temperature: float = 0.5  # of the noise: a factor on its standard deviation
    steps: int = 20  # denoising steps

    def denoiser(self, y: ArrayLike, known: Tensor, value: Tensor, n: int, w: float | None = None) -> Denoiser:
        """pin(cfg(D, y, w)) for n plans; y a number, [c] or [n, c] in its own units."""
        y = self.y_scaler(torch.atleast_1d(torch.as_tensor(np.asarray(y), dtype=torch.float32)).expand(n, -1))
        cond = {"known": known.expand(n, *known.shape[-2:]), "y": y}
        return pin(cfg(self.planner.denoiser, cond, self.w if w is None else w, drop=("y",)), known, value)

    @torch.no_grad()
    def plan(
        self,
        obs: ArrayLike,
        y: ArrayLike,
        goal: ArrayLike | None = None,
        n: int = 16,
        generator: torch.Generator | None = None,
        *,
        w: float | None = None,
        temperature: float | None = None,
    ) -> Plan:
        """n plans from the state obs [2d] under y, their end pinned to `goal` [d] where one is given."""
        known, value = self.planner.ends(obs, goal)
        step = ddpm(self.temperature if temperature is None else temperature)
        D = self.denoiser(y, known, value, n, w)
        return self.planner.drawn(D, known, value, n, self.steps, generator, step=step)

    def agent(self, y: ArrayLike | None = None, *, pinned: bool = True, n: int = 1) -> ByInverse:
        """Drives plans under y by the inverse dynamics; y=None: the goal is the condition. pinned: end at the goal."""
        return ByInverse(self, y, pinned, n)

    def save(self, path: str | Path, **about: Any) -> None:
        """The weights as float16 (scalings as they are) in one safetensors file."""
        p = self.planner
        tensors = {f"D.{k}": v.half() for k, v in p.denoiser.state_dict().items()}
        tensors |= {f"inverse.{k}": v.half() for k, v in self.inverse.state_dict().items()}
        for name, scaler in (("scaler", p.scaler), ("y", self.y_scaler), ("step", self.inverse.scaler)):
            tensors |= {f"{name}.{k}": v for k, v in scaler.state().items()}
        known = {"w": self.w, "temperature": self.temperature, "steps": self.steps, "config": asdict(p.config)}
        save(path, tensors, **p.about, **known, seconds_per_step=p.seconds_per_step, **about)

    @classmethod
    def load(cls, path: str | Path) -> DecisionDiffuser:
        """What `save` wrote. Raises ValueError for a file of something else."""
        tensors, about = load(path)
        parts: dict[str, dict[str, Tensor]] = {}
        for key, v in tensors.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = v
        if "config" not in about or set(parts) != {"D", "inverse", "scaler", "y", "step"}:
            raise ValueError(f"{path} holds no Decision Diffuser, but {', '.join(sorted(parts)) or 'nothing'}")
        config, scaler, y = Diffuser(**about.pop("config")), Scaler(**parts["scaler"]), Scaler(**parts["y"])
        D = conditioned(config, len(scaler.center), len(y.center), columns=len(parts["D"]["net.null"]))
        D.load_state_dict({k: v.float() for k, v in parts["D"].items()})
        layers = parts["inverse"]
        act = list(layers.values())[-1].shape[0]
        f = InverseDynamics(Scaler(**parts["step"]), act, width=len(layers["net.layers.0.bias"]))
        f.load_state_dict({k: v.float() for k, v in layers.items()})
        options = {k: about.pop(k) for k in ("w", "temperature", "steps")}
        planner = Planner(D.eval(), scaler, config, about.pop("seconds_per_step"), about=about)
        return cls(planner, f, y, **options)


class ByInverse(Follower):
    """An agent that follows a plan by the inverse dynamics: act = f(s, next state of the plan), not by a PD controller.

    It looks where the ball is at every step, so its errors do not add up as those of a plan's own actions do.
    """

    def __init__(self, method: DecisionDiffuser, y: ArrayLike | None, pinned: bool, n: int):
        def route(obs: NDArray, goal: NDArray, seed: int) -> NDArray:
            generator = torch.Generator().manual_seed(seed)
            plan = method.plan(obs, goal if y is None else y, goal if pinned else None, n, generator)
            return method.planner.reference(plan)

        super().__init__(route)
        self.inverse = method.inverse

    @torch.no_grad()
    def act(self, obs: ArrayLike) -> NDArray[np.float64]:
        super().act(obs)  # plans again where that helps, and counts the step
        s, after = (torch.as_tensor(np.asarray(x), dtype=torch.float32)[None] for x in (obs, self._target()))
        return self.inverse(s, after)[0].clamp(-1, 1).double().numpy()
