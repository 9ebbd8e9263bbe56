"""The reference pages are what the code says today."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.markdown import DOCS


def test_the_generated_pages_are_up_to_date() -> None:
    """In a process of its own, as an author runs it."""
    done = subprocess.run([sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run: python docs/generate.py"


def test_a_page_that_is_out_of_date_is_found_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = runpy.run_path(str(DOCS / "generate.py"))
    main = space["main"]
    main.__globals__["HERE"] = tmp_path
    assert main([]) == 0
    page = tmp_path / "states.md"
    page.write_text(page.read_text().replace("`scored`", "`passed`"))
    capsys.readouterr()
    assert main(["--check"]) == 1
    assert capsys.readouterr().out == "out of date: docs/reference/states.md\n"
    assert main([]) == 0
    assert main(["--check"]) == 0
