"""The documentation as a web site: `python -m sphinx -W -b html docs docs/_build`.

The pages are plain Markdown, read in the repository as well. What Sphinx wants beyond that is made here: the navigation from the lists of
links in CONTENTS, captions from the titles of code blocks, tables that fit a phone.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

HERE = Path(__file__).parent

project = "evalx"
author = "The evalx developers"
release = version = re.findall(r'^__version__ = "(.+)"', (HERE.parent / "core/evalx/__init__.py").read_text(), re.MULTILINE)[0]
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True

myst_heading_anchors = 3

html_theme = "furo"
html_title = "evalx"
html_favicon = "_static/evalx.svg"
html_static_path = ["_static"]
html_css_files = ["evalx.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "default"
pygments_dark_style = "github-dark"

CONTENTS = {"index", "adr/README"}

_SECTION = re.compile(r"^## (?P<caption>.+)$|^\d?[-*.] \[[^\]]*\]\((?P<page>[\w/.-]+\.md)\)", re.MULTILINE)
_TITLED = re.compile(r'^(?P<indent> *)```(?P<language>\w+) title="(?P<title>[^"]+)"$', re.MULTILINE)


def _prepare(_app: Sphinx, page: str, source: list[str]) -> None:
    """Give a page what Sphinx wants: captions, and a table of contents where there are lists of pages."""
    text = _TITLED.sub(r"\g<indent>```{code-block} \g<language>\n\g<indent>:caption: \g<title>\n", source[0])
    source[0] = text + _navigation(text) if page in CONTENTS else text


def _navigation(text: str) -> str:
    """Hidden tables of contents that say what the lists of links say: one for each heading."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for found in _SECTION.finditer(text):
        if found["caption"]:
            parts.append((found["caption"], []))
        else:
            parts[-1][1].append(found["page"])
    trees = (
        "\n```{toctree}\n:hidden:\n" + (f":caption: {caption}\n" if caption else "") + "\n" + "\n".join(listed) + "\n```\n"
        for caption, listed in parts
        if listed
    )
    return "\n" + "".join(trees)


def _mark_tables_of_keys(_app: Sphinx, page: nodes.document, _name: str) -> None:
    """Their rows are shown one below the other where the screen is narrow."""
    for table in page.findall(nodes.table):
        if [cell.astext() for cell in table.findall(nodes.entry)][:3] == ["Key", "Type", "Default"]:
            table["classes"].append("keys")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", _prepare)
    app.connect("doctree-resolved", _mark_tables_of_keys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
