#!/usr/bin/env python3
"""The one command: `python3 run.py lab | test | setup | bench | html | site`. Standard library only.

lab    open JupyterLab on lesson 00 (your copy of it, in my/)
test   run every test and every notebook (--all: the slow ones, too; anything else goes to pytest)
setup  only make the environment (setup test: with what testing needs)
bench  measure against the libraries next door
html   run every notebook into a page in build/html (options of `diffrl-lab run`, such as --profile smoke)
site   one site of lessons, how-to pages, reference and results in site/ (--stored: without running the lessons)
-h, --version

The environment is the folder .venv beside this file; it is made, completed or rebuilt when it has to be, and never
otherwise. DIFFRL_TORCH chooses PyTorch's build: cpu (the default), cu130 and the like, pypi (what pip takes by itself),
or the address of an index.
"""
# No newer syntax than Python 3.6's in this file: an old Python must get as far as the sentence that says so.

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "diffrl-lab.json")  # written last: without it the environment is half-made
LOG = os.path.join(ROOT, ".venv.log")
WINDOWS = os.name == "nt"
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if WINDOWS else os.path.join(VENV, "bin", "python")
# --no-compile: Python compiles what is used when it is first used, a small part of what is installed
PIP = [PYTHON, "-m", "pip", "install", "--progress-bar", "off", "--no-compile", "--log", LOG]
TORCH_INDEX = "https://download.pytorch.org/whl/"
NEEDED_GB = {"lab": 3.0, "site": 3.2, "test": 4.0}  # 1.7 and 2.4 stay; the rest is needed while installing
PROBES = {
    "lab": ["diffrl_lab", "torch", "jupyterlab", "anywidget", "minari", "mujoco"],
    "test": ["pytest", "nbval", "stable_baselines3", "distributed"],
    "site": ["sphinx", "myst_nb", "pydata_sphinx_theme"],
}
EXTRAS = {"lab": "", "site": "[site]", "test": "[test,record,cluster,site]"}
INSIDE = {"lab": ["lab"], "site": ["lab", "site"], "test": ["lab", "site", "test"]}  # what a kind makes ready


class Trouble(Exception):
    """What keeps the command from being carried out, in one sentence for the person who typed it."""


class WrongWords(Trouble):
    """Words that no command takes: exit 2 instead of 1."""


def say(text):
    print("diffrl_lab: " + text, flush=True)


# ------------------------------------------------------------------------------------------------------ is it possible?
def check_folder():
    """Raise Trouble if the folder's path holds the sign that separates paths (':'; on Windows ';')."""
    if os.pathsep in ROOT:
        raise Trouble(
            f"the path of this folder holds a '{os.pathsep}', which no virtual environment can have: "
            f"rename or move the folder ({ROOT})"
        )


def check_python(version=None):
    """Raise Trouble if this Python is older than 3.11, naming a newer one if the PATH has it."""
    version = sys.version_info if version is None else version
    if tuple(version[:2]) >= OLDEST:
        return
    newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
    advice = (
        f"this machine has one: `{newer[0]} run.py lab`"
        if newer
        else "install Python 3.12 (python.org, your system's packages, or conda) and run it again"
    )
    raise Trouble(f"this is Python {version[0]}.{version[1]}, and Python 3.11 or newer is needed: {advice}")


def check_venv_module():
    """Raise Trouble if this Python cannot make environments (Debian and Ubuntu ship that apart)."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as missing:
        package = "python{}.{}-venv".format(*sys.version_info[:2])
        raise Trouble(
            f"this Python lacks the module '{missing.name}', which makes environments: on Debian and Ubuntu "
            f"`sudo apt install {package}`, then run this again"
        ) from None


def check_disk(kind):
    """Raise Trouble if the folder's disk has too little room for the environment."""
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB[kind]:
        raise Trouble(
            f"the disk is too full: the environment needs {NEEDED_GB[kind]:.0f} GB in {ROOT}, "
            f"and {free:.1f} GB are free"
        )


def diagnose(log, step):
    """One sentence for what pip wrote into its log before it gave up."""
    if re.search(r"No space left|Errno 28|not enough space|Disk quota exceeded", log):
        return f"the disk became full while installing {step}: free {NEEDED_GB['test']:.0f} GB and run this again"
    if re.search(r"Permission denied|Errno 13\b|Access is denied", log):
        return f"no permission to write while installing {step}: is {ROOT} yours?"
    if re.search(r"CERTIFICATE_VERIFY_FAILED|SSLError", log):
        return f"the network's certificate was refused while downloading {step}: set pip's `cert` and run this again"
    # pip takes a silent index for an empty one and tells only its log; PyTorch's own index may be silent
    if re.search(
        rf"Could not fetch URL (?!{TORCH_INDEX})\S+: connection error|Read timed out|ReadTimeout"
        r"|connection broken|ProxyError|Cannot connect to proxy|NewConnectionError.*/packages/",
        log,
    ):
        return f"no network: {step} could not be downloaded; connect (or set pip's proxy or index) and run this again"
    if "No matching distribution found for torch" in log:
        return (
            f"there is no PyTorch for this system (Python {platform.python_version()}, {platform.system()} "
            f"{platform.machine()}): take Python 3.12, or see environment.yml for conda"
        )
    errors = re.findall(r"ERROR: .*", log)
    return f"pip could not install {step}" + (f" ({errors[-1]})" if errors else "")


# ------------------------------------------------------------------------------------------------------ the environment
def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def torch_pin():
    """The line that constraints.txt has for PyTorch, e.g. 'torch==2.13.0'."""
    return re.search(r"^torch==\S+", read("constraints.txt"), re.M).group()


def torch_build():
    return os.environ.get("DIFFRL_TORCH", "").strip() or "cpu"


def key():
    """What the environment depends on: the dependencies, the pins, the Python, PyTorch's build and the place."""
    parts = [read("pyproject.toml"), read("constraints.txt"), torch_build(), ROOT]
    parts += [platform.python_version(), platform.machine()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def clean_environment():
    """The environment variables without those that would bend another Python's or pip's paths into ours."""
    bending = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in bending}
    env.update(PYTHONNOUSERSITE="1", PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    return env


def state(kind):
    """'ready', 'extend' (sound, but made for less than `kind`) or 'make' (missing, half-made, outdated or broken)."""
    try:
        with open(STAMP, encoding="utf-8") as file:
            stamp = json.load(file)
        if stamp["key"] != key():
            return "make"
        made = stamp["made"]
    except (OSError, ValueError, KeyError, TypeError):
        return "make"
    modules = sum((PROBES[name] for name in made), [])
    probe = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in {modules!r}))"
    try:
        sound = (
            subprocess.call(
                [PYTHON, "-c", probe],
                env=clean_environment(),
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            == 0
        )
    except OSError:
        sound = False
    return "make" if not sound else "ready" if kind in made else "extend"


@contextmanager
def alone():
    """Hold the lock beside the environment, so that a second terminal waits instead of rebuilding under the first."""
    with open(os.path.join(ROOT, ".venv.lock"), "w", encoding="utf-8") as file:
        try:
            import fcntl
        except ImportError:  # Windows: it refuses to delete files in use anyway
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for the set-up in another terminal")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_venv():
    """Delete .venv, or raise Trouble (on Windows a running JupyterLab holds its files)."""
    if os.path.islink(VENV) or os.path.isfile(VENV):
        os.remove(VENV)
    elif os.path.isdir(VENV):
        try:
            shutil.rmtree(VENV)
        except OSError as error:
            raise Trouble(f"the old environment is in use ({error}): close JupyterLab, then delete {VENV}") from None


def call(argv, step):
    """Run one step of the set-up, showing where it is and keeping what it writes; raise Trouble if it fails."""
    start, live = time.time(), sys.stdout.isatty()
    with open(LOG, "w", encoding="utf-8") as log:
        log.write("$ {}\n".format(" ".join(argv)))
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    with open(LOG, "a", encoding="utf-8") as log:
        for line in process.stdout:
            if "--log" not in argv:  # pip keeps its own, and a fuller one
                log.write(line)
            if live:
                print(f"\r\033[K  {time.time() - start:3.0f} s  {line.strip():.60}", end="", flush=True)
    if live:
        print("\r\033[K", end="")
    if process.wait() != 0:
        with open(LOG, encoding="utf-8", errors="replace") as log:
            raise Trouble(diagnose(log.read(), step) + f" (all of it: {LOG})")
    say(f"{step}: {time.time() - start:.0f} s")


def torch_options():
    """pip's options for PyTorch, as DIFFRL_TORCH asks; a silent index is asked once more, and briefly."""
    build = torch_build()
    if build == "pypi":
        return []
    index = build if "://" in build else TORCH_INDEX + build
    try:
        urllib.request.urlopen(index.rstrip("/") + "/torch/", timeout=5).close()
        return ["--extra-index-url", index]
    except (OSError, ValueError):
        return ["--extra-index-url", index, "--retries", "0", "--timeout", "5"]


def set_up(kind):
    """Bring .venv to the state that `kind` ('lab', 'site' or 'test') needs; do nothing if it is there."""
    with alone():
        found = state(kind)
        if found == "ready":
            return
        start = time.time()
        if found == "make":
            check_venv_module()
            say(
                "the environment is half-made, outdated or broken: making it again"
                if os.path.lexists(VENV)
                else "making the environment in .venv (once; some minutes)"
            )
            remove_venv()  # before the disk is looked at: a half-made one may be what fills it
            check_disk(kind)
            base = getattr(sys, "_base_executable", None) or sys.executable  # .venv's own Python may run this file
            call([base, "-m", "venv", VENV], "a virtual environment")
            # PyTorch first and alone: its index is then asked for ten packages, not for a hundred and fifty
            call(PIP + torch_options() + ["-c", "constraints.txt", torch_pin()], "PyTorch")
        if found == "extend":
            os.remove(STAMP)
        call(PIP + ["-c", "constraints.txt", "-e", "." + EXTRAS[kind]], "everything else")
        quieten_lab()
        with open(STAMP, "w", encoding="utf-8") as file:
            json.dump({"key": key(), "made": INSIDE[kind]}, file)
        say(f"the environment is ready after {time.time() - start:.0f} s")


def quieten_lab():
    """JupyterLab's own defaults for this environment: it fetches no news and looks for no updates."""
    folder = os.path.join(VENV, "share", "jupyter", "lab", "settings")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "overrides.json"), "w", encoding="utf-8") as file:
        quiet = {"fetchNews": "false", "checkForUpdates": False}
        json.dump({"@jupyterlab/apputils-extension:notification": quiet}, file)


# --------------------------------------------------------------------------------------------------------- the commands
def hand_over(argv, env):
    """Become the command (on Windows: wait for it), so that Ctrl-C reaches it alone."""
    os.chdir(ROOT)
    sys.stdout.flush()
    if not WINDOWS:
        os.execve(argv[0], argv, env)
    try:
        return subprocess.call(argv, env=env)
    except KeyboardInterrupt:
        return 130


def lab_command(options):
    """JupyterLab's command line and environment: loopback and a token, whatever options and the user's settings say."""
    env = clean_environment()
    own = os.path.join(ROOT, ".jupyter")
    env.update(
        JUPYTER_CONFIG_DIR=os.path.join(own, "config"),
        JUPYTER_DATA_DIR=os.path.join(own, "data"),
        JUPYTERLAB_SETTINGS_DIR=os.path.join(own, "settings"),
        JUPYTER_PREFER_ENV_PATH="1",
        JUPYTERLAB_WORKSPACES_DIR=os.path.join(own, "workspaces"),
    )
    env.pop("JUPYTER_TOKEN", None)  # Jupyter draws one itself, and shows it in the address to open
    if env.get("DIFFRL_LAB_TOKEN"):
        env["JUPYTER_TOKEN"] = env["DIFFRL_LAB_TOKEN"]
    argv = (
        [PYTHON, "-m", "jupyterlab"]
        + list(options)
        + [
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.allow_remote_access=False",
            "--ServerApp.root_dir=" + ROOT,
            "--LabApp.extension_manager=readonly",
        ]
    )
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        argv.append("--allow-root")
    return argv, env


def lab(options):
    set_up("lab")
    lesson = os.path.join("my", "00_start.ipynb")
    if not os.path.exists(os.path.join(ROOT, lesson)):
        subprocess.call(
            [PYTHON, "-m", "diffrl_lab.cli", "start", "00"],
            cwd=ROOT,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
        )
    argv, env = lab_command(options)
    if os.path.exists(os.path.join(ROOT, lesson)):
        argv.insert(3, lesson)
    return hand_over(argv, env)


def test(options):
    set_up("test")
    # Two processes, each with whole files: a notebook's cells need one kernel, in their order.
    two = [] if set(options) & {"-n", "-x", "--pdb"} or (os.cpu_count() or 1) < 2 else ["-n", "2", "--dist", "loadfile"]
    return hand_over([PYTHON, "-m", "pytest"] + two + list(options), clean_environment())


def setup(options):
    if options not in ([], ["lab"], ["test"]):
        raise WrongWords("setup takes nothing or `test`; got: " + " ".join(options))
    set_up("test" if "test" in options else "lab")
    return 0


def bench(options):
    set_up("test")
    return hand_over([PYTHON, "-m", "benchmarks"] + list(options), clean_environment())


def html(options):
    set_up("lab")
    argv = [PYTHON, "-m", "diffrl_lab.cli", "run", "all", "--html", "--out", os.path.join(ROOT, "build", "html")]
    return hand_over(argv + list(options), clean_environment())


def site(options):
    set_up("site")
    return hand_over([PYTHON, "-m", "diffrl_lab.publish.site"] + list(options), clean_environment())


COMMANDS = {"lab": lab, "test": test, "setup": setup, "bench": bench, "html": html, "site": site}


def main(argv):
    for stream in (sys.stdout, sys.stderr):  # what a terminal or pipe cannot show becomes "?" (Python 3.6 cannot)
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    if not argv or argv[0] in ("-h", "--help", "help") or argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        return 0 if argv else 2
    if argv == ["--version"]:
        print(re.search(r'^version = "(.+)"', read("pyproject.toml"), re.M).group(1))
        return 0
    try:
        if argv[0] not in COMMANDS:
            raise WrongWords(f"there is no command '{argv[0]}'; there are {', '.join(COMMANDS)} (help: -h)")
        check_python()
        check_folder()
        return COMMANDS[argv[0]](argv[1:])
    except Trouble as trouble:
        say(str(trouble))
        return 2 if isinstance(trouble, WrongWords) else 1
    except KeyboardInterrupt:
        say("stopped; the next run goes on from here")
    except OSError as error:
        if error.errno == 28:
            say(f"the disk is full ({error}): free some gigabytes and run this again")
        elif error.errno in (13, 30):
            say(f"no permission to write here ({error}): put the folder where you may write, and run this again")
        else:
            raise
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
