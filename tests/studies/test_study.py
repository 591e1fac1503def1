"""The frame of studies: parts, seeds, hours and the manifest; and that every result names a part and a function."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest
import torch
import typer.main
from typer.testing import CliRunner

from diffrl_lab import studies
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.cli import app
from diffrl_lab.data import shipped
from diffrl_lab.diffusion import load
from diffrl_lab.files import DATA, ROOT
from diffrl_lab.studies import study
from diffrl_lab.studies.study import Part


def square(x: int, *, seed: int) -> dict[str, int]:
    return {"y": x * x + seed}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A study of three parts whose results go to a folder of its own."""
    for room in (study, shipped):
        monkeypatch.setattr(room, "DATA", tmp_path)
    (tmp_path / "manifest.json").write_text("[]")

    def table(seeds):
        return study.summary(square, [square(3, seed=s) for s in seeds], seeds)

    parts = {
        "table": Part(table, "results/toy.json", seeds=2, training=lambda seeds: float(len(seeds))),
        "kept": Part(table),
        "weights": Part(lambda seeds: {"weights/toy.safetensors": ({"w": torch.ones(2)}, {"seed": seeds[0]})}),
    }
    monkeypatch.setattr(study, "parts", lambda name: parts)
    return tmp_path


def entries(folder: Path) -> dict[str, str]:
    return {e["file"]: e["maker"] for e in json.loads((folder / "manifest.json").read_text())}


def test_a_part_is_written_with_its_hours_and_entered_with_the_command_that_makes_it(toy: Path) -> None:
    said: list[str] = []
    study.main("toy", "table", say=said.append)
    table = Table.load(toy / "results/toy.json")
    assert [r["y"] for r in table.rows] == [9, 10] and table.about["training_hours"] == 2 and table.about["hours"] >= 0
    assert table.about["function"].endswith("test_study.square") and "2 rows" in said[0]
    assert entries(toy) == {"results/toy.json": "diffrl-lab study toy table"}
    study.main("toy", "table", seeds=3, say=said.append)
    assert entries(toy) == {"results/toy.json": "diffrl-lab study toy table --seeds 3"}


def test_without_a_part_all_are_computed_tensors_are_saved_and_a_part_without_a_file_writes_nothing(toy: Path) -> None:
    said: list[str] = []
    study.main("toy", say=said.append)
    assert [line.split(":")[0] for line in said] == ["toy table", "toy kept", "toy weights"]
    assert set(entries(toy)) == {"results/toy.json", "weights/toy.safetensors"}
    tensors, about = load(toy / "weights/toy.safetensors")
    assert tensors["w"].tolist() == [1, 1] and about["seed"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x"], "there is no study 'x'; there are calibration, collapse, data, dreams, fast, guidance"),
        (["data", "x"], "no part 'x'; it has guide, efficiency, stitching, recorders"),
        (["data", "guide", "--seeds", "0"], "at least one training seed, got 0"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_in_one_sentence_that_lists_what_does(
    words: list[str], said: str
) -> None:
    done = CliRunner().invoke(app, ["study", *words])
    assert done.exit_code == 2 and said in done.output and done.output.count("\n") == 1


def test_names_of_studies_are_completed_and_each_is_a_module_of_parts() -> None:
    assert studies.names() == [
        "calibration",
        "collapse",
        "data",
        "dreams",
        "fast",
        "guidance",
        "horizon",
        "imitation",
        "improvement",
        "language",
        "offline",
        "ogbench",
        "parameterisations",
        "planner",
        "practice",
        "robots",
        "safety",
        "stitching",
        "synthetic",
        "unconditioned",
    ]
    command = typer.main.get_command(app).commands["study"]  # type: ignore[attr-defined]
    items = command.params[0].shell_complete(typer.Context(command), "p")
    assert [item.value for item in items] == ["parameterisations", "planner", "practice"]
    with pytest.raises(ValueError, match="no study 'study'"):
        study.parts("study")


@pytest.mark.parametrize("name", studies.names())
def test_a_study_says_in_twelve_lines_what_it_is_and_on_a_page_of_its_own_how_it_came_about(name: str) -> None:
    module = importlib.import_module(f"diffrl_lab.studies.{name}")
    room = Path(studies.__file__).parent
    for file in (room / f"{name}.py", *(room / name).glob("*.py")):
        assert not file.exists() or len(file.read_text("utf-8").split('"""')[1].strip().splitlines()) <= 12, file
    assert f"docs/studies/{name}.md" in module.__doc__
    assert (ROOT / "docs" / "studies" / f"{name}.md").is_file()
    assert f"](studies/{name}.md)" in (ROOT / "docs" / "studies.md").read_text("utf-8")


def test_every_result_names_a_function_that_exists_and_a_part_that_writes_it() -> None:
    for entry in shipped.manifest():
        assert "python -m diffrl_lab.studies" not in entry["maker"]
        if not entry["maker"].startswith("diffrl-lab study "):
            continue
        name, part, *rest = re.split(r"\s+", entry["maker"].removeprefix("diffrl-lab study "))
        assert part in study.parts(name) and not rest, entry["maker"]
        if not entry["file"].endswith(".json"):
            continue
        assert study.parts(name)[part].file == entry["file"]
        module, _, function = json.loads((DATA / entry["file"]).read_text())["function"].rpartition(".")
        made_by = getattr(importlib.import_module(module), function)
        assert inspect.isfunction(made_by) and made_by.__module__ == module, entry["file"]
