"""Reading the documentation as data."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@frozen
class Block:
    """A fenced code block. title: `title="…"` of its info string, or ""."""

    page: Path
    language: str
    title: str
    text: str


def pages() -> list[Path]:
    """Every page for readers: the documentation, and the pages at the top of the repository."""
    return sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    return [_block(page, match["info"].strip(), match["text"]) for match in _FENCE.finditer(page.read_text())]


def _block(page: Path, info: str, text: str) -> Block:
    title = re.search(r'title="([^"]*)"', info)
    return Block(page, info.partition(" ")[0], title[1] if title else "", text)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text())
