"""The HTML edition: what stands in a page for each kind of cell and output."""

from __future__ import annotations

import base64
import json
import re
from xml.etree import ElementTree

import nbformat
import pytest

from diffrl_lab.course import editions, running
from diffrl_lab.publish import pages
from diffrl_lab.widgets import explore
from diffrl_lab.widgets.explore import KEPT

FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\$)\$([^$]+)\$", re.DOTALL)
WIDGETS = """
from diffrl_lab import widgets
from diffrl_lab.course import check
from diffrl_lab.widgets.explore import explore
from diffrl_lab.widgets.guess import guess
from diffrl_lab.widgets.movie import movie
g = guess("How far is it?", 0, 9, "m", truth=4)
def draw(w):
    alt = "A straight line that rises from zero to the weight w."
    return widgets.lines([0, 1], {"a": [0, w]}, xlabel="x", ylabel="y", alt=alt)
display(movie({"t": [1, 0], "x_t": [[[0, 0]], [[1, 1]]]}, alt="A point that jumps from one corner to the other one."))
def betas(alpha): raise NotImplementedError
display(explore(draw, w=(0.0, 1.0)), g, check("01.betas", betas), g.reveal())
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a notebook that was executed: a movie, an explorer, a guess and its answer."""
    make = nbformat.v4
    cells = [make.new_markdown_cell("# Title\n\nSo $x_0$, and `$HOME`."), make.new_code_cell(WIDGETS.strip())]
    notebook = make.new_notebook(cells=cells)
    with running.quiet_progress(**{KEPT: "yes"}):
        running.execute(notebook, tmp_path_factory.mktemp("run"))
    return pages.page(notebook)


def test_a_movie_comes_with_its_script_and_its_frames(page: str) -> None:
    [movie] = re.findall(r'<div class="diffrl-movie".*?</script></div>', page, re.DOTALL)
    assert "A point that jumps" in movie and "function mount(" in movie
    assert 'atob("AAAAAAAAAAAAAIA/AACAPw==")' in movie  # (0, 0), (1, 1) as float32


def test_an_explorer_has_pictures_for_some_of_its_values(page: str) -> None:
    [part] = re.findall(r'<div class="diffrl-stops".*?</script></div>', page, re.DOTALL)
    [kept] = re.findall(r"const pictures = (.*);\n", part)
    drawn = json.loads(kept)
    assert len(drawn) == len({png for png, _ in drawn}) == explore.STOPS and 'value="0"' in part
    assert {alt for _, alt in drawn} == {"A straight line that rises from zero to the weight w."}
    assert base64.b64decode(drawn[0][0]).startswith(b"\x89PNG")


def test_an_explorer_of_which_nothing_was_kept_is_its_still_and_a_sentence() -> None:
    view = {pages.VIEW: {"model_id": "e"}, "image/png": "abcd", "text/plain": "explore w: A line."}
    output = nbformat.v4.new_output("display_data", view, metadata={"image/png": {"alt": "A line."}})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("explore(draw)", outputs=[output])])
    state = {"e": {"model_name": "VBoxModel", "state": {"children": ["IPY_MODEL_p"]}}, "p": {"state": {"stops": {}}}}
    notebook.metadata["widgets"] = {pages.STATE: {"state": state}}
    assert '<img src="data:image/png;base64,abcd" alt="A line."><p class="note">The controls' in pages.page(notebook)


def test_a_guess_is_its_question_and_what_came_out(page: str) -> None:
    assert "</b> How far is it?" in page and "What came out: 4 m." in page
    assert page.count("To commit a guess, open the notebook.") == page.count("To solve it, open the notebook.") == 1


def test_a_page_names_nothing_to_be_fetched_and_forbids_it_to_its_cells(page: str) -> None:
    assert f'content="{pages.POLICY}"' in page and "default-src 'none'" in pages.POLICY
    assert not re.search(r"""src=["'](?!data:)|href=["'](?!#)|@import|url\(""", page)


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


# --------------------------------------------------------------------------------------------- contents, folds, profile
def cell(text: str, *shown: str, tags: tuple[str, ...] = ()) -> nbformat.NotebookNode:
    """A code cell with plain results."""
    outputs = [nbformat.v4.new_output("display_data", data={"text/plain": words}) for words in shown]
    return nbformat.v4.new_code_cell(text, outputs=outputs, metadata={"tags": list(tags)})


def made(*cells: nbformat.NotebookNode) -> str:
    return pages.page(nbformat.v4.new_notebook(cells=list(cells)))


def folds(page: str) -> dict[str, str]:
    """What stands behind each fold of the lesson: its words -> what is inside."""
    return dict(re.findall(r"<summary>([^<]*)</summary>\n(.*?)</details>", page.split("<main>")[1], re.DOTALL))


def test_the_contents_lead_to_every_section() -> None:
    text = nbformat.v4.new_markdown_cell
    found = made(text("# T\n\n## 1 · A\n\nwords\n\n## 2 · $x$"), text("## Further · [B](#c)\n\n### no section"))
    links = re.findall(r'<li><a href="#([\w-]+)">(.*?)</a></li>', found)
    assert [re.sub("<.*?>", "", words) for _, words in links] == ["1 · A", "2 · x", "Further · B"]
    assert re.findall(r'<h2 id="([\w-]+)"', found) == [name for name, _ in links] and len(set(dict(links))) == 3
    assert not any("<a" in words for _, words in links), "a link within a link is none"


def test_an_answer_and_what_shows_it_stand_behind_a_fold_up_to_the_next_text(page: str) -> None:
    [inside] = [v for k, v in folds(page).items() if k == "show what came out"]
    assert "What came out: 4 m." in inside and "No guess was committed" not in page and "How far" not in inside
    answer, then = "No guess was committed. What came out: 4 m.", nbformat.v4.new_markdown_cell("the text")
    found = made(
        cell("ask", "guess: how far?"), cell("tell", "before", answer, "after"), cell("picture", "shown"), then
    )
    [inside] = folds(found).values()
    assert all(word in inside for word in ("What came out", "after", "picture", "shown"))
    assert not any(word in inside for word in ("before", "tell", "how far?", "the text"))
    found = made(cell("tell", "You guessed 3; what came out is 4; off by 1."), cell("ask", "guess: and now?"))
    assert "off by 1" in folds(found)["show what came out"] and "and now" not in folds(found)["show what came out"]


def test_imports_and_parameters_are_folded_and_what_they_show_is_not() -> None:
    names = {"collapsed": "imports and settings", "parameters": "parameters of this lesson",
             "injected-parameters": "parameters of this run"}  # fmt: skip
    found = made(*(cell(f"a = {i}", f"shown {i}", tags=("x", tag)) for i, tag in enumerate(names)))
    assert list(folds(found)) == list(names.values())
    assert all("shown" not in inside and 'class="mi"' in inside for inside in folds(found).values())
    assert all(f"shown {i}" in found for i in range(3))


OWN = cell('PROFILE = "class"  # smoke: seconds\nSEED = 0', tags=("parameters",))


def test_a_page_says_with_which_profile_and_seed_it_was_made() -> None:
    found = made(OWN)
    assert "Made with profile <code>class</code>, seed <code>0</code>." in found and "quick" not in found


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ('PROFILE = "smoke"', "Made with profile <code>smoke</code>, seed <code>0</code>. These numbers"),
        ('PROFILE = "full"\nSEED = 3', "Made with profile <code>full</code>, seed <code>3</code>. The texts"),
    ],
)  # fmt: skip
def test_a_banner_says_where_a_page_is_not_what_its_texts_speak_of(run: str, said: str) -> None:
    found = made(OWN, cell(run, tags=("injected-parameters",)))
    [banner] = re.findall(r'<p class="banner" role="note">(.*?)</p>', found)
    assert banner.startswith(said) and banner.endswith("speak of profile <code>class</code>, seed <code>0</code>.")


def test_an_attached_picture_is_shown_and_a_missing_one_leaves_its_words() -> None:
    text = nbformat.v4.new_markdown_cell("![A plan in a maze](attachment:01.png)\n\n# 01 · T")
    assert "<p><em>A plan in a maze</em></p>" in made(text)
    text.attachments = {"01.png": {"image/png": "abcd$"}}
    assert '<img src="data:image/png;base64,abcd$" alt="A plan in a maze"' in made(text)


def test_every_line_of_code_may_go_on_below_itself() -> None:
    source = 'def f():\n    """Two\n    lines."""\n\n    return ' + " + ".join("abcdefgh" * 9)
    [program] = re.findall(r"<pre>(<span>.*?)</pre></div>", made(cell(source)), re.DOTALL)
    lines = program.removeprefix("<span>").removesuffix("</span>").split("</span><span>")
    assert "\n" not in program and program.count("<span>") == 5 == len(source.split("\n"))
    assert [re.sub("<.*?>", "", line).replace("&quot;", '"') for line in lines[:3]] == source.split("\n")[:3]


def test_the_pages_of_a_folder_lead_to_each_other(tmp_path) -> None:
    every = editions.sources()
    for stem in (every[0].stem, every[1].stem, "77_toy"):
        pages.write(nbformat.v4.new_notebook(cells=[OWN]), tmp_path / f"{stem}.html")
    first, second, toy = ((tmp_path / f"{s}.html").read_text() for s in (every[0].stem, every[1].stem, "77_toy"))
    assert first.count(f'Next lesson: <a href="{every[1].stem}.html">') == 2 and "Lesson before" not in first
    assert second.count(f'Lesson before: <a href="{every[0].stem}.html">') == 2
    third = editions.number(every[2].stem)
    assert f"(its page: <code>diffrl-lab run {third} --html</code>)" in second and f"{every[2].stem}.html" not in second
    assert "lesson: " not in toy


def test_a_dream_comes_with_its_network_and_is_no_movie() -> None:
    from diffrl_lab.methods.models.diamond import Config, Diamond
    from diffrl_lab.widgets import play

    alt = "Breakout and the dream of a network that was never trained, side by side"
    meta, data = play.pack({"random": Diamond(Config(width=8), (4, 10, 10), 3)}, alt=alt)
    buffers = [{"path": ["data"], "data": base64.b64encode(data).decode()}]
    html = pages._widget({"m": {"state": {"meta": meta}, "buffers": buffers}}, "m", {}, "")
    assert html == play.page(meta, data) and "mountPlay(host" in html and alt in html
