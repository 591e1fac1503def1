"""Reports on what was graded: marks under pseudonyms, feedback for each student, files for the gradebook of a course.

`report(OUT)` reads OUT/grades.json (its form: classroom/grading.py) and writes
    OUT/report/index.html              marks, rules, similarities; one file, no script, nothing from the network
    OUT/report/grades.csv, .json       one row per student, a column per exercise, the total; all details
    OUT/report/feedback/P-XXXX.ipynb   verdicts, marks, properties and hints of one student
    OUT/report/similarity.csv          pairs of answers that are more alike than honest ones
    OUT/pseudonyms.json                which student is which pseudonym: HMAC-SHA256 of the name under a key kept there;
                                       it stays with the instructor, and a second report finds the same pseudonyms
    OUT/moodle.csv, OUT/canvas.csv     only if asked: for the upload, and so with identities from the roster
    OUT/moodle-feedback.zip, ...       with them: each student's feedback under the name of the download it answers
Names stand in OUT/report only if asked. Whatever a student wrote is escaped wherever it is shown.
"""

from __future__ import annotations

import ast
import codecs
import csv
import difflib
import hashlib
import hmac
import html
import inspect
import io
import itertools
import json
import math
import re
import secrets
import statistics
import textwrap
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from diffrl_lab.classroom import grading, sandbox
from diffrl_lab.classroom.release import KEY_VERSION
from diffrl_lab.course import checks, editions
from diffrl_lab.files import write_text, written

ATTEMPTS = ("last", "best")
LMS = ("moodle", "canvas")
DAY = 24 * 3600
FORMULA = tuple("=+-@\t\r＝＋－＠")  # with these a spreadsheet takes a cell for a formula
LONGEST = 20_000  # characters of a cell that are compared
# what a report says of an exercise: neither seed nor times, which stand beside names in OUT/grades.json
SHOWN = ("marks", "of", "verdict", "properties", "form", "status", "note", "overridden")
GRAM, SHORTEST = 4, 15  # length of a piece of code, and how many pieces an answer must have to tell anything


@dataclass(frozen=True)
class Rules:
    """Which of several submissions counts, and what lateness costs. `deadlines` maps a lesson, or "" for all others.

    A submission that came d started days after its deadline keeps max(0, 1 - d * penalty) of its marks, and all of them
    within the `grace` of its lesson (or ""). `extensions` maps a student and a lesson, or "", to the student's own
    deadline, or to the time by which it is later. `weights` maps an exercise to what it is worth, 1 by default.
    attempts = "last": the last that came in time, or if none did the last; "best": the one with most marks, lateness
    deducted. Only notebooks that could be run are counted.
    """

    attempts: str = "last"
    deadlines: Mapping[str, datetime] = field(default_factory=dict)
    penalty: float = 0.1
    grace: Mapping[str, timedelta] = field(default_factory=dict)
    extensions: Mapping[str, Mapping[str, datetime | timedelta]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.attempts not in ATTEMPTS:
            raise ValueError(f"which attempt counts is one of {', '.join(ATTEMPTS)}; came {self.attempts!r}")
        if not 0 <= self.penalty <= 1:
            raise ValueError(f"the penalty is a share of the marks for each day, from 0 to 1; came {self.penalty}")
        for student, own in self.extensions.items():
            for lesson, until in own.items():
                common = self.deadlines.get(lesson, self.deadlines.get(""))
                if isinstance(until, datetime) and common is not None and until < common:
                    raise ValueError(f"the extension of {student!r} to {until} ends before the deadline, {common}")

    def deadline(self, lesson: str, student: str = "") -> datetime | None:
        """The time until which a student's submissions to a lesson are in time."""
        common = self.deadlines.get(lesson, self.deadlines.get(""))
        own = self.extensions.get(student, {})
        extended = own.get(lesson, own.get(""))
        if isinstance(extended, timedelta):
            return None if common is None else common + extended
        return extended or common

    def days_late(self, lesson: str, received: str, student: str = "") -> int:
        deadline = self.deadline(lesson, student)
        late = timedelta() if deadline is None else datetime.fromisoformat(received) - deadline
        within = late <= self.grace.get(lesson, self.grace.get("", timedelta()))
        return 0 if within else max(0, math.ceil(late.total_seconds() / DAY))

    def kept(self, lesson: str, received: str, student: str = "") -> float:
        return max(0.0, 1 - self.days_late(lesson, received, student) * self.penalty)

    def weight(self, exercise: str) -> float:
        return self.weights.get(exercise, 1.0)

    def __str__(self) -> str:
        counts = {"last": "the last submission in time (if none is, the last one)", "best": "the best submission"}
        text = f"{counts[self.attempts]} of each lesson counts"
        if self.deadlines:
            each = ", ".join(f"{k or 'all others'} {v.isoformat()}" for k, v in sorted(self.deadlines.items()))
            text += f"; deadlines: {each}; each started day after it costs {100 * self.penalty:g} % of the marks"
        if self.grace:
            each = ", ".join(f"{k or 'all others'} {v}" for k, v in sorted(self.grace.items()))
            text += f"; nothing is lost within (hours:minutes:seconds): {each}"
        if self.extensions:  # whose they are would join pseudonyms to names
            text += f"; {len(self.extensions)} with an extension"
        if self.weights:
            text += f"; weights: {', '.join(f'{e} {w:g}' for e, w in sorted(self.weights.items()))}, others 1"
        return text


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if len(text) == 10:
        time = time.replace(hour=23, minute=59, second=59)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _duration(text: str) -> timedelta:
    """ "45m", "6h" or "2d". Raises ValueError for anything else."""
    match = re.fullmatch(r" *(\d+(?:\.\d+)?) *([mhd]) *", text)
    if match is None:
        raise ValueError(f"a duration is a number and m, h or d (minutes, hours, days), such as 6h; came {text!r}")
    return float(match[1]) * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[match[2]]


def deadlines(words: Iterable[str]) -> dict[str, datetime]:
    """["01=2026-11-20T18:00Z", "2026-12-01"] -> {"01": ..., "": ...}; a time without zone is UTC, a date its end."""
    times: dict[str, datetime] = {}
    for word in words:
        lesson, _, text = word.rpartition("=")
        try:
            times[lesson] = _time(text)
        except ValueError:
            raise ValueError(f"a deadline is [LESSON=]TIME such as 01=2026-11-20T18:00+01:00; came {word!r}") from None
    return times


def report(
    out: Path,
    *,
    submissions: Path | None = None,
    roster: Path | None = None,
    key: Path | None = None,
    overrides: Path | None = None,
    rules: Rules = Rules(),
    names: bool = False,
    lms: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the report on a grading. -> its index page.

    `submissions` (the graded folder) is needed for similarities, and with the `key` of a release for the named
    mistakes; weights, grace and extensions are in the key too (`read_key`). `tell` gets a line for each difference
    between roster and submissions. Raises ValueError for files that are not what they should be, before anything is
    written.
    """
    grades = read_grades(out)
    people = read_roster(roster) if roster else {}
    unknown = [name for name in lms if name not in LMS]
    if unknown or lms and not people:
        raise ValueError(f"a file for {' or '.join(unknown or lms)} needs a roster, and knows {' and '.join(LMS)}")
    if key is not None and submissions is None:
        raise ValueError("the key says which mistake was put where; what was named is in the submissions: give both")
    facts = read_key(key) if key else Key()
    hidden = facts.bugs
    students = sorted({g["student"] for g in grades} | set(people))
    if strange := sorted(set(facts.extensions) - set(students)):
        raise ValueError(f"{key}: an extension for {', '.join(map(repr, strange))}, and no student is called so")
    rules = replace(rules, grace=facts.grace, extensions=facts.extensions, weights=facts.weights) if key else rules
    _compare(people, students, {g["student"] for g in grades}, tell)
    counted = {s: chosen([g for g in grades if g["student"] == s], rules) for s in students}
    every = [g for c in counted.values() for g in c.values()]
    texts = {id(g): notebook(submissions, g, out) for g in every} if submissions else {}
    book = {
        s: {lesson: _marks(g, rules, hidden.get(lesson), texts.get(id(g))) for lesson, g in counted[s].items()}
        for s in students
    }
    worth = _worth(grades, hidden, rules)
    sheet = {s: {e: entry for each in book[s].values() for e, entry in each.items()} for s in students}
    if overrides:
        _override(sheet, read_overrides(overrides, worth, students), worth)
    alias = pseudonyms(students, out / "pseudonyms.json")
    title = {
        s: f"{people[s]['name'] or s} ({alias[s]})" if names and s in people else s if names else alias[s]
        for s in students
    }
    alike = (
        similarities(
            {
                s: {e: n for g in counted[s].values() for e, n in answers(texts.get(id(g)) or []).items()}
                for s in students
            },
            hidden,
            sheet,
        )
        if submissions
        else None
    )
    if alike is not None:  # in the order of titles, for that of names would tell who is who
        pairs = [(*sorted((title[a], title[b])), *rest) for a, b, *rest in alike]
        alike = sorted(pairs, key=lambda r: (-r[3], r[2], r[0], r[1]))
    aside = [g for g in grades if not any(g is c for c in counted[g["student"]].values())]
    order = sorted(students, key=lambda s: title[s])
    about = {"rules": str(rules), "made": datetime.now(UTC).isoformat(timespec="seconds"), "worth": worth}

    shown = {s: {e: {k: v for k, v in sheet[s][e].items() if k in SHOWN} for e in sheet[s]} for s in order}
    rows = [
        {"student": title[s], "exercises": shown[s], "total": _total(sheet[s]), "of": sum(worth.values())}
        for s in order
    ]
    head = ["student", *worth, "total"]
    marks = {s: [*(_given(sheet[s].get(e)) for e in worth), _total(sheet[s])] for s in order}
    outsiders = [title[s] for s in order if people and s not in people]
    with written(out / "report") as folder:
        for s in order:
            rest = [g for g in aside if g["student"] == s]
            page = _feedback(title[s], sheet[s], worth, rest, str(rules))
            editions.write(page, folder / "feedback" / f"{alias[s]}.ipynb")
        write_text(folder / "grades.json", json.dumps(about | {"students": rows}, indent=1) + "\n")
        _csv(folder / "grades.csv", [head, *([title[s], *marks[s]] for s in order)])
        if alike is not None:
            _csv(folder / "similarity.csv", [list(ALIKE), *alike])
        write_text(folder / "index.html", _page(order, title, alias, sheet, worth, about, alike, outsiders))
    for name in lms:
        _csv(out / f"{name}.csv", _upload(name, people, sheet, worth), plain=True)
        places = {s: {g["file"] for g in grades if g["student"] == s} for s in order}
        packed = pack(
            out / f"{name}-feedback.zip",
            name,
            {s: files for s, files in places.items() if files},
            {s: out / "report" / "feedback" / f"{alias[s]}.ipynb" for s in order},
        )
        if lost := [s for s in order if places[s] and s not in packed]:
            tell(f"not in {name}-feedback.zip, for their files are not named as {name.title()} does: {', '.join(lost)}")
    return out / "report" / "index.html"


# ------------------------------------------------------------------------------------------------------- what is read
def read_grades(out: Path) -> list[dict[str, Any]]:
    """OUT/grades.json. ValueError where there is none, or another thing."""
    try:
        grades = json.loads((out / "grades.json").read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no grades.json in {out}: diffrl-lab course grade SUBMISSIONS --out {out}") from None
    wanted = {"student", "file", "sha256", "received", "lesson", "exercises", "status"}
    if not isinstance(grades, list) or any(not isinstance(g, dict) or wanted - set(g) for g in grades):
        raise ValueError(f"{out / 'grades.json'} is not a list of graded submissions")
    return [g | {"student": _composed(str(g["student"]))} for g in grades]


def _composed(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split())


def _compare(people: Iterable[str], students: Sequence[str], came: set[str], tell: Callable[[str], None]) -> None:
    """Say who is in the roster alone, and who in the submissions alone and so in no file for a gradebook."""
    silent = [s for s in students if s not in came]
    for s in students if people else ():
        if s not in set(people):
            like = difflib.get_close_matches(s, silent, 1)
            tell(f"not in the roster, and in no gradebook: {ascii(s)[1:-1]}" + (f"; is it {like[0]}?" if like else ""))
    if silent:
        tell(f"nothing came from {len(silent)} of the roster: {', '.join(silent)}")


def read_roster(path: Path) -> dict[str, dict[str, str]]:
    """A CSV with a column `student` (as the submissions are called) and, if wanted, name, id, email, section."""
    people: dict[str, dict[str, str]] = {}
    for number, row in _rows(path, ("student",)):
        student = _composed(row["student"])
        if not student or student in people:
            raise ValueError(f"{path.name}, line {number}: student {student!r} is empty or there twice")
        people[student] = {k: row.get(k, "") for k in ("name", "id", "email", "section")}
    return people


def read_overrides(path: Path, worth: Mapping[str, float], students: Iterable[str]) -> dict[tuple[str, str], Any]:
    """A CSV student, exercise, marks, reason. -> {(student, exercise): (marks, reason)}; ValueError names the line."""
    changes: dict[tuple[str, str], Any] = {}
    known = set(students)
    for number, row in _rows(path, ("student", "exercise", "marks", "reason")):
        at, pair = f"{path.name}, line {number}", (_composed(row["student"]), row["exercise"])
        if pair[0] not in known:
            raise ValueError(f"{at}: no student is called {row['student']!r}")
        if row["exercise"] not in worth:
            raise ValueError(f"{at}: no exercise is called {row['exercise']!r}; there are {', '.join(worth)}")
        try:
            marks = float(row["marks"].replace(",", "."))
        except ValueError:
            marks = math.nan
        if not 0 <= marks <= worth[row["exercise"]]:
            raise ValueError(f"{at}: marks are a number from 0 to {worth[row['exercise']]:g}; came {row['marks']!r}")
        if not row["reason"]:
            raise ValueError(f"{at}: a reason is wanted")
        if pair in changes:
            raise ValueError(f"{at}: {' '.join(pair)} is there twice")
        changes[pair] = marks, row["reason"]
    return changes


def _rows(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, column -> text) of a CSV as spreadsheets write it: commas, semicolons or tabs, blanks, empty lines."""
    text = _text(path)
    if re.match(r"sep=.\r?\n", text):
        text = text.split("\n", 1)[1]

    def read(delimiter: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        try:
            rows = [(reader.line_num, [v.strip() for v in row]) for row in reader]
        except csv.Error as error:
            raise ValueError(f"{path.name}, line {reader.line_num}: {error}; save it as CSV UTF-8") from None
        rows = [(number, row) for number, row in rows if any(row)]
        return ([h.casefold() for h in rows[0][1]], rows[1:]) if rows else ([], [])

    delimiter = max(",;\t", key=lambda d: len(set(wanted) & set(read(d)[0])))
    head, rows = read(delimiter)
    missing = [name for name in wanted if name not in head]
    if missing:
        came = f"the first line holds {', '.join(map(repr, head))}" if head else "it is empty"
        problem = f"{path.name} needs the columns {', '.join(wanted)}; it lacks {', '.join(missing)}; {came}"
        raise ValueError(f"{problem}. Save it as CSV UTF-8, with commas or semicolons")
    if twice := sorted({h for h in head if h and head.count(h) > 1}):
        raise ValueError(f"{path.name} has the column {', '.join(twice)} twice")
    for number, row in rows:
        if any(row[len(head) :]):
            more = f"{len(row)} fields, and there are {len(head)} columns"
            raise ValueError(f"{path.name}, line {number}: {more}; put quotes around what holds a {delimiter!r}")
        yield number, dict(zip(head, row + [""] * len(head), strict=False))


def _text(path: Path) -> str:
    raw = path.read_bytes()
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        if b"\0" in raw and not wide:
            raise UnicodeError("it holds NUL")
        return raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeError as error:
        problem = f"{path.name} is not UTF-8 ({error})"
        raise ValueError(f"{problem}: save it as CSV UTF-8, for in another encoding names cannot be told") from None


@dataclass(frozen=True)
class Key:
    """What the instructor knows: lesson -> the bug that a release put into it, and fields of `Rules`."""

    bugs: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    grace: Mapping[str, timedelta] = field(default_factory=dict)
    extensions: Mapping[str, Mapping[str, datetime | timedelta]] = field(default_factory=dict)


def read_key(path: Path) -> Key:
    """The key that classroom/release.py wrote, with what was added by hand:

    "weights": {"01.betas": 2, "01.mistake": 0.5}         what an exercise is worth; 1 if it is not named
    "grace": "30m", or {"01": "6h", "": "30m"}            within it lateness costs nothing; "" is for all other lessons
    "extensions": {"ada": "2d", "bob": {"01": "2026-11-25T18:00+01:00"}}         later by that, or until then

    Raises ValueError, which names the file, for another file and for values that cannot be.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.get("version") != KEY_VERSION or "lessons" not in content:
            raise ValueError("it is not the key of a release")
        bugs = {lesson: entry["bug"] for lesson, entry in content["lessons"].items() if entry["bug"]}
        weights = dict(content.get("weights") or {})
        known = [*checks.exercises(), *(f"{lesson}.mistake" for lesson in _lessons())]
        for exercise, weight in weights.items():
            if exercise not in known:
                raise ValueError(f"weights: no exercise is called {exercise!r}; there are {', '.join(known)}")
            if type(weight) not in (int, float) or not 0 <= weight < math.inf:
                raise ValueError(f"weights: that of {exercise} is a number from 0; came {weight!r}")
        grace = {k: _duration(v) for k, v in _by_lesson(content.get("grace") or {}, "grace").items()}
        extensions: dict[str, Mapping[str, datetime | timedelta]] = {}
        for student, later in (content.get("extensions") or {}).items():
            each = _by_lesson(later, f"extensions of {student}")
            extensions[_composed(student)] = {k: _until(v) for k, v in each.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from None
    return Key(bugs, weights, grace, extensions)


def _lessons() -> list[str]:
    return sorted({editions.number(e) for e in checks.exercises()})


def _by_lesson(value: Any, what: str) -> dict[str, str]:
    """{"": value} for a text that holds for every lesson; ValueError for a lesson that is none and for no text."""
    each = {"": value} if isinstance(value, str) else dict(value)
    for lesson, text in each.items():
        if lesson and lesson not in _lessons() or not isinstance(text, str):
            wanted = f"a lesson ({', '.join(_lessons())}, or nothing for all) and a text are wanted"
            raise ValueError(f"{what}: {wanted}; came {lesson!r}: {text!r}")
    return each


def _until(text: str) -> datetime | timedelta:
    try:
        return _time(text)
    except ValueError:
        return _duration(text)


def notebook(folder: Path, graded: Mapping[str, Any], out: Path | None = None) -> list[str] | None:
    """The code cells of a submission as it was graded, out of `folder`, or where it changed since out of the copy in
    `out`; None where neither is there, or it is no notebook."""
    if graded["status"] != "ok":
        return None
    copy = [out / "submissions" / f"{graded['sha256']}.ipynb"] if out else []
    for path in (folder / graded["file"], *copy):
        try:
            raw = grading.content(path)[0]
        except OSError:
            continue
        if raw is not None and hashlib.sha256(raw).hexdigest() == graded["sha256"]:
            try:
                return [text for text in sandbox.cells(raw) if len(text) <= LONGEST]
            except sandbox.Unusable:
                return None
    return None


def pseudonyms(students: Iterable[str], path: Path) -> dict[str, str]:
    """student -> "P-XXXX...", kept in `path` with its key, which is drawn the first time. The file is the owner's."""
    record: dict[str, Any] = {"key": secrets.token_hex(16), "students": {}}
    if path.exists():
        record = json.loads(path.read_text("utf-8"))
    taken = {_composed(s): p for s, p in record["students"].items()}
    for s in sorted(set(students) - set(taken)):
        digest = hmac.digest(bytes.fromhex(record["key"]), s.encode(errors="surrogatepass"), "sha256").hex().upper()
        taken[s] = next(p for n in range(6, 64) if (p := f"P-{digest[:n]}") not in taken.values())
    write_text(path, json.dumps(record | {"students": taken}, indent=1), private=True)
    return taken


# -------------------------------------------------------------------------------------------------------------- marks
def chosen(graded: Sequence[dict[str, Any]], rules: Rules) -> dict[str, dict[str, Any]]:
    """Lesson -> the one of a student's submissions that counts; those that could not be run only if no other came."""
    picks = {}
    for lesson in sorted({g["lesson"] for g in graded if g["lesson"]}):
        mine = sorted((g for g in graded if g["lesson"] == lesson), key=lambda g: (g["received"], g["file"]))
        mine = [g for g in mine if g["status"] == "ok"] or mine
        if rules.attempts == "best":
            picks[lesson] = max(mine, key=lambda g: _earned(g, rules) * rules.kept(lesson, g["received"], g["student"]))
        else:
            in_time = [g for g in mine if not rules.days_late(lesson, g["received"], g["student"])]
            picks[lesson] = (in_time or mine)[-1]
    return picks


def _earned(graded: Mapping[str, Any], rules: Rules) -> float:
    return sum(entry["marks"] * rules.weight(e) for e, entry in graded["exercises"].items())


def _marks(graded: Mapping[str, Any], rules: Rules, bug: Mapping[str, Any] | None, cells: list[str] | None) -> dict:
    """Exercise -> its entry of the grading, with what lateness leaves of its marks and a word on what was changed."""
    lesson = graded["lesson"]
    when = lesson, graded["received"], graded["student"]
    share, days = rules.kept(*when), rules.days_late(*when)
    entries = {e: dict(entry, note="") for e, entry in graded["exercises"].items()}
    if bug is not None and cells is not None:
        if bug["exercise"] in entries and _untouched(cells, bug):
            entries[bug["exercise"]] |= {"marks": 0.0, "note": "the colleague's code as it was handed out"}
        named = _named(cells)
        right = named == bug["mistake"]
        entries[f"{lesson}.mistake"] = {
            "marks": float(right),
            "of": 1.0,
            "properties": {},
            "status": "ok" if right else "wrong" if named else "unsolved",
            "note": "",
            "verdict": "the mistake was named" if right else "another mistake was named" if named else "none was named",
        }
    for exercise, entry in entries.items():
        entry["marks"], entry["of"] = (entry[k] * rules.weight(exercise) for k in ("marks", "of"))
        if days:
            late = f"{days} day{'s' * (days > 1)} late: {share:.0%} of the marks"
            entry["note"] = ", ".join(filter(None, (entry["note"], late)))
            entry["marks"] = entry["marks"] * share
        entry["marks"] = round(entry["marks"], 4)
    return entries


def _worth(grades: Iterable[Mapping[str, Any]], hidden: Iterable[str], rules: Rules = Rules()) -> dict[str, float]:
    """Exercise -> the most marks it can give, in the order of the lessons."""
    worth: dict[str, float] = {}
    for graded in sorted(grades, key=lambda g: g["lesson"] or ""):
        for exercise, entry in graded["exercises"].items():
            worth[exercise] = max(worth.get(exercise, 0.0), entry["of"])
    worth |= {f"{lesson}.mistake": 1.0 for lesson in hidden if any(e.startswith(f"{lesson}.") for e in worth)}
    return {e: worth[e] * rules.weight(e) for e in sorted(worth, key=editions.number)}


def _override(
    sheet: dict[str, dict[str, Any]], overrides: Mapping[tuple[str, str], Any], worth: Mapping[str, float]
) -> None:
    for (student, exercise), (marks, reason) in overrides.items():
        fresh = {
            "of": worth[exercise],
            "verdict": "no submission",
            "properties": {},
            "status": "missing",
            "note": "",
            "marks": 0.0,
        }
        entry = sheet[student].setdefault(exercise, fresh)
        note = f"set by hand to {marks:g} (graded: {entry['marks']:g}): {reason}"
        entry |= {"marks": marks, "overridden": reason, "note": ", ".join(filter(None, (entry["note"], note)))}


def _named(cells: Iterable[str]) -> str | None:
    """The last letter that a notebook gives to `mistake`, read and not run."""
    letter = None
    for tree in _trees(cells):
        for node in tree.body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Constant)
                and any(isinstance(t, ast.Name) and t.id == "mistake" for t in node.targets)
            ):
                letter = node.value.value
    return letter.strip().lower() if isinstance(letter, str) else None


def _untouched(cells: list[str], bug: Mapping[str, Any]) -> bool:
    mine = answers(cells).get(bug["exercise"])
    return isinstance(mine, ast.FunctionDef) and words(mine) == words(_shown(bug, mine))


def _shown(bug: Mapping[str, Any], like: ast.FunctionDef) -> ast.AST:
    """The code of a bug as it was handed out, as a function with the arguments of another."""
    arguments = ", ".join(a.arg for a in like.args.args)
    return ast.parse(f"def f({arguments}):\n{textwrap.indent(bug['body'], '    ')}").body[0]


# -------------------------------------------------------------------------------------------------------- similarities
ALIKE = ("student", "other", "exercise", "similarity", "honest", "median", "to the ladder", "pieces", "both wrong")


def answers(cells: Iterable[str]) -> dict[str, ast.AST]:
    """Exercise -> what a notebook hands to its check: the definition of that name, or the expression itself."""
    named: dict[str, ast.AST] = {}
    nodes: dict[str, ast.AST] = {}
    for tree in _trees(cells):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                named[node.name] = node
            elif isinstance(node, ast.Assign):
                named |= {t.id: node.value for t in node.targets if isinstance(t, ast.Name)}
        for exercise, answer in sandbox.asked(tree):
            nodes[exercise] = named.get(answer.id, answer) if isinstance(answer, ast.Name) else answer
    return nodes


def _trees(cells: Iterable[str]) -> Iterator[ast.Module]:
    for text in cells:
        try:
            yield sandbox.parsed(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue


def pieces(answer: ast.AST) -> frozenset[tuple[str, ...]]:
    """All runs of GRAM words of an answer."""
    tokens = words(answer)
    return frozenset(zip(*(tokens[i:] for i in range(GRAM)), strict=False))


def words(answer: ast.AST) -> list[str]:
    """The nodes of an answer's tree in reading order; its own names, types and comments do not count.

    Without recursion, for a submission may be nested as deep as it likes.
    """
    own: dict[str, str] = {}
    bound = {n.arg for n in ast.walk(answer) if isinstance(n, ast.arg)}
    bound |= {n.id for n in ast.walk(answer) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    tokens = []
    stack: list[Any] = [answer]
    while stack:
        node = stack.pop()
        word = type(node).__name__
        if isinstance(node, ast.Name):
            word = own.setdefault(node.id, f"v{len(own)}") if node.id in bound else node.id
        elif isinstance(node, ast.Attribute):
            word = f".{node.attr}"
        elif isinstance(node, ast.Constant):
            word = repr(node.value)[:40] if not isinstance(node.value, int) or abs(node.value) < 1e9 else "int"
        elif isinstance(node, ast.keyword):
            word = f"{node.arg}="
        elif isinstance(node, ast.arg):
            own.setdefault(node.arg, f"v{len(own)}")
            continue
        tokens.append(word)
        children = (
            [*node.args.args, *_bare(node.body)]
            if isinstance(node, ast.FunctionDef)
            else [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr_context)]
        )
        if isinstance(node, ast.AnnAssign):
            children = [node.target, *([node.value] if node.value else [])]
        stack += reversed(children)
    return tokens


def _bare(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """A function's statements without its docstring."""
    first = body[0]
    doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return list(body[1:] if doc else body)


def likeness(a: frozenset, b: frozenset) -> float:
    """Jaccard similarity |a & b| / |a | b| of two sets of pieces, 0 for two empty ones."""
    return len(a & b) / len(a | b) if a | b else 0.0


@cache
def right(exercise: str) -> tuple[frozenset, ...]:
    """The pieces of an exercise's own right answers, which were written differently on purpose."""
    trees = [
        ast.parse(textwrap.dedent(inspect.getsource(a))).body[0]
        for a in checks.load(exercise).RIGHT
        if inspect.isfunction(a)
    ]
    return tuple(pieces(tree) for tree in trees if isinstance(tree, ast.FunctionDef))


@cache
def _handed_out(lesson: str) -> dict[str, ast.AST]:
    """Exercise -> the stub that our own edition holds; none for a lesson that is not there."""
    here = [source for source in editions.sources() if editions.number(source.stem) == lesson]
    return answers([c.source for source in here for c in editions.edition(source).cells if c.cell_type == "code"])


def similarities(
    cohort: Mapping[str, Mapping[str, ast.AST]], hidden: Mapping[str, Mapping[str, Any]], sheet: Mapping[str, Any]
) -> list[tuple]:
    """Pairs of answers more alike than honest ones, the most alike first: rows as in ALIKE.

    What was handed out (the stub; a bug's code) is subtracted first. A row is given where both answers have at least
    SHORTEST pieces left and the similarity lies more than half-way from what is to be expected to 1. Expected is the
    largest of three: the similarity of this exercise's own right answers; the cohort's median over all pairs, if they
    are at least ten; and how alike both are to the solution at the top of the ladder, which everybody may open.
    """
    rows = []
    for exercise in sorted({e for mine in cohort.values() for e in mine} & set(checks.exercises())):
        stub = _handed_out(editions.number(exercise)).get(exercise)
        given = pieces(stub) if stub is not None else frozenset()
        bug = hidden.get(editions.number(exercise))
        if bug and bug["exercise"] == exercise and isinstance(stub, ast.FunctionDef):
            given |= pieces(_shown(bug, stub))
        each = {s: pieces(mine[exercise]) - given for s, mine in cohort.items() if exercise in mine}
        each = {s: p for s, p in each.items() if len(p) >= SHORTEST}
        own = [p - given for p in right(exercise)]
        honest = max((likeness(a, b) for a, b in itertools.combinations(own, 2)), default=0.0)
        pairs = {(a, b): likeness(each[a], each[b]) for a, b in itertools.combinations(sorted(each), 2)}
        median = statistics.median(pairs.values()) if len(pairs) >= 10 else 0.0  # of few pairs it says nothing
        for (a, b), value in pairs.items():
            ladder = min(likeness(each[a], own[0]), likeness(each[b], own[0])) if own else 0.0
            if value > (1 + max(honest, median, ladder)) / 2:
                wrong = all(sheet[s].get(exercise, {}).get("status") == "wrong" for s in (a, b))
                few = min(len(each[a]), len(each[b]))
                rows.append((a, b, exercise, *(round(v, 2) for v in (value, honest, median, ladder)), few, wrong))
    return sorted(rows, key=lambda r: (-r[3], r[2], r[0], r[1]))


# ----------------------------------------------------------------------------------------------------- what is written
def _total(mine: Mapping[str, Any]) -> float:
    return round(sum(entry["marks"] for entry in mine.values()), 2)


def _given(entry: Any) -> float | str:
    return "" if entry is None else round(entry["marks"], 2)


def cell(value: Any) -> Any:
    """A value for a CSV file; text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if not isinstance(value, str):
        return value
    text = "".join(c if c.isprintable() else " " for c in value)
    return f"'{text}" if value.lstrip(" \n").startswith(FORMULA) else text


def _csv(path: Path, rows: Iterable[Sequence[Any]], plain: bool = False) -> None:
    """A table that Excel reads. `plain`: with the mark of UTF-8 left out, which importers read as text."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows([[cell(v) for v in row] for row in rows])
    with written(path) as beside:
        beside.write_bytes(buffer.getvalue().encode("utf-8" if plain else "utf-8-sig"))


def _upload(
    name: str, people: Mapping[str, Mapping[str, str]], sheet: Mapping[str, Any], worth: Mapping[str, float]
) -> list[list[Any]]:
    """The rows of a file for a gradebook: Moodle maps any columns; Canvas wants these first, and the points below."""
    marks = {s: [_given(sheet[s].get(e)) for e in worth] + [_total(sheet[s])] for s in people}
    if name == "moodle":
        return [
            ["ID number", "Email address", *worth, "Total"],
            *([people[s]["id"], people[s]["email"], *marks[s]] for s in people),
        ]
    points = ["    Points Possible", "", "", "", *worth.values(), sum(worth.values())]
    return [
        ["Student", "ID", "SIS Login ID", "Section", *worth, "Total"],
        points,
        *(
            [people[s]["name"] or s, people[s]["id"], people[s]["email"], people[s]["section"], *marks[s]]
            for s in people
        ),
    ]


def pack(path: Path, name: str, files: Mapping[str, Iterable[str]], feedback: Mapping[str, Path]) -> set[str]:
    """A zip of feedback as an LMS takes it back: each student's notebook under every name that the download gave to
    what the student handed in. files: student -> paths of submissions; feedback: student -> the notebook. -> who is in.

    Moodle ("Upload multiple feedback files in a zip") finds the student by the folder
    NAME_NUMBER_assignsubmission_file_ or by a file name that begins so; Canvas ("Upload submissions") by the whole name
    of the file. No file is written where nobody's files are named so.
    """
    path.unlink(missing_ok=True)
    entries: dict[str, str] = {}
    for student, paths in files.items():
        for part in (part for file in paths for part in Path(file).parts if grading.source(part) == name):
            if not part.lower().endswith(".zip"):
                within = part if part.lower().endswith(".ipynb") else f"{part}/feedback.ipynb"
                entries[within] = student
    if entries:
        with written(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            for within, student in sorted(entries.items()):
                # a date of its own would make two zips of the same feedback differ
                archive.writestr(zipfile.ZipInfo(within), feedback[student].read_bytes(), zipfile.ZIP_DEFLATED)
    return set(entries.values())


def markdown(text: str) -> str:
    """Text as Markdown that shows exactly this text: whatever is not a letter, digit or space becomes an entity."""
    return "".join(c if c.isalnum() or c in " ," else f"&#{ord(c)};" if c.isprintable() else " " for c in str(text))


def _feedback(
    title: str, mine: Mapping[str, Any], worth: Mapping[str, float], aside: Sequence[Mapping[str, Any]], rules: str
) -> Any:
    import nbformat

    write = nbformat.v4.new_markdown_cell
    every = sum(of for e, of in worth.items() if e in mine)
    lines = [
        f"# Feedback for {markdown(title)}",
        "",
        f"**{_total(mine):g} of {every:g}** for what was handed in. Rules: {markdown(rules)}.",
        "",
        "| exercise | marks | of | |",
        "|---|---:|---:|---|",
    ]
    sign = {"ok": "✓ solved", "unsolved": "○ not solved yet", "missing": "○ missing"}
    for e in (e for e in worth if e in mine):
        entry = mine[e]
        lines.append(f"| {markdown(e)} | {entry['marks']:g} | {entry['of']:g} | {sign.get(entry['status'], '✗')} |")
    if not mine:
        lines = [f"# Feedback for {markdown(title)}", "", "Nothing was handed in."]
    cells = [write("\n".join(lines), id="marks")]
    for e in (e for e in worth if e in mine):
        entry = mine[e]
        text = [f"## {markdown(e)}", "", f"{entry['marks']:g} of {entry['of']:g}. {markdown(entry['verdict'])}"]
        if entry["note"]:
            text += ["", f"*{markdown(entry['note'])}*"]
        text += ["", *(f"- {'✓' if holds else '✗'} {markdown(p)}" for p, holds in entry["properties"].items())]
        if entry["status"] != "ok" and e in checks.exercises():
            text += ["", *(f"> Hint: {markdown(h)}\n" for h in checks.load(e).HINTS)]
        cells.append(write("\n".join(text).rstrip(), id=e.replace(".", "-")))
    if aside:
        rows = [f"- lesson {g['lesson']}, {markdown(g['received'][:10])}: {markdown(g['status'])}" for g in aside]
        cells.append(write("\n".join(["## Not counted", "", *rows]), id="aside"))
    return nbformat.v4.new_notebook(cells=cells, metadata=editions.METADATA)


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse } caption { text-align: left; font-weight: 600; padding: .4rem 0 }
th, td { border: 1px solid #767676; padding: .25rem .5rem; text-align: right }
th[scope=row], td.text { text-align: left } thead th { background: #eee } .wide { overflow-x: auto }
a { color: #0645ad } :focus { outline: 3px solid #0645ad }
"""
ALIKE_MEANS = """<p>Stubs and bugs as handed out are subtracted; names, types and comments do not count.
<em>Honest</em> is how alike this exercise's own right answers are, which were written differently on purpose;
<em>median</em> that of all pairs of this cohort, 0 where there are few; <em>to the ladder</em> how alike both are to
the solution that <code>hint()</code> opens to everybody. A row is a reason to read both answers and to talk, and no
proof.</p>
"""


def _table(caption: str, head: str, body: str, foot: str = "") -> str:
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>\n<tfoot>{foot}</tfoot></table></div>"
    )


def _page(
    order: Sequence[str],
    title: Mapping[str, str],
    alias: Mapping[str, str],
    sheet: Mapping[str, Any],
    worth: Mapping[str, float],
    about: Mapping[str, Any],
    alike: list[tuple] | None,
    outsiders: Sequence[str],
) -> str:
    """The index page. Every text that is not this module's own passes `safe`."""
    safe = html.escape

    def mark(entry: Mapping[str, Any] | None) -> str:
        if entry is None:
            return '<td><span aria-label="nothing handed in">–</span></td>'
        by_hand = " (by hand)" if "overridden" in entry else ""
        late = " (late)" if " late: " in entry["note"] else ""
        return f"<td>{round(entry['marks'], 2):g}{by_hand}{late}</td>"

    def heads(names: Iterable[str]) -> str:
        return "".join(f'<th scope="col">{name}</th>' for name in names)

    def row(head: str, cells: Iterable[str]) -> str:
        return f'<tr><th scope="row">{head}</th>{"".join(cells)}</tr>'

    body = "".join(
        row(
            f'<a href="feedback/{alias[s]}.ipynb">{safe(title[s])}</a>',
            [*(mark(sheet[s].get(e)) for e in worth), f"<td><b>{_total(sheet[s]):g}</b></td>"],
        )
        for s in order
    )
    came = {e: [sheet[s][e] for s in order if e in sheet[s]] for e in worth}
    foot = row(
        "mean of what was handed in",
        [
            *(f"<td>{statistics.mean(c['marks'] for c in e):.2f}</td>" if e else "<td>–</td>" for e in came.values()),
            f"<td>{statistics.mean(map(_total, sheet.values())) if sheet else 0:.2f}</td>",
        ],
    )
    foot += row(
        "solved",
        [*(f"<td>{sum(c['status'] == 'ok' for c in each)} of {len(each)}</td>" for each in came.values()), "<td></td>"],
    )
    head = heads(
        ["student", *(f"{safe(e)}<br>of {of:g}" for e, of in worth.items()), f"total<br>of {sum(worth.values()):g}"]
    )
    notes = "".join(
        f"<li>{safe(title[s])}, {safe(e)}: {safe(entry['note'])}</li>"
        for s in order
        for e, entry in sheet[s].items()
        if entry["note"]
    )
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>Marks</title><style>{STYLE}</style></head><body><main><h1>Marks</h1>",
        f"<p>{len(order)} students, {len(worth)} exercises, made {safe(about['made'])}. Rules: {safe(about['rules'])}.",
        'Files: <a href="grades.csv">grades.csv</a>, <a href="grades.json">grades.json</a>.</p>',
        f"<p>Not in the roster: {safe(', '.join(outsiders))}.</p>" if outsiders else "",
        _table("Marks by student and exercise", head, body, foot),
        f"<h2>Changed marks</h2><ul>{notes}</ul>" if notes else "",
    ]
    if alike is not None:
        parts += ["<h2>Answers that are more alike than honest ones</h2>", ALIKE_MEANS]
        rows = "".join(
            "<tr>" + "".join(f'<td class="text">{safe(str(v))}</td>' for v in pair) + "</tr>" for pair in alike
        )
        parts.append(_table("Pairs of similar answers", heads(ALIKE), rows) if alike else "<p>None.</p>")
    return "\n".join(p for p in parts if p) + "</main></body></html>\n"
