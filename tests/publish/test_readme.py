"""The README, and the page of whole tables, show what the results say."""

from __future__ import annotations

import re

from diffrl_lab.publish import readme


def test_the_pages_show_the_results_as_they_are_stored() -> None:
    for page, text in readme.filled().items():
        assert page.read_text("utf-8") == text, f"{page.name}: run `python -m diffrl_lab.publish.readme`"


def test_the_first_page_has_six_rows_of_the_planners_table_and_the_graders_slowest() -> None:
    few, every = readme.planner("large").splitlines(), readme.planner().splitlines()
    assert len(few) == 2 + 6 and set(few) <= set(every)
    grader = readme.bench().partition("**grading**")[2].partition("\n\n**")[0]
    rows = {(m[1], float(m[2])) for m in re.finditer(r"^\| (?!\d+ honest|sub)(.+?) \|.* ([\d.]+) \|$", grader, re.M)}
    name, seconds = max(rows, key=lambda row: row[1])
    assert f"{len(rows)} hostile" in readme.worst() and f"({name}) was marked after {seconds:g} s" in readme.worst()


def test_a_share_of_far_goals_is_rounded_as_the_lesson_rounds_it() -> None:
    row = {"success": 0.615, "interval": [0.545, 0.6796]}
    lesson = [f"{v:.2f}" for v in (row["success"], *row["interval"])]
    assert lesson == ["0.61", "0.55", "0.68"] and readme._share(row) == "61% (55% to 68%)"
