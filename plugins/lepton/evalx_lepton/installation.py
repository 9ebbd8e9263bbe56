"""The leptonai that is installed: which versions evalx knows, and how little of it is imported."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from typing import Any

from evalx.errors import PluginError

SUPPORTED = ((0, 47), (0, 48))
"""Versions of leptonai: from the first, up to but without the second."""

INSTALL = "pip install 'evalx[lepton]'"


def installed() -> str:
    """The version of leptonai. Raises PluginError if there is none."""
    try:
        return metadata.version("leptonai")
    except metadata.PackageNotFoundError:
        raise PluginError("the Lepton executor needs leptonai, which is not installed", INSTALL) from None


def spare_client() -> None:
    """Let `import leptonai.api…` leave out what `leptonai` itself imports: a client for endpoints' own APIs, with fastapi and httpx, which
    takes twice as long as all the rest. Whoever asks for something of `leptonai` itself still gets it, and all of that with it."""
    spec = importlib.util.find_spec("leptonai")
    if "leptonai" in sys.modules or spec is None or spec.loader is None:
        return
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def complete(name: str) -> Any:
        if package.__dict__.pop("__getattr__", None) is not None:
            loader.exec_module(package)
        return getattr(package, name)

    package.__dict__["__getattr__"] = complete
    sys.modules["leptonai"] = package


def check_installed() -> None:
    """Raises PluginError if leptonai is missing or of a version that evalx does not know."""
    found = installed()
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if not SUPPORTED[0] <= numbers < SUPPORTED[1]:
        wanted = f">={'.'.join(map(str, SUPPORTED[0]))},<{'.'.join(map(str, SUPPORTED[1]))}"
        raise PluginError(f"leptonai {found} is installed, but this evalx works with {wanted}", f"pip install 'leptonai{wanted}'")
