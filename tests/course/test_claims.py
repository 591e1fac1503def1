from __future__ import annotations

from pathlib import Path

import pytest

from diffrl_lab.course import editions
from diffrl_lab.course.verdicts import FILE, claims


def test_every_claim_names_a_lesson_of_the_course_and_a_place_in_the_survey() -> None:
    table, lettered = claims(), {editions.number(s.stem) for s in editions.sources()}  # 04b is one that exists
    assert len(table) >= 25 and all(c.lesson in {f"{n:02d}" for n in range(20)} | lettered and c.section for c in table)
    assert claims("04") == [c for c in table if c.lesson == "04"]


def test_the_table_shows_every_claim_in_html_and_in_text() -> None:
    table = claims()
    assert table._repr_html_().count("<tr>") == len(table) + 1
    assert all(c.claim in repr(table) for c in table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",not yet,,", ",proven,,", "verdict 'proven' is not one of"),
        (",not yet,,", ",held,,", "held and failed need one"),
        (",medium,", ",sure,", "confidence 'sure'"),
        ("name,claim", "id,claim", "has the columns id"),
    ],
)
def test_a_table_that_breaks_its_rules_is_an_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    broken = tmp_path / "claims.csv"
    broken.write_text(FILE.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(ValueError, match=message):
        claims(file=broken)
