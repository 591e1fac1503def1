"""Every method is one file of one shape, so that one can be read beside another (no registry, no base class)."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest
from torch import nn

from diffrl_lab import methods

ROOM = Path(methods.__file__ or "").parent
FILES = [ROOM / role / f"{name}.py" for name, role in methods.names().items()]
HEADINGS = ["What is diffused:", "What is learned:", "How it acts:", "What differs from the paper:"]
IDLE = {"windows", "diamond", "polygrad", "synther", "replay"}  # sampled, or stepped through: they do not act


@pytest.mark.parametrize("path", FILES, ids=[p.stem for p in FILES])
def test_a_method_has_the_shape_and_its_docstring_the_four_headings(path: Path) -> None:
    module = importlib.import_module(f"diffrl_lab.methods.{path.parent.name}.{path.stem}")
    text = module.__doc__ or ""
    places = [text.find(heading) for heading in HEADINGS]
    assert -1 not in places and places == sorted(places), text
    assert dataclasses.is_dataclass(module.Config) and module.Config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    names = {f.name for f in dataclasses.fields(module.Config)}
    assert "updates" in names and not names & {"steps", "sampling"}, names
    model = getattr(module, path.stem.title().replace("_", ""))
    assert issubclass(model, nn.Module)
    assert {"loss", "sample", "save", "load"} <= set(dir(model))
    assert list(inspect.signature(model.loss).parameters)[-1] == "generator"
    assert path.stem in IDLE or {"reset", "act"} <= set(dir(module.Agent))
    train = inspect.signature(module.train)
    assert list(train.parameters)[:2] == ["episodes", "config"] and train.parameters["seed"].default == 0
    assert str(train.return_annotation) == "Run"
