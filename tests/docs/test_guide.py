"""What the plugin author's guide shows of new plugins is what `evalx plugins new` writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.markdown import DOCS

from evalx.cli import main
from evalx.scaffold import plan_scaffold

GUIDE = (DOCS / "plugins/guide.md").read_text()
SHOWN = re.findall(r'^```python scaffold="(\S+) (\S+) (\S+)"\n(.*?)^```$', GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("kind", "name", "path", "text"), SHOWN, ids=[path for _, _, path, _ in SHOWN])
def test_the_guide_shows_what_is_written(kind: str, name: str, path: str, text: str, tmp_path: Path) -> None:
    assert text in plan_scaffold(kind, name, tmp_path / "new").files[path]


def screen(command: str) -> str:
    """What the guide shows below a command."""
    (found,) = re.findall(rf"^\$ {re.escape(command)}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_screens_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(["plugins", "new", "harness", "sums"], capsys) == screen("evalx plugins new harness sums")
    slips = (("pyproject.toml", "evalx.harnesses", "evalx.harness"), ("src/evalx_sums/harness.py", "def parse(", "def parses("))
    for path, right, wrong in slips:
        file = Path("evalx-sums", path)
        file.write_text(file.read_text().replace(right, wrong))
    monkeypatch.chdir("evalx-sums")
    assert shown(["plugins", "check", "."], capsys) == screen("evalx plugins check .")


def shown(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a terminal shows of a command."""
    with pytest.raises(SystemExit):
        main(command)
    told = capsys.readouterr()
    return told.out + told.err
