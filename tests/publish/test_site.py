"""The site: every page has its place in the contents, docstrings are read as they are meant, and it builds without a
fault, asks for nothing outside, and has no link that leads nowhere."""

from __future__ import annotations

import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from nbformat import v4

from diffrl_lab.course.editions import ROOT, sources, target
from diffrl_lab.publish import pages, site

HERE = sorted(p.relative_to(ROOT) for p in (ROOT / "docs").rglob("*.md") if site.FRAME not in p.parents)


def contents() -> set[str]:
    """What the trees of contents of the frame's pages name, patterns filled in, without an ending."""
    named: set[str] = set()
    for page in site.FRAME.glob("*.md"):
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            lines = [line for line in tree.splitlines() if line and not line.startswith(":")]
            named |= {re.sub(r".*<(.+)>", r"\1", line) for line in lines}
    lessons = {str(target(s).relative_to(ROOT).with_suffix("")) for s in sources()}
    return named | lessons if "notebooks/*" in named else named


@pytest.mark.parametrize("page", HERE + [target(s).relative_to(ROOT) for s in sources()], ids=str)
def test_every_page_and_lesson_has_its_place_in_the_contents(page: Path) -> None:
    assert str(page.with_suffix("")) in contents()


def test_the_contents_name_no_page_that_is_not_there() -> None:
    made = {"notebooks/*", *(f"api/{name}" for name in ["diffrl_lab", *site.modules()])}
    here = {str(p.relative_to(root).with_suffix("")) for root in (ROOT, site.FRAME) for p in root.glob("*.md")}
    here |= {str(p.with_suffix("")) for p in [*HERE, *(target(s).relative_to(ROOT) for s in sources())]}
    assert contents() - made - here == set()


def test_every_public_module_is_in_the_reference_and_no_answer_of_an_exercise() -> None:
    api, every = site.reference(), set(site.modules())
    assert {"diffrl_lab.analysis.diagnosis", "diffrl_lab.methods.policies.diffusion_policy"} <= every
    assert not [name for name in api if "exercises" in name]
    listed = {line.strip() for page in api.values() for line in page.splitlines()}
    assert every <= listed and set(api) == {"diffrl_lab", *every}


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("The mean of x_t, |x| and *args.", r"The mean of x\_t, \|x\| and \*args."),
        ("The *scale* of `x_t`.", r"The \ *scale*\  of \ ``x_t``\ ."),
        ("[B, d] -> [B]", r"\ [B, d] -> [B]"),
        ("a   one\nb   two", "::\n\n   a   one\n   b   two"),
        ("- one\n  more\n- two_", "- one\n  more\n- two\\_"),
    ],
)
def test_a_docstring_keeps_its_signs_and_its_columns(text: str, wanted: str) -> None:
    assert "\n".join(site.restructured(text.split("\n"))).strip("\n") == wanted


def test_links_lead_to_pages_and_what_has_no_page_is_named() -> None:
    here = {Path("docs/a.md"), Path("api/diffrl_lab.nets.rst")}
    text = "[a](docs/a.md#x) [nets](diffrl_lab/nets) [data](data/b.json) [out](https://e.org)\n```\n[c](c.md)\n```\n"
    assert site.copied(text, Path("README.md"), here) == (
        "[a](docs/a.md#x) [nets](api/diffrl_lab.nets.rst) data [out](https://e.org)\n```\n[c](c.md)\n```\n"
    )


def test_what_answers_a_guess_is_behind_a_fold_up_to_the_next_text() -> None:
    answer = v4.new_output("display_data", {"text/plain": f"{pages.NOBODY}It is 4."})
    cells = [
        v4.new_markdown_cell("# A"),
        v4.new_code_cell("2 + 2", outputs=[v4.new_output("stream", text="sum\n"), answer]),
        v4.new_code_cell("x = 1"),
        v4.new_markdown_cell("So it is."),
    ]
    made, _ = site.lesson(v4.new_notebook(cells=cells))
    said = [c.source for c in made.cells]
    fold = next(i for i, text in enumerate(said) if text.startswith("<details"))
    assert said[fold - 1] == "2 + 2" and "sum" in made.cells[fold - 1].outputs[0].data["text/html"]
    assert "It is 4" in made.cells[fold + 1].outputs[0].data["text/html"]
    assert said[fold + 2 :] == ["x = 1", "</details>", "So it is."]


def test_a_folder_that_is_no_site_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "source", lambda *_, **__: None)
    monkeypatch.setattr(site, "_sphinx", lambda *_, **__: None)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="holds something that is not a site"):
        site.build(tmp_path, work=tmp_path / "work")
    assert (tmp_path / "thesis.txt").exists()


class Page(HTMLParser):
    """What a page loads, where its links lead, and what can be led to."""

    def __init__(self, text: str):
        super().__init__()
        self.loads, self.links, self.names = list[str](), list[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {key: value or "" for key, value in attrs}
        self.names |= {of["id"]} if "id" in of else set()
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        elif tag == "link":
            self.loads += [of.get("href", "")] if of.get("rel") != "canonical" else []
        elif tag != "form":
            self.loads += [of[key] for key in ("src", "srcset", "data", "poster") if key in of]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="needs the extra `site`")
def test_the_site_builds_without_a_warning_has_no_broken_link_and_asks_for_nothing_outside(tmp_path: Path) -> None:
    out = site.build(tmp_path / "site", ["01"], profile="smoke", work=tmp_path / "work").parent
    read = {file: Page(file.read_text("utf-8")) for file in sorted(out.rglob("*.html"))}
    assert len(read) > 100
    broken, outside = [], []
    for file, page in read.items():
        outside += [(file.name, url) for url in page.loads if re.match(r"(?:https?:)?//", url)]
        for url in [*page.links, *page.loads]:
            if re.match(r"[a-z]+:|//", url) or not url:
                continue
            path, _, name = unquote(url).partition("#")
            goal = (file.parent / path.split("?")[0]).resolve() if path else file
            if not goal.is_file() or (name and goal in read and name not in read[goal].names):
                broken.append((str(file.relative_to(out)), url))
    assert (broken, outside) == ([], [])
    index = (out / "searchindex.js").read_text("utf-8")
    assert "Search.setIndex(" in index and '"notebooks/01_ddpm"' in index
    film = (out / "notebooks" / "01_ddpm.html").read_text("utf-8")
    assert "diffrl-movie" in film and "<math" in film and "diffrl-stops" in film and "no input" not in film
    assert "Made with profile <code>smoke" in film and film.count("What came out: ") > 5
    assert json.dumps(str(ROOT))[1:-1] not in film
