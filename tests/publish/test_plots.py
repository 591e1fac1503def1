"""The pictures of the studies show what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from diffrl_lab.publish import plots, tables

NUMBER = re.compile(r"-?\d[\d.]*(?:e[-+]?\d+)?")


@pytest.mark.parametrize("name", tables.STUDIES)
def test_a_picture_has_a_point_for_every_cell_that_has_a_value(name: str) -> None:
    study = tables.STUDIES[name]
    rows = tables.lines(study)
    shown = plots.picture(name)
    assert set(plots.columns(study)) <= set(study.columns) and len(plots.columns(study)) <= plots.MOST
    drawn = 0
    for ax in shown.axes:
        for bars in ax.containers:  # what stands beside a column, law and floor, is no container
            data = np.asarray(bars.lines[0].get_xydata(), float)
            drawn += int(np.isfinite(data).all(1).sum())
    cells = [tables.cell(same, c, study.columns[c]) for same in rows.values() for c in plots.columns(study)]
    assert drawn == sum(cell != "–" for cell in cells)
    assert str(len(rows)) in shown.alt


def test_points_lie_where_the_table_says_and_bars_end_where_it_says() -> None:
    study = tables.STUDIES["players"]
    shown = plots.picture("players")
    [bars] = shown.axes[0].containers
    x = bars.lines[0].get_xdata()
    [(segments)] = [line.get_segments() for line in bars.lines[2]]
    for (key, same), at, ends in zip(tables.lines(study).items(), x, segments, strict=True):
        said = [float(v) for v in NUMBER.findall(tables.cell(same, "bricks", ".6f"))]
        assert at == pytest.approx(said[0], abs=1e-5), key
        low, high = said[1:] or (said[0], said[0])
        assert (ends[0][0], ends[1][0]) == pytest.approx((low, high), abs=1e-5), key


def test_curves_go_over_numbers_in_their_order_and_words_come_last() -> None:
    ax = plots.picture("replan").axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "25", "50", "100", "never"]


def test_the_law_is_black_and_dashed_and_nothing_else_is() -> None:
    for name in ("exact", "plans", "fast, exactly"):
        for ax in plots.picture(name).axes:
            for line in ax.lines:
                assert line.is_dashed() == (line.get_color() == "#000000" and line.get_linestyle() != "None"), name


@pytest.mark.parametrize("keys, wanted", [([("a", "1"), ("b", "2")], None), ([("a", v) for v in "123"], "n")])
def test_curves_need_three_numbers(keys: list, wanted: str | None) -> None:
    assert plots.over(tables.Study("f", ("arm", "n"), {"x": ".1f"}), keys) == wanted


def test_every_table_of_the_page_gets_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = {name: tables.STUDIES[name] for name in ("exact", "fast, exactly")}
    monkeypatch.setattr(plots, "STUDIES", some)
    text = plots.placed("a\n<!-- exact -->\nb\n<!-- fast, exactly -->\n", tmp_path / "pictures")
    named = re.findall(r"^!\[.{40,}\]\(pictures/([\w-]+\.svg)\)\n\n<!-- ", text, re.M)
    assert named == ["study-exact.svg", "study-fast-exactly.svg"]
    assert all((tmp_path / "pictures" / file).read_text("utf-8").startswith("<?xml") for file in named)
