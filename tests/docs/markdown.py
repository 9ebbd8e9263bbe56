"""Reading the documentation as data."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

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


def write_files(page: Path, folder: Path) -> None:
    """Write the titled blocks of a page as files. If they are a plugin, it counts as installed where `folder` is on the path."""
    for block in blocks(page):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text)
    if (folder / "pyproject.toml").exists():
        _install(tomllib.loads((folder / "pyproject.toml").read_text())["project"], folder)


def _install(project: dict[str, Any], folder: Path) -> None:
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, names in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
