"""How messages are set: `error: …`, and below it ` hint: …`, on lines that fit.

On a terminal a message is broken at its width (COLUMNS, or what the terminal says, 100 at most), and goes on under its own beginning. What
is to be copied is never broken: what has no spaces (URLs, paths), commands, a key and its value, and what stands in braces or backquotes.
A command goes as far as its clause, so a hint ends its clause with it.

Where stderr is no terminal every message is one line, however long: a CI log is searched by lines, and editors jump to `file:line:`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import TextIO

import click

from evalx.display.text import cells, clean
from evalx.redaction import redact

WIDEST = 100
NARROWEST = 30

COLOURS = {"error": "red", "warning": "yellow"}

_COPIED = re.compile(
    r"`[^`]+`"
    r"|\b(?:evalx (?:-|[a-z])|lep [a-z]|pip (?:un)?install |python3? -m |export [A-Z]|unset [A-Z]|(?:docker|podman) [a-z])"
    r"(?:(?![,;:.)](?:\s|$)| \(| or ).)*"
    r"|(?:[\w.+~]+=)?(?:\{[^}]*\}|\[[^\]]*\])"
    r"|\w+(?:\.\w+)+: \S+"
)
_KEPT = "\0"
"""Stands for a space at which no line ends; `clean` leaves no other."""


def columns(stream: TextIO) -> int | None:
    """How wide a message on that stream may be; None where it is no terminal."""
    if not stream.isatty():
        return None
    try:
        given = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        given = 0
    if given <= 0:
        try:
            given = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError):
            given = 80
    return max(NARROWEST, min(given, WIDEST))


def fit(text: str, width: int | None) -> list[str]:
    """The lines of a text, each broken where it is wider. width: in terminal cells; None: nothing is broken."""
    return [piece for whole in text.splitlines() or [""] for piece in (_broken(whole, width) if width is not None else [whole])]


def _broken(text: str, width: int) -> Iterator[str]:
    line: list[str] = []
    for word in _COPIED.sub(lambda found: found[0].replace(" ", _KEPT), text).split(" "):
        if line and cells(" ".join([*line, word])) > width:
            yield " ".join(line).replace(_KEPT, " ").rstrip()
            line = []
        if word or line:
            line.append(word)
    yield " ".join(line).replace(_KEPT, " ")


def safe(text: str) -> str:
    """Without secrets, and without what acts on a terminal."""
    return clean(redact(text))


def message(label: str, text: str, stream: TextIO | None = None, indent: str = "") -> Iterator[str]:
    """`error: …` or ` hint: …` as lines. stream: where they will be written, stderr unless told otherwise."""
    stream = sys.stderr if stream is None else stream
    head = f"{label:>5}:"
    margin = indent + " " * (len(head) + 1)
    width = columns(stream)
    lines = fit(safe(text), None if width is None else max(NARROWEST, width - len(margin)))
    if stream.isatty() and not os.environ.get("NO_COLOR"):
        head = click.style(head, fg=COLOURS.get(label, "cyan"), bold=label == "error")
    for number, line in enumerate(lines):
        yield f"{indent}{head} {line}" if number == 0 else f"{margin}{line}"


def say(label: str, text: str) -> None:
    """Write such a message to stderr."""
    for line in message(label, text):
        click.echo(line, err=True)


def paragraph(text: str, stream: TextIO | None = None, indent: str = "  ") -> Iterator[str]:
    """A text without a label as lines, all indented."""
    width = columns(sys.stderr if stream is None else stream)
    for line in fit(safe(text), None if width is None else max(NARROWEST, width - len(indent))):
        yield f"{indent}{line}"
