"""What a download weighs, and whether the data are the ones that were made."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
NOTEBOOKS = sorted([*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("notebooks/solutions/*.ipynb")])
MB = 1e6


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not a git checkout: {done.stderr.strip()[:80]}")
    return done.stdout


def test_no_notebook_is_larger_than_a_megabyte_and_a_half_and_their_mean_is_half_of_that() -> None:
    sizes = {path.name: path.stat().st_size / MB for path in NOTEBOOKS}
    assert sizes, "no notebook was found"
    assert not {name: size for name, size in sizes.items() if size > 1.5}
    assert sum(sizes.values()) / len(sizes) <= 0.7


def test_the_working_tree_stays_below_80_megabytes_and_with_its_history_below_200(tmp_path: Path) -> None:
    git("clone", "--quiet", "--no-local", str(ROOT), str(tmp_path / "clone"))
    files = [path for path in (tmp_path / "clone").rglob("*") if path.is_file()]
    tree = [path for path in files if ".git" not in path.relative_to(tmp_path / "clone").parts]
    assert sum(path.stat().st_size for path in tree) < 80 * MB
    assert sum(path.stat().st_size for path in files) < 200 * MB


def test_every_file_in_data_has_the_size_and_the_hash_that_the_manifest_says() -> None:
    for entry in json.loads((DATA / "manifest.json").read_text()):
        assert {"file", "maker", "seed", "bytes", "sha256"} <= set(entry), entry
        content = (DATA / entry["file"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"]), entry["file"]


def test_every_file_in_data_is_in_the_manifest_and_in_the_readme() -> None:
    listed = {entry["file"]: entry["sha256"] for entry in json.loads((DATA / "manifest.json").read_text())}
    stored = {name.removeprefix("data/") for name in git("ls-files", "data").split()} - {"manifest.json", "README.md"}
    assert stored == set(listed)
    readme = (DATA / "README.md").read_text()
    assert not [name for name, digest in listed.items() if name not in readme or digest[:12] not in readme]


def test_nothing_that_is_made_on_the_spot_is_stored() -> None:
    made = (".venv/", "my/", "runs/", "build/", ".jupyter/")
    stored = git("ls-files").split()
    assert not [name for name in stored if name.startswith(made) or "__pycache__" in name or "_checkpoints" in name]
