"""The set-up: one list of dependencies, one set of pins, and one clear sentence for everything that can go wrong."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = dict(PROJECT["optional-dependencies"])
BESIDE = EXTRAS.pop("ogbench")  # an extra that no environment here holds: it pins itself
EXTRAS.pop("pusht")  # for those who ask for that task; not pinned


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), "pins are exact, without local parts"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """run.py, as if it lay in an empty folder."""
    for name in ("run.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    spec = importlib.util.spec_from_file_location("run", tmp_path / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "run", module)
    return module


def stamped(run: ModuleType, **changes: object) -> None:
    """An environment that looks finished: this very Python, and a stamp."""
    Path(run.PYTHON).parent.mkdir(parents=True)
    Path(run.PYTHON).symlink_to(sys.executable)
    Path(run.STAMP).write_text(json.dumps({"key": run.key(), "made": ["lab"], **changes}))
    run.PROBES = {"lab": ["json"], "test": ["ast"]}


# -------------------------------------------------------------------------------------- the three files that must agree
def test_every_dependency_is_pinned_and_every_pin_is_what_pyproject_allows() -> None:
    for line in PROJECT["dependencies"] + sum(EXTRAS.values(), []):
        wanted = Requirement(line)
        assert wanted.specifier.contains(pins()[canonicalize_name(wanted.name)]), line


def test_the_extra_that_constraints_leave_out_pins_itself_and_the_package_imports_it_by_name_alone() -> None:
    wanted = [Requirement(line) for line in BESIDE]
    assert all([s.operator for s in r.specifier] == ["=="] for r in wanted)
    assert not {canonicalize_name(r.name) for r in wanted} & (set(pins()) | imported())


BROUGHT = {
    "cycler": "matplotlib", "filelock": "torch", "h5py": "minari", "ipython": "ipykernel", "psutil": "ipython",
    "jupyter-client": "ipykernel", "nbclient": "nbconvert", "pygments": "nbconvert", "traitlets": "ipywidgets",
}  # fmt: skip
STARTED = {"jupyterlab", "ipykernel"}  # what nobody imports, since it is run


def imported() -> set[str]:
    """The distributions that files of the package import, at their top or within a function."""
    names = set()
    for path in (ROOT / "diffrl_lab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).split(".")[0])
    homes = importlib.metadata.packages_distributions()
    return {canonicalize_name(homes[name][0]) for name in names - sys.stdlib_module_names - {"diffrl_lab"}}


def test_what_the_package_imports_is_a_dependency_and_every_dependency_is_imported() -> None:
    core = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    extras = {canonicalize_name(Requirement(line).name) for name in ("record", "cluster") for line in EXTRAS[name]}
    assert imported() - core - extras == set(BROUGHT)
    assert core - imported() == STARTED
    for name, by in BROUGHT.items():
        wanted = [canonicalize_name(Requirement(line).name) for line in importlib.metadata.requires(by) or []]
        assert by in core | set(BROUGHT) and name in wanted, f"{by} no longer brings {name}: name it in pyproject.toml"


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="the pins are what Linux and Python 3.11 need"
)
def test_every_pin_is_needed_by_some_dependency() -> None:
    needed, todo = set(), [Requirement(line) for line in PROJECT["dependencies"] + sum(EXTRAS.values(), [])]
    while todo:
        wanted = todo.pop()
        if (canonicalize_name(wanted.name), frozenset(wanted.extras)) in needed:
            continue
        needed.add((canonicalize_name(wanted.name), frozenset(wanted.extras)))
        try:
            lines = importlib.metadata.requires(wanted.name) or []
        except importlib.metadata.PackageNotFoundError:
            pytest.fail(f"{wanted.name} is not installed: run `python3 run.py setup test`")
        inner = [Requirement(line) for line in lines]
        for extra in {"", *wanted.extras}:
            todo += [r for r in inner if not r.marker or r.marker.evaluate({"extra": extra})]
    assert set(pins()) == {name for name, _ in needed} - {"pip", "setuptools"}  # these two come with the environment


def test_environment_yml_takes_the_same_list_and_the_same_pins() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    [pip] = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert "-c constraints.txt" in pip
    [extras] = [re.fullmatch(r"-e \.\[(.*)\]", line)[1] for line in pip if line.startswith("-e ")]  # type: ignore[index]
    assert set(extras.split(",")) == set(EXTRAS)
    [python] = [line for line in conda["dependencies"] if str(line).startswith("python=")]
    assert python.removeprefix("python=") in PROJECT["requires-python"]
    assert [line for line in pip if "download.pytorch.org/whl/cpu" in line]


def test_mujoco_stays_below_the_version_that_breaks_the_mazes() -> None:
    [mujoco] = [Requirement(line) for line in PROJECT["dependencies"] if line.startswith("mujoco")]
    assert not mujoco.specifier.contains("3.9.0") and mujoco.specifier.contains("3.3.0")


def test_the_installed_versions_are_the_pinned_ones() -> None:
    found = {name: importlib.metadata.version(name).split("+")[0] for name in pins()}
    assert found == pins(), "delete .venv and run `python3 run.py setup test`"


@pytest.mark.network
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_pins_resolve_for_other_pythons(version: str, tmp_path: Path) -> None:
    """PyTorch is left out where the index offers this machine no wheel of it; all else must resolve to wheels."""
    resolve = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--quiet",
        "--only-binary=:all:",
        "--python-version",
        version,
        "--target",
        str(tmp_path),
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    if subprocess.run([*resolve, "six"], capture_output=True, timeout=120).returncode:
        pytest.skip("the package index cannot be reached")
    lines = PROJECT["dependencies"] + sum(EXTRAS.values(), [])
    done = subprocess.run([*resolve, *lines], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]


# ------------------------------------------------------------------------------------------------------ clear sentences
@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 10)])
def test_an_old_python_is_told_so_in_one_sentence(run: ModuleType, version: tuple[int, int]) -> None:
    old = r"\.".join(map(str, version))
    with pytest.raises(run.Trouble, match=f"^this is Python {old}, and Python 3.11 or newer is needed: .+$"):
        run.check_python(version)


def test_run_py_uses_no_syntax_that_python_3_6_lacks() -> None:
    text = (ROOT / "run.py").read_text()
    ast.parse(text, feature_version=(3, 6))
    assert "from __future__ import annotations" not in text  # Python 3.7's


def test_a_missing_venv_module_names_the_package_that_has_it(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(run.Trouble, match=r"sudo apt install python3\.\d+-venv"):
        run.check_venv_module()


def test_a_full_disk_is_seen_before_anything_is_fetched(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**8))
    with pytest.raises(run.Trouble, match=r"the disk is too full: .* needs 3 GB .* 0\.1 GB are free"):
        run.set_up("lab")
    assert not Path(run.VENV).exists()


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk became full"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError([Errno 101])'", "no network"),
        ("Could not fetch URL https://index/six/: connection error: x\nERROR: ResolutionImpossible", "no network"),
        ("Could not fetch URL https://download.pytorch.org/whl/cpu/six/: connection error", "could not install"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] ...", "certificate was refused"),
        ("ERROR: [Errno 13] Permission denied: '/opt/x'", "no permission to write"),
        ("ERROR: No matching distribution found for torch==2.13.0", "there is no PyTorch for this system"),
        ("ERROR: something new", r"pip could not install everything else \(ERROR: something new\)"),
    ],
)
def test_what_pip_wrote_becomes_one_sentence(run: ModuleType, log: str, sentence: str) -> None:
    said = run.diagnose(log, "everything else")
    assert re.search(sentence, said) and "\n" not in said


def test_without_a_network_the_set_up_says_so_and_leaves_no_stamp(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    monkeypatch.setenv("DIFFRL_TORCH", "pypi")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in nowhere.items():
        monkeypatch.setenv(name, value)
    assert run.main(["setup"]) == 1
    assert re.search(r"no network: PyTorch could not be downloaded; .* run this again", capsys.readouterr().out)
    assert not Path(run.STAMP).exists() and run.state("lab") == "make"


def test_an_unknown_command_shows_the_commands(run: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["labb"]) == 2
    shown = capsys.readouterr().out
    assert all(name in shown for name in run.COMMANDS) and shown.count("\n") == 1


def test_help_and_version_need_no_environment(run: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert [run.main([name, "-h"]) for name in run.COMMANDS] == [0] * len(run.COMMANDS)
    capsys.readouterr()
    assert run.main(["--version"]) == 0 and capsys.readouterr().out == PROJECT["version"] + "\n"


@pytest.mark.parametrize("words", [["setup", "tests"], ["setup", "test", "x"]])
def test_a_word_that_setup_does_not_take_is_refused_before_any_work(
    run: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "set_up", lambda *_: pytest.fail("the set-up began"))
    assert run.main(words) == 2 and words[-1] in capsys.readouterr().out


def test_a_folder_that_no_environment_can_lie_in_is_refused_before_any_work(
    run: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ROOT", os.path.join("cs101" + os.pathsep, "lab"))
    monkeypatch.setattr(run, "alone", lambda: pytest.fail("the set-up began"))
    assert [run.main([name]) for name in run.COMMANDS] == [1] * len(run.COMMANDS)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(run.COMMANDS) and all(f"holds a '{os.pathsep}'" in line for line in said)


def test_a_step_that_writes_what_the_terminal_cannot_show_goes_on(run: ModuleType) -> None:
    done = subprocess.run(
        [sys.executable, "run.py", "caf\u00e9 \u25cf"],
        cwd=run.ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
        capture_output=True,
    )
    assert done.returncode == 2 and b"'caf? ?'" in done.stdout


# ---------------------------------------------------------------------------------------------- made once, and repaired
def test_a_finished_environment_is_left_alone(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    stamped(run)
    monkeypatch.setattr(run, "call", lambda *_: pytest.fail("something was installed"))
    run.set_up("lab")
    assert run.state("test") == "extend"


def test_a_change_of_dependencies_pins_or_build_makes_it_again(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamped(run)
    for name in ("pyproject.toml", "constraints.txt"):
        path = Path(run.ROOT, name)
        before = path.read_text()
        path.write_text(before + "\n# changed")
        assert run.state("lab") == "make", name
        path.write_text(before)
    assert run.state("lab") == "ready"
    monkeypatch.setenv("DIFFRL_TORCH", "cu130")
    assert run.state("lab") == "make"


@pytest.mark.parametrize("damage", ["no stamp", "torn stamp", "no python", "dead link", "a package is gone"])
def test_a_half_made_or_broken_environment_is_seen(run: ModuleType, damage: str) -> None:
    stamped(run)
    assert run.state("lab") == "ready"
    if damage == "no stamp":
        os.remove(run.STAMP)
    elif damage == "torn stamp":
        Path(run.STAMP).write_text('{"key": ')
    elif damage == "a package is gone":
        run.PROBES["lab"].append("a_package_that_is_gone")
    else:
        os.remove(run.PYTHON)
        if damage == "dead link":
            os.symlink("/nowhere/python", run.PYTHON)
    assert run.state("lab") == "make"


def test_a_half_made_environment_is_removed_and_the_stamp_comes_last(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(run.VENV).mkdir()
    left = Path(run.VENV, "left_over")
    left.touch()
    steps: list[str] = []

    def call(argv: list[str], step: str) -> None:
        assert not left.exists() and not Path(run.STAMP).exists(), step
        steps.append(step)
        Path(run.VENV).mkdir(exist_ok=True)

    monkeypatch.setattr(run, "call", call)
    monkeypatch.setattr(run, "torch_options", list)
    run.set_up("test")
    assert steps == ["a virtual environment", "PyTorch", "everything else"]
    assert json.loads(Path(run.STAMP).read_text()) == {"key": run.key(), "made": ["lab", "site", "test"]}


def test_adding_the_tests_to_a_lab_loses_the_stamp_until_it_is_done(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamped(run)
    run.PROBES["test"] = ["ast"]

    def fails(argv: list[str], step: str) -> None:
        raise run.Trouble("the cable was pulled")

    monkeypatch.setattr(run, "call", fails)
    assert run.main(["setup", "test"]) == 1
    assert run.state("lab") == "make"


def test_a_step_that_fails_is_kept_in_the_log(run: ModuleType) -> None:
    with pytest.raises(run.Trouble, match=r"could not install a thing \(ERROR: so it is\) \(all of it: .*\.log\)"):
        run.call([sys.executable, "-c", "print('ERROR: so it is'); raise SystemExit(1)"], "a thing")
    assert "ERROR: so it is" in Path(run.LOG).read_text()


# ----------------------------------------------------------------------------------------------------- what is started
def test_pytorch_comes_from_the_index_that_was_asked_for(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(run.urllib.request, "urlopen", unreachable)
    for build, index in [
        ("", "https://download.pytorch.org/whl/cpu"),
        ("cu130", "https://download.pytorch.org/whl/cu130"),
        ("https://mirror.example/x", "https://mirror.example/x"),
    ]:
        monkeypatch.setenv("DIFFRL_TORCH", build)
        assert run.torch_options() == ["--extra-index-url", index, "--retries", "0", "--timeout", "5"]
    monkeypatch.setenv("DIFFRL_TORCH", "pypi")
    assert run.torch_options() == [] and run.torch_pin() == f"torch=={pins()['torch']}"


def test_jupyterlab_listens_on_loopback_behind_a_token(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_TOKEN", "")  # what would switch the token off
    argv, env = run.lab_command(["--ServerApp.ip=0.0.0.0", "--no-browser"])
    assert [option for option in argv if "ip=" in option][-1] == "--ServerApp.ip=127.0.0.1"  # the last one counts
    assert "JUPYTER_TOKEN" not in env  # so that Jupyter draws one
    assert Path(env["JUPYTER_CONFIG_DIR"]).is_relative_to(run.ROOT)  # and no setting of the user's prevents it
    monkeypatch.setenv("DIFFRL_LAB_TOKEN", "a-secret")
    argv, env = run.lab_command([])
    assert env["JUPYTER_TOKEN"] == "a-secret" and "a-secret" not in " ".join(argv)  # where `ps` would show it


def test_what_would_bend_python_or_pip_is_kept_out(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET"):
        monkeypatch.setenv(name, "/elsewhere")
    assert "/elsewhere" not in run.clean_environment().values()


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import diffrl_lab; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["diffrl_lab"]


def test_the_help_of_the_command_line_needs_no_pytorch() -> None:
    code = "import sys, diffrl_lab.cli; print([m for m in ('torch', 'numpy', 'mujoco', 'IPython') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_jupyterlab_answers_with_the_token_and_only_with_it(tmp_path: Path) -> None:
    """The real thing: `run.py lab`, 60 s are given here; where nothing else runs it takes less than 8."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "DIFFRL_LAB_TOKEN": "for-this-test"}
    argv = [sys.executable, str(ROOT / "run.py"), "lab", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0"]
    lab = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end, codes = time.time() + 60, {}
        while time.time() < end and len(codes) < 2:
            for token in ("for-this-test", "wrong"):
                try:
                    address = f"http://127.0.0.1:{port}/api/contents?token={token}"
                    codes[token] = urllib.request.urlopen(address).status
                except urllib.error.HTTPError as error:
                    codes[token] = error.code
                except OSError:
                    time.sleep(0.2)
        assert codes == {"for-this-test": 200, "wrong": 403}
    finally:
        lab.terminate()
        lab.wait(20)


# ------------------------------------------------------------------------------------------------------------- grading
@pytest.mark.parametrize(("platform", "program", "said"), [
    ("darwin", "true", "needs Linux"), ("linux", None, "apt install bubblewrap"), ("linux", "true", ""),
    ("linux", "echo 'No permissions to create new namespace' >&2; exit 1", "No permissions to create new namespace"),
])  # fmt: skip
def test_the_doctor_says_whether_submissions_can_be_graded_here(
    platform: str, program: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffrl_lab import doctor

    if program is not None:
        (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor.sys, "platform", platform)
    found = doctor.can_grade()
    assert (found is None) == (not said) and said in (found or "")
    assert doctor.can_grade in doctor.OPTIONAL


def test_the_doctor_names_the_setting_that_keeps_user_namespaces_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffrl_lab import doctor

    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, refused, wanted in doctor.NAMESPACES:
        monkeypatch.setattr(doctor, "_sysctl", {name: refused}.get)
        assert f"`sysctl {name}={wanted}`" in str(doctor.can_grade())
