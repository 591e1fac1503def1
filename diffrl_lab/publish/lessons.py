"""One source per lesson, three editions built from it, a learner's own copy, and runs with other parameters.

notebooks/source/NN_name.py         jupytext percent; answers between ### BEGIN SOLUTION and ### END SOLUTION
notebooks/NN_name.ipynb             what a learner opens: stubs for answers, outputs of the default profile
notebooks/solutions/NN_name.ipynb   with the answers, without outputs
notebooks/pictures/NN.png           the picture that opens it; NN-broken.png, what its break-it shows
build/html/NN_name.html             the learner's edition as it was executed, movies alive; ignored by git
my/NN_name.ipynb                    the learner's copy, ignored by git
"""

from __future__ import annotations

import base64
import difflib
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diffrl_lab.course.editions import (
    METADATA,
    PICTURES,
    ROOT,
    attach,
    edition,
    kept_metadata,
    number,
    sources,
    target,
    write,
)
from diffrl_lab.course.running import execute, quiet_progress
from diffrl_lab.files import written

BUDGET = 60  # seconds that a lesson's class profile may take on two cores; `run.py bench lessons` fails at 1.5 times it
DEFAULT_REPR = re.compile(r"\w+\(|$")
VARIES = re.compile(r"\bat 0x[0-9a-fA-F]{4,}|/(?:home|root|Users|tmp|work)/\w|\b[A-Z]:\\\\")
CHECKED = "nbval-check-output"
WIDGET = "application/vnd.jupyter.widget-view+json"


def build(which: Iterable[str] = (), *, run: bool = True, root: Path = ROOT) -> list[tuple[Path, float]]:
    """Build all editions of the lessons named; the learner's is executed at its own defaults. -> [(path, seconds)].

    With run=False outputs are kept where the code up to their cell is as it was, and no page is made. Raises nbclient's
    CellExecutionError where a cell fails, ValueError for a formula that has no MathML and for a source whose own
    profile is not `class`, of which its texts speak; what was stored then stays.
    """
    from diffrl_lab.publish import pages
    from diffrl_lab.widgets.explore import KEPT

    built = []
    for source in sources(which, root):
        began = time.monotonic()
        notebook = edition(source)
        profile = pages.parameters(notebook)[0].get("PROFILE", "class")
        if profile != "class":
            raise ValueError(f'{source.name}: what is published is made with PROFILE = "class"; its own is {profile!r}')
        if run:
            with quiet_progress(**{KEPT: "yes"}):  # for the page; what is stored has no state of widgets
                execute(notebook, target(source).parent)
            keep_pictures(notebook, source)
            pages.write(notebook, root / "build" / "html" / f"{source.stem}.html")  # before the widgets' state goes
        else:
            _carry_outputs(notebook, target(source))
        write(clean(notebook), target(source))
        write(edition(source, solutions=True), target(source, solutions=True))
        built.append((target(source), time.monotonic() - began))
    return built


def keep_pictures(notebook: Any, source: Path) -> None:
    """Keep the pictures of cells tagged `punchline` or `broken` in notebooks/pictures, and attach them to texts."""
    folder = source.parents[1] / "pictures"
    for tag, name in PICTURES.items():
        shown = [
            output.data["image/png"]
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if tag in cell.metadata.get("tags", []) and "image/png" in output.get("data", {})
        ]
        if shown:
            with written(folder / name.format(number(source.stem))) as beside:
                beside.write_bytes(base64.b64decode(shown[-1]))
    attach(notebook, folder)


def clean(notebook: Any) -> Any:
    """Drop what varies or needs a kernel: widget state and views, stderr, addresses; join split prints."""
    notebook.metadata = METADATA
    for place, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        cell.metadata = kept_metadata(cell.metadata.get("tags", []))
        cell.execution_count = place if cell.execution_count else None
        outputs: list[Any] = []
        for output in cell.outputs:
            if output.output_type == "stream":
                if output.name == "stdout" and outputs and outputs[-1].output_type == "stream":
                    outputs[-1].text += output.text
                elif output.name == "stdout":
                    outputs.append(output)
                continue
            if "execution_count" in output:
                output.execution_count = cell.execution_count
            data = output.get("data", {})
            if data.pop(WIDGET, None) is not None and DEFAULT_REPR.match(data.get("text/plain", "")) and len(data) == 1:
                continue  # ipywidgets' own "VBox(children=...)" tells a reader nothing
            twice = "image/png" in data and data["image/png"].strip() in data.get("text/html", "")
            if twice and CHECKED not in cell.metadata.get("tags", []):
                del data["text/html"]  # the same picture twice; a notebook that was not run here shows its PNG anyway
            if "text/plain" in data:
                data["text/plain"] = re.sub(r" at 0x[0-9a-fA-F]+", "", data["text/plain"])
            outputs.append(output)
        cell.outputs = outputs
    return notebook


def differences(source: Path) -> list[str]:
    """Where the stored editions of a source are not what it builds: a unified diff, empty when they agree."""
    import nbformat

    lines = []
    for solutions in (False, True):
        path = target(source, solutions)
        if not path.exists():
            lines.append(f"{path.name} has not been built: diffrl-lab lessons build {number(source.stem)}")
            continue
        stored = nbformat.read(path, as_version=4)
        lines += difflib.unified_diff(
            _lines(stored),
            _lines(edition(source, solutions)),
            str(path.relative_to(path.parents[1])),
            source.name,
            lineterm="",
            n=1,
        )
        lines += [f"{path.name}, {what}: build it again" for what in volatile(stored, solutions)]
    return lines


def _lines(notebook: Any) -> list[str]:
    lines = []
    for cell in notebook.cells:
        lines.append(f"[{cell.get('id')}] {cell.cell_type} {' '.join(cell.metadata.get('tags', []))}")
        lines += cell.source.split("\n")
    return lines


def volatile(notebook: Any, solutions: bool = False) -> list[str]:
    """What a stored notebook holds that varies from run to run or needs a kernel, and where: empty when it is clean."""
    own = [name for name, value in notebook.metadata.items() if value != METADATA.get(name)]
    faults = [f"metadata of its own: {name}" for name in own]
    for cell in notebook.cells:
        wanted = kept_metadata(cell.metadata.get("tags", []))
        kinds = [f"metadata {name}" for name, value in cell.metadata.items() if value != wanted.get(name)]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")
            kinds += ["an output in the edition with answers"] if solutions else []
            kinds += ["a widget's view"] if WIDGET in data else []
            kinds += ["stderr"] if output.get("name") == "stderr" else []
            kinds += ["an address or a path"] if VARIES.search(text) else []
        faults += [f"cell {cell.get('id')}: {kind}" for kind in kinds]
    return faults


def _carry_outputs(notebook: Any, stored: Path) -> None:
    import nbformat

    if not stored.exists():
        return
    old = [c for c in nbformat.read(stored, as_version=4).cells if c.cell_type == "code"]
    for new, was in zip((c for c in notebook.cells if c.cell_type == "code"), old, strict=False):
        if new.source != was.source:
            break
        new.outputs, new.execution_count = was.outputs, was.execution_count
