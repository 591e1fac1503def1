"""The README shows what the results say."""

from __future__ import annotations

from diffrl_lab.publish import readme


def test_the_readme_shows_the_results_as_they_are_stored() -> None:
    text = readme.README.read_text("utf-8")
    assert readme.filled(text) == text, "run `python -m diffrl_lab.publish.readme`"
