"""The HTML edition: an executed notebook as one page that needs no kernel and no network.

Movies are scrubbed in the page itself: description and frames are taken from the widget state that the execution left
in the notebook. Formulae become MathML. Explorers have some of their pictures, guesses their question; what answers a
guess is behind a fold. Parameters and collapsed cells are folded, too. The page says with which profile it was made,
has a table of contents, and leads to the lesson before and after. A browser is told by the page's own policy to fetch
nothing.
"""

from __future__ import annotations

import ast
import base64
import html
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diffrl_lab.course.editions import COLLAPSED, number, sources
from diffrl_lab.course.outline import title
from diffrl_lab.files import write_text

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
PICTURE = re.compile(r"!\[([^\]]*)\]\(attachment:([\w.-]+)\)")
ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|align\*?)\}")
WAY = '<p class="way"></p>'  # where `_lead` writes the lesson before and the next one
QUESTION = "guess: "  # how a guess begins as plain text
NOBODY = "No guess was committed. "  # on a page nobody can
FOLDED = {
    COLLAPSED: "imports and settings",
    "parameters": "parameters of this lesson",
    "injected-parameters": "parameters of this run",
}
LETTERS = {  # what MathML Core no longer styles, by the name Unicode has for such letters
    "script": "SCRIPT",
    "double-struck": "DOUBLE-STRUCK",
    "fraktur": "FRAKTUR",
    "bold": "BOLD",
    "bold-italic": "BOLD ITALIC",
    "sans-serif": "SANS-SERIF",
}
CSS = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c1e21;--faint:#5b6169;--box:#f4f5f7;--line:#c9ced4;--link:#005a9c;
--mark:#fff3d6}
@media(prefers-color-scheme:dark){:root{--paper:#16191d;--ink:#e8eaed;--faint:#a9b0b8;--box:#22262c;--line:#444b54;
--link:#7cc0f5;--mark:#3d3217}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.55 system-ui,sans-serif;overflow-wrap:break-word}
main{max-width:66rem;margin:0 auto;padding:1rem;min-width:0}
section,.note,.banner{max-width:52rem}
a{color:var(--link)}
h1,h2,h3{line-height:1.25;scroll-margin-top:.5rem}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.86em}
pre{margin:0;overflow-x:auto;line-height:1.45}
.code,.text>pre{background:var(--box);border:1px solid var(--line);border-radius:4px;padding:.6em .8em;
margin:.8em 0 .4em}
.code pre{white-space:pre-wrap;overflow-wrap:anywhere;overflow-x:visible}
.code pre>span{display:block;min-height:1.45em;padding-left:4ch;text-indent:-4ch}
.out{margin:.4em 0 1em;overflow-x:auto}
.out .text>pre{border:0;border-left:3px solid var(--line);border-radius:0;background:none;margin:0;padding:.1em .8em;
white-space:pre-wrap}
.error pre{color:#c5301f}
img{max-width:100%;height:auto;background:#fff}
@media(prefers-color-scheme:dark){img{filter:invert(.93) hue-rotate(180deg)}}
table{border-collapse:collapse;display:block;overflow-x:auto;max-width:100%}
th,td{border:1px solid var(--line);padding:.25em .6em;vertical-align:top}
math{font-family:"STIX Two Math","Latin Modern Math","Cambria Math","DejaVu Math TeX Gyre",math,serif;font-size:1.06em}
.formula{overflow-x:auto;overflow-y:hidden;padding:.3em 0}
mtd[columnalign=left]{text-align:left}
mtd[columnalign=right]{text-align:right}
mtable[columnspacing^="0em"]>mtr>mtd{padding-left:0;padding-right:0}
.note{color:var(--faint);font-size:.88em}
.banner{background:var(--mark);border:1px solid var(--line);border-radius:4px;padding:.6em .8em}
summary{cursor:pointer;color:var(--link)}
.fold{margin:.6em 0}
.fold>summary{font-size:.88em}
.answer{border-left:3px solid var(--link);padding-left:.8em;margin:.6em 0 1em}
.answer>summary{padding:.3em 0}
.toc{max-width:66rem;margin:0 auto;padding:1rem 1rem 0;font-size:.88em}
.toc ol{list-style:none;margin:.4em 0;padding:0}
.toc li{margin:.35em 0;line-height:1.3}
.way{display:flex;flex-wrap:wrap;gap:.4em 2em;justify-content:space-between;border-top:1px solid var(--line);
padding:.8em 0;margin-top:2em}
.toc .way{display:block;margin-top:1em}
.way span{display:block}
@media(min-width:75rem){body{display:grid;grid-template-columns:15rem minmax(0,66rem);gap:1rem;justify-content:center}
.toc{position:sticky;top:0;align-self:start;max-height:100vh;overflow-y:auto;margin:0;padding:1rem 0 1rem 1rem}
main{margin:0}}
"""
# Where there is room beside the text, the contents are open.
OPEN = "if(matchMedia('(min-width:75rem)').matches)document.currentScript.parentElement.open=true"
# Nothing is fetched, whatever a cell has put into its output.
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


# ------------------------------------------------------------------------------------------------------------- formulae
def mathml(tex: str, block: bool = False) -> str:
    """A formula in LaTeX as MathML Core, which browsers draw themselves. ValueError names one that cannot be."""
    from xml.etree import ElementTree

    from latex2mathml.converter import convert

    try:
        markup = convert(ALIGNED.sub(r"\\\1{split}", tex), display="block" if block else "inline")
        tree = ElementTree.fromstring(markup.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))
    except Exception as error:  # the converter's own errors have no common class
        raise ValueError(f"this formula has no MathML ({type(error).__name__}): {tex}") from None
    for node in tree.iter():
        words, kind = node.text or "", node.attrib.get("mathvariant", "normal")
        if "\\" in words or "linebreak" in node.attrib or node.tag == "merror":
            raise ValueError(f"this formula has no MathML ({words or 'a line break'} is not known): {tex}")
        if node.tag == "mo" and words in ("|", "/"):  # in TeX these are letters, without room about them
            node.attrib |= {"lspace": "0", "rspace": "0"}
        if words == "~":  # \sim is a relation
            node.tag, node.text = "mo", "\u223c"
        if kind != "normal":
            node.text = "".join(_letter(c, kind, tex) for c in words)
            del node.attrib["mathvariant"]
    return ElementTree.tostring(tree, encoding="unicode")


def _letter(c: str, kind: str, tex: str) -> str:
    """One letter in another hand: ("N", "script") -> U+1D4A9; digits and signs stay."""
    case = {"Lu": "CAPITAL", "Ll": "SMALL"}.get(unicodedata.category(c))
    if case is None or kind == "italic":
        return c
    name = f"{LETTERS.get(kind, kind.upper())} {case} {unicodedata.name(c).split(' LETTER ')[-1].split()[-1]}"
    for full in (f"MATHEMATICAL {name}", name, name.replace("FRAKTUR", "BLACK-LETTER")):
        try:
            return unicodedata.lookup(full)
        except KeyError:
            continue
    raise ValueError(f"this formula has no MathML ({c!r} as {kind} is no character): {tex}")


def _markdown() -> Callable[..., str]:
    """What renders a text: (Markdown, the pictures attached to it) -> HTML."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return f'<div class="formula">{mathml(body, block=True)}</div>'

        def inline_math(self, body: str) -> str:
            return mathml(body)

        def latex_environment(self, name: str, body: str) -> str:
            return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    renderer = Renderer(escape=False, exclude_anchor_links=True)
    render = MarkdownWithMath(renderer=renderer).render

    def checked(text: str, pictures: Mapping[str, Any] = MappingProxyType({})) -> str:
        renderer.attachments = dict(pictures)
        markup = render(PICTURE.sub(lambda m: m[0] if m[2] in pictures else f"*{m[1]}*", text))
        dollar = re.search(
            r".{0,60}\$.{0,60}", re.sub(r"<(code|pre)\b.*?</\1>|<img [^>]*>", "", markup, flags=re.DOTALL)
        )
        if dollar:
            raise ValueError(f"a formula is not closed, or a $ stands alone: {dollar[0]}")
        return markup

    return checked


# -------------------------------------------------------------------------------------------------------------- outputs
def _widget(state: dict[str, Any], model: str, data: dict[str, Any], alt: str) -> str:
    """What stands for a widget where no kernel runs."""
    from diffrl_lab.widgets import explore, movie, museum, play

    about = state.get(model, {})
    values = about.get("state", {})
    if "meta" in values:
        [numbers] = [b["data"] for b in about["buffers"] if b["path"] == ["data"]]
        live = {"play": play, "museum": museum}.get(values["meta"].get("kind"), movie)
        return live.page(values["meta"], base64.b64decode(numbers))
    kept = [stops for child in values.get("children", []) if (stops := _stops(state, child))]
    if kept:
        return explore.page(kept[0])
    if "image/png" in data:
        return _image(data["image/png"], alt) + _note("The controls of this picture need a kernel: open the notebook.")
    said = _sentences(state, model)
    if not said:
        return _text(data.get("text/plain", ""))
    if about["model_name"] == "HTMLModel":
        return f"<div>{said.replace(NOBODY, '')}</div>"
    todo = "To commit a guess" if data.get("text/plain", "").startswith(QUESTION) else "To solve it"
    return f"<div>{said}</div>{_note(f'{todo}, open the notebook.')}"


def _stops(state: dict[str, Any], child: str) -> dict[str, Any]:
    """The pictures that an explorer kept for a page, if this child of a widget has any."""
    return state.get(child.removeprefix("IPY_MODEL_"), {}).get("state", {}).get("stops") or {}


def _sentences(state: dict[str, Any], model: str) -> str:
    about = state.get(model, {})
    if about.get("model_name") == "HTMLModel":
        return about["state"].get("value", "")
    children = about.get("state", {}).get("children", [])
    return "".join(_sentences(state, child.removeprefix("IPY_MODEL_")) for child in children)


def _image(png: str, alt: str) -> str:
    return f'<img src="data:image/png;base64,{png.strip()}" alt="{html.escape(alt, quote=True)}">'


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def _text(text: str) -> str:
    from nbconvert.filters import ansi2html

    return f'<div class="text"><pre>{ansi2html(text)}</pre></div>'


def _output(output: Any, state: dict[str, Any], markdown: Callable[[str], str]) -> str:
    if output.output_type == "stream":
        return _text(output.text) if output.name == "stdout" else ""
    if output.output_type == "error":
        return f'<div class="error">{_text(chr(10).join(output.traceback))}</div>'
    data, alt = output.data, output.metadata.get("image/png", {}).get("alt", "")
    if VIEW in data and data[VIEW]["model_id"] in state:
        return _widget(state, data[VIEW]["model_id"], data, alt)
    if "text/html" in data:
        return data["text/html"]
    if "text/markdown" in data:
        return markdown(data["text/markdown"])
    if "image/png" in data:
        return _image(data["image/png"], alt)
    return _text(data.get("text/plain", ""))


# ------------------------------------------------------------------------------------------------------------- the page
def page(notebook: Any) -> str:
    """An executed notebook, its widget state still in it, as one HTML page. ValueError names a formula that fails."""
    body = "\n".join(filter(None, _blocks(notebook)))
    heads = re.findall(r'<h2 id="([\w-]+)">(.*?)</h2>', body, re.DOTALL)
    contents = "".join(f'<li><a href="#{name}">{re.sub("</?a[^>]*>", "", head)}</a></li>' for name, head in heads)
    first = next((c.source for c in notebook.cells if c.cell_type == "markdown"), "")
    heading = next(iter(re.findall(r"^# (.+)$", first, re.MULTILINE)), "diffrl_lab")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(heading)}</title>
<style>{CSS}{_colours("default")}
@media(prefers-color-scheme:dark){{{_colours("github-dark")}}}</style></head>
<body><nav class="toc"><details><summary>Contents</summary><script>{OPEN}</script>
<ol>{contents}</ol>{WAY}</details></nav>
<main>
{made_with(notebook)}
{body}
{WAY}
</main></body></html>
"""


def _blocks(notebook: Any) -> Iterator[str]:
    """The page's pieces in order. Behind one fold stand a guess's answer and what shows it, up to the next text."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    markdown, show = _markdown(), shower(notebook)
    code, answer, heads = HtmlFormatter(nowrap=True), list[str](), 0
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        if answer and (cell.cell_type == "markdown" or any(map(asks, outputs))):
            yield _fold("show what came out", "\n".join(answer), "answer")
            answer = []
        if cell.cell_type == "markdown":
            text = markdown(cell.source, cell.get("attachments", {}))
            pieces = text.split("<h2>")
            yield f"<section>{pieces[0]}"
            for piece in pieces[1:]:
                heads += 1
                yield f'<h2 id="section-{heads}">{piece}'
            yield "</section>"
        elif cell.cell_type == "code":
            lines = highlight(cell.source, PythonLexer(), code).rstrip("\n").split("\n")
            program = f'<div class="code"><pre>{"".join(f"<span>{line}</span>" for line in lines)}</pre></div>'
            tag = next((tag for tag in cell.metadata.get("tags", []) if tag in FOLDED), None)
            program = _fold(FOLDED[tag], program) if tag else program
            before, after = map(show, parted(outputs))
            if answer:
                answer += [program, before, after]
            else:
                yield program
                yield before
                answer = [after] if after else []
    if answer:
        yield _fold("show what came out", "\n".join(answer), "answer")


def _fold(summary: str, inside: str, kind: str = "fold") -> str:
    return f'<details class="{kind}"><summary>{summary}</summary>\n{inside}</details>'


def asks(output: Any) -> bool:
    """Whether an output is the question of a guess: what came before it is answered by then."""
    return output.get("data", {}).get("text/plain", "").startswith(QUESTION)


def parted(outputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """A cell's outputs before the answer of a guess, and those from it on."""
    answers = (re.match(rf"{NOBODY}|You guessed ", o.get("data", {}).get("text/plain", "")) for o in outputs)
    at = next((i for i, answer in enumerate(answers) if answer), len(outputs))
    return outputs[:at], outputs[at:]


def shower(notebook: Any) -> Callable[[list[Any]], str]:
    """What makes HTML of some outputs of an executed notebook, its widgets alive without a kernel."""
    markdown, state = _markdown(), notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    return lambda outputs: _outputs(outputs, state, markdown)


def parameters(notebook: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A lesson's parameters: what its own cell says, and what this run had. Only constants count."""
    said: dict[str, dict[str, Any]] = {"parameters": {}, "injected-parameters": {}}
    for cell in notebook.cells:
        for tag in said.keys() & set(cell.metadata.get("tags", [])):
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                    said[tag][ast.unparse(node.targets[0])] = node.value.value
    return said["parameters"], said["parameters"] | said["injected-parameters"]


def made_with(notebook: Any) -> str:
    """Which profile and which seed the page shows, and a banner where they are not those that the texts speak of."""
    own, had = parameters(notebook)
    films = (
        "Movies can be scrubbed on this page, and other controls have some of their values. "
        "What has to be computed anew needs the notebook."
    )
    if not had:
        return _note(films)
    made = ", ".join(f"{name.lower()} <code>{html.escape(str(value))}</code>" for name, value in had.items())
    texts = ", ".join(f"{name.lower()} <code>{html.escape(str(value))}</code>" for name, value in own.items())
    if had == own:
        return _note(f"Made with {made}. {films}")
    quick = "These numbers are those of a quick run, which trains less and draws less. "
    quick = quick if had.get("PROFILE") == "smoke" else ""
    return f'<p class="banner" role="note">Made with {made}. {quick}The texts speak of {texts}.</p>{_note(films)}'


def _outputs(outputs: list[Any], state: dict[str, Any], markdown: Callable[..., str]) -> str:
    shown = "\n".join(filter(None, (_output(output, state, markdown) for output in outputs)))
    return f'<div class="out">{shown}</div>' if shown else ""


def _colours(style: str) -> str:
    """Of a style of pygments what colours words; paper and frame are the page's own."""
    from pygments.formatters import HtmlFormatter

    lines = HtmlFormatter(style=style).get_style_defs(".code").split("\n")
    return "\n".join(line for line in lines if line.startswith(".code ."))


def write(notebook: Any, path: Path) -> Path:
    """Write the page of an executed notebook, and lead the pages of its folder to each other. -> path"""
    write_text(path, page(notebook))
    _lead(path.parent)
    return path


def _lead(folder: Path) -> None:
    """Write into the lessons' pages of a folder which lesson comes before and after; without a page, how to make it."""
    every = sources()
    for i, source in enumerate(every):
        file = folder / f"{source.stem}.html"
        if not file.exists():
            continue
        links = "".join(
            f"<span>{word}: {_link(folder, every[j])}</span>"
            for word, j in (("Lesson before", i - 1), ("Next lesson", i + 1))
            if 0 <= j < len(every)
        )
        text = file.read_text("utf-8")
        led = re.sub(r'(?<=<p class="way">).*?(?=</p>)', links, text)
        if led != text:
            write_text(file, led)


def _link(folder: Path, source: Path) -> str:
    name = f"{number(source.stem)} · {html.escape(title(source))}"
    if (folder / f"{source.stem}.html").exists():
        return f'<a href="{source.stem}.html">{name}</a>'
    return f"{name} (its page: <code>diffrl-lab run {number(source.stem)} --html</code>)"
