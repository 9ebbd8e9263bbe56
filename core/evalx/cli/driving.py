"""What `run` and `resume` have in common: a display while it goes on, the scores when it is over."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from evalx.cli import messages
from evalx.cli.options import asked

if TYPE_CHECKING:
    from evalx.cli.summary import Account
    from evalx.display.base import Display
    from evalx.runs import RunSummary

F = TypeVar("F", bound=Callable[..., Any])

DISPLAYS = ("auto", "live", "plain", "jsonl", "none")


def display_option(function: F) -> F:
    """--display, how progress is shown."""
    text = "How to show progress: a live table, plain lines, or JSON lines on stdout. auto: live on a terminal."
    return click.option("--display", type=click.Choice(DISPLAYS), default="auto", show_default=True, help=text)(function)


def drive(work: Callable[[Display], RunSummary], display: str, as_json: bool, prepare: Callable[[Display], None] | None = None) -> int:
    """Do the work under a display, then print what came out of it; returns the exit code of the run.

    prepare: called with the display before the work, to tell it what has happened so far.
    """
    from evalx.cli.summary import Account
    from evalx.display.choose import choose

    if as_json and display == "jsonl":
        raise click.UsageError("--json and --display jsonl both want stdout; --display jsonl ends with the same summary.")
    messages.configure(asked().verbosity)
    quiet = display == "auto" and asked().verbosity < 0
    with choose("none" if quiet else display) as shown:
        if prepare is not None:
            prepare(shown)
        summary = work(shown)
        heed(summary)
    show(Account.of(summary), display, as_json)
    return int(summary.exit_code)


def heed(summary: RunSummary) -> None:
    """If the user has stopped waiting: say what is left, whatever signals still come, and end without waiting for hook calls."""
    if summary.abandoned:
        from evalx.runs import SIGNALS

        asked().at_once = True
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def show(account: Account, display: str, as_json: bool) -> None:
    """Print an account of a run in the form that was asked for."""
    from evalx.cli.summary import emit_line, emit_summary, print_summary

    if as_json:
        emit_summary(account)
    elif display == "jsonl":
        emit_line(account)
    else:
        print_summary(account, hints=asked().verbosity >= 0)


@contextmanager
def ending(run: str) -> Iterator[tuple[str, Display]]:
    """For commands that only end a run: its full id, and a display that tells what is deleted. run: as the user named it."""
    from evalx.display.choose import choose
    from evalx.store import Store

    messages.configure(asked().verbosity)
    with Store() as store:
        record = store.find(run)
        events = store.events(record.run_id)
    with choose("none" if asked().verbosity < 0 else "plain", notice="") as display:
        display.prime(record, events)
        yield record.run_id, display
