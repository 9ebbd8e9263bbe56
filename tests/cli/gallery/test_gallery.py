"""Every error as a user sees it, kept as a page in `screens` that a person has read. `EVALX_GALLERY=write pytest tests/cli/gallery` writes
the pages anew: read what has changed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from tests.cli.gallery import commands, configs, lepton, plugins, running
from tests.cli.gallery.stage import CANARY, SITUATIONS, Stage

from evalx.cli import wording
from evalx.display.text import cells

SCREENS = Path(__file__).parent / "screens"
MODULES = (commands, configs, lepton, plugins, running)
"""They put their situations into SITUATIONS when they are imported."""

COLUMNS = 80
QUOTED = ("  | ", "  files: ", "  last lines of ")
"""Lines of a log, and paths, are shown as they are."""

fit = wording.fit

pytestmark = [pytest.mark.enable_socket, pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")]


@pytest.fixture
def stage(
    tmp_path: Path, evalx_home: Path, evalx: Any, stored: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Stage:
    for name in ("CI", "NO_SUCH_KEY", "NO_SUCH_MODEL", "NO_SUCH_TOKEN", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    stage = Stage(tmp_path, evalx_home, evalx, stored, monkeypatch, request)
    monkeypatch.setattr(wording, "columns", lambda _stream: COLUMNS)
    monkeypatch.setattr(wording, "fit", lambda text, width: fit(stage.same_everywhere(text), width))
    return stage


def is_too_long(line: str) -> bool:
    """Whether the line is wider than the terminal, though it could have been broken: it is not one path, one URL or one command."""
    said = re.sub(r"^ *(?:(?:error|hint|note|warning): )?", "", line)
    return cells(line) > COLUMNS and len(fit(said, 1)) > 1


def ends_without_hint(page: str) -> list[str]:
    """The errors on a page after which nothing says what to do: neither a hint of their own, nor one that several in a row share."""
    messages = re.findall(r"^(error|( hint)): (.*)$", page, re.MULTILINE)
    return [said for number, (_, hint, said) in enumerate(messages) if not hint and all(not after for _, after, _ in messages[number:])]


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_what_a_user_sees(name: str, stage: Stage) -> None:
    done = SITUATIONS[name](stage)
    page, kept = stage.page(done), SCREENS / f"{name}.txt"
    assert "Traceback (most recent" not in page and CANARY not in page
    assert not [line for line in page.partition("--- stderr\n")[2].splitlines() if not line.startswith(QUOTED) and is_too_long(line)]
    assert not ends_without_hint(page)
    assert "(hint:" not in page
    assert "one: skipped" not in page or "\n hint: " in page
    assert ("internal error" in page) is (name == "plugin_whose_preflight_raises")
    if os.environ.get("EVALX_GALLERY") == "write":
        kept.write_text(page)
    assert page == kept.read_text(), "see the docstring of this file"


def test_every_page_has_its_situation() -> None:
    """Those of Lepton need its SDK."""
    known = {path.stem for path in SCREENS.glob("*.txt")}
    assert {name for name in known - SITUATIONS.keys() if not name.startswith("lepton_")} == set()
    assert len(known) >= 60
