"""A batch of one lesson: 30 honest submissions with all exercises, then hostile ones, one row for each kind.

Seconds are wall time in two sandboxes side by side, the starting of interpreters not counted in a kind's own. Wanted:
the honest batch, interpreters included, within 60 s on two cores, full marks for each of them, and for every hostile
one the marks that it earned, no process left, no file outside.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from diffrl_lab.classroom import grading
from diffrl_lab.classroom.sandbox import LIMITS, Limits
from diffrl_lab.course.editions import ROOT

from . import table

LESSON = "01_ddpm"

# What stands in the place of the answer to 01.betas, all other exercises being solved: name -> (code, its status).
HOSTILE = {
    "forges numpy": ("""
    import numpy as np, torch
    np.allclose = np.isclose = np.array_equal = torch.equal = lambda *a, **k: True
    return torch.zeros(len(alpha) - 1)""", "wrong"),
    "an array that equals everything": ("""
    import numpy as np
    class Yes(np.ndarray):
        __eq__ = __ne__ = __le__ = lambda self, other: True
        __array_function__ = __array_ufunc__ = lambda self, *a, **k: True
    return np.zeros(len(alpha) - 1).view(Yes)""", "wrong"),
    "forges the grader": ("""
    import gc, sys, types
    from diffrl_lab.course import checks
    checks.match = checks.verdict = lambda *a, **k: checks.Verdict(True, "right")
    for m in [m for m in gc.get_objects() if isinstance(m, types.ModuleType)]:
        m.judge = m.mark = lambda *a, **k: {"marks": 9, "status": "ok"}
    return alpha[1:] * 0""", "wrong"),
    "reads the solutions": ("""
    import glob, importlib, sys, torch
    found = []
    for name in ("e01_betas", "e01_draw"):
        try:
            found.append(importlib.import_module("diffrl_lab.course.exercises." + name).RIGHT)
        except ImportError:
            pass
    for folder in (OUTSIDE[1], "/lab"):
        for name in ("01_ddpm.*", "e01_*", "lessons.py", "grading.py"):
            found += [open(path).read() for path in glob.glob(f"{folder}/**/{name}", recursive=True)]
    found += [m for name, m in sys.modules.items() if "exercises" in name or "grading" in name]
    return found if found else torch.zeros(len(alpha) - 1)""", "wrong"),
    "writes outside": ("""
    import os
    wrote = []
    for folder in OUTSIDE:
        try:
            open(os.path.join(folder, "WAS_HERE"), "w").write("x")
            wrote.append(folder)
        except OSError:
            pass
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1] if not wrote else wrote""", "ok"),
    "opens sockets": ("""
    import socket
    for address in (("127.0.0.1", 22), ("1.1.1.1", 53)):
        try:
            socket.create_connection(address, 2)
            return "connected"
        except OSError:
            pass
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]""", "ok"),
    "allocates 8 GB": ("""
    import numpy as np
    return np.ones(10**9)""", "memory"),
    "allocates 8 GB in children": ("""
    import os, time
    for _ in range(12):
        if os.fork() == 0:
            block = bytearray(700 << 20)
            time.sleep(60)
    time.sleep(60)""", "memory"),
    "loops": ("""
    while True:
        pass""", "timeout"),
    "sleeps": ("""
    import time
    time.sleep(3600)""", "timeout"),
    "forks without end": ("""
    import os, time
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)""", "timeout"),
    "leaves a daemon": ("""
    import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(0.1)
        os._exit(0)
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]""", "ok"),
    "kills everything": ("""
    import os, signal
    for pid in (-1, 1, os.getppid(), *range(2, 300)):
        try:
            if pid != os.getpid():
                os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]""", "ok"),
    "returns objects": ("""
    import numpy as np
    return np.array([print, {}], dtype=object)""", "error"),
    "returns a pickle": ("""
    import numpy as np, os, pickle
    class Boom:
        def __reduce__(self):
            return os.system, ("touch " + OUTSIDE[0] + "/WAS_HERE",)
    os.write(3, b"\\x93NUMPY" + pickle.dumps(Boom()))
    os._exit(0)""", "ended"),
    "writes its own result": ("""
    import io, json, os
    import numpy as np
    text = json.dumps({"status": "ok", "marks": 5, "message": "right", "answers": [True] * 3}).encode()
    out = io.BytesIO()
    np.savez(out, np.frombuffer(text, np.uint8))
    os.write(3, out.getvalue())
    for fd in range(200):
        try:
            os.write(fd, out.getvalue())
        except OSError:
            pass
    os._exit(0)""", "ended"),
    "returns 100 MB": ("""
    import torch
    return torch.zeros(12_500_000)""", "output"),
    "prints 1 GB": ("""
    line = "x" * (1 << 26)
    for _ in range(16):
        print(line)
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]""", "ok"),
    "fills the disk": ("""
    import os
    try:
        for n in range(10**6):
            open(f"/tmp/{n}", "wb").write(b"x" * (3 << 20))
    except OSError:
        pass
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]""", "ok"),
    "hangs on exit": ("""
    import atexit, threading, time
    atexit.register(time.sleep, 3600)
    threading.Thread(target=time.sleep, args=(3600,)).start()
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]""", "ok"),
    "ends the interpreter": ("""
    import os
    os._exit(0)""", "ended"),
    "crashes": ("""
    import ctypes
    ctypes.string_at(0)""", "ended"),
}  # fmt: skip


def notebook(solved: bool = True, betas: str | None = None, outside: list[str] | None = None) -> dict[str, Any]:
    """Lesson 01, solved or as it is handed out; `betas` replaces the body of the answer to 01.betas."""
    folder = ROOT / "notebooks" / ("solutions" if solved else ".")
    made = json.loads((folder / f"{LESSON}.ipynb").read_text("utf-8"))
    if betas is not None:
        for cell in made["cells"]:
            text = "".join(cell["source"])
            if 'check("01.betas"' in text:
                head = text[: text.index('"""', text.index('"""') + 3) + 3]
                cell["source"] = f'OUTSIDE = {outside!r}\n{head}{betas}\n\n\ncheck("01.betas", betas)\n'
    return made


def odd() -> dict[str, tuple[bytes, str]]:
    """Files that are hostile as a whole, or no notebooks: kind -> (content, status of the submission)."""
    whole = json.dumps(notebook()).encode()
    many = notebook()
    filler = [{"cell_type": "code", "source": f"x{n} = {n}", "metadata": {}, "outputs": []} for n in range(10_000)]
    many["cells"] = many["cells"][:10] + filler + many["cells"][10:]
    top = notebook()
    top["cells"].insert(0, {"cell_type": "code", "source": "while True:\n    pass", "metadata": {}, "outputs": []})
    return {
        "is not a notebook": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, "broken"),
        "is empty": (b"", "empty"),
        "is truncated": (whole[: len(whole) // 2], "broken"),
        "is deeply nested": (b'{"cells": ' + b"[" * 200_000, "broken"),
        "has no cells": (b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "empty"),
        "has 10,000 cells": (json.dumps(many).encode(), "ok"),
        "loops in a cell that asks nothing": (json.dumps(top).encode(), "ok"),
        "is a stub": (json.dumps(notebook(solved=False)).encode(), "ok"),
    }


def honest(folder: Path, students: int) -> None:
    """Write that many solved submissions, one folder for each student."""
    for n in range(students):
        _put(folder / f"honest {n:02d}", json.dumps(notebook()).encode())


def hostile(folder: Path, outside: list[str], kinds: Collection[str] = ()) -> None:
    """Write the hostile ones, or those of some kinds, one folder each; `outside` are where some try to write to."""
    for kind, (code, _) in HOSTILE.items():
        if not kinds or kind in kinds:
            _put(folder / kind, json.dumps(notebook(betas=code, outside=outside)).encode())
    for kind, (content, _) in odd().items():
        if not kinds or kind in kinds:
            _put(folder / kind, content)


def _put(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / f"{LESSON}.ipynb").write_bytes(content)


def outside(here: Path) -> list[str]:
    """Folders that a submission must not write to, `here` first."""
    return [str(here), str(ROOT), os.path.expanduser("~"), "/usr", "/etc", "/dev", "/lab", "/"]


def run(students: int = 30, limits: Limits = LIMITS, workers: int = 2) -> list[dict]:
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        honest(here / "honest", students)
        hostile(here / "hostile", outside(here))
        began = time.monotonic()
        graded = grading.grade(here / "honest", here / "marks", workers=workers, limits=limits)
        rows = [_row(f"{students} honest", graded, time.monotonic() - began)]
        graded = grading.grade(here / "hostile", here / "hostile marks", workers=workers, limits=limits)
        return rows + [_row(result["student"], [result], result["seconds"]) for result in graded]


def _row(kind: str, graded: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    totals = sorted({r["total"] for r in graded})
    betas = sorted({r["exercises"]["01.betas"]["status"] for r in graded if r["exercises"]})
    return {
        "submission": kind,
        "marks of 5": " to ".join(f"{t:g}" for t in dict.fromkeys((totals[0], totals[-1]))),
        "file": ", ".join(sorted({r["status"] for r in graded})),
        "01.betas": ", ".join(betas),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    print(table(run()))
