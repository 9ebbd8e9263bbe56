"""How commands write: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

SCHEMA = 1
"""Version of the JSON that commands print; grows when a reader would have to change."""


def emit(data: Mapping[str, Any]) -> None:
    """One JSON object on stdout, with the version of its format, and without secrets."""
    click.echo(as_text(data))


def as_text(data: Mapping[str, Any]) -> str:
    """What `emit` prints."""
    from evalx.redaction import redacted

    return json.dumps({"schema": SCHEMA, **redacted(data)}, indent=2)


def write(lines: Iterable[str]) -> None:
    """Lines of a result, on stdout."""
    from evalx.redaction import redact

    for text in lines:
        click.echo(redact(text))


def tell(text: str = "") -> None:
    """A message, on stderr."""
    from evalx.redaction import redact

    click.echo(redact(text), err=True)


def create_file(path: Path, text: str, hint: str) -> None:
    """Write a new file. Raises ConfigError, with the hint, if there is one already or it cannot be written."""
    from evalx.errors import ConfigError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"'{path}' is there already, and is left as it is", hint) from None
    except OSError as error:
        raise ConfigError(f"cannot write '{path}': {error.strerror}", hint) from None


def width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none, and nothing should be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
