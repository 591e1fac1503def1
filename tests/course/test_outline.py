from __future__ import annotations

from pathlib import Path

import pytest

from diffrl_lab.course import outline


def lesson(root: Path, name: str, head: str) -> None:
    folder = root / "notebooks" / "source"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(f"# %% [markdown]\n{head}\n\n# %%\nfrom x import y  # lesson 09\n", "utf-8")


def test_what_a_lesson_needs_is_read_where_it_says_so(tmp_path: Path) -> None:
    lesson(tmp_path, "01_a", "# # 01 · One\n# **You need** torch. **Machine:** as lesson 07.")
    lesson(tmp_path, "05_b", "# # 05 · Two\n# **You need** lesson 01 and\n# lesson 03. **Machine:** any.")
    assert outline.outline(tmp_path) == [("01", "One", []), ("05", "Two", ["01", "03"])]


@pytest.mark.parametrize("head", ["# # 02 · Two\n# You need lesson 01.", "# # Two\n# **You need** x. **Machine:** y."])
def test_a_head_of_another_form_is_an_error_that_names_the_file(head: str, tmp_path: Path) -> None:
    lesson(tmp_path, "02_two", head)
    with pytest.raises(ValueError, match="02_two.py"):
        outline.outline(tmp_path)


def test_the_table_of_letters_shows_every_row_with_its_names_in_the_papers() -> None:
    text = outline.symbols().data
    rows = (outline.ROOT / "notebooks" / "source" / "symbols.csv").read_text("utf-8").splitlines()
    assert len(text.splitlines()) == len(rows) + 1 and "Janner 2022" in text and "clock" not in text
    assert r"| $\sigma_t$ `sigma` | scale of the noise" in text and "of two distributions (01)" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1
