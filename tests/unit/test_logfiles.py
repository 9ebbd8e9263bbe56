"""The last lines of a log, whatever its size and that of its lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalx import logfiles
from evalx.logfiles import lines_of


@pytest.mark.parametrize("text", ["", "\n", "a", "a\nb\n\n", "one\ntwo\nthree", "".join(f"line {number}\n" for number in range(500))])
@pytest.mark.parametrize("count", [0, 1, 3, 100, 1000])
def test_the_last_lines_are_those_of_the_whole(text: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "WINDOW", 16)
    log = tmp_path / "output.log"
    log.write_text(text)
    for begin in (0, len(text) // 2):
        everything = lines_of(log, None, begin)
        assert lines_of(log, count, begin) == everything[max(0, len(everything) - count) :]


def test_a_log_without_line_ends_shows_its_end(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    with log.open("wb") as file:
        file.truncate(2**33)  # no disk holds it, and no memory
        file.seek(2**33)
        file.write(b"the end")
    (line,) = lines_of(log, 3)
    assert line.endswith("the end") and len(line) <= logfiles.SHOWN
