"""Reports: marks as the rules say, names where they belong, hostile text shown as text, similar answers held against
honest ones."""

from __future__ import annotations

import ast
import csv
import hashlib
import html.parser
import inspect
import itertools
import json
import re
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from diffrl_lab.classroom import release
from diffrl_lab.classroom import report as reports
from diffrl_lab.course import checks

HOSTILE = "=cmd|'/c calc'!A1 <script>alert(1)</script> \"&' [x](javascript:alert(1)) | `a` $x$"
STEP = """def ancestral_step(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s, z):
    ratio = alpha_t * sigma_s / (alpha_s * sigma_t)
    std = sigma_s * (1 - ratio**2) ** 0.5
    eps = (x_t - alpha_t * x0_hat) / sigma_t
    return alpha_s * x0_hat + (sigma_s**2 - std**2) ** 0.5 * eps + std * z"""
RENAMED = '''def ancestral_step(x_t: float, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s, z) -> float:
    """All mine."""
    q = alpha_t * sigma_s / (alpha_s * sigma_t)  # no doubt
    w = sigma_s * (1 - q**2) ** 0.5
    e = (x_t - alpha_t * x0_hat) / sigma_t
    return alpha_s * x0_hat + (sigma_s**2 - w**2) ** 0.5 * e + w * z'''


def entry(marks: float = 1.0, status: str = "ok", verdict: str = "right") -> dict[str, Any]:
    return {
        "marks": marks,
        "of": 1.0,
        "verdict": verdict,
        "properties": {"input 1": marks > 0, "input 2": marks == 1},
        "form": True,
        "status": status,
        "seed": 1,
    }


def graded(
    student: str,
    lesson: str | None = "01",
    received: str = "2026-11-20T12:00:00+00:00",
    status: str = "ok",
    name: str = "a.ipynb",
    **exercises: dict[str, Any],
) -> dict[str, Any]:
    each = {k.replace("_", ".", 1).removeprefix("e"): v for k, v in exercises.items()}
    return {
        "student": student,
        "file": f"{student}/{name}",
        "sha256": None,
        "received": received,
        "lesson": lesson,
        "exercises": each,
        "total": sum(e["marks"] for e in each.values()),
        "of": float(len(each)),
        "status": status,
        "seconds": 1.0,
        "grader": "x",
    }


@pytest.fixture
def out(tmp_path: Path) -> Callable[..., Path]:
    def write(*found: dict[str, Any]) -> Path:
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        (folder / "grades.json").write_text(json.dumps(found))
        return folder

    return write


def file(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def table(out: Path, name: str = "report/grades.csv") -> dict[str, dict[str, str]]:
    with open(out / name, newline="", encoding="utf-8-sig") as held:
        return {row[next(iter(row))]: row for row in csv.DictReader(held)}


def alias(out: Path) -> dict[str, str]:
    return json.loads((out / "pseudonyms.json").read_text())["students"]


def marks(out: Path, student: str, exercise: str = "01.floor") -> str:
    return table(out)[alias(out)[student]][exercise]


# --------------------------------------------------------------------------------------------------------------- marks
def test_a_row_has_a_column_for_each_exercise_and_the_total(out: Any) -> None:
    first = graded("ada", e01_floor=entry(), e01_draw=entry(0.25, "wrong"))
    folder = out(graded("ada", "04", e04_pin=entry(0.5)), first)
    reports.report(folder)
    row = table(folder)[alias(folder)["ada"]]
    assert list(row) == ["student", "01.floor", "01.draw", "04.pin", "total"]
    assert (row["01.floor"], row["01.draw"], row["04.pin"], row["total"]) == ("1.0", "0.25", "0.5", "1.75")


def test_the_last_submission_in_time_counts_or_the_best(out: Any) -> None:
    folder = out(
        graded("ada", received="2026-11-20T10:00:00+00:00", name="1", e01_floor=entry(0.75)),
        graded("ada", received="2026-11-20T12:00:00+00:00", name="2", e01_floor=entry(0.25)),
        graded("ada", received="2026-11-21T12:00:00+00:00", name="3", e01_floor=entry(1.0)),
    )
    due = reports.deadlines(["01=2026-11-20T18:00+00:00"])
    wanted = {("last", 0.1): "0.25", ("best", 0.1): "0.9", ("best", 0.5): "0.75"}
    for (attempts, penalty), value in wanted.items():
        reports.report(folder, rules=reports.Rules(attempts, due, penalty))
        assert marks(folder, "ada") == value
    reports.report(folder)
    assert marks(folder, "ada") == "1.0", "without a deadline the last counts"


@pytest.mark.parametrize(
    ("received", "kept"),
    [
        ("2026-11-20T18:00:00+00:00", 1.0),
        ("2026-11-20T18:00:01+00:00", 0.8),
        ("2026-11-21T18:00:00+00:00", 0.8),
        ("2026-11-21T18:00:01+00:00", 0.6),
        ("2026-12-20T18:00:00+00:00", 0.0),
    ],
)
def test_each_started_day_costs_its_share_and_never_more_than_all(received: str, kept: float) -> None:
    rules = reports.Rules("last", reports.deadlines(["01=2026-11-20T19:00+01:00"]), 0.2)
    assert rules.kept("01", received) == pytest.approx(kept) and rules.kept("04", received) == 1


def test_a_late_submission_is_marked_down_and_says_so(out: Any) -> None:
    folder = out(graded("ada", received="2026-11-21T12:00:00+00:00", e01_floor=entry(0.5)))
    page = reports.report(folder, rules=reports.Rules("last", reports.deadlines(["2026-11-20"]), 0.1)).read_text()
    assert marks(folder, "ada") == "0.45" and "1 day late: 90% of the marks" in page and "(late)" in page


def test_a_file_that_could_not_be_run_never_replaces_one_that_could(out: Any) -> None:
    folder = out(
        graded("ada", e01_floor=entry()),
        graded("ada", received="2026-11-20T13:00:00+00:00", status="broken", e01_floor=entry(0.0, "ended")),
    )
    reports.report(folder)
    assert marks(folder, "ada") == "1.0"
    [feedback] = (folder / "report" / "feedback").iterdir()
    assert "broken" in feedback.read_text()


def test_marks_set_by_hand_are_applied_after_lateness_and_shown(out: Any, tmp_path: Path) -> None:
    folder = out(graded("ada", received="2026-11-21T12:00:00+00:00", e01_floor=entry(0.5)))
    by_hand = file(tmp_path / "o.csv", "student,exercise,marks,reason\nada,01.floor,0.75,shown in the lab\n")
    rules = reports.Rules("last", reports.deadlines(["2026-11-20"]), 0.1)
    page = reports.report(folder, overrides=by_hand, rules=rules)
    assert marks(folder, "ada") == "0.75" and "(by hand)" in page.read_text()
    assert "set by hand to 0.75 (graded: 0.45): shown in the lab" in page.read_text()


def keyed(path: Path, **terms: Any) -> Path:
    return file(path, json.dumps({"version": release.KEY_VERSION, "lessons": {}, **terms}))


def test_weights_multiply_marks_what_they_are_of_and_what_the_best_is(out: Any, tmp_path: Path) -> None:
    folder = out(
        graded("ada", name="1", received="2026-11-20T10:00:00+00:00", e01_floor=entry(1.0), e01_draw=entry(0.0)),
        graded("ada", name="2", e01_floor=entry(0.0), e01_draw=entry(0.75)),
    )
    key = keyed(tmp_path / "key", weights={"01.draw": 4, "04.pin": 2})
    page = reports.report(folder, submissions=tmp_path, key=key, rules=reports.Rules("best")).read_text()
    assert (marks(folder, "ada", "01.draw"), marks(folder, "ada"), marks(folder, "ada", "total")) == (
        "3.0",
        "0.0",
        "3.0",
    )
    assert "total<br>of 5" in page and "weights: 01.draw 4, 04.pin 2, others 1" in page
    by_hand = file(tmp_path / "o.csv", "student,exercise,marks,reason\nada,01.draw,3.5,x\n")
    reports.report(folder, submissions=tmp_path, key=key, overrides=by_hand)
    assert marks(folder, "ada", "01.draw") == "3.5"


@pytest.mark.parametrize(
    ("grace", "received", "days"),
    [
        ("30m", "2026-11-20T18:30:00+00:00", 0),
        ("30m", "2026-11-20T18:30:01+00:00", 1),
        ({"01": "2d"}, "2026-11-22T18:00:00+00:00", 0),
        ({"01": "2d"}, "2026-11-22T18:00:01+00:00", 3),
        ({"04": "2d", "": "1h"}, "2026-11-20T19:00:01+00:00", 1),
        ({"04": "2d"}, "2026-11-20T18:00:01+00:00", 1),
    ],
)
def test_within_the_grace_nothing_is_lost_and_after_it_days_count_from_the_deadline(
    grace: Any, received: str, days: int, tmp_path: Path
) -> None:
    held = reports.read_key(keyed(tmp_path / "key", grace=grace))
    rules = reports.Rules("last", reports.deadlines(["01=2026-11-20T18:00Z"]), grace=held.grace)
    assert rules.days_late("01", received) == days


def test_an_extension_is_one_students_own_deadline_and_nobody_reads_whose(out: Any, tmp_path: Path) -> None:
    came = "2026-11-22T18:00:00+00:00"
    who = ("ada17", "bob23", "cy", "di")
    folder = out(*(graded(s, received=came, e01_floor=entry()) for s in who))
    later = {"ada17": "2d", "bob23": {"01": "2026-11-25"}, "cy": {"04": "9d"}}
    key = keyed(tmp_path / "key", extensions=later)
    rules = reports.Rules("last", reports.deadlines(["2026-11-20T18:00Z"]), 0.25)
    reports.report(folder, submissions=tmp_path, key=key, rules=rules)
    assert [marks(folder, s) for s in who] == ["1.0", "1.0", "0.5", "0.5"]
    texts = [p.read_text("utf-8") for p in (folder / "report").rglob("*") if p.is_file()]
    assert not [t for t in texts if re.search("ada17|bob23", t)] and any("3 with an extension" in t for t in texts)


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"weights": {"01.flor": 2}}, "no exercise is called '01.flor'"),
        ({"weights": {"01.floor": -1}}, "01.floor is a number from 0; came -1"),
        ({"weights": {"01.floor": "2"}}, "came '2'"),
        ({"weights": [1]}, "key"),
        ({"grace": "soon"}, "such as 6h; came 'soon'"),
        ({"grace": {"77": "6h"}}, "came '77'"),
        ({"grace": {"01": 6}}, "came '01': 6"),
        ({"extensions": {"ada": {"01": "next week"}}}, "came 'next week'"),
        ({"extensions": {"ad": "2d"}}, "an extension for 'ad', and no student is called so"),
        ({"extensions": {"ada": "2026-11-19T18:00Z"}}, "ends before the deadline"),
        ({"version": 99}, "not the key of a release"),
    ],
)
def test_terms_that_cannot_be_are_errors_that_quote_what_came(terms: Any, told: str, out: Any, tmp_path: Path) -> None:
    folder = out(graded("ada", e01_floor=entry()))
    rules = reports.Rules("last", reports.deadlines(["2026-11-20"]))
    with pytest.raises(ValueError, match=re.escape(told)):
        reports.report(folder, submissions=tmp_path, key=keyed(tmp_path / "key", **terms), rules=rules)
    assert not (folder / "report").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("bob,01.floor,1,x", "no student is called 'bob'"),
        ("ada,01.flor,1,x", "no exercise is called '01.flor'"),
        ("ada,01.floor,1.5,x", "from 0 to 1; came '1.5'"),
        ("ada,01.floor,nan,x", "came 'nan'"),
        ("ada,01.floor,-1,x", "came '-1'"),
        ("ada,01.floor,1,", "a reason is wanted"),
        ("ada,01.floor,1,x\nada,01.floor,0,y", "is there twice"),
    ],
)
def test_marks_by_hand_that_cannot_be_are_errors_and_nothing_is_written(
    out: Any, tmp_path: Path, line: str, told: str
) -> None:
    folder = out(graded("ada", e01_floor=entry(0.5)))
    by_hand = file(tmp_path / "o.csv", f"student,exercise,marks,reason\n{line}\n")
    with pytest.raises(ValueError, match=f"o.csv, line .*{re.escape(told)}"):
        reports.report(folder, overrides=by_hand)
    assert not (folder / "report").exists()


def test_unusable_options_are_errors_that_quote_what_came(out: Any, tmp_path: Path) -> None:
    folder = out(graded("ada", e01_floor=entry()))
    with pytest.raises(ValueError, match="needs the columns student; it lacks student"):
        reports.report(folder, roster=file(tmp_path / "r.csv", "name,id\nx,1\n"))
    with pytest.raises(ValueError, match="'ada' is empty or there twice"):
        reports.report(folder, roster=file(tmp_path / "r.csv", "student\nada\nada\n"))
    for change, told in (({"lms": ["blackboard"]}, "blackboard"), ({"key": tmp_path}, "give both")):
        with pytest.raises(ValueError, match=told):
            reports.report(folder, **change)
    with pytest.raises(ValueError, match="came '01=soon'"):
        reports.deadlines(["01=soon"])
    with pytest.raises(ValueError, match="came 'first'"):
        reports.Rules("first")
    with pytest.raises(ValueError, match="course grade SUBMISSIONS"):
        reports.report(tmp_path)


# --------------------------------------------------------------------------------------------------------------- names
ROSTER = """student,name,id,email,section
ada17,Ada Lovelace,900111,ada@example.org,A
zed99,Zed Away,900222,z@example.org,B
"""


def test_names_never_stand_in_a_report_unless_asked(out: Any, tmp_path: Path) -> None:
    folder = out(graded("ada17", e01_floor=entry()), graded("bob23", e01_floor=entry(0.5, "wrong")))
    roster = file(tmp_path / "roster.csv", ROSTER)
    secret = re.compile(r"ada17|bob23|zed99|Lovelace|Away|900111|example\.org")
    reports.report(folder, roster=roster, lms=["moodle", "canvas"])
    written = [p for p in (folder / "report").rglob("*") if p.is_file()]
    assert len(written) == 6 and not [p for p in written if secret.search(p.name + p.read_text("utf-8"))]
    page = reports.report(folder, roster=roster, names=True).read_text()
    assert "Ada Lovelace" in page and "Not in the roster: bob23" in page


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (ROSTER, "utf-8"),
        (ROSTER, "utf-8-sig"),
        (ROSTER, "utf-16"),
        (ROSTER.replace(",", ";").replace("\n", "\r\n"), "utf-8-sig"),
        (ROSTER.replace(",", "\t"), "utf-16"),
        (ROSTER.replace(",", " , "), "utf-8"),
        ("sep=;\n" + ROSTER.replace(",", ";") + ";;;;\n\n", "utf-8"),
        (ROSTER.replace("student,name", "Student , NAME"), "utf-8"),
        (ROSTER.replace(",A\n", ",A,\n").replace("Ada Lovelace", '"Ada Lovelace"'), "utf-8"),
    ],
)
def test_a_roster_is_read_as_spreadsheets_write_it(text: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(text.encode(encoding))
    found = reports.read_roster(path)
    assert found["ada17"] == {"name": "Ada Lovelace", "id": "900111", "email": "ada@example.org", "section": "A"}
    assert list(found) == ["ada17", "zed99"]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("student,name\nada,Jos\u00e9\n".encode("cp1252"), "r.csv is not UTF-8 .*: save it as CSV UTF-8"),
        ("student,name\nada,A\n".encode("utf-16-le"), "r.csv is not UTF-8 .*: save it as CSV UTF-8"),
        (b"student:name\nada:A\n", "r.csv needs .* it lacks student; .*'student:name'.*commas or semicolons"),
        (b"", "r.csv needs the columns student; it lacks student; it is empty"),
        (b"student,name\nada,Lovelace, Ada\n", "r.csv, line 2: 3 fields, and there are 2 columns; put quotes"),
        (b"student,name,name\nada,x,y\n", "r.csv has the column name twice"),
    ],
)
def test_a_roster_that_cannot_be_read_is_named_with_what_to_do(raw: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes(raw)
    with pytest.raises(ValueError, match=told):
        reports.read_roster(tmp_path / "r.csv")


def test_who_is_in_roster_or_submissions_alone_is_told(out: Any, tmp_path: Path) -> None:
    folder, told = out(graded("ada71", e01_floor=entry())), list[str]()
    reports.report(folder, roster=file(tmp_path / "roster.csv", ROSTER), tell=told.append)
    assert told == [
        "not in the roster, and in no gradebook: ada71; is it ada17?",
        "nothing came from 2 of the roster: ada17, zed99",
    ]


def test_composed_and_decomposed_names_are_one_student(out: Any, tmp_path: Path) -> None:
    nfc, nfd = "Jos\u00e9", "Jose\u0301"
    folder = out(graded(nfd, e01_floor=entry(0.5)), graded(nfc, "04", e04_pin=entry()))
    roster = file(tmp_path / "r.csv", f"student,id\n{nfd},7\n")
    by_hand = file(tmp_path / "o.csv", f"student,exercise,marks,reason\n{nfd},01.floor,0.75,x\n")
    reports.report(folder, roster=roster, overrides=by_hand, lms=["moodle"])
    assert (folder / "moodle.csv").read_text().splitlines()[1:] == ["7,,0.75,1.0,1.75"] and list(alias(folder)) == [nfc]


def test_nothing_in_a_report_joins_pseudonyms_to_the_names_in_the_grading(out: Any, tmp_path: Path) -> None:
    """Of what stands beside a name in grades.json, marks and words alone are in the report; and no order is by name."""
    seconds = [f"2026-11-2{n}T12:34:5{n}+00:00" for n in range(4)]
    ask = "check('01.ancestral_step', ancestral_step)"
    found = [handed_in(tmp_path / "in", f"s{n}", STEP, ask) | {"received": seconds[n]} for n in range(4)]
    for n, each in enumerate(found):
        each["exercises"]["01.ancestral_step"] |= {"seed": 1234500 + n}
    broken = [g | {"status": "broken", "received": g["received"][:-7] + "9+00:00"} for g in found]
    folder = out(*found, *broken)
    reports.report(folder, submissions=tmp_path / "in")
    written = {p.name: html.unescape(p.read_text("utf-8")) for p in (folder / "report").rglob("*") if p.is_file()}
    secret = re.compile("seed|12345|:34:|" + "|".join(str(g["sha256"]) for g in found))
    assert not [name for name, text in written.items() if secret.search(text)]
    pairs = [(r["student"], r["other"]) for r in rows(folder)]
    assert len(pairs) == 6 and pairs == sorted(tuple(sorted(p)) for p in pairs)


def test_pseudonyms_stay_and_are_keyed(out: Any, tmp_path: Path) -> None:
    folder = out(graded("ada", e01_floor=entry()))
    reports.report(folder)
    first, kept = alias(folder), folder / "pseudonyms.json"
    assert kept.stat().st_mode & 0o077 == 0
    out(graded("ada", e01_floor=entry()), graded("bob", e01_floor=entry()))
    reports.report(folder)
    assert alias(folder)["ada"] == first["ada"] != alias(folder)["bob"]
    out(graded("cy", e01_floor=entry()))
    reports.report(folder)
    assert set(alias(folder)) == {"ada", "bob", "cy"}, "who is gone keeps a pseudonym"
    out(graded("ada", e01_floor=entry()))
    kept.unlink()
    reports.report(folder)
    assert alias(folder)["ada"] != first["ada"], "whoever has no key cannot compute them"
    assert hashlib.sha256(b"ada").hexdigest()[:6].upper() not in alias(folder)["ada"]


def test_gradebook_files_have_the_columns_that_moodle_and_canvas_read(out: Any, tmp_path: Path) -> None:
    folder = out(graded("ada17", e01_floor=entry(0.5)))
    reports.report(folder, roster=file(tmp_path / "roster.csv", ROSTER), lms=["moodle", "canvas"])
    assert (folder / "moodle.csv").read_text().splitlines() == [
        "ID number,Email address,01.floor,Total",
        "900111,ada@example.org,0.5,0.5",
        "900222,z@example.org,,0",
    ]
    assert (folder / "canvas.csv").read_text().splitlines() == [
        "Student,ID,SIS Login ID,Section,01.floor,Total",
        "    Points Possible,,,,1.0,1.0",
        "Ada Lovelace,900111,ada@example.org,A,0.5,0.5",
        "Zed Away,900222,z@example.org,B,,0",
    ]


@pytest.mark.parametrize(
    ("lms", "file", "within"),
    [
        ("moodle", "Ada Lovelace_91_assignsubmission_file_/01_ddpm.ipynb", "{}_file_/feedback.ipynb"),
        ("moodle", "Ada Lovelace_91_assignsubmission_file_01_ddpm.ipynb", "{}_file_01_ddpm.ipynb"),
        ("moodle", "week1.zip/Ada Lovelace_91_assignsubmission_file_/01_ddpm.ipynb", "{}_file_/feedback.ipynb"),
        ("canvas", "lovelaceada_LATE_17_4712_01_ddpm-1.ipynb", "lovelaceada_LATE_17_4712_01_ddpm-1.ipynb"),
        ("canvas", "lovelaceada_17_4712_all.zip/01_ddpm.ipynb", None),
        ("canvas", "Ada Lovelace_91_assignsubmission_file_/01_ddpm.ipynb", None),
        ("moodle", "ada/01_ddpm.ipynb", None),
    ],
)
def test_feedback_is_packed_under_the_names_of_the_download(
    out: Any, tmp_path: Path, lms: str, file: str, within: str | None
) -> None:
    one, told = graded("ada17", e01_floor=entry(0.5)), list[str]()
    folder = out(one | {"file": file})
    roster = tmp_path / "roster.csv"
    roster.write_text(ROSTER)
    reports.report(folder, roster=roster, lms=[lms], tell=told.append)
    packed = folder / f"{lms}-feedback.zip"
    if within is None:
        assert not packed.exists() and any(f"not in {lms}-feedback.zip" in t and "ada17" in t for t in told)
        return
    [(name, raw)] = [(n, zipfile.ZipFile(packed).read(n)) for n in zipfile.ZipFile(packed).namelist()]
    assert name == within.format("Ada Lovelace_91_assignsubmission") and not any("feedback.zip" in t for t in told)
    assert raw == (folder / "report" / "feedback" / f"{alias(folder)['ada17']}.ipynb").read_bytes()


def test_who_handed_nothing_in_has_empty_cells_and_feedback_that_says_so(out: Any, tmp_path: Path) -> None:
    folder = out(graded("ada17", e01_floor=entry()))
    reports.report(folder, roster=file(tmp_path / "roster.csv", ROSTER))
    assert marks(folder, "zed99") == "" and table(folder)[alias(folder)["zed99"]]["total"] == "0"
    assert "Nothing was handed in" in (folder / "report" / "feedback" / f"{alias(folder)['zed99']}.ipynb").read_text()


# ------------------------------------------------------------------------------------------------------- hostile text
class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_names_and_verdicts_are_shown_as_text(out: Any, tmp_path: Path) -> None:
    folder = out(graded(HOSTILE.replace("/", "_"), e01_floor=entry(0.5, "wrong", HOSTILE)))
    student = HOSTILE.replace("/", "_")
    quoted = '"' + student.replace('"', '""') + '"'
    roster = file(tmp_path / "r.csv", f"student,name\n{quoted},{quoted}\n")
    by_hand = file(tmp_path / "o.csv", f"student,exercise,marks,reason\n{quoted},01.floor,1,{quoted}\n")
    page = reports.report(folder, roster=roster, overrides=by_hand, names=True, lms=["canvas"])
    seen = Tags()
    seen.feed(page.read_text("utf-8"))
    assert not {"script", "img", "iframe", "object", "link"} & {tag for tag, _ in seen.found} and student in seen.text
    for name in ("report/grades.csv", "canvas.csv"):
        for row in csv.reader((folder / name).read_text("utf-8-sig").splitlines()):
            assert not [c for c in row if c.lstrip().startswith(("=", "+", "-", "@"))], row
    [feedback] = (folder / "report" / "feedback").iterdir()
    for cell in nbformat.read(feedback, 4).cells:
        assert cell.cell_type == "markdown" and not re.search(r"<script|javascript:|\]\(|`a`|\$x", cell.source)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\r=1", "＝1"])
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert reports.cell(text).startswith("'") and reports.cell(-1.5) == -1.5 and reports.cell("a=b") == "a=b"


def test_markdown_of_a_text_renders_as_that_text() -> None:
    markdown = pytest.importorskip("mistune").create_markdown(escape=False)
    seen = Tags()
    seen.feed(markdown(reports.markdown(HOSTILE)))
    assert seen.text.strip() == HOSTILE and [tag for tag, _ in seen.found] == ["p"]


def test_the_index_page_is_whole_by_itself_and_can_be_read_aloud(out: Any) -> None:
    folder = out(graded("ada", e01_floor=entry()))
    text = reports.report(folder).read_text("utf-8")
    seen = Tags()
    seen.feed(text)
    assert not re.search(r"https?://|src=|@import|url\(", text)
    assert ("html", {"lang": "en"}) in seen.found and {"title", "main", "h1", "caption"} <= {t for t, _ in seen.found}
    assert all("scope" in a for t, a in seen.found if t == "th")
    for _, a in (f for f in seen.found if f[0] == "a"):
        assert (folder / "report" / str(a["href"])).is_file()


# ------------------------------------------------------------------------------------------------------------ feedback
def test_feedback_holds_verdict_properties_and_hints_but_no_solution(out: Any) -> None:
    folder = out(graded("ada", e01_floor=entry(0.5, "wrong", "your factor is upside down"), e01_draw=entry()))
    reports.report(folder)
    [path] = (folder / "report" / "feedback").iterdir()
    held = nbformat.read(path, 4)
    nbformat.validate(held)
    text = "\n".join(c.source for c in held.cells)
    seen = Tags()
    seen.feed(text)
    for said in ("0.5 of 1. your factor is upside down", "- ✓ input 1", "- ✗ input 2"):
        assert said in seen.text
    for hint in checks.load("01.floor").HINTS:
        assert hint in seen.text
    assert not any(hint in seen.text for hint in checks.load("01.draw").HINTS), "no hints for what is solved"
    assert "return" not in seen.text and "1.5 of 2" in seen.text


# -------------------------------------------------------------------------------------------------------- find the bug
def handed_in(folder: Path, student: str, *cells: str) -> dict[str, Any]:
    """A submission on the disk, and how it was graded."""
    path = folder / student / "a.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), path)
    about = graded(student, e01_ancestral_step=entry(0.5, "wrong"))
    return about | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("cells", "named", "repaired"),
    [
        (['mistake = "c"', "def f(x):\n    return x\ncheck('01.ancestral_step', f)"], "1.0", "0.5"),
        (['mistake = "b"', "def f(x):\n    return x\ncheck('01.ancestral_step', f)"], "0.0", "0.5"),
        (["mistake = None", 'def f(x):\n    "x"\n    return 2 *  x', "check('01.ancestral_step', f)"], "0.0", "0.0"),
        (["mistake = ["], "0.0", "0.5"),
    ],
)
def test_the_name_of_the_mistake_is_marked_and_untouched_code_earns_nothing(
    out: Any, tmp_path: Path, cells: list[str], named: str, repaired: str
) -> None:
    folder = out(handed_in(tmp_path / "in", "ada", *cells))
    bug = {"exercise": "01.ancestral_step", "body": "return 2 * x", "mistake": "c", "says": "x"}
    key = file(tmp_path / "key", json.dumps({"version": release.KEY_VERSION, "lessons": {"01": {"bug": bug}}}))
    reports.report(folder, submissions=tmp_path / "in", key=key)
    assert (marks(folder, "ada", "01.mistake"), marks(folder, "ada", "01.ancestral_step")) == (named, repaired)


def test_a_submission_that_changed_since_it_was_graded_is_not_read(out: Any, tmp_path: Path) -> None:
    about = handed_in(tmp_path / "in", "ada", "x = 1")
    assert reports.notebook(tmp_path / "in", about) == ["x = 1"]
    with open(tmp_path / "in" / "ada" / "a.ipynb", "a") as held:
        held.write(" ")
    assert reports.notebook(tmp_path / "in", about) is None


def test_of_a_file_that_was_handed_in_again_the_one_in_time_keeps_its_marks_and_its_mistake(
    out: Any, tmp_path: Path
) -> None:
    first = handed_in(tmp_path / "in", "ada", 'mistake = "c"', "def f(x):\n    return x\ncheck('01.ancestral_step', f)")
    folder, path = out(), tmp_path / "in" / "ada" / "a.ipynb"
    (folder / "submissions").mkdir()
    path.rename(folder / "submissions" / f"{first['sha256']}.ipynb")  # as a grading keeps it
    path.write_text("{}")
    late = graded("ada", received="2026-11-25T12:00:00+00:00", e01_ancestral_step=entry(1.0))
    out(first, late | {"sha256": hashlib.sha256(b"{}").hexdigest()})
    bug = {"exercise": "01.ancestral_step", "body": "return 2 * x", "mistake": "c", "says": "x"}
    key = keyed(tmp_path / "key", lessons={"01": {"bug": bug}})
    rules = reports.Rules("last", reports.deadlines(["2026-11-20T18:00Z"]))
    reports.report(folder, submissions=tmp_path / "in", key=key, rules=rules)
    assert (marks(folder, "ada", "01.mistake"), marks(folder, "ada", "01.ancestral_step")) == ("1.0", "0.5")


def test_a_link_in_the_place_of_a_submission_is_not_followed(tmp_path: Path) -> None:
    about = handed_in(tmp_path / "in", "ada", "x = 1")
    path = tmp_path / "in" / "ada" / "a.ipynb"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert reports.notebook(tmp_path / "in", about) is None


def test_columns_follow_the_lessons_and_the_mistake_follows_its_lessons_exercises() -> None:
    found = [graded("ada", "04", e04_pin=entry()), graded("ada", e01_floor=entry(), e01_draw=entry())]
    assert list(reports._worth(found, ["01", "04", "07"])) == [
        "01.floor",
        "01.draw",
        "01.mistake",
        "04.pin",
        "04.mistake",
    ]


# -------------------------------------------------------------------------------------------------------- similarities
def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "report" / "similarity.csv", newline="", encoding="utf-8-sig") as held:
        return list(csv.DictReader(held))


def function(answer: Any) -> str:
    """A right answer of an exercise, as a cell of a submission."""
    source = textwrap.dedent(inspect.getsource(answer))
    return source.replace(f"def {answer.__name__}(", "def ancestral_step(")


def test_a_copy_is_found_under_other_names_and_honest_answers_are_not(out: Any, tmp_path: Path) -> None:
    ask = "check('01.ancestral_step', ancestral_step)"
    honest = [function(a) for a in checks.load("01.ancestral_step").RIGHT]
    cells = {"ada": STEP, "bob": RENAMED, "cy": honest[0], "di": honest[1]}
    folder = out(*(handed_in(tmp_path / "in", s, text, ask) for s, text in cells.items()))
    reports.report(folder, submissions=tmp_path / "in")
    who = {v: k for k, v in alias(folder).items()}
    found = {frozenset((who[r["student"]], who[r["other"]])) for r in rows(folder)}
    assert frozenset(("ada", "bob")) in found and not any("cy" in pair for pair in found)
    assert all(float(r["similarity"]) > (1 + float(r["honest"])) / 2 for r in rows(folder))


def test_names_types_docstrings_and_comments_make_no_difference() -> None:
    one, other = (reports.pieces(ast.parse(text).body[0]) for text in (STEP, RENAMED))
    assert one == other and len(one) > reports.SHORTEST
    assert one != reports.pieces(ast.parse(STEP.replace("+ std", "- std")).body[0])


def test_the_ladders_solution_and_an_untouched_stub_are_no_copies(out: Any, tmp_path: Path) -> None:
    solution = function(checks.load("01.ancestral_step").RIGHT[0])
    stub = "def ancestral_step(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s, z):\n    raise NotImplementedError"
    for n, text in enumerate((solution, stub)):
        ask = "check('01.ancestral_step', ancestral_step)"
        folder = out(*(handed_in(tmp_path / f"in{n}", s, text, ask) for s in ("ada", "bob", "cy")))
        page = reports.report(folder, submissions=tmp_path / f"in{n}")
        assert rows(folder) == [] and "<p>None.</p>" in page.read_text()


def test_where_honest_answers_are_alike_nothing_is_listed(
    out: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = "check('01.ancestral_step', ancestral_step)"
    folder = out(*(handed_in(tmp_path / "in", s, STEP, ask) for s in ("ada", "bob")))
    same, ladder = reports.pieces(ast.parse(STEP).body[0]), reports.right("01.ancestral_step")[0]
    for honest, wanted in (((ladder, same), 1), ((ladder, same, same), 0)):
        monkeypatch.setattr(reports, "right", lambda _, honest=honest: honest)
        reports.report(folder, submissions=tmp_path / "in")
        assert len(rows(folder)) == wanted


def test_what_was_handed_out_is_subtracted(out: Any, tmp_path: Path) -> None:
    """A bug's code, changed in one place by everybody, is nobody's copy."""
    body = "\n".join(line.strip() for line in STEP.split("\n")[1:])
    bug = {"exercise": "01.ancestral_step", "body": body, "mistake": "c", "says": "x"}
    key = file(tmp_path / "key", json.dumps({"version": release.KEY_VERSION, "lessons": {"01": {"bug": bug}}}))
    fixed = STEP.replace("+ std * z", "- std * z")
    ask = "check('01.ancestral_step', ancestral_step)"
    folder = out(*(handed_in(tmp_path / "in", s, fixed, ask) for s in ("ada", "bob")))
    reports.report(folder, submissions=tmp_path / "in")
    assert len(rows(folder)) == 1
    reports.report(folder, submissions=tmp_path / "in", key=key)
    assert rows(folder) == []


@pytest.mark.parametrize("name", checks.exercises())
def test_two_honest_answers_to_any_exercise_are_less_alike_than_a_copy(name: str) -> None:
    long = [p for p in reports.right(name) if len(p) >= reports.SHORTEST]
    assert all(reports.likeness(a, b) < 0.75 for a, b in itertools.combinations(long, 2))


def test_hostile_cells_are_left_out_and_not_run() -> None:
    deep = "x = " + "(" * 5000 + ")" * 5000
    cells = ["raise SystemExit", deep, "\0", "def f(:", "1 / 0", "%matplotlib inline", "f = 7\ncheck('01.floor', f)"]
    assert {e: ast.dump(n) for e, n in reports.answers(cells).items()} == {"01.floor": "Constant(value=7)"}


def test_an_answer_nested_as_deep_as_it_parses_and_one_to_a_lesson_not_handed_out_stop_nothing(
    out: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = "def ancestral_step(x):\n    return " + " + ".join(["x"] * 1500)
    monkeypatch.setattr(reports.editions, "sources", lambda *_: [])
    reports._handed_out.cache_clear()
    ask = "check('01.ancestral_step', ancestral_step)"
    folder = out(*(handed_in(tmp_path / "in", s, deep, ask) for s in ("ada", "bob")))
    bug = {"exercise": "01.ancestral_step", "body": "return 2 * x", "mistake": "c", "says": "x"}
    key = file(tmp_path / "key", json.dumps({"version": release.KEY_VERSION, "lessons": {"01": {"bug": bug}}}))
    reports.report(folder, submissions=tmp_path / "in", key=key)
    assert marks(folder, "ada", "01.ancestral_step") == "0.5"
    reports._handed_out.cache_clear()
