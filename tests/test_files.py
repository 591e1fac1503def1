"""Files: written beside and moved into place, by files.py alone; whole or not at all, with the mode of the umask."""

from __future__ import annotations

import ast
import errno
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from diffrl_lab.diffusion import load, save, training
from diffrl_lab.files import write_text, written

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "diffrl_lab").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
ALLOWED = {
    "diffrl_lab/files.py": {
        "os.replace",
        "rename",
        "tempfile.mkdtemp",
        "tempfile.TemporaryFile",
        "tempfile.TemporaryFile(dir=file.parent).close",
    },
    # places for another process to work in, which vanish: nothing in them is moved anywhere
    "diffrl_lab/course/blank.py": {"tempfile.TemporaryDirectory", "write_text", "rename"},
    "diffrl_lab/course/running.py": {"tempfile.TemporaryDirectory", "write_text"},
    "diffrl_lab/course/blank_run.py": {"write_text"},
    "benchmarks/lessons.py": {"tempfile.TemporaryDirectory"},
    "benchmarks/grading.py": {"tempfile.TemporaryDirectory", "write_bytes"},
    # a learner's own file is moved aside, to a name that is free
    "diffrl_lab/course/editions.py": {"rename"},
    "diffrl_lab/course/progress.py": {"rename"},
    # what a sandbox says on stderr; the file has no name
    "diffrl_lab/classroom/grading.py": {"tempfile.TemporaryFile"},
}


def writes(text: str) -> set[str]:
    """The calls in a source that write or move a file without `files.written`: on any path but its `beside`."""
    calls: set[str] = set()
    tree = ast.parse(text)
    inside = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if ast.unparse(item.context_expr).startswith("written(") and isinstance(item.optional_vars, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, args = ast.unparse(node.func), len(node.args)
        word = name.rpartition(".")[2]
        if name in ("os.replace", "os.rename", "os.renames", "shutil.move") or name.startswith("tempfile."):
            calls.add(name)
        elif "." not in name or name.rpartition(".")[0] in inside:
            continue
        elif word in ("write_text", "write_bytes", "rename") or (word == "replace" and args == 1):
            calls.add(word)
    return calls


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_but_files_writes_beside_and_moves_into_place(path):
    wrong = writes(path.read_text("utf-8")) - ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
    assert not wrong, f"{path.name} calls {wrong}: use files.written or files.write_text"


def test_the_search_sees_each_way_of_moving_and_lets_strings_and_times_pass():
    ways = ["os.replace(a, b)", "a.replace(b)", "a.rename(b)", "tempfile.mkstemp()", "a.write_text('x')"]
    assert all(writes(way) for way in ways)
    assert not writes("s.replace('a', 'b'); t.replace(hour=1)\nwith written(p) as q: q.write_text('x')")


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
@pytest.mark.parametrize("kind", ["text", "folder", "weights", "private"])
def test_the_mode_is_that_of_the_umask_or_of_the_file_that_is_replaced(tmp_path, mask, kind):
    path = tmp_path / "a.safetensors"

    def write():
        if kind == "folder":
            with written(path) as beside:
                beside.mkdir()
        elif kind == "weights":
            save(path, {"a": torch.ones(2)})
        else:
            write_text(path, "a", private=kind == "private")

    before = os.umask(mask)
    try:
        write()
        wanted = {"folder": 0o777 & ~mask, "private": 0o600}.get(kind, 0o666 & ~mask)
        assert path.stat().st_mode & 0o777 == wanted
        if kind in ("text", "weights"):
            path.chmod(0o664)
            write()
            assert path.stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_many_threads_that_write_leave_the_umask_as_it_was(tmp_path):
    before = os.umask(0o027)
    try:
        threads = [
            threading.Thread(target=lambda n=n: [write_text(tmp_path / f"{n}-{i}", "x") for i in range(40)])
            for n in range(8)
        ]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o640}
    finally:
        assert os.umask(before) == 0o027


def test_a_folder_that_cannot_be_moved_into_place_leaves_the_former_one(tmp_path, monkeypatch):
    folder, rename = tmp_path / "report", Path.rename
    write_text(folder / "index.html", "old")

    def full(self, target):
        if self.parent.name == "new":
            raise OSError(errno.ENOSPC, "no space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="no space"), written(folder) as beside:
        write_text(beside / "index.html", "new")
    assert (folder / "index.html").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["report"]


def test_a_name_as_long_as_the_disk_allows_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_text(path, "x")
    assert path.read_text() == "x"


def test_weights_on_a_full_disk_are_an_oserror_that_names_the_file_and_the_old_ones_stay_whole(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save(path, {"a": torch.ones(3)})

    def full(tensors, beside, metadata):
        Path(beside).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(training, "save_file", full)
    with pytest.raises(OSError, match=r"w\.safetensors could not be written: .*No space left"):
        save(path, {"a": torch.zeros(3)})
    torch.testing.assert_close(load(path)[0]["a"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
