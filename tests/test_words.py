"""What is typed: wrong words are one sentence and exit 2 in every command, and no terminal or pipe makes one crash."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from diffrl_lab import __version__, cli, files

ROOT = files.ROOT
WORKERS = {"diffrl_lab.classroom.sandbox", "diffrl_lab.course.blank_run"}  # started by other commands, never by people


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        yield from commands(command, (*path, name)) if hasattr(command, "commands") else [(*path, name)]


def modules() -> Iterator[str]:
    """Every module that `python -m` runs."""
    for path in sorted([*(ROOT / "diffrl_lab").rglob("*.py"), ROOT / "benchmarks" / "__main__.py"]):
        if "\nif __name__ == " in path.read_text("utf-8"):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")


EVERY = pytest.mark.parametrize("path", list(commands(typer.main.get_command(cli.app))), ids=" ".join)
MODULE = pytest.mark.parametrize("module", [m for m in modules() if m not in WORKERS])


def said(*words: str, **options: Any) -> tuple[int, str, str]:
    ran = CliRunner(**options).invoke(cli.app, words)
    return ran.exit_code, ran.stdout, ran.stderr


@EVERY
def test_every_command_has_a_short_and_a_long_help(path: tuple[str, ...]) -> None:
    short, long = said(*path, "-h"), said(*path, "--help")
    assert short == long and short[0] == 0 and " ".join(["Usage: diffrl-lab", *path]) in short[1]


@EVERY
def test_a_wrong_option_is_one_sentence_that_names_it_and_exit_2(path: tuple[str, ...]) -> None:
    code, out, error = said(*path, "--no-such-option")
    assert (code, out, error.count("\n")) == (2, "", 1), error
    assert error.startswith(" ".join(["diffrl-lab", *path]) + ": ") and "--no-such-option" in error


@pytest.mark.parametrize("words, fragment", [
    (["trian", "x"], "Did you mean 'train'"), (["train"], "Missing argument"), (["start", "77"], "no lesson"),
    (["train", "a", "b"], "'a' is no method"),
    (["evaluate", "a", "b", "c"], "extra argument"), (["record", "x", "--steps", "many"], "--steps"),
    (["blank", "9", "x"], "9"), (["lessons", "check", "77"], "77"),
    (["run", "01", "-p", "SEED"], "-p wants a name and a value"), (["completion", "tcsh"], "tcsh"),
    (["grade", "no.ipynb"], "no.ipynb"), (["course", "report", "nowhere"], "nowhere"),
    (["run", "01", "--profile", "fast"], "'fast'"), (["evaluate", "maze-umaze", "--method", "luck"], "'luck'"),
])  # fmt: skip
def test_wrong_arguments_are_one_sentence_and_exit_2(words: list[str], fragment: str) -> None:
    code, out, error = said(*words)
    assert (code, out, error.count("\n")) == (2, "", 1) and fragment in error, error


@MODULE
@pytest.mark.parametrize("words", [["no-such-part"], ["--no-such-option"]], ids=" ".join)
def test_a_module_refuses_wrong_words_before_any_work(
    module: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, *words])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    out, error = capsys.readouterr()
    assert (ended.value.code, out, error.count("\n")) == (2, "", 1) and words[0] in error


@MODULE
def test_a_module_has_a_help(module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [module, "-h"])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0 and "usage: " in capsys.readouterr().out.lower()


def test_the_version_is_asked_for_in_three_ways() -> None:
    assert {said(*words)[:2] for words in (["--version"], ["version"])} == {(0, __version__ + "\n")}


# ------------------------------------------------------------------------------------------------- terminals and pipes
@pytest.mark.parametrize("charset", ["ascii", "cp1252"])
@EVERY
def test_a_terminal_without_utf8_shows_every_help(path: tuple[str, ...], charset: str) -> None:
    assert said(*path, "-h", charset=charset)[0] == 0


@pytest.mark.parametrize("charset", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("words, code", [(["progress"], 0), (["start", "\u25cf \udcff"], 2), (["\u25cf"], 2)])
def test_a_sign_that_the_terminal_cannot_show_is_a_question_mark(words: list[str], code: int, charset: str) -> None:
    ended, out, error = said(*words, charset=charset)
    assert ended == code, (out, error)


def test_a_pipe_that_is_closed_is_no_error() -> None:
    command = f"{sys.executable} -m diffrl_lab.cli -h | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""


# ----------------------------------------------------------------------------------------------------------- completion
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_that_asks_the_command(shell: str) -> None:
    code, script, _ = said("completion", shell)
    assert code == 0 and f"{cli.COMPLETE}=complete_{shell}" in script and "diffrl-lab" in script


def test_bash_completes_commands_and_options() -> None:
    def completed(line: str) -> list[str]:
        environment = {cli.COMPLETE: "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        command = [sys.executable, "-m", "diffrl_lab.cli"]
        return subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, cwd=ROOT
        ).stdout.split()

    assert completed("diffrl-lab ev") == ["evaluate"] and completed("diffrl-lab course re") == ["release", "report"]
    assert completed("diffrl-lab train x --lad") == ["--ladder"]


# -------------------------------------------------------------------------------------------------------------- outputs
def test_an_output_is_tried_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert files.writable(tmp_path / "new" / "x.json").parent.is_dir()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "new"]
    with pytest.raises(OSError, match="file"):
        files.writable(tmp_path / "file" / "x.json")
    with pytest.raises(IsADirectoryError, match="name a file"):
        files.writable(tmp_path / "new")
