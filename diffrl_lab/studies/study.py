"""The frame of every study: parts, seeds, hours and the manifest; `diffrl-lab study NAME [PART] --seeds N`.

A study is a file or folder of this room with a dictionary `PARTS`: the name of a part -> `Part`. It is found by its
file, and holds nothing else than pure functions and the parts that are made of them.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.data.shipped import add
from diffrl_lab.diffusion import save
from diffrl_lab.files import DATA, provenance
from diffrl_lab.studies import names

Tensors = Mapping[str, tuple[dict[str, Tensor], dict[str, Any]]]
"""Files of safetensors: their names below data/ -> what they hold, and what is said about it."""


@dataclass(frozen=True)
class Part:
    """One table of a study, or files of tensors.

    compute: training seeds -> a table, whose about["hours"] is the CPU time of its points (without it `main` takes the
    time that it spent), or tensors. file: where a table goes, below data/; "": its points are kept, and nothing is
    written. seeds: how many trainings there are, seeds 0 to n - 1. training: trains the networks behind the points,
    unless they are kept, -> the CPU hours that it took; it goes first, so that `hours` counts sampling and driving.
    """

    compute: Callable[[Sequence[int]], Table | Tensors]
    file: str = ""
    seeds: int = 3
    training: Callable[[Sequence[int]], float] | None = None


def parts(name: str) -> dict[str, Part]:
    """The parts of a study. Raises ValueError for a name that no study has."""
    if name not in names():
        raise ValueError(f"there is no study {name!r}; there are {', '.join(names())}")
    return importlib.import_module(f"diffrl_lab.studies.{name}").PARTS


def main(name: str, part: str | None = None, seeds: int | None = None, say: Callable[[str], Any] = print) -> None:
    """Compute a part of a study (all, without one), write what ships and enter it in the manifest with its command.

    seeds: training seeds 0 to seeds - 1; by default the part's own number. Raises ValueError for names that do not
    exist and for seeds below 1.
    """
    every = parts(name)
    if part is not None and part not in every:
        raise ValueError(f"the study {name} has no part {part!r}; it has {', '.join(every)}")
    if seeds is not None and seeds < 1:
        raise ValueError(f"a study needs at least one training seed, got {seeds}")
    torch.set_num_threads(1)
    for key in every if part is None else [part]:
        say(f"{name} {key}: {_computed(every[key], f'diffrl-lab study {name} {key}', seeds)}")


def _computed(part: Part, command: str, seeds: int | None) -> str:
    n = part.seeds if seeds is None else seeds
    maker = command if n == part.seeds else f"{command} --seeds {n}"
    training = None if part.training is None else part.training(range(n))
    begun = time.process_time()
    result = part.compute(range(n))
    if isinstance(result, Table):
        about = {"hours": (time.process_time() - begun) / 3600} | result.about
        about |= {} if training is None else {"training_hours": training}
        if part.file:
            Table(result.rows, about).save(DATA / part.file)
            add(part.file, maker, 0)
        return f"{len(result.rows)} rows, {about['hours']:.3f} hours"
    for file, (tensors, about) in result.items():
        save(DATA / file, tensors, **about)
        add(file, maker, 0)
    return ", ".join(result)


def summary(function: Callable, rows: Iterable[dict[str, Any]], seeds: Sequence[int], **about: Any) -> Table:
    """A table whose rows are no points of a grid, but what `function` made of them."""
    rows = list(rows)
    name = f"{function.__module__}.{function.__qualname__}"
    return Table(rows, {"function": name, "seeds": list(seeds), "points": len(rows), "made": [provenance()]} | about)
