"""Grading, the trusted side: inputs drawn after submission, answers that come back as plain arrays, judged here.

A submission is one file in a folder of notebooks, or in one folder per student; several of a student are all graded.
Each gives OUT/submissions/<student>-<lesson>-<key>.json, and OUT/grades.json is the list of all of them, ordered by
student, lesson, received and file; <sha256>.ipynb beside it is a copy of what was marked:

    student     who handed it in, as `submissions` reads it off the path
    file        path below the folder of submissions, with /
    sha256      of the file's bytes; null where it was not read (too large, not a regular file)
    received    time of the file's last change, ISO 8601 in UTC, whole seconds
    lesson      "01", or null where neither file name nor content tells
    exercises   {"01.betas": {
                    "marks": 0.5, "of": 1.0,            of * share of the properties that hold; all only if it is right
                    "verdict": "...",                   one sentence for the student; plain text, may quote the student
                    "properties": {"input 1 of 2": true, ...},   what earns marks; {} where no answer came
                    "form": true,                       every answer has the right kind and shape; earns nothing
                    "status": "ok",                     see below
                    "seed": 123}, ...}                  cases(seed) were the inputs
    total, of   sums of marks and of "of" over the lesson's exercises; 0 and 0 where the lesson is null
    status      ok         it is a notebook and was run, whatever came of it
                empty      no bytes, or no cell
                broken     not JSON, or not a notebook
                refused    not read: larger than the limit, a link, a device
                unknown    no lesson that has exercises
    seconds     wall time of all its exercises
    grader      hash of the exercises, checks and grader it was marked with

Status of an exercise: ok (solved) | wrong | unsolved (the stub is still there) | missing (no cell asks it) | error (the
code raised) | timeout | memory | output (more came than may) | ended (the process ended without an answer).
Strings come from hostile hands: whoever shows them escapes them.
"""

from __future__ import annotations

import ast
import datetime
import hashlib
import hmac
import itertools
import json
import os
import queue
import re
import secrets
import shutil
import site
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from diffrl_lab.classroom import sandbox
from diffrl_lab.classroom.sandbox import LIMITS, TEXT, Limits
from diffrl_lab.course import checks, editions, judging
from diffrl_lab.course.editions import ROOT
from diffrl_lab.files import write_text, written

PACKAGE = Path(__file__).parents[1]
LARGEST = 32 << 20  # bytes of a submission
MEMBERS = 10_000  # files of a zip
MARKS = 1.0  # for one exercise
# all of course and classroom that a submission can see; it sees the library, but nothing that is generated or a command
INSIDE = tuple(f"course/{name}.py" for name in ("__init__", "checks", "judging", "progress"))
INSIDE += ("classroom/__init__.py", "classroom/sandbox.py")
HIDDEN = ("course", "classroom", "publish", "cli.py", "doctor.py", "__pycache__")
VENV = Path("/venv")  # where the environment stands inside
NOBODY = "64001"  # for the kernel a user of its own, whose processes it counts; root's it would not
TRUST = "diffrl-lab course grade --trust-submissions runs them WITHOUT a sandbox: only for notebooks you have read"


# ---------------------------------------------------------------------------------------------------------- submissions
@dataclass(frozen=True)
class Submission:
    """One file that came in. `content` is None where it was refused: a link, a device, more than LARGEST bytes."""

    student: str
    file: str
    received: str
    content: bytes | None
    lesson: str | None

    @property
    def sha256(self) -> str | None:
        return None if self.content is None else hashlib.sha256(self.content).hexdigest()

    @property
    def key(self) -> str:
        """What its result is kept under: the same for the same file with the same content."""
        about = json.dumps([self.file, self.sha256, None if self.content is not None else self.received])
        words = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{self.student[:40]}-{self.lesson}")
        return f"{words.lstrip('.')}-{hashlib.sha256(about.encode()).hexdigest()[:16]}"


def submissions(
    folder: Path, out: Path | None = None, tell: Callable[[str], None] = lambda _: None
) -> list[tuple[str, Path]]:
    """(student, file) of every file in a folder of notebooks, or of folders per student; or in a zip of such.

    The student is named by the folder, in a flat folder by the file's name without lesson and marks of a copy, in the
    downloads of Canvas and Moodle by the part that says so (`_named`); always composed (NFC), so that one student stays
    one. A zip counts as a folder, and a file in it is called zip/name. Links are not followed, and stand for a file
    that is refused. `out`, other results of a grading, hidden files and what in a flat folder is no notebook are left
    out; `tell` gets a line for each. Raises ValueError where there is no such folder, or nothing in it.
    """
    if not folder.is_dir() and not zipfile.is_zipfile(folder):
        raise ValueError(f"there is no folder {str(folder)!r} of submissions")
    files = _files(folder, out, tell)
    people = {path: _named(path.relative_to(folder).parts, tops) for path, tops in files}
    loose = [p for p, who in people.items() if not who.name]
    for path in loose:
        tell(f"left out: {_shown(path.relative_to(folder).as_posix())} is no notebook")
        del people[path]
    named = {_base(who.name) for who in people.values() if not _COPY.search(who.name)}
    split = _namesakes(people.items(), tell)
    students = []
    for path, who in people.items():
        name = _base(who.name) if _base(who.name) in named else who.name
        students.append((f"{name} ({who.number})" if name in split else name, path))
    if not students:
        raise ValueError(f"there are no submissions in {str(folder)!r}")
    return students


@dataclass(frozen=True)
class _Person:
    """Whom a path names: the name, and the number that tells people of one name apart, if a download gives one."""

    name: str
    number: str = ""
    kind: str = ""


_COPY = re.compile(r"(?:-Copy\d*| - (?:Copy|Kopie|copie)(?: \(\d+\))?| \(\d+\)| copy(?: \d+)?)$", re.IGNORECASE)
_LESSON = re.compile(
    r"^(.*?)[ _.-]*(?<!\d)\d\d[a-z]?(?:_[a-z]+)+(?:[ _.-]*(?:\([\w ]+\)|copy\d*|kopie|copie|v?\d+|final|late))*$",
    re.IGNORECASE,
)
_MOODLE = re.compile(r"^(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_.*)?$")
_CANVAS = re.compile(r"^(?P<name>[^_]+)_(?:LATE_)?(?P<number>\d+)_\d+_(?P<file>.+)$")
_ANONYMOUS = re.compile(r"^(?P<name>anon)_(?:LATE_)?(?P<number>\w{5})_\d+_(?P<file>.+)$")


def _named(parts: Sequence[str], tops: int) -> _Person:
    """Whom a file belongs to, by the parts of its path; `tops` of them are folders of many students' files.

    Moodle's folders are NAME_NUMBER_assignsubmission_file_, its files NAME_NUMBER_assignsubmission_file_01_ddpm.ipynb;
    Canvas's files NAME_NUMBER_SUBMISSION_01_ddpm-1.ipynb, with LATE_ before the numbers. Canvas numbers people, Moodle
    numbers what they hand in. No name where the file is no notebook that says whose it is.
    """
    for part in parts:
        if found := _downloaded(part):
            kind, match = found
            return _Person(_composed(match["name"]), match["number"], kind)
    below = parts[tops:]
    if len(below) > 1 and not below[0].lower().endswith(".zip"):
        return _Person(_composed(below[0]))
    stem = _stem(below[0] if len(below) > 1 else parts[-1])
    lesson = _LESSON.match(stem)
    if len(below) < 2 and ".ipynb" not in parts[-1].lower() and lesson is None:
        return _Person("")
    above = [_stem(p) for p in parts[:tops] if p.lower().endswith(".zip")]
    return _Person(_composed(lesson[1] or (above[-1] if above else stem) if lesson else stem))


def _downloaded(part: str) -> tuple[str, re.Match[str]] | None:
    """Whose download names a part of a path so, and the match."""
    stem = _stem(part)
    for kind, pattern in (("moodle", _MOODLE), ("canvas", _CANVAS), ("canvas", _ANONYMOUS)):
        if match := pattern.match(stem):
            return kind, match
    return None


def source(part: str) -> str | None:
    """Whose download names a folder or a file so: "moodle", "canvas" or None."""
    found = _downloaded(part)
    return found[0] if found else None


def _stem(name: str) -> str:
    return re.sub(r"(?:\.(?:ipynb|json|txt|zip|py|html))+$", "", name, flags=re.IGNORECASE)


def _base(name: str) -> str:
    return _COPY.sub("", name)


def _composed(name: str) -> str:
    """A name as text: accents composed, spaces single; bytes that are no UTF-8 read as Windows' code page 1252."""
    raw = os.fsencode(name)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    return " ".join(unicodedata.normalize("NFC", text).split())


def _shown(text: str) -> str:
    return ascii(text)[1:-1]


def _namesakes(people: Iterable[tuple[Path, _Person]], tell: Callable[[str], None]) -> set[str]:
    """Names that two people bear: two numbers of Canvas; two of Moodle that handed in files of one lesson."""
    kinds: dict[str, dict[str, set[str]]] = {}
    for path, who in people:
        if who.number:
            lesson = re.search(r"(?<!\d)\d\d[a-z]?_", path.name)
            alike = {lesson[0] if lesson else path.name} if who.kind == "moodle" else {""}
            kinds.setdefault(who.name, {}).setdefault(who.number, set()).update(alike)
    two = set()
    for name, numbers in kinds.items():
        if any(a & b for a, b in itertools.combinations(numbers.values(), 2)):
            two.add(name)
            tell(f"{_shown(name)}: {len(numbers)} people of that name, told apart by number: {', '.join(numbers)}")
        elif len(numbers) > 1:
            tell(f"{_shown(name)}: taken for one student, handed in under the numbers {', '.join(numbers)}")
    return two


def _files(folder: Path, out: Path | None, tell: Callable[[str], None]) -> Iterator[tuple[Path, int]]:
    """Every file below a folder or in a zip, and how many of its path's first parts belong to no single student."""
    if not folder.is_dir():
        yield from ((folder / name, max(0, tops - 1)) for name, tops in _members(folder, tell))
        return

    def unread(error: OSError) -> None:
        tell(f"left out: {_shown(str(error.filename))} cannot be read ({error.strerror})")

    hidden = 0
    for above, folders, files in os.walk(folder, onerror=unread):
        here = Path(above)
        ours = ("submissions", "report") if _is_out(here) else ()
        for name in list(folders):
            path = here / name
            if name.startswith((".", "__MACOSX")):
                folders.remove(name)
            elif path.is_symlink():
                folders.remove(name)
                if path.resolve().is_relative_to(folder.resolve()):
                    tell(f"left out: {_shown(name)} is a link to {_shown(path.resolve().name)}, which is here anyway")
                else:
                    tell(f"refused: {_shown(name)} is a link, which is not followed; put the folder itself there")
                    yield path / LINK, 0
            elif out is not None and path.resolve() == out.resolve() or _is_out(path) or name in ours:
                folders.remove(name)
                tell(f"left out: {_shown(name)} holds results of a grading")
        folders.sort()
        for name in sorted(files):
            path = here / name
            if name.startswith("."):
                hidden += 1
            elif name.lower().endswith(".zip") and not path.is_symlink() and zipfile.is_zipfile(path):
                yield from ((path / inner, tops if here == folder else 0) for inner, tops in _members(path, tell))
            else:
                yield path, 0
    if hidden:
        tell(f"left out: {hidden} hidden file{'s' * (hidden > 1)}")


LINK = "(a link)"  # in the place of the files of a folder that is one


def _is_out(path: Path) -> bool:
    return (path / "secret").is_file() and (path / "submissions").is_dir()


def _members(path: Path, tell: Callable[[str], None]) -> list[tuple[str, int]]:
    """(name, parts that belong to no single student) of each file in a zip, as if the zip were a folder.

    A folder that holds all of it is such a part. In a zip whose own name says a student or a lesson there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        tell(f"left out: {_shown(path.name)} cannot be read ({error})")
        return []
    members = []
    for info in infos:
        parts = _name(info).split("/")
        if info.is_dir() or any(p.startswith((".", "__MACOSX")) or not p for p in parts):
            continue
        members.append("/".join(parts))
    if len(members) > MEMBERS:
        tell(f"left out: {len(members) - MEMBERS} of {len(members)} files in {_shown(path.name)}; {MEMBERS} are read")
        members = members[:MEMBERS]
    stem = _stem(path.name)
    if _MOODLE.match(stem) or _CANVAS.match(stem) or (match := _LESSON.match(stem)) and match[1]:
        return [(name, 0) for name in members]
    tops = 1
    if len({name.split("/")[0] for name in members}) == 1 and all("/" in name for name in members):
        tops = 2
    return [(name, tops) for name in members]


def _name(info: zipfile.ZipInfo) -> str:
    """A member's name; some tools write UTF-8 and do not say so, and then it was read as code page 437."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def content(path: Path) -> tuple[bytes | None, float]:
    """(bytes, time of the last change in seconds since 1970) of a file, or of zip/name. Raises OSError if it is gone.

    No bytes where it was refused: links are not followed, devices not opened, large files not read. Times in a zip
    have no zone, and are read in this machine's.
    """
    for above in path.parents:
        if above.is_symlink() and path.name == LINK:
            return None, above.lstat().st_mtime
        if above.is_file() and not above.is_symlink():
            return _member(above, path.relative_to(above).as_posix())
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
        return None, status.st_mtime
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError:
        return None, status.st_mtime
    return raw if len(raw) <= LARGEST else None, status.st_mtime


def _member(path: Path, name: str) -> tuple[bytes | None, float]:
    when = path.stat().st_mtime
    try:
        with zipfile.ZipFile(path) as archive:
            info = next((i for i in archive.infolist() if _name(i) == name), None)
            if info is None:
                raise FileNotFoundError(f"{path} holds no {name!r}")
            try:
                when = datetime.datetime(*info.date_time).astimezone().timestamp()
            except (ValueError, OverflowError):
                pass
            if stat.S_ISLNK(info.external_attr >> 16):
                return None, when
            with archive.open(info) as file:
                raw = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except Exception:  # broken, encrypted, packed in an unknown way
        return None, when
    return raw if len(raw) <= LARGEST else None, when


def read(folder: Path, student: str, path: Path, lesson: str | None = None) -> Submission:
    """A file as a submission. Raises OSError where it has gone."""
    raw, when = content(path)
    received = datetime.datetime.fromtimestamp(int(when), datetime.UTC).isoformat()
    number = lesson or _lesson(path.name, raw or b"")
    return Submission(student, path.relative_to(folder).as_posix(), received, raw, number)


def _lesson(name: str, content: bytes) -> str | None:
    """The lesson whose exercises a notebook asks; if it asks none, the one that its file is named after."""
    known = {editions.number(e) for e in checks.exercises()}
    asked = [number.decode() for number in re.findall(rb'check\(\\?["\'](\d\d[a-z]?)\.', content)]
    named = re.findall(r"(?<!\d)(\d\d[a-z]?)_", name)
    chosen = [n for n in (*sorted(asked, key=asked.count, reverse=True)[:1], *named) if n in known]
    return chosen[0] if chosen else None


# --------------------------------------------------------------------------------------------------------- our edition
_parsing = threading.Lock()  # CPython 3.11 cannot make syntax trees in two threads at once


def question(exercise: str) -> tuple[str, str, str]:
    """(what our edition calls the answer, our `preamble`, how it is asked) of an exercise."""
    with _parsing:
        return _question(exercise)


@cache
def _question(exercise: str) -> tuple[str, str, str]:
    return function(exercise), preamble(editions.number(exercise)), asking(checks.load(exercise))


@cache
def preamble(lesson: str) -> str:
    """Imports, definitions and constants of our edition of a lesson, without the cells of its exercises."""
    statements = [s for tree in _ours(lesson) if not list(sandbox.asked(tree)) for s in definitions(tree)]
    return ast.unparse(ast.Module(statements, []))


def function(exercise: str) -> str:
    """What our edition calls the answer to an exercise: "betas" in check("01.betas", betas); "" where it has none."""
    given = [
        answer for tree in _ours(editions.number(exercise)) for name, answer in sandbox.asked(tree) if name == exercise
    ]
    return next((answer.id for answer in given if isinstance(answer, ast.Name)), "")


@cache
def _ours(lesson: str) -> list[ast.Module]:
    return [
        sandbox.parsed(cell)
        for path in sorted((ROOT / "notebooks").glob(f"{lesson}_*.ipynb"))
        for cell in sandbox.cells(path.read_bytes())
    ]


def asking(module: ModuleType) -> str:
    """The source of a module's `ask` and of what it needs, and nothing else; "" where it has none.

    Raises ValueError where that would take an answer, a judge or a hint along.
    """
    if not hasattr(module, "ask"):
        return ""
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    secret = {"judge", "cases", "RIGHT", "WRONG", "HINTS", "PROPERTIES"}
    secret |= {getattr(answer, "__name__", "") for answer in [*module.RIGHT, *(wrong for wrong, _ in module.WRONG)]}
    seen = reached([ast.parse("ask")], tree.body)
    needed = [s for s in tree.body if seen & set(names(s))]
    if taken := {name for s in needed for name in names(s)} & secret:
        raise ValueError(f"{module.__name__}: ask needs {', '.join(sorted(taken))}, which no submission may see")
    return ast.unparse(ast.Module(needed, []))


def definitions(tree: ast.Module) -> list[ast.stmt]:
    """The statements of a cell that only name things: imports, functions, classes, constants written out."""
    return [
        s
        for s in tree.body
        if isinstance(s, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))
        or (isinstance(s, (ast.Assign, ast.AnnAssign)) and s.value is not None and _is_constant(s.value))
    ]


def names(statement: ast.stmt) -> list[str]:
    """What a definition gives a name to; "*" for a star import."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [(a.asname or a.name).split(".")[0] for a in statement.names]
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]


def reached(starts: Iterable[ast.AST], statements: Iterable[ast.stmt]) -> set[str]:
    """The names that some code leads to, through those of the definitions in `statements` that it names."""
    by: dict[str, list[ast.stmt]] = {}
    for statement in statements:
        for name in names(statement):
            by.setdefault(name, []).append(statement)
    seen, waiting = {"*"}, list(starts)
    while waiting:
        for node in ast.walk(waiting.pop()):
            if isinstance(node, ast.Name) and node.id not in seen:
                seen.add(node.id)
                waiting += by.get(node.id, [])
    return seen


def _is_constant(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


# ------------------------------------------------------------------------------------------------------------- marking
def drawn(exercise: str, sha256: str, secret: bytes) -> tuple[int, list[dict[str, Any]], list[Any]]:
    """(seed, cases, right answers) for one submission: nobody can know them before it came, and they never change.

    seed = HMAC-SHA256(secret, exercise, content, n) mod 2^31; n counts on past inputs to which our own answer would
    not be accepted.
    """
    module = checks.load(exercise)
    for n in range(20):
        digest = hmac.digest(secret, f"{exercise} {sha256} {n}".encode(), "sha256")
        seed = int.from_bytes(digest[:4]) % 2**31
        cases = module.cases(seed)
        right = judging.answers(module, module.RIGHT[0], cases)
        if module.judge(cases, right).ok:
            return seed, cases, right
    raise RuntimeError(f"{exercise} does not accept its own answer on 20 inputs")


def mark(exercise: str, cases: list[dict[str, Any]], right: list[Any], came: Mapping[str, Any]) -> dict[str, Any]:
    """An exercise's entry in the result, from what came out of the sandbox: {"status", "message", "answers"}.

    An answer may be anything: one that cannot be compared with the right one is wrong, and nothing is raised.
    """
    entry = {"marks": 0.0, "of": MARKS, "verdict": came["message"], "properties": {}, "form": False}
    try:
        return _mark(exercise, cases, right, came, entry)
    except Exception as error:
        verdict = _text(f"your answer could not be compared ({type(error).__name__}: {error})")
        return entry | {"status": "wrong", "verdict": verdict}


def _mark(
    exercise: str, cases: list[dict[str, Any]], right: list[Any], came: Mapping[str, Any], entry: dict[str, Any]
) -> dict[str, Any]:
    module = checks.load(exercise)
    answers = came["answers"]
    if came["status"] not in ("answered", "error", "memory") or len(answers) != len(cases):
        return entry | {"status": came["status"] if came["status"] != "answered" else "ended"}
    for answer, truth in zip(answers, right, strict=True):
        if _size(answer) > 10 * _size(truth) + 1000:  # a judge may multiply sizes
            return entry | {
                "status": "wrong",
                "verdict": f"your answer holds {_size(answer)} numbers instead of {_size(truth)}",
            }
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        holds = judging.properties(module, cases, answers, right)
        entry["form"] = all(_formed(a, r) for a, r in zip(answers, right, strict=True))
        if came["status"] != "answered" or any(a is None for a in answers):
            status, verdict = ("error" if came["status"] == "answered" else came["status"]), came["message"]
        else:
            judged = judging.judge(module, cases, answers)
            given = judged.given.replace("\n", "; ")
            status, verdict = ("ok" if judged.ok else "wrong"), judged.message + (f"; input: {given}" if given else "")
    share = 1.0 if status == "ok" else sum(holds.values()) / max(1, len(holds))
    if status == "ok":
        holds = dict.fromkeys(holds, True)
    elif share == 1:  # every part is right and the whole is not: they must be taken together
        holds["all together"] = False
        share = (len(holds) - 1) / len(holds)
    return entry | {"status": status, "verdict": _text(verdict), "properties": holds, "marks": round(share * MARKS, 4)}


def _formed(answer: Any, right: Any) -> bool:
    try:
        a, r = np.asarray(answer), np.asarray(right)
        return a.shape == r.shape and (a.dtype.kind in "biufc") == (r.dtype.kind in "biufc")
    except ValueError:
        return False


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, (list, tuple)):
        return sum(_size(v) for v in value)
    if isinstance(value, dict):
        return sum(_size(v) for v in value.values())
    return max(1, len(value) // 100) if isinstance(value, str) else 1


def _text(value: Any) -> str:
    """One line of at most TEXT characters, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)[: 4 * TEXT]).split())
    return line if len(line) <= TEXT else line[: TEXT - 1] + "…"


# ------------------------------------------------------------------------------------------------------------- sandbox
class Broken(RuntimeError):
    """The sandbox ended, or could not be started; its argument is what it said."""


class Sandbox:
    """One process of `sandbox` inside bubblewrap (with trust=True: without), which answers one request at a time."""

    def __init__(self, limits: Limits = LIMITS, trust: bool = False) -> None:
        self.trust, self.limits = trust, limits
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, if it does not run. Raises Broken with its own words where it does not come up."""
        if self.process is not None and self.process.poll() is None:
            return
        self.stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command(self.trust),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env=_environment(self.trust),
            start_new_session=True,
        )
        self._exchange(None, b"", 300)
        code = [{"cell_type": "code", "source": "from diffrl_lab.course import check\ncheck('', 7)"}]
        came = self._ask("", "", "", "", json.dumps({"cells": code}).encode(), [{}], 0)
        if came["answers"] != [7]:
            raise Broken(f"the sandbox does not answer ({came['status']}: {came['message']})")

    def stop(self) -> None:
        if self.process is None:
            return
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.stderr.close()
        self.process = None

    def ask(self, exercise: str, notebook: bytes, cases: list[dict[str, Any]], seed: int) -> dict[str, Any]:
        """What a notebook answers to the cases of an exercise: {"status", "message", "answers", "seconds"}.

        Nothing that it holds was checked beyond its kind: it is what the submission said.
        """
        try:
            self.start()
            return self._ask(exercise, *question(exercise), notebook, cases, seed)
        except Broken:
            self.stop()
            raise

    def _ask(self, exercise: str, name: str, before: str, ask: str, notebook: bytes, cases: Any, seed: int) -> dict:
        request = {
            "exercise": exercise,
            "name": name,
            "preamble": before,
            "ask": ask,
            "seed": seed,
            "sandboxed": not self.trust,
            "notebook": len(notebook),
            "limits": asdict(self.limits),
        }
        began = time.monotonic()
        header, body = self._exchange(request, notebook + sandbox.pack(cases), self.limits.wall + 30)
        seconds = time.monotonic() - began
        if header["status"] != "answered":
            reason = _LIMITS[header["status"]].format(**asdict(self.limits))
            return {"status": header["status"], "message": reason, "answers": [], "seconds": seconds}
        try:
            came = sandbox.unpack(body)
            status, message, answers = came["status"], came["message"], came["answers"]
            known = isinstance(status, str) and status in _SAID
            if not known or not isinstance(message, str) or not isinstance(answers, list):
                raise ValueError("unreadable: other fields")
        except (ValueError, KeyError, TypeError):
            status, message, answers = "ended", "what came back is no answer: plain arrays are wanted", []
        return {"status": status, "message": _text(message), "answers": answers, "seconds": seconds}

    def _exchange(self, header: dict[str, Any] | None, body: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        """Send a message, if there is one, and receive one; after that many seconds the sandbox is ended."""
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        alarm = threading.Timer(seconds, self.process.kill)
        alarm.start()
        try:
            if header is not None:
                sandbox.send(self.process.stdin, header, body)  # type: ignore[arg-type]
            return sandbox.receive(self.process.stdout)  # type: ignore[arg-type]
        except (OSError, EOFError):
            self.process.wait()
            self.stderr.seek(0)
            text = self.stderr.read()[-2000:].decode(errors="replace").strip()
            raise Broken(text or "the sandbox ended") from None
        finally:
            alarm.cancel()


_SAID = ("answered", "error", "memory", "unsolved", "missing", "empty", "broken")
_LIMITS = {
    "timeout": "no answer within {cpu} s of computing and {wall:g} s in all: is there a loop that does not end?",
    "memory": "your code took more memory than it may",
    "output": "more came back than the {answer} bytes that an answer may have",
    "ended": "your code ended the interpreter before it had answered",
}


def refusal() -> str:
    """Why there can be no sandbox on this machine, or "" where there can."""
    if not sys.platform.startswith("linux"):
        return f"submissions run in bubblewrap, which needs Linux, and this is {sys.platform}. {TRUST}"
    if shutil.which("bwrap") is None:
        return f"submissions run in bubblewrap, which is not installed (apt install bubblewrap). {TRUST}"
    return ""


def command(trust: bool = False) -> list[str]:
    """The command that starts `sandbox`, by default inside bubblewrap.

    Inside there is no network and no user namespace to be had; system, Python and library are read-only; of the course
    there is INSIDE alone, and none of the repository but shipped weights and recordings. Root first takes the mounts
    with it (others may not read its home), then becomes NOBODY: processes of root are not counted by the kernel.
    """
    if trust:
        return [sys.executable, "-m", "diffrl_lab.classroom.sandbox"]
    python = [str(_inside(Path(sys.executable))), "-m", "diffrl_lab.classroom.sandbox"]
    shut = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    inner = [
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--remount-ro",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--remount-ro",
        "/",
        "--chdir",
        "/tmp",
        "--cap-add",
        "CAP_SYS_ADMIN",
        "--",
    ]
    if os.getuid():
        return [*shut, *_mounts(), *inner, *python]
    return [
        "bwrap",
        "--die-with-parent",
        *_mounts(),
        "--dev-bind",
        "/proc",
        "/proc",
        "--dev-bind",
        "/dev",
        "/dev",
        "--dir",
        "/tmp",
        "--cap-add",
        "CAP_SETUID",
        "--cap-add",
        "CAP_SETGID",
        "--",
        "setpriv",
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
        "--",
        *shut,
        "--ro-bind",
        "/",
        "/",
        *inner,
        *python,
    ]


def _inside(path: Path) -> Path:
    """Where a path of the virtual environment stands inside: below /tmp it would vanish behind the scratch."""
    own = sys.prefix != sys.base_prefix and path.is_relative_to(sys.prefix)
    return VENV / path.relative_to(sys.prefix) if own else path


def _mounts() -> list[str]:
    """Arguments that show system, Python and library read-only, and hide what lies within but belongs to the course."""
    mounts: list[str] = []
    for name in ("bin", "lib", "lib32", "lib64", "libx32", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            mounts += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            mounts += ["--ro-bind", str(path), str(path)]
    for name in ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime"):
        mounts += ["--ro-bind-try", name, name]
    shown = {Path(p) for p in ("/usr", sys.prefix, sys.base_prefix, *site.getsitepackages())}
    hidden = {p for p in (ROOT if (ROOT / "notebooks").is_dir() else PACKAGE,) if any(s in p.parents for s in shown)}
    seen = {Path("/")}
    inside = {_inside(p) for p in shown}
    for path in sorted(shown | hidden, key=lambda p: len(p.parts)):
        there = _inside(path)
        above = [p for p in reversed(there.parents) if p not in seen and not any(s in (p, *p.parents) for s in inside)]
        for folder in above:
            mounts += ["--perms", "0755", "--dir", str(folder)]
        seen |= set(above)
        mounts += ["--perms", "0755", "--tmpfs", str(there)] if path in hidden else ["--ro-bind", str(path), str(there)]
    lab = Path("/lab", PACKAGE.name)
    folders = (lab.parent, lab, lab / "course", lab / "classroom")
    mounts += [w for d in folders for w in ("--perms", "0755", "--dir", str(d))]
    rooms = [p for p in PACKAGE.iterdir() if p.name not in HIDDEN]
    for path in [*rooms, *(PACKAGE / name for name in INSIDE)]:
        mounts += ["--ro-bind", str(path), str(lab / path.relative_to(PACKAGE))]
    for name in ("manifest.json", "weights", "recordings"):
        mounts += ["--ro-bind-try", str(ROOT / "data" / name), str(lab.parent / "data" / name)]
    return mounts


def _environment(trust: bool) -> dict[str, str]:
    """Everything a submission is told about where it runs."""
    ours = {
        "DIFFRL_PROGRESS": "off", "HOME": "/tmp", "LANG": "C.UTF-8", "MPLBACKEND": "agg", "MPLCONFIGDIR": "/tmp",
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "USER": "nobody",
    }  # fmt: skip
    return ours if trust else ours | {"PYTHONPATH": "/lab", "PYTHONSAFEPATH": "1"}


# ------------------------------------------------------------------------------------------------------------- grading
def grade(
    folder: Path,
    out: Path,
    *,
    lesson: str | None = None,
    workers: int | None = None,
    again: bool = False,
    trust: bool = False,
    limits: Limits = LIMITS,
    tell: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Grade every file in a folder of submissions. -> all results in `out`, as in OUT/grades.json.

    Results that are there already and were marked with the same exercises stay as they are, unless again=True; so an
    interrupted grading goes on where it stopped. `tell` gets a line for each. Inputs are drawn with OUT/secret, which
    is made on the first call: keep it to yourself, and keep it, if marks are to stay the same. Raises ValueError where
    there is no sandbox, no folder, nothing in it, or no such lesson.
    """
    if lesson is not None and not checks.exercises(editions.number(lesson)):
        raise ValueError(f"lesson {lesson!r} has no exercises; there are: {', '.join(sorted(_lessons()))}")
    if not trust and (why := refusal()):
        raise ValueError(why)
    files = submissions(folder, out, tell)
    secret = _secret(out)
    results = out / "submissions"
    results.mkdir(parents=True, exist_ok=True)
    lesson = lesson and editions.number(lesson)
    lock, stopped = threading.Lock(), threading.Event()
    seen: dict[str, tuple[dict[str, Any], str, bool]] = {}  # file -> result, where it is kept, whether it is new

    def one(student: str, path: Path, sandboxes: queue.SimpleQueue[Sandbox]) -> None:
        try:
            submission = read(folder, student, path, lesson)
        except OSError as error:
            with lock:
                tell(f"left out: {_shown(path.name)} of {_shown(student)} has gone ({error})")
            return
        place = results / f"{submission.key}.json"
        before = _kept(place)
        result = None if again else before
        if result is None or result["grader"] != grader(submission.lesson):
            box = sandboxes.get()
            try:
                result = graded(submission, secret, box)
            finally:
                sandboxes.put(box)
            if stopped.is_set():  # its sandbox was ended from here
                return
            _write(place, result)
            if submission.content and result["status"] == "ok":
                with written(results / f"{submission.sha256}.ipynb") as beside:
                    beside.write_bytes(submission.content)
        now = {"student": submission.student, "received": submission.received}
        if result | now != result:  # who it belongs to and when it came is what the folder says today
            was = f"of {_shown(result['student'])}, {result['received']}"
            with lock:
                tell(f"{_shown(submission.file)}: was {was}; is of {_shown(submission.student)}, {submission.received}")
            result |= now
            _write(place, result)
        with lock:
            seen[submission.file] = result, place.name, before is None
            tell(
                f"{_shown(result['student']):20} {result['lesson'] or '--'}  "
                f"{result['total']:.2f} of {result['of']:.0f}  {result['status']:8} {result['seconds']:5.1f} s  "
                f"{_shown(result['file'])}"
            )

    boxes = [Sandbox(limits, trust) for _ in range(workers or os.cpu_count() or 1)]
    free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
    for box in boxes:
        free.put(box)
    try:
        with ThreadPoolExecutor(len(boxes)) as pool:
            waiting: list[Future[None]] = [pool.submit(one, student, path, free) for student, path in files]
            try:
                for future in waiting:
                    future.result()
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for box in boxes:
                    if box.process is not None:
                        box.process.kill()
                raise
    except Broken as error:
        raise ValueError(f"the sandbox does not work on this machine: {error}. {TRUST}") from None
    finally:
        for box in boxes:
            box.stop()
    _renew(results, seen, tell)
    every = [r for path in results.glob("*.json") if (r := _kept(path)) is not None]
    every.sort(key=lambda r: (r["student"], r["lesson"] or "", r["received"], r["file"], r["sha256"] or ""))
    _write(out / "grades.json", every)
    return every


def preflight(path: Path, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """A student's own notebook, marked as the instructor will, on inputs of another draw. -> its result (`graded`).

    Where there is no sandbox it runs without one, and says so: it is the student's own. Raises ValueError for a file
    that is not there, or that no lesson's exercises belong to.
    """
    if not path.is_file():
        raise ValueError(f"there is no notebook {str(path)!r}")
    submission = read(path.resolve().parent, "you", path.resolve())
    if submission.lesson is None:
        raise ValueError(f"{path} is no lesson with exercises; there are: {', '.join(sorted(_lessons()))}")
    secret, why = secrets.token_bytes(32), refusal()
    if not why:
        try:
            with Sandbox() as box:
                box.start()
                return graded(submission, secret, box)
        except Broken as error:
            why = f"the sandbox does not work here ({_text(error)}). "
    tell(f"{why.removesuffix(TRUST).strip()} Your own notebook runs without a sandbox here.")
    with Sandbox(trust=True) as box:
        return graded(submission, secret, box)


def table(result: Mapping[str, Any]) -> str:
    """A result as lines of text: each exercise, its marks, what was said."""
    lines = []
    for name, e in result["exercises"].items():
        sign = "solved" if e["status"] == "ok" else e["status"]
        lines.append(f"{name:20} {e['marks']:.2f} of {e['of']:.0f}  {sign}: {e['verdict']}")
    return "\n".join([*lines, f"{'in all':20} {result['total']:.2f} of {result['of']:.0f}"])


def _renew(results: Path, seen: Mapping[str, tuple[dict[str, Any], str, bool]], tell: Callable[[str], None]) -> None:
    """Look through results that are not of a file as it lies in the folder now, so that one student stays one.

    An earlier content of a file stays a submission of its student. A file that has gone, while its content came under
    a new name, was renamed: its results go to that student. Any other that has gone is kept, and told.
    """
    names = {name for _, name, _ in seen.values()}
    old = [(path, r) for path in sorted(results.glob("*.json")) if path.name not in names and (r := _kept(path))]
    moved: dict[str, dict[str, Any]] = {}
    last = {r["file"]: r for _, r in sorted(old, key=lambda pair: pair[1]["received"])}
    for r in last.values():
        if r["file"] not in seen and r["sha256"] is not None:
            about = r["sha256"], r["lesson"]
            same = [n for n, _, new in seen.values() if new and (n["sha256"], n["lesson"]) == about]
            if same:
                alike = {n["file"]: SequenceMatcher(None, n["student"], r["student"]).ratio() for n in same}
                moved[r["file"]] = max(same, key=lambda n: alike[n["file"]])
    for path, r in old:
        now = seen[r["file"]][0] if r["file"] in seen else moved.get(r["file"])
        if now is None:
            tell(f"kept: {_shown(r['file'])} of {_shown(r['student'])}, which is not in the folder any more")
        elif now["sha256"] == r["sha256"]:
            path.unlink()
            if r["file"] in moved:
                tell(f"renamed: {_shown(r['file'])} is {_shown(now['file'])} of {_shown(now['student'])}")
        elif (now["student"], now["file"]) != (r["student"], r["file"]):
            _write(path, r | {"student": now["student"], "file": now["file"]})


def graded(submission: Submission, secret: bytes, box: Sandbox) -> dict[str, Any]:
    """One submission's result. Raises Broken where the sandbox cannot be started; a submission cannot cause that."""
    entries: dict[str, dict[str, Any]] = {}
    status, seconds = "ok", 0.0
    if submission.content is None:
        status = "refused"
    elif not submission.content.strip():
        status = "empty"
    elif submission.lesson is None:
        status = "unknown"
    for exercise in checks.exercises(submission.lesson) if submission.lesson else ():
        seed, message = None, {"refused": "the file was not read"}.get(status, "the file is not a notebook")
        if submission.content is None or status != "ok":
            entry = {
                "marks": 0.0,
                "of": MARKS,
                "verdict": message,
                "properties": {},
                "form": False,
                "status": "missing",
            }
        else:
            seed, cases, right = drawn(exercise, str(submission.sha256), secret)
            came: dict[str, Any] = {"status": "ended", "message": _LIMITS["ended"], "answers": [], "seconds": 0.0}
            for _ in range(2):  # a sandbox may be ended from outside, say by a machine without memory
                box.start()
                try:
                    came = box.ask(exercise, submission.content, cases, seed)
                    break
                except Broken:
                    pass
            seconds += came["seconds"]
            if came["status"] in ("empty", "broken"):
                status, came["status"] = came["status"], "missing"
            entry = mark(exercise, cases, right, came)
        entries[exercise] = entry | {"seed": seed}
    return {
        "student": submission.student,
        "file": submission.file,
        "sha256": submission.sha256,
        "received": submission.received,
        "lesson": submission.lesson,
        "exercises": entries,
        "total": round(sum(e["marks"] for e in entries.values()), 4),
        "of": sum(e["of"] for e in entries.values()),
        "status": status,
        "seconds": round(seconds, 2),
        "grader": grader(submission.lesson),
    }


@cache
def grader(lesson: str | None) -> str:
    """A hash of everything a mark depends on besides the submission and the secret."""
    ours = [PACKAGE / name for name in (*INSIDE, "classroom/grading.py")]
    theirs = [Path(str(checks.load(e).__file__)) for e in checks.exercises(lesson)] if lesson else []
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in (*ours, *theirs))).hexdigest()[:16]


def _lessons() -> set[str]:
    return {editions.number(e) for e in checks.exercises()}


def _secret(out: Path) -> bytes:
    """The key that inputs are drawn with, out of OUT/secret, made if missing."""
    path = out / "secret"
    if not path.exists():
        write_text(path, secrets.token_hex(32) + "\n", private=True)
    return path.read_bytes().strip()


def _kept(path: Path) -> dict[str, Any] | None:
    """A result that was written before, or None where there is none, or none that is whole."""
    try:
        result = json.loads(path.read_text("utf-8"))
        return result if result["student"] is not None and "grader" in result and "exercises" in result else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")
