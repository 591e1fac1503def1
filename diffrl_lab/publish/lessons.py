"""One source per lesson, three editions built from it, a learner's own copy, and runs with other parameters.

notebooks/source/NN_name.py         jupytext percent; answers between ### BEGIN SOLUTION and ### END SOLUTION
notebooks/NN_name.ipynb             what a learner opens: stubs for answers, outputs of the default profile
notebooks/solutions/NN_name.ipynb   with the answers, without outputs
build/html/NN_name.html             the learner's edition as it was executed, movies alive; ignored by git
my/NN_name.ipynb                    the learner's copy, ignored by git
"""

from __future__ import annotations

import difflib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from diffrl_lab.course.progress import free_name

ROOT = Path(__file__).parents[2]
PROFILES = ("smoke", "class", "full")
BUDGET = 60  # seconds that a lesson's class profile may take on two cores; `run.py bench lessons` fails at 1.5 times it
BEGIN, END, STUB = "### BEGIN SOLUTION", "### END SOLUTION", "### STUB"
TODO = ("# write your answer here", "raise NotImplementedError")
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
QUIET = ["--log-level=ERROR"]  # a kernel on loopback need not warn that its messages travel in plain text
DEFAULT_REPR = re.compile(r"\w+\(|$")
VARIES = re.compile(r"\bat 0x[0-9a-fA-F]{4,}|/(?:home|root|Users|tmp|work)/\w|\b[A-Z]:\\\\")
CHECKED = "nbval-check-output"
WIDGET = "application/vnd.jupyter.widget-view+json"
PEAK = "DIFFRL_PEAK"  # the file into which a kernel writes the most memory it has had


def sources(which: Iterable[str] = (), root: Path = ROOT) -> list[Path]:
    """Sources of the lessons named ("01", "01_ddpm" or "all"; none means all). ValueError for an unknown name."""
    every = sorted((root / "notebooks" / "source").glob("[0-9][0-9]_*.py"))
    which = [w for w in which if w != "all"]
    for name in which:
        if not any(_named(path, name) for path in every):
            raise ValueError(f"no lesson is called {name!r}; known are: {', '.join(p.stem for p in every) or 'none'}")
    return [p for p in every if not which or any(_named(p, name) for name in which)]


def _named(path: Path, name: str) -> bool:
    return Path(name).stem in (path.stem, path.stem[:2])


def unsolved(text: str) -> str:
    """A cell's text with every answer replaced by its `### STUB` lines, or by `raise NotImplementedError` without any.

    Raises ValueError for markers that do not pair up, and for a `raise` outside a function: it would stop the notebook.
    """
    kept: list[str] = []
    stub: list[str] = []
    indent: str | None = None
    for line in text.split("\n"):
        mark = line.strip()
        if mark == BEGIN and indent is None:
            indent, stub = line[: len(line) - len(line.lstrip())], []
        elif mark == END and indent is not None:
            if not stub and not indent:
                raise ValueError(
                    f"an answer at the left margin needs a {STUB} line (say: {STUB} answer = None), in\n{text}"
                )
            kept += [indent + s if s else "" for s in (stub or TODO)]
            indent = None
        elif mark in (BEGIN, END):
            raise ValueError(f"{mark} without its partner in\n{text}")
        elif indent is None:
            kept.append(line)
        elif mark.startswith(STUB):
            stub.append(line.strip().removeprefix(STUB).removeprefix(" "))
    if indent is not None:
        raise ValueError(f"{BEGIN} without {END} in\n{text}")
    return "\n".join(kept)


def solved(text: str) -> str:
    """A cell's text with its answer and markers, without the lines of the stub."""
    return "\n".join(line for line in text.split("\n") if not line.strip().startswith(STUB))


def edition(source: Path, solutions: bool = False) -> Any:
    """The notebook built from a source, without outputs; cell ids are lesson and position ("01-004")."""
    import jupytext
    import nbformat

    read = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    cells = []
    for position, cell in enumerate(read.cells):
        make = {"markdown": nbformat.v4.new_markdown_cell, "raw": nbformat.v4.new_raw_cell}.get(
            cell.cell_type, nbformat.v4.new_code_cell
        )
        try:
            text = (solved if solutions else unsolved)(cell.source) if cell.cell_type == "code" else cell.source
        except ValueError as error:
            raise ValueError(f"{source.name}, cell {position}: {error}") from None
        metadata = {"tags": list(cell.metadata["tags"])} if cell.metadata.get("tags") else {}
        cells.append(make(text, metadata=metadata, id=f"{source.stem[:2]}-{position:03d}"))
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


def target(source: Path, solutions: bool = False) -> Path:
    """Where the edition of a source is kept."""
    folder = source.parents[1] / "solutions" if solutions else source.parents[1]
    return folder / f"{source.stem}.ipynb"


def build(which: Iterable[str] = (), *, run: bool = True, root: Path = ROOT) -> list[tuple[Path, float]]:
    """Build all editions of the lessons named; the learner's is executed at its own defaults. -> [(path, seconds)].

    With run=False outputs are kept where the code up to their cell is as it was, and no page is made. Raises nbclient's
    CellExecutionError where a cell fails, ValueError for a formula that has no MathML; what was stored then stays.
    """
    from diffrl_lab.publish import pages

    built = []
    for source in sources(which, root):
        began = time.monotonic()
        notebook = edition(source)
        if run:
            execute(notebook, target(source).parent)
            pages.write(notebook, root / "build" / "html" / f"{source.stem}.html")  # before the widgets' state goes
        else:
            _carry_outputs(notebook, target(source))
        _write(clean(notebook), target(source))
        _write(edition(source, solutions=True), target(source, solutions=True))
        built.append((target(source), time.monotonic() - began))
    return built


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in a kernel of this environment, in place. Nothing is recorded as a learner's progress."""
    from nbclient import NotebookClient

    # one thread: on a busy machine small networks lose a factor of ten waiting for a second one
    with quiet_progress(OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1")):
        NotebookClient(
            notebook,
            timeout=900,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=QUIET,
            resources={"metadata": {"path": str(folder)}},
        ).execute()


@contextmanager
def quiet_progress(**also: str) -> Iterator[None]:
    """Kernels started inside this block keep progress in memory only; `also` is added to their environment."""
    before = os.environ.copy()
    os.environ.update({"DIFFRL_PROGRESS": "off", **also})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def clean(notebook: Any) -> Any:
    """Drop what varies or needs a kernel: widget state and views, stderr, addresses; join split prints."""
    notebook.metadata = METADATA
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        cell.execution_count = number if cell.execution_count else None
        kept: list[Any] = []
        for output in cell.outputs:
            if output.output_type == "stream":
                if output.name == "stdout" and kept and kept[-1].output_type == "stream":
                    kept[-1].text += output.text
                elif output.name == "stdout":
                    kept.append(output)
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
            kept.append(output)
        cell.outputs = kept
    return notebook


def differences(source: Path) -> list[str]:
    """Where the stored editions of a source are not what it builds: a unified diff, empty when they agree."""
    import nbformat

    found = []
    for solutions in (False, True):
        path = target(source, solutions)
        if not path.exists():
            found.append(f"{path.name} has not been built: diffrl-lab lessons build {source.stem[:2]}")
            continue
        stored = nbformat.read(path, as_version=4)
        found += difflib.unified_diff(
            _lines(stored),
            _lines(edition(source, solutions)),
            str(path.relative_to(path.parents[1])),
            source.name,
            lineterm="",
            n=1,
        )
        found += [f"{path.name}, {what}: build it again" for what in volatile(stored, solutions)]
    return found


def _lines(notebook: Any) -> list[str]:
    lines = []
    for cell in notebook.cells:
        lines.append(f"[{cell.get('id')}] {cell.cell_type} {' '.join(cell.metadata.get('tags', []))}")
        lines += cell.source.split("\n")
    return lines


def volatile(notebook: Any, solutions: bool = False) -> list[str]:
    """What a stored notebook holds that varies from run to run or needs a kernel, and where: empty when it is clean."""
    own = [name for name, value in notebook.metadata.items() if value != METADATA.get(name)]
    found = [f"metadata of its own: {name}" for name in own]
    for cell in notebook.cells:
        kinds = [f"metadata {name}" for name in cell.metadata if name != "tags"]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")
            kinds += ["an output in the edition with answers"] if solutions else []
            kinds += ["a widget's view"] if WIDGET in data else []
            kinds += ["stderr"] if output.get("name") == "stderr" else []
            kinds += ["an address or a path"] if VARIES.search(text) else []
        found += [f"cell {cell.get('id')}: {kind}" for kind in kinds]
    return found


def _carry_outputs(notebook: Any, stored: Path) -> None:
    import nbformat

    if not stored.exists():
        return
    old = [c for c in nbformat.read(stored, as_version=4).cells if c.cell_type == "code"]
    for new, was in zip((c for c in notebook.cells if c.cell_type == "code"), old, strict=False):
        if new.source != was.source:
            break
        new.outputs, new.execution_count = was.outputs, was.execution_count


def _write(notebook: Any, path: Path) -> None:
    """Write beside and move into place, so that an interrupted build leaves the old notebook."""
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".ipynb.part")
    nbformat.write(notebook, beside)
    beside.replace(path)


def start(lesson: str, *, reset: bool = False, root: Path = ROOT) -> tuple[Path, Path | None]:
    """A learner's copy of a lesson in my/, made if missing. -> (the copy, where `reset` set an older one aside)."""
    original = target(sources([lesson], root)[0])
    if not original.exists():
        raise ValueError(f"{original.name} has not been built yet: diffrl-lab lessons build {original.stem[:2]}")
    mine = root / "my" / original.name
    mine.parent.mkdir(exist_ok=True)
    aside = None
    if mine.exists() and reset:
        aside = free_name(mine)
        mine.rename(aside)
    if not mine.exists():
        shutil.copyfile(original, mine)
    return mine, aside


class Ran(NamedTuple):
    """One lesson that ran: its notebook, wall-clock seconds with the kernel's start, and the kernel's peak memory."""

    path: Path
    seconds: float
    peak_mb: int


def run(
    which: Sequence[str],
    parameters: Mapping[str, Any],
    out: Path,
    *,
    solutions: bool = False,
    html: bool = False,
    progress_bar: bool = False,
    root: Path = ROOT,
) -> list[Ran]:
    """Run lessons with other parameters through papermill into the folder `out`; with `html` each as a page, too.

    Raises ValueError for a parameter that a lesson does not have (its own are named) or a profile that does not exist.
    """
    import papermill

    from diffrl_lab.publish import pages

    chosen = sources(which, root)
    for source in chosen:
        known = papermill.inspect_notebook(str(target(source, solutions)))
        for name in parameters:
            if name not in known:
                raise ValueError(
                    f"lesson {source.stem} has no parameter {name!r}; it has: {', '.join(sorted(known)) or 'none'}"
                )
    if parameters.get("PROFILE", PROFILES[0]) not in PROFILES:
        raise ValueError(f"no profile is called {parameters['PROFILE']!r}; there are: {', '.join(PROFILES)}")
    out.mkdir(parents=True, exist_ok=True)
    at_start = f"__import__({__name__!r}, fromlist=[0]).keep_peak()"  # an import would leave a name in the lesson
    done = []
    for source in chosen:
        began, made = time.monotonic(), out / f"{source.stem}.ipynb"
        with tempfile.TemporaryDirectory() as scratch, quiet_progress(**{PEAK: os.path.join(scratch, "peak")}):
            notebook = papermill.execute_notebook(
                str(target(source, solutions)),
                str(made),
                dict(parameters),
                kernel_name="python3",
                cwd=str(target(source).parent),
                progress_bar=progress_bar,
                extra_arguments=[*QUIET, f"--IPKernelApp.exec_lines={at_start}"],
            )
            seconds, peak = time.monotonic() - began, int(Path(os.environ[PEAK]).read_text())
        done.append(Ran(made, seconds, round(peak / 1e6)))
        if html:
            pages.write(notebook, made.with_suffix(".html"))
    return done


def keep_peak() -> None:
    """In a kernel: write the most memory it will have had, in bytes, into the file that PEAK names, when it ends."""
    import atexit

    atexit.register(lambda: Path(os.environ[PEAK]).write_text(str(peak_bytes())))


def peak_bytes() -> int:
    """The most physical memory this process has had so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: getrusage would count what the parent had when it forked
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes


def report(done: Sequence[Ran], command: str) -> dict[str, Any]:
    """Seconds and peak memory of lessons that ran, with the command and the machine, to be written as JSON."""
    from importlib.metadata import version

    versions = f"Python {platform.python_version()}, PyTorch {version('torch')}"
    return {
        "command": command,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {versions}",
        "lessons": {r.path.stem: {"seconds": round(r.seconds, 1), "peak_mb": r.peak_mb} for r in done},
    }


def split_parameters(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Split a command line into lessons and parameters: "01 -p SEED 3" -> (["01"], {"SEED": 3}); values are YAML."""
    import yaml

    which, parameters, rest = [], {}, list(words)
    while rest:
        word = rest.pop(0)
        if word not in ("-p", "--parameter"):
            which.append(word)
        elif len(rest) < 2:
            raise ValueError(f"-p wants a name and a value; came: {' '.join(words)}")
        else:
            name, value = rest.pop(0), rest.pop(0)
            parameters[name] = yaml.safe_load(value)
    return which, parameters
