"""The state of an installation: `diffrl-lab doctor` runs each check below and says what to do about what it finds.

A check is a function that returns None if all is well, and otherwise a sentence of what is wrong and what helps.
Whatever breaks inside a check is itself the finding.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from diffrl_lab.files import ROOT

AGAIN = "delete the folder .venv and run `python3 run.py setup`"
EXTRA = "run `python3 run.py setup test`"


def _core_packages() -> list[str]:
    """The names in pyproject's dependencies, without versions and extras."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    return [re.split(r"[\[<>=!~ ;]", line)[0] for line in listed]


def python_version() -> str | None:
    """Python 3.11 or newer, 64 bits."""
    if sys.version_info < (3, 11):  # noqa: UP036  (a package tool that ignores requires-python gets here)
        return f"Python {sys.version.split()[0]} runs this, and 3.11 or newer is needed"
    if sys.maxsize < 2**32:
        return "a 32-bit Python runs this, and PyTorch needs a 64-bit one"
    return None


def packages() -> str | None:
    """Every core dependency is installed, in the pinned version."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    missing, other = [], []
    for name in _core_packages():
        try:
            version = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        wanted = pins.get(name.lower().replace("_", "-"), version)
        if version != wanted:
            other.append(f"{name} {version} instead of {wanted}")
    if missing:
        return f"not installed: {', '.join(missing)}; {AGAIN}"
    if other:
        return f"not the pinned versions ({'; '.join(other)}): results may differ; {AGAIN}"
    return None


def this_copy() -> str | None:
    """The package that Python imports is the one in this folder."""
    spec = importlib.util.find_spec("diffrl_lab")
    folder = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
    elsewhere = Path.cwd().resolve()
    if (elsewhere / "diffrl_lab").is_dir() and (elsewhere / "run.py").is_file() and elsewhere != folder:
        return f"Python takes diffrl_lab from {folder}, and you are in {elsewhere}; run `python3 run.py setup` here"
    return None


def torch_computes() -> str | None:
    """PyTorch loads, and a product of matrices is right, on the CPU and on a GPU if it sees one."""
    import torch

    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        ones = torch.ones(64, 64, device=device)
        if not bool((ones @ ones == 64).all()):
            return f"PyTorch {torch.__version__} computes a wrong product on {device}; {AGAIN}"
    return None


def maze_runs() -> str | None:
    """gymnasium-robotics' PointMaze takes one step in MuJoCo."""
    import gymnasium as gym
    import gymnasium_robotics

    gym.register_envs(gymnasium_robotics)
    env = gym.make("PointMaze_UMaze-v3")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
    return None


def datasets_readable() -> str | None:
    """HDF5 is there and the folder in which Minari keeps datasets can be written."""
    import h5py  # noqa: F401

    folder = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")
    place = next(parent for parent in [folder, *folder.parents] if parent.exists())
    if not os.access(place, os.W_OK):
        return f"{folder} cannot be written, and Minari's data go there: set MINARI_DATASETS_PATH to another folder"
    return None


def widgets_installed() -> str | None:
    """JupyterLab has the front ends of ipywidgets and anywidget."""
    folder = Path(sys.prefix) / "share" / "jupyter" / "labextensions"
    names = ("anywidget", "@jupyter-widgets/jupyterlab-manager")
    missing = [name for name in names if not (folder / name / "package.json").is_file()]
    return f"JupyterLab lacks {', '.join(missing)}, so sliders and movies stay blank; {AGAIN}" if missing else None


def kernel_is_ours() -> str | None:
    """The kernel named python3 runs this very Python."""
    from jupyter_client.kernelspec import KernelSpecManager

    program = Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    if program.is_absolute() and program.parent.resolve() != Path(sys.executable).parent.resolve():
        return f"notebooks would run in {program}, not in {sys.executable}: start JupyterLab with `python3 run.py lab`"
    return None


def lessons_there() -> str | None:
    """The lessons are in notebooks/, and your copies in my/ can be written."""
    if not list((ROOT / "notebooks").glob("[0-9][0-9]*_*.ipynb")):
        return f"no lesson in {ROOT / 'notebooks'}: the download is incomplete, fetch the repository again"
    place = ROOT / "my" if (ROOT / "my").is_dir() else ROOT
    return None if os.access(place, os.W_OK) else f"{place} cannot be written, so no lesson can start: is it yours?"


def data_intact() -> str | None:
    """Every file that data/manifest.json lists is there, with its size and SHA-256."""
    manifest = ROOT / "data" / "manifest.json"
    if not manifest.is_file():
        return "data/manifest.json is missing: fetch the repository again"
    entries = json.loads(manifest.read_text("utf-8"))
    wrong = [entry["file"] for entry in entries if not _matches(ROOT / "data" / entry["file"], entry)]
    return f"in data/, missing or changed: {', '.join(wrong)}; `git checkout data` brings them back" if wrong else None


def _matches(path: Path, entry: dict) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == entry["bytes"]
        and hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    )


def disk_has_room() -> str | None:
    """One gigabyte is free for recordings and runs."""
    free = shutil.disk_usage(ROOT).free / 1e9
    return f"only {free:.1f} GB are free in {ROOT}; recordings and runs want 1 GB" if free < 1 else None


def can_test() -> str | None:
    """The extra `test` and a Chromium are there (only `python3 run.py test` needs them)."""
    names = ("pytest", "nbval", "playwright", "ruff", "mypy")
    missing = [name for name in names if not importlib.util.find_spec(name)]
    if missing:
        return f"the tests need {', '.join(missing)}: {EXTRA}"
    browsers = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return None if any(map(shutil.which, browsers)) else "the browser test needs Chromium from the system's packages"


def can_grade() -> str | None:
    """bubblewrap and user namespaces are there (only `diffrl-lab course grade` needs them)."""
    if not sys.platform.startswith("linux"):
        return f"submissions are graded in bubblewrap, which needs Linux; this is {sys.platform}: use a Linux container"
    if shutil.which("bwrap") is None:
        return "submissions are graded in bubblewrap, which is not installed: `apt install bubblewrap`"
    shut = ["bwrap", "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "--proc", "/proc", "--", "true"]
    ran = subprocess.run(shut, capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode == 0:
        return None
    closed = [f"`sysctl {name}={wanted}`" for name, refused, wanted in NAMESPACES if _sysctl(name) == refused]
    advice = f"as root: {', '.join(closed)}" if closed else "in a container, allow it user namespaces and mounts"
    return f"bubblewrap gets no user namespace ({ran.stderr.strip() or f'it ended with {ran.returncode}'}): {advice}"


# settings of the kernel that keep user namespaces from ordinary users: the value that does, and one that does not
NAMESPACES = (
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "10000"),
)


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text("utf-8").strip()
    except OSError:
        return ""


NEEDED: list[Callable[[], str | None]] = [
    python_version,
    packages,
    this_copy,
    torch_computes,
    maze_runs,
    datasets_readable,
    widgets_installed,
    kernel_is_ours,
    lessons_there,
    data_intact,
    disk_has_room,
]
OPTIONAL: list[Callable[[], str | None]] = [can_test, can_grade]


def finding(check: Callable[[], str | None]) -> str | None:
    """What `check` returns; if it raises, that, with what helps against most of it."""
    try:
        return check()
    except Exception as error:
        return f"{type(error).__name__}: {error}; {AGAIN}"


def report() -> int:
    """Print one line per check -> 0 if nothing needed is wrong, 1 otherwise."""
    bad = 0
    for check in NEEDED + OPTIONAL:
        said, what = finding(check), " ".join((check.__doc__ or "").split())
        mark = "ok   " if said is None else "wrong" if check in NEEDED else "note "
        bad += mark == "wrong"
        print(f"{mark}  {what}" + (f"\n       -> {said}" if said else ""), flush=True)
    print("This installation is sound." if not bad else f"{bad} of {len(NEEDED)} checks found something wrong.")
    return int(bad > 0)
