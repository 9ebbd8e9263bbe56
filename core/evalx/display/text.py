"""Text for people: durations, scores, tables, and the disarming of what models and harnesses wrote."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

_ESCAPES = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\|$)|\x1b[P^_X].*?(?:\x1b\\|$)|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]?", re.DOTALL)
_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


def clean(text: object) -> str:
    """The text without terminal escapes, control characters and characters that reorder or hide text. Line ends and tabs stay."""
    plain = _ESCAPES.sub("", str(text))
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(c for c in plain if c in "\n\t" or unicodedata.category(c) not in _INVISIBLE)


def line(text: object, width: int | None = None) -> str:
    """As `clean`, on one line; cut to width terminal cells with an ellipsis."""
    joined = " ".join(clean(text).split())
    return joined if width is None or cells(joined) <= width else _cut(joined, width)


def cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def duration(seconds: float | None) -> str:
    """Such as `8s`, `10m`, `1m05s`, `2h03m`, `3d04h`: two units at most; `-` for None."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    for large, small, names in ((86400, 3600, "dh"), (3600, 60, "hm"), (60, 1, "ms")):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large}{names[0]}" + (f"{rest:02d}{names[1]}" if rest else "")
    return f"{whole}s"


def score(value: float) -> str:
    """A score in the harness's own unit: four decimals below ten, two above."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def plural(count: int, noun: str) -> str:
    """`1 task`, `3 tasks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
    width: int | None = None,
    flexible: str | None = None,
) -> list[str]:
    """Lines of an aligned table without borders.

    right: headings of the columns that are aligned to the right. width: of the terminal, None for no limit; what is too wide is taken
    from the column `flexible` (default: the widest).
    """
    body = [[line(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(header, *body, strict=True)]
    total = sum(widths) + 2 * (len(widths) - 1)
    if width is not None and total > width:
        index = header.index(flexible) if flexible else widths.index(max(widths))
        widths[index] = max(8, widths[index] - (total - width))
    return [_row(row, widths, [name in right for name in header]) for row in (header, *body)]


def _row(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, width, to_right in zip(row, widths, right, strict=True):
        shown = _cut(cell, width)
        space = " " * (width - cells(shown))
        padded.append(space + shown if to_right else shown + space)
    return "  ".join(padded).rstrip()


def _cut(text: str, width: int) -> str:
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + "…"
