"""Plugins as authors have them, for tests: what `evalx plugins new` writes, changed here and there, and installed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from evalx.scaffold import plan_scaffold, write


def scaffold(kind: str, name: str, folder: Path, *changes: tuple[str, str]) -> Path:
    """Write a new plugin and change its modules. changes: old text, which must be somewhere, and new text."""
    made = plan_scaffold(kind, name, folder)
    write(made)
    for old, new in changes:
        edit(folder, old, new)
    return folder


def edit(folder: Path, old: str, new: str) -> None:
    """Replace a text wherever it is in the package; fails if it is nowhere."""
    changed = [path for path in [*folder.glob("src/*/*.py"), folder / "pyproject.toml"] if old in path.read_text()]
    assert changed, f"{old!r} is nowhere"
    for path in changed:
        path.write_text(path.read_text().replace(old, new))


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package on the path as if it were installed, for this process and those it starts."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    source = folder / "src"
    info = source / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines: list[str] = []
    for group, names in project.get("entry-points", {}).items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(source))
    monkeypatch.setenv("PYTHONPATH", str(source))
