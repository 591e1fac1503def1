"""The rooms: each imports only rooms to its left, and `diffusion` and `nets` do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "diffrl_lab"
ROOMS = ["data", "diffusion", "nets", "methods", "analysis", "widgets"]
ENTRANCES = ["course", "cli"]  # these may import every room; no room imports them
STRANGERS = {"diffusion", "nets"}


def rooms_imported(text: str, package: str) -> set[str]:
    """The rooms that a module imports, at its top or within a function; `package` is the dotted name of its folder."""
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{start}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("diffrl_lab.")} - {"__version__"}


def forbidden(room: str) -> set[str]:
    right = ROOMS[ROOMS.index(room) + 1 :]
    return {*right, *ENTRANCES, *(STRANGERS - {room} if room in STRANGERS else ())}


@pytest.mark.parametrize(
    "path",
    sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_a_room_imports_only_rooms_to_its_left(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    wrong = rooms_imported(path.read_text(), ".".join(["diffrl_lab", *parts[:-1]])) & forbidden(parts[0])
    assert not wrong, f"{path.name} in {parts[0]} must not import {wrong}"


def test_the_package_has_no_room_that_the_order_does_not_name() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert rooms <= {*ROOMS, *ENTRANCES}
    assert {path.stem for path in PACKAGE.glob("*.py")} <= {"__init__", "cli"}


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
