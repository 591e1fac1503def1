"""One file, one method: found by its file's name, without a registry.

The methods can be had from here by their names, `from diffrl_lab.methods import Diffuser, DiffusionPolicy`; `names()`
says which there are. A method's `Config`, `Agent` and `train` are in its file. Nothing is imported before it is asked
for.

baselines  What needs no training
guides     What bends samples, whatever it bends: a network J(x_t, t) of the *noisy* sample and the losses that
           teach it
models     World models: what the world does next, learned from recordings
planning   Methods that plan: a whole trajectory is diffused, then followed
policies   Methods that act: an action or a chunk of actions is drawn at each state
weights    One file format for the weights of every method: a safetensors file that names method, config and
           sizes
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from diffrl_lab.files import exported

SHARED = {"plans", "chunks", "critics"}  # what several methods of a role use
UNTRAINED = {"baselines"}  # what needs no training


def names() -> dict[str, str]:
    """The methods that can be trained: name -> role, which are the names of file and folder."""
    files = sorted(Path(__file__).parent.glob("*/*.py"), key=lambda p: p.stem)
    return {
        p.stem: p.parent.name for p in files if p.stem not in SHARED | {"__init__"} and p.parent.name not in UNTRAINED
    }


def named(name: str) -> ModuleType:
    """The module of a method. Raises ValueError for a name that no file has."""
    every = names()
    if name not in every:
        raise ValueError(f"there is no method {name!r}; there are {', '.join(every)}")
    return importlib.import_module(f"{__name__}.{every[name]}.{name}")


def of_class(title: str) -> tuple[ModuleType, Any]:
    """The module and the class of a model by the name that its weights' file has ("DiffusionPolicy").

    Raises ValueError for a name that no method has.
    """
    for name in names():
        if name.replace("_", "") == title.lower():
            return named(name), getattr(named(name), title)
    raise ValueError(f"there is no method {title!r}")


__all__, __getattr__, __dir__ = exported(
    __name__,
    {f"{role}.{name}": name.title().replace("_", "") for name, role in names().items()},
    here=("named", "names", "of_class"),
)
