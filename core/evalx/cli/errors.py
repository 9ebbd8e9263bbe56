"""Every error a user sees is written here: one style, the exit code from the exception, a traceback only where it helps."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click

from evalx.cli import streams
from evalx.cli.options import Asked
from evalx.cli.output import emit
from evalx.cli.wording import say
from evalx.display.text import clean
from evalx.errors import ConfigErrors, EvalxError, ExitCode, OutputLost
from evalx.redaction import redact


def report(error: BaseException, asked: Asked) -> int:
    """Tell the user what went wrong; returns the exit code of the process."""
    if isinstance(error, BrokenPipeError):
        streams.drop_stdout()
        return 128 + signal.SIGPIPE  # whoever read stdout has gone (`evalx ls | head`): end quietly
    if isinstance(error, OutputLost):
        streams.drop_stdout()
        return _expected(error, replace(asked, json=False))
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    if isinstance(error, KeyboardInterrupt | click.Abort) or _while_interrupted(error):
        return ExitCode.SIGINT
    if isinstance(error, click.ClickException):
        return _usage(error, asked)
    if isinstance(error, EvalxError):
        return _expected(error, asked)
    return _internal(error, asked)


def _while_interrupted(error: BaseException | None) -> bool:
    """Whether it was raised by a library that was interrupted and stumbled over that."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _usage(error: click.ClickException, asked: Asked) -> int:
    if asked.json:
        emit({"error": {"type": type(error).__name__, "exit_code": error.exit_code, "message": error.format_message(), "hint": None}})
    elif isinstance(error, click.UsageError) and error.ctx is not None and not isinstance(error, click.exceptions.NoArgsIsHelpError):
        say("error", error.format_message())
        say("hint", f"{error.ctx.command_path} --help")
    else:
        error.show(sys.stderr)
    return int(error.exit_code)


def _expected(error: EvalxError, asked: Asked) -> int:
    if asked.json:
        emit({"error": _as_json(error)})
    else:
        _show(list(_each(error)))
    if asked.verbosity > 0:
        click.echo(redact(_trace(error)), err=True)
    return int(error.exit_code)


def _show(errors: list[EvalxError]) -> None:
    """One after the other; a hint that several in a row share is given once."""
    for index, single in enumerate(errors):
        say("error", str(single))
        for note in getattr(single, "__notes__", ()):
            say("note", note)
        following = _hint(errors[index + 1]) if index + 1 < len(errors) else None
        if _hint(single) != following:
            say("hint", _hint(single))


def _hint(error: EvalxError) -> str:
    return error.hint or error.usual_hint


def _each(error: EvalxError) -> Iterator[EvalxError]:
    if isinstance(error, ConfigErrors):
        yield from error.errors
    else:
        yield error


def _as_json(error: EvalxError) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": type(error).__name__,
        "exit_code": int(error.exit_code),
        **_told(error),
        "notes": [redact(note) for note in getattr(error, "__notes__", ())],
    }
    if isinstance(error, ConfigErrors):
        found["errors"] = [_told(single) for single in error.errors]
    return found


def _told(error: EvalxError) -> dict[str, str | None]:
    said = {"where": getattr(error, "where", None), "message": error.message, "hint": _hint(error)}
    return {key: text and redact(text) for key, text in said.items()}


def _internal(error: BaseException, asked: Asked) -> int:
    """A fault of evalx or of a plugin: the traceback goes to a file, for whoever can mend it."""
    text = redact(_trace(error))
    place = _keep(text)
    sentence = f"internal error: {type(error).__name__}: {error}"
    if asked.json:
        emit({"error": {"type": type(error).__name__, "exit_code": int(ExitCode.INTERNAL), "message": redact(str(error)), "hint": place}})
    else:
        say("error", sentence)
        for note in getattr(error, "__notes__", ()):
            say("note", note)
        say("hint", f"the traceback is in {place}; -v shows it" if place else "-v shows the traceback")
    if asked.verbosity > 0:
        click.echo(text, err=True)
    return int(ExitCode.INTERNAL)


def _keep(text: str) -> str | None:
    """Write the traceback to a file of its own that only the user can read; None if that is not possible."""
    from evalx.places import state_directory

    try:
        folder = state_directory() / "crashes"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
        path.touch(mode=0o600)
        path.write_text(text)
    except (OSError, EvalxError):
        return None
    return str(path)


def _trace(error: BaseException) -> str:
    return clean("".join(traceback.format_exception(error)))
