"""Grading: what a submission can reach in the sandbox (nothing), and that it gets the marks that it earned."""

from __future__ import annotations

import ast
import datetime
import io
import json
import os
import pickle
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import grading as batch
from diffrl_lab import cli
from diffrl_lab.classroom import grading, sandbox
from diffrl_lab.course import checks, editions, judging
from diffrl_lab.course.editions import ROOT

NAMES = checks.exercises()
needs_bubblewrap = pytest.mark.skipif(
    bool(grading.refusal()) and not os.environ.get("CI"),
    reason=f"NO BUBBLEWRAP: the sandbox was not tested. {grading.refusal()}",
)
SHORT = sandbox.Limits(cpu=4, wall=8.0)
CHECK = "from diffrl_lab.course import check\n"


@pytest.fixture(scope="module")
def box() -> Iterator[grading.Sandbox]:
    with grading.Sandbox(sandbox.Limits(wall=60.0)) as made:
        yield made


@pytest.fixture
def inside(box: grading.Sandbox) -> Callable[..., Any]:
    """Run code in the sandbox: what it calls `found` comes back."""

    def run(code: str) -> Any:
        came = _answer(box, code + "\ncheck('', found)")
        assert came["status"] == "answered", came
        return came["answers"][0]

    return run


def _answer(box: grading.Sandbox, code: str, name: str = "") -> dict[str, Any]:
    box.start()
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": CHECK + code}]}).encode()
    return box._ask("", name, "", "", notebook, [{}], 0)


def _notebook(cells: list[str]) -> bytes:
    return json.dumps({"cells": [{"cell_type": "code", "source": c} for c in cells]}).encode()


def _marked(box: grading.Sandbox, content: bytes, lesson: str = "01") -> dict[str, Any]:
    return grading.graded(grading.Submission("ann", "ann/a.ipynb", "", content, lesson), b"secret", box)


def _entry(box: grading.Sandbox, cells: list[str], exercise: str = "01.betas") -> dict[str, Any]:
    box.start()
    seed, cases, right = grading.drawn(exercise, "content", b"secret")
    return grading.mark(exercise, cases, right, box.ask(exercise, _notebook(cells), cases, seed))


def _put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------------------------------------- what can be reached
@needs_bubblewrap
def test_no_answer_no_judge_and_no_lesson_is_inside(inside: Callable[..., Any]) -> None:
    found = inside(f"""
import glob, importlib, os, sys
found = [name for name in sys.modules if "exercises" in name or "grading" in name]
rooms = {{"course": ["exercises", "exercises.e01_betas", "editions"], "classroom": ["grading"], "publish": ["lessons"]}}
for name in [f"{{room}}.{{module}}" for room, modules in rooms.items() for module in modules]:
    try:
        importlib.import_module("diffrl_lab." + name)
        found.append(name)
    except ImportError:
        pass
found += sorted(os.listdir("/lab/diffrl_lab/course") + os.listdir("/lab/diffrl_lab/classroom"))
found += [p for p in glob.glob({str(ROOT)!r} + "/*") if not p.endswith(".venv")]
""")
    assert found == ["__init__.py", "__init__.py", "checks.py", "judging.py", "progress.py", "sandbox.py"]


@needs_bubblewrap
def test_nothing_inside_holds_the_text_of_an_answer(inside: Callable[..., Any]) -> None:
    secret = "alpha_bar[1:] / alpha_bar[:-1]"
    assert secret in (ROOT / "notebooks" / "solutions" / "01_ddpm.ipynb").read_text()
    found = inside(f"""
import os
found, seen = [], 0
for top in ("/lab", "/tmp", "/dev", {str(ROOT / "notebooks")!r}, {str(ROOT / "diffrl_lab")!r}, {str(ROOT / "tests")!r}):
    for folder, _, files in os.walk(top):
        for name in files:
            seen += 1
            if name.endswith((".py", ".ipynb", ".csv", ".json")):
                text = open(os.path.join(folder, name), errors="replace").read()
                found += [name] if "{secret[:10]}" + "{secret[10:]}" in text else []
found = [seen > 20, found]
""")
    assert found == [True, []]


@needs_bubblewrap
def test_there_is_no_network(inside: Callable[..., Any]) -> None:
    found = inside("""
import socket
found = [name for _, name in socket.if_nameindex()]
for family, address in ((socket.AF_INET, ("127.0.0.1", 22)), (socket.AF_INET, ("1.1.1.1", 53))):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(2)
        found.append(s.connect_ex(address) != 0)
""")
    assert found == ["lo", True, True]


@needs_bubblewrap
def test_only_scratch_can_be_written_and_the_next_submission_does_not_see_it(inside: Callable[..., Any]) -> None:
    found = inside("""
import os
found = []
for folder, folders, _ in os.walk("/"):
    folders[:] = [f for f in folders if folder.count("/") < 4 and f != "proc"]
    try:
        open(os.path.join(folder, "was_here"), "w").close()
        found.append(folder)
    except OSError:
        pass
""")
    assert sorted(found) == ["/dev/shm", "/tmp"]
    assert inside("import os\nfound = os.listdir('/tmp') + os.listdir('/dev/shm')") == []


@needs_bubblewrap
def test_no_right_is_left_and_none_can_be_had(inside: Callable[..., Any]) -> None:
    found = inside("""
import ctypes, os
libc = ctypes.CDLL(None)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().split("\\n") if ":" in line)
found = [int(status[k], 16) for k in ("CapEff", "CapPrm", "CapInh", "CapAmb")] + [status["NoNewPrivs"].strip()]
found += [libc.unshare(flag) for flag in (0x10000000, 0x20000)] + [libc.umount2(b"/tmp", 2)]
found += [os.getuid() != 0]
""")
    assert found == [0, 0, 0, 0, "1", -1, -1, -1, True]


@needs_bubblewrap
def test_other_processes_and_other_peoples_secrets_are_not_seen(
    inside: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = inside("import os\nfound = [[p for p in os.listdir('/proc') if p.isdigit()], sorted(os.environ)]")
    assert found[0] == ["1"]
    assert set(found[1]) <= {*grading._environment(False), "PWD", "LC_CTYPE"}


@needs_bubblewrap
def test_memory_holds_nothing_of_the_submission_before(inside: Callable[..., Any]) -> None:
    inside("MARK" + "ER = 'COPY_ME_4711' * 1000\nfound = 1")
    search = """
import re
found = 0
for line in open("/proc/self/maps"):
    ends, rights = line.split()[:2]
    first, last = (int(x, 16) for x in ends.split("-"))
    if rights.startswith("rw") and last - first < 1 << 28:
        with open("/proc/self/mem", "rb") as memory:
            memory.seek(first)
            try:
                found += len(re.findall(b"COPY_M[E]_4711", memory.read(last - first)))
            except OSError:
                pass
"""
    assert inside("x = 'COPY_ME_4711' * 1000" + search) >= 1000  # it would be found
    assert inside(search) == 0


@needs_bubblewrap
def test_children_are_counted_and_end_with_the_submission(inside: Callable[..., Any]) -> None:
    found = inside("""
import os, time
found = 0
for _ in range(200):
    try:
        if os.fork() == 0:
            os.setsid()
            while True:
                time.sleep(1)
        found += 1
    except BlockingIOError:
        break
""")
    assert 1 <= found <= sandbox.LIMITS.processes
    assert inside("import os\nfound = [p for p in os.listdir('/proc') if p.isdigit()]") == ["1"]
    assert _kin(os.getpid()) <= 8  # bubblewrap's own and the interpreter that forks


def _kin(pid: int) -> int:
    """Number of descendants of a process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    found, new = set[int](), {pid}
    while new := {p for p, above in parents.items() if above in new} - found:
        found |= new
    return len(found)


@needs_bubblewrap
@pytest.mark.parametrize("code, status", [
    ("import time\nwhile True: time.sleep(1)", "timeout"),
    ("while True: pass", "timeout"),
    ("import mmap, os, time\nfor _ in range(8):\n    if not os.fork():\n        x = bytearray(300 << 20)\n"
     "        time.sleep(60)\ntime.sleep(60)", "memory"),
    ("import torch\nfound = torch.zeros(10**9)", "memory"),
    ("found = open('/tmp/x', 'wb').write(bytes(5 << 20))", "error"),
    ("import torch\nfound = torch.zeros(2 * 10**6)", "output"),
    ("import os\nos._exit(0)", "ended"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\nimport ctypes\nctypes.string_at(0)", "ended"),
    ("import os\nos.close(3)\nfound = 1", "ended"),
], ids=lambda v: v if " " not in v else "")  # fmt: skip
def test_each_limit_holds_and_says_which(
    box: grading.Sandbox, code: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if status == "timeout":
        monkeypatch.setattr(box, "limits", SHORT)
    came = _answer(box, code + "\ncheck('', found)")
    assert came["status"] == status, came
    assert came["message"]


# --------------------------------------------------------------------------------------------- marks that were earned
def _lessons() -> list[str]:
    return sorted(
        {
            editions.number(n)
            for n in NAMES
            if list((ROOT / "notebooks" / "solutions").glob(f"{editions.number(n)}_*.ipynb"))
        }
    )


@needs_bubblewrap
@pytest.mark.parametrize("lesson", _lessons())
def test_a_solved_lesson_gets_all_marks_and_a_fresh_one_none(box: grading.Sandbox, lesson: str) -> None:
    (solved,), (fresh,) = ((ROOT / "notebooks" / d).glob(f"{lesson}_*.ipynb") for d in ("solutions", "."))
    result = _marked(box, solved.read_bytes(), lesson)
    assert result["total"] == result["of"] == len(checks.exercises(lesson)), result["exercises"]
    result = _marked(box, fresh.read_bytes(), lesson)
    assert result["total"] == 0 and result["status"] == "ok"
    assert {e["status"] for e in result["exercises"].values()} == {"unsolved"}


@pytest.mark.parametrize("name", NAMES)
def test_the_marks_are_those_of_the_instant_check_for_every_right_and_wrong_answer(name: str) -> None:
    module = checks.load(name)
    _, cases, right = grading.drawn(name, "content", b"secret")
    for answer, fragment in [*((a, None) for a in module.RIGHT), *module.WRONG]:
        travelled = sandbox.unpack(sandbox.pack(judging.answers(module, answer, cases)))
        entry = grading.mark(name, cases, right, {"status": "answered", "message": "", "answers": travelled})
        if fragment is None:
            assert entry["marks"] == entry["of"] and entry["status"] == "ok" and all(entry["properties"].values())
        else:
            assert entry["marks"] < entry["of"] and entry["status"] == "wrong" and fragment in entry["verdict"]
            assert not all(entry["properties"].values())


@needs_bubblewrap
@pytest.mark.parametrize("body, marks, status", [
    ("return torch.where(known, value, x) if len(x) == 8 else x", 0.5, "wrong"),
    ("return torch.where(known, value, x) if len(x) == 8 else x.no_such_thing", 0.5, "error"),
    ("return torch.where(known, value, x) if len(x) == 8 else None", 0.5, "error"),
    ("return torch.zeros(3)", 0.0, "wrong"),
    ("return 'x' * 300_000", 0.0, "wrong"),
    ("return torch.zeros(300_000)", 0.0, "wrong"),
    ("return {'a': [1, 2]}", 0.0, "wrong"),
    ("raise SystemExit", 0.0, "error"),
    ("raise KeyboardInterrupt", 0.0, "ended"),
    ("return torch.where(known, value, x).numpy()", 1.0, "ok"),
    ("return torch.where(known, value, x).tolist()", 1.0, "ok"),
])  # fmt: skip
def test_a_half_right_answer_gets_half(box: grading.Sandbox, body: str, marks: float, status: str) -> None:
    cell = f"import torch\n{CHECK}def pin_entries(x, known, value):\n    {body}\ncheck('00.pin', pin_entries)"
    entry = _marked(box, _notebook([cell]), "00")["exercises"]["00.pin"]
    assert (entry["marks"], entry["status"]) == (marks, status), entry
    assert status == "ok" or entry["verdict"]


def test_an_answer_that_ignores_its_input_gets_nothing() -> None:
    _, cases, right = grading.drawn("00.reached", "content", b"secret")
    assert True in right and False in right
    came = {"status": "answered", "message": "", "answers": [True] * len(cases)}
    entry = grading.mark("00.reached", cases, right, came)
    assert entry["marks"] == 0 and entry["form"]


ODD: list[Any] = [
    [np.zeros(3), np.ones(3)], [np.zeros(3), np.zeros((2, 2))], [1.0, [2.0, [np.zeros(2)]]], {}, {"a": np.zeros(2)}, [],
    "x", "abc", float("nan"), 1j, True, np.array("a"), np.zeros(0), np.array(["a", "b"]), [None, [None]], [[[]]],
    10**400, np.zeros((1,) * 16), {"a": {"b": [np.zeros(2), "x"]}}, np.array([1 + 1j]), -1, [{}, {}],
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_may_be_anything_and_costs_at_most_its_own_mark(name: str) -> None:
    _, cases, right = grading.drawn(name, "content", b"secret")
    for odd in ODD:
        for answers in ([odd] * len(cases), [odd, *right[1:]], [*right[:-1], (odd, odd)]):
            came = {"status": "answered", "message": "", "answers": answers}
            entry = grading.mark(name, cases, right, came)
            assert 0 <= entry["marks"] <= entry["of"] and json.dumps(entry)
            assert entry["status"] == "wrong" or entry["marks"] == 1 and entry["status"] == "ok", entry


@needs_bubblewrap
@pytest.mark.parametrize("field, value", [
    ("status", "np.array(['error'])"), ("status", "np.array(['a', 'b'])"), ("status", "['answered']"), ("status", "{}"),
    ("status", "None"), ("message", "np.zeros(3)"), ("message", "'\\ud800'"), ("answers", "np.zeros((3, 2))"),
    ("answers", "{'a': 1}"), ("answers", "[None] * 3"), ("answers", "'abc'"), ("extra", "np.zeros(9)"),
])  # fmt: skip
def test_a_forged_reply_costs_only_its_mark(box: grading.Sandbox, field: str, value: str) -> None:
    reply = f"{{'status': 'error', 'message': 'x', 'answers': [None] * 3}} | {{{field!r}: {value}}}"
    lines = "import os\nimport numpy as np\nfrom diffrl_lab.classroom import sandbox\n"
    forged = f"{lines}os.write(3, sandbox.pack({reply}))"
    other = CHECK + "check('01.x0_from_eps', lambda x_t, eps_hat, alpha, sigma: (x_t - sigma * eps_hat) / alpha)"
    cell = CHECK + f"def betas(alpha):\n    exec({forged!r})\n    os._exit(0)\ncheck('01.betas', betas)"
    entry = _entry(box, [other, cell])
    assert json.dumps(entry) and entry["marks"] == 0 and entry["status"] in ("error", "ended"), entry
    assert _entry(box, [other, cell], "01.x0_from_eps")["marks"] == 1.0


def test_parts_that_are_right_apart_and_wrong_together_do_not_make_full_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = checks.load("00.pin")
    monkeypatch.setattr(module, "PROPERTIES", {"part": lambda c, a: True}, raising=False)
    _, cases, right = grading.drawn("00.pin", "content", b"secret")
    came = {"status": "answered", "message": "", "answers": [x * 0 for x in right]}
    assert grading.mark("00.pin", cases, right, came)["marks"] == 0.5


@needs_bubblewrap
@pytest.mark.parametrize("cells, status", [
    ([CHECK + "def betas(alpha):\n    return GOOD(alpha)\ncheck('01.betas', betas)",
      "import torch\ndef GOOD(alpha):\n    return -torch.expm1(2 * torch.log(alpha).diff())"], "ok"),  # a helper, later
    (["def mine(alpha):\n    return 1 - (alpha[1:] / alpha[:-1])**2", CHECK + "check('01.betas', mine)"], "ok"),
    (["def betas(alpha):\n    return 1 - (alpha[1:] / alpha[:-1])**2"], "ok"),  # the check was deleted
    (["%%time\n!ls\n" + CHECK + "check('01.betas', lambda alpha: 1 - (alpha[1:] / alpha[:-1])**2)"], "ok"),
    ([CHECK + "1/0\ndef betas(alpha):\n    return 1 - (alpha[1:] / alpha[:-1])**2\ncheck('01.betas', betas)"], "ok"),
    (["raise SystemExit", "import os\nos._exit(0)", "while True: pass",
      CHECK + "check('01.betas', lambda alpha: 1 - (alpha[1:] / alpha[:-1])**2)"], "ok"),  # cells that ask nothing
    ([CHECK + "def draw(r): return (\ncheck('01.draw', draw)",
      CHECK + "check('01.betas', lambda alpha: 1 - (alpha[1:] / alpha[:-1])**2)"], "ok"),  # another one's slip
    ([CHECK + "def betas(alpha)\n    return 1\ncheck(\"01.betas\", betas)"], "error"),
    ([CHECK + "check('01.betas', betes)"], "error"),
    ([CHECK + "check('01.draw', 1)"], "missing"),
    (["# nothing"], "missing"),
])  # fmt: skip
def test_the_cell_that_asks_is_found_and_what_it_needs_is_run(
    box: grading.Sandbox, cells: list[str], status: str
) -> None:
    entry = _marked(box, _notebook(cells))["exercises"]["01.betas"]
    assert entry["status"] == status, entry
    assert entry["marks"] == float(status == "ok")


BETAS = CHECK + "def betas(alpha):\n    ab = sq(alpha)\n    return 1 - ab[1:] / ab[:-1]\n"
ASK = "check('01.betas', betas)"


@needs_bubblewrap
@pytest.mark.parametrize("cells", [
    ["sq = lambda a: a**2"],
    ["import torch\nT = torch.Tensor\nsq = torch.square"],
    ["from functools import partial\nimport torch\nsq = partial(torch.pow, exponent=2)"],
    ["TWO = 1 + 1", "def sq(a):\n    return a**TWO"],
    ["import math\nTWO = math.sqrt(4)\ndef sq(a): return a**TWO"],
    ["class Sq:\n    def __call__(self, a): return a**self.p\nsq = Sq()", "sq.p = 2"],
    ["try:\n    from torch import square as sq\nexcept ImportError:\n    pass"],
    ["if True:\n    def sq(a): return a**2\nelse:\n    sq = None"],
    ["powers = []\nfor k in range(5):\n    powers.append(lambda a, k=k: a**k)", "def sq(a): return powers[2](a)"],
    ["def fill(t):\n    t['sq'] = lambda a: a**2", "table = {}\nfill(table)", "sq = table['sq']"],
    ["def prepare():\n    global sq\n    sq = lambda a: a**2", "prepare()"],
    ["a, *rest = 1, 2\nwith open('/dev/null') as f:\n    two = rest[0]", "sq = lambda a: a**two"],
    ["%time sq = lambda a: a**2"],
    ["%%time\nsq = lambda a: a**2"],
    ["files = !ls\nn = len(files)\nsq = lambda a: a**2 + 0*n\nsq?"],
    ["\ufeffsq = lambda a: a**2\n%timeit sq(3)\n%matplotlib inline"],
    ["def sq(a):\n    display(a)\n    return a**2"],
    ["sq = 1/0", "sq = lambda a: a**2"],
    ["sq = lambda a: a**2\nwhile sq: pass"],  # an endless loop beside it
    ["sq = lambda a: a**2", BETAS + ASK, "sq = lambda a: a"],  # of another exercise, later
    ["sq = lambda a: a**2", BETAS + ASK, "sq = None\nfor name in ('01.betas', '01.draw'):\n    print(name)"],
], ids=lambda cells: cells[0].split("\n")[0])  # fmt: skip
def test_a_helper_in_another_cell_counts_however_it_is_made(box: grading.Sandbox, cells: list[str]) -> None:
    asked = [] if BETAS + ASK in cells else [BETAS, ASK]
    entry = _entry(box, [*cells, *asked])
    assert (entry["status"], entry["marks"]) == ("ok", 1.0), entry


@needs_bubblewrap
@pytest.mark.parametrize("ask", [
    "from diffrl_lab.course import check as mine\nverdict = mine('01.betas', betas)\nverdict.ok",
    "import diffrl_lab.course as c\nc.check(answer=betas, exercise='01.betas')",
    "for name, f in {'01.betas': betas}.items():\n    check(name, f)",
    "from diffrl_lab.course.checks import check\nassert check('01.betas', betas)",
    "def betas(alpha): return 0*alpha\nhint('01.betas')\n" + BETAS + ASK,
])  # fmt: skip
def test_whatever_a_cell_calls_check_it_asks(box: grading.Sandbox, ask: str) -> None:
    entry = _entry(box, ["sq = lambda a: a**2", BETAS, ask])
    assert (entry["status"], entry["marks"]) == ("ok", 1.0), entry


@needs_bubblewrap
def test_what_went_wrong_in_a_cell_that_the_answer_needs_is_said(
    box: grading.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box, "limits", SHORT)
    for cell, said in (
        ("sq = seven", "cell 1 of code, which your answer needs, raised NameError: name 'seven'"),
        ("import time\ntime.sleep(99)\nsq = time.sleep(99)", "which your answer needs, took too long"),
    ):
        entry = _entry(box, [cell, BETAS, ASK])
        assert entry["status"] == "error" and said in entry["verdict"], entry


def _chosen(cells: list[str], exercise: str) -> list[str]:
    """The statements of other cells that are run for an answer."""
    own = {n for n, c in enumerate(cells) if sandbox._speaks(sandbox.parsed(c), exercise)}
    steps = [sandbox.Step.of(n, s, "") for n, c in enumerate(cells) for s in sandbox.parsed(c).body]
    return [ast.unparse(s.node) for s in sandbox.chosen(steps, own, "") if s.cell not in own]


@pytest.mark.parametrize("name", NAMES)
def test_of_a_solved_lesson_no_training_and_no_picture_is_run_for_an_answer(name: str) -> None:
    for path in (ROOT / "notebooks" / "solutions").glob(f"{editions.number(name)}_*.ipynb"):
        for text in _chosen(sandbox.cells(path.read_bytes()), name):
            assert text.startswith(("import ", "from ", "torch.set_")), text


def test_parameters_and_types_lead_nowhere() -> None:
    cells = [
        "x = train()",
        "T = heavy()",
        "def f(x: T) -> T:\n    y = [T for T in x]\n    return y",
        "check('01.f', f)",
    ]
    assert [t.split("\n")[0] for t in _chosen(cells, "01.f")] == ["def f(x: T) -> T:"]
    assert "x = train()" in _chosen([*cells[:2], "def f():\n    return x", cells[3]], "01.f")


@pytest.mark.parametrize("text, python", [
    ("torch.linspace?\nx = 1", "pass\nx = 1"), ("?torch.linspace", "pass"), ("torch.linspace??", "pass"),
    ("files = !ls\nx = (a\n  % b)", "files = []\nx = a % b"), ("!ls\nx = 1", "pass\nx = 1"), ("!!ls", "pass"),
    ("%timeit f(x)\nx = 1", "pass\nx = 1"), ("y = %time f(x)", "y = f(x)"), ("%time y = f(x)", "y = f(x)"),
    ("for i in x:\n    !ls\n    %time y = i", "for i in x:\n    pass\n    y = i"), ("%%bash\nls a b", "pass"),
    ("%%time\n!ls\nx = 1", "pass\nx = 1"), ("\n%%capture out\n%%time\nx = 1", "x = 1"),
    ("\ufeffx = 1", "x = 1"),
    ('s = """\n%time\n!ls\n"""\n%pwd', "s = '\\n%time\\n!ls\\n'\npass"), (">>> x = 1", "x = 1"),
])  # fmt: skip
def test_text_that_jupyter_takes_is_a_cell(text: str, python: str) -> None:
    assert ast.unparse(sandbox.parsed(text)) == python


def test_a_cell_of_nothing_but_magics_and_one_that_is_no_python_are_a_syntax_error() -> None:
    for text in ("%pwd\n" * 1000 + "x = 1", "def f(:", "!ls\ndef f(:"):
        with pytest.raises(SyntaxError):
            sandbox.parsed(text)


def test_inputs_depend_on_content_and_secret_alone() -> None:
    seeds = [grading.drawn("01.betas", *about)[0] for about in ((s, k) for s in "ab" for k in (b"x", b"y"))]
    assert len(set(seeds)) == 4
    assert grading.drawn("01.betas", "a", b"x")[0] == seeds[0]


def test_inputs_that_our_own_answer_fails_on_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    module = checks.load("01.betas")
    first = grading.drawn("01.betas", "a", b"x")[0]
    cases, judge, bad = module.cases, module.judge, []

    def watched(seed: int) -> list[dict[str, Any]]:
        bad[:] = [seed == first]
        return cases(seed)

    monkeypatch.setattr(module, "cases", watched)
    monkeypatch.setattr(module, "judge", lambda c, a: judging.Verdict(False, "") if bad[0] else judge(c, a))
    assert grading.drawn("01.betas", "a", b"x")[0] != first


@pytest.mark.parametrize("name", NAMES)
def test_how_an_exercise_is_asked_gives_no_answer_away(name: str) -> None:
    module = checks.load(name)
    text = grading.asking(module)
    for word in ("judge", "RIGHT", "WRONG", "HINTS", "Verdict(", "def right", "PROPERTIES"):
        assert word not in text
    if hasattr(module, "ask"):
        made: dict[str, Any] = {"__name__": "ask"}
        exec(text, made)
        _, cases, right = grading.drawn(name, "content", b"secret")
        for case, wanted in zip(cases, right, strict=True):
            np.testing.assert_allclose(judging.one(made["ask"], module.RIGHT[0], case), wanted)


def test_an_exercise_that_asks_with_its_answer_is_refused(tmp_path: Path) -> None:
    path = _put(tmp_path / "leak.py", b"def right(x):\n    return x\ndef ask(answer, case):\n    return right(case)\n")
    leak = type(checks)("leak")
    exec(compile(path.read_text(), str(path), "exec"), leak.__dict__)
    leak.__file__, leak.RIGHT, leak.WRONG = str(path), [leak.right], []
    with pytest.raises(ValueError, match="ask needs right"):
        grading.asking(leak)


# ---------------------------------------------------------------------------------------------------- what comes back
def test_plain_values_travel_unchanged() -> None:
    value = [np.arange(6.0).reshape(2, 3).T, True, None, 3, 2.5, "x", {"a": [np.float32(1)]}, 1j, np.array(["a", "bc"])]
    came = sandbox.unpack(sandbox.pack(value))
    assert came[1:6] == value[1:6] and came[7] == 1j
    np.testing.assert_array_equal(came[0], value[0])
    np.testing.assert_array_equal(came[8], value[8])
    assert came[6]["a"][0] == 1 and came[6]["a"][0].dtype == np.float32
    assert np.isnan(sandbox.unpack(sandbox.pack([float("nan")]))[0])


def _npz(compressed: bool = False, **members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return out.getvalue()


def _npy(header: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body


def _text(value: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.frombuffer(json.dumps(value).encode(), np.uint8))
    return out.getvalue()


class _Boom:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("UNPICKLED",)


@pytest.mark.parametrize("raw", [
    b"", b"PK", pickle.dumps(_Boom()), _npz(arr_0=pickle.dumps(_Boom())),
    _npz(arr_0=_npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps([_Boom()]))),
    _npz(arr_0=_text({"array": 1}), arr_1=_npy("{'descr': '|O', 'fortran_order': False, 'shape': ()}",
                                              pickle.dumps([_Boom()]))),
    _npz(arr_0=_text({"array": 1}), arr_1=_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}")),
    _npz(arr_0=_text({"array": 1}), arr_1=_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", bytes(8))),
    _npz(arr_0=_text({"array": 1}), arr_1=_npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': ()}",
                                              bytes(8))),
    _npz(arr_0=_text({"array": 1}), arr_1=_npy("(" * 5000)),
    _npz(compressed=True, arr_0=_text("x" * 500_000)),
    _npz(arr_0=_text({"array": 7})), _npz(arr_0=_text({"array": "../x"})), _npz(arr_0=_text({"else": 1})),
    _npz(arr_0=_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (100000,)}", b"[" * 100_000)),
    _npz(arr_0=_text("x" * (sandbox.WHOLE + 1))), _npz(other=_text(1)),
], ids=range(17))  # fmt: skip
def test_bytes_that_are_no_plain_answer_are_refused_and_nothing_else_happens(
    raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="unreadable"):
        sandbox.unpack(raw)
    assert not list(tmp_path.iterdir())


def test_damaged_bytes_are_read_or_refused() -> None:
    whole, rng = sandbox.pack([np.arange(5.0), {"a": "b"}]), random.Random(0)
    refused = 0
    for _ in range(500):
        raw = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        try:
            sandbox.unpack(bytes(raw[: rng.choice((len(raw), rng.randrange(len(raw))))]))
        except ValueError:
            refused += 1
    assert refused > 250


# ------------------------------------------------------------------------------------------------------------ the batch
@needs_bubblewrap
def test_no_hostile_submission_harms_or_stops_the_batch(tmp_path: Path) -> None:
    slow = {"allocates 8 GB in children", "loops", "sleeps", "forks without end", "prints 1 GB", "has 10,000 cells"}
    wanted = {k: v for k, (_, v) in batch.HOSTILE.items()} | {k: v for k, (_, v) in batch.odd().items()}
    _hostile(tmp_path, wanted.keys() - slow)


@needs_bubblewrap
@pytest.mark.slow
def test_no_hostile_submission_of_any_kind_harms_or_stops_the_batch(tmp_path: Path) -> None:
    _hostile(tmp_path, {*batch.HOSTILE, *batch.odd()})


def _hostile(tmp_path: Path, kinds: set[str]) -> None:
    outside = batch.outside(tmp_path)
    before = {p for p in outside if Path(p, "WAS_HERE").exists()}
    batch.hostile(tmp_path / "in", outside, kinds)
    batch.honest(tmp_path / "in", 1)
    results = grading.grade(tmp_path / "in", tmp_path / "out", workers=2)
    assert {r["student"] for r in results} == {*kinds, "honest 00"}
    most = float(len(checks.exercises("01")))
    for r in results:
        kind, entry = r["student"], r["exercises"]["01.betas"]
        if kind in batch.HOSTILE:
            status = batch.HOSTILE[kind][1]
            assert (entry["status"], r["total"]) == (status, most if status == "ok" else most - 1), (kind, r)
        elif kind in kinds:
            assert r["status"] == batch.odd()[kind][1], (kind, r)
            right = kind in ("has 10,000 cells", "loops in a cell that asks nothing")
            assert r["total"] == (most if right else 0.0), r
        else:
            assert r["total"] == most
        assert r["of"] == most
    assert {p for p in outside if Path(p, "WAS_HERE").exists()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


@needs_bubblewrap
def test_an_interrupted_grading_goes_on_and_marks_stay_the_same(tmp_path: Path) -> None:
    batch.honest(tmp_path / "in", 2)
    _put(tmp_path / "in" / "zoe" / "01_ddpm.ipynb", b"{")
    told: list[str] = []

    def stop(line: str) -> None:
        told.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grading.grade(tmp_path / "in", tmp_path / "out", workers=1, tell=stop)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "submissions").glob("*.json")}
    assert len(kept) == len(told) == 1 and not (tmp_path / "out" / "grades.json").exists()
    done = grading.grade(tmp_path / "in", tmp_path / "out", workers=1)
    assert [r["student"] for r in done] == ["honest 00", "honest 01", "zoe"]
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    assert json.loads((tmp_path / "out" / "grades.json").read_text()) == done
    anew = grading.grade(tmp_path / "in", tmp_path / "out", workers=1, again=True)
    assert [_still(r) for r in anew] == [_still(r) for r in done]
    assert not list((tmp_path / "out").rglob("*.part"))


def _still(result: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in result.items() if k != "seconds"}


@needs_bubblewrap
def test_the_command_grades_each_again_only_when_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(tmp_path / "in" / "ann" / "01_ddpm.ipynb", b"")
    _put(tmp_path / "in" / "bob" / "01_ddpm.ipynb", b"[]")
    command = ["course", "grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--workers", "1"]
    ran = CliRunner().invoke(cli.app, command)
    assert (
        ran.exit_code == 0 and "2 submissions" in ran.output and f"0.00 of {len(checks.exercises('01'))}" in ran.output
    ), ran.output
    kept = {p: p.read_text() for p in (tmp_path / "out" / "submissions").iterdir()}
    next(iter(kept)).write_text("{ broken")
    monkeypatch.setattr(grading, "grader", lambda lesson: "another")
    assert CliRunner().invoke(cli.app, command).exit_code == 0
    for path, text in kept.items():
        assert json.loads(path.read_text()) == json.loads(text) | {
            "grader": "another",
            "seconds": json.loads(path.read_text())["seconds"],
        }


def test_files_are_read_as_submissions_and_links_and_devices_are_not(tmp_path: Path) -> None:
    _put(tmp_path / "ann" / "hw" / "01_ddpm.ipynb", b"one")
    _put(tmp_path / "ann" / "hw" / "01_ddpm (late).ipynb", b"two")
    _put(tmp_path / "ann" / ".ipynb_checkpoints" / "01_ddpm.ipynb", b"no")
    _put(tmp_path / "bob_02_samplers.ipynb", b"")
    _put(tmp_path / "answer.ipynb", rb"'check(\"04.pin\")', 'check(\"04.windows\")', 'check(\"01.draw\")'")
    _put(tmp_path / "eve" / "notes.txt", b"hello")
    (tmp_path / "eve" / "01_ddpm.ipynb").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "eve" / "02_samplers.ipynb")
    with open(tmp_path / "eve" / "04_large.ipynb", "wb") as file:
        file.truncate(grading.LARGEST + 1)
    found = [grading.read(tmp_path, s, p) for s, p in grading.submissions(tmp_path)]
    assert [(s.student, s.lesson, s.content if s.content is None else len(s.content)) for s in found] == [
        ("answer", "04", 66), ("bob", "02", 0), ("ann", "01", 3), ("ann", "01", 3),
        ("eve", "01", None), ("eve", "02", None), ("eve", "04", None), ("eve", None, 5),
    ]  # fmt: skip
    assert len({s.key for s in found}) == len(found)
    refused = grading.graded(found[4], b"secret", grading.Sandbox())
    assert refused["status"] == "refused" and refused["sha256"] is None and refused["of"] > 0 == refused["total"]


NFC, NFD = "Jos\u00e9", "Jose\u0301"


@pytest.mark.parametrize("files, students", [
    (["anna_01_ddpm.ipynb", "anna_01_ddpm (1).ipynb", "anna_01_ddpm-Copy1.ipynb", "anna_01_ddpm - Copy (2).ipynb",
      "anna_01_ddpm_v2.ipynb", "anna_02_samplers copy.ipynb", "anna_01_ddpm.ipynb.txt"], ["anna"]),
    (["team_07_ada_01_ddpm.ipynb", "team_07_bob_01_ddpm.ipynb"], ["team_07_ada", "team_07_bob"]),
    (["anna/01_ddpm.ipynb", "anna (1)/01_ddpm.ipynb", "anna-Copy1/02.ipynb"], ["anna"]),
    (["group (1)/01_ddpm.ipynb", "group (2)/01_ddpm.ipynb"], ["group (1)", "group (2)"]),  # no `group` to be copies of
    ([f"{NFC}/01_ddpm.ipynb", f"{NFD}/02_samplers.ipynb", f"{NFD}_03_mdps.ipynb"], [NFC]),
    (["lovelaceada_17_4711_01_ddpm.ipynb", "lovelaceada_LATE_17_4712_01_ddpm-1.ipynb", "lovelaceada_17_5_q.txt"],
     ["lovelaceada"]),
    (["smithjohn_17_4711_01_ddpm.ipynb", "smithjohn_18_4712_02_samplers.ipynb"], ["smithjohn (17)", "smithjohn (18)"]),
    (["anon_aB3x9_4711_01_ddpm.ipynb", "anon_Zz3x9_4712_01_ddpm.ipynb"], ["anon (Zz3x9)", "anon (aB3x9)"]),
    (["Ada Lovelace_91_assignsubmission_file_/01_ddpm.ipynb", "Ada Lovelace_91_assignsubmission_onlinetext_/o.html",
      "week 2/Ada Lovelace_5_assignsubmission_file_/02_samplers.ipynb",
      "Ada Lovelace_91_assignsubmission_file_01_ddpm.ipynb"], ["Ada Lovelace"]),
    (["Li Wei_1_assignsubmission_file_/01_ddpm.ipynb", "Li Wei_2_assignsubmission_file_/01_ddpm.ipynb"],
     ["Li Wei (1)", "Li Wei (2)"]),
    (["ann/01_ddpm.ipynb", "roster.csv", "key.json", ".DS_Store", "ann/.ipynb_checkpoints/01_ddpm.ipynb"], ["ann"]),
    (["Ann  Lee /01_ddpm.ipynb", "Ann Lee_02_samplers.ipynb"], ["Ann Lee"]),
])  # fmt: skip
def test_one_student_stays_one(files: list[str], students: list[str], tmp_path: Path) -> None:
    for name in files:
        _put(tmp_path / "in" / name, b"{}")
    assert sorted({s for s, _ in grading.submissions(tmp_path / "in")}) == students
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as held:  # the same, as it is downloaded
        for name in files:
            held.writestr(name, b"{}")
    _put(tmp_path / "zipped" / "all.zip", (tmp_path / "all.zip").read_bytes())
    for folder in (tmp_path / "all.zip", tmp_path / "zipped"):
        if not any(f.startswith("team") for f in files):
            found = grading.submissions(folder)
            assert sorted({s for s, _ in found}) == students
            assert {grading.read(folder, s, p).content for s, p in found} == {b"{}"}


@pytest.mark.parametrize("name, member, student", [
    ("anna.zip", "01_ddpm.ipynb", "anna"), ("anna.zip", "homework/01_ddpm.ipynb", "anna"),
    ("anna_01_ddpm.zip", "x/y.ipynb", "anna"), ("anna/hw.zip", "deep/er/01_ddpm.ipynb", "anna"),
    ("week1.zip", "bob_01_ddpm.ipynb", "bob"), ("lovelaceada_17_4711_hw.zip", "x.ipynb", "lovelaceada"),
    ("Ada Lovelace_91_assignsubmission_file_/hw.zip", "01_ddpm.ipynb", "Ada Lovelace"),
])  # fmt: skip
def test_a_zip_is_a_folder(name: str, member: str, student: str, tmp_path: Path) -> None:
    path = _put(tmp_path / name, b"")
    with zipfile.ZipFile(path, "w") as held:
        held.writestr(zipfile.ZipInfo(member, (2026, 11, 20, 12, 0, 0)), b"[]", zipfile.ZIP_DEFLATED)
        held.writestr("__MACOSX/._x.ipynb", b"")
    ((who, inner),) = grading.submissions(tmp_path)
    made = grading.read(tmp_path, who, inner)
    assert (who, made.content, made.file) == (student, b"[]", f"{name}/{member}")
    local = datetime.datetime(2026, 11, 20, 12).astimezone().astimezone(datetime.UTC)
    assert made.received == local.isoformat()


def test_hostile_zips_are_refused_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "LARGEST", 1000)
    link = zipfile.ZipInfo("eve/link.ipynb")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(_put(tmp_path / "in" / "all.zip", b""), "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr("bob/01_ddpm.ipynb", b" " * 10_000_000)
        held.writestr("../../eve/01_ddpm.ipynb", b"[]")
        held.writestr(link, "/etc/passwd")
        held.writestr("zed/01_ddpm.ipynb", b"{}")
    _put(tmp_path / "in" / "broken.zip", b"PK\5\6" + bytes(18))
    found = {s: grading.read(tmp_path / "in", s, p) for s, p in grading.submissions(tmp_path / "in")}
    assert found["bob"].content is None and found["zed"].content == b"{}" and found["eve"].content is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_names_that_are_no_utf_8_are_read_and_travel(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/J\xe9r\xf4me_01_ddpm.ipynb"
    with open(raw, "wb") as file:
        file.write(b"{}")
    ((student, path),) = grading.submissions(tmp_path)
    made = grading.read(tmp_path, student, path)
    assert student == "J\u00e9r\u00f4me" and made.content == b"{}" and made.key
    assert (tmp_path / json.loads(json.dumps(made.file))).is_file()


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    folder, told = tmp_path / "in", list[str]()
    _put(folder / "ann" / "01_ddpm.ipynb", b"{}")
    _put(folder / "ann" / ".hidden", b"")
    _put(folder / "roster.csv", b"student")
    _put(folder / "graded" / "grades.json", b"[]")
    for old in ("earlier", "graded"):
        _put(folder / old / "secret", b"x")
        _put(folder / old / "submissions" / "ann-01.json", b"{}")
    _put(tmp_path / "elsewhere" / "zoe" / "01_ddpm.ipynb", b"{}")
    (folder / "zoe").symlink_to(tmp_path / "elsewhere" / "zoe")
    (folder / "ann_old").symlink_to(folder / "ann")
    found = grading.submissions(folder, folder / "graded", told.append)
    assert sorted({s for s, _ in found}) == ["ann", "zoe"]
    zoe = next(grading.read(folder, s, p) for s, p in found if s == "zoe")
    assert zoe.content is None and grading.graded(zoe, b"secret", grading.Sandbox())["status"] == "refused"
    for said in ("roster.csv is no notebook", "earlier holds results", "graded holds results", "1 hidden file",
                 "refused: zoe is a link", "ann_old is a link to ann, which is here anyway"):  # fmt: skip
        assert len([line for line in told if said in line]) == 1, (said, told)


def test_results_among_the_submissions_themselves_are_no_students(tmp_path: Path) -> None:
    _put(tmp_path / "ann" / "01_ddpm.ipynb", b"{")
    for _ in range(2):
        done = grading.grade(tmp_path, tmp_path, trust=True, workers=1)
        assert [r["student"] for r in done] == ["ann"]


@needs_bubblewrap
def test_renamed_students_corrected_times_and_resubmissions_keep_one_row_and_every_mark(tmp_path: Path) -> None:
    folder, out, told = tmp_path / "in", tmp_path / "in" / "graded", list[str]()

    def grades() -> list[tuple[str, float, str]]:
        made = grading.grade(folder, out, workers=1, tell=told.append)
        return [(r["student"], r["total"], r["received"][:10]) for r in made]

    def put(name: str, content: bytes, day: int) -> Path:
        path = _put(folder / name / "01_ddpm.ipynb", content)
        os.utime(path, (86400 * day,) * 2)
        return path

    good = _notebook([CHECK + "check('01.betas', lambda alpha: 1 - (alpha[1:] / alpha[:-1])**2)"])
    put("anan", good, 1)
    assert grades() == [("anan", 1.0, "1970-01-02")]
    put("anan", b"{}", 5)
    assert grades() == [("anan", 1.0, "1970-01-02"), ("anan", 0.0, "1970-01-06")], "late, under the same name"
    (folder / "anan").rename(folder / "anna")
    assert grades() == [("anna", 1.0, "1970-01-02"), ("anna", 0.0, "1970-01-06")] and "renamed: anan" in str(told)
    put("anna", b"{}", 3)
    assert grades() == [("anna", 1.0, "1970-01-02"), ("anna", 0.0, "1970-01-04")], "a time was corrected"
    (folder / "anna" / "01_ddpm.ipynb").unlink()
    put("zoe", good, 1)
    assert grades()[:2] == [("anna", 1.0, "1970-01-02"), ("anna", 0.0, "1970-01-04")]
    assert "not in the folder any more" in told[-1]


def test_a_file_that_goes_while_a_class_is_graded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(tmp_path / "in" / "ann" / "01_ddpm.ipynb", b"{")
    monkeypatch.setattr(grading, "submissions", lambda *_: [("ann", tmp_path / "in" / "ann" / "gone.ipynb")])
    told: list[str] = []
    assert grading.grade(tmp_path / "in", tmp_path / "out", trust=True, workers=1, tell=told.append) == []
    assert "gone.ipynb of ann has gone" in told[0]


def test_what_a_submission_says_is_one_short_line() -> None:
    assert grading._text("a\n\x1b[31mb\x00 " + "c" * 10_000) == "a [31mb " + "c" * 491 + "…"


@pytest.mark.parametrize("platform, found, fragment", [
    ("linux", None, "not installed"), ("darwin", "/usr/bin/bwrap", "needs Linux")
])  # fmt: skip
def test_without_a_sandbox_it_is_refused_unless_trusted(
    platform: str, found: str | None, fragment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grading.sys, "platform", platform)
    monkeypatch.setattr(grading.shutil, "which", lambda name: found)
    _put(tmp_path / "in" / "ann.ipynb", b"x")
    ran = CliRunner().invoke(cli.app, ["course", "grade", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 2 and fragment in ran.output and "--trust-submissions" in ran.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bubblewrap", [pytest.param(True, marks=needs_bubblewrap), False])
def test_a_student_sees_the_marks_that_the_instructor_will_give(
    bubblewrap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not bubblewrap:
        monkeypatch.setattr(grading.shutil, "which", lambda name: None)
    sq = "sq = lambda a: a**2"
    mine = _put(tmp_path / "my" / "01_ddpm.ipynb", _notebook([sq, BETAS + ASK, CHECK + "check('01.floor', 1)"]))
    ran = CliRunner().invoke(cli.app, ["grade", str(mine)])
    assert ran.exit_code == 0, ran.output
    assert re.search(r"01\.betas +1\.00 of 1  solved: ", ran.output)
    assert f"in all               1.00 of {len(checks.exercises('01'))}" in ran.output
    assert "01.draw              0.00 of 1  missing: no cell asks 01.draw" in ran.output
    assert "wrong: " in ran.output and ("without a sandbox" in ran.output) == (not bubblewrap)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["01_ddpm.ipynb", "my"]


@needs_bubblewrap
def test_a_preflight_where_the_sandbox_does_not_come_up_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, told = grading.command, list[str]()
    monkeypatch.setattr(grading, "command", lambda trust: real(True) if trust else ["bwrap", "--no-such-option"])
    mine = _put(tmp_path / "01_ddpm.ipynb", b"{")
    assert grading.preflight(mine, told.append)["status"] == "broken"
    assert "no-such-option" in told[0] and "without a sandbox" in told[0]


def test_a_preflight_of_no_lesson_is_an_error(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "x.ipynb", "there is no notebook"), (_put(tmp_path / "y", b"{}"), "is no lesson")):
        ran = CliRunner().invoke(cli.app, ["grade", str(path)])
        assert ran.exit_code == 2 and said in ran.output


@needs_bubblewrap
def test_a_sandbox_that_does_not_come_up_says_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "command", lambda trust: ["bwrap", "--no-such-option"])
    _put(tmp_path / "in" / "ann" / "01_ddpm.ipynb", b"{}")
    with pytest.raises(ValueError, match="no-such-option"):
        grading.grade(tmp_path / "in", tmp_path / "out")


def test_trusted_submissions_are_marked_alike_without_a_sandbox() -> None:
    good = CHECK + "check('01.betas', lambda alpha: 1 - (alpha[1:] / alpha[:-1])**2)"
    with grading.Sandbox(SHORT, trust=True) as box:
        result = _marked(box, _notebook([good, CHECK + "def draw(*a):\n    while True: pass\ncheck('01.draw', draw)"]))
    assert {n: e["status"] for n, e in result["exercises"].items() if e["status"] != "missing"} == {
        "01.betas": "ok", "01.draw": "timeout"
    }  # fmt: skip


@pytest.mark.parametrize("folder, fragment", [("nowhere", "no folder"), ("empty", "no submissions")])
def test_a_folder_without_submissions_is_an_error(folder: str, fragment: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=fragment):
        grading.submissions(tmp_path / folder)
