"""Every error as a user sees it, kept as a page in `screens` that a person has read. `EVALX_GALLERY=write pytest tests/cli/gallery` writes
the pages anew: read what has changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.cli.gallery import commands, configs, lepton, plugins, running
from tests.cli.gallery.stage import CANARY, SITUATIONS, Stage

SCREENS = Path(__file__).parent / "screens"
MODULES = (commands, configs, lepton, plugins, running)
"""They put their situations into SITUATIONS when they are imported."""

pytestmark = [pytest.mark.enable_socket, pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")]


@pytest.fixture
def stage(
    tmp_path: Path, evalx_home: Path, evalx: Any, stored: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Stage:
    for name in ("CI", "NO_SUCH_KEY", "NO_SUCH_MODEL", "NO_SUCH_TOKEN", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Stage(tmp_path, evalx_home, evalx, stored, monkeypatch, request)


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_what_a_user_sees(name: str, stage: Stage) -> None:
    done = SITUATIONS[name](stage)
    page, kept = stage.page(done), SCREENS / f"{name}.txt"
    assert "Traceback (most recent" not in page and CANARY not in page
    assert ("internal error" in page) is (name == "plugin_whose_preflight_raises")
    if os.environ.get("EVALX_GALLERY") == "write":
        kept.write_text(page)
    assert page == kept.read_text(), "see the docstring of this file"


def test_every_page_has_its_situation() -> None:
    """Those of Lepton need its SDK."""
    known = {path.stem for path in SCREENS.glob("*.txt")}
    assert {name for name in known - SITUATIONS.keys() if not name.startswith("lepton_")} == set()
    assert len(known) >= 60
