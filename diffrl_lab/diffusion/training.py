"""Training: a loss, one update, a generator of updates, and files from which a stopped run goes on bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from diffrl_lab.files import written

from .denoisers import Cond, NeuralDenoiser, shown, target
from .schedules import expand

Update = Callable[[Any], dict[str, Tensor]]


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
    weight: factors on the squared error, broadcastable. t: [B] or [B, H]; by default [B], stratified over the batch
    (lower variance, the same mean).
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
    """

    def __init__(self, module: nn.Module, decay: float = 0.999):
        import copy

        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.module, self.decay, self.n = copy.deepcopy(module).requires_grad_(False).eval(), decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.n += 1
        d = min(self.decay, (1 + self.n) / (10 + self.n))
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
    norm. ema: decay of the running average `self.ema` of the weights, or None. generator: the source of all randomness
    of the run (data order, noise, masks); its state is saved with the rest.
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
        generator: torch.Generator | None = None,
    ):
        self.loss, self.module, self.lr, self.schedule, self.clip_norm = loss, module, lr, schedule, clip_norm
        self.params = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.params, lr=lr, weight_decay=weight_decay)
        self.ema = EMA(module, ema) if ema is not None else None
        self.generator, self.step = generator, 0

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

    def save(self, path: str | Path, **about: Any) -> None:
        """Everything the next step depends on, in one safetensors file: weights, EMA, optimiser, step, generator."""
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in self.ema.module.state_dict().items()}
        if self.generator is not None:
            tensors["generator"] = self.generator.get_state()
        save(path, tensors, step=self.step, ema_n=self.ema.n if self.ema else 0, **about)

    def load(self, path: str | Path) -> dict[str, Any]:
        """Go on from `save`d state, bit for bit on a CPU. -> what was said `about` the run"""
        tensors, about = load(path)
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value
        self.module.load_state_dict(parts.get("module", {}))
        if self.ema is not None:
            self.ema.module.load_state_dict(parts.get("ema", {}))
            self.ema.n = about["ema_n"]
        if self.generator is not None:
            self.generator.set_state(parts["generator"][""])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts.get("optimizer", {}).items():
            i, _, key = name.partition(".")
            state.setdefault(int(i), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = about["step"]
        return about


def fit(update: Update, batches: Iterable[Any], steps: int) -> Iterator[dict[str, Any]]:
    """`steps` updates, one at a time: {"step": n, "loss": ...}. Plotting, saving and stopping are the caller's loop."""
    first = getattr(update, "step", 0)
    for n, batch in zip(range(first, first + steps), batches, strict=False):
        yield {"step": n + 1, **update(batch)}


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
    about itself, or its numbers are of a type that no weights of ours have.
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
    ours = (torch.float16, torch.float32, torch.float64, torch.int64, torch.bool)
    for name, value in tensors.items():
        if value.dtype not in ours and not (value.dtype == torch.uint8 and "generator" in name):
            raise ValueError(f"{path} holds {name} as {value.dtype}; weights are written as float16, 32 or 64")
    return tensors, about
