"""`train METHOD DATASET` and `evaluate WEIGHTS [ENV]`: any method that is a file, any recording, any Box world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from diffrl_lab import commands, methods
from diffrl_lab.cli import app
from diffrl_lab.data.shipped import shipped

HOPPER, MAZE = (str(shipped(f"recordings/{n}")) for n in ("hopper-medium-v0", "pointmaze-umaze-v0"))
TINY = [("updates", "3"), ("width", "8"), ("batch", "8")]


@pytest.mark.parametrize(
    "method, data, pairs",
    [
        ("cloning", HOPPER, TINY),
        ("cloning", MAZE, [*TINY, ("goal", "2")]),
        ("diffusion_policy", HOPPER, [*TINY, ("chunk", "4"), ("execute", "2")]),
        ("mixture", HOPPER, [*TINY, ("chunk", "4"), ("execute", "2"), ("modes", "3")]),
        ("receding", HOPPER, [("updates", "2"), ("width", "8"), ("value_updates", "2"), ("candidates", "2")]),
        ("diffuser", MAZE, [("updates", "2"), ("width", "8"), ("channels", "4"), ("depth", "1")]),
        ("value_guidance", MAZE, [*TINY, ("planner", "maze-umaze"), ("limit", "300"), ("candidates", "2")]),
    ],
)
def test_what_a_method_learned_of_a_recording_drives_the_world_that_it_was_recorded_in(
    method: str, data: str, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    path = commands.train(method, data, pairs, seed=1, out=tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    result = commands.evaluate(path, episodes=2, seed=5, progress=False)
    assert np.isfinite(result["return"]) and result["seeds"] == [5, 6] and result["weights"]["seed"] == 1
    assert (result["success"] is None) == (data == HOPPER)
    with pytest.raises(ValueError, match=f"{path.name} would be replaced: name another folder with --out"):
        commands.train(method, data, pairs, seed=1, out=tmp_path, progress=False)


def test_an_agent_drives_another_world_of_the_same_shapes_and_windows_are_not_driven(tmp_path: Path) -> None:
    path = commands.train("cloning", HOPPER, TINY, out=tmp_path, progress=False)
    assert commands.evaluate(path, "Hopper-v5", episodes=1, progress=False)["name"] == "Hopper-v5"
    with pytest.raises(ValueError, match="no environment 'Hoppla-v0'"):
        commands.evaluate(path, "Hoppla-v0", episodes=1, progress=False)
    path = commands.train("windows", HOPPER, [("updates", "1"), ("mults", "[1, 1]")], out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds a Windows, which is sampled and does not act"):
        commands.evaluate(path, progress=False)


@pytest.mark.parametrize(
    "pair, message",
    [
        (("steps", "3"), "cloning has no 'steps' to be set; it has width, updates, batch, lr, goal, held_out"),
        (("updates", "many"), "updates is int; got 'many', which is str"),
        (("updates", "2.5"), "updates is int; got '2.5', which is float"),
        (("lr", "true"), "lr is float; got 'true', which is bool"),
    ],
)
def test_what_cannot_be_set_is_named_with_what_came_and_what_was_wanted(pair: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        commands.settings(methods.named("cloning"), [pair])


def test_a_method_that_no_file_has_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="there is no method 'diffusser'; there are adapt_diffuser, autoregressive"):
        methods.named("diffusser")
    with pytest.raises(ValueError, match="value_guidance needs --set planner VALUE"):
        commands.settings(methods.named("value_guidance"), [])


def command(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_commands_train_and_evaluate_a_method_and_refuse_what_is_half_said(tmp_path: Path) -> None:
    sets = [word for pair in TINY for word in ("--set", *pair)]
    done = command("train", "cloning", HOPPER, *sets, "--seed", "2", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    path = tmp_path / "cloning-hopper-medium-v0.safetensors"
    assert str(path) in done.output and path.is_file()
    seen = command("evaluate", path, "--episodes", "1")
    assert seen.exit_code == 0 and "training seed 2, 3 updates" in seen.output and "return" in seen.output
    for words, said in [
        (["train", "cloning"], "cloning needs a dataset to be trained on"),
        (["train", "cloning", HOPPER, "--set", "lr"], "--set takes a name and a value, got lr"),
        (["train", "cloning", HOPPER, "--sed", "3"], "one method and one dataset were wanted, got --sed as well"),
        (["train", "clonin", HOPPER], "'clonin' is no method"),
        (["evaluate", tmp_path / "no.safetensors"], "no weights at"),
    ]:
        refused = command(*words)
        assert refused.exit_code == 2 and said in refused.output, refused.output
