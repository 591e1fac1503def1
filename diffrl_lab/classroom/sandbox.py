"""Grading, the untrusted side: a submission's cells are run here, and plain answers leave through a pipe.

`grading` starts this module inside bubblewrap. It imports PyTorch and the library once and then forks for every
exercise of every submission: the fork gets namespaces of its own (processes, mounts, IPC), so that when it ends, its
children, daemons and files end with it, and the next submission cannot meet them. Nothing in here knows an expected
answer: of the course only `checks`, `judging`, `progress` and this file are inside, and a case's inputs arrive with the
request.

What is run: the submission's cells that ask the exercise (`check("NN.name", ...)`) as a whole, and of its other cells
the statements that their names lead to, of whatever kind, in the notebook's order (`chosen`); a name that the
submission lacks is taken from our edition's imports, definitions and constants. Each statement may fail. So helpers
count wherever they stand, no training is repeated, and one exercise cannot cost another its marks.

A message, both ways, is two lengths, a JSON header and bytes. Values travel as .npz (`pack`, `unpack`).
"""

from __future__ import annotations

import ast
import ctypes
import dis
import gc
import io
import json
import linecache
import math
import os
import random
import re
import resource
import select
import signal
import struct
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, BinaryIO

import numpy as np

CHECK = "check"
SAFE = b"!"  # the first byte out of a fork: it is shut in, and no line of the submission was run yet
TEXT = 500  # characters that are kept of what a submission says
WHOLE = 1 << 20  # bytes of JSON beside the arrays
MAGICS = 200  # lines of a cell that only IPython understands


@dataclass(frozen=True)
class Limits:
    """What one exercise of one submission may use."""

    cpu: int = 10  # seconds, of each process
    wall: float = 20.0  # seconds, in all
    memory: int = 1 << 30  # bytes beyond the interpreter's, in each process and in all together
    processes: int = 16  # and threads
    file: int = 4 << 20  # bytes of one file
    files: int = 48  # open at a time
    scratch: int = 64 << 20  # bytes of all files
    answer: int = 4 << 20  # bytes that come back


LIMITS = Limits()


# ------------------------------------------------------------------------------------------------------- what travels
def send(stream: BinaryIO, header: dict[str, Any], body: bytes = b"") -> None:
    """Write one message."""
    text = json.dumps(header).encode()
    stream.write(struct.pack(">II", len(text), len(body)) + text + body)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Read one message. Raises EOFError when the other side has gone."""
    text, body = struct.unpack(">II", _exactly(stream, 8))
    return json.loads(_exactly(stream, text)), _exactly(stream, body)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    came = bytearray()
    while len(came) < size:
        piece = stream.read(size - len(came))
        if not piece:
            raise EOFError("the other side has gone")
        came += piece
    return bytes(came)


def pack(value: Any) -> bytes:
    """Plain values (arrays, numbers, strings, lists, dicts of them) as an uncompressed .npz without objects."""
    arrays: list[np.ndarray] = []

    def tree(v: Any) -> Any:
        if isinstance(v, (np.ndarray, np.generic, complex)):
            arrays.append(np.asarray(v))
            if arrays[-1].dtype.kind not in "biufcSU":
                raise ValueError(f"an array of {arrays[-1].dtype} cannot travel")
            return {"array": len(arrays)}
        if isinstance(v, (list, tuple)):
            return [tree(x) for x in v]
        if isinstance(v, dict):
            return {"dict": [[str(k), tree(x)] for k, x in v.items()]}
        return v

    text = json.dumps(tree(value)).encode()
    out = io.BytesIO()
    np.savez(out, np.frombuffer(text, np.uint8), *arrays)
    return out.getvalue()


def unpack(raw: bytes) -> Any:
    """What `pack` packed. Raises ValueError for anything else, however it is made; never unpickles or inflates."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as file:
            members = file.infolist()
            names = {m.filename for m in members}
            if len(members) > 10_000 or len(names) != len(members):
                raise ValueError("too many members")
            if any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members):
                raise ValueError("compressed members")
            if sum(m.file_size for m in members) > len(raw):
                raise ValueError("members larger than the file")
            text = _array(file.read("arr_0.npy")).tobytes()
            if len(text) > WHOLE:
                raise ValueError("too much text")
            return _grown(json.loads(text), file, names, 0)
    except Exception as error:  # hostile bytes reach many corners of three formats
        raise ValueError(f"unreadable: {type(error).__name__}: {error}"[:TEXT]) from None


# numpy's own reader evaluates this as Python, and CPython 3.11 cannot parse in two threads at once
HEADER = re.compile(
    r"\{'descr': '([<>|][biufcSU]\d{1,9})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n"
)


def _array(raw: bytes) -> np.ndarray:
    """An array out of .npy bytes; its size is held against the bytes before it is made."""
    if raw[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("not the first version of .npy")
    end = 10 + int.from_bytes(raw[8:10], "little")
    head = HEADER.fullmatch(raw[10:end].decode("latin1"))
    if head is None:
        raise ValueError("not an array of numbers or characters")
    dtype, shape, body = np.dtype(head[1]), [int(n) for n in head[3].split(",") if n.strip()], raw[end:]
    if len(shape) > 16 or math.prod(shape) * dtype.itemsize != len(body) or not dtype.itemsize:
        raise ValueError("a size that is not that of the bytes")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if head[2] == "True" else "C").copy()


def _grown(tree: Any, file: zipfile.ZipFile, names: set[str], depth: int) -> Any:
    if depth > 20:
        raise ValueError("too deep")
    if isinstance(tree, list):
        return [_grown(v, file, names, depth + 1) for v in tree]
    if isinstance(tree, dict):
        if set(tree) == {"array"} and type(tree["array"]) is int and f"arr_{tree['array']}.npy" in names:
            return _array(file.read(f"arr_{tree['array']}.npy"))
        if set(tree) == {"dict"} and isinstance(tree["dict"], list):
            return {str(k): _grown(v, file, names, depth + 1) for k, v in tree["dict"]}
        raise ValueError("a reference that leads nowhere")
    return tree


# ---------------------------------------------------------------------------------------------- what a notebook says
class Unusable(Exception):
    """A file that is no notebook: its argument is the submission's status, and a sentence."""


def cells(raw: bytes) -> list[str]:
    """The sources of a notebook's code cells. Raises Unusable for a file that is no notebook, or has none."""
    if not raw.strip():
        raise Unusable("empty", "the file is empty")
    try:
        notebook = json.loads(raw)
        sources = [c["source"] for c in notebook["cells"] if c["cell_type"] == "code"]
        sources = ["".join(s) if isinstance(s, list) else s for s in sources]
        if not all(isinstance(s, str) for s in sources):
            raise TypeError("a cell's source is not text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable("broken", f"the file is not a notebook ({type(error).__name__}: {error})"[:TEXT]) from None
    if not any(s.strip() for s in sources):
        raise Unusable("empty", "the notebook has no code")
    return sources


def parsed(source: str) -> ast.Module:
    """The syntax tree of a cell as IPython takes it: help and shell lines do nothing, `%time` and `%%time` their code.

    Raises SyntaxError for a cell that IPython does not take either, and what `ast.parse` raises.
    """
    source = source.removeprefix("\ufeff")
    try:
        return ast.parse(source)
    except SyntaxError as error:
        if (
            sum(line.lstrip()[:1] in tuple("%!?,;/") or line.rstrip()[-1:] == "?" for line in source.split("\n"))
            > MAGICS
        ):
            raise SyntaxError(f"more than {MAGICS} lines for IPython") from error
        from IPython.core.inputtransformer2 import TransformerManager

        try:
            translated = TransformerManager().transform_cell(source)
        except RuntimeError as looped:
            raise SyntaxError(str(looped)) from None
        return ast.fix_missing_locations(_Magics().visit(ast.parse(translated)))


class _Magics(ast.NodeTransformer):
    """Calls of `get_ipython()`, which IPython's translation of a cell is full of, turned into the Python within."""

    def visit_Expr(self, node: ast.Expr) -> Any:
        kind, words = self._asked(node.value)
        if not kind:
            return self.generic_visit(node)
        within = words[-1] if kind == "run_cell_magic" or words[0] in ("time", "prun") else ""
        try:
            return parsed(within).body or ast.Pass()
        except SyntaxError:  # %%bash, %%html
            return ast.Pass()

    def visit_Call(self, node: ast.Call) -> ast.expr:
        kind, words = self._asked(node)
        if not kind:
            self.generic_visit(node)
            return node
        if words[0] == "time":
            try:
                return ast.parse(words[-1], mode="eval").body
            except SyntaxError:
                pass
        return ast.List([], ast.Load())  # what a shell line says, in a sandbox that has nothing to say

    @staticmethod
    def _asked(node: ast.expr) -> tuple[str, list[str]]:
        ours = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if not ours or ast.unparse(node.func.value) != "get_ipython()" or not node.args:  # type: ignore[attr-defined]
            return "", []
        return node.func.attr, [str(getattr(a, "value", "")) for a in node.args]  # type: ignore[attr-defined]


def asked(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Every `check("NN.name", answer)` in a tree, as ("NN.name", answer)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == CHECK:
            name = node.args[0] if node.args else None
            if len(node.args) > 1 and isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value, node.args[1]


# -------------------------------------------------------------------------------------------------- running the cells
@dataclass(frozen=True)
class Step:
    """A statement of a cell: the names that it binds, those that it reads, and those whose values it may change."""

    cell: int
    node: ast.stmt
    code: CodeType
    gives: frozenset[str]
    reads: frozenset[str]
    changes: frozenset[str]

    @classmethod
    def of(cls, cell: int, node: ast.stmt, file: str) -> Step:
        """Read off the compiled code, which knows a function's own names from those that it takes from the notebook.

        Like this file it is compiled with annotations left unevaluated: a type that nobody imported costs no marks.
        Raises SyntaxError for a statement that cannot stand in a cell.
        """
        code = compile(ast.Module([node], []), file, "exec")
        gives, reads = set(), set()
        waiting = [code]
        while waiting:
            inner = waiting.pop()
            waiting += [c for c in inner.co_consts if isinstance(c, CodeType)]
            for instruction in dis.get_instructions(inner):
                if instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
                    reads.add(instruction.argval)
                elif instruction.opname == "STORE_GLOBAL" or instruction.opname == "STORE_NAME" and inner is code:
                    gives.add(instruction.argval)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            gives.add("*")
        return cls(cell, node, code, frozenset(gives), frozenset(reads), frozenset(_changed(node)))

    @property
    def binds(self) -> bool:
        """It only gives names to values, and is not run for anything else that it might do."""
        return isinstance(self.node, (*NAMED, ast.Assign, ast.AnnAssign)) and self.gives != {"_"}


NAMED = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SHOWN = ("IPython", "diffrl_lab.widgets", "ipywidgets", "matplotlib", "plotly")  # what they are called for is seen only


def _changed(statement: ast.stmt) -> Iterator[str]:
    """Names whose values a statement may change: `x.y = 1`, `x["y"] = 1`, `del x[0]`, `x.append(1)`, `fill(x)`."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*NAMED, ast.Lambda)):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            yield from _root(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            if isinstance(call.func, ast.Attribute):
                yield from _root(call.func)
            if getattr(call.func, "id", "") not in QUIET:
                yield from (n for a in call.args if not isinstance(a, ast.Call) for n in _root(a))


def _root(node: ast.AST) -> Iterator[str]:
    """The name that a chain begins with: `widgets` in `widgets.show(x)`, `x` in `x[0].y`; none for others."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id


QUIET = {"print", "display", CHECK, "hint", "guess", "claims"}


def _speaks(tree: ast.AST, exercise: str) -> bool:
    """Whether a cell holds the name of an exercise, other than in `hint(name)` and in `mine(name)`, which ask nothing.

    It may call `check` something else.
    """
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant) and node.value == exercise:
            return True
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called == "hint" or called == "mine" and len(node.args) == 1:
                continue
        waiting += ast.iter_child_nodes(node)
    return False


def chosen(steps: list[Step], own: set[int], name: str) -> list[Step]:
    """The steps that an answer needs, in order: all of its `own` cells, and from elsewhere what their names lead to.

    A name leads to every step up to the answer's last cell that gives or changes it; if none gives it, to later ones
    that do, and failing these to our edition's (cell -1). So a helper counts as it stood when the answer was asked, and
    what an answer does not need, such as a training, is not run. In a cell that gives such a name, loops and calls that
    read it are needed too.
    """
    end = max(own, default=max((s.cell for s in steps), default=-1))
    giving: dict[str, list[Step]] = {}
    changing: dict[str, list[Step]] = {}
    beside: dict[tuple[int, str], list[Step]] = {}
    through = {n: s.gives - {n} for s in steps if isinstance(s.node, ast.FunctionDef) for n in [s.node.name]}
    for step in steps:
        for n in step.gives.union(*(through.get(f, ()) for f in step.reads)):  # a call gives what is `global` in it
            giving.setdefault(n, []).append(step)
    imported = {n: origins for n, given in giving.items() if (origins := {_origin(s.node) for s in given} - {""})}
    for step in steps:
        calls = _root(step.node.value) if isinstance(step.node, ast.Expr) else ()
        if any(n in QUIET or origin.startswith(SHOWN) for n in calls for origin in imported.get(n, ("",))):
            continue
        for n in step.changes:
            if n not in imported or step.reads == {n}:  # torch.set_default_dtype(torch.float64), and not torch.save(x)
                changing.setdefault(n, []).append(step)
        for n in step.reads - set(imported) if not step.binds else ():
            beside.setdefault((step.cell, n), []).append(step)
    needed = {id(s): s for s in steps if s.cell in own}
    waiting, seen = ["*", *([] if own else [name])], set[str]()
    waiting += [n for s in needed.values() for n in s.reads]
    while waiting:
        n = waiting.pop()
        if n in seen:
            continue
        seen.add(n)
        given = giving.get(n, [])
        mine = [s for s in given if 0 <= s.cell <= end]
        matches = mine or [s for s in given if s.cell > end] or given
        matches = matches + [s for s in changing.get(n, []) if s.cell <= end]
        matches += [b for s in mine if not isinstance(s.node, NAMED) for b in beside.get((s.cell, n), [])]
        for step in matches:
            if id(step) not in needed:
                needed[id(step)] = step
                waiting += step.reads
    return [s for s in steps if id(s) in needed]


def _origin(node: ast.stmt) -> str:
    if isinstance(node, ast.ImportFrom):
        return node.module or "."
    return node.names[0].name if isinstance(node, ast.Import) else ""


class Slow(BaseException):
    """A statement outside the answer's own cells took more than its share of time."""


class Run:
    """A submission's answer to one exercise: `answer`, None if there is none, and the first `complaint` about it.

    `beside` says what went wrong in another cell that the answer needs.
    """

    def __init__(self, preamble: str, notebook: bytes, exercise: str, name: str, limits: Limits = LIMITS) -> None:
        import diffrl_lab.course as course
        from diffrl_lab.course import checks

        self.names: dict[str, Any] = {"__name__": "__main__", "display": lambda *_, **__: None}
        self.complaint, self.beside, self.found = "", "", False
        self.limits, self.began = limits, time.monotonic()
        given: dict[str, Any] = {}

        def record(exercise: str, answer: Any) -> None:
            given[exercise] = answer

        for word in ("hint", "guess", "claims"):
            setattr(course, word, lambda *_, **__: None)
        setattr(course, CHECK, record)
        checks.check = record  # type: ignore[assignment]
        asking, speaking = set[int](), set[int]()
        steps = self._steps(-1, parsed(preamble))
        for number, source in enumerate(cells(notebook)):
            try:
                tree = parsed(source)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                if f'"{exercise}"' in source or f"def {name}(" in source:
                    self.found = True
                    self.complaint = self.complaint or f"the cell is not Python: {error}"
                continue
            asking |= {number} if any(e == exercise for e, _ in asked(tree)) else set()
            speaking |= {number} if _speaks(tree, exercise) else set()
            file = f"<cell {number}>"
            linecache.cache[file] = (len(source), None, source.splitlines(True), file)
            steps += self._steps(number, tree)
        own = asking or speaking
        self.found |= bool(own) or any(name in s.gives and s.cell >= 0 for s in steps)
        for step in chosen(steps, own, name) if self.found else ():
            self._do(step, step.cell in own or name in step.gives)
        self.answer = given.get(exercise, self.names.get(name) if self.found else None)

    def _steps(self, cell: int, tree: ast.Module) -> list[Step]:
        steps = []
        for node in tree.body:
            try:
                steps.append(Step.of(cell, node, f"<cell {cell}>"))
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                self.beside = self.beside or f"cell {cell + 1} of code cannot be run: {error}"
        return steps

    def _do(self, step: Step, own: bool) -> None:
        """Run one statement: an error in it does not keep the next from being run.

        Outside the answer's own cells it gets a quarter of the time that is left, so that none can use up all.
        """
        try:
            try:
                if not own:
                    self._alarm(0.25)
                exec(step.code, self.names)
            finally:
                self._alarm(0)
        except BaseException as error:  # SystemExit and whatever else a submission may raise
            self._alarm(0)
            if own and not isinstance(error, NotImplementedError):
                self.complaint = self.complaint or f"the cell raised {type(error).__name__}: {error}"
            elif not own and step.cell >= 0:
                failure = "took too long" if isinstance(error, Slow) else f"raised {type(error).__name__}: {error}"
                self.beside = self.beside or f"cell {step.cell + 1} of code, which your answer needs, {failure}"

    def _alarm(self, share: float) -> None:
        """Raise Slow after that share of the time that is left, of computing and in all; 0 for never."""

        def slow(*_: Any) -> None:
            raise Slow

        timers = {
            signal.ITIMER_PROF: (signal.SIGPROF, self.limits.cpu - time.process_time()),
            signal.ITIMER_REAL: (signal.SIGALRM, self.limits.wall - (time.monotonic() - self.began)),
        }
        for timer, (number, seconds) in timers.items():
            signal.setitimer(timer, 0)
            if share:
                signal.signal(number, slow)
                signal.setitimer(timer, max(0.01, share * seconds))


def answered(request: dict[str, Any], notebook: bytes, inputs: bytes) -> dict[str, Any]:
    """What a submission answers: {"status", "message", "answers": one per case, None where there is none}."""
    from diffrl_lab.course import judging

    ask = judging.put
    if request["ask"]:
        module: dict[str, Any] = {"__name__": "ask"}
        exec(compile(request["ask"], "<ask>", "exec"), module)
        ask = module["ask"]
    given = unpack(inputs)
    try:
        run = Run(request["preamble"], notebook, request["exercise"], request["name"], Limits(**request["limits"]))
    except Unusable as error:
        return {"status": error.args[0], "message": error.args[1], "answers": []}
    if run.answer is None and run.complaint:
        message = "; ".join(filter(None, (run.complaint, run.beside)))
        return {"status": _status(message), "message": message, "answers": []}
    if not run.found:
        return {"status": "missing", "message": f"no cell asks {request['exercise']}", "answers": []}
    values: list[Any] = []
    message = ""
    stub = True
    for case in given:
        value = None
        try:
            value = judging.one(ask, run.answer, case)
            stub &= value is None
        except NotImplementedError:
            pass
        except judging.Mistake as error:
            stub, message = False, message or str(error)
        else:
            message = message or (judging.returned_nothing(case) if value is None else "")
        values.append(value)
    message = "; ".join(filter(None, (message, run.beside))) if message else ""
    if stub:
        return {"status": "unsolved", "message": judging.UNSOLVED, "answers": []}
    return {"status": _status(message) if message else "answered", "message": message, "answers": values}


def _status(message: str) -> str:
    return "memory" if "MemoryError" in message or "can't allocate memory" in message else "error"


# --------------------------------------------------------------------------------------------------------- the forks
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWIPC, NEWPID = 0x20000, 0x08000000, 0x20000000
NOSUID_NODEV, PRIVATE = 2 | 4, 0x40000 | 0x4000


def _call(name: str, *arguments: Any) -> None:
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _own_files(limits: Limits) -> None:
    """Fresh /tmp, /dev/shm and /proc that no other fork sees; then no right to mount anything is left."""
    _call("mount", b"none", b"/", None, PRIVATE, None)
    try:
        _call("mount", b"proc", b"/proc", b"proc", NOSUID_NODEV, None)
    except OSError:  # inside some containers; an empty folder hides the other processes as well
        _call("mount", b"none", b"/proc", b"tmpfs", NOSUID_NODEV, b"size=0")
    for place, share in ((b"/tmp", 3), (b"/dev/shm", 1)):
        size = f"size={limits.scratch * share // 4},nr_inodes=2000".encode()
        _call("mount", b"none", place, b"tmpfs", NOSUID_NODEV, size)
    _call("capset", (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


def _restrict(limits: Limits, sandboxed: bool) -> None:
    pages = int(open("/proc/self/statm").read().split()[0]) if os.path.exists("/proc/self/statm") else 0
    if sandboxed:
        _own_files(limits)
    bounds = {
        "CPU": limits.cpu,
        "AS": pages * resource.getpagesize() + limits.memory if pages else resource.RLIM_INFINITY,
        "FSIZE": limits.file,
        "NOFILE": limits.files,
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
    }
    if sandboxed:  # outside one, the user's other processes count
        bounds["NPROC"] = limits.processes + 4  # bwrap's two, the one that forked, its fork
    for name, bound in bounds.items():
        if hasattr(resource, f"RLIMIT_{name}"):
            hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
            bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (bound, bound))


def _submission(pipe: int, request: dict[str, Any], notebook: bytes, inputs: bytes, limits: Limits) -> None:
    """The untrusted process: it leaves by os._exit, so that neither atexit nor threads hold it up."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        os.dup2(pipe, 3)
        os.closerange(4, 4096)
        os.setsid()
        _restrict(limits, request["sandboxed"])
        os.chdir("/tmp")
        os.write(3, SAFE)
        import torch

        torch.manual_seed(request["seed"])
        np.random.seed(request["seed"])
        random.seed(request["seed"])
        me = os.getpid()
        try:
            answer = pack(answered(request, notebook, inputs))
        except Exception as error:
            answer = pack({"status": "error", "message": f"the answer cannot travel: {error}"[:TEXT], "answers": []})
        if os.getpid() != me:  # a child that a submission forked and let run on
            os._exit(0)
        view = memoryview(answer)
        while view:
            view = view[os.write(3, view) :]
    finally:
        os._exit(0)


def _memory(known: set[str], base: int) -> int:
    """Bytes held by all processes but the known ones, beyond what each had of its parent's."""
    total = 0
    for pid in os.listdir("/proc"):
        if pid.isdigit() and pid not in known:
            try:
                with open(f"/proc/{pid}/status") as file:
                    total += max(0, _resident(file.read()) - base)
            except OSError:  # it has just ended
                pass
    return total


def _resident(status: str) -> int:
    lines = [line.split() for line in status.split("\n") if line.startswith(("RssAnon:", "RssShmem:"))]
    return sum(int(words[1]) * 1024 for words in lines)


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer one request: fork the submission's process, watch it, end it, and send what came."""
    request, body = receive(source)
    notebook, inputs = body[: request["notebook"]], body[request["notebook"] :]
    limits = Limits(**request["limits"])
    sandboxed, began = request["sandboxed"], time.monotonic()
    known = {pid for pid in os.listdir("/proc") if pid.isdigit()} if sandboxed else set()
    base = _resident(open("/proc/self/status").read()) if sandboxed else 0
    if sandboxed:
        _call("unshare", NEWNS | NEWIPC | NEWPID)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        _submission(write, request, notebook, inputs, limits)
    os.close(write)
    came, status, usage = bytearray(), "", None
    while not status:
        if select.select([read], [], [], 0.05)[0]:
            piece = os.read(read, 1 << 16)
            came += piece
            status = "" if piece else "answered"
        if len(came) > limits.answer:
            status = "output"
        elif time.monotonic() - began > limits.wall:
            status = "timeout"
        elif sandboxed and _memory(known, base) > limits.memory:
            status = "memory"
        if not status and usage is None:
            done, code, used = os.wait4(pid, os.WNOHANG)
            if done:
                usage = code, used
                _end(pid, sandboxed)
    _end(pid, sandboxed)
    code, used = usage or os.wait4(pid, 0)[1:]
    if not came.startswith(SAFE):
        raise RuntimeError("a fork could not be shut in")
    if status == "answered" and came == SAFE:
        spent = used.ru_utime + used.ru_stime
        status = "timeout" if os.WIFSIGNALED(code) and spent > limits.cpu - 1 else "ended"
    send(target, {"status": status, "seconds": time.monotonic() - began}, bytes(came[1 : limits.answer]))


def _end(pid: int, sandboxed: bool) -> None:
    """Kill a fork and what it started: as the first of its namespace it takes all others with it."""
    try:
        os.kill(pid, signal.SIGKILL) if sandboxed else os.killpg(pid, signal.SIGKILL)
    except OSError:  # it is gone
        pass


def main() -> None:
    """Import once, then fork for each request until the other side closes."""
    source, target = os.fdopen(0, "rb", buffering=0), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not get between the messages
    import IPython.core.inputtransformer2  # noqa: F401
    import torch

    import diffrl_lab.course.checks
    import diffrl_lab.diffusion  # noqa: F401

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    send(target, {"ready": True})
    while True:
        select.select([source], [], [])
        pid = os.fork()
        if not pid:
            code = 1
            try:
                serve(source, target)
                code = 0
            except EOFError:
                code = 2
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            return


if __name__ == "__main__":
    main()
