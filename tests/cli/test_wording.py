"""Messages: broken on a terminal at its width, one line each in a pipe, and never broken where they are copied from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalx.cli.wording import fit
from evalx.display.text import cells
from evalx.reasons import apart, with_hint

WRONG = "execution: {type: local}\nevaluation: {harness: nothing_of_that_name, tasks: []}\n"


@given(st.text("abc é漢 \n", max_size=200), st.integers(5, 60))
def test_nothing_is_lost_and_nothing_is_too_wide(text: str, width: int) -> None:
    lines = fit(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "").replace("\n", "")
    assert all(cells(line) <= width or " " not in line.strip() for line in lines)


@pytest.mark.parametrize(
    "whole",
    [
        "evalx run --config-dir configs --config-name mine",
        "pip install --upgrade 'leptonai>=0.47,<0.48'",
        "lep secret create -n HF_TOKEN -v VALUE",
        "https://example.test/a/long/path?with=a#fragment",
        "/a/folder/with/a/long/name/output.log",
        "execution.prices={gpu.small: 1.5, cpu.small: 0.1}",
        "execution.runtime: process",
        "`evalx tasks ls`",
    ],
)
def test_what_is_copied_stays_whole(whole: str) -> None:
    lines = fit(f"a hint in some words, which go on for a little while; and then {whole}, or else something that is longer again", 30)
    assert any(whole in line for line in lines)
    assert len(lines) >= 4


def test_a_command_ends_with_its_clause() -> None:
    assert fit("evalx ls, and more words", 16) == ["evalx ls, and", "more words"]


def test_without_a_width_nothing_is_broken() -> None:
    assert fit("word " * 50, None) == ["word " * 50]


@given(
    st.text("ab ()", max_size=30), st.lists(st.sampled_from(["give it longer", "remove x (it is free), or y", "see: evalx ls"]), max_size=3)
)
def test_a_reason_and_its_hints_come_apart(said: str, hints: list[str]) -> None:
    reason = said
    for hint in hints:
        reason = with_hint(reason, hint)
    found, told = apart(reason)
    assert found.rstrip() == said.rstrip() and told == list(dict.fromkeys(hints))


def test_a_hint_within_a_reason_is_taken_out_of_its_middle() -> None:
    assert apart("last seen: waiting (no capacity (hint: another node group)); too late") == (
        "last seen: waiting (no capacity); too late",
        ["another node group"],
    )


def test_a_terminal_breaks_at_its_width(tmp_path: Path, environment: Mapping[str, str]) -> None:
    (tmp_path / "my.yaml").write_text(WRONG)
    screen = _on_terminal(tmp_path, environment, 50)
    lines = screen.splitlines()
    assert (
        lines[0].startswith("error: ")
        and any(line.startswith("       ") for line in lines)
        and any(line.startswith(" hint: ") for line in lines)
    )
    assert all(len(line) <= 50 for line in lines), screen


def test_columns_count_more_than_the_terminal(tmp_path: Path, environment: Mapping[str, str]) -> None:
    (tmp_path / "my.yaml").write_text(WRONG)
    lines = _on_terminal(tmp_path, {**environment, "COLUMNS": "40"}, 90).splitlines()
    assert all(len(line) <= 40 or len(line.split()) <= 2 for line in lines) and len(lines) > 8


def test_in_a_pipe_each_message_is_a_line(tmp_path: Path, evalx_process: Any) -> None:
    (tmp_path / "my.yaml").write_text(WRONG)
    lines = evalx_process("run", "my.yaml", COLUMNS="40").err.splitlines()
    assert {line.partition(":")[0] for line in lines} == {"error", " hint"} and max(map(len, lines)) > 60


def _on_terminal(folder: Path, environment: Mapping[str, str], columns: int) -> str:
    child: Any = pexpect.spawn(
        sys.executable,
        ["-m", "evalx.cli", "run", "my.yaml"],
        cwd=str(folder),
        env={**environment, "NO_COLOR": "1"},
        dimensions=(40, columns),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    return str(child.before)
