"""Running a lesson in a kernel, with other parameters and in another folder."""

from __future__ import annotations

import ast
import contextlib
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffrl_lab.course.editions import ROOT, sources, target

PROFILES = ("smoke", "class", "full")


QUIET = ["--log-level=ERROR"]  # a kernel on loopback need not warn that its messages travel in plain text


PEAK = "DIFFRL_PEAK"  # the file into which a kernel writes the most memory it has had


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


@contextlib.contextmanager
def quiet_progress(**also: str) -> Iterator[None]:
    """Kernels started inside this block keep progress in memory only; `also` is added to their environment."""
    before = os.environ.copy()
    os.environ.update({"DIFFRL_PROGRESS": "off", **also})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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
    page: Callable[[Any, Path], object] | None = None,
    stops: bool = False,
    progress_bar: bool = False,
    root: Path = ROOT,
) -> list[Ran]:
    """Run lessons with other parameters through papermill into the folder `out`.

    page(notebook, path): what writes each as HTML, too. stops: explorers keep some of their pictures for a page; so
    they do with `page`.
    Raises ValueError for a parameter that a lesson does not have (its own are named), one that is not of its default's
    type, or a profile that does not exist.
    """
    import papermill

    from diffrl_lab.widgets.explore import KEPT

    chosen, typed = sources(which, root), dict[Path, dict[str, Any]]()
    for source in chosen:
        known = papermill.inspect_notebook(str(target(source, solutions)))
        for name in parameters:
            if name not in known:
                raise ValueError(
                    f"lesson {source.stem} has no parameter {name!r}; it has: {', '.join(sorted(known)) or 'none'}"
                )
        typed[source] = {name: as_default(name, value, known[name]["default"]) for name, value in parameters.items()}
    if parameters.get("PROFILE", PROFILES[0]) not in PROFILES:
        raise ValueError(f"no profile is called {parameters['PROFILE']!r}; there are: {', '.join(PROFILES)}")
    out.mkdir(parents=True, exist_ok=True)
    at_start = f"__import__({__name__!r}, fromlist=[0]).keep_peak()"  # an import would leave a name in the lesson
    kept = {KEPT: "yes"} if stops or page is not None else {}
    done = []
    for source in chosen:
        began, copy = time.monotonic(), out / f"{source.stem}.ipynb"
        with tempfile.TemporaryDirectory() as scratch, quiet_progress(**{PEAK: os.path.join(scratch, "peak")}, **kept):
            notebook = papermill.execute_notebook(
                str(target(source, solutions)),
                str(copy),
                typed[source],
                kernel_name="python3",
                cwd=str(target(source).parent),
                progress_bar=progress_bar,
                extra_arguments=[*QUIET, f"--IPKernelApp.exec_lines={at_start}"],
            )
            seconds, peak = time.monotonic() - began, int(Path(os.environ[PEAK]).read_text("utf-8"))
        done.append(Ran(copy, seconds, round(peak / 1e6)))
        if page is not None:
            page(notebook, copy.with_suffix(".html"))
    return done


TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a table"}


def as_default(name: str, value: Any, default: str) -> Any:
    """A parameter's value, in the type of its default (the text of a Python expression). A whole number is a number.

    Raises ValueError with name, value and what is wanted. A default that is None or no constant takes anything.
    """
    try:
        wanted = type(ast.literal_eval(default))
    except (ValueError, SyntaxError):
        return value
    if wanted is float and not isinstance(value, bool):
        with contextlib.suppress(TypeError, ValueError):  # YAML 1.1 takes 1e3 for text
            return float(value)
    wanted = list if wanted is tuple else wanted
    if wanted not in TYPES or type(value) is wanted and not (name == "SEED" and value < 0):
        return value
    least = " from 0 on" if name == "SEED" else ""
    raise ValueError(f"{name} is {TYPES[wanted]}{least}, such as {default}; got {value!r}")


def keep_peak() -> None:
    """In a kernel: write the most memory it will have had, in bytes, into the file that PEAK names, when it ends."""
    import atexit

    atexit.register(lambda: Path(os.environ[PEAK]).write_text(str(peak_bytes()), "utf-8"))


def peak_bytes() -> int:
    """The most physical memory this process has had so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: getrusage would count what the parent had when it forked
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text("utf-8"))[0])
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
            try:
                parameters[name] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise ValueError(f"-p {name} wants a value as YAML writes it; got {value!r}") from None
    return which, parameters
