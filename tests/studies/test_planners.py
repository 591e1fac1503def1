"""`train` replaces nothing in silence and goes on after a stop; `evaluate` says what drives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close
from typer.testing import CliRunner

from diffrl_lab import cli
from diffrl_lab.data.shipped import shipped
from diffrl_lab.studies import planners

DATASET = str(shipped("recordings/pointmaze-umaze-v0"))
CHECKPOINT = "maze-umaze-seed0.checkpoint.safetensors"


def trained(out: Path, *options: str) -> tuple[int, str]:
    words = ["train", "maze-umaze", "--dataset", DATASET, "--updates", "3", "--out", str(out), *options]
    ran = CliRunner().invoke(cli.app, words)
    return ran.exit_code, ran.stderr.split("\r")[-1]


def evaluated(*options: str) -> tuple[int, str, str]:
    ran = CliRunner().invoke(cli.app, ["evaluate", "maze-umaze", "--episodes", "1", *options])
    return ran.exit_code, ran.stdout, ran.stderr


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_weights_that_are_there_are_replaced_only_when_it_is_asked_for(tmp_path: Path) -> None:
    assert trained(tmp_path)[0] == 0
    before = content(tmp_path)
    for options in (["--seed", "1"], ["--ladder"], []):
        code, said = trained(tmp_path, *options)
        assert code == 2 and "maze-umaze-good.safetensors would be replaced" in said and "--overwrite" in said
        assert content(tmp_path) == before
    assert trained(tmp_path, "--seed", "1", "--overwrite")[0] == 0 and content(tmp_path) != before


def test_a_stopped_run_is_gone_on_with_or_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = trained(tmp_path, "--resume")
    assert code == 2 and f"no checkpoint {tmp_path / CHECKPOINT}" in said
    assert trained(tmp_path / "whole", "--ladder")[0] == 0

    rows = planners.bar_of

    def stopped(*words):  # Ctrl-C comes in the midst of the second update
        for row in rows(*words):
            if row["step"] == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield row

    monkeypatch.setattr(planners, "bar_of", stopped)
    code, said = trained(tmp_path, "--ladder")
    assert code == 130 and "stopped after 2 of 3 updates" in said and CHECKPOINT in said and "--resume" in said
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()

    before = (tmp_path / CHECKPOINT).read_bytes()
    code, said = trained(tmp_path)
    assert code == 2 and CHECKPOINT in said and "--resume" in said and (tmp_path / CHECKPOINT).read_bytes() == before
    assert trained(tmp_path, "--ladder", "--resume")[0] == 0 and not (tmp_path / CHECKPOINT).exists()
    for name, value in load_file(tmp_path / "whole" / "maze-umaze-good.safetensors").items():
        assert_close(load_file(tmp_path / "maze-umaze-good.safetensors")[name], value, rtol=0, atol=0)


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planners, "recording", lambda *_: pytest.fail("the data were read"))
    monkeypatch.setattr(planners, "_world", lambda *_: pytest.fail("the maze was made"))
    (tmp_path / "file").touch()
    assert trained(tmp_path / "file")[0] == 2
    for wrong in ("file/x.json", "."):
        assert evaluated("--json", str(tmp_path / wrong))[0] == 2


def test_evaluate_says_which_weights_it_drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert trained(planners.OUT, "--seed", "5")[0] == 0
    mine = planners.OUT / "maze-umaze-good.safetensors"
    code, out, error = evaluated()
    assert code == 0 and "data/weights/maze-umaze-good.safetensors (training seed 0, 2000 updates)" in out
    assert f"--weights {mine}" in error
    code, out, error = evaluated("--weights", str(mine), "--json", "new/x.json")
    about = json.loads(Path("new/x.json").read_text("utf-8"))["weights"]
    assert (code, out) == (0, "") and f"{mine} (training seed 5, 3 updates)" in error
    assert (about["file"], about["seed"], about["trained"]) == (str(mine), 5, 3)


def test_ctrl_c_in_the_command_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = ["train", "maze-umaze", "--dataset", DATASET, "--updates", "100000", "--out", str(tmp_path)]
    run = subprocess.Popen(
        [sys.executable, "-m", "diffrl_lab.cli", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=cli.__file__.rsplit("diffrl_lab", 1)[0],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert run.stderr is not None
    seen = ""
    while "loss" not in seen:
        seen += run.stderr.read(1)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 130 and (tmp_path / CHECKPOINT).is_file()
    assert "of 100000 updates" in said.splitlines()[-1] and "--resume" in said and "Traceback" not in said
