"""What the tests of the author's kit share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def modules_of_the_test(tmp_path: Path) -> Iterator[None]:
    """Modules that a test has imported from its own folder are gone after it: the next test has others of the same name."""
    yield
    for name in [name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).startswith(str(tmp_path))]:
        del sys.modules[name]
