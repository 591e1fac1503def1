"""Training: a loss, one update, a generator of updates, and files from which a stopped run goes on bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from diffrl_lab.files import written

from .denoisers import Cond, NeuralDenoiser, shown, target
from .schedules import expand

Update = Callable[[Any], dict[str, Tensor]]
Made = TypeVar("Made")


def masked_mean(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean of x over the entries where `mask` is true (all, without a mask): padding does not change it. -> []"""
    if mask is None:
        return x.mean()
    mask = mask.expand_as(x)
    return torch.where(mask, x, 0.0).sum() / mask.sum().clamp(min=1)


def denoising_loss(
    D: NeuralDenoiser,
    x_0: Tensor,
    *,
    cond: Cond = None,
    known: Tensor | None = None,
    valid: Tensor | None = None,
    t: Tensor | None = None,
    weight: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """E |out - target|^2 in the units of what the network predicts, x_t = alpha x_0 + sigma eps, t ~ U(t_min, 1). -> []

    The target is eps ("eps": DDPM's simple loss, Ho et al. 2020), x_0, v, eps - x_0 or EDM's F, so the error is that of
    x0_hat over c_out: |(D(x_t) - x_0) / c_out|^2, without the digits that this difference would lose at low noise.
    known: bool, broadcastable to x_0: those entries are shown clean and leave the loss, so that `pin` is right in the
    chain. valid: bool, broadcastable to x_0: padding is false and leaves the loss.
    weight: factors on the squared error: [B], one for each row, or of several axes, broadcastable to x_0.
    t: [B] or [B, H]; by default [B], stratified over the batch (lower variance, the same mean), rising with the row.
    """
    B = len(x_0)
    if t is None:
        width = (1 - D.schedule.t_min) / B
        t = (torch.linspace(D.schedule.t_min, 1 - width, B) + width * torch.rand(B, generator=generator)).to(x_0)
    eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype).to(x_0.device)
    alpha, sigma = D.schedule(t, x_0.ndim)
    x_t = alpha * x_0 + sigma * eps
    if known is not None:
        x_t = torch.where(known, x_0, x_t)
        valid = ~known if valid is None else valid & ~known
    c_in, label = shown(alpha, sigma, D.sigma_data)
    out = D.net(c_in * x_t, label.reshape(t.shape), cond)
    wanted = target(D.predict, x_0, eps, alpha, sigma, D.sigma_data)
    if weight is not None and weight.ndim == 1:
        weight = expand(weight, x_0.ndim)
    if weight is None and valid is None:
        return mse_loss(out, wanted)  # one fused operation instead of three
    error = mse_loss(out, wanted, reduction="none")
    return masked_mean(error if weight is None else error * weight, valid)


def drop(cond: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """cond [B, ...] with each *sample's* row replaced by NaN ("not given") with probability p (Ho and Salimans)."""
    dropped = torch.rand(len(cond), generator=generator) < p
    return torch.where(expand(dropped.to(cond.device), cond.ndim), float("nan"), cond)


class Batches:
    """Endless batches of rows drawn with replacement from tensors of equal length, in the `generator`'s order."""

    def __init__(self, data: Tensor | Mapping[str, Tensor], size: int, generator: torch.Generator):
        sizes = {len(v) for v in data.values()} if isinstance(data, Mapping) else {len(data)}
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(f"data must be tensors of one length > 0, got lengths {sorted(sizes)}")
        if size < 1:
            raise ValueError(f"a batch needs at least one row, got size={size}")
        self.data, self.size, self.generator, self.rows = data, size, generator, sizes.pop()

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        i = torch.randint(self.rows, (self.size,), generator=self.generator)
        return {k: v[i] for k, v in self.data.items()} if isinstance(self.data, Mapping) else self.data[i]


class EMA:
    """theta_ema <- decay theta_ema + (1 - decay) theta, in a network of its own that starts as a copy of the first.

    min(decay, (1 + n) / (10 + n)) is used at update n, so that the start is forgotten; buffers are copied.
    warm_up=False uses `decay` from the first update on: a target network (Lillicrap et al. 2016; tau = 1 - decay).
    """

    def __init__(self, module: nn.Module, decay: float = 0.999, *, warm_up: bool = True):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.module, self.decay, self.n = deepcopy(module).requires_grad_(False).eval(), decay, 0
        self.warm_up = warm_up

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.n += 1
        d = min(self.decay, (1 + self.n) / (10 + self.n)) if self.warm_up else self.decay
        mine: list[Tensor] = list(self.module.parameters())
        theirs = [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - d)
        for b, c in zip(self.module.buffers(), module.buffers(), strict=True):
            b.copy_(c)


def cosine_decay(steps: int, warmup: int = 0, floor: float = 0.0) -> Callable[[int], float]:
    """The factor on lr at step n: linear up over `warmup` steps, then half a cosine down to `floor` at `steps`."""

    def factor(n: int) -> float:
        if n < warmup:
            return (n + 1) / warmup
        u = min(1.0, (n - warmup) / max(1, steps - warmup))
        return floor + (1 - floor) * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * u, dtype=torch.float64))))

    return factor


class descend:  # noqa: N801 - used as a verb: update = descend(loss, net)
    """One update of `module` by AdamW on loss(batch) -> [] or a dict with "loss": batch -> the numbers.

    schedule: factor on lr by step number (`cosine_decay`); it counts steps, never seconds. clip_norm: largest gradient
    norm. ema: decay of the running average `self.ema` of the weights, None for none; warm_up: see `EMA`.
    """

    def __init__(
        self,
        loss: Callable[[Any], Tensor | dict[str, Tensor]],
        module: nn.Module,
        *,
        lr: float = 3e-4,
        weight_decay: float = 0.0,
        schedule: Callable[[int], float] | None = None,
        clip_norm: float | None = 1.0,
        ema: float | None = None,
        warm_up: bool = True,
    ):
        self.loss, self.module, self.lr, self.schedule, self.clip_norm = loss, module, lr, schedule, clip_norm
        self.params = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.params, lr=lr, weight_decay=weight_decay)
        self.ema = EMA(module, ema, warm_up=warm_up) if ema is not None else None
        self.step = 0

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        if self.schedule is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * self.schedule(self.step)
        out = self.loss(batch)
        out = out if isinstance(out, dict) else {"loss": out}
        self.optimizer.zero_grad(set_to_none=True)
        out["loss"].backward()
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.params, self.clip_norm)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.module)
        self.step += 1
        return {k: v.detach() for k, v in out.items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        """What the next update depends on besides the batch: (weights, averages and optimiser, counts)."""
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in self.ema.module.state_dict().items()}
        return tensors, {"step": self.step, "averaged": self.ema.n if self.ema else 0}

    def restore(self, tensors: Mapping[str, Tensor], counts: Mapping[str, int]) -> None:
        """Go on from a `state`, bit for bit on a CPU."""
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value
        self.module.load_state_dict(parts.get("module", {}))
        if self.ema is not None:
            self.ema.module.load_state_dict(parts.get("ema", {}))
            self.ema.n = counts["averaged"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts.get("optimizer", {}).items():
            i, _, key = name.partition(".")
            state.setdefault(int(i), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = counts["step"]


def fit(update: Update, batches: Iterable[Any], steps: int) -> Iterator[dict[str, Any]]:
    """`steps` updates, one at a time: {"step": n, "loss": ...}. Plotting, saving and stopping are the caller's loop."""
    first = getattr(update, "step", 0)
    for n, batch in zip(range(first, first + steps), batches, strict=False):
        yield {"step": n + 1, **update(batch)}


def seeded(seed: int, make: Callable[..., Made], *args: Any, **options: Any) -> Made:
    """make(*args, **options) with PyTorch's own generator at `seed`, then as it was: the first weights of a network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(*args, **options)


def digest(data: Any) -> str:
    """16 hexadecimal digits of the SHA-256 over a dataclass or a dict of tensors: which data a run is trained on."""
    columns = data if isinstance(data, Mapping) else {f.name: getattr(data, f.name) for f in fields(data)}
    sha = hashlib.sha256()
    for name, value in sorted((k, v) for k, v in columns.items() if torch.is_tensor(v)):
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]


class Stage(NamedTuple):
    """One part of a training: on every batch each of `updates` makes one step in turn, `number` times in all."""

    updates: tuple[descend, ...]
    batches: Iterable[Any]
    number: int


class Run:
    """A training as a generator: `for row in train(episodes): ...` yields {"step": n, "loss": ...}, a row an update.

    It goes on from where it stands, so it can be stopped and iterated again; `save` and `load` carry it over to another
    process, bit for bit on a CPU. Its stages follow one another; the rows of several updates (actor, critics) are
    merged. model: all that is trained, with a `config`. generator: the source of all randomness of the run (data order,
    noise, masks). data: what it is trained on, a dataclass or dict of tensors; a checkpoint knows its `digest`.
    about: whatever else tells this run from others, as JSON has it.
    """

    def __init__(
        self, model: nn.Module, *stages: Stage, generator: torch.Generator, data: Any, seed: int, **about: Any
    ):
        self.trained, self.stages, self.generator = model, stages, generator
        self.updates = sum(stage.number for stage in stages)
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(model.config).items()}  # type: ignore[call-overload, arg-type]
        self.about = {"method": type(model).__name__, "config": config, "seed": seed, "data": digest(data), **about}

    @property
    def step(self) -> int:
        """How many updates were made."""
        return sum(stage.updates[0].step for stage in self.stages)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for updates, batches, number in self.stages:
            for _, batch in zip(range(updates[0].step, number), batches, strict=False):
                row = {k: v for update in updates for k, v in update(batch).items()}
                yield {"step": self.step, **row}

    @property
    def model(self) -> Any:
        """What was learned so far: a copy in evaluation mode, with the averaged weights where there are any."""
        updates = [u for stage in self.stages for u in stage.updates]
        averages = {id(u.module): deepcopy(u.ema.module) for u in updates if u.ema}
        model: Any = deepcopy(self.trained, averages).requires_grad_(False).eval()
        model.about = {k: v for k, v in self.about.items() if k not in ("method", "config")} | {"trained": self.step}
        return model

    def save(self, path: str | Path) -> None:
        """Everything that the next update depends on, in one safetensors file."""
        tensors, counts = {"generator": self.generator.get_state()}, []
        for i, update in enumerate(u for stage in self.stages for u in stage.updates):
            state, count = update.state()
            tensors |= {f"{i}.{k}": v.clone() for k, v in state.items()}  # two updates may share a network, a file not
            counts.append(count)
        save(path, tensors, run=self.about, counts=counts)

    def load(self, path: str | Path) -> None:
        """Go on from a `save`d state of the same run.

        Raises ValueError for a file that is no checkpoint, and for one of another method, config, seed or other data.
        """
        tensors, about = load(path)
        if "run" not in about:
            raise ValueError(f"{path} is no checkpoint of a training")
        known, mine = about["run"], self.about
        other = [k for k in {**mine, **known} if known.get(k) != mine.get(k)]
        if "config" in other and "method" not in other:
            theirs, ours = known["config"], mine["config"]
            fields = [k for k in {**ours, **theirs} if theirs.get(k) != ours.get(k)]
            said, wanted = ({k: c.get(k) for k in fields} for c in (theirs, ours))
        else:
            said, wanted = ({k: a.get(k) for k in other if k != "config"} for a in (known, mine))
        if other:
            raise ValueError(
                f"{path} is a checkpoint of another run: it has {_listed(said)}, this one {_listed(wanted)}"
            )
        updates = [u for stage in self.stages for u in stage.updates]
        for i, (update, counts) in enumerate(zip(updates, about["counts"], strict=True)):
            mark = f"{i}."
            update.restore({k.removeprefix(mark): v for k, v in tensors.items() if k.startswith(mark)}, counts)
        self.generator.set_state(tensors["generator"])


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} = {v!r}" for k, v in values.items())


def save(path: str | Path, tensors: Mapping[str, Tensor], **about: Any) -> None:
    """Write tensors and a JSON-able `about` to a safetensors file with `files.written`.

    Raises OSError, with the path, where it cannot be written (a full disk, too): what was there before stays whole.
    """
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with written(path) as beside:
        try:
            save_file(plain, beside, metadata={"about": json.dumps(about)})
        except SafetensorError as error:  # a full disk, a quota
            raise OSError(f"{path} could not be written: {error}") from error


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save` wrote: (tensors, about).

    Raises FileNotFoundError, or ValueError for a file that is cut short, or that something else wrote: it says nothing
    about itself.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as f:
            said = (f.metadata() or {}).get("about")
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
    except SafetensorError as e:
        raise ValueError(
            f"{path} is not a whole safetensors file ({e}); make it again with the command named in data/README.md"
        ) from e
    try:
        about = json.loads(said or "")
    except ValueError:
        about = None
    if not isinstance(about, dict):
        raise ValueError(f"{path} was written by another program than diffrl_lab: it does not say what it holds")
    return tensors, about
