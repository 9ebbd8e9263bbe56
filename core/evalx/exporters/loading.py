"""Finding an exporter, and what it needs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from evalx import catalog
from evalx.errors import PluginError
from evalx.exporters.api import Exporter, requirements

GROUP = "evalx.exporters"


def load_exporter(name: str) -> type[Exporter]:
    """The exporter's class, its libraries found but not imported.

    Raises PluginError if it is not installed, is no exporter, or lacks a library.
    """
    loaded: Any = catalog.load(GROUP, name)
    what = f'exporter "{name}" ({catalog.source_of(loaded)})'
    lacking = [attribute for attribute in ("Options", "export", "file_name") if not hasattr(loaded, attribute)]
    if lacking:
        raise PluginError(f"{what} lacks {', '.join(lacking)}", "an exporter has Options, file_name and a method export")
    for module, requirement in requirements(loaded).items():
        if _find(module) is None:
            raise PluginError(f"{what} needs the module {module}, which is not installed", f"pip install '{requirement}'")
    exporter: type[Exporter] = loaded
    return exporter


def _find(module: str) -> object:
    try:
        return find_spec(module)
    except (ImportError, ValueError):
        return None
