"""Where things lie, how a file is written (beside its place first, then moved into it), what a package exports, and the
words of a command."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
"""The repository: the folder that holds `diffrl_lab/`, `notebooks/` and `data/`."""
DATA = ROOT / "data"
RESULTS = DATA / "results"
WEIGHTS = DATA / "weights"


def exported(
    package: str, homes: Mapping[str, str], here: Sequence[str] = ()
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__all__`, `__getattr__` and `__dir__` (PEP 562): its names are imported when one is asked for.

    homes: file of the package -> the names that are had from it, with blanks between; here: names that the package has
    itself. No name may be that of a file: importing the file would put the module in the name's place.
    """
    home = {name: file for file, names in homes.items() for name in names.split()}
    every = sorted({*home, *here})

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return every, get, lambda: sorted({*vars(sys.modules[package]), *every})


@contextlib.contextmanager
def written(path: str | os.PathLike, *, replace: bool = True, private: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to; after the block it is moved into place whole, and nothing is left if it fails.

    `with written("a.json") as beside: beside.write_text(...)`. Folders above are made. Beside may become a file or a
    folder; a folder that stands at `path` is replaced. The mode is the one that open() would give (0666 less the
    umask, for a folder 0777), or that of the file which is replaced; private=True: the owner's alone, 0600 or 0700.
    Raises OSError where nothing can be written: then what was there before is untouched; with replace=False
    FileExistsError where something stands at `path`, also something that came there during the block.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent))
    beside, former = work / "new" / path.name, work / "former"
    try:
        beside.parent.mkdir()
        yield beside
        folder = beside.is_dir()
        beside.chmod(_mode(work, path, folder) & (0o700 if private else 0o777))
        if not folder and replace:
            os.replace(beside, path)
        elif not folder:
            os.link(beside, path)  # fails where there is a file, in one step
        else:
            if replace and path.is_dir():
                path.rename(former)
            try:
                beside.rename(path)  # a folder that is not empty is never replaced by this
            except OSError as error:
                if path.exists():
                    raise FileExistsError(f"{path} exists already") from error
                if former.exists():
                    former.rename(path)
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _mode(work: Path, path: Path, folder: bool) -> int:
    """The mode for what moves to `path`: its own if it is a file, else what the umask leaves. os.umask() would change
    it for every thread, so a file or folder made in `work` shows it."""
    if not folder and path.is_file():
        return path.stat().st_mode & 0o777
    probe = work / "probe"
    probe.mkdir() if folder else probe.touch()
    return probe.stat().st_mode & 0o777


def write_text(path: str | os.PathLike, text: str, *, private: bool = False) -> None:
    """Write a text (UTF-8, lines end with \\n) with `written`."""
    with written(path, private=private) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def provenance() -> dict[str, Any]:
    """The commit, the versions and the machine that a number was measured with."""
    import torch

    names = ("diffrl-lab", "torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "minari")
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True
        )
        commit = done.stdout.strip() or None
    except OSError:
        commit = None
    return {"commit": commit, "versions": versions, "threads": torch.get_num_threads(), "machine": platform.machine()}


def free_name(file: Path) -> Path:
    """The first of file.1, file.2, ... (the number before the extension) that does not exist."""
    return next(p for n in range(1, 10**6) if not (p := file.with_name(f"{file.stem}.{n}{file.suffix}")).exists())


def writable(file: str | os.PathLike) -> Path:
    """The path of a file, after a trial before the work that it can be written; folders above it are made.

    Raises OSError (IsADirectoryError, PermissionError, ...) where not. What stands at `file` is not touched.
    """
    file = Path(file)
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder; name a file")
    file.parent.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=file.parent).close()
    return file


def show_anything() -> None:
    """From now on a sign that the terminal or pipe cannot show is printed as "?" and raises nothing."""
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")


class Words(argparse.ArgumentParser):
    """A parser whose fault is one sentence on stderr and exit 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (help: `{self.prog} -h`)\n")


def arguments(
    command: str,
    doc: str | None,
    words: Sequence[str] | None = None,
    parts: Sequence[str] = (),
) -> list[str]:
    """What was typed behind a `command` such as "python -m benchmarks": some of its parts.

    Without parts it takes nothing. A wrong word is one sentence on stderr and exit 2; -h shows `doc`.
    words: sys.argv[1:] unless given.
    """

    def part(word: str) -> str:
        if word not in parts:
            raise argparse.ArgumentTypeError(f"there is no {word!r}; there are {', '.join(parts)}")
        return word

    show_anything()
    parser = Words(command, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if parts:
        parser.add_argument(
            "parts", nargs="*", type=part, metavar="PART", help=f"of {', '.join(parts)}; all by default"
        )
    return vars(parser.parse_args(words)).get("parts", [])
