"""Files of weights: another method's, another version's and another program's are named, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import load, save
from diffrl_lab.methods.guides import Guide
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.methods.planning.windows import Config, Windows
from diffrl_lab.methods.weights import method_of

TINY = Config(horizon=4, width=8, mults=(1, 1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Windows(TINY, 2, 1).save(tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def changed(file: Path, tensors: dict[str, torch.Tensor] | None = None, **about: object) -> Path:
    """The file with other tensors, or with something else said about it."""
    old, said = load(file)
    save(file, {**old, **(tensors or {})}, **{**said, **about})
    return file


def test_the_method_of_a_file_is_named_and_another_method_refuses_it(file: Path) -> None:
    assert method_of(file) == "Windows"
    with pytest.raises(ValueError, match="w.safetensors holds a Windows; a Diffuser was wanted"):
        Diffuser.load(file)
    with pytest.raises(ValueError, match="holds no model of this library"):
        method_of(shipped("results/guidance-two-ways-p50.safetensors"))
    with pytest.raises(ValueError, match="holds a Diffuser; a Guide was wanted"):
        Guide.load(shipped("weights/maze-umaze-good.safetensors"))


def test_a_config_and_tensors_of_another_version_are_named(file: Path) -> None:
    with pytest.raises(ValueError, match="of another version: its config has depth, wings; train it again"):
        Windows.load(changed(file, config={"width": 8, "wings": 2, "depth": 1}))
    Windows(TINY, 2, 1).save(file)
    with pytest.raises(ValueError, match="is a Windows of another version: .*; train it again"):
        Windows.load(changed(file, sizes={"obs": 3, "act": 1}))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.float8_e4m3fn])
def test_tensors_of_a_type_that_no_weights_of_ours_have_are_named(file: Path, dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"holds scaler.center as torch.*; weights are written as float16, 32 or 64"):
        Windows.load(changed(file, {"scaler.center": torch.zeros(3).to(dtype)}))


def test_a_checkpoint_is_no_model(file: Path) -> None:
    with pytest.raises(ValueError, match="is the checkpoint of a training, not a model"):
        Windows.load(changed(file, run={}))
