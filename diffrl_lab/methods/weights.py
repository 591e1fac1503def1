"""One file format for the weights of every method: a safetensors file that names method, config and sizes.

A method's class takes both from here, `save = weights.save` and `load: Any = classmethod(weights.load)` in its body. It
has `self.config`, its file's `Config` (a network that only guides has none), and `self.sizes`, what `__init__` takes
besides the config, as JSON has it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from diffrl_lab.diffusion import training

TYPES = (torch.float16, torch.float32, torch.float64, torch.int64, torch.bool)  # of the tensors in a file
Method = TypeVar("Method", bound=nn.Module)


def save(model: Any, path: str | Path, **about: Any) -> None:
    """All that `model` learned in one safetensors file: weights as float16, buffers (scalings, statistics) as they are.

    What `model.about` says of its training (seed, data, updates) and `about` go with it. Raises OSError where the file
    cannot be written, ValueError for a model without a network.
    """
    if not any(True for _ in model.parameters()):
        raise ValueError(f"only networks can be saved; this {type(model).__name__} has none")
    halved = {name for name, _ in model.named_parameters()}
    tensors = {name: v.half() if name in halved else v for name, v in model.state_dict().items()}
    config = asdict(model.config) if hasattr(model, "config") else {}
    known = {"method": type(model).__name__, "config": config, "sizes": model.sizes}
    training.save(path, tensors, **{**getattr(model, "about", {}), **about, **known})


def load(cls: type[Method], path: str | Path) -> Method:
    """The model in a file that `save` wrote, in evaluation mode; `model.about` says how it was trained.

    Raises FileNotFoundError, and ValueError for a file that is not whole, that holds another method, or whose config or
    tensors are of another version of this one.
    """
    tensors, about = training.load(path)
    name = about.pop("method", None)
    if name != cls.__name__:
        raise ValueError(
            f"{path} holds {f'a {name}' if name else 'no model of this library'}; a {cls.__name__} was wanted"
        )
    if "run" in about:
        raise ValueError(f"{path} is the checkpoint of a training, not a model: go on with it, then save `run.model`")
    config, sizes = about.pop("config"), about.pop("sizes")
    Config = getattr(sys.modules[cls.__module__], "Config", None)
    known = {f.name for f in fields(Config)} if Config else set()
    if strange := sorted(set(config) - known):
        raise ValueError(f"{path} is a {name} of another version: its config has {', '.join(strange)}; train it again")
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    for key, value in tensors.items():
        if value.dtype not in TYPES:
            raise ValueError(f"{path} holds {key} as {value.dtype}; weights are written as float16, 32 or 64")
    model: Any = training.seeded(0, cls, *([Config(**config)] if Config else []), **sizes)
    try:
        model.load_state_dict({k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()})
    except RuntimeError as error:
        first = str(error).split("\n\t")[1] if "\n\t" in str(error) else str(error)
        raise ValueError(f"{path} is a {name} of another version: {first}; train it again") from None
    model.about = about
    return model.requires_grad_(False).eval()


def method_of(path: str | Path) -> str:
    """The name of the method whose weights a file holds. Raises ValueError for a file of anything else."""
    about: Mapping[str, Any] = training.load(path)[1]
    if "method" not in about:
        raise ValueError(f"{path} holds no model of this library")
    return about["method"]


def around(model: Method, **parts: Any) -> Method:
    """A copy of a model with other parts in the place of its networks, such as an exact denoiser, `denoiser=D`. It
    samples and acts as the model does; it cannot be saved where no network is left."""
    other = deepcopy(model)
    for name, part in parts.items():
        delattr(other, name)  # the place of a module takes nothing but modules
        setattr(other, name, part)
    return other
