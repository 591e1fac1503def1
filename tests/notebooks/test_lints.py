"""What every lesson's source must keep, found by glob; each rule is first fed a cell that breaks it.

The rules, for whoever writes a lesson (symbols.csv and references.bib lie beside the sources):
- a figure's `alt` says what is seen, in 40 characters or more, and is nobody else's (f-strings count as if filled in);
- colours and colour maps come from widgets.COLOUR / widgets.look / widgets.HEAT: no hex, no names, no "C0";
- what a cell draws is its last line, or goes through `widgets.show` or `display`: a notebook shows nothing else;
- a code cell has 20 lines at most, no address, no install, no path that begins at a root or a home;
- every letter of a formula stands in symbols.csv, in a row for this lesson (its number, or `all`); the column
  `clock` says which time a letter counts, and no lesson uses one letter for both;
- "Name et al. 2020" in the text and every `"Title" (2020)` after **References.** stand in references.bib, and
  what the text cites the lesson's references list;
- the first cell says **You need** ... **Machine:** and names the lessons it builds on as "lesson 01": earlier ones;
- after the first measurement, a decimal or percentage in the text is a number of the code nearby (4 cells before, 3
  after: a setting, or the bound of an assert), or is excused where it stands: <!-- 0.50: why it needs no assert -->
- "law" stands for a distribution at most LAWS times in a lesson; the field's word is distribution;
- after **Exact.**, **Large effect.** or **Open.** comes a sentence of six words or more: what is compared with what;
- an exercise says (easy|medium|hard, N minutes), and the lesson goes on with the function that it asks for:
  x = mine("01.x") in a later cell, and x is used;
- the first line is the lesson's picture, ![what it shows, in 40 characters or more](attachment:NN.png), and exactly
  one cell, which draws it, is tagged `punchline`.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from matplotlib.colors import is_color_like
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from diffrl_lab.course import editions, outline

SOURCES = editions.sources()
LESSONS = pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
BESIDE = editions.ROOT / "notebooks" / "source"
FIGURES = {"trajectories", "heat_map", "band", "histogram", "lines", "losses", "intervals", "film_strip",
           "point_and_law", "cells", "values_over_data", "unfolding", "Picture", "movie"}  # fmt: skip


@cache
def cells(source: Path) -> list[NotebookNode]:
    return editions.edition(source, solutions=True).cells


def code(cells: list[NotebookNode]) -> list[str]:
    return [c.source for c in cells if c.cell_type == "code"]


def prose(cells: list[NotebookNode]) -> str:
    return "\n\n".join(c.source for c in cells if c.cell_type == "markdown")


def lost(cell: str) -> list[str]:
    """The lines of a cell that make a picture, a table or a widget which a notebook does not show: not its last."""
    makes = {*FIGURES, "table", "component_map", "explore", "plan_explorer"}
    found = []
    for node in ast.parse(cell).body[:-1]:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            func = node.value.func
            if (func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")) in makes:
                found.append(ast.unparse(node)[:80])
    return found


# ------------------------------------------------------------------------------------------------------------ alt texts
def told(node: ast.expr | None, names: dict[str, ast.expr]) -> str | None:
    """A string expression as if its placeholders were filled in, or None."""
    if isinstance(node, ast.Name):
        return told(names.get(node.id), {k: v for k, v in names.items() if k != node.id})
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [told(v, names) if isinstance(v, ast.Constant) else "0.00" for v in node.values]
        return "".join(p or "" for p in parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (told(node.left, names) or "0.00") + (told(node.right, names) or "0.00")
    return None


def alts(cell: str) -> Iterator[tuple[str, str | None]]:
    """(what draws, its alt text) for every figure that a cell makes."""
    tree = ast.parse(cell)
    names = {t.id: n.value for n in ast.walk(tree) if isinstance(n, ast.Assign) for t in n.targets
             if isinstance(t, ast.Name)}  # fmt: skip
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        said = {k.arg: k.value for k in call.keywords}.get("alt")
        if name in ("Picture", "show") and said is None:
            said = call.args[1] if len(call.args) > 1 else None
        if name in FIGURES or said is not None:
            yield name, told(said, names)


def lint_alt_texts(cells: list[NotebookNode]) -> list[str]:
    found, seen = [], set()
    for name, alt in (pair for cell in code(cells) for pair in alts(cell)):
        if alt is None or len(alt) < 40 or len(alt.split()) < 7:
            found.append(f"{name}: alt text says in 40 characters or more what is seen, not {alt!r}")
        elif alt in seen:
            found.append(f"{name}: another figure has this alt text, too: {alt!r}")
        seen.add(alt)
    return found


# -------------------------------------------------------------------------------------------------------------- colours
HEX = r"#([0-9a-fA-F]{3,4}){1,2}"


def lint_colours(cells: list[NotebookNode]) -> list[str]:
    found = []
    for cell in code(cells):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Constant) and re.fullmatch(HEX, str(node.value)):
                found.append(f"a colour of its own: {node.value}")
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", "")
                given = [(k.arg or "", k.value) for k in node.keywords]
                given += [(called, a) for a in node.args if called.startswith("set_")]
                for name, value in given:
                    words = [v.value for v in ast.walk(value) if isinstance(v, ast.Constant) and v.value != "none"]
                    own = [w for w in words if isinstance(w, str) and is_color_like(w) and not re.fullmatch(HEX, w)]
                    if own and re.fullmatch(r"\w*colou?rs?|c|fc|ec|mfc|mec", name):
                        found.append(f"a colour of its own: {name}={own[0]!r}")
                    if name == "cmap" and words:
                        found.append(f"a colour map of its own: {words[0]!r}")
    return found


# ------------------------------------------------------------------------------------------------- nothing from outside
def lint_code_cells(cells: list[NotebookNode]) -> list[str]:
    found = []
    for cell in code(cells):
        lines = [line for line in cell.split("\n") if line.strip() and "### " not in line]
        if len(lines) > 20:
            found.append(f"{len(lines)} lines where 20 are the most:\n{cell}")
        outside = re.search(
            r"https?://|\b(pip|conda|mamba) install|^\s*[!%]|[\"'](/|~/|[A-Z]:[\\/])\w", cell, re.MULTILINE
        )
        if outside:
            found.append(f"{outside.group().strip()!r} reaches outside, in:\n{cell}")
    return found


# -------------------------------------------------------------------------------------------------------------- symbols
# Operators, layout and functions: they name no quantity.
TEX = set(
    """frac tfrac dfrac tfrac12 big Big bigg left right sqrt sum prod int min max log ln exp cos sin tanh mid cdot
cdots ldots dots le ge leq geq ne neq approx sim in to infty pm times quad qquad underbrace text textstyle displaystyle
operatorname mathrm mathbf mathcal mathbb partial nabla quad propto mapsto top circ lfloor rfloor lVert rVert begin end
softmax argmax gets ell""".split()
) - {"ell"}
ACCENT = {"hat", "bar", "tilde", "vec", "dot"}
STYLE = {"mathcal", "mathbb", "mathrm", "mathbf", "operatorname"}
OPERATORS = {r"\mathrm{d}", r"\operatorname{Var}", r"\mathrm{Var}"}


def formulae(text: str) -> list[str]:
    """The TeX of every formula in a Markdown text, code spans left out."""
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return [a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, flags=re.DOTALL)]


def letters(tex: str) -> set[str]:
    r"""The letters of a formula, with the accent or alphabet that makes them others: x, \hat{x}, \alpha, \mathcal{N}.

    Subscripts count as letters of their own; the words in \text{...} are no symbols.
    """
    tex = re.sub(r"\\text\s*\{[^{}]*\}|\\[,;:!> ]|\\(begin|end)\{\w+\*?\}", " ", tex)
    found: set[str] = set()

    def take(name: str, inner: str) -> str:
        found.add(rf"\{name}{{{inner}}}")
        return " "

    atom = r"(?:\{\s*(\\?[A-Za-z]+)\s*\}|\s*(\\[A-Za-z]+)|\s*([A-Za-z]))"
    for name in sorted(ACCENT | STYLE):
        tex = re.sub(rf"\\{name}(?![A-Za-z]){atom}", lambda m, n=name: take(n, next(filter(None, m.groups()))), tex)
    for command in re.findall(r"\\([A-Za-z]+)", tex):
        if command not in TEX and command not in ACCENT:
            found.add(rf"\{command}")
    found |= set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", tex)))
    return found - OPERATORS


@cache
def symbols() -> list[dict[str, str]]:
    with open(BESIDE / "symbols.csv", newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def rows_of(lesson: str) -> list[dict[str, str]]:
    return [row for row in symbols() if row["lessons"] == "all" or lesson in row["lessons"].split()]


def lint_symbols(cells: list[NotebookNode], lesson: str) -> list[str]:
    known = set().union(*(letters(row["symbol"]) for row in rows_of(lesson)))
    found = {s: tex for tex in formulae(prose(cells)) for s in letters(tex) - known}
    return [f"{s} of ${tex.strip()}$ has no row for lesson {lesson} in symbols.csv" for s, tex in sorted(found.items())]


def lint_clocks(rows: list[dict[str, str]]) -> list[str]:
    """Letters that count both times; of a symbol's letters only its head is the symbol's own (k of x_k has its row)."""
    head: dict[str, set[str]] = {"diffusion": set(), "environment": set()}
    for row in rows:
        if row["clock"]:
            head[row["clock"]] |= {s for part in row["symbol"].split(",") for s in letters(re.sub(r"_.*", "", part))}
    return [f"{s} is both a diffusion time and an environment time" for s in sorted(set.intersection(*head.values()))]


# ------------------------------------------------------------------------------------------------------------ citations
@cache
def bibliography() -> dict[str, dict[str, str]]:
    """references.bib: key -> {author, title, year, ...}."""
    text = (BESIDE / "references.bib").read_text("utf-8")
    return {
        key: dict(re.findall(r"^\s*(\w+)\s*=\s*\{(.*)\},?$", body, re.MULTILINE))
        for key, body in re.findall(r"^@\w+\{(\S+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    }


def plain(title: str) -> str:
    return " ".join(re.sub(r"[^\w ]", " ", title.lower()).split())


def surname(author: str) -> str:
    return author.split(" and ")[0].split(",")[0].strip("{} ")


def lint_citations(cells: list[NotebookNode]) -> list[str]:
    body, _, listed = " ".join(prose(cells).split()).partition("**References.**")
    listed = re.split(r"\*\*|##", listed)[0]
    known = {(plain(title), e["year"]): (surname(e["author"]), e["year"]) for e in bibliography().values()
             for title in (e["title"], e["title"].split(": ")[0])}  # fmt: skip
    here, found = set(), []
    for title, year in re.findall(r"\"([^\"]+?),?\"[^\"]*?\b((?:19|20)\d\d)\)", listed):
        if (plain(title), year) not in known:
            found.append(f'"{title}" ({year}) is not in references.bib')
        else:
            here.add(known[plain(title), year])
    if not here:
        found.append('no **References.** with "Title" (year)')
    name = r"[A-Z][^\W\d_]+"
    for who, year in re.findall(rf"\b({name})(?:,? et al\.|(?:, {name})* and {name})?,? \(?((?:19|20)\d\d)\b", body):
        if (who, year) not in here:
            found.append(f"{who} {year} is cited, but not listed under **References.**")
    return found


# -------------------------------------------------------------------------------------------------------- prerequisites
def lint_prerequisites(needed: dict[str, list[str]]) -> list[str]:
    """Lesson -> the lessons it needs: each exists and comes earlier, so the order of the numbers is a way through."""
    found = []
    for lesson, before in needed.items():
        found += [f"{lesson} needs {b}, which is no lesson" for b in before if b not in needed]
        found += [f"{lesson} needs {b}, which comes after it" for b in before if b in needed and b >= lesson]
    return found


# -------------------------------------------------------------------------------------------------------------- numbers
def literals(cell: str) -> set[float]:
    """The numbers of a code cell, in its strings, too; a share counts as a percentage as well."""
    found = {float(n) for n in re.findall(r"(?<![\w.])\d+(?:[\d_]*\d)?(?:\.\d+)?(?:e-?\d+)?", cell) if "_" not in n}
    return found | {round(100 * n, 6) for n in found}


def lint_numbers(cells: list[NotebookNode]) -> list[str]:
    """Decimals and percentages of the text that no code nearby holds; before the first assert nothing was measured."""
    found, measured = [], False
    at = [i for i, c in enumerate(cells) if c.cell_type == "code"]
    for i, cell in enumerate(cells):
        if cell.cell_type == "code":
            measured |= bool(re.search(r"\bassert|torch\.testing|\.reveal\(", cell.source))
            continue
        if not measured:
            continue
        excused = set(re.findall(r"<!-- ([\d.]+): \S.{15,}? -->", cell.source, re.DOTALL))
        text = re.sub(r"<!--.*?-->|`[^`]*`|\$\$.+?\$\$|\$.+?\$|arXiv[\s\d.]+", " ", cell.source, flags=re.DOTALL)
        text = re.sub(r"^#+ .*$", "", text, flags=re.MULTILINE)
        near = [j for j in at if j < i][-4:] + [j for j in at if j > i][:3]
        known = set().union(*(literals(cells[j].source) for j in near))
        for whole, number in re.findall(r"((?<![\w.])(\d+(?:\.\d+)?)(?: %)?)", text):
            if ("." in whole or "%" in whole) and float(number) not in known and number not in excused:
                found.append(f"{whole} stands in no code nearby: interpolate it, assert it, or excuse it")
    return found


# -------------------------------------------------------------------------------------------- words, exercises, opening
LAWS = 6


def lint_law(cells: list[NotebookNode]) -> list[str]:
    text = re.sub(r"```.*?```|`[^`]*`|<!--.*?-->", " ", prose(cells), flags=re.DOTALL)
    found = re.findall(r"\blaws?\b(?!\s+of\s+large\s+numbers)", text, re.IGNORECASE)
    return [f'"law" stands {len(found)} times: say distribution'] if len(found) > LAWS else []


def lint_verdicts(cells: list[NotebookNode]) -> list[str]:
    """Tags of a verdict without a whole sentence behind them; a formula counts as one word."""
    text = re.sub(r"<!--.*?-->", " ", prose(cells), flags=re.DOTALL)
    text = re.sub(r"\$\$.+?\$\$|\$.+?\$|`[^`]*`", "X", text, flags=re.DOTALL)
    found = []
    for tag, rest in re.findall(r"\*\*(Exact|Large effect|Open)\.\*\*((?:(?!\n\s*\n|\n\s*- ).)*)", text, re.DOTALL):
        first = re.split(r"(?<=[.!?])[*_\"]*\s", rest.strip())[0]
        if len(re.findall(r"\w[\w'.%-]*", first)) < 6:
            found.append(f"**{tag}.** needs a sentence that says what is compared with what, not {first!r}")
    return found


def lint_difficulty(cells: list[NotebookNode]) -> list[str]:
    scale = r"\s*\((easy|medium|hard),\s+\d+\s+minutes\)"
    said = re.findall(r"\*\*(Exercise[^*]*)\*\*(\s*\([^)]*\))?", prose(cells))
    return [f"{name} says (easy|medium|hard, N minutes), not {how.strip()!r}" for name, how in said
            if not re.fullmatch(scale, how)]  # fmt: skip


def calls(node: ast.AST, name: str) -> Iterator[ast.Call]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == name:
            yield call


def goes_on(exercise: str, later: list[ast.Module]) -> bool:
    """Whether a lesson takes an exercise's answer by `mine` and uses it in these cells."""
    loads = [
        {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} for tree in later
    ]
    for i, tree in enumerate(later):
        for statement in ast.walk(tree):
            if not isinstance(statement, ast.Assign | ast.Expr | ast.Return):
                continue
            asked = [c for c in calls(statement, "mine") if c.args and ast.unparse(c.args[0]) == repr(exercise)]
            if not asked or isinstance(statement, ast.Expr) and statement.value in asked:
                continue
            if not isinstance(statement, ast.Assign) or statement.value not in asked:
                return True  # used on the spot
            names = {n.id for target in statement.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
            if names & set().union(*loads[i:]):
                return True
    return False


def lint_mine(cells: list[NotebookNode]) -> list[str]:
    trees, found = [ast.parse(cell) for cell in code(cells)], []
    for i, tree in enumerate(trees):
        made = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        for call in calls(tree, "check"):
            exercise, answer = ast.literal_eval(call.args[0]), ast.unparse(call.args[1])
            if answer in made and not goes_on(exercise, trees[i + 1 :]):
                found.append(f'no later cell uses the answer: {answer} = mine("{exercise}")')
    return found


def lint_opening(cells: list[NotebookNode], lesson: str) -> list[str]:
    first, found = cells[0].source.split("\n")[0], []
    if not re.fullmatch(rf"!\[[^\]]{{40,}}\]\(attachment:{lesson}\.png\)", first):
        found.append(
            f"the first line is ![what it shows, 40 characters or more](attachment:{lesson}.png), not {first!r}"
        )
    tagged = [c for c in cells if c.cell_type == "code" and "punchline" in c.metadata.get("tags", [])]
    if len(tagged) != 1:
        found.append(f"one cell is tagged punchline, here {len(tagged)}")
    return found


# ------------------------------------------------------------------------------------------- the rules over all lessons
@LESSONS
def test_every_figure_says_in_words_of_its_own_what_is_seen(source: Path) -> None:
    assert lint_alt_texts(cells(source)) == []


def test_no_two_figures_of_the_course_share_their_alt_text() -> None:
    said = [alt for s in SOURCES for cell in code(cells(s)) for _, alt in alts(cell)]
    assert len(said) == len(set(said))


@LESSONS
def test_colours_come_from_the_one_palette(source: Path) -> None:
    assert lint_colours(cells(source)) == []


@LESSONS
def test_what_a_cell_draws_is_shown(source: Path) -> None:
    assert [line for cell in code(cells(source)) for line in lost(cell)] == []


@LESSONS
def test_code_cells_are_short_and_need_nothing_from_outside(source: Path) -> None:
    assert lint_code_cells(cells(source)) == []


@LESSONS
def test_every_letter_of_a_formula_stands_in_the_table_of_symbols(source: Path) -> None:
    assert lint_symbols(cells(source), editions.number(source.stem)) == []


def test_no_letter_of_the_course_counts_both_times() -> None:
    assert lint_clocks(symbols()) == []


def test_the_table_of_symbols_says_each_thing_once_and_names_code_that_exists() -> None:
    everything = "\n".join(c.source for s in SOURCES for c in cells(s)) + "\n".join(
        p.read_text("utf-8") for p in (editions.ROOT / "diffrl_lab").rglob("*.py")
    )
    for row in symbols():
        assert row["symbol"] and row["meaning"] and row["lessons"], row
        assert row["clock"] in ("", "diffusion", "environment"), row
        for name in re.findall(r"[A-Za-z_]\w*", row["code"]):
            assert re.search(rf"\b{name}\b", everything), f"no code is called {name}: {row}"
        same = [r for r in symbols() if r["symbol"] == row["symbol"] and r is not row]
        for other in same:
            assert not set(row["lessons"].split()) & set(other["lessons"].split()), f"two meanings: {row}, {other}"
            assert "all" not in (row["lessons"], other["lessons"]), f"two meanings: {row}, {other}"


@LESSONS
def test_what_is_cited_stands_in_the_one_bibliography(source: Path) -> None:
    assert lint_citations(cells(source)) == []


def test_the_bibliography_is_whole() -> None:
    assert len({plain(e["title"]) for e in bibliography().values()}) == len(bibliography()) > 10
    for key, entry in bibliography().items():
        assert {"author", "title", "year"} <= set(entry) and re.fullmatch(r"\d{4}", entry["year"]), (key, entry)


def test_the_order_of_the_lessons_respects_what_each_needs() -> None:
    assert lint_prerequisites(outline.needed()) == []


@LESSONS
def test_a_number_in_the_text_is_one_of_the_code_beside_it(source: Path) -> None:
    assert lint_numbers(cells(source)) == []


@LESSONS
def test_a_distribution_is_called_one(source: Path) -> None:
    assert lint_law(cells(source)) == []


@LESSONS
def test_a_verdict_is_a_whole_sentence(source: Path) -> None:
    assert lint_verdicts(cells(source)) == []


@LESSONS
def test_an_exercise_says_how_hard_it_is_on_one_scale(source: Path) -> None:
    assert lint_difficulty(cells(source)) == []


@LESSONS
def test_a_lesson_goes_on_with_the_function_that_it_asked_for(source: Path) -> None:
    assert lint_mine(cells(source)) == []


@LESSONS
def test_a_lesson_begins_with_the_picture_of_its_punch_line(source: Path) -> None:
    assert lint_opening(cells(source), editions.number(source.stem)) == []


# --------------------------------------------------------------------------------- each rule is fed what it must reject
GOOD = "A curve that rises from 0 on the left to 1 on the right."


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("widgets.lines(x, y)", "not None"),
        ("widgets.lines(x, y, alt='too short')", "'too short'"),
        ("movie(frames, alt=f'{name}: {rung} at {level} of {x} and {y}')", "40 characters"),
        ("widgets.show(fig)", ""),
        ("widgets.Picture(fig, 'a figure')", "'a figure'"),
        ("alt = 'none to speak of'\nwidgets.band(x, alt=alt)", "none to speak of"),
        (f"widgets.lines(x, y, alt={GOOD!r})\nwidgets.band(x, alt={GOOD!r})", "another figure"),
    ],
)
def test_a_figure_without_words_is_caught(bad: str, said: str) -> None:
    found = lint_alt_texts([new_code_cell(bad)])
    assert (len(found) == 1 and said in found[0]) if said else found == []  # a Picture shown brings its own


def test_a_table_that_is_not_the_last_line_is_caught_and_one_that_is_shown_passes() -> None:
    assert lost("widgets.table({})\nassert True") == ["widgets.table({})"]
    assert lost("movie(frames)\nx = 1") == ["movie(frames)"]
    assert lost("widgets.show(widgets.lines(x, y))\ndisplay(movie(f))\nt = widgets.table({})\nwidgets.table({})") == []


def test_good_words_pass_in_every_form() -> None:
    forms = (f"widgets.lines(x, y, alt={GOOD!r})", f"widgets.show(fig, {GOOD!r} + '!')", f"movie(f, alt=f{GOOD!r} '?')")
    assert lint_alt_texts([new_code_cell("\n".join(forms))]) == []


@pytest.mark.parametrize(
    "bad",
    ["ax.plot(x, color='#0072B2')", "ax.plot(x, c='red')", "ax.hist(x, facecolor='C0')", "line.set_color('k')",
     "STYLE = {'a': '#abc'}", "ax.imshow(x, cmap='viridis')", "ax.plot(x, color=['tab:blue', 'b'][i])"],
)  # fmt: skip
def test_a_colour_of_its_own_is_caught(bad: str) -> None:
    assert len(lint_colours([new_code_cell(bad)])) == 1


def test_the_palette_passes() -> None:
    good = "ax.plot(x, color=widgets.COLOUR['model'], **widgets.look('exact'))\nax.set(title='k', label='red')"
    assert lint_colours([new_code_cell(good)]) == []


@pytest.mark.parametrize(
    "bad",
    ["x = 1\n" * 21, "url = 'https://example.org'", "!pip install torch", "%pip install x", "run('pip install x')",
     "open('/etc/hosts')", "open('~/data.npz')", r"open('C:\data')", "if x:\n    !ls"],
)  # fmt: skip
def test_a_cell_that_is_long_or_reaches_outside_is_caught(bad: str) -> None:
    assert lint_code_cells([new_code_cell(bad)])


def test_a_cell_of_twenty_lines_with_division_and_remainder_passes() -> None:
    assert lint_code_cells([new_code_cell("x = 7 / y % z\n" * 19 + "s = 'a/b'")]) == []


@pytest.mark.parametrize(
    ("tex", "wanted"),
    [
        (r"\hat{x}_0 = D(x_t, t)", {r"\hat{x}", "D", "x", "t"}),
        (r"\sqrt{1 - \bar\alpha_n}", {r"\bar{\alpha}", "n"}),
        (r"\mathcal N(0, 1)\, \tfrac12 \text{weight}", {r"\mathcal{N}"}),
        (r"\frac{\alpha_{t|s}\,\sigma_s^2}{\sigma_t^2}", {r"\alpha", r"\sigma", "t", "s"}),
        (r"\operatorname{Var}[x_i] = \mathrm{SNR}", {"x", "i", r"\mathrm{SNR}"}),
    ],
)
def test_the_letters_of_a_formula_are_found(tex: str, wanted: set[str]) -> None:
    assert letters(tex) == wanted


def test_a_letter_without_a_row_is_caught_and_code_is_no_formula() -> None:
    [said] = lint_symbols([new_markdown_cell(r"See $\hat{x}_0 + \Xi_t$, and `$PATH`.")], "01")
    assert said.startswith(r"\Xi of")


def test_one_letter_for_both_times_is_caught() -> None:
    rows = [{"symbol": "t, s", "clock": "diffusion"}, {"symbol": "x_t", "clock": ""}]
    assert lint_clocks([*rows, {"symbol": "k", "clock": "environment"}]) == []
    assert lint_clocks([*rows, {"symbol": "t", "clock": "environment"}]) == [
        "t is both a diffusion time and an environment time"
    ]


LISTED = '**References.** Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020).'


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (LISTED.replace("Probabilistic", "Improbable"), "not in references.bib"),
        (LISTED.replace("2020", "2021"), "not in references.bib"),
        (f"As Janner et al. 2022 say. {LISTED}", "Janner 2022 is cited"),
        (f"(Kamb and Ganguli 2024) {LISTED}", "Kamb 2024"),
        ("No sources at all.", "no **References.**"),
    ],
)
def test_a_citation_that_leads_nowhere_is_caught(bad: str, said: str) -> None:
    assert any(said in f for f in lint_citations([new_markdown_cell(bad)]))


def test_a_citation_that_is_listed_passes() -> None:
    assert lint_citations([new_markdown_cell(f"DDPM (Ho et al. 2020) is that.\n\n{LISTED}")]) == []


def test_a_lesson_that_needs_a_later_one_or_none_is_caught() -> None:
    assert lint_prerequisites({"01": [], "02": ["01"], "03": []}) == []
    assert lint_prerequisites({"01": ["02"], "02": []}) == ["01 needs 02, which comes after it"]
    assert lint_prerequisites({"01": ["01"]}) == ["01 needs 01, which comes after it"]
    assert lint_prerequisites({"01": ["77"]}) == ["01 needs 77, which is no lesson"]


@pytest.mark.parametrize("text", ["It fell to 0.37.", "Then 41 % go left.", "<!-- 0.37: no -->It fell to 0.37."])
def test_a_number_that_nobody_holds_is_caught(text: str) -> None:
    measuring = new_code_cell("assert share > 0.4")
    assert lint_numbers([measuring, new_markdown_cell(text)])
    assert not lint_numbers([new_markdown_cell(text)])  # nothing was measured before it


@pytest.mark.parametrize(
    "text", ["More than 0.4, so 40 %.", "Lesson 01 has 3 parts.", "$0.37$ `0.37`", "arXiv 2510.12253",
             "<!-- 0.37: a definition, not a result -->\nIt is 0.37."]
)  # fmt: skip
def test_a_number_of_the_code_beside_it_passes(text: str) -> None:
    assert lint_numbers([new_code_cell("assert share > 0.4"), new_markdown_cell(text)]) == []


def test_one_law_too_many_is_caught_and_the_law_of_large_numbers_is_none() -> None:
    few = new_markdown_cell("A law. " * LAWS + "The law of large\nnumbers, `law`, <!-- law --> and lawful things.")
    assert lint_law([few, new_code_cell("law = 1")]) == []
    assert lint_law([few, new_markdown_cell("Two Laws.")]) == [f'"law" stands {LAWS + 1} times: say distribution']


@pytest.mark.parametrize(
    "bad", ["**Exact.**", "**Open.** Nothing.", "**Large effect.** Far worse than before. It fell by half, and so on.",
            "- **Exact.** Both are.\n- The next point is long enough for one.", "**Exact.** $a b c d e f$ holds."]
)  # fmt: skip
def test_a_verdict_without_a_sentence_is_caught(bad: str) -> None:
    [said] = lint_verdicts([new_markdown_cell(bad)])
    assert said.startswith(f"**{bad.strip('- ').split('.')[0].strip('*')}.** needs a sentence")


@pytest.mark.parametrize(
    "good", ["**Exact.** Many small steps have the same\ndistribution as one jump.", "An exact one. **Opening.** No.",
             "**Open.** Nobody knows at 0.05 yet, and *why* is unknown."]
)  # fmt: skip
def test_a_verdict_with_its_sentence_passes(good: str) -> None:
    assert lint_verdicts([new_markdown_cell(good)]) == []


@pytest.mark.parametrize("how", ["", " (★★, 10 minutes)", " (easy)", " (tricky, 5 minutes)", " (easy, ten minutes)"])
def test_a_difficulty_off_the_scale_is_caught(how: str) -> None:
    assert len(lint_difficulty([new_markdown_cell(f"**Exercise 1**{how}. Write it. (easy, 5 minutes)")])) == 1
    assert lint_difficulty([new_markdown_cell("**Exercise 2** (hard, 25\nminutes). Write it.")]) == []


ASKED = new_code_cell('def step(x):\n    return x\n\n\ncheck("77.step", step)')


@pytest.mark.parametrize(
    "later", ["step(1)", 'step = mine("77.step")', 'mine("77.step")\nstep(1)', 'other = mine("77.other")\nother(1)',
              'mine("77.step")', '"mine(77.step)"']
)  # fmt: skip
def test_a_function_that_the_lesson_does_not_go_on_with_is_caught(later: str) -> None:
    assert lint_mine([ASKED, new_code_cell(later)]) == ['no later cell uses the answer: step = mine("77.step")']
    assert lint_mine([new_code_cell(later), ASKED]) and lint_mine([ASKED])


@pytest.mark.parametrize(
    "later", ['step = mine("77.step")\nstep(1)', 'step = mine("77.step")', 'print(mine("77.step")(1))']
)
def test_a_function_that_the_lesson_goes_on_with_passes_and_an_answer_need_not(later: str) -> None:
    number = new_code_cell('answer = None\ncheck("77.answer", answer)')
    assert lint_mine([ASKED, number, new_code_cell(later), new_code_cell("y = step(2)")]) == []


SHOWS = "![A curve that rises from 0 on the left to 1 on the right](attachment:77.png)"


@pytest.mark.parametrize(
    "first", ["# 77 · Toy", SHOWS.replace("77", "78"), "![A curve](attachment:77.png)", f"\n{SHOWS}"]
)
def test_a_lesson_that_begins_without_its_picture_is_caught(first: str) -> None:
    tagged = new_code_cell("draw()", metadata={"tags": ["punchline"]})
    [said] = lint_opening([new_markdown_cell(first), tagged], "77")
    assert said.startswith("the first line is")
    assert lint_opening([new_markdown_cell(f"{SHOWS}\n\n# 77 · Toy"), tagged], "77") == []
    for many in ([], [tagged, tagged]):
        assert lint_opening([new_markdown_cell(SHOWS), *many], "77") == [
            f"one cell is tagged punchline, here {len(many)}"
        ]
