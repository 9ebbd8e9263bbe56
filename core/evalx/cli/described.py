"""The help line of a plugin's command without importing the plugin, which could take seconds or fail: read from its source."""

from __future__ import annotations

import ast
import importlib.util
from importlib.metadata import EntryPoint
from pathlib import Path


def help_line(entry: EntryPoint) -> str:
    """The first sentence of the command's docstring, which its own --help begins with; where that is not found, whose command it is."""
    try:
        source = _source(entry.module)
        said = _docstring(ast.parse(source.read_bytes()), entry.attr) if source is not None else None
    except (ImportError, OSError, SyntaxError, ValueError):
        said = None
    if said:
        return " ".join(said.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".") + "."
    return f"A command of {entry.dist.name if entry.dist else entry.module.partition('.')[0]}."


def _source(module: str) -> Path | None:
    """The file of a module. Only the package at its top is looked for by Python: to find what is in it, that would import it."""
    top, *parts = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not parts:
        return Path(spec.origin) if spec.origin else None
    folders = [Path(folder).joinpath(*parts) for folder in spec.submodule_search_locations or ()]
    files = [file for folder in folders for file in (folder.with_suffix(".py"), folder / "__init__.py")]
    return next((file for file in files if file.is_file()), None)


def _docstring(tree: ast.Module, name: str) -> str | None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node)
    return None
