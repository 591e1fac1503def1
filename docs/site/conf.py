"""Sphinx's settings of the site, which diffrl_lab.publish.site builds."""

from __future__ import annotations

import inspect
import os
import warnings
from typing import Any

os.environ["PYTHONWARNINGS"] = "ignore"
warnings.filterwarnings("ignore")

from diffrl_lab import __version__  # noqa: E402
from diffrl_lab.publish import pages, site  # noqa: E402

project = "diffrl_lab"
author = "diffrl_lab contributors"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
root_doc = "index"
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
myst_dmath_allow_labels = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False
maximum_signature_line_length = 100

html_theme = "pydata_sphinx_theme"
html_title = "diffrl_lab"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # a summary is fetched, which no browser does for pages from the disk
html_math_renderer = "mathml"
html_context = {"default_mode": "auto"}
html_theme_options: dict[str, Any] = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "default",
    "pygments_dark_style": "github-dark",
}
copyright = "diffrl_lab contributors, MIT licence"


def _formula(translator: Any, node: Any) -> None:
    from docutils import nodes

    block = isinstance(node, nodes.math_block)
    markup = pages.mathml(node.astext(), block=block)
    translator.body.append(f'<div class="formula">{markup}</div>' if block else markup)
    raise nodes.SkipNode


def _docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = list(site.restructured(lines))


def _skip(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """What another library made is not documented here, whatever module it says it is of."""
    code = getattr(inspect.unwrap(thing), "__code__", None) if inspect.isfunction(thing) else None
    return True if code is not None and "site-packages" in code.co_filename else None


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: formulae by `publish.pages`, docstrings by `publish.site`."""
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
