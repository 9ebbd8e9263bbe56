"""The reference pages are what the code says today."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from tests.docs.markdown import DOCS

PAGES = runpy.run_path(str(DOCS / "generate.py"))


def test_the_generated_pages_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert PAGES["main"](["--check"]) == 0, f"{capsys.readouterr().out}run: python docs/generate.py"


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
