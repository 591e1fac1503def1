"""What a package says that one can have from it, one can have from it: a name is what it says, whatever came before."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import diffrl_lab

EVERY = [m.name for m in pkgutil.walk_packages(diffrl_lab.__path__, "diffrl_lab.") if m.ispkg and "blank" not in m.name]
STUDY = "diffrl_lab.studies."  # a study of several files gathers what its parts use, from other rooms as well
WITH = [n for n in EVERY if hasattr(importlib.import_module(n), "__all__") and not n.startswith(STUDY)]
LAZY = ["diffrl_lab", *(f"diffrl_lab.{room}" for room in ("analysis", "course", "methods", "worlds"))]


def test_the_rooms_that_a_researcher_calls_say_what_one_can_have_from_them() -> None:
    rooms = {"analysis", "course", "data", "diffusion", "methods", "nets", "widgets", "worlds"}
    assert set(WITH) == {f"diffrl_lab.{room}" for room in rooms}


@pytest.mark.parametrize("name", WITH)
def test_every_exported_name_is_there_and_is_listed(name: str) -> None:
    package = importlib.import_module(name)
    assert len(set(package.__all__)) == len(package.__all__)
    for export in package.__all__:
        value = getattr(package, export)
        assert not inspect.ismodule(value) and not export.startswith("_"), export
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__name__ == export and value.__module__.startswith(name), export
    assert set(package.__all__) <= set(dir(package))
    own = {k for k, v in vars(package).items() if inspect.isfunction(v) and v.__module__ == name and k[0] != "_"}
    assert own <= set(package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize("name", WITH)
def test_no_exported_name_is_that_of_a_file(name: str) -> None:
    """Importing the file would put the module in the function's place."""
    package = importlib.import_module(name)
    assert not {m.name for m in pkgutil.iter_modules(package.__path__)} & set(package.__all__)


@pytest.mark.parametrize("name", LAZY)
def test_a_package_of_many_files_costs_nothing_before_it_is_used(name: str) -> None:
    heavy = "{'torch', 'sklearn', 'scipy', 'matplotlib', 'gymnasium'}"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, {name}; print(sorted({heavy} & set(sys.modules)))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "[]"


def test_every_public_function_of_the_analysis_that_stands_alone_is_exported() -> None:
    from diffrl_lab import analysis

    own = {"bring", "dreams", "evaluate", "exhibits", "museum", "pooled", "samples"}  # used by their files' names
    for file in pkgutil.iter_modules(analysis.__path__):
        module = importlib.import_module(f"diffrl_lab.analysis.{file.name}")
        if file.name in own:
            continue
        public = {
            key for key, v in vars(module).items()
            if inspect.isfunction(v) and v.__module__ == module.__name__ and not key.startswith("_")
        }  # fmt: skip
        assert public - {"short", "commitment"} <= set(analysis.__all__), file.name


def test_diagnose_is_the_function_and_help_shows_it() -> None:
    from diffrl_lab.analysis import diagnose

    assert inspect.isfunction(diagnose)
    found = subprocess.run(
        [sys.executable, "-c", "import pydoc, diffrl_lab.analysis as a; print(pydoc.plain(pydoc.render_doc(a)))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "diagnose(samples: 'Any', reference: 'Any' = None" in found.stdout
