"""The HTML edition: an executed notebook as one page that needs no kernel and no network.

Movies are scrubbed in the page itself: description and frames are taken from the widget state that the execution left
in the notebook. Formulae become MathML. Explorers show their picture, guesses their question. A browser is told by the
page's own policy to fetch nothing.
"""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffrl_lab.files import write_text

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|align\*?)\}")
LETTERS = {  # what MathML Core no longer styles, by the name Unicode has for such letters
    "script": "SCRIPT",
    "double-struck": "DOUBLE-STRUCK",
    "fraktur": "FRAKTUR",
    "bold": "BOLD",
    "bold-italic": "BOLD ITALIC",
    "sans-serif": "SANS-SERIF",
}
CSS = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c1e21;--faint:#5b6169;--box:#f4f5f7;--line:#c9ced4;--link:#005a9c}
@media(prefers-color-scheme:dark){:root{--paper:#16191d;--ink:#e8eaed;--faint:#a9b0b8;--box:#22262c;--line:#444b54;
--link:#7cc0f5}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.55 system-ui,sans-serif;overflow-wrap:break-word}
main{max-width:52rem;margin:0 auto;padding:1rem}
a{color:var(--link)}
h1,h2,h3{line-height:1.25}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.86em}
pre{margin:0;overflow-x:auto;line-height:1.45}
.code,.text>pre{background:var(--box);border:1px solid var(--line);border-radius:4px;padding:.6em .8em;
margin:.8em 0 .4em}
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
"""
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


def _markdown() -> Callable[[str], str]:
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return f'<div class="formula">{mathml(body, block=True)}</div>'

        def inline_math(self, body: str) -> str:
            return mathml(body)

        def latex_environment(self, name: str, body: str) -> str:
            return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    render = MarkdownWithMath(renderer=Renderer(escape=False, exclude_anchor_links=True)).render

    def checked(text: str) -> str:
        markup = render(text)
        dollar = re.search(r".{0,60}\$.{0,60}", re.sub(r"<(code|pre)\b.*?</\1>", "", markup, flags=re.DOTALL))
        if dollar:
            raise ValueError(f"a formula is not closed, or a $ stands alone: {dollar[0]}")
        return markup

    return checked


# -------------------------------------------------------------------------------------------------------------- outputs
def _widget(state: dict[str, Any], model: str, data: dict[str, Any], alt: str) -> str:
    """What stands for a widget where no kernel runs."""
    from diffrl_lab.widgets import movie

    about = state.get(model, {})
    values = about.get("state", {})
    if "meta" in values:
        [frames] = [b["data"] for b in about["buffers"] if b["path"] == ["data"]]
        return movie.page(values["meta"], base64.b64decode(frames))
    if "image/png" in data:
        return _image(data["image/png"], alt) + _note("The controls of this picture need a kernel: open the notebook.")
    said = _sentences(state, model)
    if not said:
        return _text(data.get("text/plain", ""))
    answered = about["model_name"] == "HTMLModel"
    return f"<div>{said}</div>" + ("" if answered else _note("To commit a guess, open the notebook."))


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
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    markdown, state = _markdown(), notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    code, body = HtmlFormatter(nowrap=True), []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            body.append(f"<section>{markdown(cell.source)}</section>")
        elif cell.cell_type == "code":
            body.append(f'<div class="code"><pre>{highlight(cell.source, PythonLexer(), code)}</pre></div>')
            outputs = "\n".join(filter(None, (_output(o, state, markdown) for o in cell.outputs)))
            body.append(f'<div class="out">{outputs}</div>' if outputs else "")
    first = next((c.source for c in notebook.cells if c.cell_type == "markdown"), "")
    title = next(iter(re.findall(r"^# (.+)$", first, re.MULTILINE)), "diffrl_lab")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(title)}</title>
<style>{CSS}{_colours("default")}
@media(prefers-color-scheme:dark){{{_colours("github-dark")}}}</style></head>
<body><main>
{_note("Movies can be scrubbed on this page; what has to be computed anew needs the notebook.")}
{chr(10).join(body)}
</main></body></html>
"""


def _colours(style: str) -> str:
    """Of a style of pygments what colours words; paper and frame are the page's own."""
    from pygments.formatters import HtmlFormatter

    lines = HtmlFormatter(style=style).get_style_defs(".code").split("\n")
    return "\n".join(line for line in lines if line.startswith(".code ."))


def write(notebook: Any, path: Path) -> Path:
    """Write the page of an executed notebook. -> path"""
    write_text(path, page(notebook))
    return path
