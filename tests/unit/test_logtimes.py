"""When the lines of a log were written: what is noted, what follows from it, and what cannot be known."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalx import logtimes
from evalx.logtimes import LogWatch, note, offset


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Lines that grew at 10, 20 and 30 s; written to just now."""
    path = tmp_path / "output.log"
    path.write_bytes(b"one\ntwo\nthree\n")
    note(path, [(10.0, 4), (20.0, 8), (30.0, 14)])
    return path


@pytest.mark.parametrize(("since", "begins"), [(5, 0), (10, 0), (10.5, 4), (20, 4), (25, 8), (30.001, 14)])
def test_it_begins_where_nothing_that_came_since_is_left_out(log: Path, since: float, begins: int) -> None:
    assert offset(log, since) == begins


def test_a_line_that_was_half_written_is_shown_whole(log: Path) -> None:
    note(log, [(25.0, 11)])
    assert offset(log, 26) == 8


def test_a_look_that_came_late_changes_nothing(log: Path) -> None:
    note(log, [(40.0, 8), (15.0, 4)])
    assert [offset(log, since) for since in (16, 25, 35)] == [4, 8, 14]


def test_what_was_not_touched_since_has_nothing_new(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("one\n")
    os.utime(path, (1000, 1000))
    assert offset(path, 1002) == 4
    assert offset(path, 999) is None


def test_nonsense_beside_the_log_is_not_believed(log: Path) -> None:
    beside = log.with_name("output.log.times")
    beside.write_bytes(b"\xff\xfe\n1 2 3\nnan x\n5 -1\n6 999999\n7 8\n")
    assert offset(log, 9) == 8
    beside.unlink()
    beside.symlink_to(log)
    note(log, [(50.0, 3)])
    assert log.read_bytes() == b"one\ntwo\nthree\n" and offset(log, 9) is None


@given(st.lists(st.tuples(st.floats(0, 100), st.binary(max_size=5)), max_size=8), st.floats(0, 100))
def test_nothing_since_is_ever_left_out(tmp_path_factory: pytest.TempPathFactory, written: list[tuple[float, bytes]], since: float) -> None:
    written.sort(key=lambda piece: piece[0])
    path = tmp_path_factory.mktemp("log") / "output.log"
    size, first = 0, None
    for moment, piece in written:
        if moment >= since and first is None:
            first = size
        size += len(piece)
        note(path, [(moment, size)])
    path.write_bytes(b"".join(piece for _, piece in written))
    begins = offset(path, since)
    assert written == [] or (begins is not None and begins <= (size if first is None else first))


def test_a_watch_notes_when_logs_grow(tmp_path: Path) -> None:
    folder = tmp_path / "tasks" / "000-one"
    folder.mkdir(parents=True)
    (folder / "link.log").symlink_to("/etc/hostname")
    path = folder / "output.log"
    with LogWatch(tmp_path, every=0.01):
        path.write_bytes(b"one\n")
        until_noted(path, 1)
        between = time.time()
        with path.open("ab") as file:
            file.write(b"two\n")
        until_noted(path, 2)
    assert offset(path, between) == 4 and offset(path, between - 3600) == 0
    assert not (folder / "link.log.times").exists()
    logtimes.forget(path)
    assert offset(path, between - 3600) is None


def test_a_watch_looks_once_more_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "endpoints" / "000-one" / "output.log"
    path.parent.mkdir(parents=True)
    with LogWatch(tmp_path, every=3600):
        path.write_bytes(b"one\n")
    assert offset(path, time.time() + 1) == 4


def until_noted(path: Path, count: int) -> None:
    """Until there are so many notes beside a log."""
    beside, end = path.with_name(f"{path.name}.times"), time.monotonic() + 60
    while time.monotonic() < end:
        if beside.exists() and len(beside.read_bytes().splitlines()) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("not noted")
