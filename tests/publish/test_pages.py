"""The HTML edition: what stands in a page for each kind of cell and output."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import nbformat
import pytest

from diffrl_lab.course import editions, running
from diffrl_lab.publish import pages

FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\$)\$([^$]+)\$", re.DOTALL)
WIDGETS = """
from diffrl_lab import widgets
from diffrl_lab.widgets.explore import explore
from diffrl_lab.widgets.guess import guess
from diffrl_lab.widgets.movie import movie
g = guess("How far is it?", 0, 9, "m", truth=4)
def draw(w):
    alt = "A straight line that rises from zero to the weight w."
    return widgets.lines([0, 1], {"a": [0, w]}, xlabel="x", ylabel="y", alt=alt)
display(movie({"t": [1, 0], "x_t": [[[0, 0]], [[1, 1]]]}, alt="A point that jumps from one corner to the other one."))
display(explore(draw, w=(0.0, 1.0)), g, g.reveal())
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a notebook that was executed: a movie, an explorer, a guess and its answer."""
    make = nbformat.v4
    cells = [make.new_markdown_cell("# Title\n\nSo $x_0$, and `$HOME`."), make.new_code_cell(WIDGETS.strip())]
    notebook = make.new_notebook(cells=cells)
    running.execute(notebook, tmp_path_factory.mktemp("run"))
    return pages.page(notebook)


def test_a_movie_comes_with_its_script_and_its_frames(page: str) -> None:
    [movie] = re.findall(r'<div class="diffrl-movie".*?</script></div>', page, re.DOTALL)
    assert "A point that jumps" in movie and "function mount(" in movie
    assert 'atob("AAAAAAAAAAAAAIA/AACAPw==")' in movie  # (0, 0), (1, 1) as float32


def test_an_explorer_is_its_still_and_a_sentence_and_a_guess_its_question_and_what_came_out(page: str) -> None:
    assert re.search(
        r'<img src="data:image/png[^>]* alt="A straight line that[^>]*><p class="note">[^<]*need a kernel', page
    )
    assert "</b> How far is it?" in page and "What came out: 4 m." in page


def test_a_page_names_nothing_to_be_fetched_and_forbids_it_to_its_cells(page: str) -> None:
    assert f'content="{pages.POLICY}"' in page and "default-src 'none'" in pages.POLICY
    assert not re.search(r"""(?:src|href)=["'](?!data:)|@import|url\(""", page)


def test_formulae_are_mathml_and_code_keeps_its_dollar(page: str) -> None:
    assert "<msub><mi>x</mi><mn>0</mn></msub>" in page and "<code>$HOME</code>" in page and "$x" not in page


@pytest.mark.parametrize(
    ("tex", "made"),
    [
        (r"\mathcal N", "<mi>𝒩</mi>"),
        (r"\mathcal{L}", "<mi>ℒ</mi>"),
        (r"\mathbb E", "<mi>𝔼</mi>"),
        (r"\mathbb{R}", "<mi>ℝ</mi>"),
        (r"\mathbf x", "<mi>𝐱</mi>"),
        (r"a \sim b", "<mo>∼</mo>"),
        ("a/b", '<mo lspace="0" rspace="0">/</mo>'),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", '</mtr><mtr><mtd columnalign="right"><mi>c</mi>'),
        (r"\begin{cases} 1 & x < 2 \\ 0 & y \end{cases}", "</mtr><mtr>"),
        (r"\underbrace{x}_{\text{a word}}", "<mtext>a\xa0word</mtext>"),
    ],
)
def test_what_browsers_do_not_draw_by_themselves_is_rewritten(tex: str, made: str) -> None:
    assert made in pages.mathml(tex)


@pytest.mark.parametrize(
    "tex", [r"\nosuch x", r"\frac{a}{", "a & b", r"a \\ b", r"\left( x", "{", r"\mathfrak{\alpha}"]
)
def test_a_formula_that_has_no_mathml_is_an_error_that_names_it(tex: str) -> None:
    with pytest.raises(ValueError, match=re.escape(tex)):
        pages.mathml(tex)


@pytest.mark.parametrize(("text", "named"), [(r"so $\nosuch$", r"\nosuch"), ("it costs $ 5", r"costs \$ 5")])
def test_a_page_is_not_made_from_a_formula_that_would_stay_raw(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named).replace(r"\\\$", r"\$")):
        pages.page(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]))


@pytest.mark.parametrize("source", editions.sources(), ids=lambda s: s.stem)
def test_every_formula_of_the_lessons_has_mathml(source) -> None:
    texts = [c.source for c in editions.edition(source).cells if c.cell_type == "markdown"]
    found = [m[1] or m[2] for text in texts for m in FORMULA.finditer(re.sub(r"`[^`]*`", "", text))]
    page = pages.page(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in texts]))
    made = re.findall(r"<math\b.*?</math>", page, re.DOTALL)
    assert len(made) == len(found) and all(ElementTree.fromstring(m).itertext() for m in made)


def test_errors_tables_and_plain_results_are_shown_and_warnings_are_not() -> None:
    make = nbformat.v4
    outputs = [
        make.new_output("stream", name="stdout", text="a < b\n"),
        make.new_output("stream", name="stderr", text="a warning"),
        make.new_output("execute_result", data={"text/markdown": "| $x$ |\n|---|\n| 1 |", "text/plain": "no"}),
        make.new_output(
            "display_data", data={"image/png": "abcd", "text/plain": "no"}, metadata={"image/png": {"alt": "A"}}
        ),
        make.new_output("error", ename="E", evalue="v", traceback=["\x1b[31mwrong\x1b[0m"]),
    ]
    page = pages.page(make.new_notebook(cells=[make.new_code_cell("1", outputs=outputs)]))
    for shown in (
        "<pre>a &lt; b\n</pre>",
        "<th><math",
        '<img src="data:image/png;base64,abcd" alt="A">',
        ">wrong</span>",
    ):
        assert shown in page
    assert "a warning" not in page and ">no<" not in page
