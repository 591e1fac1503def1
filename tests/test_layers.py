"""The rooms: each imports only rooms to its left, some do not know each other, and no files import in a circle."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "diffrl_lab"
ROOMS = ["files", "data", "worlds", "diffusion", "nets", "methods", "analysis", "widgets", "studies", "course"]
ROOMS += ["classroom", "publish"]
ENTRANCES = ["cli", "commands", "doctor"]  # these may import every room; no room imports them
STRANGERS = [{"diffusion", "nets"}, {"classroom", "publish"}]


def imported(text: str, package: str) -> list[str]:
    """The dotted names that a module imports, also within a function; `package` is the name of its folder."""
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{start}.{alias.name}" for alias in node.names]
    return names


def rooms_imported(text: str, package: str) -> set[str]:
    """The rooms that a module imports, at its top or within a function; `package` is the dotted name of its folder."""
    return {name.split(".")[1] for name in imported(text, package) if name.startswith("diffrl_lab.")} - {"__version__"}


def forbidden(room: str) -> set[str]:
    right = ROOMS[ROOMS.index(room) + 1 :]
    return {*right, *ENTRANCES, *(other for pair in STRANGERS if room in pair for other in pair - {room})}


@pytest.mark.parametrize(
    "path",
    sorted(
        path for room in ROOMS for path in [PACKAGE / f"{room}.py", *(PACKAGE / room).rglob("*.py")] if path.exists()
    ),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_a_room_imports_only_rooms_to_its_left(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    wrong = rooms_imported(path.read_text(), ".".join(["diffrl_lab", *parts[:-1]])) & forbidden(
        parts[0].removesuffix(".py")
    )
    assert not wrong, f"{path.name} in {parts[0]} must not import {wrong}"


def test_the_package_has_no_room_that_the_order_does_not_name() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert rooms <= {*ROOMS, *ENTRANCES}
    assert {path.stem for path in PACKAGE.glob("*.py")} <= {"__init__", "files", *ENTRANCES}


def module(path: Path) -> str:
    parts = [*path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(["diffrl_lab", *(parts[:-1] if parts[-1] == "__init__" else parts)])


def files_imported(text: str, package: str, known: set[str]) -> set[str]:
    """The files that a module imports, also within a function: the longest dotted names that are files."""
    return {n if n in known else n.rpartition(".")[0] for n in imported(text, package)} & known


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph of imports, [] where there is none."""
    done: set[str] = set()

    def walk(at: str, way: list[str]) -> list[str]:
        if at in way:
            return [*way[way.index(at) :], at]
        if at in done:
            return []
        for to in sorted(graph[at]):
            if ring := walk(to, [*way, at]):
                return ring
        done.add(at)
        return []

    return next((ring for start in sorted(graph) if (ring := walk(start, []))), [])


def test_no_files_import_each_other_in_a_circle() -> None:
    paths = {module(path): path for path in PACKAGE.rglob("*.py")}
    entrances = {name for name, path in paths.items() if path.name == "__init__.py"}
    graph = {
        name: files_imported(path.read_text(), name if name in entrances else name.rpartition(".")[0], set(paths))
        - {name}
        - {e for e in entrances if name.startswith(f"{e}.")}
        for name, path in paths.items()
    }
    assert circle(graph) == []


def test_a_circle_would_be_noticed() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    "text",
    [
        "import diffrl_lab.nets.mlp",
        "from diffrl_lab.nets import MLP",
        "from diffrl_lab import nets",
        "from ..nets import MLP",
        "from .. import nets",
        "def f():\n    from ..nets.mlp import MLP",
    ],
)
def test_every_way_to_import_is_seen(text: str) -> None:
    assert rooms_imported(text, "diffrl_lab.diffusion") & forbidden("diffusion") == {"nets"}
    assert not rooms_imported(text, "diffrl_lab.methods") & forbidden("methods")


PACKAGES = sorted(
    path.parent for path in PACKAGE.rglob("__init__.py") if path.parent.parent in (PACKAGE, PACKAGE / "methods")
)


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_help_of_a_package_says_what_is_in_it(folder: Path) -> None:
    """A module's name, two spaces or more, what it is: an entry for each module and package, and no others."""
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()), clean=False) or ""
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert set(re.findall(r"^ {0,4}(\w+) {2,}\S", said, re.M)) == there - {"__init__"}
