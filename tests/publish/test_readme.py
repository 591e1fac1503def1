"""The README, and the page of whole tables, show what the results say."""

from __future__ import annotations

from diffrl_lab.publish import readme


def test_the_pages_show_the_results_as_they_are_stored() -> None:
    for page, text in readme.filled().items():
        assert page.read_text("utf-8") == text, f"{page.name}: run `python -m diffrl_lab.publish.readme`"


def test_the_first_page_has_six_rows_of_the_planners_table_and_of_the_graders() -> None:
    for few, all_of_them in ((readme.planner("large"), readme.planner()), (readme.worst(), readme.bench())):
        assert len(few.splitlines()) == 2 + 6 and set(few.splitlines()) <= set(all_of_them.splitlines())
