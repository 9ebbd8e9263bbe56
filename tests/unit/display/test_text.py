"""Text for people: nothing that a model or harness wrote reaches the terminal as anything but text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalx.display.text import cells, clean, duration, line, plural, score, table

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;new title\x07",
    "\x1b]52;c;c3RlYWw=\x1b\\",
    "\x1bPdevice\x1b\\",
    "\x9b2J",
    "back\x08space\x07",
    "\u202eright to left\u2066",
    "zero\u200bwidth",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_terminal_escapes_are_taken_out(text: str) -> None:
    shown = clean(f"before {text} after")
    assert shown.startswith("before ") and shown.endswith(" after")
    assert not any(bad in shown for bad in "\x1b\x9b\x07\x08\u202e\u2066\u200b")


def test_what_an_escape_sequence_says_is_not_shown() -> None:
    assert clean("\x1b]0;title\x07done") == "done"
    assert clean("\x1b[1;31mred\x1b[0m") == "red"


@given(st.text())
def test_clean_text_is_printable_and_stays_clean(text: str) -> None:
    shown = clean(text)
    assert all(char in "\n\t" or char.isprintable() or char.isspace() for char in shown)
    assert clean(shown) == shown


@given(st.text(), st.integers(min_value=1, max_value=30))
def test_a_line_is_one_line_and_fits(text: str, width: int) -> None:
    shown = line(text, width)
    assert "\n" not in shown
    assert cells(shown) <= width


def test_wide_characters_count_twice() -> None:
    assert cells("中文") == 4
    assert line("中文中文", 5) == "中文…"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (0, "0s"), (-3, "0s"), (59.4, "59s"), (59.6, "1m"), (3600, "1h"), (7384, "2h03m"), (90000, "1d01h")],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5000"), (-1, "-1.0000"), (45.678, "45.68"), (math.inf, "inf")])
def test_scores(value: float, shown: str) -> None:
    assert score(value) == shown


def test_plurals() -> None:
    assert [plural(n, "task") for n in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


def test_a_table_is_aligned() -> None:
    assert table(("name", "n"), [("a", 1), ("long", 200)], right=("n",)) == ["name    n", "a       1", "long  200"]


def test_a_table_fits_the_terminal() -> None:
    lines = table(("name", "why"), [("a", "x" * 200), ("b", "short")], width=40, flexible="why")
    assert max(map(len, lines)) == 40
    assert lines[1].endswith("…") and lines[2] == "b     short"


def test_a_table_without_width_cuts_nothing() -> None:
    assert "x" * 200 in table(("name",), [("x" * 200,)])[1]


def test_cells_of_a_table_stay_on_their_line() -> None:
    assert len(table(("a",), [("one\ntwo\x1b[2J",)])) == 2
