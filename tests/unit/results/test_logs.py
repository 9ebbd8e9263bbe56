from __future__ import annotations

import os
from pathlib import Path

import pytest

from evalx.results import clean, tail
from evalx.results.logs import MAX_LINE, last_line


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain é 日本 🔥\ttab", "plain é 日本 🔥\ttab"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;cGF5bG9hZA==\x07text", "text"),
        ("\x1bP+q544e\x1b\\text", "text"),
        ("\x1b[2J\x1b[Htext", "text"),
        ("\x1bctext", "text"),
        ("\x9b31mtext", "text"),
        ("10%\r50%\r100%", "100%"),
        ("end\r\n", "end"),
        ("a\x00b\x07c\x7f", "abc"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("\x1b", ""),
        ("\x1b[", ""),
    ],
)
def test_what_a_terminal_would_act_on_is_taken_out(line: str, shown: str) -> None:
    assert clean(line) == shown


def test_the_last_lines_are_found(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_text("one\ntwo\n\x1b[31mthree\x1b[0m\n")
    assert tail(log, 2) == ["two", "three"]
    assert tail(log, 9) == ["one", "two", "three"]
    assert tail(log, 0) == []
    log.write_text("one\nunfinished")
    assert tail(log, 1) == ["unfinished"]


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    with log.open("wb") as file:
        file.truncate(2**36)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    assert tail(log, 1) == ["last"]


def test_long_lines_are_cut_and_bad_bytes_are_replaced(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_bytes(b"\xff\xfe\n" + b"x" * 1_000_000)
    assert tail(log, 1) == ["x" * MAX_LINE]
    log.write_bytes(b"a\xffb\n")
    assert tail(log, 1) == ["a\ufffdb"]


def test_what_is_no_log_has_no_lines(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "link.log").symlink_to("/etc/passwd")
    assert tail(tmp_path / "pipe.log", 5) == tail(tmp_path / "link.log", 5) == tail(tmp_path / "none.log", 5) == []
    assert last_line(tmp_path) is None


def test_the_last_line_with_text_of_the_newest_log_is_taken(tmp_path: Path) -> None:
    (tmp_path / "old.log").write_text("old\n")
    os.utime(tmp_path / "old.log", (1, 1))
    (tmp_path / "output.log").write_text("  boom  \n\x1b[0m\n\n")
    assert last_line(tmp_path) == "boom"
