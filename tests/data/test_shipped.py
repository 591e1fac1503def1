"""The shipped data: every file is what the manifest says, and the table in the README says the same."""

from __future__ import annotations

import json
import shutil

import pytest

from diffrl_lab.data import minari as recordings
from diffrl_lab.data import shipped as module
from diffrl_lab.data.shipped import BEGIN, DATA, END, manifest, shipped, table
from diffrl_lab.worlds.record import record


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A folder data/ with two files and their manifest, in place of the real one."""
    monkeypatch.setattr(module, "DATA", tmp_path)
    for name, text in (("recordings/a-v0/data/main_data.hdf5", "a"), ("weights/b.safetensors", "b")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
        module.add(name, f"make {name}", 7)
    return tmp_path


def test_the_readme_holds_the_table_of_the_manifest_and_every_file_is_as_it_says():
    text = (DATA / "README.md").read_text(encoding="utf-8")
    assert text.partition(BEGIN + "\n")[2].partition(END)[0] == table(manifest())
    assert all(shipped(entry["file"]).is_file() for entry in manifest())


@pytest.mark.parametrize(
    "name", ["pointmaze-umaze-v0", "pointmaze-large-v0", "pointmaze-two-ways-p50-v0", "pointmaze-two-ways-p20-v0"]
)
def test_every_shipped_recording_opens_and_was_made_by_the_command_beside_it(name):
    folder = shipped(f"recordings/{name}")
    told, episodes = recordings.about(folder), recordings.read(folder)
    makers = {e["maker"] for e in manifest() if e["file"].startswith(f"recordings/{name}/")}
    assert makers == {f"{told['recorded_with']} --out data/recordings"}
    assert int(episodes.lengths.sum()) == told["total_steps"] >= 20_000
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) <= 1.5e6


@pytest.mark.slow
def test_the_shipped_umaze_recording_is_made_again_from_its_seed(tmp_path):
    """Equal up to rounding: another processor may round differently, and a controller's path then drifts by a hair."""
    folder = shipped("recordings/pointmaze-umaze-v0")
    told = recordings.about(folder)
    again = recordings.read(record("pointmaze-umaze", told["total_steps"], 0, tmp_path, progress=False))
    assert (again.obs - recordings.read(folder).obs).abs().max() < 1e-3


def test_a_file_or_a_folder_is_found_by_its_name(copy):
    assert shipped("weights/b.safetensors") == copy / "weights/b.safetensors"
    assert shipped("recordings/a-v0") == copy / "recordings/a-v0"
    assert [(e["bytes"], e["seed"]) for e in manifest()] == [(1, 7), (1, 7)]


def test_unknown_missing_and_changed_files_are_refused_with_what_to_do(copy):
    with pytest.raises(ValueError, match="nothing called 'c' ships .*: recordings/a-v0, weights/b.safetensors"):
        shipped("c")
    (copy / "weights/b.safetensors").write_text("changed")
    with pytest.raises(ValueError, match="is not the file that data/manifest.json describes"):
        shipped("weights/b.safetensors")
    shutil.rmtree(copy / "recordings")
    with pytest.raises(ValueError, match="is missing; .* or make it: make recordings/a-v0"):
        shipped("recordings/a-v0")
    (copy / "manifest.json").unlink()
    with pytest.raises(ValueError, match="install diffrl_lab from a clone"):
        manifest()


def test_entering_a_file_again_renews_its_entry_and_keeps_the_text_around_the_table(copy):
    (copy / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    (copy / "weights/b.safetensors").write_text("bigger")
    module.add("weights/b.safetensors", "make b", None)
    assert len(manifest()) == 2 and shipped("weights/b.safetensors").read_text() == "bigger"
    text = (copy / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "`make b`" in text
    assert json.loads((copy / "manifest.json").read_text())[1]["bytes"] == 6
